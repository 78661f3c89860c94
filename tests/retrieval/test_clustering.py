"""Clusters of titles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from reeltag.errors import ConfigError
from reeltag.retrieval import ClusterConfig
from reeltag.retrieval import clustering as module
from reeltag.retrieval.clustering import Clusters, cluster, continued, nearest_centre, stability

from .points import clustered, shapeless

CONFIG = ClusterConfig(min_titles=20)


def test_groups_are_found_and_their_number_chosen() -> None:
    space, groups = clustered()
    found = cluster(space.vectors, CONFIG)
    assert len(found) == 3
    assert adjusted_rand_score(groups, found.places) == 1
    for number in range(3):
        np.testing.assert_allclose(found.centres[number], space.vectors[found.places == number].mean(axis=0), atol=1e-5)
    assert found.silhouette == pytest.approx(silhouette_score(space.vectors, found.places), abs=1e-6)


def test_their_number_may_be_given() -> None:
    space, _ = clustered()
    assert len(cluster(space.vectors, ClusterConfig(min_titles=20, clusters=5))) == 5
    assert len(cluster(space.vectors, ClusterConfig(min_titles=100, clusters=9))) == 3  # as many as have the titles


def test_no_cluster_is_too_small() -> None:
    vectors = np.concatenate([clustered()[0].vectors, -np.ones((9, 12), np.float32) / np.sqrt(12)]).astype(np.float32)
    found = cluster(vectors, ClusterConfig(min_titles=20))
    assert np.bincount(found.places).min() >= 20
    assert len(cluster(vectors, ClusterConfig(min_titles=9))) == 4


def test_few_titles_are_one_cluster() -> None:
    space, _ = clustered(39)
    found = cluster(space.vectors, CONFIG)
    assert (len(found), found.silhouette, set(found.places)) == (1, None, {0})
    np.testing.assert_allclose(found.centres[0], space.vectors.mean(axis=0), atol=1e-6)
    same = np.repeat(space.vectors[:1], 100, axis=0)
    assert len(cluster(same, CONFIG)) == 1
    assert len(cluster(space.vectors[:0], CONFIG)) == 1


def test_a_sample_stands_for_many() -> None:
    space, groups = clustered(900)
    found = cluster(space.vectors, ClusterConfig(min_titles=30, sample=120))
    assert len(found) == 3
    assert adjusted_rand_score(groups, found.places) == 1


def test_wide_vectors_are_clustered_along_their_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    space, groups = clustered(300, 60)
    monkeypatch.setattr(module, "_WIDTH", 5)
    found = cluster(space.vectors, CONFIG)
    assert adjusted_rand_score(groups, found.places) == 1
    assert found.centres.shape == (3, 60)


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_the_same_seed_gives_the_same_clusters(method: str) -> None:
    space = shapeless(150)
    one, other = (cluster(space.vectors, ClusterConfig(method=method, min_titles=10, seed=4)) for _ in range(2))
    np.testing.assert_array_equal(one.places, other.places)


def test_dense_groups_leave_what_is_between_them_out() -> None:
    space, groups = clustered(300, spread=0.03)
    random = np.random.default_rng(3)
    between = random.normal(size=(25, 12)).astype(np.float32)
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    vectors = np.concatenate([space.vectors, between])
    found = cluster(vectors, ClusterConfig(method="hdbscan", min_titles=20))
    assert len(found) == 3
    assert adjusted_rand_score(groups, found.places[:300]) == 1
    assert (found.places[300:] == -1).mean() > 0.9
    some = cluster(vectors, ClusterConfig(method="hdbscan", min_titles=20, sample=200))
    assert (some.places[300:] == -1).mean() > 0.9
    inside = some.places[:300] >= 0
    assert inside.mean() > 0.9
    assert adjusted_rand_score(groups[inside], some.places[:300][inside]) == 1


def test_no_dense_groups_are_one_cluster() -> None:
    assert len(cluster(shapeless(100).vectors, ClusterConfig(method="hdbscan", min_titles=40))) == 1


def test_clusters_are_gone_on_with_from_their_centres() -> None:
    space, groups = clustered()
    centres = np.stack([space.vectors[groups == group].mean(axis=0) for group in (2, 0, 1)])
    found = continued(space.vectors, centres, CONFIG)
    np.testing.assert_array_equal(found.places, np.array([1, 2, 0])[groups])  # in the order of the centres
    assert found.silhouette == pytest.approx(cluster(space.vectors, CONFIG).silhouette)


def test_a_cluster_that_has_withered_is_dissolved() -> None:
    space, groups = clustered()
    kept = (groups != 2) | (np.arange(300) < 12)
    centres = np.stack([space.vectors[groups == group].mean(axis=0) for group in range(3)])
    assert len(continued(space.vectors[kept], centres, CONFIG)) == 2
    assert len(continued(space.vectors[kept], centres, ClusterConfig(min_titles=6))) == 3
    assert len(continued(space.vectors[:15], centres, CONFIG)) == 1


def test_the_nearest_centre_is_that_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    vectors, centres = (random.normal(size=(n, 5)).astype(np.float32) for n in (40, 4))
    right = [min(range(4), key=lambda c, v=v: float(((v - centres[c]) ** 2).sum())) for v in vectors]
    monkeypatch.setattr(module, "_CELLS", 30)
    assert nearest_centre(vectors, centres).tolist() == right


def test_greatest_first() -> None:
    places = np.array([0, 1, 1, -1, 2, 2, 2])
    found = Clusters(places=places, centres=np.eye(3, dtype=np.float32), silhouette=0.5).greatest_first()
    assert found.places.tolist() == [2, 1, 1, -1, 0, 0, 0]
    np.testing.assert_array_equal(found.centres, np.eye(3)[[2, 1, 0]])
    assert found.silhouette == 0.5


def by_hand(runs: list[npt.NDArray[np.int64]]) -> float:
    scores = []
    for one in range(len(runs)):
        for other in range(one + 1, len(runs)):
            both = [(a, b) for a, b in zip(runs[one], runs[other], strict=True) if a >= 0 and b >= 0]
            scores.append(adjusted_rand_score(*zip(*both, strict=True)))
    return sum(scores) / len(scores)


def test_stability_is_the_mean_rand_index_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    space = shapeless(80)
    seen: list[npt.NDArray[np.int64]] = []
    real = module.adjusted_pairs

    def spy(runs: list[npt.NDArray[np.int64]]) -> list[float]:
        seen.extend(runs)
        return real(runs)

    monkeypatch.setattr(module, "adjusted_pairs", spy)
    found = stability(space.vectors, 4, ClusterConfig(min_titles=5, runs=4))
    assert found == pytest.approx(by_hand(seen))
    assert [(run >= 0).sum() for run in seen] == [64] * 4


def test_groups_are_firm_and_none_are_loose() -> None:
    config = ClusterConfig(min_titles=20, runs=5)
    assert stability(clustered()[0].vectors, 3, config) == 1
    loose = stability(shapeless().vectors, 4, config)
    assert loose is not None
    assert loose < 0.5
    dense = ClusterConfig(min_titles=20, runs=3, method="hdbscan")
    assert stability(clustered(spread=0.03)[0].vectors, 3, dense) == 1


def test_stability_of_nothing_is_not_told() -> None:
    space, _ = clustered()
    assert stability(space.vectors, 1, CONFIG) is None
    assert stability(space.vectors, 3, ClusterConfig(runs=1)) is None


def test_settings_are_checked() -> None:
    for settings, because in (
        ({"method": "ward"}, "ClusterConfig.method must be one of kmeans, hdbscan; got 'ward'"),
        ({"min_titles": 1}, "ClusterConfig.min_titles must be between 2"),
        ({"clusters": 1}, "ClusterConfig.clusters must be between 2"),
        ({"max_clusters": 1}, "ClusterConfig.max_clusters must be between 2"),
        ({"sample": 5}, "ClusterConfig.sample must be between 100"),
        ({"share": 1.0}, "ClusterConfig.share must be between 0.1 and 0.99; got 1.0"),
        ({"runs": -1}, "ClusterConfig.runs must be between 0"),
    ):
        with pytest.raises(ConfigError, match=because):
            ClusterConfig(**settings)  # type: ignore[arg-type]


def test_of_equally_good_numbers_the_most_stable_groups_are_taken() -> None:
    """Two far pairs of groups that lie near each other: two clusters fit best, four are as stable."""
    random = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [0, 0.6, 0], [3, 0, 0], [3, 0.6, 0]])
    vectors = (np.repeat(centres, 80, axis=0) + 0.05 * random.normal(size=(320, 3))).astype(np.float32)
    assert len(cluster(vectors, ClusterConfig(min_titles=20, slack=0))) == 2
    found = cluster(vectors, ClusterConfig(min_titles=20, slack=0.1))
    assert len(found) == 4
    assert adjusted_rand_score(np.repeat(range(4), 80), found.places) == 1
    assert len(cluster(vectors, ClusterConfig(min_titles=20, slack=0.1, runs=0))) == 2


def test_numbers_that_are_not_stable_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def told(_: object, n_clusters: int, config: ClusterConfig) -> float:
        asked.append(n_clusters)
        return {5: 0.2, 4: 0.5, 3: 0.65}[n_clusters]

    monkeypatch.setattr(module, "stability", told)
    silhouettes = {2: 0.31, 3: 0.30, 4: 0.295, 5: 0.3}
    vectors = np.zeros((1, 1), np.float32)
    assert module._number(vectors, silhouettes, ClusterConfig()) == 3
    assert asked == [5, 4, 3]
    assert module._number(vectors, silhouettes, ClusterConfig(least_stability=0.7)) == 2
    assert module._number(vectors, silhouettes | {3: 0.28}, ClusterConfig()) == 2
