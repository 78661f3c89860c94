"""Centre loss over labels, without negative pairs (after Hassanin et al., JVCIR 2022, arXiv 2107.11159, MCL)."""

from __future__ import annotations

import torch


def centre(
    vectors: torch.Tensor, labels: torch.Tensor, *, margin: float = 1.0, separation: float = 1.0
) -> torch.Tensor:
    """Return the spread within labels plus what the centres of labels lack in distance from each other.

    A centre is the mean of a label's vectors in the batch. The spread is the mean of ``|v - centre|^2`` over vectors,
    the lack the mean of ``max(0, margin - |c - c'|^2)`` over pairs of centres. What the authors print of their loss
    (distance between classes up, spread within a class down, in the output space) leaves its form open: squared
    distances, the hinge, and the two means are chosen here.

    Args:
        vectors: Each of one title and one of its labels, shape (k, dim).
        labels: Which label each vector belongs to, shape (k,).
        margin: Squared distance beyond which centres are far enough; that of unit vectors is at most 4.
        separation: Weight of the distances between centres against the spread.

    Returns:
        A scalar; 0 without vectors.
    """
    _, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, place, vectors)
    centres = sums / counts.unsqueeze(1)  # (n_present, dim)
    spread = (vectors - centres[place]).square().sum() / max(len(vectors), 1)
    first, second = torch.triu_indices(len(counts), len(counts), 1, device=vectors.device)
    distance = (centres[first] - centres[second]).square().sum(1)
    lack = (margin - distance).clamp(min=0).sum() / max(len(distance), 1)
    loss: torch.Tensor = spread + separation * lack
    return loss
