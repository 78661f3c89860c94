"""A graph with a scorer trained on it: train, rank held-out links, look around an entity, keep in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reeltag
from reeltag.config import check_range, from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, GraphError, shown
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.graph.known_links import KnownLinks
from reeltag.graph.link_model import LinkModel, check_fits, open_scorer
from reeltag.graph.ranking import LinkRanks, RankFigures, RankingConfig, rank_links
from reeltag.graph.stored import read_object
from reeltag.graph.trainer import Evaluation, LinkHistory, LinkTrainingConfig, train_links
from reeltag.graph.triples import KnowledgeGraph, Triples
from reeltag.progress import Progress, silent

_SCHEMA = 1
_FILE = "embedding.json"
_KEYS = {"schema", "version", "graph", "seed", "config", "history"}


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """Which scorer, and how it is trained.

    Attributes:
        scorer: Name of a scorer.
        scorer_settings: Settings of that scorer; its defaults when empty.
        training: Settings of the training.
        validation_links: Validation links looked at during training, drawn at random.
    """

    scorer: str = "rotate"
    scorer_settings: dict[str, Any] = field(default_factory=dict)
    training: LinkTrainingConfig = field(default_factory=LinkTrainingConfig)
    validation_links: int = 3000

    def __post_init__(self) -> None:
        check_range("EmbeddingConfig", "validation_links", self.validation_links, 1, 1_000_000_000)
        open_scorer(self.scorer, self.scorer_settings)


@dataclass(frozen=True, kw_only=True)
class RankingReport:
    """Figures of the ranking of held-out links.

    Attributes:
        split: The held-out split.
        filtered: Whether other true answers were left out.
        by_ties: Figures under every rule for ties.
        by_side: Realistic figures of the questions for tails and for heads.
        by_relation: Realistic figures of every relation that has links in the split.
    """

    split: str
    filtered: bool
    by_ties: dict[str, RankFigures]
    by_side: dict[str, RankFigures]
    by_relation: dict[str, RankFigures]

    @property
    def figures(self) -> RankFigures:
        """Figures with realistic ties over both sides."""
        return self.by_ties["realistic"]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        parts = {"by_ties": self.by_ties, "by_side": self.by_side, "by_relation": self.by_relation}
        return {"split": self.split, "filtered": self.filtered} | {
            name: {key: figures.to_json() for key, figures in part.items()} for name, part in parts.items()
        }


@dataclass(frozen=True, eq=False)
class GraphEmbedding:
    """A graph and a scorer trained on it.

    Attributes:
        graph: The graph.
        model: The scorer with its tables.
        config: How it was trained.
        seed: With which seed.
        history: What happened.
    """

    graph: KnowledgeGraph
    model: LinkModel
    config: EmbeddingConfig
    seed: int = 0
    history: LinkHistory = field(default_factory=LinkHistory)

    def __post_init__(self) -> None:
        check_fits(self.model, self.graph.n_entities, self.graph.n_relations, self.graph.source)

    def evaluate(
        self, split: str = "test", config: RankingConfig | None = None, *, progress: Progress = silent
    ) -> RankingReport:
        """Rank the links of a held-out split.

        Args:
            split: ``validation`` or ``test``.
            config: Settings of the ranking.
            progress: Called with the questions done.

        Raises:
            GraphError: The graph holds no links under that name.
        """
        config = config or RankingConfig()
        if split not in self.graph.splits:
            raise GraphError(f"{self.graph.source}: no split {shown(split)}; splits: {', '.join(self.graph.splits)}")
        known = KnownLinks(list(self.graph.splits.values()))
        ranks = rank_links(self.model, self.graph.splits[split], known, config, progress=progress)
        names = self.graph.relations["name"].to_list()
        return RankingReport(
            split=split,
            filtered=config.filtered,
            by_ties={ties: ranks.figures(ties) for ties in ("realistic", "optimistic", "pessimistic")},
            by_side={side: ranks.take(ranks.is_tail == (side == "tail")).figures() for side in config.sides},
            by_relation={names[r]: ranks.take(ranks.relation == r).figures() for r in np.unique(ranks.relation)},
        )

    def rank_answers(self, links: Triples, kind: str, *, filtered: bool = True) -> LinkRanks:
        """Rank the tails of links among the entities of one kind: which genre, not which of all entities.

        Args:
            links: The links; their tails are of the kind.
            kind: Kind of the candidates.
            filtered: Leave out other answers known from any split.
        """
        known = KnownLinks([*self.graph.splits.values(), links]) if filtered else None
        config = RankingConfig(filtered=filtered, sides=("tail",))
        return rank_links(self.model, links, known, config, candidates=self.graph.entity_ids(kind))

    def vectors(self, ids: np.ndarray | None = None) -> torch.Tensor:
        """Return the vectors of entities (all when None), (n, scorer.vector_width)."""
        rows = self.model.entities if ids is None else self.model.entities[torch.from_numpy(np.asarray(ids))]
        return rows[:, : self.model.scorer.vector_width]

    def save(self, folder: Path) -> None:
        """Write the graph, the tables and the settings, whole or not at all; a trained graph there is replaced.

        Raises:
            ArtefactError: There is something else at ``folder``.
        """
        check_destination(Path(folder))
        with atomic_folder(Path(folder)) as temporary:
            self.graph.save(temporary / "graph")
            self.model.save(temporary)
            data = {
                "schema": _SCHEMA,
                "version": reeltag.__version__,
                "graph": self.graph.fingerprint(),
                "seed": self.seed,
                "config": to_json(self.config),
                "history": to_json(self.history),
            }
            write_json(temporary / _FILE, data)

    @classmethod
    def load(cls, folder: Path) -> GraphEmbedding:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: The folder holds no trained graph, one of another version, or parts that are damaged or do
                not belong together.
        """
        path = Path(folder) / _FILE
        if not path.is_file():
            raise ArtefactError(f"{folder}: holds no trained graph ({_FILE} is missing); train one with 'graph train'")
        data = read_object(path)
        if data.get("schema") != _SCHEMA:
            raise ArtefactError(f"{path}: schema must be {_SCHEMA}; got {data.get('schema')!r}")
        if set(data) != _KEYS or not isinstance(data["seed"], int):
            raise ArtefactError(f"{path}: must have the entries {', '.join(sorted(_KEYS))}, the seed a whole number")
        model = LinkModel.load(Path(folder))
        try:
            graph = KnowledgeGraph.load(Path(folder) / "graph")
            if graph.fingerprint() != data["graph"]:
                raise ArtefactError(f"{folder}: the graph beside the tables is not the one they were trained on")
            config = from_json(EmbeddingConfig, data["config"], f"{path}, config")
            history = from_json(LinkHistory, data["history"], f"{path}, history")
            if open_scorer(config.scorer, config.scorer_settings) != model.scorer:
                raise ArtefactError(f"{folder}: the tables are not of the scorer that {_FILE} names ({config.scorer})")
            return cls(graph, model, config, data["seed"], history)
        except (ConfigError, GraphError) as error:
            raise ArtefactError(str(error)) from None


