"""SpectralExpert on signals that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.spectral import SpectralExpert, describe_sound
from reeltag.errors import EncoderError

from .shots import make_shot, noise, tone

RATE = 16_000
EXPERT = SpectralExpert()
# where things stand in the vectors
BANDS, SPREAD, CHANGE = slice(0, 40), slice(40, 80), slice(80, 120)
CENTROID, WIDTH, ROLLED, FLAT, FLUX = 159, 160, 161, 162, 163
CROSSINGS, LOUDNESS, LOUDNESS_SPREAD, PEAK, CREST, RISE, QUIET, LOUD = 169, 171, 172, 177, 178, 180, 181, 182
ONSETS, REGULAR, TEMPO, TEMPI = 184, 188, 189, slice(190, 198)
TONES, CLEAR = slice(198, 210), 210


def described(sound: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    found = describe_sound(sound.astype(np.float32))
    assert found.shape == (EXPERT.dim,)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 4
    return found


def clicks(per_s: float, seconds: float = 4.0) -> npt.NDArray[np.float32]:
    """Short bursts of noise, so many a second."""
    sound = np.zeros(round(RATE * seconds), np.float32)
    for start in np.arange(0.1, seconds - 0.05, 1 / per_s):
        sound[round(start * RATE) :][:400] = noise(RATE, 0.025, seed=1, loudness=0.3)
    return sound


TONE, NOISE, SILENCE = described(tone(440, RATE, 2)), described(noise(RATE, 2)), described(np.zeros(2 * RATE))


@pytest.mark.parametrize("hz", [220, 440, 1000, 3000])
def test_a_tone_is_in_its_band(hz: float) -> None:
    low, high = (1127 * np.log(1 + f / 700) for f in (40, 8000))
    band = (1127 * np.log(1 + hz / 700) - low) / ((high - low) / 41) - 1
    assert abs(described(tone(hz, RATE))[BANDS].argmax() - band) <= 1


def test_centre_of_a_tone_and_of_noise() -> None:
    for hz in (500, 2000, 6000):
        assert described(tone(hz, RATE))[CENTROID] ** 2 == pytest.approx(hz / 8000, abs=0.01)
    assert NOISE[CENTROID] ** 2 == pytest.approx(0.5, abs=0.02)
    assert NOISE[ROLLED] ** 2 == pytest.approx(0.85, abs=0.03)
    assert NOISE[WIDTH] ** 2 == pytest.approx(1 / 12**0.5, abs=0.02)


def test_noise_is_flat_and_a_tone_is_not() -> None:
    assert NOISE[FLAT] == pytest.approx(np.exp(-np.euler_gamma), abs=0.03)  # of exponential powers
    assert TONE[FLAT] < 0.01
    assert NOISE[FLUX] > 0.2
    assert TONE[FLUX] < 0.05


def test_zero_crossings() -> None:
    assert TONE[CROSSINGS] == pytest.approx(2 * 880 / RATE, rel=0.03)
    assert NOISE[CROSSINGS] == pytest.approx(1, abs=0.03)


def test_loudness_in_decibels() -> None:
    for loudness in (1.0, 0.1, 0.01):
        found = described(tone(440, RATE, loudness=loudness))
        decibels = 20 * np.log10(loudness) - 3.01  # of the mean square of a sine
        assert found[LOUDNESS] == pytest.approx(1 + decibels / 90, abs=0.005)
        assert found[PEAK] == pytest.approx(loudness, rel=1e-3)
        assert found[CREST] == pytest.approx(np.log10(2) / 2, abs=0.005)
        assert found[QUIET] == 0
        assert found[LOUD] == (loudness == 1.0)
    assert described(np.ones(RATE))[LOUDNESS] == pytest.approx(1, abs=0.03)


def test_a_sound_that_swells() -> None:
    swelling = described(noise(RATE, 3) * np.linspace(0.01, 1, 3 * RATE))
    assert swelling[RISE] > 0.15
    assert swelling[LOUDNESS_SPREAD] > 4 * NOISE[LOUDNESS_SPREAD]
    assert abs(NOISE[RISE]) < 0.02


@pytest.mark.parametrize(("per_s", "tempo"), [(2, 0.5), (1.25, 0.8), (3, 1 / 3)])
def test_a_beat_is_found(per_s: float, tempo: float) -> None:
    found = described(clicks(per_s))
    assert np.expm1(2 * found[ONSETS]) == pytest.approx(per_s, rel=0.2)
    assert found[REGULAR] > 0.4
    assert found[TEMPO] == pytest.approx(np.log2(tempo / 0.25) / np.log2(6), abs=0.02)
    assert found[TEMPI].max() == found[REGULAR]


def test_what_does_not_beat() -> None:
    for found in (TONE, SILENCE):
        assert found[ONSETS] == found[REGULAR] == found[TEMPO] == 0
    assert NOISE[ONSETS] == 0
    assert NOISE[REGULAR] < 0.3


@pytest.mark.parametrize("step", range(12))
def test_the_tone_of_the_scale(step: int) -> None:
    found = described(tone(440 * 2 ** (step / 12), RATE, 0.5))
    assert found[TONES].argmax() == step
    assert found[TONES].max() > 0.9
    assert found[CLEAR] > 0.9


def test_a_chord_and_noise_have_several_tones() -> None:
    chord = sum(tone(440 * 2 ** (step / 12), RATE, loudness=0.2) for step in (0, 4, 7))
    assert set(np.argsort(described(np.asarray(chord))[TONES])[-3:]) == {0, 4, 7}
    assert NOISE[TONES].max() < 0.5
    np.testing.assert_allclose(np.square(NOISE[TONES]).sum(), 1, rtol=1e-4)


def test_bands_change_when_the_sound_does() -> None:
    assert np.abs(TONE[CHANGE]).max() < 0.2 * NOISE[CHANGE].max()
    halves = np.concatenate([tone(300, RATE), tone(3000, RATE)])
    assert described(halves)[SPREAD].max() > 10 * TONE[SPREAD].max()


def test_silence_is_a_sound() -> None:
    shots = [make_shot(sound={RATE: np.zeros(RATE)}), make_shot(sound={RATE: np.zeros(0)})]
    values, present = EXPERT.encode_shots(shots)
    assert present.tolist() == [True, False]
    assert not values[1].any()
    np.testing.assert_array_equal(values[0], described(np.zeros(RATE)))
    assert not SILENCE[BANDS].any()
    assert not SILENCE[TONES].any()
    assert SILENCE[QUIET] == 1


@pytest.mark.parametrize("n", [1, 2, 100, 511, 512, 513, 700, 4095, 4097])
@pytest.mark.parametrize("kind", ["noise", "silence", "full", "tiny"])
def test_sounds_of_any_length(n: int, kind: str) -> None:
    sounds = {"noise": noise(RATE)[:n], "silence": np.zeros(n), "full": np.ones(n), "tiny": noise(RATE)[:n] * 1e-12}
    described(sounds[kind])


def test_a_row_depends_on_its_shot_alone() -> None:
    sounds = [tone(440, RATE), clicks(2, 1), noise(RATE, 0.3), np.zeros(0)]
    shots = [make_shot(sound={RATE: sound}) for sound in sounds]
    together, present = EXPERT.encode_shots(shots)
    assert together.dtype == np.float32
    assert present.tolist() == [True, True, True, False]
    for row, shot in enumerate(shots):
        np.testing.assert_array_equal(EXPERT.encode_shots([shot])[0][0], together[row])


def test_names_and_errors() -> None:
    assert (EXPERT.name, EXPERT.fingerprint, EXPERT.sample_rate) == ("spectral", "spectral-1", RATE)
    with pytest.raises(
        EncoderError, match=r"audio expert 'spectral' needs the sound of shots at 16,000 Hz; .* 8,000 Hz"
    ):
        EXPERT.encode_shots([make_shot(sound={8000: np.zeros(5)})])
    assert EXPERT.encode_shots([])[0].shape == (0, EXPERT.dim)
