"""VideoTransformerExpert on a tiny VideoMAE, against transformers called by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file

from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.transformer_video import VideoTransformerExpert
from reeltag.errors import EncoderError, MissingExtraError

from .shots import make_shot
from .tiny import in_single_precision, save_videomae, save_vit

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
SHOTS = [make_shot(seed=seed, n_frames=n) for seed, n in enumerate((4, 9, 1, 2, 24))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_videomae(tmp_path_factory.mktemp("models") / "mae.v1")


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch, "transformer_video")


def by_hand(folder: Path, shot: Shot, places: list[int]) -> npt.NDArray[np.float32]:
    """The mean over the tokens of the named frames, through the processor of transformers."""
    network = transformers.VideoMAEModel.from_pretrained(folder).eval()
    processor = transformers.VideoMAEImageProcessorPil.from_pretrained(folder)
    pixels = processor([shot.frames[place] for place in places], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = network(pixel_values=pixels).last_hidden_state
    mean = states.mean(dim=1)[0].numpy()
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def test_four_frames_evenly_over_the_shot(folder: Path) -> None:
    expert = VideoTransformerExpert(str(folder))
    values, present = expert.encode_shots(SHOTS)
    assert values.dtype == np.float32
    assert present.all()
    assert (expert.n_frames, expert.dim, expert.name, expert.sample_rate) == (4, 16, "mae-v1", None)
    wanted = [[0, 1, 2, 3], [1, 3, 5, 7], [0, 0, 0, 0], [0, 0, 1, 1], [3, 9, 15, 21]]
    for row, places in enumerate(wanted):
        expected = by_hand(folder, SHOTS[row], places)
        assert values[row] @ expected > 0.999
        np.testing.assert_allclose(values[row], expected, atol=0.03)  # pictures are resized a grey level apart
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_row_depends_on_its_shot_alone(folder: Path, batch_size: int) -> None:
    together, _ = VideoTransformerExpert(str(folder)).encode_shots(SHOTS)
    found, _ = VideoTransformerExpert(str(folder), batch_size).encode_shots(SHOTS)
    np.testing.assert_allclose(found, together, atol=1e-5)
    order = [3, 0, 4]
    some, _ = VideoTransformerExpert(str(folder)).encode_shots([SHOTS[row] for row in order])
    np.testing.assert_allclose(some, together[order], atol=1e-5)


def test_the_order_of_frames_counts(folder: Path) -> None:
    shot = SHOTS[0]
    back = type(shot)(**{**vars(shot), "frames": shot.frames[::-1]})
    values, _ = VideoTransformerExpert(str(folder)).encode_shots([shot, back])
    assert np.abs(values[0] - values[1]).max() > 1e-3


def test_no_shots(folder: Path) -> None:
    values, present = VideoTransformerExpert(str(folder)).encode_shots([])
    assert values.shape == (0, 16)
    assert present.shape == (0,)


def test_fingerprints(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = VideoTransformerExpert(str(folder)).fingerprint
    assert VideoTransformerExpert(str(save_videomae(tmp_path / "same"))).fingerprint == one
    assert VideoTransformerExpert(str(save_videomae(tmp_path / "other", seed=1))).fingerprint != one
    path = tmp_path / "same" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resample": 3}))
    assert VideoTransformerExpert(str(tmp_path / "same")).fingerprint != one
    name = "reeltag.encoders.trailers.transformer_video.device_and_precision"
    monkeypatch.setattr(name, lambda: ("cpu", torch.bfloat16))
    assert VideoTransformerExpert(str(folder)).fingerprint != one
    half, _ = VideoTransformerExpert(str(folder)).encode_shots(SHOTS[:1])
    assert half[0] @ by_hand(folder, SHOTS[0], [0, 1, 2, 3]) > 0.99


def test_a_model_without_a_classifier(tmp_path: Path) -> None:
    folder = save_videomae(tmp_path / "plain", classifier=False)
    values, _ = VideoTransformerExpert(str(folder)).encode_shots(SHOTS[:1])
    assert values[0] @ by_hand(folder, SHOTS[0], [0, 1, 2, 3]) > 0.999


def test_pictures_of_another_size_than_the_model_takes(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"crop_size": {"height": 8, "width": 8}}))
    with pytest.raises(EncoderError, match=r"motion expert 'video:.*': cannot be run \("):
        VideoTransformerExpert(str(tmp_path)).encode_shots(SHOTS[:1])


def test_models_that_are_not_there_or_not_of_video(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="model folder '/nowhere/at-all' does not exist"):
        _ = VideoTransformerExpert("/nowhere/at-all").dim
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"empty.preprocessor_config\.json: a video model needs it"):
        _ = VideoTransformerExpert(str(tmp_path / "empty")).dim
    with pytest.raises(EncoderError, match=r"motion expert 'video:.*vit': must be a model of video; 'vit' is not"):
        _ = VideoTransformerExpert(str(save_vit(tmp_path / "vit"))).dim
    save_videomae(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"motion expert 'video:.*cut': cannot be loaded from .*cut"):
        _ = VideoTransformerExpert(str(tmp_path / "cut")).dim


def test_a_folder_that_lacks_weights(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights[next(name for name in weights if "layer.1" in name)]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"motion expert .* lacks 1 of the weights, first "):
        _ = VideoTransformerExpert(str(tmp_path)).dim


def test_without_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"motion expert 'video:.*' needs the package 'transformers'"):
        _ = VideoTransformerExpert(str(folder)).dim
