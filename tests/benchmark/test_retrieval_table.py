"""``retrieval-table``: pools, spaces, what is kept, and the report; through the command line in tests/cli."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import ndcg_score

from reeltag.benchmark import (
    RETRIEVAL_BENCHMARKS,
    BenchmarkConfig,
    RetrievalConfig,
    RetrievalReport,
    RetrievalRun,
    benchmark,
    default_config,
    retrieval_tables,
    run_benchmark,
    run_retrieval,
)
from reeltag.benchmark.protocols import partition
from reeltag.benchmark.retrieval_pools import GENRES, Space, measured, queries_of, raw_spaces, raw_text
from reeltag.benchmark.retrieval_runs import COARSE, FINE, RANDOM, Trial
from reeltag.errors import ConfigError, EvaluationError
from reeltag.evaluation import BootstrapConfig, compare_means
from reeltag.features import Block, Features
from reeltag.models import GatingModel
from samples import catalogue, rows, sample

from .tiny import FEATURES, MODELS, config

FINE_TINY = {"dim": 8, "out": 4, "hidden": 0, "batch_size": 16, "epochs": 1, "weigh": False}
TINY = {**MODELS, "training": {**MODELS["training"], "precision": "32-true"}, "fine": FINE_TINY}
MEASURE = RetrievalConfig(words=("keywords",), smallest_pool=3)


def settings(**changes: Any) -> BenchmarkConfig:
    features = replace(FEATURES, modalities=("plot", "title", "credits"))
    return config(**{"features": features, "models": TINY, **changes})


def run(folder: Path, measure: RetrievalConfig = MEASURE, **changes: Any) -> RetrievalReport:
    return run_retrieval(
        sample(), folder, RetrievalRun(config=settings(**changes), measure=measure), command="reeltag …"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spaces")


@pytest.fixture(scope="module")
def report(folder: Path) -> RetrievalReport:
    return run(folder, n_seeds=2)


def block(values: Any, present: Any = None) -> Block:
    dense = values.toarray() if sp.issparse(values) else np.asarray(values)
    return Block(values, np.asarray(dense.any(axis=1) if present is None else present, np.bool_))


# ---------------------------------------------------------------- pools


def test_candidates_have_exactly_the_genres_of_the_query_and_known_words() -> None:
    targets = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    words = [["a", "b"], ["b"], ["a", "b", "b"], ["a", "b"], [], ["a"], ["z"]]
    (found,) = queries_of(targets, words, np.array([0]), 2)
    assert (found.place, found.pool.tolist(), found.gains.tolist()) == (0, [1, 2, 6], [1, 2, 0])
    assert queries_of(targets, words, np.array([0]), 4) == [], "three candidates are too few"
    assert queries_of(targets, words, np.array([3, 4, 5]), 2) == []
    assert queries_of(targets, words, np.array([6]), 2) == [], "nothing is shared"
    assert [query.place for query in queries_of(targets, words, np.array([2, 6, 0]), 3)] == [2, 0]


# ---------------------------------------------------------------- spaces


def test_likeness_is_the_cosine_of_unit_descriptions_side_by_side() -> None:
    rng = np.random.default_rng(0)
    plot, poster = rng.standard_normal((5, 4)).astype(np.float32), rng.standard_normal((5, 3)).astype(np.float32)
    words = sp.csr_matrix(rng.random((5, 6)).astype(np.float32) * (rng.random((5, 6)) < 0.7))
    here = np.array([True, True, False, True, False])
    space = Space([[block(plot), block(words)], [block(poster * here[:, None], here)]], 5)

    def whole(row: int) -> np.ndarray:
        parts = [x[row] / np.linalg.norm(x[row]) / np.sqrt(2) for x in (plot, words.toarray())]
        parts.append(poster[row] / np.linalg.norm(poster[row]) * here[row])
        joined = np.concatenate(parts)
        return joined / np.linalg.norm(joined)

    expected = [[float(whole(one) @ whole(other)) for other in range(5)] for one in (2, 0)]
    assert space.likeness(np.array([2, 0])) == pytest.approx(np.array(expected), abs=1e-6)


def test_unknown_titles_come_last_and_an_unknown_query_tells_nothing() -> None:
    space = Space.of_vectors(np.array([[1, 0], [0, 0], [-1, 0]], np.float32))
    assert space.likeness(np.array([0, 1])).tolist() == [[1, -np.inf, -1], [0, 0, 0]]
    assert Space([], 3).likeness(np.array([2])).tolist() == [[0, 0, 0]]


def test_raw_spaces_are_every_block_and_all_of_them() -> None:
    dense, sparse = block(np.eye(3, dtype=np.float32)), block(sp.csr_matrix(np.eye(3, dtype=np.float32)))
    features = Features(["a", "b", "c"], {"plot.tfidf": sparse, "plot.minilm": dense, "credits.standing": dense})
    assert list(raw_spaces(features)) == ["raw plot.tfidf", "raw plot.minilm", "raw side by side"]
    assert raw_text(features) == "raw plot.minilm"
    one = Features(["a", "b", "c"], {"plot.tfidf": sparse})
    assert (list(raw_spaces(one)), raw_text(one)) == (["raw plot.tfidf"], "")


def test_measures_are_those_of_a_loop_and_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    n = 40
    targets = (rng.random((n, 3)) < 0.5).astype(np.float32)
    targets[:, 0] = 1
    words = [list(rng.choice(list("abcdef"), 3, replace=False)) for _ in range(n)]
    vectors = rng.standard_normal((n, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = np.arange(0, n, 2)
    queries = {"letters": queries_of(targets, words, asked, 5)}
    found = measured(Space.of_vectors(vectors), queries, targets, asked, 4)
    assert len(queries["letters"]) > 5
    for place, query in enumerate(queries["letters"]):
        alike = vectors[query.pool] @ vectors[query.place]
        assert found["letters/ndcg"][place] == pytest.approx(ndcg_score([query.gains], [alike], k=4))
        nearest = np.argsort(-alike)[:4]
        share = np.count_nonzero(query.gains[nearest]) / np.count_nonzero(query.gains)
        assert found["letters/recall"][place] == pytest.approx(share)
    for place, title in enumerate(asked):
        order = [other for other in np.argsort(-(vectors @ vectors[title])) if other != title][:4]
        sets = [set(np.flatnonzero(row)) for row in targets]
        overlaps = [len(sets[title] & sets[other]) / len(sets[title] | sets[other]) for other in order]
        assert found[GENRES][place] == pytest.approx(np.mean(overlaps))


# ---------------------------------------------------------------- the whole table


def test_every_space_is_a_row(report: RetrievalReport) -> None:
    assert [row.label for row in report.rows] == [
        RANDOM, "raw plot.tfidf", "raw title.tfidf", "raw credits.profile", "raw side by side",
        COARSE, FINE, "fine as it starts", "coarse as published", "fine as published",
    ]  # fmt: skip
    assert [row.n_seeds for row in report.rows] == [1] * 5 + [2] * 5
    assert report.n_trained == 6
    assert report.text == "", "TF-IDF is no dense text"
    assert any("fine-grained space: plot counts" in note for note in report.row(FINE).notes)
    for row in report.rows:
        assert set(row.figures) == {"keywords/ndcg", "keywords/recall", GENRES}
        for figure in row.figures.values():
            assert 0 <= figure.interval.low <= figure.mean <= figure.interval.high <= 1
            assert set(figure.against) == ({COARSE} if row.label != COARSE else set())


def test_words_tell_plots_apart_and_not_a_random_order(report: RetrievalReport) -> None:
    assert report.row("raw plot.tfidf").figures["keywords/ndcg"].mean > report.row(RANDOM).figures["keywords/ndcg"].mean
    assert report.row(COARSE).figures[GENRES].mean > report.row(RANDOM).figures[GENRES].mean


def test_differences_are_paired_by_query_over_the_means_of_seeds(folder: Path, report: RetrievalReport) -> None:
    trial = trial_of(folder)
    entries = {
        entry.label: entry for entry in benchmark("retrieval-table").reading(("plot", "title", "credits")).entries
    }
    kept = [trial.find(entries["coarse and fine"], seed) for seed in (0, 1)]
    coarse, fine = (
        np.mean([one.spaces[name]["keywords/ndcg"] for one in kept if one is not None], axis=0)
        for name in (COARSE, FINE)
    )
    figure = report.row(FINE).figures["keywords/ndcg"]
    assert figure.mean == pytest.approx(fine.mean())
    assert figure.against[COARSE] == compare_means(coarse, fine, BootstrapConfig(n_resamples=20))
    assert figure.std is not None
    assert report.row(RANDOM).figures["keywords/ndcg"].std is None


def trial_of(folder: Path, **changes: Any) -> Trial:
    from reeltag.benchmark.inputs import Inputs
    from reeltag.benchmark.settings import model_settings

    own = settings(**changes)
    part = partition(sample(), own.labels, own.splits)
    entries = benchmark("retrieval-table").reading(own.features.modalities).entries
    inputs = Inputs(sample(), part, own, folder=folder / "graphs")
    return Trial(folder / "runs", inputs, sample(), model_settings(entries, own.models), MEASURE)


def test_the_fine_space_as_it_starts_is_not_trained_whatever_is_set(folder: Path) -> None:
    trial = trial_of(folder, models={**MODELS, "training": {"epochs": 3}, "fine": {**FINE_TINY, "epochs": 9}})
    entries = {
        entry.label: entry for entry in benchmark("retrieval-table").reading(("plot", "title", "credits")).entries
    }
    start, trained = (trial.settings_of(entries[name]) for name in ("fine as it starts", "coarse and fine"))
    assert (start["fine"]["epochs"], start["training"]["epochs"]) == (0, 1)
    assert (trained["fine"]["epochs"], trained["training"]["epochs"]) == (9, 3)
    bent = trial_of(folder, models={**MODELS, "training": {"epochs": 3}, "fine": {**FINE_TINY, "start": "coarse"}})
    assert bent.settings_of(entries["fine as it starts"])["training"]["epochs"] == 3
    assert trial.settings_of(entries["as published"])["fine"]["start"] == "coarse"


def test_isometric_projections_read_nothing_of_the_coarse_network(folder: Path) -> None:
    from reeltag.config import from_json
    from reeltag.models import GatingConfig

    trial = trial_of(folder)
    part, inputs = trial.inputs.part, trial.inputs
    (entry,) = [
        e
        for e in benchmark("retrieval-table").reading(("plot", "title", "credits")).entries
        if e.label == "fine as it starts"
    ]
    features, targets = inputs.of(entry, part.train), part.targets_of(part.train)
    told = trial.settings_of(entry)
    spaces = [
        GatingModel(from_json(GatingConfig, {**told, "training": {**told["training"], "epochs": n}}, "x"), seed=1)
        .fit(features, targets)
        .embed(features)
        for n in (1, 3)
    ]
    assert np.array_equal(*spaces)


def test_a_second_call_measures_nothing(folder: Path, report: RetrievalReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "make", lambda *_: pytest.fail("measured again"))
    again = run(folder, n_seeds=2)
    assert again.n_trained == 0
    assert again.to_json() == report.to_json()
    assert run(folder, n_seeds=2, only=("raw",)).rows[0].label == RANDOM


def test_other_measures_are_other_files_and_damaged_ones_are_made_again(tmp_path: Path) -> None:
    only = ("raw", "fine as it starts")
    assert run(tmp_path, only=only).n_trained == 1
    files = sorted((tmp_path / "runs" / "clean").glob("spaces-*.safetensors"))
    assert len(files) == 2
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    assert run(tmp_path, only=only).n_trained == 1
    assert all(len(path.read_bytes()) == len(content) for path, content in before.items())
    assert run(tmp_path, replace(MEASURE, k=3), only=only).n_trained == 1
    assert run(tmp_path, replace(MEASURE, split="validation"), only=only).queries["keywords"][0] > 0


def test_the_report_is_written(folder: Path, report: RetrievalReport) -> None:
    import json

    kept = json.loads((folder / "retrieval-table-clean.json").read_text("utf-8"))
    assert kept["rows"][0]["label"] == RANDOM
    assert kept["measure"] == {"words": ["keywords"], "split": "test", "k": 10, "smallest_pool": 3}
    text = (folder / "retrieval-table-clean.md").read_text("utf-8")
    n, _ = report.queries["keywords"]
    assert f"## nDCG@10 on shared keywords: {n} queries" in text
    assert "## Genre overlap of the 10 nearest among all titles: 24 queries" in text
    (_, header, lines), _ = retrieval_tables(report)
    assert header == ["space", "nDCG@10", "95 % interval", "minus coarse", "p"]
    assert [line[0] for line in lines] == [row.label for row in report.rows]
    assert lines[5][3:] == ["–", "–"]


def test_several_fields_count_alone_and_together(tmp_path: Path) -> None:
    films = catalogue({**row, "keywords": row["keywords"] if number % 3 else []} for number, row in enumerate(rows()))
    both = RetrievalConfig(words=("keywords", "moods"), smallest_pool=3)
    assert both.sets == {"keywords": ("keywords",), "moods": ("moods",), "keywords + moods": ("keywords", "moods")}
    found = run_retrieval(films, tmp_path, RetrievalRun(config=settings(only=("raw",)), measure=both))
    assert found.queries["keywords"][0] < found.queries["moods"][0] <= found.queries["keywords + moods"][0]
    assert all("moods/recall" in row.figures for row in found.rows)


def test_words_that_a_model_reads_or_learns_are_refused(tmp_path: Path) -> None:
    def refused(told: str, words: tuple[str, ...], **features: Any) -> None:
        own = replace(settings().features, **features)
        with pytest.raises(ConfigError, match=told):
            run(tmp_path, RetrievalConfig(words=words), features=own)

    read = ("plot", "fields")
    refused("must not name a field that is learned; got 'genres'", ("keywords", "genres"))
    refused(
        r"that the models read \(features.fields\); got 'keywords'",
        ("keywords",),
        modalities=read,
        fields=("keywords",),
    )
    refused(
        r"that the models read in credits \(features.vote_fields\); got 'moods'", ("moods",),
        credit_features=("votes",), vote_fields=("moods",),
    )  # fmt: skip
    refused("must name list fields of the catalogue; got 'themes'", ("themes",))
    assert not list(tmp_path.iterdir())


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="split must be one of test, validation; got 'train'"):
        RetrievalConfig(split="train")
    for words, got in (((), "none"), (("tags", "tags"), "tags, tags")):
        with pytest.raises(ConfigError, match=f"one list field or more, each once; got {got}"):
            RetrievalConfig(words=words)
    with pytest.raises(ConfigError, match="retrieval-table is for protocol 'clean' alone; got 'published'"):
        RetrievalRun(config=settings(protocol="published"))
    with pytest.raises(ConfigError, match="retrieval-table measures no labels; run_retrieval runs it"):
        run_benchmark("retrieval-table", sample(), tmp_path)
    with pytest.raises(
        EvaluationError, match=r"no test title has 99 others of the same 'genres' with words in keywords"
    ):
        run(tmp_path, replace(MEASURE, smallest_pool=99))


def test_the_default_experts_are_plot_poster_and_credits() -> None:
    (table,) = RETRIEVAL_BENCHMARKS.values()
    assert default_config(table).features.modalities == ("plot", "poster", "credits")
    labels = [entry.label for entry in table.entries]
    assert labels == ["raw", "coarse and fine", "fine as it starts", "as published"]
    assert all(entry.tokens for entry in table.reading(("image", "plot")).entries[1:])
    assert not any(entry.tokens for entry in table.entries)
