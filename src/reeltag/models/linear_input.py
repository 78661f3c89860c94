"""Blocks as sparse rows for models that learn one weight per column: ``linear``, ``labeltree``.

Dense blocks are standardised and scaled so that a row has about the length of a TF-IDF row times three; sparse blocks
are taken as they are. Every block has a last column that says that it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.errors import FeatureError
from reeltag.features import Block, Features

Tensors = dict[str, npt.NDArray[np.float32]]

_MIN_SPREAD = 1e-6
_CLIP = 5.0


def scales_of(features: Features) -> Tensors:
    """Return what ``scaled_block`` needs to know of the training titles.

    Returns:
        By block ``NAME.width``; for a dense block also ``NAME.mean`` and ``NAME.spread`` of the titles that have it.
    """
    tensors: Tensors = {}
    for name, block in features.blocks.items():
        tensors[f"{name}.width"] = np.array([block.dim], np.float32)
        if block.is_sparse:
            continue
        values = np.asarray(block.values)[block.present]
        if len(values) == 0:
            values = np.zeros((1, block.dim), np.float32)
        spread = values.std(axis=0)
        tensors[f"{name}.mean"] = values.mean(axis=0)
        tensors[f"{name}.spread"] = np.where(spread > _MIN_SPREAD, spread, 1).astype(np.float32)
    return tensors


def scaled_block(name: str, block: Block, scales: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """Return a block scaled, with a last column that is 1 where it is absent: CSR (n_titles, dim + 1).

    Args:
        name: Its name.
        block: The block; it may be stored sparse where it was dense in training, and the other way round.
        scales: What ``scales_of`` returned.

    Raises:
        FeatureError: The block has another width than it had in training.
    """
    expected = int(scales[f"{name}.width"][0])
    if block.dim != expected:
        raise FeatureError(f"block '{name}' has width {block.dim}, the model was trained with {expected}")
    filled = np.flatnonzero(block.present)
    if f"{name}.mean" in scales:  # dense at training
        values = block.values[filled].toarray() if block.is_sparse else np.asarray(block.values)[filled]
        scaled = (values - scales[f"{name}.mean"]) / scales[f"{name}.spread"]
        values = np.clip(scaled, -_CLIP, _CLIP) * (3 / np.sqrt(block.dim))
    else:
        values = block.values[filled]
    absent = sp.csr_matrix((~block.present)[:, None].astype(np.float32))
    return sp.hstack([in_place(values, filled, len(block.present)), absent], format="csr", dtype=np.float32)


def in_place(values: Any, filled: npt.NDArray[np.int64], n_titles: int) -> Any:
    """Return rows put where they belong, CSR (n_titles, dim): those of absent titles are empty whatever stood there.

    Args:
        values: Rows of the titles that have a block, dense or sparse, (n_filled, dim).
        filled: Their places, (n_filled,).
        n_titles: All titles.
    """
    ones = np.ones(len(filled), np.float32)
    place = sp.csr_matrix((ones, (filled, np.arange(len(filled)))), shape=(n_titles, len(filled)))
    return place @ sp.csr_matrix(values)


def titles_with_any(features: Features, names: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return the places of the titles that have any of some blocks, (n_found,)."""
    masks = [features.blocks[name].present for name in names if name in features.blocks]
    return np.flatnonzero(np.any(masks, axis=0)).astype(np.int64) if masks else np.zeros(0, np.int64)


def absent_block(name: str, n_titles: int, scales: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """Return what ``scaled_block`` would of a block that no title has: CSR (n_titles, dim + 1)."""
    width = int(scales[f"{name}.width"][0])
    ends = np.arange(n_titles + 1)
    return sp.csr_matrix((np.ones(n_titles, np.float32), np.full(n_titles, width), ends), shape=(n_titles, width + 1))
