from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, EvaluationError
from reeltag.evaluation import metrics, ranking, reliability
from reeltag.evaluation.significance import BootstrapConfig, bootstrap_f1
from reeltag.evaluation.summary import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    Evaluation,
    EvaluationConfig,
    Truth,
    evaluate_predictions,
    score_decisions,
)

from .samples import CASES, draw, evaluation, names, signal

QUICK = EvaluationConfig(bootstrap=BootstrapConfig(n_resamples=20))


def evaluate(case: str, config: EvaluationConfig = QUICK) -> tuple[np.ndarray, np.ndarray, Evaluation]:
    targets, probabilities = draw(case)
    n_labels = targets.shape[1]
    thresholds = {AT_HALF: np.full(n_labels, 0.5), PER_LABEL: np.linspace(0.2, 0.7, n_labels)}
    truth = Truth(targets=targets, labels=names(n_labels))
    return targets, probabilities, evaluate_predictions(truth, probabilities, thresholds, config=config)


@pytest.mark.parametrize("case", [case for case in CASES if case != "one_label"])
def test_scores_agree_with_scikit_learn(case: str) -> None:
    targets, probabilities, result = evaluate(case)
    decisions = probabilities >= 0.5
    scores = result.rule(AT_HALF)
    for average in ("micro", "macro", "weighted", "samples"):
        expected = f1_score(targets, decisions, average=average, zero_division=0)
        assert getattr(scores, f"{average}_f1") == pytest.approx(expected)
    for average in ("micro", "macro"):
        precision = precision_score(targets, decisions, average=average, zero_division=0)
        recall = recall_score(targets, decisions, average=average, zero_division=0)
        assert getattr(scores, f"{average}_precision") == pytest.approx(precision)
        assert getattr(scores, f"{average}_recall") == pytest.approx(recall)


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_pure_functions(case: str) -> None:
    targets, probabilities, result = evaluate(case)
    decisions = metrics.decide(probabilities, np.linspace(0.2, 0.7, targets.shape[1]))
    scores = result.scores
    assert scores.rule == result.headline == PER_LABEL
    assert scores.micro_f1 == metrics.micro_f1(targets, decisions)
    assert scores.hit_at_least_one == metrics.hit_at_least_one(targets, decisions)
    assert scores.abstention_rate == metrics.abstention_rate(decisions)
    assert scores.coverage == pytest.approx(metrics.coverage(decisions))
    assert scores.labels_per_title == pytest.approx(decisions.sum() / len(targets))
    assert scores.intervals == bootstrap_f1(targets, decisions, QUICK.bootstrap)


@pytest.mark.parametrize("case", CASES)
def test_ranking_figures_are_those_of_the_pure_functions(case: str) -> None:
    targets, probabilities, result = evaluate(case)
    figures = result.ranking
    assert figures.mean_average_precision == ranking.mean_average_precision(targets, probabilities)
    assert figures.micro_average_precision == ranking.micro_average_precision(targets, probabilities)
    assert figures.brier == reliability.brier_score(targets, probabilities)
    assert figures.ece == reliability.expected_calibration_error(targets, probabilities)
    assert figures.top_k == tuple(ranking.rank_titles(targets, probabilities, k) for k in (1, 3, 5))
    assert result.reliability == reliability.reliability_curve(targets, probabilities)


def test_label_table() -> None:
    targets, probabilities, result = evaluate("no_positive")
    limits = np.linspace(0.2, 0.7, 7)
    decisions = metrics.decide(probabilities, limits)
    for column, row in enumerate(result.labels):
        assert row.label == f"label {column}"
        assert (row.support, row.predicted) == (targets[:, column].sum(), decisions[:, column].sum())
        assert row.threshold == pytest.approx(limits[column])
        assert row.f1 == row.f1_by_rule[PER_LABEL]
        assert row.f1_by_rule[AT_HALF] == pytest.approx(
            f1_score(targets[:, column], probabilities[:, column] >= 0.5, zero_division=0)
        )
        if row.support:
            assert row.average_precision == pytest.approx(
                average_precision_score(targets[:, column], probabilities[:, column])
            )
        else:
            assert row.average_precision is None
            assert row.auroc is None


def test_undefined_figures_are_none() -> None:
    truth = Truth(targets=np.zeros((3, 2), bool), labels=("a", "b"))
    result = evaluate_predictions(truth, np.full((3, 2), 0.4, np.float32), {AT_HALF: np.full(2, 0.5)}, config=QUICK)
    assert result.ranking.mean_average_precision is None
    assert result.ranking.micro_average_precision is None
    assert result.ranking.macro_auroc is None
    assert result.ranking.top_k[0].ndcg is None
    assert result.scores.micro_f1 == 0.0
    assert result.scores.abstention_rate == 1.0
    assert result.n_true == 0


