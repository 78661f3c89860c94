"""Tiny audio models: an ONNX one whose embedding is a known sum over mel bands, and two of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reeltag.encoders.trailers.mel import mel_triangles

RATE, N_MELS, N_FFT, DIM = 1000, 6, 32, 4
PLAIN: dict[str, Any] = {
    "sample_rate": RATE, "preemphasis": 0.9, "n_fft": N_FFT, "window": 24, "periodic": False, "hop": 10,
    "centre": True, "mel_basis": "mel_basis.npy", "log_floor": 1e-4, "mean": -3.0, "std": 2.0, "frames": 50,
    "least_frames": 8,
}  # fmt: skip
WORDS: dict[str, Any] = {
    "input": {
        "layout": "n, 1, mel band, frame",
        "length": "trained on 0.5 s windows (t = 50); t may differ, keep it >= 8 (0.08 s)",
    },
    "front_end": {
        "sample_rate": RATE,
        "channels": "mono, float, -1..1",
        "preemphasis": "y[i] = x[i+1] - 0.9 * x[i] (one sample shorter than x)",
        "n_fft": N_FFT,
        "win_length": 24,
        "window": "Hann, symmetric (periodic = false), length 24: as always, zero padded to 32 in the middle",
        "hop": 10,
        "centre": "reflect padding of 16 samples each side; as always",
        "spectrum": "power |rfft|^2, 17 bins, no further scaling",
        "mel_basis": "mel_basis.npy, float32 [6, 17]; mel = basis @ power",
        "log": "natural log of (mel + 1e-4)",
        "normalisation": "(log + 3.0) / 2",
    },
}
WEIGHTS = np.random.default_rng(0).normal(size=(N_MELS, DIM)).astype(np.float32)


def save_audio_model(
    folder: Path, *, frames: int | str = "t", output: str = "embedding", n_mels: int = N_MELS, dims: int = 4
) -> None:
    """Save a model: the mean of each band over frames, its hyperbolic tangent, times WEIGHTS."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["means"], axes=[1, 3][: dims - 2], keepdims=0),
        helper.make_node("Tanh", ["means"], ["bent"]),
        helper.make_node("MatMul", ["bent", "weights"], [output]),
    ]
    shape = ["n", 1, n_mels, frames] if dims == 4 else ["n", n_mels, frames]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.resize(WEIGHTS, (n_mels, DIM)), "weights")],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


def save_audio_card(folder: Path, preprocessing: object = None, **more: Any) -> Path:
    """Save a card, with ``preprocessing`` (the plain one when None) or with other fields instead, and its mel basis."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "mel_basis.npy", mel_triangles(RATE, N_FFT, N_MELS, 0, 450))
    card = more if "front_end" in more else {"preprocessing": PLAIN if preprocessing is None else preprocessing, **more}
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def save_audio_onnx(folder: Path, preprocessing: object = None, **more: Any) -> Path:
    """Save the model and its card."""
    save_audio_model(folder)
    return save_audio_card(folder, preprocessing, **more)


def save_ast(folder: Path, seed: int = 0) -> Path:
    """Save an Audio Spectrogram Transformer with a classifier: width 16, 64 frames of 32 bands at 16,000 Hz."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(seed)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, max_length=64,
        num_mel_bins=32, patch_size=16, frequency_stride=16, time_stride=16, initializer_range=0.5,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return folder


def save_clap(folder: Path, *, seed: int = 0, fusion: bool = False, whole: bool = True) -> Path:
    """Save a CLAP, or its audio tower alone: a second of sound at 8,000 Hz, width 16, projected to 6."""
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapConfig, ClapFeatureExtractor, ClapModel

    torch.manual_seed(seed)
    audio = {
        "window_size": 2, "num_mel_bins": 16, "spec_size": 32, "patch_size": 4, "patch_stride": [4, 4],
        "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16,
        "projection_dim": 6, "enable_fusion": fusion, "aff_block_r": 2, "fusion_type": "aff_2d" if fusion else None,
    }  # fmt: skip
    if whole:
        text = {
            "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 20, "max_position_embeddings": 12,
        }  # fmt: skip
        ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=6)).save_pretrained(folder)
    else:
        ClapAudioModelWithProjection(ClapAudioConfig(**audio)).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=160, max_length_s=1, fft_window_size=256, frequency_max=4000,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)  # fmt: skip
    return folder
