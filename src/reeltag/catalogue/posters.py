"""Where the posters of a catalogue are: files, a folder named by id, or images embedded in Parquet tables.

Only the places are held; the bytes are read when an encoder or an audit asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reeltag.catalogue.fields import FIELDS
from reeltag.catalogue.media import MediaFiles, is_file, paths_by_name
from reeltag.catalogue.parquet import DAMAGE, embeds_images, first_line, open_parquet
from reeltag.catalogue.values import tidy
from reeltag.errors import CatalogueError, Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_READ_ROWS = 256


class Posters(Protocol):
    """A place to read posters from."""

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which titles have a poster, shape (n_titles,)."""

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the encoded image of every title that has one, in storage order.

        The bytes are as they were found: a broken or empty image is for the reader to notice.
        """

    def problems(self) -> list[Problem]:
        """Return what the catalogue promises and the disk does not hold."""


@dataclass(frozen=True, kw_only=True)
class PosterFiles(MediaFiles):
    """Posters as files."""

    medium: ClassVar[str] = "poster"

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the bytes of every poster file that exists, in the order of the ids.

        Raises:
            CatalogueError: A file exists and may not be read.
        """
        for title_id in ids:
            path = self.paths.get(title_id)
            if path is None or not is_file(path):
                continue
            try:
                content = path.read_bytes()
            except OSError as error:
                raise CatalogueError(f"{path}: the poster cannot be read ({error.strerror or error})") from None
            yield title_id, content


@dataclass(frozen=True, kw_only=True)
class PosterTables:
    """Posters embedded in Parquet files: an id column and an image column (a struct with ``bytes``, or binary).

    Attributes:
        rows: From title id to (number of the file, number of the row), for the rows whose bytes are not null.
        files: The Parquet files.
        image_columns: The image column of each file.
    """

    rows: dict[str, tuple[int, int]]
    files: tuple[Path, ...]
    image_columns: tuple[str, ...]

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which titles have an embedded poster, shape (n_titles,)."""
        return np.fromiter((i in self.rows for i in ids), np.bool_, len(ids))

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the embedded bytes of every title that has some, file by file.

        Raises:
            CatalogueError: A file is damaged.
        """
        wanted: dict[int, dict[int, str]] = {}
        for title_id in ids:
            if title_id in self.rows:
                number, row = self.rows[title_id]
                wanted.setdefault(number, {})[row] = title_id
        for number, by_row in sorted(wanted.items()):
            row = 0
            for images in _image_batches(self.files[number], self.image_columns[number]):
                for hit in range(row, row + len(images)):
                    if hit in by_row:
                        yield by_row[hit], images[hit - row].as_py()
                row += len(images)

    def problems(self) -> list[Problem]:
        """Return nothing: rows without bytes are absent posters, not broken promises."""
        return []


def poster_tables(files: Iterable[Path], id_column: str | None = None, image_column: str | None = None) -> PosterTables:
    """Index the posters embedded in Parquet files, keeping none of the images.

    An id that comes again keeps its first poster; a row whose bytes are null is no poster.

    Args:
        files: Parquet files with an id column and an image column.
        id_column: Name of the id column; a usual one when None.
        image_column: Name of the image column; a usual one when None.

    Raises:
        CatalogueError: A file cannot be read, lacks one of the columns, or has no images in the image column.
    """
    rows: dict[str, tuple[int, int]] = {}
    paths, image_columns = tuple(files), []
    for number, path in enumerate(paths):
        with open_parquet(path) as file:
            available = {column.name: column.type for column in file.schema_arrow}
            ids = _column(path, available, id_column, "id")
            images = _column(path, available, image_column, "poster")
            _check_images(path, images, available[images])
            image_columns.append(images)
            for row, (title_id, has_image) in enumerate(_ids_with_images(file, path, ids, images)):
                if title_id and has_image:
                    rows.setdefault(title_id, (number, row))
    return PosterTables(rows=rows, files=paths, image_columns=tuple(image_columns))


