"""Folds that keep copies together: what is a copy, and that whole groups are dealt evenly, alike for a seed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue
from reeltag.errors import FeatureError
from reeltag.graph.copy_folds import copy_groups, deal_groups

HEAT: dict[str, Any] = {"title": "Heat", "year": 1995, "directors": ["Michael Mann"]}
TWO: dict[str, Any] = HEAT | {"directors": ["Joel Coen", "Ethan Coen"]}


def groups_of(*films: dict[str, Any]) -> list[Any]:
    rows = [{"id": f"t{number}", **film} for number, film in enumerate(films)]
    types: dict[str, Any] = {"id": pl.String, "title": pl.String, "year": pl.Int32, "directors": pl.List(pl.String)}
    return list(copy_groups(Catalogue.from_frame(pl.DataFrame(rows, schema=types), source="films.csv")))


@pytest.mark.parametrize(
    ("film", "other", "copies"),
    [
        (HEAT, HEAT, True),
        (HEAT, HEAT | {"title": "  HEAT "}, True),
        (HEAT | {"title": "Die Straße"}, HEAT | {"title": "DIE STRASSE"}, True),
        (HEAT, HEAT | {"directors": ["michael mann"]}, True),
        (TWO, TWO | {"directors": ["Ethan Coen", "Joel Coen"]}, True),
        (HEAT | {"year": None}, HEAT | {"year": None}, True),
        (HEAT | {"directors": None}, HEAT | {"directors": []}, True),
        (HEAT, HEAT | {"year": 1996}, False),
        (HEAT, HEAT | {"year": None}, False),
        (HEAT, HEAT | {"title": "Heat 2"}, False),
        (HEAT, HEAT | {"directors": []}, False),
        (TWO, TWO | {"directors": ["Joel Coen"]}, False),
        (HEAT | {"title": None}, HEAT | {"title": None}, False),
        (HEAT | {"title": " "}, HEAT | {"title": " "}, False),
    ],
)
def test_what_is_a_copy(film: dict[str, Any], other: dict[str, Any], copies: bool) -> None:
    first, second = groups_of(film, other)
    assert (first == second) == copies


def test_groups_are_numbered_without_gaps() -> None:
    assert groups_of(HEAT, {"title": None}, HEAT, TWO, {"title": None}, TWO) == [0, 1, 0, 2, 3, 2]


def test_a_catalogue_may_lack_every_field() -> None:
    bare = Catalogue.from_frame(pl.DataFrame({"id": ["a", "b", "c"]}), source="films.csv")
    assert copy_groups(bare).tolist() == [0, 1, 2]
    titled = Catalogue.from_frame(pl.DataFrame({"id": ["a", "b", "c"], "title": ["x", "y", "X"]}), source="films.csv")
    assert copy_groups(titled).tolist() == [0, 1, 0]


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("largest", [1, 2, 8])
def test_whole_groups_are_dealt_evenly(folds: int, largest: int) -> None:
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(40), rng.integers(1, largest + 1, size=40)))
    fold = deal_groups(groups, folds, seed=3)
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in range(40))
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 1  # small groups come last and even the folds out
    np.testing.assert_array_equal(deal_groups(groups, folds, seed=3), fold)
    assert not np.array_equal(deal_groups(groups, folds, seed=4), fold)


def test_no_fold_is_empty_beside_a_large_group() -> None:
    fold = deal_groups(np.array([0] * 50 + [1, 2]), 3, seed=0)
    assert sorted(np.bincount(fold).tolist()) == [1, 1, 50]


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"3 folds need .* not copies of each other; got 2"):
        deal_groups(np.array([0, 0, 0, 1]), 3, seed=0)
    with pytest.raises(FeatureError, match=r"2 folds need .*; got 0"):
        deal_groups(np.zeros(0, np.int64), 2, seed=0)


def test_a_hundred_thousand_films_take_no_time() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    frame = pl.DataFrame(
        {"id": [f"t{row}" for row in range(n)], "title": [f"Film {k}" for k in rng.integers(n, size=n)]}
    )
    graph = Catalogue.from_frame(frame, source="films.csv")
    start = time.perf_counter()
    fold = deal_groups(copy_groups(graph), 5, seed=0)
    assert time.perf_counter() - start < 10  # a fraction of a second
    assert np.ptp(np.bincount(fold)) <= 1
