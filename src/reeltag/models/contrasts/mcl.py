"""MCL: one vector per label of a title, drawn to the centre of its label (Hassanin et al., JVCIR 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.losses import centre
from reeltag.models.contrasts.label_table import LabelTable


@dataclass(frozen=True, kw_only=True)
class MCLConfig:
    """Settings of MCL.

    Attributes:
        margin: Squared distance beyond which the centres of labels are far enough, of unit vectors at most 4.
        separation: Weight of the distances between centres against the spread around them.
        projection_dim: Width in which distances are taken.
        learn_labels: Let label vectors learn.
        label_dim: Width of label vectors at random.
    """

    margin: float = 1.0
    separation: float = 1.0
    projection_dim: int = 128
    learn_labels: bool = True
    label_dim: int = 200

    def __post_init__(self) -> None:
        check_range("MCLConfig", "margin", self.margin, 0, 4)
        check_range("MCLConfig", "separation", self.separation, 0, 1000)
        for name in ("projection_dim", "label_dim"):
            check_range("MCLConfig", name, getattr(self, name), 1, 65_536)


class MCL(nn.Module):
    """Disentangles a title into one unit vector per label it has, and gathers those of a label.

    How the authors disentangle is left open; here a gate made of the label's vector picks from the fused
    representation, and one linear map follows: ``normalise(P (fused * sigmoid(G label)))``.

    Args:
        dim: Width of the fused representation.
        n_labels: Number of labels.
        config: Settings.
        label_width: Width of the label vectors of a graph; 0 for vectors at random.
    """

    config_class: ClassVar[type] = MCLConfig

    def __init__(self, dim: int, n_labels: int, config: MCLConfig | None = None, label_width: int = 0) -> None:
        super().__init__()
        self.config = config or MCLConfig()
        width = label_width or self.config.label_dim
        self.labels = LabelTable(n_labels, width, self.config.learn_labels)
        self.gate = nn.Linear(width, dim)
        self.projection = nn.Linear(dim, self.config.projection_dim)

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
        """Return the spread around centres plus what these lack in distance."""
        titles, labels = targets.nonzero(as_tuple=True)
        with torch.autocast(fused.device.type, enabled=False):
            gates = torch.sigmoid(self.gate(self.labels()))  # (n_labels, dim)
            vectors = self.projection(fused.float()[titles] * gates[labels])  # (n_pairs, projection_dim)
            vectors = nn.functional.normalize(vectors, dim=-1)
            return centre(vectors, labels, margin=self.config.margin, separation=self.config.separation)
