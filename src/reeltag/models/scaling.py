"""BlockScaler: brings blocks of any kind to dense values of like size, fitted on the training titles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

from reeltag.errors import FeatureError
from reeltag.features import Block, Features, Values

_CLIP = 5.0
_MIN_SPREAD = 1e-6
_EMBEDDING_LENGTH = 3.0  # chosen on validation: longer rows (8, 14, unit variance) overfit within a few epochs


class BlockScaler:
    """Reduces sparse blocks by truncated SVD (latent semantic analysis) and scales every block.

    Rows of unit length are embeddings: they are scaled as a whole, because standardising each column would blow up
    the directions that carry only noise. Any other block is standardised column by column and clipped.

    Args:
        sparse_dim: Width that sparse blocks are reduced to.
        seed: Seed of the randomised SVD.
        absent_as_zero: An absent block is scaled like a vector of zeros; without, it is zero after scaling, which is
            the mean of the training titles.
    """

    def __init__(self, sparse_dim: int = 512, seed: int = 0, *, absent_as_zero: bool = False) -> None:
        self.sparse_dim = sparse_dim
        self.seed = seed
        self.absent_as_zero = absent_as_zero
        self._tensors: dict[str, npt.NDArray[np.float32]] = {}
        self._projections: dict[str, npt.NDArray[np.float32]] = {}  # components turned, row by row in memory
        self.widths: dict[str, int] = {}
        self._names: list[str] = []

    def fit(self, features: Features) -> BlockScaler:
        """Learn the projection, means and spreads of every block from the titles that have it."""
        self._tensors, self._projections, self.widths, self._names = {}, {}, {}, []
        for name, block in features.blocks.items():
            values = block.values[block.present]
            if block.is_sparse:
                self._tensors[f"{name}.components"] = self._components(values)
                values = self._project(name, values)
            if len(values) == 0:
                values = np.zeros((1, values.shape[1]), np.float32)
            mean, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
            if block.is_sparse or _are_unit_rows(values):
                mean, spread = np.zeros(len(mean)), np.full(len(mean), 1 / _EMBEDDING_LENGTH)
            self._tensors[f"{name}.mean"] = mean.astype(np.float32)
            self._tensors[f"{name}.spread"] = np.where(spread > _MIN_SPREAD, spread, 1).astype(np.float32)
            self.widths[name] = values.shape[1]
            self._names.append(name)
        return self

    def transform(self, name: str, block: Block) -> npt.NDArray[np.float32]:
        """Return the block as a dense array (n_titles, width), zero where absent unless ``absent_as_zero``.

        Raises:
            FeatureError: The block has another width than it had in ``fit``.
        """
        expected = self._tensors.get(f"{name}.components", self._tensors[f"{name}.mean"]).shape[-1]
        if block.dim != expected:
            raise FeatureError(f"block '{name}' has width {block.dim}, the model was trained with {expected}")
        values = block.values[block.present]
        if f"{name}.components" in self._tensors:
            values = self._project(name, values)
        elif block.is_sparse:
            values = values.toarray()
        scaled = (values - self._tensors[f"{name}.mean"]) / self._tensors[f"{name}.spread"]
        out = np.zeros((len(block.present), scaled.shape[1]), np.float32)
        if self.absent_as_zero:
            out += np.clip(-self._tensors[f"{name}.mean"] / self._tensors[f"{name}.spread"], -_CLIP, _CLIP)
        out[block.present] = np.clip(scaled, -_CLIP, _CLIP)
        return out

    def state(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the tensors to save."""
        return dict(self._tensors)

    def load(self, names: list[str], tensors: Mapping[str, npt.NDArray[np.float32]]) -> BlockScaler:
        """Take over saved tensors."""
        self._names = list(names)
        self._tensors, self._projections = dict(tensors), {}
        self.widths = {name: len(tensors[f"{name}.mean"]) for name in names}
        return self

    @property
    def names(self) -> list[str]:
        """Names of the blocks, in order."""
        return list(self._names)

    def _components(self, values: sp.csr_matrix) -> npt.NDArray[np.float32]:
        n_rows, n_columns = values.shape
        rank = min(self.sparse_dim, n_columns - 1, n_rows - 1)
        if rank < 1:
            return np.eye(1, n_columns, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):  # its share of variance, 0 / 0 when all rows are equal
            svd = TruncatedSVD(rank, n_iter=4, random_state=self.seed).fit(values)
        return np.ascontiguousarray(svd.components_, np.float32)

    def _project(self, name: str, values: Values) -> npt.NDArray[np.float32]:
        """Project rows and bring them to unit length, so that long texts do not count more."""
        if name not in self._projections:  # turned once: a sparse product would copy it at every call
            self._projections[name] = np.ascontiguousarray(self._tensors[f"{name}.components"].T)
        projected = np.asarray(values @ self._projections[name], np.float32)
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(projected / np.where(norms > _MIN_SPREAD, norms, 1), np.float32)


def _are_unit_rows(values: npt.NDArray[np.float32]) -> bool:
    return bool(np.all(np.abs(np.linalg.norm(values, axis=1) - 1) < 0.01))
