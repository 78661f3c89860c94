"""TransE: a relation is a translation.

score = -|| h + r - t ||, L1 or L2.

Bordes, Usunier, Garcia-Duran, Weston, Yakhnenko: Translating embeddings for modeling multi-relational data, NIPS 2013,
equation 1. The paper keeps entities at length 1; here they are free, as is usual with the self-adversarial loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_choice
from reeltag.graph.scorers.contract import Side, distance_to_all, paired_distance
from reeltag.graph.scorers.tables import TableScorer


@dataclass(frozen=True, kw_only=True)
class TransE(TableScorer):
    """Translation: ``h + r`` should meet ``t``.

    Attributes:
        dim: Dimension of entities and relations.
        norm: 1 or 2, the distance.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    norm: int = 2

    name = "transe"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("TransE", "norm", self.norm, (1, 2))

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return where the missing side should be: ``h + r``, or ``t - r``."""
        return known + relation if side == "tail" else known - relation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        return -paired_distance(query, target, self.norm)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        return -distance_to_all(query, candidates, self.norm)
