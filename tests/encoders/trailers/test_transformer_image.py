"""TransformerImageEncoder on tiny models with random weights, against transformers called by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file

from reeltag.encoders.trailers.frames import FrameExpert
from reeltag.encoders.trailers.transformer_image import TransformerImageEncoder, _pooled
from reeltag.errors import EncoderError, MissingExtraError

from ..pictures import picture
from ..tiny import save_bert, save_clip_whole
from .shots import make_shot
from .tiny import in_single_precision, save_resnet, save_vit

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
IMAGES = [picture(seed, (20 + 4 * seed, 40)) for seed in range(5)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "places": save_vit(folder / "places.v1"),
        "pooler": save_vit(folder / "pooler", classifier=False),
        "resnet": save_resnet(folder / "resnet"),
    }


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch, "transformer_image")


def unit(vectors: torch.Tensor) -> npt.NDArray[np.float32]:
    return torch.nn.functional.normalize(vectors.detach().flatten(1), dim=1).numpy()


def by_hand(kind: Any, processor: Any, folder: Path) -> Any:
    """The output of a network for IMAGES."""
    network = kind.from_pretrained(folder).eval()
    pixels = torch.cat(
        [processor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"] for image in IMAGES]
    )
    with torch.no_grad():
        return network(pixel_values=pixels, output_hidden_states=True)


def test_a_vit_with_a_classifier_gives_the_class_token_that_it_reads(models: dict[str, Path]) -> None:
    output = by_hand(transformers.ViTForImageClassification, transformers.ViTImageProcessorPil, models["places"])
    network = transformers.ViTForImageClassification.from_pretrained(models["places"]).eval()
    states = network.vit.layernorm(output.hidden_states[-1])[:, 0]
    np.testing.assert_allclose(network.classifier(states).detach(), output.logits, atol=1e-5)
    encoder = TransformerImageEncoder(str(models["places"]))
    found = encoder.encode(IMAGES)
    np.testing.assert_allclose(found, unit(states), atol=1e-5)
    assert found.dtype == np.float32
    assert encoder.dim == 16
    assert encoder.name == "places-v1"


def test_a_vit_with_a_pooler(models: dict[str, Path]) -> None:
    output = by_hand(transformers.ViTModel, transformers.ViTImageProcessorPil, models["pooler"])
    found = TransformerImageEncoder(str(models["pooler"])).encode(IMAGES)
    np.testing.assert_allclose(found, unit(output.pooler_output), atol=1e-5)


def test_a_convolutional_model(models: dict[str, Path]) -> None:
    output = by_hand(transformers.ResNetModel, transformers.ConvNextImageProcessorPil, models["resnet"])
    encoder = TransformerImageEncoder(str(models["resnet"]))
    np.testing.assert_allclose(encoder.encode(IMAGES), unit(output.pooler_output), atol=1e-5)
    assert encoder.dim == 12


def test_a_model_that_pools_nothing() -> None:
    states = torch.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_allclose(_pooled(SimpleNamespace(last_hidden_state=states), True), states.mean(dim=1))
    maps = SimpleNamespace(last_hidden_state=states[..., None], pooler_output=None)
    np.testing.assert_allclose(_pooled(maps, True), states.mean(dim=2))


def test_batches_change_nothing(models: dict[str, Path]) -> None:
    found = TransformerImageEncoder(str(models["places"])).encode(IMAGES)
    for batch_size in (1, 2):
        encoder = TransformerImageEncoder(str(models["places"]), batch_size)
        np.testing.assert_allclose(encoder.encode(IMAGES), found, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert encoder.encode([]).shape == (0, 16)


def test_as_an_expert_on_shots(models: dict[str, Path]) -> None:
    expert = FrameExpert(TransformerImageEncoder(str(models["places"])))
    shots = [make_shot(seed=seed) for seed in range(3)]
    together, present = expert.encode_shots(shots)
    assert present.all()
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(expert.encode_shots(shots[1:2])[0][0], together[1], atol=1e-5)


def test_fingerprints(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = TransformerImageEncoder(str(models["places"])).fingerprint
    assert TransformerImageEncoder(str(models["places"])).fingerprint == one
    assert TransformerImageEncoder(str(save_vit(tmp_path / "other", seed=1))).fingerprint != one
    name = "reeltag.encoders.trailers.transformer_image.device_and_precision"
    monkeypatch.setattr(name, lambda: ("cpu", torch.bfloat16))
    assert TransformerImageEncoder(str(models["places"])).fingerprint != one


def test_half_precision_is_near(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = TransformerImageEncoder(str(models["places"])).encode(IMAGES)
    name = "reeltag.encoders.trailers.transformer_image.device_and_precision"
    monkeypatch.setattr(name, lambda: ("cpu", torch.bfloat16))
    np.testing.assert_allclose(TransformerImageEncoder(str(models["places"])).encode(IMAGES), found, atol=0.1)


def test_models_that_are_not_there_or_not_of_images(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="model folder '/nowhere/at-all' does not exist"):
        _ = TransformerImageEncoder("/nowhere/at-all").dim
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"image encoder 'transformer:.*empty': cannot be loaded from .*empty"):
        _ = TransformerImageEncoder(str(tmp_path / "empty")).dim
    with pytest.raises(EncoderError, match=r"must be a model of images alone; 'clip' is not"):
        _ = TransformerImageEncoder(str(save_clip_whole(tmp_path / "clip"))).dim
    with pytest.raises(EncoderError, match=r"image encoder 'transformer:.*bert': cannot be loaded"):
        _ = TransformerImageEncoder(str(save_bert(tmp_path / "bert"))).dim


def test_a_folder_that_lacks_weights(models: dict[str, Path], tmp_path: Path) -> None:
    for path in models["places"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks 1 of the weights, first "):
        _ = TransformerImageEncoder(str(tmp_path)).dim


def test_without_transformers(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = TransformerImageEncoder(str(models["places"]))
    assert encoder.fingerprint.startswith("image-")
    with pytest.raises(MissingExtraError, match=r"image encoder 'transformer:.*' needs the package 'transformers'"):
        _ = encoder.dim
