"""ReFNet: a fused feature from which every modality must be recovered (Sankaran, Yang, Lim 2021).

As published ("Multimodal Fusion Refiner Networks", arXiv 2104.03435): an MLP fuses the modalities side by side; one
defuser per modality recovers its input from the fused feature, and 1 minus the cosine of the two is added to the
classification loss; optionally a multi-similarity contrast on the fused feature (Wang et al. 2019, arXiv 1904.06627).

Left open and chosen: the weight (.1), defusers of one hidden layer, what counts as alike in the contrast (Jaccard
overlap of the labels of at least one half), its weight (0, off). Only present blocks of present modalities are to be
recovered; the inputs are the scaled blocks, so no encoder can make them easy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from reeltag.config import check_range
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify, perceptron, present_modalities, rival_training, side_by_side
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RefNetConfig(NetworkConfig):
    """Settings of ReFNet, besides those of every network.

    Attributes:
        hidden: Width of the hidden layers and of the fused feature.
        hidden_layers: Of the fusing MLP.
        dropout: In the fusing MLP.
        refiner_weight: Of the loss of the defusers.
        contrast_weight: Of the multi-similarity contrast; 0 leaves it out.
        alike: Overlap of labels (Jaccard) from which two titles are a positive pair.
        alpha: Sharpness of the pull of positive pairs.
        beta: Sharpness of the push of negative pairs.
        margin: Cosine around which pairs are pulled and pushed.
    """

    hidden: int = 512
    hidden_layers: int = 2
    dropout: float = 0.5
    refiner_weight: float = 0.1
    contrast_weight: float = 0.0
    alike: float = 0.5
    alpha: float = 2.0
    beta: float = 50.0
    margin: float = 0.5
    training: TrainingConfig = field(default_factory=rival_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            ("hidden", 1, 65_536),
            ("hidden_layers", 1, 100),
            ("dropout", 0, 0.95),
            ("refiner_weight", 0, 1e6),
            ("contrast_weight", 0, 1e6),
            ("alike", 1e-6, 1),
            ("alpha", 1e-3, 1e3),
            ("beta", 1e-3, 1e3),
            ("margin", -1, 1),
        ):
            check_range("RefNetConfig", name, getattr(self, name), low, high)


class RefNetNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: RefNetConfig) -> None:
        super().__init__()
        self.config, self.layout, hidden = config, layout, config.hidden
        self.body = perceptron([sum(layout.widths), *[hidden] * config.hidden_layers], config.dropout)
        self.head = nn.Linear(hidden, layout.n_labels)
        self.places = [layout.blocks_of(modality) for modality in layout.modalities]
        widths = [sum(layout.widths[place] for place in places) for places in self.places]
        self.defusers = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)) for width in widths
        )

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits (n, n_labels), the fused feature (n, hidden) and the losses of recovery and contrast."""
        fused = self.body(side_by_side(rows, range(len(rows.blocks))))
        extra = None if targets is None else self._extra(rows, fused, targets)
        return Outputs(classify(self.head, fused), fused.float(), None, extra)

    def _extra(self, rows: Rows, fused: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        config = self.config
        loss = config.refiner_weight * self._recovery(rows, fused)
        if config.contrast_weight:
            contrast = multi_similarity(fused, label_pairs(targets, config.alike), config)
            loss = loss + config.contrast_weight * contrast
        return loss

    def _recovery(self, rows: Rows, fused: torch.Tensor) -> torch.Tensor:
        """Return the sum over modalities of 1 - cosine, a mean over titles to which absent modalities add nothing."""
        total = fused.new_zeros((), dtype=torch.float32)
        present = present_modalities(rows, self.layout)
        for number, places in enumerate(self.places):
            here = torch.cat(
                [rows.present[:, place : place + 1].expand(-1, self.layout.widths[place]) for place in places], dim=1
            )
            recovered = self.defusers[number](fused).float() * here  # (n, width of the modality)
            cosine = functional.cosine_similarity(recovered, side_by_side(rows, places).float(), dim=1)
            total = total + ((1 - cosine) * present[:, number]).mean()
        return total


class RefNetModel(NetworkModel):
    """Estimator around RefNetNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = RefNetConfig
    network_class: ClassVar[type[nn.Module]] = RefNetNetwork


def label_pairs(targets: torch.Tensor, alike: float) -> torch.Tensor:
    """Return which titles (n, n_labels) overlap in their labels by ``alike`` or more, (n, n); none with itself."""
    shared = targets @ targets.T
    counts = targets.sum(dim=1)
    union = counts[:, None] + counts[None] - shared
    pairs = shared >= alike * union.clamp_min(1e-6)  # titles without labels are alike to none
    return pairs & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)


def multi_similarity(vectors: torch.Tensor, positives: torch.Tensor, config: RefNetConfig) -> torch.Tensor:
    """Return the multi-similarity loss, a mean over titles.

    Args:
        vectors: Shape (n, dim).
        positives: Which pairs are alike, (n, n); all other pairs of two titles are negative.
        config: Its ``alpha``, ``beta`` and ``margin``.

    Returns:
        Mean of ``log(1 + sum over positives exp(-alpha (cos - margin))) / alpha + log(1 + sum over negatives
        exp(beta (cos - margin))) / beta``.
    """
    units = functional.normalize(vectors.float(), dim=1)
    with torch.autocast(units.device.type, enabled=False):
        away = units @ units.T - config.margin
    negatives = ~positives & ~torch.eye(len(units), dtype=torch.bool, device=units.device)
    pull = _log_one_plus(-config.alpha * away, positives) / config.alpha
    push = _log_one_plus(config.beta * away, negatives) / config.beta
    return (pull + push).mean()


def _log_one_plus(powers: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return log(1 + sum over pairs of exp(power)) of every row."""
    chosen = powers.masked_fill(~pairs, torch.finfo(powers.dtype).min)
    return torch.logsumexp(functional.pad(chosen, (1, 0)), dim=1)
