"""``reeltag evaluate``: measure a tagger on titles whose labels are known, as a page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.cli.options import (
    AsJson,
    CachePath,
    CataloguePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    TaggerPath,
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import beside, figure, progress_bar, say, table

if TYPE_CHECKING:
    from reeltag.evaluation import Comparison, Report

_SHOWN_LABELS = 30


def evaluate(
    tagger: TaggerPath,
    catalogue: CataloguePath,
    split: Annotated[str, typer.Option(help="test, validation, train, background or all.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, report.json, predictions.parquet (default: beside the tagger).",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="predictions.parquet of another run on the same titles: test the difference.", show_default=False
        ),
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Measure a tagger on a split and write a report."""
    from dataclasses import replace

    from reeltag.evaluation import report_to_json, write_report
    from reeltag.tagger import Tagger

    trained = Tagger.from_pretrained(tagger, cache=cache)
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=trained.labels.config.field,
    )
    with progress_bar() as progress:
        found = trained.evaluate(films, split, progress=progress)
    report = found.report
    if against is not None:
        from reeltag.comparison import compare_predictions
        from reeltag.predictions import Predictions

        other = Predictions.read(against)
        comparison = compare_predictions(found.targets, other, found.predictions, names=(str(against), str(tagger)))
        report = replace(report, comparison=comparison)
    folder = out or beside(tagger, split)
    write_report(folder, report)
    found.predictions.write(folder / "predictions.parquet")
    if as_json:
        say(report_to_json(report).rstrip())
        return
    show_report(report)
    say(f"report: {folder / 'report.html'}")


def show_report(report: Report) -> None:
    """Print the figures of a report."""
    evaluation = report.evaluation
    rows = []
    for scores in evaluation.rules:
        cells = [scores.rule]
        for name in ("micro_f1", "macro_f1", "weighted_f1", "samples_f1"):
            interval = scores.intervals.get(name)
            spread = (
                f" [{interval.low:.3f}, {interval.high:.3f}]" if interval and name in ("micro_f1", "macro_f1") else ""
            )
            cells.append(f"{getattr(scores, name):.3f}{spread}")
        rows.append([*cells, figure(scores.hit_at_least_one), figure(scores.abstention_rate)])
    headers = ["threshold", "micro F1 [95 %]", "macro F1 [95 %]", "weighted", "samples", "hit ≥ 1", "abstained"]
    table(f"{evaluation.n_titles:,} titles of split '{report.metadata['split']}'", headers, rows)
    ranking = evaluation.ranking
    at_k = ", ".join(f"P@{top.k} {figure(top.precision)}, nDCG@{top.k} {figure(top.ndcg)}" for top in ranking.top_k)
    say(f"mAP {figure(ranking.mean_average_precision)}, AUROC {figure(ranking.macro_auroc)}, ECE {figure(ranking.ece)}")
    say(f"{at_k}\n")
    rows = [
        [s.label, f"{s.support:,}", figure(s.precision), figure(s.recall), figure(s.f1), figure(s.average_precision)]
        for s in sorted(evaluation.labels, key=lambda s: -s.support)[:_SHOWN_LABELS]
    ]
    table("Per label", ["label", "titles", "precision", "recall", "F1", "AP"], rows)
    if len(report.modalities) > 1:
        rows = [[" + ".join(m.modalities), figure(m.micro_f1), figure(m.macro_f1)] for m in report.modalities]
        table("With these modalities only", ["modalities", "micro F1", "macro F1"], rows)
    if report.comparison is not None:
        show_comparison(report.comparison)
    say(f"leak check: {report.metadata['leak check']}")


def show_comparison(comparison: Comparison) -> None:
    """Print the difference of two runs."""
    rows = [
        [d.metric, f"{d.difference:+.4f}", f"[{d.interval.low:+.4f}, {d.interval.high:+.4f}]", f"{d.p_value:.4f}"]
        for d in comparison.differences
    ]
    table(f"{comparison.second} minus {comparison.first}", ["figure", "difference", "95 %", "p"], rows)
    rows = [
        [
            t.label,
            *map(figure, (t.first_f1, t.second_f1)),
            str(t.only_first),
            str(t.only_second),
            figure(t.adjusted_p_value),
        ]
        for t in sorted(comparison.labels, key=lambda t: t.adjusted_p_value)[:_SHOWN_LABELS]
    ]
    headers = ["label", "first F1", "second F1", "only first right", "only second right", "p (Holm)"]
    table(f"McNemar's test per label, {comparison.n_titles:,} titles", headers, rows)
