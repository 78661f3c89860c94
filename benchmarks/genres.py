"""Genres of the shared films under their protocol: our recipes beside scikit-learn's regression, in one run.

    python benchmarks/genres.py SHARED_FOLDER --out runs/benchmark [--seeds 3] [--only plot]

Every choice is made on validation; test is read once per recipe and seed. Prints a Markdown table and writes it with
all figures as JSON. Finished runs are kept, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from sklearn.multiclass import OneVsRestClassifier

from reeltag import Catalogue, Tagger, recipe
from reeltag.calibration import best_f1_threshold
from reeltag.evaluation import bootstrap_f1, compare_runs
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.recipes import Recipe

GENRES = 23
DROPPED = ("News", "Talk-Show", "Game-Show", "Reality-TV", "Adult")


def _with(name: str, modalities: tuple[str, ...], **credits: bool) -> Recipe:
    base = recipe(name)
    features = replace(base.features, modalities=modalities, credits=replace(base.features.credits, **credits))
    return replace(base, features=features, labels=replace(base.labels, exclude=DROPPED))


SETTINGS = {
    "plot": ("plot",),
    "plot + credits, background": ("plot", "credits"),
    "plot + credits, train only": ("plot", "credits"),
    "plot + credits, in-sample": ("plot", "credits"),
    "plot + title + year + credits, background": ("plot", "title", "year", "credits"),
}
WITH_BASELINE = ("plot", "plot + credits, background")
CREDITS = {
    "plot + credits, train only": {"background": False},
    "plot + credits, in-sample": {"background": False, "leave_one_out": False},
}


def matrix(features: Features, spread: dict[str, tuple[np.ndarray, np.ndarray]]) -> sp.csr_matrix:
    """Blocks side by side for scikit-learn: TF-IDF and embeddings as they are, credits standardised."""
    parts = []
    for name, block in features.blocks.items():
        if block.is_sparse:
            parts.append(block.values)
        elif name == "credits.profile":
            mean, std = spread.setdefault(name, (block.values.mean(axis=0), block.values.std(axis=0) + 1e-6))
            parts.append(sp.csr_matrix(0.3 * (block.values - mean) / std))
        else:
            parts.append(sp.csr_matrix(3 * block.values if name.endswith("minilm") else block.values))
    return sp.hstack(parts).tocsr()


def baseline(tagger: Tagger, films: Catalogue) -> dict[str, np.ndarray]:
    """Fit scikit-learn's one-vs-rest regression on the tagger's own features; C and threshold from validation."""
    parts = {split: films.take(films.rows_of(split)) for split in ("train", "validation", "test")}
    targets = {split: tagger.labels.encode(part.lists("genres"))[0] for split, part in parts.items()}
    spread: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    inputs = {split: matrix(tagger.features(part), spread) for split, part in parts.items()}
    best: tuple[float, float, OneVsRestClassifier] | None = None
    for c in (0.3, 1.0, 3.0):
        model = OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear"), n_jobs=2)
        model.fit(inputs["train"], targets["train"])
        scores = model.predict_proba(inputs["validation"])
        threshold = best_f1_threshold(scores.ravel(), targets["validation"].ravel())
        f1 = f1_score(targets["validation"], scores >= threshold, average="micro")
        if best is None or f1 > best[0]:
            best = (f1, threshold, model)
    assert best is not None
    scores = best[2].predict_proba(inputs["test"])
    return {"scores": scores, "decisions": scores >= best[1], "validation": np.array(best[0])}


def run(name: str, model: str, seed: int, films: Catalogue) -> tuple[dict, np.ndarray, Tagger]:
    tagger = Tagger(_with(model, SETTINGS[name], **CREDITS.get(name, {})), seed=seed)
    start = time.perf_counter()
    tagger.fit(films)
    seconds = time.perf_counter() - start
    held_out = tagger.evaluate(films, "validation").report.evaluation
    found = tagger.evaluate(films, "test")
    evaluation = found.report.evaluation
    rows = {}
    for rule in evaluation.rules:
        rows[rule.rule] = {"micro": rule.micro_f1, "macro": rule.macro_f1, "weighted": rule.weighted_f1}
        rows[rule.rule] |= {"samples": rule.samples_f1, "hit": rule.hit_at_least_one, "abstained": rule.abstention_rate}
        interval = rule.intervals["micro_f1"], rule.intervals["macro_f1"]
        rows[rule.rule]["intervals"] = [[i.low, i.high] for i in interval]
    ranking = evaluation.ranking
    figures = {"rules": rows, "mAP": ranking.mean_average_precision, "auroc": ranking.macro_auroc, "ece": ranking.ece}
    figures |= {"train_s": seconds, "validation": {r.rule: [r.micro_f1, r.macro_f1] for r in held_out.rules}}
    figures["grid"] = [[m.modalities, m.micro_f1, m.macro_f1] for m in found.report.modalities]
    return figures, found.predictions.decisions, tagger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=list(SETTINGS))
    options = parser.parse_args()
    films = Catalogue.read(options.shared / "data" / "films.parquet")
    test = films.take(films.rows_of("test"))
    for name in [options.only] if options.only else SETTINGS:
        for model, seeds in (("linear", 1), ("fusion", options.seeds)):
            for seed in range(seeds):
                file = options.out / f"{name.replace(' ', '').replace(',', '_')}-{model}-{seed}.json"
                if file.exists():
                    continue
                figures, decisions, tagger = run(name, model, seed, films)
                assert len(tagger.labels) == GENRES, tagger.labels
                if model == "fusion" and seed == 0 and name in WITH_BASELINE:
                    figures["baseline"] = compared(tagger, films, test, decisions)
                write_json(file, figures)
                print(f"{name}, {model}, seed {seed}: {json.dumps(figures['rules']['global'])}", flush=True)
    print(markdown(options.out))


def compared(tagger: Tagger, films: Catalogue, test: Catalogue, decisions: np.ndarray) -> dict:
    """Run the baseline on the same features and test the difference."""
    truth = tagger.labels.encode(test.lists("genres"))[0]
    peer = baseline(tagger, films)
    interval = bootstrap_f1(truth, peer["decisions"])
    comparison = compare_runs(truth, peer["decisions"], decisions, labels=tagger.labels.labels)
    return {
        "micro": f1_score(truth, peer["decisions"], average="micro"),
        "macro": f1_score(truth, peer["decisions"], average="macro", zero_division=0),
        "intervals": [[interval[n].low, interval[n].high] for n in ("micro_f1", "macro_f1")],
        "mAP": average_precision_score(truth, peer["scores"]),
        "validation_micro": float(peer["validation"]),
        "difference": {
            d.metric: [d.difference, d.interval.low, d.interval.high, d.p_value] for d in comparison.differences
        },
    }


def markdown(folder: Path) -> str:
    """Return all finished runs as one table: mean and spread over seeds."""
    lines = [
        "| features | model | threshold | micro F1 | macro F1 | mAP | ECE | train, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SETTINGS:
        stem = name.replace(" ", "").replace(",", "_")
        for model in ("linear", "fusion"):
            runs = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{stem}-{model}-*.json"))]
            if not runs:
                continue
            if "baseline" in runs[0]:
                peer = runs[0]["baseline"]
                lines.append(
                    f"| {name} | scikit-learn one-vs-rest | global | {peer['micro']:.4f} | {peer['macro']:.4f} | "
                    f"{peer['mAP']:.4f} | – | – |"
                )
            for rule in runs[0]["rules"]:
                cells = [_spread([r["rules"][rule][f] for r in runs]) for f in ("micro", "macro")]
                tail = [_spread([r[f] for r in runs]) for f in ("mAP", "ece")]
                seconds = np.mean([r["train_s"] for r in runs])
                lines.append(f"| {name} | {model} | {rule} | {' | '.join(cells + tail)} | {seconds:.0f} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    main()
