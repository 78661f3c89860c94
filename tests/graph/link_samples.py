"""Small graphs and naive formulas that the tests of link prediction share."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from reeltag.graph.link_model import LinkModel
from reeltag.graph.scorers import SCORERS, Scorer
from reeltag.graph.triples import KnowledgeGraph, Triples

SMALL: dict[str, dict[str, object]] = {
    "transe": {"dim": 5},
    "transh": {"dim": 5},
    "transr": {"dim": 4},
    "transd": {"dim": 5},
    "distmult": {"dim": 5},
    "complex": {"dim": 3},
    "conve": {"dim": 12, "height": 3, "filters": 4},
    "rotate": {"dim": 3},
}
# every entry of SCORERS, both norms, with and without reverse relations: (name, settings)
VARIANTS = [
    (name, settings | more)
    for name, settings in SMALL.items()
    for more in (
        ({"norm": 1}, {"norm": 2}, {"norm": 2, "reciprocal": True})
        if name in ("transe", "rotate")
        else ({},)
        if name == "conve"
        else ({}, {"reciprocal": True})
    )
]


def variant_name(value: object) -> str | None:
    """Return a readable test id for the settings of a scorer."""
    if isinstance(value, dict):
        return ",".join(f"{key}={setting}" for key, setting in value.items())
    return None


def make(name: str, **settings: object) -> Scorer:
    scorer: Scorer = SCORERS[name](**SMALL[name] | settings)
    return scorer


def model_of(scorer: Scorer, n_entities: int = 9, n_relations: int = 3, seed: int = 0) -> LinkModel:
    """Return an untrained model whose rows are all different and not near zero."""
    generator = torch.Generator().manual_seed(seed)
    n_rows = n_relations * (2 if scorer.reciprocal else 1)
    entities, relations = scorer.initial(n_entities, n_rows, generator)
    if scorer.network is not None:
        scorer.network.eval()
    noise = (torch.randn(table.shape, generator=generator) * 0.3 for table in (entities, relations))
    entities, relations = (table + more for table, more in zip((entities, relations), noise, strict=True))
    return LinkModel(scorer, entities, relations)


def triples(rows: object) -> Triples:
    array = np.asarray(rows, np.int64).reshape(-1, 3)
    return Triples(array[:, 0], array[:, 1], array[:, 2])


def random_triples(n: int, n_entities: int = 9, n_relations: int = 3, seed: int = 0) -> Triples:
    random = np.random.default_rng(seed)
    columns = (random.integers(top, size=3 * n) for top in (n_entities, n_relations, n_entities))
    return Triples(*columns).unique().take(slice(n))


def rows_of(found: Triples) -> list[tuple[int, int, int]]:
    return list(zip(found.head.tolist(), found.relation.tolist(), found.tail.tolist(), strict=True))


def graph_of(
    train: Triples, n_entities: int, n_relations: int, validation: Triples | None = None, source: str = "memory"
) -> KnowledgeGraph:
    names = [str(i) for i in range(n_entities)]
    entities = pl.DataFrame({"key": names, "name": names, "kind": ["entity"] * n_entities})
    relations = pl.DataFrame({"name": [f"r{i}" for i in range(n_relations)]}).with_columns(
        head_kind=pl.lit("entity"), tail_kind=pl.lit("entity")
    )
    splits = {"train": train} | ({} if validation is None else {"validation": validation})
    return KnowledgeGraph(entities, relations, splits, source)


def lines(n_lines: int = 12, size: int = 12, seed: int = 0) -> KnowledgeGraph:
    """Return a graph that composes: on every line of entities relation k leads k + 1 places on.

    A tenth of the links is held out for validation; they follow from the others.
    """
    line, place, step = (axis.ravel() for axis in np.mgrid[:n_lines, :size, :3])
    inside = place + step + 1 < size
    line, place, step = line[inside], place[inside], step[inside]
    everything = Triples(line * size + place, step, line * size + place + step + 1)
    order = np.random.default_rng(seed).permutation(len(everything))
    cut = len(order) // 10
    return graph_of(everything.take(order[cut:]), n_lines * size, 3, everything.take(order[:cut]), "lines")
