"""Groups of titles that a map names and colours: each title in one at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reeltag.errors import FeatureError, LabelError, shown
from reeltag.retrieval.subgenre_results import Subgenres


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of titles, such as sub-genres, that are named on the map.

    Attributes:
        names: Name of each.
        of: Number of the group of each title, -1 for none, (n_titles,).
    """

    names: tuple[str, ...]
    of: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.of) and not -1 <= int(self.of.min()) <= int(self.of.max()) < len(self.names):
            raise FeatureError(
                f"Groups.of must hold numbers from -1 to {len(self.names) - 1}; got {self.of.min()} to {self.of.max()}"
            )


def subgenre_groups(found: Subgenres, ids: Sequence[str], genre: str | None = None) -> Groups:
    """Return the sub-genre of each title.

    Args:
        found: Sub-genres, perhaps of other titles too.
        ids: The titles.
        genre: Whose sub-genres; when None, those of all genres, of which a title with several is put into that of the
            genre with the fewest titles. Names then begin with the genre.

    Raises:
        LabelError: The genre has no sub-genres.
    """
    if genre is not None and not (of_genre := found.genre(genre)):
        told = ", ".join(entry.genre for entry in found.genres) or "none"
        raise LabelError(f"there are no sub-genres of {shown(genre)}; of: {told}")
    chosen = found.genres if genre is None else (of_genre,)
    ranked = sorted((entry for entry in chosen if entry is not None), key=lambda entry: (-entry.n_titles, entry.genre))
    subgenres = [(entry.genre, sub) for entry in ranked for sub in entry.subgenres]
    number = {sub.id: place for place, (_, sub) in enumerate(subgenres)}
    of = np.full(len(ids), -1, np.int64)
    row_of = {title_id: row for row, title_id in enumerate(ids)}
    for title_id, _, subgenre in found.members.iter_rows():
        row, group = row_of.get(title_id), number.get(subgenre)
        if row is not None and group is not None:
            of[row] = max(of[row], group)  # genres of few titles come last
    names = tuple(sub.name if genre is not None else f"{of_what}: {sub.name}" for of_what, sub in subgenres)
    return Groups(names=names, of=of)
