"""Propensity-scored precision and nDCG at k: a rare label that is found weighs more than a frequent one.

Jain, Prabhu and Varma, "Extreme multi-label loss functions for recommendation, tagging, ranking & other missing label
applications", KDD 2016. A label that is true may be missing from the truth, the sooner the rarer it is; the propensity
is the chance that it is not missing, modelled by how often training titles have the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reeltag.config import check_range
from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import Bools, Floats, Matrix, check_shapes
from reeltag.evaluation.ranking import expected_gains


@dataclass(frozen=True, kw_only=True)
class PropensityConfig:
    """The shape of the curve from training titles to propensity; the defaults are the paper's for most data.

    Attributes:
        a: How fast the propensity rises with the number of training titles.
        b: What is added to that number.
    """

    a: float = 0.55
    b: float = 1.5

    def __post_init__(self) -> None:
        check_range("PropensityConfig", "a", self.a, 0, 10)
        check_range("PropensityConfig", "b", self.b, 0.01, 1e6)


@dataclass(frozen=True, kw_only=True)
class PropensityTopK:
    """Propensity-scored figures of the ``k`` most probable labels; None when no title has a true label.

    Attributes:
        k: Number of labels taken.
        precision: PSP@k in [0, 1]: what was gained over the best that could be, 1 for an order that no other beats.
        ndcg: PSnDCG@k in [0, 1], likewise.
        raw_precision: PSP@k before it is divided by the best; may exceed 1.
    """

    k: int
    precision: float | None
    ndcg: float | None
    raw_precision: float | None


def label_propensities(
    counts: Sequence[int] | npt.NDArray[np.int64], n_titles: int, config: PropensityConfig | None = None
) -> Floats:
    """Return the propensity of every label.

    With N training titles, N_l of which have label l: ``p_l = 1 / (1 + C exp(-A log(N_l + B)))`` and
    ``C = (log N - 1) (B + 1)^A``. The paper has no fewer than three titles in mind; below, C would be negative and is
    taken as 0, so that every propensity is 1.

    Args:
        counts: Training titles with each label, shape (n_labels,).
        n_titles: Training titles in all, at least 1.
        config: A and B; the defaults when None.

    Returns:
        In (0, 1], rising with the count, shape (n_labels,).

    Raises:
        EvaluationError: A count is negative or larger than ``n_titles``, or there is no label or no title.
    """
    config, known = config or PropensityConfig(), np.asarray(counts, np.float64)
    check_counts(known, n_titles)
    scale = max(np.log(n_titles) - 1.0, 0.0) * (config.b + 1.0) ** config.a
    return np.asarray(1.0 / (1.0 + scale * np.exp(-config.a * np.log(known + config.b))), np.float64)


def check_counts(counts: Matrix, n_titles: int) -> None:
    """Raise EvaluationError unless there are training titles and every label is on 0 to all of them.

    Args:
        counts: Training titles with each label, shape (n_labels,).
        n_titles: Training titles in all.
    """
    if n_titles < 1:
        raise EvaluationError(f"there must be at least 1 training title; got {n_titles}")
    if counts.ndim != 1 or counts.size == 0:
        raise EvaluationError(f"training counts must have shape (n_labels,) with a label; got {counts.shape}")
    low, high = float(counts.min()), float(counts.max())
    if not (low >= 0 and high <= n_titles):
        raise EvaluationError(
            f"training counts must be between 0 and the {n_titles:,} training titles; got {low:g} to {high:g}"
        )


def rank_titles_by_propensity(
    targets: Matrix, probabilities: Matrix, propensities: Floats, ks: Sequence[int]
) -> tuple[PropensityTopK, ...]:
    """Compute propensity-scored precision and nDCG at several k in one pass.

    A true label gains 1 / p_l. As the Extreme Classification Repository (Bhatia et al.) reports them, both are sums
    over titles divided by the same sums of the best order, the true labels by rising propensity:

    - PSP@k: the gains of the first k labels.
    - PSnDCG@k: their gains times 1 / log2(position + 1), per title over the sum of these discounts at as many
      positions as it has true labels, at most k.

    Tied labels share their gain, the mean over all their orders, as in ``rank_titles``.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.
        propensities: In (0, 1], shape (n_labels,).
        ks: Numbers of labels taken, each at least 1. Where one exceeds the number of labels, all are taken.

    Returns:
        One entry per k in the order given; higher is better. Titles without a true label take no part.

    Raises:
        EvaluationError: A k is below 1, the shapes do not fit, a propensity is not in (0, 1], or there is no title or
            no label.
    """
    check_shapes(targets, probabilities, "probabilities")
    for k in ks:
        if k < 1:
            raise EvaluationError(f"k must be at least 1; got {k}")
    _check_propensities(propensities, targets.shape[1])
    truth = targets.astype(np.bool_, copy=False)
    rated = truth.any(axis=1)
    if not (rated.any() and ks):
        return tuple(PropensityTopK(k=k, precision=None, ndcg=None, raw_precision=None) for k in ks)
    truth, worth = truth[rated], 1.0 / propensities
    most = min(max(ks), targets.shape[1])
    gains = expected_gains(truth, probabilities[rated], most, worth)
    best = _best_gains(truth, worth, most)
    return tuple(_at(k, gains, best, np.count_nonzero(truth, axis=1)) for k in ks)


def propensity_scored_precision_at_k(
    targets: Matrix, probabilities: Matrix, propensities: Floats, k: int, *, normalise: bool = True
) -> float:
    """Return PSP@k; NaN when no title has a true label.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.
        propensities: As ``label_propensities`` returns them, shape (n_labels,).
        k: Number of labels taken, at least 1.
        normalise: Divide by the best that could be gained, as tables of the field do. False gives the mean over titles
            of the gains over k, which may exceed 1.
    """
    (found,) = rank_titles_by_propensity(targets, probabilities, propensities, (k,))
    value = found.precision if normalise else found.raw_precision
    return float("nan") if value is None else value


def propensity_scored_ndcg_at_k(targets: Matrix, probabilities: Matrix, propensities: Floats, k: int) -> float:
    """Return PSnDCG@k, divided by the best that could be; NaN when no title has a true label."""
    (found,) = rank_titles_by_propensity(targets, probabilities, propensities, (k,))
    return float("nan") if found.ndcg is None else found.ndcg


def _at(k: int, gains: Floats, best: Floats, n_true: npt.NDArray[np.int64]) -> PropensityTopK:
    """Return the figures at k from the gains at each position, (n_titles, at least k or n_labels)."""
    gains, best = gains[:, :k], best[:, :k]
    discount = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(n_true, gains.shape[1]) - 1]
    return PropensityTopK(
        k=k,
        precision=float(gains.sum() / best.sum()),
        ndcg=float((gains @ discount / ideal).sum() / (best @ discount / ideal).sum()),
        raw_precision=float(gains.sum(axis=1).mean() / k),
    )


def _best_gains(truth: Bools, worth: Floats, k: int) -> Floats:
    """Return the gain at position 1..k when the true labels come first, the rarest before all, (n_titles, k)."""
    best = np.zeros((len(truth), k), np.float64)
    rows, columns = np.nonzero(truth)
    order = np.lexsort((-worth[columns], rows))
    rows, gained = rows[order], worth[columns[order]]
    starts = np.searchsorted(rows, np.arange(len(truth)))
    places = np.arange(len(rows)) - starts[rows]
    kept = places < k
    best[rows[kept], places[kept]] = gained[kept]
    return best


def _check_propensities(propensities: Floats, n_labels: int) -> None:
    if propensities.shape != (n_labels,):
        raise EvaluationError(f"propensities must be one per label ({n_labels:,}); got shape {propensities.shape}")
    low, high = float(propensities.min()), float(propensities.max())
    if not (low > 0 and high <= 1):
        raise EvaluationError(f"propensities must be in (0, 1]; got values from {low:g} to {high:g}")
