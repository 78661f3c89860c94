"""From the bytes of a poster to an RGB image, or None where they hold none that could be looked at.

Posters come from anywhere: broken downloads, one-pixel placeholders, prints in CMYK, scans of a hundred megapixels.
Only raster formats are opened (Pillow would hand PostScript to an interpreter), and large ones are made small at once.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

RGBImage: TypeAlias = Image.Image  # mode "RGB"

DECODING = 1  # part of the key of cached vectors; raise it when the same bytes give other pixels
MAX_PIXELS = 100_000_000
MIN_SIDE = 8
DRAFT_SIDE = 512  # the shorter side keeps at least this many pixels
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    OverflowError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_BAD_EXIF = (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, OverflowError, struct.error)


def decode(content: bytes) -> RGBImage | None:
    """Decode one image.

    Args:
        content: The bytes of a file: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.

    Returns:
        The image upright in RGB, the first frame of an animation, what is transparent laid on white. Its shorter side
        is reduced to between 512 and 1,023 pixels when longer. None when it is broken, cut off, of another format,
        narrower than 8 pixels or larger than 100 million.
    """
    return decode_all([content])[0]


def decode_all(contents: Sequence[bytes], pool: Executor | None = None) -> list[RGBImage | None]:
    """Decode several images, side by side when there is a pool of threads; as ``decode`` does each."""
    formats = _formats()
    with warnings.catch_warnings():  # around all threads: the filters belong to the process
        warnings.simplefilter("ignore")
        if pool is None:
            return [_decode(content, formats) for content in contents]
        return list(pool.map(_decode, contents, [formats] * len(contents)))


def decoding_threads() -> int:
    """Return how many threads decode side by side: one per core that this process may use, eight at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow knows of."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _decode(content: bytes, formats: tuple[str, ...]) -> RGBImage | None:
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > MAX_PIXELS or min(image.size) < MIN_SIDE:
                return None
            image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))  # JPEG only: decodes at a fraction of the size
            image.load()
            small = _reduced(_rgb(image))
            return _upright(small, image)
    except UNREADABLE:
        return None


def _rgb(image: Image.Image) -> RGBImage:
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> RGBImage:
    """Return grey of 16 bits, or of floats from 0 to 1 or to 255, as RGB."""
    values = np.nan_to_num(np.asarray(image, np.float64))
    if image.mode == "F":
        scale = 255.0 if values.max() <= 1 else 1.0
    else:
        scale = 1.0 if values.max() <= 255 and image.mode == "I" else 255 / 65535
    grey = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _reduced(image: RGBImage) -> RGBImage:
    factor = min(image.size) // DRAFT_SIDE
    return image.reduce(factor) if factor > 1 else image


def _upright(image: RGBImage, source: Image.Image) -> RGBImage:
    """Turn an image as the EXIF data of its source say; data that cannot be read say nothing."""
    try:
        orientation = source.getexif().get(0x0112, 1)
    except _BAD_EXIF:
        return image
    if orientation not in range(2, 9):
        return image
    image.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(image)
