"""What sub-genres are told as, written to a folder and read back: settings and names, centres, members."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from reeltag.config import check_range, from_json, to_json
from reeltag.errors import ArtefactError, ConfigError
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.retrieval.changes import Changes
from reeltag.retrieval.clustering import ClusterConfig
from reeltag.retrieval.folder import is_kind, read_told
from reeltag.retrieval.naming import SOURCES, Name, Naming, Word
from reeltag.retrieval.space import Matrix

KIND = "sub-genres"
SCHEMA = 1
MEMBERS: dict[str, Any] = {"id": pl.String, "genre": pl.String, "subgenre": pl.String}


@dataclass(frozen=True, kw_only=True)
class SubgenreConfig:
    """How sub-genres are found and named.

    Attributes:
        clusters: How titles are clustered.
        naming: How clusters are named.
        margin: How much greater the silhouette of other clusters must be for them to take the place of earlier ones.
        known_only: Leave titles out whose labels are predicted.
    """

    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    naming: Naming = field(default_factory=Naming)
    margin: float = 0.05
    known_only: bool = False

    def __post_init__(self) -> None:
        check_range(type(self).__name__, "margin", self.margin, 0, 2)


@dataclass(frozen=True, kw_only=True)
class Central:
    """A title near the centre of a sub-genre."""

    id: str
    title: str
    year: int | None


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """Share of a sub-genre's titles with another label, and of the genre's."""

    label: str
    share: float
    of_genre: float


@dataclass(frozen=True, kw_only=True)
class Subgenre:
    """A cluster of titles inside a genre.

    Attributes:
        id: Stays the same from run to run: ``Horror/2``.
        name: Its words, or ``mixed`` when no word sets it apart from the rest of the genre.
        n_titles: Its size.
        words: The words of the name, with their evidence in this run; () when it is mixed.
        named_by: Where they come from: ``words`` (of list fields), ``plots``, ``labels and decades``; "" when mixed.
        central: The titles nearest its centre.
        labels: The most frequent other labels.
    """

    id: str
    name: str
    n_titles: int
    words: tuple[Word, ...]
    named_by: str
    central: tuple[Central, ...]
    labels: tuple[LabelShare, ...]

    @property
    def named(self) -> Name:
        """The name and where it comes from."""
        return Name(words=self.words, source=self.named_by)


@dataclass(frozen=True, kw_only=True)
class Genre:
    """A genre and its sub-genres.

    Attributes:
        genre: The label.
        n_titles: Titles that have it.
        n_predicted: Those among them whose labels are predicted.
        n_outside: Those in no sub-genre: between dense groups, or with nothing known of them.
        subgenres: Greatest first; none when the titles do not fall into two that are large enough.
        silhouette: How far the sub-genres are apart, in [-1, 1].
        stability: Mean adjusted Rand index between subsamples: 1 when every one gives the same sub-genres.
        numbered: How many ids were ever given.
        changes: Since the earlier run, if there was one.
    """

    genre: str
    n_titles: int
    n_predicted: int
    n_outside: int
    subgenres: tuple[Subgenre, ...]
    silhouette: float | None
    stability: float | None
    numbered: int
    changes: Changes | None = None


@dataclass(frozen=True, kw_only=True)
class Subgenres:
    """The sub-genres of genres.

    Attributes:
        genres: The genres, by name.
        members: One row per title and genre: id, genre, subgenre ("" where it is in none).
        centres: By genre, one row per sub-genre in the same order, (n_subgenres, dim).
        config: Settings.
        label_field: Catalogue field of the genres.
        source: Where the titles come from.
        word_fields: List fields that words come from.
        read: What the tagger read of titles, as in ``Space``.
    """

    genres: tuple[Genre, ...]
    members: pl.DataFrame
    centres: Mapping[str, Matrix]
    config: SubgenreConfig
    label_field: str
    source: str
    word_fields: tuple[str, ...]
    read: tuple[str, ...]

    def genre(self, name: str) -> Genre | None:
        """Return a genre, or None when it is not among them."""
        return next((genre for genre in self.genres if genre.genre == name), None)

    @property
    def read_in_training(self) -> tuple[str, ...]:
        """Sources of names that the tagger read, or learned, itself: they have shaped what they now name."""
        used = {sub.named_by for genre in self.genres for sub in genre.subgenres}
        by_words = [name for name in self.word_fields if f"fields.{name}" in self.read] if "words" in used else []
        by_plots = ["plot"] if "plots" in used and "plot" in self.read else []
        by_facts = [self.label_field, *(["year"] if "year" in self.read else [])] if SOURCES[-1] in used else []
        return (*by_words, *by_plots, *by_facts)

    def to_json(self) -> dict[str, Any]:
        """Return everything but members and centres as plain JSON values."""
        return to_json(self._told())

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json``, ``members.parquet`` and ``centres.safetensors``, replacing earlier ones when whole.

        Raises:
            ArtefactError: There is something else at ``folder``.
        """
        folder = Path(folder)
        check_subgenre_folder(folder)
        with atomic_folder(folder) as temporary:
            save_file({str(row): self.centres[g.genre] for row, g in enumerate(self.genres)}, temporary / _CENTRES)
            self.members.write_parquet(temporary / _MEMBERS)
            write_json(temporary / "config.json", {"schema": SCHEMA, "kind": KIND, **self.to_json()})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Subgenres:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: The folder holds no sub-genres, is incomplete or damaged, or of another schema.
        """
        folder = Path(folder)
        told = read_told(folder, KIND, SCHEMA, {"schema", "kind", *(f.name for f in dataclasses.fields(_Told))})
        try:
            stored = from_json(_Told, {k: v for k, v in told.items() if k not in ("schema", "kind")}, str(folder))
            tensors = load_file(folder / _CENTRES)
            members = pl.read_parquet(folder / _MEMBERS)
            centres = {genre.genre: tensors[str(row)] for row, genre in enumerate(stored.genres)}
        except (OSError, KeyError, SafetensorError, ConfigError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{folder}: incomplete or damaged ({error})") from None
        odd = [g.genre for g in stored.genres if len(centres[g.genre]) != len(g.subgenres)]
        if odd or dict(members.schema) != MEMBERS:
            raise ArtefactError(f"{folder}: damaged (centres or members do not fit the sub-genres)")
        values = {f.name: getattr(stored, f.name) for f in dataclasses.fields(_Told)}
        return cls(members=members, centres=centres, **values)

    def _told(self) -> _Told:
        return _Told(**{f.name: getattr(self, f.name) for f in dataclasses.fields(_Told)})


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What goes into ``config.json``."""

    genres: tuple[Genre, ...]
    config: SubgenreConfig
    label_field: str
    source: str
    word_fields: tuple[str, ...]
    read: tuple[str, ...]


_CENTRES, _MEMBERS = "centres.safetensors", "members.parquet"


def check_subgenre_folder(folder: Path) -> None:
    """Raise ArtefactError unless sub-genres may be written to a folder."""
    check_replaceable(folder, lambda path: is_kind(path, KIND), "a folder of sub-genres")
