"""Titles like others."""

from __future__ import annotations

import numpy as np
import pytest

from reeltag.errors import CatalogueError, ConfigError, FeatureError, LabelError
from reeltag.retrieval import IndexConfig, Query, Space, TitleIndex, Wanted, similar
from reeltag.retrieval.space import unit_rows
from samples import catalogue, fitted, rows, sample

from .points import space_of

ANGLES = (0, 10, 20, 40, 80, 120)


def fan() -> Space:
    """Return six titles at rising angles from the first."""
    turns = np.deg2rad(ANGLES)
    return space_of(
        np.stack([np.cos(turns), np.sin(turns)], axis=1),
        labels=[["Drama", "Crime"], ["Drama"], ["Crime", "War"], ["Drama", "Crime"], ["War"], []],
        words=[["heist", "rain"], ["rain"], ["heist", "rain"], ["love"], ["rain"], []],
        years=[1990, 1991, 1995, 1999, 2000, None],
        known=[True, True, False, True, True, False],
    )


def ids(found: tuple[object, ...]) -> list[str]:
    return [hit.id for hit in found]  # type: ignore[attr-defined]


def test_the_nearest_come_first_and_the_title_itself_never() -> None:
    found = similar(fan(), "t0000", 10)
    assert ids(found) == ["t0001", "t0002", "t0003", "t0004", "t0005"]
    np.testing.assert_allclose([hit.similarity for hit in found], np.cos(np.deg2rad(ANGLES[1:])), atol=1e-6)
    assert (found[0].title, found[0].year, found[0].labels, found[0].known) == ("Film t0001", 1991, ("Drama",), True)
    assert [hit.known for hit in found] == [True, False, True, True, False]


def test_what_is_shared_comes_rarest_first() -> None:
    found = {hit.id: hit for hit in similar(fan(), "t0000", 10)}
    assert found["t0003"].shared_labels == ("Crime", "Drama")  # three each: by name
    assert found["t0002"].shared_words == ("heist", "rain")  # two titles against four
    assert found["t0004"].shared_labels == ()
    assert found["t0005"].shared_words == ()


def test_rarity_is_counted_in_the_searched_titles() -> None:
    space = fan()
    query = Query(vector=space.vectors[0], labels=frozenset({"War", "Drama"}), words=frozenset({"unheard"}))
    hits = {hit.id: hit for hit in similar(space.take([0, 1, 2, 3]), query, 4)}
    assert hits["t0002"].shared_labels == ("War",)
    assert "t0000" in hits  # a bare query excludes nothing


def test_several_titles_are_averaged() -> None:
    space = fan()
    query = Query.of(space, ["t0000", "t0003", "t0000"])
    mean = unit_rows(space.vectors[[0, 3]].mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(query.vector, mean, atol=1e-6)
    assert query.ids == ("t0000", "t0003")
    assert query.words == {"heist", "rain", "love"}
    found = similar(space, ["t0000", "t0003"], 10)
    assert ids(found) == ["t0002", "t0001", "t0004", "t0005"]
    assert found[0].shared_words == ("heist", "rain")


def test_a_vector_is_a_query() -> None:
    found = similar(fan(), np.array([0.0, 5.0], np.float32), 1)
    assert ids(found) == ["t0004"]
    assert found[0].similarity == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-6)
    assert (found[0].shared_labels, found[0].shared_words) == ((), ())


@pytest.mark.parametrize(
    ("wanted", "right"),
    [
        (Wanted(years=(1991, 1995)), ["t0001", "t0002"]),
        (Wanted(years=(1995, None)), ["t0002", "t0003", "t0004"]),
        (Wanted(years=(None, 1991)), ["t0001"]),
        (Wanted(years=(None, None)), ["t0001", "t0002", "t0003", "t0004"]),
        (Wanted(labels=("drama",)), ["t0001", "t0003"]),
        (Wanted(labels=("Crime", "Drama")), ["t0003"]),
        (Wanted(known_only=True), ["t0001", "t0003", "t0004"]),
        (Wanted(exclude=("t0001", "absent")), ["t0002", "t0003", "t0004", "t0005"]),
        (Wanted(years=(1800, 1801)), []),
    ],
)
def test_filters(wanted: Wanted, right: list[str]) -> None:
    assert ids(similar(fan(), "t0000", 10, wanted=wanted)) == right


