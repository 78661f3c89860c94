"""Asymmetric loss (Ridnik et al., ICCV 2021, arXiv 2009.14119)."""

from __future__ import annotations

import torch

_TINY = 1e-12


def asymmetric(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    gamma_positive: float = 1.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> torch.Tensor:
    """Return the asymmetric loss, averaged like binary cross-entropy.

    With p the probability and p_m = max(p - margin, 0), one term is
    ``-w y (1-p)^gamma_positive log p - (1-y) p_m^gamma_negative log(1-p_m)`` (equations 4 to 7 of the paper).
    The authors sum over titles and labels; the mean is taken here, so that the learning rate does not depend on
    the number of labels. The focusing factors carry gradients, as in the paper.

    Args:
        logits: Shape (n_titles, n_labels).
        targets: 0 or 1, same shape.
        weight: Weight of the positive term of each label, shape (n_labels,); 1 when None.
        gamma_positive: Focus on hard positives.
        gamma_negative: Focus on hard negatives.
        margin: Probability below which a negative costs nothing.

    Returns:
        A scalar. The probabilities it leads to are not calibrated: fit a calibrator afterwards.
    """
    probability = torch.sigmoid(logits)
    shifted = (probability - margin).clamp(min=0)
    doubt = (1 - probability).clamp(min=_TINY)  # the slope of a power below 1 is infinite at 0
    positive = targets * doubt**gamma_positive * torch.nn.functional.logsigmoid(logits)
    negative = (1 - targets) * shifted**gamma_negative * torch.log((1 - shifted).clamp(min=1e-8))
    return -((positive if weight is None else weight * positive) + negative).mean()
