"""RapidOCR: drawn words are read, in order, where they are; none on an empty poster; nothing leaves its package."""

from __future__ import annotations

import logging
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reeltag.encoders.ocr import open_ocr_engine, rapid
from reeltag.encoders.ocr.rapid import RapidOcrEngine, line_words
from reeltag.encoders.ocr.words import Box, PosterText, Refusal
from reeltag.errors import EncoderError, MissingExtraError

from .drawn import drawn_at, extent, extent_of, poster

LINES = [("THE LAST EMPEROR", 40, 60, 40), ("a film by nobody", 60, 300, 30), ("IN CINEMAS 1987", 50, 560, 34)]
LINE_BOX: Box = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.1), (0.0, 0.1))


@pytest.fixture(scope="session")
def engine() -> RapidOcrEngine:
    return RapidOcrEngine()


@pytest.fixture(scope="session")
def text(engine: RapidOcrEngine) -> PosterText:
    return engine.read([poster(LINES)])[0]


def test_drawn_words_are_read_from_top_to_bottom(text: PosterText) -> None:
    assert text.lines == tuple(line for line, *_ in LINES)
    assert [word.line for word in text.words] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_confidence_is_that_of_the_line(text: PosterText) -> None:
    for line in range(3):
        (confidence,) = {word.confidence for word in text.words if word.line == line}
        assert confidence is not None
        assert 0.5 <= confidence <= 1


def test_boxes_are_where_the_words_are(text: PosterText) -> None:
    for word, (line, left, top, height) in (("THE", LINES[0]), ("EMPEROR", LINES[0]), ("1987", LINES[2])):
        x0, y0, x1, y1 = drawn_at(line, left, top, height)
        before = line.partition(word)[0]
        start = drawn_at(before + word[0], left, top, height)[2] if before else x0
        found = extent_of(text.words, word)
        assert found[0] == pytest.approx(start, abs=0.05)
        assert (found[1], found[3]) == pytest.approx((y0, y1), abs=0.03)
        assert found[2] <= x1 + 0.03
    for word_ in text.words:
        assert word_.box is not None
        assert all(0 <= share <= 1 for corner in word_.box for share in corner)


def test_words_of_a_line_stand_side_by_side(text: PosterText) -> None:
    boxes = [extent(word.box) for word in text.words if word.line == 1 and word.box]
    assert all(one[0] < other[0] and one[2] <= other[2] for one, other in pairwise(boxes))


def test_posters_without_text(engine: RapidOcrEngine) -> None:
    empty, dark, tiny, strip = engine.read(
        [poster(), poster(ground="black"), poster(size=(8, 8)), poster(size=(9, 3000))]
    )
    assert [empty.words, dark.words, tiny.words, strip.words] == [()] * 4
    assert engine.read([]) == []


def test_small_posters_are_enlarged(engine: RapidOcrEngine) -> None:
    small = poster([("EMPEROR", 10, 60, 22)], size=(128, 188))
    assert engine.read([small])[0].text == "EMPEROR"


def test_glued_words_are_taken_apart(engine: RapidOcrEngine) -> None:
    (glued,) = engine.read([poster([("SilveryMoon", 60, 200, 48)])])
    assert glued.text == "Silvery Moon"
    assert extent_of(glued.words, "Silvery")[2] == pytest.approx(extent_of(glued.words, "Moon")[0], abs=0.01)


def test_a_poster_is_read_by_itself(engine: RapidOcrEngine, text: PosterText) -> None:
    assert engine.read([poster([("OTHER", 60, 200, 60)]), poster(LINES)])[1] == text


def test_fingerprint_knows_models_and_settings(engine: RapidOcrEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine.fingerprint
    assert first.startswith("rapidocr-")
    assert RapidOcrEngine(threads=1).fingerprint == first
    for name, value in (("_SETTINGS", {"Global.text_score": 0.6}), ("_VERSION", 2), ("SIDE", 481)):
        with monkeypatch.context() as patch:
            patch.setattr(rapid, name, value)
            assert RapidOcrEngine().fingerprint != first
    monkeypatch.setattr(rapid, "_digest", lambda path: path.name)
    assert RapidOcrEngine().fingerprint != first


def test_reading_is_silent(engine: RapidOcrEngine, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.root.manager.disable)
    engine.read([poster()])
    assert capfd.readouterr() == ("", "")
    assert (root.level, list(root.handlers), logging.root.manager.disable) == before


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapid, "_rapidocr_class", lambda: _raise_import)
    with pytest.raises(MissingExtraError, match=r"the OCR engine 'rapidocr' needs the package 'onnxruntime'.*\[ocr\]"):
        _ = RapidOcrEngine().fingerprint
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match=r"the OCR engine 'rapidocr' needs the package 'rapidocr'.*\[ocr\]"):
        RapidOcrEngine().read([poster()])


