"""Layouts: like titles lie together, the same every time, and stay where they were when the catalogue changes."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.errors import ConfigError, FeatureError, MissingExtraError
from reeltag.retrieval import LayoutConfig, layout

QUICK = LayoutConfig(perplexity=8)


def kinds(
    sizes: tuple[int, ...] = (40, 40, 40), seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return unit vectors around as many directions as there are sizes, mixed, and the direction of each."""
    random = np.random.default_rng(seed)
    middles = np.eye(len(sizes), 12)
    of = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = middles[of] + random.normal(0, 0.15, (len(of), 12))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), of


@cache
def laid_out() -> npt.NDArray[np.float32]:
    """Return the places of ``kinds()``."""
    return layout(kinds()[0], QUICK)


def share_of_own_kind(places: npt.NDArray[Any], of: npt.NDArray[np.int64], rows: Any = None) -> float:
    """Return how many of the five nearest on the map are of the same kind, by explicit loops."""
    shares = []
    for row in range(len(places)) if rows is None else rows:
        distances = [(float(np.hypot(*(places[row] - places[other]))), other) for other in range(len(places))]
        nearest = [other for _, other in sorted(distances) if other != row][:5]
        shares.append(np.mean([of[other] == of[row] for other in nearest]))
    return float(np.mean(shares))


def radius(places: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.square(places - places.mean(axis=0)).sum(axis=1).mean()))


def moved(places: npt.NDArray[Any], before: npt.NDArray[Any]) -> float:
    """Return how far the middle title has moved, as a share of the radius of the map."""
    return float(np.median(np.linalg.norm(places - before, axis=1)) / radius(before))


def test_like_titles_lie_together() -> None:
    _, of = kinds()
    places = laid_out()
    assert places.shape == (120, 2)
    assert places.dtype == np.float32
    assert share_of_own_kind(places, of) > 0.95


def test_the_same_seed_gives_the_same_places_and_another_one_others() -> None:
    vectors, _ = kinds((20, 20))
    first = layout(vectors, QUICK)
    assert np.array_equal(first, layout(vectors, QUICK))
    assert not np.array_equal(first, layout(vectors, LayoutConfig(perplexity=8, seed=1)))


def test_the_length_of_a_vector_does_not_matter() -> None:
    vectors, _ = kinds((20, 20))
    assert np.allclose(layout(vectors * np.float32(4), QUICK), layout(vectors, QUICK), atol=1e-3)


@pytest.mark.parametrize("n", range(9))
def test_few_titles_have_places_of_their_own(n: int) -> None:
    places = layout(kinds((5, 5))[0][:n])
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert len({tuple(place) for place in places.tolist()}) == n


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 40])
def test_equal_titles_do_not_cover_each_other(n: int) -> None:
    places = layout(np.tile(kinds((1,))[0], (n, 1)), QUICK)
    assert np.isfinite(places).all()
    assert len({tuple(place) for place in places.tolist()}) == n


def test_titles_of_which_nothing_is_known_have_a_place_too() -> None:
    vectors, of = kinds((20, 20))
    vectors[:6] = 0
    places = layout(vectors, QUICK)
    assert np.isfinite(places).all()
    assert share_of_own_kind(places, np.where(np.arange(40) < 6, 2, of), range(6)) == 1
    assert share_of_own_kind(places, of, range(6, 40)) > 0.8


def test_one_dimension_is_enough() -> None:
    places = layout(np.array([[1.0], [-1.0]] * 10, np.float32), QUICK)
    assert np.isfinite(places).all()
    assert share_of_own_kind(places, np.array([0, 1] * 10)) > 0.95


def test_a_perplexity_too_high_for_few_titles_is_lowered_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    places = layout(kinds((4, 4))[0], LayoutConfig(perplexity=1000))
    assert np.isfinite(places).all()
    assert capfd.readouterr() == ("", "")


def test_a_map_made_again_stays_as_it_is() -> None:
    vectors, _ = kinds()
    before = laid_out()
    again = layout(vectors, QUICK, start=before)
    assert moved(again, before) < 0.05
    assert moved(layout(vectors[::-1].copy(), QUICK)[::-1], before) > 0.2


def test_titles_keep_their_places_when_others_come(capfd: pytest.CaptureFixture[str]) -> None:
    vectors, of = kinds()
    before = layout(vectors[:100], QUICK)
    start = np.full((120, 2), np.nan)
    start[:100] = before
    places = layout(vectors, QUICK, start=start)
    assert moved(places[:100], before) < 0.12
    assert moved(laid_out()[:100], before) > 0.12
    assert share_of_own_kind(places, of, range(100, 120)) > 0.9
    assert np.isnan(start[100:]).all()
    assert capfd.readouterr() == ("", "")


