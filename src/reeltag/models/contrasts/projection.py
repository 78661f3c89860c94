"""The projection head of contrastive learning."""

from __future__ import annotations

import torch
from torch import nn


class Projection(nn.Module):
    """Linear, ReLU, Linear, unit length.

    Args:
        dim: Width of what comes in, and of the hidden layer.
        width: Width of what comes out.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return unit vectors (k, width) in single precision, from (k, dim)."""
        return nn.functional.normalize(self.layers(x).float(), dim=-1)
