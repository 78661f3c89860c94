"""The votes of a film's people: their formula by loops over films and people, and that no film hears its own labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue
from reeltag.errors import FeatureError, NotFittedError
from reeltag.features import Block
from reeltag.graph.credits import CreditConfig
from reeltag.graph.incidence import incidence_from, incidence_tensors
from reeltag.graph.votes import CreditVotes

from .test_credits import Targets, catalogue, credited, random_films, random_targets, two_circles

BOTH = ("directors", "cast")


def slow_votes(
    films: Catalogue, graph: Catalogue, targets: Targets, config: CreditConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Compute votes and presence film by film, person by person, label by label."""
    graph_films = graph.frame.to_dicts()
    n_labels = targets.shape[1]
    rows, present = [], []
    for film in films.frame.to_dicts():
        row: list[float] = []
        known_anywhere = False
        for role in config.roles:
            total, n_known = [0.0] * n_labels, 0
            for person in credited(film, role):
                others = [
                    number
                    for number, other in enumerate(graph_films)
                    if person in credited(other, role) and not (config.leave_one_out and other["id"] == film["id"])
                ]
                n_known += bool(others)
                for label in range(n_labels):
                    count = sum(float(targets[number, label]) for number in others)
                    total[label] += count / (len(others) + config.prior_strength)
            known_anywhere |= n_known > 0
            row += [(vote / max(n_known, 1)) ** 0.5 for vote in total]
        rows.append(row)
        present.append(known_anywhere)
    return np.array(rows).reshape(len(films), -1), np.array(present, np.bool_)


def dense(block: Block) -> npt.NDArray[np.float32]:
    assert block.is_sparse
    return np.asarray(block.values.toarray())


def votes_of(films: Catalogue, graph: Catalogue, targets: Any, config: CreditConfig | None = None) -> Block:
    return CreditVotes(config).fit(graph, targets).transform(films)


def check(films: Catalogue, graph: Catalogue, targets: Targets, config: CreditConfig | None = None) -> None:
    found = votes_of(films, graph, targets, config)
    expected, present = slow_votes(films, graph, targets, config or CreditConfig())
    np.testing.assert_allclose(dense(found), expected, atol=1e-6)
    np.testing.assert_array_equal(found.present, present)
    assert (found.values.data > 0).all()  # nothing but votes is stored


# ---------------------------------------------------------------- the formula


