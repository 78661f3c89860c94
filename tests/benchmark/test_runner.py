from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from encoders.pictures import encoded, picture
from reeltag.benchmark import BENCHMARKS, Benchmark, BenchmarkReport, Entry, run_benchmark
from reeltag.benchmark.published import IDKG_PAPER, METRICS
from reeltag.benchmark.runs import RunFolder
from reeltag.catalogue import Catalogue
from reeltag.catalogue.posters import PosterFiles
from reeltag.encoders import JOINT_ENCODERS
from reeltag.errors import ArtefactError, ConfigError
from reeltag.evaluation import AT_HALF, GLOBAL, compare_runs, micro_f1
from reeltag.labels import LabelConfig, LabelSpace
from samples import files_of, sample

from .tiny import FEATURES, config

TEST = sample().take(sample().rows_of("test"))


def run(name: str, folder: Path, **changes: Any) -> BenchmarkReport:
    return run_benchmark(name, sample(), folder, config(**changes))


def probabilities(folder: Path, report: BenchmarkReport, label: str, seed: int) -> tuple[Any, Any]:
    """Return the stored run and its test probabilities."""
    found = report.row(label).runs[seed]
    for path in (folder / "runs" / "clean").glob("*.json"):
        data = json.loads(path.read_text("utf-8"))
        if data["depends_on"] == found.depends_on:
            return data, load_file(path.with_suffix(".safetensors"))["probabilities"]
    raise AssertionError(label)


@pytest.mark.parametrize("protocol", ["clean", "published"])
def test_every_benchmark_runs_and_shares_runs(protocol: str, tmp_path: Path) -> None:
    trained = {}
    for name, chosen in BENCHMARKS.items():
        report = run(name, tmp_path, protocol=protocol)
        trained[name] = report.n_trained
        assert all(bool(row.runs) != bool(row.why_not) for row in report.rows)
        assert len(report.rows) == len(chosen.entries)
        assert (tmp_path / f"{name}-{protocol}.md").is_file()
        assert json.loads((tmp_path / f"{name}-{protocol}.json").read_text("utf-8")) == report.to_json()
    # IDKG, idkg and IDKG(GMU) of table 2 are in table 3, IDKG in table 5 and (τ = .1, its default) in figure 4
    assert trained["idkg-table3"] == len(BENCHMARKS["idkg-table3"].entries) - 3
    assert trained["idkg-table4"] == (6 if protocol == "clean" else 5)
    assert trained["idkg-table5"] == 5
    assert (trained["idkg-figure3"], trained["idkg-figure5"]) == (0, 0)


