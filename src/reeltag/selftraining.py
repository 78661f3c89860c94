"""Self-training: what a model is sure of on titles whose labels are unknown is learned as if it were known.

Pseudo-labels (Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
Networks") for several labels a title. A model is fitted on the labelled titles and calibrated on the validation titles;
what it then says of unlabelled titles is turned into 0 and 1, and another model is fitted on both. Two things keep its
mistakes from feeding themselves: only titles of which it is sure join, the hard selection of UPS (Rizve et al. 2021,
"In Defense of Pseudo-Labeling", arXiv 2101.06329) and FixMatch; and each label gets its share, as in class-balanced
self-training (Zou et al. 2018, arXiv 1810.07911), or frequent labels would crowd out rare ones. What differs from all
of them: models behind the contract read 0 and 1 and no weights, so a label of a joining title that is neither taken nor
surely absent counts as absent (UPS leaves it out of the loss), and every round fits a new model from the start.

Validation titles decide whether the new model is kept; no validation or test title is ever among the unlabelled ones
(``fit_rows``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from reeltag.calibration import CalibrationConfig, Calibrator
from reeltag.config import check_range
from reeltag.errors import ModelError
from reeltag.features import Features
from reeltag.models.contract import Model, Targets, Validation

Matrix = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.int64]
FitModel = Callable[[Features, Targets], Model]  # a new model, fitted

SELF_TRAINING = "self-training"  # the unlabelled titles among fitted_on, the rounds in the history
_BATCH = 4096  # unlabelled titles scored at once


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig:
    """How titles without known labels are learned from.

    Attributes:
        titles: Unlabelled titles asked about at most; 0 turns self-training off.
        rounds: How often a model is fitted on what the one before it said.
        confidence: A label is sure where its calibrated probability is at least this.
        rate_matching: Give every label its share: of the titles that may join, as many get it as its frequency among
            the labelled titles asks for, the most probable ones. A frequent label's threshold rises above
            ``confidence``, a rare one's falls below it, but never below the label's frequency. A title whose sure
            label is refused stays out. False: the sure labels are taken.
        only_confident_titles: Only titles whose most probable label is sure may join; without ``rate_matching`` there
            are no others, since a title without any label never joins.
        keep_if_better: Keep a new model only if the mean average precision on the validation titles rises, and end
            with the first that is not kept; False keeps the last one.
    """

    titles: int = 0
    rounds: int = 1
    confidence: float = 0.8
    rate_matching: bool = True
    only_confident_titles: bool = True
    keep_if_better: bool = True

    def __post_init__(self) -> None:
        check_range("SelfTrainingConfig", "titles", self.titles, 0, 100_000_000)
        check_range("SelfTrainingConfig", "rounds", self.rounds, 1, 100)
        check_range("SelfTrainingConfig", "confidence", self.confidence, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of self-training.

    Attributes:
        asked: Unlabelled titles asked about.
        joined: Those that were learned from.
        positives: Labels they got, all together.
        before: Mean average precision on the validation titles before; None where they have no label.
        after: The same of the new model; None also when no title joined.
        kept: Whether the new model was kept.
    """

    asked: int
    joined: int
    positives: int
    before: float | None
    after: float | None
    kept: bool


def pseudo_targets(
    probabilities: Matrix, counts: npt.NDArray[np.floating], n_labelled: int, config: SelfTrainingConfig
) -> tuple[RowNumbers, Targets]:
    """Choose the unlabelled titles to learn from, and their labels.

    Args:
        probabilities: Calibrated, of the unlabelled titles, (n_titles, n_labels).
        counts: Labelled titles with each label, (n_labels,).
        n_labelled: Labelled titles.
        config: ``confidence``, ``rate_matching``, ``only_confident_titles``.

    Returns:
        Rising row numbers (n_joining,), and targets of 0 and 1, (n_joining, n_labels), at least one 1 in each row; both
        may be empty.

    Raises:
        ModelError: There is no labelled title, or the counts are not one per label.
    """
    if n_labelled < 1 or counts.shape != probabilities.shape[1:]:
        raise ModelError(
            "pseudo-labels need labelled titles and one count per label; "
            f"got {n_labelled} titles, {len(counts)} counts and probabilities {probabilities.shape}"
        )
    sure = probabilities >= config.confidence
    may_join = sure.any(axis=1) if config.only_confident_titles else np.ones(len(sure), np.bool_)
    rows = np.flatnonzero(may_join).astype(np.int64)
    sure = sure[rows]
    taken = _share_out(probabilities[rows], counts / n_labelled, config.confidence) if config.rate_matching else sure
    joins = taken.any(axis=1) & ~(sure & ~taken).any(axis=1)
    return rows[joins], taken[joins].astype(np.float32)


