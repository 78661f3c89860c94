"""Neighbours of titles against sets of people."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from reeltag.errors import FeatureError
from reeltag.features import Block
from reeltag.models import film_neighbours
from reeltag.models.film_neighbours import FilmNeighbours, incidence


def people(n: int, seed: int, n_people: int = 12, chance: float = 0.25) -> Block:
    """Return films with people at random, a tenth of them without."""
    rng = np.random.default_rng(seed)
    present = rng.random(n) > 0.1
    values = (rng.random((n, n_people)) < chance) & present[:, None]
    return Block(sp.csr_matrix(values.astype(np.float32)), present)


def by_sets(ids: list[str], block: Block, known: list[str], films: Block, limit: int) -> list[list[int]]:
    """Return the neighbours of every title, in order, by comparing the sets of people."""
    found = []
    for row, film_id in enumerate(ids):
        mine = set(np.flatnonzero(block.values[[row]].toarray()[0])) if block.present[row] else set()
        shared = []
        for place, other in enumerate(known):
            theirs = set(np.flatnonzero(films.values[[place]].toarray()[0])) if films.present[place] else set()
            if other != film_id and mine & theirs:
                shared.append((-len(mine & theirs), place))
        found.append([place for _, place in sorted(shared)[:limit]])
    return found


@pytest.mark.parametrize("limit", [1, 3, 50])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_neighbours_are_those_that_share_most_people(limit: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_neighbours, "_CHUNK", chunk)
    films, known = people(30, seed=1), [f"film{row}" for row in range(30)]
    titles, ids = people(15, seed=2), [f"film{row}" if row % 3 else f"other{row}" for row in range(15)]
    found = FilmNeighbours.of(known, films).find(ids, titles, limit)
    assert found.shape == (15, limit)
    for row, expected in enumerate(by_sets(ids, titles, known, films, limit)):
        assert found[row].tolist() == expected + [-1] * (limit - len(expected))


def test_a_training_film_is_never_its_own_neighbour() -> None:
    films, ids = people(40, seed=1), [f"film{row}" for row in range(40)]
    graph = FilmNeighbours.of(ids, films)
    found = graph.find(ids, films, 40)
    assert (found >= 0).any()
    assert not (found == np.arange(40)[:, None]).any()
    order = np.random.default_rng(0).permutation(40)
    turned = graph.find([ids[row] for row in order], films.take(order), 40)
    np.testing.assert_array_equal(turned, found[order])


def test_links_go_both_ways() -> None:
    films, ids = people(20, seed=1), [f"film{row}" for row in range(20)]
    found = FilmNeighbours.of(ids, films).find(ids, films, 20)
    pairs = {(row, int(place)) for row in range(20) for place in found[row] if place >= 0}
    assert pairs == {(place, row) for row, place in pairs}


def test_nobody_is_known() -> None:
    graph = FilmNeighbours.of(["a", "b"], Block(sp.csr_matrix((2, 3), dtype=np.float32), np.ones(2, np.bool_)))
    assert (graph.find(["c"], people(1, seed=1, n_people=3), 4) == -1).all()
    assert graph.find([], people(0, seed=1, n_people=3), 4).shape == (0, 4)


def test_incidence_counts_a_person_once_and_nobody_where_absent() -> None:
    values = np.array([[2, 0, 1], [0, 0, 0], [1, 1, 1]], np.float32)
    present = np.array([True, True, False])
    for block in (Block(values, present), Block(sp.csr_matrix(values), present)):
        found = incidence(block)
        np.testing.assert_array_equal(found.toarray(), [[1, 0, 1], [0, 0, 0], [0, 0, 0]])
        assert found.nnz == 2
    np.testing.assert_array_equal(values[2], 1)  # the block is left alone


def test_error_of_other_people() -> None:
    graph = FilmNeighbours.of(["a"], people(1, seed=1))
    with pytest.raises(FeatureError, match="people has width 5, the model was trained with 12"):
        graph.find(["b"], people(1, seed=1, n_people=5), 3)
