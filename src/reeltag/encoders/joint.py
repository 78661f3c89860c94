"""Poster and plot read together by a model with cross-attention: BLIP or BridgeTower, one vector per pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.images import RGBImage
from reeltag.encoders.pretrained import (
    LOAD_ERRORS,
    check_complete,
    device_and_precision,
    folder_fingerprint,
    image_processor,
    model_folder,
    quiet_loading,
)
from reeltag.errors import EncoderError, MissingExtraError


class _JointModel(ABC):
    """What both share: loading, batches, unit length.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Pairs per forward pass.
    """

    kind: ClassVar[str]
    architecture: ClassVar[str]
    processor: ClassVar[str]
    unread: ClassVar[tuple[str, ...]] = ()  # weights that no vector depends on

    def __init__(self, model: str, batch_size: int = 16) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        owner = f"joint encoder '{self.kind}:{self.model}'"
        try:
            import transformers
        except ImportError:
            raise MissingExtraError("transformers", "text", owner) from None
        quiet_loading()
        device, dtype = device_and_precision()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            found_kind = transformers.AutoConfig.from_pretrained(self._folder, local_files_only=True).model_type
            if found_kind != self.kind:
                raise EncoderError(f"{owner}: must be a model of type '{self.kind}'; {self._folder} is {found_kind!r}")
            processor = image_processor(self.processor, self._folder)
            network, found = getattr(transformers, self.architecture).from_pretrained(
                self._folder, local_files_only=True, dtype=dtype, output_loading_info=True
            )
        except LOAD_ERRORS as error:
            raise EncoderError(f"{owner}: cannot be loaded from {self._folder} ({error})") from None
        missing = [name for name in found["missing_keys"] if not name.startswith(self.unread)]
        check_complete(owner, self._folder, missing)
        return tokenizer, processor, network.to(device).eval()

    @cached_property
    def dim(self) -> int:
        """Width of the vectors; opens the model."""
        return self._width(self._loaded[2].config)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"{self.kind}-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    @torch.inference_mode()
    def encode(self, images: Sequence[RGBImage], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, dim); long texts are cut at the model's limit."""
        parts = [np.zeros((0, self.dim), np.float32)]
        tokenizer, processor, network = self._loaded
        limit = min(tokenizer.model_max_length, self._n_positions(network.config))
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            tokens = tokenizer(
                list(texts[part]), padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(network.device)
            pixels = processor(list(images[part]), return_tensors="pt").to(network.device)
            vectors = self._forward(network, tokens, pixels).float()
            parts.append(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy())
        return np.concatenate(parts)

    @abstractmethod
    def _width(self, config: Any) -> int:
        """Return the width of the vectors."""

    @abstractmethod
    def _n_positions(self, config: Any) -> int:
        """Return how many tokens a text may have."""

    @abstractmethod
    def _forward(self, network: Any, tokens: Any, pixels: Any) -> torch.Tensor:
        """Return the vectors of pairs, (n, dim)."""


class BlipEncoder(_JointModel):
    """BLIP's text encoder looking at the image: the state of its first token, before the matching head.

    Of BLIP's checkpoints those for image-text matching (``blip-itm-*``) carry a text encoder trained to read an image
    and a text together; the captioning ones carry a decoder and are refused.
    """

    kind = "blip"
    architecture = "BlipForImageTextRetrieval"
    processor = "BlipImageProcessor"
    unread = ("vision_proj.", "text_proj.", "itm_head.", "text_encoder.pooler.")

    def _width(self, config: Any) -> int:
        return int(config.text_config.hidden_size)

    def _n_positions(self, config: Any) -> int:
        return int(config.text_config.max_position_embeddings)

    def _forward(self, network: Any, tokens: Any, pixels: Any) -> torch.Tensor:
        image = network.vision_model(pixel_values=pixels["pixel_values"].to(network.dtype)).last_hidden_state
        states: torch.Tensor = network.text_encoder(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=image,
            encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long, device=image.device),
        ).last_hidden_state  # (n, n_tokens, dim)
        return states[:, 0]


class BridgeTowerEncoder(_JointModel):
    """BridgeTower's pooled output: the first states of its text and image sides, one behind the other."""

    kind = "bridgetower"
    architecture = "BridgeTowerModel"
    processor = "BridgeTowerImageProcessor"

    def _width(self, config: Any) -> int:
        return 2 * int(config.hidden_size)

    def _n_positions(self, config: Any) -> int:
        return int(config.text_config.max_position_embeddings) - int(config.text_config.pad_token_id) - 1

    def _forward(self, network: Any, tokens: Any, pixels: Any) -> torch.Tensor:
        output: torch.Tensor = network(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pixels["pixel_values"].to(network.dtype),
            pixel_mask=pixels["pixel_mask"],
        ).pooler_output
        return output
