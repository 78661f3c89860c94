"""Which patches of a poster and which words on it spoke for a label, of models that read them one by one.

Reports hold what is said here, and are read without encoders: those are imported when a poster is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from reeltag.errors import FeatureError
from reeltag.features import Features, modality_of

if TYPE_CHECKING:
    from reeltag.catalogue import Catalogue
    from reeltag.encoders.images import RGBImage
    from reeltag.encoders.ocr.words import PosterText, Word
    from reeltag.encoders.store import FeatureStore
    from reeltag.pipeline import FeaturePipeline

NO_POSTER = "no poster"
UNREADABLE = "the poster cannot be read"
NO_TEXT = "no text found"
NOT_READ = "not read"

Place: TypeAlias = tuple[float, float, float, float]
Point: TypeAlias = tuple[float, float]
Quad: TypeAlias = tuple[Point, Point, Point, Point]
_Floats: TypeAlias = npt.NDArray[np.floating[Any]]


@runtime_checkable
class TokenModel(Protocol):
    """A model that can say what every token of a title did."""

    def token_effects(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return per token block how far each token moves the log-odds, (n_titles, n_tokens, n_labels).

        That is: with all tokens against with all but this one.
        """

    def token_attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return per token block the share of attention each token receives, (n_titles, n_tokens); may be empty."""


@dataclass(frozen=True, kw_only=True)
class PatchEvidence:
    """One patch of one poster.

    Attributes:
        box: Left, top, right and bottom, as shares of the poster's width and height.
        effects: Per label of the explanation, how far the patch moves its log-odds.
        attention: Share of the model's attention it receives; None for models that do not say.
    """

    box: Place
    effects: dict[str, float]
    attention: float | None = None


@dataclass(frozen=True, kw_only=True)
class WordEvidence:
    """One word on one poster.

    Attributes:
        text: As the OCR engine read it.
        confidence: How sure the engine is, in [0, 1]; None where it does not say.
        box: Its corners, clockwise, as shares of the poster's width and height; None where the engine does not say.
        effects: Per label of the explanation, how far the word moves its log-odds: the sum over its word pieces.
        attention: The attention its word pieces receive together; None for models that do not say.
    """

    text: str
    confidence: float | None
    box: Quad | None
    effects: dict[str, float]
    attention: float | None = None


@dataclass(frozen=True, kw_only=True)
class PosterEvidence:
    """What the poster of one title said.

    Attributes:
        patches: By name of the encoder, its patches row by row; empty without a poster.
        words: The words that were read, in reading order.
        words_absent: Why there are none: ``no poster``, ``the poster cannot be read``, ``no text found``, ``not
            read``; "" when there are.
        n_unread: Words beyond the token limit, which the model did not see.
    """

    patches: dict[str, tuple[PatchEvidence, ...]]
    words: tuple[WordEvidence, ...] = ()
    words_absent: str = ""
    n_unread: int = 0

    @property
    def seen(self) -> bool:
        """Whether there was a poster to look at."""
        return self.words_absent not in (NO_POSTER, UNREADABLE)


def poster_evidence(
    model: object,
    pipeline: FeaturePipeline,
    store: FeatureStore,
    features: Features,
    film: Catalogue,
    labels: Sequence[str],
    columns: Sequence[int],
) -> PosterEvidence | None:
    """Say what every patch and every word on the poster of a film did.

    Args:
        model: The model.
        pipeline: What made the features.
        store: Where the words on posters are kept.
        features: Features of the film (one title).
        film: The film (one title).
        labels: All labels, in column order.
        columns: Columns of the labels whose effects are reported.

    Returns:
        None when the model cannot say, or the tagger reads no posters as tokens.

    Raises:
        FeatureError: The model speaks of fewer tokens than the encoder gave.
    """
    from reeltag.encoders.images import decode

    pieces = [name for name in pipeline.piece_encoders if modality_of(name) == "poster_text"]
    if not isinstance(model, TokenModel) or not (pieces or pipeline.patch_encoders):
        return None
    effects = {name: values[0][:, list(columns)] for name, values in model.token_effects(features).items()}
    attention = {name: values[0] for name, values in model.token_attention(features).items()}
    said = _Said(names=[labels[column] for column in columns], effects=effects, attention=attention)
    content = dict(film.posters.read(film.ids)).get(film.ids[0])
    image = decode(content) if content else None
    if image is None:
        return PosterEvidence(patches={}, words_absent=UNREADABLE if content else NO_POSTER)
    patches = _patches(said, pipeline, image)
    read = [name for name in pieces if name in said.effects]
    text = pipeline.words(film, store)[0] if read else None
    if text is None or not text.words:
        return PosterEvidence(patches=patches, words_absent=NO_TEXT if read else NOT_READ)
    words = _words(said, text, {name: pipeline.piece_encoders[name].pieces(text.text) for name in read})
    return PosterEvidence(patches=patches, words=words, n_unread=len(text.words) - len(words))


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What a model says of the tokens of one title.

    Attributes:
        names: The labels.
        effects: By block, (n_tokens, n_names).
        attention: By block, (n_tokens,).
    """

    names: list[str]
    effects: Mapping[str, _Floats]
    attention: Mapping[str, _Floats]

    def of(self, values: _Floats) -> dict[str, float]:
        """Return the effects on every label, given (n_names,)."""
        return dict(zip(self.names, map(float, values), strict=True))


def _patches(said: _Said, pipeline: FeaturePipeline, image: RGBImage) -> dict[str, tuple[PatchEvidence, ...]]:
    found: dict[str, tuple[PatchEvidence, ...]] = {}
    for name, encoder in pipeline.patch_encoders.items():
        if name not in said.effects:
            continue
        places = encoder.patch_places(image, pipeline.config.patch_grid)
        effects, attention = said.effects[name], said.attention.get(name)
        if len(effects) < len(places):
            raise FeatureError(f"block '{name}': {len(places)} patches, but effects of {len(effects)} tokens")
        found[encoder.name] = tuple(
            PatchEvidence(
                box=place,
                effects=said.of(effects[token]),
                attention=None if attention is None else float(attention[token]),
            )
            for token, place in enumerate(places)
        )
    return found


def _words(said: _Said, text: PosterText, pieces: Mapping[str, list[tuple[int, int]]]) -> tuple[WordEvidence, ...]:
    """Return the words of which any piece was read; what several encoders make of one word is added up."""
    blocks = {name: spans[: len(said.effects[name])] for name, spans in pieces.items()}
    found = []
    for word, (start, end) in zip(text.words, text.spans(), strict=True):
        tokens = [
            (name, token)
            for name, spans in blocks.items()
            for token, (first, last) in enumerate(spans)
            if max(first, start) < min(last, end)
        ]
        if tokens:
            found.append(_word(said, word, tokens))
    return tuple(found)


def _word(said: _Said, word: Word, tokens: list[tuple[str, int]]) -> WordEvidence:
    shares = [float(said.attention[name][token]) for name, token in tokens if name in said.attention]
    return WordEvidence(
        text=word.text,
        confidence=word.confidence,
        box=word.box,
        effects=said.of(np.sum([said.effects[name][token] for name, token in tokens], axis=0)),
        attention=sum(shares) if shares else None,
    )
