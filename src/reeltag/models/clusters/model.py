"""ClustersModel: the estimator, which trains the embedder and finds the clusters before the members are trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reeltag.features import Features
from reeltag.models.clusters.clusterer import (
    Cluster,
    Partition,
    balanced_clusters,
    fit_clusters,
    means_of,
    nearest_clusters,
)
from reeltag.models.clusters.embedder import Embedder, embedded, fit_embedder
from reeltag.models.clusters.network import ClustersNetwork
from reeltag.models.clusters.settings import ClustersConfig
from reeltag.models.contract import Targets, Validation
from reeltag.models.estimator import NetworkConfig, NetworkModel
from reeltag.progress import Progress, silent


class ClustersModel(NetworkModel):
    """Estimator around ClustersNetwork; its members share embedder and clusters, fitted with the model's seed."""

    config_class: ClassVar[type[NetworkConfig]] = ClustersConfig
    network_class: ClassVar[type[nn.Module]] = ClustersNetwork
    config: ClustersConfig

    def __init__(self, config: ClustersConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.n_clusters_ = self.config.n_clusters
        self._embedder: Embedder | None = None
        self._partition: Partition | None = None
        self._placed: dict[str, int] | None = None  # the cluster of every training title, where it is not the nearest

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Choose the number of clusters on the validation titles, where it is to be chosen, and train the members."""
        self.n_clusters_ = self.config.n_clusters
        if self.config.try_clusters and validation is not None and validation.targets.any():
            scores = {}
            for n_clusters in self.config.try_clusters:
                config = replace(self.config, n_clusters=n_clusters, try_clusters=(), n_members=1)
                tried = type(self)(config, seed=self.seed).fit(features, targets, validation=validation)
                scores[n_clusters] = max(tried.histories_[0].scores)
            self.n_clusters_ = max(scores, key=lambda n_clusters: scores[n_clusters])
        return super().fit(features, targets, validation=validation, label_vectors=label_vectors, progress=progress)

    def report(self) -> tuple[Cluster, ...]:
        """Return how many training titles every cluster has and the columns of its labels; empty without clusters."""
        local = cast(ClustersNetwork, self._fitted()[0]).local
        if local is None:
            return ()
        return tuple(
            Cluster(titles=titles, labels=tuple(label for label in labels if label >= 0))
            for titles, labels in zip(local.titles.tolist(), local.labels.tolist(), strict=True)
        )

    def notes(self) -> tuple[str, ...]:
        """Return what training came to, in words: how large the clusters are and how many labels each has."""
        found = self.report()
        if not found:
            return ()
        titles, labels = [cluster.titles for cluster in found], [len(cluster.labels) for cluster in found]
        return (
            f"clusters: {len(found):,}, of {min(titles):,} to {max(titles):,} titles; {min(labels):,} to "
            f"{max(labels):,} of {self._fitted_layout().n_labels:,} labels in each, {np.mean(labels):,.0f} on average",
        )

    def clusters(self, features: Features) -> npt.NDArray[np.int64]:
        """Return the nearest cluster of every title, (n_titles,); 0 without clusters."""
        local = cast(ClustersNetwork, self._fitted()[0]).local
        if local is None:
            return np.zeros(len(features), np.int64)
        vectors = self._forward(features, members=1).fused
        return nearest_clusters(vectors, local.centres)[0][:, 0].numpy()

    def _prepare(self, features: Features, targets: Targets) -> None:
        self._partition = self._placed = None
        config, truth = self.config, torch.from_numpy(np.ascontiguousarray(targets, np.float32))
        rows = self._rows(features)
        self._embedder = fit_embedder(rows, truth, self._fitted_layout(), config, self.seed)
        if self.n_clusters_ == 0:
            return
        vectors = embedded(self._embedder, rows)
        centres = fit_clusters(vectors, self.n_clusters_, self.seed)
        if config.balanced:
            clusters = balanced_clusters(vectors, centres, config.slack)
            centres = means_of(vectors, clusters, centres)
            self._placed = dict(zip(features.ids, clusters.tolist(), strict=True))
        else:
            clusters = nearest_clusters(vectors, centres)[0][:, 0]
        self._partition = Partition.of(centres, clusters, truth)

    def _side(self, features: Features) -> torch.Tensor | None:
        """Return the cluster that a training title was put in, (n_titles, 1), -1 for others; read in training only."""
        if self._placed is None:
            return None
        return torch.tensor([[self._placed.get(film, -1)] for film in features.ids], dtype=torch.float32).view(-1, 1)

    def _build(self) -> nn.Module:
        network = ClustersNetwork(self._fitted_layout(), self.config, self._partition)
        if self._embedder is not None:
            network.embedder.load_state_dict(self._embedder.state_dict())
        return network

    def _state(self) -> dict[str, Any]:
        if self._partition is None:
            return {"n_clusters": 0, "longest": 0, "dim": 0}
        (n_clusters, longest), dim = self._partition.labels.shape, self._partition.centres.shape[1]
        return {"n_clusters": n_clusters, "longest": longest, "dim": dim}

    def _restore(self, state: dict[str, Any]) -> None:
        sizes = {name: int(state.get(name, 0)) for name in ("n_clusters", "longest", "dim")}
        self._partition = Partition.blank(**sizes) if sizes["n_clusters"] else None
        self.n_clusters_ = sizes["n_clusters"]
