"""Vectors of labels: from a graph, or at random."""

from __future__ import annotations

import torch
from torch import nn

from reeltag.errors import ModelError


class LabelTable(nn.Module):
    """One vector per label, at first at random and of about unit length.

    Args:
        n_labels: Number of labels.
        width: Width of the vectors.
        learn: Let them learn.
    """

    def __init__(self, n_labels: int, width: int, learn: bool) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(n_labels, width) / width**0.5, requires_grad=learn)

    def start(self, vectors: torch.Tensor | None) -> None:
        """Take the vectors of a graph, (n_labels, width); None changes nothing.

        Raises:
            ModelError: They have another shape.
        """
        if vectors is None:
            return
        if vectors.shape != self.vectors.shape:
            expected = tuple(self.vectors.shape)
            raise ModelError(f"label vectors must have shape {expected}; got {tuple(vectors.shape)}")
        with torch.no_grad():
            self.vectors.copy_(vectors)

    def forward(self) -> torch.Tensor:
        """Return the vectors, (n_labels, width)."""
        return self.vectors