def test_titles_keep_their_places_when_others_go_or_change() -> None:
    vectors, _ = kinds()
    before = laid_out()
    assert moved(layout(vectors[::2], QUICK, start=before[::2]), before[::2]) < 0.15
    changed = vectors.copy()
    changed[:10] = vectors[10:20]
    assert moved(layout(changed, QUICK, start=before)[10:], before[10:]) < 0.12


def test_an_earlier_map_of_few_of_the_titles_still_says_which_way_is_up() -> None:
    vectors, of = kinds()
    before = laid_out()
    turned = before @ np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32) + 50
    start = np.full((120, 2), np.nan, np.float32)
    start[:40] = turned[:40]
    places = layout(vectors, QUICK, start=start)
    assert share_of_own_kind(places, of) > 0.95
    for kind in range(3):
        kept = of[:40] == kind
        aside = np.linalg.norm(places[:40][kept].mean(axis=0) - turned[:40][kept].mean(axis=0))
        assert aside < 0.5 * radius(turned)


def test_a_map_can_start_from_places_all_in_one_point() -> None:
    vectors, of = kinds((20, 20))
    places = layout(vectors, QUICK, start=np.zeros((40, 2)))
    assert np.isfinite(places).all()
    few = layout(vectors[:3], start=np.zeros((3, 2)))
    assert np.isfinite(few).all()
    assert len(of) == 40


def test_few_titles_are_turned_to_their_earlier_places_too() -> None:
    vectors, _ = kinds((2, 2))
    before = layout(vectors)
    turned = np.column_stack([-before[:, 1], before[:, 0]]) * 3 + 7
    assert np.allclose(layout(vectors, start=turned), turned, atol=1e-4)


def test_of_very_many_titles_some_are_laid_out_and_the_rest_placed_amid_their_nearest() -> None:
    vectors, of = kinds((60, 60, 60))
    reports: list[tuple[str, int, int]] = []
    config = LayoutConfig(perplexity=8, largest=70)
    places = layout(vectors, config, progress=lambda *report: reports.append(report))
    assert np.isfinite(places).all()
    assert share_of_own_kind(places, of) > 0.95
    assert len({tuple(place) for place in places.tolist()}) == 180
    assert reports[-1] == ("placing", 110, 110)
    assert ("neighbours", 70, 70) in reports
    assert np.array_equal(places, layout(vectors, config))


def test_progress_goes_up_to_the_end() -> None:
    reports: list[tuple[str, int, int]] = []
    layout(kinds((20, 20))[0], QUICK, progress=lambda *report: reports.append(report))
    assert [stage for stage, _, _ in reports[:2]] == ["neighbours", "layout"]
    steps = [(done, total) for stage, done, total in reports if stage == "layout"]
    assert steps == [(done, 750) for done in range(10, 751, 10)]


def test_work_ends_when_progress_raises() -> None:
    class EnoughError(Exception):
        """Raised to stop."""

    seen = []

    def stop(stage: str, done: int, total: int) -> None:
        seen.append(done)
        if stage == "layout" and done >= 30:
            raise EnoughError

    with pytest.raises(EnoughError):
        layout(kinds((20, 20))[0], QUICK, progress=stop)
    assert seen[-1] == 30


def test_mistakes_are_named() -> None:
    vectors, _ = kinds((5, 5))
    with pytest.raises(FeatureError, match=r"vectors must be a matrix \(n_titles, dim\).* got the shape \(12,\)"):
        layout(vectors[0])
    broken = vectors.copy()
    broken[7, 2] = np.inf
    with pytest.raises(FeatureError, match="vectors must be finite; row 7 is not"):
        layout(broken)
    with pytest.raises(FeatureError, match=r"start must have the shape \(10, 2\); got \(9, 2\)"):
        layout(vectors, start=np.zeros((9, 2)))
    for settings, told in (
        ({"seed": -1}, "LayoutConfig.seed must be between 0"),
        ({"perplexity": 0.5}, "LayoutConfig.perplexity must be between 1 and 1000; got 0.5"),
        ({"largest": 4}, "LayoutConfig.largest must be between 5"),
    ):
        with pytest.raises(ConfigError, match=told):
            LayoutConfig(**settings)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = kinds((5, 5))
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    told = "the map of a catalogue needs the package 'openTSNE'.*reeltag\\[retrieval\\]"
    with pytest.raises(MissingExtraError, match=told):
        layout(vectors)
    assert layout(vectors[:3]).shape == (3, 2)
