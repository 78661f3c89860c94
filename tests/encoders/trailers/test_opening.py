"""Opening experts by modality and specification."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from reeltag.encoders.trailers import SHOT_EXPERTS, open_shot_expert
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.errors import EncoderError

from .shots import make_shot, noise

MODELS = [(modality, kind) for modality, kinds in SHOT_EXPERTS.items() for kind in kinds if kind not in (
    "descriptors", "flow", "spectral"
)]  # fmt: skip


def test_every_modality_has_experts() -> None:
    assert tuple(SHOT_EXPERTS) == SHOT_MODALITIES


@pytest.mark.parametrize(
    ("modality", "spec"),
    [("image", "descriptors"), ("scene", "descriptors"), ("motion", "flow"), ("audio", "spectral")],
)
def test_experts_that_need_no_download_keep_the_contract(modality: str, spec: str) -> None:
    if spec == "descriptors":
        pytest.importorskip("skimage", reason="needs the extra 'trailers'")
    expert = open_shot_expert(modality, spec)
    assert expert.name == spec
    sound = {} if expert.sample_rate is None else {expert.sample_rate: noise(expert.sample_rate, 0.5)}
    shots = [make_shot(seed=seed, sound=sound) for seed in range(3)]
    values, present = expert.encode_shots(shots)
    assert values.shape == (3, expert.dim)
    assert values.dtype == np.float32
    assert present.dtype == np.bool_
    assert present.all()
    assert np.isfinite(values).all()
    np.testing.assert_allclose(expert.encode_shots(shots[1:2])[0][0], values[1], atol=1e-6)
    assert open_shot_expert(modality, spec).fingerprint == expert.fingerprint


@pytest.mark.parametrize(("modality", "kind"), MODELS)
def test_experts_with_a_model_are_opened_late_and_name_what_is_missing(modality: str, kind: str) -> None:
    expert = open_shot_expert(modality, f"{kind}:/nowhere/model.v2")
    assert expert.name == "model-v2"
    with pytest.raises(EncoderError, match=r"model folder '/nowhere/model\.v2' does not exist"):
        _ = expert.fingerprint
    with pytest.raises(EncoderError, match=r"model folder '/nowhere/model\.v2' does not exist"):
        _ = expert.dim


@pytest.mark.parametrize("spec", ["video:/nowhere/a", "spectral"])
def test_pre_trained_experts_are_opened_once(spec: str) -> None:
    modality = "motion" if spec.startswith("video") else "audio"
    again = open_shot_expert(modality, spec) is open_shot_expert(modality, spec)
    assert again == (modality == "motion")


def test_image_and_scene_share_a_model() -> None:
    for kind in ("onnx", "clip"):
        one, other = (open_shot_expert(modality, f"{kind}:/nowhere/b") for modality in ("image", "scene"))
        assert one.encoder is other.encoder  # type: ignore[attr-defined]
    one, other = (open_shot_expert(modality, "transformer:/nowhere/b") for modality in ("image", "scene"))
    assert one is other


@pytest.mark.parametrize(
    ("modality", "spec", "known"),
    [
        ("image", "flow", "descriptors, onnx:FOLDER, clip:MODEL, transformer:MODEL"),
        ("scene", "places", "descriptors, onnx:FOLDER, clip:MODEL, transformer:MODEL"),
        ("motion", "flow:x", "flow, video:MODEL"),
        ("motion", "video", "flow, video:MODEL"),
        ("audio", "ast:", "spectral, onnx:FOLDER, ast:MODEL, clap:MODEL"),
        ("audio", "", "spectral, onnx:FOLDER, ast:MODEL, clap:MODEL"),
    ],
)
def test_unknown_specifications(modality: str, spec: str, known: str) -> None:
    message = f"{modality} expert {spec!r} is unknown; known: {known} (MODEL: a local folder or a name on the hub)"
    with pytest.raises(EncoderError) as error:
        open_shot_expert(modality, spec)
    assert str(error.value) == message


def test_unknown_modalities() -> None:
    with pytest.raises(
        EncoderError, match="modality 'plot' has no shot experts; those that have: image, scene, motion, aud"
    ):
        open_shot_expert("plot", "flow")


def test_opening_needs_no_model_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "onnxruntime", "av", "skimage", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, None)
    for modality, kinds in SHOT_EXPERTS.items():
        for kind in kinds:
            spec = kind if (modality, kind) not in MODELS else f"{kind}:a/b"
            assert open_shot_expert(modality, spec).name
