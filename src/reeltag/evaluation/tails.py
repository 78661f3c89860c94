"""How a run does on frequent and on rare labels, and which labels it knows at all.

Labels are ordered by their training titles and cut into three groups of equal size, head, middle and tail. By thirds
of the labels, not of their positives, each group has enough labels for a macro figure, and the macro F1 of all labels
is the mean of the three, weighted by their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import Counts, Floats, Ints, Matrix, label_counts
from reeltag.evaluation.propensity import (
    PropensityConfig,
    PropensityTopK,
    check_counts,
    label_propensities,
    rank_titles_by_propensity,
)

GROUPS = ("head", "middle", "tail")


@dataclass(frozen=True, kw_only=True)
class TrainingCounts:
    """What the training titles of a run had, which says how rare a label is.

    Attributes:
        labels: Training titles with each label, in column order.
        n_titles: Training titles in all.

    Raises:
        EvaluationError: There is no label or no title, or a count is not between 0 and ``n_titles``.
    """

    labels: tuple[int, ...]
    n_titles: int

    def __post_init__(self) -> None:
        check_counts(np.asarray(self.labels, np.float64), self.n_titles)


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """Labels of like frequency; the figures of the decisions are those of the headline rule.

    Attributes:
        name: ``head``, ``middle`` or ``tail``.
        n_labels: Labels in it.
        n_true_labels: Those of them that some evaluated title has.
        most: Training titles of its most frequent label.
        fewest: Training titles of its least frequent label.
        macro_precision: Mean over its labels, in [0, 1], as for the next two; a label without positives and decisions
            counts as 0.
        macro_recall: Mean over its labels.
        macro_f1: Mean over its labels.
        mean_average_precision: Mean over its labels with a positive; None when there is none.
    """

    name: str
    n_labels: int
    n_true_labels: int
    most: int
    fewest: int
    macro_precision: float
    macro_recall: float
    macro_f1: float
    mean_average_precision: float | None


@dataclass(frozen=True, kw_only=True)
class LongTail:
    """Figures that say what a run is worth on rare labels.

    Attributes:
        n_train: Training titles.
        propensity: Shape of the propensities.
        top_k: Propensity-scored precision and nDCG at each cut-off.
        groups: Head, middle and tail; without those that would be empty, when there are fewer than three labels.
        label_coverage: Share of the labels with a true title that are decided rightly at least once, under the
            headline rule; None when no label has one.
        labels_decided: Share of all labels that are decided at least once, rightly or not.
    """

    n_train: int
    propensity: PropensityConfig = field(default_factory=PropensityConfig)
    top_k: tuple[PropensityTopK, ...]
    groups: tuple[LabelGroup, ...]
    label_coverage: float | None
    labels_decided: float

    def group(self, name: str) -> LabelGroup | None:
        """Return a group by name; None when it is empty."""
        return next((group for group in self.groups if group.name == name), None)


def group_labels(counts: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, Ints]:
    """Cut labels into head, middle and tail.

    Args:
        counts: Training titles with each label, shape (n_labels,).

    Returns:
        The columns of each group by falling count, ties by column. Sizes differ by at most one, the head first; a
        group that would be empty is left out.
    """
    order = np.argsort(-np.asarray(counts, np.int64), kind="stable").astype(np.int64)
    return {name: part for name, part in zip(GROUPS, np.array_split(order, len(GROUPS)), strict=True) if len(part)}


def label_coverage(targets: Matrix, decisions: Matrix) -> float:
    """Return the share of the labels with a true title that are decided rightly at least once, in [0, 1].

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        decisions: Decisions, same shape.

    Returns:
        The share; NaN when nothing is true.

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    return _covered(label_counts(targets, decisions))


def labels_decided(decisions: Matrix) -> float:
    """Return the share of all labels that are decided at least once, in [0, 1]; shape (n_titles, n_labels)."""
    return _decided(label_counts(decisions, decisions))


def score_long_tail(
    targets: Matrix,
    probabilities: Matrix,
    *,
    counts: Counts,
    average_precision: Floats,
    training: TrainingCounts,
    ks: Sequence[int],
) -> LongTail:
    """Compute every figure of the long tail.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: Any finite scores whose order counts, same shape.
        counts: Of the decisions, per label.
        average_precision: Of each label, NaN without positives.
        training: How frequent the labels are.
        ks: Cut-offs of the propensity-scored figures.

    Raises:
        EvaluationError: The training counts are not one per label.
    """
    n_labels = targets.shape[1]
    if len(training.labels) != n_labels:
        raise EvaluationError(f"training counts must be one per label ({n_labels:,}); got {len(training.labels):,}")
    propensity = PropensityConfig()
    propensities = label_propensities(training.labels, training.n_titles, propensity)
    return LongTail(
        n_train=training.n_titles,
        propensity=propensity,
        top_k=rank_titles_by_propensity(targets, probabilities, propensities, ks),
        groups=score_groups(counts, average_precision, training),
        label_coverage=_defined(_covered(counts)),
        labels_decided=_decided(counts),
    )


def score_groups(counts: Counts, average_precision: Floats, training: TrainingCounts) -> tuple[LabelGroup, ...]:
    """Compute the figures of head, middle and tail; arguments as for ``score_long_tail``."""
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    groups = []
    for name, columns in group_labels(training.labels).items():
        ranked = average_precision[columns]
        ranked = ranked[~np.isnan(ranked)]
        groups.append(
            LabelGroup(
                name=name,
                n_labels=len(columns),
                n_true_labels=int(np.count_nonzero(counts.support[columns])),
                most=training.labels[columns[0]],
                fewest=training.labels[columns[-1]],
                macro_precision=float(precision[columns].mean()),
                macro_recall=float(recall[columns].mean()),
                macro_f1=float(f1[columns].mean()),
                mean_average_precision=float(ranked.mean()) if ranked.size else None,
            )
        )
    return tuple(groups)


def _covered(counts: Counts) -> float:
    known = np.count_nonzero(counts.support)
    return float(np.count_nonzero(counts.tp) / known) if known else float("nan")


def _decided(counts: Counts) -> float:
    return float(np.count_nonzero(counts.predicted) / counts.predicted.size)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
