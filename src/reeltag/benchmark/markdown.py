"""The report of a benchmark as Markdown, and its tables as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from reeltag.benchmark.published import DATASETS, METRICS, PUBLISHED_CASES
from reeltag.benchmark.report import BenchmarkReport, Row
from reeltag.evaluation import AT_HALF, GLOBAL

_F1 = ("micro F1", "macro F1", "weighted F1", "samples F1")
_MISSING = "–"


def to_markdown(report: BenchmarkReport) -> str:
    """Return the whole report."""
    name, source = report.benchmark.title, report.benchmark.source
    lines = [f"# {name} ({report.benchmark.name}, protocol `{report.config.protocol}`)", ""]
    lines += [f"Counterpart of {source} of the IDKG paper (Li et al., MM 2023).", ""]
    lines += _table(("", ""), list(report.facts.items()))
    lines += ["", "| titles | " + " | ".join(report.titles) + " |", "|---|" + "---|" * len(report.titles)]
    lines += ["| number | " + " | ".join(f"{n:,}" for n in report.titles.values()) + " |"]
    shares = [f"{100 * report.overlaps[name]:.1f} %" if name in report.overlaps else _MISSING for name in report.titles]
    lines += [f"| share of the test titles among them | {' | '.join(shares)} |", ""]
    lines += [f"- {note}" for note in report.notes]
    lines += ["", "## At threshold 0.5, beside the published figures", ""]
    lines += _table(*_half_table(report))
    lines += ["", "## At the global threshold, chosen on the validation titles", ""]
    lines += _table(*_global_table(report))
    lines += ["", *_label_section(report), *_attention_section(report), *_case_section(report)]
    lines += ["## Files", ""]
    lines += [f"- {kind}: `{file}`" for kind, file in report.files.items()]
    return "\n".join(lines) + "\n"


def short_tables(report: BenchmarkReport) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of two tables narrow enough for a terminal; the whole ones are in the report."""
    half, chosen = [], []
    for row in report.rows:
        published = row.entry.published_row
        own = [str(row.f1(AT_HALF, metric)) if row.runs else _MISSING for metric in METRICS]
        theirs = published.first if published else (None,) * len(METRICS)
        half.append([row.entry.label, *own, *(_figure(value) for value in theirs)])
        if row.runs:
            average = row.mean_average_precision
            figures = [str(row.f1(GLOBAL, metric)) for metric in METRICS[:2]]
            more = [_figure(average.mean if average else None), _figure(row.ece.mean)]
            chosen.append([row.entry.label, *figures, *more, *_tests(row)])
    return [
        (
            f"F1 at threshold 0.5; right: published on {DATASETS[0]}, other data and a leaky split",
            ["model", *_F1, "micro", "macro", "weighted", "samples"],
            half,
        ),
        (
            f"At the global threshold of the validation titles; Δ: minus {report.benchmark.reference}",
            ["model", *_F1[:2], "mAP", "ECE", "Δ micro F1", "p", "Δ macro F1", "p"],
            chosen,
        ),
    ]


def _half_table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the figures at 0.5, with the published ones of both datasets."""
    header = ["model", *_F1, *(f"published, {dataset}: micro / macro / weighted / samples" for dataset in DATASETS)]
    rows = []
    for row in report.rows:
        own = [str(row.f1(AT_HALF, metric)) for metric in METRICS] if row.runs else [row.why_not, *[""] * 3]
        published = row.entry.published_row
        both = (published.first, published.second) if published else ((), ())
        rows.append([row.entry.label, *own, *(_published(figures) for figures in both)])
    return header, rows


def _global_table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the figures at the global threshold, with the tests against the reference."""
    header = ["model", *_F1, "mAP", "ECE", "training (s)", "reads", f"micro F1 minus {report.benchmark.reference}", "p",
              "macro F1 minus it", "p"]  # fmt: skip
    rows = []
    for row in report.rows:
        if not row.runs:
            rows.append([row.entry.label, row.why_not, *[""] * (len(header) - 2)])
            continue
        own = [str(row.f1(GLOBAL, metric)) for metric in METRICS]
        more = [str(row.mean_average_precision or _MISSING), str(row.ece), f"{row.train_seconds.mean:.1f}"]
        rows.append([row.entry.label, *own, *more, ", ".join(row.modalities), *_tests(row)])
    return header, rows


def _tests(row: Row) -> list[str]:
    cells = []
    for metric in ("micro_f1", "macro_f1"):
        test = row.tests.get(metric)
        cells += [_MISSING] * 2 if test is None else [f"{test.difference:+.3f}", p_value(test.p_value)]
    return cells


def p_value(p: float) -> str:
    """Return a p-value in three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _published(figures: Sequence[float | None]) -> str:
    if all(figure is None for figure in figures):
        return "not stated"
    return " / ".join(map(_figure, figures))


def _figure(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _label_section(report: BenchmarkReport) -> list[str]:
    """Return the F1 of every label, most frequent in training first."""
    ran = [row for row in report.rows if row.runs]
    found = {row.entry.label: row.label_f1(GLOBAL) for row in ran}
    header = ["label", "training titles", *found]
    rows = [[name, f"{n:,}", *(f"{f1[name]:.3f}" for f1 in found.values())] for name, n in report.labels.items()]
    return ["## F1 per label at the global threshold", "", *_table(header, rows), ""]


def _attention_section(report: BenchmarkReport) -> list[str]:
    told = {row.entry.label: row.runs[0].attention for row in report.rows if row.runs and row.runs[0].attention}
    if not told:
        return []
    names = list(dict.fromkeys(name for means in told.values() for name in means))
    rows = [
        [label, *(f"{means[name]:.3f}" if name in means else _MISSING for name in names)]
        for label, means in told.items()
    ]
    return ["## Mean attention on the test titles (seed 0)", "", *_table(["model", *names], rows), ""]


def _case_section(report: BenchmarkReport) -> list[str]:
    if report.benchmark.draws != "cases":
        return []
    rows = [
        [str(c["plot"]), str(c["people"]), *(f"{c[name]:.4f}" for name in ("poster", "text", "credits"))]
        for c in PUBLISHED_CASES
    ]
    return [
        "## The three films of the published figure",
        "",
        *_table(["plot", "people", "attention of the poster", "of the plot", "of the credits"], rows),
        "",
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
