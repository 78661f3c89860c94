"""Trailers written as text, which a stand-in for the reader turns into shots: ``5s 7`` is a shot of grey 5 with sound,
and one of grey 7 without. ``broken`` cannot be read from there on, ``mute!`` only with sound."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import TrailerFiles
from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH, Shot
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import MediaError

RATE = 100


class Reader:
    """Stands for ``ShotReader``; counts what it was asked for."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.rates: list[tuple[int, ...]] = []
        self.n_shots = 0
        self.lock = threading.Lock()

    def __call__(self, path: Path, config: ShotConfig, rates: Sequence[int]) -> Iterator[Shot]:
        with self.lock:
            self.read.append(path.stem)
            self.rates.append(tuple(rates))
        for number, word in enumerate(path.read_text(encoding="utf-8").split()):
            if word == "broken" or (word == "mute!" and rates):
                raise MediaError(f"{path}: is cut off")
            if word != "mute!":
                with self.lock:
                    self.n_shots += 1
                yield shot(number, int(word.rstrip("s")), has_sound=word.endswith("s"), rates=rates)


def shot(number: int, grey: int, *, has_sound: bool = False, rates: Sequence[int] = ()) -> Shot:
    """Return a shot of one grey, with a sound as loud as it is bright."""
    length = RATE if has_sound else 0
    return Shot(
        start_s=float(number),
        end_s=number + 1.0,
        frames=np.full((1, 4, 6, 3), grey, np.uint8),
        grey=np.full((2, GREY_HEIGHT, GREY_WIDTH), grey, np.uint8),
        grey_s=np.array([number, number + 0.5]),
        sound={rate: np.full(length, grey / 255, np.float32) for rate in rates},
    )


class Shade:
    """How bright a shot is, and when it begins; raises where it is told to."""

    name, dim, sample_rate = "shade", 2, None

    def __init__(self, fingerprint: str = "f1", *, fails_at: int | None = None) -> None:
        self.fingerprint, self.fails_at = fingerprint, fails_at
        self.greys: list[int] = []
        self.lock = threading.Lock()

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        greys = [int(shot.grey[0, 0, 0]) for shot in shots]
        if self.fails_at in greys:
            raise KilledError
        with self.lock:
            self.greys += greys
        values = [[grey, shot.start_s] for grey, shot in zip(greys, shots, strict=True)]
        return np.array(values, np.float32), np.ones(len(shots), np.bool_)


class Loudness:
    """How loud a shot is; nothing without sound."""

    name, dim, sample_rate, fingerprint = "loudness", 1, RATE, "f1"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        seen = np.array([len(shot.sound[RATE]) > 0 for shot in shots], np.bool_)
        loud = [255 * shot.sound[RATE].max(initial=0) for shot in shots]
        return np.array(loud, np.float32)[:, None], seen


class KilledError(Exception):
    """Stands for a kill."""


def trailers(folder: Path, scripts: dict[str, str]) -> TrailerFiles:
    """Write trailers and return where they are."""
    folder.mkdir(exist_ok=True)
    paths = {title_id: folder / f"{title_id}.mp4" for title_id in scripts}
    for title_id, script in scripts.items():
        paths[title_id].write_text(script, encoding="utf-8")
    return TrailerFiles(paths=paths, source=str(folder))
