"""Features from graph embeddings: no training film sees its own labels in ``links``; both against slow formulas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch

from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, FeatureError, NotFittedError
from reeltag.features import Block
from reeltag.graph import link_credits
from reeltag.graph.credits import ROLES, credited_people
from reeltag.graph.embedding import EmbeddingConfig, GraphEmbedding, train_embedding
from reeltag.graph.link_credits import (
    LinkCreditConfig,
    LinkCredits,
    SumCredits,
    labelled_graph,
    link_scores,
    pool_people,
)
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.trainer import LinkTrainingConfig
from samples import files_of

Targets = npt.NDArray[np.float32]
People = Sequence[str] | None
N_FILMS, N_LABELS, DIM = 40, 3, 4
TRAINING = LinkTrainingConfig(
    epochs=2, batch_size=32, threads=1, device="cpu", negatives=NegativeConfig(count=8, chunk_size=16)
)
TINY = EmbeddingConfig(scorer="rotate", scorer_settings={"dim": DIM}, training=TRAINING)
CONFIG = LinkCreditConfig(folds=3, embedding=TINY)


def catalogue(films: Mapping[str, Mapping[str, People]]) -> Catalogue:
    """Build a catalogue from {film id: {field: people}}."""
    columns: dict[str, Any] = {"id": pl.Series(list(films), dtype=pl.String)}
    for field in ROLES:
        columns[field] = pl.Series([film.get(field) for film in films.values()], dtype=pl.List(pl.String))
    return Catalogue.from_frame(pl.DataFrame(columns), source="films.csv")


@cache
def films(n: int = N_FILMS, prefix: str = "tt", seed: int = 0, n_people: int = 15) -> Catalogue:
    rng = np.random.default_rng(seed)

    def people(most: int) -> list[str] | None:
        drawn = rng.integers(n_people, size=rng.integers(0, most + 1))
        return [f"p{person}" for person in dict.fromkeys(drawn.tolist())] or None

    return catalogue({f"{prefix}{row}": {"directors": people(2), "cast": people(4)} for row in range(n)})


def targets_of(n: int = N_FILMS, seed: int = 0) -> Targets:
    return (np.random.default_rng(seed + 99).random((n, N_LABELS)) < (0.5, 0.4, 0.3)).astype(np.float32)


@cache
def fitted() -> LinkCredits:
    return LinkCredits(CONFIG).fit(films(), targets_of())


def folds_of(credits: LinkCredits) -> npt.NDArray[np.int64]:
    return credits._films["fold"].to_numpy()


@cache
def of_fold(fold: int) -> tuple[GraphEmbedding, frozenset[str]]:
    """Train what the fold's films should read, on the other films alone; return it with the people it knows."""
    rest = np.flatnonzero(folds_of(fitted()) != fold)
    graph = labelled_graph(films().take(rest), targets_of()[rest])
    people = graph.entities.filter(pl.col("kind") == "person")["key"].to_list()
    return train_embedding(graph, TINY), frozenset(people)


def equal(one: Block, other: Block) -> bool:
    return np.array_equal(one.values, other.values) and np.array_equal(one.present, other.present)


# ---------------------------------------------------------------- no film sees its own labels


@pytest.mark.parametrize("fold", range(3))
@pytest.mark.parametrize("change", ["flipped", "shuffled", "none", "all"])
def test_labels_of_a_fold_do_not_reach_its_own_films(fold: int, change: str) -> None:
    inside = folds_of(fitted()) == fold
    other = targets_of()
    other[inside] = {
        "flipped": 1 - other[inside],
        "shuffled": np.roll(other[inside], 1, axis=0),
        "none": np.zeros_like(other[inside]),
        "all": np.ones_like(other[inside]),
    }[change]
    before, after = fitted().transform(films()), LinkCredits(CONFIG).fit(films(), other).transform(films())
    np.testing.assert_array_equal(after.values[inside], before.values[inside])
    np.testing.assert_array_equal(after.present, before.present)
    outside = ~inside & before.present
    assert (after.values[outside] != before.values[outside]).any(axis=1).mean() > 0.9  # the test can fail


