"""Encoders: from what a catalogue holds to vectors. One file per source; a new one is a line in ``TEXT_ENCODERS``.

Pre-trained encoders are opened once per process: plots and titles share a loaded model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from reeltag.encoders.contract import TextEncoder
from reeltag.errors import EncoderError


def _tfidf(_: str) -> TextEncoder:
    from reeltag.encoders.tfidf import TfidfEncoder

    return TfidfEncoder()


@lru_cache(maxsize=1)
def _minilm(_: str) -> TextEncoder:
    from reeltag.encoders.sentence import SentenceEncoder

    return SentenceEncoder("minilm")


@lru_cache(maxsize=2)
def _sentence(model: str) -> TextEncoder:
    from reeltag.encoders.sentence import SentenceEncoder

    return SentenceEncoder(model)


@lru_cache(maxsize=2)
def _transformer(model: str) -> TextEncoder:
    from reeltag.encoders.transformer import TransformerEncoder

    return TransformerEncoder(model)


# name or prefix -> how to open it; "sentence:" and "transformer:" take a local folder or a name on the hub
TEXT_ENCODERS: dict[str, Callable[[str], TextEncoder]] = {
    "tfidf": _tfidf,
    "minilm": _minilm,
    "sentence": _sentence,
    "transformer": _transformer,
}
_TAKES_MODEL = ("sentence", "transformer")


def open_text_encoder(spec: str) -> TextEncoder:
    """Open a text encoder by its specification.

    Args:
        spec: ``tfidf``, ``minilm``, ``sentence:MODEL`` or ``transformer:MODEL``, where MODEL is a local folder or a
            name on the Hugging Face hub.

    Raises:
        EncoderError: The specification is unknown or lacks its model.
    """
    kind, _, model = spec.partition(":")
    if kind not in TEXT_ENCODERS or (kind in _TAKES_MODEL) != bool(model):
        raise EncoderError(
            f"text encoder {spec!r} is unknown; known: tfidf, minilm, sentence:MODEL, transformer:MODEL "
            "(MODEL: a local folder or a name on the hub)"
        )
    return TEXT_ENCODERS[kind](model)


__all__ = ["TEXT_ENCODERS", "TextEncoder", "open_text_encoder"]
