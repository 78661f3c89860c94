"""``reeltag graph``: the credits knowledge graph on its own: build, train, evaluate, neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import AsJson, CataloguePath, Maps, Separator, SkipBad, read_catalogue
from reeltag.cli.show import figure, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from reeltag.graph.embedding import EmbeddingConfig, GraphEmbedding, RankingReport
    from reeltag.graph.statistics import GraphStatistics

graph = typer.Typer(
    name="graph",
    help="The credits knowledge graph on its own: build it, train a scorer on it, rank its links, look around a name.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_GraphPath = Annotated[
    Path,
    typer.Argument(
        help="Graph: a folder that 'graph build' wrote, a .parquet or .tsv of head, relation, tail, or an OpenKE "
        "folder.",
        show_default=False,
    ),
]
_TrainedPath = Annotated[Path, typer.Argument(help="Folder that 'graph train' wrote.", show_default=False)]


@graph.command()
def build(
    catalogue: CataloguePath,
    out: Annotated[Path, typer.Option(help="Where the graph goes.")],
    labels: Annotated[
        list[str] | None,
        typer.Option(help="List field whose words join the graph. Repeatable (default: genres).", show_default=False),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Films of the split 'background' feed the graph too.")
    ] = False,
    by_role: Annotated[
        bool, typer.Option("--by-role", help="A person who directs and acts is two entities, as in IDKG.")
    ] = False,
    titles: Annotated[bool, typer.Option("--titles/--no-titles", help="Titles are entities.")] = True,
    min_label_films: Annotated[int, typer.Option(help="Labels on fewer films are left out.", min=1)] = 1,
    form: Annotated[str, typer.Option("--format", help="folder, parquet, tsv or openke.")] = "folder",
    maps: Maps = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    as_json: AsJson = False,
) -> None:
    """Build the knowledge graph of the training films of a catalogue, and the held-out links to measure it by.

    A catalogue without splits is split as 'train' would split it.
    """
    from reeltag.graph.destinations import check_place
    from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
    from reeltag.graph.triple_files import write_graph

    check_place(out, form)
    fields = tuple(labels or ["genres"])
    config = FilmGraphConfig(
        label_fields=fields,
        one_person=not by_role,
        background=background,
        titles=titles,
        min_label_films=min_label_films,
    )
    films = read_catalogue(catalogue, maps=maps, separator=separator, skip_bad=skip_bad, label_field=fields[0])
    if not films.has("split"):
        from reeltag.tagger import Tagger

        with progress_bar() as progress:
            films = films.with_splits(Tagger(labels=fields[0]).splits(films, progress).splits)
        typer.echo("the catalogue has no splits: split as 'reeltag train' would", err=True)
    made = build_film_graph(films, config)
    write_graph(made, out, form)
    found = made.statistics()
    if as_json:
        say_json({"graph": str(out), **found.to_json()})
        return
    _show_statistics(made.source, found)
    say(f"saved to {out}\nnext: reeltag graph train {out} --out {out.with_name(out.name + '-rotate')}")


@graph.command()
def train(
    graph: _GraphPath,
    out: Annotated[Path, typer.Option(help="Folder for the trained graph.")],
    scorer: Annotated[
        str, typer.Option(help="transe, transh, transr, transd, distmult, complex, conve or rotate.")
    ] = "rotate",
    dim: Annotated[int | None, typer.Option(help="Dimension of the embeddings.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the links.", show_default=False)] = None,
    negatives: Annotated[
        int | None, typer.Option(help="Negatives per chunk of links; 0: all entities (1-N).", show_default=False)
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="margin, logistic, self-adversarial or softmax.", show_default=False)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.", show_default=False)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads (default: all).", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, for example training.loss.margin=9 or scorer_settings.norm=1."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and one thread, same result.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a scorer on the links of a graph; keep the weights of the best validation MRR.

    An interrupted run goes on when the same command is given again (its state is beside OUT, named OUT.checkpoint).
    """
    import shutil

    from reeltag.graph.embedding import check_destination, train_embedding
    from reeltag.graph.triple_files import read_graph

    changes: dict[str, Any] = {
        "scorer_settings.dim": dim,
        "training.epochs": epochs,
        "training.negatives.count": negatives,
        "training.loss.name": loss,
        "training.learning_rate": learning_rate,
        "training.threads": threads,
    }
    scorer = scorer.lower()
    config = _config(scorer, {path: value for path, value in changes.items() if value is not None}, settings or [])
    check_destination(out)
    links = read_graph(graph)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    with progress_bar() as progress:
        trained = train_embedding(links, config, seed=seed, checkpoint=checkpoint, progress=progress)
    trained.save(out)
    shutil.rmtree(checkpoint, ignore_errors=True)
    history = trained.history
    if as_json:
        from reeltag.config import to_json

        say_json({"trained": str(out), "scorer": scorer, "history": to_json(history)})
        return
    size = f"{len(links.train):,} links of {links.n_entities:,} entities"
    say(f"{scorer}: {size}, {len(history.losses)} epochs in {history.seconds:.0f} s")
    say(f"{history.links_per_second:,.0f} links a second; weights of epoch {history.best_epoch} kept")
    if history.scores:
        best = max(score for _, score in history.scores)
        say(f"validation MRR {figure(best)} (filtered, realistic, on at most {config.validation_links:,} links)")
        say(f"saved to {out}\nnext: reeltag graph evaluate {out} --split validation")
    else:
        say(f"saved to {out}\nnext: reeltag graph neighbours {out} NAME")


