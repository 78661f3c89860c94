"""GenreCentroid: genre-centroid anchored contrastive learning (Li et al., MM 2023, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.losses import genre_centroid
from reeltag.losses.genre_centroid import Negatives
from reeltag.models.contrasts.label_table import LabelTable


@dataclass(frozen=True, kw_only=True)
class GenreCentroidConfig:
    """Settings of the genre-centroid contrast.

    Attributes:
        temperature: Divides the dot products.
        normalise: Compare directions only; the paper compares by plain dot products.
        negatives: ``batch`` for the labels of the batch, as in the paper; ``all`` for every label.
        learn_labels: Let label vectors and their map learn; in the authors' code no gradient reaches them.
        label_dim: Width of label vectors at random.
    """

    temperature: float = 0.1
    normalise: bool = True
    negatives: Negatives = "batch"
    learn_labels: bool = True
    label_dim: int = 200

    def __post_init__(self) -> None:
        check_range("GenreCentroidConfig", "temperature", self.temperature, 1e-3, 1e3)
        check_range("GenreCentroidConfig", "label_dim", self.label_dim, 1, 65_536)


class GenreCentroid(nn.Module):
    """Draws titles to the centroids of their labels' vectors, mapped by one affine map (equation 12).

    Args:
        dim: Width of the fused representation.
        n_labels: Number of labels.
        config: Settings.
        label_width: Width of the label vectors of a graph; 0 for vectors at random.
    """

    config_class: ClassVar[type] = GenreCentroidConfig

    def __init__(
        self, dim: int, n_labels: int, config: GenreCentroidConfig | None = None, label_width: int = 0
    ) -> None:
        super().__init__()
        self.config = config or GenreCentroidConfig()
        width = label_width or self.config.label_dim
        self.labels = LabelTable(n_labels, width, self.config.learn_labels)
        self.map = nn.Linear(width, dim).requires_grad_(self.config.learn_labels)

    def start(self, label_vectors: torch.Tensor | None) -> None:
        """Start from the label vectors of a graph."""
        self.labels.start(label_vectors)

    def forward(
        self,
        fused: torch.Tensor,
        tokens: torch.Tensor,  # noqa: ARG002 - all contrasts are called alike
        present: torch.Tensor,  # noqa: ARG002
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss of equation 13, averaged over titles with labels."""
        with torch.autocast(fused.device.type, enabled=False):
            return genre_centroid(
                fused.float(),
                self.map(self.labels()),
                targets,
                temperature=self.config.temperature,
                normalise=self.config.normalise,
                negatives=self.config.negatives,
            )
