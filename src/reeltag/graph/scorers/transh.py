"""TransH: a relation is a translation on a hyperplane of its own.

score = -|| h' + r - t' ||_2 with e' = e - (w . e) w and |w| = 1.

Wang, Zhang, Feng, Chen: Knowledge graph embedding by translating on hyperplanes, AAAI 2014, section "Translating on
Hyperplanes". The paper squares the distance and asks softly for ``r`` in the hyperplane; here ``r`` is put there
exactly, and entities are free in length. Since ``w`` is a unit vector,

    q . t' = q . t - (w . t)(w . q)   and   |t'|^2 = |t|^2 - (w . t)^2,

so that candidates need no projection per relation: three matrix products do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.graph.scorers.contract import Side, distance_from_squares, paired_distance, squares
from reeltag.graph.scorers.tables import TableScorer


@dataclass(frozen=True, kw_only=True)
class TransH(TableScorer):
    """Translation on a hyperplane.

    Attributes:
        dim: Dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    name = "transh"

    @property
    def relation_width(self) -> int:
        """Columns of a relation: the translation and the normal of the hyperplane."""
        return 2 * self.dim

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Give the normal length 1 and put the translation into the hyperplane."""
        translation, normal = relations.chunk(2, -1)
        normal = torch.nn.functional.normalize(normal, dim=-1)
        translation = translation - (translation * normal).sum(-1, keepdim=True) * normal
        return torch.cat([translation, normal], -1)

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return where the missing side should be on the hyperplane: ``h' + r``, or ``t' - r``."""
        translation, normal = relation.chunk(2, -1)
        projected = known - (known * normal).sum(-1, keepdim=True) * normal
        return projected + translation if side == "tail" else projected - translation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        normal = relation.chunk(2, -1)[1]
        return -paired_distance(query, target - (target * normal).sum(-1, keepdim=True) * normal, 2)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        normal = relation.chunk(2, -1)[1]
        height = normal @ candidates.mT  # (c, p or 1, n): w . t; the query is in the hyperplane, so w . q = 0
        lengths = squares(candidates).unsqueeze(-2) - height * height
        return -distance_from_squares(squares(query), lengths, query @ candidates.mT)
