"""Features: what is known of each title, as numbers, by modality, with a mask that says what is absent.

A modality may be described by several blocks: ``plot.tfidf`` and ``plot.minilm`` both belong to ``plot``. A block is
one vector per title; a token block is a sequence of vectors per title, left on disk until a batch of them is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from reeltag.errors import FeatureError

Values: TypeAlias = Any  # float32 array (n, dim), or scipy CSR matrix of the same shape
Rows = Sequence[int] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """One description of every title.

    Attributes:
        values: float32 of shape (n_titles, dim), dense or CSR. Rows of absent titles are zero and mean nothing.
        present: Boolean of shape (n_titles,): whether the title has this description.
    """

    values: Values
    present: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != (self.values.shape[0],):
            raise FeatureError(
                f"a block needs values (n_titles, dim) and a mask (n_titles,); got {self.values.shape} and "
                f"{self.present.shape}"
            )
        if self.values.dtype != np.float32 or self.present.dtype != np.bool_:
            raise FeatureError(
                f"a block needs float32 values and a boolean mask; got {self.values.dtype} and {self.present.dtype}"
            )

    @property
    def dim(self) -> int:
        """Width of the description."""
        return int(self.values.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether the values are a CSR matrix."""
        return bool(sp.issparse(self.values))

    def take(self, rows: Rows) -> Block:
        """Return the given rows, in that order."""
        return Block(self.values[rows], self.present[rows])

    def joined(self, more: Block, name: str) -> Block:
        """Return these rows followed by others; ``name`` is said in the error when they differ in kind or width."""
        if (self.dim, self.is_sparse) != (more.dim, more.is_sparse):
            kinds = " and ".join(f"{'sparse' if b.is_sparse else 'dense'} of width {b.dim}" for b in (self, more))
            raise FeatureError(f"features cannot be joined: block '{name}' is {kinds}")
        values = [self.values, more.values]
        stacked = sp.vstack(values, format="csr") if self.is_sparse else np.concatenate(values)
        return Block(stacked, np.concatenate([self.present, more.present]))

    def hidden(self) -> Block:
        """Return the block with every title marked absent."""
        return Block(self.values, np.zeros_like(self.present))


class TokenSource(Protocol):
    """A place to read sequences of vectors from."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return sequences, cut after ``limit`` vectors: float16 (n, n_tokens, dim), and which are real (n, n_tokens).

        Args:
            places: Where each sequence is; a negative place has none.
            limit: Vectors per sequence at most.
        """


@dataclass(frozen=True)
class NoTokens:
    """A source of no sequences, for titles that have none."""

    dim: int

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:  # noqa: ARG002
        """Return one token per title, which is not real."""
        return np.zeros((len(places), 1, self.dim), np.float16), np.zeros((len(places), 1), np.bool_)


