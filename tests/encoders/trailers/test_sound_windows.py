"""Sounds at the rate wanted, made longer, and cut."""

from __future__ import annotations

import numpy as np
import pytest

from reeltag.encoders.trailers.sound_windows import lengthened, sounds_of, windows
from reeltag.errors import EncoderError

from .shots import make_shot


def test_the_sound_of_each_shot_at_a_rate() -> None:
    shots = [make_shot(sound={8: np.arange(3), 16: np.arange(6)}), make_shot(sound={8: np.zeros(0), 16: np.zeros(0)})]
    assert [sound.tolist() for sound in sounds_of(shots, 16, "x")] == [[0, 1, 2, 3, 4, 5], []]
    assert sounds_of([], 16, "x") == []


def test_a_rate_that_was_not_read() -> None:
    with pytest.raises(
        EncoderError, match=r"^me needs the sound of shots at 32,000 Hz; they were read at 8 Hz, 16 Hz:"
    ):
        sounds_of([make_shot(sound={16: np.zeros(1), 8: np.zeros(1)})], 32_000, "me")
    with pytest.raises(EncoderError, match="read at no rate: read them with the rate"):
        sounds_of([make_shot()], 32_000, "me")


def test_short_sounds_go_forward_and_backward() -> None:
    sound = np.array([1, 2, 3], np.float32)
    assert lengthened(sound, 8).tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert lengthened(sound, 3) is sound
    assert lengthened(sound, 2) is sound
    assert lengthened(sound[:1], 3).tolist() == [1, 1, 1]
    assert lengthened(sound, 8).dtype == np.float32


@pytest.mark.parametrize("n", [1, 9, 10, 11, 19, 20, 21, 37, 100])
def test_windows_cover_a_sound_and_are_as_few_as_can_be(n: int) -> None:
    sound = np.arange(n, dtype=np.float32)
    parts = windows(sound, 10)
    assert len(parts) == max(1, int(np.ceil(n / 10)))
    assert {len(part) for part in parts} == {min(n, 10)}
    assert set(np.concatenate(parts).tolist()) == set(sound.tolist())
    starts = [part[0] for part in parts]
    assert len(starts) < 2 or np.ptp(np.diff(starts)) <= 1
