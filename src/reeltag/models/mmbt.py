"""MMBT: one transformer over the tokens of all modalities (Kiela, Bhooshan, Firooz, Perez, Testuggine 2019).

As published (arXiv 1909.02950): the sequence is [CLS], the image's tokens, [SEP], the words, [SEP]; image vectors are
mapped to the width of the words, a segment embedding tells the modalities apart, and a linear map of the pooled [CLS]
classifies. Rare labels may count more (``class_weights=1`` is the published negatives / positives); AdamW with
warm-up.

What differs: the transformer is small and starts at random instead of from BERT. Token blocks are real word pieces
and patches, as published: each is normalised and mapped to the width of the transformer, and gets a learned position.
A block that is one pooled vector is mapped to ``tokens`` tokens, whose biases are their positions. Left open and
chosen: 256 wide, two layers, four heads, two tokens. The tokens and the [SEP] of an absent modality are masked out of
the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.errors import ConfigError
from reeltag.models.attention import Alignment, first_positions
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify, or_prior
from reeltag.models.layout import Layout, Outputs, Rows, Tokens
from reeltag.training import TrainingConfig


def transformer_training() -> TrainingConfig:
    """Return the settings that transformers are trained with unless told otherwise."""
    return TrainingConfig(epochs=12, batch_size=128, learning_rate=5e-4, weight_decay=0.01)


@dataclass(frozen=True, kw_only=True)
class MmbtConfig(NetworkConfig):
    """Settings of MMBT, besides those of every network.

    Attributes:
        dim: Width of the tokens.
        layers: Of the transformer.
        heads: Of the attention; they share the width.
        tokens: That a block of one vector is mapped to.
        max_positions: Tokens of a sequence with a learned position; later ones share the last.
        dropout: In the transformer.
    """

    dim: int = 256
    layers: int = 2
    heads: int = 4
    tokens: int = 2
    max_positions: int = 64
    dropout: float = 0.1
    training: TrainingConfig = field(default_factory=transformer_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = type(self).__name__
        for name, low, high in (
            ("dim", 1, 65_536),
            ("layers", 1, 100),
            ("heads", 1, 256),
            ("tokens", 1, 1024),
            ("max_positions", 1, 65_536),
            ("dropout", 0, 0.95),
        ):
            check_range(owner, name, getattr(self, name), low, high)
        if self.dim % self.heads:
            raise ConfigError(f"{owner}.dim must be a multiple of heads ({self.heads}); got {self.dim}")


class BlockTokens(nn.Module):
    """Tokens of every modality, made of its blocks by linear maps.

    Args:
        layout: Blocks.
        config: Settings.
        left_out: A modality without tokens.
    """

    def __init__(self, layout: Layout, config: MmbtConfig, left_out: str | None = None) -> None:
        super().__init__()
        self.shape, self.n_vectors = (config.tokens, config.dim), layout.n_vectors
        self.places = [() if modality == left_out else layout.blocks_of(modality) for modality in layout.modalities]
        self.maps, self.positions = nn.ModuleDict(), nn.ParameterDict()
        for place in (place for places in self.places for place in places):
            width = layout.widths[place]
            if place < self.n_vectors:
                self.maps[str(place)] = nn.Linear(width, config.tokens * config.dim)
            else:
                self.maps[str(place)] = Alignment(width, config.dim, 0.0)
                self.positions[str(place)] = nn.Parameter(torch.randn(config.max_positions, config.dim) * 0.02)

    def forward(self, rows: Rows) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return per modality its tokens (n, n_tokens, dim) and which of them are present (n, n_tokens)."""
        sequences = rows.read_tokens()
        made, seen = [], []
        for places in self.places:
            parts = [self._block(place, rows, sequences) for place in places]
            nothing = rows.present.new_zeros(len(rows.present), 0, self.shape[1])
            made.append(torch.cat([part.values for part in parts] or [nothing], dim=1))
            seen.append(torch.cat([part.seen for part in parts] or [nothing[:, :, 0]], dim=1))
        return made, seen

    def _block(self, place: int, rows: Rows, sequences: Sequence[Tokens]) -> Tokens:
        """Return the tokens of one block."""
        if place < self.n_vectors:
            values = self.maps[str(place)](rows.blocks[place]).unflatten(1, self.shape)
            return Tokens(values, rows.present[:, place : place + 1].expand(-1, self.shape[0]))
        read = sequences[place - self.n_vectors]
        values = self.maps[str(place)](read.values)
        return Tokens(values + first_positions(self.positions[str(place)], values.shape[1]), read.seen)


class Trunk(nn.Module):
    """A transformer over [CLS] and, for every modality, its tokens and a [SEP].

    Args:
        n_modalities: Number of modalities.
        config: Settings.
    """

    def __init__(self, n_modalities: int, config: MmbtConfig) -> None:
        super().__init__()
        dim = config.dim
        self.cls = nn.Parameter(torch.randn(dim) * 0.02)
        self.separator = nn.Parameter(torch.randn(dim) * 0.02)
        self.segments = nn.Parameter(torch.randn(n_modalities, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            dim, config.heads, 4 * dim, config.dropout, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.pool = nn.Linear(dim, dim)

    def forward(self, tokens: Sequence[torch.Tensor], seen: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return tanh of a linear map of the [CLS] state, (n, dim).

        Args:
            tokens: Per modality (n, n_tokens, dim).
            seen: Per modality 1 where a token is present, (n, n_tokens).
        """
        n = len(tokens[0])
        sequence, mask = [self.cls.expand(n, 1, -1)], [seen[0].new_ones(n, 1)]
        for place, (part, here) in enumerate(zip(tokens, seen, strict=True)):
            closed = torch.cat([part, self.separator.expand(n, 1, -1)], dim=1)
            sequence.append(closed + self.segments[place])
            mask += [here, here.amax(dim=1, keepdim=True)]
        x = self.dropout(self.norm(torch.cat(sequence, dim=1)))
        x = self.encoder(x, src_key_padding_mask=torch.cat(mask, dim=1) == 0)
        return torch.tanh(self.pool(x[:, 0]))


class MmbtNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    prior: torch.Tensor

    def __init__(self, layout: Layout, config: MmbtConfig) -> None:
        super().__init__()
        self.tokens = BlockTokens(layout, config)
        self.trunk = Trunk(len(layout.modalities), config)
        self.head = nn.Linear(config.dim, layout.n_labels)
        self.register_buffer("prior", torch.zeros(layout.n_labels))  # what is said of a title of which nothing is known

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)
        self.prior.copy_(torch.log(shares / (1 - shares)))

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and the pooled [CLS] (n, dim)."""
        fused = self.trunk(*self.tokens(rows))
        z = or_prior(classify(self.head, fused), rows.present.amax(dim=1), self.prior)
        return Outputs(z, fused.float())


class MmbtModel(NetworkModel):
    """Estimator around MmbtNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = MmbtConfig
    network_class: ClassVar[type[nn.Module]] = MmbtNetwork
    reads_tokens: ClassVar[bool] = True