@pytest.mark.parametrize(
    "config",
    [
        CreditConfig(),
        CreditConfig(roles=("cast",)),
        CreditConfig(roles=("directors",)),
        CreditConfig(roles=("cast", "directors")),
        CreditConfig(prior_strength=0.1),
        CreditConfig(prior_strength=25.0),
        CreditConfig(leave_one_out=False),
        CreditConfig(leave_one_out=False, prior_strength=3.0, roles=("cast",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_votes_of_graph_films_and_others_follow_the_formula(config: CreditConfig, seed: int) -> None:
    graph, targets = random_films(25, seed), random_targets(25, seed=seed)
    check(graph, graph, targets, config)
    check(random_films(12, seed + 50, n_people=20, prefix="new"), graph, targets, config)  # some people are unknown


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_any_graph_follows_the_formula(n: int, n_people: int, n_labels: int, leave_one_out: bool, seed: int) -> None:
    graph, targets = random_films(n, seed, n_people), random_targets(n, n_labels, seed)
    check(graph, graph, targets, CreditConfig(leave_one_out=leave_one_out))


def test_one_film_by_hand() -> None:
    graph = catalogue(
        {
            "a": {"directors": ["Mann"], "cast": ["Pacino", "Venora"]},
            "b": {"directors": ["Mann"], "cast": ["Pacino"]},
            "c": {"directors": ["Mann"], "cast": ["Pacino", "Keaton"]},
            "d": {"cast": ["Keaton"]},
        }
    )
    targets = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]], np.float32)
    found = votes_of(graph, graph, targets)
    assert found.values.shape == (4, 6)
    # a: Mann and Pacino have b and c, Venora has no other film and does not count
    third = (1 / 3) ** 0.5
    np.testing.assert_allclose(dense(found)[0], [third, third, 0, third, third, 0], rtol=1e-6)
    # c, its cast: Pacino has a and b, 2 / 3 for label 0 and 1 / 3 for label 2; Keaton has d, 1 / 2 for label 1
    expected = [(2 / 3 / 2) ** 0.5, (1 / 2 / 2) ** 0.5, (1 / 3 / 2) ** 0.5]
    np.testing.assert_allclose(dense(found)[2, 3:], expected, rtol=1e-6)
    assert found.present.tolist() == [True] * 4


def test_votes_lie_between_0_and_1_and_grow_with_the_films_that_agree() -> None:
    votes = []
    for n in range(1, 30):
        graph = catalogue({f"f{number}": {"directors": ["d"]} for number in range(n)})
        asked = catalogue({"n": {"directors": ["d"]}})
        votes.append(dense(votes_of(asked, graph, np.ones((n, 1), np.float32)))[0, 0])
    assert votes == sorted(votes)
    assert 0 < votes[0] < votes[-1] < 1


def test_sparse_targets_say_what_dense_ones_say() -> None:
    graph, targets = random_films(30), random_targets(30)
    found = votes_of(graph, graph, targets)
    for kind in (sp.csr_matrix, sp.csc_matrix, sp.coo_matrix):
        again = votes_of(graph, graph, kind(targets))
        np.testing.assert_array_equal(dense(again), dense(found))
        np.testing.assert_array_equal(again.present, found.present)


def test_targets_are_left_as_they_were_and_zeros_stored_among_them_are_no_labels(tmp_path: Path) -> None:
    graph, targets = random_films(30), random_targets(30)
    stored = sp.csr_matrix(np.ones_like(targets), dtype=np.float64)
    stored.data[:] = targets.ravel()
    votes = CreditVotes().fit(graph, stored)
    votes.save(tmp_path)
    assert stored.nnz == targets.size
    for one in (votes, CreditVotes.load(tmp_path)):
        np.testing.assert_array_equal(dense(one.transform(graph)), dense(votes_of(graph, graph, targets)))


# ---------------------------------------------------------------- the leak


def other_labels(targets: Targets, row: int, seed: int) -> Targets:
    """Return targets with other labels of one film."""
    changed = targets.copy()
    changed[row] = np.random.default_rng(seed).integers(0, 2, targets.shape[1])
    return changed


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 14),
    st.integers(1, 5),
    st.sampled_from([1e-6, 0.3, 1.0, 7.7, 1e6]),
    st.integers(0, 2**31),
)
def test_labels_of_a_film_change_nothing_of_its_own_votes(n: int, n_people: int, prior: float, seed: int) -> None:
    graph, targets = random_films(n, seed, n_people), random_targets(n, 3, seed)
    config = CreditConfig(prior_strength=prior)
    before = votes_of(graph, graph, targets, config)
    row = seed % n
    for change in (other_labels(targets, row, seed), zeros_at(targets, row), ones_at(targets, row)):
        after = votes_of(graph.take([row]), graph, change, config)
        np.testing.assert_array_equal(dense(after)[0], dense(before)[row])  # bit for bit
        assert stored_columns(after, 0) == stored_columns(before, row)  # nor is a zero stored where a label was
        assert after.present[0] == before.present[row]


def zeros_at(targets: Targets, row: int) -> Targets:
    changed = targets.copy()
    changed[row] = 0
    return changed


def ones_at(targets: Targets, row: int) -> Targets:
    changed = targets.copy()
    changed[row] = 1
    return changed


def stored_columns(block: Block, row: int) -> list[int]:
    return sorted(block.values[row].indices.tolist())


def test_labels_of_prolific_people_leave_no_rounding_behind() -> None:
    rng = np.random.default_rng(3)
    n = 400
    films = {f"f{row}": {"cast": [f"p{person}" for person in rng.choice(60, 17, replace=False)]} for row in range(n)}
    graph = catalogue(films)
    for prior in (1.0, 0.7, 13.1):
        config = CreditConfig(prior_strength=prior)
        without = votes_of(graph, graph, np.zeros((n, 1), np.float32), config)
        assert without.values.nnz == 0
        alone = np.eye(n, dtype=np.float32)  # every film has a label of its own, which nobody else may tell it
        found = votes_of(graph, graph, sp.csr_matrix(alone), config)
        votes = dense(found)[:, n:]
        assert (np.diag(votes) == 0).all()
        assert found.present.all()
        others = np.array([[len(set(a["cast"]) & set(b["cast"])) > 0 for b in films.values()] for a in films.values()])
        np.testing.assert_array_equal(votes > 0, others & ~np.eye(n, dtype=np.bool_))


