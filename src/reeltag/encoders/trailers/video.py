"""The pictures of a video file, decoded one by one and timed.

Only containers of films are opened: FFmpeg would also play text, and playlists that name other files or addresses.
What is broken on the way is passed over and counted; what cannot be read at all is a ``MediaError``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from reeltag.errors import MediaError, MissingExtraError

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,nut,rm,dv,gif,ivf,wtv,yuv4mpegpipe,mp3,"
    "h264,hevc,mpegvideo,m4v,av1,obu"
)
_MAX_PIXELS = 1 << 26  # of one picture; 8K has half of that
_SKIPPED_FILTERS = {"all": "default", "references": "noref", "none": "all"}
_USUAL_RATE = Fraction(25)
_LONGEST_STEP_S = 3600.0  # no picture is shown longer; a longer one is a broken clock
_JITTER_S = 1.0  # a clock that goes back less than that is out of order, else it has begun anew
_MISSING_S = 0.5  # and this share of what the file says: the least that is missing from one that ends early
_MISSING_SHARE = 0.005
_DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Open a file of pictures or sound (``av.container.InputContainer``).

    Raises:
        MissingExtraError: PyAV is not installed.
        MediaError: There is no such file, or nothing in it that could be read.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "trailers", "reading trailers") from None
    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if not path.is_file():
            raise MediaError(f"{path}: must be a video file; got {'a folder' if path.is_dir() else 'a device'}")
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror or error})") from None
    with file:
        if not path.stat().st_size:
            raise MediaError(f"{path}: must be a video file; got an empty file")
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "", "max_pixels": str(_MAX_PIXELS)}
        try:
            # an open file, not its name: FFmpeg would take a name such as http:x for an address
            container = av.open(file, container_options=options, metadata_errors="replace")
        except media_errors() as error:
            raise MediaError(
                f"{path}: must be a video file; got something else, or a part of one ({reason_of(error)})"
            ) from None
        with container:
            yield container


def media_errors() -> tuple[type[Exception], ...]:
    """Return what PyAV raises for data that it cannot read."""
    import av

    return (av.error.FFmpegError, ValueError, OSError, OverflowError, MemoryError)


def reason_of(error: BaseException) -> str:
    """Return what FFmpeg says of an error, in few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0][:120]


class Clock:
    """Puts the timestamps of one stream in order: they may be missing, go back, begin anew or jump by hours.

    Args:
        zero_s: What is time 0; None for the first that comes.
        step_s: How far one picture or piece of sound is from the next when it does not say itself.
    """

    def __init__(self, zero_s: float | None, step_s: float) -> None:
        self.zero_s, self.step_s = zero_s, step_s
        self._last_s: float | None = None
        self._shift_s = 0.0

    def time_of(self, frame: Any) -> float:
        """Return when the next picture or piece of sound begins, in seconds; always later than the one before."""
        last_s = self._last_s
        following = 0.0 if last_s is None else last_s + self.step_s
        stamp, length, base = frame.pts, frame.duration, frame.time_base
        tick_s = base.numerator / base.denominator if base else 0.0  # as floats: fractions take longer than to decode
        if stamp is None or not tick_s:
            time_s = following
        else:
            stamp_s = stamp * tick_s
            if self.zero_s is None:
                self.zero_s = stamp_s
            time_s = stamp_s - self.zero_s + self._shift_s
            if last_s is not None and not -_JITTER_S < time_s - last_s <= _LONGEST_STEP_S:
                self._shift_s += following - time_s
                time_s = following
            if last_s is not None and time_s <= last_s:
                time_s = following
        self._last_s = time_s
        if length and 0 < length * tick_s <= _LONGEST_STEP_S:
            self.step_s = length * tick_s
        return time_s


