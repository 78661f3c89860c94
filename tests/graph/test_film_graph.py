"""The graph of a film catalogue: against loops over films and pairs, and that no held-out film reaches it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.errors import CatalogueError, ConfigError, GraphError
from reeltag.graph import film_graph as module
from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
from reeltag.graph.triples import KnowledgeGraph

SHARED = Path(os.environ.get("REELTAG_SHARED") or Path(__file__).parents[2].parent / "shared")
LISTS = ("directors", "director_ids", "cast", "cast_ids", "genres", "tags", "keywords", "mood")
End = tuple[str, str]  # kind and key
Link = tuple[End, str, End]


def catalogue(films: list[dict[str, Any]]) -> Catalogue:
    columns: dict[str, Any] = {}
    for field in ("id", "title", "split", *LISTS):
        if any(field in film for film in films) or field == "id":
            dtype = pl.List(pl.String) if field in LISTS else pl.String
            columns[field] = pl.Series(field, [film.get(field) for film in films], dtype=dtype)
    return Catalogue.from_frame(pl.DataFrame(columns), source="films.csv")


def random_films(n: int, seed: int = 0, n_people: int = 15) -> Catalogue:
    rng = np.random.default_rng(seed)

    def some(prefix: str, n_words: int, most: int) -> list[str] | None:
        drawn = [f"{prefix}{word}" for word in rng.integers(n_words, size=rng.integers(0, most + 1))]
        return drawn or [None, []][rng.integers(2)]

    splits = rng.choice(["train", "train", "validation", "test", "background", None], size=n).tolist()
    return catalogue(
        [
            {
                "id": f"tt{row}",
                "title": None if row % 3 == 0 else f"Title {row % 4}",
                "split": "train" if row == 0 else splits[row],
                "directors": some("p", n_people, 2),
                "cast": ["p0", "p1"] if row == 0 else some("p", n_people, 5),
                "genres": ["g0"] if row == 0 else some("g", 4, 3),
                "tags": some("x", 4, 2),
                "mood": some("m", 3, 1),
            }
            for row in range(n)
        ]
    )


# ---------------------------------------------------------------- the same, slowly


def credited(film: dict[str, Any], role: str) -> list[str]:
    names = film.get(role) or []
    ids = film.get(f"{role.removesuffix('s')}_ids") or [None] * len(names)
    keys = [f"id:{person}" if person else name for name, person in zip(names, ids, strict=True) if name is not None]
    return list(dict.fromkeys(keys))


def slow_ends(film: dict[str, Any], config: FilmGraphConfig) -> dict[str, list[End]]:
    """Return the entities of one film by the letters of the paper."""
    kinds = ("person", "person") if config.one_person else ("director", "cast")
    ends = {
        "d": [(kinds[0], key) for key in credited(film, "directors")],
        "c": [(kinds[1], key) for key in credited(film, "cast")],
    }
    if config.titles:
        ends["t"] = [("title", film["id"])]
    for field in config.label_fields:
        kind = {"genres": "genre", "tags": "tag", "keywords": "keyword"}.get(field, field)
        words = dict.fromkeys(word.strip() for word in film.get(field) or [] if word and word.strip())
        ends["g" if kind == "genre" else kind] = [(kind, word) for word in words]
    return ends


def slow_relations(config: FilmGraphConfig) -> list[tuple[str, str]]:
    kinds = {"genres": "g", "tags": "tag", "keywords": "keyword"}
    labels = [kinds.get(field, field) for field in config.label_fields]
    titles = [(part, "t") for part in ["d", "c", *labels]] if config.titles else []
    return [*titles, ("d", "c"), *((role, label) for label in labels for role in ("d", "c"))]


def slow_links(films: list[dict[str, Any]], config: FilmGraphConfig) -> list[Link]:
    links: dict[Link, None] = {}
    all_ends = [slow_ends(film, config) for film in films]
    for head, tail in slow_relations(config):
        for ends in all_ends:
            for left, right in product(ends.get(head, []), ends.get(tail, [])):
                if left != right:
                    links[left, f"{head}-{tail}", right] = None
    return list(links)


def slow_graph(films: Catalogue, config: FilmGraphConfig) -> tuple[list[End], dict[str, list[Link]]]:
    """Return entities in order and links per split."""
    rows = films.frame.to_dicts()
    graph = [row for row in rows if row.get("split") in (("train", "background") if config.background else ("train",))]
    labels = [part for part in slow_ends(rows[0], config) if part not in "dct"]
    n_films = Counter(end for film in graph for part in labels for end in slow_ends(film, config)[part])
    rare = {end for end, n in n_films.items() if n < config.min_label_films}
    links = [link for link in slow_links(graph, config) if not rare & {link[0], link[2]}]
    linked = {end for link in links for end in (link[0], link[2])}
    order: list[End] = []
    for part in labels:
        order += [end for film in graph for end in slow_ends(film, config)[part]]
    order += [end for film in graph for end in slow_ends(film, config).get("t", [])]
    if config.one_person:
        order += [end for film in graph for part in "dc" for end in slow_ends(film, config)[part]]
    else:
        order += [end for part in "dc" for film in graph for end in slow_ends(film, config)[part]]
    entities = [end for end in dict.fromkeys(order) if end in linked]
    splits = {"train": links}
    for split in ("validation", "test"):
        found = slow_links([row for row in rows if row.get("split") == split], config)
        known = [link for link in found if {link[0], link[2]} <= set(entities) and link not in set(links)]
        if known:
            splits[split] = known
    return entities, splits


def fast_graph(graph: KnowledgeGraph) -> tuple[list[End], dict[str, list[Link]]]:
    entities = list(graph.entities.select("kind", "key").iter_rows())
    names = graph.relations["name"].to_list()
    splits = {
        split: [
            (entities[head], names[relation], entities[tail])
            for head, relation, tail in zip(part.head, part.relation, part.tail, strict=True)
        ]
        for split, part in graph.splits.items()
    }
    return entities, splits


def check(films: Catalogue, config: FilmGraphConfig) -> KnowledgeGraph:
    graph = build_film_graph(films, config)
    assert fast_graph(graph) == slow_graph(films, config)
    kinds = graph.entities["kind"].to_list()
    for part in graph.splits.values():
        for head, relation, tail in zip(part.head, part.relation, part.tail, strict=True):
            assert (kinds[head], kinds[tail]) == graph.relations.row(relation)[1:]
    return graph


CONFIGS = [
    FilmGraphConfig(),
    FilmGraphConfig(one_person=False),
    FilmGraphConfig(background=True),
    FilmGraphConfig(titles=False),
    FilmGraphConfig(titles=False, one_person=False, min_label_films=5),
    FilmGraphConfig(min_label_films=7, background=True),
    FilmGraphConfig(label_fields=("genres", "tags", "mood")),
    FilmGraphConfig(label_fields=("mood", "genres"), one_person=False, background=True),
    FilmGraphConfig(label_fields=("keywords",)),
    FilmGraphConfig(label_fields=()),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_graph_is_that_of_the_loops(config: FilmGraphConfig, seed: int) -> None:
    check(random_films(60, seed), config)


@pytest.mark.parametrize("config", CONFIGS[:4], ids=str)
@pytest.mark.parametrize(("films_at_once", "pairs_at_once"), [(1, 1), (7, 3), (1_000, 1)])
def test_chunks_do_not_show(
    config: FilmGraphConfig, films_at_once: int, pairs_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FILMS_AT_ONCE", films_at_once)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", pairs_at_once)
    check(random_films(60, 2), config)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(1, 8), st.booleans(), st.integers(0, 2**31))
def test_any_catalogue_gives_the_graph_of_the_loops(n: int, n_people: int, one_person: bool, seed: int) -> None:
    check(random_films(n, seed, n_people), FilmGraphConfig(one_person=one_person, background=seed % 2 == 0))


# ---------------------------------------------------------------- by hand


HEAT = {
    "id": "tt1",
    "title": "Heat",
    "split": "train",
    "directors": ["Michael Mann"],
    "cast": ["Al Pacino", "Robert De Niro", "Al Pacino"],
    "genres": ["Crime", " Drama ", "Crime", ""],
}


def test_one_film_gives_the_six_relations_of_the_paper() -> None:
    graph = build_film_graph(catalogue([HEAT]))
    assert list(graph.relations.iter_rows()) == [
        ("d-t", "person", "title"),
        ("c-t", "person", "title"),
        ("g-t", "genre", "title"),
        ("d-c", "person", "person"),
        ("d-g", "person", "genre"),
        ("c-g", "person", "genre"),
    ]
    assert list(graph.entities.iter_rows()) == [
        ("Crime", "Crime", "genre"),
        ("Drama", "Drama", "genre"),
        ("tt1", "Heat", "title"),
        ("Michael Mann", "Michael Mann", "person"),
        ("Al Pacino", "Al Pacino", "person"),
        ("Robert De Niro", "Robert De Niro", "person"),
    ]
    assert graph.train.frame().rows() == [
        (3, 0, 2),
        (4, 1, 2),
        (5, 1, 2),
        (0, 2, 2),
        (1, 2, 2),
        (3, 3, 4),
        (3, 3, 5),
        (3, 4, 0),
        (3, 4, 1),
        (4, 5, 0),
        (4, 5, 1),
        (5, 5, 0),
        (5, 5, 1),
    ]
    assert graph.source == "films.csv, films of train"


def test_a_director_in_the_cast_is_not_linked_to_themself() -> None:
    unforgiven = {"id": "tt2", "split": "train", "directors": ["Clint"], "cast": ["Clint", "Gene"]}
    _, splits = fast_graph(build_film_graph(catalogue([unforgiven]), FilmGraphConfig(titles=False)))
    assert splits == {"train": [(("person", "Clint"), "d-c", ("person", "Gene"))]}
    graph = build_film_graph(catalogue([unforgiven]), FilmGraphConfig(titles=False, one_person=False))
    assert fast_graph(graph)[1]["train"] == [
        (("director", "Clint"), "d-c", ("cast", "Clint")),
        (("director", "Clint"), "d-c", ("cast", "Gene")),
    ]


def test_other_label_fields_have_relations_of_their_own() -> None:
    film = HEAT | {"tags": ["noir"], "keywords": ["heist"], "mood": ["cold"]}
    config = FilmGraphConfig(label_fields=("tags", "genres", "keywords", "mood"))
    graph = build_film_graph(catalogue([film]), config)
    assert graph.relations["name"].to_list() == [
        *("d-t", "c-t", "tag-t", "g-t", "keyword-t", "mood-t", "d-c"),
        *("d-tag", "c-tag", "d-g", "c-g", "d-keyword", "c-keyword", "d-mood", "c-mood"),
    ]
    assert graph.kinds == ["tag", "genre", "keyword", "mood", "title", "person"]


def test_a_field_with_a_dash_in_its_name() -> None:
    frame = catalogue([HEAT]).frame.rename({"genres": "house-tags"})
    config = FilmGraphConfig(label_fields=("house-tags",))
    _, splits = fast_graph(build_film_graph(Catalogue.from_frame(frame), config))
    assert (("person", "Michael Mann"), "d-house-tags", ("house-tags", "Drama")) in splits["train"]


@pytest.mark.parametrize("one_person", [True, False])
def test_people_with_ids_keep_the_name_they_first_appear_under(one_person: bool) -> None:
    first = {
        "directors": ["A. Smith"],
        "director_ids": ["nm1"],
        "cast": ["B", None, "C"],
        "cast_ids": [None, "nm7", "nm3"],
    }
    then = {"directors": ["Smith"], "director_ids": ["nm1"], "cast": ["D", "B"], "cast_ids": ["nm4", None]}
    films = catalogue([{"id": "a", "split": "train"} | first, {"id": "b", "split": "train"} | then])
    graph = check(films, FilmGraphConfig(one_person=one_person))
    people = graph.entities.filter(pl.col("kind") != "title").select("key", "name").rows()
    assert people == [("id:nm1", "A. Smith"), ("B", "B"), ("id:nm3", "C"), ("id:nm4", "D")]
    kind = "person" if one_person else "cast"
    assert graph.find("D", kind) == graph.lookup(films.people("cast")[1], kind)[2]


def test_a_title_without_a_name_is_called_by_its_id() -> None:
    films = [HEAT | {"id": "a", "title": None}, HEAT | {"id": "b"}]
    titles = build_film_graph(catalogue(films)).entities.filter(kind="title")
    assert titles.select("key", "name").rows() == [("a", "a"), ("b", "Heat")]
    bare = Catalogue.from_frame(catalogue([HEAT]).frame.drop("title"))
    assert build_film_graph(bare).entities.filter(kind="title").row(0) == ("tt1", "tt1", "title")


def test_what_has_no_link_is_left_out() -> None:
    lonely = {"id": "tt9", "split": "train", "genres": []}
    unlabelled = {"id": "tt8", "split": "train", "cast": ["Nobody Else"]}
    graph = build_film_graph(catalogue([HEAT, lonely, unlabelled]), FilmGraphConfig(titles=False))
    assert "Nobody Else" not in graph.entities["key"].to_list()
    assert graph.degrees().min() > 0
    graph = build_film_graph(catalogue([HEAT, lonely, unlabelled]))
    assert "Nobody Else" in graph.entities["key"].to_list()
    assert graph.entities.filter(kind="title")["key"].to_list() == ["tt1", "tt8"]
    assert graph.degrees().min() > 0


def test_rare_labels_are_left_out() -> None:
    films = [HEAT, HEAT | {"id": "tt2", "genres": ["Drama"]}, HEAT | {"id": "tt3", "split": "test"}]
    graph = build_film_graph(catalogue(films), FilmGraphConfig(min_label_films=2))
    assert graph.entities.filter(kind="genre")["key"].to_list() == ["Drama"]
    assert list(graph.splits) == ["train"]


# ---------------------------------------------------------------- leaks


def leaky() -> list[dict[str, Any]]:
    known = {"directors": ["Michael Mann"], "cast": ["New Face", "Robert De Niro"], "genres": ["Crime", "Western"]}
    other = {"directors": ["Al Pacino"], "cast": ["Al Pacino", "Robert De Niro"], "genres": ["Drama"]}
    return [
        {"id": "v", "title": "V", "split": "validation"} | other,
        HEAT,
        {"id": "t", "title": "T", "split": "test"} | known,
        {"id": "b", "title": "B", "split": "background", "directors": ["Extra"], "cast": ["New Face"]},
        {"id": "n", "title": "N", "directors": ["Nobody"], "cast": ["Nobody Too"], "genres": ["None"]},
    ]


def learnt_from(graph: KnowledgeGraph) -> KnowledgeGraph:
    """Return the graph without the held-out links that it is measured by."""
    return replace(graph, splits={"train": graph.train})


def test_held_out_films_reach_neither_entities_nor_training_triples() -> None:
    films = catalogue(leaky())
    graph = build_film_graph(films)
    alone = build_film_graph(films.take(films.rows_of("train")))
    assert learnt_from(graph).fingerprint() == alone.fingerprint()
    assert not set(graph.entities["key"]) & {"v", "t", "b", "n", "New Face", "Western", "Extra", "Nobody", "None"}
    assert list(alone.splits) == ["train"]


def test_held_out_splits_hold_new_links_between_known_entities() -> None:
    _, splits = fast_graph(build_film_graph(catalogue(leaky())))
    pacino, niro = ("person", "Al Pacino"), ("person", "Robert De Niro")
    assert splits["validation"] == [(pacino, "d-c", niro), (pacino, "d-g", ("genre", "Drama"))]
    assert "test" not in splits


def test_background_films_feed_the_graph_by_choice() -> None:
    graph = build_film_graph(catalogue(leaky()), FilmGraphConfig(background=True))
    entities, splits = fast_graph(graph)
    extra, face, mann = ("person", "Extra"), ("person", "New Face"), ("person", "Michael Mann")
    assert [link for link in splits["train"] if extra in link] == [
        (extra, "d-t", ("title", "b")),
        (extra, "d-c", face),
    ]
    assert splits["test"] == [(mann, "d-c", face), (face, "c-g", ("genre", "Crime"))]
    assert ("title", "n") not in entities
    assert graph.source == "films.csv, films of train and background"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("seed", [3, 4])
def test_what_held_out_films_say_changes_nothing(config: FilmGraphConfig, seed: int) -> None:
    films = random_films(60, seed)
    graph = build_film_graph(films, config)
    held_out = pl.col("split").is_in(["validation", "test"])
    shuffled = films.frame.with_columns(
        pl.when(held_out).then(pl.lit(["p1", "g1", "x1", "unheard of"])).otherwise(name).alias(name)
        for name in ("directors", "cast", "genres", "tags", "mood")
    )
    found = build_film_graph(Catalogue.from_frame(shuffled), config)
    assert learnt_from(found).fingerprint() == learnt_from(graph).fingerprint()
    ids = set(films.frame.filter(held_out)["id"])
    assert not ids & set(graph.entities["key"])
    train = set(fast_graph(graph)[1]["train"])
    for split in ("validation", "test"):
        found = fast_graph(graph)[1].get(split, [])
        assert not train & set(found)
        assert len(set(found)) == len(found)
        assert not any(relation.endswith("-t") for _, relation, _ in found)


def test_held_out_splits_are_a_choice() -> None:
    films = random_films(60)
    both = build_film_graph(films)
    one = build_film_graph(films, held_out=("test",))
    assert list(one.splits) == ["train", "test"]
    assert fast_graph(one)[1]["test"] == fast_graph(both)[1]["test"]
    assert list(build_film_graph(films, held_out=()).splits) == ["train"]


# ---------------------------------------------------------------- refusals


def test_films_without_a_training_split() -> None:
    message = r"^films.csv: a knowledge graph needs films of the split 'train'; got none: assign splits first$"
    for film in ({"id": "a", "cast": ["x"]}, HEAT | {"split": "test"}):
        with pytest.raises(GraphError, match=message):
            build_film_graph(catalogue([film]), FilmGraphConfig(background=True))


def test_training_films_without_a_link() -> None:
    message = r"^films.csv: the films of the split 'train' give no link; they need people or labels$"
    with pytest.raises(GraphError, match=message):
        build_film_graph(catalogue([{"id": "a", "split": "train"}, HEAT | {"split": "test"}]))


@pytest.mark.parametrize("split", ["train", "background", "dev"])
def test_an_unknown_held_out_split(split: str) -> None:
    with pytest.raises(GraphError, match=rf"^a held-out split must be one of validation, test; got '{split}'$"):
        build_film_graph(catalogue([HEAT]), held_out=(split,))


def test_a_label_field_that_is_no_list() -> None:
    with pytest.raises(CatalogueError, match="no column 'house' of type List"):
        build_film_graph(catalogue([HEAT]), FilmGraphConfig(label_fields=("house",)))
    with pytest.raises(CatalogueError, match=r"column 'plot' must have type List|no column 'plot'"):
        build_film_graph(catalogue([HEAT]), FilmGraphConfig(label_fields=("plot",)))


@pytest.mark.parametrize("field", ["directors", "cast", "cast_ids", "person", "title", "d", "t", "g", "genre", "tag"])
def test_a_label_field_whose_name_is_taken(field: str) -> None:
    message = f"FilmGraphConfig.label_fields must not name '{field}': the graph uses that name"
    with pytest.raises(ConfigError) as caught:
        FilmGraphConfig(label_fields=("genres", field))
    assert str(caught.value) == message


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"^FilmGraphConfig.label_fields must name every field once; got a, b, a$"):
        FilmGraphConfig(label_fields=("a", "b", "a"))
    with pytest.raises(ConfigError, match=r"^FilmGraphConfig.min_label_films must be between 1 and 1e\+09; got 0$"):
        FilmGraphConfig(min_label_films=0)


def test_settings_go_to_json_and_back() -> None:
    config = FilmGraphConfig(label_fields=("tags", "mood"), one_person=False, background=True, min_label_films=3)
    assert from_json(FilmGraphConfig, to_json(config)) == config


# ---------------------------------------------------------------- size


def test_twenty_thousand_films() -> None:
    n = 20_000
    rng = np.random.default_rng(0)

    def words(prefix: str, n_words: int, per_film: int) -> pl.Series:
        flat = pl.Series(prefix, rng.integers(n_words, size=n * per_film)).cast(pl.String)
        return (prefix + flat).reshape((n, per_film)).arr.to_list()

    frame = pl.DataFrame(
        {
            "id": [f"tt{row}" for row in range(n)],
            "directors": words("p", 20_000, 1),
            "cast": words("p", 20_000, 9),
            "genres": words("g", 28, 3),
            "split": ["test" if row % 10 == 0 else "train" for row in range(n)],
        }
    )
    graph = build_film_graph(Catalogue.from_frame(frame))
    counts = graph.statistics().triples_by_relation
    assert graph.entities.filter(kind="title").height == counts["d-t"] == n * 9 // 10
    train = frame.filter(split="train")
    pairs = train.explode("genres").explode("cast")
    assert counts["c-g"] == pairs.select("genres", "cast").n_unique()
    pairs = train.explode("directors").explode("cast").filter(pl.col("directors") != pl.col("cast"))
    assert counts["d-c"] == pairs.select("directors", "cast").n_unique()
    assert counts["c-t"] == train.explode("cast").select("id", "cast").n_unique()
    assert len(graph.splits["test"]) > 0


def test_the_shared_films_leak_nothing() -> None:
    path = SHARED / "data" / "films.parquet"
    if not path.is_file():
        pytest.skip("the shared data is not there (set REELTAG_SHARED)")
    films = Catalogue.from_frame(
        pl.read_parquet(path, columns=["imdb_id", "title", "directors", "cast", "genres", "split"]).rename(
            {"imdb_id": "id"}
        )
    )
    graph = build_film_graph(films)
    train = films.take(films.rows_of("train"))
    assert learnt_from(graph).fingerprint() == build_film_graph(replace(train, source="train")).fingerprint()
    assert set(graph.entities.filter(kind="title")["key"]) <= set(train.ids)
    assert len(graph.entity_ids("person")) == 68_290
    assert len(graph.train) == 576_623
