"""Pictures of what a poster said: geometry, colours, words, and what there is nothing to draw for."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from xml.etree import ElementTree

import pytest

from reeltag.explain_tokens import PatchEvidence, PosterEvidence, WordEvidence
from reeltag.poster_picture import picture_style, poster_pictures
from speaking import BOX, png

POSTER = "data:image/png;base64," + base64.b64encode(png(40, 60)).decode()
LABELS = ("Horror", "Drama & co")


def patch(*effects: float, box: tuple[float, float, float, float] = (0, 0, 1, 1), attention: float | None = None):  # type: ignore[no-untyped-def]
    return PatchEvidence(box=box, effects=dict(zip(LABELS, effects, strict=True)), attention=attention)


def word(text: str, *effects: float, box=BOX, attention: float | None = None) -> WordEvidence:  # type: ignore[no-untyped-def]
    told = dict(zip(LABELS, effects, strict=True))
    return WordEvidence(text=text, confidence=0.5, box=box, effects=told, attention=attention)


LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
EVIDENCE = PosterEvidence(
    patches={"grid": (patch(0.4, -0.1, box=LEFT), patch(-0.2, 0.0, box=RIGHT))},
    words=(word("BLOOD", 2.0, -1.0), word("<b>", -0.5, 0.0, box=None)),
)


def drawn(evidence: PosterEvidence = EVIDENCE, labels: Sequence[str] = LABELS, poster: str | None = POSTER) -> str:
    return str(poster_pictures(evidence, poster, labels, name="p"))


def figures(page: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(page).findall(".//figure")


def fills(figure: ElementTree.Element, tag: str) -> list[tuple[str | None, float]]:
    marks = [mark for mark in figure.iter(tag) if mark.get("class") != "halo"]
    return [(mark.get("class"), float(mark.get("fill-opacity", "nan"))) for mark in marks]


def test_one_picture_per_label_with_the_image_once() -> None:
    page = drawn()
    horror, drama = figures(page)
    assert [figure.findtext("figcaption") for figure in (horror, drama)] == list(LABELS)
    assert page.count(POSTER) == 1
    assert horror.find(".//image").get("id") == "p-image"  # type: ignore[union-attr]
    assert drama.find(".//use").get("href") == "#p-image"  # type: ignore[union-attr]
    assert "Attention" not in page


def test_marks_lie_where_they_should() -> None:
    figure = figures(drawn())[0]
    assert figure.find("svg").get("viewBox") == "0 0 100 150"  # type: ignore[union-attr]
    places = [tuple(rect.get(side) for side in ("x", "y", "width", "height")) for rect in figure.iter("rect")]
    assert places == [("0", "0", "50", "150"), ("50", "0", "50", "150")]
    halo, quad = figure.iter("polygon")  # the word without a place is not drawn
    assert halo.get("points") == quad.get("points") == "10,30 50,30 50,45 10,45"
    assert figure.find(".//path") is None


def test_colours_tell_the_sign_and_opacity_the_strength() -> None:
    horror, drama = figures(drawn())
    assert fills(horror, "rect") == [("for", 0.62), ("against", 0.31)]
    assert fills(drama, "rect") == [("against", 0.155), ("for", 0.0)]
    assert fills(horror, "polygon") == [("for word", 0.35)]
    assert fills(drama, "polygon") == [("against word", 0.175)]
    assert [rect.findtext("title") for rect in drama.iter("rect")] == ["-0.10", "+0.00"]


def test_words_are_chips_with_their_effects() -> None:
    page = drawn()
    chips = [chip for chip in figures(page)[0].iter("span") if "chip" in str(chip.get("class"))]
    assert [("".join(chip.itertext()), chip.get("class"), chip.get("style")) for chip in chips] == [
        ("BLOOD +2.00", "chip for", "--strength: 55%"),
        ("<b> -0.50", "chip against", "--strength: 14%"),
    ]
    assert chips[0].get("title") == "BLOOD +2.00, read with confidence 0.50"
    assert chips[1].get("title") == "<b> -0.50, read with confidence 0.50, without a place on the poster"
    assert "<b>&" not in page
    assert "&lt;b&gt; <b>" in page
    assert "1 word has no place on the poster" in page


def test_the_scale_is_the_strongest_of_the_title() -> None:
    scales = [scale for scale in ElementTree.fromstring(drawn()).iter("div") if scale.find("dt") is not None]
    assert ["".join(scale.itertext()) for scale in scales] == [
        "patches, log-odds-0.40  +0.40", "words, log-odds-2.00  +2.00"
    ]  # fmt: skip


def test_small_effects_have_three_decimals() -> None:
    page = drawn(PosterEvidence(patches={}, words=(word("a", 0.03, -0.0004), word("b", -0.012, 0.0))))
    assert re.findall(" <b>([^<]+)</b>", page) == ["+0.030", "-0.012", "+0.000", "+0.000"]
    assert "-0.030 <i" in page


def test_attention_is_a_picture_in_one_hue() -> None:
    marks = tuple(replace(p, attention=share) for p, share in zip(EVIDENCE.patches["grid"], (0.3, 0.15), strict=True))
    page = drawn(PosterEvidence(patches={"grid": marks}, words=(word("BLOOD", 1, 1, attention=0.02),)))
    last = figures(page)[-1]
    assert last.findtext("figcaption") == "Attention"
    assert fills(last, "rect") == [("attention", 0.62), ("attention", 0.31)]
    assert fills(last, "polygon") == [("attention word", 0.35)]
    assert "30.0 %" in page
    assert "BLOOD <b>2.0 %</b>" in page
    assert len(figures(page)) == 3


def test_encoders_are_kept_apart() -> None:
    page = drawn(replace(EVIDENCE, patches={"coarse": (patch(1, 1),), "<fine>": EVIDENCE.patches["grid"]}))
    captions = ["".join(figure.find("figcaption").itertext()) for figure in figures(page)]  # type: ignore[union-attr]
    assert captions == ["Horror coarse", "Horror <fine>", "Drama & co coarse", "Drama & co <fine>"]
    assert [len(list(figure.iter("rect"))) for figure in figures(page)] == [1, 2, 1, 2]
    assert page.count(POSTER) == 1


def test_what_the_encoder_does_not_see_is_pale() -> None:
    page = drawn(replace(EVIDENCE, patches={"square": (patch(1, 1, box=(0, 1 / 6, 1, 5 / 6)),)}))
    path = figures(page)[0].find(".//path")
    assert path is not None
    assert path.get("d") == "M0 0H100V150H0ZM0 25V125H100V25Z"
    assert "Pale: not seen by the encoder" in page
    assert "Pale" not in drawn()


def test_at_most_four_labels_and_twelve_words() -> None:
    many = [f"label {number}" for number in range(6)]
    words = tuple(
        WordEvidence(text=f"w{n}", confidence=None, box=BOX, effects=dict.fromkeys(many, n / 10)) for n in range(20)
    )
    page = drawn(PosterEvidence(patches={}, words=words, n_unread=1), many)
    assert [figure.findtext("figcaption") for figure in figures(page)] == many[:4]
    chips = re.findall(r">(w\d+) <b>", page)
    assert chips == [f"w{n}" for n in range(8, 20)] * 4  # the strongest, in reading order
    assert len(list(figures(page)[0].iter("polygon"))) == 2 * 20
    assert "the 12 strongest words of 20" in page
    assert "1 more word was found, beyond what the model reads" in page


def test_long_words_are_cut_and_told_in_full() -> None:
    page = drawn(replace(EVIDENCE, words=(word("x" * 300, 1, 1),)))
    assert f"{'x' * 19}… <b>" in page
    assert f'title="{"x" * 300} +1.00' in page


@pytest.mark.parametrize(
    "text", ["</title><script>alert(1)</script>", '"><img src=x>', "a & b", "七人の侍", "\x00\x0b"]
)
def test_words_cannot_break_the_page(text: str) -> None:
    page = drawn(replace(EVIDENCE, words=(word(text, 1, 1),)))
    assert "<script" not in page
    assert "<img" not in page
    assert escape(text[:19], quote=False).replace('"', "&#34;") in page


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("no text found", "<p>Words on the poster: no text found.</p>"),
        ("not read", "<p>Words on the poster: not read.</p>"),
    ],
)
def test_without_words(reason: str, sentence: str) -> None:
    page = drawn(replace(EVIDENCE, words=(), words_absent=reason))
    assert sentence in page
    assert len(figures(page)) == 2
    assert "chip" not in page
    assert "words, log-odds" not in page


@pytest.mark.parametrize("reason", ["no poster", "the poster cannot be read"])
def test_without_a_poster(reason: str) -> None:
    page = drawn(PosterEvidence(patches={}, words_absent=reason), poster=None)
    assert f"<p>Nothing to look at: {reason}.</p>" in page
    assert figures(page) == []


@pytest.mark.parametrize("poster", [None, "data:image/png;base64,AAAA"])
def test_a_poster_that_cannot_be_shown(poster: str | None) -> None:
    page = drawn(poster=poster)
    assert "The poster cannot be shown." in page
    assert figures(page) == []


def test_effects_of_nothing_are_drawn_without_colour() -> None:
    page = drawn(PosterEvidence(patches={"grid": (patch(0, 0),)}, words=(word("a", 0, 0),)))
    assert fills(figures(page)[0], "rect") == [("for", 0.0)]
    assert "log-odds</dt>" not in page


def test_style_loads_nothing_and_closes_nothing() -> None:
    style = str(picture_style())
    assert not {"url(", "@import", "<"} & {found for found in ("url(", "@import", "<") if found in style}
    classes = set(re.findall(r'class="([^"]+)"', drawn())) - {"note"}
    for name in {part for value in classes for part in value.split()}:
        assert f".{name}" in style, name
