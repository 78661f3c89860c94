"""FeatureStore on tokens and words: computed once, left on disk, resumed after a kill, the absent remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.contract import ReadingLog
from reeltag.encoders.ocr.words import PosterText, Refusal, Word
from reeltag.encoders.store import FeatureStore
from reeltag.errors import EncoderError

from .pictures import PosterBox, encoded, picture

BROKEN = b"\xff\xd8 broken"
DIM = 3


class KilledError(Exception):
    """Stands for a kill."""


class Patches:
    """The mean colour of the quarters of an image."""

    name, fingerprint, token_dim = "quarters", "f1", DIM

    def __init__(self, killed_after: int | None = None) -> None:
        self.n_images, self.killed_after = 0, killed_after

    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> npt.NDArray[np.float16]:
        if self.killed_after is not None and self.n_images >= self.killed_after:
            raise KilledError
        self.n_images += len(batch)
        n = min(grid, 2)
        return np.stack(
            [np.asarray(image.resize((n, n), Image.Resampling.BOX)).reshape(-1, 3) for image in batch]
        ).astype(np.float16)

    def patch_places(self, image: RGBImage, grid: int) -> list[tuple[float, float, float, float]]:
        return [(0.0, 0.0, 1.0, 1.0)]


class Letters:
    """One token per letter: its code, three times."""

    name, fingerprint, token_dim = "letters", "f1", DIM

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_pieces(self, batch: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        self.texts += batch
        return [np.array([[ord(letter)] * DIM for letter in text], np.float16).reshape(-1, DIM) for text in batch]

    def pieces(self, text: str) -> list[tuple[int, int]]:
        return [(place, place + 1) for place in range(len(text))]


class Engine:
    """Reads the size of an image; nothing off wide ones."""

    name, fingerprint = "sizes", "f1"

    def __init__(self, killed_after: int | None = None) -> None:
        self.n_images, self.killed_after = 0, killed_after

    def read(self, images: Sequence[RGBImage]) -> list[PosterText]:
        if self.killed_after is not None and self.n_images >= self.killed_after:
            raise KilledError
        self.n_images += len(images)
        return [read_off(image) for image in images]


def read_off(image: RGBImage) -> PosterText:
    if image.width > image.height:
        return PosterText()
    box = ((0.1, 0.2), (0.3, 0.2), (0.3, 0.4), (0.1, 0.4))
    return PosterText(words=(Word(text=f"é{image.width}", confidence=0.5, box=box), Word(text="high", line=1)))


def posters(n: int = 6) -> PosterBox:
    """Return posters of different sizes, the third wide, the fourth broken, the last like the first."""
    contents = {f"t{number}": encoded(picture(number, (20 + number, 30))) for number in range(n)}
    contents["t2"], contents["t3"] = encoded(picture(2, (40, 20))), BROKEN
    contents[f"t{n - 1}"] = contents["t0"]
    return PosterBox(contents)


IDS = [*(f"t{number}" for number in range(6)), "none"]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", shard_texts=2, shard_posters=2)


# ---------------------------------------------------------------- patches


def test_patches_by_title(store: FeatureStore) -> None:
    block = store.encode_patches(Patches(), posters(), IDS, 2)
    assert block.present.tolist() == [True, True, True, False, True, True, False]
    assert (block.dim, block.limit) == (DIM, 4)
    values, seen = block.read()
    assert values.shape == (7, 4, DIM)
    assert seen.all(axis=1).tolist() == block.present.tolist()
    expected = Patches().encode_patches([picture(4, (24, 30))], 2)[0]
    np.testing.assert_array_equal(values[4], expected)
    np.testing.assert_array_equal(values[0], values[5])
    assert not values[~seen].any()


def test_patches_are_computed_once_per_grid(store: FeatureStore) -> None:
    encoder = Patches()
    store.encode_patches(encoder, posters(), IDS, 2)
    assert encoder.n_images == 4  # one is broken, one comes twice
    store.encode_patches(encoder, posters(), IDS, 2)
    assert encoder.n_images == 4
    assert store.encode_patches(encoder, posters(), IDS, 1).read()[0].shape == (7, 1, DIM)
    assert encoder.n_images == 8


def test_patches_go_on_after_a_kill(store: FeatureStore) -> None:
    with pytest.raises(KilledError):
        store.encode_patches(Patches(killed_after=2), posters(), IDS, 2)
    rest = Patches()
    found = store.encode_patches(rest, posters(), IDS, 2).read()[0]
    assert rest.n_images < 4
    fresh = FeatureStore(store.folder / "other").encode_patches(Patches(), posters(), IDS, 2).read()[0]
    np.testing.assert_array_equal(found, fresh)


def test_no_poster_at_all(store: FeatureStore) -> None:
    block = store.encode_patches(Patches(), PosterBox({}), IDS, 2)
    assert not block.present.any()
    values, seen = block.read()
    assert values.shape == (7, 1, DIM)
    assert not seen.any()


# ---------------------------------------------------------------- word pieces


def test_pieces_by_text(store: FeatureStore) -> None:
    texts = ["abc", "", "z", "abc", " ", "long text"]
    encoder = Letters()
    block = store.encode_pieces(encoder, texts, 4)
    assert sorted(encoder.texts) == ["abc", "long text", "z"]
    assert block.present.tolist() == [True, False, True, True, False, True]
    values, seen = block.read()
    assert seen.sum(axis=1).tolist() == [3, 0, 1, 3, 0, 4]  # cut at four
    assert values[5, :, 0].tolist() == [float(ord(letter)) for letter in "long"]
    assert store.encode_pieces(encoder, texts, 9).read()[1].sum(axis=1).tolist()[-1] == 9
    assert len(encoder.texts) == 3
    assert block.take([5, 1]).read()[1].tolist() == [[True] * 4, [False] * 4]


# ---------------------------------------------------------------- words


def test_words_by_title(store: FeatureStore) -> None:
    engine = Engine()
    found = store.read_words(engine, posters(), IDS)
    assert [words is None for words in found] == [False, False, False, True, False, False, True]
    assert found[2] == PosterText()
    assert found[1] == read_off(picture(1, (21, 30)))
    assert found[0] == found[5]
    assert engine.n_images == 4
    assert store.read_words(engine, posters(), IDS) == found
    assert engine.n_images == 4


def test_reading_goes_on_after_a_kill(store: FeatureStore) -> None:
    with pytest.raises(KilledError):
        store.read_words(Engine(killed_after=2), posters(), IDS)
    rest = Engine()
    found = store.read_words(rest, posters(), IDS)
    assert rest.n_images < 4
    assert found == FeatureStore(store.folder / "other").read_words(Engine(), posters(), IDS)


def test_texts_are_the_words_joined(store: FeatureStore) -> None:
    engine = Engine()
    words = store.read_words(engine, posters(), IDS)
    assert store.read_poster_texts(engine, posters(), IDS) == [None if w is None else w.text for w in words]
    assert engine.n_images == 4
    assert FeatureStore(store.folder / "other").read_poster_texts(engine, posters(), ["t2", "t1", "none"]) == [
        "", "é21 high", None
    ]  # fmt: skip


class Dear(Engine):
    """Fails, or is interrupted, within a batch and keeps what it read before."""

    def __init__(self, limit: int, failure: BaseException) -> None:
        super().__init__()
        self.limit, self.failure = limit, failure

    def read_into(self, images: Sequence[RGBImage], found: dict[int, PosterText | Refusal]) -> None:
        for position in reversed(range(len(images))):
            if self.n_images == self.limit:
                raise self.failure
            found[position] = read_off(images[position])
            self.n_images += 1


@pytest.mark.parametrize("failure", [EncoderError("no more"), KeyboardInterrupt()])
def test_nothing_that_a_dear_engine_read_is_lost(tmp_path: Path, failure: BaseException) -> None:
    store, log = FeatureStore(tmp_path), ReadingLog()
    with pytest.raises(type(failure)) as caught:
        store.read_words(Dear(3, failure), posters(), IDS, log=log)
    if isinstance(failure, EncoderError):
        assert str(caught.value) == "no more; 3 posters of this run are kept, and a repeated run goes on from there"
    assert log.n_read == 3
    rest = Engine()
    found = store.read_words(rest, posters(), IDS)
    assert rest.n_images == 1
    assert found == FeatureStore(tmp_path / "other").read_words(Engine(), posters(), IDS)


def test_an_engine_that_fails_loses_one_small_batch(tmp_path: Path) -> None:
    many = PosterBox({f"t{number:02}": encoded(picture(number, (20 + number, 60))) for number in range(30)})
    ids = sorted(many.contents)
    with pytest.raises(KilledError):
        FeatureStore(tmp_path).read_words(Engine(killed_after=16), many, ids)
    rest = Engine()
    FeatureStore(tmp_path).read_words(rest, many, ids)
    assert rest.n_images == 14


def test_a_failure_before_the_first_poster_is_told_as_it_is(store: FeatureStore) -> None:
    with pytest.raises(EncoderError) as caught:
        store.read_words(Dear(0, EncoderError("no key")), posters(), IDS)
    assert str(caught.value) == "no key"


class Choosy(Engine):
    """Refuses what is 21 wide."""

    def read(self, images: Sequence[RGBImage]) -> list[PosterText | Refusal]:
        self.n_images += len(images)
        return [Refusal(reason="too wide") if image.width == 21 else read_off(image) for image in images]


def test_refused_posters_are_remembered_until_their_file_is_deleted(store: FeatureStore) -> None:
    told: list[tuple[str, int, int]] = []
    for n_read in (4, 0):
        engine, log = Choosy(), ReadingLog()
        found = store.read_words(engine, posters(), IDS, lambda *state: told.append(state), log)
        assert [words is None for words in found] == [False, True, False, True, False, False, True]
        assert (engine.n_images, log.n_read, log.refused) == (n_read, n_read, {"t1": "too wide"})
        assert told[-1] == ("refused by sizes", 1, 7)
        assert store.read_poster_texts(engine, posters(), ["t1", "t3"]) == [None, None]
    (refused,) = store.folder.rglob("refused-*.safetensors")
    refused.unlink()
    engine = Engine()
    assert store.read_words(engine, posters(), IDS)[1] == read_off(picture(1, (21, 30)))
    assert engine.n_images == 1


def test_progress_ends_at_all_posters(store: FeatureStore) -> None:
    told: list[tuple[str, int, int]] = []
    store.read_words(Engine(), posters(), IDS, lambda *state: told.append(state))
    assert told[0] == ("reading words with sizes", 0, 6)
    assert told[-1] == ("reading words with sizes", 6, 6)
