"""A folder of indexed titles: a space, its index, and what each title was when it was embedded.

Run again, only titles that are new or have changed are embedded. A title has changed when its row of the catalogue has,
or the content of its poster, or size or time of its trailer. Nothing else bears on its vector but the tagger: under
another tagger every title is embedded anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reeltag.artefact import read_config
from reeltag.catalogue import Catalogue
from reeltag.errors import ArtefactError, CatalogueError
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.progress import Progress, silent
from reeltag.retrieval.folder import is_kind, read_told
from reeltag.retrieval.index import IndexConfig, TitleIndex
from reeltag.retrieval.space import Space, word_fields
from reeltag.tagger import Tagger

KIND = "indexed titles"
SCHEMA = 1
_KEYS = {"schema", "kind", "tagger", "n_titles"}
_ROWS = {"id": pl.String, "row": pl.String}
_HASHED_ROWS = 10_000
_POSTER_READERS = {"poster", "poster_text", "joint"}


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an update has done.

    Attributes:
        n_titles: Titles that are indexed now.
        n_new: Titles that were not there.
        n_changed: Titles that have changed.
        n_gone: Titles that are not there any more.
        n_embedded: Titles that were embedded.
        why_all: Why all were, although there was an index; "" otherwise.
    """

    n_titles: int
    n_new: int
    n_changed: int
    n_gone: int
    n_embedded: int
    why_all: str = ""


