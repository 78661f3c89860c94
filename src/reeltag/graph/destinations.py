"""Where a knowledge graph may be written: what stands at a path, and whether it is a graph that may be replaced."""

from __future__ import annotations

from pathlib import Path

from reeltag.catalogue.parquet import open_parquet
from reeltag.errors import ArtefactError, CatalogueError, GraphError, shown
from reeltag.files import check_replaceable
from reeltag.graph.triples import FOLDER_FILES, HEAD_FILE, PLACES, is_head_file

FORMATS = ("folder", "parquet", "tsv", "openke")
TEXT_SUFFIXES = (".tsv", ".txt")
FILE_NAMES = {"train": ("train",), "validation": ("valid", "validation", "dev"), "test": ("test",)}
_STEMS = tuple(names[0] for names in FILE_NAMES.values())
_WRITTEN = {  # what marks a folder as one that was written here, and all that was written into it
    HEAD_FILE: FOLDER_FILES,
    "entity2id.txt": ("entity2id.txt", "relation2id.txt", *(f"{stem}2id.txt" for stem in _STEMS)),
    "train.tsv": tuple(f"{stem}.tsv" for stem in _STEMS),
}
_LONGEST_HEADER = 1_000_000


def check_place(path: Path, format: str) -> None:
    """Raise unless a graph may be written to a path: before any work, and so that nothing else is lost.

    A folder is replaced when ``write_graph`` writes every file in it, a file when it has the columns of a graph.

    Raises:
        GraphError: There is no such format, the path does not fit it or cannot be made, or holds something else.
    """
    if format not in FORMATS:
        raise GraphError(f"the format of a knowledge graph must be one of {', '.join(FORMATS)}; got {shown(format)}")
    if format == "parquet" and path.suffix.lower() != ".parquet":
        raise GraphError(f"{path}: a graph of the format parquet needs a path that ends in .parquet")
    is_file = format == "parquet" or (format == "tsv" and path.suffix.lower() in TEXT_SUFFIXES)
    if is_file and path.is_dir():
        raise GraphError(f"{path}: is a folder, where a file should be written")
    if not is_file and path.exists() and not path.is_dir():
        raise GraphError(f"{path}: is a file, where a folder should be written")
    try:
        check_replaceable(path, _is_graph_file if is_file else _is_graph_folder, "a knowledge graph")
    except ArtefactError as error:
        raise GraphError(str(error)) from None


def _is_graph_folder(folder: Path) -> bool:
    """Return whether a folder is a graph as it is written here.

    Raises:
        GraphError: It holds something beside a graph.
    """
    mark = next((mark for mark in _WRITTEN if (folder / mark).is_file()), None)
    if mark is None or (mark == HEAD_FILE and not is_head_file(folder / mark)):
        return False
    for entry in sorted(folder.iterdir()):
        if entry.name not in _WRITTEN[mark] or not entry.is_file():
            raise GraphError(f"{folder}: holds {shown(entry.name)} beside a knowledge graph; choose another folder")
    return mark != "train.tsv" or all(len(_first_cells(entry)) == len(PLACES) for entry in folder.iterdir())


def _is_graph_file(path: Path) -> bool:
    """Return True for a file of triples as it is written here.

    Raises:
        GraphError: It is something else.
    """
    try:
        if path.suffix.lower() == ".parquet":
            with open_parquet(path) as file:
                columns = tuple(file.schema_arrow.names)
        else:
            columns = _first_cells(path)
    except CatalogueError:
        columns = ()
    if columns not in (PLACES, (*PLACES, "split")):
        raise GraphError(f"{path}: exists and is not a knowledge graph; choose another file")
    return True


def _first_cells(path: Path) -> tuple[str, ...]:
    """Return the cells of the first line of a tab-separated file, whatever else it holds."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST_HEADER)
    return tuple(line.decode(errors="replace").rstrip("\r\n").split("\t"))
