"""Shots made by hand, and the signals in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH, Shot

Sound = npt.NDArray[np.float32]
FPS = 24.0


def make_shot(
    *,
    seed: int = 0,
    n_frames: int = 5,
    size: tuple[int, int] = (20, 32),
    grey: npt.NDArray[np.uint8] | None = None,
    fps: float = FPS,
    start_s: float = 0.0,
    sound: Mapping[int, npt.NDArray[np.floating]] | None = None,
) -> Shot:
    """Return a shot of noise of height and width ``size``, as long as its small pictures say."""
    random = np.random.default_rng(seed)
    if grey is None:
        grey = random.integers(0, 256, (int(fps), GREY_HEIGHT, GREY_WIDTH), np.uint8)
    return Shot(
        start_s=start_s, end_s=start_s + len(grey) / fps,
        frames=random.integers(0, 256, (n_frames, *size, 3), np.uint8),
        grey=grey, grey_s=start_s + np.arange(len(grey)) / fps,
        sound={rate: wave.astype(np.float32) for rate, wave in (sound or {}).items()},
    )  # fmt: skip


def tone(hz: float, rate: int, seconds: float = 1.0, loudness: float = 0.5) -> Sound:
    """Return a pure tone."""
    return (loudness * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def noise(rate: int, seconds: float = 1.0, seed: int = 0, loudness: float = 0.1) -> Sound:
    """Return white noise."""
    return (loudness * np.random.default_rng(seed).normal(size=round(rate * seconds))).astype(np.float32)


class Landscape:
    """A large random picture, seen through a camera of GREY_WIDTH x GREY_HEIGHT."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        layers = (weight * sigma * gaussian_filter(random.normal(size=(300, 520)), sigma)
                  for sigma, weight in ((2, 1), (5, 1), (20, 2)))  # fmt: skip
        picture = np.sum(list(layers), axis=0)
        self.picture = 255 * (picture - picture.min()) / np.ptp(picture)

    def seen(self, right: float = 0, down: float = 0, zoom: float = 1, turn: float = 0) -> npt.NDArray[np.uint8]:
        """Return the picture moved by pixels, then made larger and turned clockwise around the middle."""
        y, x = np.mgrid[:GREY_HEIGHT, :GREY_WIDTH].astype(float)
        x, y = x - (GREY_WIDTH - 1) / 2, y - (GREY_HEIGHT - 1) / 2
        cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
        places = [150 + 1.5 * (cos * y - sin * x - down), 260 + 1.5 * (cos * x + sin * y - right)]
        return np.rint(map_coordinates(self.picture, places, order=1)).astype(np.uint8)
