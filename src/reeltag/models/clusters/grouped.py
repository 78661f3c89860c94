"""Layers that every group of rows has weights of its own for, all groups computed in one batched product.

Rows are put side by side by group, (n_groups, longest, width), those of shorter groups filled up with zeros; ``real``
is 1 where a row is no filling, (n_groups, longest).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from reeltag.models.dropout import Dropout

_ENOUGH = 8  # rows of a group from which their own mean and variance are used in training


class Grouping:
    """Where every row lies when rows are put side by side by group.

    Args:
        groups: Group of every row, (n,).
        n_groups: Their number.
    """

    def __init__(self, groups: torch.Tensor, n_groups: int) -> None:
        sizes = torch.bincount(groups, minlength=n_groups)
        order = torch.argsort(groups, stable=True)
        first = (sizes.cumsum(0) - sizes)[groups[order]]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device) - first
        self.groups, self.places, self.sizes = groups, places, sizes
        self.shape = (n_groups, int(sizes.max()))
        self.real = self.spread(torch.ones(len(groups), device=groups.device))

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (n, ...) as (n_groups, longest, ...), zero where filled up."""
        return rows.new_zeros(*self.shape, *rows.shape[1:]).index_put((self.groups, self.places), rows)

    def collect(self, spread: torch.Tensor) -> torch.Tensor:
        """Return (n_groups, longest, ...) as (n, ...), the rows in their old order."""
        return spread[self.groups, self.places]


class GroupedLinear(nn.Module):
    """A linear map per group, started as ``nn.Linear`` is.

    Args:
        n_groups: Number of groups.
        width: Width of the input.
        out: Width of the output.
    """

    def __init__(self, n_groups: int, width: int, out: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(n_groups, width, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_groups, out).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n_groups, longest, out) of x (n_groups, longest, width)."""
        return torch.baddbmm(self.bias[:, None], x, self.weight)


class GroupedBatchNorm(nn.Module):
    """Batch normalisation per group, filling left out (Ioffe and Szegedy 2015, arXiv 1502.03167).

    A batch may hold few rows of a group, from which no variance can be told: below ``8`` they are normalised by the
    running figures, as in evaluation, and move these the less the fewer they are.

    Args:
        n_groups: Number of groups.
        width: Width of the rows.
        momentum: How far a batch moves the running figures.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, n_groups: int, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, 1e-5
        self.weight = nn.Parameter(torch.ones(n_groups, width))
        self.bias = nn.Parameter(torch.zeros(n_groups, width))
        self.register_buffer("running_mean", torch.zeros(n_groups, width))
        self.register_buffer("running_var", torch.ones(n_groups, width))

    def forward(self, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return x (n_groups, longest, width) normalised."""
        mean, variance = self._figures(x, real) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return x * scale[:, None] + (self.bias - mean * scale)[:, None]

    def _figures(self, x: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance to normalise by, (n_groups, width) each, and move the running figures."""
        rows, seen = real.sum(1)[:, None], real[:, :, None]
        mean = (x * seen).sum(1) / rows.clamp_min(1)
        variance = ((x - mean[:, None]).square() * seen).sum(1) / rows.clamp_min(1)
        with torch.no_grad():
            # the spread about the running mean is told by a single row too
            about = variance * rows / (rows - 1).clamp_min(1) + (rows == 1) * (mean - self.running_mean).square()
            rate = self.momentum * (rows / _ENOUGH).clamp_max(1)
            self.running_mean.lerp_(mean, rate.expand_as(mean))
            self.running_var.lerp_(about, rate.expand_as(about))
        enough = rows >= _ENOUGH
        return torch.where(enough, mean, self.running_mean), torch.where(enough, variance, self.running_var)


class GroupedBlocks(nn.Module):
    """Blocks of a dense layer with ReLU, batch normalisation and dropout, and a linear map to logits, per group.

    Args:
        n_groups: Number of groups; 1 for a network like any other.
        widths: Of the input, of every block, and of the logits.
        dropout: In the blocks.
    """

    def __init__(self, n_groups: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        pairs = list(pairwise(widths[:-1]))
        self.dense = nn.ModuleList(GroupedLinear(n_groups, width, out) for width, out in pairs)
        self.norms = nn.ModuleList(GroupedBatchNorm(n_groups, out) for _, out in pairs)
        self.dropout = Dropout(dropout)
        self.head = GroupedLinear(n_groups, widths[-2], widths[-1])

    def forward(self, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return logits (n_groups, longest, n_logits) of x (n_groups, longest, width)."""
        for dense, norm in zip(self.dense, self.norms, strict=True):
            x = self.dropout(norm(torch.relu(dense(x)), real))
        logits: torch.Tensor = self.head(x)
        return logits
