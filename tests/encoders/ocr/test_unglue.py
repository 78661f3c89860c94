"""Taking words apart that were run together, and sharing out boxes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reeltag.encoders.ocr.pixels import box_of, enlarged, is_strip, slice_of
from reeltag.encoders.ocr.unglue import unglued
from reeltag.encoders.ocr.words import Word

LEVEL = ((0.1, 0.2), (0.5, 0.2), (0.5, 0.3), (0.1, 0.3))


def parts(text: str) -> list[str]:
    return [word.text for word in unglued(Word(text=text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SilveryMoon", ["Silvery", "Moon"]),
        ("ByThe", ["By", "The"]),
        ("LightofThe", ["Lightof", "The"]),
        ("TheLandGirls", ["The", "Land", "Girls"]),
        ("ThisIs", ["This", "Is"]),
        ("BigNIGHT", ["Big", "NIGHT"]),
        ("theGAME!", ["the", "GAME!"]),
        ('"KarateKid"', ['"Karate', 'Kid"']),
        ("ÉtéIndien", ["Été", "Indien"]),
        ("JULY14", ["JULY", "14"]),
        ("Apollo13:", ["Apollo", "13:"]),
        ("McCabeAndMrs", ["McCabe", "And", "Mrs"]),
        ("O'DonnellAnd", ["O'Donnell", "And"]),
        ("DeadMan", ["Dead", "Man"]),
    ],
)
def test_glued(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("Silvery", "MOON", "moon", "A", "1999", "don't", "Ann-Margret", "MR.RIGHT", "..."),
        *("McCabe", "MacDonald", "DeVito", "LaPaglia", "LeBlanc", "DiCaprio", "O'Donnell", "O’Toole", "(McBain)"),
        *(
            "DAnGErOUS",
            "ArMEdAnD",
            "DancE",
            "ExPLOSION",
            "DAViD",
            "WHaT",
            "pE",
            "SaWy",
            "IsIt",
        ),  # capitals strewn over a word
        *("U571", "PG13", "Terminator2", "3D", "20th", "MP3", "HAL9000B", "1984Film"),
        *("東京", ""),
    ],
)
def test_whole(text: str) -> None:
    word = Word(text=text, confidence=0.5, box=LEVEL, line=3)
    assert unglued(word) == (word,)


def test_parts_share_the_box_by_letters_and_keep_the_rest() -> None:
    by, the = unglued(Word(text="ByThe", confidence=0.7, box=LEVEL, line=4))
    assert (by.confidence, by.line, the.confidence, the.line) == (0.7, 4, 0.7, 4)
    assert by.box is not None
    assert the.box is not None
    for got, expected in zip(by.box, ((0.1, 0.2), (0.26, 0.2), (0.26, 0.3), (0.1, 0.3)), strict=True):
        assert got == pytest.approx(expected)
    assert the.box[0] == by.box[1]
    assert the.box[3] == by.box[2]
    assert the.box[1:3] == LEVEL[1:3]


def test_a_slanted_box_is_cut_along_its_edges() -> None:
    slanted = ((0.0, 0.4), (0.4, 0.0), (0.5, 0.1), (0.1, 0.5))
    half = slice_of(slanted, 0.5, 1.0)
    assert half[0] == pytest.approx((0.2, 0.2))
    assert half[3] == pytest.approx((0.3, 0.3))
    assert half[1:3] == slanted[1:3]


def test_no_box_stays_none() -> None:
    assert [word.box for word in unglued(Word(text="ByThe"))] == [None, None]


@given(st.text(alphabet="aAbBcCé'-09 M", max_size=20))
def test_nothing_is_lost(text: str) -> None:
    assert "".join(parts(text)) == text
    assert all(parts(text)) or not text


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 188), (320, 470)),  # 2.5 times
        ((300, 450), (480, 720)),
        ((480, 700), (480, 700)),
        ((736, 900), (736, 900)),
        ((1000, 1500), (736, 1104)),
        ((188, 128), (470, 320)),
    ],
)
def test_the_size_read_at(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    result = enlarged(image)
    assert result.size == expected
    assert (result is image) == (size == expected)


def test_strips_hold_no_words() -> None:
    assert [is_strip(Image.new("RGB", size)) for size in ((8, 320), (8, 321), (321, 8))] == [False, True, True]


def test_boxes_end_at_the_edges() -> None:
    assert box_of([(-5, 10), (250, 10), (100, 500), (0, 20)], (200, 100)) == ((0, 0.1), (1, 0.1), (0.5, 1), (0, 0.2))
