"""``reeltag map``: the titles of a catalogue on a page, like ones near each other."""

from __future__ import annotations

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
    read_posters,
)
from reeltag.cli.show import progress_bar, say, say_json

if TYPE_CHECKING:
    from reeltag.catalogue import Catalogue
    from reeltag.retrieval import TitleMap

_MEGABYTE = 1_000_000


def map_titles(
    tagger: TaggerPath,
    out: Annotated[Path, typer.Option(help="Folder for the map, or a file: NAME.html.")],
    catalogue: Annotated[
        Path | None,
        typer.Argument(help="Catalogue (default: the tagger's training titles, or --index).", show_default=False),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder that reeltag index wrote, in place of a catalogue.", show_default=False)
    ] = None,
    genre: Annotated[str | None, typer.Option(help="Only titles with this label.", show_default=False)] = None,
    subgenres: Annotated[
        Path | None, typer.Option(help="Folder that reeltag subgenres wrote, to be named.", show_default=False)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="An earlier map, to keep titles in their places (default: the one at --out).", show_default=False
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Lay titles out anew, whatever map is at --out.")] = False,
    heading: Annotated[str, typer.Option(help="Above the map (default: the source).", show_default=False)] = "",
    perplexity: Annotated[float, typer.Option(help="About how many neighbours a title is held by.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the layout.")] = 0,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Draw titles on a page to look at, like ones near each other: dots from afar, posters near by, with a search."""
    from reeltag import retrieval as room

    room.check_target(out)
    config = room.TitleMapConfig(
        genre=genre,
        start=start,
        fresh=fresh,
        layout=room.LayoutConfig(seed=seed, perplexity=perplexity),
        page=room.MapConfig(heading=heading),
    )
    found = room.Subgenres.load(subgenres) if subgenres is not None else None
    given = None if catalogue is not None else read_posters(posters)
    films: list[Catalogue] = []

    opened = catalogue_reader(maps=maps, posters=posters, trailers=trailers, separator=separator, skip_bad=skip_bad)

    def read(path: Path, field: str) -> Catalogue:
        films.append(opened(path, field))
        return films[0]

    space, _ = Titles(tagger=tagger, catalogue=catalogue, index=index, cache=cache, read=read).open()
    with progress_bar() as progress:
        made = room.make_map(out, space, films[0].posters if films else given, found, config, progress=progress)
    if as_json:
        say_json(_told(made))
        return
    _show(made)


def _told(made: TitleMap) -> dict[str, object]:
    written = made.written
    return {
        "page": str(written.page),
        "positions": str(written.positions),
        "n_titles": made.n_titles,
        "n_kept": made.n_kept,
        "n_posters": written.n_posters,
        "page_bytes": written.page_bytes,
        "poster_bytes": written.poster_bytes,
        "seconds": {part: round(seconds, 1) for part, seconds in made.seconds.items()},
    }


def _show(made: TitleMap) -> None:
    written = made.written
    kept = f", {made.n_kept:,} of them from the earlier one" if made.n_kept else ""
    say(f"{made.n_titles:,} titles on the map{kept}; {written.n_posters:,} with a poster")
    say(", ".join(f"{part} {seconds:.1f} s" for part, seconds in made.seconds.items()))
    sizes = f"{written.page_bytes / _MEGABYTE:.1f} MB, posters {written.poster_bytes / _MEGABYTE:.1f} MB"
    say(f"written to {written.page} ({sizes}); positions for the next map in {written.positions}")
