"""OCR engines: from posters to the words on them. One file per engine; a new one is a line in the table below.

Engines are opened once per process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from reeltag.encoders.ocr.contract import OcrEngine, ReadingLog
from reeltag.encoders.ocr.words import PosterText, Refusal, Word
from reeltag.errors import EncoderError


@lru_cache(maxsize=1)
def _rapidocr(_: str) -> OcrEngine:
    from reeltag.encoders.ocr.rapid import RapidOcrEngine

    return RapidOcrEngine()


@lru_cache(maxsize=4)
def _tesserocr(language: str) -> OcrEngine:
    from reeltag.encoders.ocr.tesser import TesserOcrEngine

    return TesserOcrEngine(language or "eng")


@lru_cache(maxsize=4)
def _vision(model: str) -> OcrEngine:
    from reeltag.encoders.ocr.vision import VisionEngine

    return VisionEngine(model)


OCR_ENGINES: dict[str, Callable[[str], OcrEngine]] = {
    "rapidocr": _rapidocr,
    "tesserocr": _tesserocr,  # may be given a language
    "vision": _vision,  # must be given a model
}


def open_ocr_engine(spec: str) -> OcrEngine:
    """Open an OCR engine by its specification; nothing is loaded yet.

    Args:
        spec: ``rapidocr``, ``tesserocr``, ``tesserocr:LANGUAGE`` or ``vision:MODEL``.

    Raises:
        EncoderError: The specification is unknown or lacks its model.
    """
    kind, colon, given = spec.partition(":")
    wrong = kind not in OCR_ENGINES or (kind == "vision" and not given) or (kind == "rapidocr" and colon)
    if wrong or (colon and not given):
        raise EncoderError(
            f"OCR engine {spec!r} is unknown; known: rapidocr, tesserocr, tesserocr:LANGUAGE, vision:MODEL (MODEL: the "
            "name that an OpenAI-compatible endpoint knows it by)"
        )
    return OCR_ENGINES[kind](given)


__all__ = ["OCR_ENGINES", "OcrEngine", "PosterText", "ReadingLog", "Refusal", "Word", "open_ocr_engine"]
