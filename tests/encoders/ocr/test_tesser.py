"""Tesseract: drawn words are read where they are; doubtful ones and marks are left out; language data is found."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from reeltag.encoders.ocr import open_ocr_engine, tesser
from reeltag.encoders.ocr.tesser import TesserOcrEngine
from reeltag.encoders.ocr.words import PosterText, Refusal
from reeltag.errors import EncoderError, MissingExtraError

from .drawn import drawn_at, extent_of, poster

LINES = [("THE LAST EMPEROR", 40, 60, 40), ("a film by nobody", 60, 300, 30), ("IN CINEMAS 1987", 50, 560, 34)]
needs_data = pytest.mark.skipif(
    not any((folder / "eng.traineddata").is_file() for folder in tesser._folders()),
    reason="Tesseract's language data is not installed",
)


@pytest.fixture(scope="session")
def engine() -> TesserOcrEngine:
    pytest.importorskip("tesserocr")
    return TesserOcrEngine()


@pytest.fixture(scope="session")
def text(engine: TesserOcrEngine) -> PosterText:
    return engine.read([poster(LINES)])[0]


@needs_data
def test_drawn_words_are_read_from_top_to_bottom(text: PosterText) -> None:
    assert text.lines == tuple(line for line, *_ in LINES)
    assert [word.line for word in text.words] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert all(word.confidence is not None and 0.5 <= word.confidence <= 1 for word in text.words)


@needs_data
def test_boxes_are_where_the_words_are(text: PosterText) -> None:
    for word, (line, left, top, height) in (("THE", LINES[0]), ("EMPEROR", LINES[0]), ("1987", LINES[2])):
        before = line.partition(word)[0]
        x0, y0, x1, y1 = drawn_at(line, left, top, height)
        x0 = drawn_at(before + "|", left, top, height)[2] if before else x0
        x1 = drawn_at(before + word, left, top, height)[2]
        assert extent_of(text.words, word) == pytest.approx((x0, y0, x1, y1), abs=0.03)


@needs_data
def test_posters_without_text(engine: TesserOcrEngine, capfd: pytest.CaptureFixture[str]) -> None:
    images = [
        poster(),
        poster(ground="black"),
        poster(size=(8, 8)),
        poster(size=(9, 3000)),
        poster([("***", 90, 90, 60)]),
    ]
    assert engine.read(images) == [PosterText()] * 5
    assert engine.read([]) == []
    assert capfd.readouterr() == ("", "")


@needs_data
def test_small_posters_are_enlarged(engine: TesserOcrEngine) -> None:
    small = poster([("EMPEROR", 10, 60, 22)], size=(128, 188))
    assert engine.read([small])[0].text == "EMPEROR"


@needs_data
def test_a_poster_is_read_by_itself_and_one_tesseract_is_open(engine: TesserOcrEngine, text: PosterText) -> None:
    opened = engine._api
    assert engine.read([poster([("OTHER", 60, 200, 60)]), poster(LINES)])[1] == text
    assert engine._api is opened


@needs_data
def test_fingerprint(engine: TesserOcrEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine.fingerprint
    assert first.startswith("tesserocr-")
    assert TesserOcrEngine().fingerprint == first
    for name, value in (("_LEAST_CONFIDENCE", 0.6), ("_VERSION", 2), ("SIDE", 481)):
        with monkeypatch.context() as patch:
            patch.setattr(tesser, name, value)
            assert TesserOcrEngine().fingerprint != first


def place(text: str, confidence: float, empty: bool = False) -> SimpleNamespace:
    """One place Tesseract found, as its iterator tells it."""
    return SimpleNamespace(
        Empty=lambda _: empty,
        BoundingBox=lambda _: (10, 20, 60, 40),
        GetUTF8Text=lambda _: text,
        Confidence=lambda _: confidence,
    )


@pytest.mark.parametrize("found", [place("word", 49.9), place("~|", 99), place(" \n", 99), place("word", 99, True)])
def test_left_out(found: SimpleNamespace) -> None:
    assert tesser._word(found, 3, (100, 100)) is None


def test_kept() -> None:
    word = tesser._word(place(" Word! \n", 100.01), 3, (100, 200))
    assert word is not None
    assert (word.text, word.confidence) == ("Word!", 1.0)
    assert word.box == ((0.1, 0.1), (0.6, 0.1), (0.6, 0.2), (0.1, 0.2))


def test_a_failure_names_the_image_and_forgets_it() -> None:
    failing, cleared = TesserOcrEngine(), []

    def fail(_: object) -> None:
        raise RuntimeError("Failed to read picture")

    failing.__dict__["_api"] = SimpleNamespace(SetImage=fail, Clear=lambda: cleared.append(True))
    (refusal,) = failing.read([poster()])
    assert refusal == Refusal(reason="tesserocr cannot read an image of 480 x 720 pixels (Failed to read picture)")
    assert cleared == [True]


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    with pytest.raises(MissingExtraError, match=r"'tesserocr:eng' needs the package 'tesserocr'.*reeltag\[tesseract\]"):
        _ = TesserOcrEngine().fingerprint


def test_missing_language_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tesserocr")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(EncoderError) as caught:
        TesserOcrEngine("fra+chi_sim").read([poster()])
    assert str(caught.value) == (
        f"tesserocr: no folder holds fra.traineddata and chi_sim.traineddata (looked in {tmp_path}, "
        f"{tmp_path / 'tessdata'}); install the language data (Debian: tesseract-ocr-fra tesseract-ocr-chi-sim) or set "
        "TESSDATA_PREFIX to the folder that holds it"
    )


def test_damaged_language_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tesserocr")
    (tmp_path / "tessdata").mkdir()
    (tmp_path / "tessdata" / "eng.traineddata").write_bytes(b"nothing")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(EncoderError, match="tesserocr: the language data of eng cannot be opened"):
        _ = TesserOcrEngine().fingerprint


@pytest.mark.parametrize("language", ["", "eng+", "../eng", "eng fra", "+"])
def test_no_language(language: str) -> None:
    with pytest.raises(EncoderError, match="tesserocr: a language must be named like eng or eng"):
        TesserOcrEngine(language)


def test_the_table() -> None:
    assert open_ocr_engine("tesserocr").name == "tesserocr-eng"
    assert open_ocr_engine("tesserocr:eng+fra").name == "tesserocr-eng-fra"
    assert open_ocr_engine("tesserocr") is open_ocr_engine("tesserocr")
