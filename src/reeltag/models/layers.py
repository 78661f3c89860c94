"""The layers that several networks are made of: maxout, perceptrons, heads in single precision, losses of branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from reeltag.losses import Loss
from reeltag.models.dropout import Dropout
from reeltag.models.layout import Layout, Rows
from reeltag.training import TrainingConfig


class Maxout(nn.Module):
    """The largest of several linear maps, for every output (Goodfellow et al. 2013).

    Args:
        width: Width of the input.
        out: Width of the output.
        pieces: Linear maps per output.
    """

    def __init__(self, width: int, out: int, pieces: int = 2) -> None:
        super().__init__()
        self.shape = (out, pieces)
        self.maps = nn.Linear(width, out * pieces)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, out) of x (n, width)."""
        y: torch.Tensor = self.maps(x)
        return y.view(len(x), *self.shape).amax(dim=2)


def perceptron(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Return linear maps from width to width, each with ReLU and dropout."""
    return nn.Sequential(
        *[layer for width, out in pairwise(widths) for layer in (nn.Linear(width, out), nn.ReLU(), Dropout(dropout))]
    )


def classify(
    head: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    straight: tuple[nn.ModuleList, Rows] | None = None,
) -> torch.Tensor:
    """Return what a head makes of x in single precision: logits need more digits than bfloat16 has.

    Args:
        head: From (n, width) to logits (n, n_labels).
        x: Shape (n, width).
        straight: Maps from the blocks straight to the logits, one per block, and the titles; added where present.
    """
    with torch.autocast(x.device.type, enabled=False):
        logits = head(x.float())
        if straight is not None:
            paths, rows = straight
            for place, path in enumerate(paths):
                logits = logits + rows.present[:, place : place + 1] * path(rows.blocks[place].float())
    return logits


def or_prior(logits: torch.Tensor, known: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Return the logits (n, n_labels) where anything is known of a title (n,), the prior (n_labels,) elsewhere."""
    return torch.where(known[:, None] > 0, logits, prior)


def side_by_side(rows: Rows, places: Sequence[int]) -> torch.Tensor:
    """Return some blocks side by side (n, sum of widths), 0 where absent."""
    return torch.cat([rows.blocks[place] * rows.present[:, place : place + 1] for place in places], dim=1)


def present_modalities(rows: Rows, layout: Layout) -> torch.Tensor:
    """Return 1 where a title has any block of a modality, (n, n_modalities)."""
    return torch.stack(
        [rows.present[:, list(layout.blocks_of(modality))].amax(dim=1) for modality in layout.modalities], dim=1
    )


def branch_losses(logits: torch.Tensor, targets: torch.Tensor, present: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the sum of the losses of the branches, each over the titles that have its modality.

    The weights of labels (``class_weights``) are for the fused output: the branches are trained without.

    Args:
        logits: What every branch says, (n, n_modalities, n_labels).
        targets: 0 and 1, (n, n_labels).
        present: 1 where a title has a modality, (n, n_modalities).
        loss: The loss; it must be a mean over titles and labels.

    Returns:
        A scalar: a mean over all n titles, to which a title without a modality adds nothing.
    """
    total = logits.sum() * 0
    for branch in range(logits.shape[1]):
        here = present[:, branch] > 0
        if here.any():
            total = total + loss(logits[here, branch], targets[here]) * here.float().mean()
    return total


def rival_training() -> TrainingConfig:
    """Return the settings that rivals are trained with unless told otherwise."""
    return TrainingConfig(epochs=20, batch_size=64, learning_rate=1e-3, weight_decay=0.01)
