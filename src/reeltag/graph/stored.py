"""Reading what was saved: a file that is missing or damaged is named, whatever the library beneath says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reeltag.errors import ArtefactError


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ArtefactError: The file cannot be read or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: must be valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise ArtefactError(f"{path}: must hold a JSON object")
    return data


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors.

    Raises:
        ArtefactError: The file is missing or damaged.
    """
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: tensors cannot be read ({error})") from None
