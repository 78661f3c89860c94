"""The network of one member: the frozen embedder, the global model, and the local models of the clusters."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.clusters.clusterer import Partition, nearest_clusters
from reeltag.models.clusters.embedder import Embedder
from reeltag.models.clusters.grouped import GroupedBlocks
from reeltag.models.clusters.local import LocalModels
from reeltag.models.clusters.settings import ClustersConfig
from reeltag.models.layers import or_prior
from reeltag.models.layout import Layout, Outputs, Rows


class ClustersNetwork(nn.Module):
    """Global and local models on the vectors of a frozen embedder.

    Args:
        layout: Blocks and labels.
        config: Settings.
        partition: The clusters; None for the global model alone.
    """

    prior: torch.Tensor

    def __init__(self, layout: Layout, config: ClustersConfig, partition: Partition | None = None) -> None:
        super().__init__()
        self.nearest, self.temperature = config.nearest, config.temperature
        self.embedder = Embedder(layout, config).requires_grad_(False)
        widths = (self.embedder.width, *[config.hidden] * config.blocks, layout.n_labels)
        self.everywhere = GroupedBlocks(1, widths, config.dropout)
        self.local = None if partition is None else LocalModels(partition, layout.n_labels, config)
        self.register_buffer("prior", torch.zeros(layout.n_labels))  # what is said of a title of which nothing is known

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the embedder stays in evaluation."""
        super().train(mode)
        self.embedder.eval()
        return self

    @torch.no_grad()
    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates, of each cluster in its local model."""
        self.prior.copy_(torch.log(shares / (1 - shares)))
        self.everywhere.head.bias.copy_(self.prior)
        if self.local is not None:
            self.local.start()

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits (n, n_labels) and the vectors (n, dim).

        With targets the logits are those of the global model, and ``extra`` is the loss of the local models, each on
        the titles of its cluster: ``rows.side`` (n, 1) where it says so, the nearest elsewhere (-1, or no side).
        All is computed in single precision: products this small are no faster in bfloat16 on a CPU.
        """
        with torch.autocast(rows.present.device.type, enabled=False):
            return self._forward(rows, targets)

    def _forward(self, rows: Rows, targets: torch.Tensor | None) -> Outputs:
        vectors: torch.Tensor = self.embedder(rows).fused
        known = rows.present.amax(dim=1)
        z = self.everywhere(vectors[None], torch.ones_like(known)[None])[0]
        if self.local is None:
            return Outputs(or_prior(z, known, self.prior), vectors)
        if targets is None:
            return Outputs(or_prior(self._combined(self.local, vectors, z), known, self.prior), vectors)
        clusters = nearest_clusters(vectors, self.local.centres)[0][:, 0]
        if rows.side is not None:
            clusters = torch.where(rows.side[:, 0] >= 0, rows.side[:, 0].long(), clusters)
        extra = self.local.loss(self.local(vectors, clusters), targets, clusters)
        return Outputs(or_prior(z, known, self.prior), vectors, extra=extra)

    def _combined(self, local: LocalModels, vectors: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of the mean probability of the nearest clusters, the global one where one has no label.

        Args:
            local: The local models.
            vectors: Shape (n, dim).
            z: Global logits, (n, n_labels).
        """
        clusters, weights = nearest_clusters(
            vectors, local.centres, nearest=self.nearest, temperature=self.temperature
        )  # fmt: skip
        k = clusters.shape[1]
        each, near = clusters.flatten(), vectors.repeat_interleave(k, dim=0)
        said = local.spread(local(near, each), each, z.repeat_interleave(k, dim=0)).view(len(z), k, local.n_labels)
        if k == 1:
            return said[:, 0]
        share = torch.log(weights)[:, :, None]  # log p and log (1 - p) apart: neither is lost to rounding
        yes = torch.logsumexp(share + functional.logsigmoid(said), dim=1)
        no = torch.logsumexp(share + functional.logsigmoid(-said), dim=1)
        return yes - no
