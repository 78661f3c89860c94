"""Genre-centroid anchored contrastive learning (Li et al., MM 2023, section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import normalize

Negatives = Literal["batch", "all"]


def genre_centroid(
    fused: torch.Tensor,
    label_vectors: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 0.1,
    normalise: bool = False,
    negatives: Negatives = "batch",
) -> torch.Tensor:
    """Return the loss that draws a title to the centroid of its labels, away from the labels it has not.

    Equations 8 to 13: the positive of a title is the mean of its label vectors, its negatives are the vectors of the
    labels that other titles of the batch have and it has not. The paper maps label vectors and centroids by one
    affine map; the map of a mean is the mean of the maps, so the centroid is taken here of mapped vectors. The paper
    sums over the batch; the mean is taken here.

    Args:
        fused: Shape (n, dim).
        label_vectors: Already mapped to the space of ``fused``, shape (n_labels, dim).
        targets: 0 or 1, shape (n, n_labels).
        temperature: Divides the dot products.
        normalise: Compare directions only; the paper compares by plain dot products.
        negatives: ``batch`` for the labels of the batch, as in the paper; ``all`` for every label.

    Returns:
        A scalar: the mean over titles that have labels; 0 when none has, or when no title has a negative.
    """
    centroids = label_centroids(label_vectors, targets)  # (n, dim)
    if normalise:
        fused, centroids, label_vectors = (normalize(x, dim=-1) for x in (fused, centroids, label_vectors))
    own = (fused * centroids).sum(-1, keepdim=True) / temperature  # (n, 1)
    others = fused @ label_vectors.T / temperature  # (n, n_labels)
    is_negative = targets == 0
    if negatives == "batch":
        is_negative = is_negative & (targets > 0).any(0)
    others = others.masked_fill(~is_negative, -torch.inf)
    cost = torch.logsumexp(torch.cat([own, others], 1), 1) - own[:, 0]  # (n,)
    labelled = (targets > 0).any(1).to(cost.dtype)
    return (cost * labelled).sum() / labelled.sum().clamp(min=1)


def label_centroids(label_vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean vector of every title's labels (equation 9), (n, dim); zeros where there are none."""
    return targets @ label_vectors / targets.sum(1, keepdim=True).clamp(min=1)
