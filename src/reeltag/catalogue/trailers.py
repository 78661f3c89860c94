"""Where the trailers of a catalogue are: files that it names, or videos named by the id of their title.

Media libraries put the trailer of ``tt0113277.mp4`` beside it as ``tt0113277-trailer.mp4``; where both are there the
second is the trailer, and the first the film.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reeltag.catalogue.media import MediaFiles, is_file, paths_by_name
from reeltag.catalogue.values import tidy
from reeltag.errors import CatalogueError

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob", ".wmv", ".asf",
    ".flv", ".ogv", ".3gp", ".mxf",
)  # fmt: skip
_TRAILER = re.compile(r"[-._ ]trailer$", re.IGNORECASE)
_RULE = "give one folder, or video files, named by title id"


@dataclass(frozen=True, kw_only=True)
class TrailerFiles(MediaFiles):
    """Trailers as files."""

    medium: ClassVar[str] = "trailer"

    def path(self, title_id: str) -> Path:
        """Return where the trailer of a title is.

        Raises:
            CatalogueError: None is named for the title.
        """
        path = self.paths.get(title_id)
        if path is None:
            raise CatalogueError(f"{self.source}: no trailer is named for the title {title_id!r}")
        return path


def open_trailers(places: Sequence[Path]) -> TrailerFiles:
    """Open trailers given beside a catalogue: one folder of video files, or video files.

    Files are named by title id, or by title id and ``-trailer`` (``tt0113277-trailer.mkv``), which goes first. Of
    several trailers of one title, the first by name is taken.

    Raises:
        CatalogueError: A place does not exist, may not be read, is no video, or holds none.
    """
    if not places:
        raise CatalogueError(f"trailers: {_RULE}; got nothing")
    for place in places:
        if not (is_file(place) or place.is_dir()):
            raise CatalogueError(f"trailers: {place}: no such file or folder")
    files = list(places)
    if len(places) == 1 and places[0].is_dir():
        try:
            files = list(places[0].iterdir())
        except OSError as error:
            raise CatalogueError(f"trailers: {places[0]}: cannot be read ({error.strerror or error})") from None
        if not any(map(_is_video, files)):
            raise CatalogueError(f"trailers: {places[0]}: must hold video files ({', '.join(VIDEO_SUFFIXES)})")
    elif wrong := [place for place in places if not _is_video(place)]:
        raise CatalogueError(f"trailers: {wrong[0]}: {_RULE} ({', '.join(VIDEO_SUFFIXES)})")
    named = [path for path in files if _TRAILER.search(path.stem)]
    others = [path for path in files if not _TRAILER.search(path.stem)]
    paths = paths_by_name(others, VIDEO_SUFFIXES, tidy)
    paths |= paths_by_name(named, VIDEO_SUFFIXES, lambda stem: tidy(_TRAILER.sub("", stem)))
    return TrailerFiles(paths=paths, source=str(places[0]))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()
