"""One answer for every wrong value, with file, row, field, rule and value."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue, values
from reeltag.catalogue.values import DTYPES, Place, typed_column
from reeltag.errors import CatalogueError, Problem

from .samples import csv_file, jsonl, only_problem, parquet, problems, skipping, write

YEAR_RULE = "must be a year from 1870 to 2100"
NUMBER_RULE = "must be a whole number"
SPLIT_RULE = "must be one of train, validation, test, background"
NESTED = {"a": ["b"]}
WRONG: list[tuple[str, Any, str]] = [
    *(("id", value, "must be text or a whole number") for value in (True, 1.5, 1.0, ["a"], NESTED)),
    *(
        (name, value, "must be text")
        for name in ("title", "plot", "outline")
        for value in (3, 0.5, True, ["a"], NESTED)
    ),
    *(
        ("year", value, NUMBER_RULE)
        for value in ("abc", 1994.5, True, [1994], NESTED, "1994.5", "1_994", "1e3", "1994-95")
    ),
    *(("year", value, YEAR_RULE) for value in (3000, 1869, 2101, 0, -1, 10**12, 10**30, "3000", "-5", 3000.0, 1e300)),
    *(
        (name, value, "must be a list of texts")
        for name in ("genres", "tags", "keywords", "directors", "cast")
        for value in (3, True, NESTED, ["a", 1], [["a"]], [True], "[1, 2]", '["a", {}]')
    ),
    *(
        ("genres", value, "must be a JSON list or a delimited list")
        for value in ("['a', 'b']", "[REC]|x", "[" * 100_000)
    ),
    *(("split", value, SPLIT_RULE) for value in ("dev2", "training set", 1, True, ["train"])),
    *(("poster", value, "must be text") for value in (1, ["a.jpg"], {"bytes": "x"})),
]


@pytest.mark.parametrize(("field", "value", "rule"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_value_in_jsonl(tmp_path: Path, field: str, value: Any, rule: str) -> None:
    good = {"id": "good", field: None} if field != "id" else {"id": "good"}
    path = jsonl(tmp_path, good, {"id": "bad"} | {field: value})
    problem = only_problem(path)
    assert problem == Problem(file=str(path), row=2, field=field, rule=rule, value=problem.value)
    assert problem.value == repr(value)[:79] + "…" if len(repr(value)) > 80 else repr(value)
    assert skipping(path).ids == ["good"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_year_that_is_no_number(tmp_path: Path, text: str) -> None:
    problem = only_problem(jsonl(tmp_path, f'{{"id": "a", "year": {text}}}'))
    assert (problem.field, problem.rule) == ("year", NUMBER_RULE)


@pytest.mark.parametrize(
    "cell", ["abc", "1994.5", "3000", "nan", "inf", "1e400", "True", "0", "19 94", "\uff11\uff19\uff19\uff14"]
)
def test_wrong_year_in_csv(tmp_path: Path, cell: str) -> None:
    problem = only_problem(csv_file(tmp_path, f"id,year\na,1990\nb,{cell}\n"))
    assert (problem.row, problem.field, problem.value) == (
        2,
        "year",
        repr(cell) if cell not in ("3000", "0") else problem.value,
    )
    assert problem.value.strip("'") == cell


@pytest.mark.parametrize("cell", ["1994", " 1994 ", "1994.0", "1994.", "+1994"])
def test_right_year_in_csv(tmp_path: Path, cell: str) -> None:
    assert Catalogue.read(csv_file(tmp_path, f"id,year\na,{cell}\n")).frame["year"].to_list() == [1994]


@pytest.mark.parametrize("year", [1870, 2100, 1994.0])
def test_years_at_the_limits(tmp_path: Path, year: float) -> None:
    assert Catalogue.read(jsonl(tmp_path, {"id": "a", "year": year})).frame["year"].to_list() == [int(year)]


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (pa.array([3000], pa.int16()), YEAR_RULE),
        (pa.array([99], pa.int8()), YEAR_RULE),
        (pa.array([2**63 + 5], pa.uint64()), YEAR_RULE),
        (pa.array([-(2**63)], pa.int64()), YEAR_RULE),
        (pa.array([1994.5], pa.float32()), NUMBER_RULE),
        (pa.array([math.nan], pa.float64()), NUMBER_RULE),
        (pa.array([math.inf], pa.float64()), NUMBER_RULE),
        (pa.array([True]), NUMBER_RULE),
        (pa.array([decimal.Decimal("1994")]), NUMBER_RULE),
        (pa.array([datetime.date(1994, 1, 1)]), NUMBER_RULE),
        (pa.array([[1994]]), NUMBER_RULE),
        (pa.array([b"1994"]), NUMBER_RULE),
    ],
)
def test_wrong_year_in_parquet(tmp_path: Path, array: pa.Array, rule: str) -> None:
    problem = only_problem(parquet(tmp_path, id=["a"], year=array))
    assert (problem.row, problem.field, problem.rule) == (1, "year", rule)


@pytest.mark.parametrize(
    ("field", "array", "rule"),
    [
        ("id", pa.array([1.0]), "must be text or a whole number"),
        ("id", pa.array([b"a"]), "must be text or a whole number"),
        ("id", pa.array([True]), "must be text or a whole number"),
        ("plot", pa.array([5]), "must be text"),
        ("plot", pa.array([["a"]]), "must be text"),
        ("plot", pa.array([b"a"]), "must be text"),
        ("title", pa.array([datetime.datetime(2020, 1, 1)]), "must be text"),
        ("genres", pa.array([5]), "must be a list of texts"),
        ("genres", pa.array([[5]]), "must be a list of texts"),
        ("genres", pa.array([{"a": 1}]), "must be a list of texts"),
        ("genres", pa.array([[{"name": "Drama"}]]), "must be a list of texts"),
        ("genres", pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), "must be a list of texts"),
        ("split", pa.array([1]), SPLIT_RULE),
        ("split", pa.array(["holdout"]), SPLIT_RULE),
        ("poster", pa.array([1]), "must be text"),
    ],
)
def test_wrong_type_in_parquet(tmp_path: Path, field: str, array: pa.Array, rule: str) -> None:
    columns = {"id": pa.array(["a"]), field: array}
    problem = only_problem(parquet(tmp_path, **columns))
    assert (problem.row, problem.field, problem.rule) == (1, field, rule)


@pytest.mark.parametrize(
    ("written", "split"),
    [("train", "train"), (" Train ", "train"), ("VAL", "validation"), ("dev", "validation"), ("valid", "validation"),
     ("training", "train"), ("test", "test"), ("background", "background"), ("", None), ("  ", None)],
)  # fmt: skip
def test_splits_and_their_other_names(tmp_path: Path, written: str, split: str | None) -> None:
    assert Catalogue.read(jsonl(tmp_path, {"id": "a", "split": written})).frame["split"].to_list() == [split]


def test_several_problems_of_one_row_are_all_named(tmp_path: Path) -> None:
    found = problems(jsonl(tmp_path, {"id": "a", "year": "x", "plot": 3, "genres": 1}))
    assert [(problem.row, problem.field) for problem in found] == [(1, "year"), (1, "plot"), (1, "genres")]


def test_problems_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    found = problems(jsonl(tmp_path, {"id": "a", "plot": 3}, {"id": "b", "year": "x"}, {"id": "c", "plot": 3}, "{"))
    assert [problem.row for problem in found] == [1, 2, 3, 4]


# ids


@pytest.mark.parametrize("value", [None, "", "   ", "\u00a0\t"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_id_that_says_nothing(tmp_path: Path, suffix: str, value: str | None) -> None:
    rows = [{"id": "a", "title": "x"}, {"id": value, "title": "y"}]
    path = write(tmp_path / f"films.{suffix}", rows)
    assert only_problem(path) == Problem(file=str(path), row=2, field="id", rule="an id is required", value="nothing")
    assert skipping(path).ids == ["a"]


def test_line_without_id(tmp_path: Path) -> None:
    assert only_problem(jsonl(tmp_path, {"id": "a"}, {})).rule == "an id is required"


def test_wrong_id_is_one_problem(tmp_path: Path) -> None:
    assert only_problem(jsonl(tmp_path, {"id": ["a"]})).rule == "must be text or a whole number"


def test_ids_are_trimmed(tmp_path: Path) -> None:
    assert Catalogue.read(jsonl(tmp_path, {"id": " a "}, {"id": 7})).ids == ["a", "7"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_repeated_id_names_both_rows(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": i, "title": t} for i, t in zip("abab", "wxyz", strict=True)])
    found = problems(path)
    assert [str(problem) for problem in found] == [
        f"{path}, row 3, field 'id': ids must be unique; row 1 has it too; got 'a'",
        f"{path}, row 4, field 'id': ids must be unique; row 2 has it too; got 'b'",
    ]
    read = skipping(path)
    assert read.texts("title") == ["w", "x"]
    assert read.rejected == found


def test_ids_that_differ_in_form_only_are_repeated(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"id": "e\u0301"}, {"id": " \u00e9"}, {"id": 5}, {"id": "5"})
    assert [problem.row for problem in problems(path)] == [2, 4]


def test_ids_that_differ_in_case_stay_two(tmp_path: Path) -> None:
    assert Catalogue.read(jsonl(tmp_path, {"id": "a"}, {"id": "A"})).ids == ["a", "A"]


def test_repeated_id_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", 2)
    found = only_problem(jsonl(tmp_path, *({"id": i} for i in "abcda")))
    assert (found.row, found.rule) == (5, "ids must be unique; row 1 has it too")


def test_repeat_of_a_rejected_row_is_kept_when_skipping(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"id": "a", "year": "x"}, {"id": "a", "year": 1990}, {"id": "a", "year": 1991})
    assert len(problems(path)) == 3
    read = skipping(path)
    assert read.years().tolist() == [1990]
    assert [(problem.row, problem.field) for problem in read.rejected] == [(1, "year"), (3, "id")]


# long texts


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_text_of_more_than_a_million_characters(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": "a", "plot": "ü" * 1_000_000}, {"id": "b", "plot": "x" * 1_000_001}]
    problem = only_problem(write(tmp_path / f"films.{suffix}", rows))
    assert (problem.row, problem.field, problem.rule) == (2, "plot", "must be at most 1,000,000 characters")
    assert len(problem.value) <= 80


@pytest.mark.parametrize("field", ["id", "title", "outline", "poster", "genres", "cast"])
def test_limit_holds_for_every_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setattr(values, "MAX_TEXT_CHARACTERS", 100)
    long: Any = ["x", "y" * 101] if field in ("genres", "cast") else "y" * 101
    for suffix in ("jsonl", "parquet"):
        problem = only_problem(write(tmp_path / f"films.{suffix}", [{"id": "a", field: long}]))
        assert (problem.row, problem.field, problem.rule) == (1, field, "must be at most 100 characters")


# anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["train", "[", "[]", "a|b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(list(DTYPES)), raw=st.lists(JSON, max_size=5))
def test_any_value_becomes_typed_or_a_problem(kind: Any, raw: list[Any]) -> None:
    place = Place(file="f", field="x", first_row=1, separator="|")
    column, found = typed_column(raw, kind, place)
    assert column.dtype == DTYPES[kind]
    assert len(column) == len(raw)
    for problem in found:
        assert problem.row is not None
        assert column[problem.row - 1] is None
        assert raw[problem.row - 1] is not None


@settings(max_examples=40, deadline=None)
@given(line=st.dictionaries(st.sampled_from(["id", "title", "year", "genres", "cast", "cast_ids", "split"]), JSON))
def test_any_line_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, line: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "films.jsonl"
    path.write_text(json.dumps(line) + "\n")
    try:
        assert len(Catalogue.read(path)) == 1
    except CatalogueError as error:
        assert str(path) in str(error)


def test_column_types_are_those_of_the_fields() -> None:
    place = Place(file="f", field="year", first_row=1, separator="|")
    column, found = typed_column([1994, None], "integer", place)
    assert (column.dtype, column.to_list(), found) == (pl.Int32, [1994, None], [])
