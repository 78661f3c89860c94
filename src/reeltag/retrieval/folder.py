"""The folders that this room writes: what their ``config.json`` says of itself, checked before the rest is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reeltag.errors import ArtefactError


def read_told(folder: Path, kind: str, schema: int, keys: set[str]) -> dict[str, Any]:
    """Read the ``config.json`` of a folder.

    Args:
        folder: The folder.
        kind: What its ``kind`` must be.
        schema: What its ``schema`` must be.
        keys: The entries it must have, and no others.

    Raises:
        ArtefactError: It is not there, is damaged, or says otherwise.
    """
    path = folder / "config.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ArtefactError(f"{folder}: holds no {kind} (config.json is missing)") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(told, dict) or told.get("kind") != kind:
        found = told.get("kind") if isinstance(told, dict) else None
        raise ArtefactError(f"{path}: 'kind' must be {kind!r}; got {found!r}")
    if told.get("schema") != schema:
        raise ArtefactError(f"{path}: schema {told.get('schema')!r} cannot be read; this version reads schema {schema}")
    if set(told) != keys:
        raise ArtefactError(f"{path}: unknown or missing entries: {', '.join(sorted(set(told) ^ keys))}")
    return told


def is_kind(folder: Path, kind: str) -> bool:
    """Return whether the ``config.json`` of a folder says that it is of a kind."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.get("kind") == kind
