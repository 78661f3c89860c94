"""The sound of a file, decoded in step with its shots: placed by its timestamps, mono, at the rates that are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.video import Clock, media_errors, packets_of, read_only, start_of

_TOLERANCE_S = 0.1  # by which timestamps may stray from the samples themselves before these are placed anew
_USUAL_STEP_S = 0.02

Samples = npt.NDArray[np.float32]


class Track:
    """Sound at one rate: pieces at their places, of which old ones are let go.

    Attributes:
        end: Place after the last sample that was put.
    """

    def __init__(self) -> None:
        self.end = 0
        self._pieces: deque[tuple[int, Samples]] = deque()  # place of the first sample, samples; in order, apart

    @property
    def n_samples(self) -> int:
        """How many are held."""
        return sum(len(samples) for _, samples in self._pieces)

    def put(self, place: int, samples: Samples) -> None:
        """Put samples at a place; what overlaps those before it is left out."""
        late = max(self.end - place, 0)
        if late < len(samples):
            self._pieces.append((place + late, samples[late:]))
            self.end = place + len(samples)

    def forget(self, place: int) -> None:
        """Let go of the pieces that end before a place."""
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) <= place:
            self._pieces.popleft()

    def take(self, start: int, end: int) -> Samples:
        """Return the samples from ``start`` to ``end`` and let go of the pieces that end before ``end``.

        Returns:
            Silence where there is none before or between; short where the sound ends before; empty where there is none.
        """
        parts = [(p, s) for p, s in self._pieces if p < end and p + len(s) > start]
        self.forget(end)
        if not parts:
            return np.zeros(0, np.float32)
        last, samples = parts[-1]
        out = np.zeros(min(end, last + len(samples)) - start, np.float32)
        for place, samples in parts:
            low, high = max(place, start), min(place + len(samples), end)
            out[low - start : high - start] = samples[low - place : high - place]
        return out


class Sound:
    """The sound of an open file.

    Args:
        container: What ``video.open_media`` gave; not the one that the pictures are read from.
        rates: Samples a second that are wanted, each of them once.
        zero_s: Timestamp of the start of the file; None for the first of the sound.

    Attributes:
        n_damaged: Pieces that could not be decoded so far.
    """

    def __init__(self, container: Any, rates: Sequence[int], zero_s: float | None = None) -> None:
        self.n_damaged = 0
        self._tracks = {rate: Track() for rate in rates}
        stream = sound_stream(container)
        self._pieces: Iterator[Any] = iter(())
        if stream is not None:
            read_only(container, stream)
            self._pieces = self._decoded(container, stream)
        self._clock = Clock(start_of(container) if zero_s is None else zero_s, _USUAL_STEP_S)
        self._run: _Run | None = None
        self._done = False

    @property
    def n_samples(self) -> int:
        """How many samples are held, at all rates together."""
        return sum(track.n_samples for track in self._tracks.values())

    def between(self, start_s: float, end_s: float) -> dict[int, Samples]:
        """Return the sound of a span by rate, each (n_samples,) in [-1, 1]; spans must be asked for in order.

        Returns:
            Short where the sound ends within the span, empty where there is none.
        """
        while not self._done and any(track.end < end_s * rate for rate, track in self._tracks.items()):
            self._read(start_s)
        return {rate: track.take(round(start_s * rate), round(end_s * rate)) for rate, track in self._tracks.items()}

    def _read(self, start_s: float) -> None:
        """Put one more decoded piece on the tracks; pieces that end before ``start_s`` are not kept."""
        frame = next(self._pieces, None)
        if frame is None:
            self._done = True
            self._finish_run()
            return
        try:
            self._hear(frame, self._clock.time_of(frame))
        except media_errors():
            self.n_damaged += 1
            self._run = None
        for rate, track in self._tracks.items():
            track.forget(int(start_s * rate))

    def _hear(self, frame: Any, time_s: float) -> None:
        """Resample a piece: in one run with the last, or from where its timestamp says when that is elsewhere."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._run is not None and (self._run.kind != kind or abs(self._run.end_s - time_s) > _TOLERANCE_S):
            self._finish_run()
        if self._run is None:
            self._run = _Run(kind, time_s, tuple(self._tracks))
        self._put(self._run.resampled(frame))

    def _finish_run(self) -> None:
        if self._run is not None:
            self._put(self._run.resampled(None))
        self._run = None

    def _put(self, parts: dict[int, tuple[int, Samples]]) -> None:
        for rate, (place, samples) in parts.items():
            self._tracks[rate].put(place, samples)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        errors = media_errors()
        packets = packets_of(container, stream)
        while True:
            try:
                packet = next(packets, None)
            except errors:
                self.n_damaged += 1
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except errors:
                self.n_damaged += 1
                continue
            yield from (frame for frame in frames if frame.samples and frame.sample_rate)


def sound_stream(container: Any) -> Any:
    """Return the stream of sound that can be decoded; None when there is none."""
    streams = [s for s in container.streams.audio if s.codec_context is not None and s.codec_context.name is not None]
    best = container.streams.best("audio")
    return next(
        (stream for stream in streams if best is not None and stream.index == best.index), (streams or [None])[0]
    )


class _Run:
    """Sound without a gap, resampled to every rate.

    Args:
        kind: Format, layout and rate of what comes.
        start_s: When it begins.
        rates: What it is resampled to.
    """

    def __init__(self, kind: tuple[str, str, int], start_s: float, rates: Sequence[int]) -> None:
        from av.audio.resampler import AudioResampler

        self.kind, self._start_s, self._n_in = kind, start_s, 0
        self._resamplers = {rate: AudioResampler(format="flt", layout="mono", rate=rate) for rate in rates}
        self._places = {rate: round(start_s * rate) for rate in rates}

    @property
    def end_s(self) -> float:
        """When the next piece should begin."""
        return self._start_s + self._n_in / self.kind[2]

    def resampled(self, frame: Any | None) -> dict[int, tuple[int, Samples]]:
        """Return what the next piece, or the end, brings at every rate: the place of the first sample, samples."""
        if frame is not None:
            self._n_in += frame.samples
            frame.pts = None
        out = {}
        for rate, resampler in self._resamplers.items():
            parts = [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
            if parts:
                samples = np.concatenate(parts)
                if not np.isfinite(samples.sum(dtype=np.float64)):
                    samples = np.nan_to_num(samples)
                samples = np.clip(samples, -1, 1, dtype=np.float32)
                out[rate] = (self._places[rate], samples)
                self._places[rate] += len(samples)
        return out
