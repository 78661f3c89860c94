"""What becomes of clusters."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from reeltag.retrieval.changes import changes_of, matched, overlap


def test_overlap_counts_common_titles() -> None:
    counts = overlap([0, 0, 1, -1, 1], [1, 1, 0, 0, -1], (2, 3))
    assert counts.tolist() == [[0, 2, 0], [1, 0, 0]]
    assert overlap([], [], (1, 2)).tolist() == [[0, 0]]


def test_pairs_are_those_with_the_greatest_sum_of_jaccard_indices() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        counts = random.integers(0, 30, (4, 4)) + 80 * np.eye(4, dtype=np.int64)[random.permutation(4)]
        jaccard = [
            [counts[e, n] / (counts[e].sum() + counts[:, n].sum() - counts[e, n]) for n in range(4)] for e in range(4)
        ]
        best = max(permutations(range(4)), key=lambda order, j=jaccard: sum(j[e][n] for e, n in enumerate(order)))
        right = {n: e for e, n in enumerate(best) if jaccard[e][n] >= 0.5}
        assert matched(counts) == right


def test_clusters_with_less_than_half_in_common_do_not_match() -> None:
    assert matched(np.array([[10, 11], [0, 0]])) == {1: 0}
    assert matched(np.array([[40, 0], [45, 1]])) == {0: 1}
    assert matched(np.array([[30, 30, 30]])) == {}


def test_without_common_titles_centres_decide() -> None:
    centres = np.eye(3, dtype=np.float32) + 5
    assert matched(np.zeros((3, 3), np.int64), centres, centres[[2, 0, 1]]) == {0: 2, 1: 0, 2: 1}
    assert matched(np.zeros((3, 2), np.int64), centres, np.ones((2, 7), np.float32)) == {}
    assert matched(np.zeros((3, 2), np.int64)) == {}


def membership(**titles: str) -> dict[str, str]:
    """Return from title to sub-genre: ``a="1 1 2"`` names the titles a0, a1 and a2."""
    return {f"{name}{n}": sub for name, subs in titles.items() for n, sub in enumerate(subs.split())}


def test_what_stays_comes_and_goes_is_counted() -> None:
    before = membership(a="H/1 H/1 H/1", b="H/2 H/2", gone="H/1 H/2")
    after = membership(a="H/1 H/1 H/2", b="H/2 H/2", new="H/3 H/3 H/1")
    told = changes_of(before, after, {"H/1": "x", "H/2": "z", "H/3": "w"}, {"H/1": "x", "H/2": "y", "H/4": "v"})
    assert (told.n_common, told.n_new, told.n_gone) == (5, 3, 2)
    assert told.stayed == pytest.approx(4 / 5)
    assert (told.kept, told.new, told.gone) == (("H/1", "H/2"), ("H/3",), ("H/4",))
    assert told.renamed == {"H/2": "y"}
    assert (told.split, told.merged) == ({}, {})


def test_a_cluster_that_falls_into_two_is_split() -> None:
    before = membership(a="1 1 1 1 1 1 1 1 1 1", b="2 2 2 2")
    after = membership(a="1 1 1 1 1 1 3 3 3 3", b="2 2 2 2")
    told = changes_of(before, after, dict.fromkeys("132", ""), dict.fromkeys("12", ""))
    assert told.split == {"1": ("1", "3")}
    assert told.merged == {}


def test_two_that_become_one_are_merged() -> None:
    before = membership(a="1 1 1 1 1 1", b="2 2 2 2", c="3 3 3")
    after = membership(a="1 1 1 1 1 1", b="1 1 1 1", c="3 3 3")
    told = changes_of(before, after, dict.fromkeys("13", ""), dict.fromkeys("123", ""))
    assert told.merged == {"1": ("1", "2")}
    assert told.split == {}
    assert told.gone == ("2",)


def test_titles_that_wander_are_neither() -> None:
    before = membership(a="1 1 1 1 1 1 1 1", b="2 2 2 2 2 2 2 2")
    after = membership(a="1 1 1 1 1 2 2 2", b="2 2 2 2 2 1 1 1")
    told = changes_of(before, after, dict.fromkeys("12", ""), dict.fromkeys("12", ""))
    assert (told.split, told.merged, told.stayed) == ({}, {}, 10 / 16)


def test_no_common_titles() -> None:
    told = changes_of({"a": "1"}, {"b": "1"}, {"1": ""}, {"1": ""})
    assert (told.stayed, told.n_common, told.n_new, told.n_gone) == (None, 0, 1, 1)


def test_titles_in_no_subgenre_stay_where_they_are() -> None:
    told = changes_of({"a": "", "b": "1"}, {"a": "", "b": ""}, {}, {"1": ""})
    assert told.stayed == 0.5


def test_without_earlier_subgenres_nothing_could_stay() -> None:
    told = changes_of({"a": "", "b": ""}, {"a": "1", "b": "2"}, {"1": "x", "2": "y"}, {})
    assert (told.stayed, told.n_common, told.new) == (None, 2, ("1", "2"))
