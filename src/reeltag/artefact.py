"""The artefact: a folder that holds everything a trained tagger needs, written whole or not at all, loaded strictly.

config.json             schema, versions, recipe, data, encoders, the files with their hashes
labels.json             the label space
README.md               a model card with the measured figures
features/               vocabularies, credits graph
model/                  settings and parameters
calibration/            curves and thresholds
neighbours/             embeddings of training titles
background/             what labels added later are told from: training titles, as their heads read them
added/                  labels added later, where there are any
fitted_on.parquet       which titles each fitted part has seen, for the leak audit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

import reeltag
from reeltag.errors import ArtefactError
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.labels import LabelSpace

SCHEMA = 1
BACKGROUND = "background"
ADDED = "added"
_CONFIG = "config.json"
_FITTED_ON = "fitted_on.parquet"
_REQUIRED = {"labels.json", "README.md", _FITTED_ON}
_KEYS = {"schema", "reeltag", "recipe", "seed", "pipeline", "data", "history", "files"}


def write_artefact(folder: Path, config: Mapping[str, Any], write_parts: Callable[[Path], None]) -> None:
    """Write an artefact.

    Args:
        folder: Where; an artefact that is there is replaced when the new one is complete.
        config: What goes into ``config.json`` besides schema, version and file list.
        write_parts: Called with a temporary folder to write everything else into.

    Raises:
        ArtefactError: There is something else at ``folder``.
    """
    check_destination(folder)
    with atomic_folder(folder) as temporary:
        write_parts(temporary)
        files = {
            str(path.relative_to(temporary)): _hash(path) for path in sorted(temporary.rglob("*")) if path.is_file()
        }
        data = {"schema": SCHEMA, "reeltag": reeltag.__version__, **config, "files": files}
        write_json(temporary / _CONFIG, data)


def check_destination(folder: Path) -> None:
    """Raise unless an artefact may be written to a folder: there is nothing yet, an empty folder, or an artefact.

    Raises:
        ArtefactError: There is something else, which would be lost, or the folder cannot be made.
    """
    check_replaceable(folder, _is_artefact, "a reeltag artefact")


def short_card(recipe: str, labels: LabelSpace) -> str:
    """Return the model card of a tagger that has not been given one."""
    return (
        f"# reeltag tagger: recipe `{recipe}`, {len(labels)} labels of `{labels.config.field}`\n\n"
        f"Labels: {', '.join(labels.labels)}\n"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check ``config.json`` and the files it lists.

    Raises:
        ArtefactError: The folder is no artefact, is of another schema, or a file is missing or changed.
    """
    path = folder / _CONFIG
    if not path.is_file():
        raise ArtefactError(f"{folder}: not a reeltag artefact ({_CONFIG} is missing)")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtefactError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise ArtefactError(f"{path}: schema {found!r} cannot be read; this version reads schema {SCHEMA}")
    if set(data) != _KEYS:
        wrong = ", ".join(sorted(set(data) ^ _KEYS))
        raise ArtefactError(f"{path}: unknown or missing entries: {wrong}")
    if not isinstance(data["files"], dict) or not set(data["files"]) >= _REQUIRED:
        raise ArtefactError(f"{path}: the list of files is damaged")
    if not isinstance(data["pipeline"], dict) or set(data["pipeline"]) - {"votes"} != {"absent", "encoders"}:
        raise ArtefactError(f"{path}: 'pipeline' must have the entries 'absent' and 'encoders'")
    for name, digest in data["files"].items():
        if not (folder / name).is_file():
            raise ArtefactError(f"{folder}: file {name!r} is missing; the artefact is incomplete")
        if name != "README.md" and _hash(folder / name) != digest:
            raise ArtefactError(f"{folder}: file {name!r} differs from what was written; the artefact is damaged")
    return data


@contextmanager
def opened(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the checked ``config.json``; what cannot be read within the block is named as a fault of the artefact.

    Raises:
        ArtefactError: As ``read_config``, or a file is absent that the list of files does not name.
    """
    data = read_config(folder)
    try:
        yield data
    except OSError as error:
        raise ArtefactError(f"{folder}: incomplete or unreadable ({error})") from None


def write_fitted_on(folder: Path, fitted_on: Mapping[str, list[str]]) -> None:
    """Write which titles each part was fitted on."""
    rows = [pl.DataFrame({"part": [part] * len(ids), "id": ids}, schema=_SCHEMA) for part, ids in fitted_on.items()]
    pl.concat(rows or [pl.DataFrame(schema=_SCHEMA)]).write_parquet(folder / _FITTED_ON)


def read_fitted_on(folder: Path) -> dict[str, list[str]]:
    """Read what ``write_fitted_on`` wrote."""
    frame = pl.read_parquet(folder / _FITTED_ON)
    groups = frame.group_by("part", maintain_order=True).agg("id")
    return dict(zip(groups["part"].to_list(), groups["id"].to_list(), strict=True))


_SCHEMA = {"part": pl.String, "id": pl.String}


def _is_artefact(folder: Path) -> bool:
    try:
        data = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and {"schema", "reeltag"} <= set(data)  # other tools write a config.json too


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
