"""IDKG: attention over modalities taught by the credits graph, and a contrast around centroids of genres (seed 001).

As published (recipe ``idkg-published``): every modality is batch-normalised and mapped to 512 dimensions; one attention
module for all of them (linear, sigmoid) gives every dimension of every modality a weight; the weighted sum is the
fused feature (equation 5) and one linear map classifies it. The mean attention of the credits is drawn to a
pseudo-label made of how many people of the film the graph knows and how connected they are (equations 6 and 7); the
fused feature is drawn to the centroid of its genres' vectors and away from the other genres of the batch (equations 8
to 13). The losses are added (equation 15); ours are means over titles where the paper sums, which leaves their ratio
as it is: the classification loss of a title is the sum over its labels, so both others are divided by the number of
labels.

As it should be (recipe ``idkg``): absent modalities are masked out and replaced by a learned vector, modalities are
hidden in training, embeddings are not standardised column by column, the fused feature passes a hidden layer, a
straight path runs from the blocks to the logits, and members are averaged. The credits it reads are leave-one-out.
EXPERIMENTS.md says what each is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from reeltag.config import check_choice, check_range
from reeltag.features import Features
from reeltag.losses import attention_targets, attention_teacher
from reeltag.models.alignment import Alignment
from reeltag.models.contract import STANDING, Targets
from reeltag.models.contrasts import CONTRASTS, MLTC, Contrast, contrast_config, knn_probabilities
from reeltag.models.dropout import Dropout
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.objective import parts_of
from reeltag.training import TrainingConfig

FUSIONS = ("attention", "gmu", "sum")
_CREDITS = "credits"


@dataclass(frozen=True, kw_only=True)
class IdkgConfig(NetworkConfig):
    """Settings of IDKG, besides those of every network. The defaults are those of the recipe ``idkg``.

    Attributes:
        dim: Width that every modality is brought to.
        fusion: ``attention`` (equation 5), ``gmu`` (gated units that see all modalities: IDKG(GMU) of table 3), or
            ``sum`` (all modalities count alike).
        squash: Weigh tanh of the aligned features, as the published code does and the paper does not say.
        batch_norm: Batch normalisation before the alignment.
        masked: Leave absent modalities out; without, they enter as zero vectors, as published.
        hidden_layers: Between the fused feature and the classifier, each with layer norm, GELU and dropout.
        linear_layers: Linear maps of the classifier with nothing between them: 1 in the paper, 3 in the published code.
        straight: A linear path from the blocks to the logits.
        dropout: In the hidden layers.
        input_dropout: Of the scaled features.
        teacher_weight: Of the attention loss; 1 as published, 0 leaves the teacher out.
        contrast: What draws the fused feature to its labels, or ``none``.
        contrast_weight: Of the contrastive loss; 1 as published.
        contrast_settings: Settings of the contrast; its defaults when empty.
        neighbour_share: Of what the nearest training titles say in a probability, as MLTC mixes them in; a training
            title is its own nearest one, so use it on other titles only.
        neighbours: How many of them.
        neighbour_temperature: Divides their cosine similarities, of which a softmax weighs them.
    """

    dim: int = 1024
    fusion: str = "attention"
    squash: bool = False
    batch_norm: bool = False
    masked: bool = True
    hidden_layers: int = 1
    linear_layers: int = 1
    straight: bool = True
    dropout: float = 0.5
    input_dropout: float = 0.4
    modality_dropout: float = 0.2
    n_members: int = 3
    teacher_weight: float = 1.0
    contrast: str = "gcacl"
    contrast_weight: float = 1.0
    contrast_settings: dict[str, Any] = field(default_factory=dict)
    neighbour_share: float = 0.0
    neighbours: int = 32
    neighbour_temperature: float = 0.1
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=20))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("IdkgConfig", "dim", self.dim, 1, 65_536)
        check_range("IdkgConfig", "hidden_layers", self.hidden_layers, 0, 100)
        check_range("IdkgConfig", "linear_layers", self.linear_layers, 1, 100)
        for name in ("dropout", "input_dropout"):
            check_range("IdkgConfig", name, getattr(self, name), 0, 0.95)
        for name in ("teacher_weight", "contrast_weight"):
            check_range("IdkgConfig", name, getattr(self, name), 0, 1e6)
        check_range("IdkgConfig", "neighbour_share", self.neighbour_share, 0, 1)
        check_range("IdkgConfig", "neighbours", self.neighbours, 1, 1_000_000)
        check_range("IdkgConfig", "neighbour_temperature", self.neighbour_temperature, 1e-3, 1e3)
        check_choice("IdkgConfig", "fusion", self.fusion, FUSIONS)
        check_choice("IdkgConfig", "contrast", self.contrast, ("none", *CONTRASTS))
        if self.contrast != "none":
            contrast_config(self.contrast, self.contrast_settings)


class IdkgNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    memory: torch.Tensor
    memory_targets: torch.Tensor

    def __init__(self, layout: Layout, config: IdkgConfig) -> None:
        super().__init__()
        self.config, self.modalities = config, layout.modalities
        dim, n = config.dim, len(layout.modalities)
        self.align = Alignment(
            layout, dim, batch_norm=config.batch_norm, dropout=config.input_dropout, masked=config.masked
        )
        self.absent = nn.Parameter(torch.zeros(n, dim)) if config.masked else None
        self.gate = _gate(config.fusion, n, dim)
        self.body = nn.Sequential(
            *[layer for _ in range(config.hidden_layers) for layer in _hidden(dim, config.dropout)]
        )
        self.deep = nn.Sequential(*[nn.Linear(dim, dim) for _ in range(config.linear_layers - 1)])
        self.head = nn.Linear(dim, layout.n_labels)
        straight = layout.widths if config.straight else ()
        self.straight = nn.ModuleList(nn.Linear(width, layout.n_labels, bias=False) for width in straight)
        self.contrast: Contrast | None = None
        if config.contrast != "none":
            settings = contrast_config(config.contrast, config.contrast_settings)
            self.contrast = CONTRASTS[config.contrast](dim, layout.n_labels, settings, layout.label_width)
        self.register_buffer("memory", torch.zeros(0, 0))  # unit vectors of training titles, (n, width)
        self.register_buffer("memory_targets", torch.zeros(0, layout.n_labels))

    def remember(self, rows: Rows, targets: torch.Tensor) -> None:
        """Keep the vectors and labels of training titles, to be asked as neighbours."""
        parts = [self(rows.take(slice(part.start, part.stop))).fused for part in parts_of(len(targets), tokens=False)]
        self.memory = torch.cat([self._direction(part) for part in parts])
        self.memory_targets = targets.clone()

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:
        """Start from the base rates, and the contrast from the vectors of the graph."""
        start_at_base_rates(self.head, shares)
        if self.contrast is not None:
            self.contrast.start(label_vectors)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits, the fused feature F (n, dim), the mean attention, and the loss beside classification."""
        tokens, present = self.align(rows)  # (n, n_modalities, dim), (n, n_modalities)
        weights = self._attention(tokens)  # A, (n, n_modalities, dim)
        if self.config.masked:
            weights = weights * present[:, :, None]
        values = torch.tanh(tokens) if self.config.squash else tokens
        fused = (weights * values).sum(dim=1)
        if self.absent is not None:
            fused = fused + (1 - present) @ self.absent
        attention = weights.float().mean(dim=2)
        logits = classify(lambda x: self.head(self.deep(x)), self.body(fused), (self.straight, rows))
        if len(self.memory) and not self.training:
            logits = self._ask_neighbours(logits, fused)
        extra = None if targets is None else self._extra(rows, fused, tokens, attention, present, targets)
        return Outputs(logits, fused.float(), attention, extra)

    def _direction(self, fused: torch.Tensor) -> torch.Tensor:
        """Return unit vectors in which titles are compared, those of MLTC's projection where that is the contrast."""
        if isinstance(self.contrast, MLTC):
            projected: torch.Tensor = self.contrast.projection(fused)
            return projected.float()
        return functional.normalize(fused.float(), dim=1)

    def _ask_neighbours(self, logits: torch.Tensor, fused: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of the model's probabilities mixed with what the nearest training titles say."""
        config = self.config
        asked = self._direction(fused), self.memory, self.memory_targets
        with torch.autocast(fused.device.type, enabled=False):  # near titles differ by less than bfloat16 can say
            said = knn_probabilities(*asked, config.neighbours, config.neighbour_temperature)
        mixed = (1 - config.neighbour_share) * torch.sigmoid(logits) + config.neighbour_share * said
        return torch.logit(mixed, eps=1e-6)

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.gate is None:
            return torch.ones_like(tokens)
        if self.config.fusion == "gmu":
            return torch.sigmoid(self.gate(tokens.flatten(1))).view_as(tokens)
        return torch.sigmoid(self.gate(tokens))

    def _extra(
        self,
        rows: Rows,
        fused: torch.Tensor,
        tokens: torch.Tensor,
        attention: torch.Tensor,
        present: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor | None:
        """Return the losses of the teacher and of the contrast, weighted; None when there are none."""
        losses = []
        if rows.side is not None and self.config.teacher_weight and _CREDITS in self.modalities:
            place = self.modalities.index(_CREDITS)
            taught = present[:, place] > 0 if self.config.masked else present[:, place] >= 0  # all of them
            if taught.any():
                loss = attention_teacher(attention[taught, place], rows.side[taught, 0])
                losses.append(self.config.teacher_weight * loss * taught.float().mean())
        if self.contrast is not None and self.config.contrast_weight:
            losses.append(self.config.contrast_weight * self.contrast(fused, tokens, present, targets))
        return torch.stack(losses).sum() / targets.shape[1] if losses else None


class IdkgModel(NetworkModel):
    """Estimator around IdkgNetwork.

    The block ``credits.standing`` (people known, their links) is read by the teacher only; without it there is none.
    """

    config_class: ClassVar[type[NetworkConfig]] = IdkgConfig
    network_class: ClassVar[type[nn.Module]] = IdkgNetwork

    def __init__(self, config: IdkgConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self._means: tuple[float, float] | None = None  # people and links per training title

    def teacher(self, features: Features) -> npt.NDArray[np.float32] | None:
        """Return the pseudo-label of the credits' attention of every title, (n_titles,); None without a teacher."""
        side = self._side(features)
        return None if side is None else side[:, 0].numpy()

    def _absent_as_zero(self) -> bool:
        return not cast(IdkgConfig, self.config).masked

    def _prepare(self, features: Features, targets: Targets) -> None:  # noqa: ARG002
        block = features.blocks.get(STANDING)
        self._means = None
        if block is not None and block.present.any():
            people, links = np.asarray(block.values, np.float64).mean(axis=0)
            self._means = float(people), float(links)

    def _side(self, features: Features) -> torch.Tensor | None:
        """Return the pseudo-labels of equation 6, (n_titles, 1)."""
        if self._means is None:
            return None
        block = features.blocks.get(STANDING)
        if block is None:
            return torch.zeros(len(features), 1)
        people, links = torch.from_numpy(block.values * block.present[:, None]).T
        return attention_targets(people, links, *self._means)[:, None]

    @torch.inference_mode()
    def _finish(self, network: nn.Module, rows: Rows, targets: torch.Tensor) -> None:
        if cast(IdkgConfig, self.config).neighbour_share:
            cast(IdkgNetwork, network).remember(rows, targets)

    def _state(self) -> dict[str, Any]:
        return {"means": list(self._means) if self._means else None}

    def _restore(self, state: dict[str, Any]) -> None:
        means = state.get("means")
        self._means = (means[0], means[1]) if means else None


def _gate(fusion: str, n_modalities: int, dim: int) -> nn.Linear | None:
    if fusion == "sum":
        return None
    return nn.Linear(dim, dim) if fusion == "attention" else nn.Linear(n_modalities * dim, n_modalities * dim)


def _hidden(dim: int, dropout: float) -> list[nn.Module]:
    return [
        nn.LayerNorm(dim), nn.GELU(), Dropout(dropout),
        nn.Linear(dim, dim), nn.LayerNorm(dim), nn.GELU(), Dropout(dropout),
    ]  # fmt: skip
