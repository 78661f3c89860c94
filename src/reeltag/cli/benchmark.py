"""``reeltag benchmark``: rerun a table or figure of the IDKG paper on a catalogue."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import (
    AsJson,
    CachePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    read_catalogue,
)
from reeltag.cli.show import progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.benchmark import BenchmarkConfig, BenchmarkReport


def benchmark(
    recipe: Annotated[
        str | None, typer.Argument(help="A table or figure, such as idkg-table2; --list names all.", show_default=False)
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Argument(
            help="Catalogue: .parquet, .csv, .tsv or .jsonl file, or an MM-IMDb folder.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for reports and runs; several benchmarks may share it.")] = Path(
        "runs/benchmark"
    ),
    protocol: Annotated[
        str,
        typer.Option(help="clean, or published: test titles leak as in the authors' code, to show what that is worth."),
    ] = "clean",
    seeds: Annotated[int, typer.Option(help="Trainings per entry.")] = 3,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated entries to run (default: all).", show_default=False)
    ] = None,
    labels: Annotated[str, typer.Option(help="List field that holds the labels.")] = "genres",
    exclude: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated labels to leave out (default for genres: those that MM-IMDb leaves out: News, "
            "Talk-Show, Game-Show, Reality-TV, Adult).",
            show_default=False,
        ),
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: plot, title, year, credits, poster (default: all of them).", show_default=False
        ),
    ] = None,
    plot_encoder: Annotated[
        list[str] | None, typer.Option(help="As for train. Repeatable.", show_default=False)
    ] = None,
    poster_encoder: Annotated[
        list[str] | None, typer.Option(help="As for train. Repeatable.", show_default=False)
    ] = None,
    joint_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="blip:MODEL or bridgetower:MODEL, for the rows BLIP and BridgeTower. Repeatable.", show_default=False
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of every model that has it (training.epochs=5), or of labels., features., splits., "
            "bootstrap. or graph. (graph.training.epochs=5).",
            show_default=False,
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List benchmarks and their entries, and exit.")] = False,
    maps: Maps = None,
    posters: PosterPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Rerun a table or figure of the IDKG paper on a catalogue, beside the published figures."""
    from reeltag.benchmark import benchmark as benchmark_named
    from reeltag.benchmark import run_benchmark
    from reeltag.errors import ConfigError

    if list_all:
        _list(as_json)
        return
    if recipe is None or catalogue is None:
        raise ConfigError("benchmark needs a recipe and a catalogue; reeltag benchmark --list names the recipes")
    chosen = benchmark_named(recipe)
    encoders = {"plot": plot_encoder, "poster": poster_encoder, "joint": joint_encoder}
    config = _config(
        {"protocol": protocol, "n_seeds": seeds, "only": _words(only)},
        labels={"field": labels, "exclude": _excluded(labels, exclude)},
        modalities=_words(modalities),
        encoders={modality: specs for modality, specs in encoders.items() if specs},
        settings=settings or [],
    )
    chosen.select(config.only)
    films = read_catalogue(
        catalogue, maps=maps, posters=posters, separator=separator, skip_bad=skip_bad, label_field=labels
    )
    command = shlex.join(["reeltag", *sys.argv[1:]])
    with progress_bar() as progress:
        report = run_benchmark(chosen, films, out, config, command=command, cache=cache, progress=progress)
    if as_json:
        say_json(report.to_json())
    else:
        _show(report, out)


def _config(
    chosen: dict[str, Any],
    *,
    labels: dict[str, Any],
    modalities: list[str],
    encoders: dict[str, list[str]],
    settings: list[str],
) -> BenchmarkConfig:
    from reeltag.benchmark import BenchmarkConfig, changed
    from reeltag.config import from_json, to_json

    features: dict[str, Any] = to_json(BenchmarkConfig())["features"]
    if modalities:
        features["modalities"] = modalities
    if "joint" in encoders and "joint" not in features["modalities"]:
        features["modalities"] = [*features["modalities"], "joint"]
    features |= {f"{modality}_encoders": specs for modality, specs in encoders.items()}
    return changed(from_json(BenchmarkConfig, {**chosen, "labels": labels, "features": features}), settings)


def _excluded(labels: str, exclude: str | None) -> list[str]:
    from reeltag.benchmark import NOT_IN_MMIMDB

    if exclude is None:
        return list(NOT_IN_MMIMDB) if labels == "genres" else []
    return _words(exclude)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _list(as_json: bool) -> None:
    from reeltag.benchmark import BENCHMARKS

    found = [
        {"name": b.name, "source": b.source, "title": b.title, "entries": [entry.label for entry in b.entries]}
        for b in BENCHMARKS.values()
    ]
    if as_json:
        say_json(found)
        return
    rows = [[b["name"], b["source"], b["title"], ", ".join(b["entries"])] for b in found]
    table("Benchmarks", ["recipe", "of the paper", "what", "entries"], rows, left=(0, 1, 2, 3))


def _show(report: BenchmarkReport, out: Path) -> None:
    from reeltag.benchmark import short_tables

    titles = ", ".join(f"{name} {n:,}" for name, n in report.titles.items())
    say(f"{report.benchmark.title} ({report.benchmark.source}), protocol {report.config.protocol}; titles: {titles}")
    for title, header, rows in short_tables(report):
        table(title, header, rows)
    for row in report.rows:
        if row.why_not:
            say(f"{row.entry.label}: {row.why_not}")
    for note in report.notes:
        say(f"note: {note}")
    say(f"runs trained now: {report.n_trained:,}")
    for kind, name in report.files.items():
        say(f"{kind}: {out / name}")
