"""What all tests share: no network, no user cache, few threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's cache of encoded texts."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REELTAG_CACHE", str(folder))
    return folder
