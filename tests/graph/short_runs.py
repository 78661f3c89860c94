"""Short trainings on a small graph that the tests of trainer and checkpoints share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from reeltag.graph.known_links import KnownLinks
from reeltag.graph.link_model import LinkModel
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.ranking import rank_links
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.steps import Penalty
from reeltag.graph.trainer import LinkTrainingConfig, train_links
from reeltag.graph.triples import KnowledgeGraph, Triples

from .link_samples import graph_of, make, random_triples

SMALL_GRAPH = graph_of(random_triples(120, 20, 3), 20, 3, random_triples(10, 20, 3, seed=1), "films")
SHORT = LinkTrainingConfig(
    epochs=6, batch_size=16, negatives=NegativeConfig(count=4, chunk_size=8), threads=1, device="cpu", evaluate_every=1
)
# ConvE brings a network with dropout, batch normalisation and Adam
SHORT_RUNS = {
    "rotate": replace(SHORT, optimizer="adagrad", schedule="cosine"),
    "complex": replace(SHORT, optimizer="adam", penalty=Penalty(weight=1e-3), schedule="constant"),
    "transr": replace(SHORT, optimizer="sgd", learning_rate=0.01),
    "conve": replace(SHORT, negatives=NegativeConfig(count=0, chunk_size=8), loss=LinkLossConfig(name="logistic")),
}


def train(name: str, config: LinkTrainingConfig, graph: KnowledgeGraph = SMALL_GRAPH, **options: Any) -> Any:
    """Return model and history of a scorer of its own."""
    return train_links(graph, make(name), config, **options)


def weights(model: LinkModel) -> dict[str, torch.Tensor]:
    network = {} if model.scorer.network is None else model.scorer.network.state_dict()
    return {"entities": model.entities, "relations": model.relations, **network}


def assert_same(found: LinkModel, expected: LinkModel) -> None:
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def mrr(model: LinkModel, links: Triples, graph: KnowledgeGraph) -> float:
    return rank_links(model, links, KnownLinks(list(graph.splits.values()))).figures().mrr


def rank_small(model: LinkModel) -> float:
    return mrr(model, SMALL_GRAPH.splits["validation"], SMALL_GRAPH)


class StopRun(Exception):  # noqa: N818 - not an error of the run
    """Stands for a crash."""


def crash_in_epoch(epoch: int) -> Callable[[str, int, int], None]:
    """Return a progress that crashes when so many epochs are done."""

    def progress(stage: str, done: int, total: int) -> None:
        if done > epoch * total // SHORT.epochs:
            raise StopRun

    return progress
