"""Catalogue: the titles of a collection, columnar, immutable, validated on the way in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.catalogue.chunks import BAD, ROW, typed_chunk
from reeltag.catalogue.fields import FIELDS, PEOPLE_FIELDS, SPLITS, ColumnMapping
from reeltag.catalogue.media import paths_of_column
from reeltag.catalogue.mmimdb import is_mmimdb, mmimdb_posters, read_mmimdb
from reeltag.catalogue.parquet import embeds_images, parquet_columns
from reeltag.catalogue.posters import PosterFiles, Posters, open_posters, poster_tables
from reeltag.catalogue.tables import read_table
from reeltag.catalogue.trailers import TrailerFiles, open_trailers
from reeltag.catalogue.values import DTYPES
from reeltag.errors import CatalogueError, Problem, shown

_MAX_PROBLEMS = 1_000
_HASHED_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a catalogue is read.

    Attributes:
        mapping: Which column feeds which field; an MM-IMDb folder has its own and takes none.
        posters: A folder of images named by id, or Parquet files with ids and images; empty when the catalogue
            itself says where its posters are.
        trailers: A folder of videos named by id, or such videos; empty when the catalogue itself names its trailers.
        list_separator: What separates the items of lists written as text.
        skip_bad: Keep the good rows and list the bad ones in ``Catalogue.rejected``, rather than stop.
    """

    mapping: ColumnMapping = field(default_factory=ColumnMapping)
    posters: tuple[Path, ...] = ()
    trailers: tuple[Path, ...] = ()
    list_separator: str = "|"
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if not self.list_separator or self.list_separator.isspace():
            raise CatalogueError(f"the list separator must be visible characters; got {self.list_separator!r}")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Titles with whatever is known of them.

    Attributes:
        frame: One row per title; columns as in ``FIELDS`` and further label fields. Only ``id`` is never null.
            Lists are null or empty when nothing is known.
        posters: Where the posters are.
        trailers: Where the trailers are.
        source: Path or name the catalogue came from.
        rejected: Problems of the rows that were left out.
    """

    frame: pl.DataFrame
    posters: Posters = field(default_factory=PosterFiles)
    trailers: TrailerFiles = field(default_factory=TrailerFiles)
    source: str = "memory"
    rejected: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, path: str | Path, options: ReadOptions | None = None) -> Catalogue:
        """Read and validate a catalogue.

        Args:
            path: A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` file, or an MM-IMDb folder.
            options: Column mapping, posters, list separator, what to do with bad rows.

        Returns:
            The catalogue, in the order of the file; without titles when the file has columns and no rows.

        Raises:
            CatalogueError: The file cannot be read, or (unless ``skip_bad``) a row breaks a rule; every bad row is
                named with file, row, field, rule and value.
        """
        path, options = Path(path), options or ReadOptions()
        posters = open_posters(options.posters) if options.posters else None
        trailers = open_trailers(options.trailers) if options.trailers else None
        frames, problems = [], []
        for frame, found in _chunks(path, options):
            frames.append(frame)
            problems += found
            if not options.skip_bad and len(problems) >= _MAX_PROBLEMS:
                raise CatalogueError(problems, hint=f"reading stopped here; {_SKIP_HINT}")
        whole = pl.concat(frames, how="diagonal")
        good = whole.filter(~pl.col(BAD))
        repeats = _duplicates(good if options.skip_bad else whole, str(path))
        problems = sorted([*problems, *repeats], key=lambda problem: problem.row or 0)
        if problems and not options.skip_bad:
            raise CatalogueError(problems, hint=_SKIP_HINT)
        kept = good.filter(~pl.col(ROW).is_in([problem.row for problem in repeats])).drop(ROW, BAD)
        catalogue = cls.from_frame(kept, posters=posters or _find_posters(kept, path, options), source=str(path))
        named = TrailerFiles(paths=paths_of_column(kept, "trailer", path), source=str(path))
        return replace(catalogue, trailers=trailers or named, rejected=tuple(problems))

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, *, posters: Posters | None = None, source: str = "memory") -> Catalogue:
        """Wrap a data frame whose columns already have the names and types of ``FIELDS``.

        Raises:
            CatalogueError: The id is missing, null, blank or repeated, a column has another type, or the lists of
                people and of their ids differ in length.
        """
        if "id" not in frame.columns:
            raise CatalogueError(f"{source}: a catalogue needs a column 'id'; columns: {', '.join(frame.columns)}")
        for name, (kind, _) in FIELDS.items():
            if name in frame.columns and frame.schema[name] != DTYPES[kind]:
                raise CatalogueError(
                    f"{source}: column '{name}' must have type {DTYPES[kind]}; got {frame.schema[name]}"
                )
        if frame["id"].null_count() or (frame["id"].str.strip_chars() == "").any():
            raise CatalogueError(f"{source}: ids must be present, none of them null or blank")
        if frame["id"].n_unique() < len(frame):
            repeated = frame["id"].filter(frame["id"].is_duplicated())[0]
            raise CatalogueError(f"{source}: ids must be unique; got {shown(repeated)} more than once")
        for names, ids in PEOPLE_FIELDS.items():
            if ids in frame.columns and not _are_aligned(frame, names, ids):
                raise CatalogueError(f"{source}: column '{ids}' must have as many items as '{names}' in every row")
        return cls(frame=frame.rechunk(), posters=posters or PosterFiles(), source=source)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def ids(self) -> list[str]:
        """Ids of the titles, in order."""
        return self.frame["id"].to_list()

    def has(self, name: str) -> bool:
        """Return whether the catalogue has a column of that name."""
        return name in self.frame.columns

    def texts(self, name: str) -> list[str]:
        """Return a text field, "" where it is absent.

        Raises:
            CatalogueError: The column does not hold texts, or there is none and it is not a known text field.
        """
        column = self._column(name, DTYPES["text"])
        return [""] * len(self) if column is None else column.fill_null("").to_list()

    def years(self) -> npt.NDArray[np.float32]:
        """Return the years, shape (n_titles,), NaN where unknown."""
        if not self.has("year"):
            return np.full(len(self), np.nan, np.float32)
        return self.frame["year"].cast(pl.Float32).fill_null(float("nan")).to_numpy().copy()

    def lists(self, name: str) -> list[list[str]]:
        """Return a list field, [] where nothing is known.

        Raises:
            CatalogueError: The column does not hold lists, or there is none and it is not a known list field.
        """
        column = self._column(name, DTYPES["list"])
        return [[] for _ in range(len(self))] if column is None else column.fill_null([]).to_list()

    def people(self, role: str) -> tuple[npt.NDArray[np.int64], pl.Series]:
        """Return who is credited in a role, one entry per credit.

        Args:
            role: ``directors`` or ``cast``.

        Returns:
            Row numbers (n_credits,), rising, and person keys, in billing order within a title. A person is known
            by id (``"id:nm0000520"``) when the catalogue has one, else by name (``"Michael Mann"``).

        Raises:
            CatalogueError: There is no such role.
        """
        if role not in PEOPLE_FIELDS:
            raise CatalogueError(f"role must be one of {', '.join(PEOPLE_FIELDS)}; got {shown(role)}")
        if not self.has(role):
            return np.zeros(0, np.int64), pl.Series(role, [], dtype=pl.String)
        ids = PEOPLE_FIELDS[role]
        columns = {"row": pl.int_range(len(self), dtype=pl.Int64), "key": pl.col(role)}
        if not self.has(ids):
            long = self.frame.select(**columns).explode("key").drop_nulls("key")
            return long["row"].to_numpy(), long["key"]
        unknown = pl.col(role).list.eval(pl.lit(None, pl.String))
        long = (
            self.frame.select(**columns, person=pl.coalesce(pl.col(ids), unknown))
            .filter(pl.col("key").list.len() > 0)
            .explode("key", "person")
            .drop_nulls("key")
            .with_columns(key=pl.coalesce("id:" + pl.col("person"), "key"))
        )
        return long["row"].to_numpy(), long["key"]

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split; none when the catalogue has no splits."""
        if not self.has("split"):
            return np.zeros(0, np.int64)
        return (self.frame["split"] == split).arg_true().to_numpy().astype(np.int64)

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Catalogue:
        """Return the titles of the given rows, in that order.

        Raises:
            CatalogueError: A row does not exist or comes twice, or ``rows`` is a mask.
        """
        numbers = np.asarray(rows)
        if len(numbers) and not np.issubdtype(numbers.dtype, np.integer):
            raise CatalogueError(f"{self.source}: take needs row numbers; got values of type {numbers.dtype}")
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(wrong):
            raise CatalogueError(
                f"{self.source}: row numbers must be below {len(self):,} and not negative; got {wrong[0]}"
            )
        if len(np.unique(numbers)) < len(numbers):
            raise CatalogueError(f"{self.source}: take needs every row once; got a row twice")
        return replace(self, frame=self.frame[numbers.astype(np.int64)])

    def find(self, title_id: str) -> int:
        """Return the row number of a title.

        Raises:
            CatalogueError: No title has that id.
        """
        hits = (self.frame["id"] == title_id).arg_true()
        if len(hits) == 0:
            raise CatalogueError(f"{self.source}: no title has the id {shown(title_id)}")
        return int(hits[0])

    def with_splits(self, splits: Sequence[str | None]) -> Catalogue:
        """Return the catalogue with another split column.

        Args:
            splits: One of ``SPLITS`` per title, or None where a title is in no split.

        Raises:
            CatalogueError: There are more or fewer splits than titles, or one has an unknown name.
        """
        if len(splits) != len(self):
            raise CatalogueError(f"{self.source}: needs a split per title ({len(self):,}); got {len(splits):,}")
        unknown = [split for split in splits if split is not None and split not in SPLITS]
        if unknown:
            raise CatalogueError(f"{self.source}: a split must be one of {', '.join(SPLITS)}; got {shown(unknown[0])}")
        return replace(self, frame=self.frame.with_columns(split=pl.Series("split", list(splits), dtype=pl.String)))

    def fingerprint(self) -> str:
        """Return a hash of the content (not of the posters and trailers), stable between runs and machines.

        The order of the columns does not matter, the order of the titles does.
        """
        digest = hashlib.sha256()
        for name in sorted(set(self.frame.columns) - {"trailer"}):  # a catalogue stays the same when trailers come
            digest.update(json.dumps(name).encode())
            for part in self.frame[name].to_frame().iter_slices(_HASHED_ROWS):
                digest.update(json.dumps(part.to_series().to_list(), default=str).encode())
        return digest.hexdigest()[:16]

    def _column(self, name: str, dtype: pl.DataType) -> pl.Series | None:
        """Return a column of a type, or None where a known field of that type is absent."""
        columns = ", ".join(self.frame.columns)
        if not self.has(name):
            if name in FIELDS and DTYPES[FIELDS[name][0]] == dtype:
                return None
            raise CatalogueError(f"{self.source}: no column {name!r} of type {dtype}; columns: {columns}")
        if self.frame.schema[name] != dtype:
            raise CatalogueError(
                f"{self.source}: column {name!r} must have type {dtype}; got {self.frame.schema[name]}"
            )
        return self.frame[name]


_SKIP_HINT = "mend the rows above, or leave them out with --skip-bad FILE, which lists them"


def _chunks(path: Path, options: ReadOptions) -> Iterator[tuple[pl.DataFrame, list[Problem]]]:
    try:
        yield from _read_chunks(path, options)
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_chunks(path: Path, options: ReadOptions) -> Iterator[tuple[pl.DataFrame, list[Problem]]]:
    if not path.is_dir():
        yield from read_table(path, options.mapping, options.list_separator)
        return
    if not is_mmimdb(path):
        raise CatalogueError(f"{path}: a folder must be an MM-IMDb folder (split.json, dataset/*.json)")
    if options.mapping.columns or options.mapping.label_fields:
        raise CatalogueError(f"{path}: an MM-IMDb folder has fixed fields; it takes no column mapping and label fields")
    for chunk in read_mmimdb(path):
        names = {name: name for name in chunk.columns}
        yield typed_chunk(chunk, names, options.mapping, str(path), options.list_separator)


def _duplicates(frame: pl.DataFrame, file: str) -> list[Problem]:
    """Name every second row of an id and the row it repeats."""
    repeats = (
        frame.select("id", row=pl.col(ROW))
        .filter(pl.col("id").is_not_null())
        .with_columns(first=pl.col("row").first().over("id"))
        .filter(pl.col("row") != pl.col("first"))
    )
    return [
        Problem(
            file=file, row=row, field="id", rule=f"ids must be unique; row {first} has it too", value=shown(title_id)
        )
        for title_id, row, first in repeats.select("id", "row", "first").iter_rows()
    ]


def _are_aligned(frame: pl.DataFrame, names: str, ids: str) -> bool:
    """Return whether every list of ids that is not null has the length of the list of names."""
    if names not in frame.columns:
        return frame[ids].null_count() == len(frame)
    lengths = frame.select(names=pl.col(names).list.len().fill_null(0), ids=pl.col(ids).list.len())
    return bool((lengths["ids"].is_null() | (lengths["ids"] == lengths["names"])).all())


def _find_posters(frame: pl.DataFrame, path: Path, options: ReadOptions) -> Posters:
    if path.is_dir():
        return mmimdb_posters(path)
    if path.suffix.lower() == ".parquet":
        types = parquet_columns(path)
        columns = options.mapping.resolve(list(types), str(path))
        if "poster" in columns and embeds_images(types[columns["poster"]]):
            return poster_tables([path], columns["id"], columns["poster"])
    return PosterFiles(paths=paths_of_column(frame, "poster", path), source=str(path))
