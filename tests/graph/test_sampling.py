"""Batches and negatives: what an epoch covers, what a chunk shares, which side and which entities are drawn."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.errors import ConfigError
from reeltag.graph.sampling import CORRUPTIONS, LinkBatch, LinkSampler, NegativeConfig, head_odds
from reeltag.graph.scorers import SIDES
from reeltag.graph.triples import Triples

from .link_samples import random_triples, rows_of, triples

N_ENTITIES, N_RELATIONS = 30, 4
LINKS = random_triples(400, N_ENTITIES, N_RELATIONS)


def sampler(
    links: Triples = LINKS, *, one_relation: bool = False, once_per_question: bool = False, **config: object
) -> LinkSampler:
    return LinkSampler(
        links,
        N_ENTITIES,
        N_RELATIONS,
        NegativeConfig(**{"count": 6, "chunk_size": 16} | config),  # type: ignore[arg-type]
        one_relation=one_relation,
        once_per_question=once_per_question,
    )


def covered(batches: list[LinkBatch]) -> list[int]:
    """Return the rows of all batches, padding left out."""
    return [int(row) for batch in batches for row in batch.rows[batch.weight > 0]]


def drawn(batches: list[LinkBatch]) -> list[tuple[str, list[list[int]]]]:
    return [(batch.side, batch.rows.tolist()) for batch in batches]


def negatives(one: LinkSampler, batch: LinkBatch, seed: int = 0) -> torch.Tensor:
    return one.negatives(batch, torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- epochs


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("one_relation", [False, True])
def test_an_epoch_has_every_link_once(corruption: str, one_relation: bool) -> None:
    batches = sampler(corruption=corruption, one_relation=one_relation).epoch(64, (0, 0))
    assert sorted(covered(batches)) == list(range(len(LINKS)))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    chunk=st.integers(1, 20),
    batch_size=st.integers(1, 90),
    one=st.booleans(),
    seed=st.integers(0, 9),
)
def test_an_epoch_has_every_link_once_whatever_the_sizes(
    n: int, chunk: int, batch_size: int, one: bool, seed: int
) -> None:
    links = LINKS.take(slice(n))
    batches = sampler(links, chunk_size=chunk, one_relation=one).epoch(batch_size, (seed, 0))
    assert sorted(covered(batches)) == list(range(n))
    size = min(chunk, batch_size)
    for batch in batches:
        assert batch.rows.shape == batch.weight.shape
        assert batch.rows.shape[1] == size
        assert len(batch.rows) <= max(1, batch_size // size)
        assert batch.weight.max(axis=1).min() == 1  # no chunk is all padding
        assert set(np.unique(batch.weight)) <= {0.0, 1.0}


@pytest.mark.parametrize("settings", [{"one_relation": True}, {"corruption": "typed"}])
def test_chunks_share_their_relation_where_they_must(settings: dict[str, object]) -> None:
    one = sampler(**settings)  # type: ignore[arg-type]
    assert one.one_relation
    relations = [np.unique(LINKS.relation[chunk]) for batch in one.epoch(64, (0, 0)) for chunk in batch.rows]
    assert all(len(found) == 1 for found in relations)
    assert not sampler().one_relation


def test_padding_repeats_a_link_of_its_chunk() -> None:
    for batch in sampler(one_relation=True).epoch(64, (0, 0)):
        for rows, weight in zip(batch.rows, batch.weight, strict=True):
            assert set(rows[weight == 0]) <= set(LINKS_OF[int(LINKS.relation[rows[0]])])


LINKS_OF = {r: np.flatnonzero(LINKS.relation == r).tolist() for r in range(N_RELATIONS)}


def test_sides_are_balanced_and_mixed() -> None:
    batches = [batch for epoch in range(20) for batch in sampler().epoch(32, (0, epoch))]
    n = Counter({side: sum(float(b.weight.sum()) for b in batches if b.side == side) for side in SIDES})
    assert n["tail"] / n.total() == pytest.approx(0.5, abs=0.02)
    assert [batch.side for batch in batches[:14]] != sorted(batch.side for batch in batches[:14])


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_same_seed_draws_the_same(corruption: str) -> None:
    first, second = (sampler(corruption=corruption) for _ in range(2))
    batches, again = first.epoch(64, (5, 2)), second.epoch(64, (5, 2))
    assert drawn(batches) == drawn(again)
    assert torch.equal(negatives(first, batches[0], 3), negatives(second, again[0], 3))
    assert not torch.equal(negatives(first, batches[0], 3), negatives(first, batches[0], 4))


def test_epochs_and_seeds_differ() -> None:
    one = sampler()
    assert len({str(drawn(one.epoch(64, seed))) for seed in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_an_epoch_does_not_depend_on_those_before() -> None:
    one = sampler()
    for epoch in range(3):
        last = one.epoch(64, (0, epoch))
    assert drawn(last) == drawn(sampler().epoch(64, (0, 2)))


def test_once_per_question_asks_every_question_once() -> None:
    one = sampler(count=0, once_per_question=True)
    batches = one.epoch(64, (0, 0))
    for side in SIDES:
        known = LINKS.head if side == "tail" else LINKS.tail
        rows = covered([batch for batch in batches if batch.side == side])
        asked = [(int(LINKS.relation[row]), int(known[row])) for row in rows]
        assert sorted(asked) == sorted({(int(r), int(e)) for r, e in zip(LINKS.relation, known, strict=True)})
    assert one.n_links == len(covered(batches))
    assert sampler().n_links == len(LINKS)


# ---------------------------------------------------------------- Bernoulli


def slow_head_odds(links: Triples) -> list[float]:
    """Return tph / (tph + hpt) per relation as Wang et al. count it."""
    odds = []
    for relation in range(N_RELATIONS):
        tails, heads = defaultdict(set), defaultdict(set)
        for h, r, t in rows_of(links):
            if r == relation:
                tails[h].add(t)
                heads[t].add(h)
        if not tails:
            odds.append(0.5)
            continue
        tails_per_head = sum(len(one) for one in tails.values()) / len(tails)
        heads_per_tail = sum(len(one) for one in heads.values()) / len(heads)
        odds.append(tails_per_head / (tails_per_head + heads_per_tail))
    return odds


ONE_TO_MANY = triples([(0, 0, t) for t in range(1, 10)] + [(h, 1, 0) for h in range(1, 5)] + [(1, 2, 2), (2, 2, 3)])


@pytest.mark.parametrize("links", [LINKS, ONE_TO_MANY, Triples.empty()], ids=["random", "one to many", "empty"])
def test_head_odds_are_those_of_the_paper(links: Triples) -> None:
    np.testing.assert_allclose(head_odds(links, N_RELATIONS), slow_head_odds(links))


def test_one_to_many_relations_mostly_corrupt_the_head() -> None:
    assert head_odds(ONE_TO_MANY, N_RELATIONS).tolist() == pytest.approx([0.9, 0.2, 0.5, 0.5])


def test_bernoulli_draws_sides_with_these_odds() -> None:
    one = sampler(ONE_TO_MANY, corruption="bernoulli", chunk_size=4)
    counts = np.zeros((2, N_RELATIONS))
    for epoch in range(400):
        for batch in one.epoch(8, (0, epoch)):
            rows = batch.rows[batch.weight > 0]
            counts[int(batch.side == "head")] += np.bincount(ONE_TO_MANY.relation[rows], minlength=N_RELATIONS)
    np.testing.assert_allclose(counts[1, :3] / counts[:, :3].sum(0), [0.9, 0.2, 0.5], atol=0.05)


# ---------------------------------------------------------------- negatives


def test_uniform_negatives_are_any_entity() -> None:
    one = sampler(count=500)
    (batch, *_) = one.epoch(64, (0, 0))
    found = negatives(one, batch)
    assert found.shape == (len(batch.rows), 500)
    assert set(found.unique().tolist()) == set(range(N_ENTITIES))
    shares = torch.bincount(found.flatten(), minlength=N_ENTITIES) / found.numel()
    assert float((shares - 1 / N_ENTITIES).abs().max()) < 0.02


def test_typed_negatives_were_seen_on_that_side_of_the_relation() -> None:
    links = triples([(h, h % 3, 10 + (7 * h + t) % 20) for h in range(10) for t in range(3)])
    one = sampler(links, corruption="typed", count=200, chunk_size=4)
    met = set()
    for batch in one.epoch(8, (0, 0)):
        pools = defaultdict(set)
        for h, r, t in rows_of(links):
            pools[r].add(t if batch.side == "tail" else h)
        for chunk, found in zip(batch.rows, negatives(one, batch), strict=True):
            relation = int(links.relation[chunk[0]])
            assert set(found.tolist()) == pools[relation]  # all of the pool, and nothing else
            met.add((batch.side, relation))
    assert len(met) == 6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"count": -1}, "NegativeConfig.count must be between 0 and 1e+06; got -1"),
        ({"chunk_size": 0}, "NegativeConfig.chunk_size must be between 1 and 1e+06; got 0"),
        ({"corruption": "none"}, "NegativeConfig.corruption must be one of uniform, bernoulli, typed; got 'none'"),
    ],
)
def test_bad_settings_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        NegativeConfig(**config)  # type: ignore[arg-type]
    assert str(error.value) == message
