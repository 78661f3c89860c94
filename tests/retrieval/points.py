"""Spaces made by hand: points around chosen directions, with words that tell them apart or do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.retrieval.space import COLUMNS, Space, unit_rows

GROUPS = {
    "gothic": ("vampire", "castle", "bat"),
    "slasher": ("knife", "mask", "campsite"),
    "alien": ("spaceship", "planet", "egg"),
}
COMMON = ("night", "scream", "blood", "fear", "house", "dark")


def space_of(
    vectors: npt.NDArray[Any],
    *,
    labels: list[list[str]] | None = None,
    words: list[list[str]] | None = None,
    plots: list[str] | None = None,
    years: list[int | None] | None = None,
    ids: list[str] | None = None,
    known: list[bool] | None = None,
    **more: Any,
) -> Space:
    n = len(vectors)
    ids = ids or [f"t{row:04}" for row in range(n)]
    titles = {
        "id": ids,
        "title": [f"Film {title_id}" for title_id in ids],
        "year": years or [None] * n,
        "labels": labels or [["Horror"]] * n,
        "known": known or [True] * n,
        "words": words or [[]] * n,
        "plot": plots or [""] * n,
    }
    return Space(
        ids=tuple(ids),
        vectors=unit_rows(np.asarray(vectors, np.float32)),
        titles=pl.DataFrame(titles, schema=COLUMNS),
        **({"label_field": "genres", "source": "points"} | more),
    )


def clustered(
    n: int = 300, dim: int = 12, *, spread: float = 0.12, seed: int = 0
) -> tuple[Space, npt.NDArray[np.int64]]:
    """Return titles of one genre in three groups, each with words of its own, and the group of every title."""
    random = np.random.default_rng(seed)
    groups = np.arange(n) % len(GROUPS)
    centres = np.linalg.qr(np.random.default_rng(99).normal(size=(dim, dim)))[0][: len(GROUPS)]
    vectors = 0.7 * centres.sum(axis=0) + centres[groups] + spread * random.normal(size=(n, dim))
    own = list(GROUPS.values())
    words = [
        [*random.choice(own[group], 2, replace=False), *random.choice(COMMON, 3, replace=False)] for group in groups
    ]
    return space_of(vectors, words=[list(map(str, told)) for told in words]), groups


def shapeless(n: int = 300, dim: int = 12, *, seed: int = 0) -> Space:
    """Return titles of one genre in no groups, with words that fall on all alike."""
    random = np.random.default_rng(seed)
    every = [word for group in GROUPS.values() for word in group] + list(COMMON)
    words = [list(map(str, random.choice(every, 4, replace=False))) for _ in range(n)]
    return space_of(random.normal(size=(n, dim)), words=words)
