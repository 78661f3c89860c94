"""Ragged shards: every sequence comes back as it was, from a map of the file; what is damaged is passed over."""

from __future__ import annotations

import errno
import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from reeltag.encoders.ragged import RaggedShards, StoredSequences, write_ragged
from reeltag.encoders.shards import Shards, content_hashes, write_shard
from reeltag.errors import EncoderError

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


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    write_ragged(tmp_path, content_hashes(names(2)), [np.ones((2, WIDTH), np.float16)] * 2, WIDTH)
    stored = RaggedShards(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    n_behind = 2 * 16 + 2 * WIDTH * 2  # bytes of hashes and second sequence
    path.write_bytes(path.read_bytes()[: -n_behind - 2])  # half of the last vector of the first is gone
    values, _ = StoredSequences(stored, WIDTH).read(stored.index.places(content_hashes(names(1))), 1)
    assert values.tolist() == [[[1.0] * WIDTH]]
    with pytest.raises(EncoderError, match=f"{path}: was removed or cut off while it was read; run again"):
        stored.sequence(int(stored.index.places(content_hashes(names(1)))[0]))


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


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "list", "starts", "hashes", "type", "nothing"])
def test_a_damaged_shard_is_passed_over(tmp_path: Path, damage: str) -> None:
    write_ragged(tmp_path, content_hashes(names(3)), sequences(3), WIDTH)
    (path,) = tmp_path.glob("*.safetensors")
    tensors = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"0")
    elif damage == "header":
        path.write_bytes(path.read_bytes().replace(b"data_offsets", b"data_off\xffets", 1))
    elif damage == "list":
        path.write_bytes((2).to_bytes(8, "little") + b"[]")
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


# ---------------------------------------------------------------- many shards


@contextmanager
def few_descriptors(n: int) -> Iterator[None]:
    """Let this process open files with numbers below ``n`` only."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_small_shards_need_few_descriptors(tmp_path: Path) -> None:
    n = 300
    for number in range(n):
        write_ragged(tmp_path / "r", content_hashes(names(1, number)), [np.full((1, 2), number, np.float16)], 2)
        write_shard(tmp_path / "v", content_hashes(names(1, number)), np.full((1, 2), number, np.float32))
    hashes = content_hashes(names(n))
    with few_descriptors(100):
        stored, vectors = RaggedShards(tmp_path / "r"), Shards(tmp_path / "v")
        values, seen = StoredSequences(stored, 2).read(stored.index.places(hashes), 4)
        rows, present = vectors.read(hashes, np.ones(n, np.bool_))
    assert seen.all()
    assert present.all()
    assert values[:, 0, 1].tolist() == rows[:, 0].tolist() == list(range(n))


@pytest.mark.parametrize("kind", ["tokens", "vectors"])
def test_too_many_open_files_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    write_ragged(tmp_path / "tokens", content_hashes(names(2)), [np.ones((1, 2), np.float16)] * 2, 2)
    write_shard(tmp_path / "vectors", content_hashes(names(2)), np.ones((2, 2), np.float32))
    opened = RaggedShards if kind == "tokens" else Shards
    stored = opened(tmp_path / kind)

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(io, "FileIO", busy)
    with pytest.raises(OSError, match="Too many open files"):
        stored.sequence(0) if kind == "tokens" else stored.read(content_hashes(names(2)), np.ones(2, np.bool_))
    monkeypatch.undo()
    monkeypatch.setattr(Path, "open", busy)
    with pytest.raises(OSError, match="Too many open files"):
        opened(tmp_path / kind)


@pytest.mark.parametrize("asked", [["text 0", "text 7"], ["a", "text 1"], ["~"]])
def test_a_hash_that_is_not_stored_has_no_place(tmp_path: Path, asked: list[str]) -> None:
    write_ragged(tmp_path / "tokens", content_hashes(names(3)), sequences(3), WIDTH)
    write_shard(tmp_path / "vectors", content_hashes(names(3)), np.ones((3, 2), np.float32))
    for shards in (RaggedShards(tmp_path / "tokens"), Shards(tmp_path / "vectors")):
        with pytest.raises(
            EncoderError, match=f"{tmp_path}/.*s: 1 of {len(asked)} entries are not there; files of the c"
        ):
            shards.index.places(content_hashes(asked))
    with pytest.raises(EncoderError, match="1 of 1 entries are not there"):
        RaggedShards(tmp_path / "none").index.places(content_hashes(["text 0"]))


def test_a_removed_shard_is_an_error_not_a_neighbour(tmp_path: Path) -> None:
    write_shard(tmp_path, content_hashes(names(3)), np.ones((3, 2), np.float32))
    shards = Shards(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    path.unlink()
    with pytest.raises(EncoderError, match="was removed or cut off while it was read"):
        shards.read(content_hashes(names(3)), np.ones(3, np.bool_))


def test_vectors_of_another_kind_are_an_error(tmp_path: Path) -> None:
    write_ragged(tmp_path, content_hashes(names(1)), [np.ones((1, 2), np.float16)], 2)
    stored = RaggedShards(tmp_path)
    with pytest.raises(EncoderError, match="must hold float16 x 3; got float16 x 2"):
        StoredSequences(stored, 3).read(np.array([0]), 4)
