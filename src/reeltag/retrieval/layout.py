"""Where titles go on a map: t-SNE of their vectors, by openTSNE, the same again for the same seed.

A map made after an update starts from the earlier one, so that people find their films where they were: titles kept
begin at their places, new ones amid their neighbours, and the whole is turned back onto the earlier map at the end.

Reference: P. G. Poličar, M. Stražar, B. Zupan: "openTSNE: A Modular Python Library for t-SNE Dimensionality Reduction
and Embedding" (2024); the start by principal components, against a random one, is that of D. Kobak and P. Berens: "The
art of using t-SNE for single-cell transcriptomics" (2019).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.config import check_range
from reeltag.errors import FeatureError, MissingExtraError
from reeltag.progress import Progress, silent
from reeltag.retrieval.index import TitleIndex

Matrix = npt.NDArray[np.float32]
Positions = npt.NDArray[np.floating[Any]]

_FEW = 5  # fewer titles than this go by their principal components
_EXACT = 500  # up to here every pair of titles repels each other; beyond, groups far away count as one
_EARLY, _EXAGGERATION = 250, 12.0
_STEPS, _STEPS_FROM_START = 500, 200
_STEPS_REPORTED = 10
_SMALL = 1e-4  # spread at the start of a layout from scratch
_PLACED_BY = 5  # nearest titles whose places give one to a title without
_NOISE = 1e-3  # length of what is added to vectors
_ONE_THREAD = 2_000
_BLOCK = 512  # titles whose similarities to all others are held at once
_ROOM = 0.02  # what a title placed by others is moved aside, as a share of the spread of the map


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Settings of a layout.

    Attributes:
        seed: Of all that is drawn at random.
        perplexity: About how many neighbours a title is held by; less for fewer than three times as many titles.
        largest: Titles laid out at most; of more, this many are drawn evenly and the rest placed amid their nearest.
    """

    seed: int = 0
    perplexity: float = 30.0
    largest: int = 50_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("LayoutConfig", "seed", self.seed, 0, 2**32 - 1)
        check_range("LayoutConfig", "perplexity", self.perplexity, 1, 1000)
        check_range("LayoutConfig", "largest", self.largest, _FEW, 10_000_000)


def layout(
    vectors: Matrix,
    config: LayoutConfig | None = None,
    *,
    start: Positions | None = None,
    progress: Progress = silent,
) -> Matrix:
    """Lay titles out on a plane so that like ones are near each other.

    Args:
        vectors: One row per title, (n_titles, dim); compared by the cosine of their angle.
        config: Settings; the defaults when None.
        start: Places on an earlier map, (n_titles, 2); NaN for titles that were not on it. Where they are at least
            half of the titles, the layout goes on from there; where they are fewer it is made from scratch, the
            earlier places being where it begins.
        progress: Called with "neighbours", "layout" or "placing" and how far that is. What it raises ends the work.

    Returns:
        Places, (n_titles, 2), in units of t-SNE: neighbours are some tenths apart.

    Raises:
        FeatureError: The vectors are no finite matrix, or ``start`` has another shape.
        MissingExtraError: openTSNE is not installed.
    """
    chosen = config or LayoutConfig()
    random = np.random.default_rng(chosen.seed)
    rows = _told_apart(_unit_rows(vectors), random)
    n = len(rows)
    known = np.full((n, 2), np.nan) if start is None else np.array(start, np.float64)
    if known.shape != (n, 2):
        raise FeatureError(f"start must have the shape ({n}, 2); got {known.shape}")
    if n <= chosen.largest:
        return _laid_out(rows, known, chosen, random, progress).astype(np.float32)
    drawn = np.sort(random.choice(n, chosen.largest, replace=False))
    places = np.empty((n, 2))
    places[drawn] = _laid_out(rows[drawn], known[drawn], chosen, random, progress)
    rest = np.setdiff1d(np.arange(n), drawn)
    near = _nearest(
        rows[rest], rows[drawn], min(_PLACED_BY, len(drawn)), lambda done: progress("placing", done, len(rest))
    )[0]
    places[rest] = _amid(places[drawn], near, random)
    return places.astype(np.float32)


