"""The lines of a UTF-8 text file, none of which enters memory whole when it is too long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reeltag.errors import Problem, shown

MAX_LINE_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024

Fault = tuple[str, str]  # (rule, value) of a line, until its row number is known


def lines(file: BinaryIO, faults: list[Fault]) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, without a byte order mark.

    A line that is not UTF-8 or too long is added to ``faults`` and yielded as a stand-in which opens and closes as many
    quotes as the line itself, so that a reader of CSV does not lose its place.
    """
    first = True
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            size, quotes = _skip_rest(file, line)
            faults.append((f"a line must be at most {MAX_LINE_BYTES:,} bytes", f"{size:,} bytes"))
            yield '"\n' if quotes % 2 else "\n"
        else:
            yield _decoded(line, "utf-8-sig" if first else "utf-8", faults)
        first = False


def drain(faults: list[Fault], path: Path, row: int) -> list[Problem]:
    """Turn the faults gathered while one row was read into problems of that row."""
    problems = [Problem(file=str(path), row=row, field=None, rule=rule, value=value) for rule, value in faults]
    faults.clear()
    return problems


def _skip_rest(file: BinaryIO, start: bytes) -> tuple[int, int]:
    """Read on to the end of a line; return its size and how many quotes it has."""
    size, quotes, piece = len(start), start.count(b'"'), start
    while not piece.endswith(b"\n") and (piece := file.readline(_READ_BYTES)):
        size += len(piece)
        quotes += piece.count(b'"')
    return size, quotes


def _decoded(line: bytes, encoding: str, faults: list[Fault]) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        value = shown(line[max(0, error.start - 10) : error.start + 10])
        faults.append(("must be UTF-8 text", value))
        return line.decode(encoding, errors="replace")
