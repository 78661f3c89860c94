"""The command line: every command parses, calls one library function and prints."""

from __future__ import annotations

import os

import typer

from reeltag.cli.add_label import add_label
from reeltag.cli.benchmark import benchmark
from reeltag.cli.check import check
from reeltag.cli.compare import compare
from reeltag.cli.demo import demo
from reeltag.cli.errors import Commands
from reeltag.cli.evaluate import evaluate
from reeltag.cli.explain import explain
from reeltag.cli.finetune import finetune
from reeltag.cli.graph import graph
from reeltag.cli.index import index
from reeltag.cli.map import map_titles
from reeltag.cli.ocr import ocr
from reeltag.cli.shots import shots
from reeltag.cli.similar import similar
from reeltag.cli.subgenres import subgenres
from reeltag.cli.suggest import simulate, suggest
from reeltag.cli.tag import tag
from reeltag.cli.train import train

app = typer.Typer(
    name="reeltag",
    cls=Commands,
    help="Learns the genres and tags of a film catalogue and says for each title which apply, how sure, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    demo,
    check,
    train,
    evaluate,
    compare,
    tag,
    explain,
    add_label,
    finetune,
    ocr,
    shots,
    similar,
    subgenres,
    index,
    suggest,
    simulate,
    benchmark,
):
    app.command()(command)
app.command("map")(map_titles)
app.add_typer(graph)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Learns the genres and tags of a film catalogue and says for each title which apply, how sure, and why."""
    if version:
        import reeltag

        typer.echo(reeltag.__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line.

    Threads of torch that wait for each other sleep rather than spin: on a machine with other work spinning makes
    training several times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    app()