def test_a_film_whose_people_have_no_other_film_is_absent_and_its_row_is_empty() -> None:
    rng = np.random.default_rng(0)
    for seed in range(15):
        crowd = {f"f{row}": {"cast": [f"p{p}" for p in rng.choice(6, 3)], "directors": ["d"]} for row in range(8)}
        alone = {"lone": {"directors": ["x"], "cast": ["y", "z", "x"]}}
        graph = catalogue(crowd | alone)
        targets = (rng.random((9, 5)) < 0.5).astype(np.float32)
        targets[8] = 1
        found = votes_of(graph, graph, targets, CreditConfig(prior_strength=float(rng.uniform(0.01, 9))))
        assert not found.present[8], seed
        assert found.values[8].nnz == 0
        assert found.present[:8].all()


def test_the_others_do_hear_of_a_changed_label() -> None:
    graph, targets = two_circles()
    targets[0], targets[10] = [1, 0, 0], [0, 1, 1]
    swapped = targets.copy()
    swapped[[0, 10]] = targets[[10, 0]]
    before, after = (dense(votes_of(graph, graph, labels)) for labels in (targets, swapped))
    np.testing.assert_array_equal(after[[0, 10]], before[[0, 10]])
    partners = [row for row in range(1, 10) if np.abs(after[row] - before[row]).max() > 0.01]
    assert len(partners) >= 5


def test_in_sample_votes_do_contain_the_own_labels() -> None:
    graph, targets = two_circles()
    config = CreditConfig(leave_one_out=False)
    changed = targets.copy()
    changed[0] = 1 - targets[0]
    before, after = (dense(votes_of(graph, graph, labels, config))[0] for labels in (targets, changed))
    assert np.abs(after - before).max() > 0.1


def test_a_training_film_has_the_votes_it_would_have_without_itself() -> None:
    graph, targets = random_films(40), random_targets(40)
    whole = votes_of(graph, graph, targets)
    for row in range(8):
        rest = np.delete(np.arange(40), row)
        apart = votes_of(graph.take([row]), graph.take(rest), targets[rest])
        np.testing.assert_array_equal(dense(whole)[row], dense(apart)[0])
        assert whole.present[row] == apart.present[0]


def test_shuffled_labels_cannot_be_learned_from_votes() -> None:
    rng = np.random.default_rng(0)
    graph = random_films(400, n_people=150)
    targets = (rng.random((400, 1)) < 0.4).astype(np.float32)
    own = {}
    for leave_one_out in (True, False):
        values = dense(votes_of(graph, graph, targets, CreditConfig(leave_one_out=leave_one_out)))
        own[leave_one_out] = float(np.corrcoef(values[:, 1], targets[:, 0])[0, 1])  # of the cast
    assert own[False] > 0.2
    assert abs(own[True]) < 0.1


def test_a_film_outside_the_graph_hears_all_of_it() -> None:
    graph, targets = random_films(30), random_targets(30)
    strangers = Catalogue.from_frame(graph.frame.with_columns(id="other-" + pl.col("id")))
    outside = votes_of(strangers, graph, targets)
    in_sample = votes_of(graph, graph, targets, CreditConfig(leave_one_out=False))
    np.testing.assert_array_equal(dense(outside), dense(in_sample))


def test_a_graph_film_with_new_credits_is_left_out_where_it_was_credited_only() -> None:
    graph = catalogue({"a": {"cast": ["x", "y"]}, "b": {"cast": ["x", "z"]}, "c": {"cast": ["z"]}})
    targets = np.array([[1, 1], [0, 1], [1, 0]], np.float32)
    now = catalogue({"a": {"cast": ["x", "z"]}})  # z joined after the graph was built
    # x has b alone: 0 / 2 and 1 / 2; z has b and c: 1 / 3 and 1 / 3
    expected = [(1 / 3 / 2) ** 0.5, ((1 / 2 + 1 / 3) / 2) ** 0.5]
    np.testing.assert_allclose(dense(votes_of(now, graph, targets))[0, 2:], expected, rtol=1e-6)


def test_films_of_the_graph_among_others_are_still_left_out() -> None:
    graph, targets = random_films(30), random_targets(30)
    votes = CreditVotes().fit(graph, targets)
    whole = votes.transform(graph)
    both = Catalogue.from_frame(
        pl.concat([random_films(5, 9, prefix="new").frame, graph.frame.reverse()], how="diagonal")
    )
    found = votes.transform(both)
    np.testing.assert_array_equal(dense(found)[5:], dense(whole)[::-1])
    np.testing.assert_array_equal(found.present[5:], whole.present[::-1])


def test_a_film_alone_has_the_votes_it_has_among_others() -> None:
    graph, targets = random_films(25), random_targets(25)
    votes = CreditVotes().fit(graph, targets)
    whole = dense(votes.transform(graph))
    for row in range(25):
        np.testing.assert_array_equal(dense(votes.transform(graph.take([row])))[0], whole[row])


