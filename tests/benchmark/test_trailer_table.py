"""``trailer-table``: its rows for any experts, its figures, and what it reads of trailers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from encoders.trailers.scripted import Loudness, Reader, Shade, trailers
from reeltag.benchmark import (
    BenchmarkConfig,
    BenchmarkReport,
    Entry,
    benchmark,
    default_config,
    run_benchmark,
    short_tables,
    to_markdown,
)
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.protocols import partition
from reeltag.benchmark.published import TRAILER_PAPER
from reeltag.benchmark.runs import Run
from reeltag.benchmark.weighted import AREAS, AUPRC, AUROC, DECIDED, PRECISION, RECALL
from reeltag.catalogue import Catalogue
from reeltag.encoders.trailers import SHOT_EXPERTS
from reeltag.errors import ConfigError
from reeltag.evaluation import AT_HALF, GLOBAL
from reeltag.labels import LabelConfig, LabelSpace
from samples import GENRES, sample

from .tiny import FEATURES, MODELS, config

TABLE = benchmark("trailer-table")
EXPERTS = ("plot", "title", "credits")
ONLY = ("plot", "naive concat", "full", "full as star", "as published", "GMU", "random")


def settings(**changes: object) -> BenchmarkConfig:
    return config(features=replace(FEATURES, modalities=EXPERTS), **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trailers")


@pytest.fixture(scope="module")
def report(folder: Path) -> BenchmarkReport:
    return run_benchmark("trailer-table", sample(), folder, settings(n_seeds=2, only=ONLY))


def labels_of(*modalities: str) -> list[str]:
    return [entry.label for entry in TABLE.reading(modalities).entries]


def kept(folder: Path, run: Run) -> tuple[dict[str, object], np.ndarray]:
    """Return a kept run and its probabilities."""
    for path in (folder / "runs" / "clean").glob("*.json"):
        data = json.loads(path.read_text("utf-8"))
        if data["depends_on"] == run.depends_on:
            return data, load_file(path.with_suffix(".safetensors"))["probabilities"]
    raise AssertionError(run.entry)


def test_the_rows_of_the_paper_are_listed() -> None:
    printed = {entry.published[1]: entry.label for entry in TABLE.entries if entry.published}
    assert printed == {
        "Random": "random", "Scene": "scene", "Audio": "audio", "Motion": "motion", "Image": "image",
        "Image + Audio": "image + audio", "Image + Motion": "image + motion", "Image + Scene": "image + scene",
        "Naive Concat": "naive concat", "MMX-Trailer-20": "as published",
    }  # fmt: skip
    assert TABLE.reading(("image", "scene", "motion", "audio")) == TABLE


def test_rows_are_made_from_the_modalities_that_are_asked_for() -> None:
    joined = ["naive concat", "full", "full as star", "as published", "early fusion", "GMU"]
    assert labels_of("plot", "poster", "credits") == [
        "random", "plot", "poster", "credits", "plot + poster", "plot + credits", "poster + credits", *joined,
    ]  # fmt: skip
    assert labels_of("plot", "poster") == ["random", "plot", "poster", *joined]
    four = labels_of("plot", "image", "audio", "poster")
    assert four[5:8] == ["image + plot", "image + audio", "image + poster"]
    assert labels_of("plot", "title", "year", "poster")[5:8] == ["plot + title", "plot + year", "plot + poster"]
    with pytest.raises(ConfigError, match="trailer-table compares experts and needs two modalities; got plot"):
        TABLE.reading(("plot",))


def test_experts_alone_have_figures_of_the_paper_where_it_has_the_same() -> None:
    rows = {entry.label: entry for entry in TABLE.reading(("plot", "poster", "credits")).entries}
    assert {name for name, entry in rows.items() if entry.published} == {"random", "naive concat", "as published"}


def test_gated_rows_differ_in_what_they_say_and_have_no_fine_stage() -> None:
    rows = {entry.label: entry for entry in TABLE.entries if entry.model == "gating"}
    assert all(entry.settings["fine_stage"] is False for entry in rows.values())
    assert (rows["naive concat"].settings["join"], rows["full as star"].settings["join"]) == ("concat", "star")
    assert rows["full"].settings == rows["image"].settings == {"fine_stage": False}
    assert rows["as published"].settings["dim"] == 768
    assert rows["image + audio"].reads == ("image", "audio")
    assert all(entry.reads == ("image", "scene", "motion", "audio") for entry in TABLE.entries[-6:])


def test_the_default_reads_what_needs_no_download() -> None:
    features = default_config(TABLE).features
    assert features.modalities == ("image", "motion", "audio")
    assert features.tokens == ("image", "scene", "motion", "audio")


def test_published_figures_are_those_of_the_seed() -> None:
    full = next(entry for entry in TABLE.entries if entry.label == "as published").published_row
    assert full is not None and full.paper is TRAILER_PAPER
    assert full.to_json() == {"MMX-Trailer-20": {"weighted_f1": 0.597, AUROC: 0.583, PRECISION: 0.554, RECALL: 0.697}}
    for told in ("8,803 trailers", "deals out scenes", ".134 for random scores", "for scale"):
        assert told in TRAILER_PAPER.warning


def test_a_row_that_is_never_run_shows_what_was_printed(report: BenchmarkReport) -> None:
    row = report.row("random")
    assert (row.why_not, row.runs) == ("not run: scores of no model", ())
    assert "| random | not run: scores of no model |" in to_markdown(report)
    assert "0.318 / 0.134 / 0.190 / 1.000" in to_markdown(report)


@pytest.mark.parametrize("label", ["full", "GMU"])
def test_weighted_figures_agree_with_scikit_learn(folder: Path, report: BenchmarkReport, label: str) -> None:
    films = sample()
    space = LabelSpace(tuple(report.labels), LabelConfig())
    truth = space.encode(films.take(films.rows_of("test")).lists("genres"))[0]
    areas, decided = [], []
    for run in report.row(label).runs:
        _, probabilities = kept(folder, run)
        areas.append([f(truth, probabilities, average="weighted") for f in (roc_auc_score, average_precision_score)])
        said = probabilities >= np.float32(run.threshold)
        decided.append([f(truth, said, average="weighted", zero_division=0) for f in (precision_score, recall_score)])
    row = report.row(label)
    for name, values in zip((AUROC, AUPRC), np.transpose(areas), strict=True):
        found = row.figure(GLOBAL, name)
        assert found is not None and found.mean == pytest.approx(values.mean())
        assert row.figure(AT_HALF, name) == found, "no threshold"
    for name, values in zip((PRECISION, RECALL), np.transpose(decided), strict=True):
        found = row.figure(GLOBAL, name)
        assert found is not None and found.mean == pytest.approx(values.mean())


def test_weighted_figures_are_in_the_report(report: BenchmarkReport) -> None:
    row = next(row for row in report.to_json()["rows"] if row["label"] == "full")
    assert list(row["areas"]) == list(AREAS)
    assert list(row["weighted"][GLOBAL]) == list(DECIDED)
    text = to_markdown(report)
    assert "| AUROC (weighted) | AUPRC (weighted) | precision (weighted) | recall (weighted) |" in text
    assert "Weighted figures are means over the labels" in text
    assert "F1 per label at the global threshold" in text
    header = short_tables(report)[0][1]
    assert header[3:] == ["weighted F1", "AUROC", "AUPRC", "precision", "recall",
                          "weighted", "AUROC", "precision", "recall"]  # fmt: skip
    assert not any("±" in cell for line in short_tables(report)[0][2] for cell in line), "means alone"


def test_runs_of_earlier_versions_show_a_dash(folder: Path, report: BenchmarkReport) -> None:
    run = report.row("full").runs[0]
    figures = {rule: {k: v for k, v in own.items() if k not in DECIDED} for rule, own in run.figures.items()}
    old = replace(report.row("full"), runs=(replace(run, figures=figures, areas={}),))
    assert old.figure(GLOBAL, AUROC) is None and old.figure(GLOBAL, PRECISION) is None
    rows = tuple(old if row.entry.label == "full" else row for row in report.rows)
    line = next(x for x in to_markdown(replace(report, rows=rows)).splitlines() if x.startswith("| full |"))
    assert line.count("–") >= 4


def test_a_second_call_trains_nothing_and_another_choice_of_experts_shares_runs(folder: Path) -> None:
    again = run_benchmark("trailer-table", sample(), folder, settings(n_seeds=2, only=ONLY))
    assert again.n_trained == 0
    other_stage = settings(models={**MODELS, "fine": {"epochs": 7}}, n_seeds=2, only=ONLY)
    assert run_benchmark("trailer-table", sample(), folder, other_stage).n_trained == 0, "no row has that stage"
    fewer = replace(FEATURES, modalities=("plot", "title"))
    assert run_benchmark("trailer-table", sample(), folder, config(features=fewer, only=("plot",))).n_trained == 0


def test_unknown_rows_are_named_among_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trailer-table has no entry 'image'; known: random, plot, title, credits, "):
        run_benchmark("trailer-table", sample(), tmp_path, settings(only=("image",)))


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The sample with trailers whose brightness tells the genre; every third one is silent."""
    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.ShotReader", Reader())
    for modality in ("image", "motion"):
        monkeypatch.setitem(SHOT_EXPERTS[modality], "shade", lambda _: Shade())
    monkeypatch.setitem(SHOT_EXPERTS["audio"], "loudness", lambda _: Loudness())
    films = sample()
    greys = [60 * GENRES.index(genres[0]) for genres in films.lists("genres")]
    scripts = {i: f"{grey}{'s' if n % 3 else ''} 7" for n, (i, grey) in enumerate(zip(films.ids, greys, strict=True))}
    return replace(films, trailers=trailers(tmp_path / "videos", scripts))


