"""The fields of a catalogue, and how the columns of a user's file map to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reeltag.errors import CatalogueError, shown

# "aligned" and "ids" lists keep their nulls and repeats, because they stand beside each other item by item
Kind = Literal["id", "text", "integer", "list", "aligned", "ids", "split", "image", "video"]

# field -> (kind, other column names that are taken for it when the field's own name is absent)
FIELDS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "id": ("id", ("imdb_id", "tconst", "film_id", "movie_id", "title_id", "tmdb_id")),
    "title": ("text", ("name", "primaryTitle")),
    "year": ("integer", ("release_year", "startYear")),
    "plot": ("text", ("overview", "synopsis", "description", "summary")),
    "outline": ("text", ("plot outline", "plot_outline", "tagline")),
    "directors": ("list", ("director",)),
    "director_ids": ("ids", ()),
    "cast": ("list", ("actors", "stars")),
    "cast_ids": ("ids", ()),
    "genres": ("list", ("genre",)),
    "tags": ("list", ()),
    "keywords": ("list", ()),
    "split": ("split", ()),
    "poster": ("image", ("image", "poster_path")),
    "trailer": ("video", ("trailer_path", "trailer_file", "video_path")),  # TMDB's own column ``video`` is no path
}
PEOPLE_FIELDS = {"directors": "director_ids", "cast": "cast_ids"}
SPLITS = ("train", "validation", "test", "background")
SPLIT_ALIASES = {"val": "validation", "dev": "validation", "valid": "validation", "training": "train"}


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """Which column of a file feeds which catalogue field.

    Attributes:
        columns: From catalogue field to column name, for example ``{"plot": "synopsis_en"}``. Fields that are not
            named here are found by their own name or a usual other name (``FIELDS``).
        label_fields: Further list columns to keep under their own names, for house taxonomies.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    label_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.label_fields:
            if self.kind(name) != "list":
                raise CatalogueError(
                    f"column mapping: label field {name!r} must hold lists; it is of kind {self.kind(name)!r}"
                )
        for name in self.columns:
            if name not in FIELDS and name not in self.label_fields:
                raise CatalogueError(
                    f"column mapping: unknown field {name!r}; fields: {', '.join((*FIELDS, *self.label_fields))}"
                )

    @classmethod
    def parse(cls, pairs: Sequence[str], label_fields: tuple[str, ...] = ()) -> ColumnMapping:
        """Read ``field=column`` pairs, or the path of a JSON file that holds an object of them; later ones win.

        Raises:
            CatalogueError: A pair has no ``=``, or the file cannot be read or is not an object of strings.
        """
        columns: dict[str, str] = {}
        for pair in pairs:
            name, equals, column = pair.partition("=")
            if equals:
                columns[name.strip()] = column.strip()
            else:
                columns.update(_read_mapping(Path(pair)))
        return cls(columns=columns, label_fields=label_fields)

    def kind(self, name: str) -> Kind:
        """Return the kind of a field; label fields are lists."""
        return FIELDS[name][0] if name in FIELDS else "list"

    def resolve(self, available: Sequence[str], file: str) -> dict[str, str]:
        """Return ``{field: column}`` for the columns that a file has.

        Raises:
            CatalogueError: The id has no column, a column named by the user does not exist, a column that is needed
                stands there twice, or people have ids but no names.
        """
        found: dict[str, str] = {}
        for name in (*FIELDS, *(label for label in self.label_fields if label not in FIELDS)):
            asked = self.columns.get(name)
            if asked is not None and asked not in available:
                raise CatalogueError(
                    f"{file}: column {asked!r}, asked for as field '{name}', does not exist; "
                    f"columns: {', '.join(available)}"
                )
            candidates = (asked,) if asked else (name, *(FIELDS[name][1] if name in FIELDS else ()))
            column = next((candidate for candidate in candidates if candidate in available), None)
            if column is not None:
                found[name] = column
        if "id" not in found:
            raise CatalogueError(
                f"{file}: no column holds the id of a title; columns: {', '.join(available) or 'none'}",
                hint="name it with --map id=COLUMN",
            )
        absent = [label for label in self.label_fields if label not in found]
        if absent:
            raise CatalogueError(f"{file}: label column {absent[0]!r} does not exist; columns: {', '.join(available)}")
        _check_columns(found, available, file)
        return found


def _check_columns(found: dict[str, str], available: Sequence[str], file: str) -> None:
    for column in found.values():
        if available.count(column) > 1:
            raise CatalogueError(
                f"{file}: column {column!r} must stand there once; got {available.count(column)} of it"
            )
    for names, ids in PEOPLE_FIELDS.items():
        if ids in found and names not in found:
            raise CatalogueError(
                f"{file}: field '{ids}' needs the names of the people in field '{names}', which has no column",
                hint=f"name it with --map {names}=COLUMN; {names}={found[ids]} takes the ids as names",
            )


def _read_mapping(path: Path) -> dict[str, str]:
    try:
        if not path.is_file():
            raise CatalogueError(f"column mapping: expected FIELD=COLUMN or the path of a JSON file; got {str(path)!r}")
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CatalogueError(f"column mapping {path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"column mapping {path}: not valid JSON ({error})") from None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise CatalogueError(f"column mapping {path}: must be an object from field to column name; got {shown(data)}")
    return data
