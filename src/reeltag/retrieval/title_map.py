"""A map of titles from start to end: which are on it, where they lie, their posters, and the page."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reeltag.catalogue.posters import Posters
from reeltag.progress import Progress, silent
from reeltag.retrieval.layout import LayoutConfig, layout
from reeltag.retrieval.map_groups import subgenre_groups
from reeltag.retrieval.map_page import MapConfig, WrittenMap, check_target, is_map, read_positions, write_map
from reeltag.retrieval.map_posters import PosterSheets, poster_sheets
from reeltag.retrieval.similar import Wanted, labels_in
from reeltag.retrieval.space import Space
from reeltag.retrieval.subgenre_results import Subgenres


@dataclass(frozen=True, kw_only=True)
class TitleMapConfig:
    """What is put on a map, and how.

    Attributes:
        genre: Only titles with this label; all when None.
        start: An earlier map, or its positions, to start from; when None, the map that is replaced, if there is one.
        fresh: Start from nothing.
        layout: Settings of the layout.
        page: Settings of the page.
    """

    genre: str | None = None
    start: Path | None = None
    fresh: bool = False
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    page: MapConfig = field(default_factory=MapConfig)


@dataclass(frozen=True, kw_only=True)
class TitleMap:
    """What ``make_map`` has done.

    Attributes:
        written: Where it is, and how large.
        n_titles: Titles on the map.
        n_kept: Those among them that were on the map it started from.
        seconds: How long each part took: layout, posters, page.
    """

    written: WrittenMap
    n_titles: int
    n_kept: int
    seconds: dict[str, float]


def make_map(
    target: Path,
    space: Space,
    posters: Posters | None = None,
    subgenres: Subgenres | None = None,
    config: TitleMapConfig | None = None,
    *,
    progress: Progress = silent,
) -> TitleMap:
    """Lay titles out and write a page to look at them.

    Args:
        target: A folder, or a file ending in ``.html``.
        space: The titles.
        posters: Where posters are; none when None.
        subgenres: Sub-genres to be named on the map; none when None.
        config: Settings; the defaults when None.
        progress: Called with the stage and how far it is. What it raises ends the work, and leaves an older map whole.

    Raises:
        ArtefactError: Something else than a map is at ``target``, or there is no map to start from.
        LabelError: No title has the genre, or it has no sub-genres.
        MissingExtraError: openTSNE is not installed.
    """
    chosen = config or TitleMapConfig()
    check_target(target)
    genre = None if chosen.genre is None else labels_in(space, [chosen.genre])[0]
    titles = space if genre is None else space.take(Wanted(labels=(genre,)).mask(space))
    groups = None if subgenres is None else subgenre_groups(subgenres, titles.ids, genre)
    earlier = None if chosen.fresh else chosen.start or (target if is_map(target) else None)
    start = None if earlier is None else read_positions(earlier, titles.ids)
    clock = [time.perf_counter()]
    positions = layout(titles.vectors, chosen.layout, start=start, progress=progress)
    clock.append(time.perf_counter())
    sheets = PosterSheets.none(len(titles))
    if posters is not None:
        sheets = poster_sheets(posters, titles.ids, positions, progress=progress)
    clock.append(time.perf_counter())
    written = write_map(target, titles, positions, sheets, groups, config=chosen.page, progress=progress)
    clock.append(time.perf_counter())
    return TitleMap(
        written=written,
        n_titles=len(titles),
        n_kept=0 if start is None else int(np.isfinite(start).all(axis=1).sum()),
        seconds=dict(zip(("layout", "posters", "page"), np.diff(clock).tolist(), strict=True)),
    )
