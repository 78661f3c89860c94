"""JSONL: one JSON object per line; blank lines are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reeltag.catalogue import chunks
from reeltag.catalogue.chunks import Chunk
from reeltag.catalogue.fields import ColumnMapping
from reeltag.catalogue.lines import Fault, drain, lines
from reeltag.catalogue.values import shown_value
from reeltag.errors import CatalogueError, Problem, shown

_Row = dict[str, Any]


def read_jsonl(path: Path, mapping: ColumnMapping) -> Iterator[tuple[Chunk, dict[str, str]]]:
    """Read a JSONL file chunk by chunk, after a first pass that gathers the keys of all lines.

    Yields:
        Chunks, and which key feeds which field.

    Raises:
        CatalogueError: No line holds an object with keys, or a key that is needed does not occur.
    """
    columns = mapping.resolve(_keys(path), str(path))
    rows: list[_Row | None] = []
    problems: list[Problem] = []
    first_row = 1
    for row, found in _rows(path):
        rows.append(row)
        problems += found
        if len(rows) == chunks.CHUNK_ROWS:
            yield _chunk(rows, columns, first_row, problems), columns
            first_row, rows, problems = first_row + len(rows), [], []
    if rows:
        yield _chunk(rows, columns, first_row, problems), columns


def _keys(path: Path) -> list[str]:
    keys: dict[str, None] = {}
    problems: list[Problem] = []
    for row, found in _rows(path):
        keys.update(dict.fromkeys(row or ()))
        if not keys:
            problems += found
    if not keys:
        raise CatalogueError(problems or f"{path}: empty file, one JSON object per line is required")
    return list(keys)


def _rows(path: Path) -> Iterator[tuple[_Row | None, list[Problem]]]:
    """Yield the object of every line (None for a line that is blank or bad) and the line's problems."""
    faults: list[Fault] = []
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, faults), start=1):
            row = None if faults else _object(line, faults)
            yield row, drain(faults, path, number)


def _object(line: str, faults: list[Fault]) -> _Row | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        faults.append((f"must be one JSON object per line ({error})", shown(line)))
        return None
    if not isinstance(row, dict):
        faults.append(("must be one JSON object per line", shown_value(row)))
        return None
    return row


def _chunk(rows: list[_Row | None], columns: dict[str, str], first_row: int, problems: list[Problem]) -> Chunk:
    return Chunk(
        columns={column: [(row or {}).get(column) for row in rows] for column in columns.values()},
        first_row=first_row,
        n_rows=len(rows),
        problems=tuple(problems),
        blank=[row is None for row in rows],
    )
