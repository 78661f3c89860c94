r"""CSV and TSV with a header line and RFC 4180 quotes; an empty cell or ``\N`` is nothing, a blank line is skipped."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reeltag.catalogue import chunks
from reeltag.catalogue import lines as text
from reeltag.catalogue.chunks import Chunk
from reeltag.catalogue.fields import ColumnMapping
from reeltag.errors import CatalogueError, Problem

_NOTHING = ("", "\\N")


def read_delimited(path: Path, mapping: ColumnMapping) -> Iterator[tuple[Chunk, dict[str, str]]]:
    """Read a CSV or TSV file chunk by chunk.

    Yields:
        Chunks, and which column feeds which field; at least one, so that a file without rows still has columns.

    Raises:
        CatalogueError: The header is missing, unreadable or lacks a column, or a quoted cell never ends.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    faults: list[text.Fault] = []
    with path.open("rb") as file:
        reader = csv.reader(text.lines(file, faults), delimiter=delimiter, strict=True)
        records = _records(reader, faults, path)
        header = _header(next(records, []), faults, path)
        columns = mapping.resolve(header, str(path))
        places = {column: header.index(column) for column in columns.values()}
        rows: list[list[str]] = []
        problems: list[Problem] = []
        row = 0
        for row, cells in enumerate(records, start=1):
            if cells and not faults and len(cells) != len(header):
                faults.append((f"must have {len(header)} cells, as the header has", f"{len(cells)} cells"))
            rows.append([] if faults else cells)
            problems += text.drain(faults, path, row)
            if len(rows) == chunks.CHUNK_ROWS:
                yield _chunk(rows, places, row, problems), columns
                rows, problems = [], []
        if rows or row == 0:
            yield _chunk(rows, places, row, problems), columns


def _records(reader: Any, faults: list[text.Fault], path: Path) -> Iterator[list[str]]:
    """Yield the cells of every record, none for one that is not well-formed."""
    while True:
        csv.field_size_limit(text.MAX_LINE_BYTES)
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "field limit" in str(error):
                raise CatalogueError(
                    f"{path}, line {start}: a cell must be at most {text.MAX_LINE_BYTES:,} bytes",
                    hint="a quote that opens there may never close",
                ) from None
            rule = f"a quoted cell must end with its quote, and quotes inside it be doubled ({error})"
            faults.append((rule, f"line {reader.line_num}"))
            cells = []
        if cells is None:
            return
        yield cells


def _header(cells: list[str], faults: list[text.Fault], path: Path) -> list[str]:
    if faults:
        raise CatalogueError(
            [Problem(file=str(path), row=None, field=None, rule=f"the header {r}", value=v) for r, v in faults]
        )
    if not any(cells):
        raise CatalogueError(f"{path}: empty file, a header line is required")
    return [cell.strip() for cell in cells]


def _chunk(rows: list[list[str]], places: dict[str, int], last_row: int, problems: list[Problem]) -> Chunk:
    return Chunk(
        columns={
            column: [cells[place] if cells and cells[place] not in _NOTHING else None for cells in rows]
            for column, place in places.items()
        },
        first_row=last_row - len(rows) + 1,
        n_rows=len(rows),
        problems=tuple(problems),
        blank=[not cells for cells in rows],
    )
