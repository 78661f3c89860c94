"""What an added label is worth against one that was learned from the start, on the shared films.

    python benchmarks/new_label.py SHARED_FOLDER --out runs/new_label [--cache FOLDER] [--seeds 3]

Twenty tags with 30 to 150 training titles (drawn by seed 0) are kept out of a tagger's label space altogether; each is
then added from 5, 10 and 20 of its training titles. Recipe ``fusion`` with plot, title, year and credits. Average
precision and F1 per tag on the test split, mean over tags and draws, against: the same recipe trained with all examples
of the tags from the start; cosine to the mean of the examples, of plot vectors (MiniLM) and of the tagger's embeddings;
a logistic regression on the TF-IDF of the plots, from the same examples. The last three tag as many training titles as
the median label has. Finished draws are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score

from reeltag import Catalogue, LabelConfig, Tagger, recipe
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.labels import LabelSpace

FIELD = "tags"
N_TAGS, LEAST, MOST = 20, 30, 150
COUNTS = (1, 5, 10, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/new_label"))
    parser.add_argument("--cache", type=Path, default=None, help="Folder for encoded texts.")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    films = Catalogue.read(options.shared / "data" / "films.parquet")
    lists = films.lists(FIELD)
    rows = {split: np.array([r for r in films.rows_of(split) if lists[r]]) for split in ("train", "test")}
    counts = Counter(tag for row in rows["train"] for tag in set(lists[row]))
    middling = sorted(tag for tag, n in counts.items() if LEAST <= n <= MOST)
    tags = sorted(np.random.default_rng(0).choice(middling, N_TAGS, replace=False).tolist())
    targets, _ = LabelSpace(tags, LabelConfig(field=FIELD)).encode(lists)
    truth = {split: targets[of] for split, of in rows.items()}

    whole = trained(films, options.out / "whole", (), options.cache)
    columns = [whole.labels.column(tag) for tag in tags]
    found = whole.predict_proba(whole.features(films.take(rows["test"])))[:, columns]
    limits = whole.fitted.thresholds()[columns]
    print("learned from the start", json.dumps(scores(truth["test"], found, limits)), flush=True)

    tagger = trained(films, options.out / "without", tuple(tags), options.cache)
    features = {split: tagger.features(films.take(of)) for split, of in rows.items()}
    learned = tagger.predict_proba(features["test"])
    for n in COUNTS:
        for seed in range(options.seeds):
            file = options.out / f"{n}-{seed}.json"
            if not file.exists():
                random = np.random.default_rng(seed)
                draws = [random.choice(np.flatnonzero(column), n, replace=False) for column in truth["train"].T]
                figures = {
                    **added(tagger, films.take(rows["train"]), tags, draws, (features["test"], truth["test"], learned)),
                    **rivals(tagger, features, truth["test"], draws),
                }
                write_json(file, figures)
                print(n, seed, json.dumps(figures), flush=True)
    print(markdown(options.out))


def trained(films: Catalogue, folder: Path, excluded: tuple[str, ...], cache: Path | None) -> Tagger:
    """Return a tagger that knows all tags but some."""
    if folder.is_dir():
        return Tagger.from_pretrained(folder, cache=cache)
    base = recipe("fusion")
    features = replace(base.features, modalities=("plot", "title", "year", "credits"))
    chosen = replace(base, features=features, labels=LabelConfig(field=FIELD, exclude=excluded))
    tagger = Tagger(chosen, cache=cache).fit(films)
    tagger.save_pretrained(folder)
    return tagger


def added(
    tagger: Tagger,
    training: Catalogue,
    tags: list[str],
    draws: list[np.ndarray],
    test: tuple[Features, np.ndarray, np.ndarray],
) -> dict:
    """Add every tag and measure it; the learned labels must not move."""
    features, truth, learned = test
    start = time.perf_counter()
    for tag, rows in zip(tags, draws, strict=True):
        tagger = tagger.add_label(tag, [training.ids[row] for row in rows], training)
    seconds = (time.perf_counter() - start) / len(tags)
    found = tagger.predict_proba(features)
    assert np.array_equal(found[:, : learned.shape[1]], learned)
    found = found[:, learned.shape[1] :]
    figures = scores(truth, found, tagger.fitted.added.thresholds)
    figures |= {
        "seconds_a_label": seconds,
        "mean_probability": float(found.mean()),
        "mean_truth": float(truth.mean()),
        "log_loss": _log_loss(truth, found),
        "log_loss_of_the_usual_share": _log_loss(truth, np.full_like(found, tagger.fitted.added.entries[0].share)),
        "expected_f1": float(np.mean([entry.f1 or 0.0 for entry in tagger.fitted.added.entries])),
    }
    return {"added": figures}


def rivals(tagger: Tagger, features: dict[str, Features], truth: np.ndarray, draws: list[np.ndarray]) -> dict:
    """Measure what needs no tagger, or only its embeddings."""
    share = float(np.median(tagger.labels.counts)) / len(features["train"])
    plots = {split: f.blocks["plot.minilm"].values for split, f in features.items()}
    embedded = {split: tagger.fitted.model.embed(f) for split, f in features.items()}
    words = {split: sp.csr_matrix(f.blocks["plot.tfidf"].values) for split, f in features.items()}
    ways: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
        "prototype, plot": [],
        "prototype, tagger": [],
        "TF-IDF": [],
    }
    for rows in draws:
        for name, vectors in (("prototype, plot", plots), ("prototype, tagger", embedded)):
            middle = vectors["train"][rows].mean(axis=0)
            ways[name].append((vectors["train"] @ middle, vectors["test"] @ middle))
        target = np.zeros(words["train"].shape[0])
        target[rows] = 1
        fitted = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1_000).fit(words["train"], target)
        ways["TF-IDF"].append((fitted.decision_function(words["train"]), fitted.decision_function(words["test"])))
    found = {}
    for name, pairs in ways.items():
        limits = np.array([np.quantile(train, 1 - share) for train, _ in pairs])
        found[name] = scores(truth, np.stack([test for _, test in pairs], axis=1), limits)
    return found


def scores(truth: np.ndarray, found: np.ndarray, limits: np.ndarray) -> dict:
    decided = found >= limits
    labels = range(truth.shape[1])
    return {
        "AP": float(np.mean([average_precision_score(truth[:, c], found[:, c]) for c in labels])),
        "F1": float(np.mean([f1_score(truth[:, c], decided[:, c], zero_division=0) for c in labels])),
    }


def markdown(out: Path) -> str:
    lines = ["| examples | way | AP | F1 |", "|---|---|---|---|"]
    for n in COUNTS:
        runs = [json.loads(file.read_text()) for file in sorted(out.glob(f"{n}-*.json"))]
        for way in runs[0] if runs else ():
            cells = [_mean([run[way][figure] for run in runs]) for figure in ("AP", "F1")]
            lines.append("| " + " | ".join([str(n), way, *cells]) + " |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _log_loss(truth: np.ndarray, found: np.ndarray) -> float:
    p = np.clip(found.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log1p(-p)))


if __name__ == "__main__":
    main()
