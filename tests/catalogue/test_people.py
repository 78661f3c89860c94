"""Directors and cast: names, ids beside them, and who is one person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ColumnMapping, ReadOptions
from reeltag.errors import CatalogueError

from .samples import FORMATS, csv_file, jsonl, message, only_problem, parquet, write


def credits(catalogue: Catalogue, role: str = "cast") -> list[tuple[int, str]]:
    rows, keys = catalogue.people(role)
    assert rows.dtype == "int64"
    assert keys.dtype == pl.String
    return list(zip(rows.tolist(), keys.to_list(), strict=True))


def read(tmp_path: Path, *rows: dict[str, Any]) -> Catalogue:
    return Catalogue.read(jsonl(tmp_path, *({"id": str(n)} | row for n, row in enumerate(rows))))


# names only


def test_people_by_name(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["B", "A", " B "]}, {"cast": None}, {"cast": []}, {"cast": ["A"]})
    assert credits(catalogue) == [(0, "B"), (0, "A"), (3, "A")]


def test_people_of_a_catalogue_without_any(tmp_path: Path) -> None:
    assert credits(read(tmp_path, {"title": "x"}), "directors") == []


def test_people_without_titles() -> None:
    frame = pl.DataFrame(schema={"id": pl.String, "cast": pl.List(pl.String), "cast_ids": pl.List(pl.String)})
    assert credits(Catalogue.from_frame(frame)) == []
    assert credits(Catalogue.from_frame(frame.drop("cast_ids"))) == []


@pytest.mark.parametrize("role", ["actors", "cast_ids", "title", ""])
def test_unknown_role(tmp_path: Path, role: str) -> None:
    assert "role must be one of directors, cast; got" in message(lambda: read(tmp_path, {}).people(role))


# ids beside names


@pytest.mark.parametrize("suffix", FORMATS)
def test_ids_beside_names(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"id": "a", "directors": ["M"], "director_ids": ["nm1"], "cast": ["A", "B"], "cast_ids": ["nm2", "nm3"]},
        {"id": "b", "directors": ["N"], "director_ids": None, "cast": None, "cast_ids": None},
    ]
    catalogue = Catalogue.read(write(tmp_path / f"films.{suffix}", rows))
    assert catalogue.frame.select(list(rows[0])).to_dicts() == rows
    assert credits(catalogue) == [(0, "id:nm2"), (0, "id:nm3")]
    assert credits(catalogue, "directors") == [(0, "id:nm1"), (1, "N")]


def test_homonyms_with_ids_stay_two(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["Steve McQueen", "Steve McQueen"], "cast_ids": ["nm1", "nm2"]})
    assert catalogue.lists("cast") == [["Steve McQueen", "Steve McQueen"]]
    assert credits(catalogue) == [(0, "id:nm1"), (0, "id:nm2")]


def test_one_person_of_two_names_is_one(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["Prince", "Symbol", "X"], "cast_ids": ["nm1", "nm1", "nm2"]})
    assert catalogue.lists("cast") == [["Symbol", "X"]]
    assert credits(catalogue) == [(0, "id:nm1"), (0, "id:nm2")]


def test_people_without_an_id_among_others(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["A", "B", "B ", "C"], "cast_ids": ["nm1", None, " ", ""]})
    assert catalogue.frame["cast_ids"].to_list() == [["nm1", None, None]]
    assert credits(catalogue) == [(0, "id:nm1"), (0, "B"), (0, "C")]


def test_name_that_looks_like_another_persons_id(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["A", "nm1"], "cast_ids": ["nm1", None]})
    assert credits(catalogue) == [(0, "id:nm1"), (0, "nm1")]


def test_blank_names_go_with_their_ids(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": ["A", " ", None, "D"], "cast_ids": ["1", "2", "3", "4"]})
    assert catalogue.frame.select("cast", "cast_ids").to_dicts() == [{"cast": ["A", "D"], "cast_ids": ["1", "4"]}]


def test_delimited_lists_keep_their_gaps(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,cast,cast_ids\na,A|B|C,nm1||nm3\nb,A,\n")
    assert credits(Catalogue.read(path)) == [(0, "id:nm1"), (0, "B"), (0, "id:nm3"), (1, "A")]


@pytest.mark.parametrize("ids", [[31, 55], [31, "55"], "31|55", "[31, 55]"])
def test_whole_numbers_are_ids(tmp_path: Path, ids: object) -> None:
    assert credits(read(tmp_path, {"cast": ["A", "B"], "cast_ids": ids})) == [(0, "id:31"), (0, "id:55")]


def test_one_number_is_a_list_of_one_id(tmp_path: Path) -> None:
    assert credits(read(tmp_path, {"cast": "A", "cast_ids": 31})) == [(0, "id:31")]


def test_lists_of_numbers_in_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path, id=["a"], cast=[["A", "B"]], cast_ids=pa.array([[31, None]], pa.list_(pa.int64())))
    assert credits(Catalogue.read(path)) == [(0, "id:31"), (0, "B")]


@pytest.mark.parametrize("ids", [True, 1.5, {"a": 1}, [True], [1.5], [["nm1"]], [{"id": 1}]])
def test_wrong_ids(tmp_path: Path, ids: object) -> None:
    problem = only_problem(jsonl(tmp_path, {"id": "a", "cast": ["A"], "cast_ids": ids}))
    rule = "must be text or a whole number" if isinstance(ids, list) else "must be a list of ids"
    assert (problem.row, problem.field, problem.rule) == (1, "cast_ids", rule)


def test_wrong_names_beside_ids_are_one_problem(tmp_path: Path) -> None:
    problem = only_problem(jsonl(tmp_path, {"id": "a", "cast": [1], "cast_ids": ["nm1"]}))
    assert (problem.field, problem.rule) == ("cast", "must be a list of texts")


@pytest.mark.parametrize(
    ("names", "ids", "n_ids"),
    [(["A", "B"], ["1"], 1), (["A"], ["1", "2"], 2), (None, ["1"], 1), ([], ["1"], 1), ("A|B|C", "1|2", 2)],
)
def test_lists_of_different_lengths(tmp_path: Path, names: object, ids: object, n_ids: int) -> None:
    path = jsonl(tmp_path, {"id": "a", "cast": ["A"], "cast_ids": ["1"]}, {"id": "b", "cast": names, "cast_ids": ids})
    problem = only_problem(path)
    assert (problem.row, problem.field) == (2, "cast")
    assert problem.rule == f"must have as many names as ids ({n_ids})"
    assert credits(Catalogue.read(path, ReadOptions(skip_bad=True))) == [(0, "id:1")]


@pytest.mark.parametrize("ids", [None, []])
def test_no_ids_known(tmp_path: Path, ids: object) -> None:
    catalogue = read(tmp_path, {"cast": ["A", "A"], "cast_ids": ids}, {"cast": [], "cast_ids": []})
    assert credits(catalogue) == [(0, "A")]


def test_ids_without_names(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"id": "a", "cast_ids": ["nm1"]})
    text = message(lambda: Catalogue.read(path))
    assert "field 'cast_ids' needs the names of the people in field 'cast', which has no column" in text
    options = ReadOptions(mapping=ColumnMapping(columns={"cast": "cast_ids"}))
    assert credits(Catalogue.read(path, options)) == [(0, "id:nm1")]


# objects


PEOPLE = [
    [{"id": "nm1", "name": "Al"}, {"id": None, "name": "Bo"}, {"id": "nm2", "name": "Al"}],
    None,
    [],
    [{"id": "nm1", "name": "Al"}],
]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_lists_of_people(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": str(n), "cast": people, "directors": people} for n, people in enumerate(PEOPLE)]
    catalogue = Catalogue.read(write(tmp_path / f"films.{suffix}", rows))
    assert catalogue.lists("cast") == [["Al", "Bo", "Al"], [], [], ["Al"]]
    expected = [(0, "id:nm1"), (0, "Bo"), (0, "id:nm2"), (3, "id:nm1")]
    assert credits(catalogue) == credits(catalogue, "directors") == expected


def test_lists_of_people_with_number_ids_in_parquet(tmp_path: Path) -> None:
    kind = pa.large_list(pa.struct([("name", pa.large_string()), ("id", pa.int64()), ("order", pa.int8())]))
    people = pa.array([[{"id": 31, "name": "Tom", "order": 0}, {"id": None, "name": "B", "order": 1}]], kind)
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "cast": people}), path)
    assert credits(Catalogue.read(path)) == [(0, "id:31"), (0, "B")]


def test_people_without_ids_or_names(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": [{"name": "A"}, {"name": "B", "id": 2}, {"id": 3}, {}]})
    assert credits(catalogue) == [(0, "A"), (0, "id:2")]


def test_people_as_objects_here_and_names_there(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"cast": [{"name": "A", "id": "1"}]}, {"cast": ["B"]}, {"cast": "C|D"})
    assert credits(catalogue) == [(0, "id:1"), (1, "B"), (2, "C"), (2, "D")]


def test_objects_in_one_chunk_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", 1)
    catalogue = read(tmp_path, {"cast": ["B"]}, {"cast": [{"name": "A", "id": "1"}]}, {"cast": ["C"]})
    assert credits(catalogue) == [(0, "B"), (1, "id:1"), (2, "C")]


@pytest.mark.parametrize(
    ("people", "field"),
    [
        ([{"name": "A"}, "B"], "cast"),
        (["B", {"name": "A"}], "cast"),
        ([{"name": 3}], "cast"),
        ([{"name": ["A"]}], "cast"),
        ([{"name": "A", "id": 1.5}], "cast_ids"),
        ([{"name": "A", "id": True}], "cast_ids"),
        ([{"name": "A", "id": {"x": 1}}], "cast_ids"),
    ],
)
def test_wrong_people(tmp_path: Path, people: object, field: str) -> None:
    assert only_problem(jsonl(tmp_path, {"id": "a", "cast": people})).field == field


def test_objects_next_to_a_column_of_ids_are_refused(tmp_path: Path) -> None:
    problem = only_problem(jsonl(tmp_path, {"id": "a", "cast": [{"name": "A"}], "cast_ids": ["1"]}))
    assert (problem.field, problem.rule) == ("cast", "must be a list of texts")


# frames


def frame(names: object, ids: object) -> pl.DataFrame:
    lists = pl.List(pl.String)
    return pl.DataFrame(
        {"id": ["a"], "cast": [names], "cast_ids": [ids]}, schema_overrides={"cast": lists, "cast_ids": lists}
    )


@pytest.mark.parametrize(("names", "ids"), [(["A"], ["1", "2"]), (None, ["1"]), ([], ["1"]), (["A"], [])])
def test_frame_whose_lists_do_not_fit(names: object, ids: object) -> None:
    with pytest.raises(CatalogueError, match="'cast_ids' must have as many items as 'cast'"):
        Catalogue.from_frame(frame(names, ids))


@pytest.mark.parametrize(
    ("names", "ids", "keys"),
    [(["A"], None, ["A"]), (None, None, []), ([], [], []), (None, [], []), (["A", "B"], [None, "1"], ["A", "id:1"])],
)
def test_frame_whose_lists_fit(names: object, ids: object, keys: list[str]) -> None:
    assert [key for _, key in credits(Catalogue.from_frame(frame(names, ids)))] == keys


def test_frame_with_ids_and_no_names() -> None:
    with pytest.raises(CatalogueError, match="'cast_ids' must have as many items as 'cast'"):
        Catalogue.from_frame(frame(["A"], ["1"]).drop("cast"))
