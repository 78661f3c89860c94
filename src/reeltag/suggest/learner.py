"""QuickLearner: every label's logistic regression at once, in a second or two, for simulations that train hundreds.

It reads the dense blocks of ``compressed`` features side by side and minimises the sum of all losses by L-BFGS. The
problem is convex and starts from the base rates, so that the same titles give the same learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from reeltag.config import check_range
from reeltag.errors import NotFittedError
from reeltag.features import Block, Features
from reeltag.models import Validation
from reeltag.models.contract import Targets, check_training

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
_GRADIENT = 1e-6  # small enough to stop
_MIN_SPREAD = 1e-6
_CLIP = 5.0
_LENGTH = 1.5  # mean length of a row of a decomposed block; a standardised one has about 3


class Learner(Protocol):
    """What a simulation trains in every round: any model of ``reeltag.models`` is one."""

    def fit(self, features: Features, targets: Targets, *, validation: Validation | None = None) -> Self:
        """Learn from titles whose labels are known, forgetting any earlier fit."""

    def predict_proba(self, features: Features) -> Matrix:
        """Return probabilities (n_titles, n_labels)."""

    def embed(self, features: Features) -> Matrix:
        """Return unit vectors (n_titles, dim) in which like titles lie near each other."""


@dataclass(frozen=True, kw_only=True)
class QuickConfig:
    """Settings of the quick learner.

    Attributes:
        c: Inverse strength of the L2 penalty.
        svd_dim: Columns that a sparse block is compressed to.
        iterations: Steps of L-BFGS at most.
    """

    c: float = 0.3
    svd_dim: int = 256
    iterations: int = 40

    def __post_init__(self) -> None:
        check_range("QuickConfig", "c", self.c, 1e-6, 1e6)
        check_range("QuickConfig", "svd_dim", self.svd_dim, 2, 4096)
        check_range("QuickConfig", "iterations", self.iterations, 1, 10_000)


class QuickLearner:
    """A learner over dense blocks.

    Args:
        config: Settings.
    """

    def __init__(self, config: QuickConfig | None = None) -> None:
        self.config = config or QuickConfig()
        self._fitted: tuple[Matrix, Matrix] | None = None  # (dim, n_labels), (n_labels,)

    def fit(self, features: Features, targets: Targets, *, validation: Validation | None = None) -> Self:
        """Fit all labels together; nothing is stopped early, so validation titles are not used.

        Raises:
            FeatureError: Features and targets differ in number, or there is no block.
            ModelError: There are no titles or no labels, or targets are not 0 and 1.
        """
        check_training(features, targets, validation)
        inputs, truth = _side_by_side(features), np.asarray(targets, np.float32)
        rates = (truth.sum(axis=0, dtype=np.float64) + 0.5) / (len(truth) + 1)
        base = np.log(rates / (1 - rates)).astype(np.float32)
        c = self.config.c
        shape = (inputs.shape[1] + 1, truth.shape[1])  # the last row moves the base rates

        def loss(flat: Floats) -> tuple[float, Floats]:
            weights = flat.reshape(shape).astype(np.float32)
            logits = inputs @ weights[:-1] + (weights[-1] + base)
            small = np.exp(-np.abs(logits))  # in (0, 1]: nothing overflows
            losses = np.log(1 + small) + np.maximum(logits, 0) - truth * logits
            wrong = np.where(logits > 0, 1, small) / (1 + small) - truth
            slope = np.concatenate([inputs.T @ wrong, wrong.sum(axis=0, keepdims=True)]).ravel() + flat / c
            total = losses.sum(dtype=np.float64) + flat @ flat / (2 * c)
            return float(total / len(truth)), slope / len(truth)

        found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B",
                         options={"maxiter": self.config.iterations, "gtol": _GRADIENT})  # fmt: skip
        weights = found.x.reshape(shape).astype(np.float32)
        self._fitted = weights[:-1], weights[-1] + base
        return self

    def predict_proba(self, features: Features) -> Matrix:
        """Return the probabilities, shape (n_titles, n_labels)."""
        if self._fitted is None:
            raise NotFittedError("QuickLearner is used before fit")
        weights, bias = self._fitted
        return np.asarray(expit(_side_by_side(features) @ weights + bias), np.float32)

    def embed(self, features: Features) -> Matrix:
        """Return the inputs as unit vectors (n_titles, dim): they are the same in every round."""
        inputs = _side_by_side(features)
        return np.asarray(inputs / np.linalg.norm(inputs, axis=1, keepdims=True).clip(_MIN_SPREAD), np.float32)


def compressed(features: Features, n_pool: int, *, dim: int, seed: int) -> Features:
    """Return features with dense blocks only, as the quick learner reads them.

    Sparse blocks go through a truncated singular value decomposition, dense ones are standardised; both are fitted on
    the pool. Absent rows are zero.

    Args:
        features: Features of the pool and, after it, of other titles.
        n_pool: How many titles the pool has.
        dim: Columns that a sparse block is compressed to, fewer where it has no more to give.
        seed: Of the decomposition.
    """
    blocks = {}
    for name, block in features.blocks.items():
        learned = np.flatnonzero(block.present[:n_pool])
        make = _decomposed if block.is_sparse else _standardised
        values = make(block.values, learned, dim, seed)
        values[~block.present] = 0
        blocks[name] = Block(values, block.present)
    return Features(features.ids, blocks)


def _decomposed(values: Any, learned: npt.NDArray[np.int64], dim: int, seed: int) -> Matrix:
    from sklearn.decomposition import TruncatedSVD

    width = min(dim, values.shape[1] - 1, len(learned) - 1)
    if width < 1:
        return np.asarray(values.toarray(), np.float32)
    found = TruncatedSVD(width, random_state=seed).fit(values[learned])
    made = found.transform(values)
    length = np.linalg.norm(made[learned], axis=1).mean().clip(_MIN_SPREAD)
    return np.ascontiguousarray(made * (_LENGTH / length), np.float32)


def _standardised(values: Any, learned: npt.NDArray[np.int64], dim: int, seed: int) -> Matrix:  # noqa: ARG001
    known = np.asarray(values)[learned] if len(learned) else np.zeros((1, values.shape[1]), np.float32)
    spread = known.std(axis=0)
    scaled = (values - known.mean(axis=0)) / np.where(spread > _MIN_SPREAD, spread, 1)
    return np.asarray(np.clip(scaled, -_CLIP, _CLIP) * (3 / np.sqrt(values.shape[1])), np.float32)


def _side_by_side(features: Features) -> Matrix:
    """Return the blocks as one matrix, (n_titles, dim)."""
    return np.concatenate([np.asarray(block.values, np.float32) for block in features.blocks.values()], axis=1)
