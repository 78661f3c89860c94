"""CGMVAE: a variational auto-encoder of labels with a mixture prior (Bai et al., ICML 2022, arXiv 2112.00976)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from reeltag.config import check_range
from reeltag.losses import Gaussians, decoding_contrast, mixture_draw, mixture_kl
from reeltag.losses.mixture import mean_of_labelled
from reeltag.models.contrasts.label_table import LabelTable

_WIDEST = 10.0  # of a log-variance


@dataclass(frozen=True, kw_only=True)
class CGMVAEConfig:
    """Settings of C-GMVAE.

    Attributes:
        latent: Width of the latent space.
        hidden: Width of the widest hidden layers; those beside them in the encoders are half as wide.
        embedding_dim: Width in which decodings meet the embeddings of labels.
        dropout: In encoder and decoder.
        temperature: Divides the dot products of the contrast.
        decoding_weight: Weight of the negative log-likelihoods of the three decodings.
        kl_weight: Weight of the divergence from the prior.
        contrast_weight: Weight of the contrast.
        learn_labels: Let label vectors learn.
        label_dim: Width of label vectors at random.
    """

    latent: int = 38
    hidden: int = 512
    embedding_dim: int = 2048
    dropout: float = 0.5
    temperature: float = 1.0
    decoding_weight: float = 0.5
    kl_weight: float = 6.0
    contrast_weight: float = 1.0
    learn_labels: bool = True
    label_dim: int = 200

    def __post_init__(self) -> None:
        for name in ("latent", "embedding_dim", "label_dim"):
            check_range("CGMVAEConfig", name, getattr(self, name), 1, 65_536)
        check_range("CGMVAEConfig", "hidden", self.hidden, 2, 65_536)
        check_range("CGMVAEConfig", "dropout", self.dropout, 0, 0.95)
        check_range("CGMVAEConfig", "temperature", self.temperature, 1e-3, 1e3)
        for name in ("decoding_weight", "kl_weight", "contrast_weight"):
            check_range("CGMVAEConfig", name, getattr(self, name), 0, 1000)


class CGMVAE(nn.Module):
    """Encodes titles and labels as Gaussians and decodes both into the space of label embeddings.

    A title is a Gaussian; so is every label, and the prior of a title is the even mixture of its labels. One decoder
    reads ``[fused; point]``: two points of the title's Gaussian and one of its prior. Decodings have unit length;
    their dot products with the embeddings of labels are logits. Titles without labels count in the first two
    likelihoods only. Open in what is public, and chosen here: the likelihood is summed over labels and averaged over
    titles, and a point of the prior is one of a label drawn evenly. Points come from torch's global generator.

    Args:
        dim: Width of the fused representation.
        n_labels: Number of labels.
        config: Settings.
        label_width: Width of the label vectors of a graph; 0 for vectors at random.
    """

    config_class: ClassVar[type] = CGMVAEConfig

    def __init__(self, dim: int, n_labels: int, config: CGMVAEConfig | None = None, label_width: int = 0) -> None:
        super().__init__()
        self.config = c = config or CGMVAEConfig()
        width, half = label_width or c.label_dim, c.hidden // 2
        self.labels = LabelTable(n_labels, width, c.learn_labels)
        self.title_encoder = nn.Sequential(
            nn.Linear(dim, half), nn.ReLU(), nn.Dropout(c.dropout),
            nn.Linear(half, c.hidden), nn.ReLU(), nn.Dropout(c.dropout),
            nn.Linear(c.hidden, half), nn.ReLU(), nn.Linear(half, 2 * c.latent),
        )  # fmt: skip
        self.label_encoder = nn.Sequential(
            nn.Linear(width, c.hidden), nn.ReLU(), nn.Linear(c.hidden, half), nn.ReLU(), nn.Linear(half, 2 * c.latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(dim + c.latent, c.hidden), nn.ReLU(), nn.Dropout(c.dropout), nn.Linear(c.hidden, c.embedding_dim)
        )
        self.embedding = nn.Linear(width, c.embedding_dim, bias=False)

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
        """Return likelihoods, divergence and contrast, weighed and added."""
        with torch.autocast(fused.device.type, enabled=False):
            fused = fused.float()
            titles = _gaussians(self.title_encoder(fused))  # (n, latent)
            labels = _gaussians(self.label_encoder(self.labels()))  # (n_labels, latent)
            embeddings = self.embedding(self.labels())  # (n_labels, embedding_dim)
            first, second, prior = titles.draw(), titles.draw(), mixture_draw(labels, targets)
            decodings = [self._decode(fused, point) for point in (first, second, prior)]
            costs = [_unlikelihood(x @ embeddings.T, targets) for x in decodings]  # (n,) each
            decoding = costs[0].mean() + costs[1].mean() + mean_of_labelled(costs[2], targets)
            contrast = decoding_contrast(
                torch.cat([decodings[2], decodings[0]]), embeddings, targets.repeat(2, 1),
                temperature=self.config.temperature,
            )  # fmt: skip
            return (
                self.config.decoding_weight * decoding
                + self.config.kl_weight * mixture_kl(first, titles, labels, targets)
                + self.config.contrast_weight * contrast
            )

    def _decode(self, fused: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        return normalize(self.decoder(torch.cat([fused, point], 1)), dim=-1)


def _gaussians(encoded: torch.Tensor) -> Gaussians:
    mean, log_variance = encoded.chunk(2, dim=1)
    return Gaussians(mean, log_variance.clamp(-_WIDEST, _WIDEST))


def _unlikelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
