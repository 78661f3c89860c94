"""Which titles an encoder learns from: those of split train, and background ones if asked for, no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.catalogue import Catalogue
from reeltag.encoders.contract import has_content
from reeltag.errors import LabelError, SplitError
from reeltag.finetune.config import FinetuneConfig
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.pipeline import read_texts

_MEASURED_AGAINST = 10  # titles learned from, per validation title


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTexts:
    """Titles with a plot and at least one label.

    Attributes:
        ids: Of the titles.
        texts: Their plots.
        targets: 0 and 1, float32 CSR of shape (n_titles, n_labels).
    """

    ids: list[str]
    texts: list[str]
    targets: sp.csr_matrix

    def take(self, rows: npt.NDArray[np.int64]) -> LabelledTexts:
        """Return the titles of the given rows, in that order."""
        return LabelledTexts(
            ids=[self.ids[row] for row in rows], texts=[self.texts[row] for row in rows], targets=self.targets[rows]
        )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What fine-tuning reads.

    Attributes:
        learned: What is learned from.
        neighbours: Those of ``learned`` among which neighbours are looked for, see ``FinetuneConfig.measured``.
        validation: Whose neighbours are looked for.
        labels: In the order of the columns of the targets, as ``field:label``.
    """

    learned: LabelledTexts
    neighbours: LabelledTexts
    validation: LabelledTexts
    labels: tuple[str, ...]


def choose_titles(catalogue: Catalogue, config: FinetuneConfig, seed: int) -> Material:
    """Return the titles that an encoder learns from and is measured on.

    A title whose lists are all empty is left out, for its labels are unknown; one of whose words none is frequent
    enough, too, for it would be nobody's positive. A field that is empty where another is not counts as no labels.

    Args:
        catalogue: Must have splits; titles without one are background.
        config: Label fields, ``min_count``, ``background``, ``titles``, ``measured``.
        seed: Of the draws.

    Raises:
        SplitError: The catalogue has no splits, or no title of them has a plot and labels.
        CatalogueError: It has no such list field.
        LabelError: No label is frequent enough, or titles have all the same.
    """
    if not catalogue.has("split"):
        raise SplitError(
            f"{catalogue.source}: has no column 'split'; an encoder must be fine-tuned on the training titles alone, "
            "so mark them (train, validation, test)"
        )
    random = np.random.default_rng(seed)
    splits = ("train", "background") if config.background else ("train",)
    rows = _usable(catalogue, config.labels, splits)
    if len(rows) == 0:
        raise SplitError(
            f"{catalogue.source}: no title of split {' or '.join(splits)} has a plot and words in "
            f"{', '.join(config.labels)}"
        )
    titles = catalogue.take(_drawn(rows, config.titles, random))
    spaces = [
        LabelSpace.learn(titles.lists(name), LabelConfig(field=name, min_count=config.min_count))
        for name in config.labels
    ]
    learned = _labelled(titles, spaces)
    if not (learned.targets.sum(axis=0) < len(learned)).any():
        raise LabelError(
            f"{catalogue.source}: the titles have all the same labels in {', '.join(config.labels)}, which tells none "
            "of them from another"
        )
    held_out = _labelled(catalogue.take(_usable(catalogue, config.labels, ("validation",))), spaces)
    chosen = _drawn(np.arange(len(held_out)), config.measured or -1, random)
    among = _drawn(np.arange(len(learned)), _MEASURED_AGAINST * config.measured or -1, random)
    return Material(
        learned=learned,
        neighbours=learned.take(among),
        validation=held_out.take(chosen),
        labels=tuple(f"{space.config.field}:{label}" for space in spaces for label in space.labels),
    )


def _usable(catalogue: Catalogue, fields: Sequence[str], splits: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the rows of some splits that have a plot and any words in the fields."""
    inside = catalogue.frame["split"].fill_null("background").is_in(list(splits)).to_numpy()
    worded = np.zeros(len(catalogue), np.bool_)
    for name in fields:
        worded |= np.fromiter(map(bool, catalogue.lists(name)), np.bool_, len(catalogue))
    return np.flatnonzero(inside & worded & has_content(read_texts(catalogue, "plot"))).astype(np.int64)


def _drawn(rows: npt.NDArray[np.int64], n: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return ``n`` of the rows at most, in order, evenly drawn; all for 0, none for -1."""
    if n == 0 or n >= len(rows):
        return rows
    return np.sort(random.choice(rows, max(n, 0), replace=False))


def _labelled(titles: Catalogue, spaces: Sequence[LabelSpace]) -> LabelledTexts:
    """Return those of the titles that have a label, with the labels of all spaces side by side."""
    parts = [space.encode_sparse(titles.lists(space.config.field))[0] for space in spaces]
    targets = sp.csr_matrix(sp.hstack(parts, format="csr", dtype=np.float32))
    everything = LabelledTexts(ids=titles.ids, texts=read_texts(titles, "plot"), targets=targets)
    return everything.take(np.flatnonzero(np.diff(targets.indptr)).astype(np.int64))
