"""``reeltag similar``."""

from __future__ import annotations

import pytest

from reeltag.cli.similar import years_of
from reeltag.errors import ConfigError
from reeltag.retrieval import Space, Wanted, similar
from samples import fitted, rows, sample

from .runner import Commands

TRAINED = [row["id"] for row in rows() if row["split"] == "train"]


@pytest.fixture
def trained(reeltag: Commands) -> Commands:
    reeltag.tagger()
    return reeltag


def ids(commands: Commands, *words: object) -> list[str]:
    return [hit["id"] for hit in commands("similar", "tagger", *words, "--json").json["titles"]]


def test_training_titles_are_searched_without_a_catalogue(trained: Commands) -> None:
    right = similar(Space.trained(fitted()), TRAINED[0], 4)
    assert ids(trained, TRAINED[0], "--n", 4) == [hit.id for hit in right]


def test_text(trained: Commands) -> None:
    result = trained("similar", "tagger", "t001", "--catalogue", "films.jsonl", "--n", 3)
    assert result.code == 0
    first = similar(Space.of(fitted(), sample()), "t001", 1)[0]
    assert "Titles like Curse secret 1 (1966)" in result.out
    for words in ("similarity", "shared, rarest first", f"{first.title} ({first.year})", first.id,
                  f"{first.similarity:.3f}", first.shared_labels[0]):  # fmt: skip
        assert words in result.out, words
    assert "no more than" not in result.out


def test_predicted_labels_are_marked(trained: Commands) -> None:
    trained.catalogue("new.jsonl", [row | {"genres": []} for row in rows()])
    assert "(predicted)" in trained("similar", "tagger", "t001", "--catalogue", "new.jsonl").out


def test_filters(trained: Commands) -> None:
    space = Space.of(fitted(), sample())
    where = ("--catalogue", "films.jsonl")
    wanted = Wanted(years=(1960, 1965), labels=("Horror",), exclude=("t005",))
    right = [hit.id for hit in similar(space, "t001", 5, wanted=wanted)]
    assert (
        ids(trained, "t001", *where, "--n", 5, "--year", "1960-1965", "--label", "horror", "--exclude", "t005") == right
    )
    both = ids(trained, "t001", *where, "--n", 99, "--label", "Horror", "--label", "Western")
    assert set(both) == {row["id"] for row in rows() if {"Horror", "Western"} <= set(row["genres"])} - {"t001"}
    result = trained("similar", "tagger", "t001", *where, "--year", "1900", "--n", 2)
    assert result.out.endswith("no more than 0 titles may be found\n")


def test_an_index_gives_what_its_catalogue_gives(trained: Commands) -> None:
    trained("index", "tagger", "films.jsonl", "--out", "idx", "--exact-up-to", 20)
    data = trained("similar", "tagger", "t001", "t005", "--index", "idx", "--n", 4, "--json").json
    assert (data["ids"], data["source"], data["n_titles"]) == (["t001", "t005"], "films.jsonl", 130)
    assert [hit["id"] for hit in data["titles"]] == ids(trained, "t001", "t005", "--catalogue", "films.jsonl", "--n", 4)
    assert set(data["titles"][0]) == {
        "id", "title", "year", "labels", "known", "similarity", "shared_labels", "shared_words",
    }  # fmt: skip


def test_a_title_of_another_catalogue_is_asked_about(trained: Commands) -> None:
    trained.catalogue("new.jsonl", [rows()[1] | {"id": "fresh", "title": "Fresh"}, rows()[2]])
    result = trained("similar", "tagger", "fresh", "--from", "new.jsonl", "--catalogue", "films.jsonl")
    assert "Titles like Fresh (1966)" in result.out
    trained("index", "tagger", "films.jsonl", "--out", "idx")
    found = ids(trained, "fresh", "--from", "new.jsonl", "--index", "idx", "--n", 130)
    assert sorted(found) == sorted(sample().ids)
    assert ids(trained, "t002", "--from", "new.jsonl", "--index", "idx", "--n", 130).count("t002") == 0


def test_mistakes(trained: Commands) -> None:
    trained("index", "tagger", "films.jsonl", "--out", "idx")
    where = ("--catalogue", "films.jsonl")
    trained.fails(
        "similar", "tagger", "curse SECRET 1", *where,
        because="films.jsonl: no title has the id 'curse SECRET 1'; did you mean t001: Curse secret 1 (1966)?",
    )  # fmt: skip
    trained.fails(
        "similar", "tagger", "none",
        because="training titles of films.jsonl: no title has the id 'none'; search other titles with --catalogue, "
        "ask about others by --from",
    )  # fmt: skip
    trained.fails(
        "similar", "tagger", "t001", *where, "--label", "Noir",
        because="films.jsonl: no title has the label 'Noir'; labels: Comedy, Horror, Romance, Western",
    )  # fmt: skip
    trained.fails("similar", "tagger", "t001", *where, "--index", "idx",
                  because="give a catalogue or an index; got both films.jsonl and --index idx")  # fmt: skip
    trained.fails("similar", "tagger", "t001", "--index", "none",
                  because="none: holds no indexed titles (config.json is missing)")  # fmt: skip
    trained.fails("similar", "tagger", "t001", "--from", "films.jsonl", "--year", "soon",
                  because="--year takes 1994, 1990-1999, 1990- or -1999; got 'soon'")  # fmt: skip
    trained.fails("similar", "tagger", "t999", "--from", "films.jsonl",
                  because="films.jsonl: no title has the id 't999'")  # fmt: skip
    trained("add-label", "tagger", "Dark", "films.jsonl", "--example", "t001", "--strongest", 0)
    trained.fails(
        "similar", "tagger", "t001", "--index", "idx",
        because="idx: the index was made with another tagger; make it anew with: "
        "reeltag index MODEL CATALOGUE --out idx",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (None, None), ("1994", (1994, 1994)), ("1990-1999", (1990, 1999)), ("1990-", (1990, None)),
        ("-1999", (None, 1999)), (" 1990 - 1999 ", (1990, 1999)),
    ],
)  # fmt: skip
def test_years(text: str | None, right: tuple[int | None, int | None] | None) -> None:
    assert years_of(text) == right


@pytest.mark.parametrize("text", ["", "-", "soon", "1990-1999-2000", "19x0"])
def test_no_years(text: str) -> None:
    with pytest.raises(ConfigError, match="--year takes"):
        years_of(text)
