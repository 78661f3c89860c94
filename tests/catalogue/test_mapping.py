"""Which column feeds which field."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import FIELDS, Catalogue, ColumnMapping, ReadOptions

from .samples import FORMATS, csv_file, jsonl, message, parquet, write

HOUSE = [{"key": "a", "text": "A plot.", "mood": ["dark"], "genres": ["Drama"]}]
COLUMNS = {"id": "key", "plot": "text"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_mapping_by_dict(tmp_path: Path, suffix: str) -> None:
    options = ReadOptions(mapping=ColumnMapping(columns=COLUMNS))
    read = Catalogue.read(write(tmp_path / f"films.{suffix}", HOUSE), options)
    assert read.frame.to_dicts() == [{"id": "a", "plot": "A plot.", "genres": ["Drama"]}]


def test_mapping_by_pairs() -> None:
    assert ColumnMapping.parse([" id = key ", "plot=text=en"]).columns == {"id": "key", "plot": "text=en"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_mapping_by_json_file(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(mark + json.dumps(COLUMNS), encoding="utf-8")
    assert ColumnMapping.parse([str(path)]).columns == COLUMNS


def test_later_pairs_win(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(COLUMNS))
    assert ColumnMapping.parse([str(path), "plot=other"]).columns == {"id": "key", "plot": "other"}


def test_no_pairs_no_mapping() -> None:
    assert ColumnMapping.parse([]) == ColumnMapping()


def test_unknown_field() -> None:
    text = message(lambda: ColumnMapping.parse(["plott=text"]))
    assert text.startswith("column mapping: unknown field 'plott'; fields: id, title, year, plot,")
    assert "unknown field ''" in message(lambda: ColumnMapping.parse(["=text"]))


def test_neither_pair_nor_file(tmp_path: Path) -> None:
    assert "expected FIELD=COLUMN or the path of a JSON file; got 'plot'" in message(
        lambda: ColumnMapping.parse(["plot"])
    )
    assert "expected FIELD=COLUMN" in message(lambda: ColumnMapping.parse([str(tmp_path)]))


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\xff"])
def test_mapping_file_that_is_no_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.json"
    path.write_bytes(content.encode("latin-1"))
    assert f"column mapping {path}: not valid JSON (" in message(lambda: ColumnMapping.parse([str(path)]))


@pytest.mark.parametrize("content", ["[]", '"id"', '{"id": 1}', '{"id": null}'])
def test_mapping_file_of_another_shape(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    assert "must be an object from field to column name; got" in message(lambda: ColumnMapping.parse([str(path)]))


def test_mapping_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "map.json"
    path.write_text("{}")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "cannot be read (Permission denied)" in message(lambda: ColumnMapping.parse([str(path)]))


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_column(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", HOUSE)
    options = ReadOptions(mapping=ColumnMapping(columns={"id": "key", "plot": "synopsis_en"}))
    assert message(lambda: Catalogue.read(path, options)) == (
        f"{path}: column 'synopsis_en', asked for as field 'plot', does not exist; columns: key, text, mood, genres"
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_id_column(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", HOUSE)
    assert message(lambda: Catalogue.read(path)) == (
        f"{path}: no column holds the id of a title; columns: key, text, mood, genres\nname it with --map id=COLUMN"
    )


@pytest.mark.parametrize(("field", "other"), [(f, other) for f, (_, names) in FIELDS.items() for other in names])
def test_usual_other_names(field: str, other: str) -> None:
    found = ColumnMapping().resolve(["id", other] if field != "id" else [other], "x.csv")
    assert found[field] == other


def test_own_name_goes_before_other_names(tmp_path: Path) -> None:
    read = Catalogue.read(csv_file(tmp_path, "imdb_id,id,overview,plot\ntt1,a,other,own\n"))
    assert (read.ids, read.texts("plot")) == (["a"], ["own"])


def test_other_columns_are_left_out(tmp_path: Path) -> None:
    assert Catalogue.read(csv_file(tmp_path, "id,budget\na,1\n")).frame.columns == ["id"]


def test_one_column_may_feed_two_fields(tmp_path: Path) -> None:
    options = ReadOptions(mapping=ColumnMapping(columns={"outline": "plot", "plot": "plot"}))
    for path in (csv_file(tmp_path, "id,plot\na,x\n"), parquet(tmp_path, id=["a"], plot=["x"])):
        read = Catalogue.read(path, options)
        assert (read.texts("plot"), read.texts("outline")) == (["x"], ["x"])


def test_column_that_stands_twice(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,plot,plot\na,x,y\n")
    assert "column 'plot' must stand there once; got 2 of it" in message(lambda: Catalogue.read(path))
    path = tmp_path / "films.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["id", "id"]), path)
    assert "column 'id' must stand there once; got 2 of it" in message(lambda: Catalogue.read(path))


def test_unused_column_may_stand_twice(tmp_path: Path) -> None:
    assert len(Catalogue.read(csv_file(tmp_path, "id,note,note\na,x,y\n"))) == 1


# house taxonomies


@pytest.mark.parametrize("suffix", FORMATS)
def test_label_fields_keep_their_names(tmp_path: Path, suffix: str) -> None:
    mapping = ColumnMapping(columns={"id": "key", "feeling": "mood"}, label_fields=("feeling", "genres"))
    read = Catalogue.read(write(tmp_path / f"films.{suffix}", HOUSE), ReadOptions(mapping=mapping))
    assert read.lists("feeling") == [["dark"]]
    assert read.lists("genres") == [["Drama"]]


@pytest.mark.parametrize("name", ["row", "n", "first", "bad", "problem", "value"])
def test_label_field_of_any_name(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path, {"id": "a", name: ["x"], "split": "train"}, {"id": "b", "split": "test"})
    options = ReadOptions(mapping=ColumnMapping(label_fields=(name,)))
    read = Catalogue.read(path, options)
    assert read.lists(name) == [["x"], []]
    assert read.find("b") == 1
    assert read.rows_of("test").tolist() == [1]


def test_label_field_that_does_not_exist(tmp_path: Path) -> None:
    options = ReadOptions(mapping=ColumnMapping(label_fields=("mood",)))
    path = csv_file(tmp_path, "id\na\n")
    assert message(lambda: Catalogue.read(path, options)) == f"{path}: label column 'mood' does not exist; columns: id"


@pytest.mark.parametrize("name", ["id", "title", "year", "split", "poster", "cast_ids"])
def test_label_field_must_hold_lists(name: str) -> None:
    assert f"label field '{name}' must hold lists" in message(lambda: ColumnMapping(label_fields=(name,)))


def test_label_field_with_wrong_values(tmp_path: Path) -> None:
    options = ReadOptions(mapping=ColumnMapping(label_fields=("mood",)))
    text = message(lambda: Catalogue.read(jsonl(tmp_path, {"id": "a", "mood": 3}), options))
    assert "row 1, field 'mood': must be a list of texts; got 3" in text
