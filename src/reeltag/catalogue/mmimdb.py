"""The MM-IMDb folder: one JSON and one JPEG per title, and ``split.json`` (Arevalo et al. 2017, arXiv 1702.01992).

mmimdb/
  split.json               {"train": ["0120737", …], "dev": […], "test": […]}
  dataset/0120737.json     plot (list of texts), plot outline, title, year, genres, director, cast, …
  dataset/0120737.jpeg
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reeltag.catalogue import chunks
from reeltag.catalogue.chunks import Chunk
from reeltag.catalogue.fields import SPLIT_ALIASES
from reeltag.catalogue.posters import PosterFiles, poster_folder
from reeltag.catalogue.values import shown_value
from reeltag.errors import CatalogueError, Problem, shown

_PEOPLE = {"directors": ("director", "directors"), "cast": ("cast", "actors")}
_COLUMNS = ("id", "title", "year", "plot", "outline", "genres", "directors", "cast", "split")


def is_mmimdb(folder: Path) -> bool:
    """Return whether a folder looks like MM-IMDb: a ``split.json``, or JSON files."""
    return folder.is_dir() and (
        (folder / "split.json").is_file() or next(_titles_folder(folder).glob("*.json"), None) is not None
    )


def read_mmimdb(folder: Path) -> Iterator[Chunk]:
    """Read the titles of an MM-IMDb folder in order of their ids.

    Yields:
        Chunks whose columns are catalogue fields; a file that does not parse is a problem, so is a title that
        ``split.json`` names and that has no file.

    Raises:
        CatalogueError: ``split.json`` is damaged or puts a title into two splits.
    """
    splits = _read_splits(folder / "split.json")
    files = [path for path in sorted(_titles_folder(folder).glob("*.json")) if path.name != "split.json"]
    missing = sorted(set(splits) - {path.stem for path in files})
    problems = [
        Problem(
            file=str(folder / "split.json"), row=None, field="id", rule="a title must have its file", value=title_id
        )
        for title_id in missing
    ]
    for start in range(0, max(len(files), 1), chunks.CHUNK_ROWS):
        some = files[start : start + chunks.CHUNK_ROWS]
        titles = [_read_title(path, problems) for path in some]
        rows = [
            None if title is None else title | {"id": path.stem, "split": splits.get(path.stem)}
            for path, title in zip(some, titles, strict=True)
        ]
        yield Chunk(
            columns={name: [(row or {}).get(name) for row in rows] for name in _COLUMNS},
            first_row=start + 1,
            n_rows=len(rows),
            problems=tuple(problems),
            blank=[row is None for row in rows],
            files=tuple(map(str, some)),
        )
        problems = []


def mmimdb_posters(folder: Path) -> PosterFiles:
    """Return the posters that lie beside the JSON files."""
    return poster_folder(_titles_folder(folder))


def _titles_folder(folder: Path) -> Path:
    return folder / "dataset" if (folder / "dataset").is_dir() else folder


def _read_splits(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    data, fault = _json(path)
    if fault:
        raise CatalogueError(f"{path}: {fault}")
    if not isinstance(data, dict) or not all(isinstance(ids, list) for ids in data.values()):
        raise CatalogueError(f"{path}: must be an object from split name to a list of ids; got {shown_value(data)}")
    splits: dict[str, str] = {}
    for name, ids in data.items():
        split = SPLIT_ALIASES.get(str(name), str(name))
        for title_id in map(str, ids):
            if splits.setdefault(title_id, split) != split:
                raise CatalogueError(
                    f"{path}: title {title_id} must be in one split; got {splits[title_id]} and {split}"
                )
    return splits


def _json(path: Path) -> tuple[Any, str]:
    """Return the content of a JSON file, and why it cannot be read ("" when it can)."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig")), ""
    except (ValueError, RecursionError) as error:
        return None, f"must be valid JSON ({error})"
    except OSError as error:
        return None, f"must be readable ({error.strerror or error})"


def _read_title(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    data, fault = _json(path)
    if fault:
        problems.append(Problem(file=str(path), row=None, field=None, rule=fault, value=_start(path)))
        return None
    if not isinstance(data, dict):
        value = shown_value(data)
        problems.append(Problem(file=str(path), row=None, field=None, rule="must be one JSON object", value=value))
        return None
    row: dict[str, Any] = {name: data.get(name) for name in ("title", "year", "genres")}
    row["plot"] = _longest(data.get("plot"))
    row["outline"] = _longest(data.get("plot outline"))
    for name, keys in _PEOPLE.items():
        people = next((data[key] for key in keys if data.get(key)), None)
        row[name] = [_person(person) for person in people] if isinstance(people, list) else people
    return row


def _start(path: Path) -> str:
    """Return how a broken file begins."""
    try:
        with path.open("rb") as file:
            return shown(file.read(80))
    except OSError:
        return "nothing"


def _longest(text: Any) -> Any:
    """MM-IMDb keeps several plots of a title; the longest is used, as its authors do."""
    if isinstance(text, list) and all(isinstance(one, str) for one in text):
        return max(text, key=len, default=None)
    return text


def _person(person: Any) -> Any:
    """Return the name of a person, written as text or as an object."""
    if isinstance(person, dict):
        return next((person[key] for key in ("name", "canonical name", "long imdb name") if person.get(key)), None)
    return person
