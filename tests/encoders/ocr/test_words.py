"""Words and the text of a poster: joined, told apart again, written and read, kept by confidence."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.encoders.ocr.tables import rows_of, surer_than, write_words
from reeltag.encoders.ocr.words import PosterText, Refusal, Word, text_of, words_of
from reeltag.errors import ConfigError

BOX = ((0.1, 0.2), (0.3, 0.2), (0.3, 0.25), (0.1, 0.25))
TEXT = PosterText(
    words=(
        Word(text="THE", confidence=0.9, box=BOX, line=0),
        Word(text="EMPEROR", confidence=0.4, box=BOX, line=0),
        Word(text="1987", line=2),
    )
)
share = st.floats(0, 1)
words = st.builds(
    Word,
    text=st.text(min_size=1),
    confidence=st.none() | share,
    box=st.none() | st.tuples(*[st.tuples(share, share)] * 4),
    line=st.integers(0, 99),
)


def test_no_words() -> None:
    nothing = PosterText()
    assert (nothing.text, nothing.lines, nothing.spans(), nothing.to_json()) == ("", (), (), [])
    assert words_of(nothing.to_bytes()) == nothing
    assert nothing.to_bytes() == b"[]"  # not the empty bytes, which are those of a poster that cannot be read


def test_text_and_lines() -> None:
    assert TEXT.text == "THE EMPEROR 1987"
    assert TEXT.lines == ("THE EMPEROR", "1987")


def test_spans_find_the_words() -> None:
    assert [TEXT.text[start:end] for start, end in TEXT.spans()] == ["THE", "EMPEROR", "1987"]


def test_json() -> None:
    first = json.loads(json.dumps(TEXT.to_json()))[0]
    assert first == {"text": "THE", "confidence": 0.9, "box": [list(corner) for corner in BOX], "line": 0}


@given(st.lists(words))
def test_bytes_and_back(many: list[Word]) -> None:
    text = PosterText(words=tuple(many))
    assert words_of(text.to_bytes()) == text
    assert text_of(text.to_bytes()) == text.text


@pytest.mark.parametrize("reason", ["", "no [words], \u201cnever\u201d", "\ud800"])
def test_a_refusal_is_told_from_words(reason: str) -> None:
    refusal = Refusal(reason=reason)
    assert words_of(refusal.to_bytes()) == text_of(refusal.to_bytes()) == refusal


def test_a_lone_surrogate_survives() -> None:
    text = PosterText(words=(Word(text="\ud800"),))
    assert words_of(text.to_bytes()) == text


def test_surer_than_keeps_what_has_no_confidence() -> None:
    assert [word.text for word in surer_than(TEXT, 0.5).words] == ["THE", "1987"]
    assert surer_than(TEXT, 0.0) == TEXT
    assert [word.text for word in surer_than(TEXT, 0.4).words] == ["THE", "EMPEROR", "1987"]
    with pytest.raises(ConfigError, match=r"surer_than.confidence must be between 0 and 1; got 1.5"):
        surer_than(TEXT, 1.5)


def test_rows_tell_no_text_from_unreadable() -> None:
    rows = rows_of(["a", "b", "c"], [TEXT, PosterText(), None])
    assert [row["text"] for row in rows] == ["THE EMPEROR 1987", "", None]
    assert [row["words"] if not row["words"] else len(row["words"]) for row in rows] == [3, [], None]


def test_files_hold_the_rows(tmp_path: Path) -> None:
    rows = rows_of(["a", "b", "é"], [TEXT, PosterText(), None])
    write_words(tmp_path / "deep" / "w.jsonl", rows)
    lines = (tmp_path / "deep" / "w.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(rows))
    write_words(tmp_path / "w.parquet", rows)
    assert pl.read_parquet(tmp_path / "w.parquet").to_dicts() == json.loads(json.dumps(rows))
    write_words(tmp_path / "w.parquet", [])
    assert pl.read_parquet(tmp_path / "w.parquet").columns == ["id", "text", "words"]


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"w\.csv: the words of posters are written as \.jsonl, \.parquet; got"):
        write_words(tmp_path / "w.csv", [])
    assert list(tmp_path.iterdir()) == []
