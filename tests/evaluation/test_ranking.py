from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from reeltag.errors import EvaluationError
from reeltag.evaluation import ranking
from reeltag.evaluation.ranking import (
    auroc,
    average_precision,
    macro_auroc,
    mean_average_precision,
    micro_average_precision,
    ndcg_at_k,
    precision_at_k,
    rank_labels,
    rank_titles,
    recall_at_k,
)

from .samples import CASES, draw


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_label_figures_agree_with_scikit_learn(case: str, seed: int) -> None:
    targets, probabilities = draw(case, seed)
    precision, area = average_precision(targets, probabilities), auroc(targets, probabilities)
    for column in range(targets.shape[1]):
        truth, scores = targets[:, column], probabilities[:, column]
        if truth.any():
            assert precision[column] == pytest.approx(average_precision_score(truth, scores))
        else:
            assert np.isnan(precision[column])
        if truth.any() and not truth.all():
            assert area[column] == pytest.approx(roc_auc_score(truth, scores))
        else:
            assert np.isnan(area[column])


@pytest.mark.parametrize("case", CASES)
def test_means_leave_undefined_labels_out(case: str) -> None:
    targets, probabilities = draw(case)
    some = targets.any(axis=0)
    both = some & ~targets.all(axis=0)
    expected = np.mean([average_precision_score(targets[:, c], probabilities[:, c]) for c in np.flatnonzero(some)])
    assert mean_average_precision(targets, probabilities) == pytest.approx(expected)
    assert micro_average_precision(targets, probabilities) == pytest.approx(
        average_precision_score(targets.ravel(), probabilities.ravel())
    )
    if both.any():
        areas = [roc_auc_score(targets[:, c], probabilities[:, c]) for c in np.flatnonzero(both)]
        assert macro_auroc(targets, probabilities) == pytest.approx(np.mean(areas))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_label_figures_agree_with_scikit_learn_on_any_column(data: st.DataObject) -> None:
    n_titles = data.draw(st.integers(2, 12))
    truth = data.draw(hnp.arrays(bool, (n_titles, 1)))
    scores = data.draw(hnp.arrays(np.float32, (n_titles, 1), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    ranked = rank_labels(truth, scores)
    if truth.any():
        assert ranked.average_precision[0] == pytest.approx(average_precision_score(truth[:, 0], scores[:, 0]))
    if truth.any() and not truth.all():
        assert ranked.auroc[0] == pytest.approx(roc_auc_score(truth[:, 0], scores[:, 0]))


def test_nothing_true_is_undefined_everywhere() -> None:
    targets, probabilities = np.zeros((4, 3), bool), np.full((4, 3), 0.5, np.float32)
    assert np.isnan(mean_average_precision(targets, probabilities))
    assert np.isnan(micro_average_precision(targets, probabilities))
    assert np.isnan(macro_auroc(targets, probabilities))
    assert np.isnan([f(targets, probabilities, 2) for f in (precision_at_k, recall_at_k, ndcg_at_k)]).all()
    top = rank_titles(targets, probabilities, 2)
    assert (top.precision, top.recall, top.ndcg) == (None, None, None)


def test_constant_scores_earn_the_base_rate() -> None:
    targets = np.array([[1], [0], [0], [1], [0]], bool)
    ranked = rank_labels(targets, np.full((5, 1), 0.7, np.float32))
    assert ranked.average_precision[0] == pytest.approx(0.4)
    assert ranked.auroc[0] == pytest.approx(0.5)


def test_figures_do_not_depend_on_the_order_of_titles() -> None:
    targets, probabilities = draw("tied")
    order = np.random.default_rng(1).permutation(len(targets))
    np.testing.assert_allclose(
        average_precision(targets, probabilities), average_precision(targets[order], probabilities[order])
    )


def test_more_labels_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = draw("tied")
    whole, top = rank_labels(targets, probabilities), rank_titles(targets, probabilities, 3)
    monkeypatch.setattr(ranking, "_LABELS_PER_BLOCK", 2)
    monkeypatch.setattr(ranking, "_CELLS_PER_BLOCK", 10)
    np.testing.assert_array_equal(rank_labels(targets, probabilities).auroc, whole.auroc)
    assert rank_titles(targets, probabilities, 3) == top


@pytest.mark.parametrize("case", [case for case in CASES if case != "one_label"])
@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_ndcg_agrees_with_scikit_learn(case: str, k: int) -> None:
    targets, probabilities = draw(case)
    rated = targets.any(axis=1)
    expected = ndcg_score(targets[rated].astype(float), probabilities[rated], k=k)
    assert ndcg_at_k(targets, probabilities, k) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ndcg_agrees_with_scikit_learn_on_any_ties(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(2, 6)))
    targets = data.draw(hnp.arrays(bool, shape))
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.5, 1.0])))
    k = data.draw(st.integers(1, 6))
    rated = targets.any(axis=1)
    if rated.any():
        expected = ndcg_score(targets[rated].astype(float), scores[rated], k=k)
        assert ndcg_at_k(targets, scores, k) == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_the_mean_over_all_orders_of_the_tied(case: str, k: int) -> None:
    targets, probabilities = draw(case)
    targets, probabilities = targets[:12, :5], np.round(probabilities[:12, :5] * 3) / np.float32(3)
    precisions, recalls = [], []
    for truth, scores in zip(targets, probabilities, strict=True):
        if not truth.any():
            continue
        orders = [
            order
            for order in itertools.permutations(range(len(truth)))
            if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
        ]
        hits = np.mean([truth[list(order[:k])].sum() for order in orders])
        precisions.append(hits / k)
        recalls.append(hits / truth.sum())
    if not precisions:
        assert np.isnan(precision_at_k(targets, probabilities, k))
        return
    assert precision_at_k(targets, probabilities, k) == pytest.approx(np.mean(precisions))
    assert recall_at_k(targets, probabilities, k) == pytest.approx(np.mean(recalls))


def test_top_k_by_hand() -> None:
    targets = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    probabilities = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1]], np.float32)
    top = rank_titles(targets, probabilities, 2)
    assert top.precision == pytest.approx((0.5 + 0.0) / 2)
    assert top.recall == pytest.approx((0.5 + 0.0) / 2)
    ideal = 1 + 1 / np.log2(3)
    assert top.ndcg == pytest.approx((1 / ideal + 0.0) / 2)


def test_k_beyond_the_labels_takes_all_and_divides_by_k() -> None:
    targets = np.array([[1, 1]], bool)
    top = rank_titles(targets, np.array([[0.2, 0.1]], np.float32), 4)
    assert (top.precision, top.recall, top.ndcg) == (0.5, 1.0, 1.0)


def test_k_must_be_positive() -> None:
    with pytest.raises(EvaluationError, match="k must be at least 1; got 0"):
        rank_titles(np.ones((1, 2), bool), np.ones((1, 2), np.float32), 0)


@pytest.mark.parametrize("metric", [average_precision, auroc, micro_average_precision, mean_average_precision])
def test_unequal_shapes_are_refused(metric: object) -> None:
    with pytest.raises(EvaluationError, match="probabilities must have the shape of the targets"):
        metric(np.zeros((3, 2), bool), np.zeros((2, 3), np.float32))  # type: ignore[operator]
