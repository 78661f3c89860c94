"""The knowledge graph of a film catalogue: directors, titles, cast and labels, linked by the credits of training films.

This is the graph of IDKG (seed 001, section 3.1): four kinds of entities, E = {d, t, c, g}, and six relations,
R = {d-t, c-t, g-t, d-c, d-g, c-g}, one triple per pair of entities of a film. Three things differ. A person who both
directs and acts is one entity by choice (and nobody is linked to themself); other labels (tags, keywords) may stand
beside the genres; and an entity without any link is left out, because nothing could be learnt of it.

Nothing of a held-out film reaches the entities or the training triples. Held-out films give the held-out splits:
links between entities that the training films know, which no training film has. Their titles are not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.catalogue import Catalogue
from reeltag.catalogue.fields import PEOPLE_FIELDS
from reeltag.config import check_range
from reeltag.errors import ConfigError, GraphError, shown
from reeltag.graph.tables import Ids, Vocabulary
from reeltag.graph.triples import ENTITY_COLUMNS, RELATION_COLUMNS, KnowledgeGraph, Triples

HELD_OUT = ("validation", "test")

_KINDS = {"genres": "genre", "tags": "tag", "keywords": "keyword"}  # of label fields; another field is its own kind
_LETTERS = {"genre": "g"}  # in the names of relations; another kind is written out
_TAKEN = {
    "title",
    "person",
    "director",
    "cast",
    "entity",
    "d",
    "c",
    "t",
    "g",
    "id",
    "split",
    *PEOPLE_FIELDS,
    *PEOPLE_FIELDS.values(),
}
_FILMS_AT_ONCE = 100_000
_PAIRS_AT_ONCE = 4_000_000

Keys = npt.NDArray[np.int64]  # head and tail of a triple in one number


@dataclass(frozen=True, kw_only=True)
class FilmGraphConfig:
    """What the graph is made of.

    Attributes:
        label_fields: Catalogue fields whose words are entities. ``genres`` gives the kind ``genre`` and the relations
            g-t, d-g and c-g; ``tags`` the kind ``tag`` and tag-t, d-tag and c-tag; ``keywords`` likewise; any other
            list field is its own kind.
        one_person: Directors and cast are of one kind, ``person``; False tells ``director`` and ``cast`` apart.
        background: Films of the ``background`` split feed the graph too.
        titles: Titles are entities. False leaves them and their relations out.
        min_label_films: Labels on fewer films of the graph are left out.
    """

    label_fields: tuple[str, ...] = ("genres",)
    one_person: bool = True
    background: bool = False
    titles: bool = True
    min_label_films: int = 1

    def __post_init__(self) -> None:
        check_range("FilmGraphConfig", "min_label_films", self.min_label_films, 1, 1_000_000_000)
        for field, kind in zip(self.label_fields, self.label_kinds, strict=True):
            if field in _TAKEN or kind in _TAKEN or (field not in _KINDS and kind in _KINDS.values()):
                raise ConfigError(
                    f"FilmGraphConfig.label_fields must not name {shown(field)}: the graph uses that name"
                )
        if len(set(self.label_fields)) < len(self.label_fields):
            raise ConfigError(
                f"FilmGraphConfig.label_fields must name every field once; got {', '.join(self.label_fields)}"
            )

    @property
    def label_kinds(self) -> tuple[str, ...]:
        """Kind of the entities of every label field."""
        return tuple(_KINDS.get(field, field) for field in self.label_fields)

    @property
    def people_kinds(self) -> tuple[str, ...]:
        """Kinds of the people."""
        return ("person",) if self.one_person else ("director", "cast")

    @property
    def letters(self) -> tuple[str, ...]:
        """Name of every label kind in the names of relations: g for genres, else the kind."""
        return tuple(_LETTERS.get(kind, kind) for kind in self.label_kinds)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Head and tail of every relation, as letters."""
        titles = [(part, "t") for part in ("d", "c", *self.letters)] if self.titles else []
        return (*titles, ("d", "c"), *((role, letter) for letter in self.letters for role in ("d", "c")))

    def relations(self) -> pl.DataFrame:
        """Return the relations: columns name, head_kind, tail_kind."""
        kinds = {"d": self.people_kinds[0], "c": self.people_kinds[-1], "t": "title"}
        kinds |= dict(zip(self.letters, self.label_kinds, strict=True))
        rows = [(f"{head}-{tail}", kinds[head], kinds[tail]) for head, tail in self.pairs]
        return pl.DataFrame(rows, schema=dict.fromkeys(RELATION_COLUMNS, pl.String), orient="row")


