"""Why a title got its labels: what each modality, each credited person and the nearest titles say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file

from reeltag.added import AddedEvidence
from reeltag.catalogue import PEOPLE_FIELDS, Catalogue
from reeltag.explain_tokens import PosterEvidence
from reeltag.features import Block, Features
from reeltag.graph.credits import CreditProfile, PersonRelation
from reeltag.models import IdkgModel, Model
from reeltag.models.contract import STANDING, log_odds
from reeltag.predictions import Predictions

_SHOWN_LABELS = 3


@dataclass(frozen=True, kw_only=True)
class LabelEvidence:
    """One label of one title.

    Attributes:
        label: The label.
        probability: Calibrated.
        threshold: From which probability it applies.
        modalities: Per modality, how far its presence moves the label's log-odds; 0 when the title lacks it.
    """

    label: str
    probability: float
    threshold: float
    modalities: dict[str, float]

    @property
    def applies(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True, kw_only=True)
class PersonEvidence:
    """One credited person of one title.

    Attributes:
        role: ``directors`` or ``cast``.
        person: Name, or ``id:…``.
        n_films: Other films of the person in the training graph.
        counts: The labels these films have most often, with how often.
        effects: Per label of the explanation, how far the person moves its log-odds: with all credits against with
            all but this one.
    """

    role: str
    person: str
    n_films: int
    counts: dict[str, int]
    effects: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A training title near the explained one: cosine similarity of the model's embeddings."""

    id: str
    title: str
    year: int | None
    labels: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, kw_only=True)
class AttentionEvidence:
    """What each modality counts in the fusion of one title.

    Attributes:
        weights: Per modality that the title has, in [0, 1].
        teacher: What the attention teacher asks for the credits (IDKG, equation 6); None without a teacher.
        n_people: Credited people that the graph knows from other films; None without a teacher.
    """

    weights: dict[str, float]
    teacher: float | None = None
    n_people: int | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that can be said about the labels of one title, surest label first.

    ``attention`` is None for models that weigh no modalities, ``poster`` for those that do not read posters patch by
    patch or word by word. ``added`` tells of the labels among these that were added to the tagger later.
    """

    id: str
    title: str
    year: int | None
    present: tuple[str, ...]
    absent: tuple[str, ...]
    labels: tuple[LabelEvidence, ...]
    people: tuple[PersonEvidence, ...]
    neighbours: tuple[Neighbour, ...]
    attention: AttentionEvidence | None = None
    poster: PosterEvidence | None = None
    added: tuple[AddedEvidence, ...] = ()

    @property
    def abstained(self) -> bool:
        """Whether no label reaches its threshold."""
        return not any(label.applies for label in self.labels)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        data = asdict(self)
        for entry, label in zip(data["labels"], self.labels, strict=True):
            entry["applies"] = label.applies
        return data | {"abstained": self.abstained}


class Neighbourhood:
    """Embeddings of training titles, searched exactly.

    Args:
        vectors: Unit vectors (n_titles, dim).
        titles: One row per title: id, title, year, labels.
    """

    def __init__(self, vectors: npt.NDArray[np.float32], titles: pl.DataFrame) -> None:
        self.vectors = vectors.astype(np.float16)
        self.titles = titles

    @classmethod
    def of(
        cls, model: Model, features: Features, catalogue: Catalogue, labels: list[list[str]], limit: int
    ) -> Neighbourhood:
        """Embed training titles, at most ``limit`` of them, evenly drawn."""
        rows = np.unique(np.linspace(0, len(features) - 1, min(limit, len(features))).astype(np.int64))
        chosen = catalogue.take(rows)
        titles = pl.DataFrame(
            {
                "id": pl.Series(chosen.ids, dtype=pl.String),
                "title": pl.Series(chosen.texts("title"), dtype=pl.String),
                "year": chosen.frame["year"] if chosen.has("year") else pl.Series([None] * len(chosen), dtype=pl.Int32),
                "labels": pl.Series([labels[row] for row in rows], dtype=pl.List(pl.String)),
            }
        )
        return cls(model.embed(features.take(rows)), titles)

    def nearest(self, vector: npt.NDArray[np.float32], title_id: str, n: int) -> tuple[Neighbour, ...]:
        """Return the ``n`` nearest titles, nearest first, the title itself left out."""
        if len(self.titles) == 0:
            return ()
        similarity = self.vectors.astype(np.float32) @ vector
        order = np.argsort(-similarity, kind="stable")[: n + 1]
        found = []
        for row in order:
            entry = self.titles.row(int(row), named=True)
            if entry["id"] != title_id:
                labels = tuple(entry.pop("labels") or ())
                found.append(Neighbour(**entry, labels=labels, similarity=float(similarity[row])))
        return tuple(found[:n])

    def save(self, folder: Path) -> None:
        """Write vectors and titles."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self.vectors}, folder / "vectors.safetensors")
        self.titles.write_parquet(folder / "titles.parquet")

    @classmethod
    def load(cls, folder: Path) -> Neighbourhood:
        """Read what ``save`` wrote."""
        return cls(load_file(folder / "vectors.safetensors")["vectors"], pl.read_parquet(folder / "titles.parquet"))


