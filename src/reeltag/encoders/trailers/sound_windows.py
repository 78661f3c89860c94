"""The sound of shots: at the rate that an expert wants, lengthened when too short, cut into windows when too long.

A short sound is played forward and backward until it is long enough, not padded with silence: of half a second of
film sound, so repeated, efficientat-mn04 makes vectors of a cosine of .67 with those of the two seconds around it;
repeated forward alone, whose joins click, of .65; padded, of .32 (36 places in the sound of trailers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.contract import Shot
from reeltag.errors import EncoderError

Sound: TypeAlias = npt.NDArray[np.float32]  # (n_samples,)


def sounds_of(shots: Sequence[Shot], sample_rate: int, owner: str) -> list[Sound]:
    """Return the sound of every shot, mono, (n_samples,) each; empty for a shot without sound.

    Args:
        shots: The shots.
        sample_rate: The rate wanted, in Hz.
        owner: Who wants it, for the message.

    Raises:
        EncoderError: A shot was read without this rate.
    """
    for shot in shots:
        if sample_rate not in shot.sound:
            rates = ", ".join(f"{rate:,} Hz" for rate in sorted(shot.sound)) or "no rate"
            raise EncoderError(
                f"{owner} needs the sound of shots at {sample_rate:,} Hz; they were read at {rates}: read them with "
                "the rate that it asks for"
            )
    return [shot.sound[sample_rate] for shot in shots]


def lengthened(sound: Sound, n_samples: int) -> Sound:
    """Return a sound that is not empty, forward and backward in turn until it has ``n_samples`` when it has fewer."""
    if len(sound) >= n_samples:
        return sound
    return np.resize(np.concatenate([sound, sound[::-1]]), n_samples)


def windows(sound: Sound, n_samples: int) -> list[Sound]:
    """Return a sound as windows of ``n_samples``, or as one shorter window when it has fewer.

    Of a longer sound there are as few as cover it, evenly spaced from its first sample to its last; they overlap where
    its length is no multiple of theirs.
    """
    if len(sound) <= n_samples:
        return [sound]
    n_windows = -(-len(sound) // n_samples)
    starts = np.linspace(0, len(sound) - n_samples, n_windows).round().astype(np.int64)
    return [sound[start : start + n_samples] for start in starts]
