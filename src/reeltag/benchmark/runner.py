"""Runs what is not there yet of a benchmark, and writes its report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reeltag.benchmark.cases import cases_page, choose_cases
from reeltag.benchmark.decades import by_decade, figures_by_decade
from reeltag.benchmark.differences import tests_against
from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.figures import curve_chart, label_chart
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.markdown import to_markdown
from reeltag.benchmark.protocols import Partition, partition
from reeltag.benchmark.report import BenchmarkReport, Row
from reeltag.benchmark.runs import Outcome, RunFolder
from reeltag.benchmark.settings import BenchmarkConfig, default_config, model_settings
from reeltag.benchmark.tables import RETRIEVAL_BENCHMARKS, benchmark
from reeltag.catalogue import Catalogue
from reeltag.errors import ArtefactError, ConfigError
from reeltag.features import modality_of
from reeltag.files import atomic_file, write_json
from reeltag.progress import Progress, silent

_MOST_NAMED = 60  # labels named among the facts


def run_benchmark(
    recipe: str | Benchmark,
    catalogue: Catalogue,
    out: Path,
    config: BenchmarkConfig | None = None,
    *,
    command: str = "",
    cache: Path | None = None,
    progress: Progress = silent,
) -> BenchmarkReport:
    """Run what is not there yet of a benchmark, and write its report.

    Args:
        recipe: Name of a benchmark, or one of your own.
        catalogue: Titles with labels.
        out: Folder of the report (``RECIPE-PROTOCOL.md``, ``.json``, and ``.svg`` or ``.html``), of the runs (``runs``)
            and of the graph embeddings (``graphs``); several benchmarks may share it.
        config: How it is run; the defaults of the benchmark when None.
        command: The command that was given, for the report.
        cache: Folder for vectors of pre-trained encoders; the user's cache folder when None.
        progress: Called as the work advances.

    Returns:
        The report, every figure in it.

    Raises:
        ConfigError: There is no such benchmark, entry, model or setting, or it is one of ``RETRIEVAL_BENCHMARKS``.
        SplitError: There are no training, validation or test titles with a label.
        LabelError: No label is frequent enough.
        ArtefactError: Nothing can be written to ``out``.
    """
    chosen = benchmark(recipe) if isinstance(recipe, str) else recipe
    if chosen.name in RETRIEVAL_BENCHMARKS:
        raise ConfigError(f"{chosen.name} measures no labels; run_retrieval runs it")
    config = config or default_config(chosen)
    chosen = chosen.reading(config.features.modalities)
    entries = chosen.select(config.only)
    settings = model_settings(entries, config.models)
    background = config.features.credits.background
    part = partition(catalogue, config.labels, config.splits, config.protocol, background=background,
                     training=config.training, progress=progress)  # fmt: skip
    config = _without_unread_words(config, entries)
    inputs = Inputs(catalogue, part, config, folder=out / "graphs", cache=cache, progress=progress)
    varied = {variant for entry in entries if config.variants for variant in chosen.variants_of(entry)}
    not_read = {variant: inputs.why_not_varied(variant) for variant in varied}
    variants = {e.label: [v for v in chosen.variants_of(e) if not_read.get(v) == ""] for e in entries}
    runs = RunFolder(out / "runs", inputs, settings, variants)
    reasons = {entry.label: inputs.why_not(entry) for entry in entries}
    for entry in entries:
        if not reasons[entry.label]:
            inputs.describe(entry)  # settings of the graph that break a rule are told here
    check_writable(out, out / "runs" / config.protocol, out / "graphs")
    for entry in entries:
        if not reasons[entry.label] and not all(runs.find(entry, seed) for seed in range(config.n_seeds)):
            reasons[entry.label] = inputs.lacks(entry)
    running = [entry for entry in entries if not reasons[entry.label]]
    outcomes, n_trained = _run_all(running, config.n_seeds, runs, progress)
    told = {e.label: {v.name: not_read[v] for v in chosen.variants_of(e) if v in not_read} for e in running}
    blank = [Row(entry=e, why_not=reasons[e.label], variants=told.get(e.label, {})) for e in entries]
    rows = [_filled(row, chosen, outcomes, inputs, catalogue.take(part.test).years()) for row in blank]
    report = BenchmarkReport(
        benchmark=chosen,
        config=config,
        rows=tuple(rows),
        facts=_facts(inputs, Path(catalogue.source).name, rows, command),
        titles=part.counts,
        overlaps=part.overlaps,
        labels=dict(zip(part.labels.labels, part.training_counts, strict=True)),
        n_trained=n_trained,
        files={kind: f"{chosen.name}-{config.protocol}.{ending}" for kind, ending in _endings(chosen).items()},
    )
    _write(report, out, catalogue, part, {label: found[0] for label, found in outcomes.items()})
    return report


def _filled(
    row: Row, chosen: Benchmark, outcomes: dict[str, list[Outcome]], inputs: Inputs, years: npt.NDArray[np.float32]
) -> Row:
    """Return a row with its runs, the tests of them, and their figures by decade.

    Args:
        row: The row.
        chosen: The benchmark.
        outcomes: Runs of all rows, by label.
        inputs: What they read.
        years: Of the test titles, (n_test,), NaN where unknown.
    """
    found, reference, part = outcomes.get(row.entry.label, []), outcomes.get(chosen.reference, []), inputs.part
    row = replace(row, runs=tuple(outcome.run for outcome in found))
    if found and reference and row.entry.label != chosen.reference:
        tests = tests_against(reference, found, part.truth, part.labels.labels, inputs.config.bootstrap)
        row = replace(row, tests=tests.f1, decisions=tests.decisions)
    if found and row.entry.label in chosen.examined:
        decided = [outcome.decisions for outcome in found]
        row = replace(row, decades=figures_by_decade(by_decade(years), part.truth, decided))
    return row


def _without_unread_words(config: BenchmarkConfig, entries: Sequence[Entry]) -> BenchmarkConfig:
    """Return the settings without the words on posters, which take long to read, when no entry reads them.

    Raises:
        ConfigError: Nothing else was to be read.
    """
    modalities = tuple(name for name in config.features.modalities if name != "poster_text")
    if modalities == config.features.modalities or any("poster_text" in entry.reads for entry in entries):
        return config
    if not modalities:
        raise ConfigError("no entry reads 'poster_text', and --modalities names nothing else")
    return replace(config, features=replace(config.features, modalities=modalities))


def check_writable(*folders: Path) -> None:
    """Make folders, and try to write to each."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ArtefactError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from None