def check_destination(folder: Path) -> None:
    """Raise unless a trained graph may be written to a folder: nothing is there, an empty folder, or a trained graph.

    Raises:
        ArtefactError: There is something else, which would be lost, or the folder cannot be made.
    """
    check_replaceable(folder, lambda place: (place / _FILE).is_file(), "a trained graph")


def train_embedding(
    graph: KnowledgeGraph,
    config: EmbeddingConfig | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> GraphEmbedding:
    """Train a scorer on a graph; the weights of the best validation MRR are kept.

    Args:
        graph: The graph; without validation links all epochs are run.
        config: Scorer and training.
        seed: Same seed, same result on one thread.
        checkpoint: Folder in which a run leaves its state and from which it goes on.
        progress: Called with the links done.
    """
    config = config or EmbeddingConfig()
    scorer = open_scorer(config.scorer, config.scorer_settings)
    model, history = train_links(
        graph,
        scorer,
        config.training,
        seed=seed,
        evaluate=validation_mrr(graph, config.validation_links),
        checkpoint=checkpoint,
        progress=progress,
    )
    return GraphEmbedding(graph, model, config, seed, history)


def validation_mrr(graph: KnowledgeGraph, n_links: int) -> Evaluation | None:
    """Return what gives the filtered, realistic MRR on a sample of validation links; None without any."""
    links = graph.splits.get("validation")
    if links is None or not len(links):
        return None
    sample = links.take(np.sort(np.random.default_rng(0).permutation(len(links))[:n_links]))
    known = KnownLinks(list(graph.splits.values()))
    what = f"filtered MRR of {len(sample)} validation links"
    return Evaluation(lambda model: rank_links(model, sample, known).figures().mrr, what)
