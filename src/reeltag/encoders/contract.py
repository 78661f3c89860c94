"""What every encoder offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reeltag.features import Values


class TextEncoder(Protocol):
    """Turns texts into vectors. ``name`` becomes the second half of a block name (``plot.minilm``)."""

    name: str

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the vectors: model, revision, preprocessing, precision."""

    def encode(self, batch: Sequence[str]) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Return vectors (n, dim) and a mask (n,) that is False for texts with nothing in them."""


def has_content(batch: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which texts are not blank, shape (n,)."""
    return np.fromiter((bool(text.strip()) for text in batch), np.bool_, len(batch))
