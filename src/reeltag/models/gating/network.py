"""The networks of both stages: experts, gate, mean over shots, and a linear map to the labels or a projection."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.dropout import Dropout
from reeltag.models.estimator import start_at_base_rates
from reeltag.models.gating.experts import Experts, Places
from reeltag.models.gating.gate import CollaborativeGate
from reeltag.models.gating.settings import GatingConfig
from reeltag.models.layers import classify
from reeltag.models.layout import Layout, Outputs, Rows


class GatingNetwork(nn.Module):
    """The network of one member: experts of every shot, gated, their means over the shots side by side, a linear map.

    Args:
        layout: Blocks and labels.
        config: Settings.
        dim: Width of an expert; that of the settings when None.
    """

    def __init__(self, layout: Layout, config: GatingConfig, dim: int | None = None) -> None:
        super().__init__()
        dim = dim or config.dim
        self.experts = Experts(layout, dim, config.input_dropout, config.train_shots)
        self.gate = None
        if config.join != "concat":
            star = config.join == "star"
            self.gate = CollaborativeGate(dim, layers=config.pair_layers, star=star, dropout=config.dropout)
        self.n_experts = len(layout.modalities)
        self.width = self.n_experts * dim  # of what is fused
        self.scale = dim**0.5  # a unit vector of dim values has values of 1 / scale
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(self.width, layout.n_labels)

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels), the fused experts (n, width) and the mean gate of every modality."""
        places = self.experts(rows)
        fused, gates = self.fuse(places, len(rows.present))
        return Outputs(classify(self.head, self.dropout(fused)), fused, gates)

    def fuse(self, places: Places, n_titles: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return gated experts side by side, each the mean over the places of a title that have it, to one length.

        Args:
            places: Of all titles.
            n_titles: How many titles there are.

        Returns:
            The fused experts (n_titles, width), every expert with a length of ``sqrt(dim)`` or 0 where absent, and the
            mean gate of every expert (n_titles, n_experts), 0 where absent; None without a gate.
        """
        experts, gates = (places.experts, None) if self.gate is None else self.gate(places.experts, places.present)
        sums = torch.zeros(n_titles, *experts.shape[1:], device=experts.device).index_add(0, places.title, experts)
        fused = functional.normalize(sums, dim=2).flatten(1) * self.scale
        if gates is None:
            return fused, None
        counts = torch.zeros(n_titles, self.n_experts, device=experts.device)
        counts = counts.index_add(0, places.title, places.present.float()).clamp(min=1)
        total = torch.zeros_like(counts).index_add(0, places.title, gates.mean(dim=2))
        return fused, total / counts
