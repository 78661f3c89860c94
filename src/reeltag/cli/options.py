"""Options that several commands share, and what they mean for the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reeltag.catalogue import Catalogue
    from reeltag.catalogue.posters import Posters

CataloguePath = Annotated[
    Path,
    typer.Argument(help="Catalogue: .parquet, .csv, .tsv or .jsonl file, or an MM-IMDb folder.", show_default=False),
]
TaggerPath = Annotated[Path, typer.Argument(help="Folder of a trained tagger.", show_default=False)]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", help="FIELD=COLUMN, or a JSON file of such pairs. Repeatable.", show_default=False),
]
PosterPaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--posters",
        help="Folder of images named by id, or Parquet files with id and image. Repeatable.",
        show_default=False,
    ),
]
TrailerPaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--trailers",
        help="Folder of videos named by id (ID.mp4, ID-trailer.mkv), or such videos. Repeatable.",
        show_default=False,
    ),
]
Separator = Annotated[str, typer.Option("--list-separator", help="Separates the items of lists written as text.")]
SkipBad = Annotated[
    Path | None,
    typer.Option("--skip-bad", help="Leave bad rows out and list them in this JSONL file.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
CachePath = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Folder for encoded texts (default: $REELTAG_CACHE or the user's cache).", show_default=False
    ),
]


def read_catalogue(
    path: Path,
    *,
    maps: list[str] | None = None,
    posters: list[Path] | None = None,
    trailers: list[Path] | None = None,
    separator: str = "|",
    skip_bad: Path | None = None,
    label_field: str = "genres",
) -> Catalogue:
    """Read a catalogue as the options say; write the problems of rejected rows to the file named by ``--skip-bad``."""
    from reeltag.catalogue import FIELDS, Catalogue, ColumnMapping, ReadOptions

    extra = () if label_field in FIELDS else (label_field,)
    options = ReadOptions(
        mapping=ColumnMapping.parse(maps or [], label_fields=extra),
        posters=tuple(_expanded(posters or [])),
        trailers=tuple(_expanded(trailers or [])),
        list_separator=separator,
        skip_bad=skip_bad is not None,
    )
    catalogue = Catalogue.read(path, options)
    if skip_bad is not None:
        write_rejects(catalogue, skip_bad)
    return catalogue


def read_posters(places: list[Path] | None) -> Posters | None:
    """Open the posters that ``--posters`` names, for titles that are read from no catalogue; None without any."""
    from reeltag.catalogue.posters import open_posters

    return open_posters(_expanded(places)) if places else None


def catalogue_reader(
    *,
    maps: list[str] | None,
    posters: list[Path] | None,
    trailers: list[Path] | None,
    separator: str,
    skip_bad: Path | None,
) -> Callable[[Path, str], Catalogue]:
    """Return what reads a catalogue as the options say, given its path and the field of labels."""

    def read(path: Path, label_field: str) -> Catalogue:
        return read_catalogue(
            path,
            maps=maps,
            posters=posters,
            trailers=trailers,
            separator=separator,
            skip_bad=skip_bad,
            label_field=label_field,
        )

    return read


def write_rejects(catalogue: Catalogue, path: Path) -> None:
    """Write the problems of the rejected rows as JSONL (an empty file when there are none) and say how many."""
    import json
    from dataclasses import asdict

    from reeltag.files import atomic_file

    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for problem in catalogue.rejected:
            file.write(json.dumps(asdict(problem), ensure_ascii=False) + "\n")
    if catalogue.rejected:
        n_rows = len({problem.row for problem in catalogue.rejected})
        typer.echo(
            f"bad rows left out: {n_rows:,}; their problems ({len(catalogue.rejected):,}) are in {path}", err=True
        )


def _expanded(paths: list[Path]) -> list[Path]:
    """Expand patterns that the shell left alone (quoted ``posters/*.parquet``)."""
    out: list[Path] = []
    for path in paths:
        found = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
        out += found or [path]
    return out
