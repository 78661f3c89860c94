"""Metrics of the order of the scores, no threshold needed: average precision, AUROC, precision, recall and nDCG at k.

Ties never flatter. Average precision gives all tied titles the precision at the end of their group, AUROC counts a tied
pair as half, as scikit-learn does; the metrics at k take the mean over all orders of the tied labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import Bools, Floats, Ints, Matrix, check_shapes, label_counts

_LABELS_PER_BLOCK = 64
_CELLS_PER_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRanking:
    """How well each label's scores put its positives first.

    Attributes:
        average_precision: Shape (n_labels,), in [0, 1]; NaN for a label without positives.
        auroc: Shape (n_labels,), in [0, 1]; NaN for a label without positives or without negatives.
    """

    average_precision: Floats
    auroc: Floats

    @property
    def mean_average_precision(self) -> float:
        """Mean over the labels with at least one positive (mAP); NaN when there is none."""
        return _mean_of_defined(self.average_precision)

    @property
    def macro_auroc(self) -> float:
        """Mean over the labels with positives and negatives; NaN when there is none."""
        return _mean_of_defined(self.auroc)


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Figures of the ``k`` labels with the highest probabilities, in [0, 1].

    Means over the titles with at least one true label, None when there is no such title. Where k exceeds the number
    of labels, all labels are taken and precision is still divided by k.
    """

    k: int
    precision: float | None
    recall: float | None
    ndcg: float | None


def rank_labels(targets: Matrix, probabilities: Matrix) -> LabelRanking:
    """Compute average precision and AUROC of every label in one pass.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.

    Returns:
        One figure of each kind per label; higher is better.

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    check_shapes(targets, probabilities, "probabilities")
    figures = [_rank_positives(truth, scores) for truth, scores in _columns(targets, probabilities)]
    average_precision, auroc = np.array(figures, np.float64).T
    return LabelRanking(average_precision=average_precision, auroc=auroc)


def average_precision(targets: Matrix, probabilities: Matrix) -> Floats:
    """Return the average precision of every label, shape (n_labels,); as ``rank_labels``."""
    return rank_labels(targets, probabilities).average_precision


def mean_average_precision(targets: Matrix, probabilities: Matrix) -> float:
    """Return mAP, the mean average precision of the labels with at least one positive; NaN when there is none."""
    return rank_labels(targets, probabilities).mean_average_precision


def micro_average_precision(targets: Matrix, probabilities: Matrix) -> float:
    """Return the average precision of all title-label pairs in one list; NaN when nothing is true."""
    check_shapes(targets, probabilities, "probabilities")
    return _rank_positives(targets.astype(np.bool_, copy=False).ravel(), probabilities.ravel())[0]


def auroc(targets: Matrix, probabilities: Matrix) -> Floats:
    """Return the area under the ROC curve of every label, shape (n_labels,); as ``rank_labels``."""
    return rank_labels(targets, probabilities).auroc


def macro_auroc(targets: Matrix, probabilities: Matrix) -> float:
    """Return the mean AUROC of the labels with positives and negatives; NaN when there is none."""
    return rank_labels(targets, probabilities).macro_auroc


def weighted_average_precision(targets: Matrix, probabilities: Matrix) -> float:
    """Return the mean average precision of the labels weighted by support; NaN when nothing is true."""
    return weighted_mean(average_precision(targets, probabilities), label_counts(targets, targets).support)


def weighted_auroc(targets: Matrix, probabilities: Matrix) -> float:
    """Return the mean AUROC, weighted by support, of the labels with positives and negatives; NaN without any."""
    return weighted_mean(auroc(targets, probabilities), label_counts(targets, targets).support)


def weighted_mean(figures: Floats, support: Ints) -> float:
    """Return the mean of the labels' figures, each counted as often as its label is true.

    Args:
        figures: Shape (n_labels,); NaN where undefined, which is left out.
        support: Titles with each label, same shape.

    Returns:
        NaN when no label that is true has a figure.
    """
    weights = np.where(np.isnan(figures), 0, support)
    return float((np.nan_to_num(figures) * weights).sum() / weights.sum()) if weights.any() else float("nan")


def precision_at_k(targets: Matrix, probabilities: Matrix, k: int) -> float:
    """Return the mean share of the first k labels that are true; NaN when no title has a true label."""
    return _number(rank_titles(targets, probabilities, k).precision)


def recall_at_k(targets: Matrix, probabilities: Matrix, k: int) -> float:
    """Return the mean share of a title's true labels among its first k; NaN when no title has a true label."""
    return _number(rank_titles(targets, probabilities, k).recall)


