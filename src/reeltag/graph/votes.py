"""Votes of the people of a film: which labels their other films have, sparse, for any number of labels.

Where the profile of ``graph.credits`` has two columns per label and role for every film, the votes are stored label by
label only where a person has another film with it, so that they cost what the credits cost and not films times labels:

    vote of label l = mean over the known people p of a film of  count_l(p) / (films(p) + a)

for directors and for cast apart, its square root taken so that one shared film of many is not drowned. Known are people
with another film in the graph. A film of the graph is left out of its own people's counts, as in ``graph.credits``.
What is voted on is free: the labels that are learned, or another list field, such as the genres of a catalogue whose
tags are learned: far more films have genres.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.errors import NotFittedError
from reeltag.features import Block
from reeltag.files import write_json
from reeltag.graph.credit_table import CreditTable, check_targets, credited_people, positions
from reeltag.graph.credits import CreditConfig

_GRID = 2.0**50  # shares are multiples of its inverse, so that sums are exact: nothing is left of what is a film's own


class CreditVotes:
    """The credits graph of some films as sparse counts, and the votes drawn from it.

    Args:
        config: Roles, prior strength (the a above) and whether films are left out of their own counts.
    """

    def __init__(self, config: CreditConfig | None = None) -> None:
        self.config = config or CreditConfig()
        self._table: CreditTable | None = None
        self._counts: dict[str, sp.csr_matrix] = {}  # role -> (n_people, n_labels)
        self._n_films: dict[str, npt.NDArray[np.float64]] = {}

    def fit(self, catalogue: Catalogue, targets: Any) -> CreditVotes:
        """Build the graph.

        Args:
            catalogue: Films whose labels are known: training films, and background films by choice.
            targets: Their labels, 0 and 1, dense or sparse, (n_films, n_labels).

        Raises:
            FeatureError: Targets and films differ in number.
        """
        check_targets(catalogue, targets, "votes need")
        self._table = CreditTable.of(catalogue, targets, self.config.roles)
        self._count()
        return self

    @property
    def film_ids(self) -> list[str]:
        """Ids of the films in the graph."""
        return [] if self._table is None else self._table.film_ids.to_list()

    def transform(self, catalogue: Catalogue) -> Block:
        """Return the votes of films, directors' before cast's.

        Args:
            catalogue: The films; one of the graph (recognised by its id) is left out of its own counts.

        Returns:
            A sparse block (n_films, n_roles * n_labels), values in [0, 1); a film none of whose people is known by
            another film is absent.
        """
        in_graph = self._fitted().places(catalogue)
        parts, seen = [], np.zeros(len(catalogue), np.bool_)
        for role in self.config.roles:
            votes, known = self._role_votes(role, catalogue, in_graph)
            parts.append(votes)
            seen |= known
        return Block(sp.csr_matrix(sp.hstack(parts, format="csr"), dtype=np.float32), seen)

    def save(self, folder: Path) -> None:
        """Write the graph: people and film ids as Parquet, relations as safetensors."""
        self._fitted().save(folder, "votes")
        write_json(folder / "votes.json", to_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> CreditVotes:
        """Read what ``save`` wrote."""
        data = json.loads((folder / "votes.json").read_text(encoding="utf-8"))
        votes = cls(from_json(CreditConfig, data, "votes.json"))
        votes._table = CreditTable.load(folder, "votes", votes.config.roles)
        votes._count()
        return votes

    def _count(self) -> None:
        table = self._fitted()
        self._counts = {role: sp.csr_matrix(films.T @ table.targets) for role, films in table.films_of.items()}
        self._n_films = {
            role: np.asarray(films.sum(axis=0, dtype=np.float64)).ravel() for role, films in table.films_of.items()
        }

    def _role_votes(
        self, role: str, catalogue: Catalogue, in_graph: npt.NDArray[np.int64]
    ) -> tuple[sp.csr_matrix, npt.NDArray[np.bool_]]:
        """Return the votes (n_titles, n_labels) of one role, and which titles have a known person in it."""
        table = self._fitted()
        rows, keys = credited_people(catalogue, role)
        person = positions(keys, table.people[role])
        rows, person = rows[person >= 0], person[person >= 0]
        own = np.zeros(len(rows)) if not self.config.leave_one_out else table.credited(role, in_graph[rows], person)
        n_films = self._n_films[role][person] - own
        known = (n_films > 0).astype(np.float64)
        n_known = np.bincount(rows, known, len(catalogue))
        share = np.rint(_GRID * known / (n_films + self.config.prior_strength) / np.maximum(n_known, 1)[rows])
        pool = sp.csr_matrix((share, (rows, person)), shape=(len(catalogue), len(table.people[role])))
        votes = sp.csr_matrix(pool @ self._counts[role])
        inside = np.flatnonzero(in_graph >= 0)
        taken = np.bincount(rows, share * own, len(catalogue))[inside]  # how often a film's own labels were counted
        place = sp.csr_matrix((taken, (inside, in_graph[inside])), shape=(len(catalogue), len(table.film_ids)))
        votes = sp.csr_matrix(votes - place @ table.targets)
        votes.eliminate_zeros()
        votes.data = np.sqrt(votes.data / _GRID)
        return votes, n_known > 0

    def _fitted(self) -> CreditTable:
        if self._table is None:
            raise NotFittedError("CreditVotes is used before fit")
        return self._table
