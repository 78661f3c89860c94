"""Opening files of every kind and none, and the clock."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from reeltag.catalogue.trailers import VIDEO_SUFFIXES
from reeltag.encoders.trailers.video import Clock, Video, open_media, packets_of
from reeltag.errors import MediaError, MissingExtraError

from .videos import FPS, click, cut_off, plain, scene, write_video


def read(path: Path, **options: Any) -> tuple[list[float], Video]:
    with open_media(path) as container:
        video = Video(path, container, **options)
        return [time_s for time_s, _ in video.frames()], video


# ---------------------------------------------------------------- files that cannot be read


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read(path)
    return str(caught.value).replace(f"{path}", "FILE")


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.mp4") == "FILE: no such file"
    assert refusal(tmp_path) == "FILE: must be a video file; got a folder"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refusal(tmp_path / "pipe.mp4") == "FILE: must be a video file; got a device"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", scene(0, 3))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == "FILE: cannot be read (Permission denied)"


def test_files_that_hold_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    assert refusal(path) == "FILE: must be a video file; got an empty file"
    path.write_bytes(b"no video at all, but some words " * 100)
    assert refusal(path).startswith("FILE: must be a video file; got something else, or a part of one (")
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert refusal(path).startswith("FILE: must be a video file; got something else, or a part of one (")


def test_text_and_playlists_are_not_played(tmp_path: Path) -> None:
    write_video(tmp_path / "a.ts", scene(0, 6))
    texts = {
        "a.txt": "hello\n" * 50,
        "a.m3u8": "#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile a.ts\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert refusal(tmp_path / name).startswith("FILE: must be a video file; got something else, or a part of one (")


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(click([0.1], 0.5)[None], format="fltp", layout="mono")
        frame.rate = 44_100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert refusal(path) == "FILE: must hold a video; got audio alone"


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", scene(0, 6), codec="ffv1")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_XYZ1"))
    assert refusal(path) == "FILE: must be coded in a way that FFmpeg knows; got codec 'unknown'"


def test_a_file_without_its_index(tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "a.mp4", scene(0, 48)), 0.6)
    assert re.search(r"got something else, or a part of one|got no streams \(is it cut off\?\)", refusal(path))


def test_a_file_whose_pictures_are_all_broken(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", scene(0, 5), codec="libx264", container={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    assert refusal(path).startswith("FILE: must hold at least one picture that can be decoded; got none (")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"reading trailers needs the package 'av', .*'reeltag\[trailers\]'"):
        read(tmp_path / "a.mp4")


def test_odd_names_are_only_names(tmp_path: Path) -> None:
    for name in ("http:x%20.mp4", "concat:a|b.mp4", "-i.mp4", "ü ß.mp4", "no suffix"):
        path = write_video(tmp_path / "a.mp4", scene(0, 3)).rename(tmp_path / name)
        assert len(read(path)[0]) == 3


# ---------------------------------------------------------------- files that can


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov"])
def test_containers(tmp_path: Path, suffix: str) -> None:
    assert suffix in VIDEO_SUFFIXES
    times, video = read(write_video(tmp_path / f"a{suffix}", scene(0, FPS)))
    np.testing.assert_allclose(times, np.arange(FPS) / FPS, atol=1.1e-3)
    assert video.end_s == pytest.approx(1, abs=2e-3)
    assert (float(video.rate), video.n_damaged, video.ends_early(0.0)) == (FPS, 0, False)


def test_pictures_come_in_the_order_they_are_shown_in(tmp_path: Path) -> None:
    pictures = [picture for level in range(20, 240, 9) for picture in plain(level, 1)]
    path = write_video(tmp_path / "a.mp4", pictures, codec="libx264", options={"bf": "3", "qp": "4"})
    with open_media(path) as container:
        video = Video(path, container)
        assert video.stream.codec_context.has_b_frames
        shown = [float(frame.to_ndarray(format="gray").mean()) for _, frame in video.frames()]
    np.testing.assert_allclose(shown, range(20, 240, 9), atol=4)


def test_no_timestamps_at_all(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", scene(0, 30), codec="libx264", container_format="h264")
    times, video = read(path)
    np.testing.assert_allclose(times, np.arange(30) / FPS, atol=1e-6)
    assert video.stated_s is None
    assert not video.ends_early(0.0)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = cut_off(write_video(tmp_path / f"a{suffix}", scene(0, 96), container=options), 0.5)
    times, video = read(path)
    assert 12 < len(times) < 80
    assert video.stated_s == pytest.approx(4, abs=0.01)
    assert video.ends_early(0.0)


def test_what_is_broken_in_the_middle_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", scene(0, 96), codec="libx264", container={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    times, video = read(path)
    assert video.n_damaged > 0
    assert times[-1] == pytest.approx(95 / FPS)
    assert not video.ends_early(0.0)


def test_threads_and_options_change_no_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", scene(0, 48), codec="libx264")
    expected = read(path)[0]
    assert read(path, threads=2)[0] == expected
    for deblocking in ("all", "references", "none"):
        assert read(path, deblocking=deblocking)[0] == expected


def test_packets_of_a_stream_that_begins_on_the_way_are_passed_over() -> None:
    waiting = ["one", IndexError("list index out of range"), "two", IndexError(), IndexError(), "three"]

    class Container:
        """Fails, as PyAV does, on a packet of a stream that it does not know of."""

        def demux(self, _: object) -> Iterator[str]:
            while waiting:
                packet = waiting.pop(0)
                if isinstance(packet, IndexError):
                    raise packet
                yield str(packet)

    assert list(packets_of(Container(), None)) == ["one", "two", "three"]


# ---------------------------------------------------------------- the clock


def stamps(*values: int | None, zero_s: float | None = None) -> list[float]:
    """Return the times of pictures with timestamps in milliseconds, 40 ms apart where they do not say."""
    clock = Clock(zero_s, 0.04)
    frames = [SimpleNamespace(pts=value, duration=None, time_base=Fraction(1, 1000)) for value in values]
    return [round(clock.time_of(frame), 3) for frame in frames]


def test_times_count_from_the_start_of_the_file() -> None:
    assert stamps(1500, 1540) == [0, 0.04]
    assert stamps(1500, 1540, zero_s=1.0) == [0.5, 0.54]


def test_missing_timestamps_follow_on() -> None:
    assert stamps(None, None, 80, None) == [0, 0.04, 0.08, 0.12]


def test_gaps_are_kept() -> None:
    assert stamps(0, 40, 60_000) == [0, 0.04, 60]


def test_time_never_stands_still_or_goes_back() -> None:
    assert stamps(0, 40, 40, 120) == [0, 0.04, 0.08, 0.12]
    assert stamps(0, 40, 20, 120) == [0, 0.04, 0.08, 0.12]


def test_a_clock_that_begins_anew_goes_on() -> None:
    assert stamps(10_000, 10_040, 0, 40, 90) == [0, 0.04, 0.08, 0.12, 0.17]


def test_a_clock_that_jumps_by_hours_goes_on() -> None:
    assert stamps(0, 40, 9_000_000, 9_000_050) == [0, 0.04, 0.08, 0.13]


def test_a_picture_lasts_as_long_as_it_says() -> None:
    clock = Clock(None, 0.04)
    clock.time_of(SimpleNamespace(pts=0, duration=500, time_base=Fraction(1, 1000)))
    assert clock.step_s == 0.5
    assert clock.time_of(SimpleNamespace(pts=None, duration=0, time_base=None)) == 0.5
