"""Protocols: which titles a model learns from, is chosen on and is tested on.

``clean``: the splits of the catalogue, or new ones that keep near-same titles together; the credits graph is made of
training titles (and background ones), and a title is left out of its own credits. Background titles may be training
titles too, by choice; no validation or test title is among them.

``published``: what the authors' code does. Training, validation and test titles are drawn by independent shuffles of
all labelled titles (60, 10 and 30 %), so that three of five test titles are training titles; the graph comes from yet
another shuffle and holds the labels of three of five test titles; and a title sees its own labels in its credits. It
is there to show what such figures are worth, not to measure a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.catalogue import Catalogue
from reeltag.config import check_choice
from reeltag.encoders.contract import has_content
from reeltag.errors import SplitError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.pipeline import read_texts
from reeltag.progress import Progress, silent
from reeltag.splits import SplitConfig, split_by_labels

Rows = npt.NDArray[np.int64]
NEEDS = ("plot", "title")  # texts that training titles may be asked for
_TRAIN, _VALIDATION = 0.6, 0.7  # where the published shuffles are cut


@dataclass(frozen=True, kw_only=True)
class TrainingTitles:
    """Which titles a model learns from, and the label space with it.

    Attributes:
        background: Background titles with known labels, besides those of the split ``train``; under ``clean`` alone.
        needs: Texts that each of them must have, of ``NEEDS``; a plot may be an outline.
    """

    background: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """Who learns from what.

    Attributes:
        protocol: Name of the protocol.
        labels: The labels, learned from the training titles.
        targets: 0 and 1 for every title of the catalogue, (n_titles, n_labels), sparse: thousands of labels of a large
            catalogue would not fit otherwise.
        train: Row numbers of the training titles, each with at least one label; so for the next two.
        validation: Row numbers of the titles that epochs and thresholds are chosen on.
        test: Row numbers of the titles that are reported.
        graph: Row numbers of the titles that feed the credits graph.
    """

    protocol: str
    labels: LabelSpace
    targets: sp.csr_matrix
    train: Rows
    validation: Rows
    test: Rows
    graph: Rows

    def targets_of(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return 0 and 1 for the titles of some rows, (n_rows, n_labels)."""
        dense: npt.NDArray[np.float32] = self.targets[rows].toarray()
        return dense

    @cached_property
    def truth(self) -> npt.NDArray[np.float32]:
        """0 and 1 for the test titles, (n_test, n_labels)."""
        return self.targets_of(self.test)

    @cached_property
    def training_counts(self) -> tuple[int, ...]:
        """Training titles with each label, (n_labels,)."""
        return tuple(int(n) for n in np.asarray(self.targets[self.train].sum(axis=0, dtype=np.float64)).ravel())

    @property
    def rows(self) -> Rows:
        """Every title whose features are needed, once, in the order of the catalogue."""
        return np.unique(np.concatenate([self.train, self.validation, self.test]))

    @property
    def counts(self) -> dict[str, int]:
        """Titles per role."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test", "graph")}

    @property
    def overlaps(self) -> dict[str, float]:
        """Shares of the test titles that something has learned from; all 0 when the protocol is clean."""
        others = {"train": self.train, "validation": self.validation, "graph": self.graph}
        return {name: float(np.isin(self.test, rows).mean()) for name, rows in others.items()}

    def digest(self) -> str:
        """Return a hash of the rows and the labels."""
        told = hashlib.sha256(repr(self.labels.labels).encode())
        for rows in (self.train, self.validation, self.test, self.graph):
            told.update(len(rows).to_bytes(8, "big") + rows.tobytes())
        return told.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """Rows per role, those without any label still among them."""

    train: Rows
    validation: Rows
    test: Rows
    graph: Rows
    background: Rows


def partition(
    catalogue: Catalogue,
    labels: LabelConfig,
    splits: SplitConfig,
    protocol: str = "clean",
    *,
    background: bool = True,
    training: TrainingTitles | None = None,
    progress: Progress = silent,
) -> Partition:
    """Return which titles do what.

    Args:
        catalogue: Titles with labels.
        labels: How the labels are chosen from the training titles.
        splits: How a catalogue without splits is split; its seed is that of the published shuffles too.
        protocol: ``clean`` or ``published``.
        background: Under ``clean``, background titles with known labels feed the graph.
        training: Which titles are learned from; those of the split ``train`` when None. The graph is the same.
        progress: Called while near-same titles are looked for.

    Raises:
        SplitError: There are no training, validation or test titles with a label.
        LabelError: No label is frequent enough.
        ConfigError: There is no such protocol.
    """
    check_choice("benchmark", "protocol", protocol, PROTOCOLS)
    lists = catalogue.lists(labels.field)
    known = np.array([bool(words) for words in lists], np.bool_)
    if protocol == "clean":
        cut = _clean(catalogue, labels, splits, background, progress)
    else:
        cut = _published(catalogue, known, splits.seed)
    cut = _trained_on(cut, training or TrainingTitles(), catalogue)
    space = LabelSpace.learn([lists[row] for row in cut.train if known[row]], labels)
    targets, _ = space.encode_sparse(lists)
    labelled = np.diff(targets.indptr) > 0
    roles = {"train": cut.train, "validation": cut.validation, "test": cut.test}
    parts = {name: rows[labelled[rows]] for name, rows in roles.items()}
    for name, rows in parts.items():
        if len(rows) == 0:
            raise SplitError(
                f"{catalogue.source}: no title of split '{name}' has any of the labels of '{labels.field}', and a "
                "benchmark needs training, validation and test titles"
            )
    return Partition(protocol=protocol, labels=space, targets=targets, graph=cut.graph[known[cut.graph]], **parts)


def _clean(
    catalogue: Catalogue, labels: LabelConfig, config: SplitConfig, background: bool, progress: Progress
) -> _Cut:
    assigned = split_by_labels(catalogue, labels, config, progress)
    rows_of: Callable[[str], Rows] = assigned.rows_of
    graph = [rows_of("train"), *([rows_of("background")] if background else [])]
    return _Cut(
        train=rows_of("train"),
        validation=rows_of("validation"),
        test=rows_of("test"),
        graph=np.concatenate(graph),
        background=rows_of("background"),
    )


def _trained_on(cut: _Cut, training: TrainingTitles, catalogue: Catalogue) -> _Cut:
    """Return the same roles with other training titles, in the order of the catalogue where background joins them."""
    train = cut.train
    if training.background:
        train = np.sort(np.concatenate([train, cut.background]))
    for name in training.needs:
        train = train[has_content(read_texts(catalogue.take(train), name))]
    return replace(cut, train=train)


def _published(catalogue: Catalogue, known: npt.NDArray[np.bool_], seed: int) -> _Cut:
    """Shuffle four times; only the shares are the authors', not their random numbers."""
    random, background = np.random.default_rng(seed), catalogue.rows_of("background")
    rows = np.setdiff1d(np.flatnonzero(known), background).astype(np.int64)
    first, second = int(_TRAIN * len(rows)), int(_VALIDATION * len(rows))
    shuffles = [random.permutation(rows) for _ in range(4)]
    return _Cut(
        train=shuffles[0][:first],
        validation=shuffles[1][first:second],
        test=shuffles[2][second:],
        graph=shuffles[3][:first],
        background=background,
    )


PROTOCOLS = ("clean", "published")
