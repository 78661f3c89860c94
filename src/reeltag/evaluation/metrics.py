"""Metrics of yes/no decisions: precision, recall and F1 per label, and their micro, macro, weighted and samples means.

Everything is a function of two matrices of shape (n_titles, n_labels): the truth and the decisions. Rows whose labels
are unknown are dropped by the caller. The empty cases follow scikit-learn with ``zero_division=0``: a precision
without decisions, a recall without positives, and an F1 with neither are 0, and count as 0 in every mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.errors import EvaluationError, shown

Matrix = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """How many decisions were right, were made and were due, per label, per title or pooled.

    Attributes:
        tp: True positives, int64 of any shape: (n_labels,), (n_titles,) or () when pooled.
        predicted: Decisions made (true and false positives), same shape.
        support: Labels that are true (true positives and false negatives), same shape.
    """

    tp: Ints
    predicted: Ints
    support: Ints

    @property
    def precision(self) -> Floats:
        """Share of the decisions that are right; 0 without decisions."""
        return ratio(self.tp, self.predicted)

    @property
    def recall(self) -> Floats:
        """Share of the true labels that were decided; 0 without true labels."""
        return ratio(self.tp, self.support)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, ``2 tp / (predicted + support)``; 0 when both are empty."""
        return ratio(2 * self.tp, self.predicted + self.support)

    def pooled(self) -> Counts:
        """Return the sums over all entries, with shape ()."""
        return Counts(
            tp=np.asarray(self.tp.sum(), np.int64),
            predicted=np.asarray(self.predicted.sum(), np.int64),
            support=np.asarray(self.support.sum(), np.int64),
        )

    def weighted_precision(self) -> float:
        """Return the mean precision weighted by support; 0 when nothing is true."""
        return self._weighted(self.precision)

    def weighted_recall(self) -> float:
        """Return the mean recall weighted by support, which is that of all pairs pooled; 0 when nothing is true."""
        return self._weighted(self.recall)

    def weighted_f1(self) -> float:
        """Return the mean F1 weighted by support; 0 when nothing is true."""
        return self._weighted(self.f1)

    def _weighted(self, figures: Floats) -> float:
        total = int(self.support.sum())
        return float((figures * self.support).sum() / total) if total else 0.0


def label_counts(targets: Matrix, decisions: Matrix) -> Counts:
    """Count per label.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        decisions: Decisions, 0/1 or bool, same shape.

    Returns:
        Counts of shape (n_labels,).

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    return _count(targets, decisions, axis=0)


def title_counts(targets: Matrix, decisions: Matrix) -> Counts:
    """Count per title; arguments and errors as in ``label_counts``.

    Returns:
        Counts of shape (n_titles,).
    """
    return _count(targets, decisions, axis=1)


def decide(probabilities: Matrix, thresholds: Matrix | Sequence[float] | float) -> Bools:
    """Decide every label whose probability reaches its threshold.

    Args:
        probabilities: Shape (n_titles, n_labels).
        thresholds: One per label, shape (n_labels,), or one for all. ``inf`` never decides a label.

    Returns:
        ``probabilities >= thresholds``, compared in the type of ``probabilities``, so that a threshold that was read
        off a float32 probability still lets that very probability pass.

    Raises:
        EvaluationError: The number of thresholds is neither one nor the number of labels, or one of them is NaN.
    """
    limits = np.asarray(thresholds, dtype=probabilities.dtype)
    if limits.ndim > 1 or (limits.ndim == 1 and limits.shape[0] != probabilities.shape[1]):
        raise EvaluationError(
            f"thresholds must be one number or one per label ({probabilities.shape[1]:,}); got shape {limits.shape}"
        )
    if np.isnan(limits).any():
        raise EvaluationError(f"thresholds must not be NaN; got {shown(limits.tolist())}")
    return np.asarray(probabilities >= limits)


def micro_precision(targets: Matrix, decisions: Matrix) -> float:
    """Return the share of all decisions that are right, in [0, 1]; 0 without decisions."""
    return float(label_counts(targets, decisions).pooled().precision)


def micro_recall(targets: Matrix, decisions: Matrix) -> float:
    """Return the share of all true labels that were decided, in [0, 1]; 0 when nothing is true."""
    return float(label_counts(targets, decisions).pooled().recall)


def micro_f1(targets: Matrix, decisions: Matrix) -> float:
    """Return the F1 of all title-label pairs pooled, in [0, 1]: frequent labels weigh more."""
    return float(label_counts(targets, decisions).pooled().f1)


def macro_f1(targets: Matrix, decisions: Matrix) -> float:
    """Return the plain mean of the labels' F1, in [0, 1]; a label with no positive and no decision counts as 0."""
    return float(label_counts(targets, decisions).f1.mean())


