"""What a tagger loses when modalities are absent at tagging, against models trained without them, in one run.

    python benchmarks/absent_modalities.py SHARED_FOLDER --out runs/absent [--poster-encoder SPEC …] [--members 1]

One model of the recipe ``idkg`` reads everything; every modality and every pair of them is hidden from it at tagging,
and a model of the same settings is trained without them. Thresholds are global, from validation titles of which the
same is hidden. Prints a Markdown table and keeps finished runs as JSON, so an interrupted benchmark goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score

from reeltag import Catalogue, recipe
from reeltag.benchmark import NOT_IN_MMIMDB
from reeltag.calibration import best_f1_threshold
from reeltag.catalogue import ReadOptions
from reeltag.encoders.store import FeatureStore
from reeltag.features import Features, modality_of
from reeltag.files import write_json
from reeltag.labels import LabelSpace
from reeltag.models import IdkgConfig, IdkgModel
from reeltag.models.contract import Validation
from reeltag.pipeline import FeaturePipeline


def drop(features: Features, hidden: tuple[str, ...]) -> Features:
    """Return the features without the blocks of some modalities."""
    return Features(features.ids, {n: b for n, b in features.blocks.items() if modality_of(n) not in hidden})


def figures(model: IdkgModel, validation: tuple[Features, np.ndarray], test: tuple[Features, np.ndarray]) -> dict:
    threshold = best_f1_threshold(model.predict_proba(validation[0]).ravel(), validation[1].ravel())
    scores = model.predict_proba(test[0])
    decided = scores >= threshold
    return {
        "micro": f1_score(test[1], decided, average="micro"),
        "macro": f1_score(test[1], decided, average="macro", zero_division=0),
        "mAP": average_precision_score(test[1], scores),
    }


def read_films(shared: Path, posters: list[str], cache: Path | None) -> tuple[dict, dict]:
    """Return the features and the targets of every split."""
    tables = tuple(sorted((shared / "data" / "posters").glob("*.parquet")))
    films = Catalogue.read(shared / "data" / "films.parquet", ReadOptions(posters=tables))
    base = recipe("idkg")
    config = replace(base.features, poster_encoders=tuple(posters) or base.features.poster_encoders)
    parts = {split: films.rows_of(split) for split in ("train", "validation", "test", "background")}
    lists = films.lists("genres")
    labels = LabelSpace.learn([lists[row] for row in parts["train"]], replace(base.labels, exclude=NOT_IN_MMIMDB))
    targets, known = labels.encode(lists)
    graph = np.concatenate([parts["train"], parts["background"][known[parts["background"]]]])
    pipeline = FeaturePipeline(config).fit(films.take(parts["train"]), films.take(graph), targets[graph])
    store = FeatureStore(cache)
    read = {split: pipeline.transform(films.take(parts[split]), store) for split in ("train", "validation", "test")}
    return read, {split: targets[parts[split]] for split in read}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/absent"))
    parser.add_argument("--poster-encoder", action="append", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=IdkgConfig().training.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modality-dropout", type=float, default=IdkgConfig().modality_dropout)
    options = parser.parse_args()
    read, truth = read_films(options.shared, options.poster_encoder, options.cache)
    settings = replace(
        IdkgConfig(),
        n_members=options.members,
        modality_dropout=options.modality_dropout,
        training=replace(IdkgConfig().training, epochs=options.epochs),
    )

    def fit(hidden: tuple[str, ...]) -> IdkgModel:
        held_out = Validation(features=drop(read["validation"], hidden), targets=truth["validation"])
        model = IdkgModel(settings, seed=options.seed)
        return model.fit(drop(read["train"], hidden), truth["train"], validation=held_out)

    whole = fit(())
    modalities = read["train"].modalities
    print("| absent | hidden at tagging, micro / macro F1 | trained without, micro / macro F1 | micro lost |")
    print("|---|---|---|---|")
    for hidden in [(), *((m,) for m in modalities), *combinations(modalities, 2)]:
        file = options.out / (
            f"{'-'.join(hidden) or 'none'}-{options.modality_dropout}-{options.members}-{options.epochs}"
            f"-{options.seed}.json"
        )
        if not file.exists():
            left = [m for m in modalities if m not in hidden]
            seen = {split: (read[split].only(left), truth[split]) for split in ("validation", "test")}
            found = {"hidden": figures(whole, seen["validation"], seen["test"])}
            if hidden:
                less = {split: (drop(read[split], hidden), truth[split]) for split in ("validation", "test")}
                found["without"] = figures(fit(hidden), less["validation"], less["test"])
            write_json(file, found)
        found = json.loads(file.read_text())
        one, two = found["hidden"], found.get("without", found["hidden"])
        print(
            f"| {' + '.join(hidden) or 'nothing'} | {one['micro']:.4f} / {one['macro']:.4f} | {two['micro']:.4f} / "
            f"{two['macro']:.4f} | {two['micro'] - one['micro']:+.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
