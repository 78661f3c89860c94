"""What a trailer is once it has been read, and what every expert makes of it.

A trailer is a sequence of shots. Every expert gives one vector per shot, or none where it has nothing to go by (a shot
without sound), so the sequences of all experts of a trailer have the same length and the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

GREY_WIDTH, GREY_HEIGHT = 96, 54  # of the small pictures of every frame
SHOT_MODALITIES = ("image", "scene", "motion", "audio")  # the experts of seed systems, as modalities of a title


class Frames(Protocol):
    """RGB pictures, (n_frames, height, width, 3), each drawn when it is asked for; an array is some, too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of pictures, height, width, 3."""

    @property
    def nbytes(self) -> int:
        """How much memory they take as they are held."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def __getitem__(self, place: Any, /) -> Any:
        """Return one picture (height, width, 3), or several by an array of places, uint8."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What was read of one shot.

    Attributes:
        start_s: When it begins, in seconds from the start of the trailer.
        end_s: When it ends.
        frames: RGB pictures held of it, evenly spaced, at least one; upright, the aspect as it is seen, the shorter
            side ``ShotConfig.side`` pixels at most. Experts that look at a few do not pay for the others.
        grey: Small grey pictures of all its frames, 125 a second at most: uint8 (n_greys, GREY_HEIGHT, GREY_WIDTH), at
            least one.
        grey_s: When each of them is shown, in seconds from the start of the trailer, (n_greys,).
        sound: Its sound, mono, float32 in [-1, 1], by sampling rate in Hz; empty when the trailer has no sound there.
    """

    start_s: float
    end_s: float
    frames: Frames
    grey: npt.NDArray[np.uint8]
    grey_s: npt.NDArray[np.float64]
    sound: Mapping[int, npt.NDArray[np.float32]]


class ShotExpert(Protocol):
    """Turns shots into vectors. ``name`` becomes the second half of a block name (``motion.flow``)."""

    name: str

    @property
    def dim(self) -> int:
        """Width of the vectors; asking for it opens the model, and fails when that cannot be done."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that changes the vectors: model, revision, preprocessing, precision."""

    @property
    def sample_rate(self) -> int | None:
        """The rate in Hz at which it wants the sound; None for an expert that does not listen."""

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return vectors (n_shots, dim) and a mask (n_shots,) that is False for shots it has nothing to go by in.

        A row depends on its shot alone. Rows of learned embeddings have unit length; masked rows are zero.
        """
