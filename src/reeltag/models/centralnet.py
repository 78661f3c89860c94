"""CentralNet: a network in the middle that reads every layer of one network per modality (Vielzeuf et al. 2018).

As published (arXiv 1808.07275): a layer of the central network reads the sum, weighted by learned scalars, of the
states of all branches at that layer and of its own state before; every branch has a classifier, and the losses of all
are added to the central one. On MM-IMDb the branches are maxout networks with batch normalisation.

Left open and chosen: widths (512), two layers, maxout of two pieces (five in public code), scalars that start at 1,
no bottleneck. Public code does not feed the central state on but sums the central states, ``chained`` false here. An
absent modality, of which the paper knows none, adds nothing to any layer, and its branch no loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.models.alignment import Alignment, BatchNorm
from reeltag.models.dropout import Dropout
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import Maxout, branch_losses, classify, rival_training
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class CentralNetConfig(NetworkConfig):
    """Settings of CentralNet, besides those of every network.

    Attributes:
        dim: Width of all layers.
        layers: Of every branch, and of the central network.
        pieces: Linear maps per unit of a maxout.
        dropout: In the branches and in the central network.
        chained: Feed the central state on to the next layer; otherwise the weighted sum of all central states is fused.
        branch_weight: Of the losses of the branches.
    """

    dim: int = 512
    layers: int = 2
    pieces: int = 2
    dropout: float = 0.5
    chained: bool = True
    branch_weight: float = 1.0
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("CentralNetConfig", "dim", self.dim, 1, 65_536)
        check_range("CentralNetConfig", "layers", self.layers, 1, 100)
        check_range("CentralNetConfig", "pieces", self.pieces, 1, 64)
        check_range("CentralNetConfig", "dropout", self.dropout, 0, 0.95)
        check_range("CentralNetConfig", "branch_weight", self.branch_weight, 0, 1e6)


class CentralNetNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: CentralNetConfig) -> None:
        super().__init__()
        dim, n, self.config = config.dim, len(layout.modalities), config
        self.align = Alignment(layout, dim)
        self.branches = nn.ModuleList(nn.ModuleList(_layer(config) for _ in range(config.layers)) for _ in range(n))
        self.central = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.layers))
        self.dropout = Dropout(config.dropout)
        self.scalars = nn.Parameter(torch.ones(config.layers, n))  # of the branches, at every layer
        n_central = config.layers - 1 if config.chained else config.layers
        self.central_scalars = nn.Parameter(torch.ones(n_central))
        self.heads = nn.ModuleList(nn.Linear(dim, layout.n_labels) for _ in range(n))
        self.head = nn.Linear(dim, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        for head in (self.head, *self.heads):
            start_at_base_rates(head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return the central logits (n, n_labels), the last central state (n, dim) and the losses of the branches."""
        aligned, present = self.align(rows)  # (n, n_modalities, dim), (n, n_modalities)
        states = list(aligned.unbind(dim=1))
        centres: list[torch.Tensor] = []
        for layer, central in enumerate(self.central):
            states = [branch[layer](x) for branch, x in zip(self.branches, states, strict=True)]  # type: ignore[index]
            c = (torch.stack(states, dim=1) * (present * self.scalars[layer])[:, :, None]).sum(dim=1)
            if centres and self.config.chained:
                c = c + self.central_scalars[layer - 1] * centres[-1]
            centres.append(self.dropout(torch.relu(central(c))))
        fused = centres[-1]
        if not self.config.chained:
            fused = (torch.stack(centres, dim=2) * self.central_scalars).sum(dim=2)
        extra = None
        if targets is not None and self.config.branch_weight:
            logits = torch.stack([classify(head, x) for head, x in zip(self.heads, states, strict=True)], dim=1)
            extra = self.config.branch_weight * branch_losses(logits, targets, present, self.config.loss_function())
        return Outputs(classify(self.head, fused), fused.float(), None, extra)


class CentralNetModel(NetworkModel):
    """Estimator around CentralNetNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = CentralNetConfig
    network_class: ClassVar[type[nn.Module]] = CentralNetNetwork


def _layer(config: CentralNetConfig) -> nn.Sequential:
    return nn.Sequential(BatchNorm(config.dim), Maxout(config.dim, config.dim, config.pieces), Dropout(config.dropout))
