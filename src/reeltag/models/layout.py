"""What networks read and say: which blocks, of which modalities, the rows of a batch, and the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from reeltag.features import modality_of


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The shape of a network's world.

    Attributes:
        names: Names of the blocks, in order.
        widths: Width of every block.
        n_labels: Number of labels.
        label_width: Width of the label vectors of a graph; 0 without.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    n_labels: int
    label_width: int = 0

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order of their first block."""
        return tuple(dict.fromkeys(map(modality_of, self.names)))

    def blocks_of(self, modality: str) -> tuple[int, ...]:
        """Return the places of a modality's blocks."""
        return tuple(place for place, name in enumerate(self.names) if modality_of(name) == modality)

    def membership(self) -> torch.Tensor:
        """Return which block belongs to which modality, 0 and 1, (n_modalities, n_blocks)."""
        return torch.tensor([[float(modality_of(name) == m) for name in self.names] for m in self.modalities])


class Rows(NamedTuple):
    """Titles as a network reads them.

    Attributes:
        blocks: Scaled blocks, each (n, width), 0 where absent.
        present: 1 where a title has a block, (n, n_blocks).
        side: What else the model reads of a title and is no modality, (n, k); None without.
    """

    blocks: Sequence[torch.Tensor]
    present: torch.Tensor
    side: torch.Tensor | None = None

    def take(self, rows: torch.Tensor | slice, device: torch.device | None = None) -> Rows:
        """Return some titles, on a device."""
        side = None if self.side is None else self.side[rows].to(device)
        return Rows([block[rows].to(device) for block in self.blocks], self.present[rows].to(device), side)


class Outputs(NamedTuple):
    """What a network says of titles.

    Attributes:
        logits: Log-odds of the labels, (n, n_labels).
        fused: The fused representation, (n, dim).
        attention: What every modality counts, each in [0, 1], (n, n_modalities); None for networks without.
        extra: What the loss has besides the classification loss, a scalar; None in prediction.
    """

    logits: torch.Tensor
    fused: torch.Tensor
    attention: torch.Tensor | None = None
    extra: torch.Tensor | None = None