def test_trailers_are_read_shot_by_shot_by_gated_rows_alone(films: Catalogue, tmp_path: Path) -> None:
    features = replace(
        default_config(TABLE).features,
        image_encoders=("shade",), motion_encoders=("shade",), audio_encoders=("loudness",),
    )  # fmt: skip
    own = config(features=features, only=("image", "image + audio", "full", "early fusion"))
    part = partition(films, own.labels, own.splits)
    inputs = Inputs(films, part, own, folder=tmp_path / "graphs", cache=tmp_path / "cache")
    rows = {entry.label: entry for entry in TABLE.reading(features.modalities).entries}

    def read(entry: Entry) -> tuple[list[str], list[str]]:
        found = inputs.of(entry, part.test)
        return list(found.tokens), list(found.blocks)

    assert read(rows["image + audio"]) == (["image.shade", "audio.loudness"], [])
    assert read(rows["early fusion"]) == ([], ["image.shade", "motion.shade", "audio.loudness"])
    report = run_benchmark("trailer-table", films, tmp_path / "out", own, cache=tmp_path / "cache")
    assert report.n_trained == 4
    assert report.row("full").modalities == ("image", "motion", "audio")
    assert "scene" not in [row.entry.label for row in report.rows]
    assert report.row("image").f1(GLOBAL, "weighted_f1").mean > 0
