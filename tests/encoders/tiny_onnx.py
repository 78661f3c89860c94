"""A tiny ONNX model: per channel the mean, the mean of the upper half and that of the left half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, DIM = 8, 12, 9
PLAIN: dict[str, Any] = {
    "resize": [WIDTH, HEIGHT],
    "channels": "RGB",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.5],
}


def save_model(folder: Path, *, layout: str = "NCHW", output: str = "embedding", width: int = WIDTH) -> None:
    """Save the model alone."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, 3, HEIGHT, width), np.float32)  # part, channel
    weights[0] = 1 / (HEIGHT * width)
    weights[1, :, : HEIGHT // 2] = 2 / (HEIGHT * width)
    weights[2, :, :, : width // 2] = 2 / (HEIGHT * width)
    shape = ["n", 3, HEIGHT, width] if layout == "NCHW" else ["n", HEIGHT, width, 3]
    equation = "nchw,pchw->npc" if layout == "NCHW" else "nhwc,pchw->npc"
    nodes = [
        helper.make_node("Einsum", ["image", "weights"], ["parts"], equation=equation),
        helper.make_node("Flatten", ["parts"], [output]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", DIM])],
        [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


def save_card(folder: Path, preprocessing: object = None, **more: Any) -> Path:
    """Save a card: with ``preprocessing`` (the plain one when None), or with other fields instead."""
    folder.mkdir(parents=True, exist_ok=True)
    card = more if "input" in more else {"preprocessing": PLAIN if preprocessing is None else preprocessing, **more}
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def save_onnx(folder: Path, preprocessing: object = None, **more: Any) -> Path:
    """Save the model and its card."""
    save_model(folder)
    return save_card(folder, preprocessing, **more)