def test_a_label_that_is_never_decided_has_no_threshold() -> None:
    targets, probabilities = draw("plain")
    truth = Truth(targets=targets, labels=names(7))
    limits = np.full(7, 0.5)
    limits[2] = np.inf
    result = evaluate_predictions(truth, probabilities, {PER_LABEL: limits}, config=QUICK)
    assert result.labels[2].threshold is None
    assert result.labels[2].predicted == 0


def test_headline_is_the_last_rule_unless_named() -> None:
    assert evaluation().headline == PER_LABEL
    _, _, result = evaluate("plain", dataclasses.replace(QUICK, headline=AT_HALF))
    assert result.scores.rule == AT_HALF
    assert result.labels[0].threshold == 0.5


def test_targets_as_numbers_and_as_bools_agree() -> None:
    targets, probabilities = draw("plain")
    thresholds = {GLOBAL: np.full(7, 0.4)}
    as_bool, as_float = (
        evaluate_predictions(Truth(targets=t, labels=names(7)), probabilities, thresholds, config=QUICK)
        for t in (targets, targets.astype(np.float32))
    )
    assert as_bool == as_float


def test_json_round_trip() -> None:
    result = evaluation()
    assert from_json(Evaluation, to_json(result)) == result


def test_intervals_may_be_left_out() -> None:
    _, _, result = evaluate("plain", EvaluationConfig(ks=(), bootstrap=BootstrapConfig(n_resamples=0)))
    assert result.scores.intervals == {}
    assert result.ranking.top_k == ()


def test_intervals_hold_their_figures() -> None:
    scores = evaluation(n_titles=300).scores
    assert set(scores.intervals) == {"micro_f1", "macro_f1", "weighted_f1", "samples_f1"}
    for name, interval in scores.intervals.items():
        assert interval.low <= getattr(scores, name) <= interval.high


def test_score_decisions_of_any_rule() -> None:
    targets, probabilities = signal(50, 4)
    top_one = probabilities == probabilities.max(axis=1, keepdims=True)
    scores = score_decisions("most probable", targets, top_one, BootstrapConfig(n_resamples=5))
    assert (scores.rule, scores.abstention_rate, scores.labels_per_title) == ("most probable", 0.0, 1.0)


