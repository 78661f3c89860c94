"""How pictures become the input of a video model, as the processor file in its folder says; with Pillow alone.

Processors of video models differ in name and need further packages, but what their files state is the same: resize,
cut from the centre, rescale, normalise. The part that is cut out is the only one that is resized.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from reeltag.encoders.card_values import is_number, read_object, refuse

FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_MOST = 4096


@dataclass(frozen=True, kw_only=True)
class PictureRecipe:
    """From pictures to the input of a model.

    Attributes:
        shortest: What the shorter side is resized to, the aspect kept; None when ``size`` is given.
        size: Height and width that the whole picture is resized to; None when ``shortest`` is given.
        crop: Height and width cut from the centre after that; None for no cut.
        resample: Pillow's number of the filter.
        scale: Pixels of 0 to 255 are multiplied by it.
        mean: Taken off each channel after that.
        std: What is left of each channel is divided by it.
    """

    shortest: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the input that RGB pictures (n, height, width, 3) make, (n, 3, height, width)."""
        height, width = pictures.shape[1:3]
        (tall, wide), box = self._part(height, width)
        resized = [
            Image.fromarray(picture).resize((wide, tall), Image.Resampling(self.resample), box=box)
            for picture in pictures
        ]
        pixels = np.stack([np.asarray(image) for image in resized]).transpose(0, 3, 1, 2).astype(np.float32)
        mean, std = (np.array(part, np.float32)[:, None, None] for part in (self.mean, self.std))
        pixels *= np.float32(self.scale) / std
        pixels -= mean / std
        return pixels

    def _part(self, height: int, width: int) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
        """Return height and width of the input, and the left, top, right and bottom of what it shows of a picture."""
        if self.size is not None:
            full_h, full_w = self.size
        elif self.shortest is not None:
            short = min(height, width)
            full_h, full_w = height * self.shortest // short, width * self.shortest // short
        else:
            full_h, full_w = height, width
        tall, wide = self.crop or (full_h, full_w)
        tall, wide = min(tall, full_h), min(wide, full_w)
        left, top = (full_w - wide) // 2, (full_h - tall) // 2
        x, y = width / full_w, height / full_h
        return (tall, wide), (left * x, top * y, min((left + wide) * x, width), min((top + tall) * y, height))


def read_recipe(folder: Path) -> PictureRecipe:
    """Read the processor file of a model folder.

    Raises:
        EncoderError: There is none, or it breaks a rule; the message names file, field, rule and value.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), folder / FILES[-1])
    data = read_object(path, "a video model needs it to prepare pictures")
    shortest, size = (None, None)
    if data.get("do_resize", True):
        shortest, size = _resizing(path, data.get("size"))
    crop = None
    if data.get("do_center_crop", "crop_size" in data):
        _, crop = _resizing(path, data.get("crop_size"), "crop_size")
    if shortest is not None and crop is None:
        refuse(path, "crop_size", "must be given with a size of the shorter side alone", data.get("crop_size"))
    least = (shortest, shortest) if shortest is not None else size
    if crop is not None and least is not None and (crop[0] > least[0] or crop[1] > least[1]):
        refuse(path, "crop_size", f"must fit into size, {least[0]} x {least[1]}", data.get("crop_size"))
    resample = data.get("resample", int(Image.Resampling.BILINEAR))
    if resample not in list(Image.Resampling):
        refuse(path, "resample", "must be one of Pillow's filters, 0 to 5", resample)
    mean = _triple(path, data, "image_mean", 0.0)
    if data.get("offset", False) and data.get("do_rescale", True):  # ViViT: pixels from -1
        mean = tuple(value + 1 for value in mean)
    return PictureRecipe(
        shortest=shortest, size=size, crop=crop, resample=int(resample), scale=_scale(path, data), mean=mean,
        std=_triple(path, data, "image_std", 1.0),
    )  # fmt: skip


def _resizing(path: Path, value: Any, name: str = "size") -> tuple[int | None, tuple[int, int] | None]:
    """Return the shorter side or height and width; a number is a shorter side, and a square to cut."""
    is_crop = name == "crop_size"
    if _is_side(value):
        return (None, (value, value)) if is_crop else (value, None)
    if isinstance(value, dict):
        if _is_side(value.get("height")) and _is_side(value.get("width")):
            return None, (value["height"], value["width"])
        if not is_crop and _is_side(value.get("shortest_edge")) and value.get("longest_edge") is None:
            return value["shortest_edge"], None
    edge = "" if is_crop else " or shortest_edge"
    refuse(path, name, f"must be a number or an object of height and width{edge}, 1 to {_MOST} each", value)


def _scale(path: Path, data: dict[str, Any]) -> float:
    if not data.get("do_rescale", True):
        return 1.0
    scale = data.get("rescale_factor", 1 / 255)
    if not is_number(scale) or scale <= 0:
        refuse(path, "rescale_factor", "must be a number above 0", scale)
    return float(scale)


def _triple(path: Path, data: dict[str, Any], name: str, default: float) -> tuple[float, ...]:
    if not data.get("do_normalize", True):
        return (default,) * 3
    value = data.get(name)
    if not isinstance(value, list) or len(value) != 3 or not all(map(is_number, value)):
        refuse(path, name, "must be a list of three numbers", value)
    if name == "image_std" and min(value) <= 0:
        refuse(path, name, "must be above 0", value)
    return tuple(map(float, value))


def _is_side(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST
