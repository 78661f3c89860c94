"""Which shots of a trailer there are, and draws among them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.features import modality_of
from reeltag.models.layout import Layout, Tokens


def are_shots(layout: Layout) -> list[bool]:
    """Return of every block of sequences whether its tokens are shots, which stand side by side in all such blocks."""
    return [modality_of(name) in SHOT_MODALITIES for name in layout.names[layout.n_vectors :]]


def seen_shots(n_titles: int, shots: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """Return which shots any of the blocks has seen, boolean (n_titles, n_shots); ``n_shots`` is at least 1."""
    length = max((tokens.seen.shape[1] for tokens in shots), default=1)
    there = torch.zeros(n_titles, length, dtype=torch.bool, device=device)
    for tokens in shots:
        there[:, : tokens.seen.shape[1]] |= tokens.seen > 0
    return there


def drawn(there: torch.Tensor, counts: torch.Tensor | int) -> torch.Tensor:
    """Return some of what is there, drawn at random without replacement, boolean (n, k).

    Args:
        there: Boolean, (n, k).
        counts: How many of every row at most, (n, 1).
    """
    order = torch.rand(there.shape, device=there.device).masked_fill(~there, 2).argsort(dim=1).argsort(dim=1)
    return (order < counts) & there
