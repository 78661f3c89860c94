from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from reeltag.errors import ConfigError, EvaluationError
from reeltag.evaluation import significance
from reeltag.evaluation.metrics import decide, macro_f1, micro_f1, samples_f1, weighted_f1
from reeltag.evaluation.significance import (
    EXACT_BELOW,
    F1_METRICS,
    BootstrapConfig,
    Interval,
    bootstrap_f1,
    compare_labels,
    compare_runs,
    holm,
    mcnemar,
)

from .samples import CASES, draw, names, signal

METRICS = {"micro_f1": micro_f1, "macro_f1": macro_f1, "weighted_f1": weighted_f1, "samples_f1": samples_f1}


def resamples(n_titles: int, config: BootstrapConfig) -> list[np.ndarray]:
    rng = np.random.default_rng(config.seed)
    return [rng.integers(0, n_titles, n_titles) for _ in range(config.n_resamples)]


@pytest.mark.parametrize("case", CASES)
def test_intervals_agree_with_a_loop_over_resampled_titles(case: str) -> None:
    targets, probabilities = draw(case)
    decisions = decide(probabilities, 0.5)
    config = BootstrapConfig(n_resamples=40, level=0.9, seed=3)
    intervals = bootstrap_f1(targets, decisions, config)
    assert tuple(intervals) == F1_METRICS
    for name, metric in METRICS.items():
        values = [metric(targets[rows], decisions[rows]) for rows in resamples(len(targets), config)]
        low, high = np.quantile(values, [0.05, 0.95])
        assert intervals[name].low == pytest.approx(low, abs=1e-12)
        assert intervals[name].high == pytest.approx(high, abs=1e-12)


def test_the_same_seed_gives_the_same_interval() -> None:
    targets, probabilities = signal(100, 5)
    decisions = decide(probabilities, 0.5)
    first = bootstrap_f1(targets, decisions, BootstrapConfig(n_resamples=60, seed=1))
    assert first == bootstrap_f1(targets, decisions, BootstrapConfig(n_resamples=60, seed=1))
    assert first != bootstrap_f1(targets, decisions, BootstrapConfig(n_resamples=60, seed=2))


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = signal(100, 5)
    decisions, config = decide(probabilities, 0.5), BootstrapConfig(n_resamples=30)
    whole = bootstrap_f1(targets, decisions, config)
    monkeypatch.setattr(significance, "_CELLS_PER_BLOCK", 700)
    blocks = bootstrap_f1(targets, decisions, config)
    for name in F1_METRICS:
        assert (blocks[name].low, blocks[name].high) == pytest.approx((whole[name].low, whole[name].high))


def test_intervals_cover_the_true_figure_about_as_often_as_they_say() -> None:
    whole_targets, whole_probabilities = signal(40_000, 4, seed=5)
    whole_decisions = decide(whole_probabilities, 0.5)
    truth = {name: metric(whole_targets, whole_decisions) for name, metric in METRICS.items()}
    covered = dict.fromkeys(METRICS, 0)
    n_trials = 120
    for trial in range(n_trials):
        rows = slice(trial * 300, (trial + 1) * 300)
        config = BootstrapConfig(n_resamples=200, level=0.9, seed=trial)
        for name, interval in bootstrap_f1(whole_targets[rows], whole_decisions[rows], config).items():
            covered[name] += interval.low <= truth[name] <= interval.high
    for name, count in covered.items():
        # 90 % expected; four standard errors of 120 trials are 11 points
        assert 0.78 <= count / n_trials <= 1.0, name


def test_a_wider_level_gives_a_wider_interval() -> None:
    targets, probabilities = signal(100, 5)
    decisions = decide(probabilities, 0.5)
    narrow = bootstrap_f1(targets, decisions, BootstrapConfig(n_resamples=100, level=0.5))["macro_f1"]
    wide = bootstrap_f1(targets, decisions, BootstrapConfig(n_resamples=100, level=0.99))["macro_f1"]
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_resamples_no_intervals() -> None:
    targets, probabilities = draw("plain")
    assert bootstrap_f1(targets, decide(probabilities, 0.5), BootstrapConfig(n_resamples=0)) == {}


def test_a_thousand_resamples_of_a_test_set_take_less_than_a_second() -> None:
    targets, probabilities = signal(3125, 23)
    decisions = decide(probabilities, 0.5)
    started = time.perf_counter()
    bootstrap_f1(targets, decisions)
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_resamples": -1}, "n_resamples must be at least 0; got -1"), ({"level": 1.0}, "level must be between")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BootstrapConfig(**settings)  # type: ignore[arg-type]


