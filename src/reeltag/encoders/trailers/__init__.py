"""Trailers: shots of a video, and the experts that look at them and listen to them.

A new expert is a line in the table below. Pre-trained ones are opened once per process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from reeltag.encoders import open_poster_encoder
from reeltag.encoders.trailers.contract import SHOT_MODALITIES, ShotExpert
from reeltag.errors import EncoderError


def _descriptors(_: str) -> ShotExpert:
    from reeltag.encoders.trailers.frames import FrameExpert

    return FrameExpert(open_poster_encoder("descriptors"))


def _onnx_frames(folder: str) -> ShotExpert:
    from reeltag.encoders.trailers.frames import FrameExpert

    return FrameExpert(open_poster_encoder(f"onnx:{folder}"))


def _clip(model: str) -> ShotExpert:
    from reeltag.encoders.trailers.frames import FrameExpert

    return FrameExpert(open_poster_encoder(f"clip:{model}"))


@lru_cache(maxsize=2)
def _image_transformer(model: str) -> ShotExpert:
    from reeltag.encoders.trailers.frames import FrameExpert
    from reeltag.encoders.trailers.transformer_image import TransformerImageEncoder

    return FrameExpert(TransformerImageEncoder(model))


def _flow(_: str) -> ShotExpert:
    from reeltag.encoders.trailers.flow import FlowExpert

    return FlowExpert()


@lru_cache(maxsize=1)
def _video_transformer(model: str) -> ShotExpert:
    from reeltag.encoders.trailers.transformer_video import VideoTransformerExpert

    return VideoTransformerExpert(model)


def _spectral(_: str) -> ShotExpert:
    from reeltag.encoders.trailers.spectral import SpectralExpert

    return SpectralExpert()


@lru_cache(maxsize=2)
def _onnx_sound(folder: str) -> ShotExpert:
    from reeltag.encoders.trailers.audio_onnx import OnnxSoundExpert

    return OnnxSoundExpert(folder)


@lru_cache(maxsize=1)
def _ast(model: str) -> ShotExpert:
    from reeltag.encoders.trailers.transformer_audio import AstExpert

    return AstExpert(model)


@lru_cache(maxsize=1)
def _clap(model: str) -> ShotExpert:
    from reeltag.encoders.trailers.transformer_audio import ClapExpert

    return ClapExpert(model)


_FRAMES: dict[str, Callable[[str], ShotExpert]] = {
    "descriptors": _descriptors,
    "onnx": _onnx_frames,  # a local folder only
    "clip": _clip,
    "transformer": _image_transformer,
}
# modality -> name or prefix -> how to open it; those of _TAKES take a local folder or a name on the hub
SHOT_EXPERTS: dict[str, dict[str, Callable[[str], ShotExpert]]] = {
    "image": _FRAMES,
    "scene": _FRAMES,
    "motion": {"flow": _flow, "video": _video_transformer},
    "audio": {"spectral": _spectral, "onnx": _onnx_sound, "ast": _ast, "clap": _clap},
}
_TAKES = {
    "onnx": "FOLDER", "clip": "MODEL", "transformer": "MODEL", "video": "MODEL", "ast": "MODEL", "clap": "MODEL",
}  # fmt: skip


def open_shot_expert(modality: str, spec: str) -> ShotExpert:
    """Open an expert on shots by its specification.

    Args:
        modality: ``image``, ``scene``, ``motion`` or ``audio``.
        spec: For image and scene ``descriptors``, ``onnx:FOLDER``, ``clip:MODEL`` or ``transformer:MODEL``; for motion
            ``flow`` or ``video:MODEL``; for audio ``spectral``, ``onnx:FOLDER``, ``ast:MODEL`` or ``clap:MODEL``. MODEL
            is a local folder or a name on the Hugging Face hub.

    Raises:
        EncoderError: The modality or the specification is unknown, or it lacks its model.
    """
    if modality not in SHOT_EXPERTS:
        raise EncoderError(f"modality {modality!r} has no shot experts; those that have: {', '.join(SHOT_MODALITIES)}")
    experts = SHOT_EXPERTS[modality]
    kind, _, model = spec.partition(":")
    if kind not in experts or (kind in _TAKES) != bool(model):
        known = ", ".join(f"{name}:{_TAKES[name]}" if name in _TAKES else name for name in experts)
        raise EncoderError(
            f"{modality} expert {spec!r} is unknown; known: {known} (MODEL: a local folder or a name on the hub)"
        )
    return experts[kind](model)


__all__ = ["SHOT_EXPERTS", "ShotExpert", "open_shot_expert"]
