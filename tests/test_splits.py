"""Splits: sizes, label proportions, whole groups, determinism, and every impossible case by name."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.duplicates import DuplicateConfig
from reeltag.errors import ConfigError, SplitError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.splits import SplitAssignment, SplitConfig, assign_splits, cross_folds, duplicate_groups

SHARED = Path(os.environ.get("REELTAG_SHARED", Path(__file__).parents[1].parent / "shared"))
Targets = npt.NDArray[np.float32]


def catalogue(
    n: int, *, plots: Sequence[str | None] | None = None, split: Sequence[str | None] | None = None
) -> Catalogue:
    columns = {"id": pl.Series([f"tt{row}" for row in range(n)], dtype=pl.String)}
    if plots is not None:
        columns["plot"] = pl.Series(plots, dtype=pl.String)
    if split is not None:
        columns["split"] = pl.Series(split, dtype=pl.String)
    return Catalogue.from_frame(pl.DataFrame(columns))


def random_targets(n: int, frequencies: Sequence[float], seed: int = 0) -> Targets:
    """Labels of the given frequencies; every title has at least one."""
    targets = (np.random.default_rng(seed).random((n, len(frequencies))) < frequencies).astype(np.float32)
    targets[~targets.any(axis=1), 0] = 1
    return targets


def story(seed: int) -> str:
    return " ".join(f"word{random.Random(seed).random()}x{i}".replace(".", "") for i in range(15))


# ---------------------------------------------------------------- assigned splits


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.2, 0.2), (0.05, 0.05), (0.3, 0.6)])
def test_sizes_and_label_proportions_are_kept(validation: float, test: float) -> None:
    targets = random_targets(2_000, [0.6, 0.3, 0.1, 0.05])
    config = SplitConfig(validation=validation, test=test)
    assignment = assign_splits(catalogue(2_000), targets, config)
    assert assignment.origin == "assigned"
    assert assignment.counts["background"] == 0
    for name, fraction in config.fractions.items():
        rows = assignment.rows_of(name)
        assert len(rows) == pytest.approx(fraction * 2_000, abs=max(1, 0.03 * fraction * 2_000))
        proportions = targets[rows].sum(axis=0) / targets.sum(axis=0)
        assert proportions == pytest.approx(np.full(4, fraction), abs=0.02)


def test_stratified_proportions_beat_random_ones() -> None:
    targets = random_targets(1_000, [0.5, 0.1, 0.05, 0.03, 0.02])
    rows = assign_splits(catalogue(1_000), targets, SplitConfig()).rows_of("test")
    stratified = np.abs(targets[rows].mean(axis=0) - targets.mean(axis=0)).mean()
    errors = []
    for seed in range(30):
        drawn = np.random.default_rng(seed).choice(1_000, len(rows), replace=False)
        errors.append(np.abs(targets[drawn].mean(axis=0) - targets.mean(axis=0)).mean())
    assert stratified < 0.3 * np.mean(errors)


def test_titles_without_known_labels_are_background() -> None:
    targets = random_targets(100, [0.5, 0.5])
    targets[::4] = 0
    assignment = assign_splits(catalogue(100), targets)
    assert assignment.n_unlabelled == 25
    assert set(assignment.rows_of("background")) == set(range(0, 100, 4))


def test_known_titles_without_any_of_the_labels_are_split() -> None:
    targets = random_targets(100, [0.5, 0.5])
    targets[:40] = 0
    known = np.ones(100, np.bool_)
    known[:10] = False
    assignment = assign_splits(catalogue(100), targets, known=known)
    assert assignment.counts == {"train": 63, "validation": 9, "test": 18, "background": 10}


def test_same_seed_same_splits_other_seed_other_splits() -> None:
    targets = random_targets(200, [0.5, 0.3])
    first = assign_splits(catalogue(200), targets, SplitConfig(seed=1))
    again = assign_splits(catalogue(200), targets, SplitConfig(seed=1))
    other = assign_splits(catalogue(200), targets, SplitConfig(seed=2))
    assert first.splits == again.splits
    assert first.splits != other.splits


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    assign_splits(catalogue(50), random_targets(50, [0.5, 0.3]))
    assert np.array_equal(before, np.random.get_state()[1])


def test_near_same_plots_share_a_split() -> None:
    plots = [story(row // 3) for row in range(90)]
    targets = random_targets(90, [0.5, 0.5])
    assignment = assign_splits(catalogue(90, plots=plots), targets)
    assert assignment.groups is not None
    for number in range(30):
        assert len(set(assignment.splits[3 * number : 3 * number + 3])) == 1
        assert len(set(assignment.groups[3 * number : 3 * number + 3].tolist())) == 1
    assert assignment.counts == {"train": 63, "validation": 9, "test": 18, "background": 0}


def test_grouping_can_be_turned_off() -> None:
    plots = [story(0)] * 40
    targets = random_targets(40, [0.5])
    config = SplitConfig(group_duplicates=False)
    assert assign_splits(catalogue(40, plots=plots), targets, config).counts["test"] == 8
    assert duplicate_groups(catalogue(40, plots=plots), config).tolist() == list(range(40))
    with pytest.raises(SplitError, match="not near-same; got 40 labelled titles in 1 groups"):
        assign_splits(catalogue(40, plots=plots), targets)


def test_thresholds_of_duplicates_reach_the_search() -> None:
    first, second = story(1), story(2)
    half = " ".join(first.split()[:12] + second.split()[:4])
    films = catalogue(2, plots=[first, half])
    assert len(set(duplicate_groups(films).tolist())) == 1
    strict = SplitConfig(duplicates=DuplicateConfig(plot_similarity=1.0, plot_containment=1.0))
    assert len(set(duplicate_groups(films, strict).tolist())) == 2


@settings(max_examples=60, deadline=None)
@given(
    n_groups=st.integers(3, 40),
    n_labels=st.integers(1, 6),
    seed=st.integers(0, 1_000),
    fractions=st.sampled_from([(0.1, 0.2), (0.2, 0.2), (0.0, 0.3), (0.25, 0.0), (0.01, 0.01), (0.45, 0.45)]),
)
def test_groups_never_cross_and_no_split_is_empty(
    n_groups: int, n_labels: int, seed: int, fractions: tuple[float, float]
) -> None:
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), generator.integers(1, 4, n_groups))
    order = generator.permutation(len(group))
    group = group[order]
    plots = [story(int(number)) for number in group]
    targets = random_targets(len(group), generator.random(n_labels).tolist(), seed)
    config = SplitConfig(validation=fractions[0], test=fractions[1], seed=seed)
    assignment = assign_splits(catalogue(len(group), plots=plots), targets, config)
    for number in range(n_groups):
        assert len({assignment.splits[row] for row in np.flatnonzero(group == number)}) == 1
    # the largest group has three titles, and two splits that are due less than one must each have one
    tolerance = 4 if min(config.fractions.values()) * len(group) >= 3 else 7
    for name, fraction in config.fractions.items():
        size = assignment.counts[name]
        assert size >= 1
        assert abs(size - fraction * len(group)) < tolerance
    assert sum(assignment.counts.values()) == len(group)
    assert {name for name, count in assignment.counts.items() if count} == set(config.fractions)


def test_one_large_group_does_not_empty_a_split() -> None:
    plots = [story(0)] * 30 + [story(row) for row in range(1, 11)]
    assignment = assign_splits(catalogue(40, plots=plots), random_targets(40, [1.0]))
    assert len(set(assignment.splits[:30])) == 1
    assert assignment.splits[0] == "train"
    assert assignment.counts["validation"] >= 1
    assert assignment.counts["test"] >= 1


# ---------------------------------------------------------------- tiny and odd catalogues


def test_twenty_titles() -> None:
    assignment = assign_splits(catalogue(20), random_targets(20, [0.7, 0.3, 0.2]))
    assert assignment.counts == {"train": 14, "validation": 2, "test": 4, "background": 0}


def test_three_titles_fill_three_splits() -> None:
    assert sorted(assign_splits(catalogue(3), np.ones((3, 1), np.float32)).splits) == ["test", "train", "validation"]


@pytest.mark.parametrize("n", [10, 20, 50])
def test_a_label_per_title(n: int) -> None:
    counts = assign_splits(catalogue(n), np.eye(n, dtype=np.float32)).counts
    assert counts["train"] == pytest.approx(0.7 * n, abs=1)
    assert counts["test"] == pytest.approx(0.2 * n, abs=1)


def test_one_label_on_all_titles() -> None:
    counts = assign_splits(catalogue(200), np.ones((200, 1), np.float32)).counts
    assert counts == {"train": 140, "validation": 20, "test": 40, "background": 0}


def test_no_labels_at_all_but_known_titles() -> None:
    known = np.ones(10, np.bool_)
    counts = assign_splits(catalogue(10), np.zeros((10, 0), np.float32), known=known).counts
    assert counts == {"train": 7, "validation": 1, "test": 2, "background": 0}


def test_more_labels_than_are_kept_in_proportion() -> None:
    targets = random_targets(300, [0.5] + [0.1] * 60)
    counts = assign_splits(catalogue(300), targets, SplitConfig(max_labels=3)).counts
    assert counts["test"] == pytest.approx(60, abs=2)


def test_max_labels_keeps_the_most_frequent() -> None:
    targets = random_targets(1_000, [0.05] * 30 + [0.3])
    rows = assign_splits(catalogue(1_000), targets, SplitConfig(max_labels=1)).rows_of("test")
    assert targets[rows, -1].sum() / targets[:, -1].sum() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (SplitConfig(validation=0, test=0), {"train"}),
        (SplitConfig(validation=0), {"train", "test"}),
        (SplitConfig(test=0), {"train", "validation"}),
    ],
)
def test_a_fraction_of_zero_makes_no_such_split(config: SplitConfig, names: set[str]) -> None:
    assert set(assign_splits(catalogue(30), random_targets(30, [0.5]), config).splits) == names


# ---------------------------------------------------------------- given splits


def test_the_catalogues_own_splits_are_honoured() -> None:
    given_splits = ["train", "test", None, "validation", "background", "train"]
    targets = np.array([[1], [1], [1], [1], [0], [0]], np.float32)
    assignment = assign_splits(catalogue(6, split=given_splits), targets)
    assert assignment.splits == ("train", "test", "background", "validation", "background", "train")
    assert (assignment.origin, assignment.groups) == ("catalogue", None)
    assert (assignment.n_unassigned, assignment.n_unlabelled) == (1, 2)
    assert assignment.counts == {"train": 2, "validation": 1, "test": 1, "background": 2}
    assert assignment.rows_of("train").tolist() == [0, 5]


def test_an_empty_split_column_counts_as_none() -> None:
    assignment = assign_splits(catalogue(10, split=[None] * 10), np.ones((10, 1), np.float32))
    assert assignment.origin == "assigned"
    assert assignment.counts["train"] == 7


def test_splits_without_training_titles_are_refused() -> None:
    with pytest.raises(SplitError, match=r"memory: column 'split' has no title in 'train'; got background, test"):
        assign_splits(catalogue(3, split=["test", None, "test"]), np.ones((3, 1), np.float32))


def test_an_assignment_goes_back_into_the_catalogue() -> None:
    films = catalogue(30)
    assignment = assign_splits(films, random_targets(30, [0.5]))
    again = assign_splits(films.with_splits(assignment.splits), random_targets(30, [0.5]))
    assert again.splits == assignment.splits
    assert again.origin == "catalogue"


# ---------------------------------------------------------------- impossible cases


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_titles_are_named(n: int) -> None:
    with pytest.raises(SplitError, match=f"3 splits need at least as many .* got {n} labelled titles in {n} groups"):
        assign_splits(catalogue(n), np.ones((n, 1), np.float32))


def test_unlabelled_titles_do_not_help() -> None:
    targets = np.zeros((100, 2), np.float32)
    targets[:2] = 1
    with pytest.raises(SplitError, match="got 2 labelled titles"):
        assign_splits(catalogue(100), targets)


def test_targets_of_another_length_are_refused() -> None:
    with pytest.raises(SplitError, match=r"targets must have one row per title \(5\); got shape \(4, 2\)"):
        assign_splits(catalogue(5), np.ones((4, 2), np.float32))
    with pytest.raises(SplitError, match=r"targets must have one row per title \(5\); got shape \(5,\)"):
        assign_splits(catalogue(5), np.ones(5, np.float32))
    with pytest.raises(SplitError, match=r"known must have one entry per title \(5\)"):
        assign_splits(catalogue(5), np.ones((5, 2), np.float32), known=np.ones(4, np.bool_))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": -0.1}, "validation must be between 0 and 1; got -0.1"),
        ({"test": 1.5}, "test must be between 0 and 1; got 1.5"),
        ({"validation": 0.5, "test": 0.5}, r"sum must be below 1; got 0.5 \+ 0.5"),
        ({"seed": -1}, "seed"),
        ({"max_labels": 0}, "max_labels"),
    ],
)
def test_config_out_of_range_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**options)


def test_config_survives_json() -> None:
    config = SplitConfig(seed=3, duplicates=DuplicateConfig(min_words=7))
    assert from_json(SplitConfig, to_json(config)) == config


# ---------------------------------------------------------------- cross folds


@settings(max_examples=40, deadline=None)
@given(n_groups=st.integers(5, 60), k=st.integers(2, 5), seed=st.integers(0, 100))
def test_cross_folds_keep_groups_whole_and_sizes_even(n_groups: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.repeat(generator.permutation(n_groups) * 7, generator.integers(1, 3, n_groups))
    targets = random_targets(len(groups), [0.6, 0.3, 0.1], seed)
    folds = cross_folds(groups, targets, k, seed)
    for number in np.unique(groups):
        assert len(set(folds[groups == number].tolist())) == 1
    sizes = np.bincount(folds, minlength=k)
    assert len(sizes) == k
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 4
    assert np.array_equal(folds, cross_folds(groups, targets, k, seed))


def test_cross_folds_keep_labels_in_proportion() -> None:
    targets = random_targets(1_000, [0.5, 0.1, 0.05])
    folds = cross_folds(np.arange(1_000), targets, 5, 0)
    for fold in range(5):
        assert targets[folds == fold].sum(axis=0) / targets.sum(axis=0) == pytest.approx(np.full(3, 0.2), abs=0.02)


@pytest.mark.parametrize(
    ("n", "k", "message"),
    [(5, 1, "k must be at least 2; got 1"), (3, 4, "4 splits need at least as many"), (0, 2, "2 splits need")],
)
def test_impossible_cross_folds_are_named(n: int, k: int, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        cross_folds(np.arange(n), np.ones((n, 1), np.float32), k, 0)


def test_cross_folds_of_other_lengths_are_refused() -> None:
    with pytest.raises(SplitError, match=r"got \(3,\), \(4, 1\)"):
        cross_folds(np.arange(3), np.ones((4, 1), np.float32), 2, 0)


# ---------------------------------------------------------------- real data


@pytest.mark.skipif(not (SHARED / "data/films.parquet").is_file(), reason="the shared films are not there")
def test_real_films_split_in_proportion() -> None:
    films = Catalogue.read(SHARED / "data/films.parquet")
    films = films.take(np.arange(0, len(films), 8))
    films = Catalogue.from_frame(films.frame.drop("split"))
    space = LabelSpace.learn(films.lists("genres"), LabelConfig(min_count=50))
    targets, known = space.encode(films.lists("genres"))
    assignment: SplitAssignment = assign_splits(films, targets, known=known)
    rows = assignment.rows_of("test")
    assert targets[rows].sum(axis=0) / targets.sum(axis=0) == pytest.approx(np.full(len(space), 0.2), abs=0.02)
    assert assignment.counts["background"] == (~known).sum()
