"""EarlyModel: the blocks side by side into one MLP, the plainest of multimodal baselines.

Two hidden layers of 512 with ReLU and dropout; an absent block is a row of zeros. No paper of its own: seed 001 and the
GMU paper (Arevalo et al. 2017, arXiv 1702.01992) both have it as "concatenation".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify, perceptron, rival_training, side_by_side
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EarlyConfig(NetworkConfig):
    """Settings of early fusion, besides those of every network.

    Attributes:
        hidden: Width of the hidden layers.
        hidden_layers: Their number.
        dropout: In the hidden layers.
    """

    hidden: int = 512
    hidden_layers: int = 2
    dropout: float = 0.5
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("EarlyConfig", "hidden", self.hidden, 1, 65_536)
        check_range("EarlyConfig", "hidden_layers", self.hidden_layers, 1, 100)
        check_range("EarlyConfig", "dropout", self.dropout, 0, 0.95)


class EarlyNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: EarlyConfig) -> None:
        super().__init__()
        self.body = perceptron([sum(layout.widths), *[config.hidden] * config.hidden_layers], config.dropout)
        self.head = nn.Linear(config.hidden, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and the last hidden layer (n, hidden)."""
        x = self.body(side_by_side(rows, range(len(rows.blocks))))
        return Outputs(classify(self.head, x), x.float())


class EarlyModel(NetworkModel):
    """Estimator around EarlyNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = EarlyConfig
    network_class: ClassVar[type[nn.Module]] = EarlyNetwork
