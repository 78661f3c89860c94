"""Where a shot ends: where small pictures change more than those around them, and where nothing is to be seen.

A cut changes everything from one picture to the next and stands out from the motion around it, so the change of a
picture is compared with the mean change within a window of time. Pictures are compared in blocks of six by six small
pixels, which hardly see what moves within a shot. A fade leads through pictures on which nothing is to be seen. All
lengths are in seconds, never in pictures, so that a variable rate changes nothing. Dissolves are not found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reeltag.config import check_choice, check_range, to_json
from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.errors import ConfigError

BLOCK = 6  # small pixels to a side
BLOCKS_ACROSS, BLOCKS_DOWN = GREY_WIDTH // BLOCK, GREY_HEIGHT // BLOCK
DEBLOCKING = ("all", "references", "none")

_REVISION = 1  # of the detector and of everything that changes pictures or sound; part of the fingerprint
_OWNER = "ShotConfig"
_STILL = 1.0  # grey levels added to the mean change: what noise changes in a still picture
_BLANK_SPREAD = 16  # grey levels between the darkest and the brightest small pixel of a picture with nothing on it
_ALONE = 2.0  # times min_change that a picture must change which has no others around it
_RETURN = 0.5  # share of the change: what has changed more is never the same picture again
_RANGES: dict[str, tuple[float, float]] = {
    "side": (16, 2160),
    "hold_s": (0.02, 10),
    "threshold": (1, 100),
    "min_change": (0, 255),
    "window_s": (0.02, 5),
    "flash_s": (0, 1),
    "min_shot_s": (0.05, 10),
    "max_shot_s": (0.5, 120),
    "max_s": (0, 86_400),
}

_N_GREY = BLOCKS_DOWN * BLOCKS_ACROSS
_ROWS_OF_BLOCKS = np.repeat(np.eye(BLOCKS_DOWN, dtype=np.float32), BLOCK, axis=1)  # (BLOCKS_DOWN, GREY_HEIGHT)
_COLUMNS_OF_BLOCKS = np.repeat(np.eye(BLOCKS_ACROSS, dtype=np.float32), BLOCK, axis=0)  # (GREY_WIDTH, BLOCKS_ACROSS)

Blocks = npt.NDArray[np.float32]  # (3 * BLOCKS_DOWN * BLOCKS_ACROSS,): grey, then the two colour differences


@dataclass(frozen=True, kw_only=True)
class ShotConfig:
    """How a trailer is cut into shots, and what is held of each.

    Attributes:
        side: Shorter side of the held pictures, in pixels; smaller ones are not enlarged.
        hold_s: Seconds between held pictures.
        threshold: A cut changes the picture so many times as much as the pictures around it change.
        min_change: And at least so much, in grey levels of 0 to 255.
        window_s: How far around a picture that mean goes, in seconds to either side.
        flash_s: What is back after so many seconds was not cut away from: lightning, a white frame.
        min_shot_s: Shortest shot; what would cut a shorter one off is passed over.
        max_shot_s: Longest shot; a longer one is split, which bounds the memory.
        max_s: Seconds of a file that are read; 0 for all.
        deblocking: Which pictures of H.264 and HEVC are smoothed at block edges as they should be: ``all``,
            ``references`` (those that others build on; faster, and the rest barely differ), or ``none`` (faster yet,
            and errors build up).
    """

    side: int = 256
    hold_s: float = 0.125
    threshold: float = 4.5
    min_change: float = 12.0
    window_s: float = 0.25
    flash_s: float = 0.2
    min_shot_s: float = 0.4
    max_shot_s: float = 10.0
    max_s: float = 600.0
    deblocking: str = "references"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            check_range(_OWNER, name, getattr(self, name), low, high)
        check_choice(_OWNER, "deblocking", self.deblocking, DEBLOCKING)
        for shorter in ("hold_s", "min_shot_s"):
            if getattr(self, shorter) > self.max_shot_s / 2:
                raise ConfigError(
                    f"{_OWNER}.{shorter} must be at most half of max_shot_s ({self.max_shot_s:g});"
                    f" got {getattr(self, shorter)!r}"
                )

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the shots, and what is held of them."""
        told = {"revision": _REVISION, **to_json(self)}
        return f"shots-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]}"

    @property
    def ahead_s(self) -> float:
        """Seconds that must be seen after a picture before it is known whether a shot begins with it."""
        return max(self.window_s, self.flash_s, self.min_shot_s)


