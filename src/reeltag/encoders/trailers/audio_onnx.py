"""Any ONNX audio model whose card says how sounds become its input; see ``audio_card`` for the card."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.onnx_session import check_embedding, first_input, open_session, read_model, run_session
from reeltag.encoders.trailers.audio_card import AudioCard, read_audio_card
from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.mel import Floats
from reeltag.encoders.trailers.sound_windows import Sound, lengthened, sounds_of, windows
from reeltag.errors import EncoderError

_REVISION = 1
_MEL_TOLERANCE = 0.01  # of the numbers of the input, whose spread is about 0.5


class OnnxSoundExpert:
    """The output ``embedding`` of a model for the sound of a shot, made a unit vector. Runs on the CPU.

    A sound shorter than the card's least length is repeated; of one longer than its window the embeddings of windows
    are averaged.

    Args:
        folder: Holds the model, its card ``model.json`` and its mel basis.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.name = Path(folder).name.replace(".", "-")

    @cached_property
    def card(self) -> AudioCard:
        """The card of the model."""
        if not Path(self.folder).is_dir():
            raise EncoderError(f"model folder {self.folder!r} does not exist")
        return read_audio_card(Path(self.folder))

    @cached_property
    def _model(self) -> bytes:
        return read_model(Path(self.folder) / self.card.file)

    @cached_property
    def _session(self) -> Any:
        """The model, opened and proved with the test vector of its card."""
        place = Path(self.folder) / self.card.file
        session = open_session(self._model, place, "trailers", f"the audio expert 'onnx:{self.folder}'")
        _check_signature(session, self.card)
        _prove(session, self.card)
        return session

    @property
    def sample_rate(self) -> int:
        """The rate of the card, in Hz."""
        return self.card.recipe.sample_rate

    @cached_property
    def dim(self) -> int:
        """Width of the vectors; opens the model."""
        silence = np.zeros((1, 1, len(self.card.recipe.basis), self.card.least_frames), np.float32)
        return int(run_session(self._session, silence, self.card.path).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model and of what is done to sounds before it."""
        digest = hashlib.sha256(self._model)
        digest.update(repr((_REVISION, self.card.frames, self.card.least_frames, self.card.recipe.numbers)).encode())
        digest.update(self.card.recipe.basis.tobytes())
        return f"onnx-{digest.hexdigest()[:32]}"

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return unit vectors (n_shots, dim) and which shots have sound, be it silence.

        Raises:
            EncoderError: The shots were not read at the rate of the card.
        """
        sounds = sounds_of(shots, self.sample_rate, f"audio expert 'onnx:{self.folder}'")
        values = np.zeros((len(shots), self.dim), np.float32)
        present = np.array([len(sound) > 0 for sound in sounds], np.bool_)
        for row in np.flatnonzero(present):
            vector = self._embedding(sounds[row])
            values[row] = vector / (np.linalg.norm(vector) or 1)
        return values, present

    def _embedding(self, sound: Sound) -> Floats:
        """Return the mean of the embeddings of the windows of a sound, (dim,)."""
        card = self.card
        long_enough = lengthened(sound, card.recipe.shortest(card.least_frames))
        parts = windows(long_enough, card.recipe.longest(card.frames))
        vectors = [run_session(self._session, card.recipe(part)[None, None], card.path)[0] for part in parts]
        mean: Floats = np.mean(vectors, axis=0)
        return mean


def _check_signature(session: Any, card: AudioCard) -> None:
    n_mels = len(card.recipe.basis)
    shape = first_input(session, card.path).shape[1:]
    inputs = session.get_inputs()
    fits = len(shape) == 3 and all(not isinstance(n, int) or n == m for n, m in zip(shape, (1, n_mels), strict=False))
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not fits:
        got = "; ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise EncoderError(f"{card.path}: the model needs one float input (n, 1, {n_mels}, n_frames); got {got}")
    if isinstance(shape[2], int) and not card.least_frames == card.frames == shape[2]:
        raise EncoderError(
            f"{card.path}: the model takes {shape[2]} frames, no more and no fewer, which 'frames' and 'least_frames' "
            f"must both be; got {card.frames} and {card.least_frames}"
        )


def _prove(session: Any, card: AudioCard) -> None:
    """Raise EncoderError unless recipe and model give the test of their card."""
    if card.test is None:
        return
    mel = card.recipe(card.test.sound)
    if card.test.shape not in (None, mel.shape):
        raise EncoderError(
            f"{card.path}, field 'sanity.test_vector.mel.mel_shape': the recipe read from the card must give it; got "
            f"{list(mel.shape)} for {list(card.test.shape or ())}"
        )
    for name, expected in card.test.mel.items():
        found = _mel_number(mel, name)
        if found is None or not abs(found - expected) <= _MEL_TOLERANCE:
            shown_name = name if isinstance(name, str) else f"{name[0]}_{name[1]}"
            raise EncoderError(
                f"{card.path}, field 'sanity.test_vector.mel.mel_{shown_name}': the recipe read from the card must "
                f"give it; got {found if found is None else round(found, 4)} for {expected}"
            )
    vector = run_session(session, mel[None, None], card.path)[0]
    check_embedding(vector, card.test.first, card.test.length, card.path, "recipe")


def _mel_number(mel: Floats, name: str | tuple[int, int]) -> float | None:
    """Return a number of an input by its name, None for a place that it does not have."""
    if isinstance(name, tuple):
        return float(mel[name]) if name[0] < mel.shape[0] and name[1] < mel.shape[1] else None
    return {"mean": float(mel.mean()), "std": float(mel.std()), "min": float(mel.min()), "max": float(mel.max())}[name]
