"""Encoders: from what a catalogue holds to vectors. One file per source; a new one is a line in a table below.

Pre-trained encoders are opened once per process: plots and titles share a loaded model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from reeltag.encoders.contract import JointEncoder, PosterEncoder, TextEncoder
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


def _descriptors(_: str) -> PosterEncoder:
    from reeltag.encoders.descriptors import DescriptorEncoder

    return DescriptorEncoder()


@lru_cache(maxsize=4)
def _onnx(folder: str) -> PosterEncoder:
    from reeltag.encoders.onnx import OnnxEncoder

    return OnnxEncoder(folder)


@lru_cache(maxsize=2)
def _clip(model: str) -> PosterEncoder:
    from reeltag.encoders.clip import ClipEncoder

    return ClipEncoder(model)


@lru_cache(maxsize=1)
def _blip(model: str) -> JointEncoder:
    from reeltag.encoders.joint import BlipEncoder

    return BlipEncoder(model)


@lru_cache(maxsize=1)
def _bridgetower(model: str) -> JointEncoder:
    from reeltag.encoders.joint import BridgeTowerEncoder

    return BridgeTowerEncoder(model)


# name or prefix -> how to open it; those of _TAKES_MODEL take a local folder or a name on the hub
TEXT_ENCODERS: dict[str, Callable[[str], TextEncoder]] = {
    "tfidf": _tfidf,
    "minilm": _minilm,
    "sentence": _sentence,
    "transformer": _transformer,
}
POSTER_ENCODERS: dict[str, Callable[[str], PosterEncoder]] = {
    "descriptors": _descriptors,
    "onnx": _onnx,  # a local folder only
    "clip": _clip,
}
JOINT_ENCODERS: dict[str, Callable[[str], JointEncoder]] = {"blip": _blip, "bridgetower": _bridgetower}
_TAKES_MODEL = ("sentence", "transformer", "onnx", "clip", "blip", "bridgetower")


def open_text_encoder(spec: str) -> TextEncoder:
    """Open a text encoder by its specification.

    Args:
        spec: ``tfidf``, ``minilm``, ``sentence:MODEL`` or ``transformer:MODEL``, where MODEL is a local folder or a
            name on the Hugging Face hub.

    Raises:
        EncoderError: The specification is unknown or lacks its model.
    """
    kind, model = _split(spec, TEXT_ENCODERS, "text", "tfidf, minilm, sentence:MODEL, transformer:MODEL")
    return TEXT_ENCODERS[kind](model)


def open_poster_encoder(spec: str) -> PosterEncoder:
    """Open a poster encoder by its specification.

    Args:
        spec: ``descriptors``, ``onnx:FOLDER`` or ``clip:MODEL``, where MODEL is a local folder or a name on the
            Hugging Face hub.

    Raises:
        EncoderError: The specification is unknown or lacks its model.
    """
    kind, model = _split(spec, POSTER_ENCODERS, "poster", "descriptors, onnx:FOLDER, clip:MODEL")
    return POSTER_ENCODERS[kind](model)


def open_joint_encoder(spec: str) -> JointEncoder:
    """Open a joint encoder by its specification.

    Args:
        spec: ``blip:MODEL`` or ``bridgetower:MODEL``, where MODEL is a local folder or a name on the Hugging Face hub.

    Raises:
        EncoderError: The specification is unknown or lacks its model.
    """
    kind, model = _split(spec, JOINT_ENCODERS, "joint", "blip:MODEL, bridgetower:MODEL")
    return JOINT_ENCODERS[kind](model)


def _split(spec: str, table: Mapping[str, object], what: str, known: str) -> tuple[str, str]:
    kind, _, model = spec.partition(":")
    if kind not in table or (kind in _TAKES_MODEL) != bool(model):
        raise EncoderError(
            f"{what} encoder {spec!r} is unknown; known: {known} (MODEL: a local folder or a name on the hub)"
        )
    return kind, model


__all__ = [
    "JOINT_ENCODERS",
    "POSTER_ENCODERS",
    "TEXT_ENCODERS",
    "JointEncoder",
    "PosterEncoder",
    "TextEncoder",
    "open_joint_encoder",
    "open_poster_encoder",
    "open_text_encoder",
]
