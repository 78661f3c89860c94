"""``reeltag compare``: are two runs on the same titles truly different?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reeltag.cli.evaluate import show_comparison
from reeltag.cli.options import AsJson, CataloguePath, Maps, Separator, read_catalogue
from reeltag.cli.show import say_json

_Run = Annotated[Path, typer.Argument(help="predictions.parquet of a run.", show_default=False)]


def compare(
    first: _Run,
    second: _Run,
    catalogue: CataloguePath,
    labels: Annotated[str, typer.Option(help="List field that holds the true labels.")] = "genres",
    maps: Maps = None,
    separator: Separator = "|",
    as_json: AsJson = False,
) -> None:
    """Test whether two runs differ: paired bootstrap on F1, McNemar per label."""
    from reeltag.comparison import compare_on
    from reeltag.predictions import Predictions

    runs = Predictions.read(first), Predictions.read(second)
    films = read_catalogue(catalogue, maps=maps, separator=separator, label_field=labels)
    comparison = compare_on(films, labels, *runs, names=(str(first), str(second)))
    if as_json:
        say_json(asdict(comparison))
    else:
        show_comparison(comparison)
