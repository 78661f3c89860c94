"""``poster-table`` and ``poster-gain`` on small drawn posters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from reeltag.benchmark import Benchmark, BenchmarkReport, Entry, benchmark, run_benchmark, short_tables
from reeltag.benchmark.differences import DecisionTest
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.protocols import partition
from reeltag.benchmark.published import HIT, METRICS, POSTER_PAPER
from reeltag.benchmark.runs import RunFolder
from reeltag.benchmark.settings import model_settings
from reeltag.encoders.ocr import OCR_ENGINES
from reeltag.errors import MissingExtraError
from reeltag.evaluation import AT_HALF, GLOBAL, compare_labels, hit_at_least_one, mcnemar, micro_f1
from reeltag.labels import LabelConfig, LabelSpace
from samples import sample

from .posters import WidthEngine, poster_config, stand_in, with_posters

TABLE, GAIN = benchmark("poster-table"), benchmark("poster-gain")
TEST = sample().take(sample().rows_of("test"))
ONLY = ("full", "image only", "text only", "as published", "GMU")
SIZES = {"posters at 50 %", "posters at 75 %"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> WidthEngine:
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("posters")


@pytest.fixture(scope="module")
def report(folder: Path) -> Iterator[BenchmarkReport]:
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        yield run(folder, n_seeds=2, only=ONLY)


def run(folder: Path, name: str = "poster-table", **changes: Any) -> BenchmarkReport:
    return run_benchmark(name, with_posters(), folder / "out", poster_config(name, **changes), cache=folder / "cache")


def inputs(folder: Path, name: str = "poster-table", **features: Any) -> Inputs:
    films, settings = with_posters(), poster_config(name)
    settings = replace(settings, features=replace(settings.features, **features))
    part = partition(films, settings.labels, settings.splits, settings.protocol)
    return Inputs(films, part, settings, folder=folder / "graphs", cache=folder / "cache")


def entry(of: Benchmark, label: str) -> Entry:
    return next(found for found in of.entries if found.label == label)


def targets(report: BenchmarkReport) -> np.ndarray:
    return LabelSpace(tuple(report.labels), LabelConfig()).encode(TEST.lists("genres"))[0]


def kept(folder: Path, report: BenchmarkReport, label: str, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON and the arrays of a run."""
    depends_on = report.row(label).runs[seed].depends_on
    for path in (folder / "out" / "runs" / "clean").glob("*.json"):
        data = json.loads(path.read_text("utf-8"))
        if data["depends_on"] == depends_on:
            return data, load_file(path.with_suffix(".safetensors"))
    raise AssertionError(label)


def decided(folder: Path, report: BenchmarkReport, label: str, seed: int) -> np.ndarray:
    data, arrays = kept(folder, report, label, seed)
    return np.asarray(arrays["probabilities"] >= np.float32(data["threshold"]))


def test_ablations_take_away_what_they_say() -> None:
    rows = {found.label: found for found in TABLE.entries}
    for label, found in rows.items():
        if found.model == "poster":
            assert found.tokens
            assert (found.settings.get("fusion") == "concat") == ("MCAM" in label)
            assert (found.settings.get("self_layers") == 0) == ("SMSAM" in label)
            assert (found.settings.get("loss") == "bce") == ("BCE" in label)
        else:
            assert found.reads == ("poster", "poster_text") and not found.tokens
    assert [label for label, found in rows.items() if found.published] == ["as published"]


def test_published_figures_of_the_poster_paper() -> None:
    row = entry(TABLE, "as published").published_row
    assert row is not None and row.paper is POSTER_PAPER
    assert row.to_json() == {"IMDb posters": {"micro_f1": 0.7234, "macro_f1": 0.6823, HIT: 0.8755}}
    assert (row.value("weighted_f1"), row.value(HIT)) == (None, 0.8755)


def test_what_the_rows_read(tmp_path: Path, engine: WidthEngine) -> None:
    of = inputs(tmp_path)
    read = {found.label: of.of(found, of.part.test) for found in TABLE.entries}
    assert list(read["full"].tokens) == ["poster_text.letters", "poster.shade"] and not read["full"].blocks
    assert list(read["GMU"].blocks) == ["poster_text.letters", "poster.shade"] and not read["GMU"].tokens
    assert list(read["image only"].tokens) == ["poster.shade"]
    assert list(read["text only"].tokens) == ["poster_text.letters"]
    assert list(read["full"].ids) == TEST.ids
    vectors = inputs(tmp_path, tokens=("poster",))
    mixed = vectors.of(entry(TABLE, "full"), vectors.part.test)
    assert (list(mixed.tokens), list(mixed.blocks)) == (["poster.shade"], ["poster_text.letters"])


