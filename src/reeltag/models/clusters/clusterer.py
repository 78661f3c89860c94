"""The clusterer: k-means on the vectors of the training titles, and what lies in every cluster."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from reeltag.models.contract import Targets

_MANY_TITLES = 50_000  # from here on k-means reads batches
_STARTS = 4


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What lies in a cluster: the number of training titles, and the columns of the labels that any of them has."""

    titles: int
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Clusters and the labels that each has learned.

    Attributes:
        centres: Means of the clusters' titles, (n_clusters, dim).
        titles: Training titles of every cluster, (n_clusters,).
        labels: Columns of the labels that any of these titles has, in order, filled up with -1 to the longest list,
            (n_clusters, longest); longest is at least 1.
        counts: How many of these titles have each of these labels, in the same places; 0 where filled up.
    """

    centres: torch.Tensor
    titles: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, centres: torch.Tensor, clusters: torch.Tensor, targets: torch.Tensor) -> Partition:
        """Count titles and labels of clusters.

        Args:
            centres: Shape (n_clusters, dim).
            clusters: Cluster of every training title, (n_titles,).
            targets: 0 and 1, (n_titles, n_labels).
        """
        n_clusters, n_labels = len(centres), targets.shape[1]
        all_counts = torch.zeros(n_clusters, n_labels).index_add_(0, clusters, targets.float())
        has = all_counts > 0
        longest = max(int(has.sum(1).max()), 1)
        labels = torch.argsort((~has).to(torch.uint8), dim=1, stable=True)[:, :longest]  # those it has come first
        own = has.gather(1, labels)
        return cls(
            centres=centres,
            titles=torch.bincount(clusters, minlength=n_clusters),
            labels=torch.where(own, labels, -1),
            counts=torch.where(own, all_counts.gather(1, labels), 0).long(),
        )

    @classmethod
    def blank(cls, n_clusters: int, longest: int, dim: int) -> Partition:
        """Return a partition of given sizes that holds nothing yet."""
        return cls(
            centres=torch.zeros(n_clusters, dim),
            titles=torch.zeros(n_clusters, dtype=torch.int64),
            labels=torch.full((n_clusters, longest), -1),
            counts=torch.zeros(n_clusters, longest, dtype=torch.int64),
        )


def fit_clusters(vectors: torch.Tensor, n_clusters: int, seed: int) -> torch.Tensor:
    """Return the centres of k-means (n_clusters, dim), or one per title where there are fewer titles.

    More than 50 000 titles are read in batches (MiniBatchKMeans). Titles that are equal leave clusters empty.
    """
    values = vectors.numpy()
    kind = MiniBatchKMeans if len(values) > _MANY_TITLES else KMeans
    kmeans = kind(min(n_clusters, len(values)), n_init=_STARTS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct titles than clusters
        kmeans.fit(values)
    return torch.from_numpy(np.asarray(kmeans.cluster_centers_, np.float32))


def nearest_clusters(
    vectors: torch.Tensor, centres: torch.Tensor, *, nearest: int = 1, temperature: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest clusters of titles by Euclidean distance d, and their weights ``softmax(-d^2 / temperature)``.

    Args:
        vectors: Shape (n, dim).
        centres: Shape (n_clusters, dim).
        nearest: How many clusters; all when there are fewer.
        temperature: See above.

    Returns:
        Clusters and weights, (n, nearest) each, the nearest first; weights sum to 1.
    """
    squared = _squared_distances(vectors, centres)
    least, clusters = squared.topk(min(nearest, len(centres)), dim=1, largest=False)
    return clusters, torch.softmax(-least / temperature, dim=1)


def balanced_clusters(vectors: torch.Tensor, centres: torch.Tensor, slack: float) -> torch.Tensor:
    """Return a cluster per title, none of which has more than ``slack * n_titles / n_clusters`` of them.

    Greedy: all pairs of title and centre in order of distance; a title goes to the first centre that has room left.
    The limit is rounded down, but never below what it takes to place all titles.
    """
    squared = _squared_distances(vectors, centres).numpy()
    n_titles, n_clusters = squared.shape
    limit = max(math.floor(slack * n_titles / n_clusters), math.ceil(n_titles / n_clusters))
    clusters, room = [-1] * n_titles, [limit] * n_clusters
    for pair in np.argsort(squared, axis=None, kind="stable").tolist():
        title, cluster = divmod(pair, n_clusters)
        if clusters[title] < 0 and room[cluster]:
            clusters[title] = cluster
            room[cluster] -= 1
    return torch.tensor(clusters)


def means_of(vectors: torch.Tensor, clusters: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the mean vector of the titles of every cluster; the old centre of a cluster without titles."""
    titles = torch.bincount(clusters, minlength=len(centres))[:, None]
    sums = torch.zeros_like(centres).index_add_(0, clusters, vectors)
    return torch.where(titles > 0, sums / titles.clamp_min(1), centres)


def cluster_report(clusters: npt.NDArray[np.int64], targets: Targets, n_clusters: int) -> tuple[Cluster, ...]:
    """Return how many titles every cluster has, and which labels.

    Args:
        clusters: Cluster of every title, (n_titles,).
        targets: 0 and 1, (n_titles, n_labels).
        n_clusters: Their number.
    """
    members = [np.flatnonzero(clusters == cluster) for cluster in range(n_clusters)]
    return tuple(
        Cluster(titles=len(rows), labels=tuple(np.flatnonzero(targets[rows].any(axis=0)).tolist())) for rows in members
    )


def _squared_distances(vectors: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return torch.cdist(vectors, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
