"""Sound at its place: tracks, then real files with clicks, gaps and ends at known times."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from reeltag.encoders.trailers.sound import Sound, Track
from reeltag.encoders.trailers.video import open_media

from .videos import click, plain, write_video

Samples = npt.NDArray[np.float32]


def ramp(start: int, end: int) -> Samples:
    return np.arange(start, end, dtype=np.float32)


# ---------------------------------------------------------------- tracks


def test_a_track_gives_back_what_was_put() -> None:
    track = Track()
    for start in range(0, 100, 10):
        track.put(start, ramp(start, start + 10))
    np.testing.assert_array_equal(track.take(0, 37), ramp(0, 37))
    assert track.n_samples == 70
    np.testing.assert_array_equal(track.take(37, 95), ramp(37, 95))
    np.testing.assert_array_equal(track.take(95, 200), ramp(95, 100))
    assert track.n_samples == 0
    assert track.take(200, 300).size == 0


def test_a_gap_is_silent_and_costs_nothing() -> None:
    track = Track()
    track.put(5, ramp(1, 4))
    track.put(10**12, ramp(1, 3))
    assert track.n_samples == 5
    np.testing.assert_array_equal(track.take(0, 20), [0, 0, 0, 0, 0, 1, 2, 3])
    assert track.take(20, 30).size == 0
    np.testing.assert_array_equal(track.take(10**12 - 1, 10**12 + 9), [0, 1, 2])


def test_what_overlaps_is_heard_once() -> None:
    track = Track()
    track.put(-2, ramp(-2, 5))
    track.put(3, ramp(103, 108))
    track.put(4, ramp(200, 202))
    np.testing.assert_array_equal(track.take(0, 50), [0, 1, 2, 3, 4, 105, 106, 107])


def test_old_sound_is_forgotten() -> None:
    track = Track()
    for start in range(0, 100, 10):
        track.put(start, ramp(start, start + 10))
    track.forget(35)
    assert track.n_samples == 70
    np.testing.assert_array_equal(track.take(35, 40), ramp(35, 40))


# ---------------------------------------------------------------- files


def heard(path: Path, spans: list[tuple[float, float]], rates: tuple[int, ...] = (16_000,)) -> list[dict[int, Samples]]:
    """Return the sound of spans of a file."""
    with open_media(path) as container:
        sound = Sound(container, rates)
        out = []
        for start_s, end_s in spans:
            out.append(sound.between(start_s, end_s))
            assert sound.n_samples <= sum(rates) * 0.2  # a few pieces of 1,024 samples
        return out


def test_spans_join_to_the_whole_and_clicks_are_where_they_should_be(tmp_path: Path) -> None:
    sound = click([0.25, 1.1, 1.75], 2.0)
    path = write_video(tmp_path / "a.mkv", plain(90, 48), sound=sound, sound_codec="flac")
    rates = (8_000, 16_000, 44_100)
    (whole,) = heard(path, [(0.0, 2.0)], rates)
    cuts = [0.0, 0.3, 0.7003, 1.1, 1.9, 2.0]
    parts = heard(path, list(pairwise(cuts)), rates)
    for rate in rates:
        assert whole[rate].dtype == np.float32
        assert abs(len(whole[rate]) - 2 * rate) <= 1
        np.testing.assert_array_equal(np.concatenate([part[rate] for part in parts]), whole[rate])
        loud = np.abs(whole[rate]) > 0.4
        begins = np.flatnonzero(loud & ~np.roll(loud, 1)) / rate
        np.testing.assert_allclose(begins, [0.25, 1.1, 1.75], atol=1e-3)
    np.testing.assert_allclose(whole[44_100], sound, atol=1e-3)


def test_a_tone_keeps_its_pitch_and_loudness(tmp_path: Path) -> None:
    sound = click([], 2.0, frequency=440)
    (out,) = heard(write_video(tmp_path / "a.mp4", plain(90, 48), sound=sound), [(0.5, 1.5)])
    samples = out[16_000]
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(np.argmax(spectrum)) == 440
    assert float(np.sqrt(np.mean(samples**2))) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_sound_that_begins_late_is_placed_by_its_timestamps(tmp_path: Path) -> None:
    sound = click([0.0, 0.5], 1.0)
    path = write_video(tmp_path / "a.mkv", plain(90, 72), sound=sound, sound_ms=1250, sound_codec="flac")
    before, around, after, end = heard(path, [(0.0, 1.0), (1.0, 1.5), (1.5, 2.0), (2.0, 3.0)])
    assert before[16_000].size == 0
    samples = around[16_000]
    assert len(samples) == 8000
    assert np.flatnonzero(np.abs(samples) > 0.4)[0] == pytest.approx(4000, abs=16)
    assert np.flatnonzero(np.abs(after[16_000]) > 0.4)[0] == pytest.approx(4000, abs=16)
    assert len(end[16_000]) == pytest.approx(4000, abs=16)  # ends before the video


def two_parts(path: Path, gap_ms: int) -> Path:
    """A second of tone, a gap, and half a second of clicks."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        parts = [(0, click([], 1.0, 16_000, 300)), (1000 + gap_ms, click([0.0], 0.5, 16_000))]
        for start_ms, samples in parts:
            for start in range(0, len(samples), 1000):
                piece = av.AudioFrame.from_ndarray(
                    (samples[None, start : start + 1000] * 32767).astype(np.int16), format="s16", layout="mono"
                )
                piece.rate, piece.pts, piece.time_base = 16_000, start + start_ms * 16, Fraction(1, 16_000)
                out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("gap_ms", [400, 7_000])
