"""What searching many titles costs and misses: the index of reeltag, and HNSW graphs, against comparing every title.

Vectors are drawn from a mixture: 24 genres, within them one sub-centre per 400 titles whose sizes follow a Dirichlet
law (a few hundred times as many in the largest as in the smallest), around each of them a Gaussian of 48 shared
directions, and a little noise in all directions; then cut to length 1. Nearest titles are thus neither all of one tight
cluster nor strangers: the tenth has a cosine of some .7, a title at random one near 0. Queries are drawn likewise and
are no titles. Each index is built in a process of its own, whose peak memory is told without the vectors and Python.

    python benchmarks/vector_index.py [--n 100000 1000000] [--dim 192] [--threads 2] [--queries 1000] [--no-graph]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from reeltag.retrieval.index import IndexConfig, TitleIndex

Vectors = npt.NDArray[np.float32]
GENRES, TITLES_PER_CENTRE, DIRECTIONS = 24, 400, 48
PROBES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
WIDTHS = (16, 32, 64, 128, 256)  # of the search in a graph
LISTS = (2.0, 4.0)
GRAPHS = (16, 32)
SHARES = (0.5, 0.25)  # of titles that a filter leaves
K, SINGLE = 10, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--lists", type=float, nargs="+", default=LISTS, help="lists per square root of n")
    parser.add_argument("--graph", action=argparse.BooleanOptionalAction, default=True, help="HNSW too")
    asked = parser.parse_args()
    for n in asked.n:
        print(f"\n{n:,} titles, {asked.dim} dimensions, {asked.queries:,} queries, {asked.threads} threads", flush=True)
        print("| index | build s | peak MiB | search | recall@10 | batched /s | single /s |")
        print("|---|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            jobs: list[tuple[Any, ...]] = [(exact, None)]
            jobs += [(lists, each) for each in asked.lists]
            jobs += [(graph, each) for each in GRAPHS] if asked.graph else []
            drawn = Path(folder) / "drawn.npy"
            in_a_process(draw, drawn, n, asked.queries, asked.dim)
            for job, setting in jobs:
                in_a_process(job, drawn, asked.queries, asked.threads, setting)


def in_a_process(job: Any, *words: Any) -> None:
    """Run a job in a fresh process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(job, *words).result()


