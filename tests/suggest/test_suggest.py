"""Suggestions: titles without labels, those already answered left out, with reasons that hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue
from reeltag.errors import CatalogueError, ConfigError, ReeltagError, SplitError
from reeltag.suggest import STRATEGIES, Candidates, Suggestions, read_ids, suggest
from reeltag.suggest.suggest import reasons
from samples import catalogue, changed, fitted, rows

NEW = tuple(row["id"] for row in rows() if row["split"] == "test")


def films() -> Catalogue:
    """Return the sample, the labels of its test titles unknown."""
    return changed(lambda row: row | {"genres": []}, "test")


def found(n: int = 6, **settings: object) -> Suggestions:
    return suggest(fitted(), films(), n, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_titles_without_labels_are_suggested_each_once(strategy: str) -> None:
    told = found(strategy=strategy)
    assert len(told) == len(set(told.ids)) == 6
    assert set(told.ids) <= set(NEW)
    assert (told.strategy, told.n_candidates) == (strategy, 24)
    titles = {row["id"]: row["title"] for row in rows()}
    assert told.titles == tuple(titles[title_id] for title_id in told.ids)
    assert all(told.reasons)
    assert np.isfinite(told.scores).all()


def test_what_is_chosen_is_what_the_strategy_says_of_what_the_tagger_says() -> None:
    tagger, new = fitted(), films().take([films().find(title_id) for title_id in NEW])
    features = tagger.features(new)
    of = Candidates(
        probabilities=tagger.tag(new).probabilities,
        thresholds=tagger.tag(new).thresholds,
        embeddings=tagger.fitted.model.embed(features),
        counts=np.array(tagger.labels.counts),
        labelled=tagger.fitted.neighbours.vectors.astype(np.float32),
    )
    for strategy, chosen in STRATEGIES.items():
        expected = chosen(of, 5, np.random.default_rng(3)).rows
        assert found(5, strategy=strategy, seed=3).ids == tuple(NEW[row] for row in expected)


def test_fewer_than_asked_are_all_there_are() -> None:
    assert sorted(found(1000).ids) == sorted(NEW)


def test_titles_that_are_done_are_left_out() -> None:
    first = found()
    second = found(done=first.ids)
    assert not set(first.ids) & set(second.ids)
    assert second.n_candidates == 18
    assert found(done=[*first.ids, "in no catalogue", "t000"]) == second


def test_done_titles_count_as_labelled() -> None:
    """Of two copies of a title, one done, the other is no longer new."""
    new = [row | {"genres": []} for row in rows() if row["split"] == "test"]
    copy = new[0] | {"id": "copy"}
    of = catalogue([*new, copy])
    order = suggest(fitted(), of, 25, strategy="diversity", done=[new[0]["id"]])
    assert order.ids[-1] == "copy"
    assert order.scores[-1] == pytest.approx(0, abs=1e-3)


def test_same_seed_same_suggestions_and_only_random_depends_on_it() -> None:
    assert found(strategy="random", seed=1) == found(strategy="random", seed=1)
    assert found(strategy="random", seed=1).ids != found(strategy="random", seed=2).ids
    assert found(seed=1) == found(seed=2)


def test_labels_unknown_for_want_of_the_field() -> None:
    bare = catalogue([row for row in rows() if row["split"] == "test"], without=("genres", "split"))
    assert set(suggest(fitted(), bare, 3).ids) <= set(NEW)


def test_nothing_to_suggest_is_an_error() -> None:
    labelled = catalogue()
    with pytest.raises(SplitError, match=r"^films\.jsonl: all 130 titles have labels in 'genres'$"):
        suggest(fitted(), labelled, 5)
    with pytest.raises(SplitError, match=r"all 130 titles have labels in 'genres' or are done \(24\)"):
        suggest(fitted(), films(), 5, done=NEW)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match=r"suggest\.n must be between 1"):
        found(0)
    with pytest.raises(ConfigError, match=r"suggest\.strategy must be one of mixed, .*; got 'best'"):
        found(strategy="best")


# reasons

LABELS = ("Heist", "Dark Comedy", "Samurai", "Satire", "Parody")


def explained(*probabilities: list[float], near: tuple[int, ...] = ()) -> tuple[str, ...]:
    """Return reasons for the first of the rows, others being far from every threshold and near the labelled titles."""
    n = 40
    p = np.full((n, 5), 0.001, np.float32)
    p[: len(probabilities)] = probabilities
    vectors = np.zeros((n, 2), np.float32)
    vectors[:, 0] = 1
    vectors[: len(probabilities)] = [0, 1]
    vectors[list(near)] = [1, 0]
    of = Candidates(
        probabilities=p,
        thresholds=np.full(5, 0.4, np.float32),
        embeddings=vectors,
        counts=np.array([100, 100, 8, 100, 1]),
        labelled=np.array([[1, 0]], np.float32),
    )
    return reasons(of, np.arange(len(probabilities)), LABELS)


def test_reasons_in_words() -> None:
    assert explained(
        [0.48, 0.41, 0.01, 0.01, 0.01],
        [0.01, 0.98, 0.30, 0.01, 0.25],
        [0.01, 0.98, 0.01, 0.01, 0.01],
        [0.45, 0.01, 0.45, 0.01, 0.01],
        near=(0, 1, 2),
    ) == (
        "unsure about Dark Comedy (.41), Heist (.48)",
        "may be one of few: Parody (1 film), Samurai (8 films)",
        "likely Dark Comedy (.98)",
        "unsure about Heist (.45); may be one of few: Samurai (8 films); unlike anything labelled",
    )


def test_three_labels_are_told_at_most() -> None:
    of = Candidates(
        probabilities=np.full((1, 5), 0.4, np.float32),
        thresholds=np.full(5, 0.4, np.float32),
        embeddings=np.ones((1, 1), np.float32),
        counts=np.full(5, 9),
        labelled=np.ones((1, 1), np.float32),
    )
    assert reasons(of, np.array([0]), LABELS) == ("unsure about Heist (.40), Dark Comedy (.40), Samurai (.40)",)


def test_certainty_is_written_whole() -> None:
    assert explained([0.001, 1.0, 0.001, 0.001, 0.001], near=(0,)) == ("likely Dark Comedy (1.00)",)


# files


@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet", "deep/S.CSV"])
def test_suggestions_are_written_and_read_back_as_done(tmp_path: Path, name: str) -> None:
    told = found()
    path = told.write(tmp_path / name)
    assert read_ids(path) == list(told.ids)
    assert told.to_frame().columns == ["id", "title", "score", "why"]
    kind = path.suffix.lower()
    frame = pl.read_csv(path) if kind == ".csv" else pl.read_ndjson(path) if kind == ".jsonl" else pl.read_parquet(path)
    assert frame["why"].to_list() == list(told.reasons)
    np.testing.assert_allclose(frame["score"].to_list(), told.scores, rtol=1e-6)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReeltagError, match=r"s\.xlsx: predictions are written as"):
        found().write(tmp_path / "s.xlsx")


def test_ids_one_per_line(tmp_path: Path) -> None:
    path = tmp_path / "done.txt"
    path.write_text("tt1\n\n  tt2 \ntt3", encoding="utf-8")
    assert read_ids(path) == ["tt1", "tt2", "tt3"]
    path.write_text("", encoding="utf-8")
    assert read_ids(path) == []


def test_ids_of_numbers_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("title,id\nOne,007\nTwo,8\nThree,\n", encoding="utf-8")
    assert read_ids(tmp_path / "a.csv") == ["007", "8"]
    (tmp_path / "a.jsonl").write_text('{"id": 7}\n{"id": 8}\n', encoding="utf-8")
    assert read_ids(tmp_path / "a.jsonl") == ["7", "8"]


def test_ids_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("film\ntt1\n", encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"a\.csv: needs a column 'id'; got film"):
        read_ids(tmp_path / "a.csv")
    with pytest.raises(CatalogueError, match=r"b\.txt: no such file"):
        read_ids(tmp_path / "b.txt")
    for name in ("c.parquet", "c.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 damaged")
        with pytest.raises(CatalogueError, match=r"c\.\w+: ids cannot be read"):
            read_ids(tmp_path / name)
