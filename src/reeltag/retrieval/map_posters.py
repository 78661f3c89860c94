"""Posters of a map: small ones, many to a sheet, so that a page loads a few files and not thousands.

Titles near each other on the map lie on the same sheet: what is seen at once takes few of them.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from reeltag.catalogue.posters import Posters
from reeltag.encoders.images import decode_all, decoding_threads
from reeltag.progress import Progress, silent

WIDTH, HEIGHT = 56, 84  # pixels of a poster on a sheet
COLUMNS, ROWS = 16, 16  # posters across and down a sheet
_QUALITY = 30  # of WebP: about 1 KB a poster
_DECODED_AT_ONCE = 32
_CURVE_BITS = 16

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class PosterSheets:
    """Small posters of titles.

    Attributes:
        sheets: WebP images, each of 16 by 16 posters of 56 by 84 pixels; the last has fewer rows.
        tiles: Which of all posters, counted from 0 across, down and from sheet to sheet, is that of each title; -1 for
            titles without one, (n_titles,).
    """

    sheets: tuple[bytes, ...]
    tiles: Rows

    @property
    def size_bytes(self) -> int:
        """Size of all sheets together."""
        return sum(len(sheet) for sheet in self.sheets)

    @property
    def n_posters(self) -> int:
        """Titles with a poster."""
        return int((self.tiles >= 0).sum())

    @classmethod
    def none(cls, n_titles: int) -> PosterSheets:
        """Return no posters of so many titles."""
        return cls(sheets=(), tiles=np.full(n_titles, -1, np.int64))


def poster_sheets(
    posters: Posters, ids: Sequence[str], positions: npt.NDArray[np.floating[Any]], *, progress: Progress = silent
) -> PosterSheets:
    """Read posters, make them small and put them on sheets.

    Args:
        posters: Where they are; read once, in storage order. Broken ones are left out.
        ids: The titles.
        positions: Their places on the map, (n_titles, 2).
        progress: Called with the number of posters done.
    """
    there = posters.present(ids)
    order = along_curve(positions)
    order = order[there[order]]
    if len(order) == 0:
        return PosterSheets.none(len(ids))
    tile_of = {ids[row]: tile for tile, row in enumerate(order)}
    tiles = np.full(len(ids), -1, np.int64)
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(decoding_threads()) as pool:
        small = np.memmap(file, np.uint8, "w+", shape=(len(order), HEIGHT, WIDTH, 3))  # on disk: 1 GB for 70,000
        done = 0
        for part in _parts(posters.read([ids[row] for row in sorted(order)])):
            for (title_id, _), image in zip(part, decode_all([content for _, content in part], pool), strict=True):
                if image is not None:
                    tile = tile_of[title_id]
                    small[tile] = np.asarray(ImageOps.fit(image, (WIDTH, HEIGHT), Image.Resampling.LANCZOS))
                    tiles[order[tile]] = tile
            done += len(part)
            progress("posters", done, len(order))
        sheets = _encoded(small, pool)
        del small
    return PosterSheets(sheets=sheets if (tiles >= 0).any() else (), tiles=tiles)


def along_curve(positions: npt.NDArray[np.floating[Any]]) -> Rows:
    """Return row numbers in an order in which neighbours on the map mostly follow each other, (n,).

    They are sorted along the curve of G. M. Morton (1966): by the bits of both coordinates in turn.
    """
    if len(positions) == 0:
        return np.zeros(0, np.int64)
    low = positions.min(axis=0)
    side = float((positions - low).max()) or 1.0
    cells = ((positions - low) / side * (2**_CURVE_BITS - 1)).astype(np.uint64)  # (n, 2)
    key = np.zeros(len(cells), np.uint64)
    for bit in range(_CURVE_BITS):
        for axis in range(2):
            key |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + axis)
    return np.argsort(key, kind="stable")


def _parts(found: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield posters some at a time."""
    part: list[tuple[str, bytes]] = []
    for item in found:
        part.append(item)
        if len(part) == _DECODED_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _encoded(small: Pixels, pool: Executor) -> tuple[bytes, ...]:
    """Return sheets of small posters (n, height, width, 3), as WebP."""
    per_sheet = COLUMNS * ROWS
    starts = range(0, len(small), per_sheet)
    return tuple(pool.map(lambda start: _sheet(np.asarray(small[start : start + per_sheet])), starts))


def _sheet(tiles: Pixels) -> bytes:
    rows = -(-len(tiles) // COLUMNS)
    full = np.zeros((rows * COLUMNS, HEIGHT, WIDTH, 3), np.uint8)
    full[: len(tiles)] = tiles
    pixels = full.reshape(rows, COLUMNS, HEIGHT, WIDTH, 3).transpose(0, 2, 1, 3, 4)  # tile row, y, tile column, x, RGB
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels.reshape(rows * HEIGHT, COLUMNS * WIDTH, 3)))
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()
