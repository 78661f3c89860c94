"""Ragged shards: sequences of vectors on disk by the hash of what they describe, each of a length of its own.

A shard is a safetensors file, written whole or not at all; its values are mapped into memory, so that the sequences of
a batch are read without the rest of the file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reeltag.encoders.shards import HASH_BYTES, Hashes, Index, hashes_of
from reeltag.features import padded
from reeltag.files import atomic_file

_HEADER_LENGTH = 8
_DTYPES = {"F16": np.float16, "U8": np.uint8}


class RaggedShards:
    """The shards of one encoder. A damaged shard is passed over and computed again."""

    def __init__(self, folder: Path) -> None:
        keys: list[Hashes] = []
        self._values: list[npt.NDArray[Any]] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        for path in sorted(folder.glob("[!.]*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as file:
                    hashes, starts = file.get_tensor("hashes"), file.get_tensor("starts")
                    values = _mapped(path, "values")
            except (SafetensorError, OSError, ValueError, KeyError):
                continue
            if hashes.shape != (len(starts) - 1, HASH_BYTES) or starts[-1] != len(values):
                continue
            keys.append(hashes_of(hashes))
            self._values.append(values)
            self._starts.append(starts)
        self.index = Index(keys)

    @property
    def width(self) -> int:
        """Width of the stored vectors, 0 when there are none."""
        return int(self._values[0].shape[1]) if self._values else 0

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
        """Return the sequence at a place of the index, (length, width), read from disk when it is looked at."""
        number, row = self.index.shard[place], self.index.row[place]
        start, end = self._starts[number][row : row + 2]
        found: npt.NDArray[Any] = self._values[number][start:end]
        return found


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
        none = np.zeros((0, self.dim), np.float16)
        found = [self.shards.sequence(place)[:limit] if place >= 0 else none for place in places.tolist()]
        return padded(found, self.dim)


def write_ragged(folder: Path, hashes: Hashes, sequences: Sequence[npt.NDArray[Any]], width: int) -> None:
    """Write a new shard.

    Args:
        folder: The folder of the encoder.
        hashes: Shape (n,).
        sequences: Of every hash, (length, width) in float16 or uint8; the length may be 0.
        width: Their width, for a shard that holds nothing else.
    """
    keys = np.frombuffer(hashes.tobytes(), np.uint8).reshape(-1, HASH_BYTES)
    dtype = sequences[0].dtype if sequences else np.dtype(np.float16)
    starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    values = np.concatenate([np.zeros((0, width), dtype), *sequences])
    with atomic_file(folder / f"{uuid.uuid4().hex}.safetensors") as path:
        save_file({"hashes": keys.copy(), "starts": starts, "values": np.ascontiguousarray(values)}, path)


def _mapped(path: Path, name: str) -> npt.NDArray[Any]:
    """Return a tensor of a safetensors file as a read-only map of the file.

    Raises:
        ValueError: The tensor is of another type, or the file is shorter than it says.
        KeyError: There is no such tensor.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        told = json.loads(file.read(length))[name]
    if told["dtype"] not in _DTYPES:
        raise ValueError(f"{path}: a tensor of type {told['dtype']}")
    shape, dtype = tuple(told["shape"]), _DTYPES[told["dtype"]]
    if 0 in shape:
        return np.zeros(shape, dtype)
    offset = _HEADER_LENGTH + length + told["data_offsets"][0]
    mapped: npt.NDArray[Any] = np.memmap(path, dtype, "r", offset=offset, shape=shape)
    return mapped
