"""Features of a film from an embedding of the credits graph, told apart by what a training film sees of itself.

``sum`` (seed 001, equation 4): the sum of the vectors of a film's directors and cast, absent when none is known. One
embedding, trained on all graph films: a training film's own labels shaped the vectors that describe it (in-sample).
The equation is IDKG's, the embedding is not: IDKG used TransH of 200 dimensions, trained with SGD, and one entity per
role; here scorer and settings are those of ``features.links.embedding``, and a person is one entity.

``links`` (cross-fitted): the graph films are cut into folds, and one embedding is trained without each. It scores every
link (person, d-g or c-g, label); a film of the fold (known by its id) reads the scores of the embedding that never saw
it, any other film the mean over the embeddings. What a film's own embedding leaves out is its own row and every copy:
films of the same title (whatever case and blanks around it), year and set of directors share a fold. Films without a
title are copies of none. Remakes, other cuts with another year, and films of nearly the same plot are not left out.
Vectors of different embeddings cannot be compared, scores can once they are put as

    log( softmax over the labels of the scores / share of the label among the links of the role )

which is pooled over a film's known people as sum and mean, directors and cast apart, with how many are known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from safetensors.numpy import load_file, save_file

from reeltag.catalogue import PEOPLE_FIELDS, Catalogue
from reeltag.config import check_range, from_json, to_json
from reeltag.errors import NotFittedError
from reeltag.features import Block
from reeltag.files import write_json
from reeltag.graph.copy_folds import copy_groups, deal_groups
from reeltag.graph.credit_table import check_targets, credited_people, positions
from reeltag.graph.credits import ROLES, CreditConfig, film_blocks, film_pool
from reeltag.graph.embedding import EmbeddingConfig, GraphEmbedding, train_embedding
from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
from reeltag.graph.presets import film_preset
from reeltag.graph.triples import KnowledgeGraph
from reeltag.progress import Progress, silent

_RELATIONS = {"directors": "d-g", "cast": "c-g"}
_QUESTIONS_AT_ONCE = 200_000


@dataclass(frozen=True, kw_only=True)
class LinkCreditConfig:
    """Settings of the features from an embedding.

    Attributes:
        folds: Embeddings trained, each without its fold of the graph films.
        titles: Titles are entities of the graph.
        embedding: Scorer and training.
    """

    folds: int = 5
    titles: bool = True
    embedding: EmbeddingConfig = field(default_factory=film_preset)

    def __post_init__(self) -> None:
        check_range("LinkCreditConfig", "folds", self.folds, 2, 100)


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """Settings as they are kept in a folder."""

    config: LinkCreditConfig
    roles: tuple[str, ...]


class LinkCredits:
    """Cross-fitted scores of the links between a film's people and the labels.

    Args:
        config: Settings.
        roles: Which credits count: ``directors``, ``cast``. The graph has no others.
    """

    name = "links"

    def __init__(self, config: LinkCreditConfig | None = None, roles: Sequence[str] = ROLES) -> None:
        self.config = config or LinkCreditConfig()
        self.roles = CreditConfig(roles=tuple(roles)).roles  # checked
        self._people = pl.Series("person", [], dtype=pl.String)
        self._films = pl.DataFrame(schema={"id": pl.String, "fold": pl.Int64})
        self._scores: dict[str, npt.NDArray[np.float16]] = {}  # role -> (folds, n_people, n_labels), nan: unknown
        self._means: dict[str, npt.NDArray[np.float32]] = {}  # role -> (n_people, n_labels), made when first read

    def fit(self, catalogue: Catalogue, targets: Any, *, seed: int = 0, progress: Progress = silent) -> LinkCredits:
        """Train one embedding per fold.

        There is no checkpoint: an interrupted fit starts anew, and finished folds are lost.

        Args:
            catalogue: The films that feed the graph.
            targets: Their known labels, 0 and 1, dense or sparse, (n_films, n_labels).
            seed: Seed of the folds and of the embeddings.
            progress: Called with the links done, fold by fold.

        Raises:
            FeatureError: Targets and films differ in number, or there are fewer films than folds, copies not counted.
        """
        folds = self.config.folds
        check_targets(catalogue, targets, "the credits graph needs")
        fold = deal_groups(copy_groups(catalogue), folds, seed)
        credited = _credited_as(catalogue, self.roles)
        people = pl.concat([credited_people(credited, role)[1].alias("person") for role in self.roles])
        self._people = people.unique(maintain_order=True)
        shape = (folds, len(self._people), targets.shape[1])
        self._scores, self._means = {role: np.full(shape, np.nan, np.float16) for role in self.roles}, {}
        for number in range(folds):
            rows = np.flatnonzero(fold != number)
            graph = labelled_graph(credited.take(rows), targets[rows], titles=self.config.titles)
            trained = train_embedding(graph, self.config.embedding, seed=seed, progress=_named(progress, number, folds))
            known = _ids_of(graph, self._people, "person")
            for role in self.roles:
                self._scores[role][number][known >= 0] = link_scores(trained, role, known[known >= 0], shape[2])
        self._films = pl.DataFrame({"id": catalogue.frame["id"], "fold": fold})
        return self

    @property
    def dim(self) -> int:
        """Width of the block: per role a sum and a mean per label, and a count."""
        return sum(2 * scores.shape[2] + 1 for scores in self._fitted().values())

    @property
    def film_ids(self) -> list[str]:
        """Ids of the films in the graph."""
        return self._films["id"].to_list()

    def transform(self, catalogue: Catalogue) -> Block:
        """Return the features of films, (n_films, dim); a film none of whose people is known is absent."""
        place = positions(catalogue.frame["id"], self._films["id"])
        fold = np.where(place >= 0, self._films["fold"].to_numpy()[place], -1) if len(self._films) else place
        out, seen = np.zeros((len(catalogue), self.dim), np.float32), np.zeros(len(catalogue), np.bool_)
        width = self.dim // len(self.roles)
        for place_of_role, role in enumerate(self.roles):
            columns = out[:, place_of_role * width : (place_of_role + 1) * width]
            self._fill(columns, role, catalogue, fold)
            seen |= columns[:, -1] > 0
        return Block(out, seen)

    def _fill(self, out: npt.NDArray[np.float32], role: str, catalogue: Catalogue, fold: npt.NDArray[np.int64]) -> None:
        """Write the features of one role, (n_films, 2 n_labels + 1), block of films by block."""
        scores, mean = self._fitted()[role], self._mean(role)
        n_labels = scores.shape[2]
        rows, person = _known_people(catalogue, role, self._people)
        for films, credits in film_blocks(rows, len(catalogue), n_labels):
            row, who = rows[credits], person[credits]
            ratio = mean[who]  # (n_credits, n_labels), nan: unknown
            inside = np.flatnonzero(fold[row] >= 0)
            ratio[inside] = scores[fold[row[inside]], who[inside]]
            known = ~np.isnan(ratio).any(axis=1)
            pooled, counts = pool_people(row[known] - films.start, ratio[known], films.stop - films.start)
            out[films, :n_labels] = pooled
            out[films, n_labels : 2 * n_labels] = pooled / np.maximum(counts, 1)[:, None]
            out[films, -1] = np.log1p(counts)

    def _mean(self, role: str) -> npt.NDArray[np.float32]:
        """Return the mean over the embeddings that know a person, (n_people, n_labels); nan where none does."""
        if role not in self._means:
            self._means[role] = _mean_of_known(self._fitted()[role])
        return self._means[role]

    def save(self, folder: Path) -> None:
        """Write the scores and whose they are."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(self._fitted()), folder / "links.safetensors")
        pl.DataFrame({"person": self._people}).write_parquet(folder / "people.parquet")
        self._films.write_parquet(folder / "films.parquet")
        write_json(folder / "links.json", to_json(_Stored(config=self.config, roles=self.roles)))

    @classmethod
    def load(cls, folder: Path) -> LinkCredits:
        """Read what ``save`` wrote."""
        stored = _stored(folder / "links.json")
        credits = cls(stored.config, stored.roles)
        credits._people = pl.read_parquet(folder / "people.parquet")["person"]
        credits._films = pl.read_parquet(folder / "films.parquet")
        tensors = load_file(folder / "links.safetensors")
        credits._scores = {role: tensors[role] for role in credits.roles}
        return credits

    def _fitted(self) -> dict[str, npt.NDArray[np.float16]]:
        if not self._scores:
            raise NotFittedError("LinkCredits is used before fit")
        return self._scores