def build_film_graph(
    catalogue: Catalogue, config: FilmGraphConfig | None = None, *, held_out: Sequence[str] = HELD_OUT
) -> KnowledgeGraph:
    """Build the knowledge graph of the training films of a catalogue.

    Args:
        catalogue: The films, which have their splits.
        config: What the graph is made of.
        held_out: Splits whose films give held-out triples: links that are new, between entities that are not.

    Returns:
        The graph. Entities are labels, then titles, then people, each in order of first appearance; the key of a label
        is its word, of a title the film id, of a person the key that ``Catalogue.people`` gives.

    Raises:
        GraphError: No film is of the split ``train``, the training films give no link, or a held-out split has
            another name.
        CatalogueError: A label field does not exist or does not hold lists.
    """
    config = config or FilmGraphConfig()
    for split in held_out:
        if split not in HELD_OUT:
            raise GraphError(f"a held-out split must be one of {', '.join(HELD_OUT)}; got {shown(split)}")
    films = _graph_films(catalogue, config)
    entities = _Entities(config)
    links = entities.add(films)
    keys = [_relation_keys(pair, links, len(films)) for pair in config.pairs]
    used = np.zeros(entities.n, np.bool_)
    for found in keys:
        used[found >> 32] = used[found & 0xFFFFFFFF] = True
    if not used.any():
        raise GraphError(f"{catalogue.source}: the films of the split 'train' give no link; they need people or labels")
    numbers = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)  # without entities that have no link
    splits = {"train": _triples(keys, numbers)}
    for split in held_out:
        others = _columns(catalogue, config).take(catalogue.rows_of(split))
        known = {part: link.known(numbers) for part, link in entities.encode(others).items()}
        new = [_relation_keys(pair, known, len(others)) for pair in config.pairs]
        new = [_without(found, old) for found, old in zip(new, keys, strict=True)]
        splits[split] = _triples(new, numbers)
    source = f"{catalogue.source}, films of {'train and background' if config.background else 'train'}"
    return KnowledgeGraph(entities.frame(films).filter(pl.Series(used)), config.relations(), splits, source)


@dataclass(frozen=True)
class _Links:
    """Which film has which entity: film rows, rising, and entity numbers; no pair twice."""

    film: npt.NDArray[np.int64]
    entity: npt.NDArray[np.int64]

    @classmethod
    def once(cls, film: npt.NDArray[np.int64], entity: npt.NDArray[np.int64]) -> _Links:
        """Return links without repeats."""
        once = _is_first((film << 32) | entity)
        return cls(film[once], entity[once])

    def known(self, numbers: Ids) -> _Links:
        """Return the links to entities that have a number."""
        kept = numbers[self.entity] >= 0
        return _Links(self.film[kept], self.entity[kept])


