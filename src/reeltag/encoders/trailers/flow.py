"""What moves in a shot, and how, from small grey pictures alone: flow, camera, differences, light, and length.

Pictures about a fifteenth of a second apart are compared, so that neither the frame rate nor frames shown twice count
for much. Velocities are in widths of the picture per second; ``_amount`` puts them on a scale on which a slow pan
(0.05) is 0.35, a quick one (0.5) 1.2, and an explosion (3) 2. All numbers lie between about -1 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reeltag.encoders.trailers.contract import Shot
from reeltag.encoders.trailers.optical_flow import COLUMNS, ROWS, Floats, camera_motion, flow_between, halved

_REVISION = 1
_LEAST_S = 0.055  # between pictures that are compared: 12 to 17 a second at the usual rates
_CHUNK = 32  # pairs of pictures at once
_CELLS = (3, 4)  # of the picture, down and across
_DIRECTIONS = 8
_SLOW = 0.05  # widths per second; from about here on amounts grow with the logarithm
_STILL = 0.02
_CHANGED = 25.0  # grey levels
_DARK, _BRIGHT = 40.0, 200.0
_LATER_S = 0.485


class FlowExpert:
    """Descriptors of motion; nothing is learned and nothing downloaded."""

    name = "flow"
    fingerprint = f"flow-{_REVISION}"
    sample_rate = None

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        still = np.zeros((2, 2 * ROWS, 2 * COLUMNS), np.uint8)
        return len(describe_motion(still, np.arange(2.0)))

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return descriptors (n_shots, dim) and which shots have two pictures that can be compared."""
        values = np.zeros((len(shots), self.dim), np.float32)
        present = np.zeros(len(shots), np.bool_)
        for row, shot in enumerate(shots):
            present[row] = len(spaced(shot.grey_s)) > 1
            if present[row]:
                values[row] = describe_motion(shot.grey, shot.grey_s, shot.end_s - shot.start_s)
        return values, present


def spaced(seconds: npt.NDArray[np.float64]) -> list[int]:
    """Return which pictures are compared: the first, and each that follows the one before by long enough.

    Of a shot shorter than that the first and the last, if one is shown after the other.
    """
    chosen = [0]
    for place, second in enumerate(seconds):
        if second >= seconds[chosen[-1]] + _LEAST_S:
            chosen.append(place)
    if len(chosen) == 1 and seconds[-1] > seconds[0]:
        chosen.append(len(seconds) - 1)
    return chosen


def describe_motion(
    grey: npt.NDArray[np.uint8], seconds: npt.NDArray[np.float64], length_s: float | None = None
) -> Floats:
    """Return the descriptors of a shot, (dim,).

    Args:
        grey: Its pictures, (n_pictures, height, width), two of them at least.
        seconds: When each is shown, two of them at different times.
        length_s: How long the shot is; from the first to the last picture when None.
    """
    chosen = spaced(seconds)
    pictures, times = halved(grey[chosen]), seconds[chosen]
    gaps = np.diff(times).astype(np.float32)
    flow, certain = _velocities(pictures, gaps)
    camera, explained = camera_motion(flow, certain)
    parts = [_motion(flow), _directions(flow), _camera(camera), _objects(flow, explained, certain)]
    light = pictures.mean(axis=(1, 2)) / 255
    length = float(times[-1] - times[0]) if length_s is None else length_s
    pace = [np.clip(np.log(max(length, 1e-3)) / 2, -1, 2)]
    return np.concatenate([*parts, _differences(pictures, times), _light(pictures, light), pace]).astype(np.float32)


def _velocities(pictures: Floats, gaps: Floats) -> tuple[Floats, Floats]:
    """Return the flow from each picture to the next, in widths per second, and how certain it is."""
    flows, weights = [], []
    for start in range(0, len(gaps), _CHUNK):
        end = min(start + _CHUNK, len(gaps))
        flow, certain = flow_between(pictures[start:end], pictures[start + 1 : end + 1])
        flows.append(flow / (pictures.shape[2] * gaps[start:end, None, None, None]))
        weights.append(certain)
    return np.concatenate(flows), np.concatenate(weights)


def _amount(speed: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(np.log1p(speed / _SLOW) / 2, np.float32)


def _signed(velocity: npt.NDArray[np.floating]) -> Floats:
    signed: Floats = np.sign(velocity, dtype=np.float32) * _amount(np.abs(velocity))
    return signed


def _speed(flow: Floats) -> Floats:
    return np.asarray(np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])), np.float32)


def _over_time(track: Floats) -> list[float]:
    """Return mean, spread, least, middle, greatest and change of a track, (n_pairs,)."""
    low, middle, high = _of_rank(track, 0.05), _of_rank(track, 0.5), _of_rank(track, 0.95)
    change = np.abs(np.diff(track)).mean() if len(track) > 1 else 0.0
    return [float(track.mean()), 2 * float(track.std()), *map(float, (low, middle, high)), 4 * float(change)]