def label_evidence(
    labels: Sequence[str],
    columns: Sequence[int],
    probabilities: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    moves: Mapping[str, npt.NDArray[np.float32]],
) -> tuple[LabelEvidence, ...]:
    """Return what is said of some labels of one title.

    Args:
        labels: All labels, in column order.
        columns: Columns of the labels that are told.
        probabilities: Calibrated, (n_labels,).
        thresholds: From which each label applies, (n_labels,).
        moves: Per modality how far it moves the log-odds, (1, n_labels).
    """
    return tuple(
        LabelEvidence(
            label=labels[column],
            probability=float(probabilities[column]),
            threshold=float(thresholds[column]),
            modalities={modality: float(change[0, column]) for modality, change in moves.items()},
        )
        for column in columns
    )


def people_evidence(
    predict: Callable[[Features], npt.NDArray[np.float32]],
    credits: CreditProfile,
    features: Features,
    film: Catalogue,
    *,
    labels: Sequence[str],
    columns: Sequence[int],
    readers: Mapping[str, Callable[[Catalogue], Block]],
) -> tuple[PersonEvidence, ...]:
    """Leave each credited person of a film out in turn.

    Args:
        predict: From features to probabilities, (n_titles, n_labels).
        credits: The credits graph.
        features: Features of the film (one title).
        film: The film (one title).
        labels: All labels, in column order.
        columns: Columns of the labels whose effects are reported.
        readers: What makes each block of the credits, by the name of the block.

    Returns:
        One entry per credit, those that move the labels most first.
    """
    relations = credits.relations(film, 0)
    if not relations:
        return ()
    variants = [_without(film.frame, relation) for relation in relations]
    edited = replace(film, frame=pl.concat(variants))
    blocks = {name: read(edited) for name, read in readers.items()}
    repeated = features.take(np.zeros(len(relations), np.int64))
    changed = Features(repeated.ids, {**repeated.blocks, **blocks}, repeated.tokens)
    whole = log_odds(predict(features))
    effects = whole - log_odds(predict(changed))  # (n_people, n_labels)
    names = [labels[column] for column in columns]
    order = np.argsort(-np.abs(effects[:, list(columns)]).sum(axis=1), kind="stable")
    return tuple(_person(relations[row], effects[row, list(columns)], names, labels) for row in order)


def evidence_in_words(moves: Mapping[str, npt.NDArray[np.float32]], predictions: Predictions) -> tuple[str, ...]:
    """Return what speaks for the surest label of every title, such as ``Horror: plot +2.1, year -0.4``.

    Args:
        moves: Per modality how far it moves the log-odds, (n_titles, n_labels).
        predictions: The titles.
    """
    texts = []
    for row, top in enumerate(predictions.likeliest(1)):
        label = top[0][0]
        column = predictions.labels.index(label)
        shares = {modality: float(change[row, column]) for modality, change in moves.items()}
        told = [f"{m} {v:+.1f}" for m, v in sorted(shares.items(), key=lambda item: -abs(item[1])) if abs(v) >= 0.05]
        texts.append(f"{label}: {', '.join(told)}" if told else "")
    return tuple(texts)


def attention_evidence(model: Model, features: Features) -> AttentionEvidence | None:
    """Return what each modality counts for one title, and what the teacher asks; None for models without attention."""
    attention = model.attention(features)
    if not attention:
        return None
    weights = {name: float(values[0]) for name, values in attention.items() if features.present(name)[0]}
    teacher = model.teacher(features) if isinstance(model, IdkgModel) else None
    if teacher is None or STANDING not in features.blocks:
        return AttentionEvidence(weights=weights)
    n_people = int(features.blocks[STANDING].values[0, 0])
    return AttentionEvidence(weights=weights, teacher=float(teacher[0]), n_people=n_people)


def _without(frame: pl.DataFrame, relation: PersonRelation) -> pl.DataFrame:
    """Return the film without one credit; ids beside the names lose the same place."""
    role, ids = relation.role, PEOPLE_FIELDS[relation.role]
    names = frame[role][0].to_list()
    people: list[str | None] = [None] * len(names)
    if ids in frame.columns and frame[ids][0] is not None:
        people = frame[ids][0].to_list()
    keys = [name if person is None else f"id:{person}" for name, person in zip(names, people, strict=True)]
    kept = [place for place, key in enumerate(keys) if key != relation.person]
    changes = [pl.Series(role, [[names[place] for place in kept]], dtype=pl.List(pl.String))]
    if ids in frame.columns:
        changes.append(pl.Series(ids, [[people[place] for place in kept]], dtype=pl.List(pl.String)))
    return frame.with_columns(changes)


def _person(
    relation: PersonRelation, effects: npt.NDArray[np.float32], names: list[str], labels: Sequence[str]
) -> PersonEvidence:
    top = np.argsort(-relation.counts, kind="stable")[:_SHOWN_LABELS]
    return PersonEvidence(
        role=relation.role,
        person=relation.person,
        n_films=relation.n_films,
        counts={labels[c]: round(float(relation.counts[c])) for c in top if relation.counts[c] > 0},
        effects=dict(zip(names, map(float, effects), strict=True)),
    )
