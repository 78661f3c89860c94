"""RotatE: a relation turns every complex coordinate of the head by an angle of its own.

score = -|| h o r - t ||, |r_k| = 1.

Sun, Deng, Nie, Tang: RotatE: knowledge graph embedding by relational rotation in complex space, ICLR 2019, equation 2.
``norm=1`` is the authors' distance, the sum of the moduli of the coordinates; ``norm=2`` is the length of the whole
difference, which turns into one matrix product and is many times faster. The relation table holds angles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from reeltag.config import check_choice, check_range
from reeltag.graph.scorers.contract import Side, distance_to_all, paired_distance, uniform
from reeltag.graph.scorers.tables import TableScorer

_CELLS_AT_ONCE = 2_000_000


@dataclass(frozen=True, kw_only=True)
class RotatE(TableScorer):
    """Rotation in the complex plane.

    Attributes:
        dim: Complex dimension of entities; a relation has as many angles.
        norm: 1: sum of moduli; 2: length of the difference.
        reciprocal: A missing head is asked for as the tail of the reverse relation.
        bound: Entities start in [-bound, bound]; ``6 / sqrt(dim)`` when None.
    """

    norm: int = 2
    bound: float | None = None

    name = "rotate"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("RotatE", "norm", self.norm, (1, 2))
        if self.bound is not None:
            check_range("RotatE", "bound", self.bound, 1e-6, 1000)

    @property
    def entity_width(self) -> int:
        """Columns of an entity: real parts, then imaginary parts."""
        return 2 * self.dim

    @property
    def relation_width(self) -> int:
        """Columns of a relation: angles in radians."""
        return self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw entities from [-bound, bound], angles from [-pi, pi]."""
        bound = 6 / self.dim**0.5 if self.bound is None else self.bound
        entities = uniform((n_entities, 2 * self.dim), bound, generator)
        return entities, uniform((n_relations, self.dim), math.pi, generator)

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the cosines and sines of the angles."""
        return torch.cat([relations.cos(), relations.sin()], -1)

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return the head turned, or the tail turned back (which leaves distances as they are)."""
        a, b = known.chunk(2, -1)
        c, s = relation.chunk(2, -1)
        if side == "tail":
            return torch.cat([a * c - b * s, a * s + b * c], -1)
        return torch.cat([a * c + b * s, b * c - a * s], -1)

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p)."""
        if self.norm == 2:
            return -paired_distance(query, target, 2)
        moduli: torch.Tensor = torch.linalg.vector_norm(torch.unflatten(query - target, -1, (2, self.dim)), dim=-2)
        return -moduli.sum(-1)

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return -distance, (c, p, n)."""
        if self.norm == 2:
            return -distance_to_all(query, candidates, 2)
        found: torch.Tensor = _ModuliDistance.apply(query, candidates)  # type: ignore[no-untyped-call]
        return -found


class _ModuliDistance(torch.autograd.Function):
    """Sum over k of |q_k - t_k| for complex coordinates, a few rows at a time so that memory stays small."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(query, candidates)
        chunks = query.shape[0]
        out = query.new_empty(chunks, query.shape[1], candidates.shape[1])
        for chunk in range(chunks):
            for rows in _row_blocks(query, candidates):
                out[chunk, rows] = _moduli(query[chunk, rows], candidates[chunk])[1].sum(-1)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query, candidates = ctx.saved_tensors
        grad_query, grad_candidates = torch.zeros_like(query), torch.zeros_like(candidates)
        for chunk in range(query.shape[0]):
            for rows in _row_blocks(query, candidates):
                difference, moduli = _moduli(query[chunk, rows], candidates[chunk])
                weight = grad[chunk, rows].unsqueeze(-1) / moduli.clamp_min(1e-12)
                pulled = difference * weight.unsqueeze(-2)  # (rows, n, 2, dim)
                grad_query[chunk, rows] = pulled.sum(1).flatten(-2)
                grad_candidates[chunk] -= pulled.sum(0).flatten(-2)
        return grad_query, grad_candidates


def _row_blocks(query: torch.Tensor, candidates: torch.Tensor) -> list[slice]:
    step = max(1, _CELLS_AT_ONCE // max(candidates.shape[1] * candidates.shape[2], 1))
    return [slice(start, start + step) for start in range(0, query.shape[1], step)]


def _moduli(query: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return differences (p, n, 2, dim) and their moduli (p, n, dim)."""
    difference = torch.unflatten(query.unsqueeze(1) - candidates.unsqueeze(0), -1, (2, -1))
    return difference, torch.linalg.vector_norm(difference, dim=-2)
