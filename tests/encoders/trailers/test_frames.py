"""FrameExpert around an encoder that says what it saw, and around the descriptors of posters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reeltag.encoders import open_poster_encoder
from reeltag.encoders.images import RGBImage
from reeltag.encoders.trailers.frames import FrameExpert, evenly
from reeltag.errors import ConfigError

from .shots import make_shot


class Means:
    """The mean of each channel, and the corner pixel; counts its batches."""

    name = "means"
    dim = 4
    fingerprint = "means-1"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        self.batches.append(len(batch))
        arrays = [np.asarray(image, np.float32) for image in batch]
        assert all(image.mode == "RGB" for image in batch)
        return np.array([[*array.mean(axis=(0, 1)), array[0, 0, 0]] for array in arrays], np.float32).reshape(-1, 4)


def test_the_mean_over_three_pictures_at_unit_length() -> None:
    shot = make_shot(n_frames=10)
    values, present = FrameExpert(Means()).encode_shots([shot])
    expected = sum(Means().encode([Image.fromarray(shot.frames[place])])[0] for place in (1, 5, 8))
    np.testing.assert_allclose(values[0], expected / np.linalg.norm(expected), rtol=1e-5)
    assert values.dtype == np.float32
    assert present.tolist() == [True]


@pytest.mark.parametrize(
    ("n", "n_chosen", "expected"),
    [(10, 3, [1, 5, 8]), (3, 3, [0, 1, 2]), (9, 3, [1, 4, 7]), (1, 3, [0, 0, 0]), (2, 4, [0, 0, 1, 1]), (5, 1, [2])],
)  # fmt: skip
def test_the_middles_of_equal_parts(n: int, n_chosen: int, expected: list[int]) -> None:
    assert evenly(n, n_chosen) == expected
    assert expected == [int((part + 0.5) * n / n_chosen) for part in range(n_chosen)]


def test_a_shot_with_fewer_pictures_than_asked_for() -> None:
    shot = make_shot(n_frames=2)
    encoder = Means()
    values, _ = FrameExpert(encoder, n_frames=5).encode_shots([shot])
    expected = Means().encode([Image.fromarray(frame) for frame in shot.frames]).sum(axis=0)
    np.testing.assert_allclose(values[0], expected / np.linalg.norm(expected), rtol=1e-5)
    assert encoder.batches == [2]


def test_pictures_of_several_shots_go_together() -> None:
    encoder = Means()
    shots = [make_shot(seed=seed, n_frames=4, size=(9 + seed, 16)) for seed in range(25)]
    together, present = FrameExpert(encoder).encode_shots(shots)
    assert encoder.batches == [32, 32, 11]
    assert present.all()
    for row, shot in enumerate(shots):
        np.testing.assert_allclose(FrameExpert(Means()).encode_shots([shot])[0][0], together[row], atol=1e-6)


def test_black_pictures_of_an_encoder_that_gives_zeros() -> None:
    shot = make_shot()
    black = type(shot)(**{**vars(shot), "frames": np.zeros_like(shot.frames)})
    values, present = FrameExpert(Means()).encode_shots([black])
    assert not values.any()
    assert present.all()


def test_around_the_descriptors_of_posters() -> None:
    pytest.importorskip("skimage", reason="needs the extra 'trailers'")
    encoder = open_poster_encoder("descriptors")
    expert = FrameExpert(encoder, n_frames=2)
    shots = [make_shot(seed=seed) for seed in range(2)]
    values, _ = expert.encode_shots(shots)
    assert values.shape == (2, encoder.dim) == (2, expert.dim)
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-5)
    expected = encoder.encode([Image.fromarray(shots[1].frames[place]) for place in (1, 3)]).mean(axis=0)
    np.testing.assert_allclose(values[1], expected / np.linalg.norm(expected), atol=1e-6)


def test_names_fingerprints_and_nothing() -> None:
    expert = FrameExpert(Means())
    assert (expert.name, expert.dim, expert.sample_rate) == ("means", 4, None)
    assert expert.fingerprint == "frames-3-means-1"
    assert FrameExpert(Means(), 4).fingerprint != expert.fingerprint
    values, present = expert.encode_shots([])
    assert values.shape == (0, 4)
    assert present.shape == (0,)


@pytest.mark.parametrize("n_frames", [0, -1, 1001])
def test_a_number_of_pictures_out_of_range(n_frames: int) -> None:
    with pytest.raises(ConfigError, match=r"FrameExpert\.n_frames must be between 1 and 1000; got"):
        FrameExpert(Means(), n_frames)
