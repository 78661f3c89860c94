"""Speed of graph embedding: positive links per second and peak memory, ours and PyKEEN's, on a graph of IDKG's size.

    python benchmarks/kge_speed.py --out runs/kge_speed [--peer-python PYTHON]

The graph is drawn at random: 264,271 entities, 6 relations, 2,231,455 links, Zipf degrees. Ours runs one epoch (of
40,000 links for ConvE), PyKEEN a few batches. "64 negatives" are, in PyKEEN, 64 drawn for every link; in ours 64 that
the 256 links of a chunk share: every link meets as many, but fewer distinct ones are drawn. Every measurement is a
process of its own (so that its peak memory is its own), on as many threads as --threads says. PyKEEN runs when the
peer's Python has it; of a few batch sizes its fastest counts. What OUT/results.jsonl holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

N_ENTITIES, N_RELATIONS, N_LINKS, DIM = 264_271, 6, 2_231_455, 200
SCORERS = ("transe", "transh", "transr", "transd", "distmult", "complex", "rotate", "conve")
PEER_NAMES = {
    "transe": "TransE", "transh": "TransH", "transr": "TransR", "transd": "TransD", "distmult": "DistMult",
    "complex": "ComplEx", "rotate": "RotatE", "conve": "ConvE",
}  # fmt: skip
TARGETS = {"transe": 100, "rotate": 100, "complex": 150, "transh": 100, "transr": 100, "transd": 100, "conve": 60}
PEER_BATCHES = (512, 4096)
PEER_SLOW = ("transr", "conve")  # whose large batches take minutes a step, and more memory than there is
_PEER_BUDGET_S = 12.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/kge_speed"))
    parser.add_argument("--scorers", nargs="+", default=SCORERS, choices=SCORERS)
    parser.add_argument("--negatives", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        task = json.loads(arguments.measure)
        print("RESULT " + json.dumps({**task, **{"ours": ours, "pykeen": peer}[task["who"]](task)}))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    has_peer = (
        subprocess.run([arguments.peer_python, "-c", "import pykeen"], check=False, capture_output=True).returncode == 0
    )
    if not has_peer:
        print(f"{arguments.peer_python} has no PyKEEN: ours alone")
    for task in tasks(arguments, has_peer):
        if any(all(entry[key] == value for key, value in task.items()) for entry in done):
            continue
        python = arguments.peer_python if task["who"] == "pykeen" else sys.executable
        entry = measured(python, task)
        print(json.dumps(entry), flush=True)
        done.append(entry)
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    text = report(done, arguments.threads)
    (arguments.out / "report.md").write_text(text)
    print(text)


def tasks(arguments: argparse.Namespace, has_peer: bool) -> list[dict[str, Any]]:
    """Ours and the peer's in turn, so that both meet the same state of the machine."""
    found = []
    for repeat in range(arguments.repeats):
        for scorer in arguments.scorers:
            for negatives in arguments.negatives:
                base = {"scorer": scorer, "negatives": negatives, "threads": arguments.threads, "repeat": repeat}
                found.append({"who": "ours", **base})
                if has_peer and repeat == 0 and negatives == arguments.negatives[0]:
                    sizes = PEER_BATCHES[:1] if scorer in PEER_SLOW else PEER_BATCHES
                    found += [{"who": "pykeen", **base, "batch": batch} for batch in sizes]
    return found


