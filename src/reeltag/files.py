"""Writing so that a crash leaves the old file or folder whole: write beside, then rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reeltag.errors import ArtefactError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; swap it in when the block ends without an error.

    Raises:
        NotADirectoryError: A file stands where the folder should go.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path}: is a file, where a folder should be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_replaceable(folder: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Raise unless a folder may be written: there is nothing yet, an empty folder, or one of ours to be replaced.

    Args:
        folder: Where.
        is_ours: Whether the folder that is there is one of ours.
        what: What ours are, in words.

    Raises:
        ArtefactError: There is something else, which would be lost, or the folder has no name or cannot be made.
    """
    if folder.name in ("", ".."):
        raise ArtefactError(f"{folder}: must end in the name of a folder; choose another")
    ground = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if ground != folder.absolute() and not (ground.is_dir() and os.access(ground, os.W_OK)):
        raise ArtefactError(f"{folder}: cannot be made, because {ground} is not a folder that may be written to")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_ours(folder):
        raise ArtefactError(f"{folder}: exists and is not {what}; choose another folder")


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as readable JSON (UTF-8, two spaces), atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
