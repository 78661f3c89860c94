"""One catalogue, whatever the format it is written in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ColumnMapping, ReadOptions, chunks
from reeltag.errors import CatalogueError

from .samples import FORMATS, ROWS, csv_file, jsonl, message, parquet, write


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_catalogue(tmp_path: Path, suffix: str) -> None:
    catalogue = Catalogue.read(write(tmp_path / f"films.{suffix}", ROWS))
    assert catalogue.frame.to_dicts() == ROWS
    assert catalogue.frame.schema == {
        "id": pl.String,
        "title": pl.String,
        "year": pl.Int32,
        "plot": pl.String,
        "directors": pl.List(pl.String),
        "cast": pl.List(pl.String),
        "genres": pl.List(pl.String),
        "split": pl.String,
    }
    assert catalogue.source == str(tmp_path / f"films.{suffix}")
    assert catalogue.rejected == ()


def test_every_format_has_the_same_fingerprint(tmp_path: Path) -> None:
    read = [Catalogue.read(write(tmp_path / f"films.{suffix}", ROWS)) for suffix in FORMATS]
    assert len({catalogue.fingerprint() for catalogue in read}) == 1


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, size: int) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", size)
    catalogue = Catalogue.read(write(tmp_path / f"films.{suffix}", ROWS))
    assert catalogue.frame.to_dicts() == ROWS


def test_suffix_in_capitals_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "films.csv", ROWS).rename(tmp_path / "FILMS.CSV")
    assert len(Catalogue.read(path)) == 3


def test_path_may_be_text(tmp_path: Path) -> None:
    assert len(Catalogue.read(str(write(tmp_path / "films.csv", ROWS)))) == 3


# lists


def test_delimited_lists_are_trimmed_and_lose_repeats_and_blanks(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,genres\n1, Drama | Crime||Drama | \n2,|\n")
    assert Catalogue.read(path).lists("genres") == [["Drama", "Crime"], []]


def test_other_separator(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,genres\n1,"Drama, Crime"\n2,A|B\n')
    assert Catalogue.read(path, ReadOptions(list_separator=",")).lists("genres") == [["Drama", "Crime"], ["A|B"]]


@pytest.mark.parametrize("separator", ["", " ", "\n"])
def test_separator_must_be_visible(separator: str) -> None:
    assert "list separator" in message(lambda: ReadOptions(list_separator=separator))


def test_separator_does_not_cut_real_lists(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"id": "1", "genres": ["A|B", "C"]})
    assert Catalogue.read(path).lists("genres") == [["A|B", "C"]]


def test_json_lists_in_csv_cells(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,genres\n1,"[""Drama"", null, ""Crime""]"\n2,[]\n')
    assert Catalogue.read(path).lists("genres") == [["Drama", "Crime"], []]


def test_delimited_text_in_jsonl_and_parquet(tmp_path: Path) -> None:
    assert Catalogue.read(jsonl(tmp_path, {"id": "1", "genres": "A|B"})).lists("genres") == [["A", "B"]]
    assert Catalogue.read(parquet(tmp_path, id=["1"], genres=["A|B"])).lists("genres") == [["A", "B"]]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_null_and_empty_lists_stay_apart_in_the_frame_only(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": "1", "genres": ["A"]}, {"id": "2", "genres": []}, {"id": "3", "genres": None}]
    catalogue = Catalogue.read(write(tmp_path / f"films.{suffix}", rows))
    assert catalogue.frame["genres"].to_list() == [["A"], [], None]
    assert catalogue.lists("genres") == [["A"], [], []]


def test_empty_csv_cell_and_backslash_n_are_nothing(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "tconst\tprimaryTitle\tstartYear\tgenres\n1\t\\N\t\\N\t\\N\n2\t\t\t\n", "films.tsv")
    assert Catalogue.read(path).frame.to_dicts() == [
        {"id": "1", "title": None, "year": None, "genres": None},
        {"id": "2", "title": None, "year": None, "genres": None},
    ]


# Parquet types


def test_parquet_column_types(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        id=pa.array([7, 8], pa.uint16()),
        title=pa.array(["Heat", None], pa.large_string()),
        plot=pa.array(["x", "x"]).dictionary_encode(),
        outline=pa.array(["o", None], pa.string_view()),
        year=pa.array([1995.0, None], pa.float64()),
        directors=pa.array([["A"], None], pa.large_list(pa.large_string())),
        cast=pa.array([["A", "B"], None], pa.list_(pa.string(), 2)),
        genres=pa.array([["G"], []], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        tags=pa.nulls(2),
        keywords=pa.array([[], []], pa.list_(pa.null())),
        split=pa.array(["Train", "val"]).dictionary_encode(),
    )
    assert Catalogue.read(path).frame.to_dicts() == [
        {
            "id": "7",
            "title": "Heat",
            "year": 1995,
            "plot": "x",
            "outline": "o",
            "directors": ["A"],
            "cast": ["A", "B"],
            "genres": ["G"],
            "tags": None,
            "keywords": [],
            "split": "train",
        },
        {
            "id": "8",
            "title": None,
            "year": None,
            "plot": "x",
            "outline": None,
            "directors": None,
            "cast": None,
            "genres": [],
            "tags": None,
            "keywords": [],
            "split": "validation",
        },
    ]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64(), pa.uint64()])
def test_parquet_integer_ids(tmp_path: Path, kind: pa.DataType) -> None:
    assert Catalogue.read(parquet(tmp_path, id=pa.array([1, 2], kind))).ids == ["1", "2"]


def test_parquet_dictionary_ids(tmp_path: Path) -> None:
    assert Catalogue.read(parquet(tmp_path, id=pa.array(["b", "a"]).dictionary_encode())).ids == ["b", "a"]


def test_parquet_written_by_pandas_with_categories(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": ["a", "b"], "title": pd.Categorical(["T", None]), "year": [1995.0, float("nan")]})
    frame.to_parquet(tmp_path / "films.parquet")
    read = Catalogue.read(tmp_path / "films.parquet").frame
    assert read.to_dicts() == [{"id": "a", "title": "T", "year": 1995}, {"id": "b", "title": None, "year": None}]


def test_parquet_with_many_row_groups_keeps_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a", "b", None, "d"]}), path, row_group_size=1)
    with pytest.raises(CatalogueError, match="row 3, field 'id': an id is required"):
        Catalogue.read(path)


# what is no table of titles


@pytest.mark.parametrize("suffix", FORMATS)
def test_zero_bytes_are_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"films.{suffix}"
    path.touch()
    expected = "not a whole Parquet file" if suffix == "parquet" else "empty file"
    assert expected in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize("content", [b"\n\n", b"\xef\xbb\xbf", b"  \n"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_files_of_blanks_are_an_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"films.{suffix}"
    path.write_bytes(content)
    expected = "no column holds the id" if (suffix, content) == ("csv", b"  \n") else "empty file"
    assert expected in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize("text", ["id,title,genres", "id,title,genres\n", "\ufeffid,title,genres\r\n"])
def test_header_only_csv_is_a_catalogue_without_titles(tmp_path: Path, text: str) -> None:
    catalogue = Catalogue.read(csv_file(tmp_path, text))
    assert len(catalogue) == 0
    assert catalogue.frame.schema == {"id": pl.String, "title": pl.String, "genres": pl.List(pl.String)}


def test_zero_row_parquet_is_a_catalogue_without_titles(tmp_path: Path) -> None:
    path = parquet(tmp_path, id=pa.array([], pa.string()), year=pa.array([], pa.int16()))
    catalogue = Catalogue.read(path)
    assert catalogue.frame.schema == {"id": pl.String, "year": pl.Int32}
    assert (catalogue.ids, catalogue.years().tolist(), catalogue.lists("genres")) == ([], [], [])


def test_jsonl_of_empty_objects_has_no_columns(tmp_path: Path) -> None:
    assert "empty file" in message(lambda: Catalogue.read(jsonl(tmp_path, {}, {})))


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.csv"
    assert message(lambda: Catalogue.read(path)) == f"{path}: no such file"


@pytest.mark.parametrize("name", ["films\0.csv", "f" * 300 + ".csv"])
def test_impossible_path(tmp_path: Path, name: str) -> None:
    assert "no such file" in (text := message(lambda: Catalogue.read(tmp_path / name))) or "cannot be read" in text


@pytest.mark.parametrize("name", ["films.xlsx", "films", "films.csv.gz"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    text = message(lambda: Catalogue.read(path))
    assert f"unknown format {path.suffix!r}" in text
    assert ".parquet, .csv, .tsv, .jsonl, .ndjson or an MM-IMDb folder" in text


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", ROWS)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    assert message(lambda: Catalogue.read(path)) == f"{path}: cannot be read (Permission denied)"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("suffix", FORMATS)
def test_file_without_permission(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", ROWS)
    path.chmod(0)
    assert "cannot be read (Permission denied)" in message(lambda: Catalogue.read(path))


def test_disk_error_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "films.jsonl", ROWS)

    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("reeltag.catalogue.jsonl.lines", fail)
    assert "cannot be read (Input/output error)" in message(lambda: Catalogue.read(path))


# JSONL


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path, "", {"id": "a"}, "   ", {"id": "b"}, "", {"title": "no id"})
    with pytest.raises(CatalogueError, match="row 6, field 'id': an id is required; got nothing"):
        Catalogue.read(path)


def test_keys_may_appear_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    options = ReadOptions(mapping=ColumnMapping(columns={"plot": "text"}, label_fields=("mood",)))
    path = jsonl(tmp_path, {"id": "a", "genre": "X"}, {"id": "b", "genres": ["Y"], "text": "p", "mood": ["dark"]})
    read = Catalogue.read(path, options).frame.to_dicts()
    assert read == [
        {"id": "a", "plot": None, "genres": None, "mood": None},
        {"id": "b", "plot": "p", "genres": ["Y"], "mood": ["dark"]},
    ]


def test_jsonl_without_final_newline(tmp_path: Path) -> None:
    path = tmp_path / "films.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}')
    assert Catalogue.read(path).ids == ["a", "b"]


@pytest.mark.parametrize("line", ["[1]", "3", '"text"', "null", "true"])
def test_line_that_is_no_object(tmp_path: Path, line: str) -> None:
    path = jsonl(tmp_path, {"id": "a"}, line)
    shown = repr(json.loads(line))
    text = message(lambda: Catalogue.read(path))
    assert text.startswith(f"{path}, row 2: must be one JSON object per line; got {shown}\n")


@pytest.mark.parametrize(
    "line", ['{"id": "b"', "{'id': 'b'}", '{"id": "b"} {"id": "c"}', "[" * 100_000, '{"a":' * 50_000]
)
def test_line_that_is_no_json(tmp_path: Path, line: str) -> None:
    text = message(lambda: Catalogue.read(jsonl(tmp_path, {"id": "a"}, line, {"id": "c"})))
    assert "row 2: must be one JSON object per line (" in text
    assert len(text) < 500


def test_only_broken_lines_are_listed_even_when_skipping(tmp_path: Path) -> None:
    path = jsonl(tmp_path, "{", "[]")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(path, ReadOptions(skip_bad=True))
    assert [problem.row for problem in caught.value.problems] == [1, 2]


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_deep_values_are_named_shortly(tmp_path: Path, depth: int) -> None:
    path = jsonl(tmp_path, '{"id": "a", "genres": ' + "[" * depth + "]" * depth + "}")
    text = message(lambda: Catalogue.read(path))
    assert "row 1" in text
    assert len(text) < 500


# CSV


def test_quotes_delimiters_and_newlines_in_cells(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,title,plot\na,"1,2 ""three""","one\r\n\r\ntwo"\nb,5" disk,x\n')
    read = Catalogue.read(path)
    assert read.texts("title") == ['1,2 "three"', '5" disk']
    assert read.texts("plot") == ["one\r\n\r\ntwo", "x"]


