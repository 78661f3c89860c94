"""The bundled catalogue: size, splits, and plots that do not give their film's genres away."""

from __future__ import annotations

import re
from functools import cache

import pytest

from reeltag.catalogue import SPLITS, Catalogue
from reeltag.cli.demo import _EXPLAINED, _SHOWN_FILMS
from reeltag.demo import demo_catalogue

# words that name a genre; a plot may hold none of those of its own film's genres
GIVEAWAYS = {
    "Action": "action actions",
    "Adventure": "adventure adventures adventurer adventurers adventurous",
    "Animation": "animation animated animator cartoon cartoons",
    "Biography": "biography biographies biographical biopic biopics",
    "Comedy": "comedy comedies comedian comedians comic comics comedic comical",
    "Crime": "crime crimes criminal criminals criminally",
    "Documentary": "documentary documentaries documentarian documents",
    "Drama": "drama dramas dramatic dramatist melodrama",
    "Family": "family families",
    "Fantasy": "fantasy fantasies fantastic fantastical",
    "Film-Noir": "noir film-noir",
    "History": "history histories historic historical historian historians",
    "Horror": "horror horrors horrific horrifying horrified horrible",
    "Music": "music musical musicals musician musicians",
    "Musical": "musical musicals music musician musicians",
    "Mystery": "mystery mysteries mysterious mysteriously",
    "News": "news",
    "Romance": "romance romances romantic romantically romancing",
    "Sci-Fi": "sci-fi scifi science-fiction",
    "Sport": "sport sports sporting sportsman",
    "Thriller": "thriller thrillers thrill thrills thrilling",
    "War": "war wars wartime warfare",
    "Western": "western westerns",
}


@cache
def films() -> Catalogue:
    return demo_catalogue()


def plots() -> list[tuple[str, str, list[str]]]:
    rows = zip(films().ids, films().texts("plot"), films().lists("genres"), strict=True)
    return [(title_id, plot, genres) for title_id, plot, genres in rows if plot]


def test_size() -> None:
    assert len(films()) >= 2500
    assert len(plots()) >= 400
    assert films().source.endswith("films.jsonl")


def test_fields_are_valid_and_filled() -> None:
    assert films().rejected == ()
    assert len(set(films().ids)) == len(films())
    assert all(re.fullmatch(r"tt\d{7,8}", title_id) for title_id in films().ids)
    assert all(films().texts("title"))
    assert ((films().years() >= 1890) & (films().years() <= 2030)).all()
    assert all(films().lists("genres"))
    assert sum(map(bool, films().lists("directors"))) > 0.98 * len(films())
    assert sum(map(bool, films().lists("cast"))) > 0.95 * len(films())


def test_every_genre_has_its_giveaways() -> None:
    found = {genre for genres in films().lists("genres") for genre in genres}
    assert found <= set(GIVEAWAYS)


def test_splits_are_fixed() -> None:
    counts = {split: len(films().rows_of(split)) for split in SPLITS}
    assert sum(counts.values()) == len(films())
    assert counts["train"] > 1500
    assert counts["validation"] >= 100
    assert counts["test"] >= 150


def test_films_outside_training_have_plots() -> None:
    held_out = {films().ids[row] for split in ("validation", "test") for row in films().rows_of(split)}
    assert held_out <= {title_id for title_id, _, _ in plots()}


def test_no_plot_names_a_genre_of_its_film() -> None:
    told = []
    for title_id, plot, genres in plots():
        words = set(re.findall(r"[a-z]+(?:-[a-z]+)*", plot.casefold()))
        words |= {part for word in words for part in word.split("-")}
        found = {word for genre in genres for word in GIVEAWAYS[genre].split()} & words
        if found:
            told.append(f"{title_id} ({', '.join(genres)}): {', '.join(sorted(found))}")
    assert told == []


def test_plots_are_one_or_two_sentences() -> None:
    ending = re.compile(r"[.!?…][\"'”’)]*(?=\s+[A-Z\"“‘(]|$)")
    abbreviation = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|No|Lt|Col|Gen|Sgt|Capt|Prof|[A-Z])\.")
    for title_id, plot, _ in plots():
        n_sentences = len(ending.findall(abbreviation.sub("", plot)))
        assert 1 <= n_sentences <= 2, f"{title_id}: {plot}"
        assert 8 <= len(plot.split()) <= 60, f"{title_id}: {plot}"


def test_plots_differ() -> None:
    texts = [plot for _, plot, _ in plots()]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("title_id", _SHOWN_FILMS)
def test_films_that_the_demo_shows_are_test_films(title_id: str) -> None:
    row = films().find(title_id)
    assert films().frame["split"][row] == "test"
    assert films().texts("plot")[row]


def test_film_that_the_demo_explains_is_there() -> None:
    row = films().find(_EXPLAINED)
    assert films().texts("plot")[row]
    assert films().lists("directors")[row]
