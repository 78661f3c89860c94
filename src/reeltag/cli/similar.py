"""``reeltag similar``: titles like others, and what they share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.cli.index import Titles
from reeltag.cli.options import (
    AsJson,
    CachePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    TaggerPath,
    TrailerPaths,
    catalogue_reader,
)
from reeltag.cli.show import say, say_json, table

if TYPE_CHECKING:
    from reeltag.retrieval import Similar, Space

_TOLD_WORDS = 6
_YEARS = re.compile(r"(\d{1,4})?\s*(-)?\s*(\d{1,4})?")


def similar(
    tagger: TaggerPath,
    ids: Annotated[list[str], typer.Argument(help="Ids of titles; several are averaged.", show_default=False)],
    catalogue: Annotated[
        Path | None,
        typer.Option(help="Catalogue to search (default: the tagger's training titles).", show_default=False),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder that reeltag index wrote, to search.", show_default=False)
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Catalogue that holds the titles asked about, when it is another.", show_default=False
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many titles.")] = 10,
    year: Annotated[
        str | None, typer.Option(help="Only titles of these years: 1994, 1990-1999, 1990-, -1999.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Only titles with this label. Repeatable: with all of them.", show_default=False),
    ] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only titles whose labels are known.")] = False,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Id of a title to leave out. Repeatable.", show_default=False)
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Find the titles most like some, among training titles, a catalogue or an index, and say what they share."""
    from reeltag import retrieval as room
    from reeltag.errors import CatalogueError

    wanted = room.Wanted(
        years=years_of(year), labels=tuple(label or []), known_only=known_only, exclude=tuple(exclude or [])
    )

    read = catalogue_reader(maps=maps, posters=posters, trailers=trailers, separator=separator, skip_bad=skip_bad)

    titles = Titles(tagger=tagger, catalogue=catalogue, index=index, cache=cache, read=read)
    space, lists = titles.open()
    holder = space
    if from_ is not None:
        films = read(from_, space.label_field)
        holder = titles.embedded(films.take([films.find(title_id) for title_id in dict.fromkeys(ids)]))
    try:
        query = room.Query.of(holder, ids)
    except CatalogueError as error:
        others = (
            "" if catalogue or index or from_ else "; search other titles with --catalogue, ask about others by --from"
        )
        raise CatalogueError(f"{error}{others}") from None
    found = room.similar(space, query, n, wanted=wanted, index=lists)
    if as_json:
        told = {"ids": ids, "source": space.source, "n_titles": len(space)}
        say_json(told | {"titles": [hit.to_json() for hit in found]})
        return
    _show(found, holder, ids)
    if len(found) < n:
        say(f"no more than {len(found):,} titles may be found")


def years_of(text: str | None) -> tuple[int | None, int | None] | None:
    """Return the first and last year of ``1994``, ``1990-1999``, ``1990-`` or ``-1999``; None without a text.

    Raises:
        ConfigError: The text is none of these.
    """
    from reeltag.errors import ConfigError

    if text is None:
        return None
    found = _YEARS.fullmatch(text.strip())
    if found is None or not (found[1] or found[3]):
        raise ConfigError(f"--year takes 1994, 1990-1999, 1990- or -1999; got {text!r}")
    first, last = (int(year) if year else None for year in (found[1], found[3]))
    return first, last if found[2] else first


def _show(found: tuple[Similar, ...], holder: Space, ids: list[str]) -> None:
    from reeltag.retrieval.space import named

    asked = [named(*holder.titles.row(holder.row(title_id))[1:3]) for title_id in dict.fromkeys(ids)]
    rows = [
        [
            f"{hit.similarity:.3f}",
            named(hit.title, hit.year),
            hit.id,
            ", ".join(hit.labels) + ("" if hit.known else " (predicted)"),
            ", ".join([*hit.shared_labels, *hit.shared_words][:_TOLD_WORDS]),
        ]
        for hit in found
    ]
    headers = ["similarity", "title", "id", "labels", "shared, rarest first"]
    table(f"Titles like {' and '.join(asked)}", headers, rows, left=(1, 2, 3, 4))
