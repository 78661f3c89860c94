"""Near-same titles: one film listed twice, plots copied from one another, posters of a box set, one trailer for two.

They are what leaks between the splits of a catalogue, so splits keep them together and the audit counts them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from reeltag.catalogue import Catalogue
from reeltag.duplicates.config import (
    GROUPING_KINDS,
    KINDS,
    DuplicateConfig,
    Duplicates,
    Kind,
    Pairs,
    Placeholder,
)
from reeltag.duplicates.plots import TEXT_FIELDS, near_same_plots
from reeltag.duplicates.posters import PosterHashes, hash_posters, near_same_posters
from reeltag.duplicates.titles import same_titles
from reeltag.duplicates.trailers import same_trailers
from reeltag.progress import Progress

__all__ = [
    "GROUPING_KINDS",
    "KINDS",
    "DuplicateConfig",
    "Duplicates",
    "Kind",
    "Pairs",
    "Placeholder",
    "PosterHashes",
    "find_duplicates",
    "hash_posters",
    "near_same_plots",
    "near_same_posters",
    "same_titles",
    "same_trailers",
]


def find_duplicates(
    *catalogues: Catalogue, config: DuplicateConfig | None = None, progress: Progress | None = None
) -> Duplicates:
    """Find the near-same titles of one catalogue, or within and between several.

    Args:
        catalogues: Their titles are counted through: the first row of the second catalogue follows the last of the
            first.
        config: When two titles are near-same.
        progress: Called with what is being done, how many items are done and how many there are.

    Returns:
        Pairs of every kind; empty where a field is absent.

    Raises:
        MissingExtraError: There are posters to compare, and imagehash is not installed.
    """
    config = config or DuplicateConfig()
    columns = ("id", "title", "year", "directors", *TEXT_FIELDS)
    frames = [catalogue.frame.select(c for c in columns if catalogue.has(c)) for catalogue in catalogues]
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame(schema={"id": pl.String})
    films, titles, placeholders = same_titles(frame, config)
    plots, quotes, copied_texts, n_short = near_same_plots(frame, config, progress)
    hashes = _all_hashes(catalogues, config, progress)
    posters, copied_posters = near_same_posters(hashes, config, progress)
    trailers, copied_trailers = same_trailers(catalogues, config, progress)
    return Duplicates(
        n_titles=len(frame),
        pairs={
            "same_id": _same_ids(frame),
            "same_film": films,
            "same_title": titles,
            "same_plot": plots,
            "quoted_plot": quotes,
            "same_poster": posters,
            "same_trailer": trailers,
        },
        placeholders=(*placeholders, *copied_texts, *copied_posters, *copied_trailers),
        n_posters=len(hashes.row),
        n_broken_posters=hashes.n_broken,
        n_plain_posters=hashes.n_plain,
        n_short_texts=n_short,
    )


def _same_ids(frame: pl.DataFrame) -> Pairs:
    """Pair the rows of one id, which is unique within a catalogue but not between two."""
    ids = frame.select("id", row=pl.int_range(pl.len(), dtype=pl.Int64)).filter(pl.len().over("id") > 1)
    pairs = ids.join(ids, on="id").filter(pl.col("row") < pl.col("row_right"))
    left, right = pairs["row"].to_numpy(), pairs["row_right"].to_numpy()
    return Pairs.best(left, right, np.ones(len(pairs), np.float32))


def _all_hashes(catalogues: tuple[Catalogue, ...], config: DuplicateConfig, progress: Progress | None) -> PosterHashes:
    rows, bits, n_broken, n_plain, first = [np.zeros(0, np.int64)], [np.zeros((0, 32), np.uint8)], 0, 0, 0
    for catalogue in catalogues if config.posters else ():
        hashes = hash_posters(catalogue, config, progress)
        rows.append(hashes.row + first)
        bits.append(hashes.bits)
        n_broken += hashes.n_broken
        n_plain += hashes.n_plain
        first += len(catalogue)
    return PosterHashes(row=np.concatenate(rows), bits=np.concatenate(bits), n_broken=n_broken, n_plain=n_plain)
