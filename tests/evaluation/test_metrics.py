from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, precision_recall_fscore_support, precision_score, recall_score

from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import (
    Counts,
    abstention_rate,
    check_probabilities,
    coverage,
    decide,
    hit_at_least_one,
    label_counts,
    macro_f1,
    micro_f1,
    micro_precision,
    micro_recall,
    ratio,
    samples_f1,
    title_counts,
    weighted_f1,
)

from .samples import CASES, draw

OURS = {"micro": micro_f1, "macro": macro_f1, "weighted": weighted_f1, "samples": samples_f1}


def reference_f1(targets: np.ndarray, decisions: np.ndarray, average: str) -> float:
    if targets.shape[1] == 1 and average in ("micro", "macro", "weighted"):
        # scikit-learn takes a single column for a two-class problem; ours is its positive class
        return float(f1_score(targets[:, 0], decisions[:, 0], average="binary", zero_division=0))
    if targets.shape[1] == 1:
        return float((targets & decisions).mean())
    return float(f1_score(targets, decisions, average=average, zero_division=0))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("average", OURS)
@pytest.mark.parametrize("seed", range(3))
def test_f1_agrees_with_scikit_learn(case: str, average: str, seed: int) -> None:
    targets, probabilities = draw(case, seed)
    decisions = decide(probabilities, 0.5)
    assert OURS[average](targets, decisions) == pytest.approx(reference_f1(targets, decisions, average), abs=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case != "one_label"])
def test_label_figures_agree_with_scikit_learn(case: str) -> None:
    targets, probabilities = draw(case)
    decisions = decide(probabilities, 0.5)
    counts = label_counts(targets, decisions)
    precision, recall, f1, support = precision_recall_fscore_support(targets, decisions, zero_division=0)
    np.testing.assert_allclose(counts.precision, precision)
    np.testing.assert_allclose(counts.recall, recall)
    np.testing.assert_allclose(counts.f1, f1)
    np.testing.assert_array_equal(counts.support, support)
    assert micro_precision(targets, decisions) == pytest.approx(
        precision_score(targets, decisions, average="micro", zero_division=0)
    )
    assert micro_recall(targets, decisions) == pytest.approx(
        recall_score(targets, decisions, average="micro", zero_division=0)
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_f1_agrees_with_scikit_learn_on_any_matrix(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(2, 5)))
    targets, decisions = data.draw(hnp.arrays(bool, shape)), data.draw(hnp.arrays(bool, shape))
    for average, ours in OURS.items():
        assert ours(targets, decisions) == pytest.approx(reference_f1(targets, decisions, average), abs=1e-12)


def test_float_targets_count_as_bool_targets() -> None:
    targets, probabilities = draw("plain")
    decisions = decide(probabilities, 0.5)
    as_floats = label_counts(targets.astype(np.float32), decisions.astype(np.float32))
    np.testing.assert_array_equal(as_floats.tp, label_counts(targets, decisions).tp)


def test_empty_label_scores_zero_and_counts_in_the_macro_mean() -> None:
    targets = np.array([[1, 0], [1, 0]], bool)
    assert label_counts(targets, targets).f1.tolist() == [1.0, 0.0]
    assert macro_f1(targets, targets) == 0.5
    assert weighted_f1(targets, targets) == 1.0


def test_nothing_true_and_nothing_decided_scores_zero() -> None:
    empty = np.zeros((3, 2), bool)
    assert [metric(empty, empty) for metric in OURS.values()] == [0.0, 0.0, 0.0, 0.0]
    assert micro_precision(empty, empty) == micro_recall(empty, empty) == 0.0


