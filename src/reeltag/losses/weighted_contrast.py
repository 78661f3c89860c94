"""Supervised contrast whose positives weigh as label sets overlap (Wang et al., ACL 2022, MLTC).

With weights of 0 and 1 it is the SupCon loss of Khosla et al. (NeurIPS 2020, arXiv 2004.11362, equation 2).
"""

from __future__ import annotations

from typing import Literal

import torch

Overlap = Literal["jaccard", "shared"]
_TINY = 1e-12


def weighted_contrast(vectors: torch.Tensor, weights: torch.Tensor, *, temperature: float = 0.1) -> torch.Tensor:
    """Return the contrastive loss of vectors among themselves.

    Of anchor i it is ``-sum_j w_ij log(exp(s_ij / t) / sum_a exp(s_ia / t)) / sum_j w_ij``, with s the dot products
    and j and a over all vectors but i.

    Args:
        vectors: Of unit length, shape (k, dim).
        weights: At least 0, how far j is a positive of i, shape (k, k); the diagonal is not read.
        temperature: Divides the dot products.

    Returns:
        A scalar: the mean over anchors that have a positive; 0 when none has.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    scores = vectors @ vectors.T / temperature  # (k, k)
    weights = weights.to(scores.dtype).masked_fill(itself, 0)
    total = weights.sum(1)
    everything = torch.logsumexp(scores.masked_fill(itself, torch.finfo(scores.dtype).min), 1)
    cost = everything - (weights * scores).sum(1) / total.clamp(min=_TINY)
    has_positives = total > 0
    return torch.where(has_positives, cost, 0).sum() / has_positives.sum().clamp(min=1)


def label_overlap(targets: torch.Tensor, overlap: Overlap = "jaccard") -> torch.Tensor:
    """Return how far the label sets of titles overlap.

    Args:
        targets: 0 or 1, shape (n, n_labels).
        overlap: ``jaccard`` for shared labels over all labels of both, ``shared`` for their number.

    Returns:
        Shape (n, n), symmetric; 0 where nothing is shared.
    """
    shared = targets @ targets.T
    if overlap == "shared":
        return shared
    sizes = targets.sum(1)
    return shared / (sizes[:, None] + sizes[None, :] - shared).clamp(min=1)