def poster_folder(folder: Path) -> PosterFiles:
    """Find the posters of a folder whose image files are named by title id (``tt0113277.jpg``).

    Of several images of one title, the first by name is taken.
    """
    return PosterFiles(paths=paths_by_name(folder.iterdir(), IMAGE_SUFFIXES, tidy), source=str(folder))


def open_posters(places: Sequence[Path]) -> PosterFiles | PosterTables:
    """Open posters given beside a catalogue: one folder of image files or Parquet files, or Parquet files.

    Raises:
        CatalogueError: A place does not exist or may not be read, or folders, images and tables are mixed.
    """
    if not places:
        raise CatalogueError("posters: give one folder, or Parquet files with an id and an image column; got nothing")
    for place in places:
        if not (is_file(place) or place.is_dir()):
            raise CatalogueError(f"posters: {place}: no such file or folder")
    if len(places) != 1 or not places[0].is_dir():
        wrong = [place for place in places if place.is_dir() or place.suffix.lower() != ".parquet"]
        if wrong:
            raise CatalogueError(
                f"posters: {wrong[0]}: give one folder, or Parquet files with an id and an image column"
            )
        return poster_tables(places)
    try:
        tables = sorted(path for path in places[0].iterdir() if path.suffix.lower() == ".parquet")
        images = poster_folder(places[0])
    except OSError as error:
        raise CatalogueError(f"posters: {places[0]}: cannot be read ({error.strerror or error})") from None
    if bool(tables) == bool(images.paths):
        got = "both" if tables else "neither"
        raise CatalogueError(f"posters: {places[0]}: must hold image files or Parquet files; got {got}")
    return poster_tables(tables) if tables else images


def _column(path: Path, available: dict[str, Any], asked: str | None, field_name: str) -> str:
    candidates = (asked,) if asked else (field_name, *FIELDS[field_name][1])
    column = next((candidate for candidate in candidates if candidate in available), None)
    if column is None:
        names = ", ".join(available)
        raise CatalogueError(f"{path}: no column holds the {field_name} of a poster table; columns: {names}")
    return column


def _check_images(path: Path, column: str, arrow_type: Any) -> None:
    inner = arrow_type
    if pa.types.is_struct(arrow_type):
        inner = next((arrow_type.field(i).type for i in range(len(arrow_type)) if arrow_type[i].name == "bytes"), None)
    if inner is None or not (embeds_images(inner) or pa.types.is_null(inner)) or pa.types.is_struct(inner):
        raise CatalogueError(f"{path}: column '{column}' must hold bytes, or structs with bytes; got {arrow_type}")


def _ids_with_images(file: Any, path: Path, ids: str, images: str) -> Iterator[tuple[str, bool]]:
    """Yield the id of every row and whether its image is not null.

    The images are read for that, some at a time: statistics would say it sooner, but to ask for those of a damaged file
    can abort the process.
    """
    try:
        names = file.read(columns=[ids])[ids].cast(pa.large_string()).to_pylist()
    except DAMAGE as error:
        raise CatalogueError(f"{path}: damaged, or its ids are no texts ({first_line(error)})") from None
    has_image = [valid for batch in _image_batches(path, images) for valid in batch.is_valid().to_pylist()]
    if len(has_image) != len(names):
        raise CatalogueError(f"{path}: damaged ({len(names):,} ids and {len(has_image):,} images)")
    for name, has in zip(names, has_image, strict=True):
        yield tidy(name or ""), has


def _image_batches(path: Path, column: str) -> Iterator[Any]:
    """Yield the image bytes of a Parquet file as Arrow arrays."""
    with open_parquet(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_READ_ROWS, columns=[column]):
                images = batch.column(column)
                yield pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
        except DAMAGE as error:
            raise CatalogueError(f"{path}: damaged ({first_line(error)})") from None
