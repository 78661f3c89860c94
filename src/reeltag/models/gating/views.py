"""Two views of a title: disjoint halves of what is known of it (seed 004: shots of one trailer).

Its shots are dealt out in two halves, the same for all experts; so are the tokens of any other sequence, and the blocks
that are one vector. Of a title of which only one thing is known one view is empty, and now and then of one that has one
of each kind, as each kind is dealt out by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reeltag.models.gating.shots import are_shots, drawn, seen_shots
from reeltag.models.layout import Layout, Rows, Tokens


class Views(NamedTuple):
    """Two disjoint views of the titles of a batch; ``whole`` says which titles have something in both, boolean (n,)."""

    first: Rows
    second: Rows
    whole: torch.Tensor


def split_views(rows: Rows, layout: Layout) -> Views:
    """Deal out what is known of every title of a batch, by the current random state.

    Args:
        rows: The titles.
        layout: Names of their blocks.
    """
    sequences, is_shots = rows.read_tokens(), are_shots(layout)
    shots = [tokens for tokens, is_shot in zip(sequences, is_shots, strict=True) if is_shot]
    of_shots = _dealt(seen_shots(len(rows.present), shots, rows.present.device))  # (n, n_shots)
    first_half = [
        of_shots[:, : tokens.seen.shape[1]] if is_shot else _dealt(tokens.seen > 0)
        for tokens, is_shot in zip(sequences, is_shots, strict=True)
    ]
    vectors = rows.present[:, : len(rows.blocks)] > 0
    side = _dealt(vectors)  # (n, n_blocks)
    first = _view(rows, sequences, vectors & side, first_half)
    second = _view(rows, sequences, vectors & ~side, [~half for half in first_half])
    return Views(first, second, first.present.any(dim=1) & second.present.any(dim=1))


def _dealt(there: torch.Tensor) -> torch.Tensor:
    """Return a random half of what is there, boolean (n, k): of an odd number one more or one less, by lot."""
    counts = there.sum(dim=1, keepdim=True)
    return drawn(there, (counts + torch.randint(2, counts.shape, device=there.device)) // 2)


def _view(rows: Rows, sequences: list[Tokens], vectors: torch.Tensor, halves: list[torch.Tensor]) -> Rows:
    """Return the titles with some of their blocks and tokens only."""
    tokens = [Tokens(own.values, own.seen * half) for own, half in zip(sequences, halves, strict=True)]
    present = torch.cat([vectors, *[(own.seen > 0).any(dim=1, keepdim=True) for own in tokens]], dim=1)
    blocks = [block * vectors[:, place : place + 1] for place, block in enumerate(rows.blocks)]
    return Rows(blocks, present.to(rows.present.dtype), rows.side, tokens)
