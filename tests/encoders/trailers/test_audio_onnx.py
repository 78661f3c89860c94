"""OnnxSoundExpert on a tiny model, against numpy, and on the shared one where it is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.audio_onnx import OnnxSoundExpert
from reeltag.encoders.trailers.mel import MelRecipe, mel_triangles
from reeltag.errors import EncoderError, MissingExtraError

from .shots import make_shot, noise, tone
from .tiny_audio import (
    DIM,
    N_FFT,
    N_MELS,
    PLAIN,
    RATE,
    WEIGHTS,
    WORDS,
    save_audio_card,
    save_audio_model,
    save_audio_onnx,
)

pytest.importorskip("onnxruntime", reason="needs the extra 'trailers'")
pytest.importorskip("onnx", reason="builds models with onnx")
SHARED = Path(os.environ.get("REELTAG_SHARED") or Path(__file__).parents[3].parent / "shared")
RECIPE = MelRecipe(
    sample_rate=RATE, preemphasis=0.9, n_fft=N_FFT, window=24, periodic=False, hop=10, centre=True,
    basis=mel_triangles(RATE, N_FFT, N_MELS, 0, 450), floor=1e-4, mean=-3.0, std=2.0,
)  # fmt: skip
SOUNDS = [tone(200, RATE, 0.3), noise(RATE, 0.5), tone(90, RATE, 0.02), noise(RATE, 1.23), np.zeros(300), np.zeros(0)]
SHOTS = [make_shot(sound={RATE: sound}) for sound in SOUNDS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_audio_onnx(tmp_path_factory.mktemp("models") / "tiny.net")


def raw(sound: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """What the tiny model gives for one window of sound, in numpy."""
    return np.tanh(RECIPE(sound.astype(np.float32)).mean(axis=1)) @ WEIGHTS


def unit(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return vector / np.linalg.norm(vector)


def test_vectors_are_those_of_the_model_at_unit_length(folder: Path) -> None:
    expert = OnnxSoundExpert(str(folder))
    values, present = expert.encode_shots(SHOTS)
    assert values.dtype == np.float32
    assert values.shape == (6, DIM) == (6, expert.dim)
    assert present.tolist() == [True, True, True, True, True, False]
    for row in (0, 1, 4):
        np.testing.assert_allclose(values[row], unit(raw(SOUNDS[row])), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(values[:5], axis=1), 1, rtol=1e-5)
    assert not values[5].any()
    assert (expert.name, expert.sample_rate) == ("tiny-net", RATE)


def test_short_sounds_go_forward_and_backward(folder: Path) -> None:
    short = SOUNDS[2]
    least = 7 * 10 + 1  # eight frames, and the sample that pre-emphasis takes
    long = np.concatenate([short, short[::-1], short, short[::-1]])[:least]
    values, _ = OnnxSoundExpert(str(folder)).encode_shots([SHOTS[2]])
    np.testing.assert_allclose(values[0], unit(raw(long)), atol=1e-5)


def test_long_sounds_are_cut_into_windows_and_averaged(folder: Path) -> None:
    long = SOUNDS[3]
    starts = (0, 365, 730)  # windows of 500 samples over 1,230
    expected = np.mean([raw(long[start : start + 500]) for start in starts], axis=0)
    values, _ = OnnxSoundExpert(str(folder)).encode_shots([SHOTS[3]])
    np.testing.assert_allclose(values[0], unit(expected), atol=1e-5)


def test_a_row_depends_on_its_shot_alone(folder: Path) -> None:
    expert = OnnxSoundExpert(str(folder))
    together, _ = expert.encode_shots(SHOTS)
    for row, shot in enumerate(SHOTS):
        np.testing.assert_allclose(expert.encode_shots([shot])[0][0], together[row], atol=1e-6)
    assert expert.encode_shots([])[0].shape == (0, DIM)


def test_a_card_in_words(folder: Path, tmp_path: Path) -> None:
    save_audio_model(tmp_path)
    expert = OnnxSoundExpert(str(save_audio_card(tmp_path, **WORDS)))
    values, _ = expert.encode_shots(SHOTS)
    np.testing.assert_allclose(values, OnnxSoundExpert(str(folder)).encode_shots(SHOTS)[0], atol=1e-6)
    assert expert.fingerprint == OnnxSoundExpert(str(folder)).fingerprint


def test_a_model_that_takes_one_length_alone(tmp_path: Path) -> None:
    save_audio_model(tmp_path, frames=20)
    values, _ = OnnxSoundExpert(
        str(save_audio_card(tmp_path, PLAIN | {"frames": 20, "least_frames": 20}))
    ).encode_shots(SHOTS)
    np.testing.assert_allclose(np.linalg.norm(values[:5], axis=1), 1, rtol=1e-5)
    with pytest.raises(EncoderError, match=r"takes 20 frames, no more and no fewer, .* must both be; got 50 and 8"):
        _ = OnnxSoundExpert(str(save_audio_card(tmp_path))).dim


@pytest.mark.parametrize(
    "change",
    [{"hop": 11}, {"mean": -2.0}, {"frames": 40}, {"least_frames": 9}, {"periodic": True}, {"preemphasis": 0.0}],
)
def test_fingerprints_follow_settings_not_words(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    one = OnnxSoundExpert(str(folder)).fingerprint
    assert OnnxSoundExpert(str(save_audio_onnx(tmp_path / "same", name="other words"))).fingerprint == one
    assert OnnxSoundExpert(str(save_audio_onnx(tmp_path / "other", PLAIN | change))).fingerprint != one


def test_fingerprints_follow_the_mel_basis_and_the_model(folder: Path, tmp_path: Path) -> None:
    one = OnnxSoundExpert(str(folder)).fingerprint
    save_audio_onnx(tmp_path)
    np.save(tmp_path / "mel_basis.npy", RECIPE.basis * 2)
    assert OnnxSoundExpert(str(tmp_path)).fingerprint != one
    save_audio_onnx(tmp_path)
    assert OnnxSoundExpert(str(tmp_path)).fingerprint == one
    save_audio_model(tmp_path, frames=50)
    assert OnnxSoundExpert(str(tmp_path)).fingerprint != one


def test_the_fingerprint_and_the_rate_open_no_session(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    expert = OnnxSoundExpert(str(folder))
    assert expert.fingerprint.startswith("onnx-")
    assert expert.sample_rate == RATE
    with pytest.raises(MissingExtraError, match=r"'onnx:.*tiny\.net' needs the package 'onnxruntime'.*\[trailers\]"):
        _ = expert.dim


def test_shots_read_at_another_rate(folder: Path) -> None:
    with pytest.raises(
        EncoderError, match=r"audio expert 'onnx:.*' needs the sound of shots at 1,000 Hz; .* at 8,000 Hz"
    ):
        OnnxSoundExpert(str(folder)).encode_shots([make_shot(sound={8000: np.zeros(9)})])


# ---------------------------------------------------------------- the test of a card


def chirp() -> npt.NDArray[np.floating]:
    t = np.arange(500) / RATE
    return 0.1 * np.sin(2 * np.pi * (20 * t + 30 * t * t))


def sanity(**mel: float) -> dict[str, Any]:
    vector = raw(chirp())
    found = RECIPE(chirp().astype(np.float32))
    numbers = {"mel_mean": found.mean(), "mel_std": found.std(), "mel_max": found.max(), "mel_2_30": found[2, 30]}
    return {
        "test_vector": {
            "how": "t = arange(500)/1000; x = 0.1*sin(2*pi*(20*t + 30*t*t)); front end in float64; run",
            "mel": {"mel_shape": list(found.shape)}
            | {name: round(float(value), 4) for name, value in (numbers | mel).items()},
            "embedding_first5": np.round(vector[:5], 4).tolist(),
            "embedding_l2": round(float(np.linalg.norm(vector)), 4),
        }
    }


def test_a_test_that_holds(tmp_path: Path) -> None:
    assert OnnxSoundExpert(str(save_audio_onnx(tmp_path, PLAIN, sanity=sanity()))).dim == DIM


@pytest.mark.parametrize(
    "change", [{"preemphasis": 0.0}, {"hop": 9}, {"periodic": True}, {"mean": -2.9}, {"centre": False}]
)
def test_a_recipe_that_does_not_give_the_mel_numbers_of_its_card(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = save_audio_onnx(tmp_path, PLAIN | change, sanity=sanity())
    with pytest.raises(
        EncoderError, match=r"model\.json, field 'sanity\.test_vector\.mel\.mel_\w+': the recipe read from"
    ):
        _ = OnnxSoundExpert(str(folder)).dim


def test_a_place_that_the_input_does_not_have(tmp_path: Path) -> None:
    folder = save_audio_onnx(tmp_path, PLAIN, sanity=sanity(mel_6_0=0.0))
    with pytest.raises(EncoderError, match=r"mel_6_0': the recipe read from the card must give it; got None for 0"):
        _ = OnnxSoundExpert(str(folder)).dim


def test_a_model_that_does_not_give_the_vector_of_its_card(tmp_path: Path) -> None:
    wrong = sanity()
    wrong["test_vector"]["embedding_first5"][0] += 0.3
    with pytest.raises(
        EncoderError, match=r"field 'sanity\.test_vector': the model and the recipe .* must give it; got"
    ):
        _ = OnnxSoundExpert(str(save_audio_onnx(tmp_path, PLAIN, sanity=wrong))).dim


# ---------------------------------------------------------------- models that are not there or do not fit


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="model folder '/nowhere' does not exist"):
        _ = OnnxSoundExpert("/nowhere").sample_rate
    with pytest.raises(EncoderError, match=r"model\.onnx: the model of the card cannot be read \(No such file"):
        _ = OnnxSoundExpert(str(save_audio_card(tmp_path))).dim
    (tmp_path / "model.onnx").write_bytes(b"none")
    with pytest.raises(EncoderError, match=r"model\.onnx: not a model that ONNX Runtime can open"):
        _ = OnnxSoundExpert(str(tmp_path)).dim


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "logits"}, "the model needs an output 'embedding'; outputs: logits"),
        (
            {"n_mels": 7},
            r"the model needs one float input \(n, 1, 6, n_frames\); got mel tensor\(float\) \['n', 1, 7, 't'\]",
        ),
        ({"dims": 3}, r"the model needs one float input \(n, 1, 6, n_frames\); got mel"),
    ],
)
def test_models_that_do_not_fit_their_card(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save_audio_model(tmp_path, **change)
    with pytest.raises(EncoderError, match=rf"model\.json: {message}"):
        _ = OnnxSoundExpert(str(save_audio_card(tmp_path))).dim


@pytest.mark.skipif(not (SHARED / "weights" / "efficientat-mn04").is_dir(), reason="needs the shared weights")
def test_the_shared_model_gives_the_numbers_of_its_card() -> None:
    expert = OnnxSoundExpert(str(SHARED / "weights" / "efficientat-mn04"))
    assert expert.card.test is not None
    assert len(expert.card.test.mel) == 6
    assert expert.card.test.length == 4.8587
    assert (expert.dim, expert.sample_rate, expert.card.frames, expert.card.least_frames) == (384, 32_000, 1000, 100)
    basis = mel_triangles(32_000, 1024, 128, 0, 15_000)
    np.testing.assert_allclose(expert.card.recipe.basis, basis, atol=1e-5)
    values, present = expert.encode_shots([make_shot(sound={32_000: expert.card.test.sound})])
    np.testing.assert_allclose(values[0, :5] * 4.8587, expert.card.test.first, atol=2e-3)
    assert present.all()
