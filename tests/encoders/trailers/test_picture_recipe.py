"""Recipes of pictures against the processors of transformers, and processor files that break a rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.picture_recipe import PictureRecipe, read_recipe
from reeltag.errors import EncoderError

PLAIN: dict[str, Any] = {
    "size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True, "resample": 2,
    "rescale_factor": 1 / 255, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5],
}  # fmt: skip


def smooth(height: int, width: int, n: int = 2) -> npt.NDArray[np.uint8]:
    """Pictures whose colours run softly, so that places count."""
    frame, y, x, c = np.ogrid[:n, :height, :width, :3]
    return (127 + 120 * np.sin(frame + 5 * y / height + 7 * x / width + c)).astype(np.uint8)


def save(folder: Path, data: object, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.mark.parametrize("shape", [(36, 64), (64, 36), (16, 28), (50, 50), (20, 90)])
@pytest.mark.parametrize(
    "change",
    [{}, {"size": {"height": 16, "width": 20}, "do_center_crop": False}, {"size": {"shortest_edge": 20}},
     {"resample": 3}],
)  # fmt: skip
def test_as_the_processor_of_videomae(tmp_path: Path, shape: tuple[int, int], change: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    processor = transformers.VideoMAEImageProcessorPil(**PLAIN | change)
    processor.save_pretrained(tmp_path)
    frames = smooth(*shape)
    expected = processor(list(frames), return_tensors="np")["pixel_values"][0]
    found = read_recipe(tmp_path)(frames)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    # one grey level apart where a cut after resizing rounds otherwise than resizing a part
    np.testing.assert_allclose(found, expected, atol=1.01 / 255 / 0.2)
    assert np.abs(found - expected).mean() < 0.2 / 255 / 0.2


def test_as_the_processor_of_vivit(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    processor = transformers.VivitImageProcessor(
        size={"shortest_edge": 18}, crop_size={"height": 16, "width": 16}, rescale_factor=1 / 127.5, offset=True
    )
    processor.save_pretrained(tmp_path)
    frames = smooth(36, 64)
    expected = np.asarray(processor(list(frames), return_tensors="np")["pixel_values"][0])
    np.testing.assert_allclose(read_recipe(tmp_path)(frames), expected, atol=1.01 / 127.5 / 0.5)


def test_pixels_by_formula() -> None:
    recipe = PictureRecipe(
        shortest=None, size=None, crop=(2, 2), resample=0, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), np.uint8)
    found = recipe(frames)
    for frame in range(3):
        for channel in range(3):
            part = frames[frame, 2:4, 3:5, channel]
            expected = (part / 255 - recipe.mean[channel]) / recipe.std[channel]
            np.testing.assert_allclose(found[frame, channel], expected, atol=1e-5)


def test_numbers_for_sizes_and_what_may_be_left_out(tmp_path: Path) -> None:
    found = read_recipe(save(tmp_path, {"size": 18, "crop_size": 16, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}))
    assert (found.shortest, found.size, found.crop) == (18, None, (16, 16))
    assert (found.resample, found.scale) == (2, 1 / 255)
    off = {"do_resize": False, "do_rescale": False, "do_normalize": False, "do_center_crop": False}
    found = read_recipe(save(tmp_path, PLAIN | off))
    assert (found.shortest, found.size, found.crop) == (None, None, None)
    frames = smooth(4, 6)
    np.testing.assert_allclose(found(frames), frames.transpose(0, 3, 1, 2))


def test_the_file_for_video_comes_first(tmp_path: Path) -> None:
    save(tmp_path, PLAIN)
    save(tmp_path, PLAIN | {"size": {"shortest_edge": 30}}, "video_preprocessor_config.json")
    assert read_recipe(tmp_path).shortest == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"size": None},
            r"field 'size': must be a number or an object of height and width or shortest_edge, 1 to 4096",
        ),
        ({"size": {"longest_edge": 5}}, r"field 'size': must be .*; got {'longest_edge': 5}"),
        ({"size": {"height": 0, "width": 5}}, r"field 'size': must be"),
        ({"size": 9999}, r"field 'size': must be .*; got 9999"),
        (
            {"crop_size": {"shortest_edge": 5}},
            r"field 'crop_size': must be a number or an object of height and width, 1",
        ),
        ({"crop_size": 17}, r"field 'crop_size': must fit into size, 16 x 16; got 17"),
        ({"do_center_crop": False}, r"field 'crop_size': must be given with a size of the shorter side alone"),
        ({"resample": 9}, r"field 'resample': must be one of Pillow's filters, 0 to 5; got 9"),
        ({"rescale_factor": 0}, r"field 'rescale_factor': must be a number above 0; got 0"),
        ({"image_mean": [0.5]}, r"field 'image_mean': must be a list of three numbers; got \[0.5\]"),
        ({"image_std": [1, 1, 0]}, r"field 'image_std': must be above 0; got \[1, 1, 0\]"),
        ({"image_std": [1, 1, True]}, r"field 'image_std': must be a list of three numbers"),
    ],
)
def test_files_that_break_a_rule(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json, " + message):
        read_recipe(save(tmp_path, PLAIN | change))


def test_files_that_are_not_there_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(
        EncoderError, match=r"preprocessor_config\.json: a video model needs it to prepare pictures \(No"
    ):
        read_recipe(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(EncoderError, match="not valid JSON"):
        read_recipe(tmp_path)
    with pytest.raises(EncoderError, match=r"must be an object; got \[\]"):
        read_recipe(save(tmp_path, []))
