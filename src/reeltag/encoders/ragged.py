"""Ragged shards: sequences of vectors on disk by the hash of what they describe, each of a length of its own.

A shard is a safetensors file, written whole or not at all. The sequences of a batch are read one by one without the
rest of their files, which are neither kept open nor mapped: there may be thousands of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from reeltag.encoders.shard_file import ShardFile, open_shards
from reeltag.encoders.shards import HASH_BYTES, Hashes, Index, hashes_of
from reeltag.errors import EncoderError
from reeltag.files import atomic_file

_DTYPES = (np.float16, np.uint8)


class RaggedShards:
    """The shards of one encoder. A damaged shard is passed over and computed again."""

    def __init__(self, folder: Path) -> None:
        keys: list[Hashes] = []
        self._files: list[ShardFile] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        for file in open_shards(folder):
            hashes, starts, values = file.read("hashes"), file.read("starts"), file.tensors.get("values")
            if hashes is None or starts is None or values is None or values.dtype not in _DTYPES:
                continue
            if hashes.shape != (len(starts) - 1, HASH_BYTES) or (starts[-1], 2) != (values.shape[0], len(values.shape)):
                continue
            keys.append(hashes_of(hashes))
            self._files.append(file)
            self._starts.append(starts)
        self.index = Index(folder, keys)

    @property
    def width(self) -> int:
        """Width of the stored vectors, 0 when there are none."""
        return self._files[0].tensors["values"].shape[1] if self._files else 0

    def lengths(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the length of the sequence at every place of the index, shape (n,)."""
        lengths = np.zeros(len(places), np.int64)
        shard, row = self.index.shard[places], self.index.row[places]
        for number in np.unique(shard):
            hits = shard == number
            starts = self._starts[number]
            lengths[hits] = starts[row[hits] + 1] - starts[row[hits]]
        return lengths

    def sequence(self, place: int) -> npt.NDArray[Any]:
        """Return the sequence at a place of the index, (length, width).

        Raises:
            EncoderError: The file was removed or cut off meanwhile.
        """
        length = int(self.lengths(np.array([place]))[0])
        values = self._files[self.index.shard[place]].tensors["values"]
        found = np.empty((length, values.shape[1]), values.dtype)
        self.fill(place, found)
        return found

    def fill(self, place: int, into: npt.NDArray[Any]) -> None:
        """Read the first vectors of a sequence.

        Args:
            place: The place of the index.
            into: Array for so many of them as it has rows.

        Raises:
            EncoderError: The file was removed or cut off meanwhile, or its vectors are of another kind.
        """
        number = self.index.shard[place]
        file, start = self._files[number], int(self._starts[number][self.index.row[place]])
        values = file.tensors["values"]
        if (values.shape[1], values.dtype) != (into.shape[1], into.dtype):
            raise EncoderError(
                f"{file.path}: must hold {into.dtype} x {into.shape[1]}; got {values.dtype} x {values.shape[1]}"
            )
        if not file.fill(into, values.offset + start * into.shape[1] * into.itemsize):
            raise EncoderError(f"{file.path}: was removed or cut off while it was read; run again")


@dataclass(frozen=True)
class StoredSequences:
    """Stored sequences as a source of tokens.

    Attributes:
        shards: The shards.
        dim: Width of the vectors.
    """

    shards: RaggedShards
    dim: int

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return sequences, as ``features.TokenSource`` says."""
        lengths = np.zeros(len(places), np.int64)
        lengths[places >= 0] = np.minimum(self.shards.lengths(places[places >= 0]), limit)
        seen = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]
        values = np.zeros((*seen.shape, self.dim), np.float16)
        for row in np.flatnonzero(lengths).tolist():
            self.shards.fill(int(places[row]), values[row, : lengths[row]])
        return values, seen


def write_ragged(
    folder: Path, hashes: Hashes, sequences: Sequence[npt.NDArray[Any]], width: int, prefix: str = ""
) -> None:
    """Write a new shard.

    Args:
        folder: The folder of the encoder.
        hashes: Shape (n,).
        sequences: Of every hash, (length, width) in float16 or uint8; the length may be 0.
        width: Their width, for a shard that holds nothing else.
        prefix: What the name of its file begins with.
    """
    keys = np.frombuffer(hashes.tobytes(), np.uint8).reshape(-1, HASH_BYTES)
    dtype = sequences[0].dtype if sequences else np.dtype(np.float16)
    starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    values = np.concatenate([np.zeros((0, width), dtype), *sequences])
    with atomic_file(folder / f"{prefix}{uuid.uuid4().hex}.safetensors") as path:
        save_file({"hashes": keys.copy(), "starts": starts, "values": np.ascontiguousarray(values)}, path)
