from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reeltag.errors import ConfigError, EvaluationError
from reeltag.evaluation import ranking
from reeltag.evaluation.propensity import (
    PropensityConfig,
    label_propensities,
    propensity_scored_ndcg_at_k,
    propensity_scored_precision_at_k,
    rank_titles_by_propensity,
)

from .samples import CASES, draw

Order = tuple[int, ...]


def propensities_of(n_labels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 1.0, n_labels)


def orders_of(scores: np.ndarray) -> list[Order]:
    """Return every order of the labels that falls, all orders of the tied among them."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


def gain(truth: np.ndarray, order: Order, worth: np.ndarray, k: int) -> float:
    return sum(worth[label] for label in order[:k] if truth[label])


def discounted(truth: np.ndarray, order: Order, worth: np.ndarray, k: int) -> float:
    """Return one title's DCG over the discounts at as many positions as it has true labels, at most k."""
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(truth), int(truth.sum()))))
    return sum(worth[label] / math.log2(place + 2) for place, label in enumerate(order[:k]) if truth[label]) / ideal


def by_loops(targets: np.ndarray, scores: np.ndarray, propensities: np.ndarray, k: int) -> tuple[float, float, float]:
    """Return PSP@k, PSnDCG@k and PSP@k before it is divided by the best; the best is the best of all orders."""
    worth, sums, n_rated = 1 / propensities, np.zeros(4), 0
    for truth, row in zip(targets, scores, strict=True):
        if not truth.any():
            continue
        n_rated += 1
        said, every = orders_of(row), list(itertools.permutations(range(len(row))))
        sums += [
            np.mean([gain(truth, order, worth, k) for order in said]),
            max(gain(truth, order, worth, k) for order in every),
            np.mean([discounted(truth, order, worth, k) for order in said]),
            max(discounted(truth, order, worth, k) for order in every),
        ]
    return sums[0] / sums[1], sums[2] / sums[3], sums[0] / k / n_rated


def test_propensities_are_those_of_the_formula() -> None:
    counts, n_titles, a, b = [0, 1, 7, 5000], 14_146, 0.55, 1.5
    found = label_propensities(counts, n_titles)
    for count, propensity in zip(counts, found, strict=True):
        c = (math.log(n_titles) - 1) * (b + 1) ** a
        assert propensity == pytest.approx(1 / (1 + c * math.exp(-a * math.log(count + b))))
    wikipedia = label_propensities(counts, n_titles, PropensityConfig(a=0.5, b=0.4))
    c = (math.log(n_titles) - 1) * 1.4**0.5
    assert wikipedia[2] == pytest.approx(1 / (1 + c * 7.4**-0.5))


def test_propensities_rise_with_the_count_and_stay_below_one() -> None:
    found = label_propensities(range(0, 1000, 10), 1000)
    assert (np.diff(found) > 0).all()
    assert 0 < found[0] < found[-1] < 1


@pytest.mark.parametrize("n_titles", [1, 2])
def test_of_two_titles_every_propensity_is_one(n_titles: int) -> None:
    assert label_propensities([0, 1], n_titles).tolist() == [1.0, 1.0]
    assert (label_propensities([0, 1], 3) < 1).all()


@pytest.mark.parametrize(
    ("counts", "n_titles", "message"),
    [
        ([1, 11], 10, r"between 0 and the 10 training titles; got 1 to 11"),
        ([-1, 2], 10, r"between 0 and the 10 training titles; got -1 to 2"),
        ([1], 0, "at least 1 training title; got 0"),
        ([], 5, r"shape \(n_labels,\) with a label; got \(0,\)"),
        ([[1, 2]], 5, r"shape \(n_labels,\) with a label; got \(1, 2\)"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: list[int], n_titles: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        label_propensities(counts, n_titles)


@pytest.mark.parametrize(("wrong", "name"), [({"a": -1}, "a"), ({"b": 0}, "b")])
def test_shapes_of_the_curve_that_cannot_be(wrong: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"PropensityConfig\.{name} must be between"):
        PropensityConfig(**wrong)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_figures_agree_with_loops_over_all_orders(case: str, k: int) -> None:
    targets, probabilities = draw(case)
    targets, probabilities = targets[:8, :5], np.round(probabilities[:8, :5] * 3) / np.float32(3)
    propensities = propensities_of(targets.shape[1])
    if not targets.any():
        targets[0, 0] = True
    precision, ndcg, raw = by_loops(targets, probabilities, propensities, k)
    (found,) = rank_titles_by_propensity(targets, probabilities, propensities, (k,))
    assert found.k == k
    assert found.precision == pytest.approx(precision)
    assert found.ndcg == pytest.approx(ndcg)
    assert found.raw_precision == pytest.approx(raw)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_figures_agree_with_loops_on_any_ties(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    targets = data.draw(hnp.arrays(bool, shape))
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.5, 1.0])))
    propensities = data.draw(hnp.arrays(float, shape[1], elements=st.sampled_from([0.1, 0.5, 1.0])))
    k = data.draw(st.integers(1, 5))
    if targets.any():
        precision, ndcg, _ = by_loops(targets, scores, propensities, k)
        assert propensity_scored_precision_at_k(targets, scores, propensities, k) == pytest.approx(precision)
        assert propensity_scored_ndcg_at_k(targets, scores, propensities, k) == pytest.approx(ndcg)


