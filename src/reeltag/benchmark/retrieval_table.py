"""Runs what is not there yet of ``retrieval-table``, and writes its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reeltag.benchmark.entries import Entry
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.protocols import partition
from reeltag.benchmark.retrieval_entries import RAW, RETRIEVAL_TABLE, RetrievalConfig
from reeltag.benchmark.retrieval_report import RetrievalReport, retrieval_markdown, space_rows
from reeltag.benchmark.retrieval_runs import COARSE, Measured, Trial
from reeltag.benchmark.runner import check_writable
from reeltag.benchmark.settings import BenchmarkConfig, default_config, model_settings
from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError, EvaluationError
from reeltag.files import atomic_file, write_json
from reeltag.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class RetrievalRun:
    """How ``retrieval-table`` is run.

    Attributes:
        config: How titles, features and models are chosen; the protocol is ``clean``.
        measure: How neighbours are measured.
    """

    config: BenchmarkConfig = field(default_factory=lambda: default_config(RETRIEVAL_TABLE))
    measure: RetrievalConfig = field(default_factory=RetrievalConfig)

    def __post_init__(self) -> None:
        if self.config.protocol != "clean":
            raise ConfigError(f"retrieval-table is for protocol 'clean' alone; got {self.config.protocol!r}")


def run_retrieval(
    catalogue: Catalogue,
    out: Path,
    run: RetrievalRun | None = None,
    *,
    command: str = "",
    cache: Path | None = None,
    progress: Progress = silent,
) -> RetrievalReport:
    """Train what is not there yet, measure what nearest titles share, and write the report.

    Args:
        catalogue: Titles with labels and with list fields of words.
        out: Folder of the report (``retrieval-table-clean.md``, ``.json``) and, in ``runs``, of what was measured;
            other benchmarks may share it.
        run: How it is run; the defaults when None.
        command: The command that was given, for the report.
        cache: Folder for vectors of pre-trained encoders; the user's cache folder when None.
        progress: Called as the work advances.

    Raises:
        ConfigError: There is no such entry or setting, or a field of words is missing, learned or read by a model.
        SplitError: There are no training, validation or test titles with a label.
        EvaluationError: No query has candidates that share its words.
        ArtefactError: Nothing can be written to ``out``.
    """
    run = run or RetrievalRun()
    config, chosen = run.config, RETRIEVAL_TABLE.reading(run.config.features.modalities)
    run.measure.check_unread(config.features, config.labels.field, catalogue)
    entries = chosen.select(config.only)
    settings = model_settings(entries, config.models)
    background = config.features.credits.background
    part = partition(catalogue, config.labels, config.splits, background=background, training=config.training,
                     progress=progress)  # fmt: skip
    check_writable(out, out / "runs" / part.protocol)
    inputs = Inputs(catalogue, part, config, folder=out / "graphs", cache=cache, progress=progress)
    trial = Trial(out / "runs", inputs, catalogue, settings, run.measure)
    if not trial.queries:
        raise EvaluationError(
            f"{catalogue.source}: no {run.measure.split} title has {run.measure.smallest_pool} others of the same "
            f"'{config.labels.field}' with words in {', '.join(run.measure.words)}, one of them shared"
        )
    found, n_trained = _run_all(entries, config.n_seeds, trial, progress)
    text = next((measured.text for seeds in found.values() for measured in seeds if measured.text), "")
    report = RetrievalReport(
        config=config,
        measure=run.measure,
        rows=space_rows(found, [name for name in (text, COARSE) if name], config.bootstrap),
        text=text,
        queries={
            name: (len(own), float(np.median([len(query.pool) for query in own])))
            for name, own in trial.queries.items()
        },
        facts={
            **({"command": f"`{command}`"} if command else {}),
            "data": f"{Path(catalogue.source).name} (content {inputs.fingerprint}), {len(catalogue):,} titles",
            "labels": f"{len(part.labels):,} of `{config.labels.field}`",
            "modalities": ", ".join(config.features.modalities),
            "titles": ", ".join(f"{name} {n:,}" for name, n in part.counts.items()),
            "seeds": ", ".join(map(str, range(config.n_seeds))),
            "date": datetime.now(UTC).date().isoformat(),
        },
        titles=part.counts,
        n_trained=n_trained,
        files={"report": f"{RETRIEVAL_TABLE.name}-clean.md", "figures": f"{RETRIEVAL_TABLE.name}-clean.json"},
    )
    write_json(out / report.files["figures"], report.to_json())
    with atomic_file(out / report.files["report"]) as temporary:
        temporary.write_text(retrieval_markdown(report), encoding="utf-8")
    return report


def _run_all(
    entries: tuple[Entry, ...], n_seeds: int, trial: Trial, progress: Progress
) -> tuple[dict[str, list[Measured]], int]:
    """Return what was measured by entry, one per seed, and how many models were trained; raw blocks have one seed."""
    found: dict[str, list[Measured]] = {entry.label: [] for entry in entries}
    wanted = [(entry, seed) for seed in range(n_seeds) for entry in entries if entry.label != RAW or seed == 0]
    n_trained = 0
    for done, (entry, seed) in enumerate(wanted, 1):
        kept = trial.find(entry, seed)
        n_trained += kept is None and entry.label != RAW
        found[entry.label].append(kept or trial.make(entry, seed, progress))
        progress("models", done, len(wanted))
    return found, n_trained
