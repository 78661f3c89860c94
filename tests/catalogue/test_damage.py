"""Damaged files and giants: an error that names the place, and memory that stays bounded."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ReadOptions, lines, parquet, values
from reeltag.errors import CatalogueError

from .samples import ROWS, csv_file, jsonl, message, only_problem, skipping, write

# damaged Parquet


def films(path: Path, n: int = 400) -> Path:
    table = pa.table(
        {
            "id": [f"tt{i:07}" for i in range(n)],
            "plot": [f"{i} plot " * 20 for i in range(n)],
            "genres": [["Drama", f"G{i}"] for i in range(n)],
        }
    )
    pq.write_table(table, path, row_group_size=100, compression="zstd")
    return path


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_parquet(tmp_path: Path, share: float) -> None:
    path = films(tmp_path / "films.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    text = message(lambda: Catalogue.read(path))
    assert text.startswith(f"{path}: not a whole Parquet file (")
    assert "copy or download it again" in text


def test_parquet_with_a_hole_and_a_whole_footer(tmp_path: Path) -> None:
    path = films(tmp_path / "films.parquet")
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    text = message(lambda: Catalogue.read(path))
    assert text.startswith(f"{path}: damaged after row 0 (")
    assert "copy or download it again" in text


def test_damage_behind_the_first_batch_names_the_last_good_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", 100)
    path = films(tmp_path / "films.parquet")
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    assert "damaged after row 200 (" in message(lambda: Catalogue.read(path))


def test_parquet_whose_middle_is_gone(tmp_path: Path) -> None:
    path = films(tmp_path / "films.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:1000] + content[len(content) // 2 :])
    text = message(lambda: Catalogue.read(path))
    assert "damaged" in text or "not a whole Parquet file" in text


@pytest.mark.parametrize(
    "content", [b"PAR1", b"id,title\na,b\n", b"PK\x03\x04" + bytes(50), b"PAR1" + bytes(20) + b"PAR1"]
)
def test_file_that_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "films.parquet"
    path.write_bytes(content)
    assert "not a whole Parquet file" in message(lambda: Catalogue.read(path))


def test_random_damage_is_an_error_or_a_catalogue(tmp_path: Path) -> None:
    path = films(tmp_path / "films.parquet", 100)
    content = path.read_bytes()
    dice = random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged) - 1200)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            Catalogue.read(path)
        except CatalogueError as error:
            assert str(path) in str(error)


DAMAGED_FOOTERS = """
import random, sys
from pathlib import Path
from reeltag.catalogue import Catalogue
from reeltag.errors import CatalogueError

path, dice = Path(sys.argv[1]), random.Random(0)
content = path.read_bytes()
for _ in range(300):
    damaged = bytearray(content)
    for _ in range(dice.randint(1, 3)):
        damaged[-dice.randint(1, len(content) // 2)] = dice.randrange(256)
    path.write_bytes(damaged)
    try:
        read = Catalogue.read(path)
        list(read.posters.read(read.ids))
    except CatalogueError as error:
        assert str(path) in str(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("image", [True, False])
def test_damaged_footers_do_not_end_the_process(tmp_path: Path, image: bool) -> None:
    rows = [{"id": str(n), "plot": f"plot {n}", **({"image": {"bytes": b"x"}} if image else {})} for n in range(50)]
    path = tmp_path / "films.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=25)
    run = subprocess.run([sys.executable, "-c", DAMAGED_FOOTERS, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_footer_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "tagline": ["x"]}, metadata={}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"tagline", b"tag\xffine"))
    assert str(path) in message(lambda: Catalogue.read(path))


def test_parquet_without_columns(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({}), path)
    assert message(lambda: Catalogue.read(path)) == f"{path}: holds no columns"


def test_error_without_a_message() -> None:
    assert parquet.first_line(OSError()) == "OSError"
    assert parquet.first_line(OSError("one\ntwo")) == "one"


def test_disk_error_while_reading_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    path = write(tmp_path / "films.parquet", ROWS)
    assert "damaged after row 0 (Input/output error)" in message(lambda: Catalogue.read(path))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "tsv"])
def test_binary_files_under_a_text_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"films.{suffix}"
    path.write_bytes(films(tmp_path / "films.parquet").read_bytes())
    assert "must be UTF-8 text" in message(lambda: Catalogue.read(path))


