"""Triples and knowledge graphs: against loops over Python tuples, and every refusal by its words."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.errors import GraphError
from reeltag.graph import triples as module
from reeltag.graph.tables import Vocabulary
from reeltag.graph.triples import FOLDER_FILES, PLACES, KnowledgeGraph, Triples, is_head_file

Rows = list[tuple[int, int, int]]


def triples(rows: Rows) -> Triples:
    array = np.array(rows, np.int64).reshape(-1, 3)
    return Triples(array[:, 0], array[:, 1], array[:, 2])


def rows_of(found: Triples) -> Rows:
    return list(zip(found.head.tolist(), found.relation.tolist(), found.tail.tolist(), strict=True))


ENTITIES = [
    ("Drama", "Drama", "genre"),
    ("Noir", "Noir", "genre"),
    ("tt1", "Heat", "title"),
    ("tt2", "Drama", "title"),
    ("tt3", "Heat", "title"),
    ("id:nm1", "Michael Mann", "person"),
    ("Al Pacino", "Al Pacino", "person"),
    ("Val Kilmer", "Val Kilmer", "person"),
]
RELATIONS = [("d-t", "person", "title"), ("c-g", "person", "genre"), ("g-t", "genre", "title")]
TRAIN: Rows = [(5, 0, 2), (6, 1, 0), (6, 1, 1), (0, 2, 2), (5, 0, 4), (0, 2, 3)]


def entities(rows: list[tuple[str, str, str]] = ENTITIES) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(("key", "name", "kind"), pl.String), orient="row")


def relations(rows: list[tuple[str, str, str]] = RELATIONS) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(("name", "head_kind", "tail_kind"), pl.String), orient="row")


def graph(train: Rows = TRAIN, **others: Rows) -> KnowledgeGraph:
    splits = {"train": triples(train)} | {name: triples(rows) for name, rows in others.items()}
    return KnowledgeGraph(entities(), relations(), splits, "films")


# ---------------------------------------------------------------- triples


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=40))
def test_unique_keeps_first_occurrences_in_order(rows: Rows) -> None:
    assert rows_of(triples(rows).unique()) == list(dict.fromkeys(rows))


def test_unique_of_numbers_too_large_for_one_key() -> None:
    top = 2**31 - 1
    rows = [(top, top, top), (0, 0, 0), (top, top, top), (top, 0, 1), (0, 0, 0), (top, top, 0)]
    assert rows_of(triples(rows).unique()) == list(dict.fromkeys(rows))


def test_the_two_ways_to_unique_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    some = triples(np.random.default_rng(0).integers(6, size=(500, 3)).tolist())
    packed = rows_of(some.unique())
    monkeypatch.setattr(module, "_LARGEST_KEY", 0)
    assert rows_of(some.unique()) == packed


def test_take_concatenate_and_empty() -> None:
    some = triples(TRAIN)
    assert rows_of(some.take([3, 0])) == [TRAIN[3], TRAIN[0]]
    assert rows_of(some.take(slice(1, 3))) == TRAIN[1:3]
    assert rows_of(some.take(some.relation == 2)) == [row for row in TRAIN if row[1] == 2]
    assert rows_of(Triples.concatenate([some, Triples.empty(), some])) == TRAIN * 2
    assert len(Triples.concatenate([])) == len(Triples.empty()) == len(Triples.empty().unique()) == 0


def test_arrays_are_32_bits_wide_and_may_become_tensors() -> None:
    frame = pl.DataFrame({"head": [1, 2]}, schema={"head": pl.Int32})["head"].to_numpy()
    some = Triples(frame, np.array([0, 0], np.uint8), np.array([3, 4]))
    for place in PLACES:
        assert getattr(some, place).dtype == np.int32
        assert torch.from_numpy(getattr(some, place)).shape == (2,)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            ([1], [1, 2], [3]),
            "triples need as many heads as relations and tails; got 1, 2 and 1",
        ),
        (([0.5], [1], [1]), "triples: head must be whole numbers of shape (n_triples,); got float64 (1,)"),
        (([1], [[1]], [1]), "triples: relation must be whole numbers of shape (n_triples,); got int64 (1, 1)"),
        (([1], [1], [2**31]), "triples: tail must fit 32 bits; got 2147483648"),
    ],
)
def test_what_are_no_triples(arrays: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(GraphError) as caught:
        Triples(*(np.array(array) for array in arrays))
    assert str(caught.value) == message


# ---------------------------------------------------------------- vocabulary


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), max_size=5))
def test_a_vocabulary_numbers_names_in_order_of_first_appearance(blocks: list[list[str]]) -> None:
    words, expected = Vocabulary(), {}
    for block in blocks:
        for name in block:
            expected.setdefault(name, len(expected))
        assert words.add(pl.Series(block, dtype=pl.String)).tolist() == [expected[name] for name in block]
    assert words.names.to_list() == list(expected)
    asked = [*"abcdefgh", "unheard of"]
    assert words.encode(pl.Series(asked)).tolist() == [expected.get(name, -1) for name in asked]


# ---------------------------------------------------------------- graphs


def test_sizes_kinds_and_ids() -> None:
    films = graph(test=[(7, 1, 0)])
    assert (films.n_entities, films.n_relations, len(films.train)) == (8, 3, 6)
    assert films.kinds == ["genre", "title", "person"]
    assert films.entity_ids("title").tolist() == [2, 3, 4]
    assert films.entity_ids("title").dtype == np.int64
    assert list(films.splits) == ["train", "test"]
    assert films.lookup(["tt3", "Drama", "tt1", "tt3"], "title").tolist() == [4, -1, 2, 4]
    assert films.lookup(pl.Series([], dtype=pl.String), "genre").tolist() == []


def test_a_held_out_split_without_triples_is_left_out() -> None:
    assert list(graph(validation=[], test=[(7, 1, 0)]).splits) == ["train", "test"]
    assert list(graph(train=[]).splits) == ["train"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_degrees_by_loops(split: str) -> None:
    films = graph(test=[(7, 1, 0), (5, 0, 3)])
    count = Counter(end for head, _, tail in rows_of(films.splits[split]) for end in (head, tail))
    found = films.degrees(split)
    assert found.dtype == np.int64
    assert found.tolist() == [count[entity] for entity in range(8)]


def test_statistics_by_loops() -> None:
    films = graph(test=[(7, 1, 0)])
    found = films.statistics()
    degrees = films.degrees().tolist()
    assert found.n_triples == {"train": 6, "test": 1}
    assert found.entities_by_kind == {"genre": 2, "title": 3, "person": 3}
    assert found.triples_by_relation == {"d-t": 2, "c-g": 2, "g-t": 2}
    assert (found.degree_min, found.degree_max) == (min(degrees), max(degrees))
    assert found.degree_mean == pytest.approx(statistics.mean(degrees))
    assert found.degree_median == statistics.median(degrees)
    assert found.degree_one_share == pytest.approx(degrees.count(1) / 8)
    top = sorted(range(8), key=lambda entity: (-degrees[entity], entity))
    assert [(hub.kind, hub.key, hub.degree) for hub in found.hubs] == [
        (ENTITIES[entity][2], ENTITIES[entity][0], degrees[entity]) for entity in top
    ]
    for relation, (name, _, _) in enumerate(RELATIONS):
        rows = [row for row in TRAIN if row[1] == relation]
        assert found.tails_per_head[name] == pytest.approx(len(rows) / len({head for head, _, _ in rows}))
        assert found.heads_per_tail[name] == pytest.approx(len(rows) / len({tail for _, _, tail in rows}))
    data = found.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["hubs"][0] == {"key": "Drama", "name": "Drama", "kind": "genre", "degree": 3}


def test_statistics_of_random_graphs_by_loops() -> None:
    rng = np.random.default_rng(3)
    rows = list(dict.fromkeys(map(tuple, np.stack([rng.integers(n, size=200) for n in (8, 2, 8)], axis=1).tolist())))
    found = graph(rows).statistics()
    assert len(found.hubs) == 8
    assert found.triples_by_relation["g-t"] == 0
    assert found.tails_per_head["g-t"] == found.heads_per_tail["g-t"] == 0.0
    for relation, name in enumerate(("d-t", "c-g")):
        per_head = Counter(head for head, number, _ in rows if number == relation)
        per_tail = Counter(tail for _, number, tail in rows if number == relation)
        assert found.tails_per_head[name] == pytest.approx(statistics.mean(per_head.values()))
        assert found.heads_per_tail[name] == pytest.approx(statistics.mean(per_tail.values()))


def test_statistics_of_nothing() -> None:
    found = KnowledgeGraph(entities([]), relations([]), {"train": Triples.empty()}).statistics()
    assert (found.n_entities, found.degree_max, found.degree_mean, found.hubs) == (0, 0, 0.0, ())


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Noir", None, 1),
        ("noir", None, 1),
        ("tt3", None, 4),
        ("Michael Mann", None, 5),
        ("ID:NM1", None, 5),
        ("Drama", "genre", 0),
        ("Drama", "title", 3),
        ("val kilmer", "person", 7),
    ],
)
def test_find(name: str, kind: str | None, expected: int) -> None:
    assert graph().find(name, kind) == expected


def test_find_prefers_the_key_within_a_kind() -> None:
    people = entities([("id:nm9", "Bob", "person"), ("Bob", "Bob", "person")])
    bobs = KnowledgeGraph(people, relations(), {"train": triples([(0, 0, 1)])})
    assert bobs.find("Bob", "person") == 1
    with pytest.raises(GraphError, match=r"^memory: 2 entities have the name 'Bob': person 'id:nm9', person 'Bob'; "):
        bobs.find("Bob")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Drama", None, "films: 2 entities have the name 'Drama': genre 'Drama', title 'tt2'; name kind and key"),
        ("Heat", "title", "films, kind 'title': 2 entities have the name 'Heat': title 'tt1', title 'tt3'; "),
        ("Micheal Man", None, "films: no entity has the name or key 'Micheal Man'; close names: Michael Mann"),
        ("kilmer", None, "films: no entity has the name or key 'kilmer'; close names: Val Kilmer"),
        ("Xyzzy", None, "films: no entity has the name or key 'Xyzzy'; no name comes close"),
        ("", None, "films: no entity has the name or key ''; no name comes close"),
        ("Noir", "title", "films, kind 'title': no entity has the name or key 'Noir'; no name comes close"),
        ("Noir", "label", "films: no entity is of kind 'label'; kinds: genre, title, person"),
    ],
)
def test_find_says_what_is_close_or_meant(name: str, kind: str | None, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        graph().find(name, kind)
    assert str(caught.value).startswith(message)


def test_many_of_a_name_are_not_all_listed() -> None:
    names = [(f"tt{n}", "Hamlet", "title") for n in range(8)]
    hamlets = KnowledgeGraph(entities(names), relations(), {"train": triples([(0, 0, 1)])})
    with pytest.raises(GraphError, match=r"8 entities have the name 'Hamlet': title 'tt0', .*'tt4' and 3 more; "):
        hamlets.find("Hamlet")


def test_at_most_five_close_names() -> None:
    names = [(f"k{n}", f"Alien {n}", "title") for n in range(30)]
    aliens = KnowledgeGraph(entities(names), relations(), {"train": triples([(0, 0, 1)])})
    with pytest.raises(GraphError) as caught:
        aliens.find("Alien x")
    assert str(caught.value).count("Alien ") == 6


@pytest.mark.parametrize("call", [lambda films: films.entity_ids("x"), lambda films: films.lookup(["a"], "x")])
def test_an_unknown_kind(call: object) -> None:
    with pytest.raises(GraphError, match=r"^films: no entity is of kind 'x'; kinds: genre, title, person$"):
        call(graph())  # type: ignore[operator]


def test_degrees_of_a_split_that_is_not_there() -> None:
    with pytest.raises(GraphError, match=r"^films: no split 'validation'; splits: train$"):
        graph().degrees("validation")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(0, 0, 0), (8, 0, 0)],
            "films, split 'train', row 2, field 'head': must be at least 0 and below the number of entities, 8; got 8",
        ),
        (
            [(0, 0, -1)],
            "films, split 'train', row 1, field 'tail': must be at least 0 and below the number of entities, 8; got -1",
        ),
        (
            [(0, 3, 0)],
            "films, split 'train', row 1, field 'relation': "
            "must be at least 0 and below the number of relations, 3; got 3",
        ),
    ],
)
def test_ids_out_of_range(rows: Rows, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        graph(rows)
    assert str(caught.value) == message


def test_what_is_no_graph() -> None:
    def refused(message: str, **changes: object) -> None:
        parts = {"entities": entities(), "relations": relations(), "splits": {"train": triples(TRAIN)}, "source": "s"}
        with pytest.raises(GraphError) as caught:
            KnowledgeGraph(**(parts | changes))  # type: ignore[arg-type]
        assert str(caught.value) == message

    refused("s: a knowledge graph needs the split 'train'; got []", splits={})
    refused(
        "s: a split must be one of train, validation, test; got 'valid'",
        splits={"train": triples(TRAIN), "valid": triples(TRAIN)},
    )
    got = "got key (String), name (String)"
    refused(f"s: entities need the text columns key, name, kind; {got}", entities=entities().drop("kind"))
    wide = relations().with_columns(name=pl.lit(1))
    got = "got name (Int32), head_kind (String), tail_kind (String)"
    refused(f"s: relations need the text columns name, head_kind, tail_kind; {got}", relations=wide)
    holed = entities().with_columns(name=pl.lit(None, pl.String))
    refused("s: entities must have no empty cell", entities=holed)
    twice = entities([*ENTITIES, ENTITIES[2]])
    refused("s, entities, row 9, field 'key': must be unique within its kind; got 'tt1'", entities=twice)
    refused(
        "s, entities, row 2, field 'key': must not be empty; got ''",
        entities=entities([("a", "a", "x"), (" ", "b", "x")]),
    )
    refused(
        "s, relations, row 2, field 'name': must be unique; got 'd-t'",
        relations=relations([RELATIONS[0], RELATIONS[0]]),
    )


def test_fingerprint_hears_every_change_but_of_the_source() -> None:
    films = graph()
    first = films.fingerprint()
    assert first == replace(films, source="elsewhere").fingerprint()
    held_out = [{}, {"test": [(7, 1, 0)]}, {"test": [(7, 1, 1)]}, {"validation": [(7, 1, 0)]}]
    held_out += [{"validation": [(7, 1, 0)], "test": [(7, 1, 1)]}, {"validation": [(7, 1, 1)], "test": [(7, 1, 0)]}]
    held_out += [{"validation": [(7, 1, 0), (7, 1, 1)]}]
    assert len({graph(**others).fingerprint() for others in held_out}) == len(held_out)
    backwards = dict(reversed(graph(**held_out[4]).splits.items()))
    assert replace(films, splits=backwards).fingerprint() == graph(**held_out[4]).fingerprint()
    assert len(first) == 16
    assert graph(TRAIN[::-1]).fingerprint() != first
    assert graph(TRAIN[:-1]).fingerprint() != first
    renamed = entities([*ENTITIES[:-1], ("Val Kilmer", "V. Kilmer", "person")])
    assert KnowledgeGraph(renamed, relations(), films.splits).fingerprint() != first
    others = relations([*RELATIONS[:-1], ("g-f", "genre", "title")])
    assert KnowledgeGraph(entities(), others, films.splits).fingerprint() != first


# ---------------------------------------------------------------- on disk


def test_a_graphs_own_graph_json_is_known(tmp_path: Path) -> None:
    graph().save(tmp_path / "kg")
    path = tmp_path / "kg" / "graph.json"
    assert is_head_file(path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"version": 99}))
    assert is_head_file(path)
    for text in (json.dumps(data | {"format": "nodes and edges"}), "[]", "{", ""):
        path.write_text(text)
        assert not is_head_file(path)
    path.write_bytes(b"\xff")
    assert not is_head_file(path)
    assert not is_head_file(tmp_path / "kg")


def test_save_and_load_give_the_same_graph(tmp_path: Path) -> None:
    films = graph(validation=[(7, 1, 0)], test=[(7, 1, 1), (5, 0, 3)])
    films.save(tmp_path / "kg")
    again = KnowledgeGraph.load(tmp_path / "kg")
    assert again.entities.equals(films.entities)
    assert again.relations.equals(films.relations)
    assert again.source == "films"
    assert {name: rows_of(part) for name, part in again.splits.items()} == {
        name: rows_of(part) for name, part in films.splits.items()
    }
    assert again.fingerprint() == films.fingerprint()
    assert pl.read_parquet_schema(tmp_path / "kg" / "test.parquet") == dict.fromkeys(PLACES, pl.Int32)
    assert {path.name for path in (tmp_path / "kg").iterdir()} == set(FOLDER_FILES)
    graph().save(tmp_path / "kg")
    names = {"graph.json", "entities.parquet", "relations.parquet", "train.parquet"}
    assert {path.name for path in (tmp_path / "kg").iterdir()} == names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph(test=[(7, 1, 0)]).save(tmp_path / "kg")
    return tmp_path / "kg"


def load_error(folder: Path) -> str:
    with pytest.raises(GraphError) as caught:
        KnowledgeGraph.load(folder)
    return str(caught.value).replace(str(folder), "KG")


def test_a_folder_without_a_graph(tmp_path: Path) -> None:
    assert load_error(tmp_path) == "KG/graph.json: a knowledge graph cannot be read (No such file or directory)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "KG/graph.json, field 'version': must be 1; got 2"),
        ({"version": True}, "KG/graph.json, field 'version': must be 1; got True"),
        ({"format": "x"}, "KG/graph.json, field 'format': must be 'reeltag knowledge graph'; got 'x'"),
        ({"n_entities": "8"}, "KG/graph.json.n_entities: must be of type int; got '8'"),
        ({"more": 1}, "KG/graph.json: unknown setting 'more'"),
        (
            {"n_triples": {"test": 1}},
            "KG/graph.json, field 'n_triples': must name train and no split but train, validation, test; got ['test']",
        ),
        (
            {"n_triples": {"train": 6, "../x": 1}},
            "KG/graph.json, field 'n_triples': must name train and no split but train, validation, test; "
            "got ['train', '../x']",
        ),
        ({"n_entities": 9}, "KG/entities.parquet: must have 9 rows, as graph.json says; got 8"),
        ({"n_triples": {"train": 5}}, "KG/train.parquet: must have 5 rows, as graph.json says; got 6"),
        ({"n_triples": {"train": 6, "validation": 1}}, "KG/validation.parquet: cannot be read (no such file"),
    ],
)
def test_load_refuses_a_head_that_does_not_fit(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "graph.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert load_error(folder).startswith(message)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_load_refuses_what_is_no_json(folder: Path, text: str) -> None:
    (folder / "graph.json").write_text(text)
    assert load_error(folder).startswith("KG/graph.json: must be valid JSON (")


@pytest.mark.parametrize("text", ["[]", "1", "null", "{}"])
def test_load_refuses_json_of_something_else(folder: Path, text: str) -> None:
    (folder / "graph.json").write_text(text)
    assert load_error(folder).startswith("KG/graph.json, field 'format': must be 'reeltag knowledge graph'; got ")


def test_load_refuses_damaged_and_missing_tables(folder: Path) -> None:
    path = folder / "train.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert load_error(folder).startswith("KG/train.parquet: not a whole Parquet file (")
    path.unlink()
    assert load_error(folder).startswith("KG/train.parquet: cannot be read (no such file")


def test_load_refuses_other_columns_types_and_empty_cells(folder: Path) -> None:
    def replaced(frame: pl.DataFrame, name: str) -> str:
        before = (folder / name).read_bytes()
        frame.write_parquet(folder / name)
        message = load_error(folder)
        (folder / name).write_bytes(before)
        return message

    train = pl.read_parquet(folder / "train.parquet")
    assert (
        replaced(train.drop("tail"), "train.parquet")
        == "KG/train.parquet: columns must be head, relation, tail; got head, relation"
    )
    wide = train.cast(pl.Int64)
    assert replaced(wide, "train.parquet") == "KG/train.parquet, field 'head': must be of type Int32; got Int64"
    holed = train.with_columns(tail=pl.when(pl.int_range(6) != 3).then("tail"))
    assert replaced(holed, "train.parquet") == "KG/train.parquet, row 4, field 'tail': must not be empty; got nothing"
    far = train.with_columns(head=pl.when(pl.int_range(6) == 4).then(99).otherwise("head").cast(pl.Int32))
    assert replaced(far, "train.parquet") == (
        "KG/train.parquet, row 5, field 'head': must be at least 0 and below the number of entities, 8; got 99"
    )
    twice = entities([*ENTITIES[:-1], ENTITIES[0]])
    assert replaced(twice, "entities.parquet") == (
        "KG/entities.parquet, row 8, field 'key': must be unique within its kind; got 'Drama'"
    )
    blank = relations([RELATIONS[0], ("", "a", "b"), RELATIONS[1]])
    assert replaced(blank, "relations.parquet") == (
        "KG/relations.parquet, row 2, field 'name': must not be empty; got ''"
    )
    KnowledgeGraph.load(folder)
