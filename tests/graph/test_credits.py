"""The credits graph: its formula by loops over films and people, and that no film sees its own labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError, FeatureError, NotFittedError
from reeltag.graph.credits import ROLES, CreditConfig, CreditProfile

Targets = npt.NDArray[np.float32]
People = Sequence[str | None] | None
ID_FIELDS = {"directors": "director_ids", "cast": "cast_ids"}


def catalogue(films: Mapping[str, Mapping[str, People]]) -> Catalogue:
    """Build a catalogue from {film id: {field: people}}."""
    columns: dict[str, Any] = {"id": pl.Series(list(films), dtype=pl.String)}
    for field in ("directors", "director_ids", "cast", "cast_ids"):
        if any(field in film for film in films.values()):
            lists = [film.get(field) for film in films.values()]
            columns[field] = pl.Series(lists, dtype=pl.List(pl.String))
    return Catalogue.from_frame(pl.DataFrame(columns))


def random_films(n: int, seed: int = 0, n_people: int = 12, prefix: str = "tt") -> Catalogue:
    rng = np.random.default_rng(seed)

    def people(most: int) -> list[str] | None:
        drawn = rng.integers(n_people, size=rng.integers(0, most + 1))
        return [f"p{person}" for person in dict.fromkeys(drawn.tolist())] or None

    return catalogue({f"{prefix}{row}": {"directors": people(2), "cast": people(5)} for row in range(n)})


def random_targets(n: int, n_labels: int = 3, seed: int = 0) -> Targets:
    return (np.random.default_rng(seed + 99).random((n, n_labels)) < (0.5, 0.3, 0.05)[:n_labels]).astype(np.float32)


# ---------------------------------------------------------------- the formula, slowly


def credited(film: Mapping[str, Any], role: str) -> list[str]:
    """Return the people of a role, each once: by id where there is one, else by name."""
    names, ids = film.get(role) or [], film.get(ID_FIELDS[role]) or []
    ids = list(ids) + [None] * (len(names) - len(ids))
    keys = [f"id:{person}" if person else name for name, person in zip(names, ids, strict=True)]
    return list(dict.fromkeys(key for key in keys if key is not None))


def slow_profile(
    films: Catalogue, graph: Catalogue, targets: Targets, config: CreditConfig | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Compute profiles and presence film by film, person by person, label by label."""
    config = config or CreditConfig()
    a, n_labels = config.prior_strength, targets.shape[1]
    graph_films = graph.frame.to_dicts()
    prior = [(sum(row[label] for row in targets) + 0.5) / (len(graph_films) + 1) for label in range(n_labels)]
    rows, present = [], []
    for film in films.frame.to_dicts():
        row: list[float] = []
        known_anywhere = False
        for role in config.roles:
            total, n_known, fame = [0.0] * n_labels, 0, 0.0
            for person in credited(film, role):
                others = [
                    number
                    for number, other in enumerate(graph_films)
                    if person in credited(other, role) and not (config.leave_one_out and other["id"] == film["id"])
                ]
                n_films = len(others)
                n_known += n_films > 0
                fame += math.log(1 + n_films)
                for label in range(n_labels):
                    count = sum(float(targets[number, label]) for number in others)
                    total[label] += math.log((count + a * prior[label]) / (n_films + a) / prior[label])
            known_anywhere |= n_known > 0
            row += total
            row += [value / max(n_known, 1) for value in total]
            row += [n_known, math.log(1 + n_known), fame, fame / max(n_known, 1)]
        rows.append(row)
        present.append(known_anywhere)
    return np.array(rows).reshape(len(films), -1), np.array(present, np.bool_)


def check(films: Catalogue, graph: Catalogue, targets: Targets, config: CreditConfig | None = None) -> None:
    found = CreditProfile(config).fit(graph, targets).transform(films)
    expected, present = slow_profile(films, graph, targets, config)
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    np.testing.assert_array_equal(found.present, present)


