"""From the rows of a batch to experts: one vector of unit length per modality, for every shot of a title.

Blocks that are one vector per title, and sequences that are no shots (patches, word pieces: their mean), are there in
every shot. A title without shots has one place, which stands for it as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.dropout import Dropout
from reeltag.models.gating.shots import are_shots, drawn, seen_shots
from reeltag.models.layout import Layout, Rows, Tokens


class Places(NamedTuple):
    """Experts of the places of a batch.

    Attributes:
        experts: Of unit length, 0 where absent, (n_places, n_experts, dim).
        present: Boolean, (n_places, n_experts).
        title: Row of the title that a place belongs to, (n_places,), in order.
    """

    experts: torch.Tensor
    present: torch.Tensor
    title: torch.Tensor


class Experts(nn.Module):
    """Projects the blocks: ``p_m = normalise(W_m x_m + b_m)``, the blocks of one modality side by side.

    Args:
        layout: The blocks.
        dim: Width of an expert.
        dropout: Of the inputs.
        train_shots: Shots of a title that are drawn in training at most; 0 for all.
    """

    def __init__(self, layout: Layout, dim: int, dropout: float = 0.0, train_shots: int = 0) -> None:
        super().__init__()
        self.maps: Sequence[nn.Linear] = nn.ModuleList(nn.Linear(width, dim) for width in layout.widths)  # type: ignore[assignment]
        self.dropout = Dropout(dropout)
        self.members = [layout.blocks_of(modality) for modality in layout.modalities]
        self.is_shots, self.train_shots = are_shots(layout), train_shots

    def forward(self, rows: Rows) -> Places:
        """Return the experts of all places of the titles of a batch."""
        sequences = rows.read_tokens()
        shots = [tokens for tokens, is_shots in zip(sequences, self.is_shots, strict=True) if is_shots]
        places = seen_shots(len(rows.present), shots, rows.present.device)
        if self.training and 0 < self.train_shots < places.shape[1]:
            places = drawn(places, self.train_shots)
        places[:, 0] |= ~places.any(dim=1)  # a title without shots
        title, shot = places.nonzero(as_tuple=True)
        mapped: list[torch.Tensor] = []  # of every block (n_places, dim), 0 where absent
        there: list[torch.Tensor] = []  # (n_places,)
        for place, block in enumerate(rows.blocks):
            here = rows.present[:, place] > 0
            mapped.append((self._map(place, block) * here[:, None])[title])
            there.append(here[title])
        for place, (tokens, is_shots) in enumerate(zip(sequences, self.is_shots, strict=True), len(rows.blocks)):
            values, seen = _of_shots(tokens, title, shot) if is_shots else _mean(tokens, title)
            mapped.append(self._map(place, values) * seen[:, None])
            there.append(seen)
        present = torch.stack([torch.stack([there[place] for place in own]).any(dim=0) for own in self.members], dim=1)
        sums = torch.stack([torch.stack([mapped[place] for place in own]).sum(dim=0) for own in self.members], dim=1)
        return Places(functional.normalize(sums.float(), dim=2), present, title)

    def _map(self, place: int, values: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.maps[place](self.dropout(values.float())))


def _of_shots(tokens: Tokens, title: torch.Tensor, shot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the vectors of shots (n_places, width), and which of them are real (n_places,)."""
    inside = shot < tokens.seen.shape[1]
    where = torch.where(inside, shot, 0)
    return tokens.values[title, where], (tokens.seen[title, where] > 0) & inside


def _mean(tokens: Tokens, title: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of the real tokens of every title, at its places (n_places, width), and whether it has any."""
    weights = tokens.seen[:, :, None]
    means = (tokens.values.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    return means[title], (tokens.seen.any(dim=1))[title]
