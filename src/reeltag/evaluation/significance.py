"""How sure are the figures? Bootstrap intervals over titles, paired comparison of two runs, McNemar's test per label.

The bootstrap draws titles with replacement. A resample is a vector of weights, one per title, so that the counts of
all resamples are one matrix product of weights and per-title counts: no prediction is touched twice. In a resample in
which a rare label has no positive its F1 is 0, as everywhere; the interval of macro F1 therefore leans to the low side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from reeltag.config import check_range
from reeltag.errors import ConfigError, EvaluationError
from reeltag.evaluation.metrics import Floats, Ints, Matrix, check_shapes, label_counts, ratio, title_counts

F1_METRICS = ("micro_f1", "macro_f1", "weighted_f1", "samples_f1")
EXACT_BELOW = 25  # discordant titles; from here on the chi-square approximation is good
_CELLS_PER_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """How intervals are drawn.

    Attributes:
        n_resamples: Resamples; 0 leaves the intervals out.
        level: Share of resamples inside the interval, for example 0.95.
        seed: Seed of the random numbers; the same seed gives the same interval.
    """

    n_resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_resamples < 0:
            raise ConfigError(f"BootstrapConfig.n_resamples must be at least 0; got {self.n_resamples}")
        check_range("BootstrapConfig", "level", self.level, 0.5, 0.9999)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A bootstrap percentile interval, both ends included."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of two runs on the same titles.

    Attributes:
        metric: One of ``F1_METRICS``.
        first: Figure of the first run.
        second: Figure of the second run.
        difference: ``second - first``; above 0 the second run is better.
        interval: Paired bootstrap percentile interval of the difference.
        p_value: Two-sided; see ``compare_runs``.
    """

    metric: str
    first: float
    second: float
    difference: float
    interval: Interval
    p_value: float


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """The mean of a figure of two runs on the same titles.

    Attributes:
        difference: Second minus first.
        interval: Paired bootstrap percentile interval of it.
        p_value: Two-sided; see ``compare_runs``.
    """

    difference: float
    interval: Interval
    p_value: float


@dataclass(frozen=True, kw_only=True)
class LabelTest:
    """McNemar's test of one label.

    Attributes:
        label: The label.
        first_f1: F1 of the first run.
        second_f1: F1 of the second run.
        only_first: Titles that only the first run decides rightly.
        only_second: Titles that only the second run decides rightly.
        test: ``exact`` below 25 such titles, else ``chi-square``.
        p_value: Two-sided, of this label alone.
        adjusted_p_value: After Holm's correction for testing all labels.
    """

    label: str
    first_f1: float
    second_f1: float
    only_first: int
    only_second: int
    test: Literal["exact", "chi-square"]
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same titles.

    Attributes:
        first: Name of the first run.
        second: Name of the second run; differences are second minus first.
        n_titles: Titles compared.
        config: How the intervals were drawn.
        differences: One per figure of ``F1_METRICS``.
        labels: One per label, in column order.
    """

    first: str
    second: str
    n_titles: int
    config: BootstrapConfig
    differences: tuple[Difference, ...]
    labels: tuple[LabelTest, ...]


class _ResampledF1:
    """The F1 figures of one run under any weights of its titles."""

    def __init__(self, targets: Matrix, decisions: Matrix) -> None:
        truth, decided = targets.astype(np.bool_, copy=False), decisions.astype(np.bool_, copy=False)
        self._tp = _transposed(truth & decided)
        self._predicted = _transposed(decided)
        self._support = _transposed(truth)
        self._title_f1 = title_counts(truth, decided).f1

    def __call__(self, weights: Floats) -> Floats:
        """Return the figures of each resample.

        Args:
            weights: How often each title was drawn, shape (n_resamples, n_titles).

        Returns:
            Shape (n_resamples, 4), in the order of ``F1_METRICS``.
        """
        columns = np.ascontiguousarray(weights.T)
        tp, predicted, support = (matrix @ columns for matrix in (self._tp, self._predicted, self._support))
        label_f1 = ratio(2 * tp, predicted + support)  # (n_labels, n_resamples)
        micro = ratio(2 * tp.sum(axis=0), (predicted + support).sum(axis=0))
        weighted = ratio((label_f1 * support).sum(axis=0), support.sum(axis=0))
        samples = weights @ self._title_f1 / weights.sum(axis=1)
        return np.stack([micro, label_f1.mean(axis=0), weighted, samples], axis=1)


def bootstrap_f1(targets: Matrix, decisions: Matrix, config: BootstrapConfig | None = None) -> dict[str, Interval]:
    """Draw percentile intervals of the micro, macro, weighted and samples F1 over titles.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        decisions: Decisions, same shape.
        config: How they are drawn; the defaults when None.

    Returns:
        An interval for each of ``F1_METRICS``; empty when ``config.n_resamples`` is 0.

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    config = config or BootstrapConfig()
    check_shapes(targets, decisions, "decisions")
    if config.n_resamples == 0:
        return {}
    run = _ResampledF1(targets, decisions)
    figures = np.concatenate([run(weights) for weights in _weights(targets.shape[0], config)])
    return dict(zip(F1_METRICS, _intervals(figures, config.level), strict=True))


