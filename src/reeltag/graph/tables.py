"""What every knowledge graph file needs: tables of known columns, and numbers for names in order of appearance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.catalogue.parquet import DAMAGE, first_line, open_parquet
from reeltag.errors import CatalogueError, GraphError, Problem

Ids = npt.NDArray[np.int32]


def fault(place: str, row: int | None, field: str | None, rule: str, value: str) -> GraphError:
    """Return the error that says which rule is broken where; rows count from 1, headers and counts left out."""
    return GraphError(str(Problem(file=place, row=row, field=field, rule=rule, value=value)))


def read_table(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read a Parquet file that must have exactly these columns, of these types, without an empty cell.

    Raises:
        GraphError: The file cannot be read or is damaged, a column is missing, foreign or of another type, or a cell
            is empty.
    """
    if not path.is_file():
        raise GraphError(f"{path}: cannot be read (no such file)")
    try:
        with open_parquet(path) as file:
            frame = pl.DataFrame(pl.from_arrow(file.read()))
    except CatalogueError as error:
        raise GraphError(str(error)) from None
    except DAMAGE as error:
        raise GraphError(f"{path}: damaged ({first_line(error)})") from None
    if set(frame.columns) != set(schema):
        raise GraphError(f"{path}: columns must be {', '.join(schema)}; got {', '.join(frame.columns)}")
    for name, dtype in schema.items():
        if frame.schema[name] != dtype:
            raise fault(str(path), None, name, f"must be of type {dtype}", str(frame.schema[name]))
        if frame[name].null_count():
            raise fault(str(path), _first(frame[name].is_null()) + 1, name, "must not be empty", "nothing")
    return frame.select(*schema).rechunk()


def check_unique(frame: pl.DataFrame, columns: tuple[str, ...], place: str) -> None:
    """Raise GraphError where the last of ``columns`` is blank, or a row repeats all of them."""
    blank = frame[columns[-1]].str.strip_chars() == ""
    if blank.any():
        raise fault(place, _first(blank) + 1, columns[-1], "must not be empty", "''")
    repeats = ~frame.select(pl.struct(columns).is_first_distinct()).to_series()
    if repeats.any():
        row = _first(repeats)
        rule = f"must be unique{' within its ' + columns[0] if len(columns) > 1 else ''}"
        raise fault(place, row + 1, columns[-1], rule, repr(frame[columns[-1]][row]))


def check_ids(ids: npt.NDArray[np.integer], n: int, place: str, field: str) -> None:
    """Raise GraphError unless all ids are at least 0 and below ``n``; the message names the first that is not."""
    if len(ids) and not 0 <= ids.min() <= ids.max() < n:
        row = int(np.flatnonzero((ids < 0) | (ids >= n))[0])
        things = "relations" if field == "relation" else "entities"
        rule = f"must be at least 0 and below the number of {things}, {n:,}"
        raise fault(place, row + 1, field, rule, str(ids[row]))


class Vocabulary:
    """Numbers for names: 0, 1, 2, … in order of first appearance."""

    def __init__(self) -> None:
        self._known = pl.DataFrame(schema={"name": pl.String, "id": pl.Int32})

    def __len__(self) -> int:
        return len(self._known)

    @property
    def names(self) -> pl.Series:
        """The names; the position is the number."""
        return self._known["name"]

    def add(self, names: pl.Series) -> Ids:
        """Number names, new ones too.

        Args:
            names: Names, none of them null.

        Returns:
            A number per name, shape (n_names,).
        """
        ids = self.encode(names)
        unknown = ids < 0
        if unknown.any():
            missing = names.filter(pl.Series(unknown))
            new = _numbered(missing.unique(maintain_order=True), len(self))
            ids[unknown] = _encode(missing, new)
            self._known = self._known.vstack(new)
        return ids

    def encode(self, names: pl.Series) -> Ids:
        """Number names, -1 where a name is not known, shape (n_names,)."""
        return _encode(names, self._known)


def numbers_of(names: pl.Series, among: pl.Series) -> Ids:
    """Return the position of every name among unique names, -1 where it is not there, shape (n_names,)."""
    return _encode(names, _numbered(among, 0))


def _numbered(names: pl.Series, first: int) -> pl.DataFrame:
    return pl.DataFrame({"name": names, "id": np.arange(first, first + len(names), dtype=np.int32)})


def _encode(names: pl.Series, known: pl.DataFrame) -> Ids:
    joined = names.alias("name").to_frame().join(known, on="name", how="left", maintain_order="left")
    return joined["id"].fill_null(-1).to_numpy().astype(np.int32)


def _first(mask: pl.Series) -> int:
    return int(mask.arg_true()[0])
