"""Which credit feature is best on the shared films: leave-one-out profile, cross-fitted links, in-sample sum.

    python benchmarks/credit_features.py SHARED_FOLDER --out runs/credit_features [--background] [--seeds 3]

Every feature alone and together, with and without the plot; model `fusion`, global threshold from validation, test
read once per row and seed. Also trains RotatE (30 epochs, the best by validation MRR kept) on the film graph and ranks
genres for the people of validation films. Finished rows are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from reeltag import Catalogue, recipe
from reeltag.calibration import Calibrator
from reeltag.encoders.store import FeatureStore
from reeltag.evaluation import compare_runs
from reeltag.evaluation.metrics import macro_f1, micro_f1
from reeltag.evaluation.ranking import mean_average_precision
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.graph.embedding import train_embedding
from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
from reeltag.graph.presets import preset
from reeltag.graph.triples import Triples
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.models.contract import Validation
from reeltag.models.fusion import FusionConfig, FusionModel
from reeltag.pipeline import FeaturePipeline

DROPPED = ("News", "Talk-Show", "Game-Show", "Reality-TV", "Adult")
CREDITS = {
    "profile (c)": ("profile",),
    "links, cross-fitted (b)": ("links",),
    "sum, in-sample (a)": ("sum",),
    "profile + links": ("profile", "links"),
    "profile + links + sum": ("profile", "links", "sum"),
}
SPLITS = ("train", "validation", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/credit_features"))
    parser.add_argument("--background", action="store_true", help="Background films feed the graph too.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--members", type=int, default=3, help="Networks of a fusion model.")
    parser.add_argument("--skip-graph", action="store_true")
    options = parser.parse_args()
    films = Catalogue.read(options.shared / "data" / "films.parquet")
    if not options.skip_graph:
        film_graph(films, options.out / "graph.json")
    name = "background" if options.background else "train"
    for seed in range(options.seeds):
        file = options.out / f"{name}-{seed}.json"
        if not file.exists():
            write_json(file, measure(films, seed, background=options.background, members=options.members))
    print(markdown(options.out, name))


def measure(films: Catalogue, seed: int, *, background: bool, members: int) -> dict:
    """Fit every feature once and a model for every combination."""
    lists = films.lists("genres")
    rows = {split: films.rows_of(split) for split in (*SPLITS, "background")}
    space = LabelSpace.learn([lists[row] for row in rows["train"]], LabelConfig(field="genres", exclude=DROPPED))
    targets, known = space.encode(lists)
    graph_rows = np.concatenate(
        [rows["train"], rows["background"][known[rows["background"]]]] if background else [rows["train"]]
    )
    base = recipe("fusion").features
    config = replace(base, modalities=("plot", "credits"), credit_features=("profile", "links", "sum"))
    start = time.perf_counter()
    pipeline = FeaturePipeline(config).fit(
        films.take(rows["train"]), films.take(graph_rows), targets[graph_rows], seed=seed
    )
    fit_s = time.perf_counter() - start
    store = FeatureStore(None)
    features = {split: pipeline.transform(films.take(rows[split]), store) for split in SPLITS}
    truth = {split: targets[rows[split]] for split in SPLITS}
    found: dict = {"seed": seed, "members": members, "fit_s": fit_s, "rows": {}}
    decisions: dict[str, np.ndarray] = {}
    for plot in (False, True):
        for name, parts in CREDITS.items():
            if plot and "sum" in parts and len(parts) > 1:
                continue
            blocks = [f"credits.{part}" for part in parts] + (["plot.tfidf", "plot.minilm"] if plot else [])
            row = ("plot + " if plot else "") + name
            found["rows"][row], decisions[row] = trained(
                features, truth, blocks, FusionModel(FusionConfig(n_members=members), seed=seed)
            )
            print(row, json.dumps(found["rows"][row]), flush=True)
    pair = [decisions["plot + profile (c)"], decisions["plot + profile + links"]]
    comparison = compare_runs(truth["test"], *pair, labels=space.labels)
    found["profile + links against profile, with plot"] = {
        d.metric: [d.difference, d.interval.low, d.interval.high, d.p_value] for d in comparison.differences
    }
    return found


def trained(
    features: dict[str, Features], truth: dict[str, np.ndarray], blocks: list[str], model: FusionModel
) -> tuple[dict, np.ndarray]:
    some = {split: Features(f.ids, {name: f.blocks[name] for name in blocks}) for split, f in features.items()}
    start = time.perf_counter()
    held_out = Validation(features=some["validation"], targets=truth["validation"])
    model.fit(some["train"], truth["train"], validation=held_out)
    seconds = time.perf_counter() - start
    calibrator = Calibrator().fit(model.predict_proba(some["validation"]), truth["validation"])
    figures: dict = {"train_s": round(seconds, 1)}
    decided = np.zeros(0)
    for split in ("validation", "test"):
        probabilities = calibrator.transform(model.predict_proba(some[split]))
        decided = probabilities >= calibrator.thresholds
        figures[split] = {
            "micro": micro_f1(truth[split], decided),
            "macro": macro_f1(truth[split], decided),
            "mAP": mean_average_precision(truth[split], probabilities),
        }
    return figures, decided


def film_graph(films: Catalogue, file: Path) -> None:
    """Train RotatE on the graph of the training films; rank genres for the people of validation films."""
    if file.exists():
        return
    start = time.perf_counter()
    graph = build_film_graph(films, FilmGraphConfig())
    build_s = time.perf_counter() - start
    start = time.perf_counter()
    embedding = train_embedding(graph, preset("rotate"), seed=0)
    train_s = time.perf_counter() - start
    names = graph.relations["name"].to_list()
    new = graph.splits["validation"]
    report: dict = {"build_s": build_s, "train_s": train_s, "history": [list(s) for s in embedding.history.scores]}
    report["links_per_second"] = embedding.history.links_per_second
    report["validation, all entities"] = embedding.evaluate("validation").to_json()
    every = people_links(films, graph)
    for relation in ("d-g", "c-g"):
        number = names.index(relation)
        fresh = new.take(np.flatnonzero(new.relation == number))
        both = every.take(np.flatnonzero(every.relation == number))
        report[f"{relation}, new links, among genres"] = embedding.rank_answers(fresh, "genre").figures().to_json()
        raw = embedding.rank_answers(both, "genre", filtered=False).figures().to_json()
        report[f"{relation}, all links of validation films, among genres, raw"] = raw
    write_json(file, report)
    print(json.dumps(report, indent=1), flush=True)


def people_links(films: Catalogue, graph: object) -> Triples:
    """Return the links (person, role-genre, genre) of validation films, new or not, one per film."""
    part = films.take(films.rows_of("validation"))
    genres = part.lists("genres")
    names = graph.relations["name"].to_list()  # type: ignore[attr-defined]
    links = []
    for role, relation in (("directors", "d-g"), ("cast", "c-g")):
        rows, keys = part.people(role)
        people = graph.lookup(keys, "person")  # type: ignore[attr-defined]
        pairs = [(p, g) for row, p in zip(rows, people, strict=True) if p >= 0 for g in genres[row]]
        tails = graph.lookup([g for _, g in pairs], "genre")  # type: ignore[attr-defined]
        kept = tails >= 0
        heads = np.array([p for p, _ in pairs], np.int64)[kept]
        links.append(Triples(heads, np.full(len(heads), names.index(relation)), tails[kept]))
    return Triples.concatenate(links)


def markdown(out: Path, name: str) -> str:
    runs = [json.loads(file.read_text()) for file in sorted(out.glob(f"{name}-*.json"))]
    lines = ["| features | micro F1 | macro F1 | mAP | validation micro |", "|---|---|---|---|---|"]
    for row in runs[0]["rows"]:
        cells = [_mean([run["rows"][row]["test"][figure] for run in runs]) for figure in ("micro", "macro", "mAP")]
        cells.append(_mean([run["rows"][row]["validation"]["micro"] for run in runs]))
        lines.append("| " + " | ".join([row, *cells]) + " |")
    lines += [json.dumps({key: run[key] for key in run if key != "rows"}) for run in runs]
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