def compare_runs(
    targets: Matrix,
    first: Matrix,
    second: Matrix,
    *,
    labels: Sequence[str],
    names: tuple[str, str] = ("first", "second"),
    config: BootstrapConfig | None = None,
) -> Comparison:
    """Compare the decisions of two runs on the same titles.

    Both runs are resampled with the same weights. With d* the difference of a resample and B their number, the
    two-sided p-value is ``2 * (1 + min(#(d* <= 0), #(d* >= 0))) / (B + 1)``, at most 1: the level at which the
    percentile interval would begin to exclude 0 (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
    chapter 13), never exactly 0.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        first: Decisions of the first run, same shape.
        second: Decisions of the second run, same shape and order of titles.
        labels: Names of the columns.
        names: What the runs are called.
        config: How the intervals are drawn; the defaults when None.

    Returns:
        The differences, second minus first, and McNemar's test of each label.

    Raises:
        EvaluationError: The shapes differ or are empty, or ``config.n_resamples`` is 0.
    """
    config = config or BootstrapConfig()
    check_shapes(targets, first, f"decisions of '{names[0]}'")
    check_shapes(targets, second, f"decisions of '{names[1]}'")
    if len(labels) != targets.shape[1]:
        raise EvaluationError(f"labels must name all {targets.shape[1]:,} columns; got {len(labels):,} names")
    if config.n_resamples == 0:
        raise EvaluationError("a comparison needs BootstrapConfig.n_resamples of at least 1; got 0")
    runs = _ResampledF1(targets, first), _ResampledF1(targets, second)
    whole = np.ones((1, targets.shape[0]))
    point_first, point_second = (run(whole)[0] for run in runs)
    resampled = np.concatenate([runs[1](weights) - runs[0](weights) for weights in _weights(len(targets), config)])
    differences = tuple(
        Difference(
            metric=metric,
            first=float(point_first[column]),
            second=float(point_second[column]),
            difference=float(point_second[column] - point_first[column]),
            interval=interval,
            p_value=_two_sided_p(resampled[:, column]),
        )
        for column, (metric, interval) in enumerate(zip(F1_METRICS, _intervals(resampled, config.level), strict=True))
    )
    return Comparison(
        first=names[0],
        second=names[1],
        n_titles=len(targets),
        config=config,
        differences=differences,
        labels=compare_labels(targets, first, second, labels=labels),
    )


def bootstrap_means(values: Floats, config: BootstrapConfig | None = None) -> list[Interval]:
    """Draw percentile intervals of the means of some figures of the same titles.

    Args:
        values: One row per title and one column per figure, (n_titles, n_figures), all finite.
        config: How they are drawn; the defaults when None.

    Returns:
        An interval per column; empty when ``config.n_resamples`` is 0.

    Raises:
        EvaluationError: There is no title or no figure, or one is not finite.
    """
    config = config or BootstrapConfig()
    return _intervals(_resampled_means(values, config), config.level) if config.n_resamples else []


def compare_means(first: Floats, second: Floats, config: BootstrapConfig | None = None) -> MeanDifference:
    """Compare the means of a figure of the same titles under two runs, by the paired bootstrap of ``compare_runs``.

    Args:
        first: The figure of each title in the first run, (n_titles,), all finite.
        second: That of the second run, same shape and order.
        config: How the interval is drawn; the defaults when None.

    Raises:
        EvaluationError: The shapes differ or are empty, a figure is not finite, or ``config.n_resamples`` is 0.
    """
    config = config or BootstrapConfig()
    if first.shape != second.shape or first.ndim != 1:
        raise EvaluationError(
            f"two runs need one figure for each of the same titles; got {first.shape}, {second.shape}"
        )
    if config.n_resamples == 0:
        raise EvaluationError("a comparison needs BootstrapConfig.n_resamples of at least 1; got 0")
    differences = (second - first)[:, None]
    resampled = _resampled_means(differences, config)
    return MeanDifference(
        difference=float(differences.mean()),
        interval=_intervals(resampled, config.level)[0],
        p_value=_two_sided_p(resampled),
    )


