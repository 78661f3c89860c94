"""``reeltag subgenres``: what kinds of titles there are inside each genre, and what has become of them since."""

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
)
from reeltag.cli.show import percent, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.retrieval import Changes, Genre, SubgenreConfig, Subgenres

_TOLD_TITLES, _TOLD_LABELS = 3, 3
_FIRM, _FAIR = 0.8, 0.5


def subgenres(
    tagger: TaggerPath,
    catalogue: Annotated[
        Path | None,
        typer.Argument(help="Catalogue (default: the tagger's training titles, or --index).", show_default=False),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder that reeltag index wrote, in place of a catalogue.", show_default=False)
    ] = None,
    genre: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable (default: every genre with titles enough for two).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for sub-genres, members and centres.", show_default=False)
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an earlier run, whose sub-genres and settings are gone on with.", show_default=False
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="kmeans, or hdbscan, which leaves titles between dense groups out (default: kmeans).",
            show_default=False,
        ),
    ] = None,
    min_titles: Annotated[
        int | None, typer.Option(help="Titles of a sub-genre at least (default: 30).", show_default=False)
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Sub-genres of each genre (default: as many as are stable).", show_default=False)
    ] = None,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave titles out whose labels are predicted.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of starts and samples (default: 0).", show_default=False)
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Find the sub-genres inside genres, name each by what sets it apart, and say how firm they are."""
    from reeltag import retrieval as room

    if out is not None:
        room.check_subgenre_folder(out)
    earlier = room.Subgenres.load(since) if since is not None else None
    asked = {"method": method, "min_titles": min_titles, "clusters": clusters, "seed": seed}
    config = settings(earlier.config if earlier else None, asked, known_only)

    read = catalogue_reader(maps=maps, posters=posters, trailers=trailers, separator=separator, skip_bad=skip_bad)

    space, _ = Titles(tagger=tagger, catalogue=catalogue, index=index, cache=cache, read=read).open()
    with progress_bar() as progress:
        found = room.subgenres(space, genre, config, since=earlier, progress=progress)
    if out is not None:
        found.save(out)
    if as_json:
        say_json(found.to_json() | {"out": str(out) if out else None})
        return
    _show(found)
    if out is not None:
        say(f"written to {out}\nnext: reeltag subgenres {tagger} NEW_CATALOGUE --since {out} --out {out}")


def settings(base: SubgenreConfig | None, asked: dict[str, str | int | None], known_only: bool) -> SubgenreConfig:
    """Return settings with those that were asked for."""
    from dataclasses import replace

    from reeltag.config import from_json, to_json
    from reeltag.retrieval import ClusterConfig, SubgenreConfig

    base = base or SubgenreConfig()
    given = {name: value for name, value in asked.items() if value is not None}
    clusters = from_json(ClusterConfig, to_json(base.clusters) | given, "options")
    return replace(base, clusters=clusters, known_only=known_only or base.known_only)


def firmness(stability: float) -> str:
    """Return in a word what a stability means."""
    return "firm" if stability >= _FIRM else "fair" if stability >= _FAIR else "loose"


def _show(found: Subgenres) -> None:
    if not found.genres:
        least = 2 * found.config.clusters.min_titles
        say(f"no label of '{found.label_field}' has {least} titles or more in {found.source}: nothing to divide")
    for genre in found.genres:
        _show_genre(genre, found.config.clusters.min_titles)
    if shaped := found.read_in_training:
        say(f"names by {', '.join(shaped)} tell what the tagger itself went by; they do not vouch for the sub-genres")


def _show_genre(genre: Genre, min_titles: int) -> None:
    from reeltag.retrieval.space import named

    told = [f"{genre.n_titles:,} titles"]
    told += [f"{genre.n_predicted:,} by predicted labels"] if genre.n_predicted else []
    told += [f"{genre.n_outside:,} in no sub-genre"] if genre.n_outside else []
    if genre.stability is not None:
        told.append(f"stability {short(genre.stability)} ({firmness(genre.stability)})")
    told += [f"silhouette {short(genre.silhouette)}"] if genre.silhouette is not None else []
    heading = f"{genre.genre}: {', '.join(told)}"
    if not genre.subgenres:
        say(f"{heading}; does not fall into sub-genres of {min_titles} titles or more\n")
        return
    rows = []
    for sub in genre.subgenres:
        labels = ", ".join(f"{told.label} {100 * told.share:.0f} %" for told in sub.labels[:_TOLD_LABELS])
        central = "; ".join(named(title.title, title.year) for title in sub.central[:_TOLD_TITLES])
        rows.append([sub.id, f"{sub.n_titles:,}", sub.name, sub.named_by, labels, central])
    headers = ["id", "titles", "set apart by", "of", "other labels", "nearest the centre"]
    table(heading, headers, rows, left=(0, 2, 3, 4, 5))
    if genre.changes is not None:
        say(f"  {changes_in_words(genre.changes)}\n")


def changes_in_words(changes: Changes) -> str:
    """Return what has become of the sub-genres of a genre, in one line."""
    told = [f"{percent(changes.stayed)} of {changes.n_common:,} titles stayed"] if changes.stayed is not None else []
    told.append(f"{changes.n_new:,} titles came, {changes.n_gone:,} went")
    told += [f"{old} split into {' and '.join(new)}" for old, new in changes.split.items()]
    told += [f"{' and '.join(old)} merged into {new}" for new, old in changes.merged.items()]
    told += [f"{sub} was '{name}'" for sub, name in changes.renamed.items()]
    told += [f"new: {', '.join(changes.new)}"] if changes.new else []
    told += [f"gone: {', '.join(changes.gone)}"] if changes.gone else []
    return "; ".join(told)


def short(value: float) -> str:
    """Return a figure as ``.71``."""
    return f"{value:.2f}".replace("0.", ".", 1)