@graph.command()
def evaluate(
    trained: _TrainedPath,
    split: Annotated[str, typer.Option(help="Held-out links: test or validation (valid).")] = "test",
    raw: Annotated[bool, typer.Option("--raw", help="Leave other true answers among the candidates.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this .json file.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the held-out links of a trained graph among all entities, heads and tails."""
    from reeltag.graph.embedding import GraphEmbedding
    from reeltag.graph.ranking import RankingConfig

    split = _held_out(split)
    if out is not None:
        _check_figures(out)
    embedding = GraphEmbedding.load(trained)
    with progress_bar() as progress:
        report = embedding.evaluate(split, RankingConfig(filtered=not raw), progress=progress)
    data = {"trained": str(trained), "scorer": embedding.config.scorer, **report.to_json()}
    if out is not None:
        from reeltag.files import write_json

        write_json(out, data)
    if as_json:
        say_json(data)
        return
    _show_ranking(embedding, report)


@graph.command()
def neighbours(
    trained: _TrainedPath,
    name: Annotated[str, typer.Argument(help="Name or key of an entity.", show_default=False)],
    kind: Annotated[str | None, typer.Option(help="Its kind, where a name has several.", show_default=False)] = None,
    top: Annotated[int, typer.Option(help="Neighbours and answers shown.", min=1)] = 10,
    min_links: Annotated[int, typer.Option(help="Neighbours with fewer links are not shown.", min=0)] = 20,
    as_json: AsJson = False,
) -> None:
    """Say who is nearest to a person, title or label, and which labels are likeliest."""
    from reeltag.graph.embedding import GraphEmbedding
    from reeltag.graph.neighbours import neighbourhood

    embedding = GraphEmbedding.load(trained)
    found = neighbourhood(embedding, name, kind=kind, n_nearest=top, min_links=min_links)
    if as_json:
        say_json(found.to_json())
        return
    key = f", key {found.key}" if found.key != found.name else ""
    say(f"{found.name} ({found.kind}{key}, {found.n_links:,} links)")
    if found.n_links < min_links:
        say(f"note: with {found.n_links:,} links the graph knows little of this {found.kind}")
    rows: list[list[object]] = [[n.name, f"{n.n_links:,}", f"{n.similarity:.3f}"] for n in found.nearest]
    if rows:
        table(f"Nearest of kind '{found.kind}'", ["name", "links", "cosine"], rows)
    elif min_links:
        say(f"no other {found.kind} has {min_links:,} links; try --min-links 0")
    else:
        say(f"no other {found.kind} is in the graph")
    for relation, side in dict.fromkeys((answer.relation, answer.side) for answer in found.answers):
        rows = [
            [a.name, f"{a.score:.2f}", f"{a.share:.3f}", "yes" if a.known else ""]
            for a in found.answers
            if (a.relation, a.side) == (relation, side)
        ]
        table(f"Likeliest {side}s by '{relation}'", ["name", "score", "share", "in the graph"], rows)


def _config(scorer: str, changes: dict[str, Any], settings: list[str]) -> EmbeddingConfig:
    """Return the settings of the scorer with those of the command line put in."""
    from reeltag.config import from_json, put_setting, to_json
    from reeltag.errors import ConfigError, shown
    from reeltag.graph.embedding import EmbeddingConfig
    from reeltag.graph.presets import preset
    from reeltag.graph.scorers import SCORERS

    if scorer not in SCORERS:
        raise ConfigError(f"--scorer must be one of {', '.join(SCORERS)}; got {shown(scorer)}")
    if any(setting.partition("=")[0].strip() == "scorer" for setting in settings):
        raise ConfigError("--set cannot change the scorer, which brings settings of its own; use --scorer")
    data = to_json(preset(scorer))
    for path, value in changes.items():
        put_setting(data, f"{path}={json.dumps(value)}")
    for setting in settings:
        put_setting(data, setting)
    return from_json(EmbeddingConfig, data, "settings")


def _held_out(split: str) -> str:
    """Return the name of a split of held-out links."""
    from reeltag.catalogue.fields import SPLIT_ALIASES
    from reeltag.errors import ConfigError, shown

    name = SPLIT_ALIASES.get(split.lower(), split.lower())
    if name in ("validation", "test"):
        return name
    why = ": its links were trained on, ranks of them say nothing of new ones" if name == "train" else ""
    raise ConfigError(f"--split must be validation or test; got {shown(split)}{why}")


def _check_figures(out: Path) -> None:
    """Raise unless figures may be written to a file."""
    from reeltag.errors import ConfigError
    from reeltag.files import check_replaceable

    if out.suffix.lower() != ".json" or out.is_dir():
        raise ConfigError(f"--out must be a file that ends in .json; got {out}")
    check_replaceable(out, Path.is_file, "a file")


def _show_statistics(source: str, found: GraphStatistics) -> None:
    kinds = ", ".join(f"{n:,} of kind {kind}" for kind, n in found.entities_by_kind.items())
    say(f"{source}: {found.n_entities:,} entities ({kinds}), {found.n_triples['train']:,} links")
    rows: list[list[object]] = [
        [name, f"{n:,}", f"{found.tails_per_head[name]:.1f}", f"{found.heads_per_tail[name]:.1f}"]
        for name, n in found.triples_by_relation.items()
    ]
    table("Links per relation", ["relation", "links", "tails per head", "heads per tail"], rows)
    rows = [[hub.name, hub.kind, f"{hub.degree:,}"] for hub in found.hubs]
    table("Entities with most links", ["name", "kind", "links"], rows, left=(0, 1))
    say(f"links per entity: median {found.degree_median:g}, mean {found.degree_mean:.1f}, most {found.degree_max:,}")
    for split, n in found.n_triples.items():
        if split != "train":
            say(f"held out: {n:,} new links between known entities from {split} films")


def _show_ranking(embedding: GraphEmbedding, report: RankingReport) -> None:
    how = "filtered" if report.filtered else "raw"
    say(
        f"{embedding.config.scorer}, {report.split} links of {embedding.graph.source}, {how}, "
        f"among {embedding.graph.n_entities:,} entities"
    )
    parts = {f"all, {ties} ties": figures for ties, figures in report.by_ties.items()}
    parts |= {f"missing {side}s": figures for side, figures in report.by_side.items()}
    parts |= {f"relation {name}": figures for name, figures in report.by_relation.items()}
    rows: list[list[object]] = [
        [name, f"{f.n:,}", figure(f.mrr), *(figure(value) for value in f.hits.values()), f"{f.mean_rank:,.0f}"]
        for name, f in parts.items()
    ]
    headers = ["questions", "n", "MRR", *(f"hits@{k}" for k in report.figures.hits), "mean rank"]
    table("Ranks of the true answers", headers, rows)
    say(f"guessing would give a mean rank of {report.figures.expected_mean_rank:,.0f}")
