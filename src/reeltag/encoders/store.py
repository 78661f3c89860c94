"""FeatureStore: vectors computed once. Keyed by content (text, poster, or both) and the fingerprint of the encoder.

Each encoder has a folder of shards; a shard holds the hashes and vectors of some texts or posters and is written whole
or not at all, so a run that is killed loses one shard's work at most and goes on where it stopped. Several processes
may write side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reeltag.catalogue.posters import Posters
from reeltag.encoders.contract import JointEncoder, PosterEncoder, TextEncoder, has_content
from reeltag.encoders.images import DECODING, RGBImage, decode_all, decoding_threads
from reeltag.encoders.shards import Hashes, Shards, as_hashes, content_hash, content_hashes, write_shard
from reeltag.progress import Progress, silent

SHARD_TEXTS = 1024
SHARD_POSTERS = 256
SHARD_BYTES = 256 << 20  # of posters that wait to be decoded; a shard is written early when they reach it
_DECODED_AT_ONCE = 32  # 32 images of 512 x 768 pixels are 36 MiB

Encoded: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def default_cache() -> Path:
    """Return the cache folder: ``$REELTAG_CACHE``, else ``reeltag`` in the user's cache folder."""
    set_by_user = os.environ.get("REELTAG_CACHE")
    if set_by_user:
        return Path(set_by_user)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeltag"


class FeatureStore:
    """Vectors on disk.

    Args:
        folder: The cache folder; the default one when None.
        shard_texts: Texts per shard: the most work that a kill can lose.
        shard_posters: The same for posters, alone or with a text.
    """

    def __init__(
        self, folder: Path | None = None, shard_texts: int = SHARD_TEXTS, shard_posters: int = SHARD_POSTERS
    ) -> None:
        self.folder = folder or default_cache()
        self.shard_texts = shard_texts
        self.shard_posters = shard_posters

    def encode(self, encoder: TextEncoder, texts: Sequence[str], progress: Progress = silent) -> Encoded:
        """Return the vectors of texts, computing only those that no earlier run has left.

        Args:
            encoder: A dense text encoder.
            texts: The texts; equal texts are computed once.
            progress: Called with the number of new texts done.

        Returns:
            Vectors (n_texts, dim) and the mask of texts that are not blank. A row depends on its text alone.
        """
        folder = self.folder / f"{encoder.name}-{encoder.fingerprint}"
        present = has_content(texts)
        hashes = content_hashes(texts)
        stored = Shards(folder)
        missing = ~stored.known(hashes) & present
        if missing.any():
            _, first = np.unique(hashes[missing], return_index=True)
            rows = np.flatnonzero(missing)[np.sort(first)]
            self._compute(encoder, [texts[row] for row in rows], hashes[rows], folder, progress)
            stored = Shards(folder)
        if not present.any():
            return np.zeros((len(texts), stored.width() or encoder.dim), np.float32), present
        return stored.read(hashes, present)

    def encode_posters(
        self, encoder: PosterEncoder, posters: Posters, ids: Sequence[str], progress: Progress = silent
    ) -> Encoded:
        """Return the vectors of posters, decoding and computing only those that no earlier run has left.

        Args:
            encoder: A poster encoder.
            posters: Where the posters are; they are read once, in storage order, some at a time.
            ids: The titles; equal images are computed once.
            progress: Called with the number of posters done, those left by earlier runs among them.

        Returns:
            Vectors (n_titles, dim) and the mask of titles whose poster is there and readable.
        """
        job = _ImageJob(
            stage=f"encoding {encoder.name}",
            folder=self._image_folder(encoder),
            encode=lambda images, _: encoder.encode(images),
            dim=lambda: encoder.dim,
            shard_posters=self.shard_posters,
        )
        hashes, found = job.run(posters, ids, None, progress)
        return self._read_images(encoder, hashes, found)

    def encode_pairs(
        self,
        encoder: JointEncoder,
        posters: Posters,
        ids: Sequence[str],
        texts: Sequence[str],
        progress: Progress = silent,
    ) -> Encoded:
        """Return the vectors of posters with their texts, as ``encode_posters`` does for posters alone.

        Args:
            encoder: A joint encoder.
            posters: Where the posters are.
            ids: The titles.
            texts: One text per title.
            progress: Called with the number of pairs done.

        Returns:
            Vectors (n_titles, dim) and the mask of titles that have a readable poster and a text that is not blank.
        """
        job = _ImageJob(
            stage=f"encoding {encoder.name}",
            folder=self._image_folder(encoder),
            encode=encoder.encode,
            dim=lambda: encoder.dim,
            shard_posters=self.shard_posters,
        )
        filled = has_content(texts)
        chosen = {title_id: text for title_id, text, is_filled in zip(ids, texts, filled, strict=True) if is_filled}
        hashes, found = job.run(posters, ids, chosen, progress)
        return self._read_images(encoder, hashes, found)

    def _compute(
        self, encoder: TextEncoder, texts: list[str], hashes: Hashes, folder: Path, progress: Progress
    ) -> None:
        stage = f"encoding {encoder.name}"
        progress(stage, 0, len(texts))
        for start in range(0, len(texts), self.shard_texts):
            part = slice(start, start + self.shard_texts)
            values, _ = encoder.encode(texts[part])
            write_shard(folder, hashes[part], values)
            progress(stage, min(start + self.shard_texts, len(texts)), len(texts))

    def _image_folder(self, encoder: PosterEncoder | JointEncoder) -> Path:
        return self.folder / f"{encoder.name}-{encoder.fingerprint}-decoding{DECODING}"

    def _read_images(
        self, encoder: PosterEncoder | JointEncoder, hashes: Hashes, found: npt.NDArray[np.bool_]
    ) -> Encoded:
        stored = Shards(self._image_folder(encoder))
        if not found.any():
            return np.zeros((len(found), stored.width() or encoder.dim), np.float32), found
        return stored.read(hashes, found)


