"""The report of ``retrieval-table``: means over queries with intervals, and paired differences of every space."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reeltag.benchmark.markdown import MISSING, markdown_table, p_value
from reeltag.benchmark.retrieval_entries import RETRIEVAL_TABLE, RetrievalConfig
from reeltag.benchmark.retrieval_pools import GENRES
from reeltag.benchmark.retrieval_runs import Measured, Measures
from reeltag.benchmark.settings import BenchmarkConfig
from reeltag.config import to_json
from reeltag.evaluation import BootstrapConfig, Interval, MeanDifference, bootstrap_means, compare_means

_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measure of one space.

    Attributes:
        mean: Over queries and seeds.
        std: Sample standard deviation of the means of the seeds; None for one seed.
        interval: Bootstrap percentile interval over queries, each the mean of its seeds.
        against: Paired differences of this space minus others, by name of the other.
    """

    mean: float
    std: float | None
    interval: Interval
    against: dict[str, MeanDifference] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the figure as JSON values."""
        return {
            "mean": self.mean,
            "std": self.std,
            "interval": vars(self.interval),
            "against": {
                name: {**vars(difference), "interval": vars(difference.interval)}
                for name, difference in self.against.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class SpaceRow:
    """One space.

    Attributes:
        label: Its name.
        n_seeds: How many times it was made.
        figures: By measure: ``WORDS/ndcg``, ``WORDS/recall`` and ``genres``.
        notes: What its model says of itself, by seed.
        train_seconds: Of the training of its model, mean over seeds.
    """

    label: str
    n_seeds: int
    figures: dict[str, Figure]
    notes: tuple[str, ...]
    train_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "label": self.label,
            "n_seeds": self.n_seeds,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "notes": list(self.notes),
            "train_seconds": self.train_seconds,
        }


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """What ``run_retrieval`` returns.

    Attributes:
        config: How titles, features and models were chosen.
        measure: How neighbours were measured.
        rows: One per space.
        text: Name of the raw text space; "" when there is none.
        queries: By name of the words: number of queries, and the median number of their candidates.
        facts: What was measured on what, in words.
        titles: Titles per role.
        n_trained: Models that were trained now; the others were there.
        files: What was written, by kind.
    """

    config: BenchmarkConfig
    measure: RetrievalConfig
    rows: tuple[SpaceRow, ...]
    text: str
    queries: dict[str, tuple[int, float]]
    facts: dict[str, str]
    titles: dict[str, int]
    n_trained: int
    files: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before comparing figures."""
        fields, k = ", ".join(self.measure.words), self.measure.k
        found = [
            f"Queries are {self.measure.split} titles, candidates all other titles with exactly the same labels of "
            f"'{self.config.labels.field}', at least {self.measure.smallest_pool}, both with known words. A candidate "
            f"gains as many points as it shares words ({fields}), which no model has read; nDCG@{k} is over the best "
            "order of the same candidates, and recall the share of those that share a word. Queries whose candidates "
            "share nothing are left out.",
            "Titles of which a space knows nothing come last; ties count as the mean of their orders, so that 'random' "
            "is exact. Raw spaces are cosines of vectors as they are.",
            f"Genre overlap is the mean Jaccard overlap of the labels of a query and its {k} nearest among all titles.",
            "Figures are means over queries, of each the mean over seeds, with bootstrap intervals over queries; "
            "differences and p are paired by query. Titles are the same for all seeds. No correction is made for the "
            "number of rows.",
        ]
        missing = [name for name in self.measure.sets if name not in self.queries]
        return found + ([f"No query has candidates that share words of: {', '.join(missing)}."] if missing else [])

    def row(self, label: str) -> SpaceRow:
        """Return the row of a space."""
        return next(row for row in self.rows if row.label == label)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "schema": _SCHEMA,
            "benchmark": RETRIEVAL_TABLE.name,
            "title": RETRIEVAL_TABLE.title,
            "facts": self.facts,
            "notes": self.notes,
            "titles": self.titles,
            "queries": {name: {"queries": n, "candidates": median} for name, (n, median) in self.queries.items()},
            "text": self.text,
            "config": to_json(self.config),
            "measure": to_json(self.measure),
            "rows": [row.to_json() for row in self.rows],
        }


