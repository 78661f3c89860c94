"""Looks at posters in the report: the page, the JSON, and what a look may hold."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import pytest

from reeltag.errors import EvaluationError
from reeltag.evaluation import Look, Report, read_report, report_to_html, write_report
from reeltag.explain_tokens import PatchEvidence, PosterEvidence, WordEvidence
from speaking import BOX, png

from .samples import evaluation

POSTER = "data:image/png;base64," + base64.b64encode(png()).decode()


def look(label: str = "Horror", **changes: object) -> Look:
    effects = {"Horror": 0.5, "Drama": -0.25}
    evidence = PosterEvidence(
        patches={"grid": (PatchEvidence(box=(0.0, 0.0, 1.0, 1.0), effects=effects, attention=0.5),)},
        words=(WordEvidence(text="<i>BLOOD", confidence=None, box=BOX, effects=effects),),
    )
    whole = Look(
        film_id="tt1", title="A & B", year=1999, poster=POSTER, true_labels=("Horror",), label=label, probability=0.875,
        shown=(label,) if label == "Horror" else (label, "Horror"), evidence=evidence,
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def report(*looks: Look) -> Report:
    return Report(title="R", metadata={}, evaluation=evaluation(30, 3), looks=looks)


def test_a_label_that_is_true_is_right() -> None:
    assert look().right
    assert not look("Drama").right


def test_page_shows_every_look() -> None:
    page = report_to_html(report(look(), look("Drama", film_id="tt2", year=None)))
    section = page[page.index('id="looks"') : page.index('id="definitions"')]
    assert re.findall(r'class="tag (right|wrong)">([^<]+)<', section) == [
        ("right", "Horror 0.88"),
        ("wrong", "Drama 0.88"),
    ]
    assert re.findall("<figcaption>([^<]+)<", section) == ["Horror", "Attention", "Drama", "Horror", "Attention"]
    assert "A &amp; B <span>(1999) tt1" in section
    assert "&lt;i&gt;BLOOD" in section
    assert "<i>BLOOD" not in section
    assert section.count(POSTER) == 2
    assert re.findall(r'id="(look-\d+-image)"', section) == ["look-0-image", "look-1-image"]
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", section)
    assert ".poster-evidence" in page


def test_page_without_looks_has_no_such_section() -> None:
    page = report_to_html(report())
    assert 'id="looks"' not in page
    assert "poster-evidence" not in page


def test_a_poster_that_cannot_be_shown_is_said_to_be_so() -> None:
    page = report_to_html(report(look(poster=None)))
    assert "The poster cannot be shown." in page
    assert "<figure" not in page


def test_looks_go_through_json(tmp_path: Path) -> None:
    whole = report(look(), look("Drama", year=None, poster=None))
    write_report(tmp_path, whole)
    assert read_report(tmp_path) == whole


def test_a_report_written_before_there_were_looks_is_read(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    path = tmp_path / "report.json"
    text = path.read_text(encoding="utf-8")
    assert '"looks": [],' in text
    path.write_text(text.replace('"looks": [],', ""), encoding="utf-8")
    assert read_report(tmp_path) == report()


def test_poster_is_no_link() -> None:
    with pytest.raises(EvaluationError, match=r"Look\.poster must be a data URI 'data:image/…'; got 'https://"):
        look(poster="https://example.org/a.jpg")
