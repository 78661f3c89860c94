"""ONNX models with a card, whatever they read: opened on the CPU, run, and proved with the embedding of their card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.errors import EncoderError, MissingExtraError

OUTPUT = "embedding"
TOLERANCE = 0.02  # of the length of an embedding, and of the root mean square of its numbers
_ERRORS_ONLY = 3  # of ONNX Runtime's own log


def read_model(path: Path) -> bytes:
    """Return the bytes of a model that a card names.

    Raises:
        EncoderError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EncoderError(f"{path}: the model of the card cannot be read ({error.strerror or error})") from None


def open_session(model: bytes, place: Path, extra: str, purpose: str) -> Any:
    """Open a model on the CPU, with as many threads as torch has.

    Args:
        model: The bytes of its file.
        place: The file, for messages.
        extra: That brings ONNX Runtime.
        purpose: What needs it, for messages.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        EncoderError: It cannot open the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", extra, purpose) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except run_errors() as error:
        raise EncoderError(f"{place}: not a model that ONNX Runtime can open ({error})") from None


def run_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises for a model it cannot open or run; its errors share no base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception))
    return (RuntimeError, ValueError, *own)


def first_input(session: Any, card: Path) -> Any:
    """Return the first input of a model that gives embeddings; how many there are is for the caller to check.

    Raises:
        EncoderError: It has no output of that name.
    """
    outputs = [output.name for output in session.get_outputs()]
    if OUTPUT not in outputs:
        raise EncoderError(f"{card}: the model needs an output '{OUTPUT}'; outputs: {', '.join(outputs)}")
    return session.get_inputs()[0]


def run_session(
    session: Any, values: npt.NDArray[np.float32], card: Path, output: str = OUTPUT
) -> npt.NDArray[np.float32]:
    """Return an output of a model for a batch of its only input; the embedding as (n, dim).

    Raises:
        EncoderError: It cannot be run; the message names its card.
    """
    try:
        (found,) = session.run([output], {session.get_inputs()[0].name: values})
    except run_errors() as error:
        raise EncoderError(f"{card}: the model cannot be run ({error})") from None
    result: npt.NDArray[np.float32] = np.asarray(found, np.float32)
    return result.reshape(len(values), -1) if output == OUTPUT else result


def check_embedding(
    vector: npt.NDArray[np.float32], first: Sequence[float], length: float, card: Path, what: str
) -> None:
    """Compare an embedding with that of the test vector of a card.

    Args:
        vector: What the model gives, (dim,).
        first: Its first numbers as the card has them.
        length: Its Euclidean length as the card has it.
        card: The card, for messages.
        what: What is read from the card, for messages.

    Raises:
        EncoderError: They differ by more than ``TOLERANCE``.
    """
    found, expected = float(np.linalg.norm(vector)), np.array(first)
    usual = max(found, length) / len(vector) ** 0.5
    off = np.abs(vector[: len(expected)] - expected).max(initial=0)
    if abs(found - length) > TOLERANCE * length or off > TOLERANCE * usual:
        raise EncoderError(
            f"{card}, field 'sanity.test_vector': the model and the {what} read from the card must give it; got length "
            f"{found:.4f} for {length:.4f}, first numbers {np.round(vector[: len(expected)], 4).tolist()} for "
            f"{list(first)}"
        )
