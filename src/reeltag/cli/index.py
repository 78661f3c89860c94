"""``reeltag index``: embed the titles of a catalogue once, to be searched and grouped without embedding them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
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
from reeltag.cli.show import progress_bar, say, say_json, say_unreadable

if TYPE_CHECKING:
    from reeltag.catalogue import Catalogue
    from reeltag.retrieval import IndexedTitles, Space, TitleIndex, Update
    from reeltag.tagger import Tagger


def index(
    tagger: TaggerPath,
    catalogue: CataloguePath,
    out: Annotated[Path, typer.Option(help="Folder for the index; one that is there is updated.")],
    exact_up_to: Annotated[
        int,
        typer.Option(help="Titles up to which every one is compared; beyond, faiss searches. Of a new index.", min=0),
    ] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="Of a new index.")] = 0,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Embed the titles of a catalogue for similar and subgenres; run again, it embeds only what is new or changed."""
    from reeltag.retrieval import IndexConfig, IndexedTitles, check_index_folder, tagger_key
    from reeltag.tagger import Tagger

    check_index_folder(out)
    config, key = IndexConfig(exact_up_to=exact_up_to, seed=seed), tagger_key(tagger)
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
        indexed, update = IndexedTitles.of(out, trained, films, key, config, progress=progress)
    if as_json:
        say_json({"out": str(out), **asdict(update), "dim": indexed.space.dim, "exact": indexed.index.is_exact})
        return
    _show(indexed, update)
    say_unreadable(trained.fitted.pipeline.unreadable_trailers)
    say(f"written to {out}\nnext: reeltag similar {tagger} ID --index {out}")


@dataclass(frozen=True, kw_only=True)
class Titles:
    """Which titles a command looks at: an index, a catalogue, or the training titles that the tagger keeps.

    Attributes:
        tagger: Folder of the tagger.
        catalogue: A catalogue, or None.
        index: Folder of an index, or None.
        cache: Folder of encoded texts.
        read: Reads a catalogue, given its path and the field of labels.
    """

    tagger: Path
    catalogue: Path | None
    index: Path | None
    cache: Path | None
    read: Callable[[Path, str], Catalogue]

    def open(self) -> tuple[Space, TitleIndex | None]:
        """Return the titles, and their index where there is one.

        Raises:
            ConfigError: Both a catalogue and an index are given.
            ArtefactError: The index was made with another tagger.
        """
        from reeltag.errors import ConfigError
        from reeltag.retrieval import IndexedTitles, Space, tagger_key

        if self.catalogue is not None and self.index is not None:
            raise ConfigError(f"give a catalogue or an index; got both {self.catalogue} and --index {self.index}")
        if self.index is not None:
            indexed = IndexedTitles.load(self.index)
            indexed.check_tagger(tagger_key(self.tagger), self.index)
            return indexed.space, indexed.index
        if self.catalogue is None:
            return Space.trained(self.trained), None
        return self.embedded(self.read(self.catalogue, self.trained.labels.config.field)), None

    def embedded(self, films: Catalogue) -> Space:
        """Embed the titles of a catalogue."""
        from reeltag.retrieval import Space

        with progress_bar() as progress:
            return Space.of(self.trained, films, progress=progress)

    @cached_property
    def trained(self) -> Tagger:
        """The tagger."""
        from reeltag.tagger import Tagger

        return Tagger.from_pretrained(self.tagger, cache=self.cache)


def _show(indexed: IndexedTitles, update: Update) -> None:
    if update.why_all:
        say(f"{update.why_all}: all titles were embedded anew")
    told = f"{update.n_new:,} new, {update.n_changed:,} changed, {update.n_gone:,} gone; {update.n_embedded:,} embedded"
    say(f"{update.n_titles:,} titles: {told}")
    how = "every title is compared" if indexed.index.is_exact else "faiss searches an inverted file"
    say(f"vectors of {indexed.space.dim} dimensions; {how}")
