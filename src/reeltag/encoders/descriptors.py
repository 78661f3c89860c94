"""Descriptors of a poster that need no model: colour, layout, texture and overall statistics, by scikit-image.

A poster of a horror film is dark and plain, one of a comedy bright and white, one of a Western brown: much of what
posters tell of genre is in their colours. Histograms are square-rooted (Hellinger), so that their distances count like
those of distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from reeltag.encoders.images import RGBImage
from reeltag.errors import MissingExtraError

_REVISION = 2
_WIDTH, _HEIGHT = 96, 144
_GRID = (2, 3)  # cells across and down
_L_BINS, _AB_BINS = 8, 8
_AB_RANGE = 64.0  # colours beyond are counted in the last bin
_JOINT_BINS = 6
_THUMBNAIL = (6, 9)
_HOG_SIZE, _HOG_CELL, _ORIENTATIONS = (48, 72), 12, 8
_LBP_BANDS = 3
_LBP_CODES = 10  # uniform patterns of 8 neighbours, and one for the rest
_DARK, _BRIGHT, _GREY_CHROMA = 20.0, 80.0, 8.0

Array = npt.NDArray[np.floating[Any]]


class DescriptorEncoder:
    """Colour histograms in Lab (whole and on a grid), a thumbnail, HOG, LBP, and overall statistics."""

    name = "descriptors"
    fingerprint = f"descriptors-{_REVISION}"

    @cached_property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.encode([Image.new("RGB", (_WIDTH, _HEIGHT))]).shape[1])

    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        """Return descriptors (n, dim), rows of length 1.

        So they are scaled as a whole, as embeddings are: standardised column by column they took .01 micro F1 from a
        tagger that reads everything else too (EXPERIMENTS.md).
        """
        if not batch:
            return np.zeros((0, self.dim), np.float32)
        described = np.stack([describe_image(image) for image in batch])
        return np.asarray(described / np.linalg.norm(described, axis=1, keepdims=True), np.float32)


def describe_image(image: RGBImage) -> npt.NDArray[np.float32]:
    """Return the descriptors of one image (dim,), each between about -1 and 3.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2lab
    except ImportError:
        raise MissingExtraError("scikit-image", "posters", "the poster encoder 'descriptors'") from None
    small = image.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR, reducing_gap=2.0)
    lab = rgb2lab(np.asarray(small))  # (height, width, 3): L from 0 to 100, a and b from about -100 to 100
    parts = [_colour(lab), _layout(small), _texture(small), _statistics(lab, image)]
    return np.concatenate(parts).astype(np.float32)


def _colour(lab: Array) -> Array:
    """Return histograms of L, a and b, of a and b together, and the first three on a grid."""
    ab = np.clip((lab[..., 1:] + _AB_RANGE) / (2 * _AB_RANGE), 0, 1)
    channels = np.dstack([np.clip(lab[..., :1] / 100, 0, 1), ab])
    coarse = np.minimum((ab * _JOINT_BINS).astype(np.int64), _JOINT_BINS - 1)
    joint = _histogram(coarse[..., 0] * _JOINT_BINS + coarse[..., 1], _JOINT_BINS**2)
    across, down = _GRID
    cells = [cell for band in np.split(channels, down) for cell in np.split(band, across, axis=1)]
    return np.concatenate([joint, *(_marginals(part) for part in [channels, *cells])])


def _marginals(channels: Array) -> Array:
    """Return the histogram of each channel, values 0 to 1, one behind the other."""
    sizes = np.array([_L_BINS, _AB_BINS, _AB_BINS])
    bins = np.minimum((channels * sizes).astype(np.int64), sizes - 1)
    return np.concatenate([_histogram(bins[..., c], int(sizes[c])) for c in range(3)])


def _histogram(bins: npt.NDArray[np.integer[Any]], n_bins: int) -> Array:
    counts = np.bincount(bins.ravel(), minlength=n_bins)
    return np.asarray(np.sqrt(counts / bins.size))


def _layout(small: RGBImage) -> Array:
    """Return a thumbnail and histograms of oriented gradients at low resolution."""
    from skimage.feature import hog

    grey = small.convert("L")
    thumbnail = np.asarray(grey.resize(_THUMBNAIL, Image.Resampling.BOX), np.float64) / 255
    gradients = hog(
        np.asarray(grey.resize(_HOG_SIZE, Image.Resampling.BOX), np.float64) / 255,
        orientations=_ORIENTATIONS, pixels_per_cell=(_HOG_CELL, _HOG_CELL), cells_per_block=(1, 1), block_norm="L2",
    )  # fmt: skip
    return np.concatenate([thumbnail.ravel(), gradients])


def _texture(small: RGBImage) -> Array:
    """Return local binary patterns at two radii, the finer one also in bands from top to bottom."""
    from skimage.feature import local_binary_pattern

    grey = np.asarray(small.convert("L"))
    patterns: Any = local_binary_pattern  # not typed
    fine, wide = (patterns(grey, 8, radius, method="uniform").astype(np.int64) for radius in (1, 3))
    return np.concatenate([_histogram(codes, _LBP_CODES) for codes in [fine, wide, *np.split(fine, _LBP_BANDS)]])


def _statistics(lab: Array, image: RGBImage) -> Array:
    """Return what is said of the poster as a whole."""
    light, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma = np.hypot(a, b)
    hue = np.arctan2(b, a)
    across, down = np.abs(np.diff(light, axis=1)), np.abs(np.diff(light, axis=0))
    weight = chroma.mean() + 1e-6
    return np.array([
        light.mean() / 100, light.std() / 100, *(np.percentile(light, [5, 50, 95]) / 100),
        chroma.mean() / 100, chroma.std() / 100, np.percentile(chroma, 95) / 100,
        (chroma * np.cos(hue)).mean() / weight, (chroma * np.sin(hue)).mean() / weight,  # main hue and its purity
        (light < _DARK).mean(), (light > _BRIGHT).mean(), (chroma < _GREY_CHROMA).mean(),
        across.mean() / 20, down.mean() / 20, (across > 10).mean(), (down > 10).mean(),
        np.abs(light - light[:, ::-1]).mean() / 100,  # asymmetry
        (light[: _HEIGHT // 3].mean() - light[-_HEIGHT // 3 :].mean()) / 100,
        np.clip(np.log(image.width / image.height), -2, 2),
    ])  # fmt: skip
