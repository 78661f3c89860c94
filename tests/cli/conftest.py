"""The commands, in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runner import Commands


@pytest.fixture
def reeltag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capsys)