class SumCredits:
    """The sum of the vectors of a film's people (IDKG's equation 4), from one embedding of all graph films (in-sample).

    The embedding is ours, not IDKG's: scorer and training are those of the settings.

    Args:
        config: Settings; ``folds`` does not count.
        roles: Which credits count: ``directors``, ``cast``. The graph has no others.
    """

    name = "sum"

    def __init__(self, config: LinkCreditConfig | None = None, roles: Sequence[str] = ROLES) -> None:
        self.config = config or LinkCreditConfig()
        self.roles = CreditConfig(roles=tuple(roles)).roles  # checked
        self._people = pl.Series("person", [], dtype=pl.String)
        self._film_ids: Sequence[str] = ()
        self._vectors: npt.NDArray[np.float16] | None = None
        self._label_vectors = np.zeros((0, 0), np.float32)

    def fit(self, catalogue: Catalogue, targets: Any, *, seed: int = 0, progress: Progress = silent) -> SumCredits:
        """Train the embedding; arguments as for ``LinkCredits.fit``."""
        check_targets(catalogue, targets, "the credits graph needs")
        graph = labelled_graph(_credited_as(catalogue, self.roles), targets, titles=self.config.titles)
        trained = train_embedding(graph, self.config.embedding, seed=seed, progress=progress)
        people = np.flatnonzero(graph.entities["kind"] == "person")
        self._people = graph.entities["key"].gather(people).alias("person")
        self._vectors = trained.vectors(people).numpy().astype(np.float16)
        self._label_vectors = _label_vectors(trained, targets.shape[1])
        self._film_ids = catalogue.ids
        return self

    @property
    def label_vectors(self) -> npt.NDArray[np.float32]:
        """Vectors of the labels in the embedding, (n_labels, dim); 0 for a label that no film of the graph has."""
        self._fitted()
        return self._label_vectors

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self._fitted().shape[1])

    @property
    def film_ids(self) -> list[str]:
        """Ids of the films in the graph."""
        return list(self._film_ids)

    def transform(self, catalogue: Catalogue) -> Block:
        """Return the sums (n_films, dim), 0 and absent where nobody is known (equation 4)."""
        vectors = self._fitted()
        total, n_known = np.zeros((len(catalogue), vectors.shape[1]), np.float32), np.zeros(len(catalogue))
        for role in self.roles:
            rows, person = _known_people(catalogue, role, self._people)
            n_known += np.bincount(rows, minlength=len(catalogue))
            for films, credits in film_blocks(rows, len(catalogue), vectors.shape[1]):
                values = vectors[person[credits]].astype(np.float32)
                total[films] += pool_people(rows[credits] - films.start, values, films.stop - films.start)[0]
        return Block(total, n_known > 0)

    def save(self, folder: Path) -> None:
        """Write the vectors and whose they are."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self._fitted(), "labels": self._label_vectors}, folder / "sum.safetensors")
        pl.DataFrame({"person": self._people}).write_parquet(folder / "people.parquet")
        pl.DataFrame({"id": self._film_ids}).write_parquet(folder / "films.parquet")
        write_json(folder / "sum.json", to_json(_Stored(config=self.config, roles=self.roles)))

    @classmethod
    def load(cls, folder: Path) -> SumCredits:
        """Read what ``save`` wrote."""
        stored = _stored(folder / "sum.json")
        credits = cls(stored.config, stored.roles)
        credits._people = pl.read_parquet(folder / "people.parquet")["person"]
        credits._film_ids = pl.read_parquet(folder / "films.parquet")["id"].to_list()
        tensors = load_file(folder / "sum.safetensors")
        credits._vectors, credits._label_vectors = tensors["vectors"], tensors.get("labels", credits._label_vectors)
        return credits

    def _fitted(self) -> npt.NDArray[np.float16]:
        if self._vectors is None:
            raise NotFittedError("SumCredits is used before fit")
        return self._vectors


def labelled_graph(catalogue: Catalogue, targets: Any, *, titles: bool = True) -> KnowledgeGraph:
    """Build the graph of films whose labels are given as targets; the key of a label entity is its column number."""
    check_targets(catalogue, targets, "the credits graph needs")
    rows, columns = np.nonzero(targets)
    labels = (
        pl.DataFrame({"row": rows, "label": columns.astype(str)}, schema={"row": pl.Int64, "label": pl.String})
        .group_by("row", maintain_order=True)
        .agg(genres=pl.col("label"))
    )
    everyone = pl.DataFrame({"row": np.arange(len(catalogue), dtype=np.int64)})
    lists = everyone.join(labels, on="row", how="left", maintain_order="left")["genres"]
    frame = catalogue.frame.with_columns(genres=lists, split=pl.lit("train"))
    return build_film_graph(replace(catalogue, frame=frame), FilmGraphConfig(titles=titles), held_out=())


def link_scores(
    embedding: GraphEmbedding, role: str, people: npt.NDArray[np.int64], n_labels: int
) -> npt.NDArray[np.float32]:
    """Return how much likelier each label is for a person than for anyone, on a log scale.

    Args:
        embedding: Trained on a graph of ``labelled_graph``.
        role: ``directors`` or ``cast``.
        people: Entity ids, (n,).
        n_labels: Labels.

    Returns:
        (n, n_labels); 0 for a label that the graph does not have.
    """
    graph = embedding.graph
    relation = graph.relations["name"].to_list().index(_RELATIONS[role])
    found = _ids_of(graph, pl.Series([str(label) for label in range(n_labels)]), "genre")
    there = np.flatnonzero(found >= 0)
    train = graph.train
    counts = np.bincount(train.tail[train.relation == relation], minlength=graph.n_entities)[found[there]]
    prior = torch.from_numpy(np.log((counts + 0.5) / (counts + 0.5).sum()).astype(np.float32))
    out = np.zeros((len(people), n_labels), np.float32)
    for start in range(0, len(people), _QUESTIONS_AT_ONCE):
        asked = torch.from_numpy(people[start : start + _QUESTIONS_AT_ONCE])
        scores = embedding.model.scores(
            asked, torch.full((len(asked),), relation), "tail", torch.from_numpy(found[there])
        )
        out[start : start + len(asked), there] = (torch.log_softmax(scores, -1) - prior).numpy()
    return out


def _label_vectors(embedding: GraphEmbedding, n_labels: int) -> npt.NDArray[np.float32]:
    found = _ids_of(embedding.graph, pl.Series([str(label) for label in range(n_labels)]), "genre")
    vectors = embedding.vectors(np.maximum(found, 0)).numpy().astype(np.float32)
    vectors[found < 0] = 0
    return vectors


def pool_people(
    rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32], n_films: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the sum over every film's people, (n_films, width), and how many they are, (n_films,)."""
    return np.asarray(film_pool(rows, n_films) @ values, np.float32), np.bincount(rows, minlength=n_films).astype(
        np.float32
    )


