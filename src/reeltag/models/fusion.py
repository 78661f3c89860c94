"""FusionModel: an MLP over any set of modalities, the default recipe.

Every block is brought to one width by a linear map and the maps are summed, an absent block adding a learned vector
in its place; two hidden layers follow, beside a linear path from the blocks straight to the logits. Modalities are
dropped at random in training, so any subset of them can be tagged. Several members with different seeds are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.models.dropout import Dropout
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify
from reeltag.models.layout import Layout, Outputs, Rows


@dataclass(frozen=True, kw_only=True)
class FusionConfig(NetworkConfig):
    """Settings of the fusion model, besides those of every network.

    Attributes:
        hidden: Width of the hidden layers.
        dropout: In the hidden layers.
        input_dropout: Of the scaled features.
    """

    hidden: int = 1024
    dropout: float = 0.5
    input_dropout: float = 0.4
    modality_dropout: float = 0.1
    n_members: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("FusionConfig", "hidden", self.hidden, 1, 65_536)
        for name in ("dropout", "input_dropout"):
            check_range("FusionConfig", name, getattr(self, name), 0, 0.95)


class FusionNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: FusionConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.input_dropout = Dropout(config.input_dropout)
        self.align = nn.ModuleList(nn.Linear(width, hidden) for width in layout.widths)
        self.absent = nn.Parameter(torch.zeros(len(layout.widths), hidden))
        self.straight = nn.ModuleList(nn.Linear(width, layout.n_labels, bias=False) for width in layout.widths)
        self.body = nn.Sequential(
            nn.LayerNorm(hidden), nn.GELU(), Dropout(config.dropout),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.GELU(), Dropout(config.dropout),
        )  # fmt: skip
        self.head = nn.Linear(hidden, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and the fused representation (n, hidden)."""
        x = (1 - rows.present) @ self.absent  # (n, hidden)
        for place, block in enumerate(rows.blocks):
            x = x + rows.present[:, place : place + 1] * self.align[place](self.input_dropout(block))
        x = self.body(x).float()
        return Outputs(classify(self.head, x, (self.straight, rows)), x)


class FusionModel(NetworkModel):
    """Estimator around FusionNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = FusionConfig
    network_class: ClassVar[type[nn.Module]] = FusionNetwork
