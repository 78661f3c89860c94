"""Collaborative gating: every expert is masked by what all experts say together (Liu et al. 2019, arXiv 1907.13487).

For experts m with vectors p_m, present or not: ``t_mn = g([p_m ; p_n])`` of every pair of present experts, m = n too;
``T_m`` their mean over n; ``out_m = normalise(p_m * sigmoid(BN(W p_m) + BN(T_m)))``. All T_m are computed from the
ungated p, so the order of the experts is nothing; absent experts count neither in T nor in the figures of the batch.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.alignment import BatchNorm
from reeltag.models.dropout import Dropout


class PairNetwork(nn.Module):
    """g of a pair: a linear map of both side by side, then batch norm, Mish and a linear map as often as asked.

    Args:
        dim: Width of an expert, and of what is returned.
        layers: Linear maps in all, at least 1.
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, dim)  # one map of [p_m ; p_n], written as the sum of two
        self.other = nn.Linear(dim, dim, bias=False)
        self.rest = nn.Sequential(
            *[layer for _ in range(layers - 1) for layer in (BatchNorm(dim), nn.Mish(), nn.Linear(dim, dim))]
        )

    def forward(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return g (n_pairs, dim) of pairs of the rows of x (n, dim), given by their places (n_pairs,)."""
        return self.last(self.hidden(x, first, second))

    def hidden(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return what the last map reads of pairs, as ``forward`` takes them; g itself when there is one map."""
        pairs: torch.Tensor = self.rest[:-1](self.own(x)[first] + self.other(x)[second])
        return pairs

    def last(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return g (n, dim) of what the last map reads (n, dim). It is linear: g of a mean is the mean of g."""
        pairs: torch.Tensor = self.rest[-1:](hidden)
        return pairs


class CollaborativeGate(nn.Module):
    """Gates experts.

    Args:
        dim: Width of an expert.
        layers: Linear maps of g.
        star: Pair every expert with the mean of those present, not with each: M pairs for M * M.
        dropout: Of what an expert is told by the others.
    """

    def __init__(self, dim: int, *, layers: int = 3, star: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.star = star
        self.pair = PairNetwork(dim, layers)
        self.own = nn.Linear(dim, dim)
        self.own_norm, self.told_norm = BatchNorm(dim), BatchNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, experts: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate the experts of places (a title, or a shot of one).

        Args:
            experts: Of unit length, (n_places, n_experts, dim); what stands where one is absent is not read.
            present: Boolean, (n_places, n_experts).

        Returns:
            The gated experts, of unit length, 0 where absent, and the gates in [0, 1], 0 where absent; both of the
            shape of ``experts``.
        """
        place, expert = present.nonzero(as_tuple=True)  # of every expert that is there
        own = experts[place, expert]  # (n_there, dim)
        told = self._of_mean(experts, present, place, own) if self.star else self._of_pairs(present, place, own)
        gate = torch.sigmoid(self.own_norm(self.own(own)) + self.dropout(self.told_norm(told)))
        gated = functional.normalize(own.float() * gate.float(), dim=1)
        return _spread(gated, experts, place, expert), _spread(gate, experts, place, expert)

    @torch.no_grad()
    def make_neutral(self) -> None:
        """Set every gate to one half, whatever the experts say, so that gated experts are the experts themselves."""
        for norm in (self.own_norm, self.told_norm):
            norm.weight.zero_()
            norm.bias.zero_()

    def _of_pairs(self, present: torch.Tensor, place: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return T (n_there, dim) of the experts that are there: the mean of g over the experts of their place."""
        counts = present.sum(dim=1)  # (n_places,)
        partners = counts[place]  # of every expert, itself among them
        first = torch.arange(len(own), device=own.device).repeat_interleave(partners)
        starts = (counts.cumsum(0) - counts)[place]  # where the experts of its place begin
        ends = partners.cumsum(0)
        second = torch.arange(len(first), device=own.device) - (ends - partners - starts).repeat_interleave(partners)
        hidden = self.pair.hidden(own, first, second).float()
        sums = torch.zeros(own.shape, device=own.device).index_add(0, first, hidden)
        return self.pair.last(sums / partners[:, None])

    def _of_mean(
        self, experts: torch.Tensor, present: torch.Tensor, place: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        """Return g (n_there, dim) of every expert with the mean of those of its place."""
        sums = experts.masked_fill(~present[:, :, None], 0).sum(dim=1)
        means = sums / present.sum(dim=1, keepdim=True).clamp(min=1)  # (n_places, dim)
        rows = torch.arange(len(own), device=own.device)
        return torch.as_tensor(self.pair(torch.cat([own, means[place]]), rows, rows + len(own)))


def _spread(values: torch.Tensor, like: torch.Tensor, place: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
    """Return values (n_there, dim) at their places and experts, 0 elsewhere, in single precision."""
    return torch.zeros(like.shape, device=like.device).index_put((place, expert), values.float())


__all__ = ["CollaborativeGate", "PairNetwork"]
