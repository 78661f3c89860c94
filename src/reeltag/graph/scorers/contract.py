"""What every scorer of links offers, and the distances they share.

A scorer says how plausible a link (head, relation, tail) is: the higher the score, the more plausible. It keeps no
tables: an entity is one row of an entity table and a relation one row of a relation table, and what the columns mean
is the scorer's own business. A score is worked out in two steps, because one query meets many candidates: the known
side and the relation give a *query*, and the query meets the candidates for the other side.

Shapes: c chunks, p queries in a chunk, n candidates that all queries of a chunk share. A relation tensor is
(c, p, relation_width), or (c, 1, relation_width) when the queries of a chunk share their relation.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

Side = Literal["tail", "head"]
SIDES: tuple[Side, ...] = ("tail", "head")


@runtime_checkable
class Scorer(Protocol):
    """How plausible links are.

    Attributes:
        name: Name in ``SCORERS``.
        dim: Dimension of the embeddings, as the paper counts it.
        entity_width: Columns of the entity table.
        vector_width: Leading columns of an entity that are its vector: what neighbours and features are made of.
        relation_width: Columns of the relation table.
        one_relation: The queries of a chunk must share their relation (it is too wide to be copied per query).
        reciprocal: Only tails are ever asked for: a missing head is the tail of the reverse relation, which has a
            row of its own in the relation table (row + n_relations).
        network: Weights beside the two tables; None for most.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def entity_width(self) -> int: ...  # noqa: D102
    @property
    def vector_width(self) -> int: ...  # noqa: D102
    @property
    def relation_width(self) -> int: ...  # noqa: D102
    @property
    def one_relation(self) -> bool: ...  # noqa: D102
    @property
    def reciprocal(self) -> bool: ...  # noqa: D102
    @property
    def network(self) -> nn.Module | None: ...  # noqa: D102

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return fresh tables: (n_entities, entity_width), (n_relations, relation_width)."""
        ...

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Turn distinct relation rows (m, relation_width) into what the other methods read, (m, any width)."""
        ...

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return queries (c, p, any width) for the missing ``side`` from the known rows (c, p, entity_width)."""
        ...

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the scores (c, p) of one target per query, (c, p, entity_width)."""
        ...

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return the scores (c, p, n) of every candidate of the chunk, (c, n, entity_width), for every query."""
        ...


def paired_distance(query: torch.Tensor, target: torch.Tensor, norm: int) -> torch.Tensor:
    """Return the L1 or L2 distance between rows: (c, p, d), (c, p, d) -> (c, p)."""
    distance: torch.Tensor = torch.linalg.vector_norm(query - target, ord=norm, dim=-1)
    return distance


def distance_from_squares(
    query_squares: torch.Tensor, candidate_squares: torch.Tensor, products: torch.Tensor
) -> torch.Tensor:
    """Return L2 distances from ``|q|^2`` (c, p), ``|t|^2`` (broadcast to (c, p, n)) and ``q . t`` (c, p, n)."""
    squares = query_squares.unsqueeze(-1) + candidate_squares - 2 * products
    return squares.clamp_min(1e-9).sqrt()


def distance_to_all(query: torch.Tensor, candidates: torch.Tensor, norm: int) -> torch.Tensor:
    """Return the L1 or L2 distance of every query to every candidate of its chunk: (c, p, d), (c, n, d) -> (c, p, n).

    L2 is one matrix product; L1 has no such form and costs about ten times as much.
    """
    if norm == 1:
        return torch.cdist(query, candidates, p=1.0)
    products = query @ candidates.mT
    return distance_from_squares(squares(query), squares(candidates).unsqueeze(-2), products)


def squares(rows: torch.Tensor) -> torch.Tensor:
    """Return the squared L2 norm of every row: (..., d) -> (...)."""
    return (rows * rows).sum(-1)


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> torch.Tensor:
    """Return numbers drawn evenly from [-bound, bound]."""
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
