"""Labels added later: their heads, their storage, and that nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from reeltag.added import (
    AddedLabel,
    AddedLabels,
    Background,
    Head,
    HeadInputs,
    Material,
    TokenSpeaker,
    examples_in_field,
    fit_head,
    inputs_of,
    new_label,
    usual_share,
    vectors_of_titles,
)
from reeltag.added.head import STRENGTH, best_expected_f1, level
from reeltag.card import with_added_labels
from reeltag.catalogue import Catalogue
from reeltag.errors import ArtefactError, CatalogueError, ConfigError, LabelError, ModelError
from reeltag.evaluation import report_to_json
from reeltag.explain_page import explanation_to_html
from reeltag.features import Block, Features
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.models.contract import log_odds
from reeltag.tagger import Tagger
from samples import Row, catalogue, files_of, fitted, quick_recipe, rows, sample
from speaking import speaking

MODELS = ("linear", "fusion")
NEW = "Dark"


def of(split: str, genre: str = "Horror") -> list[str]:
    return [row["id"] for row in rows() if row["split"] == split and genre in row["genres"]]


EXAMPLES = of("train")[:5]


@cache
def grown(model: str = "linear", n: int = 5) -> Tagger:
    return fitted(model).add_label(NEW, EXAMPLES[:n], sample(), share=0.25)


def test_rows(*splits: str) -> Catalogue:
    return catalogue(row for row in rows() if row["split"] in splits)


test_rows.__test__ = False  # type: ignore[attr-defined]


def material(n: int = 6, n_background: int = 80, n_counter: int = 0, dim: int = 5, seed: int = 0) -> Material:
    random = np.random.default_rng(seed)

    def draw(count: int, middle: float) -> np.ndarray:
        return random.normal(middle, 1, (count, dim)).astype(np.float32)

    examples, background = draw(n, 1.0), draw(n_background, 0.0)
    return Material(
        examples=examples,
        background=background,
        counter_examples=draw(n_counter, -1.0),
        inside=np.arange(n) < 2,
    )


# the head


@pytest.mark.parametrize("n_counter", [0, 3])
def test_head_is_the_regression_of_scikit_learn(n_counter: int) -> None:
    """Written out: every example counts as often as makes half of the whole, the background is the other half."""
    given = material(n_counter=n_counter)
    x = np.concatenate([given.examples, given.background, given.counter_examples])
    y = np.r_[np.ones(6), np.zeros(80 + n_counter)]
    counts = np.r_[np.full(6, 1 / 12), np.full(80, 1 / 160), np.full(n_counter, 1 / 12)]
    expected = LogisticRegression(C=STRENGTH, max_iter=10_000, tol=1e-8).fit(x, y, sample_weight=counts)
    head = fit_head(given, 0.1).head
    np.testing.assert_allclose(head.weights, expected.coef_[0], rtol=0.02, atol=0.02)
    order = np.argsort(x @ expected.coef_[0])
    assert np.all(np.diff(head.predict_proba(x)[order]) >= -1e-3)


def test_without_counter_examples_it_is_the_balanced_regression() -> None:
    given = material()
    x, y = np.concatenate([given.examples, given.background]), np.r_[np.ones(6), np.zeros(80)]
    expected = LogisticRegression(C=STRENGTH / len(x), class_weight="balanced", max_iter=10_000, tol=1e-8).fit(x, y)
    np.testing.assert_allclose(fit_head(given, 0.1).head.weights, expected.coef_[0], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.9])
def test_mean_probability_of_the_training_titles_is_the_share(share: float) -> None:
    given = material()
    outside = replace(given, inside=np.zeros(6, np.bool_))
    assert fit_head(outside, share).head.predict_proba(given.background).mean() == pytest.approx(share, rel=1e-3)
    head = fit_head(given, share).head
    both = np.append(head.predict_proba(given.background), expit(left_out(given)[:2] + head.bias))
    assert both.mean() == pytest.approx(share, rel=2e-3)


def left_out(given: Material) -> np.ndarray:
    """Return the scores of examples by heads without them (five folds), on the scale of the head of all of them."""

    def weights(kept: np.ndarray) -> np.ndarray:
        x = np.concatenate([given.examples[kept], given.background])
        y = np.r_[np.ones(kept.sum()), np.zeros(len(given.background))]
        balanced = LogisticRegression(C=STRENGTH / len(x), class_weight="balanced", max_iter=10_000, tol=1e-8)
        return np.asarray(balanced.fit(x, y).coef_[0])

    places = np.arange(len(given.examples))
    whole = given.background @ weights(places >= 0)
    found = np.zeros(len(places))
    for fold in range(min(len(places), 5)):
        own = weights(places % 5 != fold)
        background = given.background @ own
        for place in places[places % 5 == fold]:
            score = (given.examples[place] @ own - background.mean()) / background.std()
            found[place] = score * whole.std() + whole.mean()
    return found


def test_level_by_its_definition() -> None:
    scores = np.array([-30.0, -2.0, 0.0, 5.0])
    assert expit(scores + level(scores, 0.3)).mean() == pytest.approx(0.3)
    assert level(np.zeros(4), 0.5) == pytest.approx(0)


def test_counter_examples_push_like_titles_down() -> None:
    given = material(n_counter=0)
    against = replace(given, counter_examples=given.background[:4])
    before, after = (fit_head(m, 0.1).head.predict_proba(given.background[:4]) for m in (given, against))
    assert after.mean() < before.mean()


def test_one_example_makes_a_head_that_likes_what_is_like_it() -> None:
    given = material(n=1)
    fit = fit_head(given, 0.05)
    assert (fit.recall, fit.precision) == (None, None)
    like = np.concatenate([given.examples, -given.examples])
    near, far = fit.head.predict_proba(like)
    assert near > fit.threshold > far
    assert near > fit.head.predict_proba(given.background).mean()


@pytest.mark.parametrize("n", [2, 4, 7])
def test_recall_is_that_of_left_out_examples(n: int) -> None:
    given = material(n=n)
    fit = fit_head(given, 0.2, 0.4)
    again = expit(left_out(given) + fit.head.bias)
    assert fit.recall == pytest.approx(np.mean(again >= 0.4))
    population = np.append(fit.head.predict_proba(given.background), again[:2])
    assert fit.tagged == pytest.approx(np.mean(population >= 0.4))
    assert fit.precision == pytest.approx(min(1, np.mean(again >= 0.4) * 0.2 / np.mean(population >= 0.4)))


def test_a_given_threshold_is_kept() -> None:
    given = material()
    fit = fit_head(given, 0.1, 0.7)
    assert fit.threshold == 0.7
    np.testing.assert_array_equal(fit.head.weights, fit_head(given, 0.1).head.weights)
    assert fit.head.bias == fit_head(given, 0.1).head.bias


@pytest.mark.parametrize("seed", range(5))
def test_best_expected_f1_by_trying_every_threshold(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 2, 40).astype(np.float32)
    expected = [2 * p[p >= t].sum() / ((p >= t).sum() + p.sum()) for t in p]
    found = best_expected_f1(p, 1.0)
    assert 2 * p[p >= found].sum() / ((p >= found).sum() + p.sum()) == pytest.approx(max(expected))
    assert found not in p


def test_best_expected_f1_tags_no_more_than_asked_for() -> None:
    p = np.linspace(0.1, 0.11, 100, dtype=np.float32)
    assert np.sum(p >= best_expected_f1(p, 1.0)) == 100
    assert np.sum(p >= best_expected_f1(p, 0.05)) == 5
    assert np.sum(p >= best_expected_f1(p, 0.0)) == 1


def test_titles_that_cannot_be_told_apart_are_not_tagged() -> None:
    same = np.full(50, 0.02, np.float32)
    assert not np.any(same >= np.float32(best_expected_f1(same, 0.06)))


def test_usual_share_is_the_median() -> None:
    assert usual_share((50, 10, 30), 100) == 0.3
    assert usual_share((), 100) == 0.01
    assert usual_share((5,), 0) == 0.01


# what heads read


def features_of(model: str = "linear") -> Features:
    dense = np.random.default_rng(0).normal(size=(130, 3)).astype(np.float32)
    present = np.arange(130) % 3 > 0
    features = fitted(model).features(sample())
    return Features(features.ids, {**features.blocks, "plot.dense": Block(dense, present)})


def test_log_odds_and_dense_vectors_are_read() -> None:
    features = features_of()
    scores = fitted().fitted.model.predict_proba(features)
    found = inputs_of(features, scores)
    assert set(found) == {"log_odds", "plot.dense"}
    np.testing.assert_array_equal(found["log_odds"], log_odds(scores))
    dense = features.blocks["plot.dense"]
    assert np.isnan(found["plot.dense"][~dense.present]).all()
    np.testing.assert_array_equal(found["plot.dense"][dense.present], dense.values[dense.present])
    assert set(inputs_of(features.without("plot"), scores)) == set(found)


def test_only_the_most_frequent_labels_are_read() -> None:
    features = fitted().features(test_rows("test"))
    scores = np.full((24, 600), 0.5, np.float32)
    assert inputs_of(features, scores)["log_odds"].shape == (24, 512)


def test_rows_are_standardised_and_what_is_absent_is_zero() -> None:
    values = np.array([[1, 2], [3, 2], [np.nan, np.nan], [5, 2]], np.float32)
    odds = np.array([[0], [2], [4], [6]], np.float32)
    inputs = HeadInputs.learn({"plot.x": values, "log_odds": odds})
    assert inputs.dim == 3
    found = inputs.rows({"log_odds": odds, "plot.x": values})
    np.testing.assert_allclose(found[:, 0], (odds[:, 0] - 3) / np.sqrt(5), rtol=1e-5)
    np.testing.assert_allclose(found[[0, 1, 3], 1], np.array([-2, 0, 2]) / np.sqrt(8 / 3) / np.sqrt(2), rtol=1e-5)
    np.testing.assert_array_equal(found[2, 1:], 0)
    np.testing.assert_array_equal(found[:, 2], 0)  # all alike
    np.testing.assert_array_equal(inputs.rows({"log_odds": odds})[:, 1:], 0)


def test_a_part_that_every_title_lacks_is_left_out() -> None:
    odds = np.zeros((3, 2), np.float32)
    assert HeadInputs.learn({"log_odds": odds, "plot.x": np.full((3, 4), np.nan, np.float32)}).dim == 2


def test_many_titles_are_read_in_batches_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = fitted().fitted.model, features_of()
    whole = vectors_of_titles(model, features)
    monkeypatch.setattr("reeltag.added.inputs._BATCH", 7)
    for name, part in vectors_of_titles(model, features).items():
        np.testing.assert_allclose(part, whole[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("limit", "n"), [(0, 0), (1, 1), (10, 10), (1000, 72)])
def test_background_is_of_training_titles(limit: int, n: int) -> None:
    tagger = Tagger(replace(quick_recipe(), neighbours=limit)).fit(sample())
    background = tagger.fitted.background
    assert background is not None
    assert len(background) == n
    assert set(background.ids) <= {row["id"] for row in rows() if row["split"] == "train"}


def test_background_comes_back(tmp_path: Path) -> None:
    background = Background.of(fitted().fitted.model, features_of(), 20)
    background.save(tmp_path)
    again = Background.load(tmp_path)
    assert again.ids == background.ids
    for name, values in background.inputs.items():
        np.testing.assert_array_equal(again.inputs[name], values)
    assert background.but([background.ids[3], "elsewhere"]).tolist() == [place != 3 for place in range(20)]


# the tagger


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", [1, 5])
def test_other_labels_stay_bit_for_bit(model: str, n: int) -> None:
    before, after = fitted(model), grown(model, n)
    assert after.labels.labels == (*before.labels.labels, NEW)
    assert after.labels.counts == (*before.labels.counts, n)
    ours, theirs = before.tag(sample()), after.tag(sample())
    np.testing.assert_array_equal(theirs.probabilities[:, :-1], ours.probabilities)
    np.testing.assert_array_equal(theirs.thresholds[:-1], ours.thresholds)
    for name, moves in before.fitted.model.explain(before.features(sample())).items():
        np.testing.assert_array_equal(after.fitted.explain(after.features(sample()))[name][:, :-1], moves)
    assert NEW not in before.labels.labels
    assert len(before.fitted.added) == 0


@pytest.mark.parametrize("model", MODELS)
def test_an_added_label_finds_its_like(model: str) -> None:
    predictions = grown(model).tag(test_rows("test"), evidence=False)
    found = predictions.probabilities[:, -1]
    truth = np.array([title_id in of("test") for title_id in predictions.ids])
    assert found[truth].mean() > 2 * found[~truth].mean()
    assert ((found > 0) & (found < 1)).all()
    assert np.mean(predictions.decisions[:, -1] == truth) > 0.75


def test_probability_by_hand() -> None:
    tagger = grown()
    features = tagger.features(sample())
    scores = log_odds(tagger.fitted.model.predict_proba(features)).astype(np.float64)
    background = tagger.fitted.background
    assert background is not None
    kept = background.inputs["log_odds"].astype(np.float64)
    x = (scores - kept.mean(axis=0)) / kept.std(axis=0) / 2  # four labels
    head = tagger.fitted.added.heads[0]
    expected = expit(x @ head.weights.astype(np.float64) + head.bias)
    np.testing.assert_allclose(tagger.predict_proba(features)[:, -1], expected, rtol=1e-3)


def test_labels_are_added_one_after_the_other_and_removed_again() -> None:
    both = grown().add_label("Bright", of("train", "Comedy")[:3], sample())
    assert both.labels.labels[-2:] == (NEW, "Bright")
    features = both.features(sample())
    other_way = fitted().add_label("Bright", of("train", "Comedy")[:3], sample())
    np.testing.assert_array_equal(both.predict_proba(features)[:, -1], other_way.predict_proba(features)[:, -1])
    np.testing.assert_array_equal(both.predict_proba(features)[:, :-1], grown().predict_proba(features))
    less = both.remove_label("dark")
    assert less.labels.labels == other_way.labels.labels
    np.testing.assert_array_equal(less.predict_proba(features), other_way.predict_proba(features))
    none = less.remove_label("Bright")
    np.testing.assert_array_equal(none.predict_proba(features), fitted().predict_proba(features))
    assert none.fitted.fitted_on == fitted().fitted.fitted_on
    assert none.fitted.added == AddedLabels()


def test_examples_may_be_a_catalogue_of_their_own() -> None:
    films = catalogue(row for row in rows() if row["id"] in EXAMPLES)
    tagger = fitted().add_label(NEW, films, share=0.25)
    np.testing.assert_allclose(
        tagger.predict_proba(tagger.features(sample())), grown().predict_proba(tagger.features(sample())), rtol=1e-5
    )
    against = catalogue(row for row in rows() if row["id"] in of("train", "Comedy")[:2])
    less = fitted().add_label(NEW, films, counter_examples=against)
    assert less.fitted.added.entries[0].counter_examples == tuple(against.ids)


def test_the_same_from_a_loaded_tagger(tmp_path: Path) -> None:
    loaded = Tagger.from_pretrained(fitted("fusion").save_pretrained(tmp_path / "tagger"))
    features = loaded.features(sample())
    again = loaded.add_label(NEW, EXAMPLES, sample(), share=0.25)
    np.testing.assert_array_equal(again.predict_proba(features), grown("fusion").predict_proba(features))


def test_share_is_the_median_of_the_labels_unless_given() -> None:
    tagger = fitted().add_label(NEW, EXAMPLES, sample())
    (entry,) = tagger.fitted.added.entries
    assert entry.share == pytest.approx(np.median(fitted().labels.counts) / 72)
    (rare,) = fitted().add_label(NEW, EXAMPLES, sample(), share=0.01, threshold=0.3).fitted.added.entries
    assert (rare.share, rare.threshold) == (0.01, 0.3)
    features = tagger.features(sample())
    rarer = fitted().add_label(NEW, EXAMPLES, sample(), share=0.01).predict_proba(features)[:, -1]
    usual = tagger.predict_proba(features)[:, -1]
    assert (rarer < usual).all()


def test_thresholds_of_every_rule() -> None:
    tagger = grown()
    own = np.float32(tagger.fitted.added.entries[0].threshold)
    films = test_rows("test")
    for rule, expected in (("half", 0.5), ("global", own), ("per_label", own), (None, own)):
        assert tagger.tag(films, rule=rule, evidence=False).thresholds[-1] == np.float32(expected)
    assert set(tagger.fitted.thresholds_by_rule) == {"half", "global", "per_label"}


@pytest.mark.parametrize("model", MODELS)
def test_evaluate_measures_added_labels(model: str) -> None:
    films = catalogue(
        row | {"genres": [*row["genres"], NEW] if "Horror" in row["genres"] else row["genres"]} for row in rows()
    )
    found = grown(model).evaluate(films, "test")
    own = {entry.label: entry for entry in found.report.evaluation.labels}[NEW]
    assert own.support == len(of("test"))
    assert own.recall > 0.5
    assert found.report.metadata["leak check"] == "no fitted part has seen any of these titles"
    assert NEW in report_to_json(found.report)
    np.testing.assert_array_equal(found.targets[:, -1], found.targets[:, found.predictions.labels.index("Horror")])


def test_evaluate_says_when_an_example_is_measured() -> None:
    tagger = fitted().add_label(NEW, of("test")[:2], sample(), counter_examples=of("test", "Comedy")[-1:])
    check = tagger.evaluate(sample(), "test").report.metadata["leak check"]
    assert f"'added label {NEW}' was fitted on 3 titles, among them 3 test titles" in check
    assert tagger.fitted.fitted_on[f"added label {NEW}"] == [*of("test")[:2], of("test", "Comedy")[-1]]


def test_fit_forgets_added_labels() -> None:
    tagger = Tagger(quick_recipe()).fit(sample()).add_label(NEW, EXAMPLES, sample())
    tagger.fit(sample())
    assert tagger.labels == fitted().labels
    assert not [part for part in tagger.fitted.fitted_on if part.startswith("added")]


# explanations


@pytest.mark.parametrize("model", MODELS)
def test_explain_tells_of_added_labels(model: str) -> None:
    tagger = grown(model)
    explanation = tagger.explain(sample(), EXAMPLES[0], n_labels=5, n_neighbours=2)
    assert [entry.label for entry in explanation.labels if entry.label == NEW] == [NEW]
    (told,) = explanation.added
    assert (told.label, told.n_examples, len(told.nearest)) == (NEW, 5, 2)
    assert EXAMPLES[0] not in {near.id for near in told.nearest}
    titles = {row["id"]: row["title"] for row in rows()}
    assert all(titles[near.id] == near.title for near in told.nearest)
    assert told.nearest[0].similarity >= told.nearest[1].similarity
    words = told.in_words()
    assert words.startswith(f"{NEW} was added from 5 examples; nearest: {told.nearest[0].title} (")
    assert words in explanation_to_html(explanation, sample())
    assert explanation.to_json()["added"][0]["nearest"][0]["id"] == told.nearest[0].id
    assert tagger.explain(sample(), "t037", n_neighbours=0).added in ((), (replace(told, nearest=()),))


@pytest.mark.parametrize("model", MODELS)
def test_modalities_move_an_added_label_by_being_left_out(model: str) -> None:
    tagger = grown(model)
    explanation = tagger.explain(sample(), "t037", n_labels=5)
    features = tagger.features(sample().take([37]))
    entry = next(entry for entry in explanation.labels if entry.label == NEW)

    def odds(given: Features) -> float:
        p = float(tagger.predict_proba(given)[0, -1])
        return float(np.log(p) - np.log1p(-p))

    assert set(entry.modalities) >= set(explanation.present)
    for modality in explanation.present:
        expected = odds(features) - odds(features.without(modality))
        assert entry.modalities[modality] == pytest.approx(expected, abs=5e-3)
    assert any(abs(value) > 0.05 for value in entry.modalities.values())


def test_people_move_an_added_label() -> None:
    explanation = grown().explain(sample(), "t037", n_labels=5)
    assert all(NEW in person.effects for person in explanation.people)
    assert any(abs(person.effects[NEW]) > 0.01 for person in explanation.people)


def test_nearest_of_the_only_example_is_none() -> None:
    (told,) = grown("linear", 1).explain(sample(), EXAMPLES[0], n_labels=5).added
    assert told.nearest == ()
    assert told.in_words() == f"{NEW} was added from 1 example"


def test_tokens_move_added_labels_in_a_straight_line() -> None:
    plain = speaking(has_poster=["t037"])
    features = plain.features(sample().take([37]))
    tagger = speaking(has_poster=["t037"])
    tagger._fitted = replace(tagger.fitted, added=grown().fitted.added)
    speaker: Any = tagger.fitted.speaker
    assert isinstance(speaker, TokenSpeaker)
    added = grown().fitted.added
    assert added.inputs is not None
    slopes = added.heads[0].weights / (added.inputs.spreads["log_odds"] * 2)
    before: Any = plain.fitted.model
    for name, moves in speaker.token_effects(features).items():
        own = before.token_effects(features)[name]
        np.testing.assert_array_equal(moves[..., :4], own)
        np.testing.assert_allclose(moves[..., 4], own @ slopes, rtol=1e-4)
    for name, shares in speaker.token_attention(features).items():
        np.testing.assert_array_equal(shares, before.token_attention(features)[name])
    assert plain.fitted.speaker is plain.fitted.model


def test_slopes_are_what_a_step_in_log_odds_does() -> None:
    random = np.random.default_rng(0)
    parts = {"a.b": random.normal(size=(9, 2)), "log_odds": random.normal(size=(9, 3))}
    inputs = HeadInputs.learn({name: part.astype(np.float32) for name, part in parts.items()})
    weights = random.normal(size=(2, 5)).astype(np.float32)
    zero = {"log_odds": np.zeros((1, 3), np.float32)}
    for known in range(3):
        step = {"log_odds": np.eye(3, dtype=np.float32)[[known]]}
        change = (inputs.rows(step) - inputs.rows(zero)) @ weights.T
        np.testing.assert_allclose(inputs.slopes(weights)[:, known], change[0], rtol=1e-4, atol=1e-6)


# storage


@pytest.mark.parametrize("model", MODELS)
def test_saved_tagger_says_the_same(model: str, tmp_path: Path) -> None:
    tagger = grown(model).add_label("Bright", of("train", "Comedy")[:1], sample())
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "tagger"))
    ours, theirs = tagger.tag(sample()), loaded.tag(sample())
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    np.testing.assert_array_equal(ours.thresholds, theirs.thresholds)
    assert (ours.labels, ours.evidence) == (theirs.labels, theirs.evidence)
    assert loaded.labels.counts == tagger.labels.counts
    assert loaded.fitted.fitted_on == tagger.fitted.fitted_on
    assert loaded.fitted.added.entries == tagger.fitted.added.entries
    assert loaded.explain(sample(), "t003").to_json() == tagger.explain(sample(), "t003").to_json()
    again = loaded.save_pretrained(tmp_path / "again")
    assert files_of(again) == files_of(tmp_path / "tagger")


def test_learned_files_are_the_same_with_and_without(tmp_path: Path) -> None:
    before, after = (
        files_of(tagger.save_pretrained(tmp_path / name), "config.json", "README.md", "fitted_on.parquet")
        for name, tagger in (("before", fitted()), ("after", grown()))
    )
    assert {name for name in after if after[name] != before.get(name)} == {
        "added/added.json",
        "added/added.safetensors",
    }
    assert not [name for name in before if name.startswith("added/")]


def _less(folder: Path, part: str) -> None:
    """Make an artefact one of an earlier version, without a part."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for name in [name for name in config["files"] if name.startswith(f"{part}/")]:
        del config["files"][name]
        (folder / name).unlink()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_artefacts_of_an_earlier_version_load_and_take_labels(tmp_path: Path) -> None:
    folder = fitted().save_pretrained(tmp_path / "old")
    _less(folder, "background")
    old = Tagger.from_pretrained(folder)
    assert old.fitted.background is None
    features = old.features(sample())
    np.testing.assert_array_equal(old.predict_proba(features), fitted().predict_proba(features))
    found = old.add_label(NEW, EXAMPLES, sample(), share=0.25).predict_proba(features)
    np.testing.assert_allclose(found, grown().predict_proba(features), rtol=1e-4)
    message = (
        r"told from at least 10 other titles that the tagger was trained on; there are 0 \(an artefact of an earlier"
    )
    with pytest.raises(ModelError, match=message):
        old.add_label(NEW, catalogue(row for row in rows() if row["id"] in EXAMPLES))
    again = Tagger.from_pretrained(old.save_pretrained(tmp_path / "again"))
    assert again.fitted.background is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data | {"colour": 1}, "unknown setting 'colour'"),
        (lambda data: data | {"parts": ["log_odds", "plot.x"]}, "mean.plot.x"),
        (lambda data: data | {"labels": data["labels"] * 2}, "examples.1"),
        (lambda data: data | {"labels": []}, "the heads of 0 labels must read 4 numbers"),
        (lambda data: data | {"labels": [data["labels"][0] | {"share": 2.0}]}, r"AddedLabel\.share must be between 0"),
        (lambda data: data | {"labels": [data["labels"][0] | {"titles": []}]}, "must name every example of 'Dark'"),
        (lambda data: [data], "must be an object"),
    ],
)
def test_damaged_added_labels_are_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    grown().fitted.added.save(tmp_path)
    path = tmp_path / "added.json"
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), encoding="utf-8")
    with pytest.raises(ArtefactError, match=message):
        AddedLabels.load(tmp_path)


