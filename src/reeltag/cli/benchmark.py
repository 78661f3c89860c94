"""``reeltag benchmark``: rerun a table or figure of a paper on a catalogue."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
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
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.benchmark import Benchmark, BenchmarkConfig, BenchmarkReport, RetrievalConfig
    from reeltag.catalogue import Catalogue


def benchmark(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A table or figure, such as idkg-table2 or trailer-table; --list names all.", show_default=False
        ),
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
    against: Annotated[
        str | None,
        typer.Option(help="Entry that all others are tested against (default: as --list says).", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="List field that holds the labels (default: genres; tags for xmlc-…).", show_default=False),
    ] = None,
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
            help="Comma-separated: plot, title, year, credits, poster, poster_text, image, scene, motion, audio "
            "(default: by benchmark).",
            show_default=False,
        ),
    ] = None,
    plot_encoder: Annotated[
        list[str] | None, typer.Option(help="As for train. Repeatable.", show_default=False)
    ] = None,
    poster_encoder: Annotated[
        list[str] | None, typer.Option(help="As for train. Repeatable.", show_default=False)
    ] = None,
    poster_text_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="How the words on posters are read: as --plot-encoder, but not tfidf. Repeatable.", show_default=False
        ),
    ] = None,
    ocr_engine: Annotated[
        str | None,
        typer.Option(
            help="What finds the words on posters: rapidocr (default), tesserocr or vision:MODEL.", show_default=False
        ),
    ] = None,
    joint_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="blip:MODEL or bridgetower:MODEL, for the rows BLIP and BridgeTower. Repeatable.", show_default=False
        ),
    ] = None,
    image_encoder: Annotated[
        list[str] | None,
        typer.Option(help="Of trailers, as for train. Repeatable; adds the modality image.", show_default=False),
    ] = None,
    scene_encoder: Annotated[
        list[str] | None,
        typer.Option(help="Of trailers, as for train. Repeatable; adds the modality scene.", show_default=False),
    ] = None,
    motion_encoder: Annotated[
        list[str] | None,
        typer.Option(help="Of trailers, as for train. Repeatable; adds the modality motion.", show_default=False),
    ] = None,
    audio_encoder: Annotated[
        list[str] | None,
        typer.Option(help="Of trailers, as for train. Repeatable; adds the modality audio.", show_default=False),
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
    no_variants: Annotated[
        bool,
        typer.Option(
            "--no-variants",
            help="Do not read the test titles again with smaller posters, another OCR engine, no words or no image.",
        ),
    ] = False,
    train_on_background: Annotated[
        bool,
        typer.Option(
            "--train-on-background",
            help="Train on background titles with known labels too (protocol clean). The credits graph stays as it is.",
        ),
    ] = False,
    needs: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated texts that every training title must have: plot (or outline), title.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            help="For retrieval-table: comma-separated list fields whose shared words count; nothing may have learned "
            "them (default: tags,keywords).",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="For retrieval-table: whose titles ask for neighbours, test or validation (default: test).",
            show_default=False,
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List benchmarks and their entries, and exit.")] = False,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Rerun a table or figure of a paper on a catalogue, beside the published figures."""
    from reeltag.benchmark import RETRIEVAL_BENCHMARKS, run_benchmark
    from reeltag.benchmark import benchmark as benchmark_named
    from reeltag.errors import ConfigError

    if list_all:
        _list(as_json)
        return
    if recipe is None or catalogue is None:
        raise ConfigError("benchmark needs a recipe and a catalogue; reeltag benchmark --list names the recipes")
    chosen = benchmark_named(recipe)
    encoders = {"plot": plot_encoder, "poster": poster_encoder, "poster_text": poster_text_encoder,
                "joint": joint_encoder, "image": image_encoder, "scene": scene_encoder, "motion": motion_encoder,
                "audio": audio_encoder}  # fmt: skip
    config = _config(
        chosen,
        {
            "protocol": protocol,
            "n_seeds": seeds,
            "only": _words(only),
            "variants": not no_variants,
            **({"train_on_background": True} if train_on_background else {}),
            **({"needs": _words(needs)} if needs is not None else {}),
        },
        labels=labels,
        exclude=exclude,
        modalities=_words(modalities),
        features={
            **({"ocr_engine": ocr_engine} if ocr_engine else {}),
            **{f"{modality}_encoders": specs for modality, specs in encoders.items() if specs},
        },
        settings=settings or [],
    )
    chosen = chosen.reading(config.features.modalities)
    chosen.select(config.only)
    measure = _measure(words, split, against) if chosen.name in RETRIEVAL_BENCHMARKS else None
    if measure is None and (words is not None or split is not None):
        raise ConfigError(f"--words and --split are for retrieval-table; got {chosen.name}")
    if against is not None:
        (reference,) = chosen.select([against])
        chosen = replace(chosen, reference=reference.label)
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=config.labels.field,
    )
    command = shlex.join(["reeltag", *sys.argv[1:]])
    if measure is not None:
        _neighbours(films, out, config, measure, command=command, cache=cache, as_json=as_json)
        return
    with progress_bar() as progress:
        report = run_benchmark(chosen, films, out, config, command=command, cache=cache, progress=progress)
    if as_json:
        say_json(report.to_json())
    else:
        _show(report, out)


