"""Calibration against direct maximum likelihood and scikit-learn; thresholds against every possible one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score

from reeltag.calibration import (
    METHODS,
    RULES,
    CalibrationConfig,
    Calibrator,
    best_f1_threshold,
    choose_thresholds,
)
from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, ModelError, NotFittedError

Matrix = npt.NDArray[np.float32]


def miscalibrated(n: int, n_labels: int = 4, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Return overconfident, shifted scores and targets drawn from the probabilities they should have been."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.2, size=(n, n_labels))
    targets = (rng.random((n, n_labels)) < expit(truth)).astype(np.float32)
    slopes, offsets = np.linspace(1.5, 4, n_labels), np.linspace(-1, 2, n_labels)
    return expit(truth * slopes + offsets).astype(np.float32), targets


def calibration_error(probabilities: Matrix, targets: Matrix, n_bins: int = 10) -> float:
    """Expected calibration error over bins of equal width."""
    flat, truth, total = probabilities.ravel(), targets.ravel(), 0.0
    bins = np.minimum((flat * n_bins).astype(int), n_bins - 1)
    for number in range(n_bins):
        inside = bins == number
        if inside.any():
            total += inside.mean() * abs(flat[inside].mean() - truth[inside].mean())
    return float(total)


def likelihood_fit(scores: npt.NDArray[Any], targets: npt.NDArray[Any]) -> tuple[float, float]:
    """Return slope and offset with the greatest likelihood, found by a general optimiser."""
    x = logit(np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6))

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        z = x * parameters[0] + parameters[1]
        return float(np.logaddexp(0, -z)[targets == 1].sum() + np.logaddexp(0, z)[targets == 0].sum())

    found = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4000})
    return float(found.x[0]), float(found.x[1])


# ---------------------------------------------------------------- Platt


@pytest.mark.parametrize("shrinkage", [0.0, 40.0, 400.0])
def test_platt_has_the_greatest_likelihood_drawn_towards_that_of_all_labels(shrinkage: float) -> None:
    scores, targets = miscalibrated(800)
    found = Calibrator(CalibrationConfig(shrinkage=shrinkage)).fit(scores, targets).transform(scores)
    pooled = np.array(likelihood_fit(scores.ravel(), targets.ravel()))
    for label in range(4):
        positives = targets[:, label].sum()
        own = np.array(likelihood_fit(scores[:, label], targets[:, label]))
        slope, offset = (positives * own + shrinkage * pooled) / (positives + shrinkage)
        x = logit(np.clip(scores[:, label].astype(np.float64), 1e-6, 1 - 1e-6))
        np.testing.assert_allclose(found[:, label], expit(slope * x + offset), atol=2e-3)


def test_platt_is_that_of_all_labels_when_shrunk_entirely() -> None:
    scores, targets = miscalibrated(400)
    found = Calibrator(CalibrationConfig(shrinkage=1e9)).fit(scores, targets).transform(scores)
    pooled = Calibrator(CalibrationConfig(shrinkage=0)).fit(scores.reshape(-1, 1), targets.reshape(-1, 1))
    np.testing.assert_allclose(found, pooled.transform(scores.reshape(-1, 1)).reshape(-1, 4), atol=1e-5)


def test_platt_finds_the_curve_it_was_drawn_from() -> None:
    scores, targets = miscalibrated(60_000)
    calibrator = Calibrator().fit(scores, targets)
    found = calibrator.transform(scores)
    slopes, offsets = np.linspace(1.5, 4, 4), np.linspace(-1, 2, 4)
    inside = np.abs(scores - 0.5) < 0.49
    truth = expit((logit(np.clip(scores, 1e-6, 1 - 1e-6).astype(np.float64)) - offsets) / slopes)
    assert np.abs(found - truth)[inside].max() < 0.02


def test_scores_worse_than_chance_keep_their_order() -> None:
    scores, targets = miscalibrated(400, 1)
    found = Calibrator().fit(scores, 1 - targets).transform(scores)
    np.testing.assert_allclose(found, scores, atol=1e-6)


@pytest.mark.parametrize("constant", [0, 1])
def test_platt_without_two_classes_keeps_the_scores(constant: int) -> None:
    scores, targets = miscalibrated(50)
    calibrator = Calibrator(CalibrationConfig(method="platt")).fit(scores, np.full_like(targets, constant))
    np.testing.assert_allclose(calibrator.transform(scores), np.clip(scores, 1e-6, 1 - 1e-6), atol=1e-6)


def test_separable_scores_stay_finite() -> None:
    scores = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    targets = (scores > 0.5).astype(np.float32)
    found = Calibrator().fit(scores, targets).transform(scores)
    assert np.isfinite(found).all()
    assert ((found > 0.5) == (targets == 1)).all()


# ---------------------------------------------------------------- isotonic


def test_isotonic_is_that_of_scikit_learn() -> None:
    scores, targets = miscalibrated(500)
    unseen, _ = miscalibrated(300, seed=1)
    found = Calibrator(CalibrationConfig(method="isotonic")).fit(scores, targets).transform(unseen)
    for label in range(4):
        reference = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip")
        reference.fit(logit(scores[:, label].astype(np.float64).clip(1e-6, 1 - 1e-6)), targets[:, label])
        expected = reference.predict(logit(unseen[:, label].astype(np.float64).clip(1e-6, 1 - 1e-6)))
        # a score within rounding of a step may fall on either side of it
        assert (np.abs(found[:, label] - expected) < 1e-4).mean() > 0.99


def test_isotonic_never_says_never() -> None:
    scores, targets = miscalibrated(500)
    calibrator = Calibrator(CalibrationConfig(method="isotonic")).fit(scores, targets)
    ends = calibrator.transform(np.array([[0.0] * 4, [1.0] * 4], np.float32))
    assert ends.min() >= 0.99e-4
    assert ends.max() <= 1 - 0.99e-4


@pytest.mark.parametrize("n", [1, 2, 5])
def test_isotonic_of_few_titles(n: int) -> None:
    scores, targets = miscalibrated(n)
    found = Calibrator(CalibrationConfig(method="isotonic", min_examples=1)).fit(scores, targets).transform(scores)
    assert np.isfinite(found).all()


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_order_within_a_label_is_kept(method: str) -> None:
    scores, targets = miscalibrated(400)
    calibrator = Calibrator(CalibrationConfig(method=method)).fit(scores, targets)
    grid = np.repeat(np.linspace(0, 1, 2001, dtype=np.float32)[:, None], 4, axis=1)
    found = calibrator.transform(grid)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[-1] > found[0]).all()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_error_falls_on_unseen_titles(method: str) -> None:
    scores, targets = miscalibrated(3000)
    unseen, truth = miscalibrated(3000, seed=1)
    found = Calibrator(CalibrationConfig(method=method)).fit(scores, targets).transform(unseen)
    assert calibration_error(unseen, truth) > 0.1
    assert calibration_error(found, truth) < 0.03
    assert np.abs(found.mean(axis=0) - truth.mean(axis=0)).max() < 0.04


def test_none_keeps_the_scores() -> None:
    scores, targets = miscalibrated(50)
    calibrator = Calibrator(CalibrationConfig(method="none")).fit(scores, targets)
    np.testing.assert_array_equal(calibrator.transform(scores), scores)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_rare_labels_take_the_curve_of_all_labels(method: str) -> None:
    scores, targets = miscalibrated(400)
    targets[:, 1] = 0
    targets[:9, 1] = 1  # one positive short of ten
    targets[:, 2] = 1
    targets[:9, 2] = 0  # one negative short of ten
    config = CalibrationConfig(method=method, min_examples=10)
    grid = np.repeat(np.linspace(0.01, 0.99, 50, dtype=np.float32)[:, None], 4, axis=1)
    found = Calibrator(config).fit(scores, targets).transform(grid)
    np.testing.assert_array_equal(found[:, 1], found[:, 2])
    pooled = Calibrator(config).fit(scores.reshape(-1, 1), targets.reshape(-1, 1)).transform(grid[:, :1])
    np.testing.assert_allclose(found[:, 1], pooled[:, 0], atol=1e-4)
    own = Calibrator(replace(config, min_examples=9)).fit(scores, targets).transform(grid)
    assert np.abs(own[:, 1] - found[:, 1]).max() > 0.05
    np.testing.assert_array_equal(own[:, 0], found[:, 0])


@pytest.mark.parametrize("method", METHODS)
def test_label_without_positives(method: str) -> None:
    scores, targets = miscalibrated(200)
    targets[:, 3] = 0
    for rule in RULES:
        calibrator = Calibrator(CalibrationConfig(method=method, rule=rule)).fit(scores, targets)
        assert np.isfinite(calibrator.transform(scores)).all()
        assert np.isfinite(calibrator.thresholds).all()
        assert 0 < calibrator.thresholds[3] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_no_label_at_all_decides_at_one_half(method: str) -> None:
    scores, targets = miscalibrated(30)
    calibrator = Calibrator(CalibrationConfig(method=method)).fit(scores, np.zeros_like(targets))
    for rule in RULES:
        np.testing.assert_array_equal(calibrator.thresholds_[rule], np.full(4, 0.5, np.float32))


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_zero_and_one(method: str) -> None:
    scores = np.array([[0, 1], [1, 0], [0, 0], [1, 1]] * 20, np.float32)
    targets = np.array([[0, 1], [1, 0], [0, 0], [1, 0]] * 20, np.float32)
    calibrator = Calibrator(CalibrationConfig(method=method)).fit(scores, targets)
    assert np.isfinite(calibrator.transform(scores)).all()
    assert all(np.isfinite(limits).all() for limits in calibrator.thresholds_.values())


@pytest.mark.parametrize("method", METHODS)
def test_refit_forgets(method: str) -> None:
    one, two = miscalibrated(200), miscalibrated(100, 2, seed=1)
    config = CalibrationConfig(method=method)
    again = Calibrator(config).fit(*one).fit(*two)
    fresh = Calibrator(config).fit(*two)
    np.testing.assert_array_equal(again.transform(two[0]), fresh.transform(two[0]))
    np.testing.assert_array_equal(again.thresholds, fresh.thresholds)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rule", RULES)
def test_saved_and_loaded_is_equal(method: str, rule: str, tmp_path: Path) -> None:
    scores, targets = miscalibrated(150)
    targets[:, 1] = 0
    calibrator = Calibrator(CalibrationConfig(method=method, rule=rule, min_examples=3)).fit(scores, targets)
    calibrator.save(tmp_path / "deep" / "calibration")
    loaded = Calibrator.load(tmp_path / "deep" / "calibration")
    assert loaded.config == calibrator.config
    np.testing.assert_array_equal(loaded.transform(scores), calibrator.transform(scores))
    assert set(loaded.thresholds_) == set(RULES)
    for name in RULES:
        np.testing.assert_array_equal(loaded.thresholds_[name], calibrator.thresholds_[name])


def test_errors(tmp_path: Path) -> None:
    scores, targets = miscalibrated(10)
    empty = Calibrator()
    for use in (lambda: empty.transform(scores), lambda: empty.thresholds, lambda: empty.save(tmp_path)):
        with pytest.raises(NotFittedError, match="before fit"):
            use()
    with pytest.raises(ModelError, match="calibration needs validation titles"):
        empty.fit(scores[:0], targets[:0])
    with pytest.raises(ModelError, match=r"scores \(10, 4\), targets \(9, 4\)"):
        empty.fit(scores, targets[:9])


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("method", "beta", "one of platt, isotonic, none"),
        ("rule", "argmax", "one of half, global, per_label"),
        ("min_examples", 0, "between 1 and"),
        ("shrinkage", -1, "between 0 and"),
    ],
)
def test_settings_out_of_range(setting: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"CalibrationConfig.{setting} must be {rule}"):
        CalibrationConfig(**{setting: value})
    assert from_json(CalibrationConfig, to_json(CalibrationConfig())) == CalibrationConfig()


# ---------------------------------------------------------------- the best threshold


def f1(probabilities: npt.NDArray[Any], targets: npt.NDArray[Any], threshold: float) -> float:
    decided = probabilities >= threshold
    hits = float((decided & (targets == 1)).sum())
    return 2 * hits / (decided.sum() + targets.sum()) if hits else 0.0


few_values = st.sampled_from([0.0, 0.1, 0.25, 0.25000003, 0.5, 0.7, 0.99999994, 1.0])
pairs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.one_of(
            arrays(np.float32, n, elements=st.floats(0, 1, width=32)), arrays(np.float32, n, elements=few_values)
        ),
        arrays(np.float32, n, elements=st.sampled_from([0.0, 1.0])),
    )
)


@settings(max_examples=400, deadline=None)
@given(pairs)
def test_no_threshold_is_better(pair: tuple[Matrix, Matrix]) -> None:
    probabilities, targets = pair
    found = best_f1_threshold(probabilities, targets)
    assert 0 <= found <= 1
    if not targets.any():
        assert found == 0.5
        return
    best = max(f1(probabilities, targets, candidate) for candidate in probabilities)
    assert f1(probabilities, targets, found) == pytest.approx(best)
    # the same in the precision that thresholds are kept in
    assert f1(probabilities, targets, np.float32(found)) == pytest.approx(best)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(pairs, st.randoms(use_true_random=False))
def test_order_of_titles_does_not_matter(pair: tuple[Matrix, Matrix], random: Any) -> None:
    probabilities, targets = pair
    order = list(range(len(targets)))
    random.shuffle(order)
    assert best_f1_threshold(probabilities[order], targets[order]) == best_f1_threshold(probabilities, targets)


def test_threshold_lies_halfway() -> None:
    probabilities, targets = np.array([0.9, 0.8, 0.4, 0.2]), np.array([1, 1, 0, 0])
    assert best_f1_threshold(probabilities, targets) == pytest.approx(0.6)
    assert best_f1_threshold(probabilities, np.array([1, 1, 1, 1])) == pytest.approx(0.1)


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    probabilities, targets = np.array([0.9, 0.6, 0.3]), np.array([1, 0, 1])
    # first alone: 2 / 3; all three: 4 / 5
    assert best_f1_threshold(probabilities, targets) == pytest.approx(0.15)
    probabilities, targets = np.array([0.9, 0.6, 0.5, 0.3]), np.array([1, 0, 0, 1])
    # first alone: 2 / 3; all four: 4 / 6
    assert best_f1_threshold(probabilities, targets) == pytest.approx(0.75)


def test_equal_probabilities_are_decided_together() -> None:
    probabilities = np.array([0.8, 0.8, 0.8, 0.3], np.float32)
    threshold = best_f1_threshold(probabilities, np.array([0, 1, 1, 0], np.float32))
    assert 0.3 < threshold <= np.float32(0.8)


def test_neighbouring_probabilities_are_told_apart() -> None:
    for low in (np.float32(0.25), np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))):
        high = np.nextafter(low, np.float32(1))
        probabilities = np.array([high, low, low], np.float32)
        limits = choose_thresholds(probabilities[:, None], np.array([[1], [0], [0]], np.float32), 0.0)
        decided = probabilities >= limits["per_label"]
        np.testing.assert_array_equal(decided, [True, False, False])


# ---------------------------------------------------------------- rules


def test_half_is_half() -> None:
    limits = choose_thresholds(*miscalibrated(50), shrinkage=30)
    np.testing.assert_array_equal(limits["half"], np.full(4, 0.5, np.float32))


def test_global_has_the_best_micro_f1() -> None:
    probabilities, targets = miscalibrated(60)
    limits = choose_thresholds(probabilities, targets, 30)["global"]
    assert len(set(limits.tolist())) == 1
    scores = [
        f1_score(targets, probabilities >= limit, average="micro", zero_division=0)
        for limit in np.unique(probabilities)
    ]
    found = f1_score(targets, probabilities >= limits, average="micro")
    assert found == pytest.approx(max(scores))


def test_per_label_without_shrinkage_has_the_best_f1_of_every_label() -> None:
    probabilities, targets = miscalibrated(60)
    limits = choose_thresholds(probabilities, targets, 0)["per_label"]
    for label in range(4):
        best = max(f1(probabilities[:, label], targets[:, label], limit) for limit in probabilities[:, label])
        assert f1(probabilities[:, label], targets[:, label], limits[label]) == pytest.approx(best)


@pytest.mark.parametrize("shrinkage", [0.0, 5.0, 30.0, 1e9])
def test_shrinkage_weighs_own_positives_against_the_global_threshold(shrinkage: float) -> None:
    probabilities, targets = miscalibrated(80)
    targets[5:, 3] = 0
    limits = choose_thresholds(probabilities, targets, shrinkage)
    together = best_f1_threshold(probabilities.ravel(), targets.ravel())
    for label in range(4):
        positives = float(targets[:, label].sum())
        own = best_f1_threshold(probabilities[:, label], targets[:, label])
        expected = (positives * own + shrinkage * together) / (positives + shrinkage)
        assert limits["per_label"][label] == pytest.approx(expected, abs=1e-6)


def test_label_without_positives_takes_the_global_threshold() -> None:
    probabilities, targets = miscalibrated(80)
    targets[:, 2] = 0
    for shrinkage in (0.0, 30.0):
        limits = choose_thresholds(probabilities, targets, shrinkage)
        assert limits["per_label"][2] == limits["global"][2]


def test_thresholds_of_the_calibrator_are_those_of_its_calibrated_probabilities() -> None:
    scores, targets = miscalibrated(300)
    calibrator = Calibrator(CalibrationConfig(rule="per_label", shrinkage=7)).fit(scores, targets)
    expected = choose_thresholds(calibrator.transform(scores), targets, 7)
    for rule in RULES:
        np.testing.assert_array_equal(calibrator.thresholds_[rule], expected[rule])
        assert calibrator.thresholds_[rule].dtype == np.float32
    np.testing.assert_array_equal(calibrator.thresholds, expected["per_label"])


def test_a_global_threshold_leaves_a_title_without_labels_when_nothing_is_likely() -> None:
    scores, targets = miscalibrated(400)
    calibrator = Calibrator().fit(scores, targets)
    sure, unsure = calibrator.transform(np.array([[0.999] * 4, [0.001] * 4], np.float32))
    assert (sure >= calibrator.thresholds).any()
    assert not (unsure >= calibrator.thresholds).any()
