"""``reeltag shots``: where the shots of video files begin and end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import AsJson
from reeltag.cli.show import progress_bar, say, say_json

if TYPE_CHECKING:
    from reeltag.encoders.trailers.reader import TrailerOutline
    from reeltag.errors import MediaError


def shots(
    videos: Annotated[list[Path], typer.Argument(help="Video files, or folders of video files.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, .csv or .jsonl, one row per file.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(help="Files read at a time.", min=1, max=64)] = 2,
    max_s: Annotated[float, typer.Option(help="Seconds of a file that are read; 0 for all.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Find the shots of video files, without any model: when each begins and ends, and whether the file is whole."""
    from reeltag.encoders.trailers.outline import outlines_of, rows_of, video_files, write_outlines
    from reeltag.encoders.trailers.shots import ShotConfig
    from reeltag.errors import MediaError
    from reeltag.predictions import check_suffix

    config = ShotConfig(max_s=max_s)
    if out is not None:
        check_suffix(out)
    paths = video_files(videos)
    with progress_bar() as progress:
        found = outlines_of(paths, config, workers=workers, progress=progress)
    if out is not None:
        write_outlines(out, found)
    if as_json:
        say_json(rows_of(found))
    else:
        show_outlines(found)
        if out is not None:
            say(f"written to {out}")
    problems = [str(outline) for outline in found.values() if isinstance(outline, MediaError)]
    if problems:
        raise MediaError("\n".join(problems))


def show_outlines(found: Mapping[Path, TrailerOutline | MediaError]) -> None:
    """Print a line per file that could be read, and one that sums them up."""
    from reeltag.errors import MediaError

    read: dict[Path, Any] = {path: one for path, one in found.items() if not isinstance(one, MediaError)}
    for path, outline in read.items():
        sound = "sound" if outline.has_sound else "no sound"
        size = f"{outline.width} x {outline.height}"
        say(f"{path}: {shots_in(len(outline.shots))}, {outline.duration_s:.1f} s, {size}, {sound}, {outline.state}")
    n_shots = sum(len(outline.shots) for outline in read.values())
    told = f"{len(found):,} {'file' if len(found) == 1 else 'files'}: {shots_in(n_shots)}"
    unread = len(found) - len(read)
    say(told + (f"; {unread:,} cannot be read" if unread else ""))


def shots_in(count: int) -> str:
    """Return a number of shots in words."""
    return f"{count:,} {'shot' if count == 1 else 'shots'}"
