"""Where graphs may be written: graphs are replaced, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from reeltag.errors import GraphError
from reeltag.graph.destinations import check_place
from reeltag.graph.triple_files import read_graph, write_graph
from reeltag.graph.triples import PLACES, KnowledgeGraph
from samples import files_of

from .link_samples import graph_of, random_triples

GRAPH = graph_of(random_triples(60), 9, 3, random_triples(5, seed=1))
TABLE = pl.DataFrame([("a", "b", "c")], schema=dict.fromkeys(PLACES, pl.String), orient="row")


def numbers(graph: KnowledgeGraph) -> dict[str, int]:
    return {split: len(triples) for split, triples in graph.splits.items()}


def refused(path: Path, format: str) -> str:
    """Return why a graph may not be written, which must change nothing."""
    before = files_of(path.parent)
    for use in (lambda: check_place(path, format), lambda: write_graph(GRAPH, path, format)):
        with pytest.raises(GraphError) as caught:
            use()
        assert files_of(path.parent) == before
    return str(caught.value).replace(str(path.parent), "")


@pytest.mark.parametrize("other", ["folder", "tsv", "openke"])
@pytest.mark.parametrize("format", ["folder", "tsv", "openke"])
def test_a_graph_is_replaced_but_nothing_beside_it(tmp_path: Path, format: str, other: str) -> None:
    write_graph(GRAPH, tmp_path / "kg", format)
    write_graph(GRAPH, tmp_path / "kg", other)
    assert numbers(read_graph(tmp_path / "kg")) == numbers(GRAPH)
    (tmp_path / "kg" / "thesis.md").write_text("ten years of work")
    assert refused(tmp_path / "kg", format) == (
        "/kg: holds 'thesis.md' beside a knowledge graph; choose another folder"
    )
    (tmp_path / "kg" / "thesis.md").unlink()
    (tmp_path / "kg" / "valid.tsv").unlink(missing_ok=True)
    (tmp_path / "kg" / "valid.tsv").mkdir()
    assert refused(tmp_path / "kg", format) == (
        "/kg: holds 'valid.tsv' beside a knowledge graph; choose another folder"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("graph.json", '{"nodes": []}'),
        ("graph.json", "{"),
        ("train.tsv", "text\tlabel\nI liked it\t1\n"),
        ("holiday.jpg", ""),
    ],
)
def test_a_folder_that_only_looks_like_a_graph_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text(text)
    for format in ("folder", "tsv", "openke"):
        assert refused(tmp_path / "mine", format) == "/mine: exists and is not a knowledge graph; choose another folder"


@pytest.mark.parametrize("text", ["", "id\ttitle\n1\tHeat\n", "Head\tRelation\tTail\n", "a\tb\tc\n", "\xff\n"])
@pytest.mark.parametrize("name", ["x.tsv", "x.txt"])
def test_a_text_file_of_something_else_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "latin-1")
    assert refused(tmp_path / name, "tsv") == f"/{name}: exists and is not a knowledge graph; choose another file"


def test_a_text_file_of_triples_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    for end in ("\n", "\r\n"):
        path.write_bytes(f"head\trelation\ttail{end}a\tb\tc{end}".encode())
        write_graph(GRAPH, path, "tsv")
        assert path.read_text().startswith("head\trelation\ttail\tsplit\n")


def test_a_parquet_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path, because = tmp_path / "x.parquet", "/x.parquet: exists and is not a knowledge graph; choose another file"
    for frame in (pl.DataFrame({"id": ["a"]}), TABLE.with_columns(more=1), TABLE.select("tail", "head")):
        frame.write_parquet(path)
        assert refused(path, "parquet") == because
    path.write_bytes(b"PAR1 and no more")
    assert refused(path, "parquet") == because
    TABLE.write_parquet(path)
    write_graph(GRAPH, path, "parquet")


def test_places_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("words")
    blocked = f"because {tmp_path}/a.txt is not a folder that may be written to"
    for path, format, because in (
        (".", "folder", ".: must end in the name of a folder; choose another"),
        ("x/..", "openke", "x/..: must end in the name of a folder; choose another"),
        ("a.txt/kg", "tsv", f"a.txt/kg: cannot be made, {blocked}"),
        ("a.txt/kg.tsv", "tsv", f"a.txt/kg.tsv: cannot be made, {blocked}"),
        ("a.txt/kg.parquet", "parquet", f"a.txt/kg.parquet: cannot be made, {blocked}"),
    ):
        with pytest.raises(GraphError) as caught:
            check_place(Path(path), format)
        assert str(caught.value) == because
