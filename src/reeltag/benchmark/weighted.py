"""Figures that count every label as often as it is true: precision, recall, and the areas under both curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reeltag.evaluation import Evaluation, decide, label_counts, weighted_mean

PRECISION, RECALL = "weighted_precision", "weighted_recall"
AUROC, AUPRC = "weighted_auroc", "weighted_auprc"
DECIDED = (PRECISION, RECALL)  # by threshold rule
AREAS = (AUROC, AUPRC)  # without thresholds
WEIGHTED_NAMES = {
    PRECISION: "precision (weighted)",
    RECALL: "recall (weighted)",
    AUROC: "AUROC (weighted)",
    AUPRC: "AUPRC (weighted)",
}

Matrix: TypeAlias = npt.NDArray[np.float32]


def decided_figures(truth: Matrix, probabilities: Matrix, limits: Mapping[str, Matrix]) -> dict[str, dict[str, float]]:
    """Return weighted precision and recall by threshold rule.

    Args:
        truth: 0 and 1, (n_titles, n_labels).
        probabilities: Same shape.
        limits: From the name of a rule to its thresholds, (n_labels,).
    """
    found = {}
    for rule, thresholds in limits.items():
        counts = label_counts(truth, decide(probabilities, thresholds))
        found[rule] = {PRECISION: counts.weighted_precision(), RECALL: counts.weighted_recall()}
    return found


def area_figures(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the weighted AUROC, and the weighted average precision as the area under precision and recall.

    None where no label has the figure.
    """
    support = np.array([label.support for label in evaluation.labels], np.int64)
    columns = {
        AUROC: [label.auroc for label in evaluation.labels],
        AUPRC: [label.average_precision for label in evaluation.labels],
    }
    means = {name: weighted_mean(np.array(own, np.float64), support) for name, own in columns.items()}
    return {name: None if np.isnan(mean) else mean for name, mean in means.items()}
