"""Media of titles as files: named by a column of the catalogue, or by the id of the title in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.errors import Problem


@dataclass(frozen=True, kw_only=True)
class MediaFiles:
    """Files by title.

    Attributes:
        paths: From title id to path.
        source: The file or folder that names the paths, for messages.
    """

    medium: ClassVar[str]  # the field of the catalogue that they are

    paths: dict[str, Path] = field(default_factory=dict)
    source: str = ""

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which titles have a file that exists, shape (n_titles,)."""
        return np.fromiter((i in self.paths and is_file(self.paths[i]) for i in ids), np.bool_, len(ids))

    def problems(self) -> list[Problem]:
        """Return the files that are named and do not exist."""
        rule = f"the {self.medium} file must exist"
        return [
            Problem(
                file=self.source, row=None, field=self.medium, rule=f"{rule} (title {title_id})", value=repr(str(path))
            )
            for title_id, path in self.paths.items()
            if not is_file(path)
        ]


def paths_of_column(frame: pl.DataFrame, medium: str, beside: Path) -> dict[str, Path]:
    """Return the paths that a column names, by title id.

    Args:
        frame: Rows of a catalogue.
        medium: The column; there are no paths without one.
        beside: The file of the catalogue, which the paths are relative to.
    """
    if medium not in frame.columns:
        return {}
    named = frame.filter(pl.col(medium).is_not_null())
    return {title_id: beside.parent / path for title_id, path in named.select("id", medium).iter_rows()}


def paths_by_name(files: Iterable[Path], suffixes: Sequence[str], id_of: Callable[[str], str]) -> dict[str, Path]:
    """Return files by the title id in their name; of several files of one title, the first by name.

    Args:
        files: Any files; those with other suffixes are passed over.
        suffixes: In lower case, with the dot.
        id_of: From the name without the suffix to the id.
    """
    paths: dict[str, Path] = {}
    for path in sorted(files):
        if path.suffix.lower() in suffixes:
            paths.setdefault(id_of(path.stem), path)
    return paths


def is_file(path: Path) -> bool:
    """Return whether a file exists there; a path that the system cannot even look up is none."""
    try:
        return path.is_file()
    except OSError:
        return False
