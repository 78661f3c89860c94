"""Ranking against a brute-force ranking with Python sets: filtered and raw, ties, relations, candidates, chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from reeltag.errors import ConfigError, GraphError
from reeltag.graph.known_links import KnownLinks
from reeltag.graph.link_model import LinkModel
from reeltag.graph.ranking import TIES, LinkRanks, RankingConfig, rank_links
from reeltag.graph.scorers import SIDES, Side
from reeltag.graph.triples import Triples

from .link_samples import SMALL, make, model_of, random_triples, rows_of

N_ENTITIES, N_RELATIONS = 14, 3
EVERYTHING = random_triples(110, N_ENTITIES, N_RELATIONS)
HELD_OUT, TRAIN = EVERYTHING.take(slice(25)), EVERYTHING.take(slice(25, None))
KNOWN = KnownLinks([TRAIN, HELD_OUT])


@dataclass(frozen=True)
class SlowRank:
    """Candidates of a question: how many are better, how many tie, how many there are beside the true answer."""

    relation: int
    side: str
    better: int
    ties: int
    others: int


def tied_model(name: str = "distmult", levels: int = 3) -> LinkModel:
    """Return a model whose scores are whole numbers, so that many tie exactly."""
    model = model_of(make(name), N_ENTITIES, N_RELATIONS)
    tables = (torch.randint(levels, table.shape, generator=torch.Generator().manual_seed(i)).float()
              for i, table in enumerate((model.entities, model.relations)))  # fmt: skip
    return LinkModel(model.scorer, *tables)


def slow_ranks(
    model: LinkModel, links: Triples, known: Iterable[tuple[int, int, int]], candidates: Iterable[int] | None = None
) -> list[SlowRank]:
    """Rank one question after the other; ``known`` are the links left out."""
    true = set(known)
    ranks = []
    for side in SIDES:
        for head, relation, tail in rows_of(links):
            one, answer = (head, tail) if side == "tail" else (tail, head)
            scores = model.scores(torch.tensor([one]), torch.tensor([relation]), side)[0].tolist()
            others = [
                e
                for e in (candidates if candidates is not None else range(model.n_entities))
                if e != answer and ((head, relation, e) if side == "tail" else (e, relation, tail)) not in true
            ]
            better = sum(scores[e] > scores[answer] for e in others)
            ties = sum(scores[e] == scores[answer] for e in others)
            ranks.append(SlowRank(relation, side, better, ties, len(others)))
    return ranks


def check(found: LinkRanks, expected: list[SlowRank]) -> None:
    assert found.relation.tolist() == [rank.relation for rank in expected]
    assert found.is_tail.tolist() == [rank.side == "tail" for rank in expected]
    assert found.optimistic.tolist() == [1 + rank.better for rank in expected]
    assert found.pessimistic.tolist() == [1 + rank.better + rank.ties for rank in expected]
    assert found.n_candidates.tolist() == [1 + rank.others for rank in expected]
    assert found.ranks("realistic").tolist() == [1 + rank.better + rank.ties / 2 for rank in expected]


# ---------------------------------------------------------------- against brute force


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_ranks_are_those_of_brute_force(name: str, filtered: bool) -> None:
    model = model_of(make(name), N_ENTITIES, N_RELATIONS)
    found = rank_links(model, HELD_OUT, KNOWN, RankingConfig(filtered=filtered))
    optimistic = slow_ranks(model, HELD_OUT, rows_of(EVERYTHING) if filtered else [])
    # a question asked alone may differ in the last bit, which no rank of these scores depends on
    check(found, optimistic)


@pytest.mark.parametrize("filtered", [True, False])
def test_ranks_with_many_ties_are_those_of_brute_force(filtered: bool) -> None:
    model = tied_model()
    found = rank_links(model, HELD_OUT, KNOWN, RankingConfig(filtered=filtered))
    expected = slow_ranks(model, HELD_OUT, rows_of(EVERYTHING) if filtered else [])
    assert sum(rank.ties for rank in expected) > 20
    check(found, expected)
    assert (found.ranks("optimistic") <= found.ranks()).all()
    assert (found.ranks() <= found.ranks("pessimistic")).all()


@pytest.mark.parametrize("filtered", [True, False])
def test_candidates_are_the_only_ones_that_count(filtered: bool) -> None:
    candidates = np.array([11, 3, 5, 8, 2, 0, 13])
    inside = np.isin(HELD_OUT.head, candidates) & np.isin(HELD_OUT.tail, candidates)
    links = HELD_OUT.take(inside)
    assert len(links) > 3
    model = tied_model()
    found = rank_links(model, links, KNOWN, RankingConfig(filtered=filtered), candidates=candidates)
    check(found, slow_ranks(model, links, rows_of(EVERYTHING) if filtered else [], candidates.tolist()))


def test_all_entities_as_candidates_in_any_order_change_nothing() -> None:
    model = tied_model()
    candidates = np.random.default_rng(0).permutation(N_ENTITIES)
    assert_equal(rank_links(model, HELD_OUT, KNOWN, candidates=candidates), rank_links(model, HELD_OUT, KNOWN))


def assert_equal(found: LinkRanks, expected: LinkRanks) -> None:
    for name in ("relation", "is_tail", "optimistic", "pessimistic", "n_candidates"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("name", ["distmult", "transr"])
@pytest.mark.parametrize("scores_at_once", [1, N_ENTITIES * 4, N_ENTITIES * 24, 10**9])
def test_chunks_change_nothing(name: str, scores_at_once: int) -> None:
    model = tied_model(name)
    whole = rank_links(model, HELD_OUT, KNOWN)
    assert_equal(rank_links(model, HELD_OUT, KNOWN, RankingConfig(scores_at_once=scores_at_once)), whole)


def test_chunks_bound_the_scores_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    scores = LinkModel.scores
    monkeypatch.setattr(
        LinkModel, "scores", lambda self, known, *rest: asked.append(len(known)) or scores(self, known, *rest)
    )
    rank_links(tied_model(), HELD_OUT, KNOWN, RankingConfig(scores_at_once=N_ENTITIES * 4 + 3))
    assert len(asked) == 14  # 25 links in sevenths, both sides
    assert max(asked) == 4  # equal questions are asked once


@pytest.mark.parametrize("side", SIDES)
def test_one_side_is_its_half_of_both(side: Side) -> None:
    model = tied_model()
    both = rank_links(model, HELD_OUT, KNOWN)
    assert_equal(
        rank_links(model, HELD_OUT, KNOWN, RankingConfig(sides=(side,))), both.take(both.is_tail == (side == "tail"))
    )


def test_without_known_links_the_ranked_ones_are_left_out() -> None:
    model = tied_model()
    assert_equal(rank_links(model, HELD_OUT), rank_links(model, HELD_OUT, KnownLinks([HELD_OUT])))


def test_links_that_are_known_twice_count_once() -> None:
    model = tied_model()
    twice = KnownLinks([EVERYTHING, HELD_OUT, TRAIN])
    assert_equal(rank_links(model, HELD_OUT, twice), rank_links(model, HELD_OUT, KNOWN))


def test_links_to_rank_need_not_be_known() -> None:
    model = tied_model()
    check(rank_links(model, HELD_OUT, KnownLinks([TRAIN])), slow_ranks(model, HELD_OUT, rows_of(TRAIN)))


def test_ranking_reports_its_progress() -> None:
    said: list[tuple[str, int, int]] = []
    config = RankingConfig(scores_at_once=N_ENTITIES * 10)
    rank_links(tied_model(), HELD_OUT, KNOWN, config, progress=lambda *report: said.append(report))
    assert said == [("ranking", done, 50) for done in (10, 20, 25, 35, 45, 50)]


# ---------------------------------------------------------------- scores that say nothing


def constant_model(value: float) -> LinkModel:
    model = model_of(make("distmult"), 200, 2)
    return LinkModel(model.scorer, torch.full_like(model.entities, value), torch.ones_like(model.relations))


def test_a_constant_model_does_not_shine() -> None:
    links = random_triples(50, 200, 2)
    ranks = rank_links(constant_model(1.0), links)
    realistic = ranks.figures()
    assert realistic.mean_rank == realistic.expected_mean_rank
    assert realistic.mrr < 0.02
    assert ranks.figures("optimistic").mrr == 1.0
    assert ranks.figures("pessimistic").hits[10] == 0.0


@pytest.mark.parametrize("ties", TIES)
def test_scores_that_are_no_numbers_come_last(ties: str) -> None:
    ranks = rank_links(constant_model(float("nan")), random_triples(50, 200, 2))
    np.testing.assert_array_equal(ranks.ranks(ties), ranks.n_candidates)


def test_a_candidate_whose_score_is_no_number_ties() -> None:
    model = tied_model()
    model.entities[4] = float("nan")
    links = HELD_OUT.take((HELD_OUT.head != 4) & (HELD_OUT.tail != 4))
    found = rank_links(model, links, config=RankingConfig(filtered=False))
    expected = slow_ranks(model, links, [])
    assert (found.optimistic - 1).tolist() == [rank.better for rank in expected]
    assert (found.pessimistic - found.optimistic).tolist() == [rank.ties + 1 for rank in expected]


def test_infinite_scores_rank_as_numbers_do() -> None:
    model = tied_model()
    model.entities[4], model.relations[:] = float("inf"), 1.0
    model.entities[5:] = 1.0
    head, tail = np.array([5, 6]), np.array([4, 5])
    found = rank_links(
        model, Triples(head, np.array([0, 0]), tail), config=RankingConfig(filtered=False, sides=("tail",))
    )
    assert found.optimistic.tolist()[0] == 1
    assert found.optimistic.tolist()[1] > 1


# ---------------------------------------------------------------- figures


RANKS = LinkRanks(
    relation=np.array([0, 0, 1, 1, 1], np.int32),
    is_tail=np.array([True, False, True, True, False]),
    optimistic=np.array([1, 2, 3, 1, 30]),
    pessimistic=np.array([1, 4, 4, 20, 30]),
    n_candidates=np.array([50, 50, 40, 60, 50]),
)


@pytest.mark.parametrize(
    ("ties", "ranks"),
    [("optimistic", [1, 2, 3, 1, 30]), ("realistic", [1, 3, 3.5, 10.5, 30]), ("pessimistic", [1, 4, 4, 20, 30])],
)
def test_figures_are_the_formulas(ties: str, ranks: list[float]) -> None:
    assert RANKS.ranks(ties).tolist() == ranks
    figures = RANKS.figures(ties)
    assert figures.n == 5
    assert figures.mrr == pytest.approx(sum(1 / rank for rank in ranks) / 5)
    assert figures.mean_rank == pytest.approx(sum(ranks) / 5)
    assert figures.expected_mean_rank == pytest.approx((25.5 + 25.5 + 20.5 + 30.5 + 25.5) / 5)
    assert figures.hits == {k: sum(rank <= k for rank in ranks) / 5 for k in (1, 3, 10)}
    flat = figures.to_json()
    assert list(flat) == ["n", "mrr", "mean_rank", "expected_mean_rank", "hits@1", "hits@3", "hits@10"]
    assert flat["hits@3"] == figures.hits[3]


def test_figures_per_relation_add_up() -> None:
    model = tied_model()
    ranks = rank_links(model, HELD_OUT, KNOWN)
    parts = [ranks.take(ranks.relation == r).figures() for r in range(N_RELATIONS)]
    whole = ranks.figures()
    assert sum(part.n for part in parts) == whole.n
    for name in ("mrr", "mean_rank", "expected_mean_rank"):
        assert sum(part.n * getattr(part, name) for part in parts) / whole.n == pytest.approx(getattr(whole, name))
    slow = [r for r in slow_ranks(model, HELD_OUT, rows_of(EVERYTHING)) if r.relation == 1]
    assert parts[1].mrr == pytest.approx(np.mean([1 / (1 + rank.better + rank.ties / 2) for rank in slow]))


def test_no_links_have_no_figures() -> None:
    ranks = rank_links(tied_model(), Triples.empty())
    assert len(ranks.ranks()) == 0
    figures = ranks.figures()
    assert figures.n == 0
    assert all(math.isnan(value) for name, value in figures.to_json().items() if name != "n")


# ---------------------------------------------------------------- refusals


def test_true_answers_must_be_candidates() -> None:
    links = Triples(np.array([1, 2]), np.array([0, 0]), np.array([3, 7]))
    with pytest.raises(GraphError) as error:
        rank_links(tied_model(), links, candidates=np.array([1, 2, 3]))
    assert str(error.value) == "the true answers must be among the candidates; entity 7 is not"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sides": ()}, "RankingConfig.sides must name tail, head or both; got none"),
        ({"sides": ("middle",)}, "RankingConfig.sides must be one of tail, head; got 'middle'"),
        ({"scores_at_once": 0}, "RankingConfig.scores_at_once must be between 1 and 1e+12; got 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        RankingConfig(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_an_unknown_rule_for_ties_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        RANKS.figures("lucky")
    assert str(error.value) == "ranks.ties must be one of optimistic, realistic, pessimistic; got 'lucky'"
