"""Plots in the words of the tiny encoders, whose genres they tell, in every split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from reeltag.catalogue import Catalogue

Row = dict[str, Any]

WORDS = {"Romance": ["love", "paris"], "War": ["war", "rain"], "Thriller": ["killer", "robot"]}
NOISE = ["a", "the", "film", "of", "meets"]
SPLITS = ("train",) * 6 + ("validation",) * 2 + ("test",) + ("background",)
SCHEMA: dict[str, Any] = {
    "id": pl.String, "plot": pl.String, "genres": pl.List(pl.String), "tags": pl.List(pl.String), "split": pl.String,
}  # fmt: skip


def plot_rows(n: int = 60) -> list[Row]:
    """Return titles of all splits in turn; every fifth has two genres."""
    random = np.random.default_rng(0)
    found = []
    for number in range(n):
        genres = list(WORDS)[number % 3 :][:1] + (["War"] if number % 5 == 0 and number % 3 != 1 else [])
        pool = [word for genre in genres for word in WORDS[genre]]
        words = [*random.choice(pool, 4), *random.choice(NOISE, 4)]
        random.shuffle(words)
        found.append(
            {
                "id": f"{SPLITS[number // 3 % 10]}{number:02}",
                "plot": " ".join(words),
                "genres": genres,
                "tags": ["loud"] if "War" in genres else ["quiet", "slow"][: 1 + number % 2],
                "split": SPLITS[number // 3 % 10],
            }
        )
    return found


def plots(of: Iterable[Row] | None = None) -> Catalogue:
    """Return rows as a catalogue."""
    chosen = [{name: row.get(name) for name in SCHEMA} for row in (plot_rows() if of is None else of)]
    return Catalogue.from_frame(pl.DataFrame(chosen, schema=SCHEMA), source="plots.jsonl")
