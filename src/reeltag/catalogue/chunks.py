"""A chunk: some rows of a file on their way from raw values to typed, numbered rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from reeltag.catalogue.fields import PEOPLE_FIELDS, ColumnMapping
from reeltag.catalogue.values import Place, align_people, people_columns, typed_column
from reeltag.errors import Problem

CHUNK_ROWS = 20_000
# columns that a frame carries until all chunks are together; no file has columns of these names
ROW = "\0row"
BAD = "\0bad"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some consecutive rows of a file.

    Attributes:
        columns: Raw values by column.
        first_row: Number of the first row.
        n_rows: How many rows there are.
        problems: What was found wrong while parsing.
        blank: Which rows hold nothing, because the line is empty or did not parse; all hold something when empty.
        files: The file of each row, when every row has its own.
    """

    columns: dict[str, Sequence[Any] | pl.Series]
    first_row: int
    n_rows: int
    problems: tuple[Problem, ...] = ()
    blank: Sequence[bool] = ()
    files: tuple[str, ...] = ()


def typed_chunk(
    chunk: Chunk, columns: dict[str, str], mapping: ColumnMapping, file: str, separator: str
) -> tuple[pl.DataFrame, list[Problem]]:
    """Turn the raw values of a chunk into typed rows.

    Args:
        chunk: The raw values.
        columns: From field to column.
        mapping: Says the kind of each field.
        file: The file, for messages.
        separator: What separates the items of a list written as text.

    Returns:
        The rows that are not blank, with their number in column ``ROW`` and whether they break a rule in ``BAD``; and
        the problems of all rows.
    """
    raw = {name: chunk.columns[column] for name, column in columns.items()}
    for names, ids in PEOPLE_FIELDS.items():
        if names in raw and ids not in raw:
            _split_people(raw, names, ids)
    places = {name: Place(file=file, field=name, first_row=chunk.first_row, separator=separator) for name in raw}
    typed, found = _typed_columns(raw, mapping, places)
    problems = [*chunk.problems, *found]
    frame = pl.DataFrame([column.alias(name) for name, column in typed.items()]).with_columns(
        pl.int_range(chunk.first_row, chunk.first_row + chunk.n_rows, dtype=pl.Int64).alias(ROW)
    )
    if chunk.blank:
        frame = frame.filter(~pl.Series(chunk.blank, dtype=pl.Boolean))
    named = {problem.row for problem in problems if problem.field == "id"}
    for row in frame.filter(pl.col("id").is_null())[ROW]:
        if row not in named:
            problems.append(Problem(file=file, row=row, field="id", rule="an id is required", value="nothing"))
    bad = sorted({problem.row for problem in problems if problem.row is not None})
    frame = frame.with_columns(pl.col(ROW).is_in(bad).alias(BAD))
    return frame, [_own_file(problem, chunk) for problem in problems]


def _typed_columns(
    raw: dict[str, Sequence[Any] | pl.Series], mapping: ColumnMapping, places: dict[str, Place]
) -> tuple[dict[str, pl.Series], list[Problem]]:
    with_ids = {names: ids for names, ids in PEOPLE_FIELDS.items() if ids in raw}
    typed: dict[str, pl.Series] = {}
    problems: list[Problem] = []
    for name, values in raw.items():
        kind = "aligned" if name in with_ids else mapping.kind(name)
        typed[name], found = typed_column(values, kind, places[name])
        problems += found
    wrong = {(problem.field, problem.row) for problem in problems}
    for names, ids in with_ids.items():
        typed[names], typed[ids], found = align_people(typed[names], typed[ids], places[names])
        problems += [p for p in found if not {(names, p.row), (ids, p.row)} & wrong]
    return typed, problems


def _split_people(raw: dict[str, Sequence[Any] | pl.Series], names: str, ids: str) -> None:
    """Replace a column of person objects by one of names and one of ids."""
    values = raw[names]
    if isinstance(values, pl.Series):
        if not isinstance(getattr(values.dtype, "inner", None), pl.Struct):
            return
        values = values.to_list()
    people = people_columns(values)
    if people is not None:
        raw[names], raw[ids] = people


def _own_file(problem: Problem, chunk: Chunk) -> Problem:
    """Name the row's own file in place of its number, where it has one."""
    if not chunk.files or problem.row is None:
        return problem
    return replace(problem, file=chunk.files[problem.row - chunk.first_row], row=None)