@pytest.mark.parametrize(
    ("targets", "labels", "message"),
    [
        (np.zeros((2, 3)), ("a", "b"), "must name all 3 columns; got 2 names"),
        (np.zeros((2, 2)), ("a", "a"), "must not name a label twice"),
        (np.array([[0.0, 0.5]]), ("a", "b"), "must be 0 or 1; got 0.5"),
        (np.array([[0.0, np.nan]]), ("a", "b"), "must be 0 or 1; got nan"),
        (np.zeros((0, 2)), ("a", "b"), "at least one of each"),
    ],
)
def test_truth_names_what_is_wrong(targets: np.ndarray, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Truth(targets=targets, labels=labels)


@pytest.mark.parametrize(
    ("probabilities", "thresholds", "headline", "message"),
    [
        (np.full((2, 2), 0.5), {}, None, "at least one rule; got none"),
        (np.full((2, 2), 0.5), {GLOBAL: [0.5, 0.5]}, "best", "headline rule must be one of global; got 'best'"),
        (np.full((2, 2), 1.5), {GLOBAL: [0.5, 0.5]}, None, r"numbers in \[0, 1\]"),
        (np.full((2, 3), 0.5), {GLOBAL: [0.5, 0.5]}, None, "shape of the targets"),
        (np.full((2, 2), 0.5), {GLOBAL: [0.5, 0.5, 0.5]}, None, "one per label"),
    ],
)
def test_bad_predictions_are_refused(
    probabilities: np.ndarray, thresholds: dict[str, list[float]], headline: str | None, message: str
) -> None:
    truth = Truth(targets=np.eye(2), labels=("a", "b"))
    arrays = {name: np.asarray(limits) for name, limits in thresholds.items()}
    with pytest.raises(EvaluationError, match=message):
        evaluate_predictions(truth, probabilities, arrays, config=dataclasses.replace(QUICK, headline=headline))


@pytest.mark.parametrize("settings", [{"ks": (1, 0)}, {"n_bins": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        EvaluationConfig(**settings)  # type: ignore[arg-type]


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(EvaluationError, match=r"must be one of at 0\.5, global, per_label; got 'best'"):
        evaluation().rule("best")


def test_the_order_of_titles_does_not_matter() -> None:
    targets, probabilities = draw("tied")
    order = np.random.default_rng(2).permutation(len(targets))
    thresholds = {GLOBAL: np.full(7, 0.5)}
    config = EvaluationConfig(bootstrap=BootstrapConfig(n_resamples=0))
    first, second = (
        to_json(evaluate_predictions(Truth(targets=t, labels=names(7)), p, thresholds, config=config))
        for t, p in ((targets, probabilities), (targets[order], probabilities[order]))
    )
    assert_same(first, second)


def test_the_order_of_labels_moves_their_rows_only() -> None:
    targets, probabilities = draw("plain")
    order = np.random.default_rng(3).permutation(7)
    config = EvaluationConfig(bootstrap=BootstrapConfig(n_resamples=0))
    labels, limits = names(7), np.linspace(0.3, 0.6, 7)
    first = evaluate_predictions(Truth(targets=targets, labels=labels), probabilities, {"x": limits}, config=config)
    moved = Truth(targets=targets[:, order], labels=tuple(labels[column] for column in order))
    second = evaluate_predictions(moved, probabilities[:, order], {"x": limits[order]}, config=config)
    assert_same(to_json(first.scores), to_json(second.scores))
    assert_same(to_json(first.ranking), to_json(second.ranking))
    by_name = {row.label: row for row in second.labels}
    for row in first.labels:
        assert_same(to_json(by_name[row.label]), to_json(row))


def assert_same(first: object, second: object) -> None:
    """Compare nested JSON values, numbers up to rounding."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert isinstance(second, list)
        for left, right in zip(first, second, strict=True):
            assert_same(left, right)
    else:
        assert first == (pytest.approx(second) if isinstance(second, float) else second)


def test_more_noise_scores_lower_everywhere() -> None:
    results = []
    for noise in (0.5, 3.0):
        targets, probabilities = signal(400, 5, noise=noise)
        truth = Truth(targets=targets, labels=names(5))
        results.append(evaluate_predictions(truth, probabilities, {AT_HALF: np.full(5, 0.5)}, config=QUICK))
    good, bad = results
    for field in ("micro_f1", "macro_f1", "weighted_f1", "samples_f1"):
        assert getattr(good.scores, field) > getattr(bad.scores, field)
    for field in ("mean_average_precision", "micro_average_precision", "macro_auroc"):
        assert getattr(good.ranking, field) > getattr(bad.ranking, field)
    assert good.ranking.brier < bad.ranking.brier
    for better, worse in zip(good.ranking.top_k, bad.ranking.top_k, strict=True):
        assert (better.ndcg or 0) > (worse.ndcg or 0)


def test_perfect_predictions_score_one() -> None:
    targets, _ = signal(60, 4)
    targets[0] = True
    targets[1:, 3] = False
    truth = Truth(targets=targets, labels=names(4))
    result = evaluate_predictions(truth, targets.astype(np.float32), {AT_HALF: np.full(4, 0.5)}, config=QUICK)
    scores, figures = result.scores, result.ranking
    assert (scores.micro_f1, scores.macro_f1, scores.weighted_f1) == (1.0, 1.0, 1.0)
    assert (figures.mean_average_precision, figures.macro_auroc, figures.brier, figures.ece) == (1.0, 1.0, 0.0, 0.0)
    assert figures.top_k[0].precision == 1.0
    assert {row.f1 for row in result.labels} == {1.0}


def test_arguments_are_left_as_they_were() -> None:
    targets, probabilities = draw("plain")
    before = targets.copy(), probabilities.copy()
    evaluate_predictions(Truth(targets=targets, labels=names(7)), probabilities, {"x": np.full(7, 0.5)}, config=QUICK)
    np.testing.assert_array_equal(targets, before[0])
    np.testing.assert_array_equal(probabilities, before[1])


@pytest.mark.slow
def test_many_titles_and_labels_stay_quick() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((20_000, 1000), dtype=np.float32) ** 8
    targets = rng.random((20_000, 1000), dtype=np.float32) < probabilities / 4
    truth = Truth(targets=targets, labels=names(1000))
    started = time.perf_counter()
    evaluate_predictions(truth, probabilities, {GLOBAL: np.full(1000, 0.4)}, config=QUICK)
    assert time.perf_counter() - started < 20.0
