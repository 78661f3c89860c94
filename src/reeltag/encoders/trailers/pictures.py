"""From a decoded picture to the small ones that are kept: upright, in the aspect it is shown in.

libswscale keeps its tables from one picture to the next, which makes it several times faster than asking each picture
to scale itself, and two steps (scale, then colours) are faster than one. RGB takes longer than all else, and most
experts look at few pictures of a shot, so pictures are held in the colours of the file and drawn when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.shots import BLOCKS_ACROSS, BLOCKS_DOWN

_LONGEST = 8  # times ``side``: what the longer side of a held picture may have
_ASPECTS = (Fraction(1, 8), Fraction(8))  # of pixels; others are taken for a mistake
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Kept:
    """What the RGB form of a picture is drawn from (``av.VideoFrame``), and how much memory it takes."""

    frame: Any
    n_bytes: int


NOTHING = Kept(None, 0)  # of a picture that nobody will look at


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

        self._grey, self._colour, self._keep, self._scale, self._rgb = (VideoReformatter() for _ in range(5))
        self._drawing = Lock()  # experts draw while the next pictures are read
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
        return _turned(_of_plane(small, small.planes[0]), self._turn)

    def colour(self, frame: Any) -> Picture:
        """Return the two colour differences in blocks, (2, BLOCKS_DOWN, BLOCKS_ACROSS)."""
        width, height = self._before(BLOCKS_ACROSS, BLOCKS_DOWN)
        small = self._colour.reformat(
            frame, width=width, height=height, format="yuv444p", interpolation="FAST_BILINEAR", threads=1
        )
        _, blue, red = small.planes
        return np.stack([_turned(_of_plane(small, blue), self._turn), _turned(_of_plane(small, red), self._turn)])

    def keep(self, frame: Any) -> Kept:
        """Return what the RGB form can be drawn from: the picture itself, or a small one where that takes less."""
        width, height = self._size
        whole = frame.width * frame.height * frame.format.padded_bits_per_pixel // 8
        if whole <= 3 * width * height:
            return Kept(frame, whole)
        return Kept(self._small(self._keep, frame), 3 * width * height)

    def rgb(self, kept: Kept) -> Picture:
        """Return the RGB form of a picture, (height, width, 3); any thread may ask for it."""
        with self._drawing:
            small = self._small(self._scale, kept.frame)
            coloured = self._rgb.reformat(small, format="rgb24", interpolation="BILINEAR", threads=1)
            return _turned(_of_plane(coloured, coloured.planes[0], channels=3), self._turn)

    @property
    def rgb_shape(self) -> tuple[int, int, int]:
        """Height, width and 3."""
        width, height = self._size[::-1] if self._turn[0] else self._size
        return height, width, 3

    def _small(self, scale: Any, frame: Any) -> Any:
        width, height = self._size
        return scale.reformat(frame, width=width, height=height, format="yuv444p", interpolation="AREA", threads=1)

    def _before(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self._turn[0] else (width, height)


class Undrawn:
    """The pictures held of a shot as ``Frames``: drawn whenever they are asked for, and not kept.

    Args:
        held: What they are drawn from, at least one.
        scaler: Draws them.

    Attributes:
        shape: Number of pictures, height, width, 3.
        nbytes: How much memory they take.
    """

    def __init__(self, held: Sequence[Kept], scaler: Scaler) -> None:
        self._held, self._scaler = held, scaler
        self.shape = (len(held), *scaler.rgb_shape)
        self.nbytes = sum(kept.n_bytes for kept in held)

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, place: int | npt.NDArray[np.int64]) -> Picture:
        if isinstance(place, np.ndarray):
            return np.stack([self._scaler.rgb(self._held[each]) for each in place.tolist()])
        return self._scaler.rgb(self._held[place])


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


def _of_plane(frame: Any, plane: Any, channels: int = 1) -> Picture:
    """Return a copy of a plane of a picture, which libav pads on the right."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width * channels]
    return rows.reshape(frame.height, frame.width, channels).copy() if channels > 1 else rows.copy()