def test_no_added_labels_can_be_neither_saved_nor_asked(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be saved"):
        AddedLabels().save(tmp_path)
    with pytest.raises(LabelError, match="are used"):
        AddedLabels().predict_proba({})
    assert AddedLabels().known_slopes().shape == (0, 0)


# mistakes


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Horror", "label 'Horror' is in the label space already; it cannot be added again"),
        ("  hoRRor ", "label 'hoRRor' is in the label space already as 'Horror'"),
        ("Scary", "label 'Scary' is in the label space already as 'Horror'"),
        ("Weird", "label 'Weird' is a synonym of 'Strange' by the recipe; add 'Strange'"),
        (" ", "must not be blank"),
    ],
)
def test_a_label_that_cannot_be_added_is_named(label: str, message: str) -> None:
    config = LabelConfig(synonyms={"Scary": "Horror", "Weird": "Strange"})
    with pytest.raises(LabelError, match=message):
        new_label(LabelSpace(["Comedy", "Horror"], config), label)


def test_a_new_label_is_tidied_and_may_have_been_excluded() -> None:
    assert new_label(LabelSpace(["Comedy"], LabelConfig(exclude=("Film Noir",))), " Film   Noir ") == "Film Noir"
    with pytest.raises(LabelError, match="'dark' is in the label space already as 'Dark'"):
        grown().add_label("dark", EXAMPLES, sample())