def test_counts_by_hand() -> None:
    targets = np.array([[1, 0, 1], [0, 1, 0]], bool)
    decisions = np.array([[1, 1, 0], [0, 1, 0]], bool)
    labels, titles = label_counts(targets, decisions), title_counts(targets, decisions)
    assert (labels.tp.tolist(), labels.predicted.tolist(), labels.support.tolist()) == ([1, 1, 0], [1, 2, 0], [1, 1, 1])
    assert (titles.tp.tolist(), titles.predicted.tolist(), titles.support.tolist()) == ([1, 1], [2, 1], [2, 1])
    pooled = labels.pooled()
    assert (int(pooled.tp), int(pooled.predicted), int(pooled.support)) == (2, 3, 3)
    assert pooled.tp.shape == ()


def test_pooled_counts_are_the_same_over_labels_and_titles() -> None:
    targets, probabilities = draw("plain")
    decisions = decide(probabilities, 0.3)
    by_label, by_title = label_counts(targets, decisions).pooled(), title_counts(targets, decisions).pooled()
    assert (int(by_label.tp), int(by_label.predicted)) == (int(by_title.tp), int(by_title.predicted))


def test_hit_at_least_one_counts_abstention_and_empty_truth_as_misses() -> None:
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    decisions = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]], bool)
    assert hit_at_least_one(targets, decisions) == 0.25


@pytest.mark.parametrize("case", CASES)
def test_hit_at_least_one_agrees_with_a_loop(case: str) -> None:
    targets, probabilities = draw(case)
    decisions = decide(probabilities, 0.5)
    hits = [any(t and d for t, d in zip(*rows, strict=True)) for rows in zip(targets, decisions, strict=True)]
    assert hit_at_least_one(targets, decisions) == pytest.approx(sum(hits) / len(hits))


def test_abstention_and_coverage_add_up_to_one() -> None:
    decisions = np.array([[0, 0], [1, 0], [1, 1], [0, 0]], bool)
    assert abstention_rate(decisions) == coverage(decisions) == 0.5
    assert coverage(np.ones((2, 2), bool)) == 1.0


def test_decide_takes_the_threshold_itself() -> None:
    probabilities = np.array([[0.1, 0.5], [0.3, 0.4]], np.float32)
    assert decide(probabilities, [0.3, 0.5]).tolist() == [[False, True], [True, False]]
    assert decide(probabilities, np.inf).any() is np.False_
    assert decide(probabilities, 0.0).all()


def test_decide_lets_the_probability_pass_that_a_threshold_was_read_from() -> None:
    probabilities = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    thresholds = probabilities.max(axis=0).astype(np.float64)
    assert decide(probabilities, thresholds).sum(axis=0).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [([0.5, 0.5, 0.5], r"one per label \(2\); got shape \(3,\)"), ([0.5, np.nan], "must not be NaN")],
)
def test_decide_names_the_wrong_thresholds(thresholds: list[float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        decide(np.zeros((4, 2), np.float32), thresholds)


@pytest.mark.parametrize("metric", [*OURS.values(), micro_precision, micro_recall, hit_at_least_one, label_counts])
def test_unequal_shapes_are_refused(metric: object) -> None:
    with pytest.raises(EvaluationError, match=r"decisions must have the shape of the targets, \(3, 2\); got \(3, 4\)"):
        metric(np.zeros((3, 2), bool), np.zeros((3, 4), bool))  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_empty_or_flat_targets_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match="at least one of each"):
        micro_f1(np.zeros(shape, bool), np.zeros(shape, bool))
    with pytest.raises(EvaluationError, match="at least one of each"):
        coverage(np.zeros(shape, bool))


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_probabilities_out_of_range_are_refused(value: float) -> None:
    probabilities = np.full((2, 2), 0.5, np.float32)
    probabilities[1, 0] = value
    with pytest.raises(EvaluationError, match=r"must be numbers in \[0, 1\]"):
        check_probabilities(probabilities)


def test_ratio_is_zero_without_a_whole() -> None:
    assert ratio(np.array([1, 0, 3]), np.array([2, 0, 4])).tolist() == [0.5, 0.0, 0.75]


def test_weighted_f1_of_counts_without_support_is_zero() -> None:
    none = np.zeros(3, np.int64)
    assert Counts(tp=none, predicted=none, support=none).weighted_f1() == 0.0