def test_a_second_call_trains_nothing(folder: Path, table2: BenchmarkReport, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files_of(folder / "runs")
    monkeypatch.setattr(RunFolder, "make", lambda *_: pytest.fail("trained again"))
    again = run_benchmark("idkg-table2", sample(), folder, table2.config, command="reeltag benchmark …")
    assert (table2.n_trained, again.n_trained) == (6, 0)
    assert again.to_json() == table2.to_json()
    assert files_of(folder / "runs") == before


def test_an_interrupted_benchmark_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = RunFolder.make, []

    def stopped(*words: Any) -> Any:
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(words)
        return make(*words)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "make", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("idkg-figure3", tmp_path)
    assert len(list((tmp_path / "runs").rglob("*.json"))) == 1
    assert not list(tmp_path.rglob(".*")), "nothing half-written"
    assert run("idkg-figure3", tmp_path).n_trained == 2


def test_a_run_without_its_json_is_made_again(tmp_path: Path) -> None:
    only = ("GMU",)
    run("idkg-figure3", tmp_path, only=only)
    (path,) = (tmp_path / "runs" / "clean").glob("gmu-*.json")
    whole = json.loads(path.read_text("utf-8"))
    path.unlink()
    assert run("idkg-figure3", tmp_path, only=only).n_trained == 1
    again = json.loads(path.read_text("utf-8"))
    assert whole.pop("train_seconds") >= 0 and again.pop("train_seconds") >= 0
    assert again == whole, "the same seed gives the same run"


def test_other_settings_are_other_runs(tmp_path: Path) -> None:
    only = ("GMU",)
    for number, changes in enumerate(
        ({}, {"models": {"dim": 9}}, {"labels": LabelConfig(min_count=3, exclude=("Horror",))})
    ):
        assert run("idkg-figure3", tmp_path, only=only, **changes).n_trained == 1, number
    assert run("idkg-figure3", tmp_path, only=only, n_seeds=2).n_trained == 1, "the first seed is there"


def test_figures_are_those_of_the_kept_probabilities(folder: Path, table2: BenchmarkReport) -> None:
    targets, _ = LabelSpace(tuple(table2.labels), LabelConfig()).encode(TEST.lists("genres"))
    data, kept = probabilities(folder, table2, "IDKG", 1)
    assert kept.shape == targets.shape
    assert data["figures"][AT_HALF]["micro_f1"] == pytest.approx(micro_f1(targets, kept >= 0.5))
    decisions = kept >= np.float32(data["threshold"])
    assert data["figures"][GLOBAL]["micro_f1"] == pytest.approx(micro_f1(targets, decisions))
    row = table2.row("IDKG")
    both = [found.figures[GLOBAL]["macro_f1"] for found in row.runs]
    summary = row.f1(GLOBAL, "macro_f1")
    assert summary.mean == pytest.approx(np.mean(both))
    assert summary.std == pytest.approx(np.std(both, ddof=1))


def test_tests_pair_the_runs_of_one_seed(folder: Path, table2: BenchmarkReport) -> None:
    targets, _ = LabelSpace(tuple(table2.labels), LabelConfig()).encode(TEST.lists("genres"))
    expected = []
    for seed in (0, 1):
        decided = []
        for label in ("idkg (reeltag)", "GMU"):
            data, kept = probabilities(folder, table2, label, seed)
            decided.append(kept >= np.float32(data["threshold"]))
        found = compare_runs(targets, *decided, labels=tuple(table2.labels), names=("a", "b"),
                             config=table2.config.bootstrap)  # fmt: skip
        expected.append(found.differences[0])
    test = table2.row("GMU").tests["micro_f1"]
    assert test.difference == pytest.approx(np.mean([one.difference for one in expected]))
    assert test.p_value == pytest.approx(np.median([one.p_value for one in expected]))
    assert list(table2.row("GMU").tests) == list(METRICS)
    assert table2.row("idkg (reeltag)").tests == {}


def test_without_the_reference_nothing_is_tested(tmp_path: Path) -> None:
    report = run("idkg-figure3", tmp_path, only=("GMU",))
    assert report.row("GMU").tests == {}


def test_rows_that_are_not_run_keep_their_published_figures(table2: BenchmarkReport) -> None:
    coca, blip = table2.row("COCA").to_json(), table2.row("BLIP").to_json()
    assert (coca["why_not"], coca["published"]["MM-IMDb"]["micro_f1"]) == ("not built", 0.677)
    assert blip["why_not"].startswith("not run: needs weights")
    assert "figures" not in coca


def test_json_of_the_report(table2: BenchmarkReport) -> None:
    data = table2.to_json()
    assert list(data) == [
        "schema", "benchmark", "title", "source", "reference", "protocol", "facts", "notes", "titles", "overlaps",
        "labels", "config", "rows",
    ]  # fmt: skip
    assert data["titles"] == {"train": 72, "validation": 24, "test": 24, "graph": 82}
    assert data["overlaps"] == {"train": 0.0, "validation": 0.0, "graph": 0.0}
    assert data["facts"]["modalities"] == "plot, title, year, credits"
    row = data["rows"][0]
    assert list(row["figures"]) == [AT_HALF, GLOBAL]
    assert list(row["figures"][GLOBAL]) == list(METRICS)
    assert [seed["seed"] for seed in row["seeds"]] == [0, 1]
    assert set(row["labels"][GLOBAL]) == set(data["labels"])
    assert "credits.profile" in row["blocks"]
    idkg = next(found for found in data["rows"] if found["label"] == "IDKG")
    assert set(idkg["attention"]) == {"plot", "title", "year", "credits"}


def test_members_of_two_seeds_do_not_meet(folder: Path, table2: BenchmarkReport) -> None:
    (_, first), (_, second) = (probabilities(folder, table2, "GMU", seed) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_markdown_marks_the_published_figures(folder: Path, table2: BenchmarkReport) -> None:
    text = (folder / "idkg-table2-clean.md").read_text("utf-8")
    assert text.startswith("# IDKG and its rivals (idkg-table2, protocol `clean`)\n")
    assert IDKG_PAPER.warning in text
    assert "published, MM-IMDb: micro / macro / weighted / samples" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| IDKG |") and "0.849" in line]
    assert "| 0.849 / 0.832 / 0.848 / 0.839 | 0.828 / 0.811 / 0.827 / 0.807 |" in row
    assert " ± " in row
    assert "| COCA | not built |" in text
    assert "| command | `reeltag benchmark …` |" in text
    assert str(folder) not in text
    for line in text.splitlines():
        assert line.count("|") in (0, *range(3, 30))


def test_the_published_protocol_is_called_what_it_is(tmp_path: Path) -> None:
    report = run("idkg-figure3", tmp_path, protocol="published", only=("GMU",))
    assert report.overlaps["train"] > 0.4
    text = (tmp_path / "idkg-figure3-published.md").read_text("utf-8")
    assert "They measure memory, not tagging." in text
    assert f"{100 * report.overlaps['train']:.1f} % of the test titles are training titles" in text
    assert "The paper prints no numbers for figure 3" in text


def test_charts(tmp_path: Path) -> None:
    run("idkg-figure3", tmp_path)
    run("idkg-figure4", tmp_path)
    for name, told in (("figure3", "idkg (reeltag): "), ("figure4", "τ = 0.05: micro F1")):
        text = (tmp_path / f"idkg-{name}-clean.svg").read_text("utf-8")
        assert text.startswith("<svg")
        assert told in text


def with_posters(folder: Path) -> Catalogue:
    """Return the sample, every second title with a poster."""
    paths = {}
    for number, title_id in enumerate(sample().ids[:120:2]):
        paths[title_id] = folder / f"{title_id}.png"
        paths[title_id].write_bytes(encoded(picture(number)))
    return replace(sample(), posters=PosterFiles(paths=paths))


class Pairs:
    """Reads poster and plot together, as far as a test needs it."""

    name, dim, fingerprint = "pairs", 3, "pairs-1"

    def encode(self, images: Sequence[Any], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = [[float(np.asarray(image).mean()), len(text), 1.0] for image, text in zip(images, texts, strict=True)]
        return np.array(rows, np.float32)


def test_rows_of_joint_encoders_read_their_block_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JOINT_ENCODERS, "blip", lambda model: Pairs())
    features = replace(FEATURES, modalities=("plot", "joint"), joint_encoders=("blip:somewhere",))
    films, only = with_posters(tmp_path), ("BLIP", "BridgeTower", "GMU")
    report = run_benchmark("idkg-table2", films, tmp_path / "out", config(features=features, only=only))
    assert report.row("BLIP").runs[0].blocks == ["joint.pairs"]
    assert report.row("GMU").runs[0].blocks == ["plot.tfidf"]
    assert report.row("BridgeTower").why_not == "not run: needs weights (--joint-encoder bridgetower:MODEL)"
    plain = config(features=replace(FEATURES, modalities=("plot",)), only=only)
    assert run_benchmark("idkg-table2", films, tmp_path / "out", plain).n_trained == 1, "posters no longer matter"


def test_films_with_posters(tmp_path: Path) -> None:
    films = with_posters(tmp_path)
    run_benchmark("idkg-figure5", films, tmp_path / "out", config())
    text = (tmp_path / "out" / "idkg-figure5-clean.html").read_text("utf-8")
    assert text.count('src="data:image/png;base64,') == text.count("<article>") >= 3
    assert "<th>attention: credits</th>" in text
    assert "<th>teacher asks of the credits</th>" in text
    assert "<th>people known</th>" in text
    assert "0.8241" in text, "the published three"
    assert "http" not in text


def test_a_benchmark_of_ones_own(tmp_path: Path) -> None:
    own = Benchmark(
        name="own",
        title="Linear",
        source="no table",
        entries=(Entry(label="linear", model="linear"), Entry(label="no credits", model="linear", credits="none")),
        reference="linear",
    )
    report = run_benchmark(own, sample(), tmp_path, config(features=replace(FEATURES, modalities=("plot", "credits"))))
    assert report.row("linear").modalities == ("plot", "credits")
    assert report.row("no credits").modalities == ("plot",)
    assert set(report.row("no credits").tests) == set(METRICS)
    assert report.row("linear").runs[0].best_epochs == []


def test_mistakes_are_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="benchmark 'table2' is unknown"):
        run("table2", tmp_path)
    with pytest.raises(ConfigError, match="idkg-table2 has no entry 'Gmu'"):
        run("idkg-table2", tmp_path, only=("Gmu",))
    with pytest.raises(ConfigError, match="no model has a setting 'widht'"):
        run("idkg-table2", tmp_path, models={"widht": 3})
    unknown = Benchmark(name="b", title="b", source="b", entries=(Entry(label="x", model="y"),), reference="x")
    with pytest.raises(ConfigError, match=r"entry 'x'\.model must be one of linear, .*; got 'y'"):
        run_benchmark(unknown, sample(), tmp_path, config())
    assert not list(tmp_path.iterdir())


def test_a_row_with_nothing_to_read_is_not_run_and_says_so(tmp_path: Path) -> None:
    features = replace(FEATURES, modalities=("credits",))
    report = run("idkg-table3", tmp_path, features=features, only=("IDKG", "IDKG - AT - G-CACL - KG"))
    assert report.row("IDKG").runs
    assert report.row("IDKG - AT - G-CACL - KG").why_not == "not run: nothing that it reads is there"


def test_a_damaged_run_is_made_again(tmp_path: Path) -> None:
    run("idkg-table2", tmp_path, only=("early fusion",))
    for damaged in (next(tmp_path.rglob("early*.json")), next(tmp_path.rglob("early*.safetensors"))):
        damaged.write_bytes(b"{")
        assert run("idkg-table2", tmp_path, only=("early fusion",)).n_trained == 1
    assert run("idkg-table2", tmp_path, only=("early fusion",)).n_trained == 0


def test_the_seed_of_the_graph_makes_other_runs(tmp_path: Path) -> None:
    chosen = config(only=("IDKG", "early fusion"))
    run_benchmark("idkg-table2", sample(), tmp_path, chosen)
    other = replace(chosen, splits=replace(chosen.splits, seed=1))
    assert run_benchmark("idkg-table2", sample(), tmp_path, other).n_trained == 1  # early fusion reads no embedding


def test_bad_graphs_and_folders_are_told_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "make", lambda *_: pytest.fail("trained"))
    with pytest.raises(ConfigError, match="epochs"):
        run("idkg-table2", tmp_path / "one", graph={"training": {"epochs": -1}})
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="cannot be written to"):
        run("idkg-table2", tmp_path / "file" / "out")


@pytest.mark.parametrize("taken", ["out", "out/runs", "out/graphs"])
def test_a_folder_that_cannot_be_written_is_told_before_any_training(
    taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "make", lambda *_: pytest.fail("trained"))
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("a file", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"cannot be written to .*; choose another folder"):
        run("idkg-figure3", tmp_path / "out", only=("GMU",))


def test_a_run_that_is_there_in_part_is_made_again(tmp_path: Path) -> None:
    run("idkg-figure3", tmp_path, only=("GMU",))
    (path,) = (tmp_path / "runs" / "clean").glob("gmu-*.json")
    arrays = path.with_suffix(".safetensors")
    for damaged, content in ((path, path.read_bytes()[:100]), (path, b"{}"), (arrays, arrays.read_bytes()[:-9])):
        damaged.write_bytes(content)
        assert run("idkg-figure3", tmp_path, only=("GMU",)).n_trained == 1
    save_file({"other": np.zeros(1, np.float32)}, arrays)
    assert run("idkg-figure3", tmp_path, only=("GMU",)).n_trained == 1
