"""CreditTable: who is credited in which film of a graph, and which labels the films have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from reeltag.catalogue import Catalogue
from reeltag.errors import FeatureError
from reeltag.graph.incidence import incidence_from, incidence_tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class CreditTable:
    """The films of a graph.

    Attributes:
        film_ids: Ids of the films.
        people: By role, the keys of the people credited in it.
        films_of: By role, 0 and 1, (n_films, n_people).
        targets: Labels of the films, 0 and 1, (n_films, n_labels), no zero stored.
    """

    film_ids: pl.Series
    people: dict[str, pl.Series]
    films_of: dict[str, sp.csr_matrix]
    targets: sp.csr_matrix

    @classmethod
    def of(cls, catalogue: Catalogue, targets: Any, roles: Sequence[str]) -> CreditTable:
        """Read the credits of films in some roles.

        Args:
            catalogue: The films.
            targets: Their labels, 0 and 1, dense or sparse, (n_films, n_labels); not changed.
            roles: ``directors``, ``cast``.
        """
        labels = sp.csr_matrix(targets, dtype=np.float32, copy=True)
        labels.eliminate_zeros()  # only the places of ones are saved
        everyone, films_of = {}, {}
        for role in roles:
            rows, keys = credited_people(catalogue, role)
            people = everyone[role] = keys.unique(maintain_order=True)
            ones = np.ones(len(rows), np.float32)
            shape = (len(catalogue), len(people))
            films_of[role] = sp.csr_matrix((ones, (rows, positions(keys, people))), shape=shape)
        return cls(film_ids=catalogue.frame["id"], people=everyone, films_of=films_of, targets=labels)

    def places(self, catalogue: Catalogue) -> npt.NDArray[np.int64]:
        """Return where titles stand among the films, -1 where they are none of them, (n_titles,)."""
        return positions(catalogue.frame["id"], self.film_ids)

    def credited(
        self, role: str, film: npt.NDArray[np.int64], person: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return 1 where a film has a person in a role, else 0, pair by pair, (n_pairs,).

        Args:
            role: The role.
            film: Places of films, (n_pairs,); -1 is none.
            person: Places of people, (n_pairs,); -1 is nobody.
        """
        out = np.zeros(len(film), np.float32)
        pairs = np.flatnonzero((film >= 0) & (person >= 0))
        out[pairs] = np.asarray(self.films_of[role][film[pairs], person[pairs]]).ravel()
        return out

    def save(self, folder: Path, name: str) -> None:
        """Write people and film ids as Parquet, relations as ``NAME.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = incidence_tensors("targets", self.targets)
        for role, films_of in self.films_of.items():
            tensors |= incidence_tensors(role, films_of)
            pl.DataFrame({"person": self.people[role]}).write_parquet(folder / f"{role}.parquet")
        pl.DataFrame({"id": self.film_ids}).write_parquet(folder / "films.parquet")
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str, roles: Sequence[str]) -> CreditTable:
        """Read what ``save`` wrote."""
        tensors = load_file(folder / f"{name}.safetensors")
        return cls(
            film_ids=pl.read_parquet(folder / "films.parquet")["id"],
            people={role: pl.read_parquet(folder / f"{role}.parquet")["person"] for role in roles},
            films_of={role: incidence_from(tensors, role) for role in roles},
            targets=incidence_from(tensors, "targets"),
        )


def check_targets(catalogue: Catalogue, targets: Any, who: str) -> None:
    """Raise unless there is one row of targets per film.

    Args:
        catalogue: The films.
        targets: Dense or sparse, (n_films, n_labels).
        who: Who needs them, with the verb.

    Raises:
        FeatureError: Targets and films differ in number.
    """
    if targets.shape[0] != len(catalogue):
        raise FeatureError(f"{who} one row of targets per film; got {targets.shape[0]} for {len(catalogue)}")


def credited_people(catalogue: Catalogue, role: str) -> tuple[npt.NDArray[np.int64], pl.Series]:
    """Return row number and key of every credit; a person credited twice in a role of a film is credited once."""
    rows, keys = catalogue.people(role)
    once = pl.DataFrame({"row": rows, "key": keys}).unique(maintain_order=True)
    return once["row"].to_numpy(), once["key"]


def positions(keys: pl.Series | Sequence[str], among: pl.Series) -> npt.NDArray[np.int64]:
    """Return the position of every key among unique values, -1 where it is not there, shape (n_keys,)."""
    left = pl.DataFrame({"key": pl.Series(keys, dtype=pl.String)})
    right = pl.DataFrame({"key": among.cast(pl.String)}).with_row_index("position")
    joined = left.join(right, on="key", how="left", maintain_order="left")
    return joined["position"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)
