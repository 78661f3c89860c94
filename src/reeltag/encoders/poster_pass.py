"""One pass over posters: new ones are decoded some at a time, handed to an encoder, and written shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.catalogue.posters import Posters
from reeltag.encoders.images import RGBImage, decode_all, decoding_threads
from reeltag.encoders.shards import Hashes, as_hashes, content_hash
from reeltag.progress import Progress

SHARD_BYTES = 256 << 20  # of posters that wait to be decoded; a shard is written early when they reach it
_DECODED_AT_ONCE = 32  # 32 images of 512 x 768 pixels are 36 MiB


@dataclass(frozen=True, kw_only=True)
class PosterPass:
    """One pass over posters.

    Attributes:
        stage: What progress is reported as.
        known: Tells which hashes are stored, (n,).
        encode: Puts what it makes of images and their texts into a mapping by position, which is kept if it fails.
        write: Stores the results of hashes; told which of the posters could be decoded, (n,), and their results.
        shard_posters: Posters per shard.
        chunk: Posters that are decoded and handed to ``encode`` at once.
    """

    stage: str
    known: Callable[[Hashes], npt.NDArray[np.bool_]]
    encode: Callable[[Sequence[RGBImage], Sequence[str], dict[int, Any]], None]
    write: Callable[[Hashes, npt.NDArray[np.bool_], list[Any]], None]
    shard_posters: int
    chunk: int = _DECODED_AT_ONCE

    def run(
        self, posters: Posters, ids: Sequence[str], texts: dict[str, str] | None, progress: Progress
    ) -> tuple[Hashes, npt.NDArray[np.bool_]]:
        """Compute what is missing; return the hash of every title (n_titles,) and which titles have one (n_titles,).

        Args:
            posters: Where the posters are; they are read once, in storage order.
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
        seen = set[bytes]()
        waiting: dict[bytes, tuple[bytes, str]] = {}  # hash -> bytes and text; fewer than a shard
        n_bytes = 0
        progress(self.stage, 0, len(wanted))
        with ThreadPoolExecutor(decoding_threads()) as pool:
            for number, (title_id, content) in enumerate(posters.read(wanted), 1):
                text = texts[title_id] if texts else ""
                key = content_hash(content, text.encode("utf-8", "surrogatepass")) if texts else content_hash(content)
                digests[row_of[title_id]], found[row_of[title_id]] = key, True
                if key not in seen and not self.known(as_hashes([key]))[0]:
                    waiting[key] = (content, text)
                    n_bytes += len(content)
                seen.add(key)
                if len(waiting) == self.shard_posters or n_bytes >= SHARD_BYTES:
                    self._compute(waiting, pool)
                    waiting, n_bytes = {}, 0
                if number % _DECODED_AT_ONCE == 0:
                    progress(self.stage, number, len(wanted))
            if waiting:
                self._compute(waiting, pool)
        progress(self.stage, len(wanted), len(wanted))
        return as_hashes(digests), found

    def _compute(self, waiting: dict[bytes, tuple[bytes, str]], pool: Executor) -> None:
        """Compute what waits and write it as one shard; after a failure, what was computed by then."""
        keys = list(waiting)
        results: dict[int, Any] = {}  # by place among the keys; None where nothing can be decoded
        try:
            for start in range(0, len(keys), self.chunk):
                self._encode(start, [waiting[key] for key in keys[start : start + self.chunk]], pool, results)
        finally:
            done = sorted(results)
            there = [results[place] is not None for place in done]
            if done:
                made = [results[place] for place, is_there in zip(done, there, strict=True) if is_there]
                self.write(as_hashes([keys[place] for place in done]), np.array(there, np.bool_), made)

    def _encode(self, start: int, part: Sequence[tuple[bytes, str]], pool: Executor, results: dict[int, Any]) -> None:
        """Put the results of some that wait, of which the first is at ``start``, among the results."""
        images = decode_all([content for content, _ in part], pool)
        read = [(start + i, image, part[i][1]) for i, image in enumerate(images) if image is not None]
        made: dict[int, Any] = {}
        try:
            if read:
                self.encode([image for _, image, _ in read], [text for _, _, text in read], made)
        finally:
            results |= {read[i][0]: result for i, result in made.items()}
        results |= {start + i: None for i, image in enumerate(images) if image is None}
