"""ComplEx: DistMult with complex numbers, so that head and tail differ.

score = Re( sum_k h_k r_k conj(t_k) ).

Trouillon, Welbl, Riedel, Gaussier, Bouchard: Complex embeddings for simple link prediction, ICML 2016, equation 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_range
from reeltag.graph.scorers.contract import Side
from reeltag.graph.scorers.tables import TableScorer, normal_tables


@dataclass(frozen=True, kw_only=True)
class ComplEx(TableScorer):
    """Hermitian product of complex vectors.

    Attributes:
        dim: Complex dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
        scale: Standard deviation of the first values.
    """

    scale: float = 0.1

    name = "complex"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("ComplEx", "scale", self.scale, 1e-6, 100)

    @property
    def entity_width(self) -> int:
        """Columns of an entity: real parts, then imaginary parts."""
        return 2 * self.dim

    @property
    def relation_width(self) -> int:
        """Columns of a relation: real parts, then imaginary parts."""
        return 2 * self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from a normal distribution."""
        width = 2 * self.dim
        return normal_tables(((n_entities, width), (n_relations, width)), self.scale, generator)

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return ``h r`` for a missing tail, ``conj(r) t`` for a missing head (its dot product with h is the score)."""
        a, b = known.chunk(2, -1)
        c, d = relation.chunk(2, -1)
        if side == "tail":
            return torch.cat([a * c - b * d, a * d + b * c], -1)
        return torch.cat([a * c + b * d, b * c - a * d], -1)

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return Hermitian products, (c, p)."""
        return (query * target).sum(-1)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return Hermitian products, (c, p, n)."""
        return query @ candidates.mT
