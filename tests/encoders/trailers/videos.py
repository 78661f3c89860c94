"""Videos drawn and encoded for the tests, a few kilobytes each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
WIDTH, HEIGHT, FPS = 64, 36, 24


def scene(seed: int, n_pictures: int, width: int = WIDTH, height: int = HEIGHT) -> list[Picture]:
    """A background of coloured tiles over which a bar moves; scenes of other seeds have other tiles."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, (4, 6, 3))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 6 // width
    background = tiles[rows][:, columns].astype(np.uint8)
    pictures = []
    for number in range(n_pictures):
        picture = background.copy()
        picture[:, number % width : number % width + max(1, width // 32)] = 255
        pictures.append(picture)
    return pictures


def plain(level: int, n_pictures: int, width: int = WIDTH, height: int = HEIGHT) -> list[Picture]:
    """Pictures of one grey."""
    return [np.full((height, width, 3), level, np.uint8)] * n_pictures


def faded(pictures: Sequence[Picture], level: int = 0, *, back: bool = False) -> list[Picture]:
    """Pictures that turn to one grey step by step, or come back from it."""
    shares = np.linspace(0, 1, len(pictures))[:: -1 if back else 1]
    return [
        np.rint((1 - share) * picture + share * level).astype(np.uint8)
        for picture, share in zip(pictures, shares, strict=True)
    ]


def click(
    at_s: Sequence[float], length_s: float, rate: int = 44_100, frequency: float = 0.0
) -> npt.NDArray[np.float32]:
    """Silence with short clicks, or with a tone all over, (n_samples,)."""
    times = np.arange(round(length_s * rate)) / rate
    out = 0.5 * np.sin(2 * np.pi * frequency * times)
    for second in at_s:
        out[round(second * rate) : round(second * rate) + rate // 200] = 0.8
    return out.astype(np.float32)


def write_video(
    path: Path,
    pictures: Iterable[Picture],
    *,
    fps: int = FPS,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    sound: npt.NDArray[np.float32] | None = None,
    sound_rate: int = 44_100,
    sound_ms: int = 0,
    sound_codec: str = "aac",
    aspect: Fraction | None = None,
    turn: tuple[Any, ...] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode pictures and sound.

    Args:
        path: The file; its suffix chooses the container.
        pictures: Each (height, width, 3).
        fps: Pictures a second.
        codec: Of the pictures.
        pixels: Their format.
        times_ms: When each is shown, in milliseconds; at a steady rate when None.
        sound: (n_samples,).
        sound_rate: Of the sound.
        sound_ms: When it begins.
        sound_codec: Of the sound.
        aspect: Width of a pixel by its height.
        turn: What ``set_display_rotation`` takes.
        options: Of the codec of the pictures.
        container: Options of the container.
        container_format: Where the suffix does not say.
    """
    pictures = list(pictures)
    with av.open(str(path), "w", format=container_format, options=container or {}) as out:
        video: Any = out.add_stream(codec, rate=fps, options={"g": "12", **(options or {})})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pixels
        if times_ms is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            video.set_display_rotation(*turn)
        heard: Any = None if sound is None else out.add_stream(sound_codec, rate=sound_rate, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number if times_ms is None else times_ms[number]
            frame.time_base = Fraction(1, fps) if times_ms is None else Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if heard is not None and sound is not None:
            for start in range(0, len(sound), 1024):
                piece = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
                piece.rate = sound_rate
                piece.pts = start + sound_ms * sound_rate // 1000
                piece.time_base = Fraction(1, sound_rate)
                out.mux(heard.encode(piece))
            out.mux(heard.encode(None))
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keep the beginning of a file only."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path
