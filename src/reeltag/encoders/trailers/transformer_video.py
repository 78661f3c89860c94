"""Any video model of transformers (VideoMAE, TimeSformer, ViViT, V-JEPA 2): the mean over the tokens of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.pretrained import (
    check_complete,
    device_and_precision,
    folder_fingerprint,
    load_network,
    model_folder,
    transformers_class,
)
from reeltag.encoders.trailers.contract import Frames, Shot
from reeltag.encoders.trailers.frames import evenly
from reeltag.encoders.trailers.picture_recipe import PictureRecipe, read_recipe
from reeltag.errors import EncoderError

_REVISION = 1
_N_FRAMES = 16  # of a model that does not say
_INPUTS = ("pixel_values", "pixel_values_videos")


class VideoTransformerExpert:
    """The mean of the last hidden states of a clip, at unit length.

    A clip has as many frames as the model was trained with, evenly chosen from those held of a shot; of a shot with
    fewer, frames are repeated.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Clips per forward pass.
    """

    sample_rate = None

    def __init__(self, model: str, batch_size: int = 4) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[PictureRecipe, Any]:
        owner = f"motion expert 'video:{self.model}'"
        _ = transformers_class("AutoModel", owner)  # a missing package is named before a missing file
        recipe = read_recipe(self._folder)
        network, missing = load_network("AutoModel", self._folder, owner)
        if network.main_input_name not in _INPUTS or clip_length(network.config, 0) == 0:
            raise EncoderError(f"{owner}: must be a model of video; {network.config.model_type!r} is not")
        check_complete(owner, self._folder, missing)
        return recipe, network

    @property
    def n_frames(self) -> int:
        """Frames of a clip."""
        return clip_length(self._loaded[1].config, _N_FRAMES)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._loaded[1].config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"video-{_REVISION}-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return unit vectors (n_shots, dim) and a mask that is True throughout: every shot has a picture."""
        parts = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(shots), self.batch_size):
            clips = [self._clip(shot.frames) for shot in shots[start : start + self.batch_size]]
            parts.append(self._forward(np.stack(clips)))
        return np.concatenate(parts), np.ones(len(shots), np.bool_)

    def _clip(self, frames: Frames) -> npt.NDArray[np.float32]:
        """Return the input that the frames of a shot make, (n_frames, 3, height, width)."""
        chosen = evenly(len(frames), self.n_frames)
        each, places = np.unique(chosen, return_inverse=True)
        return self._loaded[0](frames[each])[places]

    @torch.inference_mode()
    def _forward(self, clips: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        _, network = self._loaded
        pixels = torch.from_numpy(clips).to(network.device, network.dtype)
        try:
            states = network(**{network.main_input_name: pixels}).last_hidden_state
        except (RuntimeError, ValueError) as error:
            raise EncoderError(f"motion expert 'video:{self.model}': cannot be run ({error})") from None
        vectors = states.float().mean(dim=1)
        result: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()
        return result


def clip_length(config: Any, default: int) -> int:
    """Return how many frames a model was trained with."""
    return int(getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None) or default)
