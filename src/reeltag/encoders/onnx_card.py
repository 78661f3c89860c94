"""Cards of ONNX image models: ``model.json`` beside the model says how an image becomes its input.

A card is read in two forms. The machine-readable one::

    {"file": "model.onnx",
     "preprocessing": {"resize": [256, 256], "crop": [224, 224], "channels": "RGB", "layout": "NCHW",
                       "scale": 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}

The input is ``(pixel / scale - mean) / std``, sizes are width and height, ``crop`` (from the centre; the default is
none), ``layout`` (NCHW) and ``scale`` (255) may be left out. Without ``preprocessing`` the field ``input`` is read,
whose ``resize`` and ``normalisation`` are sentences; those of a few wordings are understood, any other is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from reeltag.encoders.card_values import is_number, read_object, refuse
from reeltag.encoders.images import RGBImage

CARD = "model.json"
_MAX_SIDE = 4096
_NUMBER = r"(\d+(?:\.\d+)?)"
_PLAIN = re.compile(r"(\d+)x(\d+)")
_CROPPED = re.compile(r"whole image to (\d+)x(\d+)\b[^.]*, centre crop (\d+)x(\d+)(?:\..*)?", re.DOTALL)
_ONE_MEAN = re.compile(rf"\(pixel 0\.\.255 - {_NUMBER}\) / {_NUMBER}(?:[,.].*)?", re.DOTALL)
_CHANNEL_MEANS = re.compile(
    rf"\(pixel 0\.\.255 minus the channel mean\) / {_NUMBER}, channel means in (RGB|BGR) order "
    rf"{_NUMBER}, {_NUMBER}, {_NUMBER}(?:\..*)?",
    re.DOTALL,
)
_TEST_IMAGE = re.compile(r"u\[h,w,c\]=\(3\*h\+5\*w\+85\*c\)mod256")


@dataclass(frozen=True, kw_only=True)
class TestVector:
    """What the author of a model got for the test image.

    Attributes:
        first: The first numbers of the embedding.
        length: Its Euclidean length.
    """

    first: tuple[float, ...]
    length: float


@dataclass(frozen=True, kw_only=True)
class ImageCard:
    """How images become the input of a model.

    Attributes:
        path: The card.
        file: File name of the model.
        resize: Width and height the whole image is resized to; its aspect is not kept.
        crop: Width and height cut from the centre; None for no cut.
        channels: ``RGB`` or ``BGR``.
        layout: ``NCHW`` or ``NHWC``.
        mean: Per channel, in the order of ``channels``, in pixel units of 0 to 255.
        std: The same.
        test: To prove the chain with; None when the card has none that is understood.
    """

    path: Path
    file: str
    resize: tuple[int, int]
    crop: tuple[int, int] | None
    channels: str
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test: TestVector | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input."""
        return self.crop or self.resize

    @property
    def preprocessing(self) -> str:
        """Everything that changes the input, as one line."""
        return repr((self.resize, self.crop, self.channels, self.layout, self.mean, self.std))

    def pixels(self, image: RGBImage) -> npt.NDArray[np.uint8]:
        """Return an image resized and cut, shape (height, width, 3)."""
        resized = image.resize(self.resize, Image.Resampling.BILINEAR, reducing_gap=3.0)
        if self.crop is not None:
            left, top = ((full - part) // 2 for full, part in zip(self.resize, self.crop, strict=True))
            resized = resized.crop((left, top, left + self.crop[0], top + self.crop[1]))
        return np.asarray(resized)

    def input_of(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the input of the model.

        Args:
            pixels: RGB, shape (n, height, width, 3).

        Returns:
            Shape (n, 3, height, width) or (n, height, width, 3), channels in the order of the card.
        """
        ordered = np.ascontiguousarray(pixels[..., ::-1] if self.channels == "BGR" else pixels)
        n, height, width, _ = ordered.shape
        planar = torch.empty(n, 3, height, width)
        planar.copy_(torch.from_numpy(ordered).permute(0, 3, 1, 2))  # by all threads; numpy takes thirty times as long
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            planar[:, channel].sub_(mean).div_(std)
        result: npt.NDArray[np.float32] = planar.numpy()
        return result if self.layout == "NCHW" else np.ascontiguousarray(result.transpose(0, 2, 3, 1))


def read_card(folder: Path) -> ImageCard:
    """Read the card of a model folder.

    Raises:
        EncoderError: There is none, or it breaks a rule; the message names file, field, rule and value.
    """
    path = folder / CARD
    data = read_object(path, f"an ONNX model needs a card {CARD}", "a card")
    file = data.get("file", "model.onnx")
    if not isinstance(file, str) or not file or Path(file).name != file:
        refuse(path, "file", "must be the name of a file in the same folder", file)
    read = _Machine(path, data["preprocessing"]) if "preprocessing" in data else _Prose(path, data.get("input"))
    resize, crop = read.geometry()
    mean, std = read.normalisation()
    return ImageCard(
        path=path, file=file, resize=resize, crop=crop, channels=read.channels(), layout=read.layout(), mean=mean,
        std=std, test=_test_vector(data.get("sanity")),
    )  # fmt: skip


class _Machine:
    """Reads ``preprocessing``."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path = path
        self.data = data
        if not isinstance(data, dict):
            refuse(path, "preprocessing", "must be an object", data)
        known = ("resize", "crop", "channels", "layout", "scale", "mean", "std")
        for key in data:
            if key not in known:
                refuse(path, f"preprocessing.{key}", f"must be one of {', '.join(known)}", key)

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        resize = self._size("resize")
        if self.data.get("crop") is None:
            return resize, None
        crop = self._size("crop")
        if crop[0] > resize[0] or crop[1] > resize[1]:
            refuse(self.path, "preprocessing.crop", f"must fit into resize {list(resize)}", list(crop))
        return resize, crop

    def channels(self) -> str:
        return _choice(self.path, "preprocessing.channels", self.data.get("channels"), ("RGB", "BGR"))

    def layout(self) -> str:
        return _choice(self.path, "preprocessing.layout", self.data.get("layout", "NCHW"), ("NCHW", "NHWC"))

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        scale = self.data.get("scale", 255)
        if not is_number(scale) or not 0 < scale <= 255:
            refuse(self.path, "preprocessing.scale", "must be a number above 0 and at most 255", scale)
        mean, std = self._triple("mean"), self._triple("std")
        for value in mean:
            if not 0 <= value <= 255 / scale:
                rule = f"must be between 0 and {255 / scale:g}, as pixels are after / {scale:g}"
                refuse(self.path, "preprocessing.mean", rule, list(mean))
        if min(std) <= 0:
            refuse(self.path, "preprocessing.std", "must be above 0", list(std))
        return tuple(value * scale for value in mean), tuple(value * scale for value in std)

    def _size(self, name: str) -> tuple[int, int]:
        value = self.data.get(name)
        is_pair = isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)
        if not is_pair or not all(1 <= side <= _MAX_SIDE for side in value):
            refuse(self.path, f"preprocessing.{name}", f"must be [width, height], 1 to {_MAX_SIDE} each", value)
        return value[0], value[1]

    def _triple(self, name: str) -> tuple[float, ...]:
        value = self.data.get(name)
        if not isinstance(value, list) or len(value) != 3 or not all(map(is_number, value)):
            refuse(self.path, f"preprocessing.{name}", "must be a list of three numbers", value)
        return tuple(map(float, value))


class _Prose:
    """Reads ``input``, whose fields are sentences."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path = path
        self.data = data
        if not isinstance(data, dict):
            refuse(path, "input", "must be an object, or there must be 'preprocessing'", data)

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        text = str(self.data.get("resize"))
        if plain := _PLAIN.fullmatch(text):
            return (int(plain[1]), int(plain[2])), None
        if cropped := _CROPPED.fullmatch(text):
            return (int(cropped[1]), int(cropped[2])), (int(cropped[3]), int(cropped[4]))
        rule = "must read 'WxH' or 'whole image to WxH, centre crop WxH'; any other way goes into 'preprocessing'"
        refuse(self.path, "input.resize", rule, self.data.get("resize"))

    def channels(self) -> str:
        return _choice(self.path, "input.colour_order", self.data.get("colour_order"), ("RGB", "BGR"))

    def layout(self) -> str:
        return _choice(self.path, "input.layout", self.data.get("layout"), ("NCHW", "NHWC"))

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        text = str(self.data.get("normalisation"))
        if one := _ONE_MEAN.fullmatch(text):
            return (float(one[1]),) * 3, (float(one[2]),) * 3
        if several := _CHANNEL_MEANS.fullmatch(text):
            means = tuple(float(several[group]) for group in (3, 4, 5))
            return (means if several[2] == self.channels() else means[::-1]), (float(several[1]),) * 3
        rule = (
            "must read '(pixel 0..255 - M) / S' or '(pixel 0..255 minus the channel mean) / S, channel means in RGB "
            "order M, M, M'; any other way goes into 'preprocessing'"
        )
        refuse(self.path, "input.normalisation", rule, self.data.get("normalisation"))


def _test_vector(sanity: object) -> TestVector | None:
    """Return the test vector of a card, None when it has none or one of another image."""
    test = sanity.get("test_vector") if isinstance(sanity, dict) else None
    if not isinstance(test, dict) or not _TEST_IMAGE.search(re.sub(r"\s", "", str(test.get("how")))):
        return None
    first, length = test.get("embedding_first5"), test.get("embedding_l2")
    if not isinstance(first, list) or not all(map(is_number, first)) or not is_number(length):
        return None
    return TestVector(first=tuple(map(float, first)), length=float(length))  # type: ignore[arg-type]


def _choice(path: Path, name: str, value: object, choices: Sequence[str]) -> str:
    if value not in choices:
        refuse(path, name, f"must be one of {', '.join(choices)}", value)
    return str(value)