def _known_people(
    catalogue: Catalogue, role: str, people: pl.Series
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return film row and position among ``people`` of every credit of somebody known, (n_credits,) each."""
    rows, keys = credited_people(catalogue, role)
    person = positions(keys, people)
    return rows[person >= 0], person[person >= 0]


def _credited_as(catalogue: Catalogue, roles: Sequence[str]) -> Catalogue:
    """Return the catalogue without the credits of other roles."""
    dropped = [name for role in ROLES if role not in roles for name in (role, PEOPLE_FIELDS[role])]
    return replace(catalogue, frame=catalogue.frame.drop(dropped, strict=False))


def _stored(path: Path) -> _Stored:
    return from_json(_Stored, json.loads(path.read_text(encoding="utf-8")), path.name)


def _ids_of(graph: KnowledgeGraph, keys: pl.Series, kind: str) -> npt.NDArray[np.int64]:
    """Return the entity ids of keys, -1 where there is none: a fold's graph may have nobody, or no label at all."""
    return graph.lookup(keys, kind) if kind in graph.kinds else np.full(len(keys), -1, np.int64)


def _mean_of_known(scores: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Return the mean over the embeddings that know a person, nan where none does: (k, n, m) -> (n, m)."""
    total, n_known = np.zeros(scores.shape[1:], np.float32), np.zeros((scores.shape[1], 1), np.float32)
    for of_fold in scores:
        known = ~np.isnan(of_fold).any(axis=1)
        total[known] += of_fold[known]
        n_known[known] += 1
    total[n_known[:, 0] == 0] = np.nan
    total /= np.maximum(n_known, 1)
    return total


def _named(progress: Progress, fold: int, folds: int) -> Progress:
    return lambda stage, done, total: progress(f"{stage}, fold {fold + 1}/{folds}", done, total)
