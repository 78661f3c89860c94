"""From a decoded picture to the small ones that are kept: upright, in the aspect it is shown in.

libswscale keeps its tables from one picture to the next, which makes it several times faster than asking each picture
to scale itself, and two steps (scale, then colours) are faster than one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.shots import BLOCKS_ACROSS, BLOCKS_DOWN

_LONGEST = 8  # times ``side``: what the longer side of a held picture may have
_ASPECTS = (Fraction(1, 8), Fraction(8))  # of pixels; others are taken for a mistake
Picture = npt.NDArray[np.uint8]


class Scaler:
    """Makes the small pictures of one video.

    All pictures of a video get the size of the first, should it change on the way.

    Args:
        first: A decoded picture (``av.VideoFrame``).
        pixel_aspect: Width of a pixel by its height; None when the file does not say.
        side: Shorter side of the held pictures.

    Attributes:
        width: Of the picture as it is shown, in pixels.
        height: Of the picture as it is shown.
    """

    def __init__(self, first: Any, pixel_aspect: Fraction | None, side: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._grey, self._colour, self._scale, self._rgb = (VideoReformatter() for _ in range(4))
        self._turn = turn_of(first)
        aspect = pixel_aspect if pixel_aspect and _ASPECTS[0] <= pixel_aspect <= _ASPECTS[1] else Fraction(1)
        wide, high = max(1, round(first.width * aspect)), int(first.height)
        self.width: int
        self.height: int
        self.width, self.height = (high, wide) if self._turn[0] else (wide, high)
        scale = min(1.0, side / min(wide, high), _LONGEST * side / max(wide, high))
        self._size = max(1, round(wide * scale)), max(1, round(high * scale))  # before it is turned

    def grey(self, frame: Any) -> Picture:
        """Return the small grey picture, 0 black and 255 white, (GREY_HEIGHT, GREY_WIDTH)."""
        width, height = self._before(GREY_WIDTH, GREY_HEIGHT)
        small = self._grey.reformat(
            frame, width=width, height=height, format="gray", interpolation="AREA", dst_color_range="JPEG", threads=1
        )
        return _turned(_plane(small, 0), self._turn)

    def colour(self, frame: Any) -> Picture:
        """Return the two colour differences in blocks, (2, BLOCKS_DOWN, BLOCKS_ACROSS)."""
        width, height = self._before(BLOCKS_ACROSS, BLOCKS_DOWN)
        small = self._colour.reformat(
            frame, width=width, height=height, format="yuv444p", interpolation="FAST_BILINEAR", threads=1
        )
        return np.stack([_turned(_plane(small, number), self._turn) for number in (1, 2)])

    def rgb(self, frame: Any) -> Picture:
        """Return the picture that is held, (height, width, 3)."""
        width, height = self._size
        small = self._scale.reformat(
            frame, width=width, height=height, format="yuv444p", interpolation="AREA", threads=1
        )
        coloured = self._rgb.reformat(small, format="rgb24", interpolation="BILINEAR", threads=1)
        return _turned(_plane(coloured, 0, channels=3), self._turn)

    def _before(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self._turn[0] else (width, height)


Turn = tuple[bool, bool, bool]  # transpose; then mirror left and right; then mirror up and down


def turn_of(frame: Any) -> Turn:
    """Return how a decoded picture must be turned to be upright; angles between are taken to the nearest."""
    data = next((entry for entry in frame.side_data if entry.type.name == "DISPLAYMATRIX"), None)
    if data is None or len(bytes(data)) < 36:
        return False, False, False
    # a point (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def _turned(picture: Picture, turn: Turn) -> Picture:
    transpose, mirror, flip = turn
    if transpose:
        picture = picture.swapaxes(0, 1)
    if mirror:
        picture = picture[:, ::-1]
    if flip:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _plane(frame: Any, number: int, channels: int = 1) -> Picture:
    """Return a copy of a plane of a picture, which libav pads on the right."""
    plane = frame.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width * channels]
    return rows.reshape(frame.height, frame.width, channels).copy() if channels > 1 else rows.copy()
