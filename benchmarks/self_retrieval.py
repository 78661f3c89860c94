"""How well one half of the shots of a clip finds the other half among all clips: by each expert, and by all together.

Shots are dealt out at random, the same for all experts. The clips of a folder are joined by made-up ones of moving
patterns and sounds, so that experts differ in what they can do: of every ten, two share their pictures with another
one and two their sound (by these alone they cannot be told apart), and one is silent. A gating space is learnt from
other made-up clips, which are not searched, by NT-Xent and without labels.

    python benchmarks/self_retrieval.py TRAILERS [--image onnx:FOLDER] [--scene onnx:FOLDER] [--motion flow]
        [--audio onnx:FOLDER] [--clips 40] [--train 40] [--seeds 5]
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.catalogue.trailers import TrailerFiles
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers import open_shot_expert
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.encoders.trailers.outline import video_files
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.features import Features, TokenBlock
from reeltag.models.gating import FineConfig, GatingConfig, GatingModel
from reeltag.training import TrainingConfig

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]
WIDTH, HEIGHT, FPS, RATE = 128, 72, 12, 16_000
N_SHOTS, SHOT_S = 8, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trailers", type=Path, help="folder of videos")
    for modality, spec in zip(SHOT_MODALITIES, ("descriptors", "descriptors", "flow", "spectral"), strict=True):
        parser.add_argument(f"--{modality}", default=spec, help=f"the {modality} expert ({spec})")
    parser.add_argument("--clips", type=int, default=40, help="made-up clips that are searched")
    parser.add_argument("--train", type=int, default=40, help="made-up clips that the gating space is learnt from")
    parser.add_argument("--epochs", type=int, default=30, help="of NT-Xent")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of NT-Xent")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dim", type=int, default=128, help="of an expert in the gating space")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    specs = {name: getattr(asked, name) for name in SHOT_MODALITIES}
    with tempfile.TemporaryDirectory() as folder:
        made = [write_clip(Path(folder) / f"{n:03}.mp4", *kinds(n), n) for n in range(asked.clips + asked.train)]
        files = video_files([asked.trailers]) + made
        sequences = encoded(files, specs, Path(folder) / "cache")
    n_searched = len(files) - asked.train
    searched, train = sequences.take(range(n_searched)), sequences.take(range(n_searched, len(files)))
    enough = np.flatnonzero(searched.any_seen.sum(axis=1) > 1)  # a clip of one shot has no other half
    searched = searched.take(enough)
    n_shots = int(searched.any_seen.sum())
    print(f"{len(enough)} clips of {n_shots} shots ({n_searched - len(enough)} of one shot left out), {asked.train} to")
    print(f"learn from; {asked.seeds} seeds; {datetime.date.today()}; load {os.getloadavg()[0]:.1f}")
    found: dict[str, list[float]] = {}
    for seed in range(asked.seeds):
        for name, recall in recalls(searched, train, asked, seed).items():
            found.setdefault(name, []).append(recall)
    print("| what | Recall@1 | spread over seeds |\n|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.3f} | {np.std(values):.3f} |")
    print(f"| by chance | {1 / len(enough):.3f} | |")


@dataclass(frozen=True)
class Sequences:
    """Vectors of all shots of clips, (n_clips, n_shots, dim), and which of them are real, by expert."""

    values: Mapping[str, Floats]
    seen: Mapping[str, Seen]

    @property
    def any_seen(self) -> Seen:
        """Which shots there are, (n_clips, n_shots)."""
        return np.asarray(np.any(list(self.seen.values()), axis=0))

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Sequences:
        chosen = list(rows)
        return Sequences(
            {name: each[chosen] for name, each in self.values.items()},
            {name: each[chosen] for name, each in self.seen.items()},
        )

    def only(self, shots: Seen) -> Sequences:
        """Return the same with some of the shots, (n_clips, n_shots)."""
        return replace(self, seen={name: each & shots for name, each in self.seen.items()})

    @property
    def features(self) -> Features:
        n = len(self.any_seen)
        tokens = {
            name: TokenBlock(_Held(self.values[name], seen), np.where(seen.any(axis=1), np.arange(n), -1), 10_000)
            for name, seen in self.seen.items()
        }
        return Features([str(row) for row in range(n)], {}, tokens)


@dataclass(frozen=True)
class _Held:
    """Sequences in memory as a source of tokens."""

    values: Floats
    seen: Seen

    @property
    def dim(self) -> int:
        return int(self.values.shape[2])

    def read(self, places: npt.NDArray[np.int64], limit: int) -> tuple[npt.NDArray[Any], Seen]:
        seen = self.seen[places, :limit] & (places >= 0)[:, None]
        return (self.values[places, :limit] * seen[:, :, None]).astype(np.float16), seen


def encoded(files: Sequence[Path], specs: Mapping[str, str], cache: Path) -> Sequences:
    """Return what experts make of the shots of files."""
    experts = {f"{name}.{name}": open_shot_expert(name, spec) for name, spec in specs.items()}
    trailers = TrailerFiles(paths={str(path): path for path in files}, source="clips")
    blocks = FeatureStore(cache).encode_trailers(experts, trailers, list(trailers.paths), ShotConfig())
    read = {name: block.read() for name, block in blocks.items()}
    longest = max(seen.shape[1] for _, seen in read.values())
    pad = {name: ((0, 0), (0, longest - seen.shape[1])) for name, (_, seen) in read.items()}
    return Sequences(
        {name: np.pad(values.astype(np.float32), (*pad[name], (0, 0))) for name, (values, _) in read.items()},
        {name: np.pad(seen, pad[name]) for name, (_, seen) in read.items()},
    )


def recalls(clips: Sequences, train: Sequences, asked: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return Recall@1 of one deal, both ways, by what searches."""
    there = clips.any_seen
    lots = np.where(there, np.random.default_rng(seed).random(there.shape), 2).argsort(axis=1).argsort(axis=1)
    first = lots < there.sum(axis=1, keepdims=True) // 2
    views = clips.only(first), clips.only(there & ~first)
    means = {name: [mean_of(view, name) for view in views] for name in clips.values}
    found = {name.partition(".")[0]: recall(*pair) for name, pair in means.items()}
    found["all, side by side"] = recall(*(np.concatenate(sides, axis=1) for sides in zip(*means.values(), strict=True)))
    for title, join, epochs in (
        ("isometric space, no gate", "concat", 0),
        ("the same after NT-Xent", "concat", asked.epochs),
        ("gated space, as it starts", "pairwise", 0),
        ("gated space after NT-Xent", "pairwise", asked.epochs),
    ):
        config = GatingConfig(
            dim=asked.dim, join=join, dropout=0.1, input_dropout=0.1, modality_dropout=0.0,
            training=TrainingConfig(epochs=1, batch_size=16, learning_rate=1e-6),
            fine=FineConfig(
                dim=asked.dim, epochs=epochs, batch_size=64, learning_rate=asked.rate, weigh=False, supervised=0.0,
                out=0,
            ),
        )  # fmt: skip
        labels = np.arange(len(train.any_seen))[:, None] % 2  # which mean nothing and count for nothing
        model = GatingModel(config, seed=seed).fit(train.features, labels.astype(np.float32))
        found[title] = recall(*(model.embed(view.features) for view in views))
    return found