def _laid_out(
    rows: Matrix, start: Positions, config: LayoutConfig, random: np.random.Generator, progress: Progress
) -> Positions:
    """Return the places of titles that are few enough to be laid out together, (n, 2)."""
    n = len(rows)
    kept = np.asarray(np.isfinite(start).all(axis=1), np.bool_)
    if n < _FEW:
        return _aligned(_by_components(rows), start, kept)
    count = min(n - 1, int(3 * config.perplexity))
    near, similarity = _nearest(rows, rows, count, lambda done: progress("neighbours", done, n), itself=True)
    goes_on = bool(2 * kept.sum() >= n)
    if kept.any():
        begin = _with_new(start, kept, near, random)
        if not goes_on:
            begin = _spread(begin - begin.mean(axis=0), _SMALL)
    else:
        begin = _spread(_components(rows, config.seed), _SMALL) + random.normal(0, _SMALL / 100, (n, 2))
    distance = np.sqrt(np.maximum(2 - 2 * similarity.astype(np.float64), 0))
    stages = [(_STEPS_FROM_START, 1.0)] if goes_on else [(_EARLY, _EXAGGERATION), (_STEPS, 1.0)]
    places = _optimised(begin, near, distance, min(config.perplexity, count / 3), stages, progress)
    return _aligned(places, start, kept)


def _optimised(
    begin: Positions,
    near: npt.NDArray[np.int64],
    distance: Positions,
    perplexity: float,
    stages: list[tuple[int, float]],
    progress: Progress,
) -> Positions:
    """Move titles by gradient descent on the divergence of t-SNE.

    Args:
        begin: Where they begin, (n, 2).
        near: Row numbers of the nearest titles of each, (n, k).
        distance: How far those are, (n, k).
        perplexity: At most k / 3.
        stages: Steps and by how much attraction is exaggerated, one stage after the other.
        progress: Called with "layout".
    """
    try:
        from openTSNE import TSNEEmbedding
        from openTSNE.affinity import PerplexityBasedNN
        from openTSNE.nearest_neighbors import PrecomputedNeighbors
    except ImportError:
        raise MissingExtraError("openTSNE", "retrieval", "the map of a catalogue") from None
    n, threads = len(begin), _threads(len(begin))
    total, before = sum(steps for steps, _ in stages), 0
    index = PrecomputedNeighbors(near, distance)
    affinities = PerplexityBasedNN(knn_index=index, perplexity=max(perplexity, 1.0), n_jobs=threads)
    embedding: Any = TSNEEmbedding(
        np.ascontiguousarray(begin),
        affinities,
        theta=0.0 if n <= _EXACT else 0.5,
        negative_gradient_method="bh" if n < 10_000 else "fft",
        n_jobs=threads,
        callbacks_every_iters=_STEPS_REPORTED,
    )
    for steps, exaggeration in stages:

        def report(step: int, *_: object, before: int = before) -> None:
            progress("layout", before + step, total)

        embedding = embedding.optimize(steps, exaggeration=exaggeration, callbacks=report, inplace=True)
        before += steps
    return np.array(embedding, np.float64)


def _nearest(
    rows: Matrix, others: Matrix, count: int, report: Callable[[int], None], *, itself: bool = False
) -> tuple[npt.NDArray[np.int64], Matrix]:
    """Return the row numbers and cosines of the nearest ``count`` others of each row, nearest first, (n, count).

    Args:
        rows: Of length 1 or 0, (n, dim).
        others: The same, (m, dim).
        count: At most m; with ``itself``, less than m.
        report: Called with how many rows are done.
        itself: Whether the rows are the others, and none counts as its own neighbour.
    """
    index = TitleIndex().build([str(row) for row in range(len(others))], others)
    near = np.empty((len(rows), count), np.int64)
    similarity = np.empty((len(rows), count), np.float32)
    for first in range(0, len(rows), _BLOCK):
        part = slice(first, min(first + _BLOCK, len(rows)))
        found = index.search(rows[part], count, own=np.arange(part.start, part.stop) if itself else None)
        near[part], similarity[part] = found.rows, found.similarities
        report(part.stop)
    return near, similarity


