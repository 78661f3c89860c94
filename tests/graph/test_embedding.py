"""A trained graph: what training keeps, its figures against plain ranks, and that a folder is read strictly."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from reeltag.config import from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, GraphError, ReeltagError
from reeltag.files import write_json
from reeltag.graph.embedding import (
    EmbeddingConfig,
    GraphEmbedding,
    check_destination,
    train_embedding,
    validation_mrr,
)
from reeltag.graph.film_graph import build_film_graph
from reeltag.graph.known_links import KnownLinks
from reeltag.graph.ranking import RankFigures, RankingConfig, rank_links
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.scorers import SCORERS
from reeltag.graph.trainer import LinkTrainingConfig
from reeltag.graph.triples import KnowledgeGraph, Triples
from samples import files_of, sample

from .link_samples import SMALL, graph_of, random_triples, rows_of

TRAINING = LinkTrainingConfig(
    epochs=2, batch_size=64, threads=1, device="cpu", negatives=NegativeConfig(count=8, chunk_size=32)
)


def config_of(scorer: str = "rotate", training: LinkTrainingConfig = TRAINING) -> EmbeddingConfig:
    return EmbeddingConfig(scorer=scorer, scorer_settings=dict(SMALL[scorer]), training=training)


@cache
def film_graph() -> KnowledgeGraph:
    return build_film_graph(sample())


@cache
def trained(scorer: str = "rotate") -> GraphEmbedding:
    return train_embedding(film_graph(), config_of(scorer))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_is_trained_saved_and_loaded(scorer: str, tmp_path: Path) -> None:
    found = trained(scorer)
    assert len(found.history.losses) == 2
    assert all(map(math.isfinite, found.history.losses))
    found.save(tmp_path / "deep" / "trained")
    loaded = GraphEmbedding.load(tmp_path / "deep" / "trained")
    assert loaded.config == found.config
    assert (loaded.seed, loaded.history) == (found.seed, found.history)
    assert loaded.graph.fingerprint() == found.graph.fingerprint()
    assert loaded.model.scorer.name == scorer
    torch.testing.assert_close(loaded.vectors(), found.vectors(), rtol=0, atol=0)
    assert loaded.evaluate("test").to_json() == found.evaluate("test").to_json()


def test_one_thread_and_one_seed_give_one_result() -> None:
    again = train_embedding(film_graph(), config_of())
    other = train_embedding(film_graph(), config_of(), seed=1)
    torch.testing.assert_close(again.model.entities, trained().model.entities, rtol=0, atol=0)
    assert not torch.equal(other.model.entities, trained().model.entities)
    assert other.seed == 1


def test_training_learns_what_the_links_have_in_common() -> None:
    training = replace(TRAINING, epochs=30, evaluate_every=10, negatives=NegativeConfig(count=32, chunk_size=32))
    config = EmbeddingConfig(scorer="distmult", scorer_settings={"dim": 8}, training=training)
    before = train_embedding(film_graph(), replace(config, training=replace(training, epochs=1, learning_rate=1e-6)))
    after = train_embedding(film_graph(), config)
    assert after.evaluate("validation").figures.mrr > 2 * before.evaluate("validation").figures.mrr
    assert dict(after.history.scores)[after.history.best_epoch] == max(score for _, score in after.history.scores)


def test_the_score_of_the_kept_epoch_is_the_filtered_validation_mrr() -> None:
    found = trained()
    assert found.history.scores[-1][1] == pytest.approx(found.evaluate("validation").figures.mrr)


def test_without_validation_links_nothing_is_looked_at() -> None:
    graph = graph_of(random_triples(40), 9, 3)
    assert validation_mrr(graph, 10) is None
    found = train_embedding(graph, config_of())
    assert found.history.scores == ()
    assert found.history.best_epoch == 2


def test_looks_at_validation_are_at_a_sample_that_is_always_the_same() -> None:
    graph = film_graph()
    links, known = graph.splits["validation"], KnownLinks(list(graph.splits.values()))
    for n_links in (5, 10_000):
        look = validation_mrr(graph, n_links)
        assert look is not None
        assert look(trained().model) == look(trained().model)
        chosen = np.sort(np.random.default_rng(0).permutation(len(links))[:n_links])
        assert len(chosen) == min(n_links, len(links))
        expected = rank_links(trained().model, links.take(chosen), known).figures().mrr
        assert look(trained().model) == expected


def test_a_run_that_looks_at_more_links_does_not_go_on_from_another_ones_checkpoint(tmp_path: Path) -> None:
    few, more = (replace(config_of(), validation_links=n) for n in (5, 10))
    train_embedding(film_graph(), few, checkpoint=tmp_path / "run")
    with pytest.raises(ArtefactError, match="run with another evaluation; remove it or train elsewhere"):
        train_embedding(film_graph(), more, checkpoint=tmp_path / "run")
    whole, wider = (replace(config_of(), validation_links=n) for n in (1_000, 2_000))  # both are all there are
    train_embedding(film_graph(), whole, checkpoint=tmp_path / "all")
    train_embedding(film_graph(), wider, checkpoint=tmp_path / "all")


def test_progress_is_reported() -> None:
    seen: list[tuple[str, int, int]] = []
    train_embedding(film_graph(), config_of(), progress=lambda *report: seen.append(report))
    n = 2 * len(film_graph().train)
    assert seen[-1] == ("training links", n, n)


def test_settings_survive_json() -> None:
    config = config_of("conve")
    assert from_json(EmbeddingConfig, json.loads(json.dumps(to_json(config)))) == config


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"name must be one of transe, .*; got 'word2vec'"):
        EmbeddingConfig(scorer="word2vec")
    with pytest.raises(ConfigError, match="settings of rotate: unknown setting 'colour'"):
        EmbeddingConfig(scorer_settings={"colour": 1})
    with pytest.raises(ConfigError, match=r"EmbeddingConfig\.validation_links must be between 1 and"):
        EmbeddingConfig(validation_links=0)


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_report_is_what_the_ranks_give(split: str, filtered: bool) -> None:
    graph, model = film_graph(), trained().model
    report = trained().evaluate(split, RankingConfig(filtered=filtered))
    known = KnownLinks(list(graph.splits.values())) if filtered else None
    links = graph.splits[split]

    def ranks(side: str, chosen: Triples) -> RankFigures:
        config = RankingConfig(filtered=filtered, sides=(side,) if side != "both" else ("tail", "head"))  # type: ignore[arg-type]
        return rank_links(model, chosen, known, config).figures()

    assert (report.split, report.filtered) == (split, filtered)
    whole = rank_links(model, links, known, RankingConfig(filtered=filtered))
    assert report.by_ties == {ties: whole.figures(ties) for ties in ("realistic", "optimistic", "pessimistic")}
    assert report.figures == ranks("both", links)
    assert report.by_side == {side: ranks(side, links) for side in ("tail", "head")}
    names = graph.relations["name"].to_list()
    present = [name for number, name in enumerate(names) if (links.relation == number).any()]
    assert list(report.by_relation) == present
    for name in present:
        assert report.by_relation[name] == ranks("both", links.take(links.relation == names.index(name)))
    assert sum(figures.n for figures in report.by_relation.values()) == report.figures.n == 2 * len(links)


def test_a_report_of_one_side_has_that_side_only() -> None:
    report = trained().evaluate("test", RankingConfig(sides=("head",)))
    assert list(report.by_side) == ["head"]
    assert report.by_side["head"] == report.figures


def test_report_goes_through_json() -> None:
    data = json.loads(json.dumps(trained().evaluate().to_json(), allow_nan=False))
    assert set(data) == {"split", "filtered", "by_ties", "by_side", "by_relation"}
    assert data["split"] == "test"
    assert set(data["by_ties"]["realistic"]) == {
        "n", "mrr", "mean_rank", "expected_mean_rank", "hits@1", "hits@3", "hits@10",
    }  # fmt: skip


def test_a_split_that_is_not_there_is_named() -> None:
    graph = graph_of(random_triples(40), 9, 3)
    with pytest.raises(GraphError, match="memory: no split 'test'; splits: train"):
        train_embedding(graph, config_of()).evaluate()


@pytest.mark.parametrize("filtered", [True, False])
def test_answers_of_one_kind_are_ranked_among_that_kind(filtered: bool) -> None:
    graph, model = film_graph(), trained().model
    relation = graph.relations["name"].to_list().index("c-g")
    links = graph.splits["test"].take(graph.splits["test"].relation == relation)
    assert len(links) > 3
    everything = [graph.train, *(graph.splits[split] for split in ("validation", "test"))]
    true = {link for part in everything for link in rows_of(part)}
    found = trained().rank_answers(links, "genre", filtered=filtered)
    for row, (head, tail) in enumerate(zip(links.head.tolist(), links.tail.tolist(), strict=True)):
        genres = [i for i in graph.entity_ids("genre").tolist() if i != tail]
        if filtered:
            genres = [i for i in genres if (head, relation, i) not in true]
        asked = torch.tensor([head]), torch.tensor([relation]), "tail", torch.tensor([tail, *genres])
        own, *others = model.scores(*asked)[0].tolist()  # type: ignore[arg-type]
        assert found.optimistic[row] == 1 + sum(score > own for score in others)
        assert found.pessimistic[row] == 1 + sum(score >= own for score in others)
        assert found.n_candidates[row] == 1 + len(others)


def test_answers_of_another_kind_are_an_error() -> None:
    with pytest.raises(GraphError, match="true answers must be among the candidates"):
        trained().rank_answers(film_graph().train.take(slice(3)), "genre")
    with pytest.raises(GraphError, match="no entity is of kind 'mood'; kinds: genre, title, person"):
        trained().rank_answers(film_graph().train, "mood")


def test_vectors_are_the_leading_columns() -> None:
    found = trained("transd")
    width = found.model.scorer.vector_width
    assert found.vectors().shape == (film_graph().n_entities, width)
    assert width < found.model.scorer.entity_width
    ids = np.array([5, 0, 5])
    torch.testing.assert_close(found.vectors(ids), found.model.entities[torch.from_numpy(ids), :width], rtol=0, atol=0)
    assert found.vectors(np.zeros(0, np.int64)).shape == (0, width)


# ---------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trained().save(tmp_path / "trained")
    return tmp_path / "trained"


def put(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "embedding.json"
        write_json(path, json.loads(path.read_text("utf-8")) | {key: value})

    return change


def drop(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "embedding.json"
        data = json.loads(path.read_text("utf-8"))
        del data[key]
        write_json(path, data)

    return change


def another_graph(folder: Path) -> None:
    graph = film_graph()
    entities = graph.entities.with_columns(name=pl.lit("Alan Smithee"))
    replace(graph, entities=entities).save(folder / "graph")


def another_model(folder: Path) -> None:
    trained("transe").model.save(folder)


def another_table(folder: Path) -> None:
    smaller = train_embedding(graph_of(random_triples(40), 9, 3), config_of())
    smaller.model.save(folder)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (
        lambda f: (f / "embedding.json").unlink(),
        r"holds no trained graph \(embedding.json is missing\); train",
    ),
    "no JSON": (lambda f: (f / "embedding.json").write_text("{"), r"embedding\.json: must be valid JSON"),
    "no object": (lambda f: (f / "embedding.json").write_text("[1]"), r"embedding\.json: must hold a JSON object"),
    "schema": (put("schema", 7), r"embedding\.json: schema must be 1; got 7"),
    "entry too many": (
        put("colour", 1),
        r"embedding\.json: must have the entries config, graph, history, schema, seed",
    ),
    "entry missing": (drop("graph"), r"embedding\.json: must have the entries config, graph"),
    "seed": (put("seed", "x"), r"embedding\.json: must have the entries .*the seed a whole number"),
    "config": (put("config", {"colour": 1}), r"embedding\.json, config: unknown setting 'colour'"),
    "history": (put("history", {"losses": "x"}), r"embedding\.json, history\.losses: must be a list"),
    "no graph": (lambda f: shutil.rmtree(f / "graph"), r"graph\.json: a knowledge graph cannot be read"),
    "cut graph": (lambda f: (f / "graph" / "train.parquet").write_bytes(b"PAR1"), r"train\.parquet"),
    "another graph": (another_graph, "the graph beside the tables is not the one they were trained on"),
    "no model": (lambda f: (f / "link_model.json").unlink(), r"holds no trained link model"),
    "cut tables": (lambda f: (f / "link_model.safetensors").write_bytes(b"x"), "tensors cannot be read"),
    "another scorer": (another_model, r"the tables are not of the scorer that embedding\.json names \(rotate\)"),
    "another size": (another_table, "the model knows 9 entities and 3 relations, but .* trained on another graph"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_folders_are_told(folder: Path, case: str) -> None:
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(ArtefactError, match=message):
        GraphEmbedding.load(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere: holds no trained graph"):
        GraphEmbedding.load(tmp_path / "nowhere")


def test_a_model_of_another_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="it was trained on another graph"):
        GraphEmbedding(graph_of(random_triples(40), 9, 3), trained().model, config_of())


def test_an_older_one_is_replaced_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    trained("transe").save(folder)
    assert GraphEmbedding.load(folder).model.scorer.name == "transe"
    other = tmp_path / "holiday"
    other.mkdir()
    trained().save(other)  # an empty folder is filled
    shutil.rmtree(other)
    other.mkdir()
    (other / "beach.jpg").write_bytes(b"x")
    for use in (check_destination, trained().save):
        with pytest.raises(ArtefactError, match="holiday: exists and is not a trained graph; choose another folder"):
            use(other)
    assert files_of(other) == {"beach.jpg": b"x"}
    with pytest.raises(ArtefactError, match=r"cannot be made, because .*beach\.jpg is not a folder"):
        check_destination(other / "beach.jpg" / "x")


def test_a_failed_save_leaves_the_older_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files_of(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reeltag.graph.embedding.write_json", full)
    with pytest.raises(OSError, match="No space"):
        trained("transe").save(folder)
    assert files_of(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["trained"]


# ---------------------------------------------------------------- going on


class StoppedError(Exception):
    """Ends a run in the middle."""


def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    config = config_of(training=replace(TRAINING, epochs=4, evaluate_every=1, checkpoint_every_s=0))
    whole = train_embedding(film_graph(), config)
    n = len(film_graph().train)

    def stop(_: str, done: int, __: int) -> None:
        if done > 2 * n:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_embedding(film_graph(), config, checkpoint=tmp_path / "checkpoint", progress=stop)
    resumed: list[int] = []
    again = train_embedding(
        film_graph(), config, checkpoint=tmp_path / "checkpoint", progress=lambda _, done, __: resumed.append(done)
    )
    assert min(resumed) > 2 * n
    torch.testing.assert_close(again.model.entities, whole.model.entities, rtol=0, atol=0)
    assert (again.history.losses, again.history.scores) == (whole.history.losses, whole.history.scores)
    with pytest.raises(ReeltagError, match="the checkpoint belongs to a run with another seed"):
        train_embedding(film_graph(), config, seed=1, checkpoint=tmp_path / "checkpoint")