@dataclass(frozen=True)
class HeldTokens:
    """Sequences in memory, each (length, dim)."""

    sequences: Sequence[npt.NDArray[Any]]
    dim: int

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the sequences at places, as ``TokenSource`` says."""
        none = np.zeros((0, self.dim), np.float16)
        return padded([self.sequences[place][:limit] if place >= 0 else none for place in places.tolist()], self.dim)


def padded(sequences: Sequence[npt.NDArray[Any]], dim: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return sequences (length, dim) side by side: float16 (n, n_tokens, dim), and which are real (n, n_tokens)."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    seen = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]
    values = np.zeros((*seen.shape, dim), np.float16)
    if len(sequences):
        values[seen] = np.concatenate(sequences)
    return values, seen


@dataclass(frozen=True)
class TokenBlock:
    """A sequence of vectors for every title: patches of a poster, word pieces of a text.

    Attributes:
        source: Where they are read from.
        places: The place of every title in it, (n_titles,); negative where absent.
        limit: Vectors per title at most.
    """

    source: TokenSource
    places: npt.NDArray[np.int64]
    limit: int

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether each title has a sequence, (n_titles,)."""
        return np.asarray(self.places >= 0)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.source.dim

    def take(self, rows: Rows) -> TokenBlock:
        """Return the given rows, in that order; nothing is read."""
        return TokenBlock(self.source, self.places[rows], self.limit)

    def joined(self, more: TokenBlock, name: str) -> TokenBlock:
        """Return these titles followed by others of the same source; ``name`` is said in the error."""
        if self.source is not more.source or self.limit != more.limit:
            raise FeatureError(f"features cannot be joined: the tokens of '{name}' are read from two sources")
        return TokenBlock(self.source, np.concatenate([self.places, more.places]), self.limit)

    def hidden(self) -> TokenBlock:
        """Return the block with every title marked absent."""
        return TokenBlock(self.source, np.full_like(self.places, -1), self.limit)

    def read(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the vectors as float16 (n_titles, n_tokens, dim) and which are real (n_titles, n_tokens).

        ``n_tokens`` is the longest sequence among these titles, at least 1.
        """
        return self.source.read(self.places, self.limit)


class Features:
    """Blocks aligned to the ids of titles.

    Args:
        ids: One id per title.
        blocks: From block name (``modality`` or ``modality.encoder``) to Block, all with one row per title.
        tokens: The same for token blocks, whose names differ from those of the blocks.

    Raises:
        FeatureError: A block has another number of rows than there are ids, or two share a name.
    """

    def __init__(
        self, ids: Sequence[str], blocks: Mapping[str, Block], tokens: Mapping[str, TokenBlock] | None = None
    ) -> None:
        self.ids = tuple(ids)
        self.blocks = dict(blocks)
        self.tokens = dict(tokens or {})
        if twice := sorted(set(self.blocks) & set(self.tokens)):
            raise FeatureError(f"block '{twice[0]}' is given as vectors and as tokens")
        for name, present in self._masks():
            if len(present) != len(self.ids):
                raise FeatureError(f"block '{name}' has {len(present)} rows for {len(self.ids)} titles")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order of their first block."""
        return tuple(dict.fromkeys(map(modality_of, [*self.blocks, *self.tokens])))

    def present(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which titles have a modality, shape (n_titles,): any of its blocks will do."""
        masks = [present for name, present in self._masks() if modality_of(name) == modality]
        return np.any(masks, axis=0) if masks else np.zeros(len(self), np.bool_)

    def take(self, rows: Rows) -> Features:
        """Return the given titles, in that order."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Features(
            [self.ids[row] for row in chosen],
            {n: b.take(chosen) for n, b in self.blocks.items()},
            {n: b.take(chosen) for n, b in self.tokens.items()},
        )

    def joined(self, more: Features) -> Features:
        """Return these titles followed by others that are described alike.

        Raises:
            FeatureError: A block is there for one of the two only, has another width or is sparse in one only, or its
                tokens are read from another place.
        """
        for own, other in ((self.blocks, more.blocks), (self.tokens, more.tokens)):
            if alone := sorted(set(own) ^ set(other)):
                raise FeatureError(f"features cannot be joined: block '{alone[0]}' is in one of the two only")
        return Features(
            self.ids + more.ids,
            {name: block.joined(more.blocks[name], name) for name, block in self.blocks.items()},
            {name: block.joined(more.tokens[name], name) for name, block in self.tokens.items()},
        )

    def select(self, modalities: Iterable[str]) -> Features:
        """Return the blocks of the given modalities only.

        Raises:
            FeatureError: A modality is not among the features.
        """
        wanted = set(modalities)
        unknown = wanted - set(self.modalities)
        if unknown:
            raise FeatureError(
                f"no modality {', '.join(sorted(unknown))} among the features; present: {', '.join(self.modalities)}"
            )
        return Features(
            self.ids,
            {n: b for n, b in self.blocks.items() if modality_of(n) in wanted},
            {n: b for n, b in self.tokens.items() if modality_of(n) in wanted},
        )

    def without(self, modality: str) -> Features:
        """Return the features with one modality marked absent for every title."""
        return Features(
            self.ids,
            {n: b.hidden() if modality_of(n) == modality else b for n, b in self.blocks.items()},
            {n: b.hidden() if modality_of(n) == modality else b for n, b in self.tokens.items()},
        )

    def only(self, modalities: Iterable[str]) -> Features:
        """Return the features with every other modality marked absent for every title."""
        kept, features = set(modalities), self
        for modality in self.modalities:
            if modality not in kept:
                features = features.without(modality)
        return features

    def _masks(self) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        """Return the name and the mask (n_titles,) of every block."""
        vectors = [(name, block.present) for name, block in self.blocks.items()]
        return vectors + [(name, block.present) for name, block in self.tokens.items()]


def modality_of(block_name: str) -> str:
    """Return the modality that a block describes: ``plot`` for ``plot.tfidf``."""
    return block_name.partition(".")[0]
