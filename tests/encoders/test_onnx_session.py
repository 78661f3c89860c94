"""Opening ONNX models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from reeltag.encoders.onnx_session import open_session, run_errors
from reeltag.errors import EncoderError, MissingExtraError

from .tiny_onnx import save_model

PLACE = Path("folder") / "model.onnx"


def test_a_model_is_opened_with_the_threads_of_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'posters'")
    pytest.importorskip("onnx", reason="builds models with onnx")
    save_model(tmp_path)
    session = open_session((tmp_path / "model.onnx").read_bytes(), PLACE, "trailers", "x")
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == torch.get_num_threads()


def test_what_is_no_model() -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'posters'")
    for content in (b"", b"none"):
        with pytest.raises(EncoderError, match=r"folder.model\.onnx: not a model that ONNX Runtime can open \("):
            open_session(content, PLACE, "trailers", "x")


def test_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = r"^me needs the package 'onnxruntime', which is not installed: pip install 'reeltag\[trailers\]'$"
    with pytest.raises(MissingExtraError, match=message):
        open_session(b"", PLACE, "trailers", "me")


def test_errors_of_a_run_are_known() -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'posters'")
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

    assert {RuntimeError, ValueError, Fail, InvalidArgument} <= set(run_errors())
    assert all(issubclass(error, Exception) for error in run_errors())
