"""What pseudo-labels are worth, on the shared films, when only a part of the labelled titles keeps its labels.

    python benchmarks/self_training.py SHARED [--labels tags] [--recipe xmlc] [--fractions .1,.3,1] [--titles 20000]
        [--seeds 1] [--confidence .3,.5,.8] [--rounds 1] [--set PATH=VALUE] [--cache DIR] [--out DIR]

A fraction of the training and background titles with labels, drawn by seed, keeps them; the others become unlabelled
like those that never had any. The recipe is trained without self-training and with each confidence, on the same titles,
with ``keep_if_better`` off, so that the figures are seen whatever they are; the last column says in how many draws the
first round would have been kept. Validation and test titles are whole; the threshold is chosen on validation. The label
space is that of the titles that keep their labels, so rows compare within a fraction, not between fractions. Prints one
table; finished runs are kept in DIR: another ``--set`` or ``--rounds`` needs another DIR.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from reeltag import Catalogue, Tagger
from reeltag.cli.train import build_recipe
from reeltag.evaluation import macro_f1, mean_average_precision, micro_f1
from reeltag.files import write_json
from reeltag.recipes import Recipe

SPLITS = ("validation", "test")
FIGURES = ("micro F1", "macro F1", "mAP")
WITHOUT = "labels only"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--labels", default="tags")
    parser.add_argument("--recipe", default="xmlc")
    parser.add_argument("--fractions", default=".1,.3,1")
    parser.add_argument("--titles", type=int, default=20_000, help="Unlabelled titles asked about at most.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--confidence", default=".3,.5,.8")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="Any setting of the recipe.")
    parser.add_argument("--cache", type=Path, default=None, help="Folder for encoded texts.")
    parser.add_argument("--out", type=Path, default=Path("runs/self_training"))
    options = parser.parse_args()
    films = Catalogue.read(options.shared / "data" / "films.parquet")
    base = build_recipe(options.recipe, labels=options.labels, settings=options.settings)
    on = replace(base.self_training, titles=options.titles, rounds=options.rounds, keep_if_better=False)
    recipes = {WITHOUT: replace(base, self_training=replace(on, titles=0))}
    for confidence in map(float, options.confidence.split(",")):
        name = f"pseudo-labels, {options.titles:,} titles, confidence {confidence:g}"
        recipes[name] = replace(base, self_training=replace(on, confidence=confidence))
    fractions = [float(fraction) for fraction in options.fractions.split(",")]
    runs: dict[tuple[float, str], list[dict]] = {}
    for fraction in fractions:
        for seed in range(options.seeds):
            thin = thinned(films, options.labels, fraction, seed)
            for way, config in recipes.items():
                name = f"{options.labels}-{options.recipe}-{fraction:g}-{seed}-{way}"
                file = options.out / (name.replace(",", "").replace(" ", "_") + ".json")
                if not file.exists():
                    write_json(file, run(config, thin, seed, options.cache))
                figures = json.loads(file.read_text())
                runs.setdefault((fraction, way), []).append(figures)
                print(fraction, seed, way, json.dumps(figures), flush=True)
    print(markdown(runs))


def thinned(films: Catalogue, field: str, fraction: float, seed: int) -> Catalogue:
    """Take the labels of training and background titles away, but for a fraction of those that have them."""
    lists = films.lists(field)
    rows = np.array([r for split in ("train", "background") for r in films.rows_of(split) if lists[r]])
    order = np.random.default_rng(seed).permutation(rows)
    lost = set(order[round(fraction * len(rows)) :].tolist())
    words = [[] if row in lost else list(own) for row, own in enumerate(lists)]
    column = pl.Series(field, words, dtype=films.frame.schema[field])
    return Catalogue.from_frame(films.frame.with_columns(column), source=films.source)


def run(config: Recipe, films: Catalogue, seed: int, cache: Path | None) -> dict:
    start = time.perf_counter()
    tagger = Tagger(config, seed=seed, cache=cache).fit(films)
    figures: dict = {"train_s": time.perf_counter() - start, "labels": len(tagger.labels)}
    figures["titles"] = tagger.fitted.data["labelled"]["train"]
    figures["rounds"] = tagger.fitted.history.get("self-training", [])
    field = config.labels.field
    for split in SPLITS:
        part = films.take(films.rows_of(split))
        targets, known = tagger.labels.encode(part.lists(field))
        probabilities = tagger.predict_proba(tagger.features(part.take(np.flatnonzero(known))))
        targets, decided = targets[known], probabilities >= tagger.fitted.thresholds()
        scores = micro_f1(targets, decided), macro_f1(targets, decided), mean_average_precision(targets, probabilities)
        figures[split] = dict(zip(FIGURES, map(float, scores), strict=True))
    return figures


def markdown(runs: dict[tuple[float, str], list[dict]]) -> str:
    heads = [f"{split} {figure}" for split in SPLITS for figure in FIGURES]
    names = ["fraction", "labelled", "labels", "way", "joined", *heads, "train, s", "kept"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for (fraction, way), found in runs.items():
        rounds = [one["rounds"][-1] for one in found if one["rounds"]]
        joined = f"{np.mean([told['joined'] for told in rounds]):,.0f} of {rounds[0]['asked']:,}" if rounds else ""
        cells = [f"{fraction:g}", f"{np.mean([one['titles'] for one in found]):,.0f}"]
        cells += [f"{np.mean([one['labels'] for one in found]):,.0f}", way, joined]
        cells += [_mean([one[split][figure] for one in found]) for split in SPLITS for figure in FIGURES]
        better = sum(bool(one["rounds"]) and _rises(one["rounds"]) for one in found)
        cells += [f"{np.mean([one['train_s'] for one in found]):.0f}", f"{better} of {len(found)}" if rounds else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rises(rounds: list[dict]) -> bool:
    """Whether ``keep_if_better`` would have kept the model of the first round."""
    before, after = rounds[0]["before"], rounds[0]["after"]
    return before is not None and after is not None and after > before


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