# giants


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 200)
    monkeypatch.setattr(lines, "_READ_BYTES", 64)


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("n", [300, 263, 264, 265, 5_000])
@pytest.mark.parametrize("last", [False, True])
def test_long_jsonl_line(tmp_path: Path, n: int, last: bool) -> None:
    rows = [{"id": "a"}, {"id": "b", "plot": "x" * n}, *([] if last else [{"id": "c"}])]
    path = jsonl(tmp_path, *rows)
    if last:
        path.write_bytes(path.read_bytes().rstrip())
    problem = only_problem(path)
    size = len(path.read_bytes().splitlines(keepends=True)[1])
    assert (problem.row, problem.rule) == (2, "a line must be at most 200 bytes")
    assert problem.value == f"{size:,} bytes"
    assert skipping(path).ids == (["a"] if last else ["a", "c"])


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("newline", ["\n", ""])
def test_line_of_just_the_limit(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "films.jsonl"
    head, tail = '{"id": "a", "plot": "', '"}'
    path.write_text(head + "x" * (200 - len(head) - len(tail) - len(newline)) + tail + newline)
    assert path.stat().st_size == 200
    assert Catalogue.read(path).ids == ["a"]


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize(
    "record",
    [
        "b," + "x" * 1000,
        'b,"' + "x" * 1000 + '"',
        'b,"' + 'x""' * 500 + '"',
        'b,"short\n' + "x" * 1000 + '\nend"',
        'b,"' + "x" * 1000 + '\nmiddle\nend"',
        'b,"one\n' + "x" * 1000 + '"',
    ],
)
def test_long_csv_line_leaves_the_next_rows_in_place(tmp_path: Path, record: str) -> None:
    path = csv_file(tmp_path, f"id,plot\na,x\n{record}\nc,y\n")
    problem = only_problem(path)
    assert (problem.row, problem.rule) == (2, "a line must be at most 200 bytes")
    read = skipping(path)
    assert (read.ids, read.texts("plot")) == (["a", "c"], ["x", "y"])


@pytest.mark.usefixtures("short_lines")
def test_quote_that_swallows_the_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,plot\na,x\nb,"never closed\n' + "c,a line of a usual size\n" * 100)
    for options in (ReadOptions(), ReadOptions(skip_bad=True)):
        text = message(lambda options=options: Catalogue.read(path, options))
        assert text.startswith(f"{path}, line 3: a cell must be at most 200 bytes\n")
        assert "a quote that opens there may never close" in text


@pytest.mark.usefixtures("short_lines")
def test_long_header(tmp_path: Path) -> None:
    text = message(lambda: Catalogue.read(csv_file(tmp_path, "id," + "x" * 500 + "\na,b\n")))
    assert "the header a line must be at most 200 bytes" in text


def test_row_group_of_gigantic_cells_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_TEXT_CHARACTERS", 1000)
    noise = random.Random(0).randbytes(20_000).hex()
    path = tmp_path / "films.parquet"
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "c", "text": noise}]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    path_column = pq.ParquetFile(path).metadata.row_group(1).column(1)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", never)
    mapping = ReadOptions(mapping=parquet.ColumnMapping(columns={"plot": "text"}), skip_bad=True)
    problem = only_problem(path, mapping)
    assert (problem.row, problem.field, problem.rule) == (3, "plot", "must be at most 1,000 characters")
    assert problem.value == f"{path_column.total_uncompressed_size:,} bytes in 1 rows"


def test_giant_column_that_nobody_asked_for_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_TEXT_CHARACTERS", 1000)
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "blob": ["x" * 9000], "plots": ["x" * 9000], "plot": ["p"]}), path)
    assert Catalogue.read(path).texts("plot") == ["p"]


def test_giant_column_with_a_dot_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_TEXT_CHARACTERS", 1000)
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "plot.raw": [random.Random(0).randbytes(9000).hex()]}), path)
    options = ReadOptions(mapping=parquet.ColumnMapping(columns={"plot": "plot.raw"}))
    assert "bytes in 1 rows" in only_problem(path, options).value


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def giant(path: Path, head: bytes, tail: bytes, size: int) -> Path:
    """Write a line with a hole: ``size`` bytes that take no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
        file.seek(0, 2)
        file.write(tail)
    return path


GIANTS = [
    ("jsonl", b'{"id": "a"}\n{"id": "b", "plot": "', b'"}\n{"id": "c"}\n'),
    ("csv", b'id,plot\na,x\nb,"', b'"\nc,y\n'),
    ("csv", b'id,plot\na,x\nb,"short\n', b'"\nc,y\n'),
]


@pytest.mark.parametrize(("suffix", "head", "tail"), GIANTS)
def test_plot_of_64_megabytes_stays_out_of_memory(tmp_path: Path, suffix: str, head: bytes, tail: bytes) -> None:
    path = giant(tmp_path / f"films.{suffix}", head, tail, 64 * 2**20)
    kept: list[str] = []
    assert peak_bytes(lambda: kept.extend(skipping(path).ids)) < 56 * 2**20
    assert kept == ["a", "c"]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "head", "tail"), GIANTS)
def test_plot_of_2_gigabytes_stays_out_of_memory(tmp_path: Path, suffix: str, head: bytes, tail: bytes) -> None:
    path = giant(tmp_path / f"films.{suffix}", head, tail, 2 * 2**30)
    kept: list[str] = []
    assert peak_bytes(lambda: kept.extend(skipping(path).ids)) < 56 * 2**20
    assert kept == ["a", "c"]
    problem = only_problem(path)
    assert (problem.row, problem.rule) == (2, "a line must be at most 16,777,216 bytes")
    assert problem.value.startswith("2,147,483,")


@pytest.mark.slow
def test_parquet_plot_of_200_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    table = pa.table({"id": ["a"], "plot": ["x" * (200 * 2**20)]})
    pq.write_table(table, path, use_dictionary=False)
    del table
    before = pa.total_allocated_bytes()
    assert only_problem(path).field == "plot"
    assert pa.total_allocated_bytes() - before < 2**20
