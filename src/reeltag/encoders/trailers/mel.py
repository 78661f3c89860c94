"""From sound to mel bands: frames, their power spectra, and triangles over them.

The whole of a sound is worked on at once, in single precision, which differs from double precision by less than 1e-3
in the log of a band (of a chirp through 128 bands, with a floor of 1e-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

Floats: TypeAlias = npt.NDArray[np.float32]


def power_spectra(sound: Floats, window: Floats, hop: int, n_fft: int) -> Floats:
    """Return the power of the frames of a sound, |rfft|^2, (n_frames, n_fft // 2 + 1).

    Args:
        sound: At least as long as the window.
        window: At most ``n_fft`` samples; frames are as long, zeros follow them up to ``n_fft``.
        hop: Samples from one frame to the next.
        n_fft: Length of the transform.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, len(window))[::hop]
    spectra = rfft(frames * window, n_fft)
    power: Floats = spectra.real**2 + spectra.imag**2
    return power


def hann(length: int, *, periodic: bool) -> Floats:
    """Return a Hann window: symmetric, with a zero at both ends, or one period, with a zero at its beginning alone."""
    turn = 2 * np.pi * np.arange(length) / max(length if periodic else length - 1, 1)
    window: Floats = (0.5 - 0.5 * np.cos(turn)).astype(np.float32)
    return window


def mel_triangles(sample_rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> Floats:
    """Return triangles of height 1, evenly spaced in mel (1127 ln(1 + f / 700)), (n_mels, n_fft // 2 + 1).

    Each rises from the peak of the one below it and falls to the peak of the one above, linearly in mel. The band
    lowest of all may lie between two bins, and is empty then.
    """
    low, high = (1127 * np.log1p(hz / 700) for hz in (low_hz, high_hz))
    peaks = np.linspace(low, high, n_mels + 2)
    bins = 1127 * np.log1p(np.arange(n_fft // 2 + 1) * sample_rate / n_fft / 700)
    step = peaks[1] - peaks[0]
    triangles: Floats = np.maximum(1 - np.abs(bins - peaks[1:-1, None]) / step, 0).astype(np.float32)
    return triangles


@dataclass(frozen=True, kw_only=True, eq=False)
class MelRecipe:
    """How a sound becomes the input of a model: log of mel bands of a power spectrum, shifted and scaled.

    Attributes:
        sample_rate: In Hz.
        preemphasis: The share of each sample taken off the next, which shortens a sound by a sample; 0 for none.
        n_fft: Length of the transform.
        window: Length of the Hann window, which lies in the middle of a frame of ``n_fft``.
        periodic: Whether the window is a period of the cosine; symmetric otherwise.
        hop: Samples from one frame to the next.
        centre: Whether half a frame is put before and behind a sound, mirrored, so that frame 0 lies around sample 0.
        basis: Weights of the bins in each band, (n_mels, n_fft // 2 + 1).
        floor: Added to each band before its natural log is taken.
        mean: Taken off the log.
        std: What is left is divided by it.
    """

    sample_rate: int
    preemphasis: float
    n_fft: int
    window: int
    periodic: bool
    hop: int
    centre: bool
    basis: Floats
    floor: float
    mean: float
    std: float

    def shortest(self, n_frames: int) -> int:
        """Return the least number of samples that make so many frames, and that can be mirrored."""
        around = 0 if self.centre else self.n_fft
        enough = (n_frames - 1) * self.hop + around
        return max(enough, self.n_fft // 2 + 1 if self.centre else 1) + (self.preemphasis != 0)

    def longest(self, n_frames: int) -> int:
        """Return the greatest number of samples that make so many frames and no more."""
        around = 0 if self.centre else self.n_fft
        return n_frames * self.hop + around - 1 + (self.preemphasis != 0)

    def __call__(self, sound: Floats) -> Floats:
        """Return the input that a sound makes, (n_mels, n_frames).

        Args:
            sound: At least ``shortest(1)`` samples.
        """
        if self.preemphasis:
            sound = sound[1:] - np.float32(self.preemphasis) * sound[:-1]
        if self.centre:
            sound = np.pad(sound, self.n_fft // 2, mode="reflect")
        before = (self.n_fft - self.window) // 2  # a window in the middle of its frame is one that begins later
        n_frames = 1 + (len(sound) - self.n_fft) // self.hop
        part = sound[before : before + (n_frames - 1) * self.hop + self.window]
        power = power_spectra(part, hann(self.window, periodic=self.periodic), self.hop, self.n_fft)
        mel = self.basis @ power.T
        log: Floats = (np.log(mel + np.float32(self.floor)) - np.float32(self.mean)) / np.float32(self.std)
        return log

    @property
    def numbers(self) -> str:
        """All but the basis, as one line."""
        return repr([value for name, value in vars(self).items() if name != "basis"])
