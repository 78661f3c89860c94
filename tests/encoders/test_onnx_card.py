"""Cards: both forms read to the same, and a broken one named by file, field, rule and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reeltag.encoders.onnx_card import ImageCard, read_card
from reeltag.errors import EncoderError

from .pictures import picture
from .tiny_onnx import PLAIN, save_card

PROSE: dict[str, Any] = {
    "layout": "NCHW",
    "colour_order": "RGB",
    "resize": "224x224",
    "normalisation": "(pixel 0..255 - 127.5) / 127.5, so -1..1",
}
CROPPED: dict[str, Any] = {
    "layout": "NCHW",
    "colour_order": "BGR",
    "resize": "whole image to 256x250 (the aspect is not kept), centre crop 224x220. A plain resize is another input.",
    "normalisation": "(pixel 0..255 minus the channel mean) / 255, channel means in BGR order 104.05, 112.51, 116. So.",
}


def card_of(folder: Path, preprocessing: object = None, **more: Any) -> ImageCard:
    return read_card(save_card(folder, preprocessing, **more))


# ---------------------------------------------------------------- what is read


def test_machine_readable(tmp_path: Path) -> None:
    card = card_of(tmp_path, PLAIN | {"crop": [4, 6], "layout": "NHWC"}, file="net.onnx")
    assert (card.file, card.resize, card.crop, card.size) == ("net.onnx", (8, 12), (4, 6), (4, 6))
    assert (card.channels, card.layout, card.test) == ("RGB", "NHWC", None)
    assert card.mean == pytest.approx((127.5, 102, 76.5))
    assert card.std == pytest.approx((51, 63.75, 127.5))


def test_defaults(tmp_path: Path) -> None:
    card = card_of(tmp_path)
    assert (card.file, card.crop, card.size, card.layout) == ("model.onnx", None, (8, 12), "NCHW")


def test_scale_of_one_takes_pixels_as_they_are(tmp_path: Path) -> None:
    card = card_of(tmp_path, PLAIN | {"scale": 1, "mean": [104, 112, 116], "std": [1, 1, 1]})
    assert (card.mean, card.std) == ((104.0, 112.0, 116.0), (1.0, 1.0, 1.0))


def test_prose(tmp_path: Path) -> None:
    card = card_of(tmp_path, input=PROSE)
    assert (card.resize, card.crop, card.channels, card.layout) == ((224, 224), None, "RGB", "NCHW")
    assert (card.mean, card.std) == ((127.5,) * 3, (127.5,) * 3)


def test_prose_with_a_crop_and_channel_means(tmp_path: Path) -> None:
    card = card_of(tmp_path, input=CROPPED)
    assert (card.resize, card.crop, card.channels) == ((256, 250), (224, 220), "BGR")
    assert (card.mean, card.std) == ((104.05, 112.51, 116.0), (255.0,) * 3)
    turned = card_of(tmp_path, input=CROPPED | {"colour_order": "RGB"})
    assert turned.mean == (116.0, 112.51, 104.05)


def test_the_machine_readable_form_wins(tmp_path: Path) -> None:
    save_card(tmp_path)
    assert read_card(save_card(tmp_path, PLAIN)).resize == (8, 12)


@pytest.mark.parametrize("how", ["u[h,w,c] = (3*h + 5*w + 85*c) mod 256, run", "image u[h,w,c]=(3*h+5*w+85*c) mod 256"])
def test_test_vector(tmp_path: Path, how: str) -> None:
    sanity = {"test_vector": {"how": how, "embedding_first5": [0, 1.5], "embedding_l2": 3}}
    test = card_of(tmp_path, sanity=sanity).test
    assert test is not None
    assert (test.first, test.length) == ((0.0, 1.5), 3.0)


@pytest.mark.parametrize(
    "sanity",
    [None, [], {}, {"test_vector": None}, {"test_vector": {"how": "a sweep of sound"}},
     {"test_vector": {"how": "u[h,w,c] = (3*h + 5*w + 85*c) mod 256", "embedding_l2": "long"}}],
)  # fmt: skip
def test_no_test_vector_that_is_understood(tmp_path: Path, sanity: object) -> None:
    assert card_of(tmp_path, sanity=sanity).test is None


# ---------------------------------------------------------------- what it does


def test_input_by_loop(tmp_path: Path) -> None:
    card = card_of(tmp_path, PLAIN | {"channels": "BGR"})
    pixels = np.stack([np.asarray(picture(seed, (8, 12))) for seed in range(2)])
    found = card.input_of(pixels)
    assert found.shape == (2, 3, 12, 8)
    assert found.dtype == np.float32
    for channel, source in enumerate((2, 1, 0)):
        mean, std = PLAIN["mean"][channel], PLAIN["std"][channel]
        for row, column in ((0, 0), (11, 7), (3, 5)):
            expected = (pixels[1, row, column, source] / 255 - mean) / std
            assert found[1, channel, row, column] == pytest.approx(expected, rel=1e-5)
    last = card_of(tmp_path, PLAIN | {"channels": "BGR", "layout": "NHWC"}).input_of(pixels)
    np.testing.assert_array_equal(last, found.transpose(0, 2, 3, 1))


def test_crop_is_from_the_centre(tmp_path: Path) -> None:
    card = card_of(tmp_path, PLAIN | {"resize": [20, 30], "crop": [10, 12]})
    image = picture(size=(20, 30))
    np.testing.assert_array_equal(card.pixels(image), np.asarray(image)[9:21, 5:15])
    assert card.pixels(Image.new("RGB", (300, 40))).shape == (12, 10, 3)


def test_what_changes_the_input_is_in_its_line(tmp_path: Path) -> None:
    lines = {
        card_of(tmp_path, PLAIN | change).preprocessing
        for change in (
            {}, {"resize": [9, 12]}, {"crop": [8, 8]}, {"channels": "BGR"}, {"layout": "NHWC"}, {"mean": [0, 0, 0]},
            {"std": [1, 1, 1]}, {"scale": 128},
        )
    }  # fmt: skip
    assert len(lines) == 8
    assert card_of(tmp_path, PLAIN, name="other words").preprocessing in lines


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": None}, r"field 'preprocessing\.resize': must be \[width, height\], 1 to 4096 each; got None"),
        ({"resize": [8]}, r"preprocessing\.resize.*got \[8\]"),
        ({"resize": [8.0, 12]}, r"preprocessing\.resize.*got \[8\.0, 12\]"),
        ({"resize": [True, 12]}, r"preprocessing\.resize"),
        ({"resize": [0, 12]}, r"preprocessing\.resize"),
        ({"resize": [8, 99999]}, r"preprocessing\.resize"),
        ({"crop": [9, 12]}, r"preprocessing\.crop': must fit into resize \[8, 12\]; got \[9, 12\]"),
        ({"crop": "centre"}, r"preprocessing\.crop"),
        ({"channels": "GRB"}, r"preprocessing\.channels': must be one of RGB, BGR; got 'GRB'"),
        ({"channels": None}, r"preprocessing\.channels"),
        ({"layout": "CHW"}, r"preprocessing\.layout': must be one of NCHW, NHWC; got 'CHW'"),
        ({"mean": [104, 112, 116]}, r"preprocessing\.mean': must be between 0 and 1, as pixels are after / 255"),
        ({"mean": [0.5]}, r"preprocessing\.mean': must be a list of three numbers; got \[0\.5\]"),
        ({"std": [1, 0, 1]}, r"preprocessing\.std': must be above 0; got"),
        ({"std": ["1", 1, 1]}, r"preprocessing\.std': must be a list of three numbers"),
        ({"std": [float("nan"), 1, 1]}, r"preprocessing\.std': must be a list of three numbers"),
        ({"scale": 0}, r"preprocessing\.scale': must be a number above 0 and at most 255; got 0"),
        ({"colour": "RGB"}, r"preprocessing\.colour': must be one of resize, crop, .*; got 'colour'"),
    ],
)
def test_a_broken_machine_readable_card(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=rf"model\.json, .*{message}"):
        card_of(tmp_path, PLAIN | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "shorter side to 256, centre crop 224x224"}, r"input\.resize': must read 'WxH' or .*shorter side"),
        ({"resize": "224x224 keeping the aspect"}, r"input\.resize"),
        ({"resize": None}, r"input\.resize.*got None"),
        ({"colour_order": "grey"}, r"input\.colour_order': must be one of RGB, BGR; got 'grey'"),
        ({"layout": "n, 1, mel band, frame"}, r"input\.layout': must be one of NCHW, NHWC"),
        ({"normalisation": "as ImageNet"}, r"input\.normalisation': must read .*; got 'as ImageNet'"),
        ({"normalisation": "(pixel 0..1 - 0.5) / 0.5"}, r"input\.normalisation"),
    ],
)
def test_a_broken_prose_card(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=rf"model\.json, .*{message}"):
        card_of(tmp_path, input=PROSE | change)


def test_no_card_at_all(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"model\.json: an ONNX model needs a card model\.json \(No such file"):
        read_card(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(EncoderError, match=r"model\.json: not valid JSON"):
        read_card(tmp_path)
    (tmp_path / "model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EncoderError, match=r"model\.json: not valid JSON"):
        read_card(tmp_path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(EncoderError, match=r"model\.json: a card must be an object; got \[1\]"):
        read_card(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"field 'input': must be an object, or there must be 'preprocessing'"):
        read_card(tmp_path)
    with pytest.raises(EncoderError, match=r"field 'preprocessing': must be an object; got 'RGB'"):
        card_of(tmp_path, "RGB")


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", 3, ""])
def test_the_model_lies_beside_its_card(tmp_path: Path, file: object) -> None:
    with pytest.raises(EncoderError, match="field 'file': must be the name of a file in the same folder"):
        card_of(tmp_path, PLAIN, file=file)