def compare_labels(targets: Matrix, first: Matrix, second: Matrix, *, labels: Sequence[str]) -> tuple[LabelTest, ...]:
    """Test for each label whether one run is right on more titles than the other.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        first: Decisions of the first run, same shape.
        second: Decisions of the second run, same shape.
        labels: Names of the columns.

    Returns:
        One test per label, in column order, with Holm's correction over all of them.
    """
    truth = targets.astype(np.bool_, copy=False)
    first_right, second_right = first.astype(np.bool_) == truth, second.astype(np.bool_) == truth
    only_first = np.count_nonzero(first_right & ~second_right, axis=0)
    only_second = np.count_nonzero(second_right & ~first_right, axis=0)
    p_values = mcnemar(only_first, only_second)
    adjusted = holm(p_values)
    first_f1, second_f1 = label_counts(truth, first).f1, label_counts(truth, second).f1
    return tuple(
        LabelTest(
            label=label,
            first_f1=float(first_f1[column]),
            second_f1=float(second_f1[column]),
            only_first=int(only_first[column]),
            only_second=int(only_second[column]),
            test="exact" if only_first[column] + only_second[column] < EXACT_BELOW else "chi-square",
            p_value=float(p_values[column]),
            adjusted_p_value=float(adjusted[column]),
        )
        for column, label in enumerate(labels)
    )


def mcnemar(only_first: Ints, only_second: Ints) -> Floats:
    """Return McNemar's two-sided p-values (McNemar, "Note on the sampling error of the difference …", 1947).

    Args:
        only_first: Titles that only the first run decides rightly, any shape.
        only_second: Titles that only the second run decides rightly, same shape.

    Returns:
        Below ``EXACT_BELOW`` such titles the exact binomial probability, else the chi-square approximation with
        continuity correction, ``max(|b - c| - 1, 0)^2 / (b + c)``; 1 where the runs never differ.
    """
    from scipy import stats  # slow to import, and most callers never test

    discordant = np.asarray(only_first + only_second)
    exact = np.minimum(1.0, 2.0 * stats.binom.cdf(np.minimum(only_first, only_second), discordant, 0.5))
    excess = np.maximum(np.abs(np.asarray(only_first) - only_second) - 1, 0)
    approximate = stats.chi2.sf(excess**2 / np.maximum(discordant, 1), df=1)
    return np.asarray(np.where(discordant < EXACT_BELOW, exact, approximate), np.float64)


def holm(p_values: Floats) -> Floats:
    """Adjust p-values for multiple testing (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    Args:
        p_values: Shape (n_tests,).

    Returns:
        Adjusted values in the same order, at most 1; below 0.05 together, all findings hold at the level of 5 %.
    """
    n_tests = p_values.size
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * (n_tests - np.arange(n_tests)))
    adjusted = np.empty(n_tests, np.float64)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _weights(n_titles: int, config: BootstrapConfig) -> Iterator[Floats]:
    """Yield blocks (n_resamples, n_titles) of how often each title was drawn; the blocks do not change the draws."""
    rng = np.random.default_rng(config.seed)
    step = max(1, _CELLS_PER_BLOCK // n_titles)
    for start in range(0, config.n_resamples, step):
        size = min(step, config.n_resamples - start)
        draws = (rng.integers(0, n_titles, n_titles) for _ in range(size))
        yield np.stack([np.bincount(draw, minlength=n_titles) for draw in draws]).astype(np.float64)


def _resampled_means(values: Floats, config: BootstrapConfig) -> Floats:
    """Return the means of every resample, (n_resamples, n_figures)."""
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise EvaluationError(f"means need rows and columns of finite figures; got shape {values.shape}")
    return np.concatenate([weights @ values / len(values) for weights in _weights(len(values), config)])


def _intervals(figures: Floats, level: float) -> list[Interval]:
    tail = (1.0 - level) / 2.0
    lows, highs = np.quantile(figures, [tail, 1.0 - tail], axis=0)
    return [Interval(low=float(low), high=float(high)) for low, high in zip(lows, highs, strict=True)]


def _two_sided_p(differences: Floats) -> float:
    fewer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2.0 * (1 + fewer) / (1 + differences.size))


def _transposed(matrix: Matrix) -> Any:
    """Return a sparse float64 matrix (n_labels, n_titles): few labels apply to a title."""
    return sparse.csr_array(matrix.T, dtype=np.float64)
