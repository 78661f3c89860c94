"""Clusters of titles in a space: k-means, as many as are stable, or the dense groups of HDBSCAN.

Distances are Euclidean between unit vectors, which no common part of all titles of a genre can blur. Clusters are
looked for in a sample of a large genre, along its principal axes; all titles go to the nearest centre, in full width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.config import check_choice, check_range
from reeltag.retrieval.space import Matrix

Places = npt.NDArray[np.int64]

METHODS = ("kmeans", "hdbscan")
_STARTS = 3
_MEASURED = 2_000  # titles that a silhouette is measured on
_RESAMPLED = 3_000  # titles that stability is measured on
_WIDTH = 48  # dimensions in which clusters are looked for
_CELLS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """How titles are clustered.

    Attributes:
        method: ``kmeans``, or ``hdbscan``, which leaves titles between dense groups out.
        min_titles: Titles of a cluster at least.
        max_clusters: Clusters of a genre at most, with ``kmeans``.
        clusters: Their number, with ``kmeans``; chosen when None: the most whose silhouette is hardly below the best
            and whose stability is at least ``least_stability``; without such a number the best silhouette.
        slack: How much less than the best the silhouette may be.
        least_stability: Mean adjusted Rand index of subsamples, at least; not asked with fewer than two ``runs``.
        sample: Titles of a genre that centres are learned from.
        runs: Subsamples that stability is measured on; 0 measures none.
        share: Titles of a genre in each of them.
        seed: Of starts and samples.
    """

    method: str = "kmeans"
    min_titles: int = 30
    max_clusters: int = 12
    clusters: int | None = None
    slack: float = 0.02
    least_stability: float = 0.6
    sample: int = 10_000
    runs: int = 8
    share: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_choice(owner, "method", self.method, METHODS)
        check_range(owner, "min_titles", self.min_titles, 2, 100_000_000)
        check_range(owner, "max_clusters", self.max_clusters, 2, 1_000)
        if self.clusters is not None:
            check_range(owner, "clusters", self.clusters, 2, 1_000)
        check_range(owner, "slack", self.slack, 0, 2)
        check_range(owner, "least_stability", self.least_stability, -1, 1)
        check_range(owner, "sample", self.sample, 100, 100_000_000)
        check_range(owner, "runs", self.runs, 0, 1_000)
        check_range(owner, "share", self.share, 0.1, 0.99)
        check_range(owner, "seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Titles in clusters.

    Attributes:
        places: The cluster of every title, (n_titles,); -1 for a title in none.
        centres: Mean vectors, (n_clusters, dim).
        silhouette: Mean silhouette of a sample, in [-1, 1]; None for fewer than two clusters.
    """

    places: Places
    centres: Matrix
    silhouette: float | None

    def __len__(self) -> int:
        return len(self.centres)

    def greatest_first(self) -> Clusters:
        """Return the same clusters in the order of their sizes."""
        order = np.argsort(-np.bincount(self.places[self.places >= 0], minlength=len(self)), kind="stable")
        return replace(self, places=np.append(np.argsort(order), -1)[self.places], centres=self.centres[order])


def cluster(vectors: Matrix, config: ClusterConfig) -> Clusters:
    """Cluster titles; one cluster of all where they do not fall into two that are large enough.

    Args:
        vectors: (n_titles, dim).
        config: Settings.
    """
    if len(vectors) < 2 * config.min_titles:
        return _whole(vectors)
    chosen = _sample(len(vectors), config.sample, config.seed)
    found = _found(_principal(vectors[chosen], config.seed), config, len(vectors))
    return _whole(vectors) if found is None else _spread(vectors, chosen, found, config)


