"""Any image model of transformers as a poster encoder: what it pools an image to, with its own image processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from reeltag.encoders.images import RGBImage
from reeltag.encoders.pretrained import (
    LOAD_ERRORS,
    check_complete,
    device_and_precision,
    folder_fingerprint,
    load_network,
    model_folder,
    transformers_class,
)
from reeltag.errors import EncoderError


class TransformerImageEncoder:
    """The pooled output of a model, at unit length: of a ViT, Swin, ConvNeXt, ResNet, DINOv2, ...

    Models saved with a classifier often lack the pooler of a ViT, which their classifier does not read; the state of
    the class token, which it does read, is taken then. Of models that pool nothing, the mean over all places is taken.

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
    def _loaded(self) -> tuple[Any, Any, bool]:
        """The image processor, the network, and whether its pooler was trained."""
        owner = f"image encoder 'transformer:{self.model}'"
        processors = transformers_class("AutoImageProcessor", owner)
        try:
            processor = processors.from_pretrained(self._folder, local_files_only=True, backend="pil")
        except LOAD_ERRORS as error:
            raise EncoderError(f"{owner}: cannot be loaded from {self._folder} ({error})") from None
        network, lacking = load_network("AutoModel", self._folder, owner)
        if network.main_input_name != "pixel_values":
            raise EncoderError(f"{owner}: must be a model of images alone; {network.config.model_type!r} is not")
        missing = [name for name in lacking if not name.startswith("pooler.")]
        check_complete(owner, self._folder, missing)
        return processor, network, len(missing) == len(lacking)

    @cached_property
    def dim(self) -> int:
        """Width of the vectors; opens the model and runs it once."""
        return int(self._forward([Image.new("RGB", (64, 64))]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"image-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    def encode(self, batch: Sequence[RGBImage]) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, dim)."""
        parts = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(batch), self.batch_size):
            parts.append(self._forward(list(batch[start : start + self.batch_size])))
        return np.concatenate(parts)

    @torch.inference_mode()
    def _forward(self, images: list[RGBImage]) -> npt.NDArray[np.float32]:
        processor, network, has_pooler = self._loaded
        pixels = processor(images, return_tensors="pt")["pixel_values"].to(network.device, network.dtype)
        vectors = _pooled(network(pixel_values=pixels), has_pooler)
        result: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
        return result


def _pooled(output: Any, has_pooler: bool) -> torch.Tensor:
    """Return what a network makes of images, (n, dim).

    Args:
        output: Has states of places (n, n_tokens, dim), the class token first, or (n, dim, height, width).
        has_pooler: Whether what pools them, if anything does, is trained.
    """
    states: torch.Tensor = output.last_hidden_state
    if not has_pooler:
        return states[:, 0]
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    return states.mean(dim=1) if states.ndim == 3 else states.mean(dim=(2, 3))
