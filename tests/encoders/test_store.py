"""FeatureStore: computed once, resumed after a kill, mended after damage, shared by processes."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from reeltag.encoders.shards import content_hashes
from reeltag.encoders.store import FeatureStore, default_cache

DIM = 5


def vector(text: str) -> npt.NDArray[np.float32]:
    """A vector that depends on the whole text and nothing else."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[: DIM * 2], np.uint16).astype(np.float32) + 1


class Encoder:
    """Counts what it is asked for; may be killed after some shards."""

    name = "count"

    def __init__(self, fingerprint: str = "f1", killed_after: int | None = None, dim: int = DIM) -> None:
        self.fingerprint = fingerprint
        self.killed_after = killed_after
        self.width = dim
        self.batches: list[list[str]] = []
        self.dim_asked = 0

    @property
    def dim(self) -> int:
        self.dim_asked += 1
        return self.width

    @property
    def seen(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    def encode(self, batch: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        if self.killed_after is not None and len(self.batches) >= self.killed_after:
            raise KeyboardInterrupt
        self.batches.append(list(batch))
        return np.stack([vector(text) for text in batch])[:, : self.width], np.ones(len(batch), np.bool_)


def check(found: tuple[Any, Any], texts: Sequence[str]) -> None:
    values, present = found
    assert values.dtype == np.float32
    assert values.shape == (len(texts), DIM)
    np.testing.assert_array_equal(present, [bool(text.strip()) for text in texts])
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(values[row], vector(text) if text.strip() else np.zeros(DIM))


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.rglob("*.safetensors"))


def texts_of(n: int) -> list[str]:
    return [f"text {number}" for number in range(n)]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", shard_texts=4)


# ---------------------------------------------------------------- computed once


def test_vectors_are_those_of_the_encoder_in_order(store: FeatureStore) -> None:
    texts = texts_of(11)
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert [len(batch) for batch in encoder.batches] == [4, 4, 3]
    assert encoder.seen == texts


def test_second_run_asks_for_nothing(store: FeatureStore) -> None:
    texts = texts_of(9)
    store.encode(Encoder(), texts)
    again, order = Encoder(), np.random.default_rng(0).permutation(9)
    turned = [texts[row] for row in order]
    check(FeatureStore(store.folder).encode(again, turned), turned)
    assert again.batches == []
    assert again.dim_asked == 0  # which might load a model


def test_equal_texts_are_computed_once(store: FeatureStore) -> None:
    texts = ["a", "b", "a", "", "a", "b", "c", "  "]
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert encoder.seen == ["a", "b", "c"]


def test_only_new_texts_are_computed(store: FeatureStore) -> None:
    store.encode(Encoder(), texts_of(6))
    encoder = Encoder()
    check(store.encode(encoder, texts_of(9)), texts_of(9))
    assert encoder.seen == ["text 6", "text 7", "text 8"]


def test_near_same_texts_are_told_apart(store: FeatureStore) -> None:
    texts = ["a", "a ", " a", "A", "a\n", "á", "a\u0301", "a\x00", "a\x00\x00"]
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert encoder.seen == texts


def test_fingerprints_are_kept_apart(store: FeatureStore) -> None:
    texts = texts_of(3)
    store.encode(Encoder("f1"), texts)
    other = Encoder("f2")
    store.encode(other, texts)
    assert other.seen == texts
    for fingerprint in ("f1", "f2"):
        again = Encoder(fingerprint)
        store.encode(again, texts)
        assert again.batches == []
    assert sorted(path.name for path in store.folder.iterdir()) == ["count-f1", "count-f2"]


@pytest.mark.parametrize("text", ["شیرین", "🎬" * 50, "\ud800 lone", "x" * 100_000, "\x00", "tab\tnew\nline", "﷽"])
def test_any_text_is_a_key(store: FeatureStore, text: str) -> None:
    texts = ["plain", text, text + "!"]
    check(store.encode(Encoder(), texts), texts)
    again = Encoder()
    check(store.encode(again, texts), texts)
    assert again.batches == []


def test_many_shards_are_read_together(store: FeatureStore) -> None:
    texts = texts_of(200)
    store.encode(Encoder(), texts)
    assert len(shards(store)) == 50
    mixed = [texts[row] for row in np.random.default_rng(1).integers(200, size=500)]
    again = Encoder()
    check(store.encode(again, mixed), mixed)
    assert again.batches == []


# ---------------------------------------------------------------- nothing to compute


def test_no_texts(store: FeatureStore) -> None:
    values, present = store.encode(Encoder(), [])
    assert values.shape == (0, DIM)
    assert present.shape == (0,)
    assert not shards(store)


@pytest.mark.parametrize("filled_before", [False, True])
def test_blank_texts_have_the_width_of_the_encoder(store: FeatureStore, filled_before: bool) -> None:
    if filled_before:
        store.encode(Encoder(), ["something"])
    encoder = Encoder()
    check(store.encode(encoder, ["", " \n\t", "\u3000"]), ["", " \n\t", "\u3000"])
    assert encoder.batches == []


# ---------------------------------------------------------------- killed, damaged


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_killed_run_goes_on_where_it_stopped(store: FeatureStore, killed_after: int) -> None:
    texts = texts_of(11)
    with pytest.raises(KeyboardInterrupt):
        store.encode(Encoder(killed_after=killed_after), texts)
    assert len(shards(store)) == killed_after
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert encoder.seen == texts[4 * killed_after :]


def test_a_kill_while_writing_leaves_no_shard(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(tensors: object, path: Path) -> None:
        path.write_bytes(b"half a sh")
        raise KeyboardInterrupt

    monkeypatch.setattr("reeltag.encoders.shards.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        store.encode(Encoder(), ["a"])
    assert not [path for path in store.folder.rglob("*") if path.is_file()]


def test_temporary_files_of_a_dead_process_are_passed_over(store: FeatureStore) -> None:
    store.encode(Encoder(), texts_of(4))
    whole = shards(store)[0]
    whole.rename(whole.with_name("." + whole.name))
    encoder = Encoder()
    check(store.encode(encoder, texts_of(4)), texts_of(4))
    assert encoder.seen == texts_of(4)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garble(path: Path) -> None:
    path.write_bytes(b"\xff" * 200)


def _without_hashes(path: Path) -> None:
    save_file({"values": load_file(path)["values"]}, path)


def _without_values(path: Path) -> None:
    save_file({"hashes": load_file(path)["hashes"]}, path)


def _fewer_values(path: Path) -> None:
    data = load_file(path)
    save_file({**data, "values": data["values"][:1].copy()}, path)


@pytest.mark.parametrize("damage", [_truncate, _empty, _garble, _without_hashes, _without_values, _fewer_values])
def test_a_damaged_shard_is_computed_again(store: FeatureStore, damage: Any) -> None:
    texts = texts_of(12)
    store.encode(Encoder(), texts)
    damage(shards(store)[1])
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert len(encoder.seen) == 4
    again = Encoder()
    check(store.encode(again, texts), texts)
    assert again.batches == []


# ---------------------------------------------------------------- several processes


def _write(folder: Path, start: int, stop: int) -> None:
    texts = texts_of(stop)[start:]
    check(FeatureStore(folder, shard_texts=2).encode(Encoder(), texts), texts)


def test_processes_write_side_by_side(store: FeatureStore) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(store.folder, start, start + 40)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    encoder = Encoder()
    check(store.encode(encoder, texts_of(60)), texts_of(60))
    assert encoder.batches == []


def test_what_two_runs_computed_both_is_read_once(store: FeatureStore) -> None:
    texts = texts_of(8)
    store.encode(Encoder(), texts)
    for path in shards(store):
        path.with_name("copy-" + path.name).write_bytes(path.read_bytes())
    encoder = Encoder()
    check(store.encode(encoder, texts), texts)
    assert encoder.batches == []


def test_a_shard_that_another_run_adds_meanwhile_does_no_harm(store: FeatureStore) -> None:
    texts = texts_of(8)

    class Racing(Encoder):
        def encode(self, batch: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            if not self.batches:
                FeatureStore(store.folder, shard_texts=3).encode(Encoder(), texts[2:])
            return super().encode(batch)

    check(store.encode(Racing(), texts), texts)


# ---------------------------------------------------------------- progress, places, hashes


def test_progress_counts_new_texts(store: FeatureStore) -> None:
    reports: list[tuple[str, int, int]] = []
    texts = ["a", "a", "", *texts_of(9)]
    store.encode(Encoder(), texts, progress=lambda *report: reports.append(report))
    assert reports == [("encoding count", done, 10) for done in (0, 4, 8, 10)]
    store.encode(Encoder(), texts, progress=lambda *report: pytest.fail("nothing new to report"))


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REELTAG_CACHE", str(tmp_path / "mine"))
    assert default_cache() == FeatureStore().folder == tmp_path / "mine"
    monkeypatch.delenv("REELTAG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "reeltag"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "reeltag"


def test_content_hashes_are_stable_and_apart() -> None:
    found = content_hashes(["a", "b", "a", ""])
    assert found.shape == (4,)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3
    expected = hashlib.blake2b(b"b", digest_size=16).digest()
    assert found[1:2].tobytes() == expected
    assert content_hashes([]).shape == (0,)


def test_hashes_that_end_in_zero_bytes_are_kept_whole(store: FeatureStore) -> None:
    ending_in_zero = [t for t in map(str, range(3000)) if content_hashes([t]).tobytes()[-1] == 0]
    assert ending_in_zero
    store.encode(Encoder(), ending_in_zero)
    again = Encoder()
    check(store.encode(again, ending_in_zero), ending_in_zero)
    assert again.batches == []
