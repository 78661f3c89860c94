"""What every OCR engine offers, and what is told of a pass over posters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.words import PosterText, Refusal


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

    def read(self, images: Sequence[RGBImage]) -> Sequence[PosterText | Refusal]:
        """Return the words of every image, in order; an image without text has none.

        Returns:
            A refusal for an image that the engine cannot read, though it can read others.

        Raises:
            EncoderError: The engine failed; nothing of this batch is kept.
        """


@runtime_checkable
class StepwiseEngine(Protocol):
    """An OCR engine whose every reading is dear; none is lost when it fails or is interrupted."""

    def read_into(self, images: Sequence[RGBImage], found: dict[int, PosterText | Refusal]) -> None:
        """Put the words of every image into ``found`` by its position in the batch.

        Raises:
            EncoderError: The engine failed; what it had read by then is in ``found``, as after Ctrl-C.
        """


@dataclass(kw_only=True)
class ReadingLog:
    """What was told of a pass over posters.

    Attributes:
        n_read: Posters that the engine was shown in this pass and whose words, or refusal, are kept.
        refused: Why a poster was refused, now or in an earlier pass, by title.
    """

    n_read: int = 0
    refused: dict[str, str] = field(default_factory=dict)
