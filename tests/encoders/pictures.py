"""Small images with known colours, encoded in memory, and a place that holds them as posters."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from reeltag.errors import Problem


def picture(seed: int = 0, size: tuple[int, int] = (24, 36), mode: str = "RGB") -> Image.Image:
    """Return noise of width and height ``size``."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class PosterBox:
    """Posters in memory; yields them in an order of its own and counts the passes."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.n_passes = 0

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        return np.array([i in self.contents for i in ids], np.bool_)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        self.n_passes += 1
        for title_id in sorted(set(ids) & set(self.contents), reverse=True):
            yield title_id, self.contents[title_id]

    def problems(self) -> list[Problem]:
        return []