def test_an_index_gives_the_same() -> None:
    random = np.random.default_rng(0)
    space = space_of(random.normal(size=(300, 8)), years=[1950 + row % 50 for row in range(300)])
    index = TitleIndex(IndexConfig(exact_up_to=20, probes=1.0)).build(space.ids, space.vectors)
    assert not index.is_exact
    wanted = Wanted(years=(1960, 1990))
    assert ids(similar(space, "t0007", 9, wanted=wanted, index=index)) == ids(similar(space, "t0007", 9, wanted=wanted))


def test_titles_of_which_nothing_is_known_are_neither_found_nor_asked_about() -> None:
    space = space_of(np.array([[1, 0], [0, 0], [0, 1]]))
    assert ids(similar(space, "t0000", 5)) == ["t0002"]
    with pytest.raises(CatalogueError, match="nothing is known of t0001 that titles could be like"):
        similar(space, "t0001")


def test_a_title_of_another_catalogue_is_asked_about() -> None:
    tagger = fitted()
    space = Space.of(tagger, sample())
    new = Space.of(tagger, catalogue([rows()[4] | {"id": "new"}]))
    found = {hit.id: hit for hit in similar(space, Query.of(new, "new"), 130)}
    assert len(found) == 130
    copy = found[rows()[4]["id"]]
    assert copy.similarity > 0.8  # but for its credits, which a title of the graph is left out of
    assert set(copy.shared_words) == {*rows()[4]["moods"], *rows()[4]["keywords"]}


def test_json_values_are_plain() -> None:
    told = similar(fan(), "t0000", 1)[0].to_json()
    assert told == {
        "id": "t0001", "title": "Film t0001", "year": 1991, "labels": ["Drama"], "known": True,
        "similarity": told["similarity"], "shared_labels": ["Drama"], "shared_words": ["rain"],
    }  # fmt: skip


def test_a_label_is_meant_in_any_case_where_it_leaves_no_doubt() -> None:
    space = space_of(np.eye(3), labels=[["War"], ["war"], ["Drama"]])
    assert ids(similar(space, "t0002", wanted=Wanted(labels=("war",)))) == ["t0001"]
    with pytest.raises(LabelError, match="no title has the label 'WAR'; labels: Drama, War, war"):
        similar(space, "t0002", wanted=Wanted(labels=("WAR",)))


def test_mistakes_are_named() -> None:
    space = fan()
    with pytest.raises(CatalogueError, match=r"did you mean t0003: Film t0003 \(1999\)\?"):
        similar(space, "film T0003")
    with pytest.raises(CatalogueError, match="a query needs at least one id"):
        similar(space, [])
    with pytest.raises(LabelError, match="points: no title has the label 'Noir'; labels: Crime, Drama, War"):
        similar(space, "t0000", wanted=Wanted(labels=("Noir",)))
    with pytest.raises(ConfigError, match=r"Wanted.years must rise; got 1999 to 1990"):
        Wanted(years=(1999, 1990))
    with pytest.raises(ConfigError, match=r"similar.n must be between 1"):
        similar(space, "t0000", 0)
    with pytest.raises(FeatureError, match=r"a query must be of shape \(2,\); got \(3,\)"):
        similar(space, np.ones(3, np.float32))
    with pytest.raises(FeatureError, match="finite numbers, not all of them 0"):
        similar(space, np.zeros(2, np.float32))
    other = TitleIndex().build(space.ids[::-1], space.vectors)
    with pytest.raises(FeatureError, match="the index must be of the titles of the space, in the same order"):
        similar(space, "t0000", index=other)


def test_many_labels_are_not_all_listed() -> None:
    space = space_of(np.eye(2), labels=[[f"tag{n:02}" for n in range(40)], []])
    with pytest.raises(LabelError, match=r"tag29 and 10 more$"):
        similar(space, "t0000", wanted=Wanted(labels=("none",)))