def test_the_label_of_one_film_does_not_reach_it() -> None:
    for row in (0, 7, 23):
        other = targets_of()
        other[row] = 1 - other[row]
        after = LinkCredits(CONFIG).fit(films(), other).transform(films())
        np.testing.assert_array_equal(after.values[row], fitted().transform(films()).values[row])
        assert not np.array_equal(after.values, fitted().transform(films()).values)


def test_which_films_share_a_fold_does_not_depend_on_labels() -> None:
    other = LinkCredits(CONFIG).fit(films(), 1 - targets_of())
    np.testing.assert_array_equal(folds_of(other), folds_of(fitted()))
    counts = np.bincount(folds_of(fitted()), minlength=3)
    assert counts.max() - counts.min() <= 1
    another_seed = LinkCredits(CONFIG).fit(films(), targets_of(), seed=1)
    assert not np.array_equal(folds_of(another_seed), folds_of(fitted()))


def with_copies(spelling: str = "Film") -> Catalogue:
    """Return the films, every one titled, then a copy of the first ten under another id and spelling."""
    titled = films().frame.with_columns(title=pl.Series([f"film {row}" for row in range(N_FILMS)]), year=1999)
    copies = titled.head(10).with_columns(
        id="copy of " + pl.col("id"), title=pl.Series([f" {spelling} {row}  " for row in range(10)])
    )
    return Catalogue.from_frame(pl.concat([titled, copies]), source="films.csv")


def test_a_copy_does_not_tell_a_film_its_labels() -> None:
    """A copy has the film's people and labels: what changes on both must reach neither."""
    graph, targets = with_copies("FILM"), np.concatenate([targets_of(), targets_of()[:10]])
    credits = LinkCredits(CONFIG).fit(graph, targets)
    fold = folds_of(credits)
    np.testing.assert_array_equal(fold[N_FILMS:], fold[:10])
    before = credits.transform(graph)
    for row in (0, 3, 9):
        other = targets.copy()
        other[[row, N_FILMS + row]] = 1 - other[[row, N_FILMS + row]]
        after = LinkCredits(CONFIG).fit(graph, other).transform(graph)
        for same in (row, N_FILMS + row):
            np.testing.assert_array_equal(after.values[same], before.values[same])
        assert not np.array_equal(after.values, before.values)
    another = LinkCredits(CONFIG).fit(with_copies("Remake of film"), targets)  # another title: may lie anywhere
    assert (folds_of(another)[N_FILMS:] != folds_of(another)[:10]).any()


def test_one_thread_by_default_so_that_the_seed_decides() -> None:
    embedding = LinkCreditConfig().embedding
    assert embedding.training.threads == 1
    training = replace(embedding.training, epochs=2, device="cpu")
    config = LinkCreditConfig(folds=2, embedding=replace(embedding, training=training))
    for kind in (LinkCredits, SumCredits):
        one, again = (kind(config).fit(films(), targets_of(), seed=5).transform(films()) for _ in range(2))
        assert equal(one, again)


def test_shuffled_labels_cannot_be_learned_from_links() -> None:
    """With labels that nothing predicts the embedding of all films still knows them; what ``links`` reads does not."""
    rng = np.random.default_rng(0)
    graph = films(240, "ss", 3, 300)
    targets = (rng.random((240, 2)) < 0.5).astype(np.float32)
    targets[:, 1] = 1 - targets[:, 0]
    every = NegativeConfig(count=0)
    training = replace(
        TRAINING, epochs=40, batch_size=128, learning_rate=0.5, negatives=every, loss=LinkLossConfig(name="softmax")
    )
    embedding = EmbeddingConfig(scorer="distmult", scorer_settings={"dim": 16}, training=training)
    config = LinkCreditConfig(folds=3, titles=False, embedding=embedding)
    block = LinkCredits(config).fit(graph, targets).transform(graph)
    seen = block.present
    out_of_sample = np.corrcoef(block.values[seen, 5] - block.values[seen, 6], targets[seen, 0])[0, 1]
    whole = train_embedding(labelled_graph(graph, targets, titles=False), embedding)
    rows, keys = credited_people(graph, "cast")
    pooled, _ = pool_people(rows, link_scores(whole, "cast", whole.graph.lookup(keys, "person"), 2), len(graph))
    in_sample = np.corrcoef((pooled[:, 0] - pooled[:, 1])[seen], targets[seen, 0])[0, 1]
    assert in_sample > 0.4
    assert abs(out_of_sample) < 0.15


