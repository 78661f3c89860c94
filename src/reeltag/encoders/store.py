"""FeatureStore: vectors computed once. Keyed by the content of a text and the fingerprint of its encoder.

Each encoder has a folder of shards; a shard holds the hashes and vectors of some texts and is written whole or not
at all, so a run that is killed loses one shard's work at most and goes on where it stopped. Several processes may
write side by side.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reeltag.encoders.contract import TextEncoder, has_content
from reeltag.files import atomic_file
from reeltag.progress import Progress, silent

SHARD_TEXTS = 1024
_HASH_BYTES = 16


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
    """

    def __init__(self, folder: Path | None = None, shard_texts: int = SHARD_TEXTS) -> None:
        self.folder = folder or default_cache()
        self.shard_texts = shard_texts

    def encode(
        self, encoder: TextEncoder, texts: Sequence[str], progress: Progress = silent
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
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
        stored = _Shards(folder)
        missing = ~stored.known(hashes) & present
        if missing.any():
            _, first = np.unique(hashes[missing], return_index=True)
            rows = np.flatnonzero(missing)[np.sort(first)]
            self._compute(encoder, [texts[row] for row in rows], hashes[rows], folder, progress)
            stored = _Shards(folder)
        if not present.any():
            return np.zeros((len(texts), stored.width() or encoder.dim), np.float32), present
        return stored.read(hashes, present), present

    def _compute(
        self,
        encoder: TextEncoder,
        texts: list[str],
        hashes: npt.NDArray[np.bytes_],
        folder: Path,
        progress: Progress,
    ) -> None:
        stage = f"encoding {encoder.name}"
        progress(stage, 0, len(texts))
        for start in range(0, len(texts), self.shard_texts):
            part = slice(start, start + self.shard_texts)
            values, _ = encoder.encode(texts[part])
            keys = np.frombuffer(hashes[part].tobytes(), np.uint8).reshape(-1, _HASH_BYTES)
            with atomic_file(folder / f"{uuid.uuid4().hex}.safetensors") as path:
                save_file({"hashes": keys.copy(), "values": np.ascontiguousarray(values)}, path)
            progress(stage, min(start + self.shard_texts, len(texts)), len(texts))


class _Shards:
    """The shards of one encoder, indexed by content hash. A damaged shard is passed over and computed again."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[Path] = []
        hashes: list[npt.NDArray[np.bytes_]] = []
        for path in sorted(folder.glob("[!.]*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as file:
                    keys = np.ascontiguousarray(file.get_tensor("hashes"))
                    n_texts = file.get_slice("values").get_shape()[0]
            except (SafetensorError, OSError):
                continue
            if keys.shape != (n_texts, _HASH_BYTES):
                continue
            self.paths.append(path)
            hashes.append(np.frombuffer(keys.tobytes(), f"S{_HASH_BYTES}"))
        lengths = [len(h) for h in hashes]
        joined = np.concatenate(hashes) if hashes else np.zeros(0, f"S{_HASH_BYTES}")
        order = np.argsort(joined, kind="stable")
        self._keys = joined[order]
        self._shard = np.repeat(np.arange(len(lengths)), lengths)[order]
        self._row = np.concatenate([np.arange(n) for n in lengths] or [np.zeros(0, np.int64)])[order]

    def known(self, hashes: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
        """Return which hashes are stored."""
        if len(self._keys) == 0:
            return np.zeros(len(hashes), np.bool_)
        place = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        return np.asarray(self._keys[place] == hashes)

    def read(self, hashes: npt.NDArray[np.bytes_], present: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return the vectors of the hashes, zero where absent."""
        wanted = np.flatnonzero(present)
        place = np.searchsorted(self._keys, hashes[wanted])
        values = np.zeros((len(hashes), self.width()), np.float32)
        for number in np.unique(self._shard[place]):
            hits = self._shard[place] == number
            with safe_open(self.paths[number], framework="numpy") as file:
                values[wanted[hits]] = file.get_tensor("values")[self._row[place[hits]]]
        return values

    def width(self) -> int:
        """Return the width of the stored vectors, 0 when there are none."""
        if not self.paths:
            return 0
        with safe_open(self.paths[0], framework="numpy") as file:
            return int(file.get_slice("values").get_shape()[1])


def content_hashes(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Return a 16-byte hash per text, shape (n_texts,)."""
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest() for text in texts
    )
    return np.frombuffer(digests, f"S{_HASH_BYTES}")