def mean_of(view: Sequences, name: str) -> Floats:
    """Return the mean over the shots that an expert has seen, at unit length, 0 where there is none."""
    means = (view.values[name] * view.seen[name][:, :, None]).sum(axis=1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-9), np.float32)


def recall(one: Floats, other: Floats) -> float:
    """Return how often the nearest is the own other half, both ways; a clip without a vector finds nothing."""
    likeness = np.where(np.any(one, axis=1)[:, None] & np.any(other, axis=1), one @ other.T, -2.0)
    own = np.diag(likeness)
    ways = []
    for rows in (likeness, likeness.T):
        others = np.where(np.eye(len(own), dtype=bool), -3.0, rows).max(axis=1)
        ways.append(((own > others) & (own > -2)).mean())
    return float(np.mean(ways))


def kinds(number: int) -> tuple[int, int | None]:
    """Return what the pictures and the sound of a made-up clip are like, as seeds; None for no sound."""
    pictures, sound = 2 * number, 2 * number + 1
    if number % 10 in (1, 6):
        pictures = 2 * (number - 1)
    if number % 10 in (3, 8):
        sound = 2 * (number - 1) + 1
    return pictures, None if number % 10 == 4 else sound


def write_clip(path: Path, pictures: int, sound: int | None, seed: int) -> Path:
    """Write a clip of shots that are variations of one look and one sound."""
    import av

    random = np.random.default_rng([7, seed])
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("mpeg4", rate=FPS, options={"qscale": "4"}, width=WIDTH, height=HEIGHT)
        video.pix_fmt = "yuv420p"
        heard: Any = None if sound is None else out.add_stream("aac", rate=RATE, layout="mono")
        lengths = [round(FPS * SHOT_S * random.uniform(0.7, 1.3)) for _ in range(N_SHOTS)]
        for place, picture in enumerate(p for shot, n in enumerate(lengths) for p in drawn(pictures, shot, n, random)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            wave = np.concatenate([played(sound, n / FPS, random) for n in lengths])
            for start in range(0, len(wave), 1024):
                piece = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
                piece.rate, piece.pts, piece.time_base = RATE, start, Fraction(1, RATE)
                out.mux(heard.encode(piece))
            out.mux(heard.encode(None))
    return path


def drawn(look: int, shot: int, n: int, random: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    """Return the pictures of a shot: stripes and grain between two colours that move and grow."""
    fixed = np.random.default_rng([1, look])
    dark, bright = fixed.uniform(0, 130, 3), fixed.uniform(90, 255, 3)
    angle, pitch, speed, grain = fixed.uniform(0, np.pi), fixed.uniform(4, 25), fixed.normal(0, 8), fixed.uniform(0, 60)
    zoom = fixed.normal(0, 0.3)
    dark, bright = dark + random.normal(0, 25, 3), bright + random.normal(0, 25, 3) - 50 * (shot % 2)
    angle, pitch, speed = angle + random.normal(0, 0.5), pitch * random.uniform(0.6, 1.6), speed + random.normal(0, 5)
    noise = random.normal(size=(HEIGHT, WIDTH))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    along = (x - WIDTH / 2) * np.cos(angle) + (y - HEIGHT / 2) * np.sin(angle)
    phase = random.uniform(0, 2 * np.pi)
    pictures = []
    for second in np.arange(n) / FPS:
        share = 0.5 + 0.5 * np.sin(phase + (along / (1 + zoom * second).clip(0.2) - speed * second) / pitch * np.pi)
        picture = dark + (bright - dark) * share[:, :, None] + (grain * noise)[:, :, None]
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def played(kind: int, seconds: float, random: np.random.Generator) -> Floats:
    """Return the sound of a shot: a tone with overtones, beats, and noise."""
    fixed = np.random.default_rng([2, kind])
    hertz = np.exp(fixed.uniform(np.log(110), np.log(1500)) + random.normal(0, 0.25))
    beats, hiss, bite = fixed.uniform(1, 9) * random.uniform(0.8, 1.2), fixed.uniform(0, 0.1), fixed.uniform(0, 1)
    times = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * hertz * times) + bite * np.sin(6 * np.pi * hertz * times)
    wave = 0.25 * tone * (0.5 + 0.5 * np.sin(2 * np.pi * beats * times)) + hiss * random.normal(size=len(times))
    return np.asarray(wave.clip(-1, 1), np.float32)


if __name__ == "__main__":
    main()
