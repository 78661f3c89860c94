"""``reeltag finetune``: a text encoder that has learned from the labels of a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import AsJson, CataloguePath, Maps, Separator, SkipBad, read_catalogue
from reeltag.cli.show import figure, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.finetune import EpochReport, FinetuneConfig


def finetune(
    catalogue: CataloguePath,
    out: Annotated[Path, typer.Option(help="Folder for the fine-tuned encoder; it must not be there yet.")],
    encoder: Annotated[
        str, typer.Option(help="What to start from: minilm, sentence:MODEL or transformer:MODEL.")
    ] = "minilm",
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="List field whose words say which titles are alike. Repeatable (default: genres).", show_default=False
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Learn from titles of the split 'background' too.")
    ] = False,
    titles: Annotated[int, typer.Option(help="Learn from so many titles at most, drawn by the seed; 0: all.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the titles (default: 3).", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting, for example batch_size=32, objective=bce, layers=2 or max_pieces=128."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and catalogue, same encoder.")] = 0,
    maps: Maps = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a plot encoder, so that plots of titles with like labels get like vectors.

    It learns from training titles alone. An interrupted run goes on when the same command is given again (its state is
    beside OUT, named OUT.checkpoint). A catalogue without splits is split as 'train' would split it.
    """
    from reeltag.catalogue import FIELDS
    from reeltag.config import to_json
    from reeltag.finetune import finetune as run

    chosen = {"encoder": encoder, "background": background, "titles": titles}
    config = build_config(chosen | {"labels": labels, "epochs": epochs}, settings or [])
    own = next((name for name in config.labels if name not in FIELDS), config.labels[0])
    films = read_catalogue(catalogue, maps=maps, separator=separator, skip_bad=skip_bad, label_field=own)
    if not films.has("split"):
        from reeltag.tagger import Tagger

        with progress_bar() as progress:
            films = films.with_splits(Tagger(labels=config.labels[0]).splits(films, progress).splits)
        typer.echo("the catalogue has no splits: split as 'reeltag train' would", err=True)
    with progress_bar() as progress:
        found = run(films, out, config=config, seed=seed, progress=progress, report=_say_epoch)
    if as_json:
        say_json({"out": str(out), **to_json(found)})
        return
    fields = ", ".join(config.labels)
    say(f"fine-tuned {config.encoder} on {found.n_titles:,} titles with {len(found.labels):,} labels of {fields}")
    rows = [[told.epoch or "before", _loss(told), figure(told.agreement)] for told in found.history]
    table("Labels shared with the 10 nearest titles, validation", ["epoch", "loss", "overlap"], rows)
    say(f"saved to {out}")
    encoders = f"--plot-encoder tfidf --plot-encoder {found.encoder}"
    say(f"next: reeltag train {catalogue} {encoders} --out runs/{out.name}")


def build_config(options: dict[str, Any], settings: list[str]) -> FinetuneConfig:
    """Return the settings of the command line; an option that is None keeps its default."""
    from reeltag.config import from_json, put_setting, to_json
    from reeltag.finetune import FinetuneConfig

    data = to_json(FinetuneConfig()) | {name: value for name, value in options.items() if value is not None}
    for setting in settings:
        put_setting(data, setting)
    return from_json(FinetuneConfig, data, "finetune")


def _say_epoch(told: EpochReport) -> None:
    """Say on standard error how far a run has come: it may take hours."""
    what = f"epoch {told.epoch}: loss {_loss(told)}" if told.epoch else "before"
    typer.echo(f"{what}, labels shared with neighbours {figure(told.agreement)}", err=True)


def _loss(told: EpochReport) -> str:
    return "–" if told.loss is None else f"{told.loss:.4f}"
