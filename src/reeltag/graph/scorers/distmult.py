"""DistMult: a relation weighs the coordinates of a dot product.

score = sum_k h_k r_k t_k.

Yang, Yih, He, Gao, Deng: Embedding entities and relations for learning and inference in knowledge bases, ICLR 2015,
equation 2 with a diagonal matrix. Symmetric: head and tail can be swapped (unless relations are reciprocal).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_range
from reeltag.graph.scorers.contract import Side


@dataclass(frozen=True, kw_only=True)
class DistMult:
    """Weighted dot product.

    Attributes:
        dim: Dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
        scale: Standard deviation of the first values.
    """

    dim: int = 200
    reciprocal: bool = False
    scale: float = 0.1

    name = "distmult"
    one_relation = False
    network = None

    def __post_init__(self) -> None:
        check_range("DistMult", "dim", self.dim, 1, 100_000)
        check_range("DistMult", "scale", self.scale, 1e-6, 100)

    @property
    def entity_width(self) -> int:
        """Columns of an entity: the vector."""
        return self.dim

    @property
    def vector_width(self) -> int:
        """Leading columns of an entity that are its vector."""
        return self.entity_width

    @property
    def relation_width(self) -> int:
        """Columns of a relation: the weights."""
        return self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from a normal distribution."""
        tables = [torch.randn(n, self.dim, generator=generator).mul_(self.scale) for n in (n_entities, n_relations)]
        return tables[0], tables[1]

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return relations

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return the weighted known side."""
        return known * relation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return dot products, (c, p)."""
        return (query * target).sum(-1)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return dot products, (c, p, n)."""
        return query @ candidates.mT
