"""Parquet files, batch by batch; what is damaged, not UTF-8 or gigantic is found before it does harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from reeltag.catalogue import chunks, values
from reeltag.catalogue.chunks import Chunk
from reeltag.catalogue.fields import ColumnMapping
from reeltag.errors import CatalogueError, Problem, shown

# what pyarrow raises on a damaged file
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


def parquet_columns(path: Path) -> dict[str, Any]:
    """Return ``{column: Arrow type}`` of a Parquet file.

    Raises:
        CatalogueError: The file is not a whole Parquet file.
    """
    with open_parquet(path) as file:
        return {field.name: field.type for field in file.schema_arrow}


def open_parquet(path: Path) -> Any:
    """Open a Parquet file (a ``pyarrow.parquet.ParquetFile``, to be closed by the caller).

    Raises:
        CatalogueError: The file is not a whole Parquet file, or may not be read.
    """
    try:
        file = pq.ParquetFile(path)
        if file.schema_arrow.names:  # decodes the schema, which may be damaged too
            return file
        raise CatalogueError(f"{path}: holds no columns")
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise CatalogueError(
            f"{path}: not a whole Parquet file ({first_line(error)})",
            hint="it may be cut off: copy or download it again",
        ) from None
    except OSError as error:
        if error.errno is None:
            raise CatalogueError(f"{path}: not a whole Parquet file ({first_line(error)})") from None
        raise CatalogueError(f"{path}: cannot be read ({error.strerror})") from None


def embeds_images(arrow_type: Any) -> bool:
    """Return whether a column of that type can hold images: bytes, or the Hugging Face struct with ``bytes``."""
    return bool(
        pa.types.is_struct(arrow_type)
        or pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
        or pa.types.is_binary_view(arrow_type)
    )


def read_parquet(path: Path, mapping: ColumnMapping) -> Iterator[tuple[Chunk, dict[str, str]]]:
    """Read a Parquet file batch by batch; embedded images are left where they are.

    Yields:
        Chunks, and which column feeds which field; at least one, so that a file without rows still has columns.

    Raises:
        CatalogueError: The file is damaged, lacks a column, or a row group holds gigantic cells.
    """
    with open_parquet(path) as file:
        columns = mapping.resolve([field.name for field in file.schema_arrow], str(path))
        for name in ("poster", "trailer"):
            if name in columns and embeds_images(file.schema_arrow.field(columns[name]).type):
                if name in mapping.columns and name == "trailer":
                    raise CatalogueError(
                        f"{path}: column {columns[name]!r} must hold paths; embedded videos are not read"
                    )
                del columns[name]  # posters are read on demand: see posters.py
        names = list(dict.fromkeys(columns.values()))
        row = 1
        try:
            _refuse_giant_cells(file, columns, path)
            for batch in file.iter_batches(batch_size=chunks.CHUNK_ROWS, columns=names):
                yield _chunk(batch, columns, row, path), columns
                row += batch.num_rows
        except DAMAGE as error:
            raise CatalogueError(
                f"{path}: damaged after row {row - 1:,} ({first_line(error)})",
                hint="copy or download it again",
            ) from None
        if row == 1:
            yield _chunk(file.schema_arrow.empty_table().select(names), columns, row, path), columns


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type when it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _chunk(batch: Any, columns: dict[str, str], first_row: int, path: Path) -> Chunk:
    fields = {column: name for name, column in columns.items()}
    data: dict[str, Sequence[Any] | pl.Series] = {}
    problems: list[Problem] = []
    for column, name in fields.items():
        array = batch.column(column)
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            data[column], bad = _decoded(array)
            problems += [
                Problem(file=str(path), row=first_row + index, field=name, rule="must be UTF-8 text", value=value)
                for index, value in bad
            ]
            continue
        series = pl.from_arrow(array)
        if isinstance(series, pl.Series):
            data[column] = series
    return Chunk(columns=data, first_row=first_row, n_rows=batch.num_rows, problems=tuple(problems))


def _decoded(array: Any) -> tuple[list[Any], list[tuple[int, str]]]:
    """Decode texts or lists of texts that are not all UTF-8: the values, and (index, value) of the bad ones."""
    nested = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    array = array.cast(pa.large_list(pa.large_binary()) if nested else pa.large_binary())
    out: list[Any] = []
    bad: list[tuple[int, str]] = []
    for index, value in enumerate(array.to_pylist()):
        try:
            out.append([_text(item) for item in value] if nested and value is not None else _text(value))
        except UnicodeDecodeError:
            out.append(None)
            bad.append((index, shown(value)))
    return out, bad


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _refuse_giant_cells(file: Any, columns: dict[str, str], path: Path) -> None:
    """Refuse a row group whose average cell is over the limit, before it is read into memory."""
    limit = values.MAX_TEXT_CHARACTERS
    first_row = 1
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        # a column cannot be larger than its group; to ask for the columns of a group whose footer is damaged may abort
        # the process, so they are asked for only when the group as a whole is suspect
        suspects = columns if group.total_byte_size > 4 * limit * max(group.num_rows, 1) else {}
        for name, column in suspects.items():
            for leaf in map(group.column, range(group.num_columns)):
                wanted = leaf.path_in_schema == column or leaf.path_in_schema.startswith(f"{column}.")
                if wanted and leaf.total_uncompressed_size > 4 * limit * max(group.num_rows, 1):
                    value = f"{leaf.total_uncompressed_size:,} bytes in {group.num_rows:,} rows"
                    rule = f"must be at most {limit:,} characters"
                    raise CatalogueError(
                        [Problem(file=str(path), row=first_row, field=name, rule=rule, value=value)],
                        hint="the row group is not read, to spare the memory",
                    )
        first_row += group.num_rows
