"""TransE: a relation is a translation.

score = -|| h + r - t ||, L1 or L2.

Bordes, Usunier, Garcia-Duran, Weston, Yakhnenko: Translating embeddings for modeling multi-relational data, NIPS 2013,
equation 1. The paper keeps entities at length 1; here they are free, as is usual with the self-adversarial loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_choice, check_range
from reeltag.graph.scorers.contract import Side, distance_to_all, paired_distance, uniform


@dataclass(frozen=True, kw_only=True)
class TransE:
    """Translation: ``h + r`` should meet ``t``.

    Attributes:
        dim: Dimension of entities and relations.
        norm: 1 or 2, the distance.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    dim: int = 200
    norm: int = 2
    reciprocal: bool = False

    name = "transe"
    one_relation = False
    network = None

    def __post_init__(self) -> None:
        check_range("TransE", "dim", self.dim, 1, 100_000)
        check_choice("TransE", "norm", self.norm, (1, 2))

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
        """Columns of a relation: the translation."""
        return self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from [-6 / sqrt(dim), 6 / sqrt(dim)] (the paper's algorithm 1)."""
        bound = 6 / self.dim**0.5
        return uniform((n_entities, self.dim), bound, generator), uniform((n_relations, self.dim), bound, generator)

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return relations

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return where the missing side should be: ``h + r``, or ``t - r``."""
        return known + relation if side == "tail" else known - relation

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        return -paired_distance(query, target, self.norm)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        return -distance_to_all(query, candidates, self.norm)
