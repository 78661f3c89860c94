"""The index of titles, against comparing every one by explicit loops."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.errors import ArtefactError, ConfigError, FeatureError, MissingExtraError, NotFittedError
from reeltag.retrieval import IndexConfig, TitleIndex
from reeltag.retrieval import index as module
from reeltag.retrieval.space import unit_rows

Vectors = npt.NDArray[np.float32]
LISTS = IndexConfig(exact_up_to=50, probes=1.0)  # looks through every list: what it misses, it misses by rounding


def points(n: int, dim: int = 16, seed: int = 0) -> Vectors:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)))


def ids(n: int, start: int = 0) -> list[str]:
    return [f"t{row}" for row in range(start, start + n)]


def by_loop(query: Vectors, vectors: Vectors, n: int, allowed: npt.NDArray[np.bool_] | None = None) -> list[int]:
    scored = []
    for row, vector in enumerate(vectors):
        if allowed is None or allowed[row]:
            scored.append((-sum(float(a) * float(b) for a, b in zip(query, vector, strict=True)), row))
    return [row for _, row in sorted(scored)[:n]]


@pytest.mark.parametrize("config", [IndexConfig(), LISTS], ids=["exact", "lists"])
def test_the_nearest_are_found(config: IndexConfig) -> None:
    vectors, queries = points(400), points(5, seed=1)
    index = TitleIndex(config).build(ids(400), vectors)
    assert index.is_exact == (config != LISTS)
    found = index.search(queries, 7)
    for query, rows, values in zip(queries, found.rows, found.similarities, strict=True):
        assert rows.tolist() == by_loop(query, vectors, 7)
        np.testing.assert_allclose(values, vectors[rows] @ query, atol=1e-6)
        assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("config", [IndexConfig(), LISTS], ids=["exact", "lists"])
def test_filters_leave_only_what_is_allowed(config: IndexConfig) -> None:
    vectors, queries = points(400), points(3, seed=1)
    index = TitleIndex(config).build(ids(400), vectors)
    for allowed in (np.arange(400) % 2 == 0, np.arange(400) < 5, np.zeros(400, np.bool_)):
        found = index.search(queries, 6, allowed=allowed)
        for query, rows, values in zip(queries, found.rows, found.similarities, strict=True):
            right = by_loop(query, vectors, 6, allowed)
            assert rows.tolist() == right + [-1] * (6 - len(right))
            assert np.isneginf(values[len(right) :]).all()


@pytest.mark.parametrize("config", [IndexConfig(), LISTS], ids=["exact", "lists"])
def test_a_title_is_not_its_own_neighbour_but_its_copy_is(config: IndexConfig) -> None:
    vectors = points(300)
    vectors[10] = vectors[7]
    index = TitleIndex(config).build(ids(300), vectors)
    found = index.search(vectors[:20], 5, own=np.arange(20))
    assert found.rows.shape == (20, 5)
    for row in range(20):
        others = np.arange(300) != row
        assert found.rows[row].tolist() == by_loop(vectors[row], vectors, 5, others)
    assert found.rows[7, 0] == 10
    stranger = index.search(points(1, seed=3), 5, own=np.array([-1]))
    assert stranger.rows[0].tolist() == by_loop(points(1, seed=3)[0], vectors, 5)


def test_more_than_there_are_is_filled_up() -> None:
    index = TitleIndex().build(ids(3), points(3))
    found = index.search(points(2, seed=1), 5, own=np.array([0, -1]))
    assert (found.rows >= 0).sum(axis=1).tolist() == [2, 3]
    empty = TitleIndex().build([], np.zeros((0, 4), np.float32)).search(points(1, 4), 2)
    assert empty.rows.tolist() == [[-1, -1]]


def test_equals_come_by_row() -> None:
    vectors = np.repeat(points(1), 20, axis=0)
    found = TitleIndex().build(ids(20), vectors).search(vectors[:1], 20)
    assert found.rows[0].tolist() == list(range(20))


def test_many_queries_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = points(100), points(40, seed=1)
    for config in (IndexConfig(), LISTS):
        index = TitleIndex(config).build(ids(100), vectors)
        whole = index.search(queries, 4)
        monkeypatch.setattr(module, "_CELLS", 700)
        parts = index.search(queries, 4)
        monkeypatch.undo()
        np.testing.assert_array_equal(whole.rows, parts.rows)


def test_few_probes_find_most_of_clustered_titles() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 24))
    vectors = unit_rows(centres[random.integers(0, 40, 4000)] + 0.4 * random.normal(size=(4000, 24)))
    lists = TitleIndex(IndexConfig(exact_up_to=100, probes=0.1)).build(ids(4000), vectors)
    exact = TitleIndex().build(ids(4000), vectors)
    ours, right = lists.search(vectors[:200], 10), exact.search(vectors[:200], 10)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(ours.rows, right.rows, strict=True)])
    assert recall >= 0.95
    half = np.arange(4000) % 2 == 0
    ours, right = (index.search(vectors[:200], 10, allowed=half) for index in (lists, exact))
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(ours.rows, right.rows, strict=True)]) >= 0.95


def test_where_the_lists_run_short_every_title_is_compared() -> None:
    vectors = points(400)
    index = TitleIndex(IndexConfig(exact_up_to=50, probes=0.0)).build(ids(400), vectors)
    found = index.search(points(2, seed=1), 300)
    assert found.rows[0].tolist() == by_loop(points(2, seed=1)[0], vectors, 300)


def test_the_same_seed_gives_the_same_answers() -> None:
    config = IndexConfig(exact_up_to=50, probes=0.1)
    one, other = (TitleIndex(config).build(ids(600), points(600)).search(points(20, seed=1), 5) for _ in range(2))
    np.testing.assert_array_equal(one.rows, other.rows)


# changes


@pytest.mark.parametrize("config", [IndexConfig(), LISTS], ids=["exact", "lists"])
def test_titles_are_put_in_changed_and_taken_out_without_building_anew(config: IndexConfig) -> None:
    vectors, query = points(400), points(1, seed=9)
    index = TitleIndex(config).build(ids(400), vectors)
    lists = index._lists
    index.upsert(["new", "t5"], np.concatenate([query, -query]))
    assert index._lists is lists
    assert (index.ids[-1], len(index)) == ("new", 401)
    found = index.search(query, 401)
    assert index.ids[found.rows[0, 0]] == "new"
    assert index.ids[found.rows[0, -1]] == "t5"
    assert len({*found.rows[0].tolist()}) == 401
    index.remove(["new", "absent", "t7"])
    assert index._lists is lists
    assert len(index) == 399
    found = index.search(query, 399)
    assert {index.ids[row] for row in found.rows[0]} == {*ids(400)} - {"t7"}
    assert found.rows[0].tolist() == by_loop(query[0], index.vectors, 399)


def test_an_update_may_come_in_any_order() -> None:
    vectors = points(400)
    index = TitleIndex(LISTS).build(ids(400), vectors)
    order = np.random.default_rng(0).permutation(400)[:390]
    index.update([f"t{row}" for row in order], vectors[order])
    for query, rows in zip(points(3, seed=1), index.search(points(3, seed=1), 5).rows, strict=True):
        assert order[rows].tolist() == by_loop(query, vectors, 400, np.isin(np.arange(400), order))[:5]


def test_after_many_changes_it_is_built_anew() -> None:
    index = TitleIndex(LISTS).build(ids(400), points(400))
    lists = index._lists
    index.upsert(ids(150, 400), points(150, seed=2))
    assert index._lists is lists
    index.upsert(ids(100, 550), points(100, seed=3))
    assert index._lists is not lists
    assert index.n_trained_ == len(index) == 650
    index.remove(ids(620))
    assert index.is_exact
    query = points(1, seed=4)
    assert index.search(query, 5).rows[0].tolist() == by_loop(query[0], index.vectors, 5)


def test_build_forgets() -> None:
    index = TitleIndex(LISTS).build(ids(400), points(400)).build(ids(30, 7), points(30, 8))
    assert index.is_exact
    assert index.ids == tuple(ids(30, 7))


# folders


@pytest.mark.parametrize("config", [IndexConfig(seed=3), LISTS], ids=["exact", "lists"])
def test_save_and_load_give_the_same_answers(tmp_path: Path, config: IndexConfig) -> None:
    index = TitleIndex(config).build(ids(400), points(400)).upsert(["new"], points(1, seed=5))
    index.remove(["t3"])
    folder = index.save(index.save(tmp_path / "index"))
    again = TitleIndex.load(folder, index.ids, index.vectors)
    assert again.config == config
    queries = points(10, seed=6)
    np.testing.assert_array_equal(again.search(queries, 8).rows, index.search(queries, 8).rows)
    again.upsert(["newer"], queries[:1])
    assert again.ids[again.search(queries[:1], 1).rows[0, 0]] == "newer"


def test_an_index_of_other_titles_is_refused(tmp_path: Path) -> None:
    folder = TitleIndex(LISTS).build(ids(100), points(100)).save(tmp_path / "index")
    for names, vectors in ((ids(100), points(100, seed=1)), (ids(100, 1), points(100)), (ids(99), points(99))):
        with pytest.raises(ArtefactError, match=r"was made for other titles \(100\) or other vectors of them"):
            TitleIndex.load(folder, names, vectors)


def test_damage_is_named(tmp_path: Path) -> None:
    folder = TitleIndex(LISTS).build(ids(100), points(100)).save(tmp_path / "index")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    slots = (folder / "slots.safetensors").read_bytes()

    def load() -> None:
        TitleIndex.load(folder, ids(100), points(100))

    (folder / "slots.safetensors").unlink()
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        load()
    (folder / "slots.safetensors").write_bytes(slots)
    (folder / "lists.faiss").write_bytes(b"IwFljunk")
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        load()
    (folder / "config.json").write_text(json.dumps(config | {"settings": {"probes": 7}}), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"IndexConfig.probes must be between 0 and 1; got 7"):
        load()
    with pytest.raises(ArtefactError, match="holds no index of titles"):
        TitleIndex.load(tmp_path / "absent", ids(2), points(2))


# mistakes


def test_mistakes_are_named() -> None:
    index = TitleIndex().build(ids(4), points(4))
    with pytest.raises(FeatureError, match=r"queries must be of shape \(n_queries, 16\); got \(2, 3\)"):
        index.search(points(2, 3), 1)
    with pytest.raises(FeatureError, match=r"one entry per title \(4\); got \(3,\)"):
        index.search(points(1), 1, allowed=np.ones(3, np.bool_))
    with pytest.raises(ConfigError, match=r"TitleIndex.search.n must be between 1"):
        index.search(points(1), 0)
    with pytest.raises(FeatureError, match="the ids of an index must be unique"):
        TitleIndex().build(["a", "a"], points(2))
    with pytest.raises(
        FeatureError, match=r"needs float32 vectors \(1, dim\), one per id; got float32 of shape \(2, 16\)"
    ):
        TitleIndex().build(["a"], points(2))
    with pytest.raises(FeatureError, match="an index of 16 dimensions cannot take vectors of 3"):
        index.update(ids(2), points(2, 3))
    with pytest.raises(NotFittedError, match=r"TitleIndex.update is used before build or load"):
        TitleIndex().update(ids(2), points(2))
    with pytest.raises(ConfigError, match=r"IndexConfig.probes must be between 0 and 1; got 2"):
        IndexConfig(probes=2)


def test_faiss_is_asked_for_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Any = None
    monkeypatch.setitem(sys.modules, "faiss", absent)
    assert TitleIndex().build(ids(60), points(60)).search(points(1), 1).rows.shape == (1, 1)
    with pytest.raises(MissingExtraError, match=r"needs the package 'faiss-cpu'.*pip install 'reeltag\[retrieval\]'"):
        TitleIndex(LISTS).build(ids(60), points(60))
