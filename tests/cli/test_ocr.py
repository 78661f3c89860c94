"""``reeltag ocr``: what is printed, written and cached; what may be given; mistakes in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from encoders.ocr.drawn import poster
from reeltag.cli.ocr import summary
from reeltag.encoders.ocr import OCR_ENGINES, PosterText, ReadingLog, Refusal, Word

from .runner import Commands

BOX = ((0.1, 0.2), (0.3, 0.2), (0.3, 0.25), (0.1, 0.25))


class Eyes:
    """Reads the colour of a poster: red ones have text; counts what it is shown."""

    name = "eyes"
    fingerprint = "eyes-1"

    def __init__(self) -> None:
        self.n_images = 0

    def read(self, images: Sequence[Image.Image]) -> list[PosterText]:
        self.n_images += len(images)
        return [self._words(image.getpixel((0, 0))) for image in images]

    def _words(self, colour: object) -> PosterText:
        if colour != (255, 0, 0):
            return PosterText()
        sure = Word(text="THE", confidence=0.9, box=BOX, line=0)
        return PosterText(words=(sure, Word(text="ÉND", confidence=0.5, line=0), Word(text="fin", line=2)))


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> Eyes:
    engine = Eyes()
    monkeypatch.setitem(OCR_ENGINES, "rapidocr", lambda _: engine)
    return engine


@pytest.fixture
def posters(reeltag: Commands, eyes: Eyes) -> Path:
    """A folder with a poster with text, one without, and a broken one."""
    folder = reeltag.folder / "posters"
    folder.mkdir()
    Image.new("RGB", (20, 30), (255, 0, 0)).save(folder / "tt1.png")
    Image.new("RGB", (20, 30), (0, 0, 255)).save(folder / "tt2.png")
    (folder / "tt3.png").write_bytes(b"no image")
    return Path("posters")


def without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d\d s a poster", "N s a poster", text)


def test_text(reeltag: Commands, posters: Path) -> None:
    result = reeltag("ocr", posters)
    assert result.code == 0
    assert without_seconds(result.out) == (
        "tt1:\n  0.70  THE ÉND\n        fin\ntt2: no text\ntt3: cannot be read\n"
        "3 posters: 1 with text, 3 words, 1 cannot be read; N s a poster\n"
    )
    result = reeltag("ocr", "posters/tt2.png")
    assert result.out == "tt2: no text\n1 poster: 0 with text, 0 words; all from the cache\n"
    assert (
        reeltag("ocr", "posters/tt3.png").out
        == "tt3: cannot be read\n1 poster: 0 with text, 0 words, 1 cannot be read\n"
    )


def test_json_is_the_whole_of_standard_output(reeltag: Commands, posters: Path) -> None:
    first, second, third = reeltag("ocr", posters, "--json").json
    box = [list(corner) for corner in BOX]
    assert (first["id"], first["text"]) == ("tt1", "THE ÉND fin")
    assert first["words"][0] == {"text": "THE", "confidence": 0.9, "box": box, "line": 0}
    assert first["words"][2] == {"text": "fin", "confidence": None, "box": None, "line": 2}
    assert (second, third) == ({"id": "tt2", "text": "", "words": []}, {"id": "tt3", "text": None, "words": None})


def test_files(reeltag: Commands, posters: Path) -> None:
    expected = reeltag("ocr", posters, "--json", "--out", "words.jsonl").json
    lines = (reeltag.folder / "words.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert reeltag("ocr", posters, "--out", "deep/words.parquet").out.endswith("\nwritten to deep/words.parquet\n")
    assert pl.read_parquet("deep/words.parquet").to_dicts() == expected


def test_what_was_read_is_cached(reeltag: Commands, posters: Path, eyes: Eyes) -> None:
    first = reeltag("ocr", posters, "--cache", "kept", "--json").json
    assert eyes.n_images == 2
    assert reeltag("ocr", posters, "--cache", "kept", "--json").json == first
    assert eyes.n_images == 2
    reeltag("ocr", posters, "--cache", "other")
    assert eyes.n_images == 4


def test_seconds_are_of_what_was_read_now() -> None:
    texts = [PosterText()] * 4
    assert summary(texts, 6.0, ReadingLog(n_read=3)) == "4 posters: 0 with text, 0 words; 2.00 s a poster"


def test_refused_posters_are_told_apart(
    reeltag: Commands, posters: Path, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyes, "_words", lambda colour: Refusal(reason="the model will not"))
    for ending in ("N s a poster", "all from the cache"):
        assert without_seconds(reeltag("ocr", posters).out) == (
            "tt1: refused (the model will not)\ntt2: refused (the model will not)\ntt3: cannot be read\n"
            f"3 posters: 0 with text, 0 words, 1 cannot be read, 2 refused; {ending}\n"
        )
    result = reeltag("ocr", posters, "--json")
    assert [row["text"] for row in result.json] == [None] * 3
    assert result.err.endswith("tt1: refused (the model will not)\ntt2: refused (the model will not)\n")


def test_min_confidence_leaves_the_cache_alone(reeltag: Commands, posters: Path, eyes: Eyes) -> None:
    surest = reeltag("ocr", posters, "--min-confidence", "0.6", "--json").json
    assert [row["text"] for row in surest] == ["THE fin", "", None]
    assert [row["text"] for row in reeltag("ocr", posters, "--json").json] == ["THE ÉND fin", "", None]
    assert eyes.n_images == 2


def test_ids_and_limit(reeltag: Commands, posters: Path, eyes: Eyes) -> None:
    rows = reeltag("ocr", posters, "--ids", "tt2, tt1,tt2,", "--json").json
    assert [row["id"] for row in rows] == ["tt2", "tt1"]
    rows = reeltag("ocr", posters, "--limit", "1", "--json").json
    assert [row["id"] for row in rows] == ["tt1"]
    rows = reeltag("ocr", posters, "--limit", "9", "--ids", "tt3", "--json").json
    assert [row["id"] for row in rows] == ["tt3"]
    assert eyes.n_images == 2


def test_files_and_tables(reeltag: Commands, posters: Path) -> None:
    rows = reeltag("ocr", "posters/tt2.png", "posters/tt1.png", "posters/tt2.png", "--json").json
    assert [row["id"] for row in rows] == ["tt2", "tt1"]
    images = [(reeltag.folder / "posters" / f"tt{n}.png").read_bytes() for n in (1, 2)]
    pl.DataFrame({"id": ["a", "b", "c"], "poster": [*images, None]}).write_parquet("p.parquet")
    rows = reeltag("ocr", "p.parquet", "--json").json
    assert [(row["id"], row["text"]) for row in rows] == [("a", "THE ÉND fin"), ("b", "")]


def test_a_real_engine_from_end_to_end(reeltag: Commands) -> None:
    poster([("THE LAST EMPEROR", 20, 60, 26)], size=(300, 400)).save("tt0093389.png")
    result = reeltag("ocr", "tt0093389.png")
    assert re.match(r"tt0093389:\n  (0\.[5-9]\d|1\.00)  THE LAST EMPEROR\n1 poster: 1 with text, 3 words;", result.out)


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("--engine", "ears"), "OCR engine 'ears' is unknown; known: rapidocr, tesserocr, tesserocr:LANGUAGE, vision:"),
        (("--min-confidence", "1.5"), "--min-confidence must be between 0 and 1; got 1.5\n"),
        (("--min-confidence", "nan"), "--min-confidence must be between 0 and 1; got nan\n"),
        (("--ids", "tt9,tt1"), "--ids: no poster has the id 'tt9' (3 posters)\n"),
        (("--ids", " , "), "--ids must name posters, separated by commas; got ' , '\n"),
        (("--out", "words.csv"), "words.csv: the words of posters are written as .jsonl, .parquet; got '.csv'\n"),
    ],
)
def test_wrong_options(reeltag: Commands, posters: Path, eyes: Eyes, words: tuple[str, ...], because: str) -> None:
    before = reeltag.entries()
    result = reeltag("ocr", posters, *words)
    assert (result.code, result.out, eyes.n_images) == (2, "", 0)
    assert result.err.startswith(f"reeltag: {because}")
    assert result.err.count("\n") == 1
    assert reeltag.entries() == before


def test_limit_must_be_positive(reeltag: Commands, posters: Path) -> None:
    result = reeltag("ocr", posters, "--limit", "0")
    assert (result.code, result.out) == (2, "")
    assert "--limit" in result.err


def test_wrong_posters(reeltag: Commands, posters: Path) -> None:
    (reeltag.folder / "twin").mkdir()
    Image.new("RGB", (20, 30)).save("twin/tt1.jpg")
    pl.DataFrame({"id": ["a"], "poster": [None]}, schema={"id": pl.String, "poster": pl.Binary}).write_parquet(
        "p.parquet"
    )
    one_kind = "give image files, or one folder, or Parquet files; got a mixture"
    same_id = "twin/tt1.jpg: the names of images are their ids; posters/tt1.png has the same"
    reeltag.fails("ocr", "no.png", because="no.png: no such file")
    reeltag.fails("ocr", "nowhere", because="posters: nowhere: no such file or folder")
    reeltag.fails("ocr", "posters/tt1.png", "p.parquet", because=f"p.parquet: {one_kind}")
    reeltag.fails("ocr", "posters/tt1.png", "twin", because=f"twin: {one_kind}")
    reeltag.fails("ocr", "posters/tt1.png", "twin/tt1.jpg", because=same_id)
    reeltag.fails("ocr", "p.parquet", because="posters: no row has an image")


def test_a_missing_package_is_one_sentence(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from reeltag.encoders.ocr.rapid import RapidOcrEngine

    poster(size=(20, 30)).save("tt1.png")
    monkeypatch.setitem(OCR_ENGINES, "rapidocr", lambda _: RapidOcrEngine())
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    reeltag.fails(
        "ocr",
        "tt1.png",
        because="the OCR engine 'rapidocr' needs the package 'rapidocr', which is not installed: "
        "pip install 'reeltag[ocr]'",
    )


def test_a_failing_engine_keeps_what_is_done(
    reeltag: Commands, posters: Path, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reeltag.errors import EncoderError

    def fail(_: object) -> None:
        raise EncoderError("rapidocr cannot read an image of 20 x 30 pixels (no memory)")

    reeltag("ocr", posters, "--limit", "1")
    with monkeypatch.context() as patch:
        patch.setattr(eyes, "read", fail)
        reeltag.fails("ocr", posters, because="rapidocr cannot read an image of 20 x 30 pixels (no memory)")
    assert reeltag("ocr", posters).code == 0
    assert eyes.n_images == 2


def test_a_failure_says_how_many_are_kept(
    reeltag: Commands, posters: Path, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reeltag.errors import EncoderError

    def one_by_one(images: Sequence[Image.Image], found: dict[int, PosterText]) -> None:
        found[0] = eyes.read(images[:1])[0]
        raise EncoderError("the key has expired")

    with monkeypatch.context() as patch:
        patch.setattr(eyes, "read_into", one_by_one, raising=False)
        result = reeltag("ocr", posters)
    assert (result.code, result.out) == (2, "")
    kept = "1 poster of this run is kept, and a repeated run goes on from there"
    assert result.err.endswith(f"reeltag: the key has expired; {kept}\n")
    assert reeltag("ocr", posters).code == 0
    assert eyes.n_images == 2
