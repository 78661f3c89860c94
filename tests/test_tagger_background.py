"""Learning from background titles: by choice, only those whose labels are known, and the leak check knows of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError
from reeltag.graph.credits import CreditConfig
from reeltag.leaks import check_fitted
from reeltag.recipes import RECIPES, Recipe, recipe_from_json
from reeltag.tagger import Tagger
from samples import Row, catalogue, changed, quick_recipe, rows, sample

IDS = {split: [row["id"] for row in rows() if row["split"] == split] for split in ("train", "background")}
BOTH = sorted(IDS["train"] + IDS["background"])


def background_recipe(**settings: Any) -> Recipe:
    return replace(quick_recipe(**settings), train_on_background=True)


@cache
def on_background() -> Tagger:
    return Tagger(background_recipe()).fit(sample())


@cache
def plain() -> Tagger:
    return Tagger(quick_recipe()).fit(sample())


def probabilities(tagger: Tagger, films: Catalogue) -> np.ndarray:
    return tagger.tag(films, evidence=False).probabilities


def as_training(row: Row) -> Row:
    return row | {"split": "train"}


def test_it_is_off_by_default() -> None:
    assert not Recipe().train_on_background
    assert {name for name, config in RECIPES.items() if config.train_on_background} == {"xmlc"}
    assert plain().fitted.fitted_on["model"] == IDS["train"]
    assert plain().fitted.data["labelled"] == {"train": 72, "validation": 24, "graph": 82}


def test_background_titles_are_learned_from() -> None:
    fitted = on_background().fitted
    assert fitted.fitted_on["model"] == BOTH
    assert fitted.fitted_on["vocabulary of plot"] == BOTH
    assert fitted.fitted_on["graph"] == BOTH
    assert fitted.data["labelled"] == {"train": 82, "validation": 24, "graph": 82}
    assert fitted.data["titles"]["background"] == 10  # the split is what the catalogue says
    assert np.abs(probabilities(on_background(), sample()) - probabilities(plain(), sample())).max() > 0.01


def test_they_are_learned_from_as_if_they_were_training_titles() -> None:
    asked = changed(lambda row: row, None)
    other = Tagger(quick_recipe()).fit(changed(as_training, "background"))
    assert other.fitted.fitted_on["model"] == BOTH
    np.testing.assert_array_equal(probabilities(on_background(), asked), probabilities(other, asked))


def test_labels_of_background_titles_count() -> None:
    noir = changed(lambda row: row | {"genres": [*row["genres"], "Noir"]}, "background")
    assert "Noir" in Tagger(background_recipe()).fit(noir).labels.labels
    assert "Noir" not in Tagger(quick_recipe()).fit(noir).labels.labels
    labels = on_background().labels
    for label, count in zip(labels.labels, labels.counts, strict=True):
        assert count == sum(label in row["genres"] for row in rows() if row["id"] in BOTH)


def test_background_titles_whose_labels_are_unknown_are_not_learned_from() -> None:
    some = set(IDS["background"][:4])
    films = changed(lambda row: row | {"genres": []} if row["id"] in some else row)
    fitted = Tagger(background_recipe()).fit(films).fitted
    assert fitted.fitted_on["model"] == [name for name in BOTH if name not in some]
    assert fitted.data["labelled"]["train"] == 78
    none = changed(lambda row: row | {"genres": []}, "background")
    np.testing.assert_array_equal(
        probabilities(Tagger(background_recipe()).fit(none), sample()),
        probabilities(Tagger(quick_recipe()).fit(none), sample()),
    )


@pytest.mark.parametrize("without", ["titles", "column"])
def test_without_background_titles_it_changes_nothing(without: str) -> None:
    labelled = [row for row in rows() if row["split"] != "background"]
    films = catalogue(labelled, without=["split"] if without == "column" else [])
    one, two = Tagger(background_recipe()).fit(films), Tagger(quick_recipe()).fit(films)
    assert one.fitted.fitted_on == two.fitted.fitted_on
    np.testing.assert_array_equal(probabilities(one, films), probabilities(two, films))


def test_a_graph_without_background_has_those_that_are_learned_from() -> None:
    config = background_recipe(credits=CreditConfig(background=False))
    fitted = Tagger(config).fit(sample()).fitted
    assert fitted.fitted_on["graph"] == fitted.fitted_on["model"] == BOTH


def test_a_background_title_is_left_out_of_its_own_credits() -> None:
    # all that tells the genre of the background titles is their credits, and their own labels are shuffled
    films = changed(lambda row: row | {"genres": ["Comedy", "Horror", "Western", "Romance"]}, "background")
    one, two = (Tagger(background_recipe()).fit(of).fitted.pipeline.credits for of in (films, sample()))
    assert one is not None
    assert two is not None
    title = sample().take([sample().find(IDS["background"][0])])
    for mine, theirs in zip(one.relations(title, 0), two.relations(title, 0), strict=True):
        assert (mine.person, mine.n_films) == (theirs.person, theirs.n_films)
        others = [row for row in rows() if row["id"] in BOTH and row["id"] != title.ids[0]]
        assert mine.n_films == sum(mine.person in row[mine.role] for row in others)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_titles_are_never_learned_from(split: str) -> None:
    held_out = {row["id"] for row in rows() if row["split"] == split}
    fitted_on = on_background().fitted.fitted_on
    for part in ("model", "graph", "vocabulary of plot", "vocabulary of title"):
        assert not held_out & set(fitted_on[part]), part


def test_the_leak_check_knows() -> None:
    as_test = Catalogue.from_frame(sample().frame).with_splits(
        ["test" if row["split"] == "background" else "train" for row in rows()]
    )
    seen = {part.part: part.test_ids for part in check_fitted(on_background().fitted.fitted_on, as_test)}
    assert set(seen["model"]) == set(seen["graph"]) == set(IDS["background"])
    before = {part.part: part.test_ids for part in check_fitted(plain().fitted.fitted_on, as_test)}
    assert (before["model"], set(before["graph"])) == ((), set(IDS["background"]))


def test_evaluate_on_background_says_that_the_model_has_seen_it() -> None:
    told = on_background().evaluate(sample(), "background").report.metadata["leak check"]
    assert "'model' was fitted on 82 titles, among them 10 test titles" in told
    assert "'model'" not in plain().evaluate(sample(), "background").report.metadata["leak check"]
    test = on_background().evaluate(sample(), "test").report
    assert test.metadata["leak check"] == "no fitted part has seen any of these titles"
    assert test.evaluation.long_tail is not None
    assert test.evaluation.long_tail.n_train == 82


def test_background_titles_are_among_the_neighbours_shown() -> None:
    names = {n.id for title in ("t000", "t001", "t050") for n in neighbours(on_background(), title)}
    assert names <= set(BOTH)
    assert names & set(IDS["background"])
    assert not {n.id for n in neighbours(plain(), "t000")} & set(IDS["background"])


def neighbours(tagger: Tagger, title: str) -> Any:
    return tagger.explain(sample(), title, n_neighbours=200).neighbours


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    loaded = Tagger.from_pretrained(on_background().save_pretrained(tmp_path / "tagger"))
    assert loaded.recipe.train_on_background
    assert loaded.fitted.fitted_on == on_background().fitted.fitted_on
    np.testing.assert_array_equal(probabilities(loaded, sample()), probabilities(on_background(), sample()))


def test_the_setting_is_strict() -> None:
    data = background_recipe().to_json()
    assert data["train_on_background"] is True
    assert recipe_from_json(data).train_on_background
    with pytest.raises(ConfigError, match=r"recipe\.train_on_background: must be of type bool; got 'yes'"):
        recipe_from_json(data | {"train_on_background": "yes"})
    del data["train_on_background"]  # of a recipe that was saved before there was one
    assert not recipe_from_json(data).train_on_background
