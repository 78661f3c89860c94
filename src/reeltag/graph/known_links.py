"""Links known to be true: what a filtered ranking leaves out, and all the right answers of 1-N training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reeltag.graph.scorers import Side
from reeltag.graph.triples import Triples


class KnownLinks:
    """All links known to be true, looked up by question.

    Args:
        parts: Triples of every split.
    """

    def __init__(self, parts: Sequence[Triples]) -> None:
        links = Triples.concatenate(list(parts)).unique()
        self._sides: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
        for side, known, answer in (("tail", links.head, links.tail), ("head", links.tail, links.head)):
            key = links.relation.astype(np.int64) << 32 | known
            order = np.argsort(key, kind="stable")
            self._sides[side] = key[order], answer[order].astype(np.int64)

    def answers(
        self, known: npt.NDArray[np.int32], relation: npt.NDArray[np.int32], side: Side
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (row, entity) of every true answer of the questions (known, relation), row being the question's."""
        keys, answers = self._sides[side]
        key = relation.astype(np.int64) << 32 | known
        low, high = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
        counts = high - low
        row = np.repeat(np.arange(len(key)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, answers[np.repeat(low, counts) + within]
