"""``reeltag subgenres``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reeltag.cli.subgenres import changes_in_words, firmness, short
from reeltag.retrieval import Changes, Subgenres
from samples import rows

from .runner import Commands

FEW = ("--min-titles", 8)


@pytest.fixture
def trained(reeltag: Commands) -> Commands:
    reeltag.tagger()
    return reeltag


def test_training_titles(trained: Commands) -> None:
    result = trained("subgenres", "tagger", *FEW, "--clusters", 2, "--genre", "horror")
    assert result.code == 0
    n_titles = sum(row["split"] == "train" and "Horror" in row["genres"] for row in rows())
    assert result.out.startswith(f"Horror: {n_titles} titles, stability ")
    for words in ("Horror/1", "Horror/2", "set apart by", "nearest the centre", "silhouette"):
        assert words in result.out, words
    assert "Comedy:" not in result.out


def test_a_catalogue_or_its_index(trained: Commands) -> None:
    trained("index", "tagger", "films.jsonl", "--out", "idx")
    told = trained("subgenres", "tagger", "films.jsonl", *FEW, "--json").json
    assert [genre["genre"] for genre in told["genres"]] == ["Comedy", "Horror", "Romance", "Western"]
    assert (told["label_field"], told["word_fields"], told["out"]) == ("genres", ["keywords"], None)
    assert told["config"]["clusters"]["min_titles"] == 8
    assert trained("subgenres", "tagger", "--index", "idx", *FEW, "--json").json == told


def test_an_earlier_run_is_gone_on_with(trained: Commands) -> None:
    first = trained("subgenres", "tagger", "films.jsonl", *FEW, "--clusters", 3, "--seed", 5, "--out", "subs")
    assert first.out.endswith("written to subs\nnext: reeltag subgenres tagger NEW_CATALOGUE --since subs --out subs\n")
    before = Subgenres.load("subs")
    assert (before.config.clusters.min_titles, before.config.clusters.seed) == (8, 5)
    trained.catalogue("new.jsonl", rows()[2:])
    result = trained("subgenres", "tagger", "new.jsonl", "--since", "subs", "--out", "subs")
    assert result.code == 0
    assert "titles stayed; 0 titles came, " in result.out
    after = Subgenres.load("subs")
    assert after.config == before.config
    assert [sub.id for genre in after.genres for sub in genre.subgenres] != []
    assert all(genre.changes is not None for genre in after.genres)
    data = json.loads((Path("subs") / "config.json").read_text("utf-8"))
    assert data["genres"][0]["changes"]["n_gone"] >= 0


def test_genres_that_do_not_divide_are_said(trained: Commands) -> None:
    result = trained("subgenres", "tagger", "--genre", "Comedy")
    assert result.out.startswith("Comedy: ")
    assert "; does not fall into sub-genres of 30 titles or more\n" in result.out
    result = trained("subgenres", "tagger")
    assert (
        result.out
        == "no label of 'genres' has 60 titles or more in training titles of films.jsonl: nothing to divide\n"
    )


def test_what_names_were_made_of_is_said(trained: Commands) -> None:
    bare = [
        {name: value for name, value in row.items() if name in ("id", "title", "year", "genres", "plot")}
        for row in rows()
    ]
    trained.catalogue("bare.jsonl", [row | {"plot": None} for row in bare])
    result = trained("subgenres", "tagger", "bare.jsonl", *FEW, "--genre", "Horror", "--clusters", 2)
    if "labels and decades" in result.out:
        assert "names by genres, year tell what the tagger itself went by; they do not vouch" in result.out
    else:
        assert "mixed" in result.out
    unknown = trained.catalogue("unknown.jsonl", [row | {"genres": []} for row in rows()])
    assert "by predicted labels" in trained("subgenres", "tagger", unknown, *FEW).out
    assert "nothing to divide" in trained("subgenres", "tagger", unknown, *FEW, "--known-only").out


def test_dense_groups(trained: Commands) -> None:
    told = trained("subgenres", "tagger", "films.jsonl", "--min-titles", 5, "--method", "hdbscan", "--json").json
    assert told["config"]["clusters"]["method"] == "hdbscan"


def test_mistakes(trained: Commands) -> None:
    trained("subgenres", "tagger", *FEW, "--out", "subs")
    for words, because in (
        (("--genre", "Opera"),
         "training titles of films.jsonl: no title has the label 'Opera'; labels: Comedy, Horror, Romance, Western"),
        (("--method", "ward"), "ClusterConfig.method must be one of kmeans, hdbscan; got 'ward'"),
        (("--min-titles", 1), "ClusterConfig.min_titles must be between 2 and 1e+08; got 1"),
        (("--since", "absent"), "absent: holds no sub-genres (config.json is missing)"),
        (("--out", "tagger"), "tagger: exists and is not a folder of sub-genres; choose another folder"),
        (("--index", "subs"), "subs/config.json: 'kind' must be 'indexed titles'; got 'sub-genres'"),
        (("films.jsonl", "--index", "subs"), "give a catalogue or an index; got both films.jsonl and --index subs"),
    ):  # fmt: skip
        trained.fails("subgenres", "tagger", *words, because=because)


def test_changes_are_one_line() -> None:
    changes = Changes(
        n_common=200, n_new=4, n_gone=1, stayed=0.985, kept=("H/1",), new=("H/3", "H/4"), gone=("H/2",),
        renamed={"H/1": "bat"}, split={"H/2": ("H/3", "H/4")}, merged={"H/1": ("H/1", "H/5")},
    )  # fmt: skip
    assert changes_in_words(changes) == (
        "98.5 % of 200 titles stayed; 4 titles came, 1 went; H/2 split into H/3 and H/4; H/1 and H/5 merged into H/1; "
        "H/1 was 'bat'; new: H/3, H/4; gone: H/2"
    )


def test_figures() -> None:
    assert [short(value) for value in (0.714, 1.0, 0.0, -0.05)] == [".71", "1.00", ".00", "-.05"]
    assert [firmness(value) for value in (0.8, 0.79, 0.5, 0.49)] == ["firm", "fair", "fair", "loose"]
