"""Benchmarks that are asked about rare labels, and what older runs and many labels do to a report."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from reeltag.benchmark import Benchmark, BenchmarkReport, Entry, run_benchmark, short_tables, to_markdown
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.long_tail import COVERAGE, KS, RANKING_METRICS, ranking_figures, tail_figures
from reeltag.benchmark.protocols import partition
from reeltag.benchmark.published import HIT, METRICS, XMLC_PAPER
from reeltag.calibration import CalibrationConfig, choose_thresholds
from reeltag.catalogue import Catalogue
from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    BootstrapConfig,
    EvaluationConfig,
    TrainingCounts,
    Truth,
    evaluate_predictions,
    group_labels,
    label_coverage,
    label_propensities,
    macro_f1,
    micro_f1,
    ndcg_at_k,
    precision_at_k,
    propensity_scored_precision_at_k,
)
from reeltag.labels import LabelConfig
from reeltag.models import MODELS
from samples import catalogue, rows, sample

from .tiny import FEATURES, config

PLOTS = replace(FEATURES, modalities=("plot",))
OWN = Benchmark(
    name="tails",
    title="Rare labels",
    source="table 3",
    paper=XMLC_PAPER,
    entries=(
        Entry(label="linear", model="linear", published=("xmlc table 3", "BERT")),
        Entry(label="early", model="early"),
        Entry(label="never", why_not="not built"),
    ),
    reference="linear",
    metrics=(*METRICS, "P@1", "PSP@5"),
    long_tail=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tails")


@pytest.fixture(scope="module")
def report(folder: Path) -> BenchmarkReport:
    return run_benchmark(OWN, sample(), folder, config(features=PLOTS, n_seeds=2))


def kept(folder: Path, report: BenchmarkReport, label: str, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the JSON and the arrays of a run."""
    found = report.row(label).runs[seed]
    for path in (folder / "runs" / "clean").glob("*.json"):
        data = json.loads(path.read_text("utf-8"))
        if data["depends_on"] == found.depends_on:
            return data, load_file(path.with_suffix(".safetensors"))
    raise AssertionError(label)


