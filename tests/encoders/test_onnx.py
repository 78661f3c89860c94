"""OnnxEncoder on a tiny model, against numpy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reeltag.encoders.onnx import OnnxEncoder, check_image
from reeltag.errors import EncoderError, MissingExtraError

from .pictures import picture
from .tiny_onnx import DIM, HEIGHT, PLAIN, WIDTH, save_card, save_model, save_onnx

pytest.importorskip("onnxruntime", reason="needs the extra 'posters'")
pytest.importorskip("onnx", reason="builds models with onnx")
SHARED = Path(os.environ.get("REELTAG_SHARED") or Path(__file__).parents[2].parent / "shared")
IMAGES = [picture(seed, (WIDTH, HEIGHT)) for seed in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_onnx(tmp_path_factory.mktemp("models") / "tiny.net")


def raw(pixels: npt.NDArray[np.uint8], channels: str = "RGB") -> npt.NDArray[np.float64]:
    """What the tiny model gives for one image, in numpy."""
    ordered = pixels[..., :: -1 if channels == "BGR" else 1] / 255
    scaled = (ordered - PLAIN["mean"]) / PLAIN["std"]
    parts = [scaled, scaled[: HEIGHT // 2], scaled[:, : WIDTH // 2]]
    return np.concatenate([part.mean(axis=(0, 1)) for part in parts])


def sanity(vector: npt.NDArray[np.float64]) -> dict[str, Any]:
    how = "u[h,w,c] = (3*h + 5*w + 85*c) mod 256, apply the normalisation, run"
    return {
        "test_vector": {
            "how": how,
            "embedding_first5": np.round(vector[:5], 4).tolist(),
            "embedding_l2": round(float(np.linalg.norm(vector)), 4),
        }
    }


def test_vectors_are_those_of_the_model_at_unit_length(folder: Path) -> None:
    encoder = OnnxEncoder(str(folder))
    found = encoder.encode(IMAGES)
    assert found.dtype == np.float32
    assert found.shape == (5, DIM) == (5, encoder.dim)
    for row, image in enumerate(IMAGES):
        expected = raw(np.asarray(image))
        np.testing.assert_allclose(found[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert encoder.name == "tiny-net"
    assert encoder.encode([]).shape == (0, DIM)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_change_nothing(folder: Path, batch_size: int) -> None:
    np.testing.assert_allclose(
        OnnxEncoder(str(folder), batch_size).encode(IMAGES), OnnxEncoder(str(folder)).encode(IMAGES), atol=1e-6
    )


def test_any_size_is_resized(folder: Path) -> None:
    encoder = OnnxEncoder(str(folder))
    found = encoder.encode([Image.new("RGB", size, "red") for size in ((WIDTH, HEIGHT), (300, 20), (9, 700))])
    np.testing.assert_allclose(found, found[[0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_layouts_and_channel_orders(tmp_path: Path, layout: str, channels: str) -> None:
    save_model(tmp_path / "net", layout=layout)
    save_card(tmp_path / "net", PLAIN | {"layout": layout, "channels": channels})
    expected = raw(np.asarray(IMAGES[0]), channels)
    found = OnnxEncoder(str(tmp_path / "net")).encode(IMAGES[:1])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_fingerprint_follows_model_and_preprocessing_not_words(tmp_path: Path, folder: Path) -> None:
    one = OnnxEncoder(str(folder)).fingerprint
    assert OnnxEncoder(str(save_onnx(tmp_path / "same", name="other words"))).fingerprint == one
    assert OnnxEncoder(str(save_onnx(tmp_path / "turned", PLAIN | {"channels": "BGR"}))).fingerprint != one
    save_model(tmp_path / "wider", width=WIDTH + 2)
    assert OnnxEncoder(str(save_card(tmp_path / "wider"))).fingerprint != one


def test_the_fingerprint_opens_no_session(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    encoder = OnnxEncoder(str(folder))
    assert encoder.fingerprint.startswith("onnx-")
    with pytest.raises(MissingExtraError, match=r"'onnx:.*tiny\.net' needs the package 'onnxruntime'.*\[posters\]"):
        _ = encoder.dim


# ---------------------------------------------------------------- the test vector


def test_a_test_vector_that_holds(tmp_path: Path) -> None:
    expected = raw(check_image(HEIGHT, WIDTH))
    folder = save_onnx(tmp_path / "net", PLAIN, sanity=sanity(expected))
    assert OnnxEncoder(str(folder)).dim == DIM


def test_check_image_by_formula() -> None:
    image = check_image(40, 60)
    assert image.shape == (40, 60, 3)
    for h, w, c in ((0, 0, 0), (39, 59, 2), (17, 33, 1)):
        assert image[h, w, c] == (3 * h + 5 * w + 85 * c) % 256


@pytest.mark.parametrize("change", [{"channels": "BGR"}, {"mean": [0, 0, 0]}, {"std": [0.2, 0.25, 0.4]}])
def test_a_card_that_does_not_give_its_test_vector(tmp_path: Path, change: dict[str, Any]) -> None:
    expected = raw(check_image(HEIGHT, WIDTH))
    folder = save_onnx(tmp_path / "net", PLAIN | change, sanity=sanity(expected))
    with pytest.raises(EncoderError, match=r"model\.json, field 'sanity\.test_vector': .*must give it; got length"):
        _ = OnnxEncoder(str(folder)).dim


# ---------------------------------------------------------------- what cannot be opened


def opened(folder: Path) -> int:
    return OnnxEncoder(str(folder)).dim


def test_no_folder_no_model_no_onnx(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"model folder '.*nowhere' does not exist"):
        _ = OnnxEncoder(str(tmp_path / "nowhere")).fingerprint
    save_card(tmp_path)
    with pytest.raises(EncoderError, match=r"model\.onnx: the model of the card cannot be read \(No such file"):
        opened(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EncoderError, match=r"model\.onnx: not a model that ONNX Runtime can open"):
        opened(tmp_path)


def test_a_model_that_does_not_fit_its_card(tmp_path: Path) -> None:
    save_model(tmp_path, output="features")
    save_card(tmp_path)
    with pytest.raises(EncoderError, match="the model needs an output 'embedding'; outputs: features"):
        opened(tmp_path)
    save_model(tmp_path)
    for change in ({"resize": [9, 12]}, {"crop": [4, 4]}, {"layout": "NHWC"}):
        save_card(tmp_path, PLAIN | change)
        with pytest.raises(EncoderError, match=r"the model needs one float input \(n, .*\); got image tensor\(float\)"):
            opened(tmp_path)


@pytest.mark.parametrize(("name", "dim"), [("mobilenet-v2-imagenet", 1280), ("places365-squeezenet", 512)])
def test_published_models_give_the_test_vectors_of_their_cards(name: str, dim: int) -> None:
    folder = SHARED / "weights" / name
    if not folder.is_dir():
        pytest.skip("the shared models are not there (set REELTAG_SHARED)")
    encoder = OnnxEncoder(str(folder))
    assert encoder.card.test is not None
    assert encoder.dim == dim
