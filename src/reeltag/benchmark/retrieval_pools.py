"""What retrieval is measured on: of every query the candidates with exactly its genres, and the words they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.evaluation import mean_gain_at, rank_pool
from reeltag.features import Block, Features, modality_of
from reeltag.models.contract import SIDE_BLOCKS

Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

GENRES = "genres"  # the measure of what neighbours among all titles share
_AT_ONCE = 256  # queries


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One title that neighbours are asked of.

    Attributes:
        place: Its place among the titles.
        pool: The places of its candidates, (n_candidates,).
        gains: How many words each shares with it, same shape.
    """

    place: int
    pool: Places
    gains: Floats


def queries_of(targets: Matrix, words: Sequence[Sequence[str]], asked: Places, smallest: int) -> list[Query]:
    """Return the queries whose candidates can be told apart by the words they share.

    Args:
        targets: Genres of all titles, 0 and 1, (n_titles, n_labels).
        words: Their words; nothing is known of a title without any, which is neither query nor candidate.
        asked: Places of the titles that may be queries, in the order of the result.
        smallest: Fewest candidates of a query.

    Returns:
        Queries with at least one candidate that shares a word.
    """
    sets = [frozenset(own) for own in words]
    alike: dict[bytes, list[int]] = defaultdict(list)
    for place, row in enumerate(targets.astype(np.bool_)):
        if sets[place]:
            alike[row.tobytes()].append(place)
    groups = {place: group for group in alike.values() if len(group) > smallest for place in group}
    found = []
    for place in map(int, asked):
        pool = [other for other in groups.get(place, ()) if other != place]
        gains = np.array([len(sets[place] & sets[other]) for other in pool], np.float64)
        if gains.any():
            found.append(Query(place=place, pool=np.array(pool, np.int64), gains=gains))
    return found


class Space:
    """Titles as points; likeness is the cosine.

    Args:
        experts: Descriptions that lie side by side, each of unit length where a title has it: of every expert one block
            or more, which share its length. None for a space in which all titles are alike.
        n_titles: How many titles there are.
    """

    def __init__(self, experts: Sequence[Sequence[Block]], n_titles: int) -> None:
        self.n_titles = n_titles
        self._values: list[Any] = []  # rows of blocks
        n_experts = np.zeros(n_titles, np.float32)
        for blocks in experts:
            n_blocks = np.sum([block.present for block in blocks], axis=0, dtype=np.float32)
            length = 1 / np.sqrt(np.maximum(n_blocks, 1, dtype=np.float64))
            self._values += [_scaled(block, length) for block in blocks]
            n_experts += n_blocks > 0
        self.known: npt.NDArray[np.bool_] = n_experts > 0
        self._lengths = np.sqrt(np.maximum(n_experts, 1))

    @classmethod
    def of_vectors(cls, vectors: Matrix) -> Space:
        """Return the space of rows (n_titles, dim); a title whose row is zero is unknown."""
        return cls([[Block(np.asarray(vectors, np.float32), np.asarray(vectors.any(axis=1)))]], len(vectors))

    def likeness(self, places: Places) -> Matrix:
        """Return the likeness of some titles to all, (n_places, n_titles).

        -inf for titles of which nothing is known, but 0 for all where nothing is known of the asked one.
        """
        found = np.zeros((len(places), self.n_titles), np.float32)
        for values in self._values:
            product: Any = values[places] @ values.T
            found += product if isinstance(product, np.ndarray) else product.toarray()
        if not self._values:
            return found
        found /= self._lengths[places, None] * self._lengths
        found[:, ~self.known] = -np.inf
        found[~self.known[places]] = 0
        return found


def raw_spaces(features: Features) -> dict[str, Space]:
    """Return the space of every block, and last that of all of them side by side, where there are several.

    Blocks of one modality count together as much as another modality.
    """
    blocks = {name: block for name, block in features.blocks.items() if name not in SIDE_BLOCKS}
    found = {f"raw {name}": Space([[block]], len(features)) for name, block in blocks.items()}
    if len(blocks) > 1:
        by_modality: dict[str, list[Block]] = defaultdict(list)
        for name, block in blocks.items():
            by_modality[modality_of(name)].append(block)
        found["raw side by side"] = Space(list(by_modality.values()), len(features))
    return found


def raw_text(features: Features) -> str:
    """Return the name of the space of the first plot block that is dense; "" when there is none."""
    names = (name for name, block in features.blocks.items() if modality_of(name) == "plot" and not block.is_sparse)
    return next((f"raw {name}" for name in names), "")


def measured(
    space: Space, queries: Mapping[str, Sequence[Query]], targets: Matrix, asked: Places, k: int
) -> dict[str, Floats]:
    """Measure a space.

    Args:
        space: The space.
        queries: By name of their words; every query is one of ``asked``.
        targets: Genres of all titles, 0 and 1, (n_titles, n_labels).
        asked: Places of the titles whose neighbours among all titles are looked at too.
        k: Neighbours that count.

    Returns:
        ``NAME/ndcg`` and ``NAME/recall`` of every query, (n_queries,), and ``genres``: the mean overlap (Jaccard) of
        the genres of every asked title and of its k nearest, (n_asked,).
    """
    found: dict[str, list[float]] = {f"{name}/{kind}": [] for name in queries for kind in ("ndcg", "recall")}
    found[GENRES] = []
    of_place = {name: {query.place: query for query in own} for name, own in queries.items()}
    for place, likeness in _rows(space, asked):
        for name, own in of_place.items():
            if (query := own.get(place)) is not None:
                ranked = rank_pool(query.gains, likeness[query.pool], k)
                found[f"{name}/ndcg"].append(ranked.ndcg)
                found[f"{name}/recall"].append(ranked.recall)
        overlap = _overlap(targets, place)
        found[GENRES].append(mean_gain_at(np.delete(overlap, place), np.delete(likeness, place), k))
    return {name: np.array(values, np.float64) for name, values in found.items()}


def _rows(space: Space, asked: Places) -> Iterator[tuple[int, Matrix]]:
    """Yield every asked place with its likeness to all titles."""
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        yield from zip(part.tolist(), space.likeness(part), strict=True)


def _overlap(targets: Matrix, place: int) -> Floats:
    """Return the Jaccard overlap of the genres of a title with those of all, (n_titles,)."""
    shared = targets @ targets[place]
    either = targets.sum(axis=1) + targets[place].sum() - shared
    return np.asarray(shared / np.maximum(either, 1), np.float64)


def _scaled(block: Block, length: Floats) -> Any:
    """Return the rows of a block with the given lengths (n_titles,), 0 where absent; dense or CSR as it is."""
    squares = block.values.multiply(block.values) if block.is_sparse else block.values * block.values
    lengths = np.sqrt(np.asarray(squares.sum(axis=1), np.float64)).ravel()
    scale = np.where((lengths > 0) & block.present, length / np.maximum(lengths, 1e-12), 0).astype(np.float32)
    if block.is_sparse:
        return sp.csr_matrix(sp.diags_array(scale) @ block.values)
    return block.values * scale[:, None]
