"""From the raw values of a file to typed columns: one answer for every wrong type, the row and field named."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from reeltag.catalogue.fields import SPLIT_ALIASES, SPLITS, Kind
from reeltag.errors import Problem, shown

MAX_TEXT_CHARACTERS = 1_000_000
YEARS = (1870, 2100)
DTYPES: dict[Kind, pl.DataType] = {
    "id": pl.String(),
    "text": pl.String(),
    "integer": pl.Int32(),
    "list": pl.List(pl.String()),
    "aligned": pl.List(pl.String()),
    "ids": pl.List(pl.String()),
    "split": pl.String(),
    "image": pl.String(),
    "video": pl.String(),
}
_LIST_KINDS = ("list", "aligned", "ids")
_NO_NUL = "must not hold a NUL character"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_URL = r"^(?i)([A-Za-z][A-Za-z0-9+.-]+://|data:)"


class _RuleError(Exception):
    """A value breaks a rule; the message is the rule."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a column stands: file, field, number of its first row, and the separator of delimited lists."""

    file: str
    field: str
    first_row: int
    separator: str

    def problem(self, index: int, rule: str, value: object) -> Problem:
        """Return the problem of the value at ``index`` of the column."""
        row = self.first_row + index
        return Problem(file=self.file, row=row, field=self.field, rule=rule, value=shown_value(value))