@dataclass(frozen=True, kw_only=True)
class IndexedTitles:
    """Titles to be searched.

    Attributes:
        space: The titles.
        index: Their index, in the order of the space.
        hashes: What each title was when it was embedded, in the same order.
        tagger: Which tagger embedded them (``tagger_key``).
    """

    space: Space
    index: TitleIndex
    hashes: tuple[str, ...]
    tagger: str

    @classmethod
    def of(
        cls,
        folder: Path,
        tagger: Tagger,
        catalogue: Catalogue,
        key: str,
        config: IndexConfig | None = None,
        *,
        progress: Progress = silent,
    ) -> tuple[IndexedTitles, Update]:
        """Index the titles of a catalogue, going on from what a folder holds, and write them to it.

        Args:
            folder: Where; what is there already is updated.
            tagger: What embeds them.
            catalogue: All the titles; those that the folder has besides are dropped.
            key: Which tagger it is (``tagger_key``).
            config: Settings of a new index; that of the folder keeps its own.
            progress: Called with the number of titles embedded.

        Raises:
            ArtefactError: There is something else at the folder, or it is damaged.
            CatalogueError: There are no titles.
        """
        check_index_folder(folder)
        if len(catalogue) == 0:
            raise CatalogueError(f"{catalogue.source}: there are no titles to index")
        old = cls.load(folder) if is_kind(folder, KIND) else None
        why_all = ""
        if old is not None and old.tagger != key:
            old, why_all = None, "the index was made with another tagger"
        hashes = title_hashes(catalogue, tagger)
        if old is None:
            space = Space.of(tagger, catalogue, progress=progress)
            made = cls(space=space, index=TitleIndex(config).build(space.ids, space.vectors), hashes=hashes, tagger=key)
            n = len(space)
            made.save(folder)
            return made, Update(n_titles=n, n_new=n, n_changed=0, n_gone=0, n_embedded=n, why_all=why_all)
        made, told = old._updated(tagger, catalogue, hashes, progress)
        made.save(folder)
        return made, told

    def save(self, folder: Path) -> None:
        """Write everything, replacing what is there when it is whole.

        Raises:
            ArtefactError: There is something else at ``folder``.
        """
        check_index_folder(folder)
        with atomic_folder(folder) as temporary:
            self.space.save(temporary / "space")
            self.index.save(temporary / "index")
            pl.DataFrame({"id": self.space.ids, "row": self.hashes}, schema=_ROWS).write_parquet(
                temporary / "rows.parquet"
            )
            told = {"schema": SCHEMA, "kind": KIND, "tagger": self.tagger, "n_titles": len(self.space)}
            write_json(temporary / "config.json", told)

    @classmethod
    def load(cls, folder: Path) -> IndexedTitles:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: The folder holds no indexed titles, or is incomplete or damaged.
        """
        told = read_told(folder, KIND, SCHEMA, _KEYS)
        space = Space.load(folder / "space")
        try:
            rows = pl.read_parquet(folder / "rows.parquet")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{folder}: incomplete or damaged ({error})") from None
        if dict(rows.schema) != _ROWS or rows["id"].to_list() != list(space.ids):
            raise ArtefactError(f"{folder}: damaged (rows.parquet does not fit the titles)")
        index = TitleIndex.load(folder / "index", space.ids, space.vectors)
        return cls(space=space, index=index, hashes=tuple(rows["row"]), tagger=told["tagger"])

    def check_tagger(self, key: str, folder: Path) -> None:
        """Raise ArtefactError unless a tagger is the one that embedded the titles."""
        if self.tagger != key:
            raise ArtefactError(
                f"{folder}: the index was made with another tagger; make it anew with: reeltag index MODEL CATALOGUE "
                f"--out {folder}"
            )

    def _updated(
        self, tagger: Tagger, catalogue: Catalogue, hashes: tuple[str, ...], progress: Progress
    ) -> tuple[IndexedTitles, Update]:
        """Return the titles of the catalogue, in its order, those that have not changed taken over."""
        before = dict(zip(self.space.ids, self.hashes, strict=True))
        ids = catalogue.ids
        fresh = [
            row for row, (title_id, now) in enumerate(zip(ids, hashes, strict=True)) if before.get(title_id) != now
        ]
        kept = np.setdiff1d(np.arange(len(ids)), fresh)
        rows = np.array([self.space.rows[ids[row]] for row in kept], np.int64)
        space = self.space.take(rows)
        if fresh:
            more = Space.of(tagger, catalogue.take(fresh), progress=progress)
            space = space.joined(more)
        order = np.argsort(np.concatenate([kept, np.array(fresh, np.int64)]), kind="stable")
        fields = word_fields(catalogue, self.space.label_field)
        space = replace(space.take(order), source=catalogue.source, word_fields=fields)
        n_new = sum(title_id not in before for title_id in ids)
        told = Update(
            n_titles=len(ids),
            n_new=n_new,
            n_changed=len(fresh) - n_new,
            n_gone=len(before.keys() - set(ids)),
            n_embedded=len(fresh),
        )
        index = self.index.update(space.ids, space.vectors)
        return IndexedTitles(space=space, index=index, hashes=hashes, tagger=self.tagger), told


def tagger_key(folder: Path) -> str:
    """Return what tells the tagger in a folder from others: a hash of the hashes of its files.

    Raises:
        ArtefactError: The folder holds no tagger, or a damaged one.
    """
    files = {name: digest for name, digest in read_config(folder)["files"].items() if name != "README.md"}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def title_hashes(catalogue: Catalogue, tagger: Tagger) -> tuple[str, ...]:
    """Return a hash of what is known of every title, its split left out, in the order of the catalogue."""
    media: dict[str, list[str]] = {}
    if _POSTER_READERS & set(tagger.recipe.features.modalities):
        for title_id, content in catalogue.posters.read(catalogue.ids):
            media.setdefault(title_id, []).append(hashlib.sha256(content).hexdigest())
    for title_id, path in catalogue.trailers.paths.items():
        if path.is_file():
            told = path.stat()
            media.setdefault(title_id, []).append(f"{told.st_size} {told.st_mtime_ns}")
    out = []
    for part in catalogue.frame.drop("split", strict=False).iter_slices(_HASHED_ROWS):
        for row in part.iter_rows(named=True):
            known: dict[str, Any] = {name: value for name, value in row.items() if value not in (None, [], "")}
            known["media"] = media.get(row["id"], [])
            out.append(hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16])
    return tuple(out)


def check_index_folder(folder: Path) -> None:
    """Raise ArtefactError unless indexed titles may be written to a folder."""
    check_replaceable(folder, lambda path: is_kind(path, KIND), "a folder of indexed titles")
