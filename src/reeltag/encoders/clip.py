"""The image tower of CLIP: the projected embedding of a poster, in the space of its text tower."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

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

_READ = ("vision_model.", "visual_projection.")


class ClipEncoder:
    """Any CLIP model of transformers, whole or its image tower with its projection alone.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Images per forward pass.
    """

    def __init__(self, model: str, batch_size: int = 32) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoConfig, CLIPModel, CLIPVisionModelWithProjection
        except ImportError:
            raise MissingExtraError("transformers", "text", f"the poster encoder 'clip:{self.model}'") from None
        quiet_loading()
        device, dtype = device_and_precision()
        owner = f"poster encoder 'clip:{self.model}'"
        try:
            kind = AutoConfig.from_pretrained(self._folder, local_files_only=True).model_type
            if kind not in ("clip", "clip_vision_model"):
                raise EncoderError(f"{owner}: must be a CLIP model; {self._folder} holds a {kind!r}")
            processor = image_processor("CLIPImageProcessor", self._folder)
            loader: Any = CLIPModel if kind == "clip" else CLIPVisionModelWithProjection
            network, found = loader.from_pretrained(
                self._folder, local_files_only=True, dtype=dtype, output_loading_info=True
            )
        except LOAD_ERRORS as error:
            raise EncoderError(f"{owner}: cannot be loaded from {self._folder} ({error})") from None
        check_complete(owner, self._folder, [name for name in found["missing_keys"] if name.startswith(_READ)])
        return processor, network.to(device).eval()

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._loaded[1].visual_projection.out_features)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"clip-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    @torch.inference_mode()
    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, dim)."""
        parts = [np.zeros((0, self.dim), np.float32)]
        processor, network = self._loaded
        for start in range(0, len(batch), self.batch_size):
            images = list(batch[start : start + self.batch_size])
            pixels = processor(images, return_tensors="pt")["pixel_values"].to(network.device, network.dtype)
            vectors = network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output)
            parts.append(torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy())
        return np.concatenate(parts)
