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
from reeltag.graph.scorers.tables import TableScorer, normal_tables


@dataclass(frozen=True, kw_only=True)
class DistMult(TableScorer):
    """Weighted dot product.

    Attributes:
        dim: Dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
        scale: Standard deviation of the first values.
    """

    scale: float = 0.1

    name = "distmult"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("DistMult", "scale", self.scale, 1e-6, 100)

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from a normal distribution."""
        return normal_tables(((n_entities, self.dim), (n_relations, self.dim)), self.scale, generator)

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return the weighted known side."""
        return known * relation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return dot products, (c, p)."""
        return (query * target).sum(-1)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return dot products, (c, p, n)."""
        return query @ candidates.mT
