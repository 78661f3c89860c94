"""Knowledge graphs: named entities and relations, and triples (head, relation, tail) of their numbers.

A graph holds its triples as three arrays of 32-bit numbers per split, so that twenty million of them take 240 MB and
no Python object each. The ``train`` triples are what an embedding learns from; ``validation`` and ``test`` are held
out to measure it. On disk a graph is a folder: ``graph.json`` (format, version, counts), ``entities.parquet``,
``relations.parquet`` and a Parquet file per split.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, GraphError, shown
from reeltag.files import atomic_folder, write_json
from reeltag.graph.statistics import GraphStatistics, summarise
from reeltag.graph.tables import Ids, check_ids, check_unique, fault, numbers_of, read_table

SPLITS = ("train", "validation", "test")
ENTITY_COLUMNS = ("key", "name", "kind")
RELATION_COLUMNS = ("name", "head_kind", "tail_kind")
PLACES = ("head", "relation", "tail")
HEAD_FILE = "graph.json"
FOLDER_FILES = (HEAD_FILE, "entities.parquet", "relations.parquet", *(f"{split}.parquet" for split in SPLITS))

_FORMAT, _VERSION = "reeltag knowledge graph", 1
_HASHED_ROWS = 10_000
_CLOSE_NAMES = 5
_CANDIDATES = 2_000
_LARGEST_KEY = 2**63


@dataclass(frozen=True, eq=False)
class Triples:
    """Triples as three arrays of one length; whole numbers of any type become 32-bit numbers.

    Attributes:
        head: Entity ids, shape (n_triples,).
        relation: Relation ids, shape (n_triples,).
        tail: Entity ids, shape (n_triples,).
    """

    head: Ids
    relation: Ids
    tail: Ids

    def __post_init__(self) -> None:
        for place in PLACES:
            object.__setattr__(self, place, _as_ids(getattr(self, place), place))
        if not len(self.head) == len(self.relation) == len(self.tail):
            raise GraphError(
                "triples need as many heads as relations and tails; "
                f"got {len(self.head):,}, {len(self.relation):,} and {len(self.tail):,}"
            )

    @classmethod
    def empty(cls) -> Triples:
        """Return no triples."""
        return cls(*(np.zeros(0, np.int32) for _ in PLACES))

    @classmethod
    def concatenate(cls, parts: Iterable[Triples]) -> Triples:
        """Return the triples of all parts, one part after the other; none when there is no part."""
        kept = [*parts] or [cls.empty()]
        return cls(*(np.concatenate([getattr(part, place) for part in kept]) for place in PLACES))

    def __len__(self) -> int:
        return len(self.head)

    def take(self, rows: Any) -> Triples:
        """Return the triples of the given rows (numbers, a mask or a slice), in that order."""
        return Triples(self.head[rows], self.relation[rows], self.tail[rows])

    def unique(self) -> Triples:
        """Return every triple once, in order of first appearance."""
        # one number per triple where it fits 63 bits takes a quarter of the memory and a third of the time
        n_heads, n_relations, n_tails = (int(getattr(self, place).max(initial=0)) + 1 for place in PLACES)
        if n_heads * n_relations * n_tails < _LARGEST_KEY:
            rows = (self.head.astype(np.int64) * n_relations + self.relation) * n_tails + self.tail
            first = pl.Series(rows).is_first_distinct()
        else:
            first = self.frame().select(pl.struct(PLACES).is_first_distinct()).to_series()
        return self if first.all() else self.take(first.to_numpy())

    def frame(self) -> pl.DataFrame:
        """Return the triples as a data frame of columns head, relation, tail."""
        return pl.DataFrame({place: getattr(self, place) for place in PLACES}, schema=dict.fromkeys(PLACES, pl.Int32))


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """A knowledge graph.

    Attributes:
        entities: Columns key, name and kind; the row number is the entity id, and (kind, key) is unique.
        relations: Columns name, head_kind and tail_kind; the row number is the relation id, and names are unique.
            The kinds are ``entity`` in graphs that do not tell kinds apart.
        splits: Triples under ``train`` (always) and, held out, ``validation`` and ``test``; a held-out split without
            triples is left out.
        source: Path or name the graph came from.
    """

    entities: pl.DataFrame
    relations: pl.DataFrame
    splits: Mapping[str, Triples]
    source: str = "memory"

    def __post_init__(self) -> None:
        for name, columns in (("entities", ENTITY_COLUMNS), ("relations", RELATION_COLUMNS)):
            schema = dict(getattr(self, name).schema)
            if schema != dict.fromkeys(columns, pl.String()) or list(schema) != list(columns):
                got = ", ".join(f"{column} ({dtype})" for column, dtype in schema.items()) or "none"
                raise GraphError(f"{self.source}: {name} need the text columns {', '.join(columns)}; got {got}")
            if getattr(self, name).null_count().sum_horizontal().sum():
                raise GraphError(f"{self.source}: {name} must have no empty cell")
        check_unique(self.entities, ("kind", "key"), f"{self.source}, entities")
        check_unique(self.relations, ("name",), f"{self.source}, relations")
        unknown = [name for name in self.splits if name not in SPLITS]
        if unknown:
            raise GraphError(f"{self.source}: a split must be one of {', '.join(SPLITS)}; got {shown(unknown[0])}")
        if "train" not in self.splits:
            raise GraphError(f"{self.source}: a knowledge graph needs the split 'train'; got {shown([*self.splits])}")
        kept = {name: self.splits[name] for name in SPLITS if name in self.splits}
        kept = {name: triples for name, triples in kept.items() if len(triples) or name == "train"}
        object.__setattr__(self, "splits", kept)
        for name, triples in kept.items():
            self._check_triples(triples, f"{self.source}, split '{name}'")

    @property
    def n_entities(self) -> int:
        """Number of entities."""
        return len(self.entities)

    @property
    def n_relations(self) -> int:
        """Number of relations."""
        return len(self.relations)

    @property
    def train(self) -> Triples:
        """The training triples."""
        return self.splits["train"]

    @property
    def kinds(self) -> list[str]:
        """Kinds of entities, in order of first appearance."""
        kinds: list[str] = self.entities["kind"].unique(maintain_order=True).to_list()
        return kinds

    def entity_ids(self, kind: str) -> npt.NDArray[np.int64]:
        """Return the ids of the entities of a kind, rising, shape (n_of_kind,).

        Raises:
            GraphError: No entity is of that kind.
        """
        self._check_kind(kind)
        return (self.entities["kind"] == kind).arg_true().to_numpy().astype(np.int64)

    def lookup(self, keys: pl.Series | Sequence[str], kind: str) -> npt.NDArray[np.int64]:
        """Return the entity id of every key of a kind, -1 where there is none, shape (n_keys,).

        Raises:
            GraphError: No entity is of that kind.
        """
        ids = self.entity_ids(kind)
        numbers = numbers_of(pl.Series(keys, dtype=pl.String), self.entities["key"].gather(ids))
        return np.where(numbers < 0, -1, ids[numbers])

    def find(self, name: str, kind: str | None = None) -> int:
        """Return the id of the entity of a name or key.

        Names and keys are compared exactly first, then without regard to case.

        Args:
            name: Name or key of the entity.
            kind: Only entities of this kind. Where several of a kind share a name, the key tells them apart.

        Raises:
            GraphError: No entity, or more than one, is meant; the message lists close names, or the entities meant.
        """
        if kind is not None:
            self._check_kind(kind)
        table = self.entities.with_row_index("id")
        if kind is not None:
            table = table.filter(pl.col("kind") == kind)
        texts = [pl.col("name"), pl.col("key")]
        hits = table.filter(pl.any_horizontal(text == name for text in texts))
        if hits.is_empty():
            hits = table.filter(pl.any_horizontal(text.str.to_lowercase() == name.lower() for text in texts))
        if len(hits) > 1 and kind is not None and (hits["key"] == name).any():
            hits = hits.filter(pl.col("key") == name)
        if len(hits) == 1:
            return int(hits["id"][0])
        where = f"{self.source}: " if kind is None else f"{self.source}, kind '{kind}': "
        if hits.is_empty():
            close = _close_names(name, table["name"])
            hint = f"close names: {', '.join(close)}" if close else "no name comes close"
            raise GraphError(f"{where}no entity has the name or key {shown(name)}; {hint}")
        meant = ", ".join(f"{row['kind']} {shown(row['key'])}" for row in hits.head(_CLOSE_NAMES).to_dicts())
        more = f" and {len(hits) - _CLOSE_NAMES:,} more" if len(hits) > _CLOSE_NAMES else ""
        raise GraphError(f"{where}{len(hits):,} entities have the name {shown(name)}: {meant}{more}; name kind and key")

    def degrees(self, split: str = "train") -> npt.NDArray[np.int64]:
        """Return how many triples of a split every entity heads or ends, shape (n_entities,).

        Raises:
            GraphError: The graph has no such split.
        """
        if split not in self.splits:
            raise GraphError(f"{self.source}: no split {shown(split)}; splits: {', '.join(self.splits)}")
        triples = self.splits[split]
        ends = [np.bincount(ids, minlength=self.n_entities) for ids in (triples.head, triples.tail)]
        return np.asarray(ends[0] + ends[1], np.int64)

    def statistics(self) -> GraphStatistics:
        """Return the shape of the graph in numbers."""
        n_triples = {name: len(triples) for name, triples in self.splits.items()}
        return summarise(self.entities, self.relations, self.train.frame(), self.degrees(), n_triples)

    def fingerprint(self) -> str:
        """Return a hash of entities, relations and the triples of all splits, stable between runs and machines."""
        digest = hashlib.sha256()
        for frame in (self.entities, self.relations):
            for part in frame.iter_slices(_HASHED_ROWS):
                digest.update(json.dumps(part.rows()).encode())
        for name in (split for split in SPLITS if split in self.splits):
            digest.update(f"{name} {len(self.splits[name])}".encode())
            for place in PLACES:
                digest.update(np.ascontiguousarray(getattr(self.splits[name], place), "<i4").data)
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the graph as a folder, whole or not at all; a graph already there is replaced."""
        n_triples = {name: len(triples) for name, triples in self.splits.items()}
        head = _Head(n_entities=self.n_entities, n_relations=self.n_relations, n_triples=n_triples, source=self.source)
        with atomic_folder(Path(folder)) as temporary:
            self.entities.write_parquet(temporary / "entities.parquet")
            self.relations.write_parquet(temporary / "relations.parquet")
            for name, triples in self.splits.items():
                triples.frame().write_parquet(temporary / f"{name}.parquet")
            write_json(temporary / HEAD_FILE, to_json(head))

    @classmethod
    def load(cls, folder: Path) -> KnowledgeGraph:
        """Read what ``save`` wrote.

        Raises:
            GraphError: A file is missing, damaged or of another version, or what it holds does not fit the rest.
        """
        head = _read_head(Path(folder) / HEAD_FILE)
        tables = {}
        for name, columns, expected, unique in (
            ("entities", ENTITY_COLUMNS, head.n_entities, ("kind", "key")),
            ("relations", RELATION_COLUMNS, head.n_relations, ("name",)),
        ):
            path = Path(folder) / f"{name}.parquet"
            tables[name] = _read_counted(path, dict.fromkeys(columns, pl.String()), expected)
            check_unique(tables[name], unique, str(path))
        splits = {}
        for name, expected in head.n_triples.items():
            path = Path(folder) / f"{name}.parquet"
            frame = _read_counted(path, dict.fromkeys(PLACES, pl.Int32()), expected)
            splits[name] = Triples(*(frame[place].to_numpy() for place in PLACES))
            _check_range(splits[name], len(tables["entities"]), len(tables["relations"]), str(path))
        return cls(tables["entities"], tables["relations"], splits, head.source)

    def _check_triples(self, triples: Triples, place: str) -> None:
        _check_range(triples, self.n_entities, self.n_relations, place)

    def _check_kind(self, kind: str) -> None:
        if not (self.entities["kind"] == kind).any():
            raise GraphError(f"{self.source}: no entity is of kind {shown(kind)}; kinds: {', '.join(self.kinds)}")


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What ``graph.json`` holds."""

    n_entities: int
    n_relations: int
    n_triples: dict[str, int]
    source: str
    format: str = _FORMAT
    version: int = _VERSION


def is_head_file(path: Path) -> bool:
    """Return whether a file is the ``graph.json`` of a graph, of whatever version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("format") == _FORMAT


