"""GMU: gated multimodal units (Arevalo, Solorio, Montes-y-Gomez, Gonzalez 2017, arXiv 1702.01992).

As published: every modality is batch-normalised and mapped without a bias; the gates are a sigmoid of a bias-free map
of all of them side by side; the fused feature is the sum of tanh of each, times its gate. Two modalities share one
gate, z and 1 - z; for more there is one gate per modality, the paper's general form. The classifier is batch norm,
maxout, batch norm, maxout, batch norm, linear, with 512 hidden units, the largest width that was searched.

The gates read the mapped modalities, as in the published code; the paper draws them from the inputs. Left open and
chosen: dropout after every maxout (.5, of a searched .3 to .7), the maxout of two pieces. The searched max-norm and
initial scale are left to weight decay. An absent modality, of which the paper knows none, is masked out.
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
from reeltag.models.layers import Maxout, classify, rival_training
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class GmuConfig(NetworkConfig):
    """Settings of gated multimodal units, besides those of every network.

    Attributes:
        dim: Width of the modalities and of the hidden layers.
        tied: Let two modalities share one gate, z and 1 - z; without effect on other numbers.
        pieces: Linear maps per unit of a maxout.
        dropout: In the hidden layers.
        masked: Leave absent modalities out.
    """

    dim: int = 512
    tied: bool = True
    pieces: int = 2
    dropout: float = 0.5
    masked: bool = True
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("GmuConfig", "dim", self.dim, 1, 65_536)
        check_range("GmuConfig", "pieces", self.pieces, 1, 64)
        check_range("GmuConfig", "dropout", self.dropout, 0, 0.95)


class GmuNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: GmuConfig) -> None:
        super().__init__()
        dim, n = config.dim, len(layout.modalities)
        self.masked, self.tied = config.masked, config.tied and n == 2
        self.align = Alignment(layout, dim, masked=config.masked)
        self.align.maps = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in layout.widths)
        self.gate = nn.Linear(n * dim, dim if self.tied else n * dim, bias=False)
        self.body = nn.Sequential(
            BatchNorm(dim), Maxout(dim, dim, config.pieces), Dropout(config.dropout),
            BatchNorm(dim), Maxout(dim, dim, config.pieces), Dropout(config.dropout),
            BatchNorm(dim),
        )  # fmt: skip
        self.head = nn.Linear(dim, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels), the fused feature (n, dim) and the mean gate of every modality."""
        x, present = self.align(rows)  # (n, n_modalities, dim), (n, n_modalities)
        z = torch.sigmoid(self.gate(x.flatten(1)))
        gates = torch.stack([z, 1 - z], dim=1) if self.tied else z.view_as(x)
        if self.masked:
            gates = gates * present[:, :, None]
        fused = (gates * torch.tanh(x)).sum(dim=1)
        return Outputs(classify(self.head, self.body(fused)), fused.float(), gates.float().mean(dim=2))


class GmuModel(NetworkModel):
    """Estimator around GmuNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = GmuConfig
    network_class: ClassVar[type[nn.Module]] = GmuNetwork