def test_examples_that_cannot_be_used_are_named() -> None:
    add = fitted().add_label
    for none in ((), catalogue([])):
        with pytest.raises(LabelError, match="label 'Dark' needs at least one example; got none"):
            add(NEW, none, sample())
    with pytest.raises(CatalogueError, match=r"films\.jsonl: no title has the ids 'x1', 'x2'$"):
        add(NEW, ["x1", EXAMPLES[0], "x2"], sample())
    with pytest.raises(CatalogueError, match=r"no title has the id 'x1'$"):
        add(NEW, EXAMPLES, sample(), counter_examples=["x1"])
    with pytest.raises(CatalogueError, match=r"'n4' and 3 more$"):
        add(NEW, [f"n{n}" for n in range(8)], sample())
    with pytest.raises(LabelError, match="examples given by id need the catalogue that holds them"):
        add(NEW, EXAMPLES)
    with pytest.raises(LabelError, match="examples must be a list of ids or a catalogue; got the text 't001'"):
        add(NEW, "t001", sample())
    with pytest.raises(LabelError, match=f"cannot be both example and counter-example; got '{EXAMPLES[1]}'"):
        add(NEW, EXAMPLES, sample(), counter_examples=EXAMPLES[1:2])


def test_examples_of_which_nothing_is_known_are_named() -> None:
    bare: list[Row] = [{"id": "a"}, {"id": "b", "plot": "blood and scream"}, {"id": "c"}]
    message = r"nothing that this tagger reads \(plot, title, year, credits\) is known of 'a', 'c'"
    with pytest.raises(LabelError, match=message):
        fitted().add_label(NEW, ["a", "b", "c"], catalogue(bare))
    assert fitted().add_label(NEW, ["b"], catalogue(bare)).labels.labels[-1] == NEW


