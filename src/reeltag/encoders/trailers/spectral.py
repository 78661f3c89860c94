"""What the sound of a shot tells without a model: its bands, timbre, loudness, beats and tones.

Tones are taken from frames of 256 ms, which tell a semitone from the next above 110 Hz, and all else from frames of
32 ms every 10 ms. Numbers are put on scales on which film sound lies between about -1 and 3, loudness as decibels
above the floor in parts of the range, so that silence is a sound like any other, of zeros mostly. A sound shorter than
a frame is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.mel import Floats, hann, mel_triangles, power_spectra
from reeltag.encoders.trailers.sound_windows import Sound, sounds_of

_REVISION = 1
_RATE = 16_000
_N_FFT, _HOP = 512, 160
_TONE_FFT, _TONE_HOP = 4096, 1600
_PER_S = _RATE / _HOP  # frames in a second
_N_MELS, _N_MFCC = 40, 13
_LOWEST_HZ = 40.0
_FLOOR_DB = -90.0  # of the power of a frame, 0 being that of a square wave as loud as can be
_ROLLED_OFF = 0.85  # of the power lies below the roll-off
_TONES_HZ = (110.0, 4_000.0)
_BEATS_S = (0.25, 1.5)  # from 240 to 40 beats a minute
_N_TEMPI = 8
_QUIET_DB, _LOUD_DB = -50.0, -20.0
_ONSET_DB = 3.0  # rise of the mean band from one frame to the next
_EVEN_DB = 0.1  # a spread of that rise below which there are no beats
_TINY = 1e-12


class SpectralExpert:
    """Statistics of the spectrogram of a shot's sound; nothing is learned and nothing downloaded."""

    name = "spectral"
    fingerprint = f"spectral-{_REVISION}"
    sample_rate = _RATE

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return len(describe_sound(np.zeros(1, np.float32)))

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return descriptors (n_shots, dim) and which shots have sound, be it silence.

        Raises:
            EncoderError: The shots were not read at 16,000 Hz.
        """
        sounds = sounds_of(shots, _RATE, "audio expert 'spectral'")
        values = np.zeros((len(shots), self.dim), np.float32)
        present = np.array([len(sound) > 0 for sound in sounds], np.bool_)
        for row in np.flatnonzero(present):
            values[row] = describe_sound(sounds[row])
        return values, present


def describe_sound(sound: Sound) -> Floats:
    """Return the descriptors of a sound of 16,000 Hz that is not empty, (dim,)."""
    sound = np.pad(sound, (0, max(_N_FFT - len(sound), 0)))
    power = _spectrogram(sound, _N_FFT, _HOP)
    levels = _levels(power @ _tables().mels.T)
    loudness = _levels(power.sum(axis=1))
    parts = [_timbre(levels), _shape(power, loudness), _crossings(sound), _dynamics(sound, loudness)]
    tones = _tones(_spectrogram(sound, _TONE_FFT, _TONE_HOP))
    return np.concatenate([*parts, _beats(levels), tones]).astype(np.float32)


def _spectrogram(sound: Sound, n_fft: int, hop: int) -> Floats:
    """Return the power of frames, (n_frames, n_bins), whose sum over bins is about the mean square of the sound."""
    window = _tables().windows[n_fft]
    if len(sound) < n_fft:
        sound = np.pad(sound, (0, n_fft - len(sound)))
    scale = 2 / (n_fft * float(np.square(window, dtype=np.float64).sum()))
    return power_spectra(sound, window, hop, n_fft) * np.float32(scale)


def _levels(power: Floats) -> Floats:
    """Return power as decibels above the floor, in parts of the range between floor and full scale."""
    decibels = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
    return np.asarray(1 - decibels / _FLOOR_DB, np.float32)


def _timbre(levels: Floats) -> Floats:
    """Return mean, spread and change of each mel band, and of the cepstrum."""
    steps = np.abs(np.diff(levels, axis=0)) if len(levels) > 1 else np.zeros_like(levels)
    cepstrum = dct(levels, norm="ortho", axis=1)[:, 1 : _N_MFCC + 1]
    moves = np.abs(np.diff(cepstrum, axis=0)) if len(cepstrum) > 1 else np.zeros_like(cepstrum)
    return np.concatenate([
        levels.mean(axis=0), 4 * levels.std(axis=0), 10 * steps.mean(axis=0),
        cepstrum.mean(axis=0), 2 * cepstrum.std(axis=0), 4 * moves.mean(axis=0),
    ])  # fmt: skip


def _shape(power: Floats, loudness: Floats) -> Floats:
    """Return centroid, width, roll-off, flatness and flux of the spectra: mean, weighted by loudness, and spread."""
    total = power.sum(axis=1, keepdims=True)
    shares = power / np.maximum(total, _TINY)
    bins = _tables().bins
    centroid = shares @ bins
    width = np.sqrt(np.maximum(shares @ bins**2 - centroid**2, 0))
    rolled = (np.cumsum(shares, axis=1) < _ROLLED_OFF).mean(axis=1) * (total[:, 0] > _TINY)
    flat = np.exp(np.log(shares + _TINY).mean(axis=1)) * shares.shape[1]
    flux = np.zeros(len(shares), np.float32)
    if len(shares) > 1:
        flux[1:] = np.abs(np.diff(shares, axis=0)).sum(axis=1) / 2
    tracks = np.stack([np.sqrt(centroid), np.sqrt(width), np.sqrt(rolled), flat, flux], axis=1)
    weights = loudness / max(loudness.sum(), _TINY)
    mean = weights @ tracks
    return np.concatenate([mean, 2 * np.sqrt(np.maximum(weights @ (tracks - mean) ** 2, 0))])


def _crossings(sound: Sound) -> Floats:
    """Return the share of samples at which the sign turns: mean and spread over frames."""
    turns = (np.diff(np.signbit(sound).astype(np.int8)) != 0).astype(np.float32)
    whole = turns[: len(turns) // _HOP * _HOP].reshape(-1, _HOP).mean(axis=1)
    return np.array([2 * whole.mean(), 4 * whole.std()], np.float32)


def _dynamics(sound: Sound, loudness: Floats) -> Floats:
    """Return how loud a sound is and how that changes."""
    decibels = (1 - loudness) * _FLOOR_DB
    low, middle, high = np.percentile(loudness, [5, 50, 95])
    third = max(len(loudness) // 3, 1)
    steps = np.abs(np.diff(loudness)).mean() if len(loudness) > 1 else 0.0
    peak = np.abs(sound).max()
    mean_square = float(np.mean(np.square(sound, dtype=np.float64)))
    crest = np.log10(peak**2 / mean_square) / 2 if mean_square > _TINY else 0.0
    return np.array([
        loudness.mean(), 4 * loudness.std(), low, middle, high, high - low, peak, crest, 10 * steps,
        loudness[-third:].mean() - loudness[:third].mean(), (decibels < _QUIET_DB).mean(), (decibels > _LOUD_DB).mean(),
        loudness.argmax() / max(len(loudness) - 1, 1),
    ])  # fmt: skip


def _beats(levels: Floats) -> Floats:
    """Return how many onsets there are, how strong, and how regular at eight tempi and at the best of them."""
    rise = np.maximum(np.diff(levels, axis=0), 0).mean(axis=1) * -_FLOOR_DB if len(levels) > 1 else np.zeros(1)
    inner = rise[1:-1]
    peaks = (inner >= rise[:-2]) & (inner > rise[2:]) & (inner > _ONSET_DB) if len(rise) > 2 else np.zeros(1, np.bool_)
    seconds = len(levels) / _PER_S
    first, last = (round(s * _PER_S) for s in _BEATS_S)
    regular = _autocorrelation(rise, last + 1)[first:]
    best = int(regular.argmax())
    tempi = [float(part.max()) for part in np.array_split(regular, _N_TEMPI)]
    place = np.log2((first + best) / first) / np.log2(last / first) if regular[best] > 0 else 0.0
    return np.array([
        np.log1p(peaks.sum() / seconds) / 2, rise.mean() / 3, rise.std() / 3, rise.max() / 20, regular[best], place,
        *tempi,
    ])  # fmt: skip


def _autocorrelation(track: npt.NDArray[np.floating], n_lags: int) -> npt.NDArray[np.float64]:
    """Return how like itself a track is when moved by 0 to ``n_lags - 1``: 1 when alike, 0 beyond half its length."""
    centred = track.astype(np.float64) - track.mean()
    found = np.zeros(n_lags)
    power = centred @ centred
    if power > _EVEN_DB**2 * len(track):
        size = 2 * len(centred)
        products = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2, size)
        known = min(n_lags, len(centred) // 2 + 1)
        found[:known] = products[:known] / power
    return np.maximum(found, 0)


def _tones(power: Floats) -> Floats:
    """Return the shares of the twelve tones of the scale, from A, how clear they are, and how they change."""
    chroma = power @ _tables().chroma.T  # (n_frames, 12)
    total = chroma.sum(axis=1, keepdims=True)
    sounding = total[:, 0] > 10 ** (_FLOOR_DB / 10)
    if not sounding.any():
        return np.zeros(15, np.float32)
    shares = chroma[sounding] / total[sounding]
    mean = shares.mean(axis=0)
    moves = np.abs(np.diff(shares, axis=0)).sum() / (2 * len(shares))
    return np.concatenate([np.sqrt(mean), [mean.max(), shares.max(axis=1).mean(), moves]])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tables:
    """What is the same for every sound.

    Attributes:
        windows: By length.
        mels: Weights of bins in mel bands, (n_mels, n_bins).
        bins: The frequency of each bin, 1 being the highest.
        chroma: Which bins of the long frames belong to which tone, (12, n_bins).
    """

    windows: dict[int, Floats]
    mels: Floats
    bins: Floats
    chroma: Floats


@cache
def _tables() -> _Tables:
    hz = np.arange(1, _TONE_FFT // 2 + 1) * _RATE / _TONE_FFT
    tones = np.round(12 * np.log2(hz / 440)).astype(np.int64) % 12
    inside = (hz >= _TONES_HZ[0]) & (hz <= _TONES_HZ[1])
    chroma = np.pad((tones == np.arange(12)[:, None]) & inside, ((0, 0), (1, 0)))
    return _Tables(
        windows={n: hann(n, periodic=True) for n in (_N_FFT, _TONE_FFT)},
        mels=mel_triangles(_RATE, _N_FFT, _N_MELS, _LOWEST_HZ, _RATE / 2),
        bins=np.linspace(0, 1, _N_FFT // 2 + 1, dtype=np.float32),
        chroma=chroma.astype(np.float32),
    )