def test_rows_of_csv_are_counted_by_record_not_by_line(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,plot,year\na,"one\ntwo\nthree",1990\nb,"x\ny",nope\n')
    assert "row 2, field 'year'" in message(lambda: Catalogue.read(path))


def test_blank_csv_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,year\n\na,1990\n\nb,x\n")
    assert "row 4, field 'year'" in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize(("line", "n_cells"), [("b", 1), ("b,t,1,2", 4), ("b,t,1,", 4), ("   ", 1)])
def test_too_few_or_many_cells(tmp_path: Path, line: str, n_cells: int) -> None:
    path = csv_file(tmp_path, f"id,title,year\na,t,1990\n{line}\n")
    text = message(lambda: Catalogue.read(path))
    assert text.startswith(f"{path}, row 2: must have 3 cells, as the header has; got {n_cells} cells\n")


@pytest.mark.parametrize(
    ("record", "line"), [('b,"never closed\nc,x', 4), ('b,"closed" late', 3), (r'b,"he said \"hi\" and left"', 3)]
)
def test_quotes_that_do_not_fit(tmp_path: Path, record: str, line: int) -> None:
    text = message(lambda: Catalogue.read(csv_file(tmp_path, f"id,title\na,x\n{record}\n")))
    assert "row 2: a quoted cell must end with its quote, and quotes inside it be doubled" in text
    assert f"got line {line}" in text


def test_broken_header(tmp_path: Path) -> None:
    text = message(lambda: Catalogue.read(csv_file(tmp_path, '"id"x,title\na,b\n')))
    assert "the header a quoted cell must end with its quote" in text


def test_header_cells_are_trimmed(tmp_path: Path) -> None:
    assert Catalogue.read(csv_file(tmp_path, "id , title\na,b\n")).texts("title") == ["b"]


def test_first_line_blank(tmp_path: Path) -> None:
    assert "a header line is required" in message(lambda: Catalogue.read(csv_file(tmp_path, "\nid,title\na,b\n")))


def test_semicolons_are_no_commas(tmp_path: Path) -> None:
    text = message(lambda: Catalogue.read(csv_file(tmp_path, "id;title\na;b\n")))
    assert "no column holds the id of a title; columns: id;title" in text


def test_old_mac_line_ends(tmp_path: Path) -> None:
    assert "new-line character" in message(lambda: Catalogue.read(csv_file(tmp_path, "id,title\ra,b\r")))