def _with_new(
    start: Positions, kept: npt.NDArray[np.bool_], near: npt.NDArray[np.int64], random: np.random.Generator
) -> Positions:
    """Return the earlier places, and for new titles one amid the nearest that have a place, (n, 2)."""
    begin = np.where(kept[:, None], start, start[kept].mean(axis=0))
    for row in np.flatnonzero(~kept):
        placed = near[row][kept[near[row]]][:_PLACED_BY]
        if len(placed):
            begin[row] = np.median(start[placed], axis=0)
    spread = float(start[kept].std()) or 1.0
    begin[~kept] += random.normal(0, _ROOM * spread, (int((~kept).sum()), 2))
    return begin


def _amid(places: Positions, near: npt.NDArray[np.int64], random: np.random.Generator) -> Positions:
    """Return places amid those of the given titles, a little aside, so that none covers another, (n, 2)."""
    spread = float(places.std()) or 1.0
    return np.asarray(np.median(places[near], axis=1) + random.normal(0, _ROOM * spread / 4, (len(near), 2)))


def _aligned(places: Positions, start: Positions, kept: npt.NDArray[np.bool_]) -> Positions:
    """Turn, mirror, shift and scale places so that those of the titles kept come nearest to where they were."""
    if not kept.any():
        return places
    from scipy.linalg import orthogonal_procrustes

    middle, wanted = places[kept].mean(axis=0), start[kept].mean(axis=0)
    now = places[kept] - middle
    turn, overlap = orthogonal_procrustes(now, start[kept] - wanted)
    scale = overlap / np.square(now).sum() if overlap > 0 else 1.0
    return np.asarray(scale * (places - middle) @ turn + wanted)


def _by_components(rows: Matrix) -> Positions:
    """Return the places of a handful of titles, at most 1 from the middle; equal ones lie on a circle."""
    n = len(rows)
    found = _components(rows, 0) if n > 1 else np.zeros((n, 2))
    angle = 2 * np.pi * np.arange(n) / max(n, 1)
    circle = np.column_stack([np.cos(angle), np.sin(angle)]) * (n > 1)
    return found / max(float(np.abs(found).max(initial=0)), 1.0) + 0.1 * circle


def _components(rows: Matrix, seed: int) -> Positions:
    """Return the first two principal components, zero where there are fewer, (n, 2)."""
    from sklearn.utils.extmath import randomized_svd

    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    count = min(2, *centred.shape)
    left, sizes, _ = randomized_svd(centred, count, random_state=seed)
    found = np.zeros((len(rows), 2))
    found[:, :count] = left * sizes
    return found


def _spread(places: Positions, wanted: float) -> Positions:
    """Scale places to a standard deviation along their longer side; those all in one point stay."""
    spread = float(places.std(axis=0).max())
    return places * (wanted / spread) if spread > 1e-9 else places * 0.0


def _unit_rows(vectors: Matrix) -> Matrix:
    """Return the rows at length 1; a row of zeros stays.

    Raises:
        FeatureError: They are no finite matrix.
    """
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise FeatureError(f"vectors must be a matrix (n_titles, dim) with dim at least 1; got the shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise FeatureError(
            f"vectors must be finite; row {int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])} is not"
        )
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def _told_apart(rows: Matrix, random: np.random.Generator) -> Matrix:
    """Return unit rows of which no two are equal, and all of zeros near each other and far from the others.

    Without that, equal titles would all have the same neighbours, the first in the catalogue, and fall onto one point.
    """
    nothing = ~rows.any(axis=1)
    apart = np.column_stack([rows, nothing.astype(np.float32)]) if nothing.any() else rows
    return _unit_rows(apart + random.normal(0, _NOISE / np.sqrt(apart.shape[1]), apart.shape).astype(np.float32))


def _threads(n: int) -> int:
    """Return how many threads openTSNE takes: as OMP_NUM_THREADS says, else one per core this process may use.

    For a few titles it is one, since threads that wait for each other cost more than they do.
    """
    if n < _ONE_THREAD:
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked.isdigit() and int(asked) else cores