def _raise_import(**_: Any) -> None:
    raise ImportError


def test_a_package_without_its_models_fetches_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import rapidocr

    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(
        EncoderError,
        match=r"rapidocr [\d.]+ comes without the model PP-OCRv6_det_small.onnx: pip .*'rapidocr>=3.10,<3.11'",
    ):
        _ = RapidOcrEngine().fingerprint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [IndexError("tuple index out of range"), RuntimeError("a\nno memory"), ValueError()])
def test_a_failure_names_the_image(error: Exception) -> None:
    failing = RapidOcrEngine()

    def fail(_: object) -> None:
        raise error

    failing.__dict__["_engine"] = fail
    reason = (str(error).splitlines() or ["ValueError"])[-1]
    (refusal,) = failing.read([poster(size=(480, 500))])
    assert refusal == Refusal(reason=f"rapidocr cannot read an image of 480 x 500 pixels ({reason})")


def test_the_extra_asks_for_the_versions_that_have_the_models() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert rapid.REQUIREMENT in project["optional-dependencies"]["ocr"]


def test_lines_that_lost_their_parts_share_out_their_box() -> None:
    odd = RapidOcrEngine()
    corners = np.array([[0, 0], [480, 0], [480, 72], [0, 72]])
    result = SimpleNamespace(txts=("AB CD",), scores=(1.00001,), boxes=[corners], word_results=())
    odd.__dict__["_engine"] = lambda _: result
    (text,) = odd.read([poster()])
    assert [(word.text, word.confidence) for word in text.words] == [("AB", 1.0), ("CD", 1.0)]
    assert extent_of(text.words, "AB") == pytest.approx((0, 0, 0.4, 0.1))
    assert extent_of(text.words, "CD") == pytest.approx((0.6, 0, 1, 0.1))


def test_a_result_of_another_kind_is_no_text() -> None:
    odd = RapidOcrEngine()
    odd.__dict__["_engine"] = lambda _: SimpleNamespace(boxes=None)
    assert odd.read([poster()]) == [PosterText()]


def box(left: float, right: float) -> Box:
    return (left, 0.0), (right, 0.0), (right, 0.1), (left, 0.1)


def test_letters_that_stand_apart_make_one_word() -> None:
    parts = [("S", box(0, 0.1)), ("PLIT", box(0.15, 0.4)), ("NOW", box(0.6, 1))]
    split, now = line_words("SPLIT  NOW", LINE_BOX, parts, 0.9, 7)
    assert (split.text, split.box, split.line) == ("SPLIT", box(0, 0.4), 7)
    assert (now.text, now.box, now.confidence) == ("NOW", box(0.6, 1), 0.9)


@pytest.mark.parametrize("parts", [[], [("SPLIT", None), ("NOW", box(0.6, 1))], [("SPLAT", box(0, 1))]])
def test_parts_that_do_not_fit_the_text(parts: list[tuple[str, Box | None]]) -> None:
    words = list(line_words(" SPLIT NOW ", LINE_BOX, parts, 0.9, 0))
    assert [word.text for word in words] == ["SPLIT", "NOW"]
    assert extent_of(words, "SPLIT")[:3:2] == pytest.approx((1 / 11, 6 / 11))
    assert extent_of(words, "NOW")[:3:2] == pytest.approx((7 / 11, 10 / 11))


def test_the_table_opens_it_once() -> None:
    assert open_ocr_engine("rapidocr") is open_ocr_engine("rapidocr")
    assert isinstance(open_ocr_engine("rapidocr"), RapidOcrEngine)


@pytest.mark.parametrize(
    "spec", ["eyes", "", "rapidocr:eng", "rapidocr:", "tesserocr:", "vision", "vision:", "Rapidocr"]
)
def test_unknown_specifications(spec: str) -> None:
    with pytest.raises(EncoderError, match=f"OCR engine '{spec}' is unknown; known: rapidocr, tesserocr, tesserocr:L"):
        open_ocr_engine(spec)
