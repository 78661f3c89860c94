"""A safetensors file by its header: its tensors are read one by one, or in part, and no descriptor is held.

A cache may have thousands of shards, so none stays open or mapped. Too many open files are an error and no damage,
which is why safetensors' own reader is not used here: it reports them as a missing file.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER_LENGTH = 8
_DTYPES: dict[str, npt.DTypeLike] = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}
_NOT_ITS_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """What the header says of a tensor.

    Attributes:
        dtype: Type of its values.
        shape: Its shape.
        offset: Where it begins in the file, in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A file whose header is right and which is as long as it says.

    Attributes:
        path: The file.
        tensors: By name.
    """

    path: Path
    tensors: dict[str, Tensor]

    def read(self, name: str) -> npt.NDArray[Any] | None:
        """Return a tensor; None when there is none, or no longer all of it."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return None
        values = np.empty(tensor.shape, tensor.dtype)
        return values if self.fill(values, tensor.offset) else None

    def fill(self, values: npt.NDArray[Any], offset: int) -> bool:
        """Read what begins at an offset into an array, whose values lie side by side; False where it is not there."""
        if not values.size:
            return True
        try:
            with io.FileIO(self.path) as file:
                file.seek(offset)
                n_bytes = file.readinto(values.data.cast("B"))
        except OSError as error:
            if error.errno in _NOT_ITS_FAULT:
                raise
            return False
        return n_bytes == values.nbytes


def open_shards(folder: Path) -> Iterator[ShardFile]:
    """Yield the shards of a folder by name; damaged ones are passed over."""
    for path in sorted(folder.glob("[!.]*.safetensors")):
        file = _opened(path)
        if file is not None:
            yield file


def _opened(path: Path) -> ShardFile | None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
            header = file.read(length) if length <= size else b""
    except OSError as error:
        if error.errno in _NOT_ITS_FAULT:
            raise
        return None
    try:
        return ShardFile(path=path, tensors=_tensors(json.loads(header), _HEADER_LENGTH + length, size))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _tensors(header: Any, start: int, size: int) -> dict[str, Tensor]:
    """Return the tensors of a header.

    Args:
        header: As written.
        start: Where the tensors begin, in bytes.
        size: Of the file.

    Raises:
        ValueError: The file is not as long as its tensors, or one is of a type that no shard has.
    """
    found, ends = {}, [start]
    for name, told in header.items():
        if name == "__metadata__":
            continue
        if told["dtype"] not in _DTYPES:
            raise ValueError(f"{name}: of type {told['dtype']}")
        first, last = told["data_offsets"]
        tensor = Tensor(dtype=np.dtype(_DTYPES[told["dtype"]]), shape=tuple(told["shape"]), offset=start + first)
        if (
            first < 0
            or min(tensor.shape, default=0) < 0
            or math.prod(tensor.shape) * tensor.dtype.itemsize != last - first
        ):
            raise ValueError(f"{name}: {last - first} bytes for the shape {tensor.shape}")
        found[name] = tensor
        ends.append(start + last)
    if max(ends) != size:
        raise ValueError(f"{size} bytes instead of {max(ends)}")
    return found
