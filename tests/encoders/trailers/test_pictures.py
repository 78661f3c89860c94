"""Small pictures: upright, of the right size and colours, held in few bytes and drawn when asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH
from reeltag.encoders.trailers.pictures import Scaler, Undrawn
from reeltag.encoders.trailers.shots import BLOCKS_ACROSS, BLOCKS_DOWN
from reeltag.encoders.trailers.video import Video, open_media

from .videos import plain, write_video


def first_frame(path: Path) -> tuple[Any, Any]:
    """Return the first picture of a file and the aspect of its pixels."""
    with open_media(path) as container:
        video = Video(path, container)
        return next(video.frames())[1], video.stream.sample_aspect_ratio


def corners(height: int = 36, width: int = 64) -> npt.NDArray[np.uint8]:
    """A picture that is red top left, green top right, blue bottom left, white bottom right."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return picture


def drawn(scaler: Scaler, frame: Any) -> npt.NDArray[np.uint8]:
    return scaler.rgb(scaler.keep(frame))


def names(picture: npt.NDArray[np.uint8]) -> str:
    """Return the colours of the corners of a picture: top left, top right, bottom left, bottom right."""
    height, width = picture.shape[:2]
    known = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}
    out = ""
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            colour = picture[y, x].astype(int)
            out += min(known, key=lambda name: int(np.abs(colour - known[name]).sum()))
    return out


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (None, "RGBW"),
        ((90,), "GWRB"),  # counterclockwise
        ((-90,), "BRWG"),
        ((180,), "WBGR"),
        ((0, True, False), "GRWB"),
        ((0, False, True), "BWRG"),
        ((90, True, False), "WGBR"),
    ],
)
def test_pictures_are_upright(tmp_path: Path, turn: tuple[Any, ...] | None, expected: str) -> None:
    path = write_video(tmp_path / "a.mp4", [corners()] * 2, turn=turn, options={"qmin": "2", "qmax": "3"})
    frame, aspect = first_frame(path)
    scaler = Scaler(frame, aspect, 256)
    sideways = turn is not None and turn[0] in (90, -90)
    shape = (64, 36, 3) if sideways else (36, 64, 3)
    assert drawn(scaler, frame).shape == scaler.rgb_shape == shape
    assert (scaler.height, scaler.width) == shape[:2]
    assert names(drawn(scaler, frame)) == expected
    grey = scaler.grey(frame)
    assert grey.shape == (GREY_HEIGHT, GREY_WIDTH)
    lightness = {"R": 76, "G": 150, "B": 29, "W": 255}
    seen = [grey[y, x] for y in (13, 40) for x in (24, 72)]
    np.testing.assert_allclose(seen, [lightness[name] for name in expected], atol=25)
    colour = scaler.colour(frame)
    assert colour.shape == (2, BLOCKS_DOWN, BLOCKS_ACROSS)
    blue, red = ([plane[y, x] for y in (2, 6) for x in (4, 12)] for plane in colour)
    assert expected[int(np.argmax(blue))] == "B"
    assert expected[int(np.argmax(red))] == "R"


@pytest.mark.parametrize(
    ("size", "aspect", "side", "expected"),
    [
        ((36, 64), None, 18, (18, 32)),
        ((36, 64), None, 256, (36, 64)),  # not enlarged
        ((64, 36), None, 18, (32, 18)),
        ((36, 64), Fraction(2), 18, (18, 64)),
        ((36, 64), Fraction(1, 2), 18, (20, 18)),
        ((36, 64), Fraction(90), 18, (18, 32)),  # nobody films so
        ((17, 33), None, 16, (16, 31)),
        ((1, 1), None, 16, (1, 1)),
        ((2, 640), None, 16, (1, 128)),
    ],
)
def test_sizes(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction | None, side: int, expected: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "a.mkv", plain(90, 1, width=size[1], height=size[0]), codec="ffv1", pixels="bgr0")
    frame, _ = first_frame(path)
    scaler = Scaler(frame, aspect, side)
    assert drawn(scaler, frame).shape == scaler.rgb_shape == (*expected, 3)
    np.testing.assert_allclose(drawn(scaler, frame), 90, atol=2)
    np.testing.assert_allclose(scaler.grey(frame), 90, atol=2)


