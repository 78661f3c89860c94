"""``reeltag benchmark``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from benchmark.posters import stand_in, with_posters
from benchmark.tiny import GRAPH, MODELS
from reeltag.benchmark import BENCHMARKS, NOT_IN_MMIMDB, RETRIEVAL_BENCHMARKS

from .runner import Commands


def assignments() -> list[str]:
    """Return the tiny settings as options."""
    values = [f"{name}={json.dumps(value)}" for name, value in MODELS.items()]
    values += [f"graph.{name}={json.dumps(value)}" for name, value in GRAPH.items()]
    values += ['features.title_encoders=["tfidf"]', "labels.min_count=3", "bootstrap.n_resamples=20"]
    return [word for value in values for word in ("--set", value)]


OPTIONS: tuple[Any, ...] = (
    "idkg-table2", "films.jsonl", "--out", "bench", "--seeds", "1", "--plot-encoder", "tfidf",
    "--modalities", "plot,title,year,credits", *assignments(),
)  # fmt: skip


def test_a_table_and_where_it_is(reeltag: Commands) -> None:
    result = reeltag("benchmark", *OPTIONS, "--only", "GMU, COCA,IDKG")
    assert result.code == 0, result.err
    assert "IDKG and its rivals (table 2), protocol clean; titles: train 72, validation 24, test 24, graph 82" in (
        result.out
    )
    (gmu,) = [line for line in result.out.splitlines() if line.split()[:1] == ["GMU"] and "0.541" in line]
    assert gmu.split()[-4:] == ["0.630", "0.541", "0.617", "0.630"]
    assert "\nCOCA: not built\n" in result.out
    assert "on a leaky split" in result.out
    assert max(map(len, result.out.partition("note: ")[0].splitlines())) <= 140
    assert result.out.endswith(
        "runs trained now: 2\nreport: bench/idkg-table2-clean.md\nfigures: bench/idkg-table2-clean.json\n"
    )
    text = (reeltag.folder / "bench" / "idkg-table2-clean.md").read_text("utf-8")
    assert "| command | `reeltag benchmark idkg-table2 films.jsonl --out bench" in text
    again = reeltag("benchmark", *OPTIONS, "--only", "GMU,COCA,IDKG")
    assert "runs trained now: 0\n" in again.out


def test_json_is_the_report(reeltag: Commands) -> None:
    result = reeltag("benchmark", *OPTIONS, "--only", "GMU", "--protocol", "published", "--json")
    kept = json.loads((reeltag.folder / "bench" / "idkg-table2-published.json").read_text("utf-8"))
    assert result.json == kept
    assert kept["overlaps"]["train"] > 0.4
    assert kept["config"]["labels"]["exclude"] == list(NOT_IN_MMIMDB)


def test_labels_can_be_left_out(reeltag: Commands) -> None:
    words = ("benchmark", *OPTIONS, "--only", "GMU", "--json")
    assert set(reeltag(*words, "--exclude", "Horror,Western").json["labels"]) == {"Comedy", "Romance"}
    other = reeltag(*words, "--labels", "moods").json
    assert set(other["labels"]) == {"dark", "light"}
    assert other["config"]["labels"]["exclude"] == []


def test_which_titles_are_trained_on(reeltag: Commands) -> None:
    words = ("benchmark", *OPTIONS, "--only", "GMU", "--json")
    more = reeltag(*words, "--train-on-background").json
    assert (more["titles"]["train"], more["config"]["train_on_background"]) == (82, True)
    fewer = reeltag(*words, "--train-on-background", "--needs", "plot, title").json
    assert (fewer["titles"]["train"], fewer["config"]["needs"]) == (72, ["plot", "title"])
    reeltag.fails(*words, "--needs", "cast", because="BenchmarkConfig.needs must be one of plot, title; got 'cast'")


def test_list(reeltag: Commands) -> None:
    result = reeltag("benchmark", "--list")
    assert result.code == 0
    assert all(name in result.out for name in [*BENCHMARKS, *RETRIEVAL_BENCHMARKS])
    assert "MM-GATBT" in result.out
    listed = reeltag("benchmark", "--list", "--json").json
    assert [found["name"] for found in listed] == [*BENCHMARKS, *RETRIEVAL_BENCHMARKS]
    assert listed[0]["entries"] == [asdict(entry)["label"] for entry in BENCHMARKS["idkg-table2"].entries]


def test_mistakes(reeltag: Commands) -> None:
    known = ", ".join([*BENCHMARKS, *RETRIEVAL_BENCHMARKS])
    reeltag.fails("benchmark", because="benchmark needs a recipe and a catalogue; reeltag benchmark --list names the "
                  "recipes")  # fmt: skip
    reeltag.fails("benchmark", "table2", "films.jsonl", because=f"benchmark 'table2' is unknown; known: {known}")
    reeltag.fails(
        "benchmark", *OPTIONS, "--only", "IDGK",
        because="idkg-table2 has no entry 'IDGK'; known: "
        + ", ".join(entry.label for entry in BENCHMARKS["idkg-table2"].entries),
    )  # fmt: skip
    reeltag.fails(
        "benchmark", *OPTIONS, "--against", "IDGK",
        because="idkg-table2 has no entry 'IDGK'; known: "
        + ", ".join(entry.label for entry in BENCHMARKS["idkg-table2"].entries),
    )  # fmt: skip
    reeltag.fails(
        "benchmark", *OPTIONS, "--protocol", "leaky",
        because="BenchmarkConfig.protocol must be one of clean, published; got 'leaky'",
    )  # fmt: skip
    reeltag.fails("benchmark", *OPTIONS, "--set", "dim", because="--set takes PATH=VALUE; got 'dim'")
    reeltag.fails("benchmark", "idkg-table2", "absent.csv", because="absent.csv: no such file")


def test_mistakes_that_would_come_late(reeltag: Commands) -> None:
    words = ("benchmark", *OPTIONS, "--only", "GMU,IDKG")
    result = reeltag(*words, "--set", "graph.training.epochs=-1")
    assert (result.code, result.out) == (2, "")
    assert "LinkTrainingConfig.epochs must be between" in result.err.splitlines()[-1]
    (reeltag.folder / "taken").write_text("a file", encoding="utf-8")
    result = reeltag(*words, "--out", "taken")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("reeltag: taken: cannot be written to (File exists); choose another folder\n")


def test_posters(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = stand_in(monkeypatch)
    films, folder = with_posters(), reeltag.folder / "posters"
    folder.mkdir()
    for title_id, content in films.posters.read(films.ids):
        (folder / f"{title_id}.png").write_bytes(content)
    words = (
        "benchmark", "poster-table", "films.jsonl", "--posters", "posters", "--out", "bench", "--seeds", "1",
        "--poster-encoder", "shade", "--poster-text-encoder", "letters", "--only", "full,GMU", *assignments(),
    )  # fmt: skip
    result = reeltag(*words, "--no-variants", "--json")
    assert result.code == 0, result.err
    features = result.json["config"]["features"]
    assert features["modalities"] == features["tokens"] == ["poster", "poster_text"]
    assert (features["poster_text_encoders"], features["ocr_engine"]) == (["letters"], "rapidocr")
    assert result.json["rows"][0]["variants"] == {}
    assert engine.widths == {20}
    shown = reeltag(*words)
    assert "(the main result and the ablations), protocol clean" in shown.out
    assert "words by tesserocr: not run" in shown.out
    assert "by decade of release" in shown.out
    tables = shown.out.partition("\nwords by tesserocr: not run: ")[0].splitlines()[1:]
    assert max(map(len, tables)) <= 140
    image = reeltag(*words, "--no-variants", "--modalities", "poster", "--only", "image only", "--json").json
    assert image["config"]["features"]["modalities"] == ["poster"]
    assert image["rows"][0]["blocks"] == ["poster.shade"]
    other = reeltag(*words, "--no-variants", "--ocr-engine", "tesserocr")
    assert other.code == 2 and "needs the package 'tesserocr'" in other.err


def test_rows_of_the_trailer_table_are_made_from_the_modalities(reeltag: Commands) -> None:
    words = ("benchmark", "trailer-table", "films.jsonl", "--out", "bench", "--seeds", "1", "--plot-encoder", "tfidf",
             *assignments(), "--modalities", "plot,title,credits")  # fmt: skip
    result = reeltag(*words, "--only", "plot + title,full")
    assert result.code == 0, result.err
    assert "runs trained now: 2\nreport: bench/trailer-table-clean.md\n" in result.out
    assert "for scale" in result.out
    told = reeltag(*words, "--only", "plot + title,full", "--json").json
    assert [row["label"] for row in told["rows"]] == ["plot + title", "full"]
    assert all(0 < row["areas"]["weighted_auprc"]["mean"] <= 1 for row in told["rows"])
    reeltag.fails(*words, "--only", "image", because="trailer-table has no entry 'image'; known: random, plot, title, "
                  "credits, plot + title, plot + credits, title + credits, naive concat, full, full as star, "
                  "as published, early fusion, GMU")  # fmt: skip
    reeltag.fails(*words, "--words", "tags", because="--words and --split are for retrieval-table; got trailer-table")


def test_an_encoder_of_trailers_adds_its_modality(reeltag: Commands) -> None:
    result = reeltag(
        "benchmark", "trailer-table", "films.jsonl", "--only", "scene + image", "--scene-encoder", "descriptors"
    )
    assert result.code == 2
    assert "image + motion, image + audio, image + scene, naive concat" in result.err.replace("\n", " ")


def test_neighbours_are_measured(reeltag: Commands) -> None:
    fine = json.dumps({"dim": 8, "out": 4, "batch_size": 16, "epochs": 1, "weigh": False})
    words = ("benchmark", "retrieval-table", "films.jsonl", "--out", "bench", "--seeds", "1", "--plot-encoder", "tfidf",
             *assignments(), "--modalities", "plot,title", "--set", f"fine={fine}")  # fmt: skip
    result = reeltag(*words, "--words", "keywords", "--split", "test", "--only", "raw,coarse and fine")
    assert result.code == 0, result.err
    assert "nDCG@10 on shared keywords: 16 queries, 21 candidates each (median)" in result.out
    assert "Genre overlap of the 10 nearest among all titles: 24 queries" in result.out
    assert result.out.endswith(
        "models trained now: 1\nreport: bench/retrieval-table-clean.md\nfigures: bench/retrieval-table-clean.json\n"
    )
    asked = (*words, "--words", "keywords", "--only", "raw,coarse and fine", "--json")
    told, kept = (
        reeltag(*asked).json,
        json.loads((reeltag.folder / "bench/retrieval-table-clean.json").read_text("utf-8")),
    )
    assert told == kept
    assert told["measure"]["words"] == ["keywords"]
    reeltag.fails(*words, "--words", "genres",
                  because="RetrievalConfig.words must not name a field that is learned; got 'genres'")  # fmt: skip
    reeltag.fails(*words, "--split", "train",
                  because="RetrievalConfig.split must be one of test, validation; got 'train'")  # fmt: skip
    reeltag.fails(*words, "--against", "coarse", because="retrieval-table tests every space against the raw text and "
                  "the coarse one; give no --against")  # fmt: skip
    reeltag.fails(*words, "--protocol", "published",
                  because="retrieval-table is for protocol 'clean' alone; got 'published'")  # fmt: skip
