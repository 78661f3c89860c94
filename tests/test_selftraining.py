"""Self-training: which pseudo-labels are taken, whether they help, what is kept, which titles are never asked about."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from reeltag.calibration import CalibrationConfig
from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError, ModelError
from reeltag.features import Block, Features
from reeltag.models import MODELS, Model, Targets, Validation
from reeltag.recipes import Recipe, recipe_from_json
from reeltag.selftraining import Round, SelfTrainingConfig, drawn, pseudo_targets, self_train
from reeltag.tagger import Tagger
from samples import GENRES, catalogue, changed, files_of, fitted, quick_recipe, rows, sample

Matrix = np.ndarray[Any, Any]
RAW = CalibrationConfig(method="none")
ON = SelfTrainingConfig(titles=1000)


def by_loops(
    p: Matrix, counts: Matrix, n_labelled: int, config: SelfTrainingConfig
) -> tuple[list[int], list[list[float]]]:
    """The rules of ``pseudo_targets`` said title by title and label by label."""
    n_titles, n_labels = p.shape
    may_join = [row for row in range(n_titles) if not config.only_confident_titles or max(p[row]) >= config.confidence]
    taken: set[tuple[int, int]] = set()
    for label in range(n_labels):
        if config.rate_matching:
            frequency = counts[label] / n_labelled
            quota = round(float(frequency * len(may_join)))
            best = sorted(may_join, key=lambda row: (-p[row, label], row))[:quota]
            taken |= {(row, label) for row in best if p[row, label] >= min(frequency, config.confidence)}
        else:
            taken |= {(row, label) for row in may_join if p[row, label] >= config.confidence}
    chosen, targets = [], []
    for row in may_join:
        refused = any(p[row, c] >= config.confidence and (row, c) not in taken for c in range(n_labels))
        labels = [1.0 if (row, c) in taken else 0.0 for c in range(n_labels)]
        if any(labels) and not refused:
            chosen.append(row)
            targets.append(labels)
    return chosen, targets


# which pseudo-labels are taken


@pytest.mark.parametrize("rate_matching", [True, False])
@pytest.mark.parametrize("only_confident_titles", [True, False])
@pytest.mark.parametrize("confidence", [0.3, 0.6, 0.9])
def test_pseudo_targets_are_those_of_loops(rate_matching: bool, only_confident_titles: bool, confidence: float) -> None:
    config = SelfTrainingConfig(
        confidence=confidence, rate_matching=rate_matching, only_confident_titles=only_confident_titles
    )
    for seed in range(8):
        random = np.random.default_rng(seed)
        p = random.beta(0.5, 1.5, (37, 5)).round(2).astype(np.float32)  # rounded: some are equal
        counts = random.integers(1, 30, 5).astype(np.float32)
        found, targets = pseudo_targets(p, counts, 30, config)
        expected, truth = by_loops(p, counts, 30, config)
        assert found.tolist() == expected
        assert targets.tolist() == truth
        assert targets.shape == (len(found), 5)
        assert targets.dtype == np.float32


def test_without_rate_matching_a_sure_label_is_taken_and_an_unsure_one_is_absent() -> None:
    p = np.array([[0.9, 0.2], [0.7, 0.7], [0.8, 0.95], [0.1, 0.85]], np.float32)
    found, targets = pseudo_targets(p, np.array([1, 1]), 10, SelfTrainingConfig(rate_matching=False))
    assert found.tolist() == [0, 2, 3]
    assert targets.tolist() == [[1, 0], [1, 1], [0, 1]]


def test_rate_matching_raises_the_threshold_of_a_frequent_label_and_lowers_that_of_a_rare_one() -> None:
    """Of ten titles that may join, half should get the first label and a fifth the second."""
    first = np.linspace(0.99, 0.81, 10)
    second = np.array([0, 0.1, 0.5, 0.2, 0.6, 0.3, 0.1, 0.1, 0.1, 0.1])
    p = np.stack([first, second], axis=1).astype(np.float32)
    matched, targets = pseudo_targets(p, np.array([50, 20]), 100, SelfTrainingConfig())
    assert matched.tolist() == [0, 1, 2, 3, 4]  # the others, refused the label they are sure of, stay out
    assert targets.tolist() == [[1, 0], [1, 0], [1, 1], [1, 0], [1, 1]]
    plain, _ = pseudo_targets(p, np.array([50, 20]), 100, SelfTrainingConfig(rate_matching=False))
    assert len(plain) == 10


def test_rate_matching_keeps_the_proportions_of_the_labelled_titles() -> None:
    random = np.random.default_rng(3)
    frequencies = np.array([0.4, 0.1, 0.02])
    p = random.beta(0.4, 0.4, (4000, 3)).astype(np.float32)  # says far too often yes
    config = SelfTrainingConfig(only_confident_titles=False, confidence=1.0)
    _, targets = pseudo_targets(p, frequencies * 1000, 1000, config)
    np.testing.assert_array_equal(targets.sum(axis=0), 4000 * frequencies)
    _, plain = pseudo_targets(p, frequencies * 1000, 1000, replace(config, rate_matching=False, confidence=0.8))
    assert plain[:, 2].sum() > 10 * 4000 * 0.02  # a rare label would get as many as a frequent one


def test_a_label_is_never_taken_below_its_frequency() -> None:
    p = np.array([[0.9, 0.3], [0.95, 0.55], [0.85, 0.1], [0.99, 0.2]], np.float32)
    _, targets = pseudo_targets(p, np.array([10, 5]), 10, SelfTrainingConfig())
    assert targets[:, 1].tolist() == [0, 1, 0, 0]  # two are its share, and one of them is as unlikely as any title


def test_a_label_that_every_labelled_title_has_may_be_taken() -> None:
    p = np.array([[0.9, 0.1], [0.85, 0.1]], np.float32)
    found, targets = pseudo_targets(p, np.array([10, 1]), 10, SelfTrainingConfig())
    assert (found.tolist(), targets.tolist()) == ([0, 1], [[1, 0], [1, 0]])


def test_titles_that_are_not_sure_of_anything_join_only_when_asked() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.1], [0.1, 0.1]], np.float32)
    counts = np.array([60, 1])
    assert pseudo_targets(p, counts, 100, SelfTrainingConfig())[0].tolist() == [0]
    every = SelfTrainingConfig(only_confident_titles=False)
    assert pseudo_targets(p, counts, 100, every)[0].tolist() == [0, 1]  # nor then a title without any label
    assert pseudo_targets(p, counts, 100, replace(every, rate_matching=False))[0].tolist() == [0]


@pytest.mark.parametrize("config", [SelfTrainingConfig(), SelfTrainingConfig(rate_matching=False)])
@pytest.mark.parametrize("n_titles", [0, 3])
def test_where_nothing_is_sure_no_title_joins(config: SelfTrainingConfig, n_titles: int) -> None:
    found, targets = pseudo_targets(np.full((n_titles, 4), 0.5, np.float32), np.ones(4), 5, config)
    assert found.shape == (0,)
    assert targets.shape == (0, 4)


@pytest.mark.parametrize(("counts", "n_labelled"), [(np.ones(2), 5), (np.ones(3), 0)])
def test_pseudo_labels_without_labelled_titles_or_counts_are_an_error(counts: Matrix, n_labelled: int) -> None:
    with pytest.raises(ModelError, match=f"got {n_labelled} titles, {len(counts)} counts and probabilities"):
        pseudo_targets(np.zeros((4, 3), np.float32), counts, n_labelled, SelfTrainingConfig())


@pytest.mark.parametrize(
    ("setting", "value"), [("titles", -1), ("rounds", 0), ("confidence", 1.1), ("confidence", -0.1)]
)
def test_settings_out_of_range_are_named(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"SelfTrainingConfig\.{setting} must be between .*; got {value}"):
        SelfTrainingConfig(**{setting: value})  # type: ignore[arg-type]


def test_drawing_is_by_seed_without_repetition_and_takes_all_there_are() -> None:
    numbers = np.arange(100, 150, dtype=np.int64)
    first = drawn(numbers, 10, 0)
    assert len(set(first.tolist())) == 10
    assert set(first.tolist()) <= set(numbers.tolist())
    assert first.tolist() == sorted(first.tolist()) == drawn(numbers, 10, 0).tolist()
    assert first.tolist() != drawn(numbers, 10, 1).tolist()
    assert drawn(numbers[::-1], 50, 0).tolist() == drawn(numbers, 80, 0).tolist() == numbers.tolist()
    assert drawn(numbers[:0], 5, 0).tolist() == []


# clusters that carry the labels

LABELS_OF_CLUSTER = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 1, 1, 0]], np.float32)
DIM = 60


def clusters(n: int, seed: int) -> tuple[Features, Targets]:
    """Return titles of four clouds, and the labels of their cloud."""
    random = np.random.default_rng(seed)
    centres = 0.55 * np.random.default_rng(99).normal(size=(4, DIM))
    cluster = np.arange(n) % 4
    values = (centres[cluster] + random.normal(size=(n, DIM))).astype(np.float32)
    ids = [f"{seed}-{number}" for number in range(n)]
    return Features(ids, {"plot": Block(values, np.ones(n, np.bool_))}), LABELS_OF_CLUSTER[cluster]


def mean_average_precision(model: Model, features: Features, targets: Targets) -> float:
    p = model.predict_proba(features)
    return float(np.mean([average_precision_score(targets[:, c], p[:, c]) for c in range(targets.shape[1])]))


def held_out(seed: int = 3, n: int = 100) -> Validation:
    features, targets = clusters(n, seed)
    return Validation(features=features, targets=targets)


def fitting(name: str) -> Callable[[Features, Targets], Model]:
    settings = {"linear": {"n_threads": 1}, "knn": {"k": 10}}[name]

    def fit(features: Features, targets: Targets) -> Model:
        kind = MODELS[name]
        return kind(kind.config_class(**settings)).fit(features, targets)

    return fit


@pytest.mark.parametrize(("name", "rate_matching"), [("linear", True), ("linear", False), ("knn", True)])
def test_unlabelled_titles_help_where_clusters_carry_the_labels(name: str, rate_matching: bool) -> None:
    """Twenty labelled and five hundred unlabelled titles, measured on others; a third of the errors must go."""
    learned, targets = clusters(20, 1)
    unlabelled, _ = clusters(500, 2)
    test, truth = clusters(600, 4)
    config = replace(ON, rate_matching=rate_matching)
    fit = fitting(name)
    model, rounds = self_train(fit, learned, targets, held_out(), unlabelled, config, CalibrationConfig())
    assert [told.kept for told in rounds] == [True]
    assert rounds[0].asked == 500
    assert 200 < rounds[0].joined < 500
    before = mean_average_precision(fit(learned, targets), test, truth)
    after = mean_average_precision(model, test, truth)
    assert before < 0.985
    assert 1 - after < 2 / 3 * (1 - before)


def test_another_round_starts_from_what_the_last_model_says() -> None:
    learned, targets = clusters(20, 1)
    unlabelled, _ = clusters(500, 2)
    config = replace(ON, rounds=3, keep_if_better=False)
    _, rounds = self_train(fitting("linear"), learned, targets, held_out(), unlabelled, config, CalibrationConfig())
    assert len(rounds) == 3
    for last, following in pairwise(rounds):
        assert following.before == last.after
    assert rounds[1].joined != rounds[0].joined


# what is kept


class Saying:
    """A model that says the same of every title: one thing after the first fit, another after later ones."""

    def __init__(self, seen: list[tuple[Features, Targets]], says: list[Matrix]) -> None:
        self.seen, self.says = seen, says

    def fit(self, features: Features, targets: Targets) -> Model:
        self.seen.append((features, targets))
        return _Said(self.says[min(len(self.seen), len(self.says)) - 1])  # type: ignore[return-value]


class _Said:
    def __init__(self, says: Matrix) -> None:
        self.says = says

    def predict_proba(self, features: Features) -> Matrix:
        return np.stack([self.says[int(title_id.partition("-")[2]) % len(self.says)] for title_id in features.ids])


RIGHT = np.where(LABELS_OF_CLUSTER > 0, 0.9, 0.1).astype(np.float32)
SOME_RIGHT = np.where(np.arange(4)[:, None] == 0, 1 - RIGHT, RIGHT)  # wrong of the first cloud
WRONG = (1 - RIGHT).astype(np.float32)


def told(says: list[Matrix], config: SelfTrainingConfig) -> tuple[_Said, list[Round], list[tuple[Features, Targets]]]:
    saying = Saying([], says)
    learned, targets = clusters(8, 1)
    unlabelled, _ = clusters(40, 2)
    model, rounds = self_train(saying.fit, learned, targets, held_out(n=40), unlabelled, config, RAW)
    return model, rounds, saying.seen  # type: ignore[return-value]


def test_a_model_that_gets_worse_is_not_kept_and_the_figures_of_both_are_told() -> None:
    model, rounds, seen = told([RIGHT, WRONG], replace(ON, rounds=4))
    assert model.says is RIGHT
    assert len(seen) == 2  # no further round
    assert len(rounds) == 1
    _, truth = clusters(40, 3)
    for figure, says in ((rounds[0].before, RIGHT), (rounds[0].after, WRONG)):
        p = says[np.arange(40) % 4]
        assert figure == pytest.approx(np.mean([average_precision_score(truth[:, c], p[:, c]) for c in range(4)]))
    assert not rounds[0].kept


def test_an_equal_model_is_not_kept() -> None:
    model, rounds, _ = told([RIGHT, RIGHT.copy()], ON)
    assert model.says is RIGHT
    assert (rounds[0].before, rounds[0].after, rounds[0].kept) == (1.0, 1.0, False)


def test_a_better_model_is_kept_and_goes_on() -> None:
    model, rounds, seen = told([SOME_RIGHT, RIGHT, WRONG], replace(ON, rounds=4, rate_matching=False))
    assert model.says is RIGHT
    assert [one.kept for one in rounds] == [True, False]
    assert len(seen) == 3


def test_the_last_model_is_kept_when_the_recipe_says_so() -> None:
    model, rounds, _ = told([RIGHT, WRONG], replace(ON, keep_if_better=False, rounds=2))
    assert model.says is WRONG
    assert [one.kept for one in rounds] == [True, True]


def test_the_second_model_learns_the_labelled_titles_and_the_pseudo_labels() -> None:
    _, rounds, seen = told([RIGHT, WRONG], ON)
    (learned, targets), (both, all_targets) = seen
    assert both.ids[:8] == learned.ids
    np.testing.assert_array_equal(all_targets[:8], targets)
    assert set(both.ids[8:]) <= {f"2-{number}" for number in range(40)}
    assert rounds[0].joined == len(both) - 8 > 0
    assert rounds[0].positives == all_targets[8:].sum()
    clouds = [int(title_id.partition("-")[2]) % 4 for title_id in both.ids[8:]]
    np.testing.assert_array_equal(all_targets[8:], LABELS_OF_CLUSTER[clouds])


def test_confidence_is_of_calibrated_probabilities() -> None:
    """Scores that are right but timid become sure by calibration, and titles join."""
    timid = (0.5 + 0.2 * (RIGHT - 0.5)).astype(np.float32)
    learned, targets = clusters(8, 1)
    unlabelled, _ = clusters(40, 2)
    joined = []
    for calibration in (RAW, CalibrationConfig(min_examples=5, shrinkage=0)):
        fit = Saying([], [timid]).fit
        _, rounds = self_train(fit, learned, targets, held_out(n=40), unlabelled, ON, calibration)
        joined.append(rounds[0].joined)
    assert joined[0] == 0
    assert joined[1] > 30


def test_when_no_title_joins_the_first_model_stays() -> None:
    model, rounds, seen = told([np.full((4, 4), 0.5, np.float32)], replace(ON, keep_if_better=False))
    assert len(seen) == 1
    assert model.says.max() == 0.5
    assert (rounds[0].joined, rounds[0].positives, rounds[0].after, rounds[0].kept) == (0, 0, None, False)


def test_without_validation_labels_there_is_nothing_to_prefer() -> None:
    learned, targets = clusters(8, 1)
    unlabelled, _ = clusters(40, 2)
    blank = replace(held_out(n=40), targets=np.zeros((40, 4), np.float32))
    saying = Saying([], [RIGHT, WRONG])
    model, rounds = self_train(saying.fit, learned, targets, blank, unlabelled, ON, RAW)
    assert model.says is RIGHT  # type: ignore[attr-defined]
    assert (rounds[0].before, rounds[0].after, rounds[0].kept) == (None, None, False)


@pytest.mark.parametrize(("titles", "n_unlabelled"), [(0, 40), (10, 0)])
def test_off_or_without_unlabelled_titles_one_model_is_fitted(titles: int, n_unlabelled: int) -> None:
    learned, targets = clusters(8, 1)
    unlabelled, _ = clusters(n_unlabelled, 2)
    saying = Saying([], [RIGHT, WRONG])
    model, rounds = self_train(
        saying.fit, learned, targets, held_out(n=40), unlabelled, SelfTrainingConfig(titles=titles), RAW
    )
    assert model.says is RIGHT  # type: ignore[attr-defined]
    assert rounds == []
    assert len(saying.seen) == 1


# in a tagger

HIDDEN = {row["id"] for row in rows() if row["split"] in ("train", "background")} - {
    row["id"] for row in rows() if row["split"] == "train"
    for _ in [0] if int(row["id"][1:]) // 4 % 10 < 2
}  # fmt: skip


@cache
def half_labelled() -> Catalogue:
    """The sample with the genres of most training titles and of all background ones taken away."""
    return changed(lambda row: row | {"genres": []} if row["id"] in HIDDEN else row)


def with_titles(n: int, model: str = "linear", **settings: Any) -> Recipe:
    return replace(quick_recipe(model), self_training=SelfTrainingConfig(titles=n, **settings))


@cache
def self_trained() -> Tagger:
    return Tagger(with_titles(1000, confidence=0.6, keep_if_better=False)).fit(half_labelled())


@pytest.mark.parametrize("model", ["linear", "fusion"])
def test_off_is_the_same_tagger_byte_for_byte(model: str, tmp_path: Path) -> None:
    fitted(model).save_pretrained(tmp_path / "first")
    off = SelfTrainingConfig(titles=0, confidence=0.1, rounds=7, keep_if_better=False)
    Tagger(replace(quick_recipe(model), self_training=off)).fit(sample()).save_pretrained(tmp_path / "second")
    assert files_of(tmp_path / "first", "config.json") == files_of(tmp_path / "second", "config.json")
    configs = [json.loads((tmp_path / name / "config.json").read_text("utf-8")) for name in ("first", "second")]
    assert configs[0]["history"] == configs[1]["history"]
    assert "self-training" not in configs[1]["history"]
    assert "self-training" not in fitted(model).fitted.fitted_on


def test_off_does_not_even_look_at_unlabelled_titles(tmp_path: Path) -> None:
    removed = catalogue(row for row in rows() if row["id"] not in HIDDEN)
    config = quick_recipe()
    for name, films in (("first", half_labelled()), ("second", removed)):
        Tagger(config).fit(films).save_pretrained(tmp_path / name)
    assert files_of(tmp_path / "first", "config.json") == files_of(tmp_path / "second", "config.json")


def test_a_tagger_learns_from_unlabelled_titles_and_tells_which() -> None:
    tagger = self_trained()
    fitted_on, history = tagger.fitted.fitted_on, tagger.fitted.history["self-training"]
    assert set(fitted_on["self-training"]) == HIDDEN
    assert not HIDDEN & set(fitted_on["model"])
    assert history[0]["asked"] == len(HIDDEN)
    assert 0 < history[0]["joined"] <= len(HIDDEN)
    plain = Tagger(quick_recipe()).fit(half_labelled())
    assert tagger.labels.labels == plain.labels.labels
    ours, theirs = (t.tag(sample(), evidence=False).probabilities for t in (tagger, plain))
    assert not np.array_equal(ours, theirs)
    assert tagger.evaluate(sample()).report.evaluation.scores.micro_f1 > 0.7
    shown = set(tagger.fitted.neighbours.titles["id"])
    assert shown == set(fitted_on["model"])  # pseudo-labels are never shown as what a title is


def test_unlabelled_titles_change_neither_vocabulary_nor_graph(tmp_path: Path) -> None:
    self_trained().save_pretrained(tmp_path / "first")
    Tagger(quick_recipe()).fit(half_labelled()).save_pretrained(tmp_path / "second")
    first, second = (files_of(tmp_path / name, "config.json", "README.md") for name in ("first", "second"))
    changed_files = {name for name in first if first[name] != second[name]}
    assert not any(name.startswith("features/") for name in changed_files)
    assert "labels.json" not in changed_files
    assert {"model/model.safetensors", "fitted_on.parquet"} <= changed_files


def test_no_validation_or_test_title_is_ever_asked_about(tmp_path: Path) -> None:
    """Held-out titles without labels are there, and more titles are asked for than there are."""
    bare = {"t024", "t025", "t032", "t033"}
    films = changed(lambda row: row | {"genres": []} if row["id"] in HIDDEN | bare else row)
    split_of = {row["id"]: row["split"] for row in rows()}
    assert {split_of[title_id] for title_id in bare} == {"validation", "test"}
    tagger = Tagger(with_titles(1000, confidence=0.6)).fit(films)
    assert {split_of[title_id] for title_id in tagger.fitted.fitted_on["self-training"]} == {"train", "background"}
    others = changed(
        lambda row: row | {"genres": [], "plot": "quasar"} if row["id"] in bare and row["split"] == "test"
        else row | {"genres": []} if row["id"] in HIDDEN | bare else row
    )  # fmt: skip
    again = Tagger(with_titles(1000, confidence=0.6)).fit(others)
    for name, one in (("first", tagger), ("second", again)):
        one.save_pretrained(tmp_path / name)
    assert files_of(tmp_path / "first", "config.json") == files_of(tmp_path / "second", "config.json")


def test_at_most_so_many_titles_are_asked_about_drawn_by_seed() -> None:
    asked = [
        Tagger(with_titles(7), seed=seed).fit(half_labelled()).fitted.fitted_on["self-training"] for seed in (0, 0, 1)
    ]
    assert [len(ids) for ids in asked] == [7, 7, 7]
    assert asked[0] == asked[1] != asked[2]


def test_where_every_title_has_labels_self_training_does_nothing() -> None:
    tagger = Tagger(with_titles(50)).fit(sample())
    assert "self-training" not in tagger.fitted.fitted_on
    assert "self-training" not in tagger.fitted.history
    np.testing.assert_array_equal(
        tagger.tag(sample(), evidence=False).probabilities, fitted().tag(sample(), evidence=False).probabilities
    )


def test_the_leak_check_names_self_training(tmp_path: Path) -> None:
    """A title that was asked about and is later measured on has been seen."""
    tagger = self_trained()
    leaked = tagger.fitted.fitted_on["self-training"][0]
    films = changed(lambda row: row | {"split": "test"} if row["id"] == leaked else row)
    report = tagger.evaluate(films, "test").report
    assert "self-training" in report.metadata["leak check"]


def test_a_self_trained_network_says_the_same_when_loaded(tmp_path: Path) -> None:
    config = with_titles(1000, "fusion", confidence=0.5, keep_if_better=False)
    tagger = Tagger(config).fit(half_labelled())
    assert tagger.fitted.history["self-training"][0]["kept"]
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "tagger"))
    assert loaded.recipe.to_json() == tagger.recipe.to_json()
    assert loaded.fitted.history == tagger.fitted.history
    assert loaded.fitted.fitted_on == tagger.fitted.fitted_on
    np.testing.assert_array_equal(
        loaded.tag(sample(), evidence=False).probabilities, tagger.tag(sample(), evidence=False).probabilities
    )


def test_recipes_saved_before_there_was_self_training_load() -> None:
    data = quick_recipe().to_json()
    del data["self_training"]
    assert recipe_from_json(data).self_training == SelfTrainingConfig()
    assert recipe_from_json(with_titles(5).to_json()).self_training.titles == 5
    with pytest.raises(ConfigError, match=r"recipe\.self_training: unknown setting 'rate'"):
        recipe_from_json(data | {"self_training": {"rate": 1}})


def test_the_labels_that_are_hidden_are_most_and_leave_every_genre() -> None:
    """The sample above is what it should be."""
    left = [row["genres"] for row in rows() if row["split"] == "train" and row["id"] not in HIDDEN]
    assert len(left) < 40
    assert {genre for genres in left for genre in genres} == set(GENRES)
