"""Class-balanced weights by the effective number of samples (Cui et al., CVPR 2019, arXiv 1901.05555)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def class_balanced(logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return binary cross-entropy in which every term of a label takes the label's weight.

    The paper is single-label; here a label's weight multiplies its positive and its negative terms (the per-term
    form). Give ``weight=effective_weights(counts)``.

    Args:
        logits: Shape (n_titles, n_labels).
        targets: 0 or 1, same shape.
        weight: Weight of each label, shape (n_labels,); 1 when None.

    Returns:
        A scalar, the mean over titles and labels.
    """
    return binary_cross_entropy_with_logits(logits, targets, weight=weight)


def class_balanced_samples(
    logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return binary cross-entropy in which every title takes the mean weight of its labels (the per-sample form).

    The published code gives a title the weight of its only class, for all terms. Here a title's whole row takes the
    mean weight of its positive labels; one without any takes 1. The weights of the titles are scaled so that their
    mean over the batch is 1. Give ``weight=effective_weights(counts)``.

    Args:
        logits: Shape (n_titles, n_labels).
        targets: 0 or 1, same shape.
        weight: Weight of each label, shape (n_labels,); 1 when None.

    Returns:
        A scalar, the mean over titles and labels.
    """
    if weight is None:
        return binary_cross_entropy_with_logits(logits, targets)
    titles = sample_weights(targets, weight)
    return binary_cross_entropy_with_logits(logits, targets, weight=(titles / titles.mean())[:, None])


def sample_weights(targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the mean weight of every title's positive labels, 1 for titles without any.

    Args:
        targets: 0 or 1, shape (..., n_labels).
        weight: Weight of each label, shape (n_labels,), or one that stretches to the shape of the targets.

    Returns:
        Shape (...).
    """
    numbers = targets.sum(-1)
    means = (targets * weight).sum(-1) / numbers.clamp_min(1)
    return torch.where(numbers > 0, means, 1)


def effective_weights(counts: npt.ArrayLike, beta: float = 0.999) -> npt.NDArray[np.float32]:
    """Return class-balanced weights ``(1 - beta) / (1 - beta^n)``, scaled to sum to the number of labels.

    Args:
        counts: Positive titles per label, shape (n_labels,); zero counts as one.
        beta: In [0, 1): 0 gives equal weights, towards 1 gives inverse frequency.
    """
    numbers = np.maximum(np.asarray(counts, np.float64), 1)
    weights = (1 - beta) / (1 - beta**numbers)
    return np.asarray(weights * len(weights) / weights.sum(), np.float32)


def positive_weights(counts: npt.ArrayLike, n_titles: int, power: float = 0.5) -> npt.NDArray[np.float32]:
    """Return weights ``(n_negative / n_positive)^power`` for the positive terms, at least 1, shape (n_labels,)."""
    numbers = np.maximum(np.asarray(counts, np.float64), 1)
    return np.asarray(np.maximum(((n_titles - numbers) / numbers) ** power, 1), np.float32)