class Video:
    """The pictures of an open file.

    Args:
        path: The file, for messages.
        container: What ``open_media`` gave.
        threads: That decode.
        deblocking: One of ``shots.DEBLOCKING``.

    Attributes:
        rate: Pictures a second, as the file says or 25; on average where it varies.
        stated_s: How long the pictures go on, in seconds, as the file says; None when it does not.
        n_damaged: Packets and pictures with errors so far.
        end_s: When what was decoded so far ends; None before the first picture.
        broke_off: Whether the file could not be read further; known at the end.

    Raises:
        MediaError: The file has no pictures, or they are coded in a way that FFmpeg does not know.
    """

    def __init__(self, path: Path, container: Any, *, threads: int = 1, deblocking: str = "all") -> None:
        self.path, self._container = path, container
        self.stream = _video_stream(path, container)
        read_only(container, self.stream)
        context = self.stream.codec_context
        context.thread_count = threads
        context.thread_type = "AUTO" if threads > 1 else "NONE"
        context.options = {"skip_loop_filter": _SKIPPED_FILTERS[deblocking], "max_pixels": str(_MAX_PIXELS)}
        self.rate, self.stated_s = _rate(self.stream), _stated_s(container, self.stream)
        self.n_damaged, self.broke_off = 0, False
        self.end_s: float | None = None
        self._clock = Clock(start_of(container), float(1 / self.rate))
        self._problem = "no data"

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Yield every picture (``av.VideoFrame``) with its time in seconds from the start of the file, in order.

        Raises:
            MediaError: There was none that could be decoded.
        """
        for frame in self._decoded():
            time_s = self._clock.time_of(frame)
            self.end_s = time_s + self._clock.step_s
            self.n_damaged += bool(frame.is_corrupt)
            yield time_s, frame
        if self.end_s is None:
            raise MediaError(
                f"{self.path}: must hold at least one picture that can be decoded; got none ({self._problem})"
            )

    def ends_early(self, first_s: float) -> bool:
        """Return whether less was decoded than the file says that it holds.

        Args:
            first_s: When the first picture is shown.
        """
        if self.broke_off or self.end_s is None or self.stated_s is None:
            return self.broke_off
        missing_s = self.stated_s - (self.end_s - first_s)
        return missing_s > max(_MISSING_S, _MISSING_SHARE * self.stated_s)

    def _decoded(self) -> Iterator[Any]:
        errors = media_errors()
        packets = packets_of(self._container, self.stream)
        while True:
            try:
                packet = next(packets, None)
            except errors as error:
                self.broke_off, self._problem = True, reason_of(error)
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except errors as error:
                self.n_damaged += 1
                self._problem = reason_of(error)
                continue
            yield from frames


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream, passing over those of streams that begin on the way, which PyAV trips over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            packets = container.demux(stream)  # goes on with the next packet of the file
            continue
        if packet is None:
            return
        yield packet


def read_only(container: Any, stream: Any) -> None:
    """Have the data of the other streams skipped, where the format allows, instead of read."""
    import av

    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all


def start_of(container: Any) -> float | None:
    """Return the timestamp at which a file begins, in seconds; None when it has none."""
    return None if container.start_time is None else float(container.start_time / 1e6)


def _video_stream(path: Path, container: Any) -> Any:
    """Return the stream of pictures; the cover of an album is none."""
    import av

    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({stream.type for stream in container.streams}))
        got = f"{kinds} alone" if kinds else "no streams (is it cut off?)"
        raise MediaError(f"{path}: must hold a video; got {got}")
    best = container.streams.best("video")
    chosen = next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])
    if chosen.codec_context is None or chosen.codec_context.name is None:
        tag = getattr(chosen.codec_context, "codec_tag", "") or "unknown"
        raise MediaError(f"{path}: must be coded in a way that FFmpeg knows; got codec {tag!r}")
    return chosen


def _rate(stream: Any) -> Fraction:
    found = stream.average_rate or stream.guessed_rate
    return found if found and 0 < found <= 1000 else _USUAL_RATE


def _stated_s(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    tag = _DURATION_TAG.match(stream.metadata.get("DURATION", ""))
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    alone = not container.streams.audio  # else it may be the sound that goes on
    return container.duration / 1e6 if alone and container.duration else None
