"""Spaces made by hand for tests of maps, and what a written page holds, read independently of what wrote it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.retrieval import Space
from reeltag.retrieval.space import COLUMNS

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!-- <script> ]]> -->",
    "\"quotes\" and 'apostrophes' & ampersands &lt;b&gt; \\",
    "ליל הזומבים",
    "\u202eright to left override",
    "🎬 Amélie — Le Fabuleux Destin 👩‍👩‍👧",
    "line\u2028separator\u2029and\nnewline\ttab\x00nul",
    "{{ 7 * 7 }} {% raw %} ${1+1} `",
)


def space(
    titles: Sequence[str] = ("One", "Two", "Three"),
    *,
    years: Sequence[int | None] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
    words: Sequence[Sequence[str]] | None = None,
    vectors: npt.NDArray[Any] | None = None,
    label_field: str = "genres",
    source: str = "films.csv",
) -> Space:
    """Return titles with ids t0, t1, …; whatever is not given is made up."""
    n = len(titles)
    random = np.random.default_rng(0)
    rows = random.normal(size=(n, 6)) if vectors is None else np.asarray(vectors, np.float64)
    frame = pl.DataFrame(
        {
            "id": [f"t{row}" for row in range(n)],
            "title": list(titles),
            "year": list(years) if years is not None else [1950 + row % 70 for row in range(n)],
            "labels": [list(own) for own in labels] if labels is not None else [["Drama"]] * n,
            "known": [row % 2 == 0 for row in range(n)],
            "words": [list(own) for own in words] if words is not None else [["sea", "ship"]] * n,
            "plot": [""] * n,
        },
        schema=COLUMNS,
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return Space(
        ids=tuple(frame["id"]),
        vectors=(rows / np.where(lengths > 0, lengths, 1)).astype(np.float32),
        titles=frame,
        label_field=label_field,
        source=source,
    )


def positions(n: int) -> npt.NDArray[np.float32]:
    """Return places at random."""
    return np.random.default_rng(1).normal(0, 20, (n, 2)).astype(np.float32)


def data_of(page: Path) -> Any:
    """Return the JSON of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def numbers(packed: dict[str, str]) -> list[int]:
    """Return the numbers of a packed column."""
    raw = base64.b64decode(packed["bytes"])
    width = int(packed["kind"][1])
    return [int.from_bytes(raw[at : at + width], "little") for at in range(0, len(raw), width)]


def lists(column: dict[str, Any]) -> list[list[Any]]:
    """Return the lists of a packed column, as names where it has some."""
    values, out, at = numbers(column["of"]), [], 0
    for count in numbers(column["counts"]):
        own = values[at : at + count]
        out.append([column["names"][value] for value in own] if "names" in column else own)
        at += count
    assert at == len(values)
    return out
