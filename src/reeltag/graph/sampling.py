"""Batches of true links in chunks, and the negatives that the links of a chunk share.

Sharing negatives turns their scores into matrix products. A chunk asks for one side only, tails or heads; a scorer with
wide relations, and negatives drawn by type, ask for one relation a chunk too. Everything is drawn from generators
seeded by (seed, epoch, batch): a run can go on at any epoch, and which thread takes which batch does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from reeltag.config import check_choice, check_range
from reeltag.graph.scorers import Side
from reeltag.graph.triples import Triples

CORRUPTIONS = ("uniform", "bernoulli", "typed")


@dataclass(frozen=True, kw_only=True)
class NegativeConfig:
    """How negatives are made.

    Attributes:
        count: Negatives per chunk, shared by its links; 0 takes every entity (1-N training).
        chunk_size: Links that share negatives.
        corruption: ``uniform``: either side with even odds, any entity. ``bernoulli``: the side is drawn so that
            false negatives are rare (Wang et al., AAAI 2014: the head with tails-per-head / (tails-per-head +
            heads-per-tail)). ``typed``: even odds, and only entities seen on that side of the relation.
    """

    count: int = 64
    chunk_size: int = 256
    corruption: str = "uniform"

    def __post_init__(self) -> None:
        check_range("NegativeConfig", "count", self.count, 0, 1_000_000)
        check_range("NegativeConfig", "chunk_size", self.chunk_size, 1, 1_000_000)
        check_choice("NegativeConfig", "corruption", self.corruption, CORRUPTIONS)


@dataclass(frozen=True)
class LinkBatch:
    """Chunks of links that ask for one side.

    Attributes:
        side: The side that is asked for and corrupted.
        rows: Rows of the training triples, (c, p).
        weight: 1, or 0 where a row only fills up its chunk, (c, p).
    """

    side: Side
    rows: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


class LinkSampler:
    """Draws the batches of an epoch and their negatives.

    Args:
        triples: The training links.
        n_entities: Entities of the graph.
        n_relations: Relations of the graph.
        config: How negatives are made.
        one_relation: The links of a chunk must share their relation.
        once_per_question: An epoch asks every question, (known side, relation), once and not once per link: for
            losses that see all answers of a question together.
    """

    def __init__(
        self,
        triples: Triples,
        n_entities: int,
        n_relations: int,
        config: NegativeConfig,
        *,
        one_relation: bool,
        once_per_question: bool = False,
    ) -> None:
        self.triples, self.n_entities, self.config = triples, n_entities, config
        self.one_relation = one_relation or config.corruption == "typed"
        self._head_odds = head_odds(triples, n_relations) if config.corruption == "bernoulli" else None
        self._pools = _TypePools(triples, n_relations) if config.corruption == "typed" else None
        self._questions: dict[Side, npt.NDArray[np.int64]] = {}
        if once_per_question:
            self._questions["tail"] = _first_rows(triples.relation, triples.head)
            self._questions["head"] = _first_rows(triples.relation, triples.tail)

    @property
    def n_links(self) -> int:
        """Links (or questions, where each is asked once) in an epoch."""
        return sum(map(len, self._questions.values())) or len(self.triples)

    def epoch(self, batch_size: int, seed: tuple[int, int]) -> list[LinkBatch]:
        """Return the batches of one epoch: every training link once, in random order.

        Args:
            batch_size: Links per batch; a batch holds whole chunks, so it is rounded down to a multiple of them.
            seed: Seed of the run, number of the epoch.
        """
        random = np.random.default_rng((*seed, 0))
        size = min(self.config.chunk_size, batch_size)
        per_batch = max(1, batch_size // size)
        batches: list[LinkBatch] = []
        for side, rows in self._rows(random).items():
            chunks, weights = self._chunks(rows[random.permutation(len(rows))], size)
            order = random.permutation(len(chunks))
            for start in range(0, len(order), per_batch):
                taken = order[start : start + per_batch]
                batches.append(LinkBatch(side, chunks[taken], weights[taken]))
        return [batches[i] for i in random.permutation(len(batches))]

    def negatives(self, batch: LinkBatch, generator: torch.Generator) -> torch.Tensor:
        """Return entity ids (c, count) for the chunks of a batch."""
        shape = (len(batch.rows), self.config.count)
        if self._pools is None:
            return torch.randint(self.n_entities, shape, generator=generator)
        relations = self.triples.relation[batch.rows[:, 0]]
        return self._pools.draw(relations, batch.side, torch.rand(shape, generator=generator, dtype=torch.float64))

    def _rows(self, random: np.random.Generator) -> dict[Side, npt.NDArray[np.int64]]:
        """Return the rows whose tails and whose heads this epoch asks for."""
        if self._questions:
            return self._questions
        odds = 0.5 if self._head_odds is None else self._head_odds[self.triples.relation]
        for_head = random.random(len(self.triples)) < odds
        return {"tail": np.flatnonzero(~for_head), "head": np.flatnonzero(for_head)}

    def _chunks(self, rows: npt.NDArray[np.int64], size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Cut shuffled rows into chunks (k, size); the last chunk of a group is filled up with the group's own rows."""
        if not len(rows):
            return np.empty((0, size), np.int64), np.empty((0, size), np.float32)
        groups = self.triples.relation[rows] if self.one_relation else np.zeros(len(rows), np.int32)
        order = np.argsort(groups, kind="stable")
        rows, groups = rows[order], groups[order]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        counts = np.diff(starts, append=len(rows))
        n_chunks = -(-counts // size)
        first = np.concatenate([[0], np.cumsum(n_chunks)[:-1]]) * size  # place of every group in the padded list
        group = np.repeat(np.arange(len(starts)), counts)
        within = np.arange(n_chunks.sum() * size) - np.repeat(first, n_chunks * size)
        padded = rows[np.repeat(starts, n_chunks * size) + within % np.repeat(counts, n_chunks * size)]
        weight = np.zeros(len(padded), np.float32)
        place = first[group] + np.arange(len(rows)) - starts[group]
        padded[place], weight[place] = rows, 1.0
        return padded.reshape(-1, size), weight.reshape(-1, size)


def head_odds(triples: Triples, n_relations: int) -> npt.NDArray[np.float64]:
    """Return the odds of corrupting the head per relation: tph / (tph + hpt) (Wang et al., AAAI 2014), (n_relations,).

    tph is the mean number of tails per head, hpt of heads per tail; a relation without links gets 0.5.
    """
    links = np.bincount(triples.relation, minlength=n_relations).astype(np.float64)
    heads, tails = (_distinct(triples.relation, side, n_relations) for side in (triples.head, triples.tail))
    tails_per_head, heads_per_tail = (links / np.maximum(n, 1) for n in (heads, tails))
    total = tails_per_head + heads_per_tail
    return np.where(total > 0, tails_per_head / np.where(total > 0, total, 1), 0.5)


def _distinct(
    relations: npt.NDArray[np.int32], entities: npt.NDArray[np.int32], n_relations: int
) -> npt.NDArray[np.float64]:
    """Return how many distinct entities every relation has on one side, (n_relations,)."""
    pairs = np.unique(relations.astype(np.int64) << 32 | entities)
    return np.bincount(pairs >> 32, minlength=n_relations).astype(np.float64)


def _first_rows(relations: npt.NDArray[np.int32], known: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return one row of every distinct question (relation, known)."""
    first: npt.NDArray[np.int64] = np.unique(relations.astype(np.int64) << 32 | known, return_index=True)[1]
    return first


class _TypePools:
    """The entities seen on each side of every relation."""

    def __init__(self, triples: Triples, n_relations: int) -> None:
        self._members: dict[Side, npt.NDArray[np.int64]] = {}
        self._starts: dict[Side, npt.NDArray[np.int64]] = {}
        sides: tuple[tuple[Side, npt.NDArray[np.int32]], ...] = (("tail", triples.tail), ("head", triples.head))
        for side, entities in sides:
            pairs = np.unique(triples.relation.astype(np.int64) << 32 | entities)
            self._members[side] = pairs & 0xFFFFFFFF
            self._starts[side] = np.searchsorted(pairs >> 32, np.arange(n_relations + 1))

    def draw(self, relations: npt.NDArray[np.int32], side: Side, fractions: torch.Tensor) -> torch.Tensor:
        """Return members (c, n) of the relations (c,) at the given fractions, numbers in [0, 1) of shape (c, n)."""
        starts = self._starts[side]
        low, size = starts[relations], starts[relations + 1] - starts[relations]
        place = low[:, None] + np.floor(fractions.numpy() * size[:, None]).astype(np.int64)
        return torch.from_numpy(self._members[side][place])
