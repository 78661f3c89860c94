from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from reeltag.config import from_json, to_json
from reeltag.errors import EvaluationError
from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    BootstrapConfig,
    Evaluation,
    EvaluationConfig,
    LongTail,
    TrainingCounts,
    Truth,
    evaluate_predictions,
    group_labels,
    label_coverage,
    label_propensities,
    labels_decided,
    macro_f1,
    propensity_scored_ndcg_at_k,
    propensity_scored_precision_at_k,
)

from .samples import CASES, draw, evaluation, names

QUICK = EvaluationConfig(bootstrap=BootstrapConfig(n_resamples=0))


def counts_of(n_labels: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.random.default_rng(n_labels).integers(1, 60, n_labels))


def evaluate(case: str, config: EvaluationConfig = QUICK) -> tuple[np.ndarray, np.ndarray, Evaluation]:
    targets, probabilities = draw(case)
    n_labels = targets.shape[1]
    thresholds = {AT_HALF: np.full(n_labels, 0.5), GLOBAL: np.full(n_labels, 0.4)}
    training = TrainingCounts(labels=counts_of(n_labels), n_titles=80)
    truth = Truth(targets=targets, labels=names(n_labels))
    return targets, probabilities, evaluate_predictions(
        truth, probabilities, thresholds, config=config, training=training
    )  # fmt: skip


def tail_of(found: Evaluation) -> LongTail:
    assert found.long_tail is not None
    return found.long_tail


def test_labels_are_cut_into_thirds_by_falling_count() -> None:
    counts = [5, 90, 1, 40, 40, 7, 2]
    groups = group_labels(counts)
    assert {name: columns.tolist() for name, columns in groups.items()} == {
        "head": [1, 3, 4], "middle": [5, 0], "tail": [6, 2],
    }  # fmt: skip
    assert sorted(np.concatenate(list(groups.values())).tolist()) == list(range(7))


@pytest.mark.parametrize("n_labels", range(1, 20))
def test_every_label_is_in_one_group_and_groups_are_of_like_size(n_labels: int) -> None:
    counts = counts_of(n_labels)
    groups = group_labels(counts)
    sizes = [len(columns) for columns in groups.values()]
    assert sum(sizes) == n_labels
    assert max(sizes) - min(sizes) <= 1
    ends = [(counts[columns[0]], counts[columns[-1]]) for columns in groups.values()]
    falling = [count for pair in ends for count in pair]
    assert falling == sorted(falling, reverse=True)


def test_two_labels_have_no_tail() -> None:
    assert list(group_labels([3, 4])) == ["head", "middle"]
    assert list(group_labels([3])) == ["head"]


@pytest.mark.parametrize("case", CASES)
def test_figures_of_the_groups_agree_with_scikit_learn(case: str) -> None:
    targets, probabilities, found = evaluate(case)
    decisions, counts = probabilities >= np.float32(0.4), counts_of(targets.shape[1])
    for group in tail_of(found).groups:
        columns = group_labels(counts)[group.name]
        truth, decided = targets[:, columns], decisions[:, columns]
        pairs = [(truth[:, c], decided[:, c]) for c in range(len(columns))]
        for metric, value in (
            (f1_score, group.macro_f1), (precision_score, group.macro_precision), (recall_score, group.macro_recall),
        ):  # fmt: skip
            assert value == pytest.approx(np.mean([metric(*pair, zero_division=0) for pair in pairs]))
        known = [column for column in columns if targets[:, column].any()]
        assert (group.n_labels, group.n_true_labels) == (len(columns), len(known))
        assert (group.most, group.fewest) == (max(counts[c] for c in columns), min(counts[c] for c in columns))
        if known:
            expected = np.mean([average_precision_score(targets[:, c], probabilities[:, c]) for c in known])
            assert group.mean_average_precision == pytest.approx(expected)
        else:
            assert group.mean_average_precision is None


@pytest.mark.parametrize("case", CASES)
def test_macro_f1_of_all_labels_is_the_mean_of_the_groups_by_size(case: str) -> None:
    targets, probabilities, found = evaluate(case)
    groups = tail_of(found).groups
    mean = sum(group.n_labels * group.macro_f1 for group in groups) / targets.shape[1]
    assert mean == pytest.approx(macro_f1(targets, probabilities >= np.float32(0.4)))


