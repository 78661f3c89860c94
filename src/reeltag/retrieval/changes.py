"""What becomes of clusters when titles come and go: which are the same as before, and what has moved.

Clusters of two runs are the same when the titles that both runs know lie in them alike: the pairs are chosen together
(Hungarian method) so that the sum of their Jaccard indices is greatest, and a pair below ``_SAME`` is none. Where no
title is known to both runs, the cosine of their centres, seen from the middle of the genre, stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.retrieval.space import Matrix, unit_rows

_SAME = 0.5
_PART = 0.25  # of a cluster's titles that make a part of it

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What has become of the sub-genres of a genre since an earlier run.

    Attributes:
        n_common: Titles of the genre in both runs.
        n_new: Titles that were not there.
        n_gone: Titles that are not there any more.
        stayed: Share of the common titles that are in the sub-genre they were in; None without such titles, or without
            earlier sub-genres.
        kept: Ids of sub-genres that are still there.
        new: Ids that were not there.
        gone: Ids that are not there any more.
        renamed: From id to the earlier name.
        split: From earlier id to the ids it has fallen into.
        merged: From id to the earlier ids that went into it.
    """

    n_common: int
    n_new: int
    n_gone: int
    stayed: float | None
    kept: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    renamed: dict[str, str]
    split: dict[str, tuple[str, ...]]
    merged: dict[str, tuple[str, ...]]


def overlap(earlier: Sequence[int], now: Sequence[int], shape: tuple[int, int]) -> Counts:
    """Return how many common titles each earlier cluster shares with each present one.

    Args:
        earlier: The earlier cluster of every common title; -1 for none.
        now: The present one.
        shape: How many clusters there were and are.
    """
    counts = np.zeros(shape, np.int64)
    pairs = np.array([(e, n) for e, n in zip(earlier, now, strict=True) if e >= 0 and n >= 0], np.int64).reshape(-1, 2)
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1)
    return counts


def matched(counts: Counts, earlier: Matrix | None = None, now: Matrix | None = None) -> dict[int, int]:
    """Return which present cluster is which earlier one.

    Args:
        counts: Common titles of earlier and present clusters, (n_earlier, n_now).
        earlier: Earlier centres, (n_earlier, dim): asked when there are no common titles.
        now: Present centres, (n_now, dim).

    Returns:
        From present to earlier cluster; clusters without a match are left out.
    """
    from scipy.optimize import linear_sum_assignment

    if counts.any():
        either = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
        likeness = counts / np.maximum(either, 1)
    elif earlier is not None and now is not None and earlier.shape[1:] == now.shape[1:]:
        likeness = _centred(earlier) @ _centred(now).T
    else:
        return {}
    rows, columns = linear_sum_assignment(-likeness)
    return {int(n): int(e) for e, n in zip(rows, columns, strict=True) if likeness[e, n] >= _SAME}


def changes_of(
    before: Mapping[str, str], after: Mapping[str, str], names: Mapping[str, str], earlier_names: Mapping[str, str]
) -> Changes:
    """Return what has become of sub-genres.

    Args:
        before: From title to the id of its earlier sub-genre, "" for none.
        after: From title to the id of its present one.
        names: From present id to name.
        earlier_names: From earlier id to name.
    """
    common = [title for title in before if title in after]
    old, new = list(earlier_names), list(names)
    place_before = {sub: row for row, sub in enumerate(old)}
    place_after = {sub: row for row, sub in enumerate(new)}
    counts = overlap(
        [place_before.get(before[title], -1) for title in common],
        [place_after.get(after[title], -1) for title in common],
        (len(old), len(new)),
    )
    of_old, of_new = counts.sum(axis=1, keepdims=True).clip(1), counts.sum(axis=0, keepdims=True).clip(1)
    split = (counts / of_old >= _PART) & (counts / of_new >= _SAME)  # a good part of the old, and most of the new
    merged = (counts / of_new >= _PART) & (counts / of_old >= _SAME)
    return Changes(
        n_common=len(common),
        n_new=len(after) - len(common),
        n_gone=len(before) - len(common),
        stayed=sum(before[title] == after[title] for title in common) / len(common) if common and old else None,
        kept=tuple(sub for sub in new if sub in place_before),
        new=tuple(sub for sub in new if sub not in place_before),
        gone=tuple(sub for sub in old if sub not in place_after),
        renamed={sub: earlier_names[sub] for sub in new if earlier_names.get(sub, names[sub]) != names[sub]},
        split=_several(split, old, new),
        merged=_several(merged.T, new, old),
    )


def _several(parts: npt.NDArray[np.bool_], owners: Sequence[str], others: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return, for every owner with at least two parts, the others that they are."""
    found = {owner: tuple(others[c] for c in np.flatnonzero(parts[row]).tolist()) for row, owner in enumerate(owners)}
    return {owner: ids for owner, ids in found.items() if len(ids) > 1}


def _centred(centres: Matrix) -> npt.NDArray[Any]:
    return unit_rows(centres - centres.mean(axis=0))