# ---------------------------------------------------------------- who is who


def test_unknown_people_do_not_count() -> None:
    graph, targets = random_films(30), random_targets(30)
    votes = CreditVotes().fit(graph, targets)
    plain = catalogue({"n": {"directors": ["p1"], "cast": ["p2", "p3"]}})
    more = catalogue({"n": {"directors": ["p1", "nobody"], "cast": ["p2", "stranger", "p3"]}})
    np.testing.assert_array_equal(dense(votes.transform(more)), dense(votes.transform(plain)))
    none = votes.transform(catalogue({"n": {"directors": ["nobody"], "cast": ["stranger"]}}))
    assert not none.present.any()
    assert none.values.shape == (1, 6)
    assert none.values.nnz == 0


def test_directing_and_acting_are_apart() -> None:
    graph = catalogue({"a": {"directors": ["Eastwood"], "cast": ["Hackman"]}, "b": {"cast": ["Eastwood"]}})
    targets = np.array([[1, 0], [0, 1]], np.float32)
    half = 0.5**0.5
    for film, expected in (
        ({"directors": ["Eastwood"]}, [half, 0, 0, 0]),
        ({"cast": ["Eastwood"]}, [0, 0, 0, half]),
        ({"directors": ["Eastwood"], "cast": ["Eastwood"]}, [half, 0, 0, half]),
    ):
        np.testing.assert_allclose(dense(votes_of(catalogue({"n": film}), graph, targets))[0], expected, rtol=1e-6)
    found = votes_of(graph, graph, targets)  # Eastwood directs one film and plays in another: no other film in a role
    assert found.present.tolist() == [False, False]


def test_one_role_is_enough_for_a_film_to_be_present() -> None:
    graph = catalogue({"a": {"directors": ["d"], "cast": ["x"]}, "b": {"directors": ["d"], "cast": ["y"]}})
    found = votes_of(graph, graph, np.array([[1], [0]], np.float32))
    assert found.present.tolist() == [True, True]
    np.testing.assert_allclose(dense(found), [[0, 0], [0.5**0.5, 0]], rtol=1e-6)


def test_a_person_credited_twice_in_a_role_is_one_person() -> None:
    once = {"a": {"cast": ["x", "y"]}, "b": {"cast": ["x"]}, "c": {"cast": ["y"]}}
    twice = {"a": {"cast": ["x", "y", "x"]}, "b": {"cast": ["x", "x"]}, "c": {"cast": ["y"]}}
    targets = random_targets(3, seed=4)
    found = votes_of(catalogue(twice), catalogue(twice), targets)
    np.testing.assert_array_equal(dense(found), dense(votes_of(catalogue(once), catalogue(once), targets)))
    check(catalogue(twice), catalogue(twice), targets)


def test_ids_tell_people_of_one_name_apart_and_join_those_of_two() -> None:
    films: Mapping[str, Any] = {
        "a": {"directors": ["Steve McQueen"], "director_ids": ["nm1"]},
        "b": {"directors": ["Steve McQueen"], "director_ids": ["nm2"]},
        "c": {"directors": ["S. McQueen"], "director_ids": ["nm1"]},
        "d": {"directors": ["Steve McQueen"], "director_ids": [None]},
    }
    graph, targets = catalogue(films), np.eye(4, dtype=np.float32)
    check(graph, graph, targets)
    assert votes_of(graph, graph, targets).present.tolist() == [True, False, True, False]


# ---------------------------------------------------------------- empty cases


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_graphs_without_anybody(leave_one_out: bool) -> None:
    config = CreditConfig(leave_one_out=leave_one_out)
    asked = catalogue({"n": {"directors": ["d"], "cast": ["x"]}, "m": {"cast": ["x"]}, "o": {}})
    nobody = catalogue({"a": {}, "b": {}})
    in_one_role = catalogue({"a": {"directors": ["d"]}, "b": {"directors": ["d"], "cast": []}, "c": {}})
    for graph in (nobody, in_one_role):
        targets = np.ones((len(graph), 2), np.float32)
        check(graph, graph, targets, config)
        check(asked, graph, targets, config)


def test_films_without_credits_are_absent() -> None:
    graph, targets = random_films(20), random_targets(20)
    films = catalogue({"n": {"directors": None, "cast": []}, "m": {"cast": ["p1"]}, "o": {}})
    check(films, graph, targets)
    assert votes_of(films, graph, targets).present.tolist() == [False, True, False]