def space_rows(
    found: Mapping[str, Sequence[Measured]], references: Sequence[str], config: BootstrapConfig
) -> tuple[SpaceRow, ...]:
    """Return the rows of all spaces, each tested against the references that are there.

    Args:
        found: What was measured by entry, one per seed.
        references: Names of the spaces that all others are tested against.
        config: How queries are drawn.
    """
    runs = {
        name: (seeds, [seed.spaces[name] for seed in seeds]) for seeds in found.values() for name in seeds[0].spaces
    }
    means = {name: _mean(own) for name, (_, own) in runs.items()}
    rows = []
    for name, (seeds, own) in runs.items():
        others = {other: means[other] for other in references if other in means and other != name}
        rows.append(
            SpaceRow(
                label=name,
                n_seeds=len(seeds),
                figures={key: _figure(key, own, means[name], others, config) for key in own[0]},
                notes=tuple(note for seed in seeds for note in seed.notes),
                train_seconds=statistics.fmean(seed.train_seconds for seed in seeds),
            )
        )
    return tuple(rows)


def _mean(seeds: Sequence[Measures]) -> Measures:
    """Return the measures of every query, mean over seeds."""
    return {key: np.mean([own[key] for own in seeds], axis=0) for key in seeds[0]}


def _figure(
    key: str, seeds: Sequence[Measures], mean: Measures, others: Mapping[str, Measures], config: BootstrapConfig
) -> Figure:
    of_seeds = [float(own[key].mean()) for own in seeds]
    return Figure(
        mean=float(mean[key].mean()),
        std=statistics.stdev(of_seeds) if len(of_seeds) > 1 else None,
        interval=bootstrap_means(mean[key][:, None], config)[0],
        against={name: compare_means(other[key], mean[key], config) for name, other in others.items()},
    )


def retrieval_markdown(report: RetrievalReport) -> str:
    """Return the whole report."""
    lines = [f"# {RETRIEVAL_TABLE.title} ({RETRIEVAL_TABLE.name})", ""]
    lines += markdown_table(("", ""), list(report.facts.items()))
    lines += ["", *(f"- {note}" for note in report.notes)]
    for title, header, rows in retrieval_tables(report, whole=True):
        lines += ["", f"## {title}", "", *markdown_table(header, rows)]
    notes = [(row.label, note) for row in report.rows for note in row.notes]
    if notes:
        lines += ["", "## What models say of themselves", "", *markdown_table(("space", "note"), notes)]
    lines += ["", "## Files", "", *(f"- {kind}: `{file}`" for kind, file in report.files.items())]
    return "\n".join(lines) + "\n"


def retrieval_tables(report: RetrievalReport, *, whole: bool = False) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of the tables: one per set of words, and one of genres.

    Args:
        report: The report.
        whole: With intervals of the differences, standard deviations over seeds and recall; else narrow enough for a
            terminal.
    """
    k, tables = report.measure.k, []
    for name, (n, median) in report.queries.items():
        title = f"nDCG@{k} on shared {name}: {n:,} queries, {median:,.0f} candidates each (median)"
        recall = f"{name}/recall" if whole else ""
        tables.append((title, *_table(report, f"{name}/ndcg", f"nDCG@{k}", recall, whole=whole)))
    n_asked = report.titles[report.measure.split]
    title = f"Genre overlap of the {k} nearest among all titles: {n_asked:,} queries"
    return [*tables, (title, *_table(report, GENRES, "genre overlap", whole=whole))]


def _table(
    report: RetrievalReport, key: str, name: str, recall: str = "", *, whole: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one measure, with recall beside it where its name is given."""
    others = dict.fromkeys(other for row in report.rows for other in row.figures[key].against)
    header = ["space", name, f"{100 * report.config.bootstrap.level:g} % interval", *(["± seeds"] if whole else [])]
    header += [f"recall@{report.measure.k}"] if recall else []
    for other in others:
        header += [f"minus {other}", *(["interval"] if whole else []), "p"]
    rows = []
    for row in report.rows:
        figure = row.figures[key]
        cells = [row.label, f"{figure.mean:.4f}", _interval(figure.interval)]
        cells += [MISSING if figure.std is None else f"{figure.std:.4f}"] if whole else []
        cells += [f"{row.figures[recall].mean:.4f}"] if recall else []
        for other in others:
            test = figure.against.get(other)
            if test is None:
                cells += [MISSING] * (3 if whole else 2)
                continue
            cells += [f"{test.difference:+.4f}", *([_interval(test.interval)] if whole else []), p_value(test.p_value)]
        rows.append(cells)
    return header, rows


def _interval(interval: Interval) -> str:
    return f"[{interval.low:.4f}, {interval.high:.4f}]"
