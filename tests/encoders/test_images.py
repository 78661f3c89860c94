"""Decoding: every kind of image to upright RGB, everything else to None, no warning and no error."""

from __future__ import annotations

import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reeltag.encoders.images import MAX_PIXELS, decode, decode_all, decoding_threads

from .pictures import encoded, picture

RED, BLUE, WHITE, GREY = (255, 0, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)


def colour_at(content: bytes, place: tuple[int, int] = (5, 5)) -> tuple[int, ...]:
    image = decode(content)
    assert image is not None
    assert image.mode == "RGB"
    pixel: Any = image.getpixel(place)
    return tuple(pixel)


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size and holds nothing of it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    )


# ---------------------------------------------------------------- what is an image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_formats(kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    image = Image.new("RGB", (20, 30), RED)
    assert colour_at(encoded(image, kind, **options)) == RED
    found = decode(encoded(image, kind, **options))
    assert found is not None
    assert found.size == (20, 30)


def test_png_keeps_every_pixel() -> None:
    found = decode(encoded(picture()))
    assert found is not None
    np.testing.assert_array_equal(np.asarray(found), np.asarray(picture()))


def test_jpeg() -> None:
    assert np.abs(np.subtract(colour_at(encoded(Image.new("RGB", (20, 30), RED), "JPEG")), RED)).max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **options)
    assert colour_at(content) == RED


def test_cmyk() -> None:
    image = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    assert np.abs(np.subtract(colour_at(encoded(image, "JPEG")), RED)).max() <= 4
    assert colour_at(encoded(image, "TIFF")) == RED


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one colour", "a byte per colour"])
def test_transparent_palette_is_laid_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (20, 20), 0)
    image.putpalette([*BLUE, *RED])
    image.paste(1, (10, 0, 20, 20))
    content = encoded(image, transparency=transparency)
    assert colour_at(content, (5, 5)) == WHITE
    assert colour_at(content, (15, 5)) == RED


def test_transparency_is_laid_on_white() -> None:
    assert colour_at(encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))) == WHITE
    assert colour_at(encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 255)))) == RED
    assert colour_at(encoded(Image.new("LA", (20, 20), (0, 0)))) == WHITE
    assert colour_at(encoded(Image.new("LA", (20, 20), (128, 255)))) == GREY
    half = colour_at(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 128))))
    assert half[0] in (126, 127, 128)
    named = encoded(Image.new("RGB", (20, 20), BLUE), transparency=BLUE)
    assert colour_at(named) == WHITE


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32896, 128), (65535, 255), (257, 1)])
def test_sixteen_bit_grey_is_scaled(value: int, expected: int) -> None:
    image = Image.fromarray(np.full((20, 20), value, np.uint16))
    for kind in ("PNG", "TIFF"):
        assert colour_at(encoded(image, kind)) == (expected,) * 3


def test_float_and_bitmap_images() -> None:
    assert colour_at(encoded(Image.fromarray(np.full((20, 20), 1.0, np.float32)), "TIFF")) == WHITE
    assert colour_at(encoded(Image.fromarray(np.full((20, 20), 128.0, np.float32)), "TIFF")) == GREY
    assert colour_at(encoded(Image.fromarray(np.full((20, 20), np.nan, np.float32)), "TIFF")) == (0, 0, 0)
    assert colour_at(encoded(Image.new("1", (20, 20), 1))) == WHITE
    assert colour_at(encoded(Image.new("L", (20, 20), 128))) == GREY


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (2, 2)), (3, (17, 27)), (6, (27, 2)), (8, (2, 17))])
def test_exif_orientation_is_followed(kind: str, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (20, 30), WHITE)
    image.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(image, kind, exif=exif))
    assert found is not None
    assert found.size == ((30, 20) if orientation in (6, 8) else (20, 30))
    assert np.abs(np.subtract(found.getpixel(corner), RED)).max() <= 10


def test_broken_exif_says_nothing() -> None:
    for exif in (
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff",
        b"Exif\x00\x00x",
    ):
        found = decode(encoded(Image.new("RGB", (20, 30), RED), "JPEG", exif=exif))
        assert found is not None
        assert found.size == (20, 30)


# ---------------------------------------------------------------- what is none


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"not an image" * 100, b"<html><body>404</body></html>", b"GIF89a", b"\xff\xd8\xff\xe0",
     b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", b"RIFF\x00\x00\x00\x00WEBPVP8 ", png_header(20, 30)],
    ids=["empty", "byte", "text", "page", "gif", "jpeg", "postscript", "webp", "png"],
)  # fmt: skip
def test_not_an_image(content: bytes) -> None:
    assert decode(content) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_cut_off(kind: str) -> None:
    whole = encoded(picture(size=(60, 90)), kind)
    assert decode(whole) is not None
    for share in (0.05, 0.3, 0.6):
        assert decode(whole[: int(share * len(whole))]) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_garbled_bytes_raise_nothing(kind: str) -> None:
    whole = encoded(picture(), kind)
    random = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 4):
            content[place] = random.integers(0, 256)
        found = decode(bytes(content))
        assert found is None or found.mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7)])
def test_placeholders(size: tuple[int, int]) -> None:
    assert decode(encoded(Image.new("RGB", size))) is None
    assert decode(encoded(Image.new("RGB", (8, 8)))) is not None


@pytest.mark.parametrize("size", [(10_001, 10_000), (13_000, 13_000), (60_000, 60_000)])
def test_bombs_are_not_decoded(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    start = time.perf_counter()
    assert decode(png_header(*size)) is None
    assert time.perf_counter() - start < 0.5


# ---------------------------------------------------------------- large ones, several


def test_large_images_are_made_small() -> None:
    image = Image.new("RGB", (2400, 3600), RED)
    for content in (encoded(image, "JPEG"), encoded(image)):
        found = decode(content)
        assert found is not None
        assert 512 <= min(found.size) < 1024
        assert found.width * 3 == found.height * 2
    near = decode(encoded(Image.new("RGB", (1023, 1100))))
    assert near is not None
    assert near.size == (1023, 1100)


def test_a_pool_changes_nothing() -> None:
    contents = [encoded(picture(seed)) if seed % 3 else b"broken" for seed in range(30)]
    with ThreadPoolExecutor(4) as pool:
        found = decode_all(contents, pool)
    for image, alone in zip(found, decode_all(contents), strict=True):
        assert (image is None) == (alone is None)
        if image is not None and alone is not None:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(alone))
    assert decode_all([]) == []
    assert 1 <= decoding_threads() <= 8


def test_a_shortage_of_memory_is_not_a_broken_poster(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("reeltag.encoders.images.Image.open", short)
    with pytest.raises(MemoryError):
        decode(b"\x89PNG")
