"""``reeltag add-label``: add a label to a trained tagger from a handful of titles."""

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
from reeltag.cli.show import figure, percent, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.added import AddedLabel
    from reeltag.predictions import Predictions


def add_label(
    tagger: TaggerPath,
    name: Annotated[str, typer.Argument(help="The new label.", show_default=False)],
    catalogue: CataloguePath,
    examples: Annotated[
        Path | None,
        typer.Option(help="File with the id of a title on each line, to which the label applies.", show_default=False),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(help="Id of a title to which the label applies. Repeatable.", show_default=False),
    ] = None,
    from_field: Annotated[
        str | None,
        typer.Option(
            help="List field: every title that has the label there is an example, but for those of the splits "
            "validation and test; their share is the label's share.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Titles taken from the field at most, evenly drawn.", min=1)] = 1000,
    not_: Annotated[
        list[str] | None,
        typer.Option("--not", help="Id of a title to which the label does not apply. Repeatable.", show_default=False),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Share of titles that the label should apply to (default: the median of the learned labels).",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="From which probability the label applies (default: the best F1 to be expected).", show_default=False
        ),
    ] = None,
    strongest: Annotated[
        int, typer.Option(help="Titles of the catalogue shown, the likeliest first; 0 tags none.", min=0)
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the tagger with the new label (default: in place).", show_default=False),
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Add a label to a tagger from a handful of titles; what it says of the other labels stays as it is."""
    from dataclasses import replace

    from reeltag.added import examples_in_field
    from reeltag.artefact import check_destination
    from reeltag.card import with_added_labels
    from reeltag.config import to_json
    from reeltag.tagger import Tagger

    trained = Tagger.from_pretrained(tagger, cache=cache)
    place = out or tagger
    check_destination(place)
    config = trained.labels.config
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=from_field or config.field,
    )
    ids = [*read_ids(examples), *(example or [])]
    if from_field is not None:
        found = examples_in_field(films, name, replace(config, field=from_field), limit)
        ids += [title_id for title_id in found.ids if title_id not in (not_ or [])]
        share = found.share if share is None else share
    grown = trained.add_label(name, ids, films, counter_examples=not_ or [], share=share, threshold=threshold)
    added = grown.fitted.added.entries
    card = (tagger / "README.md").read_text(encoding="utf-8")
    grown.save_pretrained(place, with_added_labels(card, added))
    titles: list[dict[str, Any]] = []
    if strongest:
        with progress_bar() as progress:
            titles = strongest_titles(grown.tag(films, evidence=False, progress=progress), added[-1], strongest)
    if as_json:
        say_json({"tagger": str(place), **to_json(added[-1]), "f1": added[-1].f1, "strongest": titles})
        return
    show_label(added[-1], titles)
    say(f"saved to {place}\nnext: reeltag tag {place} {catalogue}")


def read_ids(path: Path | None) -> list[str]:
    """Return the ids of a file, one on each line; blank lines are passed over."""
    from reeltag.errors import LabelError

    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: ids must be UTF-8 text, one on each line ({error.reason})") from None
    return [line.strip() for line in lines if line.strip()]


def strongest_titles(predictions: Predictions, entry: AddedLabel, n: int) -> list[dict[str, Any]]:
    """Return the titles with the highest probability of an added label, and whether they were its examples."""
    found = predictions.probabilities[:, predictions.labels.index(entry.label)]
    return [
        {
            "id": predictions.ids[row],
            "title": predictions.titles[row],
            "probability": float(found[row]),
            "example": predictions.ids[row] in entry.examples,
        }
        for row in (-found).argsort(kind="stable")[:n]
    ]


def show_label(entry: AddedLabel, titles: list[dict[str, Any]]) -> None:
    """Print what is known of an added label, and its strongest titles."""
    counted = f"{len(entry.examples):,} example{'s' * (len(entry.examples) > 1)}"
    if entry.counter_examples:
        counted += f" and {len(entry.counter_examples):,} it does not apply to"
    say(f"added '{entry.label}' from {counted}; expected share of titles {percent(entry.share)}")
    say(f"threshold {figure(entry.threshold)}: tags {percent(entry.tagged)} of the training titles")
    if entry.recall is None:
        say("one example: nothing to cross-validate on")
    else:
        say(
            f"examples found when left out (cross-validation): {percent(entry.recall)}; by the expected share that is "
            f"precision {figure(entry.precision)}, F1 {figure(entry.f1)}"
        )
    if titles:
        rows = [
            [title["title"] or title["id"], title["id"], f"{title['probability']:.3f}", "yes" * title["example"]]
            for title in titles
        ]
        table("Strongest titles of the catalogue", ["title", "id", "probability", "example"], rows, left=(0, 1, 3))
