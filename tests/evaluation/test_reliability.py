from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from reeltag.errors import EvaluationError
from reeltag.evaluation import reliability
from reeltag.evaluation.reliability import (
    bin_probabilities,
    brier_per_label,
    brier_score,
    expected_calibration_error,
    expected_calibration_error_per_label,
    reliability_curve,
)

from .samples import CASES, draw


def ece_by_loop(truth: np.ndarray, scores: np.ndarray, n_bins: int) -> float:
    total = 0.0
    for index in range(n_bins):
        said, true = [], []
        for probability, target in zip(scores.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if min(int(probability * n_bins), n_bins - 1) == index:
                said.append(probability)
                true.append(target)
        if said:
            total += len(said) / scores.size * abs(sum(true) / len(true) - sum(said) / len(said))
    return total


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_ece_agrees_with_a_loop(case: str, n_bins: int) -> None:
    targets, probabilities = draw(case)
    assert expected_calibration_error(targets, probabilities, n_bins) == pytest.approx(
        ece_by_loop(targets, probabilities, n_bins)
    )
    per_label = expected_calibration_error_per_label(targets, probabilities, n_bins)
    for column, error in enumerate(per_label):
        assert error == pytest.approx(ece_by_loop(targets[:, column], probabilities[:, column], n_bins))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_ece_agrees_with_a_loop_on_bin_edges(seed: int, n_bins: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = (rng.integers(0, n_bins + 1, (9, 3)) / n_bins).astype(np.float32)
    targets = rng.random((9, 3)) < 0.5
    assert expected_calibration_error(targets, probabilities, n_bins) == pytest.approx(
        ece_by_loop(targets, probabilities, n_bins)
    )


def test_lower_ends_belong_to_the_bin_and_one_to_the_last() -> None:
    probabilities = np.array([[0.0, 0.25, 0.5, 0.75, 1.0]], np.float32)
    counts = bin_probabilities(np.ones((1, 5), bool), probabilities, 4).counts.sum(axis=0)
    assert counts.tolist() == [1, 1, 1, 2]


def test_perfect_certainty_has_no_calibration_error() -> None:
    targets, _ = draw("plain")
    assert expected_calibration_error(targets, targets.astype(np.float32)) == 0.0
    assert expected_calibration_error(targets, 1 - targets.astype(np.float32)) == 1.0


def test_calibrated_probabilities_have_little_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((4000, 5)).astype(np.float32)
    targets = rng.random((4000, 5)) < probabilities
    assert expected_calibration_error(targets, probabilities) < 0.02


@pytest.mark.parametrize("case", CASES)
def test_curve_agrees_with_masks(case: str) -> None:
    targets, probabilities = draw(case)
    curve = reliability_curve(targets, probabilities, 10)
    assert len(curve) == 10
    assert sum(item.count for item in curve) == targets.size
    wide = probabilities.astype(np.float64)
    for index, item in enumerate(curve):
        inside = np.minimum((wide * 10).astype(int), 9) == index
        assert item.low == pytest.approx(index / 10)
        assert item.high == pytest.approx((index + 1) / 10)
        assert item.count == inside.sum()
        if item.count:
            assert item.mean_probability == pytest.approx(wide[inside].mean())
            assert item.frequency == pytest.approx(targets[inside].mean())
        else:
            assert item.mean_probability is None
            assert item.frequency is None


def test_pooled_ece_follows_from_the_curve() -> None:
    targets, probabilities = draw("plain")
    binned = bin_probabilities(targets, probabilities)
    gaps = [b.count * abs((b.frequency or 0) - (b.mean_probability or 0)) for b in binned.curve]
    assert binned.ece == pytest.approx(sum(gaps) / targets.size)
    assert binned.counts.shape == (7, 15)


@pytest.mark.parametrize("case", CASES)
def test_brier_agrees_with_scikit_learn(case: str) -> None:
    targets, probabilities = draw(case)
    per_label = brier_per_label(targets, probabilities)
    for column in range(targets.shape[1]):
        expected = brier_score_loss(targets[:, column], probabilities[:, column], pos_label=1, labels=[0, 1])
        assert per_label[column] == pytest.approx(expected)
    assert brier_score(targets, probabilities) == pytest.approx(per_label.mean())
    assert brier_score(targets.astype(np.float32), probabilities) == pytest.approx(per_label.mean())


def test_blocks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = draw("plain")
    ece, brier = expected_calibration_error(targets, probabilities), brier_score(targets, probabilities)
    monkeypatch.setattr(reliability, "_CELLS_PER_BLOCK", 20)
    assert expected_calibration_error(targets, probabilities) == pytest.approx(ece)
    assert brier_score(targets, probabilities) == pytest.approx(brier)


def test_bad_input_is_refused() -> None:
    targets, probabilities = draw("plain")
    with pytest.raises(EvaluationError, match="n_bins must be at least 1; got 0"):
        bin_probabilities(targets, probabilities, 0)
    with pytest.raises(EvaluationError, match=r"numbers in \[0, 1\]; got values from"):
        bin_probabilities(targets, probabilities + 1)
    with pytest.raises(EvaluationError, match="shape of the targets"):
        brier_score(targets, probabilities[:3])