def ndcg_at_k(targets: Matrix, probabilities: Matrix, k: int) -> float:
    """Return the mean normalised discounted cumulative gain at k; NaN when no title has a true label."""
    return _number(rank_titles(targets, probabilities, k).ndcg)


def rank_titles(targets: Matrix, probabilities: Matrix, k: int) -> TopK:
    """Compute precision, recall and nDCG of the k most probable labels of each title.

    nDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, with gain 1 for a true
    label and discount 1 / log2(position + 1), divided by the gain of the best order. Ties: McSherry and Najork,
    "Computing information retrieval performance measures efficiently in the presence of tied scores", 2008.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.
        k: Number of labels taken, at least 1.

    Returns:
        The means over the titles with at least one true label; higher is better.

    Raises:
        EvaluationError: k is below 1, the shapes differ, or there is no title or no label.
    """
    check_shapes(targets, probabilities, "probabilities")
    if k < 1:
        raise EvaluationError(f"k must be at least 1; got {k}")
    truth = targets.astype(np.bool_, copy=False)
    n_true = np.count_nonzero(truth, axis=1)
    rated = n_true > 0
    if not rated.any():
        return TopK(k=k, precision=None, recall=None, ndcg=None)
    gains = expected_gains(truth, probabilities, min(k, targets.shape[1]))[rated]
    n_true = n_true[rated]
    discount = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(n_true, gains.shape[1]) - 1]
    hits = gains.sum(axis=1)
    return TopK(
        k=k,
        precision=float((hits / k).mean()),
        recall=float((hits / n_true).mean()),
        ndcg=float((gains @ discount / ideal).mean()),
    )


def expected_gains(truth: Bools, probabilities: Matrix, k: int, worth: Floats | None = None) -> Floats:
    """Return the gain at position 1..k of each title's order, the mean over all orders of the tied.

    Args:
        truth: Shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.
        k: Number of positions, at most n_labels.
        worth: What a true label gains, shape (n_labels,); 1 each when None.

    Returns:
        Shape (n_titles, k); a label that is not true gains nothing.
    """
    n_titles, n_labels = truth.shape
    gains = np.empty((n_titles, k), np.float64)
    step = max(1, _CELLS_PER_BLOCK // n_labels)
    for start in range(0, n_titles, step):
        rows = slice(start, start + step)
        scores, true = probabilities[rows], truth[rows]
        first = -np.sort(np.partition(-scores, k - 1, axis=1)[:, :k], axis=1)
        for position in range(k):
            tied = scores == first[:, position, None]
            right = tied & true
            gained = np.count_nonzero(right, axis=1) if worth is None else _worth_of(right, worth)
            gains[rows, position] = gained / np.count_nonzero(tied, axis=1)
    return gains


def _worth_of(chosen: Bools, worth: Floats) -> Floats:
    """Return the summed worth of each row's few chosen columns, (n_rows,)."""
    rows, columns = np.nonzero(chosen)
    return np.asarray(np.bincount(rows, weights=worth[columns], minlength=len(chosen)), np.float64)


def _rank_positives(truth: Bools, scores: Matrix) -> tuple[float, float]:
    """Return average precision and AUROC of one list of scores; NaN where undefined.

    With the scores sorted once, both follow from where each positive stands among all and among the positives:
    AP is the mean over positives of (positives at or above it) / (titles at or above it).
    """
    positives = np.sort(scores[truth])
    n_all, n_true = scores.size, positives.size
    if n_true == 0:
        return np.nan, np.nan
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, positives, side="left")
    true_below = np.searchsorted(positives, positives, side="left")
    precision = (n_true - true_below) / (n_all - below)
    if n_true == n_all:
        return float(precision.mean()), np.nan
    up_to = np.searchsorted(ordered, positives, side="right")
    true_up_to = np.searchsorted(positives, positives, side="right")
    false_below = below - true_below
    false_up_to = up_to - true_up_to
    won = 0.5 * (false_below + false_up_to)
    return float(precision.mean()), float(won.mean() / (n_all - n_true))


def _columns(targets: Matrix, probabilities: Matrix) -> Iterator[tuple[Bools, Matrix]]:
    """Yield each label's truth and scores, copied in blocks so that every column is contiguous in memory."""
    for start in range(0, targets.shape[1], _LABELS_PER_BLOCK):
        block = slice(start, start + _LABELS_PER_BLOCK)
        truth = np.ascontiguousarray(targets[:, block].T.astype(np.bool_))
        scores = np.ascontiguousarray(probabilities[:, block].T)
        yield from zip(truth, scores, strict=True)


def _mean_of_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
