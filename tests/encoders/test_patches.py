"""Patches: averaging keeps the mean, places tile the view, and the feature map of an ONNX model is found and proved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.contract import PatchEncoder
from reeltag.encoders.onnx import OnnxEncoder
from reeltag.encoders.patches import averaged, cells_of, with_feature_map
from reeltag.errors import EncoderError, MissingExtraError

from .pictures import picture
from .tiny_onnx import save_card, save_onnx

onnx = pytest.importorskip("onnx", reason="needs the extra 'posters'")

SIDE, STRIDE, DIM = 12, 2, 4


def save_conv(folder: Path, *, pool: str = "GlobalAveragePool", ending: str = "Flatten") -> npt.NDArray[np.float32]:
    """Save one convolution with stride 2 over a 12 x 12 image, its mean as the embedding; return its weights."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(DIM, 3, STRIDE, STRIDE)).astype(np.float32)
    pooled = {"GlobalAveragePool": {}, "ReduceMean": {"axes": [2, 3]}, "GlobalMaxPool": {}}[pool]
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["map"], strides=[STRIDE, STRIDE]),
        helper.make_node(pool, ["map"], ["gap"], **pooled),
        helper.make_node(ending, ["gap"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes, "conv",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    save_card(
        folder,
        {"resize": [16, SIDE], "crop": [SIDE, SIDE], "channels": "RGB", "mean": [0, 0, 0], "std": [1, 1, 1]},
    )
    return weights


def by_hand(encoder: OnnxEncoder, image: Any, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the map (dim, rows, columns) by loops."""
    x = np.asarray(encoder.card.pixels(image), np.float64) / 255
    n = SIDE // STRIDE
    out = np.zeros((DIM, n, n))
    for row in range(n):
        for column in range(n):
            part = x[row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE].transpose(2, 0, 1)
            out[:, row, column] = [(part * kernel).sum() for kernel in weights]
    return out


def test_patches_are_the_map_row_by_row(tmp_path: Path) -> None:
    weights = save_conv(tmp_path)
    encoder = OnnxEncoder(str(tmp_path), batch_size=2)
    images = [picture(seed, (20, 30)) for seed in range(3)]
    found = encoder.encode_patches(images, 6)
    assert isinstance(encoder, PatchEncoder)
    assert found.dtype == np.float16
    assert found.shape == (3, 36, encoder.token_dim) == (3, 36, DIM)
    for image, tokens in zip(images, found, strict=True):
        expected = by_hand(encoder, image, weights).reshape(DIM, -1).T
        np.testing.assert_allclose(tokens, expected, atol=0.01)


def test_coarser_patches_keep_the_embedding(tmp_path: Path) -> None:
    save_conv(tmp_path)
    encoder = OnnxEncoder(str(tmp_path))
    images = [picture(seed) for seed in range(2)]
    vectors = encoder.encode(images)
    for grid in (1, 2, 4, 5, 6, 50):
        tokens = encoder.encode_patches(images, grid)
        assert tokens.shape[1] == min(grid, 6) ** 2
        mean = tokens.astype(np.float32).mean(axis=1)
        np.testing.assert_allclose(mean / np.linalg.norm(mean, axis=1, keepdims=True), vectors, atol=0.01)


def test_no_images(tmp_path: Path) -> None:
    save_conv(tmp_path)
    assert OnnxEncoder(str(tmp_path)).encode_patches([], 3).shape == (0, 9, DIM)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean"])
@pytest.mark.parametrize("ending", ["Flatten", "Identity"])
def test_the_map_is_found_behind_means_and_reshapes(tmp_path: Path, pool: str, ending: str) -> None:
    save_conv(tmp_path, pool=pool, ending=ending)
    assert OnnxEncoder(str(tmp_path)).patch_shape(9) == (6, 6)


def test_places_are_those_the_card_shows(tmp_path: Path) -> None:
    save_conv(tmp_path)  # of a width of 16 the middle 12 are shown
    places = OnnxEncoder(str(tmp_path)).patch_places(picture(), 2)
    np.testing.assert_allclose(places[0], (2 / 16, 0, 0.5, 0.5))
    np.testing.assert_allclose(places[3], (0.5, 0.5, 14 / 16, 1))


def test_a_model_without_a_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="GlobalMaxPool"):
        save_conv(tmp_path / "max", pool="GlobalMaxPool")
        OnnxEncoder(str(tmp_path / "max")).encode_patches([picture()], 3)
    with pytest.raises(EncoderError, match="made by Einsum"):
        OnnxEncoder(str(save_onnx(tmp_path / "einsum"))).encode_patches([picture()], 3)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_conv(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="posters"):
        with_feature_map((tmp_path / "model.onnx").read_bytes(), tmp_path / "model.json")


@pytest.mark.parametrize(("rows", "columns", "grid"), [(4, 4, 2), (7, 5, 3), (3, 3, 7), (13, 6, 7)])
def test_averages_are_by_area(rows: int, columns: int, grid: int) -> None:
    cells = np.random.default_rng(rows).normal(size=(1, 1, rows, columns)).astype(np.float32)
    found = averaged(cells, grid)
    n, m = min(rows, grid), min(columns, grid)
    assert found.shape == (1, n * m, 1)
    np.testing.assert_allclose(found.mean(axis=1), cells.mean(axis=(2, 3)), atol=1e-5)
    blown = cells.repeat(1092 // rows, axis=2).repeat(420 // columns, axis=3)
    height, width = blown.shape[2] // n, blown.shape[3] // m
    part = blown[:, :, -height:, :width]  # the lower left cell
    np.testing.assert_allclose(found[:, (n - 1) * m], part.mean(axis=(2, 3)), atol=1e-4)


def test_cells_tile_the_view() -> None:
    places = cells_of((0.1, 0.2, 0.7, 0.8), 3, 2)
    assert len(places) == 6
    np.testing.assert_allclose(places[0], (0.1, 0.2, 0.4, 0.4))
    np.testing.assert_allclose(places[-1], (0.4, 0.6, 0.7, 0.8))
    assert sum((r - left) * (b - t) for left, t, r, b in places) == pytest.approx(0.36)
