"""FlowExpert on shots whose motion is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.flow import FlowExpert, describe_motion, spaced

from .shots import Landscape, make_shot

LAND = Landscape()
EXPERT = FlowExpert()
# where things stand in the vectors
AMOUNT, CELLS, TURNS, PAN = 0, slice(6, 18), slice(30, 38), slice(38, 54)
OWN, BY_CAMERA, SURE = 61, 71, 72
FLICKER, FLASH, RISE = 86, 87, 88


def moving(
    right: float = 0, down: float = 0, zoom: float = 1, *, n: int = 24, fps: float = 24.0
) -> npt.NDArray[np.uint8]:
    """Pictures of a camera whose view moves by so many pixels a second, and grows by that factor."""
    return np.stack([LAND.seen(right * i / fps, down * i / fps, zoom ** (i / fps)) for i in range(n)])


def described(grey: npt.NDArray[np.uint8], fps: float = 24.0) -> npt.NDArray[np.float32]:
    return describe_motion(grey, np.arange(len(grey)) / fps)


STILL, RIGHT, UP = described(moving()), described(moving(30)), described(moving(0, -30))


def test_a_still_shot() -> None:
    assert STILL.shape == (EXPERT.dim,)
    assert np.abs(STILL[:SURE]).max() < 1e-6
    assert np.abs(STILL[[FLICKER, FLASH, RISE]]).max() < 1e-6


def test_a_pan_moves_everything_alike_and_by_the_camera() -> None:
    wanted = np.log1p(30 / GREY_WIDTH / 0.05) / 2
    assert RIGHT[AMOUNT] == pytest.approx(wanted, rel=0.05)
    np.testing.assert_allclose(RIGHT[CELLS], wanted, rtol=0.15)
    assert RIGHT[PAN][0] == pytest.approx(wanted, rel=0.05)  # to the right, signed
    assert RIGHT[BY_CAMERA] > 0.95
    assert RIGHT[OWN] < 0.2 * RIGHT[AMOUNT]
    assert described(moving(-30))[PAN][0] == pytest.approx(-wanted, rel=0.05)


def test_directions() -> None:
    assert RIGHT[TURNS].argmax() == 0
    assert UP[TURNS].argmax() == 6  # down is 2
    assert described(moving(30, 30))[TURNS].argmax() == 1
    for one in (RIGHT, UP):
        assert np.square(one[TURNS]).sum() == pytest.approx(1, abs=1e-5)
        assert one[TURNS].max() > 0.9


def test_faster_is_more() -> None:
    amounts = [described(moving(speed))[AMOUNT] for speed in (5, 20, 60, 150)]
    assert amounts == sorted(amounts)
    assert amounts[-1] > 2 * amounts[0]


def test_a_zoom_is_no_pan() -> None:
    nearer, farther = described(moving(zoom=1.3)), described(moving(zoom=1 / 1.3))
    assert abs(nearer[PAN][0]) < 0.1
    assert nearer[PAN][2] > 0.3
    assert farther[PAN][2] < -0.3
    assert nearer[BY_CAMERA] > 0.9
    assert np.square(nearer[TURNS]).max() < 0.35


def test_a_thing_that_moves_before_a_still_camera() -> None:
    grey = moving()
    thing = Landscape(1).seen()[:20, :20]
    for i, picture in enumerate(grey):
        picture[30:50, 10 + 2 * i : 30 + 2 * i] = thing
    found = described(grey)
    assert found[OWN] > 0.05
    assert found[BY_CAMERA] < 0.4
    assert found[PAN][0] < 0.15
    low, high = found[CELLS].reshape(3, 4)[2], found[CELLS].reshape(3, 4)[0]
    assert low.mean() > 3 * high.mean()


@pytest.mark.parametrize("fps", [25.0, 30.0, 50.0, 60.0])
def test_the_frame_rate_hardly_counts(fps: float) -> None:
    found = described(moving(30, n=int(fps), fps=fps), fps)
    np.testing.assert_allclose(found[:SURE], RIGHT[:SURE], atol=0.12)


def test_frames_shown_twice_hardly_count() -> None:
    found = described(np.repeat(moving(30, n=12, fps=12), 2, axis=0))
    assert found[AMOUNT] == pytest.approx(RIGHT[AMOUNT], abs=0.05)


def test_a_variable_rate_is_read_by_time() -> None:
    seconds = np.array([0, 0.07, 0.2, 0.27, 0.5, 0.6, 1.0])
    grey = np.stack([LAND.seen(20 * s) for s in seconds])
    found = describe_motion(grey, seconds)
    assert found[AMOUNT] == pytest.approx(np.log1p(20 / GREY_WIDTH / 0.05) / 2, rel=0.1)


def test_a_flash_and_a_fade() -> None:
    grey = moving() // 2
    grey[12:14] += 100
    flashed = described(grey)
    assert flashed[FLASH] > 0.7
    assert flashed[AMOUNT] < 0.05
    fading = np.clip(moving() * np.linspace(1, 0, 24)[:, None, None], 0, 255).astype(np.uint8)
    found = described(fading)
    assert found[RISE] < -0.25
    assert found[FLASH] < 0.1


def test_the_length_of_a_shot() -> None:
    short, long = (make_shot(grey=moving(n=n)) for n in (6, 24))
    values, _ = EXPERT.encode_shots([short, long])
    np.testing.assert_allclose(values[:, -1], np.log([6 / 24, 1]) / 2, atol=1e-6)


def test_which_pictures_are_compared() -> None:
    assert spaced(np.arange(6) / 24) == [0, 2, 4]
    assert spaced(np.arange(6) / 10) == [0, 1, 2, 3, 4, 5]
    assert spaced(np.arange(9) / 60) == [0, 4, 8]
    assert spaced(np.array([3.0, 3.01])) == [0, 1]
    assert spaced(np.array([3.0])) == [0]
    assert spaced(np.array([3.0, 3.0])) == [0]


def test_a_shot_of_one_picture_has_no_motion() -> None:
    one = make_shot(grey=moving(n=1))
    values, present = EXPERT.encode_shots([one, make_shot(grey=moving(30))])
    assert present.tolist() == [False, True]
    assert not values[0].any()
    np.testing.assert_allclose(values[1][:-1], RIGHT[:-1], atol=1e-6)


def test_a_row_depends_on_its_shot_alone_not_on_when_it_begins() -> None:
    shots = [make_shot(grey=moving(30)), make_shot(seed=1), make_shot(grey=moving(zoom=1.2, n=9), start_s=40)]
    together, present = EXPERT.encode_shots(shots)
    assert present.all()
    assert together.dtype == np.float32
    for row, shot in enumerate(shots):
        np.testing.assert_array_equal(EXPERT.encode_shots([shot])[0][0], together[row])
    later = replace(shots[1], start_s=7.0, end_s=8.0, grey_s=shots[1].grey_s + 7)
    np.testing.assert_allclose(EXPERT.encode_shots([later])[0][0], together[1], atol=1e-5)


def test_scales() -> None:
    random = np.random.default_rng(0)
    wild = random.integers(0, 256, (48, GREY_HEIGHT, GREY_WIDTH), np.uint8)
    blink = np.zeros((24, GREY_HEIGHT, GREY_WIDTH), np.uint8)
    blink[::4] = 255
    for grey in (wild, blink, moving(400)):
        found = described(grey)
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 3


def test_names_and_nothing() -> None:
    assert (EXPERT.name, EXPERT.fingerprint, EXPERT.sample_rate) == ("flow", "flow-1", None)
    values, present = EXPERT.encode_shots([])
    assert values.shape == (0, EXPERT.dim)
    assert present.shape == (0,)
