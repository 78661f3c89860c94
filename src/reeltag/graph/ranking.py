"""Link prediction, honestly ranked: where the true answer stands among all entities, ties told.

Every link asks two questions, (?, relation, tail) and (head, relation, ?). Filtered ranks leave out other answers that
are known to be true (Bordes et al., NIPS 2013); raw ranks do not. Where candidates tie with the true answer, the
optimistic rank puts it first, the pessimistic one last, and the realistic one in the middle (Berrendorf, Faerman,
Vermue, Tresp: On the ambiguity of rank-based evaluation, 2020): a scorer that gives everything one score must not
shine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError, GraphError
from reeltag.graph.known_links import KnownLinks
from reeltag.graph.link_model import LinkModel
from reeltag.graph.scorers import SIDES, Side
from reeltag.graph.triples import Triples
from reeltag.progress import Progress, silent

TIES = ("optimistic", "realistic", "pessimistic")
HITS_AT = (1, 3, 10)


@dataclass(frozen=True, kw_only=True)
class RankingConfig:
    """Settings of a ranking.

    Attributes:
        filtered: Leave out other answers known to be true.
        sides: The sides asked for: ``tail``, ``head``.
        scores_at_once: Scores held in memory at once (4 bytes each): bounds the questions asked together.
    """

    filtered: bool = True
    sides: tuple[Side, ...] = SIDES
    scores_at_once: int = 16_000_000

    def __post_init__(self) -> None:
        if not self.sides:
            raise ConfigError("RankingConfig.sides must name tail, head or both; got none")
        for side in self.sides:
            check_choice("RankingConfig", "sides", side, SIDES)
        check_range("RankingConfig", "scores_at_once", self.scores_at_once, 1, 1e12)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkRanks:
    """Ranks of the true answers, counted from 1; one row per question.

    Attributes:
        relation: Relation of the question, (n,).
        is_tail: Whether the tail is asked for, (n,).
        optimistic: Rank when ties are won, (n,).
        pessimistic: Rank when ties are lost, (n,).
        n_candidates: Candidates of the question, the true answer included, (n,).
    """

    relation: npt.NDArray[np.int32]
    is_tail: npt.NDArray[np.bool_]
    optimistic: npt.NDArray[np.int64]
    pessimistic: npt.NDArray[np.int64]
    n_candidates: npt.NDArray[np.int64]

    def ranks(self, ties: str = "realistic") -> npt.NDArray[np.float64]:
        """Return the ranks under a rule for ties, (n,)."""
        check_choice("ranks", "ties", ties, TIES)
        if ties == "realistic":
            return (self.optimistic + self.pessimistic) / 2
        return (self.optimistic if ties == "optimistic" else self.pessimistic).astype(np.float64)

    def take(self, where: npt.NDArray[np.bool_]) -> LinkRanks:
        """Return the questions where a mask (n,) is true."""
        return LinkRanks(
            relation=self.relation[where],
            is_tail=self.is_tail[where],
            optimistic=self.optimistic[where],
            pessimistic=self.pessimistic[where],
            n_candidates=self.n_candidates[where],
        )

    def figures(self, ties: str = "realistic") -> RankFigures:
        """Return the usual figures of these ranks."""
        ranks = self.ranks(ties)
        if not len(ranks):
            return RankFigures(n=0, mrr=nan, mean_rank=nan, expected_mean_rank=nan, hits=dict.fromkeys(HITS_AT, nan))
        return RankFigures(
            n=len(ranks),
            mrr=float((1 / ranks).mean()),
            mean_rank=float(ranks.mean()),
            expected_mean_rank=float(((self.n_candidates + 1) / 2).mean()),
            hits={k: float((ranks <= k).mean()) for k in HITS_AT},
        )


@dataclass(frozen=True, kw_only=True)
class RankFigures:
    """Figures of some ranks; nan without any.

    Attributes:
        n: Questions.
        mrr: Mean of 1 / rank, higher is better.
        mean_rank: Mean rank, lower is better.
        expected_mean_rank: Mean rank of guessing.
        hits: Share of ranks at most 1, 3, 10.
    """

    n: int
    mrr: float
    mean_rank: float
    expected_mean_rank: float
    hits: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        hits = {f"hits@{k}": value for k, value in self.hits.items()}
        return {
            "n": self.n,
            "mrr": self.mrr,
            "mean_rank": self.mean_rank,
            "expected_mean_rank": self.expected_mean_rank,
        } | hits


def rank_links(
    model: LinkModel,
    links: Triples,
    known: KnownLinks | None = None,
    config: RankingConfig | None = None,
    *,
    candidates: npt.NDArray[np.int64] | None = None,
    progress: Progress = silent,
) -> LinkRanks:
    """Rank the true answers of links among all entities.

    Args:
        model: The model.
        links: The links asked for.
        known: Links known to be true; needed for filtered ranks.
        config: Settings.
        candidates: Ids that may answer, (n,), distinct, the true answers among them; every entity when None.
        progress: Called with the questions done.

    Returns:
        One row per question: all links for the first side, then all for the second. A true answer whose score is not a
        number comes last, and such a candidate ties.

    Raises:
        GraphError: A true answer is not among the candidates.
    """
    config = config or RankingConfig()
    if config.filtered and known is None:
        known = KnownLinks([links])
    n_candidates = model.n_entities if candidates is None else len(candidates)
    at_once = max(1, config.scores_at_once // max(n_candidates, 1))
    place = _places(candidates, model.n_entities)
    counted = np.zeros((3, len(config.sides), len(links)), np.int64)
    for number, side in enumerate(config.sides):
        order = np.lexsort((links.head if side == "tail" else links.tail, links.relation))  # equal questions together
        for start in range(0, len(links), at_once):
            rows = order[start : start + at_once]
            counted[:, number, rows] = _count(
                model, links.take(rows), side, known if config.filtered else None, candidates, place
            )
            progress("ranking", number * len(links) + start + len(rows), len(config.sides) * len(links))
    better, ties, others = counted.reshape(3, -1)
    return LinkRanks(
        relation=np.tile(links.relation, len(config.sides)),
        is_tail=np.repeat([side == "tail" for side in config.sides], len(links)),
        optimistic=1 + better,
        pessimistic=1 + better + ties,
        n_candidates=1 + others,
    )


def _count(
    model: LinkModel,
    links: Triples,
    side: Side,
    known: KnownLinks | None,
    candidates: npt.NDArray[np.int64] | None,
    place: npt.NDArray[np.int64] | None,
) -> npt.NDArray[np.int64]:
    """Return how many candidates are better, tie, and count at all, the true answer left out, (3, n_links)."""
    asked, truth = (links.head, links.tail) if side == "tail" else (links.tail, links.head)
    first, question = distinct_questions(asked, links.relation)
    asked, relation = asked[first], links.relation[first]
    everyone = None if candidates is None else torch.from_numpy(candidates)
    known_ids, relations = (torch.from_numpy(ids.astype(np.int64)) for ids in (asked, relation))
    scores = model.scores(known_ids, relations, side, everyone)  # (n_questions, n_candidates)
    column = truth.astype(np.int64) if place is None else place[truth]
    if len(column) and column.min() < 0:
        raise GraphError(f"the true answers must be among the candidates; entity {truth[column.argmin()]} is not")
    where = torch.from_numpy(question), torch.from_numpy(column)
    own = scores[where]  # of the same matrix product as all: equal rows give equal scores
    is_lost = own.isnan().numpy()  # comes last
    scores[where] = own.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    counted = np.full(len(first), scores.shape[1])
    if known is not None:
        rows, answers = known.answers(asked, relation, side)
        columns = answers if place is None else place[answers]
        rows, columns = rows[columns >= 0], columns[columns >= 0]
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = float("nan")  # compares false with everything
        counted -= np.bincount(rows, minlength=len(first))
    others = counted[question] - ~scores[where].isnan().numpy()  # the true answer counts once, known or not
    if len(first) < len(links):
        scores = scores.index_select(0, where[0])
    better = np.where(is_lost, others, (scores > own.unsqueeze(1)).sum(1).numpy())
    worse = np.where(is_lost, 0, (scores < own.unsqueeze(1)).sum(1).numpy())
    return np.stack([better, others - better - worse, others])


def distinct_questions(
    known: npt.NDArray[np.int32], relation: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return one row of every distinct question (known, relation), and the number of each row's question."""
    _, first, question = np.unique(relation.astype(np.int64) << 32 | known, return_index=True, return_inverse=True)
    return first, question


def _places(candidates: npt.NDArray[np.int64] | None, n_entities: int) -> npt.NDArray[np.int64] | None:
    """Return the column of every entity among the candidates, -1 where it is none, (n_entities,)."""
    if candidates is None:
        return None
    place = np.full(n_entities, -1, np.int64)
    place[candidates] = np.arange(len(candidates))
    return place
