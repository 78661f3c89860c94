"""Whole files to shots: every kind of file, the promises of ``Shot``, memory, and outlines of many files."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.encoders.trailers.contract import GREY_HEIGHT, GREY_WIDTH, Shot
from reeltag.encoders.trailers.outline import outline_of, outlines_of, rows_of, video_files, write_outlines
from reeltag.encoders.trailers.pictures import Scaler
from reeltag.encoders.trailers.reader import AT_LIMIT, COMPLETE, ENDS_EARLY, ShotReader, TrailerOutline
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import ConfigError, MediaError, ReeltagError

from .videos import FPS, click, cut_off, faded, plain, scene, write_video

RATE = 16_000


def read(path: Path, config: ShotConfig | None = None, **options: Any) -> tuple[list[Shot], TrailerOutline]:
    """Read a file and check what is promised of every shot."""
    config = config or ShotConfig()
    reader = ShotReader(path, config, rates=(RATE,), **options)
    shots = list(reader)
    outline = reader.outline
    assert outline is not None
    assert outline.shots == tuple((shot.start_s, shot.end_s) for shot in shots)
    assert outline.duration_s == pytest.approx(shots[-1].end_s - shots[0].start_s)
    for shot, following in zip(shots, [*shots[1:], None], strict=True):
        assert following is None or shot.end_s == following.start_s
        assert 0 < shot.end_s - shot.start_s <= config.max_shot_s + 0.01
        assert shot.frames[0].dtype == shot.grey.dtype == np.uint8
        assert 1 <= len(shot.frames) <= config.max_shot_s / config.hold_s + 2
        assert shot.frames.shape[1:] == shots[0].frames.shape[1:]
        assert min(shot.frames.shape[1:3]) <= config.side
        assert shot.grey.shape == (len(shot.grey_s), GREY_HEIGHT, GREY_WIDTH)
        assert shot.grey_s.dtype == np.float64
        assert shot.grey_s[0] == shot.start_s
        assert shot.grey_s[-1] < shot.end_s
        assert (np.diff(shot.grey_s) > 0).all()
        assert set(shot.sound) == {RATE}
        assert shot.sound[RATE].dtype == np.float32
        assert len(shot.sound[RATE]) <= round((shot.end_s - shot.start_s) * RATE) + 1
        assert np.abs(shot.sound[RATE]).max(initial=0) <= 1
    return shots, outline


def three_scenes() -> list[Any]:
    return scene(0, 30) + scene(1, 40) + scene(2, 26)


def starts(shots: list[Shot]) -> list[float]:
    return [round(shot.start_s * FPS, 1) for shot in shots]


# ---------------------------------------------------------------- what is read


def test_shots_pictures_and_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", three_scenes(), sound=click([0.5, 2.0], 4.0))
    shots, outline = read(path)
    assert starts(shots) == [0, 30, 70]
    assert [len(shot.grey) for shot in shots] == [30, 40, 26]
    assert [len(shot.frames) for shot in shots] == [10, 14, 9]  # one in three
    assert (outline.width, outline.height, outline.fps) == (64, 36, FPS)
    assert (outline.has_sound, outline.ending, outline.state) == (True, COMPLETE, "complete")
    assert outline.duration_s == pytest.approx(4)
    assert outline.size_bytes == path.stat().st_size
    whole = np.concatenate([shot.sound[RATE] for shot in shots])
    assert len(whole) == pytest.approx(4 * RATE, abs=2)
    loud = np.abs(whole) > 0.3
    begins = np.flatnonzero(loud & ~np.roll(loud, 1)) / RATE
    assert begins[0] == pytest.approx(0.5, abs=0.03)
    assert np.abs(begins - 2.0).min() < 0.03


def test_held_pictures_are_those_of_the_file(tmp_path: Path) -> None:
    pictures = three_scenes()
    shots, _ = read(write_video(tmp_path / "a.mkv", pictures, codec="ffv1", pixels="bgr0"))
    for shot in shots:
        first = round(shot.start_s * FPS)
        for number, frame in enumerate(shot.frames):
            apart = np.abs(frame.astype(int) - pictures[first + 3 * number])
            assert apart.mean() < 3


def test_no_setting_of_rates_threads_or_holding_moves_a_shot(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", three_scenes(), codec="libx264", sound=click([], 4.0, frequency=300))
    expected = [30, 70]
    for options in ({"threads": 2}, {"hold": False}, {"rates": (8000, 8000, RATE)}):
        reader = ShotReader(path, **options)
        assert starts(list(reader))[1:] == expected
    assert starts(list(reader))[1:] == expected  # again
    silent = next(iter(ShotReader(path, hold=False)))
    assert silent.frames.shape[1:] == (0, 0, 3)
    assert silent.sound == {}


def test_fades_and_flashes(tmp_path: Path) -> None:
    one, other = scene(0, 60), scene(1, 60)
    path = write_video(tmp_path / "a.mp4", one[:40] + faded(one[40:]) + faded(other[:20], back=True) + other[20:])
    (_, second), _ = read(path)
    assert second.start_s * FPS == pytest.approx(60, abs=4)
    for flash in (plain(255, 1), plain(255, 2), plain(0, 1), scene(3, 2)):
        path = write_video(tmp_path / "b.mp4", one[:30] + flash + one[30:])
        assert starts(read(path)[0]) == [0]


def test_silent_and_one_frame(tmp_path: Path) -> None:
    (shot,), outline = read(write_video(tmp_path / "a.mp4", scene(0, 1)))
    assert shot.end_s == pytest.approx(1 / FPS)
    assert (len(shot.frames), len(shot.grey), shot.sound[RATE].size) == (1, 1, 0)
    assert not outline.has_sound


def test_vertical_and_rotated(tmp_path: Path) -> None:
    config = ShotConfig(side=18)
    (shot,), outline = read(write_video(tmp_path / "a.mp4", scene(0, 12, width=36, height=64)), config)
    assert shot.frames.shape[1:] == (32, 18, 3)
    assert (outline.width, outline.height) == (36, 64)
    (shot,), outline = read(write_video(tmp_path / "b.mp4", scene(0, 12), turn=(90,)), config)
    assert shot.frames.shape[1:] == (32, 18, 3)
    assert (outline.width, outline.height) == (36, 64)


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (5, 50)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = scene(0, 12, width=size[0], height=size[1])
    (shot,), outline = read(write_video(tmp_path / "a.mkv", pictures, codec="ffv1"))
    assert (outline.width, outline.height) == size
    assert shot.frames.shape[1:] == (size[1], size[0], 3)


def test_a_size_that_changes_on_the_way(tmp_path: Path) -> None:
    small, large = (write_video(tmp_path / f"{n}.ts", scene(n, 30, width=64 * n, height=36 * n)) for n in (1, 2))
    path = tmp_path / "a.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    shots, _ = read(path)
    assert starts(shots)[1] == pytest.approx(30, abs=1)
    assert sum(len(shot.grey) for shot in shots) >= 58


def test_a_variable_rate(tmp_path: Path) -> None:
    times = [40 * n for n in range(30)] + [1200 + 20 * n for n in range(50)] + [2200, 2600, 3000]
    pictures = scene(0, 30) + scene(1, 50) + scene(2, 3)
    shots, _ = read(write_video(tmp_path / "a.mkv", pictures, times_ms=times, codec="ffv1"))
    assert [round(shot.start_s, 2) for shot in shots] == [0, 1.2, 2.2]
    np.testing.assert_allclose(shots[2].grey_s, [2.2, 2.6, 3.0], atol=1e-3)


def test_pictures_that_follow_too_fast_are_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", scene(0, 400), times_ms=list(range(400)), codec="ffv1")
    (shot,), _ = read(path)
    assert len(shot.grey) == 50  # every eighth
    assert shot.end_s == pytest.approx(0.4, abs=0.05)


# ---------------------------------------------------------------- files that end early or are damaged


def test_a_file_that_is_cut_off_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    sound = click([], 4.0, frequency=300)
    path = write_video(tmp_path / "a.mp4", three_scenes(), sound=sound, container={"movflags": "faststart"})
    shots, outline = read(cut_off(path, 0.6))
    assert 0.5 < shots[-1].end_s < 3.5
    assert outline.ending == ENDS_EARLY
    assert outline.state.startswith("ends early")


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", three_scenes(), codec="libx264", container={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    shots, outline = read(path)
    assert outline.ending == COMPLETE
    assert outline.n_damaged > 0
    assert outline.state == f"complete, {outline.n_damaged} damaged"
    assert shots[-1].end_s == pytest.approx(4)


def test_any_byte_may_be_wrong(tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / "a.mp4",
        three_scenes(),
        codec="libx264",
        sound=click([], 4.0, frequency=300),
        container={"movflags": "faststart"},
    ).read_bytes()
    rng = np.random.default_rng(3)
    path, n_read = tmp_path / "b.mp4", 0
    for _ in range(20):
        content = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(content), rng.integers(1, 40))
        content[places] = rng.integers(0, 256, len(places))
        path.write_bytes(content.tobytes()[: rng.integers(len(whole) // 2, len(whole) + 1)])
        try:
            n_read += len(list(ShotReader(path, rates=(RATE,)))) > 0
        except MediaError as error:
            assert str(error).startswith(f"{path}: ")
    assert 3 < n_read < 20


def test_mistakes_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ShotReader.rates must be between 1000 and 192000; got 100"):
        ShotReader(tmp_path / "absent.mp4", rates=(100,))
    with pytest.raises(ConfigError, match=r"ShotReader.threads must be between 1 and 64; got 0"):
        ShotReader(tmp_path / "absent.mp4", threads=0)
    reader = ShotReader(tmp_path / "absent.mp4")
    assert reader.outline is None
    with pytest.raises(MediaError, match=r"absent.mp4: no such file$"):
        list(reader)


# ---------------------------------------------------------------- long files


def long_video(path: Path, seconds: int) -> Path:
    """A slow film of four pictures a second, without a cut."""
    return write_video(path, scene(0, 8) * (seconds // 2), fps=4)


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    path = long_video(tmp_path / "a.mp4", 60)
    shots, outline = read(path, ShotConfig(max_s=25))
    assert outline.ending == AT_LIMIT
    assert shots[-1].end_s == 25
    assert [round(shot.end_s) for shot in shots] == [10, 20, 25]
    _, outline = read(path, ShotConfig(max_s=0))
    assert (outline.ending, round(outline.duration_s)) == (COMPLETE, 60)


def test_memory_does_not_grow_with_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counted(scaler: Any, frame: Any, keep: Any = Scaler.keep) -> Any:
        nonlocal alive, most
        kept = keep(scaler, frame)
        weakref.finalize(kept, gone)
        alive += 1
        most = max(most, alive)
        return kept

    monkeypatch.setattr(Scaler, "keep", counted)
    path = long_video(tmp_path / "a.mp4", 120)
    config = ShotConfig(max_s=0, side=16, max_shot_s=5, hold_s=0.25)
    sizes = []
    for shot in ShotReader(path, config, rates=(RATE,)):
        sizes.append(shot.frames.nbytes + shot.grey.nbytes)
    assert len(sizes) == 24
    assert max(sizes) <= 21 * (16 * 28 * 3 + GREY_WIDTH * GREY_HEIGHT)
    assert 20 <= most <= 2 * 21 + 4  # the shot that is handed over, and the next one that is being gathered


# ---------------------------------------------------------------- outlines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, a broken one, and what is no video."""
    place = tmp_path / "trailers"
    place.mkdir()
    write_video(place / "b.mp4", three_scenes(), sound=click([], 4.0, frequency=300))
    write_video(place / "a.mkv", scene(0, 24))
    (place / "c.MP4").write_bytes(b"nothing")
    (place / "notes.txt").write_text("no video")
    (place / "deeper.mp4").mkdir()
    return place


