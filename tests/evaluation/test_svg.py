from __future__ import annotations

import warnings
from xml.etree import ElementTree

import pytest

from reeltag.evaluation.svg import new_figure, short_name, style, to_svg


def chart(text: str, name: str = "chart", **words: str) -> str:
    with style():
        figure = new_figure(1.0, width_in=2.0)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.plot([0, 1], [0, 1], marker="o")
        axes.text(0.5, 0.5, text, parse_math=False)
        return to_svg(figure, name=name, **{"title": "T", "description": "D", **words})


def test_ids_carry_the_name_of_the_chart() -> None:
    first, second = (
        {element.get("id") for element in ElementTree.fromstring(chart("x", name)).iter() if element.get("id")}
        for name in ("one", "two")
    )
    assert first and second
    assert not first & second
    assert all(str(identifier).startswith("one-") for identifier in first)


def test_references_lead_to_ids() -> None:
    text = chart("x")
    identifiers = {element.get("id") for element in ElementTree.fromstring(text).iter()}
    targets = [part.split(")")[0] for part in text.split("url(#")[1:]]
    targets += [part.split('"')[0] for part in text.split('href="#')[1:]]
    assert targets
    assert set(targets) <= identifiers


def test_words_are_escaped() -> None:
    text = chart("x", title='a < b & "c"', description="<script>")
    assert '<title id="chart-title">a &lt; b &amp; &quot;c&quot;</title>' in text
    assert "<script>" not in text


def test_nothing_but_the_element_is_returned() -> None:
    text = chart("x")
    assert text.startswith("<svg ")
    assert text.endswith("</svg>")
    assert "<metadata" not in text
    assert "<!DOCTYPE" not in text


def test_natural_width_is_in_pixels() -> None:
    assert 'style="--natural: 240px"' in chart("x")


@pytest.mark.parametrize(("text", "is_text"), [("Amélie Żółw", False), ("千と千尋", True), ("🎬", True)])
def test_characters_that_the_font_lacks_stay_text_without_a_warning(text: str, is_text: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (text in chart(text)) is is_text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Drama", "Drama"),
        ("  two\n words\t", "two words"),
        ("a\x00b\u202ec", "a b c"),
        ("x" * 30, "x" * 30),
        ("x" * 31, "x" * 29 + "…"),
    ],
)
def test_short_name(name: str, expected: str) -> None:
    assert short_name(name) == expected
