"""MulCon: label-level features and their supervised contrast (Dao et al., Neurocomputing 2023, arXiv 2107.11626)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.errors import ConfigError
from reeltag.losses import bce, label_contrast
from reeltag.models.contrasts.label_table import LabelTable
from reeltag.models.contrasts.projection import Projection


@dataclass(frozen=True, kw_only=True)
class MulConConfig:
    """Settings of MulCon.

    Attributes:
        temperature: Divides the dot products.
        contrast_weight: Weight of the contrast against the cross-entropy of the label-level features.
        n_heads: Heads of the attention; they share the width of the tokens evenly.
        projection_dim: Width in which vectors are contrasted.
        learn_labels: Let label vectors learn.
        label_dim: Width of label vectors at random.
    """

    temperature: float = 0.2
    contrast_weight: float = 0.5
    n_heads: int = 4
    projection_dim: int = 128
    learn_labels: bool = True
    label_dim: int = 200

    def __post_init__(self) -> None:
        check_range("MulConConfig", "temperature", self.temperature, 1e-3, 1e3)
        check_range("MulConConfig", "contrast_weight", self.contrast_weight, 0, 1000)
        for name in ("n_heads", "projection_dim", "label_dim"):
            check_range("MulConConfig", name, getattr(self, name), 1, 65_536)


class LabelAttention(nn.Module):
    """Labels ask, tokens of modalities answer: what a title looks like to each label.

    Multi-head attention, LayerNorm, a linear layer, LayerNorm, each with a residual (Lee et al., ICML 2019, MAB).
    Modalities are so few that the induced points of the authors are left out.

    Args:
        dim: Width of the tokens.
        label_width: Width of the label vectors.
        n_heads: Number of heads, a divisor of ``dim``.
    """

    def __init__(self, dim: int, label_width: int, n_heads: int) -> None:
        super().__init__()
        if dim % n_heads:
            raise ConfigError(f"MulConConfig.n_heads must divide the width {dim} of the tokens; got {n_heads}")
        self.n_heads = n_heads
        self.query = nn.Linear(label_width, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.last = nn.Linear(dim, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, labels: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return label-level features (n, n_labels, dim); a title without any modality is answered nothing."""
        n, _, dim = tokens.shape
        tokens = tokens.masked_fill(present.unsqueeze(-1) == 0, 0)
        query = self.query(labels)  # (n_labels, dim)
        q = query.view(-1, self.n_heads, dim // self.n_heads)
        k, v = (layer(tokens).view(n, -1, *q.shape[1:]) for layer in (self.key, self.value))  # (n, modality, head, _)
        scores = torch.einsum("chd,nmhd->nhcm", q, k).float() / q.shape[-1] ** 0.5
        absent = (present == 0)[:, None, None]
        shares = torch.softmax(scores.masked_fill(absent, torch.finfo(scores.dtype).min), -1).masked_fill(absent, 0)
        answer = torch.einsum("nhcm,nmhd->nchd", shares.to(v.dtype), v).reshape(n, -1, dim)
        x = self.norms[0](query + self.out(answer))
        out: torch.Tensor = self.norms[1](x + torch.relu(self.last(x)))
        return out


class MulCon(nn.Module):
    """Contrasts what titles look like to each label they have; adds a cross-entropy of its own.

    The cross-entropy reads the label-level features of all labels, also of titles without any; its weights serve
    training only.

    Args:
        dim: Width of the tokens.
        n_labels: Number of labels.
        config: Settings.
        label_width: Width of the label vectors of a graph; 0 for vectors at random.
    """

    config_class: ClassVar[type] = MulConConfig

    def __init__(self, dim: int, n_labels: int, config: MulConConfig | None = None, label_width: int = 0) -> None:
        super().__init__()
        self.config = config or MulConConfig()
        width = label_width or self.config.label_dim
        self.labels = LabelTable(n_labels, width, self.config.learn_labels)
        self.attention = LabelAttention(dim, width, self.config.n_heads)
        self.weight = nn.Parameter(torch.randn(n_labels, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(n_labels))
        self.projection = Projection(dim, self.config.projection_dim)

    def start(self, label_vectors: torch.Tensor | None) -> None:
        """Start from the label vectors of a graph."""
        self.labels.start(label_vectors)

    def forward(
        self, fused: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the cross-entropy of label-level features, summed over labels, plus their weighted contrast."""
        views = self.attention(self.labels(), tokens, present)  # (n, n_labels, dim)
        titles, labels = targets.nonzero(as_tuple=True)
        vectors = self.projection(views[titles, labels])
        with torch.autocast(fused.device.type, enabled=False):
            logits = (views.float() * self.weight).sum(-1) + self.bias
            contrast = label_contrast(vectors, labels, temperature=self.config.temperature)
            return bce(logits, targets) * targets.shape[1] + self.config.contrast_weight * contrast