def test_a_person_known_from_the_film_alone_is_unknown_to_it() -> None:
    only = films().frame.with_columns(cast=pl.Series([["Debut"], *films().lists("cast")[1:]], dtype=pl.List(pl.String)))
    only = only.with_columns(directors=pl.Series([None, *only["directors"].to_list()[1:]], dtype=pl.List(pl.String)))
    graph = Catalogue.from_frame(only)
    credits = LinkCredits(CONFIG).fit(graph, targets_of())
    own = credits.transform(graph.take([0]))
    assert not own.present[0]
    assert (own.values == 0).all()
    later = credits.transform(catalogue({"new": {"cast": ["Debut"]}}))  # two of three embeddings know the debut
    assert later.present[0]
    assert later.values[0, -1] == pytest.approx(math.log(2))
    fold = folds_of(credits)
    scores = []
    for number in sorted({0, 1, 2} - {int(fold[0])}):
        rest = np.flatnonzero(fold != number)
        embedding = train_embedding(labelled_graph(graph.take(rest), targets_of()[rest]), TINY)
        scores.append(slow_scores(embedding, "cast", embedding.graph.find("Debut", "person"), N_LABELS))
    np.testing.assert_allclose(later.values[0, 7 : 7 + N_LABELS], np.mean(scores, axis=0), atol=5e-3)


def test_the_sum_is_in_sample_by_design() -> None:
    other = targets_of()
    other[0] = 1 - other[0]
    before = SumCredits(CONFIG).fit(films(), targets_of()).transform(films())
    after = SumCredits(CONFIG).fit(films(), other).transform(films())
    assert before.present[0]
    assert not np.array_equal(after.values[0], before.values[0])


# ---------------------------------------------------------------- the features, slowly


