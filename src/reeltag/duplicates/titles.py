"""Titles of one name: the same film listed twice, or two films that share name and year."""

from __future__ import annotations

import numpy as np
import polars as pl

from reeltag.duplicates.config import DuplicateConfig, Pairs, Placeholder
from reeltag.duplicates.words import comparable

_COLUMNS = {"title": pl.String(), "year": pl.Int32(), "directors": pl.List(pl.String())}


def same_titles(frame: pl.DataFrame, config: DuplicateConfig) -> tuple[Pairs, Pairs, list[Placeholder]]:
    """Find titles of one name, written with or without accents, case and punctuation.

    Args:
        frame: Columns ``title``, ``year`` and ``directors``, any of which may be absent.
        config: ``year_tolerance`` and ``max_copies``.

    Returns:
        The pairs that share a director too and whose years differ by no more than the tolerance (or are unknown);
        the pairs of one known year without a known shared director; names on too many titles.
    """
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in _COLUMNS.items() if name not in frame.columns]
    titles = (
        frame.with_columns(absent)
        .select(
            row=pl.int_range(pl.len(), dtype=pl.Int64),
            title="title",
            name=comparable(pl.col("title")),
            year="year",
            director="directors",
        )
        .filter(pl.col("name").is_not_null())
    )
    titles = titles.filter(pl.len().over("name") > 1)
    credited = titles.explode("director").with_columns(director=comparable(pl.col("director"))).drop_nulls("director")
    by_director, crowded = _self_join(credited.unique(["row", "director"], maintain_order=True), "director", config)
    gap = (pl.col("year") - pl.col("year_right")).abs()
    films = by_director.filter((gap <= config.year_tolerance).fill_null(True)).unique(["row", "row_right"])
    by_year, more = _self_join(titles.drop_nulls("year"), "year", config)
    by_year = by_year.join(films, on=["row", "row_right"], how="anti")
    return _pairs(films), _pairs(by_year), crowded + more


def _self_join(titles: pl.DataFrame, key: str, config: DuplicateConfig) -> tuple[pl.DataFrame, list[Placeholder]]:
    counted = titles.with_columns(n=pl.len().over("name", key)).filter(pl.col("n") > 1)
    crowded = counted.filter(pl.col("n") > config.max_copies).unique(["name", key], maintain_order=True)
    placeholders = [
        Placeholder(field="title", example=title, n_titles=n) for title, n in crowded.select("title", "n").iter_rows()
    ]
    kept = counted.filter(pl.col("n") <= config.max_copies)
    joined = kept.join(kept, on=["name", key], suffix="_right").filter(pl.col("row") < pl.col("row_right"))
    if key == "year":
        return joined.select("row", "row_right"), placeholders
    return joined.select("row", "row_right", "year", "year_right"), placeholders


def _pairs(frame: pl.DataFrame) -> Pairs:
    left, right = frame["row"].to_numpy(), frame["row_right"].to_numpy()
    return Pairs.best(left, right, np.ones(len(frame), np.float32))