def test_video_files_of_folders(folder: Path) -> None:
    (folder / "deeper.mp4").rmdir()
    found = video_files([folder, folder / "a.mkv", folder / "notes.txt", folder / "absent"])
    assert [path.name for path in found] == ["a.mkv", "b.mp4", "c.MP4", "notes.txt", "absent"]
    (folder / "empty").mkdir()
    with pytest.raises(MediaError, match=r"empty: must hold video files \(.mp4, .*\); got none"):
        video_files([folder / "empty"])


def test_the_outline_of_a_file(folder: Path) -> None:
    outline = outline_of(folder / "b.mp4")
    assert outline == read(folder / "b.mp4")[1]
    halt = threading.Event()
    halt.set()
    with pytest.raises(MediaError, match=r"b.mp4: must be read to its end; got halted"):
        outline_of(folder / "b.mp4", halt=halt)


@pytest.mark.parametrize("workers", [1, 3])
def test_outlines_of_many_files(folder: Path, workers: int) -> None:
    told: list[tuple[str, int, int]] = []
    paths = video_files([folder])
    found = outlines_of(paths, workers=workers, progress=lambda *report: told.append(report))
    assert list(found) == paths
    assert told == [("shots", number, 4) for number in range(5)]
    kinds = [type(outline) for outline in found.values()]
    assert kinds == [TrailerOutline, TrailerOutline, MediaError, MediaError]
    assert [row["n_shots"] for row in rows_of(found)] == [1, 3, None, None]