def _run_all(
    entries: list[Entry], n_seeds: int, runs: RunFolder, progress: Progress
) -> tuple[dict[str, list[Outcome]], int]:
    """Return the runs of every entry by label, and how many were trained; all entries before the next seed."""
    found: dict[str, list[Outcome]] = {entry.label: [] for entry in entries}
    n_trained = n_done = 0
    for seed in range(n_seeds):
        for entry in entries:
            kept = runs.find(entry, seed)
            n_trained += kept is None
            found[entry.label].append(kept or runs.make(entry, seed, progress))
            n_done += 1
            progress("runs", n_done, n_seeds * len(entries))
    return found, n_trained


def _facts(inputs: Inputs, source: str, rows: list[Row], command: str) -> dict[str, str]:
    part, config = inputs.part, inputs.config
    modalities = dict.fromkeys(modality_of(block) for row in rows for run in row.runs[:1] for block in run.blocks)
    there = {name: share for row in rows for run in row.runs[:1] for name, share in run.present.items()}
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in there.items())
    return {
        **({"command": f"`{command}`"} if command else {}),
        "data": f"{source} (content {inputs.fingerprint}), {part.targets.shape[0]:,} titles",
        "labels": f"{len(part.labels):,} of `{config.labels.field}`: {_some(part.labels.labels)}",
        **_training_fact(config),
        "modalities": ", ".join(modalities) or "none",
        **({"test titles that have them": shares} if shares else {}),
        "seeds": ", ".join(str(seed) for seed in range(config.n_seeds)),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _some(labels: Sequence[str]) -> str:
    """Return labels in words, the first of them when they are many."""
    more = len(labels) - _MOST_NAMED
    return ", ".join(labels) if more <= 0 else f"{', '.join(labels[:_MOST_NAMED])} and {more:,} more"


def _training_fact(config: BenchmarkConfig) -> dict[str, str]:
    """Return which titles were learned from, where they are not all those of the split and no others."""
    told = [
        *(["background titles with known labels too"] if config.train_on_background else []),
        *(["only those that have " + " and ".join(config.needs)] if config.needs else []),
    ]
    return {"training titles": "; ".join(told)} if told else {}


def _endings(chosen: Benchmark) -> dict[str, str]:
    drawn = {"table": {}, "bars": {"chart": "svg"}, "curve": {"chart": "svg"}, "cases": {"films": "html"}}
    return {"report": "md", "figures": "json", **drawn[chosen.draws]}


def _write(
    report: BenchmarkReport, out: Path, catalogue: Catalogue, part: Partition, first: dict[str, Outcome]
) -> None:
    """Write the report, its figures and what it draws."""
    drawn = ""
    if report.benchmark.draws in ("bars", "curve"):
        drawn = (label_chart if report.benchmark.draws == "bars" else curve_chart)(report)
    elif report.benchmark.draws == "cases":
        drawn = _cases(report, catalogue, part, first)
    for kind, name in report.files.items():
        if kind == "figures":
            write_json(out / name, report.to_json())
            continue
        with atomic_file(out / name) as temporary:
            temporary.write_text(to_markdown(report) if kind == "report" else drawn, encoding="utf-8")


def _cases(report: BenchmarkReport, catalogue: Catalogue, part: Partition, first: dict[str, Outcome]) -> str:
    if not first:
        return ""
    films = catalogue.take(part.test)
    complete = np.array([bool(plot) for plot in films.texts("plot")], np.bool_)
    posters = films.posters.present(films.ids)
    complete &= posters if (complete & posters).any() else True
    cases = choose_cases(next(iter(first.values())), complete)
    places = [case.place for case in cases]
    truth = part.labels.decode(part.truth[places] > 0)
    title = f"{report.benchmark.title} ({report.config.protocol} protocol)"
    return cases_page(title, films.take(places), cases, first, truth, part.labels.labels)
