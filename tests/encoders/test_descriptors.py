"""DescriptorEncoder: what it tells apart, what it does not see, and that it says which package it needs."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reeltag.encoders.descriptors import DescriptorEncoder, describe_image
from reeltag.errors import MissingExtraError

from .pictures import picture

pytest.importorskip("skimage", reason="needs the extra 'posters'")
N_JOINT, N_MARGINALS, N_CELLS = 36, 24, 6
N_COLOUR = N_JOINT + N_MARGINALS * (1 + N_CELLS)


def describe(*images: Image.Image) -> npt.NDArray[np.float32]:
    return np.stack([describe_image(image) for image in images])


def plain(colour: str | tuple[int, int, int], size: tuple[int, int] = (48, 72)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_shape_range_and_order() -> None:
    images = [picture(seed) for seed in range(5)] + [plain("white"), plain("black"), plain("red")]
    found = describe(*images)
    assert found.shape == (8, DescriptorEncoder().dim)
    assert 300 <= found.shape[1] <= 600
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= -2
    assert found.max() <= 5
    for row, image in enumerate(images):
        np.testing.assert_array_equal(describe(image)[0], found[row])
    assert DescriptorEncoder().encode([]).shape == (0, DescriptorEncoder().dim)


def test_rows_are_descriptors_of_length_1() -> None:
    images = (picture(), plain("red"))
    for row, described in zip(DescriptorEncoder().encode(images), describe(*images), strict=True):
        np.testing.assert_allclose(row, described / np.sqrt((described**2).sum()), atol=1e-6)
        assert np.linalg.norm(described) > 1.1


def test_histograms_are_square_roots_of_shares() -> None:
    colour = describe(picture())[0, :N_COLOUR].astype(np.float64)
    assert (colour[:N_JOINT] ** 2).sum() == pytest.approx(1, abs=1e-5)
    for part in np.split(colour[N_JOINT:] ** 2, 3 * (1 + N_CELLS)):
        assert part.sum() == pytest.approx(1, abs=1e-5)


def test_a_plain_colour_is_in_one_bin() -> None:
    colour = describe(plain("red"))[0, :N_COLOUR]
    assert np.count_nonzero(colour) == 1 + 3 * (1 + N_CELLS)
    assert set(colour.tolist()) == {0.0, 1.0}


def test_the_grid_tells_where_a_colour_is() -> None:
    top, bottom = plain("white"), plain("white")
    top.paste((255, 0, 0), (0, 0, 48, 24))
    bottom.paste((255, 0, 0), (0, 48, 48, 72))
    above, below = describe(top, bottom)
    whole = slice(0, N_JOINT + N_MARGINALS)
    np.testing.assert_allclose(above[whole], below[whole], atol=0.03)
    assert np.abs(above[N_JOINT + N_MARGINALS : N_COLOUR] - below[N_JOINT + N_MARGINALS : N_COLOUR]).max() > 0.8


def test_size_hardly_matters_and_shape_is_one_number() -> None:
    smooth = picture(size=(6, 9)).resize((384, 576))
    small, large = describe(smooth.resize((96, 144)), smooth)
    assert np.abs(small - large).mean() < 0.05
    wide, high = describe(plain("red", (90, 60)), plain("red", (60, 90)))
    np.testing.assert_array_equal(wide[:-1], high[:-1])
    assert wide[-1] == pytest.approx(np.log(1.5), abs=1e-6)
    assert high[-1] == pytest.approx(-np.log(1.5), abs=1e-6)


def test_dark_and_bright_are_far_apart_and_texture_is_seen() -> None:
    stripes = np.zeros((72, 48, 3), np.uint8)
    stripes[::4] = stripes[1::4] = 255
    black, dark, white, striped = describe(
        plain("black"), plain((12, 12, 12)), plain("white"), Image.fromarray(stripes)
    )
    assert np.linalg.norm(black - dark) < np.linalg.norm(black - white)
    assert np.linalg.norm(striped - white) > 1


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    message = r"the poster encoder 'descriptors' needs the package 'scikit-image'.*reeltag\[posters\]"
    with pytest.raises(MissingExtraError, match=message):
        describe(picture())
    assert DescriptorEncoder().name == "descriptors"  # known without it
    assert DescriptorEncoder().fingerprint
