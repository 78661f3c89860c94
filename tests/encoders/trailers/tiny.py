"""Image and video models of transformers with random weights, small enough to be made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SIDES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}


def save_vit(folder: Path, *, seed: int = 0, classifier: bool = True) -> Path:
    """Save a ViT for images of 16 x 16, with a classifier and no pooler or the other way round."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, ViTModel

    torch.manual_seed(seed)
    config = ViTConfig(**SIDES, image_size=16, patch_size=8, initializer_range=0.5)
    (ViTForImageClassification if classifier else ViTModel)(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def save_resnet(folder: Path) -> Path:
    """Save a ResNet for images of 16 x 16, pooled to 12."""
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=0.875).save_pretrained(folder)
    return folder


def save_videomae(folder: Path, *, seed: int = 0, classifier: bool = True) -> Path:
    """Save a VideoMAE of four frames of 16 x 16."""
    from transformers import (
        VideoMAEConfig,
        VideoMAEForVideoClassification,
        VideoMAEImageProcessorPil,
        VideoMAEModel,
    )

    torch.manual_seed(seed)
    config = VideoMAEConfig(**SIDES, image_size=16, patch_size=8, num_frames=4, initializer_range=0.5)
    (VideoMAEForVideoClassification if classifier else VideoMAEModel)(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    VideoMAEImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder


def in_single_precision(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let the experts of a module run in float32 on the CPU, whatever the machine has."""
    for place in ("pretrained", f"trailers.{module}"):  # what loads the network, and what names its precision
        monkeypatch.setattr(f"reeltag.encoders.{place}.device_and_precision", lambda: ("cpu", torch.float32))
