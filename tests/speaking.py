"""A tagger that reads posters token by token, made of stubs whose effects are known."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from reeltag.encoders.ocr.words import PosterText, Word
from reeltag.encoders.patches import Place, cells_of
from reeltag.features import Features, HeldTokens, TokenBlock
from reeltag.tagger import Tagger
from samples import GENRES, fitted

SIDE = 2  # patches along a side
N_LABELS = len(GENRES)
BOX = ((0.1, 0.2), (0.5, 0.2), (0.5, 0.3), (0.1, 0.3))
TEXT = PosterText(words=(Word(text="BLOOD", confidence=0.9, box=BOX), Word(text="<b>", box=None), Word(text="AGAIN")))


class Grid:
    name = "grid"

    def patch_places(self, image: Image.Image, grid: int) -> list[Place]:
        return cells_of((0.0, 0.0, 1.0, 1.0), grid, grid)


class Halves:
    """Cuts every word in two, and adds a token of the whole text."""

    name = "halves"

    def pieces(self, text: str) -> list[tuple[int, int]]:
        spans = []
        for start, end in PosterText(words=tuple(Word(text=w) for w in text.split(" "))).spans():
            middle = (start + end) // 2
            spans += [(start, middle), (middle, end)]
        return [*spans, (0, 0)]


def pipeline(text: PosterText | None = TEXT, **changes: Any) -> Any:
    """Return a stand-in for the pipeline."""
    given: dict[str, Any] = {
        "patch_encoders": {"poster.grid": Grid()},
        "piece_encoders": {"poster_text.halves": Halves(), "plot.halves": Halves()},
        "config": SimpleNamespace(patch_grid=SIDE),
        "words": lambda film, store: [text] * len(film),
    }
    return SimpleNamespace(**given | changes)


def effects(n_tokens: int, n_titles: int = 1, *, start: float = 0.0) -> np.ndarray:
    """Return effects that tell token and label: token 3 moves label 1 by ``start`` + 3.1, odd labels, or back."""
    tokens, labels = np.arange(n_tokens)[:, None], np.arange(N_LABELS)[None]
    one = (start + tokens + labels / 10) * np.where(labels % 2, 1, -1)
    return np.repeat(one[None], n_titles, 0).astype(np.float32)


class Speaker:
    """A model that says so of every token, and is another model otherwise."""

    def __init__(self, model: Any = None, n_pieces: int = 7, *, attends: bool = True) -> None:
        self._model, self.n_pieces, self.attends = model, n_pieces, attends

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__dict__.get("_model") is None:
            raise AttributeError(name)
        return getattr(self._model, name)

    def explain(self, features: Features) -> dict[str, np.ndarray]:
        own: dict[str, np.ndarray] = self._model.explain(features)
        return {"poster": np.zeros((len(features), N_LABELS), np.float32)} | own

    def token_effects(self, features: Features) -> dict[str, np.ndarray]:
        n = len(features)
        return {"poster.grid": effects(SIDE**2, n), "poster_text.halves": effects(self.n_pieces, n, start=10)}

    def token_attention(self, features: Features) -> dict[str, np.ndarray]:
        if not self.attends:
            return {}
        n = len(features)
        return {
            "poster.grid": np.full((n, SIDE**2), 0.1, np.float32),
            "poster_text.halves": np.full((n, self.n_pieces), 0.05, np.float32),
        }


class _Reader:
    """A pipeline that reads posters token by token, and is another pipeline otherwise."""

    def __init__(self, whole: Any, part: Any, has_poster: Sequence[str]) -> None:
        self._whole, self._part, self._has_poster = whole, part, set(has_poster)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_part" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._part if hasattr(self._part, name) else self._whole, name)

    def transform(self, *given: Any) -> Features:
        made = self._whole.transform(*given)
        places = np.array([0 if title_id in self._has_poster else -1 for title_id in made.ids])
        source = HeldTokens([np.ones((SIDE**2, 3), np.float16)], 3)
        return Features(made.ids, made.blocks, {"poster.grid": TokenBlock(source, places, SIDE**2)})


def speaking(text: PosterText | None = TEXT, *, has_poster: Sequence[str] = ()) -> Tagger:
    """Return the linear tagger of the sample, made to speak of tokens too."""
    tagger = copy.copy(fitted("linear"))
    reader: Any = _Reader(tagger.fitted.pipeline, pipeline(text), has_poster)
    model: Any = Speaker(tagger.fitted.model)
    tagger._fitted = replace(tagger.fitted, model=model, pipeline=reader)
    return tagger


def png(width: int = 40, height: int = 60, colour: str = "navy") -> bytes:
    """Return a picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "PNG")
    return stream.getvalue()
