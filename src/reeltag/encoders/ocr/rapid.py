"""RapidOCR: PaddleOCR's models run by ONNX Runtime. The models come with the package, so nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.pixels import LARGEST_FACTOR, LONGEST_SIDE, SIDE, box_of, enlarged, is_strip, slice_of
from reeltag.encoders.ocr.unglue import unglued
from reeltag.encoders.ocr.words import Box, PosterText, Refusal, Word
from reeltag.errors import EncoderError, MissingExtraError

_VERSION = 1  # of what is done here before and after RapidOCR; part of the fingerprint
_PURPOSE = "the OCR engine 'rapidocr'"
REQUIREMENT = "rapidocr>=3.10,<3.11"  # of the extra "ocr": the versions whose package holds the models below
_SETTINGS = {
    "Global.text_score": 0.5,
    "Global.use_cls": False,
    "Global.return_word_box": True,
    "Det.limit_side_len": 32,  # images come at the size they are to be read at
}
_MODELS = {"Det.model_path": "PP-OCRv6_det_small.onnx", "Rec.model_path": "PP-OCRv6_rec_small.onnx"}


class RapidOcrEngine:
    """Words with boxes; their confidence is that of their line. Runs on the CPU.

    RapidOCR tells one confidence per letter, but not which letter's it is, so that of the line is kept.

    Args:
        threads: Threads of the models; those of torch when None.
    """

    name = "rapidocr"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads

    @cached_property
    def _engine(self) -> Any:
        rapidocr_class = _rapidocr_class()
        try:
            return rapidocr_class(
                params={
                    **_SETTINGS,
                    **{setting: str(path) for setting, path in _model_paths().items()},
                    "Global.log_level": "critical",
                    "EngineConfig.onnxruntime.intra_op_num_threads": self.threads or torch.get_num_threads(),
                }
            )
        except ImportError:
            raise MissingExtraError("onnxruntime", "ocr", _PURPOSE) from None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of version, models and settings; opens the engine."""
        _ = self._engine
        told = {
            "version": _VERSION,
            "rapidocr": _package_version(),
            "models": {name: _digest(path) for name, path in _model_paths().items()},
            "settings": _SETTINGS,
            "sizes": [SIDE, LARGEST_FACTOR, LONGEST_SIDE],
        }
        return f"rapidocr-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]}"

    def read(self, images: Sequence[RGBImage]) -> list[PosterText | Refusal]:
        """Return the words of every image, line by line from top to bottom; an image without text has none.

        Returns:
            A refusal for an image on which RapidOCR failed.

        Raises:
            MissingExtraError: rapidocr is not installed.
            EncoderError: Its models are not there.
        """
        return [self._read(enlarged(image)) for image in images]

    def _read(self, image: RGBImage) -> PosterText | Refusal:
        if is_strip(image):
            return PosterText()
        pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # as BGR
        engine = self._engine
        try:
            result = engine(pixels)
        except _errors() as error:
            size = f"{image.width} x {image.height} pixels"
            return Refusal(reason=f"rapidocr cannot read an image of {size} ({_last_line(error)})")
        if not getattr(result, "txts", None):
            return PosterText()
        parts = result.word_results if len(result.word_results) == len(result.txts) else [()] * len(result.txts)
        words = chain.from_iterable(
            line_words(
                text, box_of(corners, image.size), _in_shares(found, image.size), min(max(float(score), 0.0), 1.0), line
            )
            for line, (text, corners, found, score) in enumerate(
                zip(result.txts, result.boxes, parts, result.scores, strict=True)
            )
        )
        return PosterText(words=tuple(chain.from_iterable(map(unglued, words))))


def line_words(
    text: str, box: Box, parts: Sequence[tuple[str, Box | None]], confidence: float, line: int
) -> Iterator[Word]:
    """Yield the words of a line, which are what blanks separate in its text.

    RapidOCR cuts a line wherever its letters stand apart (``S`` ``PLIT``), so the parts are put together again.

    Args:
        text: The text of the line.
        box: The box of the line.
        parts: What RapidOCR cut the line into, in order, with boxes.
        confidence: That of the line.
        line: Its number.
    """
    letters = "".join(text.split())
    boxes = [part_box for part, part_box in parts for _ in part if part_box is not None]  # one per letter
    if "".join(part for part, _ in parts) != letters or len(boxes) != len(letters):
        boxes = [slice_of(box, at / len(text), (at + 1) / len(text)) for at, c in enumerate(text) if not c.isspace()]
    done = 0
    for word in text.split():
        first, last = boxes[done], boxes[done + len(word) - 1]
        done += len(word)
        yield Word(text=word, confidence=confidence, box=(first[0], last[1], last[2], first[3]), line=line)


def _in_shares(parts: Sequence[Any], size: tuple[int, int]) -> list[tuple[str, Box | None]]:
    return [(text, None if corners is None else box_of(corners, size)) for text, _, corners in parts]


def _rapidocr_class() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise MissingExtraError("rapidocr", "ocr", _PURPOSE) from None
    return RapidOCR


def _package_version() -> str:
    from importlib.metadata import version

    return version("rapidocr")


def _model_paths() -> dict[str, Path]:
    """Return where the models are; named one by one, or the package would fetch what it lacks from the network."""
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    for name in _MODELS.values():
        if not (folder / name).is_file():
            raise EncoderError(
                f"rapidocr {_package_version()} comes without the model {name}: "
                f"pip install --force-reinstall '{REQUIREMENT}'"
            )
    return {setting: folder / name for setting, name in _MODELS.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _errors() -> tuple[type[Exception], ...]:
    """Return what RapidOCR raises for an image it cannot read."""
    import cv2
    from rapidocr.inference_engine.onnxruntime.main import ONNXRuntimeError

    return (RuntimeError, ValueError, IndexError, ZeroDivisionError, cv2.error, ONNXRuntimeError)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
