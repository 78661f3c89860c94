"""How long work reports how far it is: a callable that gets the stage, the count done and the total."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Ignore a report of progress."""
