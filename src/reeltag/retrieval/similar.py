"""Titles like others, with what each shares with them, rarest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.config import check_range
from reeltag.errors import CatalogueError, ConfigError, FeatureError, LabelError, shown
from reeltag.retrieval.index import IndexConfig, TitleIndex
from reeltag.retrieval.space import Matrix, Space, unit_rows

_TOLD_LABELS = 30


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for.

    Attributes:
        vector: Unit vector (dim,): of one title, or of the mean of several.
        ids: The titles, which are not found; none for a bare vector.
        labels: Their labels.
        words: Their words.
    """

    vector: Matrix
    ids: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, space: Space, ids: str | Sequence[str]) -> Query:
        """Return the query by titles of a space.

        Args:
            space: Holds the titles; not necessarily the one that is searched.
            ids: One id, or several, whose vectors are averaged.

        Raises:
            CatalogueError: The space lacks an id, no id is given, or nothing is known of the titles.
        """
        asked = tuple(dict.fromkeys([ids] if isinstance(ids, str) else ids))
        if not asked:
            raise CatalogueError(f"{space.source}: a query needs at least one id")
        rows = [space.row(title_id) for title_id in asked]
        vector = unit_rows(space.vectors[rows].mean(axis=0, keepdims=True))[0]
        if not vector.any():
            raise CatalogueError(f"{space.source}: nothing is known of {', '.join(asked)} that titles could be like")
        titles = space.titles[rows]
        return cls(
            vector=vector,
            ids=asked,
            labels=frozenset(titles["labels"].explode().drop_nulls()),
            words=frozenset(titles["words"].explode().drop_nulls()),
        )


@dataclass(frozen=True, kw_only=True)
class Similar:
    """A title that was found.

    Attributes:
        id: Its id.
        title: Its title, "" where unknown.
        year: Its year.
        labels: Its labels.
        known: Whether the labels are known rather than predicted.
        similarity: Cosine of the vectors.
        shared_labels: Labels that it shares with any title of the query, rarest first.
        shared_words: Words likewise.
    """

    id: str
    title: str
    year: int | None
    labels: tuple[str, ...]
    known: bool
    similarity: float
    shared_labels: tuple[str, ...]
    shared_words: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        told = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which titles may be found.

    Attributes:
        years: First and last year, either None where open; titles of unknown year are left out. None: any.
        labels: Labels that a title must have, all of them.
        known_only: Only titles whose labels are known.
        exclude: Ids that are left out; those that the space lacks are passed over.
    """

    years: tuple[int | None, int | None] | None = None
    labels: tuple[str, ...] = ()
    known_only: bool = False
    exclude: Collection[str] = ()

    def __post_init__(self) -> None:
        first, last = self.years or (None, None)
        if first is not None and last is not None and first > last:
            raise ConfigError(f"Wanted.years must rise; got {first} to {last}")

    def mask(self, space: Space) -> npt.NDArray[np.bool_]:
        """Return which titles may be found, (n_titles,).

        Raises:
            LabelError: No title of the space has one of the labels.
        """
        conditions = [pl.lit(value=True)]
        if self.years is not None:
            first, last = self.years
            conditions.append(pl.col("year").is_not_null())
            conditions += [pl.col("year") >= first] if first is not None else []
            conditions += [pl.col("year") <= last] if last is not None else []
        for label in labels_in(space, self.labels):
            conditions.append(pl.col("labels").list.contains(label))
        if self.known_only:
            conditions.append(pl.col("known"))
        if self.exclude:
            conditions.append(~pl.col("id").is_in(list(self.exclude)))
        told = space.titles.select(allowed=pl.all_horizontal(conditions).fill_null(value=False))
        mask = told["allowed"].to_numpy()
        return np.array(np.broadcast_to(mask, len(space)))  # one value when nothing is asked


def similar(
    space: Space,
    query: str | Sequence[str] | Query | Matrix,
    n: int = 10,
    *,
    wanted: Wanted | None = None,
    index: TitleIndex | None = None,
) -> tuple[Similar, ...]:
    """Find the titles nearest to a query.

    Args:
        space: The titles to search.
        query: An id of the space, several of them, a Query (by titles of another space), or a vector (dim,).
        n: How many.
        wanted: Which may be found; any when None. Titles of the query never are.
        index: Of the space, in its order; every title is compared when None.

    Returns:
        The titles, nearest first; fewer than ``n`` when no more may be found. Titles of which nothing is known are
        left out: they are as far from everything as from each other.

    Raises:
        CatalogueError: The space lacks an id.
        LabelError: No title of the space has a wanted label.
        FeatureError: The query has another width than the space, or the index is of other titles.
    """
    check_range("similar", "n", n, 1, 100_000_000)
    asked = _query(space, query)
    if index is None:
        index = TitleIndex(IndexConfig(exact_up_to=len(space))).build(space.ids, space.vectors)
    elif index.ids != space.ids:
        raise FeatureError(f"{space.source}: the index must be of the titles of the space, in the same order")
    allowed = (wanted or Wanted()).mask(space)
    allowed[[space.rows[title_id] for title_id in asked.ids if title_id in space.rows]] = False
    allowed &= space.vectors.any(axis=1)
    found = index.search(asked.vector[None], n, allowed=allowed)
    rows = found.rows[0][found.rows[0] >= 0]
    return _told(space, asked, rows, found.similarities[0][: len(rows)])


def labels_in(space: Space, labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels as the space writes them; case does not matter where it leaves no doubt.

    Raises:
        LabelError: No title of the space has a label.
    """
    asked = tuple(labels)
    if not asked:
        return ()
    there = space.titles["labels"].explode().drop_nulls().unique().sort().to_list()
    folded = Counter(label.lower() for label in there)
    alone = {label.lower(): label for label in there if folded[label.lower()] == 1}
    exact = {label: label for label in there}
    for label in asked:
        if label not in exact and label.lower() not in alone:
            told = ", ".join(there[:_TOLD_LABELS])
            told += f" and {len(there) - _TOLD_LABELS:,} more" if len(there) > _TOLD_LABELS else ""
            raise LabelError(f"{space.source}: no title has the label {shown(label)}; labels: {told or 'none'}")
    return tuple(exact.get(label) or alone[label.lower()] for label in asked)


