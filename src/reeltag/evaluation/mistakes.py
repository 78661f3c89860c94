"""The titles a run got most wrong, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reeltag.errors import EvaluationError, shown
from reeltag.evaluation.metrics import Floats, Matrix, check_probabilities, check_shapes

_SMALLEST_PROBABILITY = 1e-7
_CELLS_PER_BLOCK = 4_000_000
_POSTER_PREFIX = "data:image/"


@dataclass(frozen=True, kw_only=True)
class LabelProbability:
    """A label and the probability the model gave it, in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class WrongTitle:
    """What was wrong about one title.

    Attributes:
        row: Row in the matrices.
        film_id: Its id.
        log_loss: Mean over labels of the negative log-probability of the truth, in nats; higher is worse.
        true_labels: The labels that are true, in column order.
        predicted: The labels that were decided, most probable first.
        missed: The true labels that were not decided, least probable first.
    """

    row: int
    film_id: str
    log_loss: float
    true_labels: tuple[str, ...]
    predicted: tuple[LabelProbability, ...]
    missed: tuple[LabelProbability, ...]

    @property
    def added(self) -> tuple[LabelProbability, ...]:
        """The labels that were decided and are not true, most probable first."""
        return tuple(item for item in self.predicted if item.label not in self.true_labels)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong title with what a reader needs to recognise the film.

    Attributes:
        wrong: What was wrong.
        title: Title of the film.
        year: Year of release, when known.
        plot: Beginning of the plot; empty when there is none.
        poster: The poster as a data URI (``data:image/…``), never a link; None without a poster.
    """

    wrong: WrongTitle
    title: str
    year: int | None = None
    plot: str = ""
    poster: str | None = None

    def __post_init__(self) -> None:
        if self.poster is not None and not self.poster.startswith(_POSTER_PREFIX):
            raise EvaluationError(f"Mistake.poster must be a data URI '{_POSTER_PREFIX}…'; got {shown(self.poster)}")


def title_log_loss(targets: Matrix, probabilities: Matrix) -> Floats:
    """Return how unlikely the model held the truth of each title.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: In [0, 1], same shape.

    Returns:
        The mean over labels of ``-ln p`` for true and ``-ln(1 - p)`` for other labels, in nats, shape (n_titles,);
        probabilities are kept 1e-7 away from 0 and 1. 0 is best.

    Raises:
        EvaluationError: The shapes differ or are empty, or a probability is not in [0, 1].
    """
    check_shapes(targets, probabilities, "probabilities")
    check_probabilities(probabilities)
    losses = np.empty(targets.shape[0], np.float64)
    step = max(1, _CELLS_PER_BLOCK // targets.shape[1])
    for start in range(0, targets.shape[0], step):
        rows = slice(start, start + step)
        of_true = probabilities[rows].astype(np.float64)
        of_truth = np.where(targets[rows].astype(np.bool_), of_true, 1.0 - of_true)
        losses[rows] = -np.log(np.clip(of_truth, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)).mean(axis=1)
    return losses


def worst_mistakes(
    ids: Sequence[str], targets: Matrix, probabilities: Matrix, decisions: Matrix, labels: Sequence[str], n: int = 20
) -> list[WrongTitle]:
    """Rank the titles with at least one wrong decision by the log-loss of their labels.

    The log-loss, not the number of wrong labels, decides: a confident mistake comes before several close calls.

    Args:
        ids: One id per title.
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: In [0, 1], same shape.
        decisions: Decisions, 0/1 or bool, same shape.
        labels: Names of the columns.
        n: Most titles returned.

    Returns:
        The worst first; ties by row. Fewer than ``n`` when fewer titles are wrong.

    Raises:
        EvaluationError: The numbers of ids, labels or shapes do not fit.
    """
    check_shapes(targets, decisions, "decisions")
    if (len(ids), len(labels)) != targets.shape:
        raise EvaluationError(
            f"ids and labels must name the rows and columns of the targets, {targets.shape}; "
            f"got {len(ids):,} ids and {len(labels):,} labels"
        )
    losses = title_log_loss(targets, probabilities)
    truth, decided = targets.astype(np.bool_, copy=False), decisions.astype(np.bool_, copy=False)
    wrong = np.flatnonzero((truth != decided).any(axis=1))
    worst = wrong[np.argsort(-losses[wrong], kind="stable")[: max(n, 0)]]
    return [
        WrongTitle(
            row=int(row),
            film_id=str(ids[row]),
            log_loss=float(losses[row]),
            true_labels=tuple(labels[int(column)] for column in np.flatnonzero(truth[row])),
            predicted=tuple(reversed(_with_probability(np.flatnonzero(decided[row]), probabilities[row], labels))),
            missed=tuple(_with_probability(np.flatnonzero(truth[row] & ~decided[row]), probabilities[row], labels)),
        )
        for row in worst
    ]


def _with_probability(columns: Matrix, probabilities: Matrix, labels: Sequence[str]) -> list[LabelProbability]:
    """Return the labels of some columns with their probabilities, least probable first."""
    order = np.argsort(probabilities[columns], kind="stable")
    return [LabelProbability(label=labels[int(c)], probability=float(probabilities[c])) for c in columns[order]]