def draw(path: Path, n: int, n_queries: int, dim: int, seed: int = 0) -> None:
    """Write queries and titles, queries first."""
    random = np.random.default_rng(seed)
    n_centres = max(n // TITLES_PER_CENTRE, GENRES)
    genres, centres = random.normal(size=(GENRES, dim)), random.normal(size=(n_centres, dim))
    centres = 0.8 * genres[random.integers(0, GENRES, n_centres)] + 0.8 * centres
    directions = 0.9 * random.normal(size=(DIRECTIONS, dim)) / np.sqrt(DIRECTIONS)
    of = random.choice(n_centres, n + n_queries, p=random.dirichlet(np.full(n_centres, 0.5)))
    out = np.lib.format.open_memmap(path, "w+", np.float32, (n + n_queries, dim))
    for start in range(0, len(out), 20_000):
        part = of[start : start + 20_000]
        drawn = centres[part] + random.normal(size=(len(part), DIRECTIONS)) @ directions
        drawn += 0.3 * random.normal(size=drawn.shape)
        out[start : start + 20_000] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    out.flush()


def read(path: Path, n_queries: int) -> tuple[Vectors, Vectors]:
    whole = np.load(path)
    return whole[:n_queries], whole[n_queries:]


def truth(path: Path) -> npt.NDArray[np.int64]:
    return np.load(path.with_name("truth.npy"))


def exact(path: Path, n_queries: int, threads: int, _: None) -> None:
    """Compare every title: by NumPy as TitleIndex does, and by faiss's IndexFlatIP."""
    import faiss

    faiss.omp_set_num_threads(threads)
    queries, titles = read(path, n_queries)
    ids = [str(row) for row in range(len(titles))]
    with threadpool_limits(threads):
        index = TitleIndex(IndexConfig(exact_up_to=len(titles))).build(ids, titles)
        right = index.search(queries, K).rows
        np.save(path.with_name("truth.npy"), right)
        told("every title, NumPy", 0, 0, [("", lambda q: index.search(q, K).rows)], queries, right)
        flat = faiss.IndexFlatIP(titles.shape[1])
        flat.add(titles)
        told(
            "every title, IndexFlatIP", 0, titles.nbytes / 2**20, [("", lambda q: flat.search(q, K)[1])], queries, right
        )


def lists(path: Path, n_queries: int, threads: int, per_root: float) -> None:
    """The inverted file of TitleIndex, over shares of lists that are looked through, and filters."""
    import faiss

    faiss.omp_set_num_threads(threads)
    queries, titles = read(path, n_queries)
    ids = [str(row) for row in range(len(titles))]
    before, start = peak_mib(), time.perf_counter()
    with threadpool_limits(threads):
        index = TitleIndex(IndexConfig(exact_up_to=1000, lists=per_root)).build(ids, titles)
        seconds, memory = time.perf_counter() - start, peak_mib() - before

        def search(probes: float, mask: Any = None) -> Any:
            def run(q: Vectors) -> npt.NDArray[np.int64]:
                index.config = IndexConfig(exact_up_to=1000, lists=per_root, probes=probes)
                return index.search(q, K, allowed=mask).rows

            return run

        told(f"{index._lists.nlist} lists, fp16", seconds, memory,
             [(f"{100 * probes:g} % of lists", search(probes)) for probes in PROBES], queries, truth(path))  # fmt: skip
        for share in SHARES:  # the half, or quarter, that lies one way: a filter that goes with the clusters
            along = titles @ titles[0]
            mask = along >= np.quantile(along, 1 - share)
            some = TitleIndex(IndexConfig(exact_up_to=len(titles))).build(ids, titles)
            right = some.search(queries, K, allowed=mask).rows
            told(f"the same, filter leaves {100 * share:g} %", seconds, memory,
                 [(f"{100 * probes:g} % of lists or more", search(probes, mask)) for probes in (0.01, 0.02)],
                 queries, right)  # fmt: skip


def graph(path: Path, n_queries: int, threads: int, links: int) -> None:
    """HNSW on vectors in half precision, over widths of the search."""
    import faiss

    faiss.omp_set_num_threads(threads)
    queries, titles = read(path, n_queries)
    before, start = peak_mib(), time.perf_counter()
    made = faiss.IndexHNSWSQ(titles.shape[1], faiss.ScalarQuantizer.QT_fp16, links, faiss.METRIC_INNER_PRODUCT)
    made.hnsw.efConstruction = 80
    made.train(titles[:1000])
    made.add(titles)
    seconds, memory = time.perf_counter() - start, peak_mib() - before

    def search(width: int) -> Any:
        looked = faiss.SearchParametersHNSW(efSearch=width)
        return lambda q: made.search(q, K, params=looked)[1]

    told(f"HNSW {links}, fp16", seconds, memory, [(f"width {w}", search(w)) for w in WIDTHS], queries, truth(path))


def told(
    name: str,
    seconds: float,
    memory: float,
    searches: Iterable[tuple[str, Any]],
    queries: Vectors,
    right: npt.NDArray[np.int64],
) -> None:
    """Print a line per search."""
    for how, search in searches:
        start = time.perf_counter()
        rows = search(queries)
        batched = len(queries) / (time.perf_counter() - start)
        start = time.perf_counter()
        for row in range(min(SINGLE, len(queries))):
            search(queries[row : row + 1])
        single = min(SINGLE, len(queries)) / (time.perf_counter() - start)
        recall = np.mean([len({*a} & {*b}) / K for a, b in zip(rows.tolist(), right.tolist(), strict=True)])
        cost = f"{seconds:.1f} | {memory:,.0f}"
        print(f"| {name} | {cost} | {how} | {recall:.4f} | {batched:,.0f} | {single:,.0f} |", flush=True)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
