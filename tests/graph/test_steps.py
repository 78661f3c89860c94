"""Steps against plain autograd on whole tables, link by link, with the same negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from reeltag.errors import ConfigError
from reeltag.graph.link_model import asked
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.optimizers import RowSGD
from reeltag.graph.sampling import LinkBatch, LinkSampler, NegativeConfig
from reeltag.graph.scorers import SIDES, Scorer, Side
from reeltag.graph.steps import LinkState, LinkStep, Penalty

from .link_samples import VARIANTS, make, model_of, random_triples, rows_of, variant_name

N_ENTITIES, N_RELATIONS, RATE = 9, 3, 0.01
LINKS = random_triples(60, N_ENTITIES, N_RELATIONS)
LOSSES = [
    LinkLossConfig(name="margin", margin=2.0),
    LinkLossConfig(name="logistic", margin=1.0),
    LinkLossConfig(name="self-adversarial", margin=3.0, temperature=0.5),
    LinkLossConfig(name="softmax"),
]
# dropout is off and batch normalisation in evaluation, so that links can be scored one by one
FEW = [
    ("transe", {"norm": 1}),
    ("transr", {}),
    ("complex", {"reciprocal": True}),
    ("rotate", {"norm": 2}),
    ("conve", {}),
]


class Example:
    """A step, its state, and copies of the tables to differentiate by plain autograd."""

    def __init__(
        self, scorer: Scorer, loss: LinkLossConfig, penalty: Penalty | None = None, **negatives: object
    ) -> None:
        model = model_of(scorer, N_ENTITIES, N_RELATIONS)
        self.scorer, self.loss, self.penalty = scorer, loss, penalty or Penalty()
        self.entities, self.relations = (t.clone().requires_grad_() for t in (model.entities, model.relations))
        state = LinkState(
            scorer, model.entities, model.relations, RowSGD(model.entities), RowSGD(model.relations), None
        )
        config = NegativeConfig(**{"count": 5, "chunk_size": 8} | negatives)  # type: ignore[arg-type]
        self.sampler = LinkSampler(LINKS, N_ENTITIES, N_RELATIONS, config, one_relation=scorer.one_relation)
        self.state, self.step = state, LinkStep(state, self.sampler, loss, self.penalty)

    def batch(self, side: Side) -> LinkBatch:
        return next(b for b in self.sampler.epoch(16, (0, 0)) if b.side == side and len(b.rows) > 1)

    def links(self, batch: LinkBatch) -> list[tuple[int, float, int, int, int]]:
        """Return (chunk, weight, known, relation, target) of every place in a batch."""
        found = []
        for chunk, place in np.ndindex(*batch.rows.shape):
            head, relation, tail = rows_of(LINKS)[batch.rows[chunk, place]]
            known, target = (head, tail) if batch.side == "tail" else (tail, head)
            found.append((chunk, float(batch.weight[chunk, place]), known, relation, target))
        return found

    def score(self, known: int, relation: int, side: Side, others: list[int]) -> torch.Tensor:
        """Return the scores (n,) of entities, one ``paired`` call each."""
        asked_side, row = asked(self.scorer, torch.tensor(relation), side, N_RELATIONS)
        prepared = self.scorer.prepare(self.relations[row].view(1, -1)).view(1, 1, -1)
        query = self.scorer.query(self.entities[known].view(1, 1, -1), prepared, asked_side)
        scores = [self.scorer.paired(query, prepared, self.entities[one].view(1, 1, -1)) for one in others]
        return torch.cat(scores).flatten()

    def penalised(self, weight: float, known: int, relation: int, side: Side, targets: list[int]) -> torch.Tensor:
        row = asked(self.scorer, torch.tensor(relation), side, N_RELATIONS)[1]
        rows = [self.entities[known], self.relations[row]]
        rows += [self.entities[target] for target in targets]
        return sum(weight * self.penalty.weight * row.abs().pow(self.penalty.power).sum() for row in rows)  # type: ignore[return-value]

    def check(self, batch: LinkBatch, expected: torch.Tensor) -> None:
        """Take the step; its loss must be ``expected`` and its moves those of the gradient of ``expected``."""
        by_entity, by_relation = torch.autograd.grad(expected, (self.entities, self.relations))
        found = self.step(batch, RATE, torch.Generator().manual_seed(7))
        assert found == pytest.approx(float(expected.detach()), rel=1e-4)
        for table, before, gradient in (
            (self.state.entities, self.entities, by_entity),
            (self.state.relations, self.relations, by_relation),
        ):
            torch.testing.assert_close(table, before.detach() - RATE * gradient, rtol=1e-4, atol=2e-5)


def naive(example: Example, batch: LinkBatch) -> torch.Tensor:
    """Return the loss of a batch with sampled negatives, link by link; a negative that is the answer is left out."""
    negatives = example.sampler.negatives(batch, torch.Generator().manual_seed(7)).tolist()
    total = torch.zeros(())
    for chunk, weight, known, relation, target in example.links(batch):
        positive = example.score(known, relation, batch.side, [target])
        false = example.score(known, relation, batch.side, negatives[chunk])
        false = torch.where(torch.tensor(negatives[chunk]) == target, -1e4, false)
        total = total + example.loss(positive.view(1, 1), false.view(1, 1, -1), torch.full((1, 1), weight))
        total = total + example.penalised(weight, known, relation, batch.side, [target])
    return total


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=variant_name)
def test_a_step_is_plain_autograd_for_every_scorer(name: str, settings: dict[str, object], side: Side) -> None:
    example = Example(make(name, **settings), LOSSES[2])
    batch = example.batch(side)
    example.check(batch, naive(example, batch))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(weight=0.1), Penalty(weight=0.1, power=2)], ids=str)
@pytest.mark.parametrize(("name", "settings"), FEW, ids=variant_name)
def test_a_step_is_plain_autograd_for_every_loss(
    name: str, settings: dict[str, object], loss: LinkLossConfig, penalty: Penalty
) -> None:
    example = Example(make(name, **settings), loss, penalty)
    batch = example.batch("head")
    example.check(batch, naive(example, batch))


@pytest.mark.parametrize("corruption", ["bernoulli", "typed"])
def test_a_step_takes_negatives_of_every_kind(corruption: str) -> None:
    example = Example(make("complex"), LOSSES[3], corruption=corruption)
    for side in SIDES:
        fresh = Example(make("complex"), LOSSES[3], corruption=corruption)
        fresh.check(example.batch(side), naive(fresh, example.batch(side)))


def test_a_batch_with_padding_moves_only_what_its_links_meet() -> None:
    example = Example(make("distmult"), LOSSES[1], Penalty(weight=0.1), chunk_size=4)
    batch = LinkBatch("tail", np.array([[3, 0, 0, 0]]), np.array([[1, 0, 0, 0]], np.float32))
    example.check(batch, naive(example, batch))


# ---------------------------------------------------------------- every entity is a negative


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(weight=0.05)], ids=str)
@pytest.mark.parametrize(("name", "settings"), FEW, ids=variant_name)
def test_softmax_over_all_entities_is_cross_entropy(
    name: str, settings: dict[str, object], penalty: Penalty, side: Side
) -> None:
    example = Example(make(name, **settings), LinkLossConfig(name="softmax"), penalty, count=0)
    batch = example.batch(side)
    total = torch.zeros(())
    for _, weight, known, relation, target in example.links(batch):
        scores = example.score(known, relation, side, list(range(N_ENTITIES)))
        total = total - weight * torch.log_softmax(scores, -1)[target]
        total = total + example.penalised(weight, known, relation, side, [target])
    example.check(batch, total)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("name", "settings"), [*FEW, ("distmult", {})], ids=variant_name)
def test_logistic_over_all_entities_knows_all_true_answers(
    name: str, settings: dict[str, object], smoothing: float, side: Side
) -> None:
    loss = LinkLossConfig(name="logistic", margin=0.5, smoothing=smoothing)
    example = Example(make(name, **settings), loss, Penalty(weight=0.05), count=0)
    batch = example.batch(side)
    total = torch.zeros(())
    several = 0
    for _, weight, known, relation, target in example.links(batch):
        question = (known, relation)
        true = {
            t if side == "tail" else h
            for h, r, t in rows_of(LINKS)
            if question == ((h, r) if side == "tail" else (t, r))
        }
        assert target in true
        several += len(true) > 1
        targets = torch.tensor([float(e in true) for e in range(N_ENTITIES)])
        targets = targets * (1 - smoothing) + smoothing / N_ENTITIES
        scores = example.score(known, relation, side, list(range(N_ENTITIES)))
        total = total + weight * functional.binary_cross_entropy_with_logits(scores + 0.5, targets)
        total = total + example.penalised(weight, known, relation, side, [])
    assert several
    example.check(batch, total)


# ---------------------------------------------------------------- networks and penalties


def test_a_step_trains_the_network() -> None:
    example = Example(make("conve"), LinkLossConfig(name="logistic", margin=0.0), count=0)
    network = example.scorer.network
    assert network is not None
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    state = example.state
    state = LinkState(state.scorer, state.entities, state.relations, state.entity_rows, state.relation_rows, optimizer)
    batch = example.batch("tail")
    reference = Example(example.scorer, example.loss, count=0)
    total = torch.zeros(())
    for _, weight, known, relation, _ in reference.links(batch):
        true = {t for h, r, t in rows_of(LINKS) if (h, r) == (known, relation)}
        targets = torch.tensor([float(e in true) for e in range(N_ENTITIES)]) * 0.9 + 0.1 / N_ENTITIES
        scores = reference.score(known, relation, "tail", list(range(N_ENTITIES)))
        total = total + weight * functional.binary_cross_entropy_with_logits(scores, targets)
    gradients = torch.autograd.grad(total, list(network.parameters()))
    LinkStep(state, example.sampler, example.loss, example.penalty)(batch, RATE, torch.Generator())
    for parameter, old, gradient in zip(network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), old - RATE * gradient, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_penalty_is_a_loop(power: int) -> None:
    rows = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]])
    expected = sum(
        0.3 * float(weight[c, p]) * sum(abs(x) ** power for x in rows[c, p].tolist()) for c, p in np.ndindex(2, 3)
    )
    assert float(Penalty(weight=0.3, power=power)(rows, weight)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "Penalty.weight must be between 0 and 1000; got -1.0"),
        ({"power": 0}, "Penalty.power must be between 1 and 10; got 0"),
    ],
)
def test_bad_penalties_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Penalty(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message