def test_no_files_have_no_outlines() -> None:
    assert outlines_of([]) == {}


def test_an_interruption_leaves_no_thread_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [folder / f"long{n}.mp4" for n in range(6)]
    begun: list[Path] = []

    def endless(self: ShotReader) -> Iterator[None]:
        begun.append(self.path)
        while True:
            yield None

    monkeypatch.setattr(ShotReader, "__iter__", endless)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outlines_of(paths, workers=2, progress=interrupt)
    assert len(begun) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reeltag-shots")]


def test_outlines_as_a_table(folder: Path) -> None:
    found = outlines_of(video_files([folder]))
    rows = rows_of(found)
    for suffix in (".parquet", ".jsonl"):
        path = write_outlines(folder / f"out{suffix}", found)
        table = pl.read_parquet(path) if suffix == ".parquet" else pl.read_ndjson(path)
        assert table.to_dicts() == rows
    table = pl.read_csv(write_outlines(folder / "out.csv", found))
    assert table["shots"].to_list() == ["0.000-0.999", "0.000-1.250|1.250-2.917|2.917-4.000", None, None]
    assert table["state"].to_list() == ["complete", "complete", "cannot be read", "cannot be read"]
    assert table["problem"][3] == f"{folder / 'deeper.mp4'}: must be a video file; got a folder"
    with pytest.raises(ReeltagError, match=r"out.txt: predictions are written as"):
        write_outlines(folder / "out.txt", found)