def _read_head(path: Path) -> _Head:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GraphError(f"{path}: a knowledge graph cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise GraphError(f"{path}: must be valid JSON ({error})") from None
    for field, expected in (("format", _FORMAT), ("version", _VERSION)):
        got = data.get(field) if isinstance(data, dict) else data
        if got != expected or isinstance(got, bool):
            raise fault(str(path), None, field, f"must be {expected!r}", shown(got))
    try:
        head = from_json(_Head, data, str(path))
    except ConfigError as error:
        raise GraphError(str(error)) from None
    if "train" not in head.n_triples or not set(head.n_triples) <= set(SPLITS):
        rule = f"must name train and no split but {', '.join(SPLITS)}"
        raise fault(str(path), None, "n_triples", rule, shown([*head.n_triples]))
    return head


def _read_counted(path: Path, schema: Mapping[str, pl.DataType], expected: int) -> pl.DataFrame:
    frame = read_table(path, schema)
    if len(frame) != expected:
        raise fault(str(path), None, None, f"must have {expected:,} rows, as {HEAD_FILE} says", f"{len(frame):,}")
    return frame


def _check_range(triples: Triples, n_entities: int, n_relations: int, place: str) -> None:
    for field in PLACES:
        check_ids(getattr(triples, field), n_relations if field == "relation" else n_entities, place, field)


def _as_ids(values: object, field: str) -> Ids:
    ids = np.asarray(values)
    if ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
        raise GraphError(f"triples: {field} must be whole numbers of shape (n_triples,); got {ids.dtype} {ids.shape}")
    limits = np.iinfo(np.int32)
    if ids.dtype != np.int32 and len(ids) and not limits.min <= ids.min() <= ids.max() <= limits.max:
        raise GraphError(f"triples: {field} must fit 32 bits; got {max(ids.max(), -ids.min())}")
    # torch takes no array that may not be written to, which is what data frames give
    return ids.astype(np.int32, copy=not ids.flags.writeable)


def _close_names(name: str, names: pl.Series) -> list[str]:
    """Return up to five names that contain ``name``, or look like it and begin alike, in any case."""
    wanted = name.lower()
    table = names.unique(maintain_order=True).alias("name").to_frame()
    table = table.with_columns(lower=pl.col("name").str.to_lowercase())
    holding = table.filter(pl.col("lower").str.contains(wanted, literal=True)) if wanted else table.clear()
    gap = (pl.col("lower").str.len_chars().cast(pl.Int32) - len(wanted)).abs()
    alike = table.filter(pl.col("lower").str.starts_with(wanted[:1])).sort(gap, maintain_order=True).head(_CANDIDATES)
    spelling = dict(zip(alike["lower"].to_list(), alike["name"].to_list(), strict=True))
    found = [spelling[lower] for lower in difflib.get_close_matches(wanted, list(spelling), n=_CLOSE_NAMES)]
    return list(dict.fromkeys([*found, *holding["name"].head(_CLOSE_NAMES).to_list()]))[:_CLOSE_NAMES]
