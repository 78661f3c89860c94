"""ComplEx: DistMult with complex numbers, so that head and tail differ.

score = Re( sum_k h_k r_k conj(t_k) ).

Trouillon, Welbl, Riedel, Gaussier, Bouchard: Complex embeddings for simple link prediction, ICML 2016, equation 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_range
from reeltag.graph.scorers.contract import Side


@dataclass(frozen=True, kw_only=True)
class ComplEx:
    """Hermitian product of complex vectors.

    Attributes:
        dim: Complex dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
        scale: Standard deviation of the first values.
    """

    dim: int = 200
    reciprocal: bool = False
    scale: float = 0.1

    name = "complex"
    one_relation = False
    network = None

    def __post_init__(self) -> None:
        check_range("ComplEx", "dim", self.dim, 1, 100_000)
        check_range("ComplEx", "scale", self.scale, 1e-6, 100)

    @property
    def entity_width(self) -> int:
        """Columns of an entity: real parts, then imaginary parts."""
        return 2 * self.dim

    @property
    def vector_width(self) -> int:
        """Leading columns of an entity that are its vector."""
        return self.entity_width

    @property
    def relation_width(self) -> int:
        """Columns of a relation: real parts, then imaginary parts."""
        return 2 * self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from a normal distribution."""
        tables = [torch.randn(n, 2 * self.dim, generator=generator).mul_(self.scale) for n in (n_entities, n_relations)]
        return tables[0], tables[1]

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return relations

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