def slow_scores(embedding: GraphEmbedding, role: str, person: int, n_labels: int) -> list[float]:
    """Log of softmax over the labels of the graph, minus log of their share among the links of the role."""
    graph = embedding.graph
    number = graph.relations["name"].to_list().index({"directors": "d-g", "cast": "c-g"}[role])
    entities = {key: i for i, (key, kind) in enumerate(graph.entities.select("key", "kind").rows()) if kind == "genre"}
    there = [label for label in range(n_labels) if str(label) in entities]
    scores, counts = {}, {}
    for label in there:
        entity = entities[str(label)]
        scores[label] = float(embedding.model.score(*(torch.tensor([i]) for i in (person, number, entity))))
        links = zip(graph.train.relation.tolist(), graph.train.tail.tolist(), strict=True)
        counts[label] = 0.5 + sum(link == (number, entity) for link in links)
    total = math.log(sum(math.exp(score) for score in scores.values()))
    return [
        scores[label] - total - math.log(counts[label] / sum(counts.values())) if label in scores else 0.0
        for label in range(n_labels)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_scores_are_likelihoods_over_the_prior(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.graph.link_credits._QUESTIONS_AT_ONCE", 4)
    embedding, _ = of_fold(0)
    people = embedding.graph.entity_ids("person")
    found = link_scores(embedding, role, people, N_LABELS + 1)  # the last label is on no film
    expected = [slow_scores(embedding, role, int(person), N_LABELS + 1) for person in people]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found[:, -1] == 0).all()
    assert found.dtype == np.float32
    assert link_scores(embedding, role, people[:0], 2).shape == (0, 2)


def test_a_label_that_a_folds_graph_lacks_counts_nothing() -> None:
    targets = targets_of()
    targets[:, 2] = 0
    targets[4, 2] = 1  # on one film only: the graph without its fold has never heard of it
    credits = LinkCredits(CONFIG).fit(films(), targets)
    fold = folds_of(credits)
    values = credits.transform(films()).values
    columns = [2, 2 + N_LABELS, 9, 9 + N_LABELS]  # sum and mean, directors and cast
    assert (values[fold == fold[4]][:, columns] == 0).all()
    assert (values[fold != fold[4]][:, columns] != 0).any()
    assert np.isfinite(values).all()


def slow_features(film: dict[str, Any], fold: int) -> tuple[list[float], bool]:
    row: list[float] = []
    seen = False
    for role in ROLES:
        total, n_known = np.zeros(N_LABELS), 0
        for person in dict.fromkeys(film[role] or []):
            scores = []
            for number in range(CONFIG.folds) if fold < 0 else [fold]:
                embedding, people = of_fold(number)
                if person in people:
                    entity = embedding.graph.find(person, "person")
                    scores.append(np.array(slow_scores(embedding, role, entity, N_LABELS)))
            if scores:
                total += sum(scores) / len(scores)
                n_known += 1
        row += [*total, *(total / max(n_known, 1)), math.log(1 + n_known)]
        seen |= n_known > 0
    return row, seen


def check(found: Block, chosen: Catalogue, folds: Sequence[int]) -> None:
    expected = [slow_features(film, fold) for film, fold in zip(chosen.frame.to_dicts(), folds, strict=True)]
    np.testing.assert_allclose(found.values, [row for row, _ in expected], atol=2e-2)  # kept in half precision
    np.testing.assert_array_equal(found.present, [seen for _, seen in expected])


def test_graph_films_read_the_embedding_that_has_not_seen_them() -> None:
    check(fitted().transform(films()), films(), folds_of(fitted()).tolist())


def test_other_films_read_the_mean_over_the_embeddings_that_know_a_person() -> None:
    strangers = films(15, "new", 5, 20)  # p15 and on are unknown
    found = fitted().transform(strangers)
    check(found, strangers, [-1] * 15)
    assert 0 < found.present.sum() < 15


def unblocked(credits: LinkCredits, chosen: Catalogue) -> Block:
    """Compute the features film by film, the mean over folds anew for every credit."""
    fold = dict(credits._films.rows())
    number = {person: place for place, person in enumerate(credits._people.to_list())}
    out, seen = [], []
    for film in chosen.frame.to_dicts():
        row, n_seen = [], 0
        for role in credits.roles:
            found = []
            for person in dict.fromkeys(film[role] or []):
                if person not in number:
                    continue
                scores = credits._scores[role][:, number[person]].astype(np.float32)
                scores = scores[[fold[film["id"]]]] if film["id"] in fold else scores
                scores = scores[~np.isnan(scores).any(axis=1)]
                found += [scores.mean(axis=0)] if len(scores) else []
            total = np.sum(found, axis=0) if found else np.zeros(N_LABELS)
            row.append(np.concatenate([total, total / max(len(found), 1), [math.log1p(len(found))]]))
            n_seen += len(found)
        out.append(np.concatenate(row))
        seen.append(n_seen > 0)
    return Block(np.array(out, np.float32), np.array(seen))


@pytest.mark.parametrize("cells", [1, 7, 60, 10**9])
def test_blocks_of_films_do_not_change_the_features(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = Catalogue.from_frame(
        pl.concat([films().frame, films(15, "new", 5, 20).frame]).sample(fraction=1, shuffle=True, seed=1)
    )
    total = SumCredits(CONFIG).fit(films(), targets_of())
    whole = total.transform(mixed)
    monkeypatch.setattr("reeltag.graph.credits._CELLS_AT_ONCE", cells)
    found, expected = fitted().transform(mixed), unblocked(fitted(), mixed)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    np.testing.assert_array_equal(found.present, expected.present)
    np.testing.assert_allclose(total.transform(mixed).values, whole.values, atol=1e-6)


def test_the_mean_over_the_embeddings_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, mean = [], link_credits._mean_of_known

    def counted(scores: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        made.append(len(scores))
        return mean(scores)

    monkeypatch.setattr(link_credits, "_mean_of_known", counted)
    credits = LinkCredits(CONFIG).fit(films(), targets_of())
    first = credits.transform(films(15, "new", 5, 20))
    assert equal(credits.transform(films(15, "new", 5, 20)), first)
    assert len(made) == len(ROLES)
    credits.fit(films(), 1 - targets_of())  # another fit, another mean
    assert not equal(credits.transform(films(15, "new", 5, 20)), first)
    assert len(made) == 2 * len(ROLES)


@pytest.mark.parametrize("kind", [LinkCredits, SumCredits])
@pytest.mark.parametrize("role", ROLES)
def test_other_roles_do_not_matter(kind: type[LinkCredits | SumCredits], role: str, tmp_path: Path) -> None:
    graph = films()
    credits = kind(CONFIG, (role,)).fit(graph, targets_of())
    (other,) = set(ROLES) - {role}
    without = replace(graph, frame=graph.frame.drop(other))
    found = credits.transform(graph)
    assert credits.roles == (role,)
    assert found.values.shape == (N_FILMS, credits.dim)
    assert 5 < found.present.sum() < N_FILMS
    assert not found.present[[not people for people in graph.lists(role)]].any()
    assert equal(credits.transform(without), found)
    assert equal(kind(CONFIG, (role,)).fit(without, targets_of()).transform(graph), found)  # nor in the graph
    assert not credits.transform(catalogue({"n": {other: ["p1"]}})).present[0]
    credits.save(tmp_path / "credits")
    loaded = kind.load(tmp_path / "credits")
    assert (loaded.roles, loaded.dim) == ((role,), credits.dim)
    assert equal(loaded.transform(graph), found)


def test_the_order_of_the_roles_is_that_of_the_columns() -> None:
    turned = LinkCredits(CONFIG, ("cast", "directors")).fit(films(), targets_of()).transform(films())
    half = fitted().dim // 2
    straight = fitted().transform(films())
    np.testing.assert_allclose(turned.values[:, half:], straight.values[:, :half], atol=1e-5)
    np.testing.assert_allclose(turned.values[:, :half], straight.values[:, half:], atol=1e-5)


def test_an_unknown_role_is_named() -> None:
    for kind in (LinkCredits, SumCredits):
        with pytest.raises(ConfigError, match=r"roles must be one of directors, cast; got 'producers'"):
            kind(CONFIG, ("producers",))


def test_shape_and_presence() -> None:
    found = fitted().transform(films())
    assert found.values.shape == (N_FILMS, fitted().dim) == (N_FILMS, 2 * (2 * N_LABELS + 1))
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()
    assert fitted().film_ids == films().ids
    nobody = catalogue({"a": {}, "b": {"cast": ["Nobody"], "directors": []}})
    for credits in (fitted(), SumCredits(CONFIG).fit(films(), targets_of())):
        block = credits.transform(nobody)
        assert not block.present.any()
        assert (block.values == 0).all()
        assert credits.transform(films().take([])).values.shape == (0, credits.dim)


def test_rows_are_independent() -> None:
    whole = fitted().transform(films())
    order = np.random.default_rng(1).permutation(N_FILMS)
    shuffled = fitted().transform(films().take(order))
    np.testing.assert_array_equal(shuffled.values, whole.values[order])
    for row in (0, 5, 39):
        np.testing.assert_allclose(fitted().transform(films().take([row])).values[0], whole.values[row], atol=1e-6)


def test_a_person_in_both_roles_is_scored_by_each() -> None:
    both = fitted().transform(catalogue({"n": {"directors": ["p1"], "cast": ["p1"]}})).values[0]
    directs = fitted().transform(catalogue({"n": {"directors": ["p1"]}})).values[0]
    acts = fitted().transform(catalogue({"n": {"cast": ["p1"]}})).values[0]
    half = fitted().dim // 2
    np.testing.assert_array_equal(both, directs + acts)
    assert (directs[half:] == 0).all()
    assert (acts[:half] == 0).all()
    assert not np.array_equal(directs[:half], acts[half:])


def test_people_are_pooled_by_film() -> None:
    rng = np.random.default_rng(0)
    rows = np.sort(rng.integers(6, size=20))
    rows = rows[rows != 2]  # a film without anybody
    values = rng.normal(size=(len(rows), 3)).astype(np.float32)
    total, counts = pool_people(rows, values, 7)
    expected = np.zeros((7, 3))
    for row, value in zip(rows, values, strict=True):
        expected[row] += value
    np.testing.assert_allclose(total, expected, atol=1e-5)
    assert counts.tolist() == [int((rows == film).sum()) for film in range(7)]
    assert (total.dtype, counts.dtype) == (np.float32, np.float32)
    nothing, none = pool_people(rows[:0], values[:0], 2)
    assert (nothing.shape, none.tolist()) == ((2, 3), [0, 0])


def test_the_sum_adds_up_the_vectors_of_the_people() -> None:
    credits = SumCredits(CONFIG).fit(films(), targets_of())
    embedding = train_embedding(labelled_graph(films(), targets_of()), TINY)
    strangers = films(15, "new", 5, 20)
    for chosen in (films(), strangers):
        found = credits.transform(chosen)
        known = embedding.graph.entities.filter(pl.col("kind") == "person")["key"].to_list()
        for row, film in enumerate(chosen.frame.to_dicts()):
            people = [person for role in ROLES for person in film[role] or [] if person in known]
            total = np.zeros(credits.dim)
            for person in people:
                total += embedding.vectors(np.array([embedding.graph.find(person, "person")]))[0].numpy()
            np.testing.assert_allclose(found.values[row], total, atol=2e-2)
            assert found.present[row] == bool(people)
    assert credits.dim == embedding.model.scorer.vector_width
    assert credits.film_ids == films().ids


# ---------------------------------------------------------------- the graph


def test_labels_of_the_graph_are_columns_of_the_targets() -> None:
    few = catalogue({"a": {"directors": ["d"]}, "b": {"cast": ["x", "y"]}, "c": {"cast": ["x"]}})
    graph = labelled_graph(few, np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0]], np.float32))
    entities, relations = graph.entities["key"].to_list(), graph.relations["name"].to_list()
    links = {
        (entities[h], relations[r], entities[t])
        for h, r, t in zip(graph.train.head, graph.train.relation, graph.train.tail, strict=True)
    }
    assert {link for link in links if link[1] in ("d-g", "c-g")} == {
        ("d", "d-g", "0"), ("d", "d-g", "2"), ("x", "c-g", "2"), ("y", "c-g", "2"),
    }  # fmt: skip
    assert set(graph.splits) == {"train"}
    assert graph.kinds == ["genre", "title", "person"]
    assert labelled_graph(few, np.ones((3, 1), np.float32), titles=False).kinds == ["genre", "person"]


