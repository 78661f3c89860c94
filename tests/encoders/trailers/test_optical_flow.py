"""Flow and camera against known moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.optical_flow import COLUMNS, ROWS, Floats, camera_motion, flow_between, halved

from .shots import Landscape

LAND = Landscape()


def between(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Flow in whole pixels and certainty from one picture to another."""
    flow, certain = flow_between(halved(first[None]), halved(second[None]))
    assert flow.shape == (1, ROWS, COLUMNS, 2)
    assert certain.shape == (1, ROWS, COLUMNS)
    return 2 * flow[0], certain[0]


def test_a_still_picture_does_not_move() -> None:
    flow, certain = between(LAND.seen(), LAND.seen())
    assert np.abs(flow).max() == 0
    assert certain.min() >= 0
    assert certain.mean() > 0.5
    assert certain.max() < 1


@pytest.mark.parametrize("move", [(0.4, 0), (1, 0), (0, -1), (-2, 1), (5, 2), (-8, 0), (0, 6), (12, 0)])
def test_known_moves_are_found_within_a_tenth(move: tuple[float, float]) -> None:
    flow, _ = between(LAND.seen(), LAND.seen(*move))
    middle = np.median(flow.reshape(-1, 2), axis=0)
    assert np.abs(middle - move).max() < 0.05 + 0.03 * np.abs(move).max()
    far = np.abs(flow[1:-1, 2:-2] - move).mean()
    assert far < 0.1 + 0.04 * np.abs(move).max()


@pytest.mark.parametrize(("zoom", "turn"), [(1.03, 0), (0.96, 0), (1, 0.03), (1, -0.02), (1.02, 0.02)])
def test_zoom_and_turn_of_the_camera(zoom: float, turn: float) -> None:
    flow, certain = between(LAND.seen(), LAND.seen(zoom=zoom, turn=turn))
    camera, explained = camera_motion(flow[None] / GREY_WIDTH, certain[None])
    right, down, larger, clockwise = camera[0]
    assert larger == pytest.approx(zoom - 1, abs=0.003)
    assert clockwise == pytest.approx(turn, abs=0.003)
    assert abs(right) < 0.002
    assert abs(down) < 0.002
    assert np.abs(explained[0] - flow / GREY_WIDTH).mean() < 0.003


def test_a_thing_that_moves_does_not_pull_the_camera_with_it() -> None:
    first, second = LAND.seen(), LAND.seen(1, 0)
    thing = Landscape(1).seen()[10:40, 20:60]
    first[12:42, 24:64], second[12:42, 29:69] = thing, thing  # by 5 pixels, over a quarter of the picture
    flow, certain = between(first, second)
    assert np.abs(flow[3:6, 6:10] - (5, 0)).mean() < 0.5
    camera, explained = camera_motion(flow[None] / GREY_WIDTH, certain[None])
    assert flow[..., 0].mean() > 1.8
    assert camera[0, 0] * GREY_WIDTH == pytest.approx(1, abs=0.2)
    left = np.abs(flow[..., 0] - explained[0, ..., 0] * GREY_WIDTH)
    assert left[3:6, 6:10].mean() > 3
    assert left[:, -3:].mean() < 0.3


def test_camera_of_a_flow_made_by_formula() -> None:
    wanted = np.array([0.02, -0.01, 0.1, 0.05])
    flow = np.zeros((1, ROWS, COLUMNS, 2), np.float32)
    for row in range(ROWS):
        for column in range(COLUMNS):
            x = (column + 0.5) / COLUMNS - 0.5
            y = ((row + 0.5) / ROWS - 0.5) * GREY_HEIGHT / GREY_WIDTH
            flow[0, row, column, 0] = wanted[0] + wanted[2] * x - wanted[3] * y
            flow[0, row, column, 1] = wanted[1] + wanted[2] * y + wanted[3] * x
    camera, explained = camera_motion(flow, np.ones((1, ROWS, COLUMNS), np.float32))
    np.testing.assert_allclose(camera[0], wanted, atol=1e-5)
    np.testing.assert_allclose(explained, flow, atol=1e-5)


def test_where_nothing_is_to_be_seen_nothing_moves() -> None:
    plain = np.full((GREY_HEIGHT, GREY_WIDTH), 90, np.uint8)
    flow, certain = between(plain, plain)
    assert np.abs(flow).max() == 0
    assert np.abs(certain).max() == 0
    camera, _ = camera_motion(flow[None], certain[None])
    assert np.abs(camera).max() == 0


def test_a_flash_is_no_motion() -> None:
    flow, _ = between(LAND.seen() // 2, LAND.seen() // 2 + 100)
    assert np.abs(flow).max() < 0.01


def test_grain_is_little_motion() -> None:
    random = np.random.default_rng(0)
    noisy = [np.clip(LAND.seen() + random.normal(0, 3, (GREY_HEIGHT, GREY_WIDTH)), 0, 255) for _ in range(2)]
    flow, _ = between(*(picture.astype(np.uint8) for picture in noisy))
    assert np.abs(flow).mean() < 0.25


def test_pairs_do_not_depend_on_each_other() -> None:
    pictures = halved(np.stack([LAND.seen(move, move / 2) for move in (0, 1, 3, 2)]))
    together, certain = flow_between(pictures[:-1], pictures[1:])
    for pair in range(3):
        alone, sure = flow_between(pictures[pair : pair + 1], pictures[pair + 1 : pair + 2])
        np.testing.assert_allclose(alone[0], together[pair], atol=1e-4)
        np.testing.assert_allclose(sure[0], certain[pair], atol=1e-5)


def test_halving_by_loops() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 7, 9), np.uint8)
    half = halved(picture)
    assert half.shape == (1, 3, 4)
    for row in range(3):
        for column in range(4):
            cell = picture[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert half[0, row, column] == pytest.approx(cell.mean())