def weighted_precision(targets: Matrix, decisions: Matrix) -> float:
    """Return the mean of the labels' precision weighted by support, in [0, 1]; one without decisions counts as 0."""
    return label_counts(targets, decisions).weighted_precision()


def weighted_recall(targets: Matrix, decisions: Matrix) -> float:
    """Return the mean of the labels' recall weighted by support, in [0, 1]; it is ``micro_recall``."""
    return label_counts(targets, decisions).weighted_recall()


def weighted_f1(targets: Matrix, decisions: Matrix) -> float:
    """Return the mean of the labels' F1 weighted by support, in [0, 1]; 0 when nothing is true."""
    return label_counts(targets, decisions).weighted_f1()


def samples_f1(targets: Matrix, decisions: Matrix) -> float:
    """Return the mean of the titles' F1, in [0, 1]; a title with no true and no decided label counts as 0."""
    return float(title_counts(targets, decisions).f1.mean())


def hit_at_least_one(targets: Matrix, decisions: Matrix) -> float:
    """Return the share of all titles with at least one decided label that is right, in [0, 1].

    A title without decisions, or without any true label, is a miss.
    """
    truth, decided = _as_bools(targets, decisions)
    return float((truth & decided).any(axis=1).mean())


def abstention_rate(decisions: Matrix) -> float:
    """Return the share of titles with no label decided, in [0, 1].

    Args:
        decisions: Shape (n_titles, n_labels), at least one title and one label.
    """
    return 1.0 - coverage(decisions)


def coverage(decisions: Matrix) -> float:
    """Return the share of titles with at least one label decided, in [0, 1]; arguments as in ``abstention_rate``."""
    decided = _as_bools(decisions, decisions)[1]
    return float(decided.any(axis=1).mean())


def check_shapes(targets: Matrix, other: Matrix, name: str) -> None:
    """Raise EvaluationError unless both are non-empty matrices of one shape.

    Args:
        targets: The truth.
        other: The matrix that goes with it.
        name: What ``other`` is called in the message.
    """
    if targets.ndim != 2 or 0 in targets.shape:
        raise EvaluationError(
            f"targets must have shape (n_titles, n_labels) with at least one of each; got {targets.shape}"
        )
    if other.shape != targets.shape:
        raise EvaluationError(f"{name} must have the shape of the targets, {targets.shape}; got {other.shape}")


def check_probabilities(probabilities: Matrix) -> None:
    """Raise EvaluationError unless every probability is a number in [0, 1]."""
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low >= 0.0 and high <= 1.0):
        raise EvaluationError(f"probabilities must be numbers in [0, 1]; got values from {low:g} to {high:g}")


def ratio(part: Matrix, whole: Matrix) -> Floats:
    """Return ``part / whole`` for counts of any shape, and 0 where ``whole`` is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _as_bools(targets: Matrix, decisions: Matrix) -> tuple[Bools, Bools]:
    check_shapes(targets, decisions, "decisions")
    return targets.astype(np.bool_, copy=False), decisions.astype(np.bool_, copy=False)


def _count(targets: Matrix, decisions: Matrix, axis: int) -> Counts:
    truth, decided = _as_bools(targets, decisions)
    return Counts(
        tp=np.count_nonzero(truth & decided, axis=axis).astype(np.int64),
        predicted=np.count_nonzero(decided, axis=axis).astype(np.int64),
        support=np.count_nonzero(truth, axis=axis).astype(np.int64),
    )
