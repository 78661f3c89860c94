"""Features: what is known of each title, as numbers, by modality, with a mask that says what is absent.

A modality may be described by several blocks: ``plot.tfidf`` and ``plot.minilm`` both belong to ``plot``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.errors import FeatureError

Values: TypeAlias = Any  # float32 array (n, dim), or scipy CSR matrix of the same shape
Rows = Sequence[int] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """One description of every title.

    Attributes:
        values: float32 of shape (n_titles, dim), dense or CSR. Rows of absent titles are zero and mean nothing.
        present: Boolean of shape (n_titles,): whether the title has this description.
    """

    values: Values
    present: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != (self.values.shape[0],):
            raise FeatureError(
                f"a block needs values (n_titles, dim) and a mask (n_titles,); got {self.values.shape} and "
                f"{self.present.shape}"
            )
        if self.values.dtype != np.float32 or self.present.dtype != np.bool_:
            raise FeatureError(
                f"a block needs float32 values and a boolean mask; got {self.values.dtype} and {self.present.dtype}"
            )

    @property
    def dim(self) -> int:
        """Width of the description."""
        return int(self.values.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether the values are a CSR matrix."""
        return bool(sp.issparse(self.values))

    def take(self, rows: Rows) -> Block:
        """Return the given rows, in that order."""
        return Block(self.values[rows], self.present[rows])


class Features:
    """Blocks aligned to the ids of titles.

    Args:
        ids: One id per title.
        blocks: From block name (``modality`` or ``modality.encoder``) to Block, all with one row per title.

    Raises:
        FeatureError: A block has another number of rows than there are ids.
    """

    def __init__(self, ids: Sequence[str], blocks: Mapping[str, Block]) -> None:
        self.ids = tuple(ids)
        self.blocks = dict(blocks)
        for name, block in self.blocks.items():
            if len(block.present) != len(self.ids):
                raise FeatureError(f"block '{name}' has {len(block.present)} rows for {len(self.ids)} titles")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order of their first block."""
        return tuple(dict.fromkeys(map(modality_of, self.blocks)))

    def present(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which titles have a modality, shape (n_titles,): any of its blocks will do."""
        masks = [block.present for name, block in self.blocks.items() if modality_of(name) == modality]
        return np.any(masks, axis=0) if masks else np.zeros(len(self), np.bool_)

    def take(self, rows: Rows) -> Features:
        """Return the given titles, in that order."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Features([self.ids[row] for row in chosen], {n: b.take(chosen) for n, b in self.blocks.items()})

    def select(self, modalities: Iterable[str]) -> Features:
        """Return the blocks of the given modalities only.

        Raises:
            FeatureError: A modality is not among the features.
        """
        wanted = set(modalities)
        unknown = wanted - set(self.modalities)
        if unknown:
            raise FeatureError(
                f"no modality {', '.join(sorted(unknown))} among the features; present: {', '.join(self.modalities)}"
            )
        return Features(self.ids, {n: b for n, b in self.blocks.items() if modality_of(n) in wanted})

    def without(self, modality: str) -> Features:
        """Return the features with one modality marked absent for every title."""
        absent = np.zeros(len(self), np.bool_)
        return Features(
            self.ids,
            {n: Block(b.values, absent) if modality_of(n) == modality else b for n, b in self.blocks.items()},
        )

    def only(self, modalities: Iterable[str]) -> Features:
        """Return the features with every other modality marked absent for every title."""
        kept, features = set(modalities), self
        for modality in self.modalities:
            if modality not in kept:
                features = features.without(modality)
        return features


def modality_of(block_name: str) -> str:
    """Return the modality that a block describes: ``plot`` for ``plot.tfidf``."""
    return block_name.partition(".")[0]
