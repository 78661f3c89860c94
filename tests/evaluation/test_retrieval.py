from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from reeltag.errors import EvaluationError
from reeltag.evaluation import mean_gain_at, ndcg_at, rank_pool, recall_at

KINDS = ("apart", "tied", "all tied", "some last")


def pool(kind: str, seed: int, n: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Return gains and scores of the candidates of one query."""
    rng = np.random.default_rng(seed)
    gains = rng.poisson(0.8, n).astype(np.float64)
    gains[seed % n] += 1
    scores = rng.standard_normal(n).astype(np.float32)
    if kind == "tied":
        scores = np.round(scores)
    if kind == "all tied":
        scores = np.zeros_like(scores)
    if kind == "some last":
        scores[rng.random(n) < 0.6] = -np.inf
    return gains, scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2, 5, 10, 17, 30])
@pytest.mark.parametrize("seed", range(4))
def test_ndcg_agrees_with_scikit_learn(kind: str, k: int, seed: int) -> None:
    gains, scores = pool(kind, seed)
    theirs = ndcg_score([gains], [np.where(np.isneginf(scores), -99, scores)], k=k)
    assert ndcg_at(gains, scores, k) == pytest.approx(theirs)


@pytest.mark.parametrize("k", [1, 3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_both_are_the_mean_over_all_orders_of_the_tied(k: int, seed: int) -> None:
    gains, scores = pool("tied", seed, n=6)
    best = sum(g / math.log2(place + 2) for place, g in enumerate(sorted(gains, reverse=True)[:k]))
    relevant = sum(g > 0 for g in gains)
    ndcg, recall = [], []
    for order in itertools.permutations(range(6)):
        if any(scores[one] < scores[other] for one, other in itertools.pairwise(order)):
            continue
        first = order[:k]
        ndcg.append(sum(gains[c] / math.log2(place + 2) for place, c in enumerate(first)) / best)
        recall.append(sum(gains[c] > 0 for c in first) / relevant)
    assert len(ndcg) > 1
    found = rank_pool(gains, scores, k)
    assert (found.ndcg, found.recall) == pytest.approx((np.mean(ndcg), np.mean(recall)))
    assert (ndcg_at(gains, scores, k), recall_at(gains, scores, k)) == (found.ndcg, found.recall)


def test_the_best_order_has_1_and_the_worst_less() -> None:
    gains = np.array([3, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.float64)
    assert rank_pool(gains, gains, 3) == rank_pool(gains, 5 * gains - 2, 3)
    assert ndcg_at(gains, gains, 10) == 1.0
    assert recall_at(gains, gains, 3) == 1.0
    assert recall_at(gains, gains, 2) == pytest.approx(2 / 3)
    assert (ndcg_at(gains, -gains, 9), recall_at(gains, -gains, 9)) == (0.0, 0.0)


def test_a_space_that_tells_nothing_apart_has_what_random_orders_have_on_average() -> None:
    gains, scores = pool("all tied", 1)
    rng = np.random.default_rng(0)
    drawn = [rank_pool(gains, rng.random(len(gains)), 10) for _ in range(4000)]
    found = rank_pool(gains, scores, 10)
    assert found.ndcg == pytest.approx(np.mean([one.ndcg for one in drawn]), abs=0.01)
    assert found.recall == pytest.approx(10 / 17)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_gain_is_that_of_drawn_orders(kind: str) -> None:
    gains, scores = pool(kind, 2)
    rng = np.random.default_rng(0)
    drawn = [gains[np.lexsort((rng.random(17), -scores))[:5]].mean() for _ in range(3000)]
    assert mean_gain_at(gains, scores, 5) == pytest.approx(np.mean(drawn), abs=0.03)
    assert mean_gain_at(gains, scores, 99) == pytest.approx(gains.mean())
    assert mean_gain_at(np.zeros(3), np.arange(3.0), 1) == 0.0
    with pytest.raises(EvaluationError, match="k must be at least 1; got 0"):
        mean_gain_at(gains, scores, 0)


def test_without_any_gain_both_are_undefined() -> None:
    assert np.isnan(ndcg_at(np.zeros(4), np.arange(4.0), 2))
    assert np.isnan(recall_at(np.zeros(4), np.arange(4.0), 2))


@pytest.mark.parametrize(
    ("gains", "scores", "k", "told"),
    [
        ([1.0], [1.0], 0, "k must be at least 1; got 0"),
        ([], [], 3, r"a query needs one gain and one score for each candidate; got \(0,\), \(0,\)"),
        ([1.0, 0.0], [1.0], 3, r"a query needs one gain and one score for each candidate; got \(2,\), \(1,\)"),
        ([1.0, -1.0], [1.0, 2.0], 3, "gains must be at least 0, and scores must be numbers"),
        ([1.0, 1.0], [1.0, math.nan], 3, "gains must be at least 0, and scores must be numbers"),
    ],
)
def test_mistakes_are_named(gains: list[float], scores: list[float], k: int, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        rank_pool(np.array(gains), np.array(scores), k)