def continued(vectors: Matrix, centres: Matrix, config: ClusterConfig) -> Clusters:
    """Cluster titles by k-means from given centres; a cluster with less than half the least titles is dissolved.

    Args:
        vectors: (n_titles, dim).
        centres: Where to start, (n_clusters, dim).
        config: Settings; the method is not asked.
    """
    chosen = _sample(len(vectors), config.sample, config.seed)
    while len(centres) > 1 and len(vectors) >= len(centres):
        moved = _kmeans(vectors[chosen], len(centres), config.seed, start=centres).cluster_centers_
        places = nearest_centre(vectors, moved)
        sizes = np.bincount(places, minlength=len(moved))
        if 2 * sizes.min() >= config.min_titles:
            return Clusters(places=places, centres=moved, silhouette=_silhouette(vectors, places, config.seed))
        centres = np.delete(centres, sizes.argmin(), axis=0)
    return _whole(vectors)


def nearest_centre(vectors: Matrix, centres: Matrix) -> Places:
    """Return the nearest centre of every title, (n_titles,)."""
    lengths = np.einsum("kd,kd->k", centres, centres)
    step = max(_CELLS // max(len(centres), 1), 1)
    parts = [vectors[at : at + step] for at in range(0, len(vectors), step)]
    return np.concatenate([np.argmin(lengths - 2 * (part @ centres.T), axis=1) for part in parts]).astype(np.int64)


def stability(vectors: Matrix, n_clusters: int, config: ClusterConfig) -> float | None:
    """Return how alike the clusters of subsamples are: mean adjusted Rand index over pairs of them, on common titles.

    Args:
        vectors: (n_titles, dim).
        n_clusters: How many clusters were found.
        config: Settings.

    Returns:
        1 when every subsample gives the same clusters, near 0 when they agree no more than by chance; None when fewer
        than two subsamples or clusters are asked for.
    """
    if config.runs < 2 or n_clusters < 2:
        return None
    kept = _principal(vectors[_sample(len(vectors), _RESAMPLED, config.seed)], config.seed)
    runs = []
    for run in range(config.runs):
        random = np.random.default_rng((config.seed, run))
        rows = np.sort(random.permutation(len(kept))[: max(round(config.share * len(kept)), n_clusters)])
        places = np.full(len(kept), -1, np.int64)
        if config.method == "kmeans":
            places[rows] = _kmeans(kept[rows], n_clusters, config.seed + run).labels_
        else:
            places[rows] = _hdbscan(kept[rows], _least(config, len(kept[rows]), len(vectors)))
        runs.append(places)
    return float(np.mean(adjusted_pairs(runs)))


def adjusted_pairs(runs: Sequence[Places]) -> list[float]:
    """Return the adjusted Rand index of every pair of clusterings, on the titles that are in clusters of both."""
    from sklearn.metrics import adjusted_rand_score

    agreed = []
    for one, other in combinations(runs, 2):
        both = (one >= 0) & (other >= 0)
        agreed.append(float(adjusted_rand_score(one[both], other[both])) if both.any() else 0.0)
    return agreed


def _found(sample: Matrix, config: ClusterConfig, n_titles: int) -> Places | None:
    """Return the cluster of every title of a sample; None when there are fewer than two that are large enough."""
    least = _least(config, len(sample), n_titles)
    if config.method == "hdbscan":
        places = _hdbscan(sample, least)
        return places if places.max(initial=-1) >= 1 else None
    most = min(config.max_clusters, n_titles // config.min_titles, len(np.unique(sample, axis=0)))
    tried: dict[int, tuple[float, Places]] = {}  # by number of clusters: silhouette, and the cluster of every title
    for n_clusters in range(2, most + 1) if config.clusters is None else [min(config.clusters, most)]:
        if n_clusters < 2:
            continue
        places = _kmeans(sample, n_clusters, config.seed).labels_.astype(np.int64)
        small = np.bincount(places, minlength=n_clusters).min() < least
        score = _silhouette(sample, places, config.seed)
        if (not small or config.clusters is not None) and score is not None:
            tried[n_clusters] = score, places
    return tried[_number(sample, {n: score for n, (score, _) in tried.items()}, config)][1] if tried else None


def _number(sample: Matrix, silhouettes: dict[int, float], config: ClusterConfig) -> int:
    """Return the number of clusters to take, of those whose silhouettes are known."""
    best = max(silhouettes, key=lambda n: silhouettes[n])
    for n_clusters in sorted(silhouettes, reverse=True) if config.runs > 1 else ():
        if n_clusters > best and silhouettes[n_clusters] >= silhouettes[best] - config.slack:
            stable = stability(sample, n_clusters, config)
            if stable is not None and stable >= config.least_stability:
                return n_clusters
    return best


def _spread(vectors: Matrix, chosen: Places, found: Places, config: ClusterConfig) -> Clusters:
    """Return the clusters of all titles from those of a sample."""
    sample = vectors[chosen]
    centres = np.stack([sample[found == c].mean(axis=0) for c in range(int(found.max()) + 1)])
    places = nearest_centre(vectors, centres)
    if config.method == "hdbscan":  # no farther from the centre than the farthest title that was found in the cluster
        reach = np.array([_distances(sample[found == c], centres[c]).max() for c in range(len(centres))])
        away = np.array([_distances(vectors[places == c], centres[c]).max(initial=0) for c in range(len(centres))])
        for c in np.flatnonzero(away > reach):
            rows = np.flatnonzero(places == c)
            places[rows[_distances(vectors[rows], centres[c]) > reach[c]]] = -1
        places[chosen] = found
    return Clusters(
        places=places, centres=centres.astype(np.float32), silhouette=_silhouette(vectors, places, config.seed)
    )


def _whole(vectors: Matrix) -> Clusters:
    centre = vectors.mean(axis=0, keepdims=True) if len(vectors) else np.zeros((1, vectors.shape[1]), np.float32)
    return Clusters(places=np.zeros(len(vectors), np.int64), centres=centre, silhouette=None)


def _principal(vectors: Matrix, seed: int) -> Matrix:
    """Return the coordinates in which titles differ most, where there are more than ``_WIDTH``."""
    from sklearn.decomposition import PCA

    if min(vectors.shape) <= _WIDTH:
        return vectors
    found: Matrix = PCA(_WIDTH, svd_solver="randomized", random_state=seed).fit_transform(vectors)
    return found


def _kmeans(vectors: Matrix, n_clusters: int, seed: int, start: Matrix | None = None) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    begin: Any = "k-means++" if start is None else start
    n_starts = _STARTS if start is None else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a subsample may hold fewer points that differ
        return KMeans(n_clusters, init=begin, n_init=n_starts, random_state=seed).fit(vectors)


def _hdbscan(vectors: Matrix, least: int) -> Places:
    from sklearn.cluster import HDBSCAN

    if len(vectors) <= least:
        return np.full(len(vectors), -1, np.int64)
    places: Places = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(vectors).astype(np.int64)
    return places


def _least(config: ClusterConfig, n_sample: int, n_titles: int) -> int:
    """Return how many titles of a sample stand for ``min_titles`` of all."""
    return max(round(config.min_titles * n_sample / n_titles), 2)


def _silhouette(vectors: Matrix, places: Places, seed: int) -> float | None:
    from sklearn.metrics import silhouette_score

    inside = np.flatnonzero(places >= 0)
    rows = inside[_sample(len(inside), _MEASURED, seed)]
    n_clusters = len(np.unique(places[rows]))
    if not 2 <= n_clusters < len(rows):
        return None
    return float(silhouette_score(vectors[rows], places[rows]))


def _sample(n_titles: int, most: int, seed: int) -> Places:
    """Return rows drawn at random, rising; all when there are not too many."""
    if n_titles <= most:
        return np.arange(n_titles)
    return np.sort(np.random.default_rng(seed).permutation(n_titles)[:most])


def _distances(vectors: Matrix, centre: Matrix) -> npt.NDArray[np.float32]:
    return np.asarray(np.linalg.norm(vectors - centre, axis=1))
