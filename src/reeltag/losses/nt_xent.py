"""NT-Xent, the normalised temperature-scaled cross entropy (Chen et al., ICML 2020, arXiv 2002.05709, equation 1).

Seed 004 continues to train with it so that views of one trailer find each other among those of all others. There may be
more than two views of a title: the others are no negatives of each other, which the plain loss would make them.
"""

from __future__ import annotations

import torch


def nt_xent(vectors: torch.Tensor, titles: torch.Tensor, *, temperature: float = 0.1) -> torch.Tensor:
    """Return the mean over ordered pairs of views i, j of one title of ``-log(e_ij / (e_ij + sum_k e_ik))``.

    ``e_ij = exp(v_i . v_j / temperature)``, and k runs over the views of other titles: views of the same title besides
    j are masked. With two views per title this is the equation of the paper.

    Args:
        vectors: Of unit length, shape (n_views, dim).
        titles: Which title each is a view of, whole numbers, shape (n_views,).
        temperature: Divides the dot products.

    Returns:
        A scalar; 0 when no title has two views.
    """
    scores = vectors @ vectors.T / temperature  # (n_views, n_views)
    same = titles[:, None] == titles[None, :]
    others = torch.logsumexp(scores.masked_fill(same, torch.finfo(scores.dtype).min), dim=1, keepdim=True)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = same & ~itself
    cost = torch.logaddexp(scores, others) - scores
    return torch.where(positive, cost, 0).sum() / positive.sum().clamp(min=1)
