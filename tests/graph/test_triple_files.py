"""Knowledge graphs in files: every format against tuples in Python, round trips, and what is wrong by row and field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reeltag.errors import GraphError
from reeltag.graph import text_lines, triple_files
from reeltag.graph.destinations import FORMATS
from reeltag.graph.triple_files import read_graph, write_graph
from reeltag.graph.triples import PLACES, KnowledgeGraph, Triples

SHARED = Path(os.environ.get("REELTAG_SHARED") or Path(__file__).parents[2].parent / "shared")
Named = list[tuple[str, str, str]]

TRAIN: Named = [("b", "likes", "a"), ("a", "knows", "c"), ("b", "likes", "a"), ("c", "likes", "é x")]
VALID: Named = [("a", "likes", "c"), ("d", "knows", "a")]
TEST: Named = [("b", "knows", "d")]
SUFFIXES = {"folder": "", "parquet": ".parquet", "tsv": ".tsv", "openke": ""}


def named(graph: KnowledgeGraph, column: str = "key") -> dict[str, Named]:
    entities, relations = graph.entities[column].to_list(), graph.relations["name"].to_list()
    return {
        split: [
            (entities[head], relations[relation], entities[tail])
            for head, relation, tail in zip(part.head, part.relation, part.tail, strict=True)
        ]
        for split, part in graph.splits.items()
    }


def numbered(graph: KnowledgeGraph) -> dict[str, list[list[int]]]:
    return {split: [getattr(part, place).tolist() for place in PLACES] for split, part in graph.splits.items()}


def lines(rows: Named) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def once(rows: Named) -> Named:
    return list(dict.fromkeys(rows))


def in_order(rows: Named) -> list[str]:
    """Return entities in order of first appearance, by a loop."""
    return list(dict.fromkeys(end for head, _, tail in rows for end in (head, tail)))


EXPECTED = {"train": once(TRAIN), "validation": VALID, "test": TEST}


def check(graph: KnowledgeGraph, rows: Named = [*TRAIN, *VALID, *TEST]) -> None:  # noqa: B006
    assert named(graph) == EXPECTED
    assert graph.entities["key"].to_list() == graph.entities["name"].to_list() == in_order(rows)
    assert graph.relations["name"].to_list() == list(dict.fromkeys(relation for _, relation, _ in rows))
    kinds = (graph.entities["kind"], graph.relations["head_kind"], graph.relations["tail_kind"])
    assert all(set(column) == {"entity"} for column in kinds)


def files(folder: Path, texts: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(GraphError) as caught:
        read_graph(path)
    return str(caught.value).replace(str(path.parent), "")


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("suffix", [".tsv", ".txt", ".TSV"])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "head\trelation\ttail\n",
        "\ufeffHead\tRelation\tTail\n\n",
        "h\tr\tt\n",
        "H\tR\tT\n",
        "subject\tpredicate\tobject\n",
        "Source\tRelation\tTarget\n",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_file_of_triples(tmp_path: Path, suffix: str, header: str, end: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes((header + lines(TRAIN)).replace("\n", end).encode())
    graph = read_graph(str(path))
    assert named(graph) == {"train": once(TRAIN)}
    assert graph.entities["key"].to_list() == ["b", "a", "c", "é x"]
    assert graph.source == str(path)


def test_the_last_line_needs_no_end_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("\n \n" + lines(TRAIN[:2]) + "\n\t\n" + lines(TRAIN[2:]).rstrip("\n"))
    assert named(read_graph(path)) == {"train": once(TRAIN)}


@pytest.mark.parametrize("header", ["head\trelation\ttail", "H\tR\tT", "subject\tpredicate\tobject"])
def test_one_file_with_a_column_of_splits(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.tsv"
    rows = [(*TEST[0], "test"), (*TRAIN[0], "train"), (*VALID[0], "valid"), (*TRAIN[1], "training")]
    rows += [(*VALID[1], "dev"), (*TRAIN[2], "train"), (*TRAIN[3], " Train ")]
    path.write_text(f"{header}\tsplit\n" + "".join("\t".join(row) + "\n" for row in rows))
    check(read_graph(path), [row[:3] for row in rows])


@pytest.mark.parametrize("names", [("train.tsv", "valid.tsv", "test.tsv"), ("train.txt", "validation.tsv", "test.txt")])
def test_a_folder_of_text_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    texts = map(lines, (TRAIN, VALID, TEST))
    check(read_graph(files(tmp_path / "kg", dict(zip(names, texts, strict=True)))))


def test_a_folder_of_training_triples_alone(tmp_path: Path) -> None:
    graph = read_graph(files(tmp_path / "kg", {"train.txt": lines(TRAIN), "test.txt": ""}))
    assert named(graph) == {"train": once(TRAIN)}


@pytest.mark.parametrize("block_bytes", [16, 17, 23, 64])
def test_blocks_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK_BYTES", block_bytes)
    check(
        read_graph(
            files(tmp_path / "kg", {"train.tsv": lines(TRAIN), "valid.tsv": lines(VALID), "test.tsv": lines(TEST)})
        )
    )
    path = tmp_path / "x.tsv"
    path.write_text(lines(TRAIN) + "\n" + lines(VALID) + "a\tb\n")
    assert refusal(path).startswith("/x.tsv, row 8: must have 3 columns")


def test_a_large_file_by_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK_BYTES", 5_000)
    monkeypatch.setattr(triple_files, "_ROWS_AT_ONCE", 700)
    rng = np.random.default_rng(0)
    rows = [(f"e{h}", f"r{r}", f"e{t}") for h, r, t in np.stack([rng.integers(60, size=5_000) for _ in "hrt"], axis=1)]
    path = tmp_path / "x.tsv"
    path.write_text(lines(rows))
    graph = read_graph(path)
    assert named(graph) == {"train": once(rows)}
    assert graph.entities["key"].to_list() == in_order(rows)
    for format in FORMATS:
        target = tmp_path / f"again{SUFFIXES[format]}"
        write_graph(graph, target, format)
        assert numbered(read_graph(target)) == numbered(graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n", "/x.tsv, row 1: must have 3 columns (head, relation, tail) separated by tabs; got 2: 'a\\tb'"),
        (
            "a\tb\tc\n\na b c\n",
            "/x.tsv, row 3: must have 3 columns (head, relation, tail) separated by tabs; got 1: 'a b c'",
        ),
        (
            "head\trelation\ttail\na\tb\tc\nd\te\tf\tg\th\n",
            "/x.tsv, row 2: must have 3 columns (head, relation, tail) separated by tabs; got 5: 'd\\te\\tf\\tg\\th'",
        ),
        (
            "head\trelation\ttail\tsplit\na\tb\tc\n",
            "/x.tsv, row 1: must have 4 columns (head, relation, tail, split) separated by tabs; got 3: 'a\\tb\\tc'",
        ),
        ("a\tb\tc\n\tb\tc\n", "/x.tsv, row 2, field 'head': must not be empty; got ''"),
        ("a\tb\t \n", "/x.tsv, row 1, field 'tail': must not be empty; got ' '"),
        (
            "head\trelation\ttail\tsplit\na\tb\tc\ttrain\na\tb\tc\tspare\n",
            "/x.tsv, row 2, field 'split': must be one of train, valid, validation, dev, test; got 'spare'",
        ),
        ("", "/x.tsv: must hold at least one training triple; got none"),
        ("head\trelation\ttail\n", "/x.tsv: must hold at least one training triple; got none"),
        (
            "head\trelation\ttail\tsplit\na\tb\tc\ttest\n",
            "/x.tsv: must hold at least one training triple; got none",
        ),
    ],
)
def test_bad_rows_of_text(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text)
    assert refusal(path) == message


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(b"a\tb\tc\nd\t\xff\tf\n")
    assert refusal(path) == "/x.tsv, line 2: must be UTF-8 text; got b'a\\tb\\tc\\nd\\t\\xff\\tf'"


def test_a_line_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK_BYTES", 100)
    path = tmp_path / "x.tsv"
    path.write_text("a" * 1_000)
    assert refusal(path) == "/x.tsv: a line must be at most 100 bytes; got a longer one"


def test_folders_that_hold_no_graph(tmp_path: Path) -> None:
    empty = files(tmp_path / "empty", {})
    assert refusal(empty) == (
        "/empty: a folder of a knowledge graph must hold graph.json, entity2id.txt (OpenKE), train.tsv or train.txt; "
        "got none of them"
    )
    both = files(tmp_path / "both", {"train.tsv": lines(TRAIN), "train.txt": lines(TRAIN)})
    assert refusal(both) == "/both: must have one file per split; got train.tsv, train.txt"
    dev = files(tmp_path / "dev", {"train.tsv": lines(TRAIN), "valid.tsv": lines(VALID), "dev.tsv": lines(VALID)})
    assert refusal(dev) == "/dev: must have one file per split; got valid.tsv, dev.tsv"
    split = files(tmp_path / "split", {"train.tsv": "head\trelation\ttail\tsplit\na\tb\tc\ttest\n"})
    assert refusal(split) == "/split/train.tsv: a file of one split must have no column 'split'"


def test_paths_that_are_no_graph(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.tsv") == "/none.tsv: cannot be read (no such file or folder)"
    path = tmp_path / "x.csv"
    path.write_text("a,b,c\n")
    assert refusal(path) == "/x.csv: a knowledge graph is a folder, or a file .parquet, .tsv or .txt"


# ---------------------------------------------------------------- Parquet


def table(rows: Named, splits: list[str] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(PLACES, pl.String), orient="row")
    return frame if splits is None else frame.with_columns(split=pl.Series(splits))


@pytest.mark.parametrize("rows_at_once", [2, 1_000])
@pytest.mark.parametrize("type", [pl.String, pl.Categorical])
def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, type: pl.DataType) -> None:
    monkeypatch.setattr(triple_files, "_ROWS_AT_ONCE", rows_at_once)
    path = tmp_path / "x.parquet"
    splits = ["train"] * len(TRAIN) + ["valid"] * len(VALID) + ["test"] * len(TEST)
    table([*TRAIN, *VALID, *TEST], splits).cast(dict.fromkeys(PLACES, type)).write_parquet(path)
    check(read_graph(path))
    table(TRAIN).with_columns(more=1).write_parquet(path)
    assert named(read_graph(path)) == {"train": once(TRAIN)}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table(TRAIN).drop("tail"), "/x.parquet: must have one column 'tail'; columns: head, relation"),
        (table(TRAIN).with_columns(head=1), "/x.parquet, field 'head': must hold texts; got Int32"),
        (table([*TRAIN, ("a", "", "b")]), "/x.parquet, row 5, field 'relation': must not be empty; got ''"),
        (
            table(TRAIN).with_columns(tail=pl.when(pl.int_range(4) != 2).then("tail")),
            "/x.parquet, row 3, field 'tail': must not be empty; got None",
        ),
        (
            table(TRAIN, ["train", "train", "x", "test"]),
            "/x.parquet, row 3, field 'split': must be one of train, valid, validation, dev, test; got 'x'",
        ),
        (table([]), "/x.parquet: must hold at least one training triple; got none"),
    ],
)
def test_bad_rows_of_parquet(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    path = tmp_path / "x.parquet"
    frame.write_parquet(path)
    assert refusal(path) == message


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    assert refusal(path).startswith("/x.parquet: not a whole Parquet file (")


# ---------------------------------------------------------------- OpenKE

OPENKE = {
    "entity2id.txt": "4\nc\t2\na\t0\nan entity\t1\nunused\t3\n",
    "relation2id.txt": "2\nknows\t1\nlikes\t0\n",
    "train2id.txt": "3\n0 1 0\n1\t2  1 \n0 1 0\n",
    "valid2id.txt": "1\n2 0 0\n",
    "test2id.txt": "1\n2 1 1\n",
}


def test_openke_keeps_its_numbers_and_writes_head_tail_relation(tmp_path: Path) -> None:
    graph = read_graph(files(tmp_path / "kg", OPENKE))
    assert graph.entities["key"].to_list() == ["a", "an entity", "c", "unused"]
    assert graph.relations["name"].to_list() == ["likes", "knows"]
    assert named(graph) == {
        "train": [("a", "likes", "an entity"), ("an entity", "knows", "c")],
        "validation": [("c", "likes", "a")],
        "test": [("c", "knows", "an entity")],
    }


def test_openke_needs_no_held_out_files(tmp_path: Path) -> None:
    some = {name: text for name, text in OPENKE.items() if name not in ("valid2id.txt", "test2id.txt")}
    assert list(read_graph(files(tmp_path / "kg", some)).splits) == ["train"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("entity2id", "3\na\t0\n", ": must have as many rows as its first line says, 3; got 1"),
        ("entity2id", "a\t0\n", ": the first line must be the number of rows; got 'a\\t0'"),
        ("entity2id", "", ": the first line must be the number of rows; got an empty file"),
        (
            "entity2id",
            "2\na\t0\nb\t2\n",
            ", row 2, field 'id': must be a whole number, at least 0 and below the number of rows, 2; got '2'",
        ),
        (
            "entity2id",
            "2\na\t0\nb\tx\n",
            ", row 2, field 'id': must be a whole number, at least 0 and below the number of rows, 2; got 'x'",
        ),
        ("entity2id", "3\na\t0\n\nb\t1\nc\t0\n", ", row 4, field 'id': must be unique; got '0'"),
        ("relation2id", "2\na\t0\na\t1\n", ", row 2, field 'name': must be unique; got 'a'"),
        ("relation2id", "2\na\t0\n\t1\n", ", row 2, field 'name': must not be empty; got ''"),
        ("relation2id", "1\na 0\n", ", row 1: must have 2 columns (name, id) separated by tabs; got 1: 'a 0'"),
        (
            "train2id",
            "1\n0 4 0\n",
            ", row 1, field 'tail': must be a whole number, at least 0 and below the number of entities, 4; got '4'",
        ),
        (
            "test2id",
            "2\n0 1 0\n0 1 -1\n",
            ", row 2, field 'relation': must be a whole number, at least 0 and below the number of relations, 2; "
            "got '-1'",
        ),
        (
            "train2id",
            "1\n0 1\n",
            ", row 1: must have 3 columns (head, tail, relation) separated by tabs; got 2: '0\\t1'",
        ),
        ("valid2id", "2\n0 1 0\n", ": must have as many rows as its first line says, 2; got 1"),
    ],
)
def test_bad_rows_of_openke(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = files(tmp_path / "kg", OPENKE | {f"{name}.txt": text})
    assert refusal(folder) == f"/kg/{name}.txt{message}"


def test_openke_without_a_file(tmp_path: Path) -> None:
    folder = files(tmp_path / "kg", {"entity2id.txt": OPENKE["entity2id.txt"]})
    assert refusal(folder) == "/kg/relation2id.txt: cannot be read (No such file or directory)"
    empty = files(tmp_path / "none", OPENKE | {"train2id.txt": "0\n"})
    assert refusal(empty) == "/none: must hold at least one training triple; got none"


# ---------------------------------------------------------------- writing


def films(keys: list[tuple[str, str]]) -> KnowledgeGraph:
    entities = pl.DataFrame(
        [(key, f"name of {key}", kind) for key, kind in keys],
        schema=dict.fromkeys(("key", "name", "kind"), pl.String),
        orient="row",
    )
    relations = pl.DataFrame({"name": ["x-y", "y-x"], "head_kind": ["p", "q"], "tail_kind": ["q", "p"]})
    n = len(keys)
    ids = np.arange(n)
    splits = {"train": Triples(ids, ids % 2, (ids + 1) % n), "validation": Triples(ids[:1], ids[:1], ids[:1])}
    return KnowledgeGraph(entities, relations, splits, "films")


@pytest.mark.parametrize("format", FORMATS)
def test_round_trips(tmp_path: Path, format: str) -> None:
    splits = ["train"] * len(TRAIN) + ["valid"] * len(VALID) + ["test"] * len(TEST)
    table([*TRAIN, *VALID, *TEST], splits).write_parquet(tmp_path / "x.parquet")
    graph = read_graph(tmp_path / "x.parquet")
    for suffix in {SUFFIXES[format], ".txt" if format == "tsv" else SUFFIXES[format]}:
        path = tmp_path / f"again{suffix}"
        for _ in range(2):  # what is there is replaced
            write_graph(graph, path, format)
            again = read_graph(path)
            check(again)
            assert numbered(again) == numbered(graph)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_what_the_written_files_look_like(tmp_path: Path) -> None:
    graph = read_graph(files(tmp_path / "kg", OPENKE))
    write_graph(graph, tmp_path / "a.tsv", "tsv")
    assert (tmp_path / "a.tsv").read_text() == (
        "head\trelation\ttail\tsplit\na\tlikes\tan entity\ttrain\nan entity\tknows\tc\ttrain\n"
        "c\tlikes\ta\tvalidation\nc\tknows\tan entity\ttest\n"
    )
    write_graph(graph, tmp_path / "a", "tsv")
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {
        "train.tsv": "a\tlikes\tan entity\nan entity\tknows\tc\n",
        "valid.tsv": "c\tlikes\ta\n",
        "test.tsv": "c\tknows\tan entity\n",
    }
    write_graph(graph, tmp_path / "o", "openke")
    assert {path.name: path.read_text() for path in (tmp_path / "o").iterdir()} == {
        "entity2id.txt": "4\na\t0\nan entity\t1\nc\t2\nunused\t3\n",
        "relation2id.txt": "2\nlikes\t0\nknows\t1\n",
        "train2id.txt": "2\n0 1 0\n1 2 1\n",
        "valid2id.txt": "1\n2 0 0\n",
        "test2id.txt": "1\n2 1 1\n",
    }


def test_a_first_triple_that_reads_like_a_header_is_kept(tmp_path: Path) -> None:
    rows: Named = [("h", "r", "t"), ("t", "r", "h")]
    (tmp_path / "x.tsv").write_text("head\trelation\ttail\n" + lines(rows))
    graph = read_graph(tmp_path / "x.tsv")
    for format in FORMATS:
        write_graph(graph, tmp_path / f"again{SUFFIXES[format]}", format)
        assert named(read_graph(tmp_path / f"again{SUFFIXES[format]}")) == {"train": rows}


@pytest.mark.parametrize("format", ["parquet", "tsv", "openke"])
def test_a_key_of_two_kinds_is_written_with_its_kind(tmp_path: Path, format: str) -> None:
    graph = films([("Drama", "genre"), ("Drama", "title"), ("Heat", "title")])
    path = tmp_path / f"x{SUFFIXES[format]}"
    write_graph(graph, path, format)
    again = read_graph(path)
    assert again.entities["key"].to_list() == ["genre:Drama", "title:Drama", "Heat"]
    assert numbered(again) == numbered(graph)


def test_a_folder_keeps_kinds_and_names(tmp_path: Path) -> None:
    graph = films([("Drama", "genre"), ("Drama", "title"), ("Heat", "title")])
    write_graph(graph, tmp_path / "x", "folder")
    assert read_graph(tmp_path / "x").entities.equals(graph.entities)


def test_quotes_are_written_and_read_as_they_are(tmp_path: Path) -> None:
    graph = films([('"Crocodile" Dundee', "title"), ('""', "title"), ("it's, so", "title")])
    for format in FORMATS:
        path = tmp_path / f"{format}{SUFFIXES[format]}"
        write_graph(graph, path, format)
        assert named(read_graph(path)) == named(graph)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb"])
def test_names_that_would_break_a_text_file(tmp_path: Path, name: str) -> None:
    graph = films([(name, "title"), ("b", "title")])
    for format, path in (("tsv", "x.tsv"), ("tsv", "x"), ("openke", "o")):
        with pytest.raises(GraphError) as caught:
            write_graph(graph, tmp_path / path, format)
        message = f"films: a name in a text file must hold no tab and no line break; got {name!r}"
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []
    write_graph(graph, tmp_path / "x.parquet", "parquet")
    assert named(read_graph(tmp_path / "x.parquet")) == named(graph)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    some = films([("a", "x"), ("b", "x")])
    bare = KnowledgeGraph(some.entities, some.relations, {"train": Triples.empty()}, "bare")
    with pytest.raises(GraphError, match=r"^bare: a graph without training triples can only be written as a folder$"):
        write_graph(bare, tmp_path / "x.parquet", "parquet")
    write_graph(bare, tmp_path / "bare", "folder")
    assert len(read_graph(tmp_path / "bare").train) == 0
    graph = films([("a", "x"), ("a", "y"), ("x:a", "z")])
    with pytest.raises(GraphError, match=r"^films: two entities would be written as 'x:a'; use the format folder$"):
        write_graph(graph, tmp_path / "x.tsv", "tsv")
    with pytest.raises(
        GraphError, match=r"^the format of a knowledge graph must be one of folder, parquet, tsv, openke; got 'csv'$"
    ):
        write_graph(graph, tmp_path / "x.csv", "csv")
    with pytest.raises(GraphError, match=r"x: a graph of the format parquet needs a path that ends in \.parquet$"):
        write_graph(graph, tmp_path / "x", "parquet")


# ---------------------------------------------------------------- the benchmarks


@pytest.mark.parametrize(
    ("name", "n_entities", "n_relations", "n_triples"),
    [
        ("WN18", 40_943, 18, (141_442, 5_000, 5_000)),
        ("WN18RR", 40_943, 11, (86_835, 3_034, 3_134)),
        ("FB15k-237", 14_541, 237, (272_115, 17_535, 20_466)),
    ],
)
def test_the_benchmarks_have_their_published_sizes(
    name: str, n_entities: int, n_relations: int, n_triples: tuple[int, ...]
) -> None:
    path = SHARED / "data" / "kge" / f"{name}.parquet"
    if not path.is_file():
        pytest.skip("the shared data is not there (set REELTAG_SHARED)")
    graph = read_graph(path)
    assert (graph.n_entities, graph.n_relations) == (n_entities, n_relations)
    assert tuple(len(graph.splits[split]) for split in ("train", "validation", "test")) == n_triples
    first = pl.read_parquet(path).row(0)
    split = {"valid": "validation"}.get(first[3], first[3])
    assert named(graph)[split][0] == first[:3]
