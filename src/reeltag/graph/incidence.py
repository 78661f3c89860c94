"""Which of two kinds belong together, as CSR matrices of 0 and 1, kept as tensors without their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


def incidence_tensors(name: str, matrix: sp.csr_matrix) -> dict[str, npt.NDArray[Any]]:
    """Return the places of the ones of a matrix as tensors ``NAME.indptr``, ``NAME.indices``, ``NAME.shape``."""
    return {
        f"{name}.indptr": matrix.indptr.astype(np.int64),
        f"{name}.indices": matrix.indices.astype(np.int32),
        f"{name}.shape": np.array(matrix.shape, np.int64),
    }


def incidence_from(tensors: Mapping[str, npt.NDArray[Any]], name: str) -> sp.csr_matrix:
    """Return the matrix that ``incidence_tensors`` took apart, in single precision."""
    indices = tensors[f"{name}.indices"]
    shape = tuple(int(n) for n in tensors[f"{name}.shape"])
    return sp.csr_matrix((np.ones(len(indices), np.float32), indices, tensors[f"{name}.indptr"]), shape=shape)
