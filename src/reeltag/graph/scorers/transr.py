"""TransR: every relation has a space of its own and a matrix that maps entities into it.

score = -|| M h + r - M t ||_2.

Lin, Liu, Sun, Liu, Zhu: Learning entity and relation embeddings for knowledge graph completion, AAAI 2015, equation 8
without the square and with free lengths. The matrix starts as the identity. A matrix is too wide to be copied per link:
links are batched by relation, and the candidates of a chunk are mapped once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.graph.scorers.contract import Side, distance_to_all, paired_distance, uniform
from reeltag.graph.scorers.tables import TableScorer


@dataclass(frozen=True, kw_only=True)
class TransR(TableScorer):
    """Translation in the relation's own space.

    Attributes:
        dim: Dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    name = "transr"
    one_relation = True
    _largest_dim = 10_000

    @property
    def relation_width(self) -> int:
        """Columns of a relation: the translation and the matrix, row by row."""
        return self.dim + self.dim**2

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw vectors from [-6 / sqrt(dim), 6 / sqrt(dim)]; matrices are the identity."""
        bound = 6 / self.dim**0.5
        translations = uniform((n_relations, self.dim), bound, generator)
        matrices = torch.eye(self.dim).flatten().expand(n_relations, -1)
        return uniform((n_entities, self.dim), bound, generator), torch.cat([translations, matrices], -1)

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return where the missing side should be: ``M h + r``, or ``M t - r``."""
        mapped = self._map(known, relation)
        translation = relation[..., : self.dim]
        return mapped + translation if side == "tail" else mapped - translation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        return -paired_distance(query, self._map(target, relation), 2)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        return -distance_to_all(query, self._map(candidates, relation), 2)

    def _map(self, rows: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """Map (c, k, dim) into the space of the chunk's relation, (c, 1, relation_width)."""
        matrices = relation[:, 0, self.dim :].reshape(-1, self.dim, self.dim)
        return rows @ matrices.mT
