"""Audio models of transformers: the Audio Spectrogram Transformer, and the audio tower of CLAP.

Each prepares sounds by its own feature extractor and does with short ones what it was trained with: AST fills up with
empty frames, CLAP repeats. Longer ones are cut into windows here, whose vectors are averaged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.pretrained import (
    LOAD_ERRORS,
    check_complete,
    device_and_precision,
    folder_fingerprint,
    load_network,
    model_folder,
    transformers_class,
)
from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.sound_windows import Sound, lengthened, sounds_of, windows
from reeltag.errors import EncoderError

Floats = npt.NDArray[np.float32]

_REVISION = 1
_AST_FRAME, _AST_HOP = 400, 160  # samples, fixed in its feature extractor
_CLAP_READ = ("audio_model.", "audio_projection.")


class AstExpert:
    """What an Audio Spectrogram Transformer pools a sound to, at unit length.

    Its feature extractor computes with torchaudio where that is installed and with numpy elsewhere; their numbers are
    not the same to the last digit, so the fingerprint says which.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Windows per forward pass.
    """

    def __init__(self, model: str, batch_size: int = 4) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @property
    def _owner(self) -> str:
        return f"audio expert 'ast:{self.model}'"

    @cached_property
    def _extractor(self) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "At least one mel filter has all zero values")  # as it was trained with
            return _opened("ASTFeatureExtractor", self._folder, self._owner)

    @cached_property
    def _network(self) -> Any:
        _check_kind(self._folder, ("audio-spectrogram-transformer",), self._owner)
        network, missing = load_network("ASTModel", self._folder, self._owner)
        check_complete(self._owner, self._folder, missing)
        return network

    @property
    def sample_rate(self) -> int:
        """The rate of the model's feature extractor, in Hz."""
        return int(self._extractor.sampling_rate)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._network.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files, the precision it runs in, and what computes its spectrograms."""
        by = "torchaudio" if find_spec("torchaudio") is not None else "numpy"
        return f"ast-{_REVISION}-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}-{by}"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return unit vectors (n_shots, dim) and which shots have sound, be it silence.

        Raises:
            EncoderError: The shots were not read at the model's rate.
        """
        sounds = [lengthened(s, _AST_FRAME) if len(s) else s for s in sounds_of(shots, self.sample_rate, self._owner)]
        longest = (int(self._extractor.max_length) - 1) * _AST_HOP + _AST_FRAME
        return _means(sounds, longest, self._run, self.dim, self.batch_size)

    def _run(self, parts: list[Sound]) -> Floats:
        found = self._extractor(parts, sampling_rate=self.sample_rate, return_tensors="pt")
        return _checked(self._owner, self._vectors, found["input_values"])

    def _vectors(self, values: torch.Tensor) -> torch.Tensor:
        network = self._network
        pooled: torch.Tensor = network(input_values=values.to(network.device, network.dtype)).pooler_output
        return pooled


class ClapExpert:
    """The audio embedding of a CLAP, in the space of its text tower, at unit length.

    Of a model that fuses several views of a long sound, the view of the whole is taken, as for sounds no longer than a
    window: its feature extractor would choose the other views by chance.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Windows per forward pass.
    """

    def __init__(self, model: str, batch_size: int = 4) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @property
    def _owner(self) -> str:
        return f"audio expert 'clap:{self.model}'"

    @cached_property
    def _extractor(self) -> Any:
        return _opened("ClapFeatureExtractor", self._folder, self._owner)

    @cached_property
    def _network(self) -> Any:
        kind = _check_kind(self._folder, ("clap", "clap_audio_model"), self._owner)
        loader = "ClapModel" if kind == "clap" else "ClapAudioModelWithProjection"
        network, missing = load_network(loader, self._folder, self._owner)
        check_complete(self._owner, self._folder, [name for name in missing if name.startswith(_CLAP_READ)])
        return network

    @property
    def sample_rate(self) -> int:
        """The rate of the model's feature extractor, in Hz."""
        return int(self._extractor.sampling_rate)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._network.audio_projection.linear2.out_features)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"clap-{_REVISION}-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return unit vectors (n_shots, dim) and which shots have sound, be it silence.

        Raises:
            EncoderError: The shots were not read at the model's rate.
        """
        sounds = sounds_of(shots, self.sample_rate, self._owner)
        return _means(sounds, int(self._extractor.nb_max_samples), self._run, self.dim, self.batch_size)

    def _run(self, parts: list[Sound]) -> Floats:
        found = self._extractor(parts, sampling_rate=self.sample_rate, return_tensors="pt")
        return _checked(self._owner, self._vectors, found["input_features"])

    def _vectors(self, features: torch.Tensor) -> torch.Tensor:
        network = self._network
        longer = torch.zeros(
            len(features), 1, dtype=torch.bool, device=network.device
        )  # its extractor draws one by lot
        pooled = network.audio_model(
            input_features=features.to(network.device, network.dtype), is_longer=longer
        ).pooler_output
        projected: torch.Tensor = network.audio_projection(pooled)
        return projected


@torch.inference_mode()
def _checked(owner: str, vectors: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> Floats:
    """Return the vectors of a batch; what the network makes of an input that is not its own is an error."""
    try:
        result: Floats = vectors(values).float().cpu().numpy()
    except (RuntimeError, ValueError) as error:
        raise EncoderError(f"{owner}: cannot be run on what its feature extractor makes ({error})") from None
    return result


def _means(
    sounds: Sequence[Sound], longest: int, run: Callable[[list[Sound]], Floats], dim: int, batch_size: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the means of the vectors of the windows of sounds, at unit length, and which sounds are not empty."""
    present = np.array([len(sound) > 0 for sound in sounds], np.bool_)
    parts = [(row, part) for row, sound in enumerate(sounds) if len(sound) for part in windows(sound, longest)]
    sums = np.zeros((len(sounds), dim), np.float32)
    for start in range(0, len(parts), batch_size):
        batch = parts[start : start + batch_size]
        np.add.at(sums, [row for row, _ in batch], run([part for _, part in batch]))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(norms > 0, norms, 1), np.float32), present


def _opened(name: str, folder: Path, owner: str) -> Any:
    """Return a feature extractor of transformers."""
    loader = transformers_class(name, owner)
    try:
        return loader.from_pretrained(folder, local_files_only=True)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{owner}: its feature extractor cannot be loaded from {folder} ({error})") from None


def _check_kind(folder: Path, kinds: tuple[str, ...], owner: str) -> str:
    """Return what kind of model a folder holds, which must be one of some."""
    loader = transformers_class("AutoConfig", owner)
    try:
        kind = str(loader.from_pretrained(folder, local_files_only=True).model_type)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{owner}: cannot be loaded from {folder} ({error})") from None
    if kind not in kinds:
        raise EncoderError(f"{owner}: must be a model of type {' or '.join(kinds)}; {folder} holds a {kind!r}")
    return kind
