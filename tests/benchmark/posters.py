"""The sample with small drawn posters, and stand-ins for what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoders.pictures import PosterBox, encoded
from reeltag.benchmark import BenchmarkConfig, benchmark, default_config
from reeltag.catalogue import Catalogue
from reeltag.encoders import POSTER_ENCODERS, TEXT_ENCODERS
from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr import OCR_ENGINES, PosterText, Word
from reeltag.errors import MissingExtraError
from samples import GENRES, sample

from .tiny import config

TOKEN_DIM = 4


class LetterEncoder:
    """A stand-in for a text model: the length of a text, and of each of its words."""

    name, dim, token_dim, fingerprint = "letters", 1, TOKEN_DIM, "letters-v1"

    def encode(self, batch: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        filled = np.array([bool(text.strip()) for text in batch], np.bool_)
        return np.array([[len(text)] for text in batch], np.float32).reshape(-1, 1), filled

    def encode_pieces(self, batch: Sequence[str]) -> list[np.ndarray]:
        return [
            np.array([[len(word)] * TOKEN_DIM for word in text.split()], np.float16).reshape(-1, TOKEN_DIM)
            for text in batch
        ]

    def pieces(self, text: str) -> list[tuple[int, int]]:
        return [(0, 0) for _ in text.split()]


class ShadeEncoder:
    """A stand-in for an image model: the mean colour with the width, and the two halves."""

    name, dim, token_dim, fingerprint = "shade", TOKEN_DIM, 3, "shade-v1"

    def encode(self, batch: Sequence[RGBImage]) -> np.ndarray:
        rows = [[*np.asarray(image).mean(axis=(0, 1)), image.width] for image in batch]
        return np.array(rows, np.float32).reshape(-1, TOKEN_DIM)

    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> np.ndarray:
        return np.array([np.asarray(i.resize((1, min(grid, 2)))).reshape(-1, 3) for i in batch], np.float16)

    def patch_places(self, image: RGBImage, grid: int) -> list[tuple[float, float, float, float]]:
        return [(0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)][: min(grid, 2)]


class WidthEngine:
    """A stand-in for OCR: reads a word as long as the red of an image says, nothing from dark ones."""

    def __init__(self, name: str) -> None:
        self.name = self.fingerprint = name
        self.widths: set[int] = set()

    def read(self, images: Sequence[RGBImage]) -> list[PosterText]:
        self.widths |= {image.width for image in images}
        reds = [int(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]
        return [
            PosterText(words=(Word(text=self.name), Word(text="x" * (red // 20))) if red > 40 else ()) for red in reds
        ]


class AbsentEngine:
    """An OCR engine whose package is not installed."""

    name = "tesserocr"

    @property
    def fingerprint(self) -> str:
        raise MissingExtraError("tesserocr", "tesserocr", "reading words with tesserocr")

    def read(self, images: Sequence[RGBImage]) -> list[PosterText]:
        raise AssertionError("never opened")


def stand_in(monkeypatch: pytest.MonkeyPatch) -> WidthEngine:
    """Put the stand-ins where encoders and engines are looked up; return the engine ``rapidocr``."""
    engine = WidthEngine("rapidocr")
    monkeypatch.setitem(TEXT_ENCODERS, "letters", lambda _: LetterEncoder())
    monkeypatch.setitem(POSTER_ENCODERS, "shade", lambda _: ShadeEncoder())
    monkeypatch.setitem(OCR_ENGINES, "rapidocr", lambda _: engine)
    monkeypatch.setitem(OCR_ENGINES, "tesserocr", lambda _: AbsentEngine())
    return engine


def with_posters() -> Catalogue:
    """Return the sample, five titles of six with a poster in a colour of its first genre."""
    random, films, contents = np.random.default_rng(0), sample(), {}
    for number, (title_id, genres) in enumerate(zip(films.ids, films.lists("genres"), strict=True)):
        if number % 6:
            colour = [30 + 60 * GENRES.index(genres[0]), 120, int(random.integers(0, 200))]
            contents[title_id] = encoded(Image.new("RGB", (20, 30), tuple(colour)))  # type: ignore[arg-type]
    return replace(films, posters=PosterBox(contents))


def poster_config(name: str, **changes: Any) -> BenchmarkConfig:
    """Return tiny settings for a benchmark, with the stand-ins."""
    features = replace(
        default_config(benchmark(name)).features,
        plot_encoders=("tfidf",),
        title_encoders=("tfidf",),
        poster_encoders=("shade",),
        poster_text_encoders=("letters",),
    )
    return config(features=features, **changes)


def cached(folder: Path) -> Path:
    """Return a cache folder of its own."""
    return folder / "cache"