def table_of(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the report."""
    lines = text.partition(f"## {heading}\n\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_figures_of_a_run_are_those_of_its_probabilities(folder: Path, report: BenchmarkReport) -> None:
    part = partition(sample(), report.config.labels, report.config.splits)
    data, arrays = kept(folder, report, "early", 1)
    truth, said = part.truth, arrays["probabilities"]
    propensities = label_propensities(part.training_counts, len(part.train))
    expected = {f"P@{k}": precision_at_k(truth, said, k) for k in KS}
    expected |= {f"nDCG@{k}": ndcg_at_k(truth, said, k) for k in (3, 5)}
    expected |= {f"PSP@{k}": propensity_scored_precision_at_k(truth, said, propensities, k) for k in KS}
    assert data["ranking"] == pytest.approx(expected)
    assert list(data["ranking"]) == list(RANKING_METRICS)
    decided = said >= arrays["thresholds.per_label"]
    for name, columns in group_labels(part.training_counts).items():
        assert data["tail"][name] == pytest.approx(macro_f1(truth[:, columns], decided[:, columns]))
    assert data["tail"][COVERAGE] == label_coverage(truth, decided)
    assert data["figures"][PER_LABEL]["micro_f1"] == pytest.approx(micro_f1(truth, decided))
    assert [set(label["f1"]) for label in data["labels"]] == [{AT_HALF, GLOBAL, PER_LABEL}] * len(part.labels)


def test_thresholds_per_label_are_chosen_on_the_validation_titles(folder: Path, report: BenchmarkReport) -> None:
    settings = report.config
    part = partition(sample(), settings.labels, settings.splits)
    inputs, entry = Inputs(sample(), part, settings, folder=folder / "graphs"), OWN.entries[0]
    model = MODELS["linear"](MODELS["linear"].config_class(), seed=0)
    model.fit(inputs.of(entry, part.train), part.targets_of(part.train))
    chosen = choose_thresholds(
        model.predict_proba(inputs.of(entry, part.validation)),
        part.targets_of(part.validation),
        CalibrationConfig().shrinkage,
    )
    data, arrays = kept(folder, report, "linear", 0)
    np.testing.assert_allclose(arrays["thresholds.per_label"], chosen["per_label"], atol=1e-4)
    assert data["threshold"] == pytest.approx(float(chosen["global"][0]), abs=1e-4)


def test_rows_mean_their_seeds(report: BenchmarkReport) -> None:
    row = report.row("early")
    for metric in RANKING_METRICS:
        found = row.figure(GLOBAL, metric)
        assert found is not None
        assert found.mean == pytest.approx(np.mean([run.ranking[metric] for run in row.runs]))
        assert row.figure(AT_HALF, metric) == found, "the order of labels knows no threshold"
    coverage = row.tail(COVERAGE)
    assert coverage is not None and coverage.mean == pytest.approx(np.mean([run.tail[COVERAGE] for run in row.runs]))


def test_json_of_the_report_holds_everything(report: BenchmarkReport) -> None:
    row = report.to_json()["rows"][1]
    assert set(row["figures"]) == {AT_HALF, GLOBAL}
    assert list(row[PER_LABEL]) == [*METRICS, HIT]
    assert list(row["ranking"]) == list(RANKING_METRICS)
    assert list(row["tail"]) == ["head", "middle", "tail", COVERAGE]
    assert row["tail"]["tail"]["mean"] == report.row("early").tail("tail").mean  # type: ignore[union-attr]
    assert set(row["labels"]) == {AT_HALF, GLOBAL, PER_LABEL}
    assert "ranking" not in report.to_json()["rows"][2]


def test_the_section_has_a_row_for_every_entry(folder: Path, report: BenchmarkReport) -> None:
    text = (folder / "tails-clean.md").read_text("utf-8")
    header, _, linear, early, never = table_of(text, "Long tail: at thresholds per label, and without thresholds")
    assert header == [
        "model", "micro F1", "macro F1", "P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@3", "PSP@5", "mAP",
        "macro F1, head", "macro F1, middle", "macro F1, tail", "label coverage", "training (s)",
    ]  # fmt: skip
    row = report.row("early")
    told = dict(zip(header, early, strict=True))
    assert told["micro F1"] == str(row.figure(PER_LABEL, "micro_f1"))
    assert told["PSP@3"] == str(row.figure("", "PSP@3")) and " ± " in told["PSP@3"]
    assert told["macro F1, tail"] == str(row.tail("tail"))
    assert told["label coverage"] == str(row.tail(COVERAGE))
    assert linear[0] == "linear" and "–" not in linear
    assert never == ["never", *["–"] * 15]
    assert "Head, middle and tail are thirds of the labels" in text
    assert XMLC_PAPER.warning in text


def test_ranking_metrics_are_figures_like_others(folder: Path, report: BenchmarkReport) -> None:
    text = (folder / "tails-clean.md").read_text("utf-8")
    table = table_of(text, "At the global threshold, chosen on the validation titles")
    (early,) = [cells for cells in table if cells[0] == "early"]
    assert early[table[0].index("PSP@5")] == str(report.row("early").figure("", "PSP@5"))
    half = table_of(text, "At threshold 0.5, beside the published figures")
    assert half[0][-1] == "published, MoTags: micro / macro"
    assert half[2][-1] == "0.176 / 0.025"


def test_the_short_table_fits_a_terminal(report: BenchmarkReport) -> None:
    (found,) = [table for table in short_tables(report) if table[0].startswith("Long tail")]
    _, header, lines = found
    assert header[-4:] == ["middle", "tail", "covered", "s"]
    assert all(len(line) == len(header) for line in lines)
    assert lines[1][1] == f"{report.row('early').figure(PER_LABEL, 'micro_f1').mean:.3f}"  # type: ignore[union-attr]
    assert sum(max(len(line[n]) for line in [header, *lines]) + 2 for n in range(1, len(header))) < 110


def test_nothing_is_said_of_the_tail_unless_asked(report: BenchmarkReport) -> None:
    plain = replace(report, benchmark=replace(OWN, long_tail=False))
    assert "Long tail" not in to_markdown(plain)
    assert not any(title.startswith("Long tail") for title, *_ in short_tables(plain))


def older(folder: Path) -> None:
    """Take from every run what runs of earlier versions lack."""
    for path in (folder / "runs").rglob("*.json"):
        data = json.loads(path.read_text("utf-8"))
        del data["ranking"], data["tail"], data["figures"][PER_LABEL]
        for label in data["labels"]:
            del label["f1"][PER_LABEL]
        path.write_text(json.dumps(data), encoding="utf-8")


def test_runs_of_earlier_versions_show_dashes(tmp_path: Path) -> None:
    settings = config(features=PLOTS, only=("linear",))
    run_benchmark(OWN, sample(), tmp_path, settings)
    older(tmp_path)
    again = run_benchmark(OWN, sample(), tmp_path, settings)
    assert again.n_trained == 0
    row = again.to_json()["rows"][0]
    assert set(row["ranking"].values()) == set(row["tail"].values()) == {None}
    assert row[PER_LABEL]["micro_f1"] is None
    assert set(row["labels"]) == {AT_HALF, GLOBAL}
    table = table_of(to_markdown(again), "Long tail: at thresholds per label, and without thresholds")
    told = dict(zip(table[0], table[2], strict=True))
    assert [told[name] for name in ("micro F1", "P@1", "PSP@5", "macro F1, tail", "label coverage")] == ["–"] * 5
    assert told["mAP"] != "–"
    more = run_benchmark(OWN, sample(), tmp_path, replace(settings, n_seeds=2))
    assert more.n_trained == 1
    assert more.row("linear").figure("", "P@1") is None, "one seed of two is not the mean"


@cache
def many_labels() -> Catalogue:
    """Return titles with 70 keywords, the first on most of them."""
    random = np.random.default_rng(0)
    chance = 0.6 / np.arange(1, 71) ** 0.5
    made = rows()
    for row in made:
        row["keywords"] = [f"word {n:02}" for n in np.flatnonzero(random.random(70) < chance)] or ["word 00"]
    return catalogue(made)


def test_many_labels_are_cut_in_the_report_and_whole_in_the_json(tmp_path: Path) -> None:
    settings = config(features=PLOTS, labels=LabelConfig(field="keywords", min_count=1), only=("linear",))
    found = run_benchmark(OWN, many_labels(), tmp_path, settings)
    n = len(found.labels)
    assert n > 60
    text = to_markdown(found)
    assert f"The 30 most and 30 least frequent of {n} labels; all are in the JSON." in text
    section = text.partition("## F1 per label at the global threshold")[2].partition("\n## ")[0]
    shown = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| word")]
    frequent = sorted(found.labels, key=lambda name: -found.labels[name])
    assert shown == [*frequent[:30], *frequent[-30:]]
    assert found.facts["labels"].startswith(f"{n} of `keywords`: {frequent[0]}, ")
    assert found.facts["labels"].endswith(f" and {n - 60} more")
    assert len(found.to_json()["rows"][0]["labels"][GLOBAL]) == len(found.to_json()["labels"]) == n


def test_background_titles_are_trained_on(tmp_path: Path) -> None:
    settings = config(features=PLOTS, only=("linear",))
    made = rows()
    for row in made[120:126]:
        row["plot"] = "A duel at the saloon."
    films = catalogue(made)
    plain = run_benchmark(OWN, films, tmp_path, settings)
    more = run_benchmark(OWN, films, tmp_path, replace(settings, train_on_background=True))
    fewer = run_benchmark(OWN, films, tmp_path, replace(settings, train_on_background=True, needs=("plot",)))
    assert [found.titles["train"] for found in (plain, more, fewer)] == [72, 82, 78]
    assert {found.titles["graph"] for found in (plain, more, fewer)} == {82}
    assert [found.n_trained for found in (plain, more, fewer)] == [1, 1, 1], "other titles, other runs"
    assert "training titles" not in plain.facts
    assert fewer.facts["training titles"] == "background titles with known labels too; only those that have plot"
    assert run_benchmark(OWN, films, tmp_path, replace(settings, needs=("title",))).n_trained == 0, "the same titles"


def test_no_graph_targets_are_made_where_no_credits_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(features=PLOTS)
    part = partition(sample(), settings.labels, settings.splits)
    read: list[int] = []
    monkeypatch.setattr(type(part), "targets_of", lambda self, rows: read.append(len(rows)))
    inputs = Inputs(sample(), part, settings, folder=tmp_path)
    inputs.of(OWN.entries[0], part.test)
    assert read == []


def test_figures_without_training_counts() -> None:
    truth, said = Truth(targets=np.eye(3), labels=("a", "b", "c")), np.eye(3, dtype=np.float32)
    settings = EvaluationConfig(ks=KS, bootstrap=BootstrapConfig(n_resamples=0))
    limits = {PER_LABEL: np.full(3, 0.5)}
    found = evaluate_predictions(truth, said, limits, config=settings)
    assert ranking_figures(found) | {"P@1": 1.0, "PSP@1": None} == ranking_figures(found)
    assert set(tail_figures(found).values()) == {None}
    counted = evaluate_predictions(
        truth, said, limits, config=settings, training=TrainingCounts(labels=(9, 3, 1), n_titles=12)
    )
    assert ranking_figures(counted)["PSP@1"] == 1.0
    assert tail_figures(counted) == {"head": 1.0, "middle": 1.0, "tail": 1.0, COVERAGE: 1.0}
