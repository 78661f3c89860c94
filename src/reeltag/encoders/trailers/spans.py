"""From pictures, and where shots begin, to shots that are neither too short nor too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.pictures import Kept
from reeltag.encoders.trailers.shots import ShotConfig

EARLY_S = 0.002  # timestamps are rounded, often to milliseconds: a picture may be due so much sooner


class Seen(NamedTuple):
    """A picture of a shot: when it is shown, its small grey form, and what RGB is drawn from when it is held."""

    time_s: float
    grey: npt.NDArray[np.uint8]
    held: Kept | None


class Span(NamedTuple):
    """A shot without its sound."""

    start_s: float
    end_s: float
    pictures: list[Seen]


class ShotBuilder:
    """Gathers pictures to shots of ``min_shot_s`` to ``max_shot_s``; every one begins with a picture that is held.

    A shot that is too long is split at a held picture, and a picture shown for too long is held again. Only what is
    left of a split may be shorter than ``min_shot_s``.
    """

    def __init__(self, config: ShotConfig) -> None:
        self._config = config
        self._pictures: list[Seen] = []
        self._start_s = self._cut_s = 0.0

    def add(self, seen: Seen, starts: bool) -> Iterator[Span]:
        """Add the next picture; yield the shots that end before it.

        Args:
            seen: The picture.
            starts: Whether the detector begins a shot with it.
        """
        if not self._pictures:
            self._start_s = self._cut_s = seen.time_s
        else:
            yield from self._split(seen.time_s)
            if starts and seen.time_s - self._cut_s >= self._config.min_shot_s:
                yield self._close(seen.time_s)
                self._cut_s = seen.time_s
            elif seen.held is not None and self._lasts_to(seen.time_s) > self._config.max_shot_s - self._config.hold_s:
                yield self._close(seen.time_s)
        self._pictures.append(seen)

    def finish(self, end_s: float) -> Iterator[Span]:
        """Yield what is left."""
        if self._pictures:
            yield from self._split(end_s)
            yield self._close(end_s)

    def _split(self, time_s: float) -> Iterator[Span]:
        """End shots where nothing new is shown until ``time_s``; what is on the screen begins the next."""
        while self._lasts_to(time_s) > self._config.max_shot_s:
            end_s = self._start_s + self._config.max_shot_s
            held = next(seen.held for seen in reversed(self._pictures) if seen.held is not None)
            shown = Seen(end_s, self._pictures[-1].grey, held)
            yield self._close(end_s)
            self._pictures.append(shown)

    def _lasts_to(self, time_s: float) -> float:
        return time_s - self._start_s - EARLY_S

    def _close(self, end_s: float) -> Span:
        span = Span(self._start_s, end_s, self._pictures)
        self._start_s, self._pictures = end_s, []
        return span
