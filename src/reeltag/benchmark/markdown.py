"""The report of a benchmark as Markdown, and its tables as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from reeltag.benchmark.long_tail import COVERAGE, PRECISIONS, PROPENSITY_SCORED
from reeltag.benchmark.published import HIT, METRIC_NAMES, METRICS, PUBLISHED_CASES
from reeltag.benchmark.report import BenchmarkReport, Row, Summary
from reeltag.benchmark.weighted import WEIGHTED_NAMES
from reeltag.evaluation import AT_HALF, GLOBAL, PER_LABEL
from reeltag.evaluation.tails import GROUPS

MISSING = "–"
_ENDS = 30  # labels shown of either end, when they are more than twice as many
_NAMED = 30  # labels named in a cell
_WITH_SPREAD = 5  # figures that a terminal has room for with their spread; of more, means alone


def to_markdown(report: BenchmarkReport) -> str:
    """Return the whole report."""
    name, paper = report.benchmark.title, report.benchmark.paper
    lines = [f"# {name} ({report.benchmark.name}, protocol `{report.config.protocol}`)", ""]
    if paper is not None:
        lines += [f"Counterpart of {report.benchmark.source} of {paper.name}.", ""]
    lines += markdown_table(("", ""), list(report.facts.items()))
    lines += ["", "| titles | " + " | ".join(report.titles) + " |", "|---|" + "---|" * len(report.titles)]
    lines += ["| number | " + " | ".join(f"{n:,}" for n in report.titles.values()) + " |"]
    shares = [f"{100 * report.overlaps[name]:.1f} %" if name in report.overlaps else MISSING for name in report.titles]
    lines += [f"| share of the test titles among them | {' | '.join(shares)} |", ""]
    lines += [f"- {note}" for note in report.notes]
    lines += ["", "## At threshold 0.5" + (", beside the published figures" if paper is not None else ""), ""]
    lines += markdown_table(*_half_table(report))
    lines += ["", "## At the global threshold, chosen on the validation titles", ""]
    lines += markdown_table(*_global_table(report))
    lines += [
        "",
        *_tail_section(report),
        *_decision_section(report),
        *_variant_section(report),
        *_decade_section(report),
    ]
    lines += [*_label_section(report), *_attention_section(report), *_case_section(report)]
    lines += ["## Files", ""]
    lines += [f"- {kind}: `{file}`" for kind, file in report.files.items()]
    return "\n".join(lines) + "\n"


def short_tables(report: BenchmarkReport) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of tables narrow enough for a terminal; the whole ones are in the report."""
    half, chosen, metrics, paper = [], [], report.benchmark.metrics, report.benchmark.paper
    printed = paper.metrics if paper is not None else ()
    for row in report.rows:
        published = row.entry.published_row
        own = [_summary(row, AT_HALF, metric, short=len(metrics) > _WITH_SPREAD) for metric in metrics]
        theirs = [published.value(metric) if published else None for metric in printed]
        half.append([row.entry.label, *own, *map(_figure, theirs)])
        if row.runs:
            average = row.mean_average_precision
            figures = [str(row.f1(GLOBAL, metric)) for metric in METRICS[:2]]
            more = [_figure(average.mean if average else None), _figure(row.ece.mean)]
            mcnemar = p_value(row.decisions.p_value) if row.decisions else MISSING
            chosen.append([row.entry.label, *figures, *more, *_tests(row), mcnemar])
    beside = f"; right: published on {paper.datasets[0]}, {paper.short}" if paper is not None else ""
    names = [_short(metric) if metric in WEIGHTED_NAMES else METRIC_NAMES[metric] for metric in metrics]
    tables = [
        (f"F1 at threshold 0.5{beside}", ["model", *names, *map(_short, printed)], half),
        (
            f"At the global threshold of the validation titles; Δ: minus {report.benchmark.reference}",
            ["model", *map(METRIC_NAMES.__getitem__, METRICS[:2]), "mAP", "ECE", "Δ micro F1", "p", "Δ macro F1", "p",
             "McNemar p"],
            chosen,
        ),
    ]  # fmt: skip
    if header_rows := _tail_table(report, short=True):
        tables.append(("Long tail: at thresholds per label, and without thresholds; means over seeds", *header_rows))
    if header_rows := _variant_table(report, short=True):
        tables.append(("At the global threshold, the posters of the test titles changed", *header_rows))
    if header_rows := _decade_table(report):
        tables.append(("Micro / macro F1 at the global threshold, by decade of release", *header_rows))
    return tables


