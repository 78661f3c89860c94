"""AstExpert and ClapExpert on tiny models with random weights, against transformers called by hand."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file

from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.transformer_audio import AstExpert, ClapExpert
from reeltag.errors import EncoderError, MissingExtraError

from .shots import make_shot, noise, tone
from .tiny import in_single_precision, save_vit
from .tiny_audio import save_ast, save_clap

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
EXPERTS: dict[str, Any] = {"ast": AstExpert, "clap": ClapExpert, "fused": ClapExpert, "tower": ClapExpert}
RATES = {"ast": 16_000, "clap": 8000, "fused": 8000, "tower": 8000}
WINDOWS = {"ast": 63 * 160 + 400, "clap": 8000, "fused": 8000, "tower": 8000}  # samples


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "ast": save_ast(folder / "ast.v1"),
        "clap": save_clap(folder / "clap"),
        "fused": save_clap(folder / "fused", fusion=True),
        "tower": save_clap(folder / "tower", whole=False),
    }


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch, "transformer_audio")


def shots(kind: str) -> list[Shot]:
    """Shots of half a window, a tenth, two and a half, a window, silence, and no sound."""
    rate, window = RATES[kind], WINDOWS[kind] / RATES[kind]
    sounds = [
        noise(rate, window / 2), tone(500, rate, window / 10), noise(rate, 2.5 * window, seed=1),
        tone(900, rate, window), np.zeros(rate // 4), np.zeros(0),
    ]  # fmt: skip
    return [make_shot(sound={rate: sound}) for sound in sounds]


@cache
def opened(name: str, folder: Path) -> Any:
    """A network or feature extractor of transformers."""
    found = getattr(transformers, name).from_pretrained(folder)
    return found.eval() if isinstance(found, torch.nn.Module) else found


def by_hand(kind: str, folder: Path, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The pooled or projected vector of a sound that is no longer than a window."""
    with torch.no_grad():
        if kind == "ast":
            extractor = opened("ASTFeatureExtractor", folder)
            values = extractor(sound, sampling_rate=16_000, return_tensors="pt")["input_values"]
            return opened("ASTModel", folder)(values).pooler_output[0].numpy()
        extractor = opened("ClapFeatureExtractor", folder)
        features = extractor(sound, sampling_rate=8000, return_tensors="pt")["input_features"].float()
        longer = torch.tensor([[False]])
        if kind == "tower":
            network = opened("ClapAudioModelWithProjection", folder)
            return network(input_features=features, is_longer=longer).audio_embeds[0].numpy()
        network = opened("ClapModel", folder)
        return network.get_audio_features(input_features=features, is_longer=longer).pooler_output[0].numpy()


