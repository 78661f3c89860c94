"""Splits that keep near-same titles together and label proportions alike.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"; library
iterative-stratification) over groups of near-same titles. Two things differ from the paper. Labels too rare to reach
every split (fewer groups than one over the smallest fraction) and labels beyond the ``max_labels`` most frequent do
not steer it: the algorithm would put every such title into train, and its time grows with titles times labels
squared. And what it leaves a split short of is made up by moving groups, so that sizes hold for tiny catalogues too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import SPLITS, Catalogue
from reeltag.config import check_range
from reeltag.duplicates import DuplicateConfig, find_duplicates
from reeltag.errors import ConfigError, SplitError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.progress import Progress

_SIZE_TOLERANCE = 0.02  # of a split's due size, but at least one title


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How titles are split.

    Attributes:
        validation: Fraction of the labelled titles to choose settings on; 0 for no such split.
        test: Fraction of the labelled titles to report on; 0 for no such split.
        seed: Same seed, same splits.
        group_duplicates: Keep near-same titles in one split.
        max_labels: The most frequent labels are kept in proportion, up to this many.
        duplicates: When two titles are near-same.
    """

    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    group_duplicates: bool = True
    max_labels: int = 200
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)

    def __post_init__(self) -> None:
        check_range("SplitConfig", "validation", self.validation, 0, 1)
        check_range("SplitConfig", "test", self.test, 0, 1)
        check_range("SplitConfig", "seed", self.seed, 0, 2**32 - 1)
        check_range("SplitConfig", "max_labels", self.max_labels, 1, 10_000)
        if self.validation + self.test >= 1:
            raise ConfigError(
                "SplitConfig: validation and test must leave titles for train, so their sum must be below 1; "
                f"got {self.validation:g} + {self.test:g}"
            )

    @property
    def fractions(self) -> dict[str, float]:
        """Splits that get titles, with their fractions, train first."""
        fractions = {"train": 1 - self.validation - self.test, "validation": self.validation, "test": self.test}
        return {name: fraction for name, fraction in fractions.items() if fraction > 0}