def _half_table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the figures at 0.5, with the published ones of every dataset."""
    metrics, paper = report.benchmark.metrics, report.benchmark.paper
    datasets = paper.datasets if paper is not None else ()
    printed = " / ".join(map(_short, paper.metrics)) if paper is not None else ""
    header = ["model", *(METRIC_NAMES[metric] for metric in metrics)]
    header += [f"published, {dataset}: {printed}" for dataset in datasets]
    rows = []
    for row in report.rows:
        own = [row.why_not, *[""] * (len(metrics) - 1)]
        if row.runs:
            own = [_summary(row, AT_HALF, metric) for metric in metrics]
        published = row.entry.published_row
        figures = published.figures if published else [()] * len(datasets)
        rows.append([row.entry.label, *own, *map(_published, figures)])
    return header, rows


def _global_table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the figures at the global threshold, with the tests against the reference."""
    metrics = report.benchmark.metrics
    header = ["model", *(METRIC_NAMES[metric] for metric in metrics), "mAP", "ECE", "training (s)", "reads",
              f"micro F1 minus {report.benchmark.reference}", "p", "macro F1 minus it", "p"]  # fmt: skip
    rows = []
    for row in report.rows:
        if not row.runs:
            rows.append([row.entry.label, row.why_not, *[""] * (len(header) - 2)])
            continue
        own = [_summary(row, GLOBAL, metric) for metric in metrics]
        more = [str(row.mean_average_precision or MISSING), str(row.ece), f"{row.train_seconds.mean:.1f}"]
        reads = ", ".join(row.modalities) + (" as tokens" if row.entry.tokens else "")
        rows.append([row.entry.label, *own, *more, reads, *_tests(row)])
    return header, rows


def _tail_section(report: BenchmarkReport) -> list[str]:
    found = _tail_table(report)
    if not found:
        return []
    return ["## Long tail: at thresholds per label, and without thresholds", "", *markdown_table(*found), ""]


def _tail_table(report: BenchmarkReport, *, short: bool = False) -> tuple[list[str], list[list[str]]] | None:
    """Return header and rows of what is told of rare labels, fewer columns and means alone when short."""
    if not report.benchmark.long_tail:
        return None
    ranking = ("P@1", "P@5", "nDCG@5", "PSP@1", "PSP@5") if short else (*PRECISIONS, "nDCG@5", *PROPENSITY_SCORED)
    header = ["model", "micro F1", "macro F1", *ranking, "mAP"]
    header += [*GROUPS, "covered"] if short else [*(f"macro F1, {name}" for name in GROUPS), "label coverage"]
    header += ["s" if short else "training (s)"]
    rows = []
    for row in report.rows:
        if not row.runs:
            rows.append([row.entry.label, *[MISSING] * (len(header) - 1)])
            continue
        figures = [row.figure(PER_LABEL, metric) for metric in (*METRICS[:2], *ranking)]
        figures += [row.mean_average_precision, *map(row.tail, (*GROUPS, COVERAGE))]
        told = [_figure(figure.mean if figure else None) if short else str(figure or MISSING) for figure in figures]
        rows.append([row.entry.label, *told, f"{row.train_seconds.mean:.1f}"])
    return header, rows


def _decision_section(report: BenchmarkReport) -> list[str]:
    """Return McNemar's tests against the reference."""
    header = ["model", "decisions only the reference has right", "only this model", "p", "labels that differ",
              "better in", "worse in"]  # fmt: skip
    rows = [
        [
            row.entry.label,
            f"{test.only_reference:,.1f}",
            f"{test.only_entry:,.1f}",
            p_value(test.p_value),
            f"{len(test.better) + len(test.worse)} of {len(test.labels)}",
            _names(test.better),
            _names(test.worse),
        ]
        for row in report.rows
        if (test := row.decisions) is not None
    ]
    heading = f"## Decisions against those of {report.benchmark.reference} (McNemar)"
    return [heading, "", *markdown_table(header, rows), ""] if rows else []


def _names(labels: Sequence[str]) -> str:
    """Return labels in words, the first of them when they are many; a dash for none."""
    more = len(labels) - _NAMED
    return ", ".join(labels[:_NAMED]) + (f" and {more:,} more" if more > 0 else "") or MISSING


def _variant_section(report: BenchmarkReport) -> list[str]:
    found = _variant_table(report)
    if not found:
        return []
    return ["## The posters of the test titles changed, at the global threshold", "", *markdown_table(*found), ""]


