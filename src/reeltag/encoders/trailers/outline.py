"""The outlines of many files, several at a time: shots and state of each, or why it cannot be read; as a table."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from reeltag.catalogue.trailers import VIDEO_SUFFIXES
from reeltag.encoders.trailers.reader import ShotReader, TrailerOutline
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import MediaError
from reeltag.progress import Progress, silent

_COLUMNS = {
    "file": "text", "state": "text", "problem": "text", "duration_s": "real", "width": "whole", "height": "whole",
    "fps": "real", "size_bytes": "whole", "has_sound": "yes or no", "n_damaged": "whole", "n_shots": "whole",
    "shots": "spans",
}  # fmt: skip


def video_files(places: Sequence[Path]) -> list[Path]:
    """Return files and the video files of folders (not of folders in them), each once.

    A file is taken whatever its name, and whether it exists or not.

    Raises:
        MediaError: A folder may not be read, or holds no video files.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        try:
            files = sorted(path for path in place.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        except OSError as error:
            raise MediaError(f"{place}: cannot be read ({error.strerror or error})") from None
        if not files:
            raise MediaError(f"{place}: must hold video files ({', '.join(VIDEO_SUFFIXES)}); got none")
        found += files
    return list(dict.fromkeys(found))


def outline_of(path: Path, config: ShotConfig | None = None, halt: threading.Event | None = None) -> TrailerOutline:
    """Return the shots and the state of a file, holding none of its pictures.

    Args:
        path: The file.
        config: How it is cut into shots.
        halt: Once it is set, the reading ends.

    Raises:
        MissingExtraError: PyAV is not installed.
        MediaError: The file cannot be read, or the reading was halted.
    """
    reader = ShotReader(path, config, hold=False)
    for _ in reader:
        if halt is not None and halt.is_set():
            break
    if reader.outline is None:
        raise MediaError(f"{path}: must be read to its end; got halted")
    return reader.outline


def outlines_of(
    paths: Sequence[Path], config: ShotConfig | None = None, *, workers: int = 1, progress: Progress = silent
) -> dict[Path, TrailerOutline | MediaError]:
    """Return the outline of every file, or why there is none, in the order of the files.

    Args:
        paths: The files.
        config: How they are cut into shots.
        workers: Files read at a time, each by a thread of its own.
        progress: Called with the number of files done.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    done: dict[Path, TrailerOutline | MediaError] = {}
    halt = threading.Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="reeltag-shots") as pool:
        futures = {pool.submit(outline_of, path, config, halt): path for path in paths}
        try:
            progress("shots", 0, len(paths))
            for number, future in enumerate(as_completed(futures), 1):
                try:
                    done[futures[future]] = future.result()
                except MediaError as error:
                    done[futures[future]] = error
                progress("shots", number, len(paths))
        finally:  # after Ctrl-C or a failure, files that are being read are left at the next shot
            halt.set()
            pool.shutdown(cancel_futures=True)
    return {path: done[path] for path in paths}


def rows_of(found: Mapping[Path, TrailerOutline | MediaError]) -> list[dict[str, Any]]:
    """Return the outlines as plain rows, one per file; what is not known of a file that cannot be read is None."""
    return [_row(path, outline) for path, outline in found.items()]


def write_outlines(path: Path, found: Mapping[Path, TrailerOutline | MediaError]) -> Path:
    """Write the outlines as a table, ``.parquet``, ``.csv`` (shots as ``start-end|start-end``) or ``.jsonl``.

    Raises:
        ReeltagError: The suffix is none of the three.
    """
    import polars as pl

    from reeltag.predictions import write_frame

    span = pl.Struct({"start_s": pl.Float64, "end_s": pl.Float64})
    kinds: dict[str, Any] = {
        "text": pl.String,
        "real": pl.Float64,
        "whole": pl.Int64,
        "yes or no": pl.Boolean,
        "spans": pl.List(span),
    }
    schema = {name: kinds[kind] for name, kind in _COLUMNS.items()}
    return write_frame(pl.DataFrame(rows_of(found), schema=schema), path, flat=_flat)


def _flat(frame: Any) -> Any:
    """Return a table whose shots are text."""
    import polars as pl

    rows = frame["shots"].to_list()
    texts = [row and "|".join(f"{span['start_s']:.3f}-{span['end_s']:.3f}" for span in row) for row in rows]
    return frame.with_columns(pl.Series("shots", texts, pl.String))


def _row(path: Path, outline: TrailerOutline | MediaError) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"file": str(path)}
    if isinstance(outline, MediaError):
        return row | {"state": "cannot be read", "problem": str(outline)}
    return row | {
        "state": outline.ending,
        "duration_s": round(outline.duration_s, 3),
        "width": outline.width,
        "height": outline.height,
        "fps": round(outline.fps, 3),
        "size_bytes": outline.size_bytes,
        "has_sound": outline.has_sound,
        "n_damaged": outline.n_damaged,
        "n_shots": len(outline.shots),
        "shots": [{"start_s": round(start, 3), "end_s": round(end, 3)} for start, end in outline.shots],
    }
