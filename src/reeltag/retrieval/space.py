"""Space: titles as points, near each other where a tagger finds them alike, with what is known of each.

Search, sub-genres and maps read titles from here, whatever model is behind: all they need are ``Tagger.embed``'s unit
vectors. Titles are embedded in parts, so that a catalogue of a million titles takes the memory of its vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import reeltag
from reeltag.catalogue import FIELDS, PEOPLE_FIELDS, Catalogue
from reeltag.errors import ArtefactError, CatalogueError, FeatureError, shown
from reeltag.features import Features, Rows
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.pipeline import read_texts
from reeltag.progress import Progress, silent
from reeltag.retrieval.folder import is_kind, read_told
from reeltag.tagger import Tagger

Matrix = npt.NDArray[np.float32]

KIND = "titles as points"
SCHEMA = 1
COLUMNS: dict[str, Any] = {
    "id": pl.String,
    "title": pl.String,
    "year": pl.Int32,
    "labels": pl.List(pl.String),
    "known": pl.Boolean,
    "words": pl.List(pl.String),
    "plot": pl.String,
}
_KEYS = {"schema", "reeltag", "kind", "label_field", "source", "word_fields", "read", "n_titles", "dim"}
_PART = 8_192  # titles embedded at once
_UNIT = 1e-3  # how far the length of a unit vector may be from 1
_OFFERED = 5  # titles that a mistaken id may have meant


@dataclass(frozen=True, kw_only=True)
class Space:
    """Titles as points.

    Attributes:
        ids: Their ids.
        vectors: Unit rows, float32 (n_titles, dim); zeros for a title of which the model knows nothing.
        titles: One row per title in the same order: id, title, year (null where unknown), labels (those known, in the
            words of the tagger's label space, else those predicted), known (whether the labels are known), words (of
            all list fields but labels and people), plot (with the outline).
        label_field: Catalogue field of the labels.
        source: Where the titles come from.
        word_fields: The list fields that the words come from.
        read: What the tagger read of a title: modalities, and ``fields.NAME`` for list fields among them. Words that
            were read have shaped the vectors, and are no independent witness of what lies near what.
    """

    ids: tuple[str, ...]
    vectors: Matrix
    titles: pl.DataFrame
    label_field: str
    source: str
    word_fields: tuple[str, ...] = ()
    read: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.ids) or self.vectors.dtype != np.float32:
            raise FeatureError(
                f"{self.source}: a space needs float32 vectors ({len(self.ids)}, dim); got {self.vectors.dtype} of "
                f"shape {self.vectors.shape}"
            )
        if dict(self.titles.schema) != COLUMNS:
            raise FeatureError(f"{self.source}: a space needs the columns {_told(COLUMNS)}; got {self.titles.schema}")
        if self.titles["id"].to_list() != list(self.ids):
            raise FeatureError(f"{self.source}: a space needs one row of 'titles' per id, in the same order")
        if len(set(self.ids)) < len(self.ids):
            raise FeatureError(f"{self.source}: ids of a space must be unique")
        lengths = np.sqrt(np.einsum("ij,ij->i", self.vectors, self.vectors))
        wrong = ~((np.abs(lengths - 1) < _UNIT) | (lengths == 0))
        if wrong.any():
            row = int(wrong.argmax())
            raise FeatureError(
                f"{self.source}: vectors of a space must have length 1, or 0 where nothing is known; that of "
                f"{self.ids[row]!r} has {lengths[row]:g}"
            )

    @classmethod
    def of(cls, tagger: Tagger, catalogue: Catalogue, *, progress: Progress = silent) -> Space:
        """Embed the titles of a catalogue.

        Args:
            tagger: Any fitted tagger.
            catalogue: The titles; any modality may be absent.
            progress: Called with the number of titles done.

        Raises:
            CatalogueError: There are no titles.
        """
        if len(catalogue) == 0:
            raise CatalogueError(f"{catalogue.source}: there are no titles to embed")
        vectors, labels, known = [], [], []
        for start in range(0, len(catalogue), _PART):
            part = catalogue.take(range(start, min(start + _PART, len(catalogue))))
            features = tagger.features(part)
            vectors.append(unit_rows(tagger.embed(features)))
            found, told = _labels(tagger, part, features)
            labels += found
            known.append(told)
            progress("titles embedded", start + len(part), len(catalogue))
        fields = word_fields(catalogue, tagger.labels.config.field)
        return cls(
            ids=tuple(catalogue.ids),
            vectors=np.concatenate(vectors),
            titles=pl.DataFrame(
                {
                    "id": catalogue.frame["id"],
                    "title": catalogue.texts("title"),
                    "year": catalogue.frame["year"] if catalogue.has("year") else [None] * len(catalogue),
                    "labels": labels,
                    "known": np.concatenate(known),
                    "words": _words(catalogue, fields),
                    "plot": read_texts(catalogue, "plot"),
                },
                schema=COLUMNS,
            ),
            label_field=tagger.labels.config.field,
            source=catalogue.source,
            word_fields=fields,
            read=_read_by(tagger),
        )

    @classmethod
    def trained(cls, tagger: Tagger) -> Space:
        """Return the training titles that the tagger keeps (``Recipe.neighbours``); their words and plots are not kept.

        Raises:
            FeatureError: It keeps none.
        """
        kept = tagger.fitted.neighbours
        if len(kept.titles) == 0:
            raise FeatureError("the tagger keeps no training titles (its recipe has neighbours = 0); give a catalogue")
        titles = kept.titles.select(
            pl.col("id"),
            pl.col("title").fill_null(""),
            pl.col("year").cast(pl.Int32),
            pl.col("labels").fill_null([]),
            known=pl.lit(True),
            words=pl.lit([], pl.List(pl.String)),
            plot=pl.lit(""),
        )
        return cls(
            ids=tuple(titles["id"]),
            vectors=unit_rows(kept.vectors.astype(np.float32)),
            titles=titles,
            label_field=tagger.labels.config.field,
            source=f"training titles of {tagger.fitted.data['source']}",
            read=_read_by(tagger),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[1])

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of every id."""
        return {title_id: row for row, title_id in enumerate(self.ids)}

    def row(self, title_id: str) -> int:
        """Return the row of a title.

        Raises:
            CatalogueError: No title has that id; titles of that name are offered.
        """
        row = self.rows.get(title_id)
        if row is not None:
            return row
        name = title_id.strip().lower()
        same = self.titles.filter(pl.col("title").str.to_lowercase() == name) if name else self.titles.clear()
        hint = ""
        if len(same):
            told = [f"{i}: {named(t, y)}" for i, t, y in same.select("id", "title", "year").head(_OFFERED).iter_rows()]
            more = f", and {len(same) - _OFFERED:,} more" if len(same) > _OFFERED else ""
            hint = f"; did you mean {' or '.join(told)}{more}?"
        raise CatalogueError(f"{self.source}: no title has the id {shown(title_id)}{hint}")

    def take(self, rows: Rows) -> Space:
        """Return the titles of the given row numbers or mask, in that order."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Space(
            ids=tuple(self.ids[row] for row in chosen),
            vectors=self.vectors[chosen],
            titles=self.titles[chosen],
            label_field=self.label_field,
            source=self.source,
            word_fields=self.word_fields,
            read=self.read,
        )

    def joined(self, more: Space) -> Space:
        """Return these titles followed by those of another space of the same tagger.

        Raises:
            FeatureError: An id is in both, or the vectors differ in width.
        """
        if self.dim != more.dim:
            raise FeatureError(f"{self.source}: spaces of {self.dim} and {more.dim} dimensions cannot be joined")
        return Space(
            ids=self.ids + more.ids,
            vectors=np.concatenate([self.vectors, more.vectors]),
            titles=pl.concat([self.titles, more.titles]),
            label_field=self.label_field,
            source=self.source,
            word_fields=tuple(dict.fromkeys((*self.word_fields, *more.word_fields))),
            read=self.read,
        )

    def save(self, folder: str | Path) -> Path:
        """Write ``vectors.safetensors``, ``titles.parquet`` and ``config.json``, replacing an older space when whole.

        Raises:
            ArtefactError: There is something else at ``folder``.
        """
        folder = Path(folder)
        check_replaceable(folder, is_space, "a space of titles")
        with atomic_folder(folder) as temporary:
            save_file({"vectors": np.ascontiguousarray(self.vectors)}, temporary / "vectors.safetensors")
            self.titles.write_parquet(temporary / "titles.parquet")
            told = {
                "schema": SCHEMA,
                "reeltag": reeltag.__version__,
                "kind": KIND,
                "label_field": self.label_field,
                "source": self.source,
                "word_fields": list(self.word_fields),
                "read": list(self.read),
                "n_titles": len(self),
                "dim": self.dim,
            }
            write_json(temporary / "config.json", told)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Space:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: The folder is no space, is incomplete or damaged, or of another schema.
        """
        folder = Path(folder)
        told = read_told(folder, KIND, SCHEMA, _KEYS)
        try:
            vectors = load_file(folder / "vectors.safetensors")["vectors"]
            titles = pl.read_parquet(folder / "titles.parquet")
            space = cls(
                ids=tuple(titles["id"]),
                vectors=vectors,
                titles=titles,
                label_field=told["label_field"],
                source=told["source"],
                word_fields=tuple(told["word_fields"]),
                read=tuple(told["read"]),
            )
        except (OSError, KeyError, SafetensorError, FeatureError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{folder}: incomplete or damaged ({error})") from None
        if (len(space), space.dim) != (told["n_titles"], told["dim"]):
            raise ArtefactError(
                f"{folder}: must hold {told['n_titles']} titles in {told['dim']} dimensions; got {len(space)} in "
                f"{space.dim}"
            )
        return space


def is_space(folder: Path) -> bool:
    """Return whether a folder holds a space."""
    return is_kind(folder, KIND)


def unit_rows(vectors: npt.NDArray[Any]) -> Matrix:
    """Return the rows at length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def named(title: str, year: int | None) -> str:
    """Return a title as people write it: ``Heat (1995)``."""
    return f"{title or 'untitled'} ({year})" if year is not None else title or "untitled"


def word_fields(catalogue: Catalogue, label_field: str) -> tuple[str, ...]:
    """Return the list fields of a catalogue that are neither the labels nor people."""
    people = {*PEOPLE_FIELDS, *PEOPLE_FIELDS.values()}
    columns = catalogue.frame.schema.items()
    listed = [name for name, kind in columns if kind == pl.List(pl.String) and name not in {*people, label_field}]
    return tuple(name for name in listed if catalogue.frame[name].list.len().sum() > 0)


def _words(catalogue: Catalogue, fields: tuple[str, ...]) -> pl.Series:
    """Return the words of list fields, each once per title, in the order of the fields."""
    if not fields:
        return pl.Series([[]] * len(catalogue), dtype=COLUMNS["words"])
    lists = [pl.col(field).fill_null([]) for field in fields]
    return catalogue.frame.select(words=pl.concat_list(lists).list.unique(maintain_order=True))["words"]


def _labels(tagger: Tagger, titles: Catalogue, features: Features) -> tuple[list[list[str]], npt.NDArray[np.bool_]]:
    """Return the known labels, or those predicted, and which titles' labels are known."""
    field = tagger.labels.config.field
    there = titles.has(field) or field in FIELDS
    lists = titles.lists(field) if there else [[]] * len(titles)
    targets, known = tagger.labels.encode_sparse(lists)
    applies = targets.toarray() > 0
    if not known.all():
        probabilities = tagger.predict_proba(features.take(~known))
        applies[~known] = probabilities >= tagger.fitted.thresholds()
    return tagger.labels.decode(applies), known


def _read_by(tagger: Tagger) -> tuple[str, ...]:
    """Return the modalities that a tagger reads, list fields among them one by one."""
    config, absent = tagger.recipe.features, tagger.fitted.pipeline.absent_
    there = [name for name in config.modalities if name not in absent]
    fields = [f"fields.{name}" for name in config.fields] if "fields" in there else []
    return (*(name for name in there if name != "fields"), *fields)


def _told(columns: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items())
