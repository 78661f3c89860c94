"""What every encoder offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from reeltag.encoders.images import RGBImage
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


class PosterEncoder(Protocol):
    """Turns decoded posters into vectors. ``name`` becomes the second half of a block name (``poster.descriptors``)."""

    name: str

    @property
    def dim(self) -> int:
        """Width of the vectors; asking for it opens the model, and fails when that cannot be done."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the vectors: model, revision, preprocessing, precision."""

    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        """Return vectors (n, dim): rows of unit length when they are learned embeddings."""


@runtime_checkable
class PatchEncoder(Protocol):
    """A poster encoder that also tells the patches of a poster apart."""

    name: str

    @property
    def fingerprint(self) -> str:
        """As of the vectors."""

    @property
    def token_dim(self) -> int:
        """Width of the tokens."""

    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> npt.NDArray[np.float16]:
        """Return one token per patch, row by row, (n, n_patches, token_dim); at most ``grid`` patches along a side."""

    def patch_places(self, image: RGBImage, grid: int) -> list[tuple[float, float, float, float]]:
        """Return left, top, right and bottom of every patch on an image, as shares of its width and height."""


@runtime_checkable
class PieceEncoder(Protocol):
    """A text encoder that also tells the word pieces of a text apart."""

    name: str

    @property
    def fingerprint(self) -> str:
        """As of the vectors."""

    @property
    def token_dim(self) -> int:
        """Width of the tokens."""

    def encode_pieces(self, batch: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """Return one token per word piece of every text, (n_pieces, token_dim)."""

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Return where every token of a text begins and ends in it; equal ends for a token of the whole text."""


@runtime_checkable
class LearnedEncoder(Protocol):
    """An encoder that can tell which titles it was fine-tuned on."""

    def titles_seen(self) -> list[str]:
        """Return their ids; none for a model as it was published."""


class JointEncoder(Protocol):
    """Turns a poster and a text that belong together into one vector (``joint.blip-itm-base-coco``)."""

    name: str

    @property
    def dim(self) -> int:
        """Width of the vectors; asking for it opens the model, and fails when that cannot be done."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the vectors: model, revision, preprocessing, precision."""

    def encode(self, images: Sequence[RGBImage], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, dim), one per pair of an image and a text that is not blank."""


def titles_seen_by(encoder: object) -> list[str]:
    """Return the ids of the titles that an encoder was fine-tuned on; none for any that was not."""
    return encoder.titles_seen() if isinstance(encoder, LearnedEncoder) else []


def has_content(batch: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which texts are not blank, shape (n,)."""
    return np.fromiter((bool(text.strip()) for text in batch), np.bool_, len(batch))
