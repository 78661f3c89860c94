"""Titles with shots: seven by hand that lack one thing or another, and made-up trailers that can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.features import Block, Features, TokenBlock
from reeltag.models import Targets
from reeltag.models.layout import Layout, Rows, Tokens

LAYOUT = Layout(
    names=("plot.a", "plot.b", "year", "image.look", "motion.flow", "audio.mel", "poster.patches"),
    widths=(3, 4, 2, 5, 3, 4, 6),
    n_labels=4,
    n_tokens=4,
)
# all; shots alone, the second of which stands still; plot and year; plot and patches; one shot; sound alone; nothing
VECTORS = ((1, 1, 1), (0, 0, 0), (1, 0, 1), (0, 1, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))
SEEN = {
    "image.look": ("1111", "1100", "0000", "0000", "1000", "0000", "0000"),
    "motion.flow": ("1111", "1000", "0000", "0000", "0000", "0000", "0000"),
    "audio.mel": ("101", "000", "000", "000", "000", "101", "000"),
    "poster.patches": ("11", "00", "00", "11", "00", "00", "00"),
}
SHOTS = ("image.look", "motion.flow", "audio.mel")
N_TITLES = len(VECTORS)


def seen_of(name: str) -> torch.Tensor:
    """Return which tokens of a block are real, (n_titles, n_tokens)."""
    return torch.tensor([[float(mark) for mark in marks] for marks in SEEN[name]])


def rows(*, fill: float = 0.0, padding: int = 0) -> Rows:
    """Return the titles by hand; ``fill`` stands in all that is absent, ``padding`` tokens are put behind."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.tensor(VECTORS, dtype=torch.float32)
    blocks = [
        torch.where(vectors[:, [place]] > 0, torch.randn(N_TITLES, width, generator=generator), fill)
        for place, width in enumerate(LAYOUT.widths[: LAYOUT.n_vectors])
    ]
    tokens = []
    for name, width in zip(LAYOUT.names[LAYOUT.n_vectors :], LAYOUT.widths[LAYOUT.n_vectors :], strict=True):
        seen = seen_of(name)
        values = torch.randn(*seen.shape, width, generator=generator)
        seen = torch.cat([seen, torch.zeros(N_TITLES, padding)], dim=1)
        values = torch.cat([values, torch.zeros(N_TITLES, padding, width)], dim=1)
        tokens.append(Tokens(torch.where(seen[:, :, None] > 0, values, fill).half(), seen))
    has = torch.stack([own.seen.amax(dim=1) for own in tokens], dim=1)
    return Rows(blocks, torch.cat([vectors, has], dim=1), None, tokens)


@dataclass(frozen=True)
class HeldShots:
    """Sequences of shots in memory, each (n_shots, dim), with those of them that are real, (n_shots,)."""

    sequences: Sequence[npt.NDArray[Any]]
    seen: Sequence[npt.NDArray[np.bool_]]
    dim: int

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the sequences at places, as ``TokenSource`` says."""
        lengths = [min(len(self.sequences[place]), limit) if place >= 0 else 0 for place in places]
        values = np.zeros((len(places), max([*lengths, 1]), self.dim), np.float16)
        seen = np.zeros(values.shape[:2], np.bool_)
        for row, (place, length) in enumerate(zip(places, lengths, strict=True)):
            if length:
                values[row, :length] = self.sequences[place][:length]
                seen[row, :length] = self.seen[place][:length]
        return values, seen


def trailers(n: int, seed: int = 0, noise: float = 0.3) -> tuple[Features, Targets]:
    """Return titles with plot, year, and the image, motion and sound of two to six shots, and their three labels.

    Plot, image and motion are views of what a title is, which its labels are read from. Its sound is its own in every
    shot but tells nothing of the labels, and its year is drawn. Every fifth title is silent, every seventh has no
    trailer, and every fourth shot has no sound.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(9)
    nature, voice = rng.normal(size=(n, 6)), rng.normal(size=(n, 6))
    targets = (nature[:, :3] > 0.3).astype(np.float32)
    lengths = rng.integers(2, 7, n)
    has_trailer, has_sound = np.arange(n) % 7 != 3, np.arange(n) % 5 != 2

    def seen_as(source: npt.NDArray[np.float64], width: int) -> list[npt.NDArray[np.float16]]:
        view = fixed.normal(size=(6, width)) / 6**0.5
        return [
            (source[row] @ view + rng.normal(size=(length, width)) * noise).astype(np.float16)
            for row, length in enumerate(lengths)
        ]

    def block(sequences: list[npt.NDArray[np.float16]], present: npt.NDArray[np.bool_], *, mute: bool) -> TokenBlock:
        real = [np.arange(len(own)) % 4 != 1 if mute else np.ones(len(own), np.bool_) for own in sequences]
        places = np.where(present, np.arange(n), -1)
        return TokenBlock(HeldShots(sequences, real, sequences[0].shape[1] if n else 1), places, 99)

    tokens = {
        "image.look": block(seen_as(nature, 10), has_trailer, mute=False),
        "motion.flow": block(seen_as(nature, 8), has_trailer, mute=False),
        "audio.mel": block(seen_as(voice, 7), has_trailer & has_sound, mute=True),
    }
    everyone = np.ones(n, np.bool_)
    plot = nature @ fixed.normal(size=(6, 9)) / 6**0.5 + rng.normal(size=(n, 9)) * noise
    blocks = {
        "plot.sense": Block(plot.astype(np.float32), everyone),
        "year": Block(rng.normal(size=(n, 2)).astype(np.float32), everyone),
    }
    return Features([f"{seed}-{row}" for row in range(n)], blocks, tokens), targets