def test_what_the_rows_of_the_gain_read(tmp_path: Path, engine: WidthEngine) -> None:
    of = inputs(tmp_path, "poster-gain")
    plain = ["plot.tfidf", "title.tfidf", "year", "credits.profile", "credits.standing"]
    more = {"": [], " + poster": ["poster.shade"], " + words on posters": ["poster_text.letters"],
            " + poster + words": ["poster.shade", "poster_text.letters"]}  # fmt: skip
    for label, blocks in more.items():
        found = entry(GAIN, f"idkg{label}" if label else "idkg without posters")
        read = of.of(found, of.part.train)
        assert sorted(read.blocks) == sorted([*plain, *blocks])
        assert not read.tokens


def test_rows_that_name_nothing_read_no_words_and_depend_on_none(tmp_path: Path, engine: WidthEngine) -> None:
    idkg = entry(benchmark("idkg-table2"), "GMU")
    with_words = inputs(tmp_path, "poster-gain")
    without = inputs(tmp_path, "poster-gain", modalities=("plot", "title", "year", "credits", "poster"))
    assert "poster_text" not in with_words.of(idkg, with_words.part.test).modalities
    assert with_words.describe(idkg) == without.describe(idkg)
    assert with_words.describe(idkg) == inputs(
        tmp_path, "poster-gain", ocr_engine="tesserocr", tokens=("poster",), patch_grid=3, token_limit=5
    ).describe(idkg)
    features = with_words.describe(idkg)["features"]
    assert list(features) == ["modalities", "plot_encoders", "title_encoders", "poster_encoders", "joint_encoders",
                              "credit_features", "credits", "links"]  # type: ignore[call-overload]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        ({"ocr_engine": "tesserocr"}, {"full", "text only", "GMU"}),
        ({"poster_text_encoders": ("minilm",)}, {"full", "text only", "GMU"}),
        ({"patch_grid": 3}, {"full", "image only"}),
        ({"token_limit": 5}, {"full", "text only"}),
        ({"tokens": ("poster",)}, {"full", "text only"}),
        ({"plot_encoders": ("minilm",)}, set()),
    ],
)
def test_a_row_depends_on_what_it_reads(
    change: dict[str, Any], labels: set[str], tmp_path: Path, engine: WidthEngine
) -> None:
    here, there = inputs(tmp_path), inputs(tmp_path, **change)
    found = [entry(TABLE, label) for label in ("full", "image only", "text only", "GMU")]
    assert {one.label for one in found if here.describe(one) != there.describe(one)} == labels


def test_settings_that_change_nothing_for_a_row_are_no_part_of_its_name(tmp_path: Path, engine: WidthEngine) -> None:
    of, table2 = inputs(tmp_path), benchmark("idkg-table2")
    entries = [entry(table2, "MMBT"), entry(TABLE, "full"), entry(TABLE, "full with BCE")]
    runs = RunFolder(tmp_path, of, model_settings(entries, {}))
    mmbt, poster, bce = (set(runs.depends_on(found, 0)["settings"]) for found in entries)
    assert not mmbt & {"loss_settings", "max_positions"}
    assert poster - bce == {"loss_settings"} and "max_positions" in bce


def test_hit_ratio_is_that_of_the_kept_probabilities(folder: Path, report: BenchmarkReport) -> None:
    truth = targets(report)
    data, arrays = kept(folder, report, "image only", 1)
    assert data["figures"][AT_HALF][HIT] == pytest.approx(hit_at_least_one(truth, arrays["probabilities"] >= 0.5))
    figure = report.row("image only").figure(GLOBAL, HIT)
    both = [hit_at_least_one(truth, decided(folder, report, "image only", seed)) for seed in (0, 1)]
    assert figure is not None and figure.mean == pytest.approx(np.mean(both))
    assert report.row("image only").to_json()[HIT][GLOBAL]["mean"] == figure.mean


