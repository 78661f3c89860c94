"""``reeltag check``: what a catalogue holds, and where its splits leak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import (
    AsJson,
    CataloguePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import percent, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.leaks import LeakReport

_SHOWN_LABELS = 40
_SHOWN_LEAKS = 15


def check(
    catalogue: CataloguePath,
    labels: Annotated[str, typer.Option(help="List field that holds the labels.")] = "genres",
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    tagger: Annotated[
        Path | None, typer.Option(help="Also audit what this trained tagger was fitted on.", show_default=False)
    ] = None,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="Look for leaks between the splits.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when the audit finds serious leaks.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write every finding to this JSON file.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Validate a catalogue, say what is present, and audit its splits for leaks."""
    from reeltag.survey import survey

    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=labels,
    )
    found = survey(films, labels)
    report = _audited(films, labels, tagger) if audit else None
    data = found.to_json() | ({"leaks": report.to_json()} if report else {})
    if out is not None:
        from reeltag.files import write_json

        write_json(out, data)
    if as_json:
        say_json(data)
    else:
        _show_survey(data)
        if report is not None:
            _show_leaks(report)
    if strict and report is not None and report.severity == "serious":
        raise typer.Exit(1)


def _audited(films: Any, labels: str, tagger: Path | None) -> LeakReport:
    from reeltag.leaks import audit

    fitted = None
    if tagger is not None:
        from reeltag.artefact import read_config, read_fitted_on

        read_config(tagger)
        fitted = read_fitted_on(tagger)
    with progress_bar() as progress:
        return audit(films, labels_field=labels, fitted=fitted, progress=progress)


def _show_survey(data: dict[str, Any]) -> None:
    say(f"{data['source']}: {data['n_titles']:,} titles, valid")
    splits = list(data["splits"])
    rows = [
        [name, f"{entry['all']:,}", *(f"{entry['splits'][split]:,}" for split in splits)]
        for name, entry in data["present"].items()
    ]
    table("Present per field", ["field", "all", *splits], rows)
    labels = data["labels"]
    counts = list(labels["counts"].items())
    shown = counts[:_SHOWN_LABELS]
    rows = [[label, f"{n:,}", percent(n / max(labels["n_labelled"], 1))] for label, n in shown]
    table(
        f"Labels in '{labels['field']}': {len(counts):,} on {labels['n_labelled']:,} titles",
        ["label", "titles", "share"],
        rows,
    )
    if len(counts) > len(shown):
        say(f"… and {len(counts) - len(shown):,} more\n")
    for note in data["notes"]:
        say(f"note: {note}")


def _show_leaks(report: LeakReport) -> None:
    rows = [[c.severity, c.sentence] for c in report.checks] + [[c.severity, c.sentence] for c in report.fitted]
    table("Leak audit", ["severity", "finding"], rows, left=(0, 1))
    leaks = report.leaks
    if leaks:
        rows = [
            [f.kind, _side(f.a), f.a.split, _side(f.b), f.b.split, f"{f.similarity:.2f}"] for f in leaks[:_SHOWN_LEAKS]
        ]
        headers = ["kind", "title", "split", "other title", "split", "similarity"]
        table(f"Pairs that cross the splits ({len(leaks):,})", headers, rows, left=(0, 1, 2, 3, 4))
        if len(leaks) > _SHOWN_LEAKS:
            say(f"… and {len(leaks) - _SHOWN_LEAKS:,} more: --out leaks.json lists all")
    for note in report.notes:
        say(f"note: {note}")
    say(f"{report.severity}: {report.verdict}")


def _side(side: Any) -> str:
    year = f" ({side.year})" if side.year else ""
    return f"{side.title or side.id}{year}"
