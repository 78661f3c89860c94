"""Lines of tables in text files: UTF-8, blank lines skipped, read block by block and split without Python objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from reeltag.errors import GraphError, shown
from reeltag.graph.tables import Ids, fault

_BLOCK_BYTES = 32 * 1024 * 1024  # of a file at once, and the longest line there may be


def read_lines(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the lines of a UTF-8 file that are not blank, block by block: columns row (from 0) and line.

    Raises:
        GraphError: A line is not UTF-8 or too long.
    """
    first, rest, start = 0, b"", True
    with path.open("rb") as file:
        while data := file.read(_BLOCK_BYTES):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if len(rest) > _BLOCK_BYTES:
                raise GraphError(f"{path}: a line must be at most {_BLOCK_BYTES:,} bytes; got a longer one")
            if newline:
                block = _line_block(whole.removeprefix(b"\xef\xbb\xbf") if start else whole, first, path)
                first, start = first + whole.count(b"\n") + 1, False
                yield block
    if rest:
        yield _line_block(rest.removeprefix(b"\xef\xbb\xbf") if start else rest, first, path)


def _line_block(data: bytes, first: int, path: Path) -> pl.DataFrame:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        row = first + data.count(b"\n", 0, error.start) + 1
        value = shown(data[max(0, error.start - 10) : error.start + 10])
        raise GraphError(f"{path}, line {row}: must be UTF-8 text; got {value}") from None
    lines = pl.Series("line", [text]).str.split("\n").explode()
    frame = lines.to_frame().with_columns(pl.col("line").str.strip_suffix("\r"))
    return frame.with_row_index("row", offset=first).filter(pl.col("line").str.strip_chars() != "")


def split_cells(lines: pl.DataFrame, columns: tuple[str, ...], path: Path) -> pl.DataFrame:
    """Split lines at tabs into columns that must all be there and not be blank.

    Args:
        lines: Columns row, as errors are to number it, and line.
        columns: Names of the columns, two or more.
        path: The file, for errors.

    Returns:
        The column row and the columns asked for.

    Raises:
        GraphError: A line has fewer or more cells, or a blank one.
    """
    n = len(columns)
    split = pl.col("line").str.split_exact("\t", n).struct.rename_fields([*columns, "more"]).alias("cells")
    frame = lines.select("row", "line", split).unnest("cells")
    wrong = frame.filter(pl.col(columns[-1]).is_null() | pl.col("more").is_not_null()).head(1)
    if len(wrong):
        got = wrong["line"][0].count("\t") + 1
        rule = f"must have {n} columns ({', '.join(columns)}) separated by tabs"
        raise fault(str(path), wrong["row"][0], None, rule, f"{got}: {shown(wrong['line'][0])}")
    refuse_blank(frame, columns, path)
    return frame.drop("line", "more")


def refuse_blank(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Raise GraphError where a cell of ``columns`` is null or blank; the column row has the row numbers."""
    for column in columns:
        blank = frame.filter(pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")).head(1)
        if len(blank):
            raise fault(str(path), blank["row"][0], column, "must not be empty", shown(blank[column][0]))


def counted_lines(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the lines after the count in the first line (row counts from 1), and check the count.

    Raises:
        GraphError: The first line is no count, or not the count of the other lines.
    """
    count, n = None, 0
    for block in read_lines(path):
        lines = block
        if count is None and len(lines):
            first = lines["line"][0].strip()
            if not (first.isascii() and first.isdigit()):
                raise GraphError(f"{path}: the first line must be the number of rows; got {shown(first)}")
            count, lines = int(first), lines.slice(1)
        n += len(lines)
        yield lines
    if count is None:
        raise GraphError(f"{path}: the first line must be the number of rows; got an empty file")
    if n != count:
        raise GraphError(f"{path}: must have as many rows as its first line says, {count:,}; got {n:,}")


def parse_numbers(frame: pl.DataFrame, field: str, n: int, path: Path) -> Ids:
    """Return a column as numbers, once all of them are known to be whole, at least 0 and below ``n``.

    Raises:
        GraphError: One is not.
    """
    numbers = frame[field].str.strip_chars().cast(pl.Int32, strict=False)
    wrong = frame.filter((numbers.is_null() | (numbers < 0) | (numbers >= n)).fill_null(True)).head(1)
    if len(wrong):
        things = {"relation": "relations", "id": "rows"}.get(field, "entities")
        rule = f"must be a whole number, at least 0 and below the number of {things}, {n:,}"
        raise fault(str(path), wrong["row"][0], field, rule, shown(wrong[field][0]))
    return numbers.to_numpy()
