"""Training films that share people with a title: the graph of MM-GATBT, made for titles that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.errors import FeatureError
from reeltag.features import Block

_CHUNK = 1024  # titles compared with all training films at once


class FilmNeighbours:
    """Finds the training films that share most people with a title.

    Args:
        ids: Ids of the training films.
        people: Who worked on them, 0 and 1, CSR of shape (n_films, n_people).
    """

    def __init__(self, ids: Sequence[str], people: sp.csr_matrix) -> None:
        self.ids = tuple(ids)
        self.people = people
        self._turned = people.T.tocsr()
        self._places = {film_id: place for place, film_id in enumerate(self.ids)}

    @classmethod
    def of(cls, ids: Sequence[str], block: Block) -> FilmNeighbours:
        """Build from the block of people of the training films."""
        return cls(ids, incidence(block))

    def find(self, ids: Sequence[str], block: Block, limit: int) -> npt.NDArray[np.int64]:
        """Return the positions of each title's neighbours among the training films.

        Args:
            ids: Ids of the titles; a training film of the same id is no neighbour.
            block: The titles' people.
            limit: Neighbours kept: those that share most people, the earlier of equals.

        Returns:
            Shape (n_titles, limit), filled up with -1.

        Raises:
            FeatureError: The block is as wide as another number of people.
        """
        if block.dim != self.people.shape[1]:
            raise FeatureError(
                f"block of people has width {block.dim}, the model was trained with {self.people.shape[1]}"
            )
        people = incidence(block)
        found = np.full((len(ids), limit), -1, np.int64)
        for start in range(0, len(ids), _CHUNK):
            shared = (people[start : start + _CHUNK] @ self._turned).tocsr()
            for row in range(shared.shape[0]):
                span = slice(shared.indptr[row], shared.indptr[row + 1])
                films, counts = shared.indices[span], shared.data[span]
                other = films != self._places.get(ids[start + row], -1)
                films, counts = films[other], counts[other]
                nearest = films[np.lexsort((films, -counts))][:limit]
                found[start + row, : len(nearest)] = nearest
        return found


def incidence(block: Block) -> sp.csr_matrix:
    """Return a block of people as 0 and 1, CSR with sorted columns; nobody where it is absent."""
    values = block.values.tocsr() if block.is_sparse else sp.csr_matrix(block.values)
    rows = np.repeat(block.present, np.diff(values.indptr))
    data = ((values.data != 0) & rows).astype(np.float32)
    people = sp.csr_matrix((data, values.indices.copy(), values.indptr.copy()), shape=values.shape)
    people.sum_duplicates()
    people.eliminate_zeros()
    return people
