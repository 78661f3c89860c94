"""Which titles a label is added from: given by id, as a catalogue, or found by a word in a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reeltag.catalogue import Catalogue
from reeltag.errors import CatalogueError, LabelError
from reeltag.features import Features
from reeltag.labels import LabelConfig
from reeltag.models.contract import vectors_of

_LEARNED_FROM = ("train", "background")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FieldExamples:
    """Titles whose field holds a label.

    Attributes:
        ids: Their ids, at most as many as asked for, evenly drawn.
        n_found: How many there are.
        share: Their share of the titles whose field is filled.
    """

    ids: tuple[str, ...]
    n_found: int
    share: float


def films_of(given: Catalogue | Sequence[str], catalogue: Catalogue | None) -> Catalogue | None:
    """Return the titles that were given, as a catalogue or by id; None when there are none.

    Args:
        given: A catalogue, all of whose titles are meant, or ids.
        catalogue: Holds the ids.

    Raises:
        LabelError: Ids are given without a catalogue, or a text in place of a list of ids.
        CatalogueError: The catalogue lacks some of the ids.
    """
    if isinstance(given, Catalogue):
        return given if len(given) else None
    if isinstance(given, str):
        raise LabelError(f"examples must be a list of ids or a catalogue; got the text {given!r}")
    ids = tuple(dict.fromkeys(given))
    if not ids:
        return None
    if catalogue is None:
        raise LabelError("examples given by id need the catalogue that holds them")
    rows = {title_id: row for row, title_id in enumerate(catalogue.ids)}
    unknown = [title_id for title_id in ids if title_id not in rows]
    if unknown:
        raise CatalogueError(f"{catalogue.source}: no title has the id{'s' * (len(unknown) > 1)} {_named(unknown)}")
    return catalogue.take([rows[title_id] for title_id in ids])


def check_examples(label: str, examples: Catalogue | None, counter_examples: Catalogue | None) -> Catalogue:
    """Return the examples of a label.

    Raises:
        LabelError: There are none, or a title is an example and a counter-example.
    """
    if examples is None:
        raise LabelError(f"label {label!r} needs at least one example; got none")
    against = set(counter_examples.ids if counter_examples is not None else ())
    both = [title_id for title_id in examples.ids if title_id in against]
    if both:
        raise LabelError(f"label {label!r}: a title cannot be both example and counter-example; got {_named(both)}")
    return examples


def check_known(label: str, features: Features) -> None:
    """Raise LabelError unless something is known of every example."""
    known = np.zeros(len(features), np.bool_)
    for block in vectors_of(features).blocks.values():
        known |= block.present
    for tokens in features.tokens.values():
        known |= tokens.present
    bare = [title_id for title_id, is_known in zip(features.ids, known, strict=True) if not is_known]
    if bare:
        raise LabelError(
            f"label {label!r}: nothing that this tagger reads ({', '.join(features.modalities)}) is known of "
            f"{_named(bare)}"
        )


def examples_in_field(catalogue: Catalogue, label: str, config: LabelConfig, limit: int) -> FieldExamples:
    """Return the titles whose field holds a label; where titles have splits, only training and background ones.

    Args:
        catalogue: The titles.
        label: The label.
        config: Names the field, and says which words mean the label.
        limit: Titles at most.

    Raises:
        LabelError: There is none.
        CatalogueError: The catalogue has no such field.
    """
    meanings, wanted = config.meanings(), config.fold(label)

    def means(word: str) -> bool:
        folded = config.fold(word)
        return config.fold(meanings.get(folded, folded)) == wanted

    lists = catalogue.lists(config.field)
    splits = catalogue.frame["split"].to_list() if catalogue.has("split") else [None] * len(catalogue)
    allowed = [row for row, split in enumerate(splits) if lists[row] and (split is None or split in _LEARNED_FROM)]
    rows = [row for row in allowed if any(map(means, lists[row]))]
    if not rows:
        raise LabelError(
            f"{catalogue.source}: no title to learn from has {label!r} in '{config.field}' (titles of the splits "
            "validation and test are left out)"
        )
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64))
    ids = catalogue.ids
    return FieldExamples(
        ids=tuple(ids[rows[place]] for place in chosen), n_found=len(rows), share=len(rows) / len(allowed)
    )


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    return ", ".join(repr(title_id) for title_id in ids[:_SHOWN]) + more
