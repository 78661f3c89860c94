"""From truth and probabilities to an Evaluation: every figure of a report, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reeltag.errors import ConfigError, EvaluationError, shown
from reeltag.evaluation.metrics import (
    Bools,
    Counts,
    Matrix,
    abstention_rate,
    check_probabilities,
    check_shapes,
    decide,
    hit_at_least_one,
    label_counts,
    title_counts,
)
from reeltag.evaluation.ranking import LabelRanking, TopK, micro_average_precision, rank_labels, rank_titles
from reeltag.evaluation.reliability import (
    DEFAULT_N_BINS,
    BinnedProbabilities,
    ReliabilityBin,
    bin_probabilities,
    brier_per_label,
)
from reeltag.evaluation.significance import BootstrapConfig, Interval, bootstrap_f1
from reeltag.evaluation.tails import LongTail, TrainingCounts, score_long_tail

AT_HALF = "at 0.5"
GLOBAL = "global"
PER_LABEL = "per_label"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is computed.

    Attributes:
        ks: Cut-offs of the ranking figures, each at least 1.
        n_bins: Bins of the reliability curve and the calibration error.
        bootstrap: How intervals are drawn.
        headline: Threshold rule of the headline and the per-label table; the last rule given when None.
    """

    ks: tuple[int, ...] = (1, 3, 5)
    n_bins: int = DEFAULT_N_BINS
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    headline: str | None = None

    def __post_init__(self) -> None:
        if any(k < 1 for k in self.ks):
            raise ConfigError(f"EvaluationConfig.ks must be at least 1 each; got {self.ks}")
        if self.n_bins < 1:
            raise ConfigError(f"EvaluationConfig.n_bins must be at least 1; got {self.n_bins}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is known to be right about the titles under evaluation.

    Attributes:
        targets: 0/1 or bool, shape (n_titles, n_labels); titles whose labels are unknown are left out beforehand.
        labels: Names of the columns.

    Raises:
        EvaluationError: There is no title or no label, a name is missing or double, or a value is not 0 or 1.
    """

    targets: Matrix
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        check_shapes(self.targets, self.targets, "targets")
        if len(self.labels) != self.targets.shape[1]:
            raise EvaluationError(
                f"Truth.labels must name all {self.targets.shape[1]:,} columns; got {len(self.labels):,} names"
            )
        if len(set(self.labels)) < len(self.labels):
            raise EvaluationError(f"Truth.labels must not name a label twice; got {shown(self.labels)}")
        if self.targets.dtype != np.bool_ and not ((self.targets == 0) | (self.targets == 1)).all():
            wrong = self.targets[(self.targets != 0) & (self.targets != 1)].ravel()[0]
            raise EvaluationError(f"Truth.targets must be 0 or 1; got {wrong}")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All figures of the decisions under one threshold rule, each in [0, 1] except ``labels_per_title``.

    Attributes:
        rule: Name of the rule.
        micro_precision: Of all title-label pairs pooled.
        micro_recall: Of all title-label pairs pooled.
        micro_f1: Of all title-label pairs pooled.
        macro_precision: Mean over labels.
        macro_recall: Mean over labels.
        macro_f1: Mean over labels.
        weighted_f1: Mean over labels, weighted by support.
        samples_f1: Mean over titles.
        hit_at_least_one: Share of titles with at least one decided label that is right.
        abstention_rate: Share of titles with no label decided.
        labels_per_title: Mean number of labels decided.
        intervals: Bootstrap intervals of the F1 figures by field name; empty when none were drawn.
    """

    rule: str
    micro_precision: float
    micro_recall: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_f1: float
    samples_f1: float
    hit_at_least_one: float
    abstention_rate: float
    labels_per_title: float
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Share of titles with at least one label decided."""
        return 1.0 - self.abstention_rate


@dataclass(frozen=True, kw_only=True)
class RankingScores:
    """All figures that need no threshold; None where undefined.

    Attributes:
        mean_average_precision: Mean over the labels with at least one positive (mAP).
        micro_average_precision: Average precision of all title-label pairs in one list.
        macro_auroc: Mean over the labels with positives and negatives.
        brier: Mean squared difference of probability and truth; 0 is best.
        ece: Expected calibration error of all pairs pooled; 0 is best.
        top_k: Precision, recall and nDCG at each cut-off.
    """

    mean_average_precision: float | None
    micro_average_precision: float | None
    macro_auroc: float | None
    brier: float
    ece: float
    top_k: tuple[TopK, ...]


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """All figures of one label; the decisions are those of the headline rule.

    Attributes:
        label: The label.
        support: Titles it is true for.
        predicted: Titles it was decided for.
        threshold: Probability from which it is decided; None when it never is.
        precision: In [0, 1]; 0 without decisions.
        recall: In [0, 1]; 0 without positives.
        f1: In [0, 1]; 0 with neither.
        f1_by_rule: F1 under each threshold rule.
        average_precision: None without positives.
        auroc: None without positives or without negatives.
        brier: Mean squared difference of probability and truth; 0 is best.
        ece: Expected calibration error of the label's own pairs; 0 is best.
    """

    label: str
    support: int
    predicted: int
    threshold: float | None
    precision: float
    recall: float
    f1: float
    f1_by_rule: dict[str, float]
    average_precision: float | None
    auroc: float | None
    brier: float
    ece: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every figure of one run on one set of titles.

    Attributes:
        n_titles: Titles evaluated.
        n_true: Title-label pairs that are true.
        headline: Threshold rule of the headline and of ``labels``.
        rules: Figures of the decisions, one entry per rule in the order given.
        ranking: Figures that need no threshold.
        labels: Figures per label, in column order.
        reliability: The reliability curve of all title-label pairs pooled.
        config: What was computed.
        long_tail: Figures that say what the run is worth on rare labels; None when training counts were not given.
    """

    n_titles: int
    n_true: int
    headline: str
    rules: tuple[Scores, ...]
    ranking: RankingScores
    labels: tuple[LabelScores, ...]
    reliability: tuple[ReliabilityBin, ...]
    config: EvaluationConfig
    long_tail: LongTail | None = None

    @property
    def scores(self) -> Scores:
        """The figures under the headline rule."""
        return self.rule(self.headline)

    def rule(self, name: str) -> Scores:
        """Return the figures under a rule.

        Raises:
            EvaluationError: There is no such rule.
        """
        for scores in self.rules:
            if scores.rule == name:
                return scores
        raise EvaluationError(f"threshold rule must be one of {', '.join(s.rule for s in self.rules)}; got {name!r}")


@dataclass(frozen=True, kw_only=True)
class ModalityScores:
    """Headline figures with some of the modalities only; one row of the modality grid.

    Attributes:
        modalities: The modalities that were present; empty for none of them.
        micro_f1: In [0, 1].
        macro_f1: In [0, 1].
        mean_average_precision: In [0, 1]; None when not computed.
        n_titles: Titles the row was computed on; None for all.
    """

    modalities: tuple[str, ...]
    micro_f1: float
    macro_f1: float
    mean_average_precision: float | None = None
    n_titles: int | None = None


def evaluate_predictions(
    truth: Truth,
    probabilities: Matrix,
    thresholds: Mapping[str, Matrix],
    *,
    config: EvaluationConfig | None = None,
    training: TrainingCounts | None = None,
) -> Evaluation:
    """Compute every figure of one run.

    Args:
        truth: The targets and the names of the labels.
        probabilities: In [0, 1], shape (n_titles, n_labels), rows as in ``truth``.
        thresholds: From the name of a rule (``at 0.5``, ``global``, ``per_label``, …) to its thresholds, shape
            (n_labels,); a label is decided where its probability is at least its threshold, ``inf`` means never.
        config: What is computed; the defaults when None.
        training: How frequent the labels were in training; without it, nothing is said of the long tail.

    Returns:
        The figures, as plain numbers.

    Raises:
        EvaluationError: Shapes do not fit, a probability is not in [0, 1], no rule is given, or the headline rule is
            not among them.
    """
    config = config or EvaluationConfig()
    check_shapes(truth.targets, probabilities, "probabilities")
    check_probabilities(probabilities)
    if not thresholds:
        raise EvaluationError("thresholds must hold at least one rule; got none")
    headline = config.headline if config.headline is not None else list(thresholds)[-1]
    if headline not in thresholds:
        raise EvaluationError(f"headline rule must be one of {', '.join(thresholds)}; got {headline!r}")
    targets: Bools = truth.targets.astype(np.bool_, copy=False)
    rules: list[Scores] = []
    counts: dict[str, Counts] = {}
    for name, limits in thresholds.items():
        decisions = decide(probabilities, limits)
        counts[name] = label_counts(targets, decisions)
        rules.append(score_decisions(name, targets, decisions, config.bootstrap))
    ranked, binned = rank_labels(targets, probabilities), bin_probabilities(targets, probabilities, config.n_bins)
    brier = brier_per_label(targets, probabilities)
    return Evaluation(
        n_titles=targets.shape[0],
        n_true=int(np.count_nonzero(targets)),
        headline=headline,
        rules=tuple(rules),
        ranking=RankingScores(
            mean_average_precision=_defined(ranked.mean_average_precision),
            micro_average_precision=_defined(micro_average_precision(targets, probabilities)),
            macro_auroc=_defined(ranked.macro_auroc),
            brier=float(brier.mean()),
            ece=binned.ece,
            top_k=tuple(rank_titles(targets, probabilities, k) for k in config.ks),
        ),
        labels=_score_labels(
            truth.labels,
            counts=counts,
            headline=headline,
            limits=np.broadcast_to(np.asarray(thresholds[headline], np.float64), len(truth.labels)),
            ranked=ranked,
            calibration=(binned, brier),
        ),
        reliability=binned.curve,
        config=config,
        long_tail=None if training is None else score_long_tail(
            targets, probabilities, counts=counts[headline], average_precision=ranked.average_precision,
            training=training, ks=config.ks,
        ),
    )  # fmt: skip


def score_decisions(rule: str, targets: Matrix, decisions: Matrix, bootstrap: BootstrapConfig | None = None) -> Scores:
    """Compute the figures of decisions made by any rule.

    Args:
        rule: Name of the rule.
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        decisions: Decisions, same shape.
        bootstrap: How intervals are drawn; the defaults when None.

    Returns:
        The figures with their intervals.

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    labels = label_counts(targets, decisions)
    pooled = labels.pooled()
    return Scores(
        rule=rule,
        micro_precision=float(pooled.precision),
        micro_recall=float(pooled.recall),
        micro_f1=float(pooled.f1),
        macro_precision=float(labels.precision.mean()),
        macro_recall=float(labels.recall.mean()),
        macro_f1=float(labels.f1.mean()),
        weighted_f1=labels.weighted_f1(),
        samples_f1=float(title_counts(targets, decisions).f1.mean()),
        hit_at_least_one=hit_at_least_one(targets, decisions),
        abstention_rate=abstention_rate(decisions),
        labels_per_title=float(pooled.predicted) / targets.shape[0],
        intervals=bootstrap_f1(targets, decisions, bootstrap),
    )


def _score_labels(
    labels: tuple[str, ...],
    *,
    counts: Mapping[str, Counts],
    headline: str,
    limits: Matrix,
    ranked: LabelRanking,
    calibration: tuple[BinnedProbabilities, Matrix],
) -> tuple[LabelScores, ...]:
    shown_counts = counts[headline]
    precision, recall, f1 = shown_counts.precision, shown_counts.recall, shown_counts.f1
    f1_by_rule = {name: rule_counts.f1 for name, rule_counts in counts.items()}
    ece, brier = calibration[0].ece_per_label, calibration[1]
    return tuple(
        LabelScores(
            label=label,
            support=int(shown_counts.support[column]),
            predicted=int(shown_counts.predicted[column]),
            threshold=_defined(float(limits[column])),
            precision=float(precision[column]),
            recall=float(recall[column]),
            f1=float(f1[column]),
            f1_by_rule={name: float(values[column]) for name, values in f1_by_rule.items()},
            average_precision=_defined(float(ranked.average_precision[column])),
            auroc=_defined(float(ranked.auroc[column])),
            brier=float(brier[column]),
            ece=float(ece[column]),
        )
        for column, label in enumerate(labels)
    )


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
