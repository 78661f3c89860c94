"""What reading trailers costs: decoding alone, cutting into shots, every expert by itself, and the whole pass.

Whole pass: every file of a folder is hashed, decoded, cut, shown to four experts, and written to an empty cache. Bare:
the experts alone, on shots that are in memory with their pictures drawn. Target: the whole in at most 1.2 times the
bare. First with the experts that are asked for, then with models of published size (ViT-B/16 twice, VideoMAE-base,
AST-base) and random weights, which take as long as trained ones; these see the beginning of each file only.

    python benchmarks/trailer_speed.py TRAILERS [--image onnx:FOLDER] [--scene onnx:FOLDER] [--motion flow]
        [--audio onnx:FOLDER] [--published-s 6] [--repeats 3]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from reeltag.catalogue.trailers import TrailerFiles
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers import open_shot_expert
from reeltag.encoders.trailers.contract import SHOT_MODALITIES, Shot, ShotExpert
from reeltag.encoders.trailers.outline import video_files
from reeltag.encoders.trailers.reader import ShotReader
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.encoders.trailers.trailer_pass import BATCH_SHOTS, rates_of
from reeltag.encoders.trailers.video import Video, open_media

Experts = Mapping[str, ShotExpert]


class Cost(NamedTuple):
    """Seconds of processor time, of all threads together, and by the clock."""

    cpu_s: float
    wall_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trailers", type=Path, help="folder of videos")
    for modality, spec in zip(SHOT_MODALITIES, ("descriptors", "descriptors", "flow", "spectral"), strict=True):
        parser.add_argument(f"--{modality}", default=spec, help=f"the {modality} expert ({spec})")
    parser.add_argument("--max-s", type=float, default=600, help="seconds of every file that these experts see")
    parser.add_argument("--published-s", type=float, default=6, help="and those of published size; 0 leaves them out")
    parser.add_argument("--repeats", type=int, default=3, help="of those that are asked for; the others run once")
    parser.add_argument("--threads", type=int, default=1, help="of each model")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    paths = video_files([asked.trailers])
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {asked.threads} thread(s) per model"
    print(f"{len(paths)} files; {machine}; {datetime.date.today()}; load {os.getloadavg()[0]:.1f}")
    if asked.repeats:
        experts = {name: open_shot_expert(name, getattr(asked, name)) for name in SHOT_MODALITIES}
        report("as asked", experts, paths, ShotConfig(max_s=asked.max_s), asked.repeats)
    if asked.published_s:
        with tempfile.TemporaryDirectory() as folder:
            report("published size", published(Path(folder)), paths, ShotConfig(max_s=asked.published_s), 1)


def published(folder: Path) -> Experts:
    """Return experts of published size with random weights."""
    import transformers

    torch.manual_seed(0)
    vit, video, audio = folder / "vit", folder / "videomae", folder / "ast"
    transformers.ViTModel(transformers.ViTConfig()).save_pretrained(vit)
    transformers.ViTImageProcessorPil().save_pretrained(vit)
    transformers.VideoMAEModel(transformers.VideoMAEConfig()).save_pretrained(video)
    transformers.VideoMAEImageProcessorPil().save_pretrained(video)
    transformers.ASTModel(transformers.ASTConfig()).save_pretrained(audio)
    extractors: Any = transformers.ASTFeatureExtractor  # not typed
    extractors().save_pretrained(audio)
    other = folder / "places"  # another model, so that nothing is shared
    transformers.ViTModel(transformers.ViTConfig()).save_pretrained(other)
    transformers.ViTImageProcessorPil().save_pretrained(other)
    specs = (f"transformer:{vit}", f"transformer:{other}", f"video:{video}", f"ast:{audio}")
    return {name: open_shot_expert(name, spec) for name, spec in zip(SHOT_MODALITIES, specs, strict=True)}


def report(title: str, experts: Experts, paths: Sequence[Path], config: ShotConfig, repeats: int) -> None:
    """Print what one set of experts costs, after it has looked at one second to warm up."""
    dims = {name: expert.dim for name, expert in experts.items()}  # opens the models
    for expert in experts.values():
        expert.encode_shots(list(drawn(paths[0], replace(config, max_s=1.0), rates_of(experts.values()))))
    print(f"\n{title}: " + ", ".join(f"{name} {experts[name].name} ({dims[name]})" for name in experts))
    rates = rates_of(experts.values())
    passes = {f"whole, {n} at once": partial(whole, experts, paths, config, n) for n in (1, 2)}
    costs = measured(passes, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # before shots are held for the bare passes
    shots = [shot for path in paths for shot in drawn(path, config, rates)]
    parts: dict[str, Callable[[], object]] = {
        "decoding": lambda: [decoded(path, config) for path in paths],
        "decoding and cutting": lambda: [sum(1 for _ in ShotReader(path, config, rates)) for path in paths],
    }
    costs |= measured(parts | {f"{name} alone": partial(bare, each, shots) for name, each in experts.items()}, repeats)
    told(costs, shots, len(paths), len(experts))
    print(f"peak memory of the whole passes {peak:.2f} GiB; load {os.getloadavg()[0]:.1f}", flush=True)


def measured(measures: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Cost]:
    """Return the median cost of each, taken in turn."""
    taken: dict[str, list[Cost]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            taken[name].append(timed(measure))
    return {name: Cost(*(median(values) for values in zip(*found, strict=True))) for name, found in taken.items()}


def told(costs: Mapping[str, Cost], shots: Sequence[Shot], n_files: int, n_experts: int) -> None:
    """Print the table."""
    alone = [cost for name, cost in costs.items() if name.endswith(" alone")]
    forwards = Cost(sum(cost.cpu_s for cost in alone), sum(cost.wall_s for cost in alone))
    seconds = sum(shot.end_s - shot.start_s for shot in shots)
    print(
        f"{len(shots)} shots, {seconds:.0f} s of film\n| what | CPU s | wall s | CPU / bare | wall / bare | files/min |"
    )
    print("|---|---|---|---|---|---|")
    for name, cost in {**costs, f"all {n_experts} alone": forwards}.items():
        ratios = f"{cost.cpu_s / forwards.cpu_s:.2f} | {cost.wall_s / forwards.wall_s:.2f}"
        print(f"| {name} | {cost.cpu_s:.2f} | {cost.wall_s:.2f} | {ratios} | {60 * n_files / cost.wall_s:.1f} |")


def drawn(path: Path, config: ShotConfig, rates: Sequence[int]) -> Iterator[Shot]:
    """Yield the shots of a file with all their pictures drawn."""
    for shot in ShotReader(path, config, rates):
        yield replace(shot, frames=shot.frames[np.arange(len(shot.frames))])


def decoded(path: Path, config: ShotConfig) -> int:
    """Decode a file as the reader does, and nothing else; return the number of pictures."""
    number = 0
    with open_media(path) as container:
        for time_s, _ in Video(path, container, deblocking=config.deblocking).frames():
            if config.max_s and time_s >= config.max_s:
                break
            number += 1
    return number


def bare(expert: ShotExpert, shots: Sequence[Shot]) -> None:
    """Show shots in memory to an expert, as many at a time as the pass does at most."""
    for start in range(0, len(shots), BATCH_SHOTS):
        expert.encode_shots(shots[start : start + BATCH_SHOTS])


def whole(experts: Experts, paths: Sequence[Path], config: ShotConfig, n_files: int) -> None:
    """Encode all files into an empty cache."""
    files = TrailerFiles(paths={path.stem: path for path in paths}, source="a folder")
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), trailers_at_once=n_files)
        blocks = store.encode_trailers(experts, files, list(files.paths), config)
        if not all(block.present.any() for block in blocks.values()):
            raise SystemExit("an expert has seen nothing")


def timed(run: Callable[[], object]) -> Cost:
    """Return what a call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


if __name__ == "__main__":
    main()