def test_mcnemar_pairs_the_runs_of_one_seed(folder: Path, report: BenchmarkReport) -> None:
    truth = targets(report) > 0
    p_values, by_label, lost = [], [], []
    for seed in (0, 1):
        first, second = (decided(folder, report, label, seed) == truth for label in ("full", "GMU"))
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        p_values.append(float(mcnemar(np.array(only_first), np.array(only_second))))
        lost.append(only_first)
        tests = compare_labels(truth, *(decided(folder, report, label, seed) for label in ("full", "GMU")),
                               labels=tuple(report.labels))  # fmt: skip
        by_label.append([test.adjusted_p_value for test in tests])
    found = report.row("GMU").decisions
    assert found is not None
    assert found.p_value == pytest.approx(np.median(p_values))
    assert found.only_reference == np.mean(lost)
    assert list(found.labels.values()) == pytest.approx(np.median(by_label, axis=0))
    assert report.row("full").decisions is None
    assert report.row("GMU").to_json()["mcnemar"]["labels"] == found.labels


def test_labels_that_differ_are_told_by_direction() -> None:
    truth = np.ones((60, 3), np.bool_)
    first, second = truth.copy(), truth.copy()
    first[:20, 0], second[:30, 1], second[0, 2] = False, False, False
    tests = compare_labels(truth, first, second, labels=("a", "b", "c"))
    found = DecisionTest.of([tests, tests])
    assert (found.better, found.worse) == (("a",), ("b",))
    assert (found.only_reference, found.only_entry) == (31, 20)


def test_variants_are_read_by_the_rows_they_concern(report: BenchmarkReport) -> None:
    ocr = "words by tesserocr"
    assert set(report.row("full").variants) == {*SIZES, ocr, "no words", "no image"}
    assert set(report.row("image only").variants) == SIZES
    assert set(report.row("text only").variants) == {*SIZES, ocr}
    assert report.row("GMU").variants == report.row("as published").variants == {}
    why = report.row("full").variants[ocr]
    assert why == f"not run: {MissingExtraError('tesserocr', 'tesserocr', 'reading words with tesserocr')}"
    data = report.row("full").to_json()["variants"]
    assert data[ocr] == {"why_not": why}
    assert data["no words"]["present"]["poster_text"] == 0
    assert data["posters at 50 %"]["present"] == report.row("full").to_json()["present"]


def test_figures_of_variants_are_those_of_their_probabilities(folder: Path, report: BenchmarkReport) -> None:
    data, arrays = kept(folder, report, "full")
    names = set(data["variants"])
    assert names == {*SIZES, "no words", "no image"}
    assert {name for name in arrays if name.startswith("variant.")} == {f"variant.{name}" for name in names}
    for name in names:
        decisions = arrays[f"variant.{name}"] >= np.float32(data["threshold"])
        assert data["variants"][name]["figures"]["micro_f1"] == pytest.approx(micro_f1(targets(report), decisions))
    assert not np.array_equal(arrays["variant.no image"], arrays["probabilities"])
    both = [run.variants["no image"]["figures"]["macro_f1"] for run in report.row("full").runs]
    found = report.row("full").varied("no image", "macro_f1")
    assert found is not None and found.mean == pytest.approx(np.mean(both))


def test_smaller_posters_go_through_ocr_again(tmp_path: Path, engine: WidthEngine) -> None:
    run(tmp_path, only=("text only",))
    assert engine.widths == {20, 15, 10}
    engine.widths.clear()
    run(tmp_path, only=("full",))
    assert not engine.widths, "words are kept by content"


def test_another_engine_reads_the_words(tmp_path: Path, engine: WidthEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, only=("text only",)).row("text only").variants["words by tesserocr"]
    monkeypatch.setitem(OCR_ENGINES, "tesserocr", lambda _: WidthEngine("tesserocr and more"))
    again = run(tmp_path, only=("text only",))
    assert again.n_trained == 1, "an engine that was missing is there now"
    assert again.row("text only").varied("words by tesserocr", "micro_f1") is not None
    _, arrays = kept(tmp_path, again, "text only")
    assert not np.array_equal(arrays["variant.words by tesserocr"], arrays["probabilities"])
    config = poster_config("poster-table", only=("text only",))
    config = replace(config, features=replace(config.features, ocr_engine="tesserocr"))
    same = run_benchmark("poster-table", with_posters(), tmp_path / "out", config, cache=tmp_path / "cache")
    assert same.row("text only").variants["words by tesserocr"] == "not run: tesserocr reads the words anyway"


def test_variants_can_be_left_out_and_read_later(tmp_path: Path, engine: WidthEngine) -> None:
    only = ("image only", "GMU")
    first = run(tmp_path, only=only, variants=False)
    assert (first.n_trained, first.row("image only").variants) == (2, {})
    assert engine.widths == {20}
    second = run(tmp_path, only=only)
    assert second.n_trained == 1
    whole = second.row("image only").runs[0].figures
    assert whole == first.row("image only").runs[0].figures, "the same training"
    assert run(tmp_path, only=only, variants=False).n_trained == 0, "a run that holds more will do"