def test_people_whose_other_films_have_no_label_are_known_and_silent() -> None:
    graph = catalogue({"a": {"cast": ["x"]}, "b": {"cast": ["x"]}})
    found = votes_of(graph, graph, np.zeros((2, 3), np.float32))
    assert found.present.tolist() == [True, True]
    assert found.values.nnz == 0


def test_no_films_and_no_labels() -> None:
    graph, targets = random_films(20), random_targets(20)
    found = votes_of(graph.take([]), graph, targets)
    assert found.values.shape == (0, 6)
    empty = votes_of(graph, graph.take([]), targets[:0])
    assert empty.values.shape == (20, 6)
    assert not empty.present.any()
    none = votes_of(graph, graph, np.zeros((20, 0), np.float32))
    assert none.values.shape == (20, 0)
    np.testing.assert_array_equal(none.present, votes_of(graph, graph, targets).present)


# ---------------------------------------------------------------- refit, storage, refusals


def test_type_and_film_ids() -> None:
    graph, targets = random_films(10), random_targets(10)
    votes = CreditVotes().fit(graph, targets)
    assert votes.film_ids == graph.ids
    assert votes.transform(graph).values.dtype == np.float32


def test_refit_forgets() -> None:
    one, two = random_films(40), random_films(20, seed=5, n_people=30, prefix="u")
    again = CreditVotes().fit(one, random_targets(40)).fit(two, random_targets(20, 2))
    for films in (one, two):
        np.testing.assert_array_equal(dense(again.transform(films)), dense(votes_of(films, two, random_targets(20, 2))))


@pytest.mark.parametrize(
    "config", [CreditConfig(), CreditConfig(roles=("cast",), prior_strength=3, leave_one_out=False)], ids=str
)
def test_saved_and_loaded_is_equal(config: CreditConfig, tmp_path: Path) -> None:
    graph, targets = random_films(40), random_targets(40)
    votes = CreditVotes(config).fit(graph, sp.csr_matrix(targets))
    votes.save(tmp_path / "deep" / "votes")
    loaded = CreditVotes.load(tmp_path / "deep" / "votes")
    assert loaded.config == config
    assert loaded.film_ids == votes.film_ids
    for films in (graph, random_films(20, seed=9, n_people=30, prefix="new")):
        np.testing.assert_array_equal(dense(loaded.transform(films)), dense(votes.transform(films)))
        np.testing.assert_array_equal(loaded.transform(films).present, votes.transform(films).present)


@pytest.mark.parametrize("films", [{}, {"a": {}}, {"a": {"directors": ["Zoë 🎬"]}}], ids=["none", "bare", "one"])
def test_small_graphs_are_saved_too(films: dict[str, Any], tmp_path: Path) -> None:
    graph, targets = catalogue(films), np.ones((len(films), 2), np.float32)
    votes = CreditVotes().fit(graph, targets)
    votes.save(tmp_path)
    later = catalogue({"n": {"directors": ["Zoë 🎬"], "cast": ["x"]}})
    loaded = CreditVotes.load(tmp_path)
    np.testing.assert_array_equal(dense(loaded.transform(later)), dense(votes.transform(later)))


def test_errors(tmp_path: Path) -> None:
    graph, targets = random_films(10), random_targets(10)
    for rows in (targets[:9], sp.csr_matrix(targets[:9])):
        with pytest.raises(FeatureError, match="votes need one row of targets per film; got 9 for 10"):
            CreditVotes().fit(graph, rows)
    with pytest.raises(NotFittedError, match="CreditVotes is used before fit"):
        CreditVotes().transform(graph)
    with pytest.raises(NotFittedError, match="CreditVotes is used before fit"):
        CreditVotes().save(tmp_path / "votes")
    assert not (tmp_path / "votes").exists()


# ---------------------------------------------------------------- incidence


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**31))
def test_incidence_matrices_survive_as_tensors(n: int, m: int, seed: int) -> None:
    matrix = sp.csr_matrix((np.random.default_rng(seed).random((n, m)) < 0.4).astype(np.float64))
    tensors = incidence_tensors("cast", matrix)
    assert set(tensors) == {"cast.indptr", "cast.indices", "cast.shape"}
    assert [tensor.dtype for tensor in tensors.values()] == [np.int64, np.int32, np.int64]
    back = incidence_from(tensors | incidence_tensors("other", sp.csr_matrix((1, 1))), "cast")
    assert back.dtype == np.float32
    assert back.shape == (n, m)
    np.testing.assert_array_equal(back.toarray(), matrix.toarray())