def _of_rank(values: Floats, share: float) -> Floats:
    """Return the values along the last axis that so large a share of the others is below."""
    ordered: Floats = np.sort(values, axis=-1)  # much quicker than np.percentile
    picked: Floats = ordered[..., round(share * (values.shape[-1] - 1))]
    return picked


def _motion(flow: Floats) -> Floats:
    """Return how much moves, over time and over the picture."""
    amounts = _amount(_speed(flow))  # (n_pairs, ROWS, COLUMNS)
    down, across = _CELLS
    cells = amounts.reshape(len(amounts), down, ROWS // down, across, COLUMNS // across).mean(axis=(2, 4))
    whole = _over_time(amounts.mean(axis=(1, 2)))
    return np.concatenate([whole, cells.mean(axis=0).ravel(), 2 * cells.std(axis=0).ravel()])


def _directions(flow: Floats) -> Floats:
    """Return how motion is spread over directions, square-rooted shares, from the right clockwise; none when still."""
    speed = _speed(flow)
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    bins = np.rint(angle * (_DIRECTIONS / (2 * np.pi))).astype(np.int64) % _DIRECTIONS
    counts = np.bincount(bins.ravel(), np.where(speed > _STILL, _amount(speed), 0).ravel(), _DIRECTIONS)
    return np.asarray(np.sqrt(counts / max(counts.sum(), 1e-9)), np.float32)


def _camera(camera: Floats) -> Floats:
    """Return how the camera moves: pan, tilt, zoom and turn, how much, how steadily, and where to.

    Args:
        camera: Per second, (n_pairs, 4).
    """
    moves = camera * np.array([1, 1, 0.5, 0.5], np.float32)  # zoom and turn: what they do to the sides
    mean = moves.mean(axis=0)
    pan = np.hypot(moves[:, 0], moves[:, 1])
    shake = np.abs(np.diff(moves, axis=0)).mean(axis=0) if len(moves) > 1 else np.zeros(4, np.float32)
    steady = np.hypot(mean[0], mean[1]) / max(pan.mean(), 1e-6) if pan.mean() > _STILL / 4 else 0.0
    return np.concatenate([
        _signed(mean), _amount(np.abs(moves).mean(axis=0)), _amount(moves.std(axis=0)), _amount(shake),
        _over_time(_amount(pan)), [steady],
    ])  # fmt: skip


def _objects(flow: Floats, explained: Floats, certain: Floats) -> Floats:
    """Return what moves other than by the camera: how much, how spread, where, and its share of all motion."""
    left = flow - explained
    amounts = _amount(_speed(left))
    inner = amounts[:, ROWS // 3 : -(ROWS // 3), COLUMNS // 4 : -(COLUMNS // 4)].mean()
    energy = (certain * np.square(flow).sum(axis=-1)).sum()
    own = (certain * np.square(left).sum(axis=-1)).sum()
    by_camera = np.clip(1 - own / energy, 0, 1) if energy > certain.sum() * (_STILL / 4) ** 2 else 0.0
    quickest = _of_rank(amounts.reshape(len(amounts), -1), 0.95).mean()
    return np.array([
        *_over_time(amounts.mean(axis=(1, 2))), 2 * amounts.std(axis=(1, 2)).mean(), quickest,
        (_speed(left) > 4 * _SLOW).mean(), inner - amounts.mean(), by_camera, certain.mean(),
    ])  # fmt: skip


def _differences(pictures: Floats, times: npt.NDArray[np.float64]) -> Floats:
    """Return how much pictures differ from the next, from those half a second later, and the first from the last."""
    apart = np.abs(np.diff(pictures, axis=0))  # (n_pairs, height, width)
    later = np.searchsorted(times, times + _LATER_S)
    starts = np.flatnonzero(later < len(times))
    soon = np.abs(pictures[later[starts]] - pictures[starts]).mean() if len(starts) else apart.mean()
    whole = np.abs(pictures[-1] - pictures[0]).mean()
    return np.array([
        *_over_time(np.sqrt(apart.mean(axis=(1, 2)) / 255)), 2 * (apart > _CHANGED).mean(),
        np.sqrt(soon / 255), np.sqrt(whole / 255),
    ])  # fmt: skip


def _light(pictures: Floats, light: Floats) -> Floats:
    """Return how bright a shot is, how contrasty, and how it flickers, flashes and fades."""
    steps = np.abs(np.diff(light))
    quarter = max(len(light) // 4, 1)
    start, end = light[:quarter].mean(), light[-quarter:].mean()
    middle = light[len(light) // 4 : len(light) - len(light) // 4].mean()
    return np.array([
        light.mean(), 4 * light.std(), light.min(), light.max(), 2 * np.sqrt(steps.mean()), 2 * steps.max(),
        end - start, start - middle, end - middle, pictures.std(axis=(1, 2)).mean() / 64, (pictures < _DARK).mean(),
        (pictures > _BRIGHT).mean(),
    ])  # fmt: skip
