"""How far the nearest titles of a title have its labels: what the vectors of an encoder are worth, without a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

_BLOCK = 1024  # titles whose neighbours are looked for at a time


def neighbour_agreement(
    vectors: npt.NDArray[np.float32],
    targets: sp.csr_matrix,
    others: npt.NDArray[np.float32],
    other_targets: sp.csr_matrix,
    n_neighbours: int = 10,
) -> float:
    """Return the mean overlap of the labels of titles with those of their nearest others.

    Args:
        vectors: Of unit length, shape (n_titles, dim).
        targets: Their labels, 0 and 1, shape (n_titles, n_labels).
        others: Vectors among which neighbours are looked for, shape (n_others, dim).
        other_targets: Their labels, shape (n_others, n_labels).
        n_neighbours: How many; all where there are fewer.

    Returns:
        The mean over titles of the mean over neighbours of the Jaccard overlap, in [0, 1]; NaN without titles.
    """
    n_neighbours = min(n_neighbours, len(others))
    if len(vectors) == 0 or n_neighbours == 0:
        return float("nan")
    total = 0.0
    for start in range(0, len(vectors), _BLOCK):
        near = np.argsort(-(vectors[start : start + _BLOCK] @ others.T), axis=1, kind="stable")[:, :n_neighbours]
        own = sp.csr_matrix(targets[np.repeat(np.arange(start, start + len(near)), n_neighbours)])
        found = sp.csr_matrix(other_targets[near.ravel()])
        shared = np.asarray(own.multiply(found).sum(axis=1)).ravel()
        either = np.asarray(own.sum(axis=1) + found.sum(axis=1)).ravel() - shared
        total += float((shared / np.maximum(either, 1)).sum())
    return total / (len(vectors) * n_neighbours)
