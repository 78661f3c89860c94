"""Spectra and mel bands against explicit sums."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.mel import MelRecipe, hann, mel_triangles, power_spectra

from .shots import noise, tone

RECIPE = MelRecipe(
    sample_rate=1000, preemphasis=0.9, n_fft=32, window=24, periodic=False, hop=10, centre=True,
    basis=mel_triangles(1000, 32, 6, 0, 450), floor=1e-4, mean=-3.0, std=2.0,
)  # fmt: skip


def by_loops(sound: npt.NDArray[np.floating], recipe: MelRecipe) -> npt.NDArray[np.float64]:
    """The input of a model, one number at a time: the window lies in the middle of a frame of n_fft."""
    x = [float(value) for value in sound]
    if recipe.preemphasis:
        x = [x[i + 1] - recipe.preemphasis * x[i] for i in range(len(x) - 1)]
    if recipe.centre:
        half = recipe.n_fft // 2
        x = [x[half - i] for i in range(half)] + x + [x[-2 - i] for i in range(half)]
    before = (recipe.n_fft - recipe.window) // 2
    length = recipe.window if recipe.periodic else recipe.window - 1
    columns = []
    for start in range(0, len(x) - recipe.n_fft + 1, recipe.hop):
        frame = [0.0] * recipe.n_fft
        for i in range(recipe.window):
            frame[before + i] = x[start + before + i] * (0.5 - 0.5 * math.cos(2 * math.pi * i / length))
        power = []
        for k in range(recipe.n_fft // 2 + 1):
            turn = [2 * math.pi * k * i / recipe.n_fft for i in range(recipe.n_fft)]
            real = sum(value * math.cos(t) for value, t in zip(frame, turn, strict=True))
            imaginary = sum(value * math.sin(t) for value, t in zip(frame, turn, strict=True))
            power.append(real**2 + imaginary**2)
        mel = [sum(float(w) * p for w, p in zip(row, power, strict=True)) for row in recipe.basis]
        columns.append([(math.log(m + recipe.floor) - recipe.mean) / recipe.std for m in mel])
    return np.array(columns).T


@pytest.mark.parametrize(
    "change",
    [{}, {"preemphasis": 0.0}, {"centre": False}, {"periodic": True}, {"window": 32}, {"hop": 7},
     {"floor": 0.1, "mean": 1.0}],
)  # fmt: skip
def test_a_recipe_by_loops(change: dict[str, float]) -> None:
    recipe = replace(RECIPE, **change)  # type: ignore[arg-type]
    sound = noise(1000, 0.083)
    found = recipe(sound)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_loops(sound, recipe), atol=1e-4)


@pytest.mark.parametrize("change", [{}, {"preemphasis": 0.0}, {"centre": False}, {"centre": False, "preemphasis": 0.0}])
@pytest.mark.parametrize("n_frames", [4, 5, 9])
def test_how_many_samples_make_so_many_frames(n_frames: int, change: dict[str, float]) -> None:
    recipe = replace(RECIPE, **change)  # type: ignore[arg-type]
    shortest, longest = recipe.shortest(n_frames), recipe.longest(n_frames)
    assert recipe(np.zeros(shortest, np.float32)).shape == (6, n_frames)
    assert recipe(np.zeros(shortest - 1, np.float32)).shape == (6, n_frames - 1)
    assert recipe(np.zeros(longest, np.float32)).shape == (6, n_frames)
    assert recipe(np.zeros(longest + 1, np.float32)).shape == (6, n_frames + 1)


@pytest.mark.parametrize("centre", [True, False])
def test_the_shortest_sound_of_all_can_be_read(centre: bool) -> None:
    recipe = replace(RECIPE, centre=centre)
    assert recipe(np.zeros(recipe.shortest(1), np.float32)).shape[1] >= 1


def test_silence_is_the_floor() -> None:
    found = RECIPE(np.zeros(100, np.float32))
    np.testing.assert_allclose(found, (math.log(1e-4) + 3) / 2, rtol=1e-5)


def test_triangles_by_loops() -> None:
    found = mel_triangles(8000, 256, 12, 100, 3500)

    def mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    low, high = mel(100), mel(3500)
    for band in range(12):
        left, peak, right = (low + (high - low) * (band + i) / 13 for i in range(3))
        for k in range(129):
            place = mel(k * 8000 / 256)
            if left < place <= peak:
                expected = (place - left) / (peak - left)
            elif peak < place < right:
                expected = (right - place) / (right - peak)
            else:
                expected = 0.0
            assert found[band, k] == pytest.approx(expected, abs=1e-5)


def test_windows_by_formula() -> None:
    for periodic in (False, True):
        found = hann(10, periodic=periodic)
        length = 10 if periodic else 9
        np.testing.assert_allclose(found, [math.sin(math.pi * i / length) ** 2 for i in range(10)], atol=1e-6)


def test_the_power_of_a_tone_is_where_it_sounds() -> None:
    power = power_spectra(tone(250, 1000), hann(64, periodic=True), 16, 64)
    assert power.shape == ((1000 - 64) // 16 + 1, 33)
    assert (power.argmax(axis=1) == 16).all()
    assert (power[:, :14] < 1e-6 * power.max()).all()


def test_numbers_tell_recipes_apart() -> None:
    others = [replace(RECIPE, hop=11), replace(RECIPE, mean=-2.0), replace(RECIPE, periodic=True)]
    assert len({recipe.numbers for recipe in [RECIPE, *others]}) == 4
    assert "basis" not in RECIPE.numbers
    assert replace(RECIPE, basis=RECIPE.basis[:3]).numbers == RECIPE.numbers
