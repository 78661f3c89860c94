"""CLIP, BLIP and BridgeTower on tiny models with random weights, against transformers called by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from reeltag.encoders.clip import ClipEncoder
from reeltag.encoders.joint import BlipEncoder, BridgeTowerEncoder
from reeltag.errors import EncoderError, MissingExtraError

from .pictures import picture
from .tiny import LIMIT, in_single_precision, save_bert, save_blip, save_bridgetower, save_clip_whole

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

IMAGES = [picture(seed, (20 + 4 * seed, 40)) for seed in range(3)]
TEXTS = ["a film of love", "war", "the robot meets the killer of paris"]
JOINT: dict[str, Any] = {"blip": BlipEncoder, "bridgetower": BridgeTowerEncoder}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "clip": save_clip_whole(folder / "clip.v1"),
        "blip": save_blip(folder / "blip"),
        "bridgetower": save_bridgetower(folder / "bridgetower"),
    }


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)


def unit(vectors: Any) -> npt.NDArray[np.float64]:
    found = np.asarray(vectors.detach(), np.float64).reshape(1, -1)
    return found / np.linalg.norm(found)


def without_weight(folder: Path, copy: Path, start: str) -> Path:
    """Copy a model without the first weight whose name starts so."""
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = load_file(copy / "model.safetensors")
    del weights[next(name for name in weights if name.startswith(start))]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


# ---------------------------------------------------------------- CLIP


def test_clip_is_the_projected_image_embedding(models: dict[str, Path]) -> None:
    encoder = ClipEncoder(str(models["clip"]))
    found = encoder.encode(IMAGES)
    assert found.dtype == np.float32
    assert found.shape == (3, encoder.dim) == (3, 6)
    assert encoder.name == "clip-v1"
    network = transformers.CLIPModel.from_pretrained(models["clip"]).eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(models["clip"])
    for row, image in enumerate(IMAGES):
        pixels = processor([image], return_tensors="pt")["pixel_values"]
        output = network.get_image_features(pixel_values=pixels)
        np.testing.assert_allclose(found[[row]], unit(getattr(output, "pooler_output", output)), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert encoder.encode([]).shape == (0, 6)


def test_clip_in_batches(models: dict[str, Path]) -> None:
    whole = ClipEncoder(str(models["clip"])).encode(IMAGES)
    np.testing.assert_allclose(ClipEncoder(str(models["clip"]), batch_size=2).encode(IMAGES), whole, atol=1e-5)


def test_the_image_tower_alone_is_read_too(models: dict[str, Path], tmp_path: Path) -> None:
    whole = transformers.CLIPModel.from_pretrained(models["clip"])
    settings = transformers.CLIPVisionConfig(**whole.config.vision_config.to_dict() | {"projection_dim": 6})
    tower = transformers.CLIPVisionModelWithProjection(settings)
    tower.vision_model.load_state_dict(whole.vision_model.state_dict())
    tower.visual_projection.load_state_dict(whole.visual_projection.state_dict())
    tower.save_pretrained(tmp_path)
    transformers.CLIPImageProcessorPil.from_pretrained(models["clip"]).save_pretrained(tmp_path)
    expected = ClipEncoder(str(models["clip"])).encode(IMAGES)
    np.testing.assert_allclose(ClipEncoder(str(tmp_path)).encode(IMAGES), expected, atol=1e-6)


def test_clip_refuses_what_is_no_clip_or_incomplete(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"'clip:.*bert': must be a CLIP model; .* holds a 'bert'"):
        _ = ClipEncoder(str(save_bert(tmp_path / "bert"))).dim
    lacking = without_weight(models["clip"], tmp_path / "clip", "visual_projection")
    with pytest.raises(EncoderError, match=r"'clip:.*': .* lacks 1 of the weights, first visual_projection"):
        _ = ClipEncoder(str(lacking)).dim
    (lacking / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match=r"'clip:.*': cannot be loaded from"):
        _ = ClipEncoder(str(lacking)).dim


# ---------------------------------------------------------------- both that read pairs


@pytest.mark.parametrize("kind", JOINT)
def test_pairs_shape_batches_and_order(kind: str, models: dict[str, Path]) -> None:
    encoder = JOINT[kind](str(models[kind]))
    found = encoder.encode(IMAGES, TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (3, encoder.dim) == (3, {"blip": 16, "bridgetower": 32}[kind])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(JOINT[kind](str(models[kind]), batch_size=2).encode(IMAGES, TEXTS), found, atol=1e-4)
    for row in range(3):  # padding to the longest text of a batch changes nothing
        np.testing.assert_allclose(
            encoder.encode(IMAGES[row : row + 1], TEXTS[row : row + 1])[0], found[row], atol=1e-4
        )
    assert encoder.encode([], []).shape == (0, encoder.dim)


@pytest.mark.parametrize("kind", JOINT)
def test_pairs_depend_on_image_and_text(kind: str, models: dict[str, Path]) -> None:
    encoder = JOINT[kind](str(models[kind]))
    black, white = Image.new("RGB", (40, 40), "black"), Image.new("RGB", (40, 40), "white")
    same, other_image, other_text = encoder.encode([black, white, black], ["love", "love", "war"])
    assert np.abs(same - other_image).max() > 1e-4
    assert np.abs(same - other_text).max() > 1e-4


@pytest.mark.parametrize("kind", JOINT)
def test_long_texts_are_cut(kind: str, models: dict[str, Path]) -> None:
    encoder = JOINT[kind](str(models[kind]))
    words = ["film"] * (LIMIT - 2)
    fitting, longer = encoder.encode(IMAGES[:1] * 2, [" ".join(words), " ".join([*words, *["war"] * 50])])
    np.testing.assert_allclose(fitting, longer, atol=1e-5)


def test_blip_is_what_its_matching_head_reads(models: dict[str, Path]) -> None:
    network = transformers.BlipForImageTextRetrieval.from_pretrained(models["blip"]).eval()
    processor = transformers.BlipImageProcessorPil.from_pretrained(models["blip"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(models["blip"])
    found = BlipEncoder(str(models["blip"])).encode(IMAGES, TEXTS)
    for row, (image, text) in enumerate(zip(IMAGES, TEXTS, strict=True)):
        tokens = tokenizer([text], return_tensors="pt")
        pixels = processor([image], return_tensors="pt")["pixel_values"]
        output = network(tokens["input_ids"], pixels, attention_mask=tokens["attention_mask"])
        np.testing.assert_allclose(found[[row]], unit(output.question_embeds[:, 0]), atol=1e-5)


def test_bridgetower_is_its_pooled_output(models: dict[str, Path]) -> None:
    network = transformers.BridgeTowerModel.from_pretrained(models["bridgetower"]).eval()
    processor = transformers.BridgeTowerImageProcessorPil.from_pretrained(models["bridgetower"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(models["bridgetower"])
    found = BridgeTowerEncoder(str(models["bridgetower"])).encode(IMAGES, TEXTS)
    for row, (image, text) in enumerate(zip(IMAGES, TEXTS, strict=True)):
        tokens = tokenizer([text], return_tensors="pt")
        pixels = processor([image], return_tensors="pt")
        output = network(tokens["input_ids"], tokens["attention_mask"], **pixels)
        np.testing.assert_allclose(found[[row]], unit(output.pooler_output), atol=1e-5)


@pytest.mark.parametrize("kind", JOINT)
def test_pairs_refuse_another_model(kind: str, models: dict[str, Path]) -> None:
    other = models["bridgetower" if kind == "blip" else "blip"]
    with pytest.raises(EncoderError, match=rf"joint encoder '{kind}:.*must be a model of type '{kind}'; .* is "):
        _ = JOINT[kind](str(other)).dim


def test_a_blip_without_cross_attention_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    lacking = without_weight(models["blip"], tmp_path / "a", "text_encoder.encoder.layer.0.crossattention")
    with pytest.raises(EncoderError, match=r"lacks 1 of the weights, first text_encoder\.encoder\.layer\.0\.crossatt"):
        _ = BlipEncoder(str(lacking)).dim
    unread = without_weight(models["blip"], tmp_path / "b", "itm_head")
    np.testing.assert_allclose(
        BlipEncoder(str(unread)).encode(IMAGES, TEXTS),
        BlipEncoder(str(models["blip"])).encode(IMAGES, TEXTS),
        atol=1e-6,
    )


# ---------------------------------------------------------------- all three


ALL: dict[str, Any] = {"clip": ClipEncoder, **JOINT}


@pytest.mark.parametrize("kind", ALL)
def test_the_fingerprint_follows_the_files(kind: str, models: dict[str, Path], tmp_path: Path) -> None:
    one = ALL[kind](str(models[kind])).fingerprint
    assert one.startswith(f"{kind}-")
    assert one.endswith("-torch.float32")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in models[kind].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert ALL[kind](str(copy)).fingerprint == one
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0, 0, 0]}))
    assert ALL[kind](str(copy)).fingerprint != one


@pytest.mark.parametrize("kind", ALL)
def test_a_model_that_is_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"model folder '.*nowhere' does not exist"):
        _ = ALL[kind](str(tmp_path / "nowhere")).fingerprint


@pytest.mark.parametrize("kind", ALL)
def test_the_missing_package_is_named(kind: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=rf"encoder '{kind}:.* needs the package 'transformers'"):
        _ = ALL[kind](str(models[kind])).dim


def test_torchvision_is_never_imported(models: dict[str, Path]) -> None:
    ClipEncoder(str(models["clip"])).encode(IMAGES)
    assert "torchvision" not in sys.modules