def test_the_catalogues_own_labels_and_splits_do_not_matter() -> None:
    frame = films().frame.with_columns(genres=pl.lit(["Drama"]), split=pl.lit("test"))
    graph = labelled_graph(Catalogue.from_frame(frame, source="films.csv"), targets_of())
    assert graph.fingerprint() == labelled_graph(films(), targets_of()).fingerprint()


# ---------------------------------------------------------------- empty cases


def test_a_fold_may_leave_a_graph_without_people_or_labels() -> None:
    lonely = catalogue({"a": {"cast": ["x"]}, "b": {}, "c": {}, "d": {}, "e": {}, "f": {}})
    labels = np.ones((6, 2), np.float32)
    config = replace(CONFIG, folds=2)
    credits = LinkCredits(config).fit(lonely, labels)
    assert not credits.transform(lonely).present.any()
    assert credits.transform(catalogue({"n": {"cast": ["x"]}})).present.all()
    without = LinkCredits(config).fit(films(), np.zeros((N_FILMS, 2), np.float32)).transform(films())
    assert without.present.any()
    assert np.isfinite(without.values).all()
    assert (without.values[:, :4] == 0).all()


def test_nobody_at_all() -> None:
    nobody = catalogue({f"t{row}": {} for row in range(4)})
    for credits in (LinkCredits(replace(CONFIG, folds=2)), SumCredits(CONFIG)):
        assert not credits.fit(nobody, np.ones((4, 2), np.float32)).transform(films()).present.any()


