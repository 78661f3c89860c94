"""The colours of a map: told apart by colour-blind people too, and seen on light and dark pages."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from skimage.color import rgb2lab

RGB = npt.NDArray[np.float64]

# G. M. Machado, M. M. Oliveira, L. A. F. Fernandes: "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (2009), severity 1; on linear RGB
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def themes() -> list[dict[str, list[str]]]:
    """Return the custom properties of the light and the dark theme, as lists of colours."""
    text = resources.files("reeltag.retrieval").joinpath("templates", "map.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert len(blocks) == 2
    return [
        {name: re.findall("#[0-9a-f]{6}", value) for name, value in re.findall(r"--([a-z]+): ([^;]+);", block)}
        for block in blocks
    ]


def linear(colour: str) -> RGB:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def encoded(values: RGB) -> RGB:
    clipped = np.clip(values, 0, 1)
    return np.asarray(np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055))


def lab(colour: str, sight: str) -> RGB:
    """Return the CIELAB values of a colour as it is seen."""
    return np.asarray(rgb2lab(encoded(SIGHTS[sight] @ linear(colour)).reshape(1, 1, 3)).ravel())


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2, 1 to 21."""
    light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return light[1] / light[0]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("sight", list(SIGHTS))
def test_colours_of_labels_are_told_apart(theme: int, sight: str) -> None:
    hues = themes()[theme]["hues"]
    assert len(hues) == 8
    distances = {
        (one, other): float(np.linalg.norm(lab(one, sight) - lab(other, sight))) for one, other in combinations(hues, 2)
    }
    assert min(distances.values()) > 15, min(distances, key=lambda pair: distances[pair])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("sight", list(SIGHTS))
def test_colours_of_years_go_steadily_from_dark_to_light(theme: int, sight: str) -> None:
    light = [float(lab(colour, sight)[0]) for colour in themes()[theme]["ages"]]
    steps = np.diff(light if light[0] < light[-1] else light[::-1])
    assert (steps > 8).all()


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_dots_are_seen_on_the_page(theme: int) -> None:
    colours = themes()[theme]
    for text in ("ink", "muted"):
        for ground in ("page", "surface"):
            assert contrast(colours[text][0], colours[ground][0]) > 4.5, (text, ground)
    for mark in ("accent", "mark"):
        assert contrast(colours[mark][0], colours["page"][0]) > 3, mark
    for dot in [*colours["hues"], *colours["ages"], *colours["other"]]:
        assert contrast(dot, colours["page"][0]) > 1.8, dot
    assert colours["halo"] == colours["page"]


def test_both_themes_set_the_same_colours() -> None:
    light, dark = themes()
    assert set(light) == set(dark)
    assert {name: len(colours) for name, colours in light.items()} == {
        name: len(colours) for name, colours in dark.items()
    }
