"""From a file to its shots in one pass: pictures and sound are decoded in step and let go shot by shot.

What is in memory at a time is one shot, the pictures that are not decided yet (``ShotConfig.ahead_s``), and what the
decoder holds, however long the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reeltag.config import check_range
from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.pictures import NOTHING, Scaler, Undrawn
from reeltag.encoders.trailers.shots import CutDetector, ShotConfig
from reeltag.encoders.trailers.sound import Samples, Sound, sound_stream
from reeltag.encoders.trailers.spans import EARLY_S, Seen, ShotBuilder, Span
from reeltag.encoders.trailers.video import Video, media_errors, open_media, reason_of, start_of
from reeltag.errors import MediaError

COMPLETE, ENDS_EARLY, AT_LIMIT = "complete", "ends early", "stopped at the limit"

_OWNER = "ShotReader"
_RATES = (1000, 192_000)
_SHORTEST_STEP_S = 0.0075  # pictures that follow faster are left out: 125 a second and a few at most


@dataclass(frozen=True, kw_only=True)
class TrailerOutline:
    """What is known of a file without any expert.

    Attributes:
        duration_s: Seconds that were read, from the first picture to the end of the last.
        width: Of the picture as it is shown, in pixels.
        height: Of the picture as it is shown, in pixels.
        fps: Pictures a second, on average.
        size_bytes: Of the file.
        has_sound: Whether there is a sound track that can be decoded.
        shots: Start and end of every shot, in seconds from the start of the file.
        ending: ``complete``, ``ends early`` (the file says that it is longer, or breaks off) or ``stopped at the
            limit`` (of ``ShotConfig.max_s``).
        n_damaged: Packets and pictures with errors.
    """

    duration_s: float
    width: int
    height: int
    fps: float
    size_bytes: int
    has_sound: bool
    shots: tuple[tuple[float, float], ...]
    ending: str
    n_damaged: int

    @property
    def state(self) -> str:
        """How it ended, and whether something in it is damaged, in words."""
        return self.ending + (f", {self.n_damaged:,} damaged" if self.n_damaged else "")


class ShotReader:
    """Reads the shots of one file: iterate over it, as often as wanted.

    Args:
        path: The file.
        config: How it is cut into shots, and what is held of each.
        rates: Samples a second at which the sound is wanted.
        threads: That decode the pictures; they change nothing but the time it takes.
        hold: Whether pictures are held; without, the frames of the shots have no pixels.

    Attributes:
        outline: What was found, once all shots are read; None until then.

    Raises:
        ConfigError: A rate or the number of threads is out of range.
    """

    def __init__(
        self,
        path: Path,
        config: ShotConfig | None = None,
        rates: Sequence[int] = (),
        *,
        threads: int = 1,
        hold: bool = True,
    ) -> None:
        for rate in rates:
            check_range(_OWNER, "rates", rate, *_RATES)
        check_range(_OWNER, "threads", threads, 1, 64)
        self.path, self.config, self.rates = Path(path), config or ShotConfig(), tuple(dict.fromkeys(rates))
        self._threads, self._hold = threads, hold
        self.outline: TrailerOutline | None = None

    def __iter__(self) -> Iterator[Shot]:
        """Yield the shots in order.

        Raises:
            MissingExtraError: PyAV is not installed.
            MediaError: The file cannot be read, or holds no picture that can be decoded.
        """
        self.outline = None
        with ExitStack() as stack:
            container = stack.enter_context(open_media(self.path))
            video = Video(self.path, container, threads=self._threads, deblocking=self.config.deblocking)
            sound = None
            if self.rates:
                sound = Sound(stack.enter_context(open_media(self.path)), self.rates, start_of(container))
            reading, shots = _Reading(video, self.config, self._hold), []
            for span in reading.spans():
                shots.append((span.start_s, span.end_s))
                yield reading.shot(span, {} if sound is None else sound.between(span.start_s, span.end_s))
            width, height = reading.shown_size
            self.outline = TrailerOutline(
                duration_s=shots[-1][1] - shots[0][0],
                width=width,
                height=height,
                fps=float(video.rate),
                size_bytes=self.path.stat().st_size,
                has_sound=sound_stream(container) is not None,
                shots=tuple(shots),
                ending=reading.ending,
                n_damaged=video.n_damaged + (0 if sound is None else sound.n_damaged),
            )


class _Reading:
    """One pass over the pictures of a file."""

    def __init__(self, video: Video, config: ShotConfig, hold: bool) -> None:
        self.video, self.config = video, config
        self.ending = COMPLETE
        self.shown_size = (0, 0)
        self._hold = hold
        self._scaler: Scaler | None = None
        self._problem = "no data"
        self._detector, self._builder = CutDetector(config), ShotBuilder(config)
        self._waiting = deque[Seen]()  # pictures of which it is not known yet whether a shot begins with them
        self._due_s = self._last_s = -np.inf

    def spans(self) -> Iterator[Span]:
        """Yield the shots without their sound."""
        first_s, limit_s = None, self.config.max_s or np.inf
        for time_s, frame in self.video.frames():
            first_s = time_s if first_s is None else first_s
            if time_s - first_s >= limit_s:
                self.ending = AT_LIMIT
                break
            if time_s - self._last_s >= _SHORTEST_STEP_S:
                self._see(time_s, frame)
                yield from self._settled(self._detector.decided())
        if self._scaler is None or first_s is None or self.video.end_s is None:
            raise MediaError(f"{self.video.path}: must hold a picture that can be scaled; got none ({self._problem})")
        end_s = min(self.video.end_s, first_s + limit_s)
        if self.ending == COMPLETE and self.video.ends_early(first_s):
            self.ending = ENDS_EARLY
        yield from self._settled(self._detector.decided(end_s))
        yield from self._builder.finish(end_s)

    def _see(self, time_s: float, frame: Any) -> None:
        """Take in a picture; one that libswscale cannot scale counts as damaged."""
        try:
            if self._scaler is None:
                self._scaler = Scaler(frame, self.video.stream.sample_aspect_ratio, self.config.side)
                self.shown_size = self._scaler.width, self._scaler.height
            grey, colour = self._scaler.grey(frame), self._scaler.colour(frame)
        except media_errors() as error:
            self._problem = reason_of(error)
            self.video.n_damaged += 1
            return
        held = None
        if self._detector.see(time_s, grey, colour) or time_s >= self._due_s:
            held = self._scaler.keep(frame) if self._hold else NOTHING
            self._due_s = time_s + self.config.hold_s - EARLY_S
        self._last_s = time_s
        self._waiting.append(Seen(time_s, grey, held))

    def shot(self, span: Span, sound: dict[int, Samples]) -> Shot:
        """Return a shot with its sound."""
        held = [seen.held for seen in span.pictures if seen.held is not None]
        nothing = np.zeros((len(held), 0, 0, 3), np.uint8)
        return Shot(
            start_s=span.start_s,
            end_s=span.end_s,
            frames=Undrawn(held, self._scaler) if self._hold and self._scaler is not None else nothing,
            grey=np.stack([seen.grey for seen in span.pictures]),
            grey_s=np.array([seen.time_s for seen in span.pictures]),
            sound=sound,
        )

    def _settled(self, decided: Sequence[bool]) -> Iterator[Span]:
        for starts in decided:
            yield from self._builder.add(self._waiting.popleft(), starts)