# ---------------------------------------------------------------- refit, storage, refusals


def test_refit_forgets() -> None:
    for kind in (LinkCredits, SumCredits):
        again = kind(CONFIG).fit(films(20, "uu", 4, 30), targets_of(20)).fit(films(), targets_of())
        assert equal(again.transform(films()), kind(CONFIG).fit(films(), targets_of()).transform(films()))


@pytest.mark.parametrize("kind", [LinkCredits, SumCredits])
def test_saved_and_loaded_is_equal(kind: type[LinkCredits | SumCredits], tmp_path: Path) -> None:
    config = replace(CONFIG, folds=2, titles=False)
    credits = kind(config).fit(films(), targets_of())
    credits.save(tmp_path / "deep" / "credits")
    loaded = kind.load(tmp_path / "deep" / "credits")
    assert (loaded.config, loaded.film_ids, loaded.dim) == (config, credits.film_ids, credits.dim)
    for chosen in (films(), films(15, "new", 5, 20)):
        assert equal(loaded.transform(chosen), credits.transform(chosen))
    loaded.save(tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "deep" / "credits")


@pytest.mark.parametrize("kind", [LinkCredits, SumCredits])
def test_used_before_fit(kind: type[LinkCredits | SumCredits], tmp_path: Path) -> None:
    empty = kind(CONFIG)
    for use in (lambda: empty.dim, lambda: empty.transform(films()), lambda: empty.save(tmp_path / "x")):
        with pytest.raises(NotFittedError, match=f"{kind.__name__} is used before fit"):
            use()


