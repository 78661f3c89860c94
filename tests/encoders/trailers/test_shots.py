"""The settings, the rules of cuts and fades on drawn pictures, and the detector that sees them one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.config import from_json, to_json
from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.shots import (
    BLOCK,
    BLOCKS_ACROSS,
    BLOCKS_DOWN,
    CutDetector,
    ShotConfig,
    blocks_of,
    difference,
    is_blank,
)
from reeltag.encoders.trailers.spans import Seen, ShotBuilder, Span
from reeltag.errors import ConfigError

Small = npt.NDArray[np.uint8]
RNG = np.random.default_rng(7)
GREYS = [RNG.integers(0, 256, (GREY_HEIGHT // 9, GREY_WIDTH // 8)).repeat(9, 0).repeat(8, 1) for _ in range(8)]
NO_COLOUR = np.full((2, BLOCKS_DOWN, BLOCKS_ACROSS), 128, np.uint8)


def still(which: int, n: int = 1, noise: float = 0.0) -> list[Small]:
    rng = np.random.default_rng(which)
    return [np.clip(GREYS[which] + rng.normal(0, noise, GREYS[which].shape), 0, 255).astype(np.uint8) for _ in range(n)]


def grey(level: int, n: int) -> list[Small]:
    return [np.full((GREY_HEIGHT, GREY_WIDTH), level, np.uint8)] * n


def mixed(one: int, other: int | None, n: int) -> list[Small]:
    """A fade from one picture to another, or to black, in n steps."""
    goal = np.zeros_like(GREYS[0]) if other is None else GREYS[other]
    return [((1 - s) * GREYS[one] + s * goal).astype(np.uint8) for s in np.linspace(0, 1, n)]


def starts(
    pictures: Sequence[Small], times: Sequence[float] | None = None, config: ShotConfig | None = None, fps: float = 24
) -> list[int]:
    """Return the numbers of the pictures with which shots begin, asking for decisions after every picture."""
    config = config or ShotConfig()
    detector = CutDetector(config)
    times = [n / fps for n in range(len(pictures))] if times is None else times
    decided: list[bool] = []
    could: list[bool] = []
    for time_s, picture in zip(times, pictures, strict=True):
        could.append(detector.see(time_s, picture, NO_COLOUR))
        decided += detector.decided()
        known = sum(time + config.ahead_s <= time_s for time in times)
        assert len(decided) == min(known, len(could))
    decided += detector.decided(times[-1] + 1 / fps)
    assert len(decided) == len(pictures)
    assert could[0]
    assert all(may for may, does in zip(could, decided, strict=True) if does)
    return [n for n, does in enumerate(decided) if does]


# ---------------------------------------------------------------- settings


def test_settings_go_through_json() -> None:
    config = ShotConfig(side=128, max_s=0, deblocking="none")
    assert from_json(ShotConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"side": 8}, "ShotConfig.side must be between 16 and 2160; got 8"),
        ({"hold_s": 0.0}, "ShotConfig.hold_s must be between 0.02 and 10; got 0.0"),
        ({"threshold": float("nan")}, "ShotConfig.threshold must be between 1 and 100; got nan"),
        ({"min_change": -1.0}, "ShotConfig.min_change must be between 0 and 255; got -1.0"),
        ({"window_s": 9.0}, "ShotConfig.window_s must be between 0.02 and 5; got 9.0"),
        ({"flash_s": 2.0}, "ShotConfig.flash_s must be between 0 and 1; got 2.0"),
        ({"min_shot_s": 0.0}, "ShotConfig.min_shot_s must be between 0.05 and 10; got 0.0"),
        ({"max_shot_s": 1e9}, "ShotConfig.max_shot_s must be between 0.5 and 120; got 1000000000.0"),
        ({"max_s": -1.0}, "ShotConfig.max_s must be between 0 and 86400; got -1.0"),
        ({"deblocking": "some"}, "ShotConfig.deblocking must be one of all, references, none; got 'some'"),
        ({"hold_s": 6.0}, r"ShotConfig.hold_s must be at most half of max_shot_s \(10\); got 6.0"),
        ({"max_shot_s": 0.5}, r"ShotConfig.min_shot_s must be at most half of max_shot_s \(0.5\); got 0.4"),
    ],
)
def test_settings_are_checked(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShotConfig(**setting)  # type: ignore[arg-type]


def test_the_fingerprint_tells_every_setting() -> None:
    plain = ShotConfig()
    other: dict[str, Any] = {"deblocking": "all", "side": 128}
    prints = {plain.fingerprint}
    for field in dataclasses.fields(ShotConfig):
        value = other[field.name] if field.name in other else getattr(plain, field.name) * 1.25
        prints.add(dataclasses.replace(plain, **{field.name: value}).fingerprint)
    assert len(prints) == len(dataclasses.fields(ShotConfig)) + 1
    assert ShotConfig().fingerprint == plain.fingerprint


# ---------------------------------------------------------------- measures


def test_blocks_are_means_of_squares() -> None:
    picture = RNG.integers(0, 256, (GREY_HEIGHT, GREY_WIDTH), np.uint8)
    colour = RNG.integers(0, 256, NO_COLOUR.shape, np.uint8)
    blocks = blocks_of(picture, colour)
    expected = [
        picture[y : y + BLOCK, x : x + BLOCK].mean()
        for y in range(0, GREY_HEIGHT, BLOCK)
        for x in range(0, GREY_WIDTH, BLOCK)
    ]
    np.testing.assert_allclose(blocks, [*expected, *colour.ravel()], rtol=1e-5)


def test_the_difference_is_that_of_brightness_and_that_of_colour() -> None:
    n = BLOCKS_DOWN * BLOCKS_ACROSS
    one, other = (RNG.uniform(0, 255, 3 * n).astype(np.float32) for _ in range(2))
    grey_apart = sum(abs(float(one[i] - other[i])) for i in range(n)) / n
    colour_apart = sum(abs(float(one[i] - other[i])) for i in range(n, 3 * n)) / (2 * n)
    assert difference(one, other) == pytest.approx(grey_apart + colour_apart, rel=1e-5)
    assert difference(one, one) == 0


@pytest.mark.parametrize(
    ("low", "high", "blank"), [(0, 0, True), (255, 255, True), (100, 115, True), (100, 116, False)]
)
def test_a_blank_has_nothing_on_it(low: int, high: int, blank: bool) -> None:
    picture = np.full((GREY_HEIGHT, GREY_WIDTH), low, np.uint8)
    picture[20, 30] = high
    assert is_blank(picture) is blank


# ---------------------------------------------------------------- cuts


def test_cuts_are_found_where_they_are() -> None:
    assert starts(still(0, 30, 3) + still(1, 40, 3) + still(2, 30, 3)) == [30, 70]


def test_noise_and_stillness_are_no_cuts() -> None:
    assert starts(still(0, 60, 12)) == []
    assert starts(still(0, 60)) == []


def test_a_cut_between_pictures_of_one_brightness_is_seen_by_its_colour() -> None:
    detector = CutDetector(ShotConfig())
    red, blue = NO_COLOUR.copy(), NO_COLOUR.copy()
    red[1] += 60
    blue[0] += 60
    decided = []
    for n in range(60):
        detector.see(n / 24, still(0)[0], red if n < 30 else blue)
        decided += detector.decided()
    assert np.flatnonzero(decided).tolist() == [30]


def test_steady_motion_is_no_cut_and_a_cut_within_it_is_one() -> None:
    def pan(which: int, n: int) -> list[Small]:
        return [np.roll(GREYS[which], i // 2, axis=1).astype(np.uint8) for i in range(n)]

    assert starts(pan(0, 80)) == []
    assert starts(pan(0, 40) + pan(1, 40)) == [40]


@pytest.mark.parametrize("length", [1, 2])
def test_a_flash_is_no_cut(length: int) -> None:
    flash = [np.clip(picture.astype(int) + 160, 0, 255).astype(np.uint8) for picture in still(0, length)]
    assert starts(still(0, 30, 2) + flash + still(0, 30, 2)) == []
    assert starts(still(0, 30, 2) + grey(255, length) + still(0, 30, 2)) == []
    assert starts(still(0, 30, 2) + grey(0, length) + still(0, 30, 2)) == []
    assert starts(still(0, 30, 2) + still(3, length) + still(0, 30, 2)) == []


@pytest.mark.parametrize("level", [0, 255])
def test_a_cut_with_a_blank_picture_between_is_one_cut(level: int) -> None:
    assert starts(still(0, 30, 2) + grey(level, 1) + still(1, 30, 2)) == [31]


def test_a_flash_does_not_hide_the_cut_after_it() -> None:
    assert starts(still(0, 30, 2) + grey(255, 2) + still(0, 8, 2) + still(1, 30, 2)) == [40]


def test_pictures_repeated_to_fill_a_higher_rate_are_no_cuts() -> None:
    moving = [np.roll(GREYS[0], n // 2, axis=1).astype(np.uint8) for n in range(80)]
    assert starts(moving) == []


# ---------------------------------------------------------------- fades


def test_a_fade_through_black_begins_a_shot_when_the_picture_returns() -> None:
    out, back = mixed(0, None, 16), mixed(1, None, 16)[::-1]
    (at,) = starts(still(0, 20) + out + back + still(1, 30))
    assert 34 <= at <= 40


def test_a_fade_through_white_too() -> None:
    out = [(picture + s * (255.0 - picture)).astype(np.uint8) for picture in still(0) for s in np.linspace(0, 1, 16)]
    back = [(picture + s * (255.0 - picture)).astype(np.uint8) for picture in still(1) for s in np.linspace(1, 0, 16)]
    (at,) = starts(still(0, 20) + out + back + still(1, 30))
    assert 34 <= at <= 40


def test_a_long_blank_is_a_shot_of_its_own() -> None:
    assert starts(still(0, 30) + grey(0, 24) + still(1, 30)) == [30, 54]
    assert starts(still(0, 30) + grey(0, 5) + still(1, 30)) == [35]


def test_a_blank_at_the_end_is_a_shot_when_it_is_long_enough() -> None:
    assert starts(still(0, 30) + grey(0, 12)) == [30]
    assert starts(still(0, 30) + grey(0, 5)) == []


# ---------------------------------------------------------------- time


def test_cuts_go_by_time_where_the_rate_varies() -> None:
    times = [0.04 * n for n in range(30)] + [1.2 + 0.5 * n for n in range(6)] + [4.2 + 0.02 * n for n in range(60)]
    pictures = still(0, 33, 2) + still(1, 33, 2) + still(2, 30, 2)
    assert starts(pictures, times, fps=50) == [33, 66]


def test_pictures_far_apart_need_change_only() -> None:
    slides = [picture for which in (0, 0, 1, 1, 2) for picture in still(which)]
    assert starts(slides, [5.0 * n for n in range(5)], fps=0.2) == [2, 4]


@pytest.mark.parametrize("fps", [10, 25, 60, 120])
def test_the_rate_does_not_matter(fps: int) -> None:
    assert starts(still(0, 2 * fps, 2) + still(1, 2 * fps, 2), fps=fps) == [2 * fps]


def test_what_the_detector_keeps_does_not_grow() -> None:
    detector, most = CutDetector(ShotConfig()), 0
    for n in range(3000):
        detector.see(n / 24, GREYS[n // 100 % 8].astype(np.uint8), NO_COLOUR)
        detector.decided()
        most = max(most, len(detector._looks))
    assert most < 24 * 3


def test_nothing_begins_too_near_the_end() -> None:
    assert starts(still(0, 30) + still(1, 12)) == [30]
    assert starts(still(0, 30) + still(1, 5)) == []


# ---------------------------------------------------------------- building


def built(times: Sequence[float], begin: Sequence[float], end_s: float, config: ShotConfig) -> list[Span]:
    """Build shots of pictures of which every third is held, and all with which one should begin."""
    builder, spans = ShotBuilder(config), list[Span]()
    for n, time_s in enumerate(times):
        held = np.full((1, 1, 3), n % 256, np.uint8) if n % 3 == 0 or time_s in begin else None
        spans += builder.add(Seen(time_s, np.full((1, 1), n % 256, np.uint8), held), time_s in begin)
    spans += builder.finish(end_s)
    assert spans[0].start_s == times[0]
    assert spans[-1].end_s == end_s
    assert all(one.end_s == other.start_s for one, other in pairwise(spans))
    assert all(span.pictures[0].held is not None for span in spans)
    assert all(span.end_s - span.start_s <= config.max_shot_s + 0.01 for span in spans)
    return spans


def steady(seconds: float, fps: float = 24) -> list[float]:
    return [n / fps for n in range(round(seconds * fps))]


def test_shots_are_built_from_start_to_start() -> None:
    spans = built(steady(4), [1.0, 2.5], 4.0, ShotConfig())
    assert [(span.start_s, span.end_s) for span in spans] == [(0, 1), (1, 2.5), (2.5, 4)]
    assert [len(span.pictures) for span in spans] == [24, 36, 36]


def test_shots_that_would_be_too_short_go_on() -> None:
    spans = built(steady(4), [0.25, 1.0, 1.25, 1.5], 4.0, ShotConfig())
    assert [span.start_s for span in spans] == [0, 1.0, 1.5]


def test_long_shots_are_split_and_keep_their_cuts() -> None:
    spans = built(steady(25), [22.0], 25.0, ShotConfig())
    assert [round(span.start_s, 1) for span in spans] == [0, 10, 20, 22]
    assert sum(len(span.pictures) for span in spans) == 25 * 24


def test_a_cut_soon_after_a_split_is_kept() -> None:
    spans = built(steady(12), [10.25], 12.0, ShotConfig())
    assert [round(span.start_s, 2) for span in spans] == [0, 10, 10.25]


def test_a_picture_shown_for_long_is_held_again() -> None:
    spans = built([0.0, 1.0, 36.0], [], 37.0, ShotConfig())
    assert [(span.start_s, span.end_s) for span in spans] == [(0, 10), (10, 20), (20, 30), (30, 37)]
    assert [int(span.pictures[0].grey[0, 0]) for span in spans] == [0, 1, 1, 1]
    assert [seen.time_s for seen in spans[1].pictures] == [10]
    assert [seen.time_s for seen in spans[3].pictures] == [30, 36]
    spans = built([0.0], [], 25.0, ShotConfig())
    assert [span.end_s for span in spans] == [10, 20, 25]
