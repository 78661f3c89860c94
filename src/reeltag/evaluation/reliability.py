"""Do the probabilities mean what they say? Brier score, expected calibration error and the reliability curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reeltag.errors import EvaluationError
from reeltag.evaluation.metrics import Floats, Ints, Matrix, check_probabilities, check_shapes

DEFAULT_N_BINS = 15
_CELLS_PER_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """One bin of the reliability curve.

    Attributes:
        low: Smallest probability of the bin.
        high: Upper end; it belongs to the next bin, except in the last bin, where it is 1.
        count: Title-label pairs in the bin.
        mean_probability: What the model said, on average; None for an empty bin.
        frequency: Share of the pairs that are true; None for an empty bin.
    """

    low: float
    high: float
    count: int
    mean_probability: float | None
    frequency: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedProbabilities:
    """Sums per label and bin, from which curve and calibration error follow.

    Attributes:
        counts: Pairs, int64, shape (n_labels, n_bins).
        positives: True pairs, int64, same shape.
        probability_sums: Sums of the probabilities, same shape.
    """

    counts: Ints
    positives: Ints
    probability_sums: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error of all title-label pairs pooled, in [0, 1]; 0 is best."""
        gap = np.abs(self.positives.sum(axis=0) - self.probability_sums.sum(axis=0)).sum()
        return float(gap / self.counts.sum())

    @property
    def ece_per_label(self) -> Floats:
        """Expected calibration error of each label on its own, shape (n_labels,), in [0, 1]; 0 is best."""
        gaps = np.abs(self.positives - self.probability_sums).sum(axis=1)
        return np.asarray(gaps / self.counts.sum(axis=1), np.float64)

    @property
    def curve(self) -> tuple[ReliabilityBin, ...]:
        """The reliability curve of all pairs pooled, from low to high probabilities, empty bins included."""
        counts = self.counts.sum(axis=0)
        positives, sums = self.positives.sum(axis=0), self.probability_sums.sum(axis=0)
        n_bins = counts.size
        return tuple(
            ReliabilityBin(
                low=index / n_bins,
                high=(index + 1) / n_bins,
                count=int(counts[index]),
                mean_probability=float(sums[index] / counts[index]) if counts[index] else None,
                frequency=float(positives[index] / counts[index]) if counts[index] else None,
            )
            for index in range(n_bins)
        )


def bin_probabilities(targets: Matrix, probabilities: Matrix, n_bins: int = DEFAULT_N_BINS) -> BinnedProbabilities:
    """Sort all title-label pairs into bins of equal width.

    Bin b of n holds the probabilities p with ``min(floor(p * n), n - 1) == b``, computed in float64: its lower end
    belongs to it, its upper end to the next; 1 belongs to the last bin.

    Args:
        targets: Truth, 0/1 or bool, shape (n_titles, n_labels).
        probabilities: In [0, 1], same shape.
        n_bins: Number of bins, at least 1.

    Returns:
        The sums per label and bin.

    Raises:
        EvaluationError: A probability is not in [0, 1], n_bins is below 1, the shapes differ or are empty.
    """
    check_shapes(targets, probabilities, "probabilities")
    check_probabilities(probabilities)
    if n_bins < 1:
        raise EvaluationError(f"n_bins must be at least 1; got {n_bins}")
    n_titles, n_labels = targets.shape
    size = n_labels * n_bins
    counts, positives = np.zeros(size, np.int64), np.zeros(size, np.int64)
    sums = np.zeros(size, np.float64)
    step = max(1, _CELLS_PER_BLOCK // n_labels)
    offsets = np.arange(n_labels) * n_bins
    for start in range(0, n_titles, step):
        block = probabilities[start : start + step].astype(np.float64)
        cells = (np.minimum((block * n_bins).astype(np.int64), n_bins - 1) + offsets).ravel()
        truth = targets[start : start + step].astype(np.bool_, copy=False).ravel()
        counts += np.bincount(cells, minlength=size)
        positives += np.bincount(cells[truth], minlength=size)
        sums += np.bincount(cells, weights=block.ravel(), minlength=size)
    shape = (n_labels, n_bins)
    return BinnedProbabilities(
        counts=counts.reshape(shape), positives=positives.reshape(shape), probability_sums=sums.reshape(shape)
    )


def expected_calibration_error(targets: Matrix, probabilities: Matrix, n_bins: int = DEFAULT_N_BINS) -> float:
    """Return the expected calibration error of all title-label pairs pooled, in [0, 1]; 0 is best.

    ``ECE = sum over bins of (pairs in bin / all pairs) * |share of them that is true - their mean probability|``, with
    the bins of ``bin_probabilities`` (Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    2015, on the probability of each label rather than of a winning class). Empty bins add nothing. As most pairs of
    a long list of labels are clear negatives, a low figure says little about rare labels: read it with the curve.
    """
    return bin_probabilities(targets, probabilities, n_bins).ece


def expected_calibration_error_per_label(
    targets: Matrix, probabilities: Matrix, n_bins: int = DEFAULT_N_BINS
) -> Floats:
    """Return the expected calibration error of each label's own pairs, shape (n_labels,), in [0, 1]; 0 is best."""
    return bin_probabilities(targets, probabilities, n_bins).ece_per_label


def reliability_curve(
    targets: Matrix, probabilities: Matrix, n_bins: int = DEFAULT_N_BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve of all title-label pairs pooled, one entry per bin, empty bins included."""
    return bin_probabilities(targets, probabilities, n_bins).curve


def brier_per_label(targets: Matrix, probabilities: Matrix) -> Floats:
    """Return the mean squared difference of probability and truth per label, shape (n_labels,), in [0, 1]; 0 is best.

    Raises:
        EvaluationError: The shapes differ, or there is no title or no label.
    """
    check_shapes(targets, probabilities, "probabilities")
    n_titles, n_labels = targets.shape
    total = np.zeros(n_labels, np.float64)
    step = max(1, _CELLS_PER_BLOCK // n_labels)
    for start in range(0, n_titles, step):
        rows = slice(start, start + step)
        total += ((probabilities[rows].astype(np.float64) - targets[rows]) ** 2).sum(axis=0)
    return np.asarray(total / n_titles, np.float64)


def brier_score(targets: Matrix, probabilities: Matrix) -> float:
    """Return the mean squared difference of probability and truth over all title-label pairs; 0 is best."""
    return float(brier_per_label(targets, probabilities).mean())
