"""What is read off a poster: words, each with its place and how sure the engine is of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

Point: TypeAlias = tuple[float, float]  # shares of the poster's width and height, from the left and the top
Box: TypeAlias = tuple[Point, Point, Point, Point]  # corners in reading order of the word: two above, two below


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word.

    Attributes:
        text: As read, without blanks around it.
        confidence: How sure the engine is, in [0, 1]; None where it does not say.
        box: Its corners, clockwise from where the word begins; None where the engine does not say.
        line: Number of its line on the poster, from 0.
    """

    text: str
    confidence: float | None = None
    box: Box | None = None
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What an engine returns for a poster that it cannot read, though it can read others.

    Attributes:
        reason: In one line.
    """

    reason: str

    def to_bytes(self) -> bytes:
        """Return it as JSON, for the cache."""
        return json.dumps(self.reason, ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class PosterText:
    """The words of one poster in reading order; none when the engine found no text."""

    words: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """The words joined by blanks; "" when there are none."""
        return " ".join(word.text for word in self.words)

    @property
    def lines(self) -> tuple[str, ...]:
        """The words joined by blanks, line by line."""
        by_line: dict[int, list[str]] = {}
        for word in self.words:
            by_line.setdefault(word.line, []).append(word.text)
        return tuple(" ".join(texts) for texts in by_line.values())

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return where each word begins and ends in ``text``."""
        found, start = [], 0
        for word in self.words:
            found.append((start, start + len(word.text)))
            start += len(word.text) + 1
        return tuple(found)

    def to_json(self) -> list[dict[str, Any]]:
        """Return one object per word."""
        return [
            {"text": word.text, "confidence": word.confidence, "box": word.box, "line": word.line}
            for word in self.words
        ]  # fmt: skip

    def to_bytes(self) -> bytes:
        """Return the words as compact JSON, for the cache."""
        rows = [[word.text, word.confidence, word.box, word.line] for word in self.words]
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def text_of(content: bytes) -> str | Refusal:
    """Return the words joined by blanks, of what ``to_bytes`` of a text returned, or the refusal."""
    rows = _rows(content)
    return rows if isinstance(rows, Refusal) else " ".join(row[0] for row in rows)


def words_of(content: bytes) -> PosterText | Refusal:
    """Return the words, of what ``to_bytes`` of a text returned, or the refusal."""
    rows = _rows(content)
    if isinstance(rows, Refusal):
        return rows
    return PosterText(words=tuple(Word(text=t, confidence=c, box=_box(b), line=line) for t, c, b, line in rows))


def _rows(content: bytes) -> list[list[Any]] | Refusal:
    told = json.loads(content.decode("utf-8", "surrogatepass"))
    return Refusal(reason=told) if isinstance(told, str) else list(told)


def _box(corners: list[list[float]] | None) -> Box | None:
    if corners is None:
        return None
    first, second, third, fourth = ((float(x), float(y)) for x, y in corners)
    return first, second, third, fourth