@pytest.mark.parametrize(("name", "value"), [("share", 0.0), ("share", 1.0), ("threshold", 1.5)])
def test_aims_out_of_range_are_named(name: str, value: float) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=rf"LabelAim\.{name} must be between"):
        fitted().add_label(NEW, EXAMPLES, sample(), **given)


def test_only_added_labels_can_be_removed() -> None:
    message = "label 'Horror' was learned with the model and cannot be removed; added labels: Dark"
    with pytest.raises(LabelError, match=message):
        grown().remove_label("horror")
    with pytest.raises(LabelError, match="added labels: none"):
        fitted().remove_label("Horror")
    with pytest.raises(LabelError, match="label 'Light' is not in the label space"):
        grown().remove_label("Light")


# examples by a word in a field


def test_examples_in_a_field_are_those_to_learn_from() -> None:
    config = LabelConfig(field="moods", synonyms={"gloomy": "Dark"})
    found = examples_in_field(sample(), "dark", config, 1000)
    allowed = [row for row in rows() if row["split"] in ("train", "background")]
    dark = [row["id"] for row in allowed if row["moods"] == ["dark"]]
    assert list(found.ids) == dark
    assert found.n_found == len(dark)
    assert found.share == pytest.approx(len(dark) / len(allowed))
    some = examples_in_field(sample(), "DARK", config, 3)
    assert (len(some.ids), some.n_found, some.share) == (3, len(dark), found.share)
    assert set(some.ids) <= set(dark)
    words = catalogue(row | {"moods": ["Gloomy"]} for row in rows()[:3])
    assert len(examples_in_field(words, "Dark", config, 9).ids) == 3


