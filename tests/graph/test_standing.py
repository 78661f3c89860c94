"""How well the graph knows the people of a film: counts and links by loops, its own ones left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.catalogue import Catalogue
from reeltag.errors import NotFittedError
from reeltag.graph.credits import ROLES, CreditConfig, CreditProfile

from .test_credits import Targets, catalogue, credited, random_films, random_targets

CONFIGS = [CreditConfig(), CreditConfig(leave_one_out=False), CreditConfig(roles=("cast",))]


def slow_standing(
    films: Catalogue, graph: Catalogue, targets: Targets, config: CreditConfig
) -> npt.NDArray[np.float64]:
    """Count film by film, person by person."""
    others = graph.frame.to_dicts()
    rows = []
    for film in films.frame.to_dicts():
        people, links = 0, 0
        for role in config.roles:
            for person in credited(film, role):
                seen = 0
                degree = 0
                for number, other in enumerate(others):
                    if person not in credited(other, role) or (config.leave_one_out and other["id"] == film["id"]):
                        continue
                    seen += 1
                    beside = [len(credited(other, r)) for r in config.roles if r != role]
                    degree += 1 + int(targets[number].sum()) + sum(beside)
                people += seen > 0
                links += degree
        rows.append([people, links])
    return np.array(rows, np.float64).reshape(len(films), 2)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_standing_is_the_count_by_loops(config: CreditConfig, seed: int) -> None:
    graph, targets = random_films(25, seed), random_targets(25, seed=seed)
    profile = CreditProfile(config).fit(graph, targets)
    for films in (graph, random_films(10, seed + 50, n_people=16, prefix="new")):
        found = profile.standing(films)
        np.testing.assert_array_equal(found.values, slow_standing(films, graph, targets, config))
        np.testing.assert_array_equal(found.present, found.values[:, 0] > 0)
        assert found.values.dtype == np.float32


def test_a_training_film_does_not_read_its_own_labels() -> None:
    graph, targets = random_films(25), random_targets(25)
    before = CreditProfile().fit(graph, targets).standing(graph).values
    for row in range(25):
        other = targets.copy()
        other[row] = 1 - other[row]
        after = CreditProfile().fit(graph, other).standing(graph.take([row])).values
        np.testing.assert_array_equal(after[0], before[row])


def test_nobody_is_known() -> None:
    graph = catalogue({"a": {"directors": None, "cast": None}})
    profile = CreditProfile().fit(graph, np.ones((1, 2), np.float32))
    films = catalogue({"b": {"directors": ["x"], "cast": ["y"]}, "c": {"directors": None, "cast": None}})
    for block in (profile.standing(films), profile.people(films)):
        assert not block.present.any()
        assert block.values.sum() == 0


def test_people_are_marked_role_by_role() -> None:
    graph = catalogue({"a": {"directors": ["x", "y"], "cast": ["x"]}, "b": {"directors": None, "cast": ["z", "x"]}})
    profile = CreditProfile().fit(graph, np.ones((2, 1), np.float32))
    films = catalogue({"a": {"directors": ["y"], "cast": ["new"]}, "c": {"directors": ["z"], "cast": ["z"]}})
    block = profile.people(films)
    assert block.is_sparse
    assert block.dim == sum(len({p for film in graph.frame.to_dicts() for p in credited(film, role)}) for role in ROLES)
    np.testing.assert_array_equal(block.values.toarray(), [[0, 1, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(block.present, [True, True])


def test_used_before_fit() -> None:
    films = catalogue({"a": {"directors": ["x"], "cast": None}})
    for use in (CreditProfile().standing, CreditProfile().people):
        with pytest.raises(NotFittedError, match="before fit"):
            use(films)