def compare(noise: float = 1.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets, better = signal(150, 5)
    _, worse = signal(150, 5, noise=noise)
    return targets, decide(worse, 0.5), decide(better, 0.5)


def test_paired_bootstrap_agrees_with_a_loop() -> None:
    targets, first, second = compare()
    config = BootstrapConfig(n_resamples=80, seed=4)
    comparison = compare_runs(targets, first, second, labels=names(5), config=config)
    for row in comparison.differences:
        metric = METRICS[row.metric]
        drawn = [
            metric(targets[rows], second[rows]) - metric(targets[rows], first[rows])
            for rows in resamples(len(targets), config)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert row.interval.low == pytest.approx(low, abs=1e-12)
        assert row.interval.high == pytest.approx(high, abs=1e-12)
        not_above = sum(value <= 0 for value in drawn)
        not_below = sum(value >= 0 for value in drawn)
        assert row.p_value == pytest.approx(min(1.0, 2 * (1 + min(not_above, not_below)) / 81))


def test_differences_are_second_minus_first() -> None:
    targets, first, second = compare()
    comparison = compare_runs(targets, first, second, labels=names(5), names=("old", "new"))
    micro = comparison.differences[0]
    assert (comparison.first, comparison.second, comparison.n_titles) == ("old", "new", 150)
    assert micro.first == pytest.approx(f1_score(targets, first, average="micro"))
    assert micro.second == pytest.approx(f1_score(targets, second, average="micro"))
    assert micro.difference == pytest.approx(micro.second - micro.first)
    assert micro.difference > 0
    assert micro.interval.low <= micro.difference <= micro.interval.high


def test_swapping_the_runs_turns_the_signs() -> None:
    targets, first, second = compare()
    config = BootstrapConfig(n_resamples=50)
    there = compare_runs(targets, first, second, labels=names(5), config=config).differences
    back = compare_runs(targets, second, first, labels=names(5), config=config).differences
    for row, turned in zip(there, back, strict=True):
        assert turned.difference == pytest.approx(-row.difference)
        assert turned.interval.low == pytest.approx(-row.interval.high)
        assert turned.p_value == row.p_value


def test_a_run_against_itself_shows_no_difference() -> None:
    targets, first, _ = compare()
    comparison = compare_runs(targets, first, first, labels=names(5), config=BootstrapConfig(n_resamples=50))
    assert {row.p_value for row in comparison.differences} == {1.0}
    assert {row.interval for row in comparison.differences} == {Interval(low=0.0, high=0.0)}
    assert {row.adjusted_p_value for row in comparison.labels} == {1.0}


def test_a_clearly_better_run_is_significant() -> None:
    targets, _, second = compare()
    comparison = compare_runs(targets, np.zeros_like(targets), second, labels=names(5))
    assert all(row.p_value < 0.01 and row.interval.low > 0 for row in comparison.differences)


def test_p_values_of_equal_runs_are_seldom_small() -> None:
    small = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        targets = rng.random((120, 3)) < 0.4
        first, second = (targets ^ (rng.random((120, 3)) < 0.2) for _ in range(2))
        config = BootstrapConfig(n_resamples=200, seed=trial)
        comparison = compare_runs(targets, first, second, labels=names(3), config=config)
        small += comparison.differences[0].p_value < 0.05
    assert small <= 10


def exact_binomial(b: int, c: int) -> float:
    n, k = b + c, min(b, c)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 0), (0, 6), (3, 9), (10, 10), (2, 22), (12, 12)])
def test_mcnemar_is_the_exact_binomial_for_few_discordant_titles(b: int, c: int) -> None:
    assert mcnemar(np.array([b]), np.array([c]))[0] == pytest.approx(exact_binomial(b, c))
    if b + c:
        assert exact_binomial(b, c) == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue)


@pytest.mark.parametrize(("b", "c"), [(10, 15), (20, 40), (100, 40), (300, 299)])
def test_mcnemar_is_chi_square_with_correction_for_many(b: int, c: int) -> None:
    assert b + c >= EXACT_BELOW
    statistic = (abs(b - c) - 1) ** 2 / (b + c)
    # the upper tail of a chi-square with one degree of freedom in elementary functions
    assert mcnemar(np.array([b]), np.array([c]))[0] == pytest.approx(math.erfc(math.sqrt(statistic / 2)))


def test_mcnemar_of_equal_counts_is_one() -> None:
    assert mcnemar(np.array([0, 5, 50]), np.array([0, 5, 50])).tolist() == [1.0, 1.0, 1.0]


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(holm(np.array([0.6, 0.9])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.2])), [0.2])


@pytest.mark.parametrize("seed", range(5))
def test_holm_agrees_with_the_stepwise_rule(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(12) ** 3
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for step, index in enumerate(np.argsort(p_values)):
            if p_values[index] > level / (len(p_values) - step):
                break
            rejected.add(int(index))
        assert rejected == set(np.flatnonzero(holm(p_values) <= level).tolist())


def test_label_tests_by_hand() -> None:
    targets = np.zeros((40, 2), bool)
    targets[:30, 0] = True
    first, second = np.zeros_like(targets), targets.copy()
    second[0, 0] = False
    first[0, 0] = True
    second[39, 1] = True
    rows = compare_labels(targets, first, second, labels=("Drama", "Comedy"))
    drama, comedy = rows
    assert (drama.only_first, drama.only_second, drama.test) == (1, 29, "chi-square")
    assert (comedy.only_first, comedy.only_second, comedy.test) == (1, 0, "exact")
    assert comedy.p_value == 1.0
    assert drama.p_value == pytest.approx(math.erfc(math.sqrt(27**2 / 30 / 2)))
    assert drama.adjusted_p_value == pytest.approx(2 * drama.p_value)
    assert (drama.first_f1, drama.second_f1) == pytest.approx((2 / 31, 58 / 59))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("a",)}, "labels must name all 5 columns; got 1 names"),
        ({"config": BootstrapConfig(n_resamples=0)}, "n_resamples of at least 1; got 0"),
        ({"second": np.zeros((3, 5), bool), "names": ("old", "new")}, "decisions of 'new' must have the shape"),
        ({"first": np.zeros((3, 5), bool), "names": ("old", "new")}, "decisions of 'old' must have the shape"),
    ],
)
def test_bad_comparisons_are_refused(change: dict[str, object], message: str) -> None:
    targets, first, second = compare()
    arguments = {"targets": targets, "first": first, "second": second, "labels": names(5), **change}
    with pytest.raises(EvaluationError, match=message):
        compare_runs(**arguments)  # type: ignore[arg-type]
