"""Shards: vectors on disk by the hash of what they describe. A shard is written whole or not at all."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from reeltag.encoders.shard_file import ShardFile, open_shards
from reeltag.errors import EncoderError
from reeltag.files import atomic_file

HASH_BYTES = 16
_DTYPE = f"S{HASH_BYTES}"

Hashes = npt.NDArray[np.bytes_]


class Index:
    """Where each hash is stored: number of its shard, and its row there.

    Args:
        folder: The folder of the shards, for messages.
        hashes: Of every shard, in the order of its rows.
    """

    def __init__(self, folder: Path, hashes: Sequence[Hashes]) -> None:
        self._folder = folder
        lengths = [len(h) for h in hashes]
        joined = np.concatenate(hashes) if hashes else np.zeros(0, _DTYPE)
        order = np.argsort(joined, kind="stable")
        self._keys = joined[order]
        self.shard = np.repeat(np.arange(len(lengths)), lengths)[order]
        self.row = np.concatenate([np.arange(n) for n in lengths] or [np.zeros(0, np.int64)])[order]

    def known(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return which hashes are stored."""
        if len(self._keys) == 0:
            return np.zeros(len(hashes), np.bool_)
        place = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        return np.asarray(self._keys[place] == hashes)

    def places(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Return the places of hashes, all of them stored, in ``shard`` and ``row``.

        Raises:
            EncoderError: One is not stored.
        """
        n_missing = int((~self.known(hashes)).sum())
        if n_missing:
            raise EncoderError(
                f"{self._folder}: {n_missing:,} of {len(hashes):,} entries are not there; files of the cache were "
                "removed or damaged meanwhile, and a repeated run computes them again"
            )
        return np.searchsorted(self._keys, hashes)


class Shards:
    """The shards of one encoder, indexed by content hash. A damaged shard is passed over and computed again."""

    def __init__(self, folder: Path) -> None:
        self._files: list[ShardFile] = []
        hashes: list[Hashes] = []
        for file in open_shards(folder):
            keys, values = file.read("hashes"), file.tensors.get("values")
            if keys is None or values is None or len(values.shape) != 2 or keys.shape != (values.shape[0], HASH_BYTES):
                continue
            self._files.append(file)
            hashes.append(hashes_of(keys))
        self.index = Index(folder, hashes)

    def known(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return which hashes are stored."""
        return self.index.known(hashes)

    def read(
        self, hashes: Hashes, wanted: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the vectors of the wanted hashes (n, dim), all of them stored, and which describe something (n,).

        A vector is absent, and zero, when it is not wanted or was stored as that of something unreadable.
        """
        rows = np.flatnonzero(wanted)
        place = self.index.places(hashes[rows])
        shard, row = self.index.shard[place], self.index.row[place]
        values = np.zeros((len(hashes), self.width()), np.float32)
        present = wanted.copy()
        for number in np.unique(shard):
            hits = shard == number
            stored, there = self._files[number].read("values"), self._files[number].read("present")
            if stored is None:
                raise EncoderError(f"{self._files[number].path}: was removed or cut off while it was read; run again")
            values[rows[hits]] = stored[row[hits]]
            if there is not None:
                present[rows[hits]] = there[row[hits]] != 0
        return values, present

    def width(self) -> int:
        """Return the width of the stored vectors, 0 when there are none."""
        return self._files[0].tensors["values"].shape[1] if self._files else 0


def write_shard(
    folder: Path,
    hashes: Hashes,
    values: npt.NDArray[np.float32],
    present: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write a new shard.

    Args:
        folder: The folder of the encoder.
        hashes: Shape (n,).
        values: Shape (n, dim).
        present: Which rows describe something, shape (n,); all when None.
    """
    keys = np.frombuffer(hashes.tobytes(), np.uint8).reshape(-1, HASH_BYTES)
    tensors: dict[str, npt.NDArray[Any]] = {"hashes": keys.copy(), "values": np.ascontiguousarray(values)}
    if present is not None:
        tensors["present"] = present.astype(np.uint8)
    with atomic_file(folder / f"{uuid.uuid4().hex}.safetensors") as path:
        save_file(tensors, path)


def content_hash(*parts: bytes) -> bytes:
    """Return a 16-byte hash; of several parts, one that tells where each ends."""
    if len(parts) > 1:
        parts = tuple(hashlib.blake2b(part, digest_size=HASH_BYTES).digest() for part in parts)
    return hashlib.blake2b(b"".join(parts), digest_size=HASH_BYTES).digest()


def content_hashes(texts: Sequence[str]) -> Hashes:
    """Return a 16-byte hash per text, shape (n_texts,)."""
    return as_hashes([content_hash(text.encode("utf-8", "surrogatepass")) for text in texts])


def first_rows(hashes: Hashes, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the rows of the wanted hashes, of equal ones the first alone, in order."""
    _, first = np.unique(hashes[wanted], return_index=True)
    return np.flatnonzero(wanted)[np.sort(first)]


def hashes_of(keys: npt.NDArray[np.uint8]) -> Hashes:
    """Return the hashes of a stored array of bytes (n, 16), shape (n,)."""
    return np.frombuffer(np.ascontiguousarray(keys).tobytes(), _DTYPE)


def as_hashes(digests: Sequence[bytes]) -> Hashes:
    """Return 16-byte hashes as an array, shape (n,)."""
    return np.frombuffer(b"".join(digests), _DTYPE)
