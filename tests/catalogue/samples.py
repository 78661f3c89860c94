"""Small catalogues written in every format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ReadOptions
from reeltag.errors import CatalogueError, Problem

FORMATS = ("parquet", "csv", "tsv", "jsonl", "ndjson")
TEXT_FORMATS = ("csv", "tsv", "jsonl")

ROWS: list[dict[str, Any]] = [
    {
        "id": "tt0113277",
        "title": "Heat",
        "year": 1995,
        "plot": 'A thief,\nand a detective; "both" obsessed.',
        "directors": ["Michael Mann"],
        "cast": ["Al Pacino", "Robert De Niro"],
        "genres": ["Crime", "Drama"],
        "split": "train",
    },
    {
        "id": "tt0000001",
        "title": "شیرین 🎬",
        "year": None,
        "plot": None,
        "directors": None,
        "cast": None,
        "genres": None,
        "split": "background",
    },
    {
        "id": "tt0062622",
        "title": "2001",
        "year": 1968,
        "plot": "Apes.",
        "directors": ["Stanley Kubrick"],
        "cast": ["Keir Dullea"],
        "genres": ["Sci-Fi"],
        "split": "test",
    },
]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as Parquet, CSV, TSV or JSONL; lists become delimited text in CSV and TSV."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix in (".csv", ".tsv"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(names)
            writer.writerows([[_cell(row.get(name)) for name in names] for row in rows])
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else value


def jsonl(tmp_path: Path, *lines: Any) -> Path:
    """Write a JSONL file; a line that is no string is dumped."""
    path = tmp_path / "films.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def csv_file(tmp_path: Path, text: str, name: str = "films.csv") -> Path:
    """Write a CSV file as it stands."""
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def parquet(tmp_path: Path, **columns: Any) -> Path:
    """Write a Parquet file from columns."""
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def problems(path: Path, options: ReadOptions | None = None) -> tuple[Problem, ...]:
    """Return the problems that stop a read."""
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(path, options)
    return caught.value.problems


def only_problem(path: Path, options: ReadOptions | None = None) -> Problem:
    """Return the one problem that stops a read."""
    found = problems(path, options)
    assert len(found) == 1, found
    return found[0]


def message(call: Callable[[], object]) -> str:
    """Return the message of the CatalogueError that a call raises."""
    with pytest.raises(CatalogueError) as caught:
        call()
    return str(caught.value)


def skipping(path: Path) -> Catalogue:
    """Read, leaving out bad rows."""
    return Catalogue.read(path, ReadOptions(skip_bad=True))
