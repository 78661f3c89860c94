"""What a trained graph says of one entity: who is nearest, and which labels are likeliest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.graph.embedding import GraphEmbedding
from reeltag.graph.scorers import Side

PLAIN_KINDS = ("person", "director", "cast", "title")  # in film graphs every other kind is one of labels


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """An entity near another: name, key, kind, links it has in the graph, cosine of the vectors."""

    name: str
    key: str
    kind: str
    n_links: int
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A likely answer of a relation.

    Attributes:
        relation: Name of the relation.
        side: Which side of it is asked for: ``tail`` or ``head``.
        name: Name of the answer.
        score: Score of the link, higher is more plausible.
        share: Softmax of the scores over all candidates: comparable between answers, no calibrated probability.
        known: Whether the link is in the graph.
    """

    relation: str
    side: Side
    name: str
    score: float
    share: float
    known: bool


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """What the graph says of an entity."""

    name: str
    key: str
    kind: str
    n_links: int
    nearest: tuple[Neighbour, ...]
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the neighbourhood as JSON values."""
        return asdict(self)


def neighbourhood(
    embedding: GraphEmbedding, name: str, *, kind: str | None = None, n_nearest: int = 10, min_links: int = 20
) -> Neighbourhood:
    """Look around an entity.

    Args:
        embedding: The trained graph.
        name: Name or key of the entity.
        kind: Its kind, where a name has several.
        n_nearest: Nearest entities of the same kind, and answers per relation.
        min_links: Entities with fewer links are not shown: their vectors have hardly moved from where they started.

    Raises:
        GraphError: No entity, or more than one, is meant.
    """
    graph = embedding.graph
    entity = graph.find(name, kind)
    row = graph.entities.row(entity, named=True)
    degrees = graph.degrees()
    return Neighbourhood(
        name=row["name"],
        key=row["key"],
        kind=row["kind"],
        n_links=int(degrees[entity]),
        nearest=tuple(_nearest(embedding, entity, row["kind"], degrees, (n_nearest, min_links))),
        answers=tuple(
            answer
            for relation, side in _questions(embedding, entity)
            for answer in _answers(embedding, entity, relation, side)[:n_nearest]
        ),
    )


def _nearest(
    embedding: GraphEmbedding, entity: int, kind: str, degrees: npt.NDArray[np.int64], limits: tuple[int, int]
) -> list[Neighbour]:
    """Return the nearest entities of the same kind; ``limits`` are how many, and the links each must have."""
    ids = embedding.graph.entity_ids(kind)
    ids = ids[(degrees[ids] >= limits[1]) & (ids != entity)]
    own = torch.nn.functional.normalize(embedding.vectors(np.array([entity])), dim=-1)
    similar = torch.nn.functional.normalize(embedding.vectors(ids), dim=-1) @ own[0]
    found = []
    for place in torch.argsort(similar, descending=True, stable=True)[: limits[0]].tolist():
        row = embedding.graph.entities.row(int(ids[place]), named=True)
        found.append(Neighbour(**row, n_links=int(degrees[ids[place]]), similarity=float(similar[place])))
    return found


def _questions(embedding: GraphEmbedding, entity: int) -> list[tuple[int, Side]]:
    """Return the relations to ask about: those of the entity's training links, labels only in a film graph."""
    train, relations = embedding.graph.train, embedding.graph.relations
    found: list[tuple[int, Side]] = []
    sides: tuple[tuple[Side, npt.NDArray[np.int32], str], ...] = (
        ("tail", train.head, "tail_kind"),
        ("head", train.tail, "head_kind"),
    )
    for side, own, column in sides:
        for relation in np.unique(train.relation[own == entity]).tolist():
            if relations[column][relation] not in PLAIN_KINDS:
                found.append((relation, side))
    return found


def _answers(embedding: GraphEmbedding, entity: int, relation: int, side: Side) -> list[Answer]:
    graph, train = embedding.graph, embedding.graph.train
    ids = graph.entity_ids(graph.relations[f"{side}_kind"][relation])
    scores = embedding.model.scores(torch.tensor([entity]), torch.tensor([relation]), side, torch.from_numpy(ids))[0]
    shares = torch.softmax(scores, 0)
    own, other = (train.head, train.tail) if side == "tail" else (train.tail, train.head)
    known = set(other[(own == entity) & (train.relation == relation)].tolist())
    return [
        Answer(
            relation=graph.relations["name"][relation],
            side=side,
            name=graph.entities["name"][int(ids[place])],
            score=float(scores[place]),
            share=float(shares[place]),
            known=int(ids[place]) in known,
        )
        for place in torch.argsort(scores, descending=True, stable=True).tolist()
    ]
