"""Binary cross-entropy over labels, the default loss."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def bce(logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean binary cross-entropy.

    Args:
        logits: Shape (n_titles, n_labels).
        targets: 0 or 1, same shape.
        weight: Weight of the positive term of each label, shape (n_labels,); 1 when None.

    Returns:
        A scalar: mean over titles and labels of ``-w y log p - (1 - y) log(1 - p)``.
    """
    return binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)
