"""Printing: tables, numbers and progress, in one style."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reeltag.progress import Progress

_SHOWN_TRAILERS = 5


def console() -> Console:
    """Return a console on standard output that does not wrap tables when it is no terminal."""
    from rich.console import Console

    plain = Console(highlight=False, soft_wrap=False)
    return plain if plain.is_terminal else Console(highlight=False, width=140)


def say(text: str = "") -> None:
    """Print a line."""
    typer.echo(text)


def say_json(data: Any) -> None:
    """Print JSON, one document."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2))


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], left: Sequence[int] = (0,)) -> None:
    """Print a table.

    Args:
        title: Above the table.
        headers: Names of the columns.
        rows: Cells; printed with ``str``.
        left: Columns set flush left; the others are numbers.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(headers):
        drawn.add_column(header, justify="left" if number in left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    page = console()
    page.print(Text(title, style="bold"), soft_wrap=True)
    page.print(drawn)


def say_unreadable(trailers: Mapping[str, str]) -> None:
    """Print which trailers could not be read and why, by title; nothing when all could."""
    if trailers:
        shown = "; ".join(f"{title_id} ({reason})" for title_id, reason in list(trailers.items())[:_SHOWN_TRAILERS])
        more = f"; and {len(trailers) - _SHOWN_TRAILERS:,} more" if len(trailers) > _SHOWN_TRAILERS else ""
        what = "1 trailer" if len(trailers) == 1 else f"{len(trailers):,} trailers"
        say(f"{what} could not be read: {shown}{more}")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a progress callback that draws one bar per stage with its rate, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>9}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=False,
    )
    stages: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            bars.start()  # at the first report: without any, nothing is drawn, not even an empty line
            stages[stage] = bars.add_task(stage, total=total, rate="")
        speed = bars.tasks[stages[stage]].speed
        bars.update(stages[stage], completed=done, total=total, rate=f"{speed:,.0f}/s" if speed and speed >= 1 else "")

    try:
        yield report
    finally:
        if stages:
            bars.stop()


def beside(tagger: Path, split: str) -> Path:
    """Return the folder beside a tagger's that reports on a split go to."""
    folder = tagger if tagger.name not in ("", "..") else tagger.resolve()
    return folder.with_name(f"{folder.name}-{split}")


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f} %"


def figure(value: float | None) -> str:
    """Return a figure in [0, 1] with three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"
