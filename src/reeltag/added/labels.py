"""The labels added to a tagger, each with its head, its examples and what was measured on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from reeltag.added.head import Head, HeadFit
from reeltag.added.inputs import HeadInputs, Inputs
from reeltag.config import check_range, from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, LabelError
from reeltag.explain_tokens import TokenModel
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.labels import LabelSpace

_MIN_LENGTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class AddedLabel:
    """What is kept of one added label beside its head.

    Attributes:
        label: The label.
        examples: Ids of the titles it was added from.
        titles: Their titles, for reading.
        counter_examples: Ids of the titles it was said not to apply to.
        share: Share of titles that it was expected to apply to.
        threshold: From which probability it applies.
        recall: Share of the examples found when they were left out; None with one example.
        precision: Share of the titles found that should be right, estimated from share and recall; None likewise.
        tagged: Share of the training titles at or above the threshold.
    """

    label: str
    examples: tuple[str, ...]
    titles: tuple[str, ...]
    counter_examples: tuple[str, ...] = ()
    share: float
    threshold: float
    recall: float | None
    precision: float | None
    tagged: float

    def __post_init__(self) -> None:
        if not self.examples or len(self.titles) != len(self.examples):
            raise ConfigError(
                f"AddedLabel.titles must name every example of '{self.label}', at least one; got {len(self.titles)} "
                f"titles of {len(self.examples)} examples"
            )
        for name in ("share", "threshold", "tagged"):
            check_range("AddedLabel", name, getattr(self, name), 0, 1)

    @property
    def f1(self) -> float | None:
        """F1 of recall and precision; None where these are not known."""
        if self.recall is None or self.precision is None:
            return None
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class Example:
    """An example of an added label near an explained title: cosine similarity of what the heads read."""

    id: str
    title: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class AddedEvidence:
    """What stands behind an added label of one title.

    Attributes:
        label: The label.
        n_examples: Titles it was added from.
        nearest: The examples that are most like the title, the nearest first, the title itself left out.
    """

    label: str
    n_examples: int
    nearest: tuple[Example, ...]

    def in_words(self) -> str:
        """Return a sentence."""
        told = ", ".join(f"{near.title or near.id} ({near.similarity:.2f})" for near in self.nearest)
        counted = f"{self.n_examples:,} example{'s' * (self.n_examples > 1)}"
        return f"{self.label} was added from {counted}" + (f"; nearest: {told}" if told else "")


@dataclass(frozen=True, kw_only=True)
class AddedLabels:
    """Labels added to a tagger, in the order they were added. ``AddedLabels()`` has none.

    Attributes:
        entries: The labels.
        inputs: How titles are read; None when there are no labels.
        heads: One head per label.
        vectors: Per label what its examples look like to the heads, (n_examples, dim), unit length.
    """

    entries: tuple[AddedLabel, ...] = ()
    inputs: HeadInputs | None = None
    heads: tuple[Head, ...] = ()
    vectors: tuple[npt.NDArray[np.float32], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(entry.label for entry in self.entries)

    @property
    def thresholds(self) -> npt.NDArray[np.float32]:
        """From which probability each applies, (n_added,)."""
        return np.array([entry.threshold for entry in self.entries], np.float32)

    def with_label(
        self, entry: AddedLabel, inputs: HeadInputs, fit: HeadFit, rows: npt.NDArray[np.float32]
    ) -> AddedLabels:
        """Return these labels and one more.

        Args:
            entry: The label.
            inputs: How titles are read; the same for all labels.
            fit: Its head.
            rows: Its examples as read, (n_examples, dim).
        """
        return AddedLabels(
            entries=(*self.entries, entry),
            inputs=inputs,
            heads=(*self.heads, fit.head),
            vectors=(*self.vectors, unit(rows)),
        )

    def without(self, label: str) -> AddedLabels:
        """Return these labels but one."""
        kept = [place for place, entry in enumerate(self.entries) if entry.label != label]
        return AddedLabels(
            entries=tuple(self.entries[place] for place in kept),
            inputs=self.inputs if kept else None,
            heads=tuple(self.heads[place] for place in kept),
            vectors=tuple(self.vectors[place] for place in kept),
        )

    def predict_proba(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Return probabilities (n_titles, n_added)."""
        rows = self._rows(inputs)
        return np.stack([head.predict_proba(rows) for head in self.heads], axis=1)

    def evidence(self, inputs: Inputs, title_id: str, labels: Sequence[str], n: int) -> tuple[AddedEvidence, ...]:
        """Return what stands behind the labels of one title.

        Args:
            inputs: What is read of it (one title).
            title_id: Its id.
            labels: Labels that are told; those that were not added are passed over.
            n: Examples told of each at most.
        """
        told = []
        for entry, vectors in zip(self.entries, self.vectors, strict=True):
            if entry.label not in labels:
                continue
            near = vectors @ unit(self._rows(inputs))[0]
            order = [int(place) for place in np.argsort(-near, kind="stable") if entry.examples[place] != title_id]
            nearest = tuple(
                Example(id=entry.examples[place], title=entry.titles[place], similarity=float(near[place]))
                for place in order[:n]
            )
            told.append(AddedEvidence(label=entry.label, n_examples=len(entry.examples), nearest=nearest))
        return tuple(told)

    def known_slopes(self) -> npt.NDArray[np.float32]:
        """Return how far the log-odds of each known label move those of each added one, (n_added, n_known)."""
        if self.inputs is None:
            return np.zeros((0, 0), np.float32)
        return self.inputs.slopes(np.stack([head.weights for head in self.heads]))

    def save(self, folder: Path) -> None:
        """Write ``added.json`` and ``added.safetensors``.

        Raises:
            LabelError: There are no labels.
        """
        if self.inputs is None:
            raise LabelError("AddedLabels without labels cannot be saved")
        folder.mkdir(parents=True, exist_ok=True)
        tensors = self.inputs.tensors()
        tensors["weights"] = np.stack([head.weights for head in self.heads])
        biases = np.array([head.bias for head in self.heads], np.float64)
        tensors |= {f"examples.{place}": vectors for place, vectors in enumerate(self.vectors)}
        save_file({**tensors, "biases": biases}, folder / "added.safetensors")
        write_json(folder / "added.json", to_json(_Stored(parts=tuple(self.inputs.means), labels=self.entries)))

    @classmethod
    def load(cls, folder: Path) -> AddedLabels:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: It is damaged.
        """
        path = folder / "added.json"
        try:
            stored = from_json(_Stored, json.loads(path.read_text(encoding="utf-8")), path.name)
            tensors = load_file(folder / "added.safetensors")
            inputs = HeadInputs.of_tensors(tensors, stored.parts)
            vectors = tuple(tensors[f"examples.{place}"] for place in range(len(stored.labels)))
            weights, biases = tensors["weights"], tensors["biases"]
        except (ValueError, KeyError, ConfigError) as error:
            raise ArtefactError(f"{path}: not a file of added labels ({error})") from None
        n, width = len(stored.labels), inputs.dim
        if weights.shape != (n, width) or biases.shape != (n,) or any(v.shape[1:] != (width,) for v in vectors):
            raise ArtefactError(f"{path}: the heads of {n} labels must read {width} numbers; got {weights.shape}")
        heads = tuple(Head(weights=row, bias=float(bias)) for row, bias in zip(weights, biases, strict=True))
        return cls(entries=stored.labels, inputs=inputs, heads=heads, vectors=vectors)

    def _rows(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        if self.inputs is None:
            raise LabelError("AddedLabels without labels are used")
        return self.inputs.rows(inputs)


class TokenSpeaker:
    """A model that reads tokens, made to say what each token does to the added labels too.

    A head moves in a straight line with the log-odds of the known labels, so what a token does to it is the sum of
    what it does to them, each times its slope.

    Args:
        model: The model.
        slopes: What ``AddedLabels.known_slopes`` returns.
    """

    def __init__(self, model: TokenModel, slopes: npt.NDArray[np.float32]) -> None:
        self._model, self._slopes = model, slopes

    def token_effects(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return per token block how far each token moves the log-odds, (n_titles, n_tokens, n_labels)."""
        known = self._slopes.shape[1]
        return {
            name: np.concatenate([moves, moves[:, :, :known] @ self._slopes.T], axis=2)
            for name, moves in self._model.token_effects(features).items()
        }

    def token_attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return what the model says."""
        return self._model.token_attention(features)


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What ``save`` writes as JSON."""

    parts: tuple[str, ...]
    labels: tuple[AddedLabel, ...]


def new_label(space: LabelSpace, label: str) -> str:
    """Return a label, its blanks tidied, that may be added to a label space.

    Raises:
        LabelError: It is blank, is there already (in another spelling, or as a synonym), or is a synonym of another.
    """
    label = " ".join(label.split())
    if not label:
        raise LabelError("a label that is added must not be blank")
    there = space.resolve(label)
    if there is not None:
        how = "" if there == label else f" as {there!r}"
        raise LabelError(f"label {label!r} is in the label space already{how}; it cannot be added again")
    meaning = space.config.meanings().get(space.config.fold(label))
    if meaning is not None and space.config.fold(meaning) != space.config.fold(label):
        raise LabelError(f"label {label!r} is a synonym of {meaning!r} by the recipe; add {meaning!r}")
    return label


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows of unit length; rows of zeros stay."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(_MIN_LENGTH), np.float32)
