"""What the engines on this machine share: small posters are enlarged to be read; boxes become shares of a poster."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.words import Box, Point

SIDE = 480  # small posters are enlarged until their shorter side has this many pixels
LARGEST_FACTOR = 2.5  # but not further: larger letters from the same pixels read no better
LONGEST_SIDE = 736  # of the shorter side; large posters are made smaller
_STRIP = 40


def is_strip(image: RGBImage) -> bool:
    """Return whether an image is over 40 times as long as wide: it holds no words, and the engines refuse it."""
    return max(image.size) > _STRIP * min(image.size)


def enlarged(image: RGBImage) -> RGBImage:
    """Return an image at the size that is read best, or itself."""
    side = min(image.size)
    target = min(max(side, min(LARGEST_FACTOR * side, SIDE)), LONGEST_SIDE)
    if target == side:
        return image
    scale = target / side
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def box_of(corners: Sequence[Sequence[float]], size: tuple[int, int]) -> Box:
    """Return four corners in pixels of an image of width and height ``size`` as shares; outside becomes the edge."""
    first, second, third, fourth = (_point(corner, size) for corner in corners)
    return first, second, third, fourth


def slice_of(box: Box, start: float, end: float) -> Box:
    """Return the part of a box between two shares of its top and bottom edge, both counted from where it begins."""
    left_above, right_above, right_below, left_below = box
    return (
        _between(left_above, right_above, start),
        _between(left_above, right_above, end),
        _between(left_below, right_below, end),
        _between(left_below, right_below, start),
    )


def _point(corner: Sequence[float], size: tuple[int, int]) -> Point:
    (x, y), (width, height) = corner, size
    return min(max(float(x) / width, 0.0), 1.0), min(max(float(y) / height, 0.0), 1.0)


def _between(one: Point, other: Point, share: float) -> Point:
    return (1 - share) * one[0] + share * other[0], (1 - share) * one[1] + share * other[1]
