"""FeatureStore on posters and pairs: computed once, one pass, resumed after a kill, the unreadable remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from reeltag.encoders.shards import content_hash, content_hashes
from reeltag.encoders.store import FeatureStore

from .pictures import PosterBox, encoded, picture

DIM = 4
BROKEN = b"\xff\xd8 broken"


def vector(image: Image.Image) -> npt.NDArray[np.float32]:
    pixels = np.asarray(image, np.float32)
    return np.array([*pixels.mean(axis=(0, 1)), pixels.std()], np.float32)


class Encoder:
    """Counts what it is asked for; may be killed after some images."""

    name = "mean"

    def __init__(self, fingerprint: str = "f1", killed_after: int | None = None) -> None:
        self.fingerprint = fingerprint
        self.killed_after = killed_after
        self.n_images = 0
        self.dim_asked = 0

    @property
    def dim(self) -> int:
        self.dim_asked += 1
        return DIM

    def encode(self, batch: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        if self.killed_after is not None and self.n_images >= self.killed_after:
            raise KeyboardInterrupt
        assert all(image.mode == "RGB" for image in batch)
        self.n_images += len(batch)
        return np.stack([vector(image) for image in batch])


class PairEncoder(Encoder):
    """The length of the text behind the mean of the image."""

    name = "pair"

    def encode(self, images: Sequence[Image.Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:  # type: ignore[override]
        values = super().encode(images)
        values[:, 3] = [len(text) for text in texts]
        return values


def box(n: int) -> PosterBox:
    return PosterBox({f"t{number:02}": encoded(picture(number)) for number in range(n)})


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", shard_posters=4)


def check(found: tuple[Any, Any], posters: PosterBox, ids: Sequence[str]) -> None:
    values, present = found
    assert values.dtype == np.float32
    assert values.shape == (len(ids), DIM)
    readable = [i in posters.contents and posters.contents[i] != BROKEN for i in ids]
    np.testing.assert_array_equal(present, readable)
    for row, title_id in enumerate(ids):
        expected = vector(picture(int(title_id[1:]))) if readable[row] else np.zeros(DIM)
        np.testing.assert_allclose(values[row], expected, rtol=1e-6)


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.rglob("*.safetensors"))


# ---------------------------------------------------------------- computed once


def test_vectors_are_in_the_order_of_the_ids_not_of_the_storage(store: FeatureStore) -> None:
    posters, encoder = box(11), Encoder()
    ids = ["t03", "t99", "t10", "t00", "t05"]
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert (encoder.n_images, posters.n_passes) == (4, 1)


def test_second_run_computes_nothing(store: FeatureStore) -> None:
    posters = box(9)
    ids = sorted(posters.contents)
    store.encode_posters(Encoder(), posters, ids)
    again = Encoder()
    check(FeatureStore(store.folder).encode_posters(again, posters, ids[::-1]), posters, ids[::-1])
    assert (again.n_images, again.dim_asked) == (0, 0)
    assert len(shards(store)) == 3


def test_only_new_posters_are_computed(store: FeatureStore) -> None:
    posters = box(9)
    ids = sorted(posters.contents)
    store.encode_posters(Encoder(), posters, ids[:6])
    encoder = Encoder()
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert encoder.n_images == 3


def test_equal_images_are_computed_once(store: FeatureStore) -> None:
    same = encoded(picture(7))
    posters, encoder = PosterBox({f"a{number}": same for number in range(10)}), Encoder()
    values, present = store.encode_posters(encoder, posters, sorted(posters.contents))
    assert encoder.n_images == 1
    assert present.all()
    np.testing.assert_allclose(values, np.tile(vector(picture(7)), (10, 1)), rtol=1e-6)


def test_a_changed_poster_is_computed_again(store: FeatureStore) -> None:
    posters = box(3)
    store.encode_posters(Encoder(), posters, ["t01"])
    posters.contents["t01"] = encoded(picture(99))
    values, _ = store.encode_posters(Encoder(), posters, ["t01"])
    np.testing.assert_allclose(values[0], vector(picture(99)), rtol=1e-6)


def test_fingerprints_and_decodings_are_kept_apart(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    posters = box(3)
    store.encode_posters(Encoder("f1"), posters, sorted(posters.contents))
    for fingerprint, decoding in (("f2", 1), ("f1", 999)):
        monkeypatch.setattr("reeltag.encoders.store.DECODING", decoding)
        other = Encoder(fingerprint)
        store.encode_posters(other, posters, sorted(posters.contents))
        assert other.n_images == 3


# ---------------------------------------------------------------- absent, unreadable


def test_unreadable_posters_are_absent_and_remembered(store: FeatureStore) -> None:
    posters = box(9)
    for title_id in ("t02", "t07"):
        posters.contents[title_id] = BROKEN
    ids = sorted(posters.contents)
    encoder = Encoder()
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert encoder.n_images == 7
    again = Encoder()
    before = shards(store)
    check(store.encode_posters(again, posters, ids), posters, ids)
    assert again.n_images == 0
    assert shards(store) == before


def test_nothing_but_unreadable_posters(store: FeatureStore) -> None:
    posters = PosterBox({f"t{number}": BROKEN + bytes([number]) for number in range(6)})
    for _ in range(2):
        values, present = store.encode_posters(Encoder(), posters, sorted(posters.contents))
        assert values.shape == (6, DIM)
        assert not present.any()
        assert not values.any()


@pytest.mark.parametrize("ids", [[], ["x"], ["x", "y"]])
def test_no_posters(store: FeatureStore, ids: list[str]) -> None:
    values, present = store.encode_posters(Encoder(), PosterBox({}), ids)
    assert values.shape == (len(ids), DIM)
    assert not present.any()
    assert not shards(store)


def test_a_poster_that_is_promised_and_not_given_is_absent(store: FeatureStore) -> None:
    class Forgetful(PosterBox):
        def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
            return np.ones(len(ids), np.bool_)

    _, present = store.encode_posters(Encoder(), Forgetful(box(2).contents), ["t00", "lost", "t01"])
    assert present.tolist() == [True, False, True]


def test_shards_without_a_mask_still_read(store: FeatureStore) -> None:
    posters = box(3)
    ids = sorted(posters.contents)
    store.encode_posters(Encoder(), posters, ids)
    for path in shards(store):
        tensors = load_file(path)
        assert tensors.pop("present").all()
        save_file(tensors, path)
    again = Encoder()
    check(store.encode_posters(again, posters, ids), posters, ids)
    assert again.n_images == 0


# ---------------------------------------------------------------- killed, damaged


@pytest.mark.parametrize("killed_after", [0, 4, 8])
def test_a_killed_run_goes_on_where_it_stopped(store: FeatureStore, killed_after: int) -> None:
    posters = box(11)
    ids = sorted(posters.contents)
    with pytest.raises(KeyboardInterrupt):
        store.encode_posters(Encoder(killed_after=killed_after), posters, ids)
    encoder = Encoder()
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert encoder.n_images == 11 - killed_after


def test_a_damaged_shard_is_computed_again(store: FeatureStore) -> None:
    posters = box(11)
    ids = sorted(posters.contents)
    store.encode_posters(Encoder(), posters, ids)
    shards(store)[0].write_bytes(b"half")
    encoder = Encoder()
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert encoder.n_images in (3, 4)


def test_images_are_never_all_held(store: FeatureStore) -> None:
    largest = 0

    class Watching(Encoder):
        def encode(self, batch: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
            nonlocal largest
            largest = max(largest, len(batch))
            return super().encode(batch)

    store.shard_posters = 100
    posters = box(100)
    store.encode_posters(Watching(), posters, sorted(posters.contents))
    assert largest == 32


def test_waiting_bytes_have_a_limit(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    posters = box(6)
    ids = sorted(posters.contents)
    monkeypatch.setattr("reeltag.encoders.poster_pass.SHARD_BYTES", len(posters.contents["t00"]) + 100)
    encoder = Encoder()
    check(store.encode_posters(encoder, posters, ids), posters, ids)
    assert encoder.n_images == 6
    assert len(shards(store)) == 3, "two by two, though a shard may hold four"


def test_too_little_memory_is_not_remembered(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    posters = box(3)
    ids = sorted(posters.contents)
    with monkeypatch.context() as patch:
        patch.setattr("reeltag.encoders.images._rgb", full)
        with pytest.raises(MemoryError):
            store.encode_posters(Encoder(), posters, ids)
    assert not shards(store)
    check(store.encode_posters(Encoder(), posters, ids), posters, ids)


def test_progress(store: FeatureStore) -> None:
    reports: list[tuple[str, int, int]] = []
    posters = box(40)
    store.encode_posters(Encoder(), posters, [*posters.contents, "x"], progress=lambda *report: reports.append(report))
    assert reports == [("encoding mean", done, 40) for done in (0, 32, 40)]


# ---------------------------------------------------------------- pairs


def test_pairs_need_both(store: FeatureStore) -> None:
    posters = box(5)
    posters.contents["t04"] = BROKEN
    ids = ["t00", "t01", "none", "t03", "t04"]
    texts = ["a", " ", "plot", "abc", "plot"]
    for n_images in (2, 0):
        encoder = PairEncoder()
        values, present = store.encode_pairs(encoder, posters, ids, texts)
        assert present.tolist() == [True, False, False, True, False]
        assert values[:, 3].tolist() == [1, 0, 0, 3, 0]
        np.testing.assert_allclose(values[3, :3], vector(picture(3))[:3], rtol=1e-6)
        assert encoder.n_images == n_images


def test_pairs_are_known_by_image_and_text(store: FeatureStore) -> None:
    posters = PosterBox({"a": encoded(picture(1)), "b": encoded(picture(1)), "c": encoded(picture(2))})
    encoder = PairEncoder()
    values, _ = store.encode_pairs(encoder, posters, ["a", "b", "c"], ["one", "other", "one"])
    assert values[:, 3].tolist() == [3, 5, 3]
    assert encoder.n_images == 3
    again = PairEncoder()
    store.encode_pairs(again, posters, ["c", "a"], ["one", "new"])
    assert again.n_images == 1


def test_no_pairs(store: FeatureStore) -> None:
    values, present = store.encode_pairs(PairEncoder(), box(2), ["t00", "t01"], ["", " "])
    assert values.shape == (2, DIM)
    assert not present.any()


def test_hashes_of_parts_tell_where_each_ends() -> None:
    assert content_hash(b"ab", b"c") != content_hash(b"a", b"bc")
    assert content_hash(b"abc") != content_hash(b"abc", b"")
    assert content_hashes(["abc"]).tobytes() == content_hash(b"abc")
    assert len(content_hash(b"", b"")) == 16
