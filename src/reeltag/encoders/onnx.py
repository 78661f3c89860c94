"""Any ONNX image model whose card says how images become its input; see ``onnx_card`` for the card.

Where the embedding is the mean over a map of features, the cells of that map are the patches of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.images import RGBImage
from reeltag.encoders.onnx_card import ImageCard, read_card
from reeltag.encoders.onnx_session import (
    OUTPUT,
    TOLERANCE,
    check_embedding,
    first_input,
    open_session,
    read_model,
    run_session,
)
from reeltag.encoders.patches import averaged, cells_of, with_feature_map
from reeltag.errors import EncoderError


class OnnxEncoder:
    """The output ``embedding`` of a model, made a unit vector. Runs on the CPU.

    Args:
        folder: Holds the model and its card ``model.json``.
        batch_size: Images per run.
    """

    def __init__(self, folder: str, batch_size: int = 32) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.name = Path(folder).name.replace(".", "-")

    @cached_property
    def card(self) -> ImageCard:
        """The card of the model."""
        if not Path(self.folder).is_dir():
            raise EncoderError(f"model folder {self.folder!r} does not exist")
        return read_card(Path(self.folder))

    @cached_property
    def _model(self) -> bytes:
        return read_model(Path(self.folder) / self.card.file)

    @cached_property
    def _session(self) -> Any:
        """The model, opened and proved with the test vector of its card."""
        session = _open(self._model, self.card)
        _check_signature(session, self.card)
        _prove(session, self.card)
        return session

    @cached_property
    def _patch_session(self) -> tuple[Any, str]:
        """The model with one more output: the map of features whose mean is the embedding; and its name."""
        model, name = with_feature_map(self._model, self.card.path)
        return _open(model, self.card), name

    @cached_property
    def dim(self) -> int:
        """Width of the vectors; opens the model."""
        width, height = self.card.size
        return int(_run(self._session, self.card, np.zeros((1, height, width, 3), np.uint8)).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model and of what is done to images before it."""
        digest = hashlib.sha256(self._model)
        digest.update(self.card.preprocessing.encode())
        return f"onnx-{digest.hexdigest()[:32]}"

    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, dim)."""
        parts = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(batch), self.batch_size):
            pixels = self._pixels(batch[start : start + self.batch_size])
            vectors = _run(self._session, self.card, pixels)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            parts.append(np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32))
        return np.concatenate(parts)

    def _pixels(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.uint8]:
        """Return images as the card has them, (n, height, width, 3)."""
        return np.stack([self.card.pixels(image) for image in batch])

    @property
    def token_dim(self) -> int:
        """Width of the patch tokens, which is that of the vectors; proves that the model has patches.

        Raises:
            EncoderError: Its embedding is no mean over a map of features.
            MissingExtraError: The package that opens up the model is not installed.
        """
        _ = self._map_shape
        return self.dim

    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> npt.NDArray[np.float16]:
        """Return one token per patch, row by row, (n, n_patches, dim); at most ``grid`` patches along a side.

        Raises:
            EncoderError: The embedding of the model is no mean over a map of features.
            MissingExtraError: The package that opens up the model is not installed.
        """
        session, name = self._patch_session
        parts = [np.zeros((0, self.patch_shape(grid)[0] * self.patch_shape(grid)[1], self.dim), np.float16)]
        for start in range(0, len(batch), self.batch_size):
            pixels = self._pixels(batch[start : start + self.batch_size])
            cells = _run(session, self.card, pixels, name)
            parts.append(averaged(cells, grid).astype(np.float16))
        return np.concatenate(parts)

    def patch_shape(self, grid: int) -> tuple[int, int]:
        """Return how many rows and columns of patches there are."""
        rows, columns = self._map_shape
        return min(rows, grid), min(columns, grid)

    @cached_property
    def _map_shape(self) -> tuple[int, int]:
        """Rows and columns of the map of features, which is proved to be what the embedding is the mean of."""
        session, name = self._patch_session
        width, height = self.card.size
        cells = _run(session, self.card, check_image(height, width)[None], name)
        vector = _run(session, self.card, check_image(height, width)[None])[0]
        if cells.ndim != 4 or not np.allclose(
            cells[0].mean(axis=(1, 2)), vector, atol=TOLERANCE * np.abs(vector).max()
        ):
            raise EncoderError(f"{self.card.path}: the embedding is not the mean of the map of features '{name}'")
        return int(cells.shape[2]), int(cells.shape[3])

    def patch_places(self, image: RGBImage, grid: int) -> list[tuple[float, float, float, float]]:  # noqa: ARG002
        """Return left, top, right and bottom of every patch on an image, as shares of its width and height."""
        rows, columns = self.patch_shape(grid)
        (width, height), (shown_w, shown_h) = self.card.resize, self.card.size
        left, top = (width - shown_w) // 2 / width, (height - shown_h) // 2 / height
        return cells_of((left, top, left + shown_w / width, top + shown_h / height), rows, columns)


def check_image(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the image that cards give a test vector for: (3h + 5w + 85c) mod 256, shape (height, width, 3)."""
    h, w, c = np.ogrid[:height, :width, :3]
    return np.asarray((3 * h + 5 * w + 85 * c) % 256, np.uint8)


def _check_signature(session: Any, card: ImageCard) -> None:
    width, height = card.size
    fitting = (3, height, width) if card.layout == "NCHW" else (height, width, 3)
    shape = first_input(session, card.path).shape[1:]
    inputs = session.get_inputs()
    fits = len(shape) == 3 and all(not isinstance(n, int) or n == m for n, m in zip(shape, fitting, strict=True))
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not fits:
        got = "; ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise EncoderError(
            f"{card.path}: the model needs one float input (n, {', '.join(map(str, fitting))}); got {got}"
        )


def _prove(session: Any, card: ImageCard) -> None:
    """Raise EncoderError unless the model gives the test vector of its card."""
    if card.test is None:
        return
    width, height = card.size
    vector = _run(session, card, check_image(height, width)[None])[0]
    check_embedding(vector, card.test.first, card.test.length, card.path, "preprocessing")


def _run(session: Any, card: ImageCard, pixels: npt.NDArray[np.uint8], output: str = OUTPUT) -> npt.NDArray[np.float32]:
    """Return an output of the model for some images; the embedding as (n, dim)."""
    return run_session(session, card.input_of(pixels), card.path, output)


def _open(model: bytes, card: ImageCard) -> Any:
    """Open a model on the CPU."""
    return open_session(model, card.path.parent / card.file, "posters", f"the poster encoder 'onnx:{card.path.parent}'")