@dataclass(frozen=True, slots=True)
class Look:
    """What the detector keeps of a picture.

    Attributes:
        time_s: When it is shown.
        blocks: Its colours in blocks.
        change: How much it differs from the picture before; 0 for the first.
        is_blank: Whether nothing is to be seen on it.
        may_start: Whether a shot may begin with it, as far as it is known without what follows.
    """

    time_s: float
    blocks: Blocks
    change: float
    is_blank: bool
    may_start: bool


def blocks_of(grey: npt.NDArray[np.uint8], colour: npt.NDArray[np.uint8]) -> Blocks:
    """Return a picture in blocks.

    Args:
        grey: (GREY_HEIGHT, GREY_WIDTH).
        colour: Its two colour differences, already in blocks, (2, BLOCKS_DOWN, BLOCKS_ACROSS).
    """
    blocks = np.empty(_N_GREY + colour.size, np.float32)
    sums = _ROWS_OF_BLOCKS @ grey.astype(np.float32) @ _COLUMNS_OF_BLOCKS  # whole numbers: exact
    blocks[:_N_GREY] = sums.ravel() / np.float32(BLOCK * BLOCK)
    blocks[_N_GREY:] = colour.ravel()
    return blocks


def difference(one: Blocks, other: Blocks) -> float:
    """Return how much two pictures differ, in grey levels: the mean over brightness plus the mean over colour."""
    apart = np.abs(one - other)
    grey, colour = apart[:_N_GREY], apart[_N_GREY:]
    return float(np.add.reduce(grey) / np.float32(len(grey)) + np.add.reduce(colour) / np.float32(len(colour)))


def is_blank(grey: npt.NDArray[np.uint8]) -> bool:
    """Return whether nothing is to be seen on a small grey picture, be it black, white or in between."""
    return int(grey.max()) - int(grey.min()) < _BLANK_SPREAD


