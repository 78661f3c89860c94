"""Quality of graph embedding on public link-prediction benchmarks, beside published figures and PyKEEN at equal time.

    python benchmarks/kge_quality.py SHARED_FOLDER --out runs/kge_quality [--only FB15k-237:rotate ...]
    python benchmarks/kge_quality.py SHARED_FOLDER --out runs/kge_quality --only peer --peer-python PYTHON

Every task trains on the train links, was tuned on the validation links alone (see EXPERIMENTS.md) and ranks all test
links, filtered, realistic ties. Results go to OUT/results.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

PEER_SECONDS = 300.0
PEER_RANKED = 1000

# what differs from the scorer's preset, chosen on validation links
_WORDNET = "training.loss.margin=4 training.learning_rate=0.6"
TASKS = {
    ("FB15k-237", "rotate"): "scorer_settings.dim=300 training.epochs=40 training.learning_rate=0.4",
    (
        "WN18RR",
        "rotate",
    ): "scorer_settings.dim=400 training.epochs=40 training.loss.margin=5 training.learning_rate=0.8",
    ("WN18", "rotate"): "scorer_settings.dim=300 training.learning_rate=0.5",
    ("FB15k-237", "transe"): "",
    ("WN18RR", "transe"): _WORDNET,
    ("FB15k-237", "complex"): "",
    ("WN18RR", "complex"): "",
    ("FB15k-237", "distmult"): "",
    ("WN18RR", "distmult"): "",
    ("FB15k-237", "transh"): "",
    ("FB15k-237", "transr"): "",
    ("FB15k-237", "transd"): "",
    ("FB15k-237", "conve"): "training.epochs=15",
    ("WN18RR", "transh"): _WORDNET,
    ("WN18RR", "transr"): _WORDNET,
    ("WN18RR", "transd"): _WORDNET,
}

# (MRR, hits@10) and where they were published
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float | None, float]]] = {
    ("FB15k-237", "rotate"): {"Sun 2019": (0.338, 0.533)},
    ("WN18RR", "rotate"): {"Sun 2019": (0.476, 0.571)},
    ("WN18", "rotate"): {"Sun 2019": (0.949, 0.959)},
    ("FB15k-237", "transe"): {"Sun 2019": (0.294, 0.465), "Ruffinelli 2020": (0.313, 0.497)},
    ("WN18RR", "transe"): {"Sun 2019": (0.226, 0.501), "Ruffinelli 2020": (0.228, 0.520)},
    ("FB15k-237", "distmult"): {"Sun 2019": (0.241, 0.419), "Ruffinelli 2020": (0.343, 0.531)},
    ("WN18RR", "distmult"): {"Sun 2019": (0.43, 0.49), "Ruffinelli 2020": (0.452, 0.531)},
    ("FB15k-237", "complex"): {"Sun 2019": (0.247, 0.428), "Ruffinelli 2020": (0.348, 0.536)},
    ("WN18RR", "complex"): {"Sun 2019": (0.44, 0.51), "Ruffinelli 2020": (0.475, 0.547)},
    ("FB15k-237", "conve"): {"Dettmers 2018": (0.325, 0.501), "Ruffinelli 2020": (0.339, 0.521)},
    ("WN18RR", "conve"): {"Dettmers 2018": (0.43, 0.52)},
    ("WN18RR", "transh"): {"OpenKE, as IDKG's table 4 quotes it": (None, 0.507)},
    ("WN18RR", "transr"): {"OpenKE, as IDKG's table 4 quotes it": (None, 0.519)},
    ("WN18RR", "transd"): {"OpenKE, as IDKG's table 4 quotes it": (None, 0.508)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/kge_quality"))
    parser.add_argument("--only", nargs="+", help="DATASET:SCORER, or 'peer' for PyKEEN at equal wall time.")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run_peer:
        print("RESULT " + json.dumps(peer(arguments.shared, arguments.seed)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    names = {(entry["task"], entry["seed"]) for entry in done}
    wanted = arguments.only or [*(":".join(task) for task in TASKS), "peer", "ours in the peer's time"]
    for task in wanted:
        if (task, arguments.seed) in names:
            continue
        if task == "peer":
            command = [
                arguments.peer_python,
                __file__,
                str(arguments.shared),
                "--run-peer",
                "--seed",
                str(arguments.seed),
            ]
            ran = subprocess.run(command, check=False, capture_output=True, text=True)
            lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                print("PyKEEN did not run:", (ran.stderr.strip().splitlines() or ["?"])[-1])
                continue
            entry = json.loads(lines[-1].removeprefix("RESULT "))
        elif task == "ours in the peer's time":
            entry = ours(arguments.shared, "FB15k-237", "rotate", arguments.seed, within_s=PEER_SECONDS)
        else:
            dataset, _, scorer = task.partition(":")
            entry = ours(arguments.shared, dataset, scorer, arguments.seed)
        entry |= {"task": task, "seed": arguments.seed, "date": date.today().isoformat()}
        print(json.dumps(entry), flush=True)
        done.append(entry)
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    text = report(done)
    (arguments.out / "report.md").write_text(text)
    print(text)


def ours(shared: Path, dataset: str, scorer: str, seed: int, *, within_s: float | None = None) -> dict[str, Any]:
    """Train and rank; with a time limit the epochs are those that fit, as the first of them shows."""
    from dataclasses import replace

    from reeltag.config import from_json, put_setting, to_json
    from reeltag.graph.embedding import EmbeddingConfig, train_embedding
    from reeltag.graph.presets import preset
    from reeltag.graph.triple_files import read_graph

    data = to_json(preset(scorer))
    for setting in TASKS[(dataset, scorer)].split():
        put_setting(data, setting)
    config = from_json(EmbeddingConfig, data)
    graph = read_graph(shared / "data" / "kge" / f"{dataset}.parquet")
    if within_s is not None:
        one = replace(config, training=replace(config.training, epochs=2, evaluate_every=1000))
        start = time.perf_counter()
        train_embedding(graph, one, seed=seed)
        each = (time.perf_counter() - start) / 2
        epochs = int(min(config.training.epochs, 0.9 * within_s / each))
        config = replace(config, training=replace(config.training, epochs=epochs))
    start = time.perf_counter()
    trained = train_embedding(graph, config, seed=seed)
    minutes = (time.perf_counter() - start) / 60
    figures = trained.evaluate("test").figures
    return {
        "dataset": dataset,
        "scorer": scorer,
        "minutes": minutes,
        "links_per_second": trained.history.links_per_second,
        "validation": [list(score) for score in trained.history.scores],
        **figures.to_json(),
        "config": to_json(config),
    }


def peer(shared: Path, seed: int) -> dict[str, Any]:
    """Train PyKEEN's RotatE (dim 200, 64 negatives, self-adversarial, Adam) on FB15k-237 for so many seconds; rank."""
    import numpy as np
    import polars as pl
    import torch
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.losses import NSSALoss
    from pykeen.models import RotatE
    from pykeen.training import SLCWATrainingLoop
    from pykeen.triples import CoreTriplesFactory

    table = pl.read_parquet(shared / "data" / "kge" / "FB15k-237.parquet")
    names = {
        column: {name: i for i, name in enumerate(values)}
        for column, values in (
            ("entity", pl.concat([table["head"], table["tail"]]).unique(maintain_order=True)),
            ("relation", table["relation"].unique(maintain_order=True)),
        )
    }

    def links(split: str) -> torch.Tensor:
        part = table.filter(pl.col("split") == split)
        columns = [("head", "entity"), ("relation", "relation"), ("tail", "entity")]
        ids = [[names[kind][name] for name in part[column]] for column, kind in columns]
        return torch.from_numpy(np.array(ids, np.int64).T.copy())

    sizes = {"num_entities": len(names["entity"]), "num_relations": len(names["relation"])}
    train, validation, test = (CoreTriplesFactory(links(split), **sizes) for split in ("train", "valid", "test"))
    model = RotatE(
        triples_factory=train,
        embedding_dim=200,
        random_seed=seed,
        loss=NSSALoss(margin=9.0, adversarial_temperature=1.0),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=train,
        optimizer=optimizer,
        negative_sampler="basic",
        negative_sampler_kwargs={"num_negs_per_pos": 64},
    )
    epochs, start = 0, time.perf_counter()
    while True:
        before = time.perf_counter()
        loop.train(
            train,
            num_epochs=epochs + 1,
            batch_size=512,
            use_tqdm=False,
            use_tqdm_batch=False,
            continue_training=epochs > 0,
        )
        epochs += 1
        now = time.perf_counter()
        if now - start + (now - before) > PEER_SECONDS:
            break
    seconds = time.perf_counter() - start
    order = torch.randperm(len(test.mapped_triples), generator=torch.Generator().manual_seed(0))
    found = RankBasedEvaluator().evaluate(
        model,
        test.mapped_triples[order[:PEER_RANKED]],  # ranking all of them takes longer than the training
        additional_filter_triples=[train.mapped_triples, validation.mapped_triples, test.mapped_triples],
        batch_size=256,
        use_tqdm=False,
    )
    hits = {f"hits@{k}": float(found.get_metric(f"both.realistic.hits_at_{k}")) for k in (1, 3, 10)}
    mrr = float(found.get_metric("both.realistic.inverse_harmonic_mean_rank"))
    rate = epochs * len(train.mapped_triples) / seconds
    return {
        "dataset": "FB15k-237",
        "scorer": "rotate (PyKEEN)",
        "minutes": seconds / 60,
        "links_per_second": rate,
        "mrr": mrr,
    } | hits


def report(done: list[dict[str, Any]]) -> str:
    lines = [
        "Test links, filtered, realistic ties, two threads. Published figures are other people's runs, mostly longer.",
        "",
        "| dataset | scorer | MRR | hits@1 | hits@3 | hits@10 | minutes | published MRR / hits@10 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in done:
        published = PUBLISHED.get((entry["dataset"], entry["scorer"]), {})
        beside = "; ".join(
            f"{'–' if mrr is None else f'{mrr:.3f}'} / {hits:.3f} ({source})"
            for source, (mrr, hits) in published.items()
        )
        name = entry["scorer"] + (" (in the peer's time)" if entry["task"].startswith("ours") else "")
        cells = [f"{entry[key]:.3f}" for key in ("mrr", "hits@1", "hits@3", "hits@10")]
        lines.append(
            "| " + " | ".join([entry["dataset"], name, *cells, f"{entry['minutes']:.1f}", beside or "–"]) + " |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