@pytest.mark.parametrize(
    "config",
    [
        CreditConfig(),
        CreditConfig(roles=("cast",)),
        CreditConfig(roles=("cast", "directors")),
        CreditConfig(prior_strength=0.1),
        CreditConfig(prior_strength=25.0),
        CreditConfig(leave_one_out=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_profiles_of_graph_films_and_others_follow_the_formula(config: CreditConfig, seed: int) -> None:
    graph, targets = random_films(40, seed), random_targets(40, seed=seed)
    check(graph, graph, targets, config)
    check(random_films(15, seed + 50, n_people=20, prefix="new"), graph, targets, config)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**31))
def test_any_graph_follows_the_formula(n: int, n_people: int, n_labels: int, seed: int) -> None:
    graph, targets = random_films(n, seed, n_people), random_targets(n, n_labels, seed)
    check(graph, graph, targets)


def test_one_film_by_hand() -> None:
    graph = catalogue({"a": {"directors": ["Mann"]}, "b": {"directors": ["Mann"]}, "c": {"directors": ["Hawks"]}})
    targets = np.array([[1], [1], [0]], np.float32)
    prior = 2.5 / 4
    found = CreditProfile(CreditConfig(roles=("directors",))).fit(graph, targets).transform(graph)
    ratio = math.log((1 + prior) / 2 / prior)  # one other film of Mann, which has the label
    np.testing.assert_allclose(found.values[0], [ratio, ratio, 1, math.log(2), math.log(2), math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(found.values[2], np.zeros(6))  # Hawks made nothing else
    np.testing.assert_array_equal(found.present, [True, True, False])


# ---------------------------------------------------------------- the leak


def two_circles() -> tuple[Catalogue, Targets]:
    """Two circles of people who never meet, ten films each."""
    rng = np.random.default_rng(0)
    films = {}
    for circle in "xy":
        for number in range(10):
            cast = [f"{circle}{person}" for person in rng.choice(5, size=3, replace=False)]
            films[f"{circle}{number}"] = {"directors": [f"{circle}{rng.integers(3)}"], "cast": cast}
    return catalogue(films), random_targets(20)


def test_own_labels_do_not_enter_the_own_profile() -> None:
    graph, targets = two_circles()
    targets[0], targets[10] = [1, 0, 0], [0, 1, 1]
    swapped = targets.copy()
    swapped[[0, 10]] = targets[[10, 0]]  # how often a label occurs, and so the prior, stays as it is
    before, after = (CreditProfile().fit(graph, labels).transform(graph).values for labels in (targets, swapped))
    np.testing.assert_array_equal(after[[0, 10]], before[[0, 10]])
    partners = [row for row in range(1, 10) if np.abs(after[row] - before[row]).max() > 0.01]
    assert len(partners) >= 5  # the others of the circle see the change


def test_in_sample_profiles_do_contain_the_own_labels() -> None:
    graph, targets = two_circles()
    targets[0], targets[10] = [1, 0, 0], [0, 1, 1]
    swapped = targets.copy()
    swapped[[0, 10]] = targets[[10, 0]]
    config = CreditConfig(leave_one_out=False)
    before, after = (CreditProfile(config).fit(graph, labels).transform(graph).values for labels in (targets, swapped))
    assert np.abs(after[[0, 10]] - before[[0, 10]]).max() > 0.5


def test_through_the_prior_own_labels_move_all_films_alike_and_little() -> None:
    graph, targets = two_circles()
    targets[0, 0] = 0
    changed = targets.copy()
    changed[0, 0] = 1
    one, two = CreditProfile().fit(graph, targets), CreditProfile().fit(graph, changed)
    before, after = one.transform(graph).values, two.transform(graph).values
    count = targets[:, 0].sum()
    largest = math.log((count + 1.5) / (count + 0.5))  # of the prior's logarithm, per person
    moved = np.abs(after[0] - before[0])
    n_people = before[0, [6, 16]].sum()
    assert 0 < moved[[0, 10]].sum() <= n_people * largest + 1e-6
    others = [column for column in range(one.dim) if column not in (0, 3, 10, 13)]  # sum and mean of label 0, twice
    assert (moved[others] == 0).all()
    # a film of the other circle, which has nothing to do with the change, moves within the same bound
    stranger = np.abs(after[10:] - before[10:])
    assert 0 < stranger[:, [3, 13]].max() <= largest + 1e-6
    assert (stranger[:, others] == 0).all()


def test_a_training_film_has_the_profile_it_would_have_without_itself() -> None:
    graph, targets = random_films(40), random_targets(40)
    whole = CreditProfile().fit(graph, targets)
    for row in range(8):
        rest = np.delete(np.arange(40), row)
        apart = CreditProfile().fit(graph.take(rest), targets[rest])
        apart._prior = whole._prior  # the one thing that all films share
        film = graph.take([row])
        found, expected = whole.transform(film), apart.transform(film)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
        np.testing.assert_array_equal(found.present, expected.present)


def test_shuffled_labels_cannot_be_learned_from_profiles() -> None:
    rng = np.random.default_rng(0)
    graph = random_films(400, n_people=150)
    targets = (rng.random((400, 1)) < 0.4).astype(np.float32)
    own = {}
    for leave_one_out in (True, False):
        values = CreditProfile(CreditConfig(leave_one_out=leave_one_out)).fit(graph, targets).transform(graph).values
        own[leave_one_out] = float(np.corrcoef(values[:, 7], targets[:, 0])[0, 1])  # mean over the cast
    assert own[False] > 0.4
    assert abs(own[True]) < 0.1


def test_a_film_outside_the_graph_sees_all_of_it() -> None:
    graph, targets = random_films(30), random_targets(30)
    frame = graph.frame.with_columns(id="other-" + pl.col("id"))
    strangers = Catalogue.from_frame(frame)
    outside = CreditProfile().fit(graph, targets).transform(strangers)
    in_sample = CreditProfile(CreditConfig(leave_one_out=False)).fit(graph, targets).transform(graph)
    np.testing.assert_array_equal(outside.values, in_sample.values)
    assert np.abs(outside.values - CreditProfile().fit(graph, targets).transform(graph).values).max() > 0.1


def test_a_graph_film_with_new_credits_is_left_out_where_it_was_credited_only() -> None:
    graph = catalogue({"a": {"cast": ["x", "y"]}, "b": {"cast": ["x", "z"]}, "c": {"cast": ["z"]}})
    targets = np.array([[1.0], [0.0], [1.0]], np.float32)
    profile = CreditProfile().fit(graph, targets)
    now = catalogue({"a": {"cast": ["x", "z"]}})  # z joined after the graph was built
    x, z = profile.relations(now, 0)
    assert (x.person, x.n_films, x.counts.tolist()) == ("x", 1, [0.0])
    assert (z.person, z.n_films, z.counts.tolist()) == ("z", 2, [1.0])


# ---------------------------------------------------------------- who is who


def test_unknown_people_add_nothing() -> None:
    graph, targets = random_films(30), random_targets(30)
    profile = CreditProfile().fit(graph, targets)
    plain = catalogue({"n": {"directors": ["p1"], "cast": ["p2", "p3"]}})
    more = catalogue({"n": {"directors": ["p1", "nobody"], "cast": ["p2", "stranger", "p3"]}})
    np.testing.assert_array_equal(profile.transform(more).values, profile.transform(plain).values)
    none = profile.transform(catalogue({"n": {"directors": ["nobody"], "cast": ["stranger"]}}))
    assert not none.present.any()
    assert (none.values == 0).all()


def test_directing_and_acting_are_apart() -> None:
    graph = catalogue({"a": {"directors": ["Eastwood"], "cast": ["Hackman"]}, "b": {"cast": ["Eastwood"]}})
    targets = np.array([[1, 0], [0, 1]], np.float32)
    check(graph, graph, targets)
    profile = CreditProfile().fit(graph, targets)
    directs = profile.transform(catalogue({"n": {"directors": ["Eastwood"]}})).values[0]
    acts = profile.transform(catalogue({"n": {"cast": ["Eastwood"]}})).values[0]
    half = profile.dim // 2
    assert directs[0] > 0 > directs[1]
    assert (directs[half:] == 0).all()
    assert acts[half + 1] > 0 > acts[half]
    assert (acts[:half] == 0).all()
    both = profile.transform(catalogue({"n": {"directors": ["Eastwood"], "cast": ["Eastwood"]}})).values[0]
    np.testing.assert_array_equal(both, directs + acts)


def test_a_person_credited_twice_in_a_role_is_one_person() -> None:
    once = {"a": {"cast": ["x", "y"]}, "b": {"cast": ["x"]}, "c": {"cast": ["y"]}}
    twice = {"a": {"cast": ["x", "y", "x"]}, "b": {"cast": ["x", "x"]}, "c": {"cast": ["y"]}}
    targets = random_targets(3)
    found = CreditProfile().fit(catalogue(twice), targets)
    expected = CreditProfile().fit(catalogue(once), targets)
    np.testing.assert_array_equal(found.transform(catalogue(twice)).values, expected.transform(catalogue(once)).values)
    assert [r.person for r in found.relations(catalogue(twice), 0)] == ["x", "y"]
    assert [r.n_films for r in found.relations(catalogue(twice), 0)] == [1, 1]


def test_ids_tell_people_of_one_name_apart_and_join_those_of_two() -> None:
    graph = catalogue(
        {
            "a": {"directors": ["Steve McQueen"], "director_ids": ["nm1"]},
            "b": {"directors": ["Steve McQueen"], "director_ids": ["nm2"]},
            "c": {"directors": ["S. McQueen"], "director_ids": ["nm1"]},
            "d": {"directors": ["Steve McQueen"], "director_ids": [None]},
        }
    )
    targets = random_targets(4)
    check(graph, graph, targets)
    profile = CreditProfile().fit(graph, targets)
    keys = [profile.relations(graph, row)[0] for row in range(4)]
    assert [key.person for key in keys] == ["id:nm1", "id:nm2", "id:nm1", "Steve McQueen"]
    assert [key.n_films for key in keys] == [1, 0, 1, 0]


def test_a_catalogue_with_ids_does_not_meet_a_graph_of_names() -> None:
    graph, targets = catalogue({"a": {"cast": ["x"]}}), np.ones((1, 1), np.float32)
    named, numbered = catalogue({"n": {"cast": ["x"]}}), catalogue({"n": {"cast": ["x"], "cast_ids": ["nm1"]}})
    profile = CreditProfile().fit(graph, targets)
    assert profile.transform(named).present.all()
    assert not profile.transform(numbered).present.any()


# ---------------------------------------------------------------- empty cases


def test_graph_without_anybody_in_a_role() -> None:
    graph = catalogue({"a": {"directors": ["d"]}, "b": {"directors": ["d"], "cast": []}, "c": {"directors": None}})
    targets = random_targets(3)
    check(graph, graph, targets)
    check(catalogue({"n": {"directors": ["d"], "cast": ["x"]}, "m": {"cast": ["x"]}}), graph, targets)


def test_graph_without_any_people() -> None:
    graph, targets = catalogue({"a": {}, "b": {}}), random_targets(2)
    check(graph, graph, targets)
    check(catalogue({"n": {"directors": ["d"], "cast": ["x"]}}), graph, targets)
    found = CreditProfile().fit(graph, targets).transform(graph)
    assert found.values.shape == (2, 2 * (2 * 3 + 4))
    assert not found.present.any()


def test_films_without_credits_are_absent() -> None:
    graph, targets = random_films(20), random_targets(20)
    films = catalogue({"n": {"directors": None, "cast": []}, "m": {"cast": ["p1"]}, "o": {}})
    check(films, graph, targets)
    assert CreditProfile().fit(graph, targets).transform(films).present.tolist() == [False, True, False]


def test_no_films() -> None:
    graph, targets = random_films(20), random_targets(20)
    profile = CreditProfile().fit(graph, targets)
    found = profile.transform(graph.take([]))
    assert found.values.shape == (0, profile.dim)
    empty = CreditProfile().fit(graph.take([]), targets[:0]).transform(graph)
    assert empty.values.shape == (20, profile.dim)
    assert not empty.present.any()
    assert (empty.values == 0).all()


@pytest.mark.parametrize("constant", [0, 1])
def test_labels_of_one_class_stay_finite(constant: int) -> None:
    graph = random_films(20)
    targets = np.full((20, 2), constant, np.float32)
    check(graph, graph, targets, CreditConfig(prior_strength=1e-6))


# ---------------------------------------------------------------- relations


def test_relations_name_every_person_with_the_counts_of_other_films() -> None:
    graph = catalogue(
        {
            "a": {"directors": ["d"], "cast": ["x", "y"]},
            "b": {"directors": ["d"], "cast": ["x"]},
            "c": {"directors": ["d"], "cast": ["z"]},
        }
    )
    targets = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    profile = CreditProfile().fit(graph, targets)
    found = [(r.role, r.person, r.n_films, r.counts.tolist()) for r in profile.relations(graph, 0)]
    assert found == [("directors", "d", 2, [1, 2]), ("cast", "x", 1, [1, 1]), ("cast", "y", 0, [0, 0])]
    stranger = catalogue({"b": {}, "n": {"directors": ["nobody"], "cast": ["x"]}})
    found = [(r.role, r.person, r.n_films, r.counts.tolist()) for r in profile.relations(stranger, 1)]
    assert found == [("directors", "nobody", 0, [0, 0]), ("cast", "x", 2, [2, 1])]
    assert profile.relations(stranger, 0) == []


def test_relations_add_up_to_the_profile() -> None:
    graph, targets = random_films(30), random_targets(30)
    profile = CreditProfile().fit(graph, targets)
    values = profile.transform(graph).values
    for row in range(30):
        start = 0
        for role in ROLES:
            people = [r for r in profile.relations(graph, row) if r.role == role]
            assert all(r.counts.dtype == np.float32 for r in people)
            total = sum(
                (np.log((r.counts + profile._prior) / (r.n_films + 1) / profile._prior) for r in people), np.zeros(3)
            )
            np.testing.assert_allclose(values[row, start : start + 3], total, atol=1e-5)
            assert values[row, start + 6] == sum(r.n_films > 0 for r in people)
            start += 10


# ---------------------------------------------------------------- rows, chunks, refit, storage


def test_a_film_alone_has_the_profile_it_has_among_others() -> None:
    graph, targets = random_films(30), random_targets(30)
    profile = CreditProfile().fit(graph, targets)
    whole = profile.transform(graph)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_array_equal(profile.transform(graph.take(order)).values, whole.values[order])
    for row in range(30):
        np.testing.assert_array_equal(profile.transform(graph.take([row])).values[0], whole.values[row])


@pytest.mark.parametrize("cells", [1, 20, 100, 10_000])
def test_parts_give_what_the_whole_gives(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, targets = random_films(60), random_targets(60)
    profile = CreditProfile().fit(graph, targets)
    whole = profile.transform(graph)
    calls = []
    original = CreditProfile._profile_rows
    monkeypatch.setattr("reeltag.graph.credits._CELLS_AT_ONCE", cells)
    monkeypatch.setattr(CreditProfile, "_profile_rows", lambda *args: calls.append(1) or original(*args))
    parts = profile.transform(graph)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.present, whole.present)
    assert (len(calls) > 2) == (cells < 10_000)


def test_more_prior_draws_profiles_towards_nothing() -> None:
    graph, targets = random_films(40), random_targets(40)
    sizes = []
    for strength in (1e-3, 1.0, 50.0, 1e6):
        values = CreditProfile(CreditConfig(prior_strength=strength)).fit(graph, targets).transform(graph).values
        sizes.append(np.abs(values[:, [0, 1, 2, 10, 11, 12]]).mean())
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-4


def test_dim_and_type() -> None:
    graph, targets = random_films(10), random_targets(10)
    for roles in (("directors",), ROLES):
        profile = CreditProfile(CreditConfig(roles=roles)).fit(graph, targets)
        found = profile.transform(graph)
        assert found.dim == profile.dim == len(roles) * 10
        assert found.values.dtype == np.float32
    assert profile.film_ids == graph.ids


def test_refit_forgets() -> None:
    one, two = random_films(40), random_films(20, seed=5, n_people=30, prefix="u")
    again = CreditProfile().fit(one, random_targets(40)).fit(two, random_targets(20, 2))
    fresh = CreditProfile().fit(two, random_targets(20, 2))
    for films in (one, two):
        np.testing.assert_array_equal(again.transform(films).values, fresh.transform(films).values)


@pytest.mark.parametrize(
    "config", [CreditConfig(), CreditConfig(roles=("cast",), prior_strength=3, leave_one_out=False)]
)
def test_saved_and_loaded_is_equal(config: CreditConfig, tmp_path: Path) -> None:
    graph, targets = random_films(40), random_targets(40)
    strangers = random_films(20, seed=9, n_people=30, prefix="new")
    profile = CreditProfile(config).fit(graph, targets)
    profile.save(tmp_path / "deep" / "credits")
    loaded = CreditProfile.load(tmp_path / "deep" / "credits")
    assert loaded.config == config
    assert loaded.film_ids == profile.film_ids
    for films in (graph, strangers):
        np.testing.assert_array_equal(loaded.transform(films).values, profile.transform(films).values)
        np.testing.assert_array_equal(loaded.transform(films).present, profile.transform(films).present)
        for one, two in zip(loaded.relations(films, 3), profile.relations(films, 3), strict=True):
            assert (one.role, one.person, one.n_films) == (two.role, two.person, two.n_films)
            np.testing.assert_array_equal(one.counts, two.counts)


@pytest.mark.parametrize("films", [{}, {"a": {}}, {"a": {"directors": ["Zoë 🎬"]}}])
def test_small_graphs_are_saved_too(films: dict[str, dict[str, People]], tmp_path: Path) -> None:
    graph, targets = catalogue(films), np.zeros((len(films), 2), np.float32)
    profile = CreditProfile().fit(graph, targets)
    profile.save(tmp_path)
    loaded = CreditProfile.load(tmp_path)
    later = catalogue({"n": {"directors": ["Zoë 🎬"], "cast": ["x"]}})
    np.testing.assert_array_equal(loaded.transform(later).values, profile.transform(later).values)


# ---------------------------------------------------------------- refusals


def test_errors(tmp_path: Path) -> None:
    graph, targets = random_films(10), random_targets(10)
    with pytest.raises(FeatureError, match="one row of targets per film; got 9 for 10"):
        CreditProfile().fit(graph, targets[:9])
    empty = CreditProfile()
    uses = (
        lambda: empty.dim, lambda: empty.transform(graph), lambda: empty.relations(graph, 0),
        lambda: empty.save(tmp_path),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(NotFittedError, match="CreditProfile is used before fit"):
            use()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"roles": ()}, "at least one role"),
        ({"roles": ("writers",)}, "roles must be one of directors, cast; got 'writers'"),
        ({"roles": ("cast", "cast")}, "every role once"),
        ({"prior_strength": 0.0}, "prior_strength must be between"),
        ({"prior_strength": math.nan}, "prior_strength must be between"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        replace(CreditConfig(), **change)
