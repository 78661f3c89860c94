"""The report of a benchmark: means over seeds, tests against the reference, and the published figures beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reeltag.benchmark.decades import FEW, DecadeFigures
from reeltag.benchmark.differences import LEVEL, Against, DecisionTest
from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.long_tail import COVERAGE, RANKING_METRICS
from reeltag.benchmark.published import HIT, IDKG_PAPER, METRICS
from reeltag.benchmark.runs import Run
from reeltag.benchmark.settings import BenchmarkConfig
from reeltag.benchmark.weighted import AREAS, DECIDED
from reeltag.config import to_json
from reeltag.evaluation import AT_HALF, GLOBAL, PER_LABEL, PropensityConfig
from reeltag.evaluation.tails import GROUPS
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry of the report.

    Attributes:
        entry: What was measured.
        why_not: Why it was not run; "" when it was.
        runs: One per seed.
        tests: By metric, against the reference at the global threshold; empty for the reference itself.
        decisions: McNemar's test of the same; None for the reference itself.
        decades: Figures by decade of release, where the benchmark asks for them.
        variants: Variants of the test titles by name, each with why it was not read; "" where it was.
    """

    entry: Entry
    why_not: str = ""
    runs: tuple[Run, ...] = ()
    tests: dict[str, Against] = field(default_factory=dict)
    decisions: DecisionTest | None = None
    decades: tuple[DecadeFigures, ...] = ()
    variants: dict[str, str] = field(default_factory=dict)

    def f1(self, rule: str, metric: str) -> Summary:
        """Return an F1 figure at a threshold rule."""
        return Summary.of([run.figures[rule][metric] for run in self.runs])

    def figure(self, rule: str, metric: str) -> Summary | None:
        """Return any figure at a threshold rule, of the ranking or of an area; None where a run does not hold it."""
        if metric in RANKING_METRICS:
            return _summary([run.ranking.get(metric) for run in self.runs])
        if metric in AREAS:
            return _summary([run.areas.get(metric) for run in self.runs])
        return _summary([run.figures.get(rule, {}).get(metric) for run in self.runs])

    def tail(self, name: str) -> Summary | None:
        """Return the macro F1 of ``head``, ``middle`` or ``tail``, or the label coverage; None where not held."""
        return _summary([run.tail.get(name) for run in self.runs])

    def varied(self, variant: str, metric: str) -> Summary | None:
        """Return a figure under a variant of the test titles, at the global threshold; None where it was not read."""
        kept = [run.variants.get(variant) for run in self.runs]
        return _summary([None if told is None else told["figures"].get(metric) for told in kept])

    def share(self, modality: str, variant: str = "") -> float | None:
        """Return the share of test titles that have a modality, under a variant; None where it is not read."""
        if not self.runs:
            return None
        run = self.runs[0]
        told = run.variants.get(variant, {}).get("present", {}) if variant else run.present
        return told.get(modality)

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
            HIT: {rule: _json(self.figure(rule, HIT)) for rule in RULES},
            "weighted": {rule: {metric: _json(self.figure(rule, metric)) for metric in DECIDED} for rule in RULES},
            "areas": {metric: _json(self.figure("", metric)) for metric in AREAS},
            PER_LABEL: {metric: _json(self.figure(PER_LABEL, metric)) for metric in (*METRICS, HIT)},
            "ranking": {metric: _json(self.figure("", metric)) for metric in RANKING_METRICS},
            "tail": {name: _json(self.tail(name)) for name in (*GROUPS, COVERAGE)},
            "mean_average_precision": _json(average),
            "ece": vars(self.ece),
            "train_seconds": vars(self.train_seconds),
            "attention": _mean_attention(self.runs),
            "labels": {rule: self.label_f1(rule) for rule in (*RULES, PER_LABEL) if self._holds(rule)},
            "against_reference": {metric: vars(test) for metric, test in self.tests.items()},
            "mcnemar": self.decisions.to_json() if self.decisions else None,
            "present": self.runs[0].present,
            "variants": {name: self._variant_json(name, why_not) for name, why_not in self.variants.items()},
            "decades": [decade.to_json() for decade in self.decades],
            "seeds": [
                {"seed": run.seed, "figures": run.figures, "threshold": run.threshold, "best_epochs": run.best_epochs}
                for run in self.runs
            ],
        }

    def _holds(self, rule: str) -> bool:
        return all(rule in run.figures for run in self.runs)

    def _variant_json(self, name: str, why_not: str) -> dict[str, Any]:
        if why_not:
            return {"why_not": why_not}
        figures = {metric: _json(self.varied(name, metric)) for metric in (*METRICS, HIT)}
        return {"why_not": "", "figures": figures, "present": self.runs[0].variants[name]["present"]}


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
        benchmark, notes = self.benchmark, []
        if benchmark.paper is not None:
            notes.append(benchmark.paper.warning)
            if benchmark.source in benchmark.paper.not_stated:
                notes.append(benchmark.paper.not_stated[benchmark.source])
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
        rivals = "; in the paper the rivals of IDKG had posters and plots only" if benchmark.paper is IDKG_PAPER else ""
        notes.append(
            f"Every entry reads what its column 'reads' says{rivals}. F1 and ECE are of the models' own probabilities, "
            "without calibration."
        )
        if HIT in benchmark.metrics:
            notes.append(
                "hit ratio (`hit_at_least_one`): share of the test titles with at least one predicted label that is "
                "right; a title without any prediction is a miss."
            )
        if AREAS[0] in benchmark.metrics:
            notes.append(
                "Weighted figures are means over the labels, each counted as often as a test title has it; AUPRC is "
                "the average precision. A dash stands where a kept run is older than the figure."
            )
        notes.append(
            "± is the standard deviation over trainings that differ in their seed alone: titles and graph are the "
            "same. Differences and p are at the global threshold: each entry's runs are paired with the reference's "
            "by seed and tested by a paired bootstrap over the test titles; the difference is the mean and p the "
            "median over the pairs. No correction is made for the number of rows."
        )
        return [*notes, *self._test_notes()]

    def _test_notes(self) -> list[str]:
        """Return how the further tests and sections are to be read, as far as there are any."""
        notes = []
        if any(row.decisions for row in self.rows):
            notes.append(
                "McNemar's test is of the decisions at the global thresholds, seed by seed: p is the median over the "
                "pairs of runs. All title-label decisions pooled count as independent, which those of one title are "
                "not, so that p is too small rather than too large; a label differs when the median of its p, after "
                f"Holm's correction over all labels, is below {LEVEL:g}."
            )
        if self.benchmark.long_tail:
            shape = PropensityConfig()
            notes.append(
                "Long tail: decisions at thresholds per label, chosen on the validation titles and drawn towards the "
                "global one where a label has few positives there. P@k, nDCG@k and PSP@k are of the k most probable "
                f"labels of a title; PSP@k weighs them by propensities (A = {shape.a:g}, B = {shape.b:g}) of the "
                "training titles and is divided by the best that could be. Head, middle and tail are thirds of the "
                "labels by falling number of training titles. Label coverage: of the labels that a test title has, "
                "the share that is decided rightly at least once. A dash stands where a kept run is older than the "
                "figure."
            )
        if any(row.variants for row in self.rows):
            notes.append(
                "Changed posters: the trained models read the test titles alone again, with the thresholds they had; "
                "nothing is trained anew. Posters are scaled from what encoders see of them (1,023 pixels at most on "
                "the shorter side) and sent through OCR and image encoder again."
            )
        if any(row.decades for row in self.rows):
            notes.append(
                f"By decade: a decade with fewer than {FEW} test titles is joined with the one before it; 'few' marks "
                "what remains below that. Macro F1 is over the labels that a title of the decade has."
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


def _summary(values: Sequence[float | None]) -> Summary | None:
    known = [value for value in values if value is not None]
    return Summary.of(known) if known and len(known) == len(values) else None


def _json(summary: Summary | None) -> dict[str, float | None] | None:
    return None if summary is None else vars(summary)


def _mean_attention(runs: Sequence[Run]) -> dict[str, float]:
    return {name: statistics.fmean(run.attention[name] for run in runs) for name in runs[0].attention}
