"""LabelNeighbours: what the nearest of some titles have, as probabilities; vectors kept in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.models.knn import (
    base_rates,
    cosines,
    labels_of,
    neighbour_votes,
    smoothed_shares,
    unit_rows,
)

_CELLS = 2**24  # similarities held at once


class LabelNeighbours:
    """Titles with their labels.

    Args:
        k: Titles that vote.
        power: A title's vote is its cosine to this power.
        prior_strength: Votes, as a share of those that were cast, that the base rates count for.
    """

    def __init__(self, k: int = 50, power: float = 8.0, prior_strength: float = 0.02) -> None:
        self.k, self.power, self.prior_strength = k, power, prior_strength
        self._vectors = np.zeros((0, 0), np.float16)
        self._targets = sp.csr_matrix((0, 0), dtype=np.float32)

    def fit(self, vectors: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]) -> LabelNeighbours:
        """Keep titles.

        Args:
            vectors: Shape (n_titles, dim); only their directions count.
            targets: 0 and 1, (n_titles, n_labels).
        """
        self._vectors = unit_rows(vectors).astype(np.float16)
        self._targets = sp.csr_matrix(targets, dtype=np.float32)
        return self

    def predict_proba(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the smoothed shares of the nearest titles that have each label, (n, n_labels).

        A vector of zeros, and one to which no title is similar, gets the base rates.
        """
        rates = base_rates(self._targets)
        out = np.empty((len(vectors), len(rates)), np.float32)
        kept, asked = self._vectors.astype(np.float32), unit_rows(vectors)
        step = max(1, _CELLS // len(kept))
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            votes = neighbour_votes(cosines(asked[rows], kept), self.k, self.power)
            total = np.asarray(votes.sum(axis=1), np.float32)
            prior = np.asarray(self.prior_strength * np.where(total > 0, total, 1), np.float32)
            out[rows] = smoothed_shares(votes, self._targets, rates, prior)
        return out.clip(0, 1)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors to save."""
        parts = {"indices": self._targets.indices, "indptr": self._targets.indptr}
        shape = np.array(self._targets.shape, np.int64)
        return {"vectors": self._vectors, "shape": shape, **{n: p.astype(np.int64) for n, p in parts.items()}}

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> LabelNeighbours:
        """Take over saved tensors."""
        self._vectors = tensors["vectors"]
        self._targets = labels_of(tensors["indices"], tensors["indptr"], int(tensors["shape"][1]))
        return self