def unit(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("kind", EXPERTS)
def test_vectors_are_those_of_transformers_at_unit_length(models: dict[str, Path], kind: str) -> None:
    expert = EXPERTS[kind](str(models[kind]))
    some = shots(kind)
    values, present = expert.encode_shots(some)
    assert values.dtype == np.float32
    assert values.shape == (6, {"ast": 16}.get(kind, 6)) == (6, expert.dim)
    assert present.tolist() == [True] * 5 + [False]
    assert not values[5].any()
    np.testing.assert_allclose(np.linalg.norm(values[:5], axis=1), 1, rtol=1e-5)
    for row in (0, 1, 3, 4):
        expected = unit(by_hand(kind, models[kind], some[row].sound[RATES[kind]]))
        np.testing.assert_allclose(values[row], expected, atol=1e-4)
    assert expert.sample_rate == RATES[kind]
    assert expert.name == {"ast": "ast-v1"}.get(kind, kind)


@pytest.mark.parametrize("kind", ["ast", "tower"])
def test_long_sounds_are_cut_into_windows_and_averaged(models: dict[str, Path], kind: str) -> None:
    shot = shots(kind)[2]
    sound, window = shot.sound[RATES[kind]], WINDOWS[kind]
    starts = (0, (len(sound) - window) // 2, len(sound) - window)
    expected = unit(np.mean([by_hand(kind, models[kind], sound[s : s + window]) for s in starts], axis=0))
    np.testing.assert_allclose(EXPERTS[kind](str(models[kind])).encode_shots([shot])[0][0], expected, atol=1e-4)


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_row_depends_on_its_shot_alone(models: dict[str, Path], kind: str) -> None:
    some = shots(kind)
    together, _ = EXPERTS[kind](str(models[kind])).encode_shots(some)
    single = EXPERTS[kind](str(models[kind]), batch_size=1)
    for row, shot in enumerate(some):
        np.testing.assert_allclose(single.encode_shots([shot])[0][0], together[row], atol=1e-5)
    assert single.encode_shots([])[0].shape == (0, single.dim)


def test_a_sound_of_one_sample(models: dict[str, Path]) -> None:
    for kind, expert in EXPERTS.items():
        values, present = expert(str(models[kind])).encode_shots([make_shot(sound={RATES[kind]: np.ones(1)})])
        assert present.all()
        assert np.linalg.norm(values[0]) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("kind", ["ast", "clap"])
def test_fingerprints(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    save = {"ast": save_ast, "clap": save_clap}[kind]
    one = EXPERTS[kind](str(models[kind])).fingerprint
    assert EXPERTS[kind](str(save(tmp_path / "same"))).fingerprint == one
    assert EXPERTS[kind](str(save(tmp_path / "other", seed=1))).fingerprint != one
    name = "reeltag.encoders.trailers.transformer_audio.device_and_precision"
    monkeypatch.setattr(name, lambda: ("cpu", torch.bfloat16))
    assert EXPERTS[kind](str(models[kind])).fingerprint != one
    found, _ = EXPERTS[kind](str(models[kind])).encode_shots(shots(kind)[:1])
    assert found[0] @ unit(by_hand(kind, models[kind], shots(kind)[0].sound[RATES[kind]])) > 0.98


def test_the_fingerprint_of_ast_says_what_computes_its_spectrograms(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "reeltag.encoders.trailers.transformer_audio.find_spec"
    monkeypatch.setattr(name, lambda _: None)
    assert AstExpert(str(models["ast"])).fingerprint.endswith("-numpy")
    monkeypatch.setattr(name, lambda _: object())
    assert AstExpert(str(models["ast"])).fingerprint.endswith("-torchaudio")


def test_the_empty_bands_of_published_models_are_no_warning(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="At least one mel filter has all zero values"):
        transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
    assert AstExpert(str(tmp_path)).sample_rate == 16_000


def test_shots_read_at_another_rate(models: dict[str, Path]) -> None:
    with pytest.raises(
        EncoderError, match=r"audio expert 'ast:.*' needs the sound of shots at 16,000 Hz; .* at 8,000 Hz"
    ):
        AstExpert(str(models["ast"])).encode_shots([make_shot(sound={8000: np.zeros(9)})])


@pytest.mark.parametrize("kind", ["ast", "clap"])
def test_models_that_are_not_there_or_of_another_kind(tmp_path: Path, kind: str) -> None:
    expert = EXPERTS[kind]
    with pytest.raises(EncoderError, match="model folder '/nowhere/at-all' does not exist"):
        _ = expert("/nowhere/at-all").sample_rate
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        EncoderError, match=rf"audio expert '{kind}:.*empty': its feature extractor cannot be loaded from"
    ):
        _ = expert(str(tmp_path / "empty")).sample_rate
    with pytest.raises(EncoderError, match=rf"audio expert '{kind}:.*empty': cannot be loaded from"):
        _ = expert(str(tmp_path / "empty")).dim
    with pytest.raises(EncoderError, match=rf"audio expert '{kind}:.*': must be a model of type .*; .* holds a 'vit'"):
        _ = expert(str(save_vit(tmp_path / "vit"))).dim


@pytest.mark.parametrize(("kind", "start"), [("ast", ""), ("clap", "audio_projection."), ("clap", "audio_model.")])
def test_a_folder_that_lacks_weights(models: dict[str, Path], tmp_path: Path, kind: str, start: str) -> None:
    for path in models[kind].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights[next(name for name in weights if name.startswith(start) and "classifier" not in name)]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=rf"audio expert '{kind}:.* lacks 1 of the weights, first "):
        _ = EXPERTS[kind](str(tmp_path)).dim


def test_a_feature_extractor_of_another_model(models: dict[str, Path], tmp_path: Path) -> None:
    for path in models["ast"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    transformers.ASTFeatureExtractor(num_mel_bins=48, max_length=64).save_pretrained(tmp_path)
    with pytest.raises(
        EncoderError, match=r"audio expert 'ast:.*': cannot be run on what its feature extractor makes \("
    ):
        AstExpert(str(tmp_path)).encode_shots(shots("ast")[:1])


def test_without_transformers(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for kind, expert in EXPERTS.items():
        with pytest.raises(MissingExtraError, match=r"audio expert '\w+:.*' needs the package 'transformers'"):
            _ = expert(str(models[kind])).sample_rate
