"""Tesseract through tesserocr. Made for pages of print, so it finds fewer words on posters, and faster."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.pixels import LARGEST_FACTOR, LONGEST_SIDE, SIDE, box_of, enlarged, is_strip
from reeltag.encoders.ocr.words import PosterText, Refusal, Word
from reeltag.errors import EncoderError, MissingExtraError, shown

_VERSION = 1  # of what is done here before and after Tesseract; part of the fingerprint
_LEAST_CONFIDENCE = 0.5
_LANGUAGES = re.compile(r"[A-Za-z0-9_]+(\+[A-Za-z0-9_]+)*")
_USUAL_FOLDERS = ("/usr/share/tesseract-ocr", "/usr/share/tessdata", "/usr/local/share/tessdata")


class TesserOcrEngine:
    """Words with boxes and confidence; those it is less than half sure of, and mere marks, are left out.

    Args:
        language: Language of the posters as Tesseract names it (``eng``, ``fra``), or several (``eng+fra``).

    Raises:
        EncoderError: That is no name of a language.
    """

    def __init__(self, language: str = "eng") -> None:
        if not _LANGUAGES.fullmatch(language):
            raise EncoderError(f"tesserocr: a language must be named like eng or eng+fra; got {shown(language)}")
        self.language = language
        self.name = f"tesserocr-{language.replace('+', '-')}"

    @cached_property
    def _api(self) -> Any:
        """The one open Tesseract of this engine."""
        tesserocr = _package(self.language)
        folder = _data_files(self.language)[0].parent
        tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)  # it would write of every empty region
        try:
            return tesserocr.PyTessBaseAPI(
                path=str(folder), lang=self.language, psm=tesserocr.PSM.SPARSE_TEXT, oem=tesserocr.OEM.LSTM_ONLY
            )
        except RuntimeError as error:
            raise EncoderError(f"tesserocr: the language data of {self.language} cannot be opened ({error})") from None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of versions, language data and settings; opens the engine."""
        _ = self._api
        told = {
            "version": _VERSION,
            "tesseract": _package(self.language).tesseract_version().splitlines()[0],
            "language": self.language,
            "data": [hashlib.sha256(path.read_bytes()).hexdigest() for path in _data_files(self.language)],
            "least": _LEAST_CONFIDENCE,
            "sizes": [SIDE, LARGEST_FACTOR, LONGEST_SIDE],
        }
        return f"tesserocr-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]}"

    def read(self, images: Sequence[RGBImage]) -> list[PosterText | Refusal]:
        """Return the words of every image, line by line from top to bottom; an image without text has none.

        Returns:
            A refusal for an image on which Tesseract failed.

        Raises:
            MissingExtraError: tesserocr is not installed.
            EncoderError: The language data is not installed.
        """
        return [self._read(enlarged(image)) for image in images]

    def _read(self, image: RGBImage) -> PosterText | Refusal:
        if is_strip(image):
            return PosterText()
        api = self._api
        try:
            api.SetImage(image)
            api.Recognize()
            found = list(_lines(api, image.size))
        except RuntimeError as error:
            size = f"{image.width} x {image.height} pixels"
            return Refusal(reason=f"tesserocr cannot read an image of {size} ({error})")
        finally:
            api.Clear()
        found.sort(key=_top)
        return PosterText(
            words=tuple(
                Word(text=word.text, confidence=word.confidence, box=word.box, line=line)
                for line, words in enumerate(found)
                for word in words
            )
        )


def _lines(api: Any, size: tuple[int, int]) -> Iterator[list[Word]]:
    """Yield the words of every line that has some, in Tesseract's order."""
    from tesserocr import RIL, iterate_level

    places = api.GetIterator()
    if places is None:
        return
    line: list[Word] = []
    for place in iterate_level(places, RIL.WORD):
        if place.IsAtBeginningOf(RIL.TEXTLINE) and line:
            yield line
            line = []
        word = _word(place, RIL.WORD, size)
        if word is not None:
            line.append(word)
    if line:
        yield line


def _top(words: Sequence[Word]) -> float:
    return min(y for word in words if word.box for _, y in word.box)


def _word(place: Any, level: Any, size: tuple[int, int]) -> Word | None:
    """Return the word at a place, if there is one to be kept."""
    corners = None if place.Empty(level) else place.BoundingBox(level)
    if corners is None:
        return None
    text, confidence = place.GetUTF8Text(level).strip(), min(max(place.Confidence(level) / 100, 0.0), 1.0)
    if confidence < _LEAST_CONFIDENCE or not any(map(str.isalnum, text)):
        return None
    left, top, right, bottom = corners
    return Word(
        text="".join(text.split()),
        confidence=confidence,
        box=box_of([(left, top), (right, top), (right, bottom), (left, bottom)], size),
    )


def _package(language: str) -> Any:
    try:
        import tesserocr
    except ImportError:
        raise MissingExtraError("tesserocr", "tesseract", f"the OCR engine 'tesserocr:{language}'") from None
    return tesserocr


def _data_files(language: str) -> list[Path]:
    """Return the files of a language, or of several, which are all in one folder."""
    names = [f"{one}.traineddata" for one in language.split("+")]
    folders = _folders()
    for folder in folders:
        if all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    packages = " ".join(f"tesseract-ocr-{one.replace('_', '-')}" for one in language.split("+"))
    raise EncoderError(
        f"tesserocr: no folder holds {' and '.join(names)} (looked in {', '.join(map(str, folders))}); install the "
        f"language data (Debian: {packages}) or set TESSDATA_PREFIX to the folder that holds it"
    )


def _folders() -> list[Path]:
    """Return where language data may be: what TESSDATA_PREFIX says, else the usual places."""
    prefix = os.environ.get("TESSDATA_PREFIX")
    if prefix:
        return [Path(prefix), Path(prefix) / "tessdata"]
    versioned, *others = map(Path, _USUAL_FOLDERS)
    return [*sorted(versioned.glob("*/tessdata"), reverse=True), *others]