@dataclass(frozen=True, kw_only=True)
class SplitAssignment:
    """Which title is in which split.

    Attributes:
        splits: One of ``train``, ``validation``, ``test`` and ``background`` per title.
        origin: ``catalogue`` when the titles came with their splits, else ``assigned``.
        groups: Group number per title, shape (n_titles,); equal numbers are near-same titles, which share a split.
            None when the catalogue came with its splits (``reeltag.leaks.audit`` tells whether those are clean).
        n_unassigned: Titles without a split in a catalogue that has splits; they are background.
        n_unlabelled: Titles without known labels; they are background when the splits were assigned.
    """

    splits: tuple[str, ...]
    origin: Literal["catalogue", "assigned"]
    groups: npt.NDArray[np.int64] | None
    n_unassigned: int
    n_unlabelled: int

    @property
    def counts(self) -> dict[str, int]:
        """Titles per split, every split named."""
        counts = Counter(self.splits)
        return {name: counts[name] for name in SPLITS}

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split."""
        return np.flatnonzero(np.array(self.splits, dtype=object) == split).astype(np.int64)


def assign_splits(
    catalogue: Catalogue,
    targets: npt.NDArray[np.float32],
    config: SplitConfig | None = None,
    *,
    known: npt.NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> SplitAssignment:
    """Split a catalogue, or take the splits it came with.

    Args:
        catalogue: When it has a ``split`` column with at least one value, that is the split, as it stands.
        targets: 0 and 1, shape (n_titles, n_labels), as ``LabelSpace.encode`` returns them.
        config: Fractions and seed, used when the catalogue has no splits.
        known: True where the labels of a title are known, shape (n_titles,); titles with a label when None.
        progress: Told how far the search for near-same titles is.

    Returns:
        The split of every title.

    Raises:
        SplitError: The catalogue's splits have no training title, there are too few titles to split, or ``targets``
            has another number of rows than the catalogue.
    """
    config = config or SplitConfig()
    if targets.ndim != 2 or len(targets) != len(catalogue):
        raise SplitError(f"targets must have one row per title ({len(catalogue):,}); got shape {targets.shape}")
    known = np.asarray(targets.any(axis=1) if known is None else known, np.bool_)
    if known.shape != (len(catalogue),):
        raise SplitError(f"known must have one entry per title ({len(catalogue):,}); got shape {known.shape}")
    n_unlabelled = int((~known).sum())
    if catalogue.has("split") and catalogue.frame["split"].null_count() < len(catalogue):
        return _given(catalogue, n_unlabelled)
    groups = duplicate_groups(catalogue, config, progress)
    names = list(config.fractions)
    fold = _stratify(groups[known], targets[known] > 0, np.array(list(config.fractions.values())), config)
    splits = np.full(len(catalogue), "background", dtype=object)
    splits[known] = np.array(names, dtype=object)[fold]
    return SplitAssignment(
        splits=tuple(splits), origin="assigned", groups=groups, n_unassigned=0, n_unlabelled=n_unlabelled
    )


def split_by_labels(
    catalogue: Catalogue, labels: LabelConfig, config: SplitConfig, progress: Progress | None = None
) -> SplitAssignment:
    """Split a catalogue in proportion to the words of a list field, or take the splits it came with.

    Args:
        catalogue: As for ``assign_splits``.
        labels: The field, its synonyms and drop-list; how frequent labels must be does not count.
        config: As for ``assign_splits``; labels beyond the ``max_labels`` most frequent are not even held.
        progress: As for ``assign_splits``.

    Raises:
        SplitError: As for ``assign_splits``.
        LabelError: No title has any label.
    """
    lists = catalogue.lists(labels.field)
    draft = LabelSpace.learn(lists, replace(labels, min_count=1, include=()))
    targets, known = LabelSpace(draft.labels[: config.max_labels], draft.config).encode(lists)
    return assign_splits(catalogue, targets, config, known=known, progress=progress)


def duplicate_groups(
    catalogue: Catalogue, config: SplitConfig | None = None, progress: Progress | None = None
) -> npt.NDArray[np.int64]:
    """Return a group number per title, shape (n_titles,); near-same titles share one.

    Args:
        catalogue: The titles.
        config: ``group_duplicates`` False gives every title a group of its own.
        progress: Told how far the search is.
    """
    config = config or SplitConfig()
    if not config.group_duplicates:
        return np.arange(len(catalogue), dtype=np.int64)
    return find_duplicates(catalogue, config=config.duplicates, progress=progress).groups()


def cross_folds(
    groups: npt.NDArray[np.int64], targets: npt.NDArray[np.float32], k: int, seed: int = 0, *, max_labels: int = 200
) -> npt.NDArray[np.int64]:
    """Number the folds for cross-fitting: equal sizes, labels in proportion, groups whole.

    Args:
        groups: Group number per title, shape (n_titles,).
        targets: 0 and 1, shape (n_titles, n_labels).
        k: Number of folds, at least 2.
        seed: Same seed, same folds.
        max_labels: The most frequent labels are kept in proportion, up to this many.

    Returns:
        A fold from 0 to k - 1 per title, shape (n_titles,); no fold is empty.

    Raises:
        SplitError: ``k`` is below 2, there are fewer groups than folds, or the shapes differ.
    """
    if k < 2:
        raise SplitError(f"cross_folds: k must be at least 2; got {k}")
    if targets.ndim != 2 or groups.shape != (len(targets),):
        raise SplitError(
            f"cross_folds: groups and targets must have one row per title; got {groups.shape}, {targets.shape}"
        )
    return _stratify(groups, targets > 0, np.full(k, 1 / k), SplitConfig(seed=seed, max_labels=max_labels))


def labelled_rows(
    splits: SplitAssignment, split: str, lists: Sequence[Sequence[str]], source: str
) -> npt.NDArray[np.int64]:
    """Return the titles of a split whose labels are known.

    Args:
        splits: The splits.
        split: Name of the split.
        lists: The labels of every title; an empty list is unknown.
        source: Name of the catalogue, for the error.

    Raises:
        SplitError: There are none.
    """
    rows = splits.rows_of(split)
    known = rows[[bool(lists[row]) for row in rows]]
    if len(known) == 0:
        raise SplitError(
            f"{source}: no title of split '{split}' has known labels, and a tagger cannot be fitted without; mark such "
            "titles in the column 'split', or drop the column to have splits made"
        )
    return known


def _given(catalogue: Catalogue, n_unlabelled: int) -> SplitAssignment:
    column = catalogue.frame["split"]
    splits = tuple(column.fill_null("background"))
    if "train" not in splits:
        raise SplitError(
            f"{catalogue.source}: column 'split' has no title in 'train'; got {', '.join(sorted(set(splits)))}. "
            "Mark the training titles, or drop the column to have splits made"
        )
    return SplitAssignment(
        splits=splits,
        origin="catalogue",
        groups=None,
        n_unassigned=column.null_count(),
        n_unlabelled=n_unlabelled,
    )


def _stratify(
    groups: npt.NDArray[np.int64],
    targets: npt.NDArray[np.bool_],
    fractions: npt.NDArray[np.float64],
    config: SplitConfig,
) -> npt.NDArray[np.int64]:
    """Return a fold per title, shape (n_titles,), with groups whole and no fold empty."""
    from iterstrat.ml_stratifiers import IterativeStratification

    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    if len(size) < len(fractions):
        raise SplitError(
            f"{len(fractions)} splits need at least as many labelled titles that are not near-same; "
            f"got {len(groups):,} labelled titles in {len(size):,} groups"
        )
    random = np.random.RandomState(config.seed)
    order = random.permutation(len(size))
    labels = _group_labels(group, targets, len(size), fractions, config.max_labels)
    fold = np.empty(len(size), np.int64)
    fold[order] = IterativeStratification(labels=labels[order], r=fractions.copy(), random_state=random)
    _even_out(fold, size, fractions, random)
    return fold[group]


def _group_labels(
    group: npt.NDArray[np.int64],
    targets: npt.NDArray[np.bool_],
    n_groups: int,
    fractions: npt.NDArray[np.float64],
    max_labels: int,
) -> npt.NDArray[np.bool_]:
    """Return the labels of each group's titles together, shape (n_groups, n_steering_labels)."""
    frequent = np.argsort(-targets.sum(axis=0), kind="stable")[:max_labels]
    labels = np.zeros((n_groups, len(frequent)), np.bool_)
    rows, columns = np.nonzero(targets[:, frequent])
    labels[group[rows], columns] = True
    return labels[:, labels.sum(axis=0) * fractions.min() >= 1 - 1e-9]


def _even_out(
    fold: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    fractions: npt.NDArray[np.float64],
    random: np.random.RandomState,
) -> None:
    """Move groups, in place, until every fold has its share of titles, or as near as whole groups allow."""
    due = fractions * size.sum()
    have = np.bincount(fold, weights=size, minlength=len(fractions))
    while True:
        source, sink = int(np.argmax(have - due)), int(np.argmin(have - due))
        excess, lack = have[source] - due[source], due[sink] - have[sink]
        if lack < max(1.0, _SIZE_TOLERANCE * due[sink]):
            break
        movable = np.flatnonzero((fold == source) & (size < excess + lack))  # else the move would not help
        if len(movable) == 0:
            break
        fitting = movable[size[movable] <= lack + 0.5]
        moved = random.choice(fitting if len(fitting) else movable[[int(np.argmin(size[movable]))]])
        fold[moved] = sink
        have[source] -= size[moved]
        have[sink] += size[moved]
    for empty in np.flatnonzero(np.bincount(fold, minlength=len(fractions)) == 0):
        crowded = int(np.argmax(np.bincount(fold, minlength=len(fractions))))
        members = np.flatnonzero(fold == crowded)
        fold[members[int(np.argmin(size[members]))]] = empty