@pytest.mark.parametrize("case", CASES)
def test_label_coverage_agrees_with_a_loop(case: str) -> None:
    targets, probabilities, found = evaluate(case)
    decisions = probabilities >= np.float32(0.4)
    known = covered = decided = 0
    for column in range(targets.shape[1]):
        known += any(targets[:, column])
        covered += any(t and d for t, d in zip(targets[:, column], decisions[:, column], strict=True))
        decided += any(decisions[:, column])
    tail = tail_of(found)
    assert tail.labels_decided == labels_decided(decisions) == pytest.approx(decided / targets.shape[1])
    if known:
        assert tail.label_coverage == label_coverage(targets, decisions) == pytest.approx(covered / known)
    else:
        assert tail.label_coverage is None


def test_label_coverage_by_hand() -> None:
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 1]], bool)
    decisions = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], bool)
    assert label_coverage(targets, decisions) == pytest.approx(1 / 3), "of three true labels the first alone is found"
    assert labels_decided(decisions) == 0.75
    assert math.isnan(label_coverage(np.zeros((2, 2), bool), np.ones((2, 2), bool)))
    with pytest.raises(EvaluationError, match="decisions must have the shape of the targets"):
        label_coverage(targets, decisions[:1])


def test_propensity_scored_figures_are_those_of_the_pure_functions() -> None:
    targets, probabilities, found = evaluate("tied")
    propensities = label_propensities(counts_of(7), 80)
    tail = tail_of(found)
    assert tail.n_train == 80
    for top, k in zip(tail.top_k, (1, 3, 5), strict=True):
        assert top.k == k
        assert top.precision == propensity_scored_precision_at_k(targets, probabilities, propensities, k)
        assert top.ndcg == propensity_scored_ndcg_at_k(targets, probabilities, propensities, k)


def test_decisions_are_those_of_the_headline_rule() -> None:
    _, _, last = evaluate("plain")
    _, _, first = evaluate("plain", dataclasses.replace(QUICK, headline=AT_HALF))
    assert tail_of(last).groups != tail_of(first).groups
    assert tail_of(last).top_k == tail_of(first).top_k
    both = (last.rule(GLOBAL).macro_f1, first.rule(AT_HALF).macro_f1)
    for found, expected in zip((last, first), both, strict=True):
        groups = tail_of(found).groups
        assert sum(g.n_labels * g.macro_f1 for g in groups) / 7 == pytest.approx(expected)


def test_groups_by_name() -> None:
    _, _, found = evaluate("one_label")
    head = tail_of(found).group("head")
    assert head is not None and head.n_labels == 1
    assert tail_of(found).group("tail") is None


def test_without_training_counts_nothing_is_said_and_nothing_else_changes() -> None:
    targets, probabilities, found = evaluate("plain")
    truth = Truth(targets=targets, labels=names(7))
    thresholds = {AT_HALF: np.full(7, 0.5), GLOBAL: np.full(7, 0.4)}
    plain = evaluate_predictions(truth, probabilities, thresholds, config=QUICK)
    assert plain.long_tail is None
    assert dataclasses.replace(found, long_tail=None) == plain


def test_json_round_trip_with_and_without() -> None:
    _, _, found = evaluate("no_positive")
    assert from_json(Evaluation, to_json(found)) == found
    older = to_json(evaluation())
    del older["long_tail"]
    assert from_json(Evaluation, older) == evaluation(), "reports of earlier versions are read"


@pytest.mark.parametrize(
    ("labels", "n_titles", "message"),
    [((1, 2), 1, "between 0 and the 1 training titles"), ((), 4, "with a label"), ((0,), 0, "at least 1 training")],
)
def test_training_counts_that_cannot_be(labels: tuple[int, ...], n_titles: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        TrainingCounts(labels=labels, n_titles=n_titles)


def test_training_counts_of_other_labels_are_refused() -> None:
    truth = Truth(targets=np.eye(2), labels=("a", "b"))
    training = TrainingCounts(labels=(1, 2, 3), n_titles=4)
    with pytest.raises(EvaluationError, match=r"training counts must be one per label \(2\); got 3"):
        evaluate_predictions(truth, np.eye(2), {GLOBAL: np.full(2, 0.5)}, config=QUICK, training=training)
