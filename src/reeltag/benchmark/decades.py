"""Figures by decade of release, from the decisions of kept runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.evaluation import label_counts

FEW = 30  # test titles below which a decade is joined with the one before it


@dataclass(frozen=True)
class Decade:
    """Test titles of one decade, or of several in a row.

    Attributes:
        name: For example ``1990s``, ``1920s to 1950s`` or ``year unknown``.
        places: Their places among the test titles, (n_titles,).
    """

    name: str
    places: npt.NDArray[np.int64]

    @property
    def is_small(self) -> bool:
        """Whether there are too few titles to say much."""
        return len(self.places) < FEW


@dataclass(frozen=True, kw_only=True)
class DecadeFigures:
    """One entry on the titles of a decade, at the global threshold.

    Attributes:
        name: The decade.
        n_titles: Test titles.
        is_small: Whether there are too few of them to say much.
        micro_f1: Of all title-label pairs pooled, one figure per seed.
        macro_f1: Mean over the labels that a title of the decade has, one figure per seed.
    """

    name: str
    n_titles: int
    is_small: bool
    micro_f1: tuple[float, ...]
    macro_f1: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return means, sample standard deviations (None for one seed) and the number of titles."""
        data: dict[str, Any] = {"decade": self.name, "titles": self.n_titles, "few": self.is_small}
        for metric, values in (("micro_f1", self.micro_f1), ("macro_f1", self.macro_f1)):
            spread = statistics.stdev(values) if len(values) > 1 else None
            data[metric] = {"mean": statistics.fmean(values), "std": spread}
        return data


def by_decade(years: npt.NDArray[np.float32], few: int = FEW) -> list[Decade]:
    """Group titles by decade, the newest first.

    Args:
        years: Year of release, (n_titles,), NaN where unknown.
        few: A decade with fewer titles is joined with its older neighbour.

    Returns:
        The decades, and last the titles of unknown year, if any. The oldest group may be small all the same.
    """
    known = np.isfinite(years)
    of_title = np.where(known, np.nan_to_num(years) // 10 * 10, 0).astype(np.int64)
    found: list[Decade] = []
    newest, held = 0, np.zeros(0, np.int64)
    for decade in sorted(set(of_title[known].tolist()), reverse=True):
        newest = newest if len(held) else decade
        held = np.sort(np.concatenate([held, np.flatnonzero(known & (of_title == decade))]))
        if len(held) >= few:
            found.append(Decade(_name(decade, newest), held))
            held = np.zeros(0, np.int64)
    if len(held):
        found.append(Decade(_name(min(of_title[held]), newest), held))
    if not known.all():
        found.append(Decade("year unknown", np.flatnonzero(~known)))
    return found


def figures_by_decade(
    decades: Sequence[Decade], targets: npt.NDArray[np.float32], runs: Sequence[npt.NDArray[np.bool_]]
) -> tuple[DecadeFigures, ...]:
    """Return the figures of an entry on every decade.

    Args:
        decades: The decades.
        targets: Truth of the test titles, (n_test, n_labels).
        runs: Decisions of each seed, (n_test, n_labels).
    """
    found = []
    for decade in decades:
        truth = targets[decade.places]
        there = truth.any(axis=0)
        counts = [label_counts(truth, decisions[decade.places]) for decisions in runs]
        found.append(
            DecadeFigures(
                name=decade.name,
                n_titles=len(decade.places),
                is_small=decade.is_small,
                micro_f1=tuple(float(one.pooled().f1) for one in counts),
                macro_f1=tuple(float(one.f1[there].mean()) if there.any() else 0.0 for one in counts),
            )
        )
    return tuple(found)


def _name(oldest: int, newest: int) -> str:
    return f"{oldest}s" if oldest == newest else f"{oldest}s to {newest}s"
