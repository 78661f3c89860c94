"""Any poster encoder as an expert on shots: the mean over a few of the pictures held of a shot.

Pictures of several shots go through the encoder together, as many at a time as are to be in memory as images of Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from reeltag.config import check_range
from reeltag.encoders.contract import PosterEncoder
from reeltag.encoders.trailers.contract import Shot

N_FRAMES = 3
_BATCH = 32


class FrameExpert:
    """The mean of an encoder's vectors of pictures of a shot, at unit length.

    Args:
        encoder: Any poster encoder.
        n_frames: Pictures looked at of a shot, each in the middle of a part of it; fewer where fewer are held.

    Raises:
        ConfigError: ``n_frames`` is out of range.
    """

    sample_rate = None

    def __init__(self, encoder: PosterEncoder, n_frames: int = N_FRAMES) -> None:
        check_range(type(self).__name__, "n_frames", n_frames, 1, 1000)
        self.encoder = encoder
        self.n_frames = n_frames
        self.name = encoder.name

    @property
    def dim(self) -> int:
        """Width of the vectors, which is the encoder's."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the encoder, and how many pictures are looked at."""
        return f"frames-{self.n_frames}-{self.encoder.fingerprint}"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return unit vectors (n_shots, dim) and a mask that is True throughout: every shot has a picture."""
        places = [
            (row, place)
            for row, shot in enumerate(shots)
            for place in sorted(set(evenly(len(shot.frames), self.n_frames)))
        ]
        sums = np.zeros((len(shots), self.dim), np.float32)
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            vectors = self.encoder.encode([Image.fromarray(shots[row].frames[place]) for row, place in part])
            np.add.at(sums, [row for row, _ in part], vectors)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.where(norms > 0, norms, 1), np.float32), np.ones(len(shots), np.bool_)


def evenly(n: int, n_chosen: int) -> list[int]:
    """Return the places in the middle of ``n_chosen`` equal parts of ``n`` things; of fewer, some are repeated."""
    return [(2 * part + 1) * n // (2 * n_chosen) for part in range(n_chosen)]