def test_titles_without_splits_or_labels_are_examples_as_they_stand() -> None:
    films = catalogue(
        (row | {"moods": row["moods"] if n % 2 else []} for n, row in enumerate(rows())), without=["split"]
    )
    found = examples_in_field(films, "dark", LabelConfig(field="moods"), 1000)
    filled = [row for n, row in enumerate(rows()) if n % 2]
    assert found.share == pytest.approx(np.mean([row["moods"] == ["dark"] for row in filled]))


def test_a_label_that_no_title_has_is_named() -> None:
    with pytest.raises(LabelError, match=r"films\.jsonl: no title to learn from has 'Noir' in 'moods'"):
        examples_in_field(sample(), "Noir", LabelConfig(field="moods"), 10)
    only_test = test_rows("test")
    with pytest.raises(LabelError, match="the splits validation and test are left out"):
        examples_in_field(only_test, "dark", LabelConfig(field="moods"), 10)


# the card


def entries(*labels: str) -> Sequence[AddedLabel]:
    return [
        AddedLabel(
            label=label, examples=("a", "b"), titles=("A", "B"), share=0.01, threshold=0.2, recall=0.5, precision=0.25,
            tagged=0.02,
        )
        for label in labels
    ]  # fmt: skip


def test_card_tells_of_added_labels_once() -> None:
    once = with_added_labels("# Card\n\nText.\n", entries("He|st"))
    assert once.startswith("# Card\n\nText.\n\n## Labels added later\n")
    assert "| He\\|st | 2 | 0.010 | 0.200 | 0.500 | 0.250 | 0.333 |\n" in once
    twice = with_added_labels(once, entries("He|st", "Noir"))
    assert twice.count("## Labels added later") == 1
    assert twice.count("| He\\|st |") == 1
    assert with_added_labels(twice, []) == "# Card\n\nText.\n"
    alone = replace(entries("Noir")[0], recall=None, precision=None)
    assert alone.f1 is None
    assert "| Noir | 2 | 0.010 | 0.200 | – | – | – |" in with_added_labels("", [alone])
    assert replace(alone, recall=0.0, precision=0.0).f1 == 0


def test_heads_are_told_apart_by_their_numbers() -> None:
    rows_ = np.eye(2, dtype=np.float32)
    head = Head(weights=np.array([0, 2], np.float32), bias=-1.0)
    np.testing.assert_allclose(head.predict_proba(rows_), [1 / (1 + np.e), 1 / (1 + np.exp(-1))], rtol=1e-6)
