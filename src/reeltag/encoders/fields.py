"""List fields of a catalogue taken as given: the genres of a title whose tags are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from reeltag.errors import NotFittedError
from reeltag.features import Block
from reeltag.labels import LabelConfig, LabelSpace

MIN_TITLES = 5  # words on fewer training titles are passed over


class FieldEncoder:
    """One list field as a sparse vector of unit length; a title whose list holds no learned word does not have it.

    Args:
        field: Name of the field.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self._space: LabelSpace | None = None

    def fit(self, lists: Sequence[Sequence[str]]) -> FieldEncoder:
        """Learn the words from the lists of the training titles.

        Raises:
            LabelError: There is no word at all.
        """
        most = LabelSpace.learn(lists, LabelConfig(field=self.field, min_count=1))
        often = max(most.counts) >= MIN_TITLES
        config = replace(most.config, min_count=MIN_TITLES if often else 1)
        self._space = LabelSpace.learn(lists, config)
        return self

    def encode(self, lists: Sequence[Sequence[str]]) -> Block:
        """Return a sparse block (n_titles, n_words)."""
        if self._space is None:
            raise NotFittedError("FieldEncoder is used before fit")
        values, _ = self._space.encode_sparse(lists)
        n_words = np.diff(values.indptr)
        lengths = np.sqrt(np.maximum(n_words, 1))
        scaled = sp.csr_matrix(sp.diags((1 / lengths).astype(np.float32)) @ values, dtype=np.float32)
        return Block(scaled, n_words > 0)

    def save(self, folder: Path) -> None:
        """Write ``labels.json``."""
        if self._space is None:
            raise NotFittedError("FieldEncoder is used before fit")
        folder.mkdir(parents=True, exist_ok=True)
        self._space.save(folder / "labels.json")

    @classmethod
    def load(cls, folder: Path) -> FieldEncoder:
        """Read what ``save`` wrote."""
        space = LabelSpace.load(folder / "labels.json")
        encoder = cls(space.config.field)
        encoder._space = space
        return encoder
