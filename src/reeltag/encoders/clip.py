"""The image tower of CLIP: the projected embedding of a poster, in the space of its text tower, or its patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.images import RGBImage
from reeltag.encoders.patches import Place, averaged, cells_of
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

    @property
    def token_dim(self) -> int:
        """Width of the patch tokens: the hidden states of the tower."""
        return int(self._vision_config.hidden_size)

    @torch.inference_mode()
    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> npt.NDArray[np.float16]:
        """Return the last hidden state of every patch behind the tower's last norm, (n, n_patches, token_dim).

        Args:
            batch: The images.
            grid: Patches along a side at most; finer ones are averaged.
        """
        processor, network = self._loaded
        side = self._side
        parts = [np.zeros((0, min(side, grid) ** 2, self.token_dim), np.float16)]
        for start in range(0, len(batch), self.batch_size):
            images = list(batch[start : start + self.batch_size])
            pixels = processor(images, return_tensors="pt")["pixel_values"].to(network.device, network.dtype)
            tower = network.vision_model
            states = tower.post_layernorm(tower(pixel_values=pixels).last_hidden_state[:, 1:])  # the first is the class
            cells = states.float().transpose(1, 2).unflatten(2, (side, side)).cpu().numpy()
            parts.append(averaged(cells, grid).astype(np.float16))
        return np.concatenate(parts)

    def patch_places(self, image: RGBImage, grid: int) -> list[Place]:
        """Return left, top, right and bottom of every patch on an image, as shares of its width and height."""
        n = min(self._side, grid)
        return cells_of(_view(self._loaded[0], image), n, n)

    @property
    def _vision_config(self) -> Any:
        config = self._loaded[1].config
        return getattr(config, "vision_config", config)

    @property
    def _side(self) -> int:
        """Patches along a side of the tower's input."""
        return int(self._vision_config.image_size) // int(self._vision_config.patch_size)


def _view(processor: Any, image: RGBImage) -> Place:
    """Return the part of an image that a processor shows the network: the middle square, where it cuts one out."""
    if not getattr(processor, "do_center_crop", False):
        return 0.0, 0.0, 1.0, 1.0
    short = int(processor.size["shortest_edge"]) if "shortest_edge" in processor.size else None
    width, height = image.size
    if short is not None:
        width, height = round(width * short / min(image.size)), round(height * short / min(image.size))
    else:
        width, height = int(processor.size["width"]), int(processor.size["height"])
    shown_w = min(int(processor.crop_size["width"]) / width, 1.0)
    shown_h = min(int(processor.crop_size["height"]) / height, 1.0)
    return (1 - shown_w) / 2, (1 - shown_h) / 2, (1 + shown_w) / 2, (1 + shown_h) / 2