def test_the_aspect_of_pixels_is_read_from_the_file(tmp_path: Path) -> None:
    frame, aspect = first_frame(write_video(tmp_path / "a.mp4", [corners()] * 2, aspect=Fraction(2)))
    assert aspect == 2
    assert drawn(Scaler(frame, aspect, 18), frame).shape == (18, 64, 3)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gray10le", "bgr0", "rgb48le"])
def test_formats_of_pixels(tmp_path: Path, pixels: str) -> None:
    path = write_video(tmp_path / "a.mkv", plain(200, 2), codec="ffv1", pixels=pixels)
    frame, aspect = first_frame(path)
    scaler = Scaler(frame, aspect, 18)
    np.testing.assert_allclose(drawn(scaler, frame), 200, atol=3)
    np.testing.assert_allclose(scaler.grey(frame), 200, atol=3)
    np.testing.assert_allclose(scaler.colour(frame), 128, atol=3)


def test_black_is_0_and_white_255(tmp_path: Path) -> None:
    for level in (0, 255):
        frame, aspect = first_frame(write_video(tmp_path / f"{level}.mp4", plain(level, 2)))
        np.testing.assert_allclose(Scaler(frame, aspect, 18).grey(frame), level, atol=2)


def noisy(path: Path, width: int, height: int, pixels: str = "yuv420p") -> list[Any]:
    """Return the decoded pictures of a file of noise."""
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (5, height, width, 3), np.uint8))
    with open_media(write_video(path, pictures, codec="ffv1", pixels=pixels)) as container:
        return [frame for _, frame in Video(path, container).frames()]


@pytest.mark.parametrize(
    ("pixels", "side", "is_whole"),
    [("yuv420p", 36, True), ("yuv420p", 26, True), ("yuv420p", 25, False), ("yuv444p", 36, True), ("bgr0", 36, False)],
)
def test_a_picture_is_held_as_it_is_unless_a_small_one_takes_less(
    tmp_path: Path, pixels: str, side: int, is_whole: bool
) -> None:
    frames = noisy(tmp_path / "a.mkv", 64, 36, pixels)
    scaler = Scaler(frames[0], None, side)
    height, width, _ = scaler.rgb_shape
    for frame in frames:
        kept = scaler.keep(frame)
        assert (kept.frame is frame) == is_whole
        assert kept.n_bytes <= 3 * height * width
        assert sum(plane.buffer_size for plane in kept.frame.planes) <= 1.6 * kept.n_bytes + 64 * height  # padded
        # however it is held, it is drawn alike: small in the colours of the file first, RGB then
        small = frame.reformat(width=width, height=height, format="yuv444p", interpolation="AREA")
        expected = small.reformat(format="rgb24", interpolation="BILINEAR").to_ndarray()
        np.testing.assert_array_equal(scaler.rgb(kept), expected)


def test_pictures_are_drawn_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noisy(tmp_path / "a.mkv", 64, 36)
    scaler = Scaler(frames[0], None, 18)
    expected = np.stack([drawn(scaler, frame) for frame in frames])
    held = [scaler.keep(frame) for frame in frames]
    calls: list[Any] = []
    draw = Scaler.rgb
    monkeypatch.setattr(Scaler, "rgb", lambda self, kept: (calls.append(kept), draw(self, kept))[1])
    found = Undrawn(held, scaler)
    assert (len(found), found.shape, found.nbytes) == (5, (5, 18, 32, 3), sum(kept.n_bytes for kept in held))
    assert calls == []
    np.testing.assert_array_equal(found[3], expected[3])
    np.testing.assert_array_equal(found[-1], expected[4])
    assert calls == [held[3], held[4]]
    np.testing.assert_array_equal(found[np.array([4, 0, 4])], expected[[4, 0, 4]])
    np.testing.assert_array_equal(np.stack(list(found)), expected)
    with pytest.raises(IndexError):
        found[5]


def test_pictures_are_drawn_by_any_thread_while_others_are_read(tmp_path: Path) -> None:
    frames = noisy(tmp_path / "a.mkv", 320, 180, "yuv444p")
    scaler = Scaler(frames[0], None, 90)
    kept = [scaler.keep(frame) for frame in frames]
    expected = np.stack([scaler.rgb(each) for each in kept])
    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(lambda: [(scaler.grey(f), scaler.colour(f), scaler.keep(f)) for f in frames * 20])
        pictures = list(pool.map(scaler.rgb, kept * 20))
        assert len(reading.result()) == 100
    np.testing.assert_array_equal(np.stack(pictures), np.concatenate([expected] * 20))
