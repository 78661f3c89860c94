"""Label-level contrast (Dao et al., Neurocomputing 2023, arXiv 2107.11626, MulCon)."""

from __future__ import annotations

import torch

from reeltag.losses.weighted_contrast import weighted_contrast


def label_contrast(vectors: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.2) -> torch.Tensor:
    """Return the supervised contrastive loss over what titles look like to each of their labels.

    Every vector belongs to one title and one label the title has; its positives are the vectors of other titles for
    that label, and it is contrasted with all other vectors, those of its own title included. The authors can fill up
    the negatives with hard ones; this is left out.

    Args:
        vectors: Of unit length, shape (k, dim).
        labels: Which label each vector belongs to, shape (k,).
        temperature: Divides the dot products.

    Returns:
        A scalar: the mean over vectors that have a positive; 0 when none has.
    """
    return weighted_contrast(vectors, labels[:, None] == labels[None, :], temperature=temperature)
