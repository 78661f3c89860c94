"""Metrics of one query's candidates in the order of their likeness: nDCG and recall at k, with gains of any size.

Ties never flatter: tied candidates share the mean of what their places gain, as scikit-learn's ``ndcg_score`` has it. A
space that cannot tell candidates apart therefore scores exactly what a random order scores on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import Floats, Matrix


@dataclass(frozen=True, kw_only=True)
class RankedPool:
    """Figures of the first k candidates of one query, in [0, 1]; NaN when no candidate gains anything.

    Attributes:
        ndcg: Discounted gain of the first k, divided by that of the best order.
        recall: Share of the candidates with a gain that are among the first k.
    """

    ndcg: float
    recall: float


def ndcg_at(gains: Matrix, scores: Matrix, k: int) -> float:
    """Return the normalised discounted cumulative gain of the first k candidates; see ``rank_pool``."""
    return rank_pool(gains, scores, k).ndcg


def recall_at(gains: Matrix, scores: Matrix, k: int) -> float:
    """Return the share of the candidates with a gain that are among the first k; see ``rank_pool``."""
    return rank_pool(gains, scores, k).recall


def mean_gain_at(gains: Matrix, scores: Matrix, k: int) -> float:
    """Return the mean gain of the first k candidates, of fewer of all; arguments and errors as in ``rank_pool``."""
    _check(gains, scores, k)
    return float(_expected(np.asarray(gains, np.float64)[None], scores, min(k, scores.size)).mean())


def rank_pool(gains: Matrix, scores: Matrix, k: int) -> RankedPool:
    """Measure the order that scores give the candidates of one query.

    nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, gain linear and discount
    ``1 / log2(position + 1)``, over the best order of the same candidates. Ties: McSherry and Najork, "Computing
    information retrieval performance measures efficiently in the presence of tied scores", 2008.

    Args:
        gains: What each candidate is worth, at least 0, shape (n_candidates,).
        scores: Likeness to the query, higher is nearer, same shape; -inf for candidates that come last.
        k: Number of places counted, at least 1; of fewer candidates, all.

    Raises:
        EvaluationError: k is below 1, the shapes differ or are empty, a gain is negative, or a score is NaN.
    """
    _check(gains, scores, k)
    worth = np.asarray(gains, np.float64)
    if not worth.any():
        return RankedPool(ndcg=float("nan"), recall=float("nan"))
    k = min(k, worth.size)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.sort(worth)[::-1][:k]
    both = np.stack([worth, (worth > 0).astype(np.float64)])
    expected, found = _expected(both, scores, k)
    return RankedPool(
        ndcg=float(expected @ discount / (best @ discount)), recall=float(found.sum() / np.count_nonzero(worth))
    )


def _check(gains: Matrix, scores: Matrix, k: int) -> None:
    if k < 1:
        raise EvaluationError(f"k must be at least 1; got {k}")
    if gains.ndim != 1 or gains.size == 0 or scores.shape != gains.shape:
        raise EvaluationError(
            f"a query needs one gain and one score for each candidate; got {gains.shape}, {scores.shape}"
        )
    if not (np.asarray(gains) >= 0).all() or np.isnan(scores).any():
        raise EvaluationError("gains must be at least 0, and scores must be numbers")


def _expected(worth: Floats, scores: Matrix, k: int) -> Floats:
    """Return what the first k places gain, (n_kinds, k): the mean over all orders of the tied.

    Args:
        worth: Gains of some kinds, (n_kinds, n_candidates).
        scores: Shape (n_candidates,).
        k: Number of places, at most n_candidates.
    """
    last = np.partition(scores, scores.size - k)[scores.size - k]
    near = np.flatnonzero(scores >= last)  # the first k, and all that are tied with the last of them
    near = near[np.argsort(-scores[near], kind="stable")]
    ordered = scores[near]
    group = np.cumsum(np.concatenate([[True], ordered[1:] != ordered[:-1]])) - 1
    sizes = np.bincount(group)
    means = np.stack([np.bincount(group, weights=kind[near]) / sizes for kind in worth])
    return np.asarray(means[:, group[:k]], np.float64)