def measured(python: str, task: dict[str, Any]) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": str(task["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [python, __file__, "--measure", json.dumps(task)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if lines:
        return json.loads(lines[-1].removeprefix("RESULT ")) | {"date": date.today().isoformat()}
    reason = (ran.stderr.strip().splitlines() or ["killed"])[-1]
    return {**task, "per_second": 0.0, "peak_gb": 0.0, "failed": reason[:200], "date": date.today().isoformat()}


def ours(task: dict[str, Any]) -> dict[str, Any]:
    import polars as pl

    from reeltag.graph.link_model import open_scorer
    from reeltag.graph.sampling import NegativeConfig
    from reeltag.graph.trainer import LinkTrainingConfig, train_links
    from reeltag.graph.triples import KnowledgeGraph, Triples

    names = [str(i) for i in range(N_ENTITIES)]
    entities = pl.DataFrame({"key": names, "name": names}).with_columns(kind=pl.lit("entity"))
    relations = pl.DataFrame({"name": [f"r{i}" for i in range(N_RELATIONS)]}).with_columns(
        head_kind=pl.lit("entity"), tail_kind=pl.lit("entity")
    )
    links = Triples(*drawn_links())
    slow = task["scorer"] == "conve"
    some = links.take(np.arange(40_000 if slow else N_LINKS))
    graph = KnowledgeGraph(entities, relations, {"train": some}, "drawn")
    config = LinkTrainingConfig(
        epochs=1,
        batch_size=1024 if slow else 2048,
        negatives=NegativeConfig(count=task["negatives"]),
        threads=task["threads"],
        schedule="constant",
    )
    _, history = train_links(graph, open_scorer(task["scorer"], {"dim": DIM}), config)
    return {"per_second": history.links_per_second, "peak_gb": peak_gb(), "batch": config.batch_size}


def peer(task: dict[str, Any]) -> dict[str, Any]:
    """Time PyKEEN's training loop (stochastic local closed world, uniform negatives, Adagrad) on a few batches."""
    import torch
    from pykeen.models import model_resolver
    from pykeen.training import SLCWATrainingLoop
    from pykeen.triples import CoreTriplesFactory

    torch.set_num_threads(task["threads"])
    head, relation, tail = drawn_links()
    links = torch.from_numpy(np.stack([head, relation, tail], 1).astype(np.int64))
    everything = CoreTriplesFactory(links, num_entities=N_ENTITIES, num_relations=N_RELATIONS)
    sizes = {"embedding_dim": DIM} | ({"relation_dim": DIM} if task["scorer"] in ("transr", "transd") else {})
    model = model_resolver.make(PEER_NAMES[task["scorer"]], triples_factory=everything, random_seed=0, **sizes)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)

    def epoch(n_batches: int) -> float:
        some = CoreTriplesFactory(
            links[: n_batches * task["batch"]], num_entities=N_ENTITIES, num_relations=N_RELATIONS
        )
        loop = SLCWATrainingLoop(
            model=model,
            triples_factory=some,
            optimizer=optimizer,
            negative_sampler="basic",
            negative_sampler_kwargs={"num_negs_per_pos": task["negatives"]},
        )
        start = time.perf_counter()
        loop.train(some, num_epochs=1, batch_size=task["batch"], use_tqdm=False, use_tqdm_batch=False)
        return time.perf_counter() - start

    return timed(epoch, task["batch"])


def timed(epoch: Callable[[int], float], batch: int) -> dict[str, Any]:
    """One batch to warm up, one to guess from, then as many as fit the budget; the time of an epoch of one batch is
    taken off, so that what an epoch costs before its first batch does not count."""
    epoch(1)
    one = epoch(1)
    n_batches = int(min(max(_PEER_BUDGET_S / max(one, 1e-3), 2), 20))
    seconds = (epoch(n_batches) - one) / (n_batches - 1)
    return {"per_second": batch / max(seconds, 1e-6), "peak_gb": peak_gb()}


def drawn_links() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heads, relations and tails; an entity's chance falls with its rank to the power of 0.8."""
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, N_ENTITIES + 1) ** 0.8
    chances /= chances.sum()
    head, tail = (random.choice(N_ENTITIES, N_LINKS, p=chances).astype(np.int32) for _ in range(2))
    return head, random.integers(0, N_RELATIONS, N_LINKS).astype(np.int32), tail


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(done: list[dict[str, Any]], threads: int) -> str:
    lines = [
        f"Positive links per second, dim {DIM}, {threads} threads; negatives per link, shared by 256 links in ours "
        "(ours: median of the repeats, with the least and the most; PyKEEN: its faster batch size).",
        "",
        "| scorer | negatives | ours | peak GB | PyKEEN | batch | peak GB | ratio | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for scorer in SCORERS:
        for negatives in sorted({entry["negatives"] for entry in done}):
            same = [e for e in done if (e["scorer"], e["negatives"], e["threads"]) == (scorer, negatives, threads)]
            mine = sorted(e["per_second"] for e in same if e["who"] == "ours")
            if not mine:
                continue
            memory = max(e["peak_gb"] for e in same if e["who"] == "ours")
            best = max((e for e in same if e["who"] == "pykeen"), key=lambda e: e["per_second"], default=None)
            cells = [
                scorer,
                str(negatives),
                f"{np.median(mine):,.0f} ({mine[0]:,.0f}–{mine[-1]:,.0f})",
                f"{memory:.2f}",
            ]
            if best is None or not best["per_second"]:
                cells += ["–", "–", "–", "–", "–"]
            else:
                target = f"{TARGETS[scorer]}x" if scorer in TARGETS else "–"
                ratio = f"{np.median(mine) / best['per_second']:,.0f}x"
                cells += [f"{best['per_second']:,.0f}", str(best["batch"]), f"{best['peak_gb']:.2f}", ratio, target]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
