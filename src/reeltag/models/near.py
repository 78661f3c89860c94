"""LabelNeighbours: what the nearest of some titles have, as probabilities; vectors kept in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.models.knn import neighbour_votes

_CELLS = 2**24  # similarities held at once
_MIN_LENGTH = 1e-6


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
        self._vectors = _unit(vectors).astype(np.float16)
        self._targets = sp.csr_matrix(targets, dtype=np.float32)
        return self

    def predict_proba(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the smoothed shares of the nearest titles that have each label, (n, n_labels).

        A vector of zeros, and one to which no title is similar, gets the base rates.
        """
        rates = np.asarray((self._targets.sum(axis=0).A1 + 0.5) / (self._targets.shape[0] + 1), np.float32)
        out = np.empty((len(vectors), len(rates)), np.float32)
        kept, asked = self._vectors.astype(np.float32).T, _unit(vectors)
        step = max(1, _CELLS // kept.shape[1])
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            with np.errstate(invalid="ignore"):  # BLAS may flag numbers beyond short rows
                similar = asked[rows] @ kept
            votes = neighbour_votes(similar, self.k, self.power)
            total = np.asarray(votes.sum(axis=1), np.float32)
            prior = self.prior_strength * np.where(total > 0, total, 1)
            out[rows] = ((votes @ self._targets).toarray() + prior * rates) / (total + prior)
        return out.clip(0, 1)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors to save."""
        parts = {"indices": self._targets.indices, "indptr": self._targets.indptr}
        shape = np.array(self._targets.shape, np.int64)
        return {"vectors": self._vectors, "shape": shape, **{n: p.astype(np.int64) for n, p in parts.items()}}

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> LabelNeighbours:
        """Take over saved tensors."""
        self._vectors = tensors["vectors"]
        parts = (np.ones(len(tensors["indices"]), np.float32), tensors["indices"], tensors["indptr"])
        self._targets = sp.csr_matrix(parts, shape=tuple(int(n) for n in tensors["shape"]))
        return self


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > _MIN_LENGTH, lengths, 1), np.float32)
