"""Group relations between the people of a film and its labels: what the other films of its people are.

For every person (directors and cast apart) the graph counts in how many films each label stands. The profile of a
film is, for directors and for cast, the sum and the mean over its known people (those with another film in the
graph) of

    log( (count of the label + a * prior) / (films + a) / prior )

with prior = (films with the label + 1/2) / (films + 1) over all of the graph, together with how many of its people
are known and how many films they have made. This is the relation IDKG draws from its knowledge graph (seed 001,
section 3.1: director-genre and cast-genre), with one difference that matters: a film of the graph is left out of its
own people's counts, so a training film never sees its own labels. The prior is one number per label for all films,
so nothing of a film's own labels can be read from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.errors import ConfigError, NotFittedError
from reeltag.features import Block
from reeltag.files import write_json
from reeltag.graph.credit_table import CreditTable, check_targets, credited_people, positions

ROLES = ("directors", "cast")
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class CreditConfig:
    """Settings of the credit profile.

    Attributes:
        roles: Which credits count, each apart: ``directors``, ``cast``.
        background: Films of the ``background`` split with known labels feed the graph too.
        prior_strength: The a above: how many films of average labels every person starts with.
        leave_one_out: Take a graph film out of its own counts. False reproduces the published in-sample
            construction, which teaches a model to trust an answer it will not have (see EXPERIMENTS.md).
    """

    roles: tuple[str, ...] = ROLES
    background: bool = True
    prior_strength: float = 1.0
    leave_one_out: bool = True

    def __post_init__(self) -> None:
        for role in self.roles:
            check_choice("CreditConfig", "roles", role, ROLES)
        if not self.roles:
            raise ConfigError("CreditConfig.roles must name at least one role")
        if len(set(self.roles)) < len(self.roles):
            raise ConfigError(f"CreditConfig.roles must name every role once; got {', '.join(self.roles)}")
        check_range("CreditConfig", "prior_strength", self.prior_strength, 1e-6, 1e6)


@dataclass(frozen=True, kw_only=True)
class PersonRelation:
    """What the graph knows of one credited person of a film, the film itself left out.

    Attributes:
        role: ``directors`` or ``cast``.
        person: Key of the person (name, or ``id:…``).
        n_films: Films in the graph.
        counts: Films per label, shape (n_labels,).
    """

    role: str
    person: str
    n_films: int
    counts: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Credits:
    """Credits of some films in one role: film row, person column (-1 when the graph does not know the person)."""

    row: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]


class CreditProfile:
    """The credits graph of the training films and the profiles drawn from it.

    Args:
        config: Settings.
    """

    name = "profile"

    def __init__(self, config: CreditConfig | None = None) -> None:
        self.config = config or CreditConfig()
        self._table: CreditTable | None = None

    def fit(self, catalogue: Catalogue, targets: Any) -> CreditProfile:
        """Build the graph.

        Args:
            catalogue: The films that may feed it: training films, and background films by choice.
            targets: Their known labels, 0 and 1, dense or sparse, (n_films, n_labels).

        Raises:
            FeatureError: Targets and films differ in number.
        """
        check_targets(catalogue, targets, "the credits graph needs")
        self._table = CreditTable.of(catalogue, targets, self.config.roles)
        self._count()
        return self

    def _count(self) -> None:
        table = self._fitted()
        targets = table.targets
        self._prior = (np.asarray(targets.sum(axis=0)).ravel() + 0.5) / (targets.shape[0] + 1.0)
        self._counts = {role: np.asarray((m.T @ targets).todense()) for role, m in table.films_of.items()}
        self._n_films = {role: np.asarray(m.sum(axis=0)).ravel() for role, m in table.films_of.items()}

    @property
    def dim(self) -> int:
        """Width of the profile: per role a sum and a mean per label, and four counts."""
        return int(len(self.config.roles) * (2 * self._fitted().targets.shape[1] + 4))

    @property
    def film_ids(self) -> list[str]:
        """Ids of the films in the graph."""
        return [] if self._table is None else self._table.film_ids.to_list()

    def transform(self, catalogue: Catalogue) -> Block:
        """Return the profiles of films.

        A film of the graph (recognised by its id) is left out of its own counts; any other film sees all of the
        graph. A film none of whose people is known by another film is absent.

        Args:
            catalogue: The films.

        Returns:
            A block (n_films, dim).
        """
        in_graph = self._fitted().places(catalogue)
        parts, seen = [], np.zeros(len(catalogue), np.bool_)
        for role in self.config.roles:
            profile, known = self._role_profile(role, catalogue, in_graph)
            parts.append(profile)
            seen |= known
        return Block(np.hstack(parts).astype(np.float32), seen)

    def standing(self, catalogue: Catalogue) -> Block:
        """Return how well the graph knows the people of films: what IDKG's attention teacher reads.

        Two columns: how many credited people have another film in the graph, and the sum of their links (the degree V
        of seed 001, equation 6): to every film, its labels and its people of the other roles, counted film by film.
        A film of the graph is left out of its own people's links, unless ``leave_one_out`` is off.

        Args:
            catalogue: The films.

        Returns:
            A block (n_films, 2); a film none of whose people is known is absent.
        """
        table = self._fitted()
        in_graph = table.places(catalogue)
        n_labels = np.asarray(table.targets.sum(axis=1)).ravel()
        n_people = {role: np.asarray(films.sum(axis=1)).ravel() for role, films in table.films_of.items()}
        out = np.zeros((len(catalogue), 2), np.float32)
        for role, films_of in table.films_of.items():
            links = 1 + n_labels + sum(n for other, n in n_people.items() if other != role)  # of a person, per film
            degrees = films_of.T @ links
            credits = self._credits(role, catalogue)
            own, _ = self._own(role, credits, in_graph)
            there = credits.person >= 0
            person, row, own = credits.person[there], credits.row[there], own[there]
            degree = degrees[person] - own * links[in_graph[row]]
            known = self._n_films[role][person] - own > 0
            out[:, 0] += np.bincount(row[known], minlength=len(out))
            out[:, 1] += np.bincount(row[known], degree[known], minlength=len(out))
        return Block(out, out[:, 0] > 0)

    def people(self, catalogue: Catalogue) -> Block:
        """Return which people of the graph stand in the credits of films: 0 and 1, sparse, (n_films, n_people).

        The people of one role after the other; whoever has two roles has two columns.
        """
        parts = []
        for role, films_of in self._fitted().films_of.items():
            credits = self._credits(role, catalogue)
            known = credits.person >= 0
            ones = np.ones(int(known.sum()), np.float32)
            shape = (len(catalogue), films_of.shape[1])
            parts.append(sp.csr_matrix((ones, (credits.row[known], credits.person[known])), shape=shape))
        values = sp.hstack(parts).tocsr()
        return Block(values, np.diff(values.indptr) > 0)

    def relations(self, catalogue: Catalogue, row: int) -> list[PersonRelation]:
        """Return what the graph knows of each credited person of one film, the film itself left out."""
        film = catalogue.take([row])
        in_graph = self._fitted().places(film)
        found = []
        for role in self.config.roles:
            _, keys = credited_people(film, role)
            credits = self._credits(role, film)
            own, labels = self._own(role, credits, in_graph)
            for key, person, is_own in zip(keys, credits.person, own, strict=True):
                known = person >= 0
                counts = self._counts[role][person] - is_own * labels[0] if known else np.zeros_like(labels[0])
                n_films = int(self._n_films[role][person] - is_own) if known else 0
                found.append(PersonRelation(role=role, person=key, n_films=n_films, counts=counts))
        return found

    def _role_profile(
        self, role: str, catalogue: Catalogue, in_graph: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the profile (n_films, 2 n_labels + 4) of one role and which films have a known person in it."""
        credits = self._credits(role, catalogue)
        n_labels, n_films = len(self._prior), len(catalogue)
        out = np.zeros((n_films, 2 * n_labels + 4), np.float32)
        for films, some in film_blocks(credits.row, n_films, n_labels):
            part = _Credits(credits.row[some] - films.start, credits.person[some])
            out[films] = self._profile_rows(role, part, in_graph[films])
        return out, out[:, 2 * n_labels] > 0

    def _profile_rows(self, role: str, credits: _Credits, in_graph: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        own, labels = self._own(role, credits, in_graph)
        known = credits.person >= 0
        counts = -own[:, None] * labels[credits.row]  # (n_credits, n_labels)
        n_films = -own  # (n_credits,)
        counts[known] += self._counts[role][credits.person[known]]
        n_films[known] += self._n_films[role][credits.person[known]]
        a = self.config.prior_strength
        ratio = np.log((counts + a * self._prior) / (n_films[:, None] + a) / self._prior)
        pool = film_pool(credits.row, len(in_graph))
        total = pool @ ratio
        n_known = pool @ (n_films > 0).astype(np.float32)
        fame = pool @ np.log1p(n_films)
        people = np.maximum(n_known, 1)
        counts_block = np.stack([n_known, np.log1p(n_known), fame, fame / people], axis=1)
        return np.hstack([total, total / people[:, None], counts_block]).astype(np.float32)

    def _credits(self, role: str, catalogue: Catalogue) -> _Credits:
        rows, keys = credited_people(catalogue, role)
        return _Credits(rows, positions(keys, self._fitted().people[role]))

    def _own(
        self, role: str, credits: _Credits, in_graph: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return which credits count the film itself (n_credits,) and the films' own labels (n_films, n_labels)."""
        table = self._fitted()
        labels = np.zeros((len(in_graph), table.targets.shape[1]), np.float32)
        inside = in_graph >= 0
        if not self.config.leave_one_out:
            return np.zeros(len(credits.row), np.float32), labels
        labels[inside] = table.targets[in_graph[inside]].toarray()
        own = table.credited(role, in_graph[credits.row], credits.person)
        return own, labels

    def save(self, folder: Path) -> None:
        """Write the graph: people and film ids as Parquet, relations as safetensors."""
        self._fitted().save(folder, "credits")
        write_json(folder / "credits.json", to_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> CreditProfile:
        """Read what ``save`` wrote."""
        data = json.loads((folder / "credits.json").read_text(encoding="utf-8"))
        profile = cls(from_json(CreditConfig, data, "credits.json"))
        profile._table = CreditTable.load(folder, "credits", profile.config.roles)
        profile._count()
        return profile

    def _fitted(self) -> CreditTable:
        if self._table is None:
            raise NotFittedError("CreditProfile is used before fit")
        return self._table


def film_blocks(rows: npt.NDArray[np.int64], n_films: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Cut films into blocks of about ``_CELLS_AT_ONCE`` cells; yield each one's films, and its credits among ``rows``.

    Args:
        rows: Film of every credit, rising.
        n_films: Films.
        width: Cells per credit.
    """
    films_at_once = max(1, int(_CELLS_AT_ONCE * n_films / max(len(rows) * width, 1)))
    for start in range(0, n_films, films_at_once):
        stop = min(start + films_at_once, n_films)
        low, high = np.searchsorted(rows, (start, stop))
        yield slice(start, stop), slice(int(low), int(high))


def film_pool(rows: npt.NDArray[np.int64], n_films: int) -> sp.csr_matrix:
    """Return the matrix (n_films, n_credits) that adds up the credits of every film, given the film of each."""
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(n_films, len(rows)))