def shown_value(value: object) -> str:
    """Return a short form of any value, however deeply nested."""
    try:
        return shown(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def tidy(text: str) -> str:
    """Return a text in Unicode form NFC without white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def typed_column(values: pl.Series | Sequence[Any], kind: Kind, place: Place) -> tuple[pl.Series, list[Problem]]:
    """Turn raw values into a column of the kind's type.

    Args:
        values: A polars column (from Parquet) or Python values (from CSV and JSONL).
        kind: Kind of the field.
        place: Where the values stand, for the messages.

    Returns:
        The typed column, null where a value is absent or wrong, and the problems found.
    """
    if isinstance(values, pl.Series):
        if _is_ready(values.dtype, kind):
            return _check_ready(values, kind, place)
        values = values.to_list()
    convert = _CONVERTERS[kind]
    out: list[Any] = []
    problems: list[Problem] = []
    for index, value in enumerate(values):
        try:
            out.append(None if value is None else convert(value, place.separator))
        except _RuleError as rule:
            out.append(None)
            problems.append(place.problem(index, str(rule), value))
    column = pl.Series(place.field, out, dtype=pl.Int64() if kind == "integer" else DTYPES[kind])
    checked, more = _check_ready(column, kind, place)
    return checked, problems + more


def people_columns(values: Sequence[Any]) -> tuple[list[Any], list[Any]] | None:
    """Split lists of ``{"id": …, "name": …}`` objects into names and ids.

    Returns:
        Names and ids, row by row and not yet checked, or None when the column holds no such objects.
    """
    if not any(isinstance(v, list) and v and isinstance(v[0], dict) for v in values):
        return None
    names: list[Any] = []
    ids: list[Any] = []
    for value in values:
        if isinstance(value, list) and all(isinstance(person, dict) for person in value):
            names.append([person.get("name") for person in value])
            ids.append([person.get("id") for person in value])
        else:
            names.append(value)
            ids.append(None)
    return names, ids


def align_people(names: pl.Series, ids: pl.Series, place: Place) -> tuple[pl.Series, pl.Series, list[Problem]]:
    """Clean names and ids of people pairwise, so that position i of both lists is one person.

    A person without an id keeps a null there, one without a name is dropped; a repeated person is dropped; two people
    of one name stay two.

    Args:
        names: Lists of names as they came, not yet cleaned.
        ids: Lists of ids in the same order; a null or empty list means that no id of the row is known.
        place: Where the names stand.

    Returns:
        Names, ids, and a problem for every row whose lists differ in length.
    """
    out_names: list[list[str] | None] = []
    out_ids: list[list[str | None] | None] = []
    problems: list[Problem] = []
    for index, (row_names, row_ids) in enumerate(zip(names.to_list(), ids.to_list(), strict=True)):
        found = [tidy(name or "") for name in row_names or ()]
        known = [tidy(person_id or "") or None for person_id in row_ids or ()] or [None] * len(found)
        if len(found) != len(known):
            problems.append(place.problem(index, f"must have as many names as ids ({len(known)})", row_names))
        pairs = zip(found, known, strict=False)
        people = {(person_id is None, person_id or name): (name, person_id) for name, person_id in pairs if name}
        out_names.append(None if row_names is None else [name for name, _ in people.values()])
        out_ids.append([person_id for _, person_id in people.values()] if row_names and row_ids else None)
    dtype = DTYPES["list"]
    return pl.Series(names.name, out_names, dtype=dtype), pl.Series(ids.name, out_ids, dtype=dtype), problems


def _is_ready(dtype: pl.DataType, kind: Kind) -> bool:
    if kind == "integer":
        return dtype.is_integer()
    if kind in _LIST_KINDS:
        return dtype == pl.List(pl.String)
    if kind == "id":
        return dtype == pl.String or dtype.is_integer()
    return dtype == pl.String


def _check_ready(column: pl.Series, kind: Kind, place: Place) -> tuple[pl.Series, list[Problem]]:
    if kind in _LIST_KINDS:
        column, problems = _check_items(column, place)
        return (_clean_lists(column) if kind == "list" else column), problems
    if kind == "integer":
        rule = f"must be a year from {YEARS[0]} to {YEARS[1]}"
        years = column.cast(pl.Int64, strict=False)
        return _flag(years, column.is_not_null() & ~years.is_between(*YEARS).fill_null(False), place, rule, pl.Int32)
    text = column.cast(pl.String)
    text, problems = _flag(text, _too_long(text), place, _at_most(), pl.String)
    text = text.str.normalize("NFC").str.strip_chars()
    text = text.set(text == "", None)
    rules = [(_NO_NUL, text.str.contains("\0", literal=True))]
    if kind in ("image", "video"):
        rules.append(("must be a local path; URLs are not fetched", text.str.contains(_URL)))
    if kind == "split":
        text = text.str.to_lowercase().replace(SPLIT_ALIASES)
        rules.append((f"must be one of {', '.join(SPLITS)}", ~text.is_in(SPLITS)))
    for rule, bad in rules:
        text, more = _flag(text, bad, place, rule, pl.String)
        problems += more
    return text, problems


def _check_items(column: pl.Series, place: Place) -> tuple[pl.Series, list[Problem]]:
    """Null the lists that hold a text that is too long or has a NUL character."""
    items = column.explode()
    problems: list[Problem] = []
    for rule, test in ((_at_most(), _too_long), (_NO_NUL, lambda texts: texts.str.contains("\0", literal=True))):
        if test(items).any():
            bad = pl.Series([row is not None and bool(test(row).any()) for row in column], dtype=pl.Boolean)
            column, more = _flag(column, bad, place, rule, pl.List(pl.String))
            problems += more
    return column, problems


def _too_long(texts: pl.Series) -> pl.Series:
    return texts.str.len_chars() > MAX_TEXT_CHARACTERS


def _at_most() -> str:
    return f"must be at most {MAX_TEXT_CHARACTERS:,} characters"


def _flag(column: pl.Series, bad: pl.Series, place: Place, rule: str, dtype: Any) -> tuple[pl.Series, list[Problem]]:
    """Null the bad values of a column and name each."""
    bad = bad.fill_null(False)
    rows = bad.arg_true().to_list()
    if not rows:
        return column.cast(dtype), []
    problems = [place.problem(row, rule, value) for row, value in zip(rows, column.filter(bad).to_list(), strict=True)]
    frame = pl.DataFrame({"value": column, "bad": bad})
    return frame.select(pl.when(~pl.col("bad")).then("value").cast(dtype).alias(column.name)).to_series(), problems


def _clean_lists(column: pl.Series) -> pl.Series:
    """Trim and normalise the items, drop empty ones and repeats (order kept)."""
    item = pl.element().str.normalize("NFC").str.strip_chars()
    name = column.name
    cleaned = pl.DataFrame({name: column}).select(
        pl.col(name).list.eval(item.filter(item.is_not_null() & (item != ""))).list.unique(maintain_order=True)
    )
    return cleaned[name]


def _id(value: Any, _: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _RuleError("must be text or a whole number")
    return _unicode(value)


def _text(value: Any, _: str) -> str:
    if not isinstance(value, str):
        raise _RuleError("must be text")
    return _unicode(value)


def _unicode(text: str) -> str:
    """Return the text; a lone surrogate, which JSON can write and UTF-8 cannot, breaks the rule."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _RuleError("must be valid Unicode, without lone surrogates") from None
    return text


def _integer(value: Any, _: str) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            raise _RuleError("must be a whole number")
        return int(text.partition(".")[0])
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _RuleError("must be a whole number")
    if not YEARS[0] <= value <= YEARS[1]:
        raise _RuleError(f"must be a year from {YEARS[0]} to {YEARS[1]}")
    return value


def _list(value: Any, separator: str) -> list[str | None]:
    if isinstance(value, str):
        value = _split_list(value.strip(), separator)
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
        raise _RuleError("must be a list of texts")
    return [item if item is None else _unicode(item) for item in value]


def _ids(value: Any, separator: str) -> list[str | None]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, str):
        value = _split_list(value.strip(), separator)
    if not isinstance(value, list):
        raise _RuleError("must be a list of ids")
    return [None if item is None else _id(item, separator) for item in value]


def _split_list(text: str, separator: str) -> Any:
    if not text.startswith("["):
        return text.split(separator) if text else []
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _RuleError("must be a JSON list or a delimited list") from None


def _split(value: Any, _: str) -> str:
    if not isinstance(value, str):
        raise _RuleError(f"must be one of {', '.join(SPLITS)}")
    return _unicode(value)


_CONVERTERS: dict[Kind, Callable[[Any, str], Any]] = {
    "id": _id,
    "text": _text,
    "integer": _integer,
    "list": _list,
    "aligned": _list,
    "ids": _ids,
    "split": _split,
    "image": _text,
    "video": _text,
}
