"""TitleIndex: the nearest titles of a vector, exactly among few, through an inverted file among many.

Up to ``exact_up_to`` titles, and in any filtered subset that small, every title is compared: NumPy does it, and nothing
needs to be installed. Beyond, faiss's inverted file holds the vectors in half precision around k-means centres; what it
finds is compared again in full, so that similarities are exact and only their completeness is not. It was chosen over
a graph (HNSW), which answers single queries faster and takes many times as long to build, does not build alike twice
on several threads, and cannot forget titles (``benchmarks/vector_index.py`` measures both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from reeltag.config import check_range, from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, FeatureError, MissingExtraError, NotFittedError
from reeltag.files import atomic_folder, check_replaceable, write_json
from reeltag.retrieval.folder import is_kind, read_told

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

KIND = "index of titles"
SCHEMA = 1
_KEYS = {"schema", "kind", "settings", "n_titles", "dim", "n_trained", "digest"}
_CELLS = 1 << 24  # similarities held at once: 64 MiB
_PER_LIST = 64  # titles per list that its centre is learned from
_MORE = 10  # found beyond what was asked for, before comparing in full
_ADDED = 65_536  # titles put into lists at once


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How titles are searched.

    Attributes:
        exact_up_to: Titles, or titles that a filter leaves, among which every one is compared.
        lists: Lists of the inverted file per square root of the number of titles.
        probes: Share of the lists that are looked through for one query.
        rebuild: The inverted file is built anew once more than this share of its titles came or went since it was
            built; until then it is changed in place.
        seed: Of the centres.
    """

    exact_up_to: int = 200_000
    lists: float = 2.0
    probes: float = 0.02
    rebuild: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_range(owner, "exact_up_to", self.exact_up_to, 0, 100_000_000)
        check_range(owner, "lists", self.lists, 0.1, 64)
        check_range(owner, "probes", self.probes, 0, 1)
        check_range(owner, "rebuild", self.rebuild, 0, 100)
        check_range(owner, "seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The nearest titles of some vectors.

    Attributes:
        rows: Their rows, nearest first, the lower row first among equals, (n_queries, n); -1 where there are no more.
        similarities: Cosines, (n_queries, n); -inf where there are no more.
    """

    rows: Rows
    similarities: Matrix


class TitleIndex:
    """Titles to be searched. ``build`` it, or ``load`` it.

    Args:
        config: Settings; the defaults when None.
    """

    def __init__(self, config: IndexConfig | None = None) -> None:
        self.config = config or IndexConfig()
        self.ids: tuple[str, ...] = ()
        self.vectors: Matrix = np.zeros((0, 0), np.float32)
        self.n_trained_ = 0  # titles that the lists were made for
        self._lists: Any = None  # faiss's inverted file, over slots
        self._row_of_slot: Rows = np.zeros(0, np.int64)  # -1: the title has gone or was changed

    def build(self, ids: Sequence[str], vectors: Matrix) -> TitleIndex:
        """Take in titles, forgetting earlier ones.

        Args:
            ids: Their ids.
            vectors: Unit rows, float32 (n_titles, dim); kept, not copied.

        Raises:
            FeatureError: Ids and vectors do not fit each other, or an id comes twice.
            MissingExtraError: There are more titles than are compared one by one, and faiss is not installed.
        """
        self.ids, self.vectors = _checked(ids, vectors)
        self._lists, self._row_of_slot, self.n_trained_ = None, np.zeros(0, np.int64), 0
        if len(self) > self.config.exact_up_to:
            self._lists = _trained(self.vectors, self.config)
            self.n_trained_ = len(self)
            self._add(np.arange(len(self)))
        return self

    def update(self, ids: Sequence[str], vectors: Matrix) -> TitleIndex:
        """Hold these titles from now on, in this order; lists are kept, and only what has changed is put into them.

        Raises:
            FeatureError: As ``build``, or the vectors have another width.
            NotFittedError: There is nothing to update.
        """
        new_ids, new = _checked(ids, vectors)
        if not self.ids:
            raise NotFittedError("TitleIndex.update is used before build or load")
        if new.shape[1] != self.vectors.shape[1]:
            raise FeatureError(f"an index of {self.vectors.shape[1]} dimensions cannot take vectors of {new.shape[1]}")
        if self._lists is None or len(new_ids) <= self.config.exact_up_to:
            return self.build(new_ids, new)
        places = {title_id: row for row, title_id in enumerate(new_ids)}
        moved = np.fromiter((places.get(title_id, -1) for title_id in self.ids), np.int64, len(self))
        there = np.flatnonzero(moved >= 0)
        changed = there[(self.vectors[there] != new[moved[there]]).any(axis=1)]
        moved[changed] = -1
        slots = np.append(moved, -1)[self._row_of_slot]  # a slot of -1 reads the last entry
        fresh = np.setdiff1d(np.arange(len(new_ids)), moved[moved >= 0])
        dead = int((slots < 0).sum())
        if dead + max(len(new_ids) - self.n_trained_, 0) > self.config.rebuild * self.n_trained_:
            return self.build(new_ids, new)
        self.ids, self.vectors, self._row_of_slot = new_ids, new, slots
        self._add(fresh)
        return self

    def upsert(self, ids: Sequence[str], vectors: Matrix) -> TitleIndex:
        """Put titles in: those that are there already get their new vectors, others come after the last."""
        more_ids, more = _checked(ids, vectors)
        places = {title_id: row for row, title_id in enumerate(self.ids)}
        new = [row for row, title_id in enumerate(more_ids) if title_id not in places]
        old = [row for row, title_id in enumerate(more_ids) if title_id in places]
        whole = np.concatenate([self.vectors, more[new]]) if self.ids else more[new]
        whole[[places[more_ids[row]] for row in old]] = more[old]
        return self.update((*self.ids, *(more_ids[row] for row in new)), whole)

    def remove(self, ids: Collection[str]) -> TitleIndex:
        """Take titles out; ids that are not there are passed over."""
        gone = set(ids)
        kept = np.array([title_id not in gone for title_id in self.ids], np.bool_)
        return self.update([i for i in self.ids if i not in gone], self.vectors[kept])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_exact(self) -> bool:
        """Whether every title is compared."""
        return self._lists is None

    def search(self, queries: Matrix, n: int, *, allowed: Mask | None = None, own: Rows | None = None) -> Found:
        """Return the nearest titles.

        Args:
            queries: Unit rows, (n_queries, dim).
            n: How many of each.
            allowed: Which titles may be found, (n_titles,); all when None.
            own: The row of each query among the titles, which is not found, (n_queries,); -1 for a query that is none.

        Raises:
            FeatureError: Queries have another width, or the mask another length.
        """
        check_range("TitleIndex.search", "n", n, 1, 100_000_000)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise FeatureError(f"queries must be of shape (n_queries, {self.vectors.shape[1]}); got {queries.shape}")
        if allowed is not None and allowed.shape != (len(self),):
            raise FeatureError(f"a filter needs one entry per title ({len(self):,}); got {allowed.shape}")
        n_allowed = len(self) if allowed is None else int(allowed.sum())
        wanted = min(n + (own is not None), n_allowed)
        rows = np.full((len(queries), n + (own is not None)), -1, np.int64)
        values = np.full(rows.shape, -np.inf, np.float32)
        if wanted:
            if self._lists is None or n_allowed <= self.config.exact_up_to:
                found = nearest(queries, self.vectors, wanted, allowed)
            else:
                found = self._through_lists(queries, wanted, allowed, n_allowed)
            rows[:, :wanted], values[:, :wanted] = found.rows, found.similarities
        return Found(rows=rows, similarities=values) if own is None else _without(rows, values, own)

    def save(self, folder: str | Path) -> Path:
        """Write the settings and the lists, not the vectors, which lie in the space; replace an older index when whole.

        Raises:
            ArtefactError: There is something else at ``folder``.
        """
        folder = Path(folder)
        check_replaceable(folder, lambda path: is_kind(path, KIND), f"an {KIND}")
        with atomic_folder(folder) as temporary:
            if self._lists is not None:
                _faiss().write_index(self._lists, str(temporary / "lists.faiss"))
                save_file({"row_of_slot": self._row_of_slot}, temporary / "slots.safetensors")
            told = {
                "schema": SCHEMA,
                "kind": KIND,
                "settings": to_json(self.config),
                "n_titles": len(self),
                "dim": int(self.vectors.shape[1]),
                "n_trained": self.n_trained_,
                "digest": _digest(self.ids, self.vectors),
            }
            write_json(temporary / "config.json", told)
        return folder

    @classmethod
    def load(cls, folder: str | Path, ids: Sequence[str], vectors: Matrix) -> TitleIndex:
        """Read what ``save`` wrote.

        Args:
            folder: Where.
            ids: Ids of the titles that were indexed.
            vectors: Their vectors.

        Raises:
            ArtefactError: The folder is no index, is damaged, of another schema, or of other titles.
            MissingExtraError: It needs faiss, which is not installed.
        """
        folder = Path(folder)
        told = read_told(folder, KIND, SCHEMA, _KEYS)
        try:
            index = cls(from_json(IndexConfig, told["settings"], f"{folder / 'config.json'}: settings"))
        except ConfigError as error:
            raise ArtefactError(str(error)) from None
        index.ids, index.vectors = _checked(ids, vectors)
        if told["digest"] != _digest(index.ids, index.vectors):
            raise ArtefactError(f"{folder}: was made for other titles ({told['n_titles']:,}) or other vectors of them")
        index.n_trained_ = told["n_trained"]
        if index.n_trained_ == 0:
            return index
        faiss = _faiss()
        try:
            index._lists = faiss.read_index(str(folder / "lists.faiss"))
            index._row_of_slot = load_file(folder / "slots.safetensors")["row_of_slot"]
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ArtefactError(f"{folder}: incomplete or damaged ({error})") from None
        live = np.sort(index._row_of_slot[index._row_of_slot >= 0])
        if index._lists.ntotal != len(index._row_of_slot) or not np.array_equal(live, np.arange(len(index))):
            raise ArtefactError(f"{folder}: damaged (slots and titles do not fit each other)")
        return index

    def _add(self, rows: Rows) -> None:
        """Put the vectors of rows into the lists, each into the next slot."""
        for start in range(0, len(rows), _ADDED):
            self._lists.add(np.ascontiguousarray(self.vectors[rows[start : start + _ADDED]]))
        self._row_of_slot = np.concatenate([self._row_of_slot, rows.astype(np.int64)])

    def _through_lists(self, queries: Matrix, wanted: int, allowed: Mask | None, n_allowed: int) -> Found:
        """Search the lists, compare what they give in full, and compare all for a query that they leave short."""
        faiss = _faiss()
        slots = self._row_of_slot >= 0
        if allowed is not None:
            slots &= allowed[self._row_of_slot]
        selector = None if slots.all() else faiss.IDSelectorBitmap(np.packbits(slots, bitorder="little"))
        n_lists = self._lists.nlist
        share = min(self.config.probes * np.sqrt(len(self) / n_allowed), 1.0)
        probes = max(int(np.ceil(share * n_lists)), 1)
        looked = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        step = max(_CELLS // ((wanted + _MORE) * self.vectors.shape[1]), 1)
        parts = [self._compared(queries[at : at + step], wanted, looked) for at in range(0, len(queries), step)]
        found = Found(
            rows=np.concatenate([part.rows for part in parts]),
            similarities=np.concatenate([part.similarities for part in parts]),
        )
        short = np.flatnonzero((found.rows < 0).any(axis=1))
        if len(short):
            whole = nearest(queries[short], self.vectors, wanted, allowed)
            found.rows[short], found.similarities[short] = whole.rows, whole.similarities
        return found

    def _compared(self, queries: Matrix, wanted: int, looked: Any) -> Found:
        """Return what the lists give for some queries, by their similarities in full."""
        _, hits = self._lists.search(np.ascontiguousarray(queries), wanted + _MORE, params=looked)
        rows = np.where(hits >= 0, self._row_of_slot[hits], -1)
        values = np.einsum("qnd,qd->qn", self.vectors[rows], queries)
        return _best(np.where(rows >= 0, values, -np.inf).astype(np.float32), rows, wanted)


def nearest(queries: Matrix, vectors: Matrix, n: int, allowed: Mask | None = None) -> Found:
    """Return the ``n`` nearest rows by comparing all that are allowed, of which there must be as many.

    Args:
        queries: (n_queries, dim).
        vectors: (n_rows, dim).
        n: How many of each.
        allowed: Which rows may be found, (n_rows,).
    """
    chosen = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    candidates = vectors if allowed is None else vectors[chosen]
    rows = np.empty((len(queries), n), np.int64)
    values = np.empty((len(queries), n), np.float32)
    step = max(_CELLS // max(len(candidates), 1), 1)
    every = np.arange(len(candidates))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        similarities = queries[part] @ candidates.T  # (n_part, n_candidates)
        cut = len(candidates) - n
        top = np.argpartition(similarities, cut, axis=1)[:, cut:] if cut else np.broadcast_to(every, similarities.shape)
        found = _best(np.take_along_axis(similarities, top, axis=1), chosen[top], n)
        rows[part], values[part] = found.rows, found.similarities
    return Found(rows=rows, similarities=values)


def _best(values: Matrix, rows: Rows, n: int) -> Found:
    """Return the ``n`` highest of some candidates, highest first, the lower row first among equals."""
    order = np.lexsort((rows, -values), axis=1)[:, :n]
    return Found(rows=np.take_along_axis(rows, order, 1), similarities=np.take_along_axis(values, order, 1))


def _without(rows: Rows, values: Matrix, own: Rows) -> Found:
    """Return the hits of every query but itself, one less than there are columns."""
    is_own = (rows == own[:, None]) & (own[:, None] >= 0)
    order = np.argsort(is_own, axis=1, kind="stable")[:, : rows.shape[1] - 1]  # itself last
    return Found(rows=np.take_along_axis(rows, order, 1), similarities=np.take_along_axis(values, order, 1))


def _trained(vectors: Matrix, config: IndexConfig) -> Any:
    """Return an empty inverted file whose centres were learned from a sample."""
    faiss = _faiss()
    n, dim = vectors.shape
    n_lists = max(min(round(config.lists * np.sqrt(n)), n // 8), 1)
    centres = faiss.IndexFlatIP(dim)
    lists = faiss.IndexIVFScalarQuantizer(
        centres, dim, n_lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    lists.cp.seed, lists.cp.spherical, lists.cp.min_points_per_centroid = config.seed + 1, True, 1
    rows = np.random.default_rng(config.seed).permutation(n)[: _PER_LIST * n_lists]
    lists.train(np.ascontiguousarray(vectors[np.sort(rows)]))
    return lists


def _checked(ids: Sequence[str], vectors: Matrix) -> tuple[tuple[str, ...], Matrix]:
    if vectors.ndim != 2 or len(ids) != len(vectors) or vectors.dtype != np.float32:
        raise FeatureError(
            f"an index needs float32 vectors ({len(ids)}, dim), one per id; got {vectors.dtype} of shape "
            f"{vectors.shape}"
        )
    if len(set(ids)) < len(ids):
        raise FeatureError("the ids of an index must be unique")
    return tuple(ids), vectors


def _digest(ids: Sequence[str], vectors: Matrix) -> str:
    digest = hashlib.sha256("\n".join(ids).encode())
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()[:16]


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        raise MissingExtraError("faiss-cpu", "retrieval", "searching as many titles as these") from None
    return faiss