@dataclass(frozen=True, kw_only=True)
class _ImageJob:
    """One pass over posters.

    Attributes:
        stage: What progress is reported as.
        folder: The folder of shards.
        encode: From images and their texts to vectors (n, dim).
        dim: Tells the width of the vectors where no image can be decoded.
        shard_posters: Posters per shard.
    """

    stage: str
    folder: Path
    encode: Callable[[Sequence[RGBImage], Sequence[str]], npt.NDArray[np.float32]]
    dim: Callable[[], int]
    shard_posters: int

    def run(
        self, posters: Posters, ids: Sequence[str], texts: dict[str, str] | None, progress: Progress
    ) -> tuple[Hashes, npt.NDArray[np.bool_]]:
        """Compute what is missing; return the hash of every title (n_titles,) and which titles have one (n_titles,).

        Args:
            posters: Where the posters are.
            ids: The titles.
            texts: From id to text, of the titles to be read with a text; None when posters are read alone.
            progress: Called with the number of posters done.
        """
        row_of = {title_id: row for row, title_id in enumerate(ids)}
        there = posters.present(ids)
        wanted = [i for i, has in zip(ids, there, strict=True) if has and (texts is None or i in texts)]
        digests = [bytes(16)] * len(ids)
        found = np.zeros(len(ids), np.bool_)
        if not wanted:
            return as_hashes(digests), found
        stored, seen = Shards(self.folder), set[bytes]()
        waiting: dict[bytes, tuple[bytes, str]] = {}  # hash -> bytes and text; fewer than a shard
        n_bytes = 0
        progress(self.stage, 0, len(wanted))
        with ThreadPoolExecutor(decoding_threads()) as pool:
            for number, (title_id, content) in enumerate(posters.read(wanted), 1):
                text = texts[title_id] if texts else ""
                key = content_hash(content, text.encode("utf-8", "surrogatepass")) if texts else content_hash(content)
                digests[row_of[title_id]], found[row_of[title_id]] = key, True
                if key not in seen and not stored.known(as_hashes([key]))[0]:
                    waiting[key] = (content, text)
                    n_bytes += len(content)
                seen.add(key)
                if len(waiting) == self.shard_posters or n_bytes >= SHARD_BYTES:
                    self._write(waiting, pool)
                    waiting, n_bytes = {}, 0
                if number % _DECODED_AT_ONCE == 0:
                    progress(self.stage, number, len(wanted))
            if waiting:
                self._write(waiting, pool)
        progress(self.stage, len(wanted), len(wanted))
        return as_hashes(digests), found

    def _write(self, waiting: dict[bytes, tuple[bytes, str]], pool: ThreadPoolExecutor) -> None:
        """Compute what waits and write it as one shard; the vectors of what cannot be decoded are absent."""
        items = list(waiting.values())
        present, parts = np.zeros(len(items), np.bool_), []
        for start in range(0, len(items), _DECODED_AT_ONCE):
            part = items[start : start + _DECODED_AT_ONCE]
            images = decode_all([content for content, _ in part], pool)
            pairs = [(image, text) for image, (_, text) in zip(images, part, strict=True) if image is not None]
            present[start : start + len(part)] = [image is not None for image in images]
            if pairs:
                parts.append(self.encode([image for image, _ in pairs], [text for _, text in pairs]))
        values = np.zeros((len(items), parts[0].shape[1] if parts else self.dim()), np.float32)
        if parts:
            values[present] = np.concatenate(parts)
        write_shard(self.folder, as_hashes(list(waiting)), values, present)
