"""Which titles are worth an editor's time: scores from what a model says of them, and batches made of scores.

Pool-based active learning in batches (Settles 2009, "Active learning literature survey"). The ideas, each a strategy:

- ``uncertainty``: titles with many labels near their thresholds (Settles 2009, section 3.1, for many labels at once).
- ``rarity``: titles that are likely to give examples of labels of which few are known. What is learned of a label is
  taken to vary by one over its examples, and the worth of a batch is what it can be expected to take off the sum of
  these variances: every further example of one label is worth less, so that a batch does not ask for the same label all
  the time. That is submodular, and the greedy choice is within 1 - 1/e of the best batch (Nemhauser, Wolsey and Fisher
  1978).
- ``diversity``: titles far from every labelled one and from each other, the greedy k-centre rule of Sener and Savarese
  2018 ("Active learning for convolutional neural networks: a core-set approach"), on cosine distance.
- ``mixed``: rarity, where a label of which the model is sure counts less, times how typical a title is (information
  density, Settles 2009, section 3.6), times how far it is from labelled and chosen titles. Among the titles worth most,
  so that a batch takes little time, as cluster-margin does (Citovsky et al. 2021, "Batch active learning at scale").

BADGE (Ash et al. 2020, "Deep batch active learning by diverse, uncertain gradient lower bounds") joins uncertainty and
spread by gradients, and is not implemented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reeltag.calibration import log_odds
from reeltag.errors import ConfigError

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_ROWS_AT_ONCE = 1024
_LEAST = 1e-6
# powers that were chosen on validation titles: docs/suggest.md
_FALL = 2.0  # how fast further examples of a label lose their worth
_TYPICAL = 0.25  # how much density counts in ``mixed``
_SPREAD = 0.25  # how much distance counts in ``mixed``
_CONSIDERED = 10  # ``mixed`` chooses among this many times as many titles as are asked for


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What is known of the titles to choose from.

    Attributes:
        probabilities: What the model says of them, (n, n_labels).
        thresholds: From which probability each label applies, (n_labels,).
        embeddings: Unit vectors of them, (n, dim).
        counts: Labelled titles of every label, (n_labels,).
        labelled: Unit vectors of the labelled titles, (n_labelled, dim); none is allowed.
    """

    probabilities: Matrix
    thresholds: Matrix
    embeddings: Matrix
    counts: npt.NDArray[np.floating]
    labelled: Matrix

    def __post_init__(self) -> None:
        n, n_labels = self.probabilities.shape
        if self.thresholds.shape != (n_labels,) or np.shape(self.counts) != (n_labels,):
            raise ConfigError(
                f"Candidates need a threshold and a count per label ({n_labels}); got {self.thresholds.shape} and "
                f"{np.shape(self.counts)}"
            )
        if len(self.embeddings) != n or self.labelled.shape[1:] != self.embeddings.shape[1:]:
            raise ConfigError(
                f"Candidates need an embedding per title ({n}) as wide as those of labelled titles; got "
                f"{self.embeddings.shape} and {self.labelled.shape}"
            )

    def __len__(self) -> int:
        return len(self.probabilities)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Titles in the order in which they should be asked about.

    Attributes:
        rows: Row numbers of candidates, (n_chosen,).
        scores: What each was worth when it was chosen, (n_chosen,); comparable within one choice only.
    """

    rows: Ints
    scores: Floats


Strategy = Callable[[Candidates, int, np.random.Generator], Choice]


def doubts(probabilities: Matrix, thresholds: Matrix) -> Floats:
    """Return how near every probability is to its threshold: ``exp(-|log-odds - log-odds of the threshold|)``.

    Args:
        probabilities: Shape (n, n_labels).
        thresholds: Shape (n_labels,).

    Returns:
        In (0, 1], 1 at the threshold, (n, n_labels). On log-odds .01 is as far from .02 as .5 from .67: thresholds of
        many labels are low, and binary entropy, which peaks at .5, would look away from where the decisions are made.
    """
    return np.asarray(np.exp(-np.abs(log_odds(probabilities) - log_odds(thresholds))), np.float64)


def uncertainty(probabilities: Matrix, thresholds: Matrix) -> Floats:
    """Return the mean of ``doubts`` over the labels, (n,)."""
    return np.asarray(doubts(probabilities, thresholds).mean(axis=1), np.float64)


def rarity(probabilities: Matrix, counts: npt.NDArray[np.floating]) -> Floats:
    """Return the expected worth of each title's labels, ``sum of p / (1 + count) ** 2``, (n,).

    It is what the title takes off ``sum of 1 / (1 + count)``, to first order.
    """
    return np.asarray(probabilities @ (1 + counts.astype(np.float64)) ** -_FALL, np.float64)


def novelty(embeddings: Matrix, labelled: Matrix) -> Floats:
    """Return the cosine distance to the nearest labelled title, in [0, 2], (n,); 1 when none is labelled."""
    nearest = np.zeros(len(embeddings))
    if len(labelled):
        for start in range(0, len(embeddings), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            nearest[part] = (embeddings[part] @ labelled.T).max(axis=1)
    return np.asarray(1 - nearest, np.float64)


def density(embeddings: Matrix) -> Floats:
    """Return how typical each title is: its mean cosine similarity to all of them, at least 1e-6, (n,)."""
    if len(embeddings) == 0:
        return np.zeros(0)
    return np.asarray((embeddings @ embeddings.mean(axis=0)).clip(_LEAST), np.float64)


def by_score(scores: Floats, n: int) -> Choice:
    """Return the ``n`` best titles, best first, the earlier of equal ones first."""
    rows = np.argsort(-scores, kind="stable")[:n]
    return Choice(rows=rows.astype(np.int64), scores=scores[rows])


def by_coverage(
    weights: npt.NDArray[np.floating],
    counts: npt.NDArray[np.floating],
    n: int,
    *,
    factor: Floats | None = None,
    spread: Spread | None = None,
) -> Choice:
    """Return a batch that gives many labels an example each, rare ones first.

    Every step takes the title with the largest ``sum over labels of weight / (1 + count) ** 2``, times its factor and
    what ``spread`` says of its distance; the weights of the chosen title are then added to the counts.

    Args:
        weights: What a title may give of each label, such as its probabilities, (n_titles, n_labels).
        counts: Labelled titles of every label, (n_labels,).
        n: How many.
        factor: What the worth of each title is multiplied by, (n_titles,); 1 when None.
        spread: Keeps titles apart; None for not at all.
    """
    gains = np.ascontiguousarray(weights, np.float32)
    expected = counts.astype(np.float64) + 1
    alive = np.ones(len(gains), np.bool_)
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(min(n, len(gains))):
        worth = (gains @ (expected**-_FALL).astype(np.float32)).astype(np.float64)
        worth *= 1 if factor is None else factor
        worth *= 1 if spread is None else spread.factor()
        row = int(np.argmax(np.where(alive, worth, -np.inf)))
        rows.append(row)
        scores.append(worth[row])
        alive[row] = False
        expected += gains[row]
        if spread is not None:
            spread.add(row)
    return Choice(rows=np.array(rows, np.int64), scores=np.array(scores, np.float64))


def k_centre(embeddings: Matrix, labelled: Matrix, n: int) -> Choice:
    """Return a batch by the greedy k-centre rule: every step takes the title farthest from all labelled and chosen.

    Args:
        embeddings: Unit vectors of the titles, (n_titles, dim).
        labelled: Unit vectors of labelled titles, (n_labelled, dim).
        n: How many.
    """
    spread = Spread(embeddings, novelty(embeddings, labelled))
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(min(n, len(embeddings))):
        distances = spread.distances.copy()
        distances[rows] = -np.inf
        row = int(np.argmax(distances))
        rows.append(row)
        scores.append(distances[row])
        spread.add(row)
    return Choice(rows=np.array(rows, np.int64), scores=np.array(scores, np.float64))


class Spread:
    """How far titles are from the nearest labelled or chosen one.

    Args:
        embeddings: Unit vectors, (n_titles, dim).
        distances: Cosine distance to the nearest labelled title, (n_titles,).
        power: How much distance counts: 0 for not at all.
    """

    def __init__(self, embeddings: Matrix, distances: Floats, power: float = 1.0) -> None:
        self.embeddings, self.distances, self.power = embeddings, distances.copy(), power

    def factor(self) -> Floats:
        """Return what the worth of every title is multiplied by, (n_titles,)."""
        return np.asarray(self.distances.clip(0) ** self.power, np.float64)

    def add(self, row: int) -> None:
        """Take a title as chosen."""
        self.distances = np.minimum(self.distances, 1 - self.embeddings @ self.embeddings[row])


def _random(candidates: Candidates, n: int, random: np.random.Generator) -> Choice:
    rows = random.permutation(len(candidates))[:n].astype(np.int64)
    return Choice(rows=rows, scores=np.zeros(len(rows)))


def _uncertainty(candidates: Candidates, n: int, random: np.random.Generator) -> Choice:  # noqa: ARG001
    return by_score(uncertainty(candidates.probabilities, candidates.thresholds), n)


def _rarity(candidates: Candidates, n: int, random: np.random.Generator) -> Choice:  # noqa: ARG001
    return by_coverage(candidates.probabilities, candidates.counts, n)


def _diversity(candidates: Candidates, n: int, random: np.random.Generator) -> Choice:  # noqa: ARG001
    return k_centre(candidates.embeddings, candidates.labelled, n)


def _mixed(candidates: Candidates, n: int, random: np.random.Generator) -> Choice:  # noqa: ARG001
    vectors = candidates.embeddings
    weights = candidates.probabilities * (1 - candidates.probabilities)
    typical, distances = density(vectors) ** _TYPICAL, novelty(vectors, candidates.labelled)
    worth = rarity(weights, candidates.counts) * typical * distances.clip(0) ** _SPREAD
    best = by_score(worth, _CONSIDERED * n).rows
    spread = Spread(vectors[best], distances[best], _SPREAD)
    found = by_coverage(weights[best], candidates.counts, n, factor=typical[best], spread=spread)
    return Choice(rows=best[found.rows], scores=found.scores)


STRATEGIES: dict[str, Strategy] = {
    "mixed": _mixed,
    "uncertainty": _uncertainty,
    "rarity": _rarity,
    "diversity": _diversity,
    "random": _random,
}