def test_a_second_call_trains_nothing(folder: Path, report: BenchmarkReport, engine: WidthEngine) -> None:
    again = run(folder, n_seeds=2, only=ONLY)
    assert (report.n_trained, again.n_trained) == (10, 0)
    assert again.to_json() == report.to_json()
    assert not engine.widths


def test_runs_of_earlier_versions_are_read(tmp_path: Path, engine: WidthEngine) -> None:
    run(tmp_path, only=("GMU",))
    (path,) = (tmp_path / "out" / "runs" / "clean").glob("gmu-*.json")
    data = json.loads(path.read_text("utf-8"))
    for figures in data["figures"].values():
        del figures[HIT]
    del data["present"], data["variants"]
    path.write_text(json.dumps(data), encoding="utf-8")
    again = run(tmp_path, only=("GMU",))
    assert again.n_trained == 0
    assert again.row("GMU").figure(GLOBAL, HIT) is None
    assert again.row("GMU").to_json()[HIT] == {AT_HALF: None, GLOBAL: None}
    assert again.row("GMU").share("poster_text") is None


def test_a_run_without_the_arrays_of_a_variant_is_made_again(tmp_path: Path, engine: WidthEngine) -> None:
    run(tmp_path, only=("image only",))
    (path,) = (tmp_path / "out" / "runs" / "clean").glob("*.safetensors")
    arrays = load_file(path)
    save_file({name: array for name, array in arrays.items() if "50" not in name}, path)
    assert run(tmp_path, only=("image only",)).n_trained == 1


def test_markdown_and_console(folder: Path, report: BenchmarkReport) -> None:
    text = (folder / "out" / "poster-table-clean.md").read_text("utf-8")
    assert (
        "Counterpart of the main result and the ablations of the poster paper (Nareti et al., arXiv 2410.19764)."
        in text
    )
    assert POSTER_PAPER.warning in text
    assert "share of the test titles with at least one predicted label that is right" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| as published |") and "0.723" in line]
    assert row.endswith("| 0.723 / 0.682 / 0.875 |")
    assert "published, IMDb posters: micro / macro / hit |" in text
    assert "IDKG" not in text
    for heading in (
        "## Decisions against those of full (McNemar)",
        "## The posters of the test titles changed, at the global threshold",
        "## Micro / macro F1 by decade of release, at the global threshold",
    ):
        assert heading in text
    assert "| full | words by tesserocr: not run: " in text
    assert "poster_text, poster as tokens" in text
    assert "| 1950s to 1980s (few) | 24 |" in text
    titles = [title for title, _, _ in short_tables(report)]
    assert len(titles) == 4 and titles[0].endswith("published on IMDb posters, other posters and 13 other genres")
    for _, header, rows in short_tables(report):
        assert all(len(row) == len(header) for row in rows)
    for line in text.splitlines():
        assert line.count("|") in (0, *range(3, 30))


def test_what_posters_add(tmp_path: Path, engine: WidthEngine) -> None:
    report = run(tmp_path, "poster-gain")
    assert report.n_trained == 4
    assert set(report.row("idkg + poster + words").tests) == set(METRICS)
    assert all(row.decades and not row.variants for row in report.rows)
    assert report.row("idkg + words on posters").modalities == ("plot", "title", "poster_text", "year", "credits")
    text = (tmp_path / "out" / "poster-gain-clean.md").read_text("utf-8")
    assert "Counterpart" not in text and "published figures" not in text.lower()
    assert "## At threshold 0.5\n" in text
    assert "posters of the test titles changed" not in text
    data = json.loads((tmp_path / "out" / "poster-gain-clean.json").read_text("utf-8"))
    assert data["rows"][0]["decades"][0]["titles"] == 24


def test_without_posters_no_row_is_run(tmp_path: Path, engine: WidthEngine) -> None:
    features = replace(poster_config("poster-gain").features, tokens=("poster",))
    config = poster_config("poster-table", only=("full", "GMU"))
    report = run_benchmark("poster-table", sample(), tmp_path / "out", replace(config, features=features))
    assert {row.why_not for row in report.rows} == {"not run: nothing that it reads is there"}
    assert [title for title, _, _ in short_tables(report)][2:] == []
