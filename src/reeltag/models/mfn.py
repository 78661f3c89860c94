"""MFN: branches whose class activations choose the parts that are fused (Braz, Teixeira, Pedrini, Dias 2021).

Published ("Image-Text Integration Using a Multimodal Fusion Network Module for Movie Genre Classification", ICPRS): a
text branch and an image branch are classifiers; class-activation maps serve as the attention that finds the relevant
regions of an image; a fusion module joins the branches and classifies.

The module is not described further in what is public, so this is a reading of it. A modality is a set of parts; here
the parts are linear maps of its vector, since the features are pooled. The branch classifies the mean of its parts,
as class activation asks for; the same classifier applied to one part gives that part's activations, whose largest (or
mean) over the labels, by softmax over the parts, weighs it. The attended vectors side by side pass one hidden layer
and a linear classifier; the losses of the branches are added to that of the fused output. Left open and chosen
besides: eight parts of 128, ReLU, dropout, which activation counts. An absent modality, of which the paper knows
none, enters as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_choice, check_range
from reeltag.models.alignment import Alignment
from reeltag.models.dropout import Dropout
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import branch_losses, classify, perceptron, rival_training
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig

EVIDENCE = ("max", "mean")


@dataclass(frozen=True, kw_only=True)
class MfnConfig(NetworkConfig):
    """Settings of MFN, besides those of every network.

    Attributes:
        parts: Parts of a modality.
        dim: Width of a part.
        hidden: Width of the fusion module.
        evidence: What of a part's class activations weighs it: ``max`` or ``mean`` over the labels.
        dropout: Of the parts and in the fusion module.
        branch_weight: Of the losses of the branches.
    """

    parts: int = 8
    dim: int = 128
    hidden: int = 512
    evidence: str = "max"
    dropout: float = 0.5
    branch_weight: float = 1.0
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("MfnConfig", "parts", self.parts, 1, 1024)
        check_range("MfnConfig", "dim", self.dim, 1, 65_536)
        check_range("MfnConfig", "hidden", self.hidden, 1, 65_536)
        check_choice("MfnConfig", "evidence", self.evidence, EVIDENCE)
        check_range("MfnConfig", "dropout", self.dropout, 0, 0.95)
        check_range("MfnConfig", "branch_weight", self.branch_weight, 0, 1e6)


class MfnNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: MfnConfig) -> None:
        super().__init__()
        self.config, n = config, len(layout.modalities)
        self.align = Alignment(layout, config.parts * config.dim)
        self.dropout = Dropout(config.dropout)
        self.heads = nn.ModuleList(nn.Linear(config.dim, layout.n_labels) for _ in range(n))
        self.body = perceptron([n * config.dim, config.hidden], config.dropout)
        self.head = nn.Linear(config.hidden, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        for head in (self.head, *self.heads):
            start_at_base_rates(head, shares)

    def parts(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parts (n, n_modalities, parts, dim), 0 where absent, and the modalities present."""
        aligned, present = self.align(rows)
        parts = torch.relu(aligned).view(*present.shape, self.config.parts, self.config.dim)
        return self.dropout(parts), present

    def part_weights(self, parts: torch.Tensor) -> torch.Tensor:
        """Return what the class activations make every part count, (n, n_modalities, parts); 1 in sum."""
        activations = torch.stack([classify(head, parts[:, place]) for place, head in enumerate(self.heads)], dim=1)
        evidence = activations.amax(dim=3) if self.config.evidence == "max" else activations.mean(dim=3)
        return torch.softmax(evidence, dim=2)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits (n, n_labels), the fused feature (n, hidden) and the losses of the branches."""
        parts, present = self.parts(rows)
        attended = (self.part_weights(parts)[:, :, :, None] * parts).sum(dim=2)  # (n, n_modalities, dim)
        fused = self.body(attended.flatten(1))
        extra = None
        if targets is not None and self.config.branch_weight:
            pooled = parts.mean(dim=2)
            logits = torch.stack([classify(head, pooled[:, place]) for place, head in enumerate(self.heads)], dim=1)
            extra = self.config.branch_weight * branch_losses(logits, targets, present, self.config.loss_function())
        return Outputs(classify(self.head, fused), fused.float(), None, extra)


class MfnModel(NetworkModel):
    """Estimator around MfnNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = MfnConfig
    network_class: ClassVar[type[nn.Module]] = MfnNetwork
