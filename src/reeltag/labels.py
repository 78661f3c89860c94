"""LabelSpace: which labels a model knows, in which order, and how a catalogue's words map to them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, LabelError
from reeltag.files import write_json


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How a label space is chosen from the lists of a catalogue field.

    Attributes:
        field: Catalogue field that holds the labels: ``genres``, ``tags``, ``keywords`` or any list column.
        min_count: Labels on fewer training titles are left out; not asked of included labels.
        include: When not empty, only these labels (after synonyms), in this order.
        exclude: Labels never used, for example ``News`` (the drop-list).
        synonyms: From a catalogue word to the label it means, for example ``{"Science Fiction": "Sci-Fi"}``; a label
            that is a synonym itself is followed to the end.
        ignore_case: Two spellings that differ in case only are one label, written as its most frequent spelling.
    """

    field: str = "genres"
    min_count: int = 10
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    synonyms: dict[str, str] = dataclasses.field(default_factory=dict)
    ignore_case: bool = True

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ConfigError(f"LabelConfig.min_count must be at least 1; got {self.min_count}")
        excluded = {self.fold(label) for label in self.exclude}
        both = [label for label in self.include if self.fold(label) in excluded]
        if both:
            raise ConfigError(f"LabelConfig: labels cannot be both included and excluded: {', '.join(sorted(both))}")
        if len({self.fold(label) for label in self.include}) < len(self.include):
            raise ConfigError(f"LabelConfig.include must name a label once; got {', '.join(self.include)}")
        self.meanings()

    def fold(self, word: str) -> str:
        """Return the form of a word in which two spellings of one label are equal."""
        word = " ".join(word.split())
        return word.casefold() if self.ignore_case else word

    def meanings(self) -> dict[str, str]:
        """Return the label that each folded synonym means in the end.

        Raises:
            ConfigError: A word means two labels, or synonyms lead in a circle.
        """
        steps: dict[str, str] = {}
        for word, label in self.synonyms.items():
            other = steps.setdefault(self.fold(word), label)
            if self.fold(other) != self.fold(label):
                raise ConfigError(f"LabelConfig.synonyms: {word!r} must mean one label; got {other!r} and {label!r}")
        return {word: self._end(word, steps) for word in steps}

    def _end(self, word: str, steps: dict[str, str]) -> str:
        seen, label = [word], steps[word]
        while (key := self.fold(label)) in steps and key != seen[-1]:
            if key in seen:
                raise ConfigError(f"LabelConfig.synonyms lead in a circle: {' -> '.join([*seen, key])}")
            seen.append(key)
            label = steps[key]
        return label


