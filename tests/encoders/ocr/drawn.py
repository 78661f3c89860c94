"""Posters with known words on them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from reeltag.encoders.ocr.words import Box, Word

SIZE = (480, 720)


def poster(
    lines: Sequence[tuple[str, int, int, int]] = (), size: tuple[int, int] = SIZE, ground: str = "white"
) -> Image.Image:
    """Draw lines of text, each with its left, top and height of letters in pixels."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    for text, left, top, height in lines:
        draw.text((left, top), text, fill="black" if ground == "white" else "white", font=font(height))
    return image


def font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height)


def drawn_at(text: str, left: int, top: int, height: int, size: tuple[int, int] = SIZE) -> tuple[float, ...]:
    """Return where a text is drawn: left, top, right, bottom as shares."""
    x0, y0, x1, y1 = font(height).getbbox(text)
    return (left + x0) / size[0], (top + y0) / size[1], (left + x1) / size[0], (top + y1) / size[1]


def extent(box: Box) -> tuple[float, ...]:
    """Return left, top, right, bottom of a box."""
    xs, ys = [x for x, _ in box], [y for _, y in box]
    return min(xs), min(ys), max(xs), max(ys)


def extent_of(words: Sequence[Word], text: str) -> tuple[float, ...]:
    """Return where the word of a text is; there must be one, with a box."""
    (word,) = (word for word in words if word.text == text)
    assert word.box is not None
    return extent(word.box)