def self_train(
    fit: FitModel,
    learned: Features,
    targets: Targets,
    validation: Validation,
    unlabelled: Features,
    config: SelfTrainingConfig,
    calibration: CalibrationConfig,
) -> tuple[Model, list[Round]]:
    """Fit a model on labelled titles, then again on these and on what it is sure of among unlabelled ones.

    Args:
        fit: Called with features and targets (n_titles, n_labels); returns a new model, fitted on them.
        learned: The labelled titles.
        targets: Their labels, 0 and 1, (n_titles, n_labels).
        validation: Titles that the models are calibrated and compared on.
        unlabelled: Titles whose labels are unknown, with the same blocks.
        config: Settings; with ``titles`` 0 the first model is all.
        calibration: How scores become the probabilities that ``confidence`` speaks of.

    Returns:
        The model that was kept, and what happened in each round; no round when self-training is off or there is no
        unlabelled title.
    """
    model = fit(learned, targets)
    rounds: list[Round] = []
    if config.titles == 0 or len(unlabelled) == 0:
        return model, rounds
    said = model.predict_proba(validation.features)
    for _ in range(config.rounds):
        calibrator = Calibrator(calibration).fit(said, validation.targets)
        probabilities = calibrator.transform(_in_batches(model, unlabelled))
        rows, pseudo = pseudo_targets(probabilities, targets.sum(axis=0), len(targets), config)
        before, after, kept = _mean_average_precision(said, validation.targets), None, False
        if len(rows):
            rival = fit(learned.joined(unlabelled.take(rows)), np.concatenate([targets, pseudo]))
            rival_said = rival.predict_proba(validation.features)
            after = _mean_average_precision(rival_said, validation.targets)
            kept = not config.keep_if_better or (before is not None and after is not None and after > before)
        positives = int(pseudo.sum(dtype=np.int64))
        rounds.append(
            Round(asked=len(unlabelled), joined=len(rows), positives=positives, before=before, after=after, kept=kept)
        )
        if not kept:
            break
        model, said = rival, rival_said
    return model, rounds


def drawn(rows: RowNumbers, n: int, seed: int) -> RowNumbers:
    """Return ``n`` of the rows, rising; all of them when there are no more. The same seed draws the same."""
    if len(rows) <= n:
        return np.sort(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


def _share_out(
    probabilities: Matrix, frequencies: npt.NDArray[np.floating], confidence: float
) -> npt.NDArray[np.bool_]:
    """Return which labels titles get when each label goes to its share of them, (n_titles, n_labels).

    Of equally probable titles the first ones get it; one that is neither sure of it nor more likely than any title is
    to have it does not.
    """
    taken = np.zeros(probabilities.shape, np.bool_)
    quotas = np.rint(frequencies * len(probabilities)).astype(np.int64)
    for label, quota in enumerate(quotas.tolist()):
        best = np.argsort(-probabilities[:, label], kind="stable")[:quota]
        taken[best, label] = probabilities[best, label] >= min(frequencies[label], confidence)
    return taken


def _in_batches(model: Model, features: Features) -> Matrix:
    starts = range(0, len(features), _BATCH)
    return np.concatenate(
        [model.predict_proba(features.take(range(start, min(start + _BATCH, len(features))))) for start in starts]
    )


def _mean_average_precision(scores: Matrix, targets: Targets) -> float | None:
    """Return the mean over the labels that some title has; None when there is none."""
    labels = np.flatnonzero(targets.any(axis=0))
    if len(labels) == 0:
        return None
    return float(np.mean([average_precision_score(targets[:, label], scores[:, label]) for label in labels]))
