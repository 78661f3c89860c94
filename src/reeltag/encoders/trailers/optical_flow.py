"""Optical flow between small grey pictures on a coarse grid, and the part of it that the camera explains.

Flow is found after Lucas and Kanade (1981), coarse to fine, at 9 x 16 places whose windows overlap. What windows sum is
a product of matrices, for all pairs of pictures at once. The flow of the step before moves the second picture by whole
pixels only, and each pixel's equation is written for the whole of its displacement, so nothing is interpolated; where
there is nothing to see, the flow of the step before holds. Pictures are to be halved first, which halves the noise and
quarters the cost.

What the camera explains is a move, a turn and a zoom, fitted by weighted least squares with weights drawn anew twice
from what is left (those of Geman and McClure), so that a large thing that moves does not pull the camera with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH

Floats = npt.NDArray[np.float32]

ROWS, COLUMNS = 9, 16
_LEVELS = ((2, 2), (1, 1), (0, 1))  # times the halved picture is halved again, and steps taken there
_REACH = 4.5  # pixels from the middle of a window to where its weights end
_FITS = 3
_CERTAIN = 4.0  # squared gradient, in grey levels a pixel, that weighs as much as the flow of the step before
_MOST = 3.0  # pixels that a step may move by
_LEFT_OVER = 0.005  # widths: from about here on, what a fit leaves counts for little in the next


def halved(pictures: npt.NDArray[np.uint8]) -> Floats:
    """Return pictures at half their size, (n, height // 2, width // 2)."""
    return _halved(pictures.astype(np.float32))


def flow_between(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return where what is seen in pictures has gone in others.

    Args:
        first: The pictures, (n, height, width), in grey levels from 0 to 255.
        second: The others, of the same shape.

    Returns:
        The displacements to the right and down in pixels, (n, ROWS, COLUMNS, 2), and how certain they are, from 0
        where there is nothing to see (no displacement) towards 1, (n, ROWS, COLUMNS).
    """
    pyramid = [(first - first.mean(axis=(1, 2), keepdims=True), second - second.mean(axis=(1, 2), keepdims=True))]
    for _ in range(_LEVELS[0][0]):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    flow = np.zeros((2, len(first), ROWS, COLUMNS), np.float32)
    certain = np.zeros(flow.shape[1:], np.float32)
    scale = 2.0 ** _LEVELS[0][0]
    for level, n_steps in _LEVELS:
        flow *= scale / 2.0**level
        scale = 2.0**level
        one, other = pyramid[level]
        grid = _grid(*first.shape[1:], level)
        slopes = _slopes(one)
        for _ in range(n_steps):
            flow, certain = _step(one, other, slopes, flow, grid)
    return np.moveaxis(flow, 0, -1), certain


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """How pixels and places belong together; one place of each pair is a row or column of places.

    Attributes:
        down: Weights of the rows of pixels in the windows, (ROWS, height), sums 1.
        across: The same of columns, (width, COLUMNS).
        to_rows: Interpolates from places to rows of pixels, (height, ROWS).
        to_columns: The same to columns, (COLUMNS, width).
        y: The row of every pixel, (height, 1).
        x: The column of every pixel, (width,).
    """

    down: Floats
    across: Floats
    to_rows: Floats
    to_columns: Floats
    y: npt.NDArray[np.int32]
    x: npt.NDArray[np.int32]


@cache
def _grid(height: int, width: int, level: int) -> _Grid:
    """Return the grid of pictures that are ``height`` x ``width`` at level 0 at a level."""
    (down, to_rows), (across, to_columns) = (
        _between(size, n_places, level) for size, n_places in ((height, ROWS), (width, COLUMNS))
    )
    return _Grid(
        down=down, across=across.T, to_rows=to_rows, to_columns=to_columns.T,
        y=np.arange(height >> level, dtype=np.int32)[:, None], x=np.arange(width >> level, dtype=np.int32),
    )  # fmt: skip


def _between(size: int, n_places: int, level: int) -> tuple[Floats, Floats]:
    """Return the weights of pixels at places, and of places at pixels, along one side."""
    places = (np.arange(n_places) + 0.5) * size / n_places
    pixels = (np.arange(size >> level) + 0.5) * 2**level
    far = np.abs(places[:, None] - pixels) / 2**level
    windows = np.maximum(1 - far / _REACH, 0)
    position = np.clip(pixels * n_places / size - 0.5, 0, n_places - 1)
    tents = np.maximum(1 - np.abs(position[:, None] - np.arange(n_places)), 0)
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32), tents.astype(np.float32)


def _step(one: Floats, other: Floats, slopes: Floats, flow: Floats, grid: _Grid) -> tuple[Floats, Floats]:
    """Return a better flow, (2, n, ROWS, COLUMNS), and how certain it is.

    Args:
        one: First pictures, (n, height, width).
        other: Second pictures.
        slopes: Of the first ones across and down, (2, n, height, width).
        flow: That of the step before.
        grid: Of the level.
    """
    n, height, width = one.shape
    moves = np.rint(grid.to_rows @ flow @ grid.to_columns)  # (2, n, height, width)
    x, y = grid.x + moves[0].astype(np.int32), grid.y + moves[1].astype(np.int32)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    places = np.where(inside, y * width + x, 0).reshape(n, -1)
    moved = np.take_along_axis(other.reshape(n, -1), places, axis=1).reshape(one.shape)
    sx, sy = slopes * inside
    gone = one - moved + sx * moves[0] + sy * moves[1]
    products = np.stack([sx * sx, sx * sy, sy * sy, sx * gone, sy * gone])
    xx, xy, yy, xg, yg = grid.down @ (products @ grid.across)  # (n, ROWS, COLUMNS) each
    xx, yy = xx + _CERTAIN, yy + _CERTAIN
    xg, yg = xg + _CERTAIN * flow[0], yg + _CERTAIN * flow[1]
    determinant = xx * yy - xy * xy
    found = np.stack([yy * xg - xy * yg, xx * yg - xy * xg]) / determinant
    better = flow + np.clip(found - flow, -_MOST, _MOST)
    least = (xx + yy) / 2 - np.sqrt((xx - yy) ** 2 / 4 + xy * xy)  # the smaller eigenvalue
    return better, 1 - _CERTAIN / np.maximum(least, _CERTAIN)


def _slopes(pictures: Floats) -> Floats:
    """Return the slopes across and down, none at the rims, (2, n, height, width).

    Differences over four pixels correct those over two, which take fine texture for flatter than it is.
    """
    slopes = np.zeros((2, *pictures.shape), np.float32)
    for slope, along in ((slopes[0].transpose(0, 2, 1), pictures.transpose(0, 2, 1)), (slopes[1], pictures)):
        near = along[:, 2:] - along[:, :-2]
        slope[:, 1:-1] = near * np.float32(2 / 3)
        slope[:, 2:-2] -= (along[:, 4:] - along[:, :-4]) * np.float32(1 / 12)
        slope[:, [1, -2]] *= np.float32(3 / 4)
    return slopes


def _halved(pictures: Floats) -> Floats:
    height, width = pictures.shape[1:]
    even = pictures[:, : height // 2 * 2, : width // 2 * 2]
    rows = even[:, ::2] + even[:, 1::2]
    halves: Floats = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return halves


def camera_motion(flow: Floats, certain: Floats) -> tuple[Floats, Floats]:
    """Return what the camera does and the flow that it explains.

    Args:
        flow: Displacements in widths of the picture, (n, ROWS, COLUMNS, 2).
        certain: Their weights, (n, ROWS, COLUMNS).

    Returns:
        Move to the right and down, in widths, zoom (how much larger things become) and turn (clockwise, in radians) of
        what is seen, (n, 4); the flow of these, (n, ROWS, COLUMNS, 2).
    """
    n = len(flow)
    design = _design()
    seen = flow.reshape(n, -1, 2)
    outer = (design[:, :, :, None] * design[:, :, None, :]).sum(axis=1).reshape(len(design), -1)
    certain = certain.reshape(n, -1) + np.float32(1e-6)
    weights = certain
    for _ in range(_FITS):
        normal = (weights @ outer).reshape(n, 4, 4).astype(np.float64)
        target = (weights[..., None] * seen).reshape(n, -1) @ design.reshape(-1, 4)
        camera = np.linalg.solve(normal, target[..., None].astype(np.float64))[..., 0].astype(np.float32)
        explained = (camera @ design.reshape(-1, 4).T).reshape(seen.shape)
        left = np.square(seen[..., 0] - explained[..., 0]) + np.square(seen[..., 1] - explained[..., 1])
        scale = np.maximum(np.median(left, axis=1, keepdims=True), _LEFT_OVER**2)
        weights = certain / (1 + left / scale) ** 2
    return camera, explained.reshape(flow.shape)


@cache
def _design() -> Floats:
    """Return what a unit of move right, move down, zoom and turn does to each place, (ROWS * COLUMNS, 2, 4)."""
    aspect = GREY_HEIGHT / GREY_WIDTH
    y, x = np.meshgrid(
        ((np.arange(ROWS) + 0.5) / ROWS - 0.5) * aspect, (np.arange(COLUMNS) + 0.5) / COLUMNS - 0.5, indexing="ij"
    )
    one, none = np.ones_like(x), np.zeros_like(x)
    right, down = np.stack([one, none, x, -y], axis=-1), np.stack([none, one, y, x], axis=-1)
    return np.stack([right, down], axis=2).reshape(-1, 2, 4).astype(np.float32)
