"""What is said of one entity: the nearest by brute force, the answers by softmax, and who is asked what."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import polars as pl
import pytest
import torch

from reeltag.errors import GraphError
from reeltag.graph.embedding import EmbeddingConfig, GraphEmbedding, train_embedding
from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
from reeltag.graph.neighbours import Neighbourhood, neighbourhood
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.trainer import LinkTrainingConfig
from reeltag.graph.triples import KnowledgeGraph
from samples import catalogue, rows, sample

from .link_samples import graph_of, random_triples, rows_of, triples

SOMEBODY = "Horror actor 0"


def train(graph: KnowledgeGraph, scorer: str = "rotate") -> GraphEmbedding:
    training = LinkTrainingConfig(
        epochs=2, batch_size=64, threads=1, device="cpu", negatives=NegativeConfig(count=8, chunk_size=32)
    )
    return train_embedding(graph, EmbeddingConfig(scorer=scorer, scorer_settings={"dim": 4}, training=training))


@cache
def films() -> GraphEmbedding:
    return train(build_film_graph(sample(), FilmGraphConfig(label_fields=("genres", "moods"))))


def slow_cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = one.double().numpy(), other.double().numpy()
    return float((a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum()))


def slow_nearest(embedding: GraphEmbedding, entity: int, min_links: int) -> list[tuple[int, float]]:
    graph, vectors = embedding.graph, embedding.vectors()
    degrees = [0] * graph.n_entities
    for ends in (graph.train.head.tolist(), graph.train.tail.tolist()):
        for end in ends:
            degrees[end] += 1
    kinds = graph.entities["kind"].to_list()
    others = [i for i in range(graph.n_entities) if i != entity and kinds[i] == kinds[entity]]
    found = [(i, slow_cosine(vectors[entity], vectors[i])) for i in others if degrees[i] >= min_links]
    return sorted(found, key=lambda pair: -pair[1])


# ---------------------------------------------------------------- who is nearest


@pytest.mark.parametrize("scorer", ["rotate", "transd"])
@pytest.mark.parametrize(("name", "kind"), [(SOMEBODY, "person"), ("Horror", "genre"), ("t000", "title")])
def test_nearest_by_brute_force(name: str, kind: str, scorer: str) -> None:
    embedding = films() if scorer == "rotate" else train(build_film_graph(sample()), scorer)
    entity = embedding.graph.find(name, kind)
    found = neighbourhood(embedding, name, kind=kind, n_nearest=7, min_links=0)
    expected = slow_nearest(embedding, entity, 0)[:7]
    assert [n.key for n in found.nearest] == [embedding.graph.entities["key"][i] for i, _ in expected]
    assert [n.similarity for n in found.nearest] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)
    assert {n.kind for n in found.nearest} == {kind}
    degrees = embedding.graph.degrees()
    assert [n.n_links for n in found.nearest] == [degrees[i] for i, _ in expected]
    assert (found.key, found.kind, found.n_links) == (name, kind, degrees[entity])


def test_entities_with_few_links_are_not_shown() -> None:
    degrees = films().graph.degrees()
    entity = films().graph.find(SOMEBODY)
    for min_links in (0, 15, 20, 10_000):
        found = neighbourhood(films(), SOMEBODY, n_nearest=100, min_links=min_links)
        assert len(found.nearest) == len(slow_nearest(films(), entity, min_links))
        assert all(n.n_links >= min_links for n in found.nearest)
        assert found.answers  # they do not depend on it
    assert found.nearest == ()
    assert degrees[entity] == found.n_links


def test_by_default_twenty_links_are_asked_for() -> None:
    assert all(n.n_links >= 20 for n in neighbourhood(films(), SOMEBODY).nearest)
    assert len(neighbourhood(films(), SOMEBODY, n_nearest=3).nearest) <= 3


# ---------------------------------------------------------------- which answers


@pytest.mark.parametrize("name", [SOMEBODY, "Comedy director 1", "t000"])
def test_answers_are_the_scores_of_all_candidates(name: str) -> None:
    graph, model = films().graph, films().model
    entity, names = graph.find(name), graph.relations["name"].to_list()
    found = neighbourhood(films(), name, n_nearest=100, min_links=0)
    train_links = set(rows_of(graph.train))
    for relation, side in {(answer.relation, answer.side) for answer in found.answers}:
        answers = [answer for answer in found.answers if (answer.relation, answer.side) == (relation, side)]
        number = names.index(relation)
        ids = graph.entity_ids(graph.relations[f"{side}_kind"][number]).tolist()
        scores = model.scores(torch.tensor([entity]), torch.tensor([number]), side)[0].double()
        powers = {i: float(torch.exp(scores[i] - scores[ids].max())) for i in ids}
        order = sorted(ids, key=lambda i: -scores[i])
        assert [answer.name for answer in answers] == [graph.entities["name"][i] for i in order]
        for answer, i in zip(answers, order, strict=True):
            link = (entity, number, i) if side == "tail" else (i, number, entity)
            assert answer.score == pytest.approx(float(scores[i]), abs=1e-5)
            assert answer.share == pytest.approx(powers[i] / sum(powers.values()), abs=1e-5)
            assert answer.known == (link in train_links)
        assert sum(answer.share for answer in answers) == pytest.approx(1, abs=1e-5)
        assert any(answer.known for answer in answers)


def asked(found: Neighbourhood) -> list[tuple[str, str]]:
    return list(dict.fromkeys((answer.relation, answer.side) for answer in found.answers))


def test_in_a_film_graph_only_labels_are_asked_for() -> None:
    assert asked(neighbourhood(films(), "Comedy director 1")) == [("d-g", "tail"), ("d-moods", "tail")]
    assert asked(neighbourhood(films(), "Comedy actor 1")) == [("c-g", "tail"), ("c-moods", "tail")]
    assert asked(neighbourhood(films(), "t000")) == [("g-t", "head"), ("moods-t", "head")]
    assert asked(neighbourhood(films(), "Comedy")) == []
    by_role = train(build_film_graph(sample(), FilmGraphConfig(one_person=False)))
    assert asked(neighbourhood(by_role, "Comedy director 1")) == [("d-g", "tail")]
    assert asked(neighbourhood(by_role, "Comedy actor 1")) == [("c-g", "tail")]


def test_a_person_without_known_labels_is_not_asked_for_any() -> None:
    alone = {"id": "new", "title": "Alone", "directors": ["Nobody Known"], "cast": ["Comedy actor 1"]}
    graph = build_film_graph(catalogue([*rows(), alone | {"genres": [], "moods": [], "split": "train"}]))
    assert asked(neighbourhood(train(graph), "Nobody Known")) == []


def test_in_a_graph_without_kinds_both_sides_are_asked_for_apart() -> None:
    graph = graph_of(triples([(0, 0, 1), (2, 0, 0), (0, 1, 3), (4, 2, 5)]), 6, 3)
    found = neighbourhood(train(graph), "0", n_nearest=2)
    assert asked(found) == [("r0", "tail"), ("r1", "tail"), ("r0", "head")]
    assert len(found.answers) == 6
    full = neighbourhood(train(graph), "0", n_nearest=6)
    known = {(a.relation, a.side, a.name) for a in full.answers if a.known}
    assert known == {("r0", "tail", "1"), ("r0", "head", "2"), ("r1", "tail", "3")}


# ---------------------------------------------------------------- who is meant


def test_an_unknown_name_is_told_with_close_ones() -> None:
    with pytest.raises(GraphError, match="no entity has the name or key 'Horor actor 0'; close names: Horror actor 0"):
        neighbourhood(films(), "Horor actor 0")
    with pytest.raises(GraphError, match="no entity is of kind 'mood'; kinds: genre, moods, title, person"):
        neighbourhood(films(), SOMEBODY, kind="mood")


def test_a_name_of_two_kinds_needs_one() -> None:
    named = [row | {"title": "Horror"} if row["id"] == "t001" else row for row in rows()]
    embedding = train(build_film_graph(catalogue(named)))
    with pytest.raises(GraphError, match="2 entities have the name 'Horror': genre 'Horror', title 't001'"):
        neighbourhood(embedding, "Horror")
    found = neighbourhood(embedding, "Horror", kind="title")
    assert (found.name, found.key, found.kind) == ("Horror", "t001", "title")
    assert neighbourhood(embedding, "t001").key == "t001"
    assert neighbourhood(embedding, "Horror", kind="genre").key == "Horror"


def test_names_are_shown_and_keys_kept() -> None:
    ids = pl.Series("cast_ids", [[f"nm-{name}" for name in names] for names in sample().lists("cast")])
    numbered = sample().from_frame(sample().frame.with_columns(ids))
    found = neighbourhood(train(build_film_graph(numbered)), f"id:nm-{SOMEBODY}", min_links=0)
    assert (found.name, found.key) == (SOMEBODY, f"id:nm-{SOMEBODY}")
    assert any(n.key == f"id:nm-{n.name}" for n in found.nearest)


def test_to_json_goes_through_json() -> None:
    data = neighbourhood(films(), SOMEBODY, n_nearest=2, min_links=0).to_json()
    back = json.loads(json.dumps(data, allow_nan=False))
    assert set(back) == {"name", "key", "kind", "n_links", "nearest", "answers"}
    assert set(back["nearest"][0]) == {"name", "key", "kind", "n_links", "similarity"}
    assert set(back["answers"][0]) == {"relation", "side", "name", "score", "share", "known"}


def test_looking_changes_nothing() -> None:
    embedding = train(graph_of(random_triples(40), 9, 3))
    before = embedding.model.entities.clone()
    neighbourhood(embedding, "3", min_links=0)
    assert torch.equal(embedding.model.entities, before)
