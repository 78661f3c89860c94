"""Opening ONNX models on the CPU, and what ONNX Runtime raises for those it cannot open or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reeltag.errors import EncoderError, MissingExtraError

_ERRORS_ONLY = 3  # of ONNX Runtime's own log


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
