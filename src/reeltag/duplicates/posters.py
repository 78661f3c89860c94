"""Near-same posters: 256-bit perceptual hashes (DCT signs, library imagehash) within a Hamming distance.

At a distance of 48 of 256 bits the pigeonhole principle asks for 49 bands of 5 bits, which single out nothing; a
product of +1/-1 matrices block by block is exact and takes two seconds for 18,000 posters.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

from reeltag.catalogue import Catalogue
from reeltag.duplicates.config import POSTER_BITS, DuplicateConfig, Pairs, Placeholder
from reeltag.errors import MissingExtraError
from reeltag.progress import Progress

_SIDE = int(POSTER_BITS**0.5)
_BATCH = 512
_BLOCK = 4_096
_MAX_PIXELS = 80_000_000
_DRAFT_PIXELS = 256
_PLAIN_DEVIATION = 4.0  # of grey values 0 to 255; the plainest of 17,672 real posters has 7.8
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, kw_only=True)
class PosterHashes:
    """Hashes of the posters of a catalogue.

    Attributes:
        row: Row of each hashed title, shape (n_posters,).
        bits: Packed hashes, shape (n_posters, 32).
        n_broken: Posters that cannot be decoded.
        n_plain: Posters of one even colour, whose hash says nothing.
    """

    row: npt.NDArray[np.int64]
    bits: npt.NDArray[np.uint8]
    n_broken: int = 0
    n_plain: int = 0


def hash_posters(catalogue: Catalogue, config: DuplicateConfig, progress: Progress | None = None) -> PosterHashes:
    """Hash the posters of a catalogue.

    Args:
        catalogue: Its posters are read once, in storage order.
        config: ``n_threads``.
        progress: Told how many posters are done.

    Returns:
        The hashes, in row order; none when no title has a poster.

    Raises:
        MissingExtraError: There are posters, and imagehash is not installed.
    """
    ids = catalogue.ids
    with_poster = [ids[row] for row in np.flatnonzero(catalogue.posters.present(ids))]
    if not with_poster:
        return PosterHashes(row=np.zeros(0, np.int64), bits=np.zeros((0, POSTER_BITS // 8), np.uint8))
    phash = _phash()
    row_of = dict(zip(ids, range(len(ids)), strict=True))
    rows, bits, n_broken, n_plain, n_done = [], [], 0, 0, 0
    with ThreadPoolExecutor(config.n_threads) as pool:
        for batch in _batches(catalogue.posters.read(with_poster)):
            results = pool.map(lambda item: _hash(item[1], phash), batch)
            for (title_id, _), result in zip(batch, results, strict=True):
                if isinstance(result, str):
                    n_broken += result == "broken"
                    n_plain += result == "plain"
                else:
                    rows.append(row_of[title_id])
                    bits.append(result)
            n_done += len(batch)
            if progress is not None:
                progress("hashing posters", n_done, len(with_poster))
    order = np.argsort(np.array(rows, np.int64))
    packed = np.array(bits, np.uint8).reshape(len(rows), POSTER_BITS // 8)
    return PosterHashes(row=np.array(rows, np.int64)[order], bits=packed[order], n_broken=n_broken, n_plain=n_plain)


def near_same_posters(
    hashes: PosterHashes, config: DuplicateConfig, progress: Progress | None = None
) -> tuple[Pairs, list[Placeholder]]:
    """Find posters within ``poster_distance`` bits of each other.

    Args:
        hashes: Hashed posters.
        config: ``poster_distance`` and ``max_copies``.
        progress: Told how many posters are done.

    Returns:
        Pairs of rows with the share of equal bits, and the posters that stand on too many titles.
    """
    row, bits, placeholders = _without_placeholders(hashes, config.max_copies)
    left, right, similarity = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for first in range(0, len(row), _BLOCK):
        a = _signs(bits[first : first + _BLOCK])
        for other in range(first, len(row), _BLOCK):
            equal = (a @ _signs(bits[other : other + _BLOCK]).T + POSTER_BITS) / 2
            i, j = np.nonzero(equal >= POSTER_BITS - config.poster_distance)
            apart = i + first < j + other
            i, j = i[apart], j[apart]
            left.append(row[i + first])
            right.append(row[j + other])
            similarity.append(equal[i, j] / POSTER_BITS)
        if progress is not None:
            progress("comparing posters", min(first + _BLOCK, len(row)), len(row))
    return Pairs.best(np.concatenate(left), np.concatenate(right), np.concatenate(similarity)), placeholders


def _phash() -> Callable[..., Any]:
    try:
        import imagehash
    except ImportError:
        raise MissingExtraError("imagehash", "posters", "finding near-same posters") from None
    return imagehash.phash


def _batches(posters: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    while batch := list(islice(posters, _BATCH)):
        yield batch


def _hash(content: bytes, phash: Callable[..., Any]) -> npt.NDArray[np.uint8] | Literal["broken", "plain"]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                return "broken"
            image.draft("L", (_DRAFT_PIXELS, _DRAFT_PIXELS))  # JPEG only: decodes at a fraction of the size
            grey = (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("L")
    except _UNREADABLE:
        return "broken"
    if ImageStat.Stat(grey).stddev[0] < _PLAIN_DEVIATION:
        return "plain"
    return np.packbits(phash(grey, hash_size=_SIDE).hash)


def _signs(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1


def _without_placeholders(
    hashes: PosterHashes, max_copies: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], list[Placeholder]]:
    _, first, which, counts = np.unique(hashes.bits, axis=0, return_index=True, return_inverse=True, return_counts=True)
    placeholders = [
        Placeholder(field="poster", example=f"row {hashes.row[first[copy]]}", n_titles=int(counts[copy]))
        for copy in np.flatnonzero(counts > max_copies)
    ]
    kept = counts[which.ravel()] <= max_copies
    return hashes.row[kept], hashes.bits[kept], placeholders
