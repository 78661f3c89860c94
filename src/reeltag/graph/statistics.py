"""The shape of a knowledge graph in numbers: sizes, degrees, and how many tails a head has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.config import to_json

_HUBS = 10


@dataclass(frozen=True, kw_only=True)
class Hub:
    """An entity of high degree.

    Attributes:
        key: Its key, unique within its kind.
        name: Its name.
        kind: Its kind.
        degree: Training triples that it heads or ends.
    """

    key: str
    name: str
    kind: str
    degree: int


@dataclass(frozen=True, kw_only=True)
class GraphStatistics:
    """The shape of a knowledge graph; all but ``n_triples`` speaks of the training triples.

    Attributes:
        n_entities: Entities.
        n_relations: Relations.
        n_triples: Triples per split.
        entities_by_kind: Entities per kind, kinds in order of appearance.
        triples_by_relation: Training triples per relation.
        degree_min: Smallest degree of an entity (training triples that it heads or ends).
        degree_median: Median degree.
        degree_mean: Mean degree.
        degree_max: Largest degree.
        degree_one_share: Share of entities of degree 1, in [0, 1].
        hubs: The ten entities of highest degree, falling; of equals the lower id first.
        tails_per_head: Mean number of tails of a head, per relation; 0 for a relation without training triples.
        heads_per_tail: Mean number of heads of a tail, per relation. The Bernoulli sampling of TransH (Wang et al.
            2014) replaces the head with probability tails_per_head / (tails_per_head + heads_per_tail).
    """

    n_entities: int
    n_relations: int
    n_triples: dict[str, int]
    entities_by_kind: dict[str, int]
    triples_by_relation: dict[str, int]
    degree_min: int
    degree_median: float
    degree_mean: float
    degree_max: int
    degree_one_share: float
    hubs: tuple[Hub, ...]
    tails_per_head: dict[str, float]
    heads_per_tail: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return to_json(self)


def summarise(
    entities: pl.DataFrame,
    relations: pl.DataFrame,
    train: pl.DataFrame,
    degrees: npt.NDArray[np.int64],
    n_triples: Mapping[str, int],
) -> GraphStatistics:
    """Count.

    Args:
        entities: Columns key, name, kind.
        relations: Column name.
        train: Training triples, columns head, relation, tail, without repeats.
        degrees: Degree of every entity in them, shape (n_entities,).
        n_triples: Triples per split.
    """
    kinds = entities["kind"].unique(maintain_order=True).to_list()
    of_kind = dict(entities.group_by("kind").len().iter_rows())
    counts = np.zeros((len(relations), 3))  # per relation: triples, distinct heads, distinct tails
    found = train.group_by("relation").agg(n=pl.len(), heads=pl.col("head").n_unique(), tails=pl.col("tail").n_unique())
    counts[found["relation"].to_numpy()] = found.select("n", "heads", "tails").to_numpy()
    names = relations["name"].to_list()
    top = np.argsort(-degrees, kind="stable")[:_HUBS]
    some = len(degrees) > 0
    return GraphStatistics(
        n_entities=len(entities),
        n_relations=len(relations),
        n_triples=dict(n_triples),
        entities_by_kind={kind: of_kind[kind] for kind in kinds},
        triples_by_relation={name: int(n) for name, n in zip(names, counts[:, 0], strict=True)},
        degree_min=int(degrees.min()) if some else 0,
        degree_median=float(np.median(degrees)) if some else 0.0,
        degree_mean=float(degrees.mean()) if some else 0.0,
        degree_max=int(degrees.max()) if some else 0,
        degree_one_share=float((degrees == 1).mean()) if some else 0.0,
        hubs=tuple(Hub(**entities.row(int(row), named=True), degree=int(degrees[row])) for row in top),
        tails_per_head=_ratios(names, counts[:, 0], counts[:, 1]),
        heads_per_tail=_ratios(names, counts[:, 0], counts[:, 2]),
    )


def _ratios(names: list[str], n: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> dict[str, float]:
    return {name: float(ratio) for name, ratio in zip(names, n / np.maximum(of, 1), strict=True)}
