"""An entry against the reference: paired bootstrap of F1, and McNemar's test of the decisions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.benchmark.runs import Outcome
from reeltag.evaluation import BootstrapConfig, LabelTest, compare_runs, mcnemar

LEVEL = 0.05  # a label differs when its adjusted p is below


@dataclass(frozen=True)
class Against:
    """An entry against the reference on one metric.

    Attributes:
        difference: Entry minus reference, mean over seeds.
        p_value: Two-sided, of the paired bootstrap over test titles; the median over the pairs of runs of one seed.
    """

    difference: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class DecisionTest:
    """McNemar's test of an entry's decisions against the reference's, at the global thresholds.

    Attributes:
        only_reference: Title-label decisions that only the reference has right, mean over seeds.
        only_entry: Those that only the entry has right.
        p_value: Two-sided, of all decisions pooled; the median over the pairs of runs of one seed.
        labels: By label the p-value of its own decisions after Holm's correction, the median over the pairs.
        better: Labels with such a p below .05 of which the entry has more right.
        worse: Those of which the reference has more right.
    """

    only_reference: float
    only_entry: float
    p_value: float
    labels: dict[str, float]
    better: tuple[str, ...]
    worse: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Sequence[Sequence[LabelTest]]) -> DecisionTest:
        """Put the tests of all labels together, one sequence of them per seed."""
        lost = [sum(test.only_first for test in tests) for tests in pairs]
        won = [sum(test.only_second for test in tests) for tests in pairs]
        by_label = {tests[0].label: tests for tests in zip(*pairs, strict=True)}
        labels = {name: statistics.median(test.adjusted_p_value for test in tests) for name, tests in by_label.items()}
        gains = {name: sum(test.only_second - test.only_first for test in tests) for name, tests in by_label.items()}
        differ = [name for name, p in labels.items() if p < LEVEL]
        return cls(
            only_reference=statistics.fmean(lost),
            only_entry=statistics.fmean(won),
            p_value=float(np.median(mcnemar(np.array(lost, np.int64), np.array(won, np.int64)))),
            labels=labels,
            better=tuple(name for name in differ if gains[name] > 0),
            worse=tuple(name for name in differ if gains[name] <= 0),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the test as JSON values."""
        return {**vars(self), "better": list(self.better), "worse": list(self.worse)}


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What ``tests_against`` returns.

    Attributes:
        f1: By metric.
        decisions: Of all decisions.
    """

    f1: dict[str, Against]
    decisions: DecisionTest


def tests_against(
    reference: Sequence[Outcome],
    others: Sequence[Outcome],
    targets: npt.NDArray[np.float32],
    labels: Sequence[str],
    config: BootstrapConfig,
) -> Differences:
    """Test the runs of an entry against those of the reference, seed by seed.

    Args:
        reference: Runs of the reference, one per seed.
        others: Runs of the entry, in the same order of seeds.
        targets: Truth of the test titles, (n_test, n_labels).
        labels: Names of the columns.
        config: How titles are drawn.
    """
    pairs = [
        compare_runs(targets, first.decisions, second.decisions, labels=labels, names=("reference", "entry"),
                     config=config)
        for first, second in zip(reference, others, strict=True)
    ]  # fmt: skip
    by_metric = zip(*(pair.differences for pair in pairs), strict=True)
    f1 = {
        found[0].metric: Against(
            statistics.fmean(one.difference for one in found), statistics.median(one.p_value for one in found)
        )
        for found in by_metric
    }
    return Differences(f1=f1, decisions=DecisionTest.of([pair.labels for pair in pairs]))