class LabelSpace:
    """An ordered, immutable set of labels with the words that map to them.

    Args:
        labels: The labels in column order.
        config: The rules they were chosen by.
        counts: Training titles per label, in the same order (empty when unknown).

    Raises:
        LabelError: A label is blank or comes twice (also in another case, when case is ignored), or the counts do not
            fit the labels.
    """

    def __init__(self, labels: Sequence[str], config: LabelConfig, counts: Sequence[int] = ()) -> None:
        self.labels = tuple(labels)
        self.config = config
        self.counts = tuple(counts)
        self._column = {label: column for column, label in enumerate(self.labels)}
        self._folded = {config.fold(label): label for label in self.labels}
        self._meanings = config.meanings()
        if len(self._folded) != len(self.labels):
            twice = [label for label, n in Counter(map(config.fold, self.labels)).items() if n > 1]
            raise LabelError(f"a label space must name a label once; got twice: {', '.join(twice)}")
        if "" in self._folded:
            raise LabelError("a label of a label space must not be blank")
        if len(self.counts) not in (0, len(self.labels)):
            raise LabelError(f"a label space needs a count per label ({len(self.labels)}); got {len(self.counts)}")

    @classmethod
    def learn(cls, lists: Iterable[Sequence[str] | None], config: LabelConfig) -> LabelSpace:
        """Choose the labels from the lists of the training titles.

        Args:
            lists: One list of words per training title; None is unknown and ignored.
            config: The rules.

        Returns:
            A LabelSpace ordered by ``config.include`` when given, else by falling count, then by name.

        Raises:
            LabelError: No label reaches ``min_count``, or an included label does not occur.
        """
        draft = cls((), config)
        spellings: dict[str, Counter[str]] = {}
        counts: Counter[str] = Counter()
        for words in lists:
            counts.update({draft._key(word, spellings) for word in words or () if word.strip()})
        named = {key: _best_spelling(spellings[key]) for key in counts}
        excluded = {config.fold(label) for label in config.exclude}
        if config.include:
            missing = [label for label in config.include if config.fold(label) not in counts]
            if missing:
                raise LabelError(
                    f"included labels do not occur in field '{config.field}' of the training titles: "
                    f"{', '.join(missing)}"
                )
            return cls(config.include, config, [counts[config.fold(label)] for label in config.include])
        kept = [key for key, n in counts.items() if n >= config.min_count and key not in excluded]
        if not kept:
            raise LabelError(
                f"no label of field '{config.field}' is on at least {config.min_count} training titles and not "
                f"excluded ({len(counts):,} labels seen); lower min_count or choose another field"
            )
        kept.sort(key=lambda key: (-counts[key], named[key]))
        return cls([named[key] for key in kept], config, [counts[key] for key in kept])

    def encode(self, lists: Sequence[Sequence[str] | None]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Turn lists of words into a target matrix.

        Args:
            lists: One list per title; None means the labels are unknown. Words outside the space are ignored.

        Returns:
            Targets of shape (n_titles, n_labels) with 0 and 1, and a mask (n_titles,) that is True where the
            title's labels are known. An empty list is unknown: catalogues leave the field empty for lack of
            knowledge, not to say that nothing applies. A list of other words says that none of these labels applies.
        """
        targets, known = self.encode_sparse(lists)
        return targets.toarray(), known

    def encode_sparse(self, lists: Sequence[Sequence[str] | None]) -> tuple[sp.csr_matrix, npt.NDArray[np.bool_]]:
        """Turn lists of words into a sparse target matrix, for spaces too wide to be held dense for every title.

        Args:
            lists: As for ``encode``.

        Returns:
            What ``encode`` returns, the targets as float32 CSR with sorted columns.
        """
        columns: list[int] = []
        ends = np.zeros(len(lists) + 1, np.int64)
        for row, words in enumerate(lists):
            labels = {self.resolve(word) for word in words or ()}
            columns += sorted(self._column[label] for label in labels if label is not None)
            ends[row + 1] = len(columns)
        ones = np.ones(len(columns), np.float32)
        shape = (len(lists), len(self.labels))
        targets = sp.csr_matrix((ones, np.array(columns, np.int64), ends), shape=shape)
        return targets, np.fromiter(map(bool, lists), np.bool_, len(lists))

    def decode(self, mask: npt.NDArray[np.bool_]) -> list[list[str]]:
        """Turn a boolean matrix (n_titles, n_labels) into lists of labels in column order.

        Raises:
            LabelError: The matrix is not boolean (probabilities need a threshold first), or has another width.
        """
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape[1] != len(self.labels):
            raise LabelError(
                f"labels are decoded from a boolean matrix of {len(self.labels)} columns; "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return [[self.labels[column] for column in np.flatnonzero(row)] for row in mask]

    def resolve(self, word: str) -> str | None:
        """Return the label that a catalogue word means, or None when it is outside the space."""
        folded = self.config.fold(word)
        return self._folded.get(self.config.fold(self._meanings.get(folded, folded)))

    def column(self, label: str) -> int:
        """Return the column of a label or synonym.

        Raises:
            LabelError: The label is not in the space.
        """
        resolved = self.resolve(label)
        if resolved is None:
            raise LabelError(f"label {label!r} is not in the label space ({len(self.labels):,} labels)")
        return self._column[resolved]

    def save(self, path: Path) -> None:
        """Write the labels and their rules as JSON."""
        write_json(path, {"labels": list(self.labels), "counts": list(self.counts), "config": to_json(self.config)})

    @classmethod
    def load(cls, path: Path) -> LabelSpace:
        """Read what ``save`` wrote.

        Raises:
            LabelError: The file does not exist, is damaged or foreign, or holds impossible labels or counts.
        """
        try:
            stored = from_json(_Stored, json.loads(path.read_text(encoding="utf-8")), path.name)
        except OSError as error:
            raise LabelError(f"{path}: labels cannot be read ({error.strerror or error})") from None
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{path}: labels must be valid JSON ({error})") from None
        except ConfigError as error:
            raise LabelError(f"{path}: not a file of labels ({error})") from None
        return cls(stored.labels, stored.config, stored.counts)

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and (self.labels, self.config) == (other.labels, other.config)

    def __hash__(self) -> int:
        return hash(self.labels)

    def __repr__(self) -> str:
        return f"LabelSpace({len(self.labels)} labels of '{self.config.field}': {', '.join(self.labels[:4])}, …)"

    def _key(self, word: str, spellings: dict[str, Counter[str]]) -> str:
        written = " ".join(self._meanings.get(self.config.fold(word), word).split())
        key = self.config.fold(written)
        spellings.setdefault(key, Counter())[written] += 1
        return key


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What ``save`` writes."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    config: LabelConfig


def _best_spelling(counter: Counter[str]) -> str:
    return min(counter, key=lambda word: (-counter[word], word))