def is_cut(looks: Sequence[Look], at: int, config: ShotConfig) -> bool:
    """Return whether the picture changes at once between ``looks[at - 1]`` and ``looks[at]``, and for good.

    A cut to a blank is none: the shot begins when something is to be seen, unless the blank is a shot of its own.

    Args:
        looks: Pictures in order, with all within ``window_s`` and ``flash_s`` of the one in question.
        at: Its place, at least 1.
        config: The settings.
    """
    look = looks[at]
    if look.is_blank:
        return False
    around = [looks[j].change for j in _within(looks, at, config.window_s) if j != at]
    if not around:
        return look.change >= _ALONE * config.min_change and not _returns(looks, at, config.min_change, config)
    usual = sum(around) / len(around) + _STILL
    if look.change < max(config.min_change, config.threshold * usual):
        return False
    steady = sorted(around)[len(around) // 2] + _STILL  # unlike the mean, not raised by the other end of a flash
    return not _returns(looks, at, max(config.min_change, config.threshold * steady), config)


def ends_fade(looks: Sequence[Look], at: int, config: ShotConfig) -> bool:
    """Return whether the picture comes back at ``looks[at]`` after a fade, or a blank that is longer than a flash.

    A blank that came all at once and is gone within ``flash_s`` is a flash, unless it parts different pictures, which
    is a cut.
    """
    first = at
    while first > 0 and looks[first - 1].is_blank:
        first -= 1
    if first == at or looks[at].is_blank:
        return False
    return looks[at].time_s - looks[first].time_s > config.flash_s or looks[first].change < config.min_change


def begins_blank(looks: Sequence[Look], at: int, config: ShotConfig) -> bool:
    """Return whether a blank begins at ``looks[at]`` that lasts long enough to be a shot of its own."""
    if not looks[at].is_blank or looks[at - 1].is_blank:
        return False
    return all(look.is_blank for look in looks[at:] if look.time_s < looks[at].time_s + config.min_shot_s)


def _within(looks: Sequence[Look], at: int, seconds: float) -> range:
    """Return the places of the pictures at most so many seconds away, the one in question among them."""
    time_s = looks[at].time_s
    first = last = at
    while first > 0 and looks[first - 1].time_s >= time_s - seconds:
        first -= 1
    while last + 1 < len(looks) and looks[last + 1].time_s <= time_s + seconds:
        last += 1
    return range(first, last + 1)


def _returns(looks: Sequence[Look], at: int, alike: float, config: ShotConfig) -> bool:
    """Return whether a picture before the change is seen again after it: a flash begins or ends here.

    Args:
        looks: The pictures.
        at: Where the change is.
        alike: Pictures that differ less are taken for the same.
        config: The settings.
    """
    near = _within(looks, at, config.flash_s)
    before, after = range(min(near.start, at - 1), at), range(at, near.stop)
    same = min(alike, _RETURN * looks[at].change)
    return any(
        difference(looks[i].blocks, looks[j].blocks) < same for i in before for j in after if (i, j) != (at - 1, at)
    )


class CutDetector:
    """Tells of pictures, one by one, whether a shot begins with them; it must see ``ahead_s`` further to know.

    Args:
        config: The settings.
    """

    def __init__(self, config: ShotConfig) -> None:
        self.config = config
        self._looks: list[Look] = []
        self._next = 0  # the first picture that is not decided

    def see(self, time_s: float, grey: npt.NDArray[np.uint8], colour: npt.NDArray[np.uint8]) -> bool:
        """Look at the next picture.

        Args:
            time_s: When it is shown; later than the one before.
            grey: (GREY_HEIGHT, GREY_WIDTH).
            colour: Its two colour differences in blocks, (2, BLOCKS_DOWN, BLOCKS_ACROSS).

        Returns:
            Whether a shot may begin with it, so that it should be held. Where this is False none will.
        """
        blocks, blank = blocks_of(grey, colour), is_blank(grey)
        if not self._looks:
            self._looks.append(Look(time_s, blocks, 0.0, blank, True))
            return True
        last = self._looks[-1]
        change = difference(blocks, last.blocks)
        may_start = blank != last.is_blank or self._stands_out(time_s, change)
        self._looks.append(Look(time_s, blocks, change, blank, may_start))
        return may_start

    def decided(self, end_s: float | None = None) -> list[bool]:
        """Return of the pictures that are decided by now, in order, whether a shot begins with them.

        Args:
            end_s: When the trailer ends, once that is known; then all the others are decided.
        """
        told = []
        while self._next < len(self._looks):
            look = self._looks[self._next]
            if end_s is None and self._looks[-1].time_s < look.time_s + self.config.ahead_s:
                break
            too_late = end_s is not None and end_s - look.time_s < self.config.min_shot_s
            told.append(self._starts(self._next) and not too_late)
            self._next += 1
        self._forget()
        return told

    def _stands_out(self, time_s: float, change: float) -> bool:
        """Return whether a change stands out from those before it, half as far as a cut must from all around it."""
        before = [look.change for look in self._looks[1:] if look.time_s >= time_s - self.config.window_s]
        usual = sum(before) / len(before) + _STILL if before else 0.0
        return change >= max(self.config.min_change, self.config.threshold / 2 * usual)

    def _starts(self, at: int) -> bool:
        looks, config = self._looks, self.config
        if at == 0 or not looks[at].may_start:
            return False
        return is_cut(looks, at, config) or ends_fade(looks, at, config) or begins_blank(looks, at, config)

    def _forget(self) -> None:
        """Let go of the pictures that no decision looks back at."""
        if self._next < len(self._looks):
            back = self._looks[self._next].time_s - max(self.config.window_s, self.config.flash_s) - 1.0
            n_old = 0
            while n_old < self._next - 1 and self._looks[n_old + 1].time_s < back:
                n_old += 1
            del self._looks[:n_old]
            self._next -= n_old