class _Entities:
    """The entities in the making: words per label field, titles as they come, people per kind."""

    def __init__(self, config: FilmGraphConfig) -> None:
        self.config = config
        self.words = {field: Vocabulary() for field in config.label_fields}
        self.people = {kind: Vocabulary() for kind in config.people_kinds}
        self.people_names: dict[str, list[pl.Series]] = {kind: [] for kind in config.people_kinds}
        self.n_titles = 0

    @property
    def n(self) -> int:
        """Number of entities."""
        return sum(map(len, self.words.values())) + self.n_titles + sum(map(len, self.people.values()))

    def add(self, films: Catalogue) -> dict[str, _Links]:
        """Take in the films of the graph; return the links per part of a relation's name (d, c, t, g, …)."""
        self.n_titles = len(films) if self.config.titles else 0
        found = self._found(films, learn=True)
        for part, link in found.items():
            if part not in ("d", "c"):
                n_films = np.bincount(link.entity)
                kept = n_films[link.entity] >= self.config.min_label_films
                found[part] = _Links(link.film[kept], link.entity[kept])
        titles = np.arange(self.n_titles, dtype=np.int64)
        return self._placed(found) | {"t": _Links(titles, titles + sum(map(len, self.words.values())))}

    def encode(self, films: Catalogue) -> dict[str, _Links]:
        """Return the links of further films to the entities there are; their titles have none."""
        nothing = np.zeros(0, np.int64)
        return self._placed(self._found(films, learn=False)) | {"t": _Links(nothing, nothing)}

    def frame(self, films: Catalogue) -> pl.DataFrame:
        """Return key, name and kind of every entity."""
        parts = [
            _table(words.names, words.names, kind)
            for kind, words in zip(self.config.label_kinds, self.words.values(), strict=True)
        ]
        if self.config.titles:
            ids = films.frame["id"]
            named = films.frame.select(name=pl.coalesce("title", "id"))["name"] if films.has("title") else ids
            parts.append(_table(ids, named, "title"))
        for kind, people in self.people.items():
            parts.append(_table(people.names, pl.concat([people.names.clear(), *self.people_names[kind]]), kind))
        return pl.concat(parts).rechunk()

    def _placed(self, found: dict[str, _Links]) -> dict[str, _Links]:
        """Turn numbers within a kind into numbers among all entities."""
        starts, n = {}, 0
        for letter, words in zip(self.config.letters, self.words.values(), strict=True):
            starts[letter] = n
            n += len(words)
        kinds = list(self.people.values())
        starts["d"] = n + self.n_titles
        starts["c"] = starts["d"] + sum(map(len, kinds[:-1]))
        return {part: _Links(link.film, link.entity + starts[part]) for part, link in found.items()}

    def _found(self, films: Catalogue, learn: bool) -> dict[str, _Links]:
        """Return the links of films, chunk by chunk, by numbers within a kind; only known ones unless ``learn``."""
        letters = self.config.letters
        parts: dict[str, list[_Links]] = {part: [] for part in (*letters, "d", "c")}
        for start in range(0, max(len(films), 1), _FILMS_AT_ONCE):
            chunk = replace(films, frame=films.frame.slice(start, _FILMS_AT_ONCE))
            for letter, (field, words) in zip(letters, self.words.items(), strict=True):
                rows, keys = _words(chunk, field)
                parts[letter].append(_numbered(rows + start, words.add(keys) if learn else words.encode(keys)))
            for role, (rows, numbers) in zip("dc", self._chunk_people(chunk, learn), strict=True):
                parts[role].append(_numbered(rows + start, numbers))
        return {
            part: _Links(np.concatenate([link.film for link in links]), np.concatenate([link.entity for link in links]))
            for part, links in parts.items()
        }

    def _chunk_people(self, chunk: Catalogue, learn: bool) -> list[tuple[npt.NDArray[np.int64], Ids]]:
        """Return film rows and person numbers of directors and of cast."""
        credits = [chunk.people(role) for role in PEOPLE_FIELDS]
        numbers = []
        if not learn:
            kinds = [*self.people.values()]
            return [(rows, kinds[place].encode(keys)) for place, (rows, keys) in zip((0, -1), credits, strict=True)]
        names = [_display_names(chunk, role) for role in PEOPLE_FIELDS]
        if not self.config.one_person:
            for kind, (_, keys), shown_as in zip(self.people, credits, names, strict=True):
                numbers.append(self._learn(kind, keys, shown_as))
        else:
            order = np.argsort(np.concatenate([rows for rows, _ in credits]), kind="stable")  # film by film
            keys = pl.concat([keys.alias("key") for _, keys in credits]).gather(order)
            ids = np.empty(len(order), np.int32)
            ids[order] = self._learn("person", keys, pl.concat([part.alias("name") for part in names]).gather(order))
            numbers = np.split(ids, [len(credits[0][0])])
        return [(rows, ids) for (rows, _), ids in zip(credits, numbers, strict=True)]

    def _learn(self, kind: str, keys: pl.Series, names: pl.Series) -> Ids:
        """Number people and keep the name that each new one first appears under."""
        known = len(self.people[kind])
        ids = self.people[kind].add(keys)
        new = pl.Series((ids >= known) & _is_first(ids))
        self.people_names[kind].append(names.filter(new).alias("key"))
        return ids


def _graph_films(catalogue: Catalogue, config: FilmGraphConfig) -> Catalogue:
    train = catalogue.rows_of("train")
    if not len(train):
        raise GraphError(
            f"{catalogue.source}: a knowledge graph needs films of the split 'train'; got none: assign splits first"
        )
    rows = np.sort(np.concatenate([train, catalogue.rows_of("background")])) if config.background else train
    return _columns(catalogue, config).take(rows)


