"""``reeltag train --train-on-background``, and the recipe for many tags from the command line."""

from __future__ import annotations

import json

import pytest

from reeltag.cli.train import build_recipe
from reeltag.errors import ConfigError
from reeltag.tagger import Tagger

from .runner import Commands

TRAIN = ("train", "films.jsonl", "--recipe", "quick.json", "--out", "runs/one")


def test_background_titles_are_learned_from_when_asked(reeltag: Commands) -> None:
    result = reeltag(*TRAIN, "--train-on-background")
    assert result.code == 0
    assert result.out.splitlines()[:2] == [
        "learned 4 labels of 'genres' from 82 titles",
        "credits graph: 82 titles",
    ]
    tagger = Tagger.from_pretrained("runs/one")
    assert tagger.recipe.train_on_background
    background = {row["id"] for row in reeltag.labelled("background")}
    assert len(background) == 10
    assert background < set(tagger.fitted.fitted_on["model"])
    checked = reeltag("evaluate", "runs/one", "films.jsonl", "--split", "background", "--json")
    assert checked.code == 0
    assert "'model' was fitted on 82 titles" in json.dumps(checked.json)


def test_without_it_they_are_not(reeltag: Commands) -> None:
    assert reeltag(*TRAIN, "--json").json["titles"] == {"train": 72, "validation": 24, "graph": 82}
    assert not Tagger.from_pretrained("runs/one").recipe.train_on_background


def test_json_counts_them_among_the_training_titles(reeltag: Commands) -> None:
    result = reeltag(*TRAIN, "--json", "--train-on-background")
    assert result.json["titles"] == {"train": 82, "validation": 24, "graph": 82}


def test_a_recipe_file_that_says_so_is_believed_without_the_option(reeltag: Commands) -> None:
    path = reeltag.folder / "quick.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"train_on_background": True}), encoding="utf-8")
    assert reeltag(*TRAIN, "--json").json["titles"]["train"] == 82


def test_the_option_and_the_setting_are_one() -> None:
    assert not build_recipe("fusion").train_on_background
    assert build_recipe("fusion", train_on_background=True).train_on_background
    assert build_recipe("fusion", settings=["train_on_background=true"]).train_on_background
    assert build_recipe("xmlc").train_on_background
    assert build_recipe("xmlc", train_on_background=False).train_on_background
    assert not build_recipe("xmlc", settings=["train_on_background=false"]).train_on_background
    assert not build_recipe(
        "fusion", train_on_background=True, settings=["train_on_background=false"]
    ).train_on_background
    with pytest.raises(ConfigError, match=r"recipe\.train_on_background: must be of type bool; got 'maybe'"):
        build_recipe("fusion", settings=["train_on_background=maybe"])


def test_fields_are_given_as_the_docs_say() -> None:
    asked = "plot,title,year,credits,fields"
    chosen = build_recipe("xmlc", modalities=asked, settings=['features.fields=["genres"]'])
    assert chosen.features.modalities == ("plot", "title", "year", "credits", "fields")
    assert chosen.features.fields == ("genres",)
    assert chosen.labels.field == "tags"
    assert build_recipe("xmlc", labels="keywords").labels.field == "keywords"
    with pytest.raises(ConfigError, match=r"FeatureConfig\.fields must name at least one list field"):
        build_recipe("xmlc", modalities=asked)
    with pytest.raises(ConfigError, match=r"must not name the field that is learned; got 'keywords'"):
        build_recipe("xmlc", labels="keywords", modalities=asked, settings=['features.fields=["keywords"]'])


def test_fields_and_votes_are_trained_tagged_and_explained(reeltag: Commands) -> None:
    result = reeltag(
        *TRAIN, "--labels", "moods", "--modalities", "plot,credits,fields", "--set", 'features.fields=["genres"]',
        "--set", 'features.credit_features=["votes"]', "--set", 'features.vote_fields=["genres", "keywords"]',
        "--train-on-background",
    )  # fmt: skip
    assert result.code == 0
    assert "credits graph: 82 titles\n" in result.out
    pipeline = Tagger.from_pretrained("runs/one").fitted.pipeline
    assert list(pipeline.credit_votes) == ["votes", "votes_genres", "votes_keywords"]
    assert reeltag("evaluate", "runs/one", "films.jsonl").code == 0
    assert reeltag("tag", "runs/one", "films.jsonl", "--out", "tags.jsonl").code == 0
    explained = reeltag("explain", "runs/one", "t001", "--json").json
    assert explained["people"] == []
    assert reeltag("check", "films.jsonl", "--tagger", "runs/one").code == 0


def test_a_field_that_is_not_there(reeltag: Commands) -> None:
    reeltag.fails(
        *TRAIN, "--modalities", "plot,fields", "--set", 'features.fields=["vibes"]',
        because="films.jsonl: no column 'vibes' of type List(String); columns: id, title, year, plot, directors, cast, "
        "genres, keywords, split",
    )  # fmt: skip
