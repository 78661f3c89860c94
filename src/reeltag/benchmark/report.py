"""The report of a benchmark: means over seeds, tests against the reference, and the published figures beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.published import METRICS, NOT_STATED, WARNING
from reeltag.benchmark.runs import Outcome, Run
from reeltag.benchmark.settings import BenchmarkConfig
from reeltag.config import to_json
from reeltag.evaluation import AT_HALF, GLOBAL, BootstrapConfig, compare_runs
from reeltag.features import modality_of

RULES = (AT_HALF, GLOBAL)
_SCHEMA = 1


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over seeds; the latter is None for one seed."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise the figures of some seeds."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


@dataclass(frozen=True)
class Against:
    """An entry against the reference on one metric.

    Attributes:
        difference: Entry minus reference, mean over seeds.
        p_value: Two-sided, of the paired bootstrap over test titles; the median over the pairs of runs of one seed.
    """

    difference: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry of the report.

    Attributes:
        entry: What was measured.
        why_not: Why it was not run; "" when it was.
        runs: One per seed.
        tests: By metric, against the reference at the global threshold; empty for the reference itself.
    """

    entry: Entry
    why_not: str = ""
    runs: tuple[Run, ...] = ()
    tests: dict[str, Against] = field(default_factory=dict)

    def f1(self, rule: str, metric: str) -> Summary:
        """Return an F1 figure at a threshold rule."""
        return Summary.of([run.figures[rule][metric] for run in self.runs])

    @property
    def mean_average_precision(self) -> Summary | None:
        """Mean average precision; None when undefined."""
        values = [v for run in self.runs if (v := run.mean_average_precision) is not None]
        return Summary.of(values) if values else None

    @property
    def ece(self) -> Summary:
        """Expected calibration error of the model's own probabilities."""
        return Summary.of([run.ece for run in self.runs])

    @property
    def train_seconds(self) -> Summary:
        """Seconds of training."""
        return Summary.of([run.train_seconds for run in self.runs])

    @property
    def modalities(self) -> tuple[str, ...]:
        """What was read."""
        return tuple(dict.fromkeys(modality_of(block) for run in self.runs[:1] for block in run.blocks))

    def label_f1(self, rule: str) -> dict[str, float]:
        """Return the F1 of every label at a threshold rule, mean over seeds."""
        names = [item["label"] for item in self.runs[0].labels] if self.runs else []
        return {
            name: statistics.fmean(run.labels[place]["f1"][rule] for run in self.runs)
            for place, name in enumerate(names)
        }

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        published = self.entry.published_row
        data: dict[str, Any] = {
            "label": self.entry.label,
            "model": self.entry.model,
            "why_not": self.why_not,
            "published": published.to_json() if published else None,
        }
        if not self.runs:
            return data
        average = self.mean_average_precision
        return data | {
            "settings": self.runs[0].depends_on["settings"],
            "blocks": self.runs[0].blocks,
            "figures": {rule: {metric: vars(self.f1(rule, metric)) for metric in METRICS} for rule in RULES},
            "mean_average_precision": vars(average) if average else None,
            "ece": vars(self.ece),
            "train_seconds": vars(self.train_seconds),
            "attention": _mean_attention(self.runs),
            "labels": {rule: self.label_f1(rule) for rule in RULES},
            "against_reference": {metric: vars(test) for metric, test in self.tests.items()},
            "seeds": [
                {"seed": run.seed, "figures": run.figures, "threshold": run.threshold, "best_epochs": run.best_epochs}
                for run in self.runs
            ],
        }


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """What ``run_benchmark`` returns.

    Attributes:
        benchmark: The table or figure.
        config: How it was run.
        rows: One per entry, those that were not run too.
        facts: What was measured on what, in words.
        titles: Titles per role.
        overlaps: Shares of the test titles that something has learned from.
        labels: The labels with their training titles.
        n_trained: Runs that were trained now; the others were there.
        files: What was written, by kind.
    """

    benchmark: Benchmark
    config: BenchmarkConfig
    rows: tuple[Row, ...]
    facts: dict[str, str]
    titles: dict[str, int]
    overlaps: dict[str, float]
    labels: dict[str, int]
    n_trained: int
    files: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before comparing figures."""
        notes = [WARNING]
        if self.benchmark.source in NOT_STATED:
            notes.append(NOT_STATED[self.benchmark.source])
        if self.config.protocol == "published":
            notes.append(
                "This run repeats the published protocol: our figures, too, are from a split in which "
                f"{100 * self.overlaps['train']:.1f} % of the test titles are training titles, with the labels of "
                f"{100 * self.overlaps['graph']:.1f} % of them in the credits graph. They measure memory, not tagging."
            )
        elif any(row.entry.credits == "sum" for row in self.rows):
            notes.append(
                "The credits of these rows are sums of vectors of a graph that the training titles themselves have "
                "shaped (in-sample, as in the paper); no test title is in it."
            )
        notes.append(
            "Every entry reads what its column 'reads' says; in the paper the rivals of IDKG had posters and plots "
            "only. F1 and ECE are of the models' own probabilities, without calibration."
        )
        notes.append(
            "± is the standard deviation over trainings that differ in their seed alone: titles and graph are the "
            "same. Differences and p are at the global threshold: each entry's runs are paired with the reference's "
            "by seed and tested by a paired bootstrap over the test titles; the difference is the mean and p the "
            "median over the pairs. No correction is made for the number of rows."
        )
        return notes

    def row(self, label: str) -> Row:
        """Return the row of a label."""
        return next(row for row in self.rows if row.entry.label == label)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "schema": _SCHEMA,
            "benchmark": self.benchmark.name,
            "title": self.benchmark.title,
            "source": self.benchmark.source,
            "reference": self.benchmark.reference,
            "protocol": self.config.protocol,
            "facts": self.facts,
            "notes": self.notes,
            "titles": self.titles,
            "overlaps": self.overlaps,
            "labels": self.labels,
            "config": to_json(self.config),
            "rows": [row.to_json() for row in self.rows],
        }


def tests_against(
    reference: Sequence[Outcome],
    others: Sequence[Outcome],
    targets: npt.NDArray[np.float32],
    labels: Sequence[str],
    config: BootstrapConfig,
) -> dict[str, Against]:
    """Test the runs of an entry against those of the reference, seed by seed.

    Args:
        reference: Runs of the reference, one per seed.
        others: Runs of the entry, in the same order of seeds.
        targets: Truth of the test titles, (n_test, n_labels).
        labels: Names of the columns.
        config: How titles are drawn.

    Returns:
        By metric.
    """
    pairs = [
        compare_runs(targets, first.decisions, second.decisions, labels=labels, names=("reference", "entry"),
                     config=config).differences
        for first, second in zip(reference, others, strict=True)
    ]  # fmt: skip
    by_metric = zip(*pairs, strict=True)
    return {
        found[0].metric: Against(
            statistics.fmean(one.difference for one in found), statistics.median(one.p_value for one in found)
        )
        for found in by_metric
    }


def _mean_attention(runs: Sequence[Run]) -> dict[str, float]:
    return {name: statistics.fmean(run.attention[name] for run in runs) for name in runs[0].attention}
