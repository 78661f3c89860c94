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
import polars as pl
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.errors import FeatureError, NotFittedError
from reeltag.features import Block
from reeltag.files import write_json
from reeltag.graph.credits import CreditConfig, credited_people, positions
from reeltag.graph.incidence import incidence_from, incidence_tensors

_GRID = 2.0**50  # shares are multiples of its inverse, so that sums are exact: nothing is left of what is a film's own


class CreditVotes:
    """The credits graph of some films as sparse counts, and the votes drawn from it.

    Args:
        config: Roles, prior strength (the a above) and whether films are left out of their own counts.
    """

    def __init__(self, config: CreditConfig | None = None) -> None:
        self.config = config or CreditConfig()
        self._people: dict[str, pl.Series] = {}
        self._films_of: dict[str, sp.csr_matrix] = {}  # role -> (n_films, n_people) of 0 and 1
        self._targets: sp.csr_matrix | None = None  # (n_films, n_labels) of 0 and 1
        self._film_ids: pl.Series = pl.Series(dtype=pl.String)
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
        if targets.shape[0] != len(catalogue):
            raise FeatureError(f"votes need one row of targets per film; got {targets.shape[0]} for {len(catalogue)}")
        self._film_ids, self._targets = catalogue.frame["id"], sp.csr_matrix(targets, dtype=np.float64, copy=True)
        self._targets.eliminate_zeros()  # only the places of ones are saved
        self._people, self._films_of = {}, {}
        for role in self.config.roles:
            rows, keys = credited_people(catalogue, role)
            people = keys.unique(maintain_order=True)
            ones = np.ones(len(rows), np.float64)
            shape = (len(catalogue), len(people))
            self._people[role] = people
            self._films_of[role] = sp.csr_matrix((ones, (rows, positions(keys, people))), shape=shape)
        self._count()
        return self

    @property
    def film_ids(self) -> list[str]:
        """Ids of the films in the graph."""
        return self._film_ids.to_list()

    def transform(self, catalogue: Catalogue) -> Block:
        """Return the votes of films, directors' before cast's.

        Args:
            catalogue: The films; one of the graph (recognised by its id) is left out of its own counts.

        Returns:
            A sparse block (n_films, n_roles * n_labels), values in [0, 1); a film none of whose people is known by
            another film is absent.
        """
        self._fitted()
        in_graph = positions(catalogue.frame["id"], self._film_ids)
        parts, seen = [], np.zeros(len(catalogue), np.bool_)
        for role in self.config.roles:
            votes, known = self._role_votes(role, catalogue, in_graph)
            parts.append(votes)
            seen |= known
        return Block(sp.csr_matrix(sp.hstack(parts, format="csr"), dtype=np.float32), seen)

    def save(self, folder: Path) -> None:
        """Write the graph: people and film ids as Parquet, relations as safetensors."""
        targets = self._fitted()
        folder.mkdir(parents=True, exist_ok=True)
        tensors = incidence_tensors("targets", targets)
        for role in self.config.roles:
            tensors |= incidence_tensors(role, self._films_of[role])
            pl.DataFrame({"person": self._people[role]}).write_parquet(folder / f"{role}.parquet")
        pl.DataFrame({"id": self._film_ids}).write_parquet(folder / "films.parquet")
        save_file(tensors, folder / "votes.safetensors")
        write_json(folder / "votes.json", to_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> CreditVotes:
        """Read what ``save`` wrote."""
        data = json.loads((folder / "votes.json").read_text(encoding="utf-8"))
        votes = cls(from_json(CreditConfig, data, "votes.json"))
        tensors = load_file(folder / "votes.safetensors")
        votes._film_ids = pl.read_parquet(folder / "films.parquet")["id"]
        votes._targets = incidence_from(tensors, "targets").astype(np.float64)
        for role in votes.config.roles:
            votes._people[role] = pl.read_parquet(folder / f"{role}.parquet")["person"]
            votes._films_of[role] = incidence_from(tensors, role).astype(np.float64)
        votes._count()
        return votes

    def _count(self) -> None:
        targets = self._fitted()
        self._counts = {role: sp.csr_matrix(films.T @ targets) for role, films in self._films_of.items()}
        self._n_films = {role: np.asarray(films.sum(axis=0)).ravel() for role, films in self._films_of.items()}

    def _role_votes(
        self, role: str, catalogue: Catalogue, in_graph: npt.NDArray[np.int64]
    ) -> tuple[sp.csr_matrix, npt.NDArray[np.bool_]]:
        """Return the votes (n_titles, n_labels) of one role, and which titles have a known person in it."""
        rows, keys = credited_people(catalogue, role)
        person = positions(keys, self._people[role])
        rows, person = rows[person >= 0], person[person >= 0]
        own = self._own(role, in_graph[rows], person)
        n_films = self._n_films[role][person] - own
        known = (n_films > 0).astype(np.float64)
        n_known = np.bincount(rows, known, len(catalogue))
        share = np.rint(_GRID * known / (n_films + self.config.prior_strength) / np.maximum(n_known, 1)[rows])
        pool = sp.csr_matrix((share, (rows, person)), shape=(len(catalogue), len(self._people[role])))
        votes = sp.csr_matrix(pool @ self._counts[role])
        inside = np.flatnonzero(in_graph >= 0)
        taken = np.bincount(rows, share * own, len(catalogue))[inside]  # how often a film's own labels were counted
        place = sp.csr_matrix((taken, (inside, in_graph[inside])), shape=(len(catalogue), self._fitted().shape[0]))
        votes = sp.csr_matrix(votes - place @ self._fitted())
        votes.eliminate_zeros()
        votes.data = np.sqrt(votes.data / _GRID)
        return votes, n_known > 0

    def _own(self, role: str, film: npt.NDArray[np.int64], person: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return 1 for every credit that the graph counts the film itself in, else 0; ``film`` is -1 outside it."""
        own = np.zeros(len(film), np.float64)
        if self.config.leave_one_out:
            inside = np.flatnonzero(film >= 0)
            own[inside] = np.asarray(self._films_of[role][film[inside], person[inside]]).ravel()
        return own

    def _fitted(self) -> sp.csr_matrix:
        if self._targets is None:
            raise NotFittedError("CreditVotes is used before fit")
        return self._targets
