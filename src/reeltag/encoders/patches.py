"""Patches of an image: their places on it, their average over a coarser grid, the feature map of an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.onnx_session import OUTPUT
from reeltag.errors import EncoderError, MissingExtraError

Place = tuple[float, float, float, float]  # left, top, right, bottom, as shares of an image's width and height
_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Identity", "Cast")
_POOLS = ("GlobalAveragePool", "ReduceMean")


def averaged(cells: npt.NDArray[np.float32], grid: int) -> npt.NDArray[np.float32]:
    """Return a map of features as tokens row by row, averaged where it is finer than the grid.

    Every cell is shared out among the cells of the grid it lies under, by area, so that the mean is kept.

    Args:
        cells: Shape (n, dim, rows, columns).
        grid: Cells along a side at most.

    Returns:
        Shape (n, min(rows, grid) * min(columns, grid), dim).
    """
    n, dim, rows, columns = cells.shape
    pooled: npt.NDArray[Any] = cells
    if rows > grid or columns > grid:
        pooled = _shares(rows, min(rows, grid)) @ cells @ _shares(columns, min(columns, grid)).T
    return np.asarray(pooled.reshape(n, dim, -1).transpose(0, 2, 1), np.float32)


def cells_of(view: Place, rows: int, columns: int) -> list[Place]:
    """Return the places of the cells of a grid laid over a part of an image, row by row."""
    left, top, right, bottom = view
    xs, ys = np.linspace(left, right, columns + 1).tolist(), np.linspace(top, bottom, rows + 1).tolist()
    return [(xs[c], ys[r], xs[c + 1], ys[r + 1]) for r in range(rows) for c in range(columns)]


def with_feature_map(model: bytes, card: Path) -> tuple[bytes, str]:
    """Return an ONNX model whose map of features before the last averaging is an output too, and its name.

    Args:
        model: The model, with an output ``embedding``.
        card: Its card, for messages.

    Raises:
        MissingExtraError: The package ``onnx`` is not installed.
        EncoderError: The embedding is not made by averaging over a map.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "posters", f"patch tokens of 'onnx:{card.parent}'") from None
    graph = onnx.load_from_string(model)
    maker: dict[str, Any] = {name: node for node in graph.graph.node for name in node.output}
    node = maker.get(OUTPUT)
    while node is not None and node.op_type in _RESHAPES:
        node = maker.get(node.input[0])
    if node is None or node.op_type not in _POOLS:
        made = "nothing known" if node is None else node.op_type
        raise EncoderError(
            f"{card}: patch tokens need a model whose embedding is the mean over a map of features "
            f"({' or '.join(_POOLS)}); this one is made by {made}"
        )
    name = str(node.input[0])
    if all(output.name != name for output in graph.graph.output):
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return bytes(graph.SerializeToString()), name


def _shares(fine: int, coarse: int) -> npt.NDArray[np.float32]:
    """Return what share of every coarse cell each fine cell makes up, (coarse, fine); rows sum to 1."""
    edges, size = np.arange(fine), fine / coarse
    starts = np.arange(coarse)[:, None] * size
    overlap = np.minimum(edges + 1, starts + size) - np.maximum(edges, starts)
    return np.asarray(np.clip(overlap, 0, None) / size, np.float32)
