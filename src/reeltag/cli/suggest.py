"""``reeltag suggest``: which titles an editor should label next. ``reeltag simulate``: what such a choice saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.cli.options import (
    AsJson,
    CachePath,
    CataloguePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    TaggerPath,
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import figure, progress_bar, say, say_json, table
from reeltag.cli.train import build_recipe

if TYPE_CHECKING:
    from reeltag.suggest import Curves, Suggestions

_SHOWN_TITLES = 20


def suggest(
    tagger: TaggerPath,
    catalogue: CataloguePath,
    n: Annotated[int, typer.Option("--n", min=1, help="How many titles.")] = 50,
    strategy: Annotated[str, typer.Option(help="mixed, uncertainty, rarity, diversity or random.")] = "mixed",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, .csv or .jsonl (default: print a table).", show_default=False),
    ] = None,
    done: Annotated[
        list[Path] | None,
        typer.Option(
            help="Titles labelled since: ids, one per line, or a .csv, .jsonl or .parquet file with a column id. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of choices at random.")] = 0,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Suggest which titles without labels an editor should label next, and say why."""
    from reeltag import suggest as room
    from reeltag.predictions import check_suffix
    from reeltag.tagger import Tagger

    if out is not None:
        check_suffix(out)
    finished = [title_id for path in done or [] for title_id in room.read_ids(path)]
    trained = Tagger.from_pretrained(tagger, cache=cache)
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=trained.labels.config.field,
    )
    with progress_bar() as progress:
        found = room.suggest(trained, films, n, strategy=strategy, seed=seed, done=finished, progress=progress)
    if out is not None:
        found.write(out)
    if as_json:
        summary = {"strategy": strategy, "n_candidates": found.n_candidates, "n_suggested": len(found)}
        told = {"out": str(out)} if out else {"out": None, "titles": found.to_frame().to_dicts()}
        say_json(summary | told)
        return
    _show_suggestions(found)
    if out is not None:
        say(f"written to {out}")


def simulate(
    catalogue: CataloguePath,
    out: Annotated[Path, typer.Option(help="Folder for curves.json, curves.svg and the runs.")],
    recipe: Annotated[
        str, typer.Option(help="Labels and features, and the model of --learner recipe: a name or a JSON file.")
    ] = "linear",
    labels: Annotated[
        str | None, typer.Option(help="List field that holds the labels (default: genres).", show_default=False)
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, as for train; credits are left out, since their features tell labels.",
            show_default=False,
        ),
    ] = None,
    strategies: Annotated[str, typer.Option(help="Comma-separated.")] = "random,mixed",
    start: Annotated[int, typer.Option(help="Titles labelled at random first.")] = 200,
    batch: Annotated[int, typer.Option(help="Titles added every round.")] = 200,
    rounds: Annotated[int, typer.Option(help="Batches added.")] = 15,
    seeds: Annotated[int, typer.Option(help="Runs per strategy.")] = 3,
    learner: Annotated[
        str, typer.Option(help="quick (a regression trained in a second or two) or recipe (the recipe's model).")
    ] = "quick",
    background: Annotated[
        bool, typer.Option("--train-on-background", help="Background titles with labels are in the pool too.")
    ] = False,
    measured_on: Annotated[
        str, typer.Option("--on", help="test, or validation to choose between strategies.")
    ] = "test",
    share: Annotated[float, typer.Option(help="Share of the whole pool's micro F1 that is asked for.")] = 0.95,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of the recipe, for example labels.min_count=20."),
    ] = None,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Simulate labelling: how good the tags get with how many labelled titles, by how the titles are chosen."""
    from reeltag import suggest as room

    config = room.SimulationConfig(
        strategies=tuple(word.strip() for word in strategies.split(",") if word.strip()),
        start=start,
        batch=batch,
        rounds=rounds,
        seeds=seeds,
        learner=learner,
        background=background,
        measured_on=measured_on,
        share=share,
    )
    chosen = build_recipe(recipe, labels=labels, modalities=modalities, settings=settings)
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=chosen.labels.field,
    )
    with progress_bar() as progress:
        curves = room.simulate(films, chosen, out, config, cache=cache, progress=progress)
    if as_json:
        say_json(curves.to_json())
        return
    _show_curves(curves)
    say(f"curves: {out / 'curves.svg'}")


def _show_suggestions(found: Suggestions) -> None:
    pairs = zip(found.ids, found.titles, found.scores, found.reasons, strict=True)
    rows = [[title or title_id, f"{score:.3g}", why] for title_id, title, score, why in pairs][:_SHOWN_TITLES]
    shown = f" (the first {_SHOWN_TITLES} of {len(found):,})" if len(found) > _SHOWN_TITLES else ""
    table(f"Titles worth labelling{shown}", ["title", "score", "why"], rows, left=(0, 2))
    say(f"{len(found):,} of {found.n_candidates:,} titles without labels, by strategy '{found.strategy}'")


def _show_curves(curves: Curves) -> None:
    titles = ", ".join(f"{name} {n:,}" for name, n in curves.facts["titles"].items())
    say(f"titles: {titles}; {curves.facts['labels']:,} labels, learned from the whole pool")
    if curves.facts["left_out"]:
        say(f"left out: {', '.join(curves.facts['left_out'])}")
    whole = curves.whole
    say(
        f"trained on the whole pool: micro F1 {figure(whole['micro_f1'])}, macro F1 {figure(whole['macro_f1'])}, "
        f"mAP {figure(whole['mean_average_precision'])} ({curves.measured_on})"
    )
    rows = []
    for curve in curves.curves:
        last = {name: figure(values[-1]) for name, values in curve.mean.items()}
        reached = "–" if curve.reached is None else f"{curve.reached:,.0f}"
        of_random = "–" if curve.of_random is None else f"{curve.of_random:.2f}"
        figures = [last["micro_f1"], last["macro_f1"], last["mean_average_precision"]]
        rows.append([curve.strategy, reached, of_random, f"{curve.n_labelled[-1]:,}", *figures])
    wanted = f"titles for micro F1 {figure(curves.wanted)}"
    headers = ["strategy", wanted, "of random's", "labelled at the end", "micro F1", "macro F1", "mAP"]
    table(f"Labelled titles, means over {curves.facts['seeds']} seeds", headers, rows)
