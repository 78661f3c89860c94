"""Titles of one trailer: files of the same content. Only files of one size are read, which hardly any are."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from reeltag.catalogue import Catalogue
from reeltag.duplicates.config import DuplicateConfig, Pairs, Placeholder
from reeltag.progress import Progress


def same_trailers(
    catalogues: tuple[Catalogue, ...], config: DuplicateConfig, progress: Progress | None = None
) -> tuple[Pairs, list[Placeholder]]:
    """Find titles whose trailers are the same file or copies of it.

    Args:
        catalogues: Their titles are counted through.
        config: ``trailers`` and ``max_copies``.
        progress: Told how many files are done.

    Returns:
        The pairs, and trailers on too many titles. Files that cannot be read are left to whoever decodes them.
    """
    by_size: dict[int, dict[int, Path]] = defaultdict(dict)  # size -> row -> file
    first = 0
    for catalogue in catalogues if config.trailers else ():
        ids = catalogue.ids
        for row in np.flatnonzero(catalogue.trailers.present(ids)).tolist():
            path = catalogue.trailers.path(ids[row])
            if path is not None and (size := _size(path)):
                by_size[size][first + row] = path
        first += len(catalogue)
    left, right, placeholders = [], [], []
    doubtful = [files for files in by_size.values() if len(files) > 1]
    for number, files in enumerate(doubtful, 1):
        for rows in _copies(files).values():
            if len(rows) > config.max_copies:
                placeholders.append(Placeholder(field="trailer", example=f"row {rows[0]}", n_titles=len(rows)))
                continue
            for one, other in combinations(rows, 2):
                left.append(one)
                right.append(other)
        if progress is not None:
            progress("comparing trailers", number, len(doubtful))
    pairs = Pairs.best(np.array(left, np.int64), np.array(right, np.int64), np.ones(len(left), np.float32))
    return pairs, placeholders


def _copies(files: Mapping[int, Path]) -> dict[bytes, list[int]]:
    """Return the rows of every content; a file that several rows name is read once."""
    digests = {path: _digest(path) for path in set(files.values())}
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, path in files.items():
        if (digest := digests[path]) is not None:
            rows[digest].append(row)
    return rows


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None
