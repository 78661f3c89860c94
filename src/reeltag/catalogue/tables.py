"""One table file in, typed rows out, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from reeltag.catalogue.chunks import typed_chunk
from reeltag.catalogue.delimited import read_delimited
from reeltag.catalogue.fields import ColumnMapping
from reeltag.catalogue.jsonl import read_jsonl
from reeltag.catalogue.parquet import read_parquet
from reeltag.errors import CatalogueError, Problem

_READERS = {
    ".parquet": read_parquet,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
}


def read_table(path: Path, mapping: ColumnMapping, separator: str) -> Iterator[tuple[pl.DataFrame, list[Problem]]]:
    """Read a table chunk by chunk.

    Args:
        path: A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` file.
        mapping: Which column feeds which field.
        separator: What separates the items of a list written as text.

    Yields:
        Typed rows (``chunks.typed_chunk``) and the problems found in them.

    Raises:
        CatalogueError: The file does not exist, is of an unknown format, or is damaged.
        OSError: The system does not let it be read.
    """
    if not path.is_file():
        raise CatalogueError(f"{path}: no such file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise CatalogueError(
            f"{path}: unknown format {path.suffix!r}; known: {', '.join(_READERS)} or an MM-IMDb folder"
        )
    for chunk, columns in reader(path, mapping):
        yield typed_chunk(chunk, columns, mapping, str(path), separator)