def _query(space: Space, query: str | Sequence[str] | Query | Matrix) -> Query:
    if isinstance(query, np.ndarray):
        if not np.isfinite(query).all() or not query.any():
            raise FeatureError("a query must be a vector of finite numbers, not all of them 0")
        query = Query(vector=unit_rows(query[None])[0] if query.ndim == 1 else query)
    if not isinstance(query, Query):
        query = Query.of(space, query)
    if query.vector.shape != (space.dim,):
        raise FeatureError(f"{space.source}: a query must be of shape ({space.dim},); got {query.vector.shape}")
    return query


def _told(space: Space, query: Query, rows: npt.NDArray[np.int64], similarities: Matrix) -> tuple[Similar, ...]:
    labels, words = _counts(space, "labels", query.labels), _counts(space, "words", query.words)
    out = []
    for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
        told = space.titles.row(row, named=True)
        out.append(
            Similar(
                id=told["id"],
                title=told["title"],
                year=told["year"],
                labels=tuple(told["labels"]),
                known=told["known"],
                similarity=similarity,
                shared_labels=_shared(told["labels"], labels),
                shared_words=_shared(told["words"], words),
            )
        )
    return tuple(out)


def _shared(own: list[str], counts: dict[str, int]) -> tuple[str, ...]:
    """Return the words of a title that are among those counted, rarest first."""
    return tuple(sorted(set(own) & set(counts), key=lambda word: (counts[word], word)))


def _counts(space: Space, column: str, words: frozenset[str]) -> dict[str, int]:
    """Return how many titles have each of some words."""
    if not words:
        return {}
    every = space.titles[column].explode().drop_nulls()
    found = every.filter(every.is_in(sorted(words))).value_counts()
    return dict(found.iter_rows()) | dict.fromkeys(words - set(found.to_series(0)), 0)