def test_gaps_stay_gaps(tmp_path: Path, gap_ms: int) -> None:
    begins_s = 1 + gap_ms / 1000
    spans = [(0.0, 1.2), (1.2, begins_s - 0.1), (begins_s - 0.1, begins_s + 1)]
    first, between, last = (out[16_000] for out in heard(two_parts(tmp_path / "a.mkv", gap_ms), spans))
    assert np.abs(first[:16_000]).max() > 0.4
    assert np.abs(first[16_100:]).max(initial=0) < 0.01
    assert np.abs(between).max(initial=0) < 0.01
    assert np.flatnonzero(np.abs(last) > 0.4)[0] == pytest.approx(1600, abs=40)
    assert len(last) == pytest.approx(1600 + 8000, abs=160)


def test_a_file_without_sound(tmp_path: Path) -> None:
    (out,) = heard(write_video(tmp_path / "a.mp4", plain(90, 5)), [(0.0, 0.2)], (8000, 16_000))
    assert {rate: samples.size for rate, samples in out.items()} == {8000: 0, 16_000: 0}


def test_sound_of_an_unknown_codec_is_no_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", plain(90, 24), sound=click([], 1.0, frequency=300), sound_codec="flac")
    path.write_bytes(path.read_bytes().replace(b"A_FLAC", b"A_XYZQ"))
    (out,) = heard(path, [(0.0, 1.0)])
    assert out[16_000].size == 0


def test_broken_sound_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain(90, 48), sound=click([], 2.0, frequency=300))
    with open_media(path) as container:
        sound = Sound(container, (16_000,))
        pieces, n = sound._pieces, 0

        def breaking() -> Any:
            nonlocal n
            for piece in pieces:
                n += 1
                if 30 <= n < 40:
                    continue
                yield piece

        sound._pieces = breaking()
        samples = sound.between(0.0, 2.0)[16_000]
    assert len(samples) == pytest.approx(32_000, abs=400)
    silent = np.abs(samples) < 1e-4
    assert silent.mean() == pytest.approx(10 * 1024 / 88_200, abs=0.005)
    assert sound.n_damaged == 0


def test_several_channels_become_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout="stereo")
        left = (click([], 1.0, 16_000, 300) * 32767).astype(np.int16)
        both = np.stack([left, -left], 1).reshape(1, -1)
        piece = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        piece.rate = 16_000
        out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    with open_media(path) as container:
        found = Sound(container, (16_000,)).between(0.0, 1.0)
    assert np.abs(found[16_000]).max() < 1e-3
    assert len(found[16_000]) == 16_000
