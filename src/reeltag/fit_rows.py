"""FitRows: which titles of a catalogue a tagger learns from, is chosen on, and sees in other ways when it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reeltag.features import Features
from reeltag.recipes import Recipe
from reeltag.selftraining import drawn
from reeltag.splits import SplitAssignment, labelled_rows

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FitRows:
    """Row numbers of a catalogue, rising.

    Attributes:
        training: Titles that the model learns from.
        validation: Titles that it is chosen and calibrated on.
        graph: Titles that feed the credits graph: training titles, and background ones by choice.
        wider: Titles whose other list fields are voted on, whether their labels are known or not.
        unlabelled: Titles without known labels that self-training asks about; none when it is off.
    """

    training: RowNumbers
    validation: RowNumbers
    graph: RowNumbers
    wider: RowNumbers
    unlabelled: RowNumbers

    @classmethod
    def of(
        cls, splits: SplitAssignment, lists: Sequence[Sequence[str]], recipe: Recipe, *, seed: int, source: str
    ) -> FitRows:
        """Choose the titles.

        Args:
            splits: The split of every title.
            lists: The labels of every title; an empty list says that they are unknown.
            recipe: Says what background titles are for, and how many unlabelled ones are asked about.
            seed: Unlabelled titles are drawn by it.
            source: Name of the catalogue, for errors.

        Raises:
            SplitError: There are no training or validation titles with known labels.
        """
        known = np.fromiter(map(bool, lists), np.bool_, len(lists))
        training, validation = (labelled_rows(splits, split, lists, source) for split in ("train", "validation"))
        background = splits.rows_of("background")
        known_background = background[known[background]]
        if recipe.train_on_background:
            training = np.sort(np.concatenate([training, known_background]))
        graph, wider = training, splits.rows_of("train")
        if recipe.features.credits.background:
            graph, wider = np.union1d(training, known_background), np.union1d(wider, background)
        n = recipe.self_training.titles
        unlabelled = drawn(unlabelled_rows(splits, known), n, seed) if n else np.zeros(0, np.int64)
        return cls(training=training, validation=validation, graph=graph, wider=wider, unlabelled=unlabelled)

    @property
    def read(self) -> RowNumbers:
        """The titles whose features are needed, as ``parts`` takes them apart."""
        return np.concatenate([self.training, self.validation, self.unlabelled])

    @property
    def counts(self) -> dict[str, int]:
        """Titles with known labels that were learned from, chosen on and put into the graph."""
        return {"train": len(self.training), "validation": len(self.validation), "graph": len(self.graph)}

    def parts(self, features: Features) -> tuple[Features, ...]:
        """Take the features of ``read`` apart: training, validation, unlabelled."""
        ends = np.cumsum([0, len(self.training), len(self.validation), len(self.unlabelled)]).tolist()
        return tuple(features.take(range(start, end)) for start, end in pairwise(ends))


def unlabelled_rows(splits: SplitAssignment, known: npt.NDArray[np.bool_]) -> RowNumbers:
    """Return the training and background titles without known labels.

    Near-same titles of validation and test ones are left out where the splits know them.

    Args:
        splits: The split of every title.
        known: Whether the labels of each are known, (n_titles,).
    """
    rows = np.union1d(splits.rows_of("train"), splits.rows_of("background"))
    rows = rows[~known[rows]]
    if splits.groups is None:
        return rows
    held_out = np.concatenate([splits.rows_of("validation"), splits.rows_of("test")])
    return rows[~np.isin(splits.groups[rows], splits.groups[held_out])]
