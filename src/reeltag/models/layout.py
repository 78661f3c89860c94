"""What networks read and say: which blocks, of which modalities, the rows of a batch, and the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from reeltag.errors import FeatureError
from reeltag.features import Features, NoTokens, TokenBlock, modality_of


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The shape of a network's world.

    Attributes:
        names: Names of the blocks, in order, those that are sequences of tokens last.
        widths: Width of every block; of the vectors of a sequence.
        n_labels: Number of labels.
        n_tokens: How many of the blocks are sequences of tokens; 0 for models that read none.
        label_width: Width of the label vectors of a graph; 0 without.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    n_labels: int
    n_tokens: int = 0
    label_width: int = 0

    @property
    def n_vectors(self) -> int:
        """How many of the blocks are one vector per title; the place of the first sequence."""
        return len(self.names) - self.n_tokens

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


class Tokens(NamedTuple):
    """Sequences of tokens.

    Attributes:
        values: Shape (n, n_tokens, width); in half precision as they were stored.
        seen: 1 where a token is real, (n, n_tokens).
    """

    values: torch.Tensor
    seen: torch.Tensor

    def take(self, rows: torch.Tensor | slice, device: torch.device | None = None) -> Tokens:
        """Return the tokens of some titles, on a device."""
        return Tokens(self.values[rows].to(device), self.seen[rows].to(device))


class StoredTokens(NamedTuple):
    """Sequences of tokens that are still on disk."""

    block: TokenBlock

    def take(self, rows: torch.Tensor | slice, device: torch.device | None = None) -> Tokens:
        """Read the tokens of some titles."""
        places = rows if isinstance(rows, slice) else rows.numpy()
        values, seen = self.block.take(np.arange(len(self.block.places))[places]).read()
        return Tokens(torch.from_numpy(values).to(device), torch.from_numpy(seen.astype(np.float32)).to(device))


def stored_tokens(features: Features, name: str, width: int) -> StoredTokens:
    """Return a token block of features, without any sequence when they lack it.

    Raises:
        FeatureError: Its vectors have another width.
    """
    block = features.tokens.get(name)
    if block is None:
        return StoredTokens(TokenBlock(NoTokens(width), np.full(len(features), -1, np.int64), 1))
    if block.dim != width:
        raise FeatureError(f"tokens '{name}' have width {block.dim}, the model was trained with {width}")
    return StoredTokens(block)


class Rows(NamedTuple):
    """Titles as a network reads them.

    Attributes:
        blocks: Scaled blocks, each (n, width), 0 where absent.
        present: 1 where a title has a block, (n, n_blocks); the last columns are those of the tokens.
        side: What else the model reads of a title and is no modality, (n, k); None without.
        tokens: Blocks that are sequences; a batch has them read.
    """

    blocks: Sequence[torch.Tensor]
    present: torch.Tensor
    side: torch.Tensor | None = None
    tokens: Sequence[Tokens | StoredTokens] = ()

    def take(self, rows: torch.Tensor | slice, device: torch.device | None = None) -> Rows:
        """Return some titles, on a device, their tokens read."""
        side = None if self.side is None else self.side[rows].to(device)
        return Rows(
            [block[rows].to(device) for block in self.blocks],
            self.present[rows].to(device),
            side,
            [tokens.take(rows, device) for tokens in self.tokens],
        )

    def read_tokens(self) -> list[Tokens]:
        """Return the tokens of a batch, those of absent blocks not seen."""
        places = range(self.present.shape[1] - len(self.tokens), self.present.shape[1])
        read = [tokens if isinstance(tokens, Tokens) else tokens.take(slice(None)) for tokens in self.tokens]
        return [
            Tokens(values, seen * self.present[:, place : place + 1])
            for place, (values, seen) in zip(places, read, strict=True)
        ]


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
