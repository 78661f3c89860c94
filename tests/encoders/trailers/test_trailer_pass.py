"""Trailers to sequences: read once, several at once, kept file by file, aligned shot by shot; the unreadable told."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.catalogue import TrailerFiles
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers import open_shot_expert
from reeltag.encoders.trailers.contract import Shot, ShotExpert
from reeltag.encoders.trailers.sequences import mean_of_shots
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.encoders.trailers.trailer_pass import BATCH_SHOTS, UNREADABLE, FileDigests, TrailerLog, rates_of
from reeltag.errors import EncoderError
from reeltag.features import TokenBlock

from .scripted import RATE, KilledError, Loudness, Reader, Shade, shot, trailers

SCRIPTS = {
    "a": "1s 2 3s",
    "b": "4 5",
    "c": "6s broken 7s",
    "d": "1s 2 3s",  # like a
    "e": "mute! 8 9",
    "f": "10s",
}
IDS = [*SCRIPTS, "none"]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.ShotReader", made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", trailers_at_once=1)


@pytest.fixture
def films(tmp_path: Path) -> TrailerFiles:
    return trailers(tmp_path / "films", SCRIPTS)


def encode(
    store: FeatureStore,
    films: TrailerFiles,
    *experts: ShotExpert,
    ids: Sequence[str] = IDS,
    log: TrailerLog | None = None,
    config: ShotConfig | None = None,
) -> list[TokenBlock]:
    named = {f"motion.{number}": expert for number, expert in enumerate(experts)}
    blocks = store.encode_trailers(named, films, ids, config or ShotConfig(), log=log)
    assert list(blocks) == list(named)
    return list(blocks.values())


def rows(block: TokenBlock) -> list[list[Any]]:
    """Return per title its first numbers, None where a shot was not seen."""
    (values, seen), there = block.read(), block.present
    found = []
    for row, place in enumerate(block.places.tolist()):
        n = len(block.source.shards.sequence(place)) if there[row] else 0  # type: ignore[attr-defined]
        found.append([float(v[0]) if s else None for v, s in zip(values[row, :n], seen[row, :n], strict=True)])
    return found


# ---------------------------------------------------------------- what comes out


def test_sequences_of_all_experts_are_aligned(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    shade, loudness = encode(store, films, Shade(), Loudness())
    assert rows(shade) == [[1, 2, 3], [4, 5], [], [1, 2, 3], [], [10], []]
    assert rows(loudness) == [[1, None, 3], [], [], [1, None, 3], [], [10], []]
    assert shade.present.tolist() == [True, True, False, True, False, True, False]
    assert loudness.present.tolist() == [True, False, False, True, False, True, False]  # b has no sound at all
    assert (shade.dim, loudness.dim) == (2, 1)
    values, seen = loudness.read()
    assert values.dtype == np.float16
    assert not values[~seen].any()
    assert np.isfinite(values).all()


def test_a_row_depends_on_its_trailer_alone(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    (alone,) = encode(store, films, Shade(), ids=["f"])
    (both,) = encode(store, films, Shade(), ids=["none", "a", "f"])
    assert rows(alone) == [[10]]
    assert rows(both) == [[], [1, 2, 3], [10]]


def test_no_titles_and_no_trailers(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    (none,) = encode(store, films, Shade(), ids=[])
    assert (none.present.shape, none.dim) == ((0,), 2)
    (absent,) = encode(store, TrailerFiles(), Shade())
    assert not absent.present.any()
    values, seen = absent.read()
    assert (values.shape, seen.any()) == ((7, 1, 2), False)
    assert reader.read == []


def test_files_that_are_gone_are_absent(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    films.paths["a"].unlink()
    (block,) = encode(store, films, Shade(), ids=["a", "f"])
    assert rows(block) == [[], [10]]


def test_long_trailers_are_shown_to_experts_in_parts(reader: Reader, store: FeatureStore, tmp_path: Path) -> None:
    n = 2 * BATCH_SHOTS + 3
    script = " ".join(f"{number}s" if number % 3 else str(number) for number in range(n))
    shade, loudness = encode(store, trailers(tmp_path / "long", {"x": script}), Shade(), Loudness(), ids=["x"])
    assert rows(shade) == [list(range(n))]
    expected = [number if number % 3 else None for number in range(n)]
    assert [None if one is None else round(one) for one in rows(loudness)[0]] == expected


# ---------------------------------------------------------------- computed once


def test_trailers_are_read_once(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    expert, log = Shade(), TrailerLog()
    first = encode(store, films, expert, log=log)
    assert reader.read == ["a", "b", "c", "e", "f"]  # d is like a
    assert log.n_read == 4
    again = encode(FeatureStore(store.folder), films, expert, log=(second := TrailerLog()))
    assert len(reader.read) == 5
    assert second.n_read == 0
    assert rows(again[0]) == rows(first[0])


def test_a_file_is_known_by_its_content(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    encode(store, films, Shade(), ids=["a"])
    moved = films.paths["a"].rename(films.paths["a"].with_name("z.mp4"))
    os.utime(moved, (1, 1))
    (block,) = encode(store, TrailerFiles(paths={"a": moved}), Shade(), ids=["a"])
    assert (rows(block), reader.read) == ([[1, 2, 3]], ["a"])
    moved.write_text("11", encoding="utf-8")
    (block,) = encode(store, TrailerFiles(paths={"a": moved}), Shade(), ids=["a"])
    assert (rows(block), reader.read) == ([[11]], ["a", "z"])


def test_one_pass_serves_all_experts_that_lack_a_file(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    shade = Shade()
    encode(store, films, shade, ids=["a"])
    encode(store, films, shade, Loudness(), ids=["a", "f"])
    assert reader.read == ["a", "a", "f"]
    assert reader.rates == [(), (RATE,), (RATE,)]
    assert shade.greys == [1, 2, 3, 10]  # not shown a again


def test_only_sound_that_is_lacking_is_asked_for(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    encode(store, films, Loudness(), ids=["a"])
    encode(store, films, Shade(), Loudness(), ids=["a"])
    assert reader.rates == [(RATE,), ()]
    assert rates_of([Loudness(), Shade(), Loudness()]) == (RATE,)


def test_an_expert_under_two_names_is_asked_once(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    expert = Shade()
    one, two = encode(store, films, expert, expert, ids=["a"])
    assert rows(one) == rows(two) == [[1, 2, 3]]
    assert expert.greys == [1, 2, 3]


def test_other_models_and_other_shots_are_kept_apart(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    encode(store, films, Shade("f1"), ids=["a"])
    encode(store, films, Shade("f2"), ids=["a"])
    encode(store, films, Shade("f1"), ids=["a"], config=ShotConfig(side=72))
    assert reader.read == ["a"] * 3
    assert len(list(store.folder.iterdir())) == 3


def test_damaged_files_of_the_cache_are_made_again(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    encode(store, films, Shade(), ids=["a", "f"])
    for path in store.folder.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    (block,) = encode(store, films, Shade(), ids=["a", "f"])
    assert rows(block) == [[1, 2, 3], [10]]
    assert reader.read == ["a", "f"] * 2


# ---------------------------------------------------------------- kills


@pytest.mark.parametrize("n_files", [1, 2])
def test_a_kill_loses_the_files_at_work_only(reader: Reader, films: TrailerFiles, tmp_path: Path, n_files: int) -> None:
    many = trailers(tmp_path / "many", {f"t{number}": f"{number} {number + 100}s" for number in range(10)})
    ids = list(many.paths)
    store = FeatureStore(tmp_path / "cache", trailers_at_once=n_files)
    with pytest.raises(KilledError):
        encode(store, many, Shade(fails_at=6), ids=ids)
    kept = len(list(store.folder.rglob("*.safetensors")))
    assert 6 - n_files < kept <= 6 + n_files - 1
    started = len(reader.read)
    assert started <= 6 + n_files  # those after were never begun
    (block,) = encode(store, many, again := Shade(), ids=ids)
    assert rows(block) == [[number, number + 100] for number in range(10)]
    assert len(again.greys) == 2 * (10 - kept)  # no shot of a kept file was looked at again
    assert len(reader.read) == started + 10 - kept


def test_ctrl_c_keeps_what_is_done(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        store.encode_trailers({"motion.x": Shade()}, films, ["a", "b", "f"], ShotConfig(), progress)
    assert {"a", "b"} <= set(reader.read)
    n_read = len(reader.read)
    (block,) = encode(store, films, Shade(), ids=["a", "b", "f"])
    assert rows(block) == [[1, 2, 3], [4, 5], [10]]
    assert len(reader.read) <= n_read + 1
    assert set(threading.enumerate()) <= before  # nobody is left at work


def test_an_expert_that_fails_leaves_what_another_has_done(
    reader: Reader, store: FeatureStore, films: TrailerFiles
) -> None:
    encode(store, films, Loudness(), ids=["a"])
    with pytest.raises(KilledError):
        encode(store, films, Loudness(), Shade(fails_at=2), ids=["a"])
    (block,) = encode(store, films, Loudness(), ids=["a"])
    assert rows(block) == [[1, None, 3]]
    assert reader.read == ["a", "a"]


# ---------------------------------------------------------------- side by side


def test_parallel_equals_serial(reader: Reader, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scripts = {
        f"t{n}": " ".join(f"{grey}{'s' * (grey % 2)}" for grey in random.integers(0, 256, random.integers(1, 40)))
        for n in range(20)
    }
    films = trailers(tmp_path / "films", scripts)
    found = []
    for n_files in (1, 4):
        store = FeatureStore(tmp_path / f"cache{n_files}", trailers_at_once=n_files)
        blocks = encode(store, films, Shade(), Loudness(), ids=list(scripts))
        found.append([array for block in blocks for array in block.read()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(reader.read) == 40


def test_files_are_read_side_by_side(reader: Reader, films: TrailerFiles, tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=5)

    class Waits(Shade):
        def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            meeting.wait()  # breaks unless two files are looked at at once
            return super().encode_shots(shots)

    encode(FeatureStore(tmp_path / "cache", trailers_at_once=2), films, Waits(), ids=["a", "b"])


def test_shots_are_decoded_while_experts_look_at_others(
    monkeypatch: pytest.MonkeyPatch, store: FeatureStore, films: TrailerFiles
) -> None:
    coming = threading.Event()

    class Waits(Shade):
        def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            assert coming.wait(5)
            return super().encode_shots(shots)

    def read(*_: object) -> Any:
        for number in range(2 * BATCH_SHOTS):
            if number == BATCH_SHOTS:
                coming.set()
            yield shot(number, 1)

    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.ShotReader", read)
    (block,) = encode(store, films, Waits(), ids=["a"])
    assert rows(block) == [[1] * 2 * BATCH_SHOTS]


def test_no_more_than_two_batches_of_a_file_are_held(
    reader: Reader, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.BATCH_BYTES", 3 * shot(0, 0).grey.nbytes)
    ahead: list[int] = []

    class Counts(Shade):
        def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            assert len(shots) <= 3
            threading.Event().wait(0.005)  # the reader goes as far ahead as it may
            ahead.append(reader.n_shots - len(self.greys))
            return super().encode_shots(shots)

    encode(store, trailers(tmp_path / "films", {"x": "1 " * 40}), Counts(), ids=["x"])
    assert len(ahead) == 14
    assert max(ahead) <= 7  # three looked at, three waiting; the last may be told of before it is there


# ---------------------------------------------------------------- files that cannot be read


def test_unreadable_trailers_are_told_and_remembered(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    told: list[tuple[str, int, int]] = []
    log = TrailerLog()
    experts: dict[str, ShotExpert] = {"motion.x": Shade(), "audio.y": Loudness()}
    for _ in range(2):
        blocks = store.encode_trailers(experts, films, IDS, ShotConfig(), lambda *words: told.append(words), log)
        assert not blocks["motion.x"].present[[2, 4]].any()
        assert log.unreadable == {"c": "is cut off", "e": "is cut off"}
        assert told[-1] == ("unreadable trailers", 2, 7)
        assert ("reading trailers", 6, 6) in told
    assert reader.read.count("c") == 1
    for folder in store.folder.glob(f"{UNREADABLE}*"):
        for path in folder.iterdir():
            path.unlink()
    encode(store, films, Shade(), Loudness())
    assert reader.read.count("c") == 2


def test_sound_that_cannot_be_read_does_not_hide_the_pictures(
    reader: Reader, store: FeatureStore, films: TrailerFiles
) -> None:
    for _ in range(2):  # whatever was asked for before
        (shade,) = encode(store, films, Shade(), ids=["e"])
        assert rows(shade) == [[8, 9]]
        for block in encode(store, films, Shade(), Loudness(), ids=["e"]):
            assert rows(block) == [[]]


def test_a_file_that_may_not_be_opened_is_told_and_tried_again(
    reader: Reader, store: FeatureStore, films: TrailerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(FileDigests, "of", refuse)
        (block,) = encode(store, films, Shade(), ids=["a"], log=(log := TrailerLog()))
    assert rows(block) == [[]]
    assert log.unreadable == {"a": "cannot be read (Permission denied)"}
    (block,) = encode(store, films, Shade(), ids=["a"], log=(log := TrailerLog()))
    assert (rows(block), log.unreadable) == ([[1, 2, 3]], {})


def test_a_silent_file_is_remembered_as_silent(reader: Reader, store: FeatureStore, films: TrailerFiles) -> None:
    for _ in range(2):
        (block,) = encode(store, films, Loudness(), ids=["b"], log=(log := TrailerLog()))
        assert (block.present.tolist(), log.unreadable) == ([False], {})
    assert reader.read == ["b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_numbers_that_cannot_be_kept_are_an_error(
    reader: Reader, store: FeatureStore, films: TrailerFiles, value: float
) -> None:
    class Wild(Shade):
        def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            return np.full((len(shots), 2), value, np.float32), np.ones(len(shots), np.bool_)

    with pytest.raises(EncoderError, match=r"a\.mp4: the expert 'shade' must give finite numbers up to 65,504"):
        encode(store, films, Wild(), ids=["a"])


# ---------------------------------------------------------------- hashes


def test_files_are_hashed_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 300_000)
    digests, opened = FileDigests(), []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: opened.append(self) or real(self, mode))
    first = digests.of(path)
    assert len(first) == 16
    assert digests.of(path) == first
    assert opened == [path]
    path.write_bytes(b"x" * 299_999 + b"y")
    os.utime(path, (5, 5))
    assert digests.of(path) != first
    assert FileDigests().of(path) == digests.of(path)
    with pytest.raises(FileNotFoundError):
        digests.of(tmp_path / "b.mp4")


# ---------------------------------------------------------------- real files


def video(path: Path, *, has_sound: bool, seed: int) -> Path:
    """Write a video of two pictures that stand still, a second each."""
    import av

    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16_000) if has_sound else None
        for _ in range(2):
            picture = random.integers(0, 256, (8, 12, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            for _ in range(12):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            for start in range(0, 32_000, 1024):
                wave = np.sin(np.arange(start, start + 1024) * (0.05 + 0.01 * seed)).astype(np.float32)[None]
                part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                part.rate, part.pts = 16_000, start
                container.mux(sound.encode(part))
            container.mux(sound.encode())
    return path


def test_real_files_and_real_experts_are_the_same_side_by_side(tmp_path: Path) -> None:
    ids = [f"t{number}" for number in range(4)]
    films = TrailerFiles(
        paths={i: video(tmp_path / f"{i}.mp4", has_sound=number != 2, seed=number) for number, i in enumerate(ids)}
    )
    (tmp_path / "t9.mp4").write_bytes(films.paths["t0"].read_bytes()[:300])
    films.paths["t9"] = tmp_path / "t9.mp4"
    experts = {
        "image.descriptors": open_shot_expert("image", "descriptors"),
        "motion.flow": open_shot_expert("motion", "flow"),
        "audio.spectral": open_shot_expert("audio", "spectral"),
    }
    found, logs = [], []
    for n_files in (1, 3):
        store, log = FeatureStore(tmp_path / f"cache{n_files}", trailers_at_once=n_files), TrailerLog()
        blocks = store.encode_trailers(experts, films, [*ids, "t9"], ShotConfig(), log=log)
        found.append([array for block in blocks.values() for array in block.read()])
        logs.append(log)
        assert blocks["motion.flow"].present.tolist() == [True] * 4 + [False]
        assert blocks["audio.spectral"].present.tolist() == [True, True, False, True, False]
        lengths = {name: block.read()[1].sum(axis=1).tolist() for name, block in blocks.items()}
        assert lengths["image.descriptors"] == lengths["motion.flow"] == [2, 2, 2, 2, 0]
        means = mean_of_shots(blocks["image.descriptors"])
        np.testing.assert_allclose(np.linalg.norm(means.values, axis=1), means.present.astype(float), atol=1e-3)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [list(log.unreadable) for log in logs] == [["t9"], ["t9"]]
    assert [log.n_read for log in logs] == [4, 4]
