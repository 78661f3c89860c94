"""Cards of ONNX audio models: both forms, and what breaks a rule of either."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.encoders.trailers.audio_card import AudioCard, read_audio_card
from reeltag.errors import EncoderError

from .tiny_audio import N_FFT, PLAIN, RATE, WORDS, save_audio_card


def facts(card: AudioCard) -> tuple[Any, ...]:
    return card.file, card.recipe.numbers, card.recipe.basis.tolist(), card.frames, card.least_frames


def words(place: str, value: object) -> dict[str, Any]:
    """WORDS with one field changed, or left out when the value is None."""
    changed = deepcopy(WORDS)
    part, _, name = place.partition(".")
    changed[part][name] = value
    if value is None:
        del changed[part][name]
    return changed


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    machine = read_audio_card(save_audio_card(tmp_path / "machine"))
    assert facts(read_audio_card(save_audio_card(tmp_path / "words", **WORDS))) == facts(machine)
    recipe = machine.recipe
    assert (recipe.sample_rate, recipe.preemphasis, recipe.n_fft, recipe.window, recipe.hop) == (
        RATE,
        0.9,
        N_FFT,
        24,
        10,
    )
    assert (recipe.periodic, recipe.centre, recipe.floor, recipe.mean, recipe.std) == (False, True, 1e-4, -3.0, 2.0)
    assert recipe.basis.shape == (6, 17)
    assert recipe.basis.dtype == np.float32
    assert (machine.frames, machine.least_frames, machine.test) == (50, 8, None)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    optional = ("preemphasis", "window", "periodic", "centre", "least_frames")
    card = read_audio_card(save_audio_card(tmp_path, {k: v for k, v in PLAIN.items() if k not in optional}))
    recipe = card.recipe
    assert (recipe.preemphasis, recipe.window, recipe.periodic, recipe.centre) == (0.0, N_FFT, False, True)
    assert (card.file, card.least_frames) == ("model.onnx", 1)


def test_words_of_other_recipes(tmp_path: Path) -> None:
    def recipe(place: str, value: object) -> Any:
        return read_audio_card(save_audio_card(tmp_path, **words(place, value))).recipe

    assert recipe("front_end.preemphasis", None).preemphasis == 0
    assert not recipe("front_end.centre", None).centre
    assert recipe("front_end.normalisation", "(log - 1.5) / 4").mean == 1.5
    assert recipe("front_end.window", "Hann, periodic, length 24, zero padded to 32 in the middle").periodic


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"sample_rate": 0}, "sample_rate", "must be a whole number from 1,000 to 192,000; got 0"),
        ({"sample_rate": 16000.0}, "sample_rate", "must be a whole number"),
        ({"n_fft": None}, "n_fft", "must be a whole number from 16 to 65,536; got None"),
        ({"hop": True}, "hop", "must be a whole number from 1 to 65,536; got True"),
        ({"window": 33}, "window", "must be at most n_fft, which is 32; got 33"),
        ({"frames": "50"}, "frames", "must be a whole number"),
        ({"least_frames": 51}, "least_frames", "must be at most frames, which is 50; got 51"),
        ({"preemphasis": 1.5}, "preemphasis", "must be a number from 0 to 1; got 1.5"),
        ({"log_floor": 0}, "log_floor", "must be a number from 1e-30 to 1; got 0"),
        ({"mean": "x"}, "mean", "must be a number from -1000 to 1000; got 'x'"),
        ({"std": float("nan")}, "std", "must be a number from 1e-06 to 1000; got nan"),
        ({"periodic": 0}, "periodic", "must be true or false; got 0"),
        ({"centre": "yes"}, "centre", "must be true or false; got 'yes'"),
        (
            {"mel_basis": "../basis.npy"},
            "mel_basis",
            "must be the name of a file in the same folder; got '../basis.npy'",
        ),
        ({"mel_basis": None}, "mel_basis", "must be the name of a file in the same folder; got None"),
        ({"n_mels": 6}, "n_mels", "must be one of sample_rate, n_fft, window, .*, mel_basis; got 'n_mels'"),
    ],
)
def test_settings_that_break_a_rule(tmp_path: Path, change: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(EncoderError, match=rf"model\.json, field 'preprocessing\.{field}': {message}"):
        read_audio_card(save_audio_card(tmp_path, PLAIN | change))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            "input.layout",
            "n, frame, mel band",
            "must read 'n, 1, mel band, frame'; any other way goes into 'preprocess",
        ),
        ("input.length", "any", "must read"),
        ("front_end.channels", "stereo", r"must read 'mono, float, -1\.\.1'.*; got 'stereo'"),
        ("front_end.preemphasis", "y[i] = x[i] - 0.97 * x[i-1]", "must read 'y"),
        ("front_end.window", "Hamming, length 24, zero padded to 32 in the middle", "must read 'Hann"),
        ("front_end.window", "Hann, symmetric, length 25, zero padded to 32 in the middle", "must name the win_length"),
        ("front_end.window", "Hann, symmetric, length 24", "must be zero padded to the n_fft, which is 32"),
        ("front_end.centre", "zero padding of 16 samples each side", "must read 'reflect padding"),
        ("front_end.centre", "reflect padding of 12 samples each side", "must pad by half the n_fft, 16; got '12'"),
        ("front_end.spectrum", "magnitude |rfft|, 17 bins, no further scaling", "must read 'power"),
        ("front_end.mel_basis", "by torchaudio", "must read 'FILE.npy"),
        ("front_end.log", "10 * log10 of (mel + 1e-4)", "must read 'natural log"),
        ("front_end.normalisation", "none", r"must read '\(log \+ N\) / N'"),
        ("front_end.normalisation", None, r"must read '\(log \+ N\) / N'.*; got None"),
    ],
)
def test_words_that_are_not_understood(tmp_path: Path, place: str, value: object, message: str) -> None:
    with pytest.raises(EncoderError, match=rf"model\.json, field '{place}': {message}"):
        read_audio_card(save_audio_card(tmp_path, **words(place, value)))


def test_cards_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"model\.json: an ONNX model needs a card model\.json \(No such file"):
        read_audio_card(tmp_path)
    (tmp_path / "model.json").write_text("{'")
    with pytest.raises(EncoderError, match=r"model\.json: not valid JSON"):
        read_audio_card(tmp_path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(EncoderError, match=r"a card must be an object; got \[1\]"):
        read_audio_card(tmp_path)
    with pytest.raises(EncoderError, match="field 'preprocessing': must be an object; got 5"):
        read_audio_card(save_audio_card(tmp_path, 5))
    with pytest.raises(EncoderError, match="field 'file': must be the name of a file in the same folder; got 'a/b'"):
        read_audio_card(save_audio_card(tmp_path, file="a/b"))
    with pytest.raises(EncoderError, match="field 'front_end': must be an object, or there must be 'preprocessing'"):
        read_audio_card(save_audio_card(tmp_path, input={}, front_end=None))


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        (np.zeros((6, 16), np.float32), r"must be finite floats \(n_mels, 17\); got 'float32 \[6, 16\]'"),
        (np.zeros((6, 17), np.int64), r"got 'int64 \[6, 17\]'"),
        (np.full((6, 17), np.inf), r"must be finite floats"),
        (np.zeros(17), r"got 'float64 \[17\]'"),
    ],
)
def test_a_mel_basis_that_does_not_fit(tmp_path: Path, basis: Any, message: str) -> None:
    save_audio_card(tmp_path)
    np.save(tmp_path / "mel_basis.npy", basis)
    with pytest.raises(EncoderError, match=rf"mel_basis\.npy: {message}|mel_basis\.npy: .*{message}"):
        read_audio_card(tmp_path)


def test_a_mel_basis_that_cannot_be_read(tmp_path: Path) -> None:
    save_audio_card(tmp_path)
    for content in (b"", b"not numpy"):
        (tmp_path / "mel_basis.npy").write_bytes(content)
        with pytest.raises(EncoderError, match=r"mel_basis\.npy: the mel basis of the card cannot be read \("):
            read_audio_card(tmp_path)
    np.save(tmp_path / "mel_basis.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(EncoderError, match="the mel basis of the card cannot be read"):
        read_audio_card(tmp_path)
    (tmp_path / "mel_basis.npy").unlink()
    with pytest.raises(EncoderError, match=r"the mel basis of the card cannot be read .*No such file"):
        read_audio_card(tmp_path)


def test_the_test_of_a_card(tmp_path: Path) -> None:
    how = "t = arange(500)/1000; x = 0.1*sin(2*pi*(20*t + 30*t*t)); front end in float64, cast to float32; run"
    mel = {"mel_shape": [6, 50], "mel_mean": 1, "mel_2_30": -0.5, "mel_other": 7}
    vector = {"how": how, "mel": mel, "embedding_first5": [1, 2.5], "embedding_l2": 3}
    test = read_audio_card(save_audio_card(tmp_path, sanity={"test_vector": vector})).test
    assert test is not None
    assert (test.first, test.length, test.shape) == ((1.0, 2.5), 3.0, (6, 50))
    assert test.mel == {"mean": 1.0, (2, 30): -0.5}
    t = np.arange(500) / 1000
    np.testing.assert_allclose(test.sound, 0.1 * np.sin(2 * np.pi * (20 * t + 30 * t * t)), atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"how": "a bell"}, {"how": "t = arange(500)/999; x = 0.1*sin(2*pi*(20*t + 30*t*t))"}, {"embedding_first5": "?"},
     {"embedding_l2": None}],
)  # fmt: skip
def test_tests_that_are_not_understood_are_none(tmp_path: Path, change: dict[str, Any]) -> None:
    how = "t = arange(500)/1000; x = 0.1*sin(2*pi*(20*t + 30*t*t)); run"
    vector = {"how": how, "embedding_first5": [1], "embedding_l2": 3} | change
    assert read_audio_card(save_audio_card(tmp_path, sanity={"test_vector": vector})).test is None
    assert read_audio_card(save_audio_card(tmp_path, sanity="none")).test is None
