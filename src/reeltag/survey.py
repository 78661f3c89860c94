"""What a catalogue holds: what is present per field and split, label counts, and what deserves a look."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from reeltag.catalogue import SPLITS, Catalogue

_UNASSIGNED = "unassigned"
_SEPARATORS = (",", ";", "/")
_SHOWN_PROBLEMS = 3


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Titles that have a field: in all, and per split."""

    all: int
    splits: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class LabelSurvey:
    """The labels of a field: titles per label, most frequent first, and titles with any."""

    field: str
    n_labelled: int
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a catalogue holds.

    Attributes:
        source: Where it came from.
        n_titles: Number of titles.
        splits: Titles per split; empty when the catalogue has no splits.
        present: Per field, the titles that have it.
        labels: The labels of the asked field.
        notes: What deserves a look, in sentences.
    """

    source: str
    n_titles: int
    splits: dict[str, int]
    present: dict[str, Presence]
    labels: LabelSurvey
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"notes": list(self.notes)}


def survey(catalogue: Catalogue, labels_field: str = "genres") -> Survey:
    """Look through a catalogue.

    Args:
        catalogue: The titles.
        labels_field: List field whose labels are counted.

    Raises:
        CatalogueError: The catalogue has no such list field.
    """
    lists = catalogue.lists(labels_field)
    counts = Counter(label for labels in lists for label in set(labels))
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    splits = _split_names(catalogue)
    posters = catalogue.posters.present(catalogue.ids)
    others = [name for name in catalogue.frame.columns if name not in ("id", "poster", "trailer")]
    masks = {name: _filled(catalogue.frame[name]) for name in others}
    masks["poster"] = pl.Series(posters)
    if catalogue.trailers.paths:
        masks["trailer"] = pl.Series(catalogue.trailers.present(catalogue.ids))
    present = {
        name: Presence(all=int(mask.sum()), splits={s: int((mask & (splits == s)).sum()) for s in _used(splits)})
        for name, mask in masks.items()
        if name != "split"
    }
    return Survey(
        source=catalogue.source,
        n_titles=len(catalogue),
        splits={name: int((splits == name).sum()) for name in _used(splits)},
        present=present,
        labels=LabelSurvey(field=labels_field, n_labelled=sum(map(bool, lists)), counts=ordered),
        notes=tuple(_notes(catalogue, labels_field, ordered, splits)),
    )


def _split_names(catalogue: Catalogue) -> pl.Series:
    if not catalogue.has("split"):
        return pl.Series([None] * len(catalogue), dtype=pl.String)
    return catalogue.frame["split"].fill_null(_UNASSIGNED)


def _used(splits: pl.Series) -> list[str]:
    found = set(splits.drop_nulls())
    return [name for name in (*SPLITS, _UNASSIGNED) if name in found]


def _filled(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.List):
        return column.list.len().fill_null(0) > 0
    return column.is_not_null()


def _notes(catalogue: Catalogue, labels_field: str, counts: dict[str, int], splits: pl.Series) -> list[str]:
    notes = []
    for separator in _SEPARATORS:
        n_joined = sum(separator in label for label in counts)
        if n_joined > len(counts) / 2:
            notes.append(
                f"most labels of '{labels_field}' contain {separator!r}: if they are lists, give --list-separator "
                f"'{separator}'"
            )
    if not counts:
        notes.append(f"no title has a label in '{labels_field}'; name another field with --labels")
    if not catalogue.has("split"):
        notes.append("no split column: training splits the titles itself, near-same titles kept together")
    elif (splits == _UNASSIGNED).any():
        notes.append(f"titles without a split, which count as background: {int((splits == _UNASSIGNED).sum()):,}")
    for medium, missing in (("poster", catalogue.posters.problems()), ("trailer", catalogue.trailers.problems())):
        if missing:
            shown = "; ".join(f"{p.rule}: {p.value}" for p in missing[:_SHOWN_PROBLEMS])
            notes.append(f"{medium} files that are missing and count as absent: {len(missing):,} ({shown})")
    singletons = int(np.sum(np.array(list(counts.values()), np.int64) == 1))
    if singletons:
        notes.append(f"labels on one title only, which cannot be learned: {singletons:,}")
    return notes
