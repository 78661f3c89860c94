"""Pre-trained models with random weights, small enough to be made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "the", "film", "of", "love", "war", "robot", "rain", "paris", "killer", "meets", ".", ","]
VOCABULARY = [*SPECIAL, *WORDS]
LIMIT = 12  # tokens, [CLS] and [SEP] included


def save_bert(folder: Path, seed: int = 0, n_layers: int = 5, model_max_length: int | None = LIMIT) -> Path:
    """Save a BERT of width 16."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), **limit).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=n_layers, num_attention_heads=2,
        intermediate_size=20, max_position_embeddings=LIMIT, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def save_roberta(folder: Path) -> Path:
    """Save a RoBERTa of width 16, two of whose places are never used: its positions start behind the padding token."""
    from transformers import BertTokenizerFast, RobertaConfig, RobertaModel

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=LIMIT + 2, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return folder


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Save the text tower of a CLIP: width 16, projected to 6."""
    from transformers import BertTokenizerFast, CLIPTextConfig, CLIPTextModelWithProjection

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=LIMIT).save_pretrained(folder)
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=LIMIT, projection_dim=6, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        initializer_factor=3.0,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def save_sentence(folder: Path, seed: int = 0) -> Path:
    """Save a sentence-transformers model: that BERT, then the mean over its tokens."""
    save_bert(folder, seed)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def save_clip_whole(folder: Path, seed: int = 0) -> Path:
    """Save both towers of a CLIP and its image processor: images of 16 x 16, width 16, projected to 6."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    torch.manual_seed(seed)
    sides = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    config = CLIPConfig(
        text_config=sides | {"vocab_size": len(VOCABULARY), "max_position_embeddings": LIMIT},
        vision_config=sides | {"image_size": 16, "patch_size": 8, "initializer_factor": 3.0},
        projection_dim=6,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder


def save_blip(folder: Path, seed: int = 0) -> Path:
    """Save a BLIP for image-text matching: images of 16 x 16, width 16."""
    from transformers import BertTokenizerFast, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=LIMIT).save_pretrained(folder)
    torch.manual_seed(seed)
    sides = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    config = BlipConfig(
        text_config=sides | {
            "vocab_size": len(VOCABULARY), "max_position_embeddings": LIMIT, "encoder_hidden_size": 16,
            "initializer_range": 0.5, "bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0,
        },
        vision_config=sides | {"image_size": 16, "patch_size": 8, "initializer_range": 0.5},
        image_text_hidden_size=8,
    )  # fmt: skip
    BlipForImageTextRetrieval(config).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def save_bridgetower(folder: Path, seed: int = 0) -> Path:
    """Save a BridgeTower: images of 32 x 32, width 16, pooled to 32."""
    from transformers import BertTokenizerFast, BridgeTowerConfig, BridgeTowerImageProcessorPil, BridgeTowerModel

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BridgeTowerConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        text_config={
            "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "intermediate_size": 20, "max_position_embeddings": LIMIT + 2, "pad_token_id": 1, "initializer_factor": 20,
        },
        vision_config={
            "hidden_size": 64, "num_hidden_layers": 3, "image_size": 32, "patch_size": 16, "initializer_factor": 3.0,
        },
    )  # fmt: skip
    BridgeTowerModel(config).save_pretrained(folder)
    BridgeTowerImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"shortest_edge": 32}, size_divisor=16
    ).save_pretrained(folder)
    return folder


def in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let encoders run in float32 on the CPU, whatever the machine has."""
    for module in ("transformer", "sentence", "clip", "joint"):
        monkeypatch.setattr(f"reeltag.encoders.{module}.device_and_precision", lambda: ("cpu", torch.float32))
