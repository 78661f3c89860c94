"""MLTC: titles contrasted as their label sets overlap, and their nearest neighbours (Wang et al., ACL 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.errors import ModelError
from reeltag.losses import label_overlap, weighted_contrast
from reeltag.losses.weighted_contrast import Overlap
from reeltag.models.contrasts.projection import Projection


@dataclass(frozen=True, kw_only=True)
class MLTCConfig:
    """Settings of MLTC.

    Attributes:
        temperature: Divides the dot products.
        overlap: ``jaccard`` for shared labels over all labels of both titles, ``shared`` for their number.
        projection_dim: Width in which titles are contrasted.
    """

    temperature: float = 0.1
    overlap: Overlap = "jaccard"
    projection_dim: int = 128

    def __post_init__(self) -> None:
        check_range("MLTCConfig", "temperature", self.temperature, 1e-3, 1e3)
        check_range("MLTCConfig", "projection_dim", self.projection_dim, 1, 65_536)


class MLTC(nn.Module):
    """Contrasts projected titles; positives weigh as their label sets overlap.

    It has no label vectors: those of a graph are not used.

    Args:
        dim: Width of the fused representation.
        n_labels: Not used.
        config: Settings.
        label_width: Not used.
    """

    config_class: ClassVar[type] = MLTCConfig

    def __init__(
        self,
        dim: int,
        n_labels: int,  # noqa: ARG002 - all contrasts are built alike
        config: MLTCConfig | None = None,
        label_width: int = 0,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.config = config or MLTCConfig()
        self.projection = Projection(dim, self.config.projection_dim)

    def start(self, label_vectors: torch.Tensor | None) -> None:
        """Do nothing: there are no label vectors here."""

    def forward(
        self,
        fused: torch.Tensor,
        tokens: torch.Tensor,  # noqa: ARG002 - all contrasts are called alike
        present: torch.Tensor,  # noqa: ARG002
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Return the contrast, averaged over titles that share a label with another one."""
        vectors = self.projection(fused)
        with torch.autocast(fused.device.type, enabled=False):
            weights = label_overlap(targets, self.config.overlap)
            return weighted_contrast(vectors, weights, temperature=self.config.temperature)


def knn_probabilities(
    queries: torch.Tensor, memory: torch.Tensor, memory_targets: torch.Tensor, k: int, temperature: float
) -> torch.Tensor:
    """Return what the nearest titles of a memory say of queries: their targets, weighed by a softmax of similarity.

    The paper mixes it with the model's probabilities, ``share * model + (1 - share) * neighbours``.

    Args:
        queries: Unit vectors, (n, dim).
        memory: Unit vectors of titles whose labels are known, (m, dim); a query found in it is its own neighbour.
        memory_targets: 0 or 1, (m, n_labels).
        k: Neighbours of a query, all of the memory when it has fewer.
        temperature: Divides the similarities.

    Returns:
        Shape (n, n_labels), in [0, 1].

    Raises:
        ModelError: The memory is empty, or ``k`` is below 1.
    """
    if not len(memory) or k < 1:
        raise ModelError(f"neighbours need a memory and k of at least 1; got {len(memory)} titles and k = {k}")
    nearest = torch.topk(queries @ memory.T, min(k, len(memory)), dim=1)  # (n, k)
    weights = torch.softmax(nearest.values / temperature, 1).unsqueeze(-1)
    return (weights * memory_targets[nearest.indices]).sum(1)
