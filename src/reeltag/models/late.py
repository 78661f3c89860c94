"""LateModel: one MLP per modality, whose logits are averaged over the modalities that a title has.

Every MLP is trained by its own loss too, over the titles that have its modality, so that none is idle while another
explains the labels. No paper of its own; left open and chosen: the plain mean (learned weights are an option), and the
weight of the losses of the MLPs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import (
    branch_losses,
    classify,
    or_prior,
    perceptron,
    present_modalities,
    rival_training,
    side_by_side,
)
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class LateConfig(NetworkConfig):
    """Settings of late fusion, besides those of every network.

    Attributes:
        hidden: Width of the hidden layers.
        hidden_layers: Their number in every MLP.
        dropout: In the hidden layers.
        learned_weights: Weigh the modalities by the softmax of learned scalars over those present.
        branch_weight: Of the losses of the MLPs.
    """

    hidden: int = 512
    hidden_layers: int = 2
    dropout: float = 0.5
    learned_weights: bool = False
    branch_weight: float = 1.0
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("LateConfig", "hidden", self.hidden, 1, 65_536)
        check_range("LateConfig", "hidden_layers", self.hidden_layers, 1, 100)
        check_range("LateConfig", "dropout", self.dropout, 0, 0.95)
        check_range("LateConfig", "branch_weight", self.branch_weight, 0, 1e6)


class LateNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    prior: torch.Tensor

    def __init__(self, layout: Layout, config: LateConfig) -> None:
        super().__init__()
        self.config, self.layout = config, layout
        self.places = [layout.blocks_of(modality) for modality in layout.modalities]
        widths = [sum(layout.widths[place] for place in places) for places in self.places]
        hidden = [config.hidden] * config.hidden_layers
        self.bodies = nn.ModuleList(perceptron([width, *hidden], config.dropout) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(config.hidden, layout.n_labels) for _ in widths)
        self.scalars = nn.Parameter(torch.zeros(len(widths))) if config.learned_weights else None
        self.register_buffer("prior", torch.zeros(layout.n_labels))  # what is said of a title without any modality

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        for head in self.heads:
            start_at_base_rates(head, shares)  # type: ignore[arg-type]
        self.prior.copy_(torch.log(shares / (1 - shares)))

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits (n, n_labels), the mean last hidden layer (n, hidden) and the weights of the modalities."""
        states = [body(side_by_side(rows, places)) for body, places in zip(self.bodies, self.places, strict=True)]
        logits = torch.stack([classify(head, x) for head, x in zip(self.heads, states, strict=True)], dim=1)
        present = present_modalities(rows, self.layout)  # (n, n_modalities)
        counts = present if self.scalars is None else present * torch.exp(self.scalars)
        weights = counts / counts.sum(dim=1, keepdim=True).clamp_min(1e-12)
        z = or_prior((weights[:, :, None] * logits).sum(dim=1), present.amax(dim=1), self.prior)
        fused = (weights[:, :, None] * torch.stack(states, dim=1).float()).sum(dim=1)
        extra = None
        if targets is not None and self.config.branch_weight:
            extra = self.config.branch_weight * branch_losses(logits, targets, present, self.config.loss_function())
        return Outputs(z, fused, weights, extra)


class LateModel(NetworkModel):
    """Estimator around LateNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = LateConfig
    network_class: ClassVar[type[nn.Module]] = LateNetwork
