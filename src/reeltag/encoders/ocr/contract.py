"""What every OCR engine offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.words import PosterText


class OcrEngine(Protocol):
    """Reads the words off decoded posters."""

    name: str

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the words: engine, version, models, settings; opens the engine.

        Raises:
            MissingExtraError: Its package is not installed.
            EncoderError: It cannot be opened.
        """

    def read(self, images: Sequence[RGBImage]) -> list[PosterText]:
        """Return the words of every image, in order; an image without text has none.

        Raises:
            EncoderError: The engine failed; nothing of this batch is kept.
        """
