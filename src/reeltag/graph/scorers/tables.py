"""What scorers have in common whose two tables are all they have."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reeltag.config import check_range
from reeltag.graph.scorers.contract import uniform


@dataclass(frozen=True, kw_only=True)
class TableScorer:
    """A scorer without a network: one vector per entity, one per relation, read as they are unless it says otherwise.

    Attributes:
        dim: Dimension of entities and relations.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
    """

    dim: int = 200
    reciprocal: bool = False

    one_relation = False
    network = None
    _largest_dim = 100_000

    def __post_init__(self) -> None:
        check_range(type(self).__name__, "dim", self.dim, 1, self._largest_dim)

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
        """Columns of a relation: the vector."""
        return self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw both tables from [-6 / sqrt(dim), 6 / sqrt(dim)] (Bordes et al., NIPS 2013, algorithm 1)."""
        bound = 6 / self.dim**0.5
        entities = uniform((n_entities, self.entity_width), bound, generator)
        return entities, uniform((n_relations, self.relation_width), bound, generator)

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return relations


def normal_tables(
    shapes: tuple[tuple[int, int], tuple[int, int]], scale: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two tables of normal numbers of a standard deviation."""
    entities, relations = (torch.randn(shape, generator=generator).mul_(scale) for shape in shapes)
    return entities, relations