def test_by_hand() -> None:
    targets = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.2, 0.1], [0.3, 0.2, 0.1]], np.float32)
    propensities = np.array([1.0, 0.5, 0.25])
    one = rank_titles_by_propensity(targets, scores, propensities, (1,))[0]
    assert one.precision == pytest.approx((1 + 0) / (4 + 2)), "the rare label of the first title would have been best"
    assert one.raw_precision == pytest.approx((1 + 0) / 2), "a title without true labels takes no part"
    assert propensity_scored_precision_at_k(targets, scores, propensities, 2) == pytest.approx((1 + 2) / (5 + 2))


def test_with_equal_propensities_it_is_precision_over_the_best_precision() -> None:
    targets, scores = draw("tied")
    even = np.full(targets.shape[1], 0.3)
    best = np.minimum(targets.sum(axis=1), 3)[targets.any(axis=1)].mean() / 3
    expected = ranking.precision_at_k(targets, scores, 3) / best
    assert propensity_scored_precision_at_k(targets, scores, even, 3) == pytest.approx(expected)
    assert propensity_scored_ndcg_at_k(targets, scores, even, 3) == pytest.approx(ranking.ndcg_at_k(targets, scores, 3))
    raw = propensity_scored_precision_at_k(targets, scores, even, 3, normalise=False)
    assert raw == pytest.approx(ranking.precision_at_k(targets, scores, 3) / 0.3)


def test_no_order_beats_the_rarest_true_label_first() -> None:
    targets, _ = draw("plain")
    propensities = propensities_of(targets.shape[1])
    for found in rank_titles_by_propensity(targets, targets / propensities, propensities, (1, 3, 5, 20)):
        assert found.precision == pytest.approx(1.0)
        assert found.ndcg == pytest.approx(1.0)
    for seed in range(5):
        scores = np.random.default_rng(seed).random(targets.shape)
        for found in rank_titles_by_propensity(targets, scores, propensities, (1, 3, 5)):
            assert 0 < (found.precision or 0) < 1
            assert 0 < (found.ndcg or 0) < 1


def test_a_rare_label_found_is_worth_more_than_a_frequent_one() -> None:
    targets = np.array([[1, 0], [0, 1]], bool)
    propensities = label_propensities([900, 3], 1000)
    frequent = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    assert ranking.precision_at_k(targets, frequent, 1) == ranking.precision_at_k(targets, 1 - frequent, 1) == 0.5
    first, second = (propensity_scored_precision_at_k(targets, s, propensities, 1) for s in (frequent, 1 - frequent))
    assert first < 0.2
    assert second > 0.8


def test_figures_at_several_k_are_those_at_each() -> None:
    targets, scores = draw("tied")
    propensities = propensities_of(7)
    together = rank_titles_by_propensity(targets, scores, propensities, (5, 1, 3))
    assert [found.k for found in together] == [5, 1, 3]
    for found in together:
        (alone,) = rank_titles_by_propensity(targets, scores, propensities, (found.k,))
        assert alone.precision == pytest.approx(found.precision)
        assert alone.ndcg == pytest.approx(found.ndcg)


def test_more_titles_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores = draw("tied")
    whole = rank_titles_by_propensity(targets, scores, propensities_of(7), (3,))[0]
    monkeypatch.setattr(ranking, "_CELLS_PER_BLOCK", 10)
    assert rank_titles_by_propensity(targets, scores, propensities_of(7), (3,))[0].precision == pytest.approx(
        whole.precision
    )


def test_nothing_true_is_undefined() -> None:
    targets, scores, propensities = np.zeros((3, 2), bool), np.ones((3, 2), np.float32), np.full(2, 0.5)
    (found,) = rank_titles_by_propensity(targets, scores, propensities, (2,))
    assert (found.k, found.precision, found.ndcg, found.raw_precision) == (2, None, None, None)
    assert math.isnan(propensity_scored_precision_at_k(targets, scores, propensities, 2))
    assert math.isnan(propensity_scored_ndcg_at_k(targets, scores, propensities, 2))
    assert rank_titles_by_propensity(np.ones((3, 2)), scores, propensities, ()) == ()


@pytest.mark.parametrize(
    ("propensities", "k", "message"),
    [
        (np.array([0.5, 0.0]), 1, r"must be in \(0, 1\]; got values from 0 to 0.5"),
        (np.array([0.5, 1.5]), 1, r"must be in \(0, 1\]; got values from 0.5 to 1.5"),
        (np.array([0.5, np.nan]), 1, r"must be in \(0, 1\]; got values from nan"),
        (np.array([0.5]), 1, r"must be one per label \(2\); got shape \(1,\)"),
        (np.array([0.5, 0.5]), 0, "k must be at least 1; got 0"),
    ],
)
def test_mistakes_are_named(propensities: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        rank_titles_by_propensity(np.eye(2), np.eye(2, dtype=np.float32), propensities, (k,))


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(EvaluationError, match="probabilities must have the shape of the targets"):
        rank_titles_by_propensity(np.eye(2), np.ones((2, 3), np.float32), np.full(2, 0.5), (1,))