def _variant_table(report: BenchmarkReport, *, short: bool = False) -> tuple[list[str], list[list[str]]] | None:
    """Return header and rows of every entry under every variant, reasons cut when short; None without variants."""
    metrics = [metric for metric in report.benchmark.metrics if metric in (*METRICS[:2], HIT)]
    header = ["model", "test titles", *(METRIC_NAMES[metric] for metric in metrics), "Δ micro F1", "with words"]
    rows = []
    for row in report.rows:
        if not (row.runs and row.variants):
            continue
        whole = row.f1(GLOBAL, "micro_f1")
        own = [_summary(row, GLOBAL, metric) for metric in metrics]
        rows.append([row.entry.label, "as they are", *own, MISSING, _share(row.share("poster_text"))])
        for name, why_not in row.variants.items():
            micro = row.varied(name, "micro_f1")
            if micro is None:
                told = f"{name}: {'not run' if short else why_not}"
                rows.append([row.entry.label, told, *[MISSING] * (len(header) - 2)])
                continue
            own = [str(row.varied(name, metric) or MISSING) for metric in metrics]
            difference = f"{micro.mean - whole.mean:+.3f}"
            rows.append([row.entry.label, name, *own, difference, _share(row.share("poster_text", name))])
    return (header, rows) if rows else None


def _decade_section(report: BenchmarkReport) -> list[str]:
    found = _decade_table(report)
    if not found:
        return []
    return ["## Micro / macro F1 by decade of release, at the global threshold", "", *markdown_table(*found), ""]


def _decade_table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]] | None:
    """Return header and rows of every decade, a column per entry; None when none is asked for."""
    shown = [row for row in report.rows if row.decades]
    if not shown:
        return None
    rows = [
        [
            first.name + (" (few)" if first.is_small else ""),
            f"{first.n_titles:,}",
            *(f"{Summary.of(row.decades[n].micro_f1)} / {Summary.of(row.decades[n].macro_f1)}" for row in shown),
        ]
        for n, first in enumerate(shown[0].decades)
    ]
    return ["decade", "titles", *(row.entry.label for row in shown)], rows


def _tests(row: Row) -> list[str]:
    cells = []
    for metric in ("micro_f1", "macro_f1"):
        test = row.tests.get(metric)
        cells += [MISSING] * 2 if test is None else [f"{test.difference:+.3f}", p_value(test.p_value)]
    return cells


def p_value(p: float) -> str:
    """Return a p-value in three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _published(figures: Sequence[float | None]) -> str:
    if all(figure is None for figure in figures):
        return "not stated"
    return " / ".join(map(_figure, figures))


def _summary(row: Row, rule: str, metric: str, *, short: bool = False) -> str:
    """Return a figure of a row, its mean alone when short; a dash when it was not run or does not hold it."""
    figure = row.figure(rule, metric) if row.runs else None
    return _figure(figure.mean if figure else None) if short else str(figure or MISSING)


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f} %"


def _short(metric: str) -> str:
    return METRIC_NAMES[metric].split()[0]


def _figure(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _label_section(report: BenchmarkReport) -> list[str]:
    """Return the F1 of every label, most frequent in training first; of many labels, of both ends."""
    ran = [row for row in report.rows if row.runs]
    found = {row.entry.label: row.label_f1(GLOBAL) for row in ran}
    header = ["label", "training titles", *found]
    names, note = list(report.labels), []
    if len(names) > 2 * _ENDS:
        names.sort(key=lambda name: -report.labels[name])
        note = [f"The {_ENDS} most and {_ENDS} least frequent of {len(names):,} labels; all are in the JSON.", ""]
        names = [*names[:_ENDS], *names[-_ENDS:]]
    rows = [[name, f"{report.labels[name]:,}", *(f"{f1[name]:.3f}" for f1 in found.values())] for name in names]
    return ["## F1 per label at the global threshold", "", *note, *markdown_table(header, rows), ""]


def _attention_section(report: BenchmarkReport) -> list[str]:
    told = {row.entry.label: row.runs[0].attention for row in report.rows if row.runs and row.runs[0].attention}
    if not told:
        return []
    names = list(dict.fromkeys(name for means in told.values() for name in means))
    rows = [
        [label, *(f"{means[name]:.3f}" if name in means else MISSING for name in names)]
        for label, means in told.items()
    ]
    return ["## Mean attention on the test titles (seed 0)", "", *markdown_table(["model", *names], rows), ""]


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
        *markdown_table(["plot", "people", "attention of the poster", "of the plot", "of the credits"], rows),
        "",
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
