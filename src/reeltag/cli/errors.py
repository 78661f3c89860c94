"""A user's mistake is one sentence on standard error and exit code 2; Ctrl-C says what is kept."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The commands, with errors told in one sentence and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        from reeltag.errors import ReeltagError

        try:
            return super().invoke(ctx)
        except ReeltagError as error:
            _say(f"reeltag: {error}")
            raise typer.Exit(2) from None
        except BrokenPipeError:
            raise  # the reader of the output has gone; typer ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _say(f"reeltag: {place}{error.strerror or error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            _say("\nreeltag: interrupted; finished parts are kept, run the same command again to go on")
            raise typer.Exit(130) from None


def _say(text: str) -> None:
    typer.echo(text, err=True)
