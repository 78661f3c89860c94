"""The local models: one network per cluster over the labels of its titles, all of them in one batched pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from reeltag.losses import effective_weights, sample_weights
from reeltag.models.clusters.clusterer import Partition
from reeltag.models.clusters.grouped import GroupedBlocks, Grouping
from reeltag.models.clusters.settings import ClustersConfig


class LocalModels(nn.Module):
    """The local models of all clusters, and in buffers what they have learned of: the ``Partition``.

    Args:
        partition: Clusters and their labels; only its sizes when the buffers are loaded later.
        n_labels: Number of all labels.
        config: Settings.
    """

    centres: torch.Tensor
    titles: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor
    weights: torch.Tensor

    def __init__(self, partition: Partition, n_labels: int, config: ClustersConfig) -> None:
        super().__init__()
        self.n_labels, self.balance, self.beta = n_labels, config.balance, config.class_balance
        self.register_buffer("centres", partition.centres.clone())
        self.register_buffer("titles", partition.titles.clone())
        self.register_buffer("labels", partition.labels.clone())
        self.register_buffer("counts", partition.counts.clone())
        self.register_buffer("weights", torch.ones(partition.labels.shape), persistent=False)  # of training only
        n_clusters, longest = partition.labels.shape
        widths = (partition.centres.shape[1], *[config.hidden] * config.blocks, longest)
        self.blocks = GroupedBlocks(n_clusters, widths, config.dropout)

    @torch.no_grad()
    def start(self) -> None:
        """Start every cluster from the shares of its titles that have each label, and weigh labels by their counts."""
        shares = (self.counts + 0.5) / (self.titles + 1)[:, None]
        self.blocks.head.bias.copy_(torch.log(shares / (1 - shares)))
        for cluster, labels in enumerate(self.labels >= 0):
            if labels.any():
                found = effective_weights(self.counts[cluster, labels].numpy(), self.beta)
                self.weights[cluster, labels] = torch.from_numpy(np.ascontiguousarray(found))

    def forward(self, vectors: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        """Return the logits of the labels of each title's cluster, (n, longest); those of filling mean nothing.

        Args:
            vectors: Shape (n, dim).
            clusters: Cluster of every title, (n,).
        """
        grouping = Grouping(clusters, len(self.centres))
        return grouping.collect(self.blocks(grouping.spread(vectors), grouping.real))

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        """Return the class-balanced loss of every cluster over its labels, weighed by its share of the batch.

        Args:
            logits: What ``forward`` returned.
            targets: 0 and 1, (n, n_labels).
            clusters: As for ``forward``.

        Returns:
            A scalar: a mean over titles, each the mean over its cluster's labels.
        """
        labels, weights = self.labels[clusters], self.weights[clusters]
        own = (labels >= 0).float()  # (n, longest)
        truth = targets.gather(1, labels.clamp_min(0)) * own
        terms = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * own
        if self.balance == "term":
            terms = terms * weights
        costs = terms.sum(1) / own.sum(1).clamp_min(1)
        if self.balance == "sample":
            titles = sample_weights(truth, weights)
            sums, sizes = (
                titles.new_zeros(len(self.centres)).index_add_(0, clusters, values)
                for values in (titles, torch.ones_like(titles))
            )
            costs = costs * titles / (sums / sizes.clamp_min(1))[clusters]
        return costs.mean()

    def spread(self, logits: torch.Tensor, clusters: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
        """Return logits of all labels (n, n_labels): those of the cluster where it has the label.

        Args:
            logits: What ``forward`` returned.
            clusters: As for ``forward``.
            otherwise: Logits of the labels that the cluster lacks, (n, n_labels).
        """
        labels = self.labels[clusters]
        columns = torch.where(labels >= 0, labels, self.n_labels)  # filling goes to a column that is cut off
        return functional.pad(otherwise, (0, 1)).scatter(1, columns, logits)[:, : self.n_labels]
