"""Folds of films for cross-fitting that keep copies of a film together, quick for a hundred thousand films.

Unlike in ``reeltag.splits`` copies are told by title, year and directors alone, and labels do not steer the folds, so
that which films share one says nothing of their labels.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import Catalogue
from reeltag.errors import FeatureError


def copy_groups(catalogue: Catalogue) -> npt.NDArray[np.int64]:
    """Return a group number per film, (n_films,), the same for films of one title, year and set of directors.

    Case, and blanks around a title, do not matter; directors are compared by name. An unknown year equals an unknown
    year, nobody equals nobody, but a film without a title is a group of its own.
    """
    titles = [title.strip().casefold() for title in catalogue.texts("title")]
    years = catalogue.frame["year"].to_list() if catalogue.has("year") else [None] * len(catalogue)
    directors = [frozenset(name.casefold() for name in names) for names in catalogue.lists("directors")]
    numbers: dict[object, int] = {}
    films = enumerate(zip(titles, years, directors, strict=True))
    keys = (film if film[0] else row for row, film in films)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def deal_groups(groups: npt.NDArray[np.int64], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Give whole groups to folds at random, the largest first, each to the fold with the fewest films so far.

    Args:
        groups: Group number per film, from 0 on.
        folds: Number of folds.
        seed: Same seed, same folds.

    Returns:
        A fold per film, (n_films,); none is empty.

    Raises:
        FeatureError: There are fewer groups than folds.
    """
    sizes = np.bincount(groups)
    if len(sizes) < folds:
        raise FeatureError(
            f"{folds} folds need at least as many graph films that are not copies of each other; got {len(sizes)}"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    heap = [(0, fold) for fold in range(folds)]  # films so far, fold
    fold_of = np.empty(len(sizes), np.int64)
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        n_films, fold_of[group] = heap[0]
        heapq.heapreplace(heap, (n_films + size, heap[0][1]))
    return fold_of[groups]
