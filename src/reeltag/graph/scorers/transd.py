"""TransD: projections built from a vector of the entity and a vector of the relation.

score = -|| h' + r - t' ||_2 with e' = e + (e_p . e) r_p.

Ji, He, Xu, Liu, Zhao: Knowledge graph embedding via dynamic mapping matrix, ACL 2015, equations 11-13 with entities and
relations of one dimension (the mapping matrix r_p e_p^T + I applied to e). Distances are not squared and lengths are
free. With a = e_p . e,

    q . t' = q . t + a (q . r_p)   and   |t'|^2 = |t|^2 + 2 a (r_p . t) + a^2 |r_p|^2,

so that candidates need no projection per relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.graph.scorers.contract import Side, distance_from_squares, paired_distance, squares
from reeltag.graph.scorers.tables import TableScorer


@dataclass(frozen=True, kw_only=True)
class TransD(TableScorer):
    """Translation after a dynamic projection.

    Attributes:
        dim: Dimension of entities and relations; each has a projection vector of that dimension beside.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    name = "transd"

    @property
    def entity_width(self) -> int:
        """Columns of an entity: vector and projection vector."""
        return 2 * self.dim

    @property
    def vector_width(self) -> int:
        """Leading columns of an entity that are its vector."""
        return self.dim

    @property
    def relation_width(self) -> int:
        """Columns of a relation: translation and projection vector."""
        return 2 * self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw vectors from [-6 / sqrt(dim), 6 / sqrt(dim)], projection vectors a tenth as long (near the identity)."""
        entities, relations = super().initial(n_entities, n_relations, generator)
        entities[:, self.dim :] *= 0.1
        relations[:, self.dim :] *= 0.1
        return entities, relations

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return where the missing side should be: ``h' + r``, or ``t' - r``."""
        translation = relation.chunk(2, -1)[0]
        projected = _project(known, relation)
        return projected + translation if side == "tail" else projected - translation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        return -paired_distance(query, _project(target, relation), 2)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        vectors, projections = candidates.chunk(2, -1)
        turn = relation.chunk(2, -1)[1]  # r_p
        a = (vectors * projections).sum(-1).unsqueeze(-2)  # (c, 1, n)
        products = query @ vectors.mT + a * (query * turn).sum(-1, keepdim=True)
        lengths = squares(vectors).unsqueeze(-2) + a * (2 * (turn @ vectors.mT) + a * squares(turn).unsqueeze(-1))
        return -distance_from_squares(squares(query), lengths, products)


def _project(rows: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
    vectors, projections = rows.chunk(2, -1)
    return vectors + (vectors * projections).sum(-1, keepdim=True) * relation.chunk(2, -1)[1]
