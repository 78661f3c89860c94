"""Cards of ONNX audio models: ``model.json`` beside the model says how a sound becomes its input.

The input is (n, 1, n_mels, n_frames). A card is read in two forms. The machine-readable one::

    {"file": "model.onnx",
     "preprocessing": {"sample_rate": 32000, "preemphasis": 0.97, "n_fft": 1024, "window": 800, "periodic": false,
                       "hop": 320, "centre": true, "mel_basis": "mel_basis.npy", "log_floor": 1e-5,
                       "mean": -4.5, "std": 5, "frames": 1000, "least_frames": 100}}

``mel.MelRecipe`` says what each means. ``mel_basis`` is a file in the same folder, float32 (n_mels, n_fft // 2 + 1);
``frames`` is how many the model takes at most, ``least_frames`` at least. ``preemphasis`` (0), ``window`` (``n_fft``),
``periodic`` (false), ``centre`` (true) and ``least_frames`` (1) may be left out. Without ``preprocessing`` the fields
``input`` and ``front_end`` are read, whose values are sentences; those of a few wordings are understood, any other is
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.encoders.card_values import is_number, read_object, refuse
from reeltag.encoders.trailers.mel import Floats, MelRecipe
from reeltag.errors import EncoderError

CARD = "model.json"
_NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
_PREEMPHASIS = re.compile(rf"y\[i\] = x\[i\+1\] - {_NUMBER} \* x\[i\](?: \(.*\))?")
_WINDOW = re.compile(r"Hann, (symmetric|periodic)\b.*?, length (\d+)\b.*?(?:zero padded to (\d+) in the middle\b.*)?")
_CENTRE = re.compile(r"reflect padding of (\d+) samples each side(?:;.*)?")
_SPECTRUM = re.compile(r"power \|rfft\|\^2, (\d+) bins, no further scaling")
_BASIS = re.compile(r"([\w.-]+\.npy), float32 \[(\d+), (\d+)\]; mel = basis @ power")
_LOG = re.compile(rf"natural log of \(mel \+ {_NUMBER}\)")
_SCALING = re.compile(rf"\(log ([+-]) {_NUMBER}\) / {_NUMBER}")
_LENGTH = re.compile(r".*\(t = (\d+)\); t may differ, keep it >= (\d+)\b.*")
_CHIRP = re.compile(rf"t=arange\((\d+)\)/(\d+);x={_NUMBER}\*sin\(2\*pi\*\({_NUMBER}\*t\+{_NUMBER}\*t\*t\)\).*")
_MEL_PLACE = re.compile(r"mel_(\d+)_(\d+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSound:
    """What the author of a model got for a sound.

    Attributes:
        sound: The sound.
        shape: Of the input, bands and frames; None when not given.
        mel: Numbers of the input by their names: ``mean``, ``std``, ``min``, ``max``, or a band and a frame.
        first: The first numbers of the embedding.
        length: Its Euclidean length.
    """

    sound: Floats
    shape: tuple[int, int] | None = None
    mel: dict[str | tuple[int, int], float] = field(default_factory=dict)
    first: tuple[float, ...]
    length: float


@dataclass(frozen=True, kw_only=True, eq=False)
class AudioCard:
    """How sounds become the input of a model.

    Attributes:
        path: The card.
        file: File name of the model.
        recipe: From sound to input.
        frames: Frames of the input at most; longer sounds are cut into windows.
        least_frames: Frames at least; shorter sounds are repeated.
        test: To prove the chain with; None when the card has none that is understood.
    """

    path: Path
    file: str
    recipe: MelRecipe
    frames: int
    least_frames: int
    test: TestSound | None = None


def read_audio_card(folder: Path) -> AudioCard:
    """Read the card of a model folder.

    Raises:
        EncoderError: There is none, or it breaks a rule; the message names file, field, rule and value.
    """
    path = folder / CARD
    data = read_object(path, f"an ONNX model needs a card {CARD}", "a card")
    file = data.get("file", "model.onnx")
    if not isinstance(file, str) or not file or Path(file).name != file:
        refuse(path, "file", "must be the name of a file in the same folder", file)
    if "preprocessing" in data:
        settings = _machine(path, data["preprocessing"])
        where = "preprocessing"
    else:
        settings = _prose(path, data.get("input"), data.get("front_end"))
        where = "front_end"
    frames, least = settings.pop("frames"), settings.pop("least_frames")
    if least > frames:
        refuse(path, f"{where}.least_frames", f"must be at most frames, which is {frames}", least)
    if settings["window"] > settings["n_fft"]:
        refuse(path, f"{where}.window", f"must be at most n_fft, which is {settings['n_fft']}", settings["window"])
    settings["basis"] = _basis(path, f"{where}.mel_basis", settings.pop("mel_basis"), settings["n_fft"])
    recipe = MelRecipe(**settings)
    return AudioCard(
        path=path, file=file, recipe=recipe, frames=frames, least_frames=least,
        test=_test_sound(data.get("sanity"), recipe.sample_rate),
    )  # fmt: skip


# name -> least, most, default; None for none
_WHOLE: dict[str, tuple[int, int, int | None]] = {
    "sample_rate": (1_000, 192_000, None),
    "n_fft": (16, 65_536, None),
    "window": (2, 65_536, None),
    "hop": (1, 65_536, None),
    "frames": (1, 1_000_000, None),
    "least_frames": (1, 1_000_000, 1),
}
_REAL: dict[str, tuple[float, float, float | None]] = {
    "preemphasis": (0, 1, 0.0),
    "log_floor": (1e-30, 1, None),
    "mean": (-1e3, 1e3, None),
    "std": (1e-6, 1e3, None),
}
_EITHER = {"periodic": False, "centre": True}


def _machine(path: Path, data: Any) -> dict[str, Any]:
    """Return the settings that ``preprocessing`` states, checked one by one."""
    if not isinstance(data, dict):
        refuse(path, "preprocessing", "must be an object", data)
    known = [*_WHOLE, *_REAL, *_EITHER, "mel_basis"]
    for key in data:
        if key not in known:
            refuse(path, f"preprocessing.{key}", f"must be one of {', '.join(known)}", key)
    data = {"window": data.get("n_fft"), **data}
    found: dict[str, Any] = {"mel_basis": data.get("mel_basis")}
    for name, (low, high, default) in _WHOLE.items():
        found[name] = value = data.get(name, default)
        if type(value) is not int or not low <= value <= high:
            refuse(path, f"preprocessing.{name}", f"must be a whole number from {low:,} to {high:,}", value)
    for name, (least, most, usual) in _REAL.items():
        found[name] = value = data.get(name, usual)
        if not is_number(value) or not least <= value <= most:
            refuse(path, f"preprocessing.{name}", f"must be a number from {least:g} to {most:g}", value)
    for name, choice in _EITHER.items():
        found[name] = value = data.get(name, choice)
        if not isinstance(value, bool):
            refuse(path, f"preprocessing.{name}", "must be true or false", value)
    found["floor"] = found.pop("log_floor")
    return found


def _prose(path: Path, given: Any, front: Any) -> dict[str, Any]:
    """Return the settings that the sentences of ``input`` and ``front_end`` state."""
    for name, data in (("input", given), ("front_end", front)):
        if not isinstance(data, dict):
            refuse(path, name, "must be an object, or there must be 'preprocessing'", data)
    _match(path, "input.layout", given.get("layout"), re.compile("n, 1, mel band, frame"), "n, 1, mel band, frame")
    _match(path, "front_end.channels", front.get("channels"), re.compile(r"mono, float, -1\.\.1"), "mono, float, -1..1")
    _match(path, "front_end.spectrum", front.get("spectrum"), _SPECTRUM, "power |rfft|^2, N bins, no further scaling")
    n_fft, window, periodic = _prose_window(path, front)
    basis = _match(
        path, "front_end.mel_basis", front.get("mel_basis"), _BASIS, "FILE.npy, float32 [N, N]; mel = basis @ power"
    )
    log = _match(path, "front_end.log", front.get("log"), _LOG, "natural log of (mel + N)")
    scaling = _match(path, "front_end.normalisation", front.get("normalisation"), _SCALING, "(log + N) / N")
    length = _match(path, "input.length", given.get("length"), _LENGTH, "... (t = N); t may differ, keep it >= N ...")
    emphasis = front.get("preemphasis")
    start = 0.0
    if emphasis is not None:
        start = float(_match(path, "front_end.preemphasis", emphasis, _PREEMPHASIS, "y[i] = x[i+1] - N * x[i]")[1])
    return _machine(path, {
        "sample_rate": front.get("sample_rate"), "hop": front.get("hop"), "n_fft": n_fft, "window": window,
        "periodic": periodic, "centre": _prose_centre(path, front, n_fft), "mel_basis": basis[1],
        "log_floor": float(log[1]), "mean": float(scaling[2]) * (-1 if scaling[1] == "+" else 1),
        "std": float(scaling[3]), "preemphasis": start, "frames": int(length[1]), "least_frames": int(length[2]),
    })  # fmt: skip


def _prose_window(path: Path, front: dict[str, Any]) -> tuple[int, int, bool]:
    """Return the length of the transform, that of the window, and whether it is periodic."""
    n_fft, length = front.get("n_fft"), front.get("win_length")
    wording = "Hann, symmetric, length N, zero padded to N in the middle"
    said = _match(path, "front_end.window", front.get("window"), _WINDOW, wording)
    if int(said[2]) != length:
        refuse(path, "front_end.window", f"must name the win_length, which is {length}", said[2])
    if (int(said[3]) if said[3] else length) != n_fft:
        refuse(path, "front_end.window", f"must be zero padded to the n_fft, which is {n_fft}", front.get("window"))
    return int(said[3] or said[2]), int(said[2]), said[1] == "periodic"


def _prose_centre(path: Path, front: dict[str, Any], n_fft: int) -> bool:
    """Return whether sounds are mirrored at their ends."""
    if front.get("centre") is None:
        return False
    said = _match(path, "front_end.centre", front["centre"], _CENTRE, "reflect padding of N samples each side")
    if int(said[1]) != n_fft // 2:
        refuse(path, "front_end.centre", f"must pad by half the n_fft, {n_fft // 2}", said[1])
    return True


def _match(path: Path, name: str, value: object, pattern: re.Pattern[str], wording: str) -> re.Match[str]:
    found = pattern.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        refuse(path, name, f"must read {wording!r}; any other way goes into 'preprocessing'", value)
    return found


def _basis(path: Path, name: str, file: object, n_fft: int) -> Floats:
    """Return the mel basis of a file beside the card."""
    if not isinstance(file, str) or not file or Path(file).name != file:
        refuse(path, name, "must be the name of a file in the same folder", file)
    try:
        basis = np.load(path.parent / file)
    except (OSError, ValueError, EOFError) as error:
        raise EncoderError(f"{path.parent / file}: the mel basis of the card cannot be read ({error})") from None
    n_bins = n_fft // 2 + 1
    is_table = isinstance(basis, np.ndarray) and basis.ndim == 2 and basis.dtype.kind == "f"
    if not is_table or basis.shape[1] != n_bins or not np.isfinite(basis).all():
        got = f"{basis.dtype} {list(basis.shape)}" if isinstance(basis, np.ndarray) else type(basis).__name__
        refuse(path.parent / file, None, f"must be finite floats (n_mels, {n_bins})", got)
    return np.ascontiguousarray(basis, np.float32)


def _test_sound(sanity: object, sample_rate: int) -> TestSound | None:
    """Return the test of a card, None when it has none or one of a sound that is not understood."""
    test = sanity.get("test_vector") if isinstance(sanity, dict) else None
    chirp = _CHIRP.fullmatch(re.sub(r"\s", "", str(test.get("how")))) if isinstance(test, dict) else None
    if not isinstance(test, dict) or chirp is None or int(chirp[2]) != sample_rate:
        return None
    first, length, mel = test.get("embedding_first5"), test.get("embedding_l2"), test.get("mel", {})
    if not isinstance(first, list) or not all(map(is_number, first)) or not is_number(length):
        return None
    mel = mel if isinstance(mel, dict) else {}
    numbers: dict[str | tuple[int, int], float] = {}
    for name, value in mel.items():
        place = _MEL_PLACE.fullmatch(name)
        if is_number(value) and (place or name in ("mel_mean", "mel_std", "mel_min", "mel_max")):
            numbers[(int(place[1]), int(place[2])) if place else name.removeprefix("mel_")] = float(value)
    shape: Any = mel.get("mel_shape")
    is_pair = isinstance(shape, list) and len(shape) == 2 and all(type(side) is int for side in shape)
    return TestSound(
        sound=_chirp_of(*map(float, chirp.groups())), shape=(shape[0], shape[1]) if is_pair else None, mel=numbers,
        first=tuple(map(float, first)), length=float(length),  # type: ignore[arg-type]
    )  # fmt: skip


def _chirp_of(n_samples: float, rate: float, loudness: float, start_hz: float, rise: float) -> Floats:
    t: npt.NDArray[np.float64] = np.arange(int(n_samples)) / rate
    return (loudness * np.sin(2 * np.pi * (start_hz * t + rise * t * t))).astype(np.float32)
