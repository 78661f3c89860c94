"""``reeltag tag``: say which labels apply to titles, how sure it is, and what spoke for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from reeltag.cli.show import progress_bar, say, say_json, say_unreadable, table

if TYPE_CHECKING:
    from reeltag.predictions import Predictions

_SHOWN_TITLES = 20


def tag(
    tagger: TaggerPath,
    catalogue: CataloguePath,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, .csv or .jsonl (default: print a table).", show_default=False),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="Threshold rule: half, global or per_label (default: the tagger's own).", show_default=False),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Say what spoke for the surest label of each title.")
    ] = True,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Tag the titles of a catalogue; any of their fields but the id may be missing."""
    from reeltag.predictions import check_suffix
    from reeltag.tagger import Tagger

    if out is not None:
        check_suffix(out)
    trained = Tagger.from_pretrained(tagger, cache=cache)
    films = read_catalogue(
        catalogue, maps=maps, posters=posters, trailers=trailers, separator=separator, skip_bad=skip_bad
    )
    with progress_bar() as progress:
        predictions = trained.tag(films, evidence=evidence, rule=rule, progress=progress)
    n_abstained = int(predictions.abstained.sum())
    if out is not None:
        predictions.write(out)
    unreadable = trained.fitted.pipeline.unreadable_trailers
    if as_json:
        summary: dict[str, Any] = {
            "n_titles": len(predictions),
            "n_abstained": n_abstained,
            "out": str(out) if out else None,
        }
        summary |= {"unreadable_trailers": unreadable} if unreadable else {}
        say_json(summary if out else summary | {"titles": predictions.to_frame().to_dicts()})
        return
    show_predictions(predictions, _SHOWN_TITLES)
    say(f"{len(predictions):,} titles tagged; no label above its threshold for {n_abstained:,}")
    say_unreadable(unreadable)
    if out is not None:
        say(f"written to {out}")


def show_predictions(predictions: Predictions, limit: int, truth: dict[str, list[str]] | None = None) -> None:
    """Print titles with their labels; an abstention is said, with the likeliest label beside it.

    Args:
        predictions: What to print.
        limit: Titles shown at most.
        truth: True labels by id, for a column of their own.
    """
    rows = []
    decided, likeliest = predictions.decided(), predictions.likeliest(1)
    for row in range(min(limit, len(predictions))):
        labels = ", ".join(f"{label} {p:.2f}" for label, p in decided[row])
        if not labels:
            label, p = likeliest[row][0]
            labels = f"no label above threshold (likeliest: {label} {p:.2f})"
        title = predictions.titles[row] if predictions.titles and predictions.titles[row] else predictions.ids[row]
        cells = [title, labels]
        if truth is not None:
            cells.append(", ".join(truth[predictions.ids[row]]))
        if predictions.evidence:
            cells.append(predictions.evidence[row])
        rows.append(cells)
    headers = ["title", "labels and probabilities", *(["in the catalogue"] if truth is not None else [])]
    if predictions.evidence:
        headers.append("what spoke for the first (log-odds)")
    shown = f" (the first {limit} of {len(predictions):,})" if len(predictions) > limit else ""
    table(f"Tagged titles{shown}", headers, rows, left=range(len(headers)))
