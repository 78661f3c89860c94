"""Means over labels, and over titles, that count some more than others: against scikit-learn and loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from reeltag.errors import EvaluationError
from reeltag.evaluation import (
    BootstrapConfig,
    bootstrap_means,
    compare_means,
    decide,
    micro_recall,
    weighted_auroc,
    weighted_average_precision,
    weighted_mean,
    weighted_precision,
    weighted_recall,
)

from .samples import CASES, draw


@pytest.mark.parametrize("case", CASES)
def test_weighted_precision_and_recall_agree_with_scikit_learn(case: str) -> None:
    targets, probabilities = draw(case)
    decisions = decide(probabilities, 0.5)
    settings = {"average": "weighted", "zero_division": 0}
    truth, said = (targets[:, 0], decisions[:, 0]) if case == "one_label" else (targets, decisions)
    if case == "one_label":
        settings["average"] = "binary"
    assert weighted_precision(targets, decisions) == pytest.approx(precision_score(truth, said, **settings))
    assert weighted_recall(targets, decisions) == pytest.approx(recall_score(truth, said, **settings))
    assert weighted_recall(targets, decisions) == pytest.approx(micro_recall(targets, decisions))


@pytest.mark.parametrize("case", CASES)
def test_weighted_areas_agree_with_scikit_learn(case: str) -> None:
    targets, probabilities = draw(case)
    support = targets.sum(axis=0)
    ranked = support > 0
    precision = average_precision_score(targets[:, ranked], probabilities[:, ranked], average="weighted")
    assert weighted_average_precision(targets, probabilities) == pytest.approx(precision)
    defined = ranked & (support < len(targets))
    if not defined.any():
        assert np.isnan(weighted_auroc(targets, probabilities))
        return
    area = roc_auc_score(targets[:, defined], probabilities[:, defined], average="weighted")
    assert weighted_auroc(targets, probabilities) == pytest.approx(area)


def test_random_scores_have_an_area_of_a_half_and_a_precision_of_the_base_rates() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((20_000, 4)) < np.array([0.5, 0.3, 0.1, 0.05])
    scores = rng.random(targets.shape)
    rates = targets.mean(axis=0)
    assert weighted_auroc(targets, scores) == pytest.approx(0.5, abs=0.01)
    assert weighted_average_precision(targets, scores) == pytest.approx((rates**2).sum() / rates.sum(), abs=0.01)


def test_a_weighted_mean_leaves_out_what_is_undefined() -> None:
    figures, support = np.array([0.5, np.nan, 1.0]), np.array([3, 5, 1])
    assert weighted_mean(figures, support) == pytest.approx((3 * 0.5 + 1) / 4)
    assert np.isnan(weighted_mean(np.array([np.nan]), np.array([2])))
    assert np.isnan(weighted_mean(np.array([0.5]), np.array([0])))


def test_without_any_truth_nothing_is_undefined_but_the_areas() -> None:
    targets, probabilities = np.zeros((3, 2), np.bool_), np.full((3, 2), 0.7)
    assert weighted_precision(targets, probabilities > 0.5) == weighted_recall(targets, probabilities > 0.5) == 0.0
    assert np.isnan(weighted_average_precision(targets, probabilities))


def test_intervals_of_means_are_those_of_a_loop() -> None:
    config = BootstrapConfig(n_resamples=60, level=0.9, seed=4)
    values = np.random.default_rng(0).random((23, 3))
    rng = np.random.default_rng(config.seed)
    drawn = np.array([values[rng.integers(0, 23, 23)].mean(axis=0) for _ in range(60)])
    for column, found in enumerate(bootstrap_means(values, config)):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn[:, column], [0.05, 0.95])))
    assert bootstrap_means(values, BootstrapConfig(n_resamples=0)) == []


def test_a_paired_difference_is_that_of_a_loop_over_the_same_titles() -> None:
    config = BootstrapConfig(n_resamples=99, seed=1)
    rng = np.random.default_rng(7)
    first = rng.random(40)
    second = first + rng.normal(0.03, 0.1, 40)
    found = compare_means(first, second, config)
    draws = np.random.default_rng(config.seed)
    resampled = []
    for _ in range(config.n_resamples):
        rows = draws.integers(0, 40, 40)
        resampled.append(second[rows].mean() - first[rows].mean())
    fewer = min(sum(d <= 0 for d in resampled), sum(d >= 0 for d in resampled))
    assert found.difference == pytest.approx(second.mean() - first.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    assert found.p_value == pytest.approx(min(1.0, 2 * (1 + fewer) / 100))


def test_pairs_make_a_small_difference_sure_and_equal_runs_have_none() -> None:
    first = np.random.default_rng(0).random(200)
    sure = compare_means(first, first + 0.01)
    assert sure.p_value < 0.01
    assert sure.interval.low == pytest.approx(0.01) == sure.interval.high
    same = compare_means(first, first.copy())
    assert (same.difference, same.p_value, same.interval.low) == (0.0, 1.0, 0.0)


def test_mistakes_are_named() -> None:
    with pytest.raises(EvaluationError, match=r"one figure for each of the same titles; got \(3,\), \(4,\)"):
        compare_means(np.zeros(3), np.zeros(4))
    with pytest.raises(EvaluationError, match=r"of at least 1; got 0"):
        compare_means(np.zeros(3), np.zeros(3), BootstrapConfig(n_resamples=0))
    for values in (np.zeros((0, 2)), np.zeros(3), np.array([[1.0, np.nan]])):
        with pytest.raises(EvaluationError, match="means need rows and columns of finite figures"):
            bootstrap_means(values)
