"""Ragged shards: every sequence comes back as it was, from a map of the file; what is damaged is passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from reeltag.encoders.ragged import RaggedShards, StoredSequences, write_ragged
from reeltag.encoders.shards import content_hashes

WIDTH = 3


def sequences(n: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, WIDTH)).astype(np.float16) for length in random.integers(0, 5, n)]


def names(n: int, start: int = 0) -> list[str]:
    return [f"text {number}" for number in range(start, start + n)]


def test_every_sequence_comes_back(tmp_path: Path) -> None:
    parts = [sequences(7), sequences(5, seed=1)]
    write_ragged(tmp_path, content_hashes(names(7)), parts[0], WIDTH)
    write_ragged(tmp_path, content_hashes(names(5, 7)), parts[1], WIDTH)
    stored = RaggedShards(tmp_path)
    assert stored.width == WIDTH
    asked = names(12)[::-1]
    places = stored.index.places(content_hashes(asked))
    expected = [*parts[0], *parts[1]][::-1]
    np.testing.assert_array_equal(stored.lengths(places), [len(sequence) for sequence in expected])
    for place, sequence in zip(places, expected, strict=True):
        np.testing.assert_array_equal(stored.sequence(int(place)), sequence)
    assert stored.index.known(content_hashes(["text 3", "text 99"])).tolist() == [True, False]


def test_values_stay_in_the_file(tmp_path: Path) -> None:
    write_ragged(tmp_path, content_hashes(names(2)), [np.ones((2, WIDTH), np.float16)] * 2, WIDTH)
    stored = RaggedShards(tmp_path)
    found = stored.sequence(0)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


def test_bytes_are_kept_too(tmp_path: Path) -> None:
    rows = [b"", "é".encode(), b"abc"]
    write_ragged(tmp_path, content_hashes(names(3)), [np.frombuffer(row, np.uint8)[:, None] for row in rows], 1)
    stored = RaggedShards(tmp_path)
    places = stored.index.places(content_hashes(names(3)))
    assert [stored.sequence(int(place)).tobytes() for place in places] == rows


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    assert RaggedShards(tmp_path / "none").width == 0
    write_ragged(tmp_path, content_hashes(names(2)), [np.zeros((0, WIDTH), np.float16)] * 2, WIDTH)
    stored = RaggedShards(tmp_path)
    assert stored.width == WIDTH
    np.testing.assert_array_equal(stored.lengths(np.array([0, 1])), [0, 0])


@pytest.mark.parametrize("damage", ["cut", "starts", "hashes", "type", "nothing"])
def test_a_damaged_shard_is_passed_over(tmp_path: Path, damage: str) -> None:
    write_ragged(tmp_path, content_hashes(names(3)), sequences(3), WIDTH)
    (path,) = tmp_path.glob("*.safetensors")
    tensors = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "nothing":
        path.write_bytes(b"")
    else:
        if damage == "starts":
            tensors["starts"][-1] += 1
        elif damage == "hashes":
            tensors["hashes"] = tensors["hashes"][:2]
        else:
            tensors["values"] = tensors["values"].astype(np.float64)
        save_file(tensors, path)
    assert not RaggedShards(tmp_path).index.known(content_hashes(names(3))).any()


def test_a_source_pads_and_cuts(tmp_path: Path) -> None:
    made = [np.full((length, WIDTH), length, np.float16) for length in (1, 4, 2)]
    write_ragged(tmp_path, content_hashes(names(3)), made, WIDTH)
    stored = RaggedShards(tmp_path)
    places = stored.index.places(content_hashes(names(3)))
    values, seen = StoredSequences(stored, WIDTH).read(np.array([places[2], -1, places[1]]), 3)
    assert values.dtype == np.float16
    assert values.shape == (3, 3, WIDTH)
    assert seen.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert values[0, :2].tolist() == [[2.0] * WIDTH] * 2
    assert not values[~seen].any()
