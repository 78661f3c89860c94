"""Unicode: forms, marks, directions, foreign bytes, NUL."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue

from .samples import FORMATS, TEXT_FORMATS, csv_file, jsonl, message, only_problem, problems, skipping, write

TEXTS = [
    "Amélie 🎬👩‍🚀",
    "שלום עולם",
    "\u202b\u05de\u05d9\u05de\u05d9\u05df\u202c",
    "千と千尋の神隠し",
    "a\u2028b\x85c\x0bd",
    "\ufeffmark inside",
    "\U0001d525\U0001d522\U0001d51e\U0001d531",
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("text", TEXTS)
def test_any_script_comes_through(tmp_path: Path, suffix: str, text: str) -> None:
    rows = [{"id": f"i{text}", "title": text, "genres": [text], "directors": [text]}, {"id": "b"}]
    read = Catalogue.read(write(tmp_path / f"films.{suffix}", rows))
    assert read.ids == [unicodedata.normalize("NFC", f"i{text}"), "b"]
    assert read.texts("title")[0] == unicodedata.normalize("NFC", text)
    assert read.lists("genres")[0] == read.lists("directors")[0] == [unicodedata.normalize("NFC", text)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_everything_is_normalised(tmp_path: Path, suffix: str) -> None:
    e = "e\u0301"
    rows = [{"id": e, "title": f" {e} ", "genres": [e, "\u00e9", f"{e} "], "cast": [e], "cast_ids": [e], "poster": e}]
    read = Catalogue.read(write(tmp_path / f"films.{suffix}", rows))
    assert read.frame.to_dicts() == [
        {"id": "é", "title": "é", "cast": ["é"], "cast_ids": ["é"], "genres": ["é"], "poster": "é"}
    ]


def test_text_of_white_space_is_nothing(tmp_path: Path) -> None:
    read = Catalogue.read(jsonl(tmp_path, {"id": "a", "title": " \u3000\t", "plot": ""}))
    assert read.frame.select("title", "plot").to_dicts() == [{"title": None, "plot": None}]


@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_byte_order_mark_and_windows_lines(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": "a", "title": "x"}, {"id": "b", "title": "y"}])
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    read = Catalogue.read(path)
    assert (read.ids, read.texts("title")) == (["a", "b"], ["x", "y"])


@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_latin_1_bytes_name_the_row(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": i, "title": f"Amélie {i}"} for i in "abc"])
    path.write_bytes(path.read_bytes().replace("é b".encode(), b"\xe9 b").replace("Amélie b".encode(), b"Am\xe9lie b"))
    problem = only_problem(path)
    assert (problem.file, problem.row, problem.field, problem.rule) == (str(path), 2, None, "must be UTF-8 text")
    assert r"\xe9lie b" in problem.value
    assert skipping(path).ids == ["a", "c"]


def test_latin_1_inside_a_quoted_cell_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(b'id,plot\na,"one\ntwo"\nb,"one\n\xe9t\xe9\nthree"\nc,x\n')
    assert only_problem(path).row == 2
    assert skipping(path).ids == ["a", "c"]


def test_latin_1_header(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(b"id,t\xeftre\na,x\n")
    assert f"{path}: the header must be UTF-8 text; got" in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_wide_encodings_are_refused(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": "a"}])
    path.write_bytes(path.read_text().encode(encoding))
    assert "must be UTF-8 text" in message(lambda: Catalogue.read(path))


def foreign(values: list[bytes | None]) -> pa.Array:
    """Return an Arrow column of texts that holds any bytes."""
    binary = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(values), binary.buffers())


@pytest.mark.parametrize("shape", ["text", "list"])
def test_latin_1_bytes_in_parquet(tmp_path: Path, shape: str) -> None:
    column = foreign([b"ok", b"\xe9t\xe9", None])
    name = "title"
    if shape == "list":
        name, column = "genres", pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), column)
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], name: column}), path)
    problem = only_problem(path)
    assert (problem.row, problem.field, problem.rule) == (2, name, "must be UTF-8 text")
    assert r"\xe9" in problem.value
    assert skipping(path).ids == ["a", "c"]


def test_latin_1_bytes_in_a_dictionary_of_parquet(tmp_path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), foreign([b"ok", b"\xe9"]))
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], "title": column}), path)
    assert "damaged after row 0 (" in message(lambda: Catalogue.read(path))


def test_latin_1_bytes_in_people_of_parquet(tmp_path: Path) -> None:
    person = pa.StructArray.from_arrays([foreign([b"\xe9"]), foreign([b"n"])], ["name", "id"])
    path = tmp_path / "films.parquet"
    pq.write_table(
        pa.table({"id": ["a"], "cast": pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), person)}), path
    )
    assert "damaged after row 0" in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("field", ["id", "title", "genres", "cast", "split", "poster"])
def test_nul_is_refused(tmp_path: Path, suffix: str, field: str) -> None:
    text = "trai\0n"
    bad = [text] if field in ("genres", "cast") else text
    path = write(
        tmp_path / f"films.{suffix}", [{"id": "good", field: None}, {"id": "bad", field: bad}][field == "id" :]
    )
    found = [problem for problem in problems(path) if problem.rule == "must not hold a NUL character"]
    assert [problem.field for problem in found] == [field]
    assert "x00" in found[0].value


@pytest.mark.parametrize("field", ["id", "title", "genres", "split"])
def test_lone_surrogates_are_refused(tmp_path: Path, field: str) -> None:
    value = r'["\ud800"]' if field == "genres" else r'"\ud800"'
    path = jsonl(tmp_path, {"id": "a"}, f'{{"id": "b", "{field}": {value}}}')
    problem = only_problem(path)
    assert (problem.row, problem.field, problem.rule) == (2, field, "must be valid Unicode, without lone surrogates")
    str(problem).encode()


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=4)
)
def test_csv_and_jsonl_agree_on_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"id": str(n), "title": text, "plot": "x"} for n, text in enumerate(texts) if text != "\\N"]
    rows.append({"id": "last", "title": None, "plot": None})
    read = [Catalogue.read(write(folder / f"films.{suffix}", rows)) for suffix in ("jsonl", "csv", "tsv", "parquet")]
    assert len({catalogue.fingerprint() for catalogue in read}) == 1
    assert read[0].ids == [row["id"] for row in rows]


def test_newline_in_quoted_windows_cell_is_kept(tmp_path: Path) -> None:
    assert Catalogue.read(csv_file(tmp_path, 'id,plot\r\na,"x\r\ny"\r\n')).texts("plot") == ["x\r\ny"]
