"""One step of training: the loss of a batch, its gradients, and the update of the rows they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from reeltag.config import check_range
from reeltag.graph.known_links import KnownLinks
from reeltag.graph.link_model import asked
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.optimizers import RowOptimizer, add_up
from reeltag.graph.sampling import LinkBatch, LinkSampler
from reeltag.graph.scorers import Scorer, Side
from reeltag.graph.triples import Triples

_NEVER = -1e4  # the score of a negative that is the true answer itself: no loss sees it


@dataclass(frozen=True, eq=False)
class LinkState:
    """What training changes.

    Attributes:
        scorer: The scorer, with its network if it has one.
        entities: Table, (n_entities, entity_width).
        relations: Table, (n_relations or twice as many, relation_width).
        entity_rows: Optimizer of the entity table.
        relation_rows: Optimizer of the relation table.
        network: Optimizer of the scorer's network; None without one.
    """

    scorer: Scorer
    entities: torch.Tensor
    relations: torch.Tensor
    entity_rows: RowOptimizer
    relation_rows: RowOptimizer
    network: torch.optim.Optimizer | None

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Weights of the scorer's network."""
        return [] if self.scorer.network is None else list(self.scorer.network.parameters())


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """Weight decay of the rows of a link: ``weight * (sum |h|^power + |r|^power + |t|^power)`` over the columns.

    With power 3 this is the N3 regulariser of Lacroix, Usunier, Obozinski (ICML 2018), taken column by column.
    """

    weight: float = 0.0
    power: int = 3

    def __post_init__(self) -> None:
        check_range("Penalty", "weight", self.weight, 0, 1000)
        check_range("Penalty", "power", self.power, 1, 10)

    def __call__(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the penalty of rows (c, p, width) with their weights (c, p)."""
        powers = rows.square() if self.power == 2 else rows.abs().pow(self.power)
        return self.weight * (weight * powers.sum(-1)).sum()


class LinkStep:
    """Computes the loss of a batch and updates the state.

    Args:
        state: What is trained.
        sampler: Draws negatives; with a count of 0 every entity is one (1-N training).
        loss: Loss of the scores.
        penalty: Weight decay.
    """

    def __init__(self, state: LinkState, sampler: LinkSampler, loss: LinkLossConfig, penalty: Penalty) -> None:
        self.state, self.sampler, self.loss, self.penalty = state, sampler, loss, penalty
        self._n_relations = len(state.relations) // (2 if state.scorer.reciprocal else 1)
        self._device = state.entities.device
        with_answers = sampler.config.count == 0 and loss.name != "softmax"
        self._answers = _Answers(sampler.triples, state.scorer, self._n_relations) if with_answers else None

    def __call__(self, batch: LinkBatch, learning_rate: float, generator: torch.Generator) -> float:
        """Take a step; return the loss summed over the links of the batch."""
        relation = self._ids(self._column(batch, "relation"))
        if self.sampler.one_relation:
            relation = relation[:, :1]
        side, relation = asked(self.state.scorer, relation, batch.side, self._n_relations)
        distinct, inverse = torch.unique(relation, return_inverse=True)
        leaf = self.state.relations.index_select(0, distinct).requires_grad_()
        prepared = self.state.scorer.prepare(leaf)
        rows = prepared.index_select(0, inverse.flatten()).view(*inverse.shape, -1)
        stored = rows
        if self.penalty.weight:  # is of the rows as they are stored, not as the scorer reads them
            stored = leaf.index_select(0, inverse.flatten()).view(*inverse.shape, -1)
        asking = _Asking(batch, side, rows, stored, self._ids(self._column(batch, "known")), self._weight(batch))
        if self.sampler.config.count == 0:
            entities, loss = self._all_entities(asking, relation)
        else:
            entities, loss = self._sampled(asking, self.sampler.negatives(batch, generator).to(self._device))
        inputs = [leaf, *self.state.parameters, *(part.rows for part in entities)]
        gradients = torch.autograd.grad(loss, inputs)
        self._update(distinct, entities, gradients, learning_rate)
        return float(loss.detach())

    def _sampled(self, asking: _Asking, negatives: torch.Tensor) -> tuple[list[_Leaf], torch.Tensor]:
        """Score a batch against shared negatives (c, n)."""
        scorer = self.state.scorer
        target = self._ids(self._column(asking.batch, "target"))
        known, true, false = (self._leaf(ids) for ids in (asking.known, target, negatives))
        query = scorer.query(known.shaped(asking.known), asking.relation, asking.side)
        positive = scorer.paired(query, asking.relation, true.shaped(target))
        negative = scorer.against(query, asking.relation, false.shaped(negatives))
        negative = negative.masked_fill(negatives.unsqueeze(1) == target.unsqueeze(2), _NEVER)
        loss = self.loss(positive, negative, asking.weight)
        if self.penalty.weight:
            for part in (known.shaped(asking.known), true.shaped(target), asking.stored):
                loss = loss + self.penalty(part, asking.weight)
        return [known, true, false], loss

    def _all_entities(self, asking: _Asking, relation: torch.Tensor) -> tuple[list[_Leaf], torch.Tensor]:
        """Score a batch against every entity: cross-entropy of the true one, or each entity right or wrong."""
        scorer, weight = self.state.scorer, asking.weight
        known = self._leaf(asking.known)
        table = _Leaf(None, self.state.entities.detach().requires_grad_())
        query = scorer.query(known.shaped(asking.known), asking.relation, asking.side)
        scores = scorer.against(query, asking.relation, table.rows.expand(len(query), -1, -1))  # (c, p, n_entities)
        if self._answers is None:
            target = self._ids(self._column(asking.batch, "target"))
            losses = functional.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none")
            loss = (weight.flatten() * losses).sum()
        else:
            truth = self._answers.of(asking.known, relation, asking.side, scores.shape)
            smoothed = truth * (1 - self.loss.smoothing) + self.loss.smoothing / scores.shape[-1]
            each = functional.binary_cross_entropy_with_logits(scores + self.loss.margin, smoothed, reduction="none")
            loss = (weight * each.mean(-1)).sum()
        if self.penalty.weight:
            loss = loss + self.penalty(known.shaped(asking.known), weight) + self.penalty(asking.stored, weight)
            if self._answers is None:
                rows = table.rows.index_select(0, target.flatten()).view(*target.shape, -1)
                loss = loss + self.penalty(rows, weight)
        return [known, table], loss

    def _update(
        self, relations: torch.Tensor, entities: list[_Leaf], gradients: tuple[torch.Tensor, ...], learning_rate: float
    ) -> None:
        state = self.state
        n_weights = len(state.parameters)
        state.relation_rows.update(relations, gradients[0], learning_rate)
        if state.network is not None:
            for parameter, gradient in zip(state.parameters, gradients[1 : 1 + n_weights], strict=True):
                parameter.grad = gradient
            state.network.step()
        of_entities = gradients[1 + n_weights :]
        if entities[-1].ids is None:  # the whole table has a gradient
            dense = of_entities[-1].index_add_(0, _required(entities[0].ids), of_entities[0])
            state.entity_rows.update(torch.arange(len(dense), device=self._device), dense, learning_rate)
            return
        ids = torch.cat([_required(part.ids) for part in entities])
        state.entity_rows.update(*add_up(ids, torch.cat(of_entities)), learning_rate)

    def _leaf(self, ids: torch.Tensor) -> _Leaf:
        flat = ids.flatten()
        return _Leaf(flat, self.state.entities.index_select(0, flat).requires_grad_())

    def _column(self, batch: LinkBatch, what: str) -> np.ndarray:
        triples = self.sampler.triples
        known, target = (triples.head, triples.tail) if batch.side == "tail" else (triples.tail, triples.head)
        column = {"relation": triples.relation, "known": known, "target": target}[what]
        return column[batch.rows]

    def _ids(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)

    def _weight(self, batch: LinkBatch) -> torch.Tensor:
        return torch.from_numpy(batch.weight).to(self._device)


@dataclass(frozen=True, eq=False)
class _Asking:
    """A batch of questions: side, relations prepared and as stored (c, p or 1, width), known ids and weights (c, p)."""

    batch: LinkBatch
    side: Side
    relation: torch.Tensor
    stored: torch.Tensor
    known: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Leaf:
    """Rows of the entity table that get a gradient, (k, width), and their ids (k,); None: the whole table."""

    ids: torch.Tensor | None
    rows: torch.Tensor

    def shaped(self, like: torch.Tensor) -> torch.Tensor:
        return self.rows.view(*like.shape, -1)


def _required(ids: torch.Tensor | None) -> torch.Tensor:
    if ids is None:
        raise ValueError("the whole table has no ids")
    return ids


class _Answers:
    """All the true answers of every question of the training links, for 1-N training."""

    def __init__(self, triples: Triples, scorer: Scorer, n_relations: int) -> None:
        parts = [triples]
        if scorer.reciprocal:  # heads are asked for as tails of the reverse relation
            parts.append(Triples(triples.tail, triples.relation + n_relations, triples.head))
        self._links = KnownLinks(parts)

    def of(self, known: torch.Tensor, relation: torch.Tensor, side: Side, shape: torch.Size) -> torch.Tensor:
        """Return 1 for every true answer, (c, p, n_entities)."""
        relations = relation.expand_as(known).flatten().cpu().numpy()
        row, answer = self._links.answers(known.flatten().cpu().numpy(), relations, side)
        truth = torch.zeros(shape, device=known.device)
        truth.flatten(0, 1)[torch.from_numpy(row), torch.from_numpy(answer)] = 1.0
        return truth