def _config(
    recipe: Benchmark,
    chosen: dict[str, Any],
    *,
    labels: str | None,
    exclude: str | None,
    modalities: list[str],
    features: dict[str, Any],
    settings: list[str],
) -> BenchmarkConfig:
    from reeltag.benchmark import BenchmarkConfig, changed, default_config
    from reeltag.config import from_json, to_json
    from reeltag.encoders.trailers.contract import SHOT_MODALITIES

    whole: dict[str, Any] = to_json(default_config(recipe))
    read = whole["features"]
    if modalities:
        read["modalities"] = modalities
    for name in ("joint", *SHOT_MODALITIES):
        if f"{name}_encoders" in features and name not in read["modalities"]:
            read["modalities"] = [*read["modalities"], name]
    read |= features
    if labels is not None:
        whole["labels"]["field"] = labels
    whole["labels"]["exclude"] = _excluded(whole["labels"]["field"], exclude)
    return changed(from_json(BenchmarkConfig, {**whole, **chosen}), settings)


def _excluded(field: str, exclude: str | None) -> list[str]:
    from reeltag.benchmark import NOT_IN_MMIMDB

    if exclude is None:
        return list(NOT_IN_MMIMDB) if field == "genres" else []
    return _words(exclude)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _measure(words: str | None, split: str | None, against: str | None) -> RetrievalConfig:
    from reeltag.benchmark import RetrievalConfig
    from reeltag.errors import ConfigError

    if against is not None:
        raise ConfigError(
            "retrieval-table tests every space against the raw text and the coarse one; give no --against"
        )
    default = RetrievalConfig()
    return RetrievalConfig(
        words=default.words if words is None else tuple(_words(words)), split=default.split if split is None else split
    )


def _neighbours(
    films: Catalogue,
    out: Path,
    config: BenchmarkConfig,
    measure: RetrievalConfig,
    *,
    command: str,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Run ``retrieval-table`` and print its report."""
    from reeltag.benchmark import RetrievalRun, retrieval_tables, run_retrieval

    run = RetrievalRun(config=config, measure=measure)
    with progress_bar() as progress:
        report = run_retrieval(films, out, run, command=command, cache=cache, progress=progress)
    if as_json:
        say_json(report.to_json())
        return
    for title, header, rows in retrieval_tables(report):
        table(title, header, rows)
    for note in report.notes:
        say(f"note: {note}")
    say(f"models trained now: {report.n_trained:,}")
    for kind, name in report.files.items():
        say(f"{kind}: {out / name}")


def _list(as_json: bool) -> None:
    from reeltag.benchmark import BENCHMARKS, RETRIEVAL_BENCHMARKS

    found = [
        {
            "name": b.name,
            "source": b.source,
            "paper": b.paper.name if b.paper else "",
            "title": b.title,
            "entries": [entry.label for entry in b.entries],
        }
        for b in (BENCHMARKS | RETRIEVAL_BENCHMARKS).values()
    ]
    if as_json:
        say_json(found)
        return
    rows = [[b["name"], b["source"] or "–", b["title"], ", ".join(b["entries"])] for b in found]
    table("Benchmarks", ["recipe", "of the paper", "what", "entries"], rows, left=(0, 1, 2, 3))


def _show(report: BenchmarkReport, out: Path) -> None:
    from reeltag.benchmark import short_tables

    titles = ", ".join(f"{name} {n:,}" for name, n in report.titles.items())
    source = f" ({report.benchmark.source})" if report.benchmark.source else ""
    say(f"{report.benchmark.title}{source}, protocol {report.config.protocol}; titles: {titles}")
    for title, header, rows in short_tables(report):
        table(title, header, rows)
    for row in report.rows:
        if row.why_not:
            say(f"{row.entry.label}: {row.why_not}")
    reasons = {name: why_not for row in report.rows for name, why_not in row.variants.items() if why_not}
    for name, why_not in reasons.items():
        say(f"{name}: {why_not}")
    for note in report.notes:
        say(f"note: {note}")
    say(f"runs trained now: {report.n_trained:,}")
    for kind, name in report.files.items():
        say(f"{kind}: {out / name}")