def _columns(catalogue: Catalogue, config: FilmGraphConfig) -> Catalogue:
    """Return the catalogue with the columns that the graph reads, once the label fields are known to hold lists."""
    none = catalogue.take([])
    for field in config.label_fields:
        none.lists(field)
    wanted = ("id", "title", *PEOPLE_FIELDS, *PEOPLE_FIELDS.values(), *config.label_fields)
    return replace(catalogue, frame=catalogue.frame.select(name for name in wanted if catalogue.has(name)))


def _words(chunk: Catalogue, field: str) -> tuple[npt.NDArray[np.int64], pl.Series]:
    """Return film row and word of every label, without blanks around it; blank ones left out."""
    if not chunk.has(field):
        return np.zeros(0, np.int64), pl.Series(dtype=pl.String)
    rows = pl.int_range(len(chunk), dtype=pl.Int64)
    long = chunk.frame.select(row=rows, word=pl.col(field)).filter(pl.col("word").list.len() > 0).explode("word")
    long = long.with_columns(pl.col("word").str.strip_chars()).filter(pl.col("word") != "")
    return long["row"].to_numpy(), long["word"]


def _display_names(chunk: Catalogue, role: str) -> pl.Series:
    """Return the name of every credit of a role, in the order of ``Catalogue.people``."""
    nameless = replace(chunk, frame=chunk.frame.drop(PEOPLE_FIELDS[role], strict=False))
    return nameless.people(role)[1]


def _numbered(rows: npt.NDArray[np.int64], numbers: Ids) -> _Links:
    known = numbers >= 0
    return _Links.once(rows[known], numbers[known].astype(np.int64))


def _table(keys: pl.Series, names: pl.Series, kind: str) -> pl.DataFrame:
    return pl.DataFrame({"key": keys, "name": names}).with_columns(kind=pl.lit(kind)).select(ENTITY_COLUMNS)


def _relation_keys(pair: tuple[str, str], links: dict[str, _Links], n_films: int) -> Keys:
    """Return the triples of a relation, each once, as keys; nobody is linked to themself."""
    head, tail = pair
    pairs = _pairs(links[head], links[tail], n_films)
    if tail == "t":  # a film has one title and an entity once, so no pair comes twice
        return np.concatenate([np.zeros(0, np.int64), *pairs])
    return _distinct(part[(part >> 32) != (part & 0xFFFFFFFF)] for part in pairs)


def _pairs(left: _Links, right: _Links, n_films: int) -> Iterator[Keys]:
    """Yield every pair of a left and a right entity of one film as keys, some millions at once."""
    per_film = np.bincount(right.film, minlength=n_films)
    first = np.cumsum(per_film) - per_film
    repeats = per_film[left.film]
    ends = np.cumsum(repeats)
    start = 0
    while start < len(left.film):
        done = ends[start] - repeats[start]
        stop = max(int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")), start + 1)
        times = repeats[start:stop]
        within = np.arange(times.sum()) - np.repeat(ends[start:stop] - times - done, times)
        tails = right.entity[np.repeat(first[left.film[start:stop]], times) + within]
        yield (np.repeat(left.entity[start:stop], times) << 32) | tails
        start = stop


def _distinct(parts: Iterator[Keys]) -> Keys:
    """Return every key once, in order of first appearance, holding few more than there are."""
    kept, n, limit = [np.zeros(0, np.int64)], 0, 4 * _PAIRS_AT_ONCE
    for part in parts:
        kept.append(part[_is_first(part)])
        n += len(kept[-1])
        if n > limit:
            whole = np.concatenate(kept)
            kept = [whole[_is_first(whole)]]
            n = len(kept[0])
            limit = max(limit, 2 * n)
    whole = np.concatenate(kept)
    return whole[_is_first(whole)]


def _is_first(values: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    return pl.Series(values).is_first_distinct().to_numpy()


def _without(keys: Keys, others: Keys) -> Keys:
    """Return the keys that are not among ``others``, of which there may be many more."""
    few = pl.DataFrame({"key": keys})
    both = pl.DataFrame({"key": others}).join(few, on="key", how="semi")
    return few.join(both, on="key", how="anti", maintain_order="left")["key"].to_numpy()


def _triples(keys: Sequence[Keys], numbers: Ids) -> Triples:
    """Return the triples of all relations, one relation after the other."""
    return Triples.concatenate(
        Triples(numbers[found >> 32], np.full(len(found), relation, np.int32), numbers[found & 0xFFFFFFFF])
        for relation, found in enumerate(keys)
    )
