"""Sequences of shots as features: one vector per shot for models that read tokens, else their mean.

What an expert has nothing to go by in is a row of NaN on disk and not seen here, so that place ``i`` of the sequences
of all experts of a trailer is the same shot.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.ragged import RaggedShards
from reeltag.features import Block, TokenBlock, padded

ALL_SHOTS = 2**31 - 1  # as a limit
_TITLES_AT_ONCE = 64


@dataclass(frozen=True)
class ShotSequences:
    """Stored sequences of one expert as a source of tokens.

    Attributes:
        shards: The shards.
        dim: Width of the vectors.
    """

    shards: RaggedShards
    dim: int

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return sequences, as ``features.TokenSource`` says; of more than ``limit`` shots, spread ones.

        Shots that the expert had nothing to go by in are zeros, and not real.
        """
        lengths = np.zeros(len(places), np.int64)
        lengths[places >= 0] = self.shards.lengths(places[places >= 0])
        sequences = []
        for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
            sequence = np.empty((length, self.dim), np.float16)
            if length:
                self.shards.fill(place, sequence)
            sequences.append(spread(sequence, limit))
        values, real = padded(sequences, self.dim)
        seen = real & ~np.isnan(values[:, :, 0])
        values[~seen] = 0
        return values, seen


def spread(sequence: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """Return at most ``limit`` rows of a sequence, spread evenly over it.

    A trailer tells its genre all along and opens with logos, so the first shots would be the wrong ones. The sequence
    is cut into ``limit`` runs of shots, the same for every expert; of each run the shot nearest to its middle is taken
    that the expert has seen. So sequences of several experts stay aligned run by run, and an expert that has seen
    anything is never left without a shot.

    Args:
        sequence: Shape (n_shots, dim), rows of NaN for what was not seen.
        limit: Rows at most, at least 1.
    """
    if len(sequence) <= limit:
        return sequence
    seen = ~np.isnan(sequence[:, 0])
    chosen = []
    for first, end in pairwise((np.arange(limit + 1) * len(sequence) // limit).tolist()):
        middle = (first + end - 1) / 2
        run = range(first, end)
        chosen.append(min((shot for shot in run if seen[shot]), key=lambda shot: abs(shot - middle), default=first))
    return np.asarray(sequence[chosen])


def mean_of_shots(block: TokenBlock) -> Block:
    """Return the mean over the seen shots of every title, for models that read one vector.

    It is brought to the mean length of the shots' vectors: to unit length for learned embeddings, which have it all,
    while of descriptions in numbers, such as those of motion, it stays how large they are. The sequences are read some
    titles at a time.

    Args:
        block: Sequences of shots; all shots that it reads count alike.

    Returns:
        Vectors (n_titles, dim); those of absent titles are zero.
    """
    values, rows = np.zeros((len(block.places), block.dim), np.float32), np.flatnonzero(block.present)
    for start in range(0, len(rows), _TITLES_AT_ONCE):
        part = rows[start : start + _TITLES_AT_ONCE]
        tokens, seen = block.take(part).read()
        n_seen = seen.sum(axis=1).clip(1)[:, None]
        means = tokens.sum(axis=1, dtype=np.float32) / n_seen
        lengths = np.linalg.norm(tokens.astype(np.float32), axis=2).sum(axis=1, keepdims=True) / n_seen
        own = np.linalg.norm(means, axis=1, keepdims=True)
        values[part] = means * (lengths / np.where(own > 0, own, 1))
    return Block(values, block.present)
