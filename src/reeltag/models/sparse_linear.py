"""SparseLinear: one logistic regression per label on sparse blocks, small weights pruned, for thousands of labels.

DiSMEC (Babbar and Schölkopf 2017, arXiv 1609.02521) in small: one-versus-rest, solved label by label on all cores, and
weights near zero cut off, so that what is kept grows with the words that matter and not with labels times words. Here
the loss is logistic, not the squared hinge, because probabilities are wanted. A part of ``xmlc``, no model of its own:
labels on few titles may be left out, and are told by ``labels_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from reeltag.progress import Progress, silent

Tensors = dict[str, npt.NDArray[Any]]


class SparseLinear:
    """Regressions of the most frequent labels.

    Args:
        c: Inverse strength of the L2 penalty.
        prune: Weights nearer to zero are dropped.
        most_labels: Labels that get a regression at most, the most frequent ones.
        n_threads: Labels fitted side by side.
        seed: Seed of the solver.
    """

    def __init__(
        self, *, c: float = 10.0, prune: float = 0.02, most_labels: int = 2000, n_threads: int = 2, seed: int = 0
    ) -> None:
        self.c, self.prune, self.most_labels, self.n_threads, self.seed = c, prune, most_labels, n_threads, seed
        self.labels_: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._weights = sp.csr_matrix((0, 0), dtype=np.float32)  # (n_fitted, n_columns)
        self._bias = np.zeros(0, np.float32)

    def fit(self, values: sp.csr_matrix, targets: npt.NDArray[np.float32], progress: Progress = silent) -> SparseLinear:
        """Fit the labels that some titles have and some do not.

        Args:
            values: Rows of the training titles, (n_titles, n_columns).
            targets: 0 and 1, (n_titles, n_labels).
            progress: Called as labels are done.
        """
        counts = targets.sum(axis=0)
        often = np.argsort(-counts, kind="stable")[: self.most_labels]
        self.labels_ = np.sort(often[(counts[often] > 0) & (counts[often] < len(targets))]).astype(np.int64)
        bias = np.zeros(len(self.labels_), np.float32)
        rows: list[sp.csr_matrix] = []

        def one(label: int) -> tuple[sp.csr_matrix, float]:
            solver = LogisticRegression(C=self.c, solver="liblinear", random_state=self.seed)
            solver.fit(values, targets[:, label])
            weights = np.where(np.abs(solver.coef_[0]) < self.prune, 0, solver.coef_[0]).astype(np.float32)
            return sp.csr_matrix(weights[None]), float(solver.intercept_[0])

        with ThreadPoolExecutor(self.n_threads) as pool:
            for place, (weights, intercept) in enumerate(pool.map(one, self.labels_.tolist())):
                rows.append(weights)
                bias[place] = intercept
                progress("regressions", place + 1, len(self.labels_))
        empty = sp.csr_matrix((0, values.shape[1]), dtype=np.float32)
        self._weights, self._bias = sp.vstack([empty, *rows], format="csr", dtype=np.float32), bias
        return self

    def predict_proba(self, values: sp.csr_matrix) -> npt.NDArray[np.float32]:
        """Return the probabilities of the labels in ``labels_``, (n_titles, n_fitted)."""
        return np.asarray(expit((values @ self._weights.T).toarray() + self._bias), np.float32)

    def state(self) -> Tensors:
        """Return the tensors to save."""
        return {
            "labels": self.labels_,
            "bias": self._bias,
            "data": self._weights.data,
            "indices": self._weights.indices.astype(np.int64),
            "indptr": self._weights.indptr.astype(np.int64),
            "shape": np.array(self._weights.shape, np.int64),
        }

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> SparseLinear:
        """Take over saved tensors."""
        self.labels_, self._bias = tensors["labels"], tensors["bias"]
        parts = (tensors["data"], tensors["indices"], tensors["indptr"])
        self._weights = sp.csr_matrix(parts, shape=tuple(int(n) for n in tensors["shape"]))
        return self