@pytest.mark.parametrize("kind", [LinkCredits, SumCredits])
@pytest.mark.parametrize("n", [N_FILMS - 1, N_FILMS + 1])
def test_targets_must_fit_the_films(kind: type[LinkCredits | SumCredits], n: int) -> None:
    with pytest.raises(FeatureError, match=f"one row of targets per film; got {n} for {N_FILMS}"):
        kind(CONFIG).fit(films(), targets_of(n))


def test_there_must_be_a_film_per_fold() -> None:
    with pytest.raises(
        FeatureError, match="3 folds need at least as many graph films that are not copies of each other; got 2"
    ):
        LinkCredits(CONFIG).fit(films().take([0, 1]), targets_of(2))


def test_settings() -> None:
    for folds in (1, 101):
        with pytest.raises(ConfigError, match=rf"LinkCreditConfig\.folds must be between 2 and 100; got {folds}"):
            LinkCreditConfig(folds=folds)
    for config in (CONFIG, LinkCreditConfig()):
        assert from_json(LinkCreditConfig, json.loads(json.dumps(to_json(config)))) == config


def test_progress_tells_the_fold() -> None:
    stages: list[str] = []
    LinkCredits(CONFIG).fit(films(), targets_of(), progress=lambda stage, *_: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [f"training links, fold {fold}/3" for fold in (1, 2, 3)]
