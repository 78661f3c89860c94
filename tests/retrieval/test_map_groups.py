"""Groups of a map: one per title, from the sub-genres of one genre or of all."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from reeltag.errors import FeatureError, LabelError
from reeltag.retrieval import Genre, Groups, Subgenre, SubgenreConfig, Subgenres, subgenre_groups
from reeltag.retrieval.subgenre_results import MEMBERS


def subgenre(title: str, name: str) -> Subgenre:
    return Subgenre(id=title, name=name, n_titles=2, words=(), named_by="", central=(), labels=())


def genre(name: str, n_titles: int, *subgenres: Subgenre) -> Genre:
    return Genre(
        genre=name,
        n_titles=n_titles,
        n_predicted=0,
        n_outside=0,
        subgenres=subgenres,
        silhouette=None,
        stability=None,
        numbered=len(subgenres),
    )


@pytest.fixture
def found() -> Subgenres:
    members = [
        ("a", "Drama", "Drama/1"),
        ("b", "Drama", "Drama/2"),
        ("c", "Drama", "Drama/1"),
        ("d", "Drama", ""),
        ("b", "Horror", "Horror/1"),
        ("c", "Horror", ""),
        ("gone", "Horror", "Horror/2"),
    ]
    return Subgenres(
        genres=(
            genre("Drama", 4, subgenre("Drama/1", "court"), subgenre("Drama/2", "war, letters")),
            genre("Horror", 3, subgenre("Horror/1", "castle"), subgenre("Horror/2", "school")),
            genre("Western", 1),
        ),
        members=pl.DataFrame(members, schema=MEMBERS, orient="row"),
        centres={},
        config=SubgenreConfig(),
        label_field="genres",
        source="films",
        word_fields=(),
        read=(),
    )


def test_of_one_genre_every_title_has_its_subgenre(found: Subgenres) -> None:
    groups = subgenre_groups(found, ["d", "c", "b", "a", "new"], "Drama")
    assert groups.names == ("court", "war, letters")
    assert groups.of.tolist() == [-1, 0, 1, 0, -1]


def test_of_all_genres_the_one_with_the_fewest_titles_goes_first(found: Subgenres) -> None:
    groups = subgenre_groups(found, ["a", "b", "c", "d"])
    assert groups.names == ("Drama: court", "Drama: war, letters", "Horror: castle", "Horror: school")
    assert groups.of.tolist() == [0, 2, 0, -1]


def test_a_genre_without_subgenres_gives_no_groups(found: Subgenres) -> None:
    groups = subgenre_groups(found, ["a"], "Western")
    assert (groups.names, groups.of.tolist()) == ((), [-1])


def test_an_unknown_genre_is_named(found: Subgenres) -> None:
    with pytest.raises(LabelError, match="there are no sub-genres of 'Musical'; of: Drama, Horror, Western"):
        subgenre_groups(found, ["a"], "Musical")


def test_groups_need_names() -> None:
    with pytest.raises(FeatureError, match=r"Groups\.of must hold numbers from -1 to 0; got 0 to 1"):
        Groups(names=("one",), of=np.array([0, 1]))
    assert Groups(names=(), of=np.zeros(0, np.int64)).names == ()
