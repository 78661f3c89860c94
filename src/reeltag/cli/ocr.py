"""``reeltag ocr``: read the words on posters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.cli.options import AsJson, CachePath
from reeltag.cli.show import progress_bar, say, say_json

if TYPE_CHECKING:
    from reeltag.catalogue.posters import PosterFiles, PosterTables
    from reeltag.encoders.ocr.contract import ReadingLog
    from reeltag.encoders.ocr.words import PosterText


def ocr(
    posters: Annotated[
        list[Path],
        typer.Argument(
            help="Image files, or one folder of images named by id, or Parquet files with id and image.",
            show_default=False,
        ),
    ],
    engine: Annotated[str, typer.Option(help="rapidocr, tesserocr, tesserocr:LANGUAGE or vision:MODEL.")] = "rapidocr",
    ids: Annotated[
        str | None, typer.Option(help="Read only these posters: ids, separated by commas.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Read only the first so many posters.", min=1, show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .jsonl or .parquet, with the boxes of the words.", show_default=False),
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(help="Leave out words the engine is less sure of, 0 to 1 (all are cached)."),
    ] = 0.0,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Read the words on posters; what was read is cached, and an interrupted run goes on where it stopped."""
    from reeltag.encoders.ocr import ReadingLog, open_ocr_engine
    from reeltag.encoders.ocr.tables import check_words_file, rows_of, surer_than, write_words
    from reeltag.encoders.store import FeatureStore
    from reeltag.errors import ConfigError

    if not 0 <= min_confidence <= 1:
        raise ConfigError(f"--min-confidence must be between 0 and 1; got {min_confidence:g}")
    if out is not None:
        check_words_file(out)
    opened = open_ocr_engine(engine)
    place = open_images(posters)
    chosen = chosen_ids(place, ids)[:limit]
    log, start = ReadingLog(), time.perf_counter()
    with progress_bar() as progress:
        found = FeatureStore(cache).read_words(opened, place, chosen, progress, log)
    seconds = time.perf_counter() - start
    texts = [None if text is None else surer_than(text, min_confidence) for text in found]
    rows = rows_of(chosen, texts)
    if out is not None:
        write_words(out, rows)
    if as_json:
        say_json(rows)
        for title_id, reason in log.refused.items():
            typer.echo(f"{title_id}: refused ({reason})", err=True)
        return
    for title_id, text in zip(chosen, texts, strict=True):
        show_text(title_id, text, log.refused.get(title_id))
    say(summary(texts, seconds, log))
    if out is not None:
        say(f"written to {out}")


def open_images(places: Sequence[Path]) -> PosterFiles | PosterTables:
    """Open image files, whose names are their ids, or what ``open_posters`` opens.

    Raises:
        CatalogueError: A place does not exist or may not be read, kinds are mixed, or two images have one id.
    """
    from reeltag.catalogue.posters import IMAGE_SUFFIXES, PosterFiles, open_posters
    from reeltag.catalogue.values import tidy
    from reeltag.errors import CatalogueError

    images = [place for place in places if place.suffix.lower() in IMAGE_SUFFIXES and not place.is_dir()]
    if not images:
        return open_posters(places)
    others = [place for place in places if place not in images]
    if others:
        raise CatalogueError(f"{others[0]}: give image files, or one folder, or Parquet files; got a mixture")
    paths: dict[str, Path] = {}
    for path in images:
        if not path.is_file():
            raise CatalogueError(f"{path}: no such file")
        title_id = tidy(path.stem)
        if paths.setdefault(title_id, path) != path:
            raise CatalogueError(f"{path}: the names of images are their ids; {paths[title_id]} has the same")
    return PosterFiles(paths=paths)


def chosen_ids(place: PosterFiles | PosterTables, asked: str | None) -> list[str]:
    """Return the ids of all posters, or those asked for.

    Raises:
        CatalogueError: There are no posters, or none of an id that is asked for.
    """
    from reeltag.catalogue.posters import PosterFiles
    from reeltag.errors import CatalogueError, shown

    known = list(place.paths if isinstance(place, PosterFiles) else place.rows)
    if asked is not None:
        chosen = list(dict.fromkeys(part.strip() for part in asked.split(",") if part.strip()))
        if not chosen:
            raise CatalogueError(f"--ids must name posters, separated by commas; got {shown(asked)}")
        absent = set(chosen).difference(known)
        if absent:
            raise CatalogueError(f"--ids: no poster has the id {shown(min(absent))} ({len(known):,} posters)")
        return chosen
    if not known:
        raise CatalogueError("posters: no row has an image")
    return known


def show_text(title_id: str, text: PosterText | None, refused: str | None = None) -> None:
    """Print the words of a poster line by line, each line with the mean confidence of its words.

    Args:
        title_id: The poster.
        text: Its words; None when it cannot be read.
        refused: Why the engine refused it, if it did.
    """
    if text is None:
        say(f"{title_id}: cannot be read" if refused is None else f"{title_id}: refused ({refused})")
        return
    if not text.words:
        say(f"{title_id}: no text")
        return
    say(f"{title_id}:")
    for number, line in zip(dict.fromkeys(word.line for word in text.words), text.lines, strict=True):
        sure = [w.confidence for w in text.words if w.line == number and w.confidence is not None]
        say(f"  {sum(sure) / len(sure):.2f}  {line}" if sure else f"        {line}")


def summary(texts: Sequence[PosterText | None], seconds: float, log: ReadingLog) -> str:
    """Return how many posters have text, how many words, and how long those took that were read now."""
    n_words = [len(text.words) for text in texts if text is not None]
    n_refused = len(log.refused)
    noun = "poster" if len(texts) == 1 else "posters"
    parts = [f"{sum(map(bool, n_words)):,} with text", f"{sum(n_words):,} words"]
    parts += [f"{len(texts) - len(n_words) - n_refused:,} cannot be read"] * (len(texts) > len(n_words) + n_refused)
    parts += [f"{n_refused:,} refused"] * bool(n_refused)
    told = f"{len(texts):,} {noun}: {', '.join(parts)}"
    if log.n_read:
        return f"{told}; {seconds / log.n_read:.2f} s a poster"
    return f"{told}; all from the cache" if n_words or n_refused else told
