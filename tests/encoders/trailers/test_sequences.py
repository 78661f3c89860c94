"""Sequences of shots: the mean of those seen, and shots spread over a long trailer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.ragged import RaggedShards, write_ragged
from reeltag.encoders.shards import as_hashes, content_hash
from reeltag.encoders.trailers.sequences import ALL_SHOTS, ShotSequences, mean_of_shots, spread
from reeltag.features import TokenBlock

DIM = 3
NAN = float("nan")


def stored(folder: Path, sequences: list[npt.NDArray[Any]]) -> TokenBlock:
    """Return sequences as they are kept, and a title without any at the end."""
    hashes = as_hashes([content_hash(str(number).encode()) for number in range(len(sequences))])
    write_ragged(folder, hashes, [sequence.astype(np.float16) for sequence in sequences], DIM)
    shards = RaggedShards(folder)
    places = shards.index.places(hashes)
    return TokenBlock(ShotSequences(shards, DIM), np.append(places, -1), ALL_SHOTS)


def numbered(n: int, unseen: tuple[int, ...] = ()) -> npt.NDArray[np.float16]:
    sequence = np.repeat(np.arange(n, dtype=np.float16)[:, None], DIM, axis=1)
    sequence[list(unseen)] = NAN
    return sequence


def test_shots_that_were_not_seen_are_zeros_and_not_real(tmp_path: Path) -> None:
    values, seen = stored(tmp_path, [numbered(4, (1, 3)), numbered(2)]).read()
    assert seen.tolist() == [[True, False, True, False], [True, True, False, False], [False] * 4]
    assert values[:, :, 0].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0] * 4]
    assert values.dtype == np.float16


def test_every_shot_is_read_below_the_limit(tmp_path: Path) -> None:
    for n in (1, 5, 6):
        np.testing.assert_array_equal(spread(numbered(n), 6), numbered(n))


@pytest.mark.parametrize(("n", "limit"), [(7, 6), (12, 4), (100, 7), (5, 1), (300, 128)])
def test_shots_are_spread_evenly(n: int, limit: int) -> None:
    chosen = spread(numbered(n), limit)[:, 0].astype(int)
    assert len(chosen) == limit
    edges = [slot * n // limit for slot in range(limit + 1)]
    for shot, (first, end) in zip(chosen, pairwise(edges), strict=True):
        assert first <= shot < end
        assert abs(shot - (first + end - 1) / 2) <= 0.5  # the middle of its run
    assert (chosen == sorted(set(chosen))).all()


def test_experts_stay_aligned_run_by_run() -> None:
    everything = spread(numbered(12), 4)[:, 0].tolist()
    some = spread(numbered(12, (1, 4, 6, 7, 8)), 4)[:, 0].tolist()
    assert everything == [1, 4, 7, 10]
    assert some[:2] == [0, 3]  # the nearest of the run that was seen
    assert np.isnan(some[2])  # none of the run was
    assert some[3] == 10


def test_an_expert_that_has_seen_anything_keeps_a_shot() -> None:
    for only in range(40):
        unseen = tuple(shot for shot in range(40) if shot != only)
        chosen = spread(numbered(40, unseen), 7)[:, 0]
        assert chosen[~np.isnan(chosen)].tolist() == [only]


def test_the_limit_of_a_block_counts(tmp_path: Path) -> None:
    block = stored(tmp_path, [numbered(12), numbered(3)])
    values, seen = TokenBlock(block.source, block.places, 4).read()
    assert values[:, :, 0].tolist() == [[1, 4, 7, 10], [0, 1, 2, 0], [0] * 4]
    assert seen.tolist() == [[True] * 4, [True] * 3 + [False], [False] * 4]


def test_means_equal_a_loop(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sequences = []
    for n in random.integers(1, 9, 150):
        sequence = random.normal(size=(n, DIM)).astype(np.float16)
        sequence[1:][random.random(n - 1) < 0.4] = NAN
        sequences.append(sequence)
    block = mean_of_shots(stored(tmp_path, sequences))
    assert (block.values.shape, block.values.dtype) == ((151, DIM), np.float32)
    assert block.present.tolist() == [True] * 150 + [False]
    for row, sequence in enumerate(sequences):
        seen = [shot.astype(np.float64) for shot in sequence if not np.isnan(shot[0])]
        mean = sum(seen) / len(seen)
        length = sum(np.sqrt((shot**2).sum()) for shot in seen) / len(seen)
        np.testing.assert_allclose(block.values[row], mean / np.sqrt((mean**2).sum()) * length, rtol=2e-5, atol=2e-6)
    assert not block.values[150].any()


def test_means_of_unit_vectors_have_unit_length(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    sequences = [random.normal(size=(n, DIM)) for n in (1, 5, 30)]
    block = mean_of_shots(stored(tmp_path, [s / np.linalg.norm(s, axis=1, keepdims=True) for s in sequences]))
    np.testing.assert_allclose(np.linalg.norm(block.values[:3], axis=1), 1, atol=5e-4)


def test_means_of_other_vectors_stay_as_large_as_they_are(tmp_path: Path) -> None:
    block = mean_of_shots(stored(tmp_path, [np.full((3, DIM), 0.5), np.full((3, DIM), 8.0)]))
    np.testing.assert_allclose(block.values[:2], [[0.5] * DIM, [8.0] * DIM], rtol=1e-5)


def test_a_mean_of_nothing_but_zeros_stays_zero(tmp_path: Path) -> None:
    block = mean_of_shots(stored(tmp_path, [np.zeros((2, DIM)), np.array([[1.0, 0, 0], [-1, 0, 0]])]))
    assert not block.values.any()
    assert block.present.tolist() == [True, True, False]


def test_means_of_no_titles(tmp_path: Path) -> None:
    block = mean_of_shots(stored(tmp_path, [numbered(2)]).take([]))
    assert (block.values.shape, block.present.shape) == ((0, DIM), (0,))


def test_a_mean_depends_on_its_title_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    whole = stored(tmp_path, [random.normal(size=(n, DIM)) for n in (3, 40, 1)])
    together = mean_of_shots(whole).values
    for row in range(3):
        np.testing.assert_array_equal(mean_of_shots(whole.take([row])).values[0], together[row])
