"""What encoding a poster costs end to end, against the bare forward passes of its model, in one run.

End to end: the poster is read from its Parquet file, hashed, decoded, prepared, encoded, written to a fresh cache and
read back. Bare: the model alone, on inputs that were prepared before. Target: at most 1.15 times.

    python benchmarks/poster_speed.py SHARED [--n 512] [--repeats 3] [--threads 2] [--ocr 64]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch

from reeltag.catalogue.posters import Posters, open_posters
from reeltag.encoders.clip import ClipEncoder
from reeltag.encoders.images import RGBImage, decode_all
from reeltag.encoders.ocr import open_ocr_engine
from reeltag.encoders.onnx import OnnxEncoder
from reeltag.encoders.store import FeatureStore

MODELS = ("mobilenet-v2-imagenet", "places365-squeezenet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="folder with data/posters and weights")
    parser.add_argument("--n", type=int, default=512, help="posters per encoder")
    parser.add_argument("--ocr", type=int, default=64, help="posters for the OCR engine; 0 leaves it out")
    parser.add_argument("--clip", type=int, default=64, help="posters for a CLIP of random weights; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    posters = open_posters([asked.shared / "data" / "posters"])
    ids = pl.read_parquet(sorted((asked.shared / "data" / "posters").glob("*.parquet"))[0], columns=["imdb_id"])
    ids = ids["imdb_id"].to_list()[: max(asked.n, asked.ocr, asked.clip)]
    images = [image for image in decode_all([content for _, content in posters.read(ids)]) if image is not None]
    print(f"{len(images)} posters, {asked.threads} threads; median of {asked.repeats} runs, milliseconds a poster")
    print("| what | bare | end to end | ratio |\n|---|---|---|---|")
    for name in MODELS:
        folder = str(asked.shared / "weights" / name)
        encoder = OnnxEncoder(folder)
        inputs = prepared(encoder, images[: asked.n])
        measure(f"{name}, vectors", asked, bare_onnx(encoder._session, inputs),
                lambda s, e=encoder: s.encode_posters(e, posters, ids[: asked.n]), asked.n)  # fmt: skip
        measure(f"{name}, patches", asked, bare_onnx(*encoder._patch_session[:1], inputs, encoder._patch_session[1]),
                lambda s, e=encoder: s.encode_patches(e, posters, ids[: asked.n], 7), asked.n)  # fmt: skip
    if asked.clip:
        measure_clip(asked, posters, ids[: asked.clip], images[: asked.clip])
    if asked.ocr:
        measure_ocr(asked, posters, ids[: asked.ocr], images[: asked.ocr])


def prepared(encoder: OnnxEncoder, images: list[RGBImage]) -> list[Any]:
    """Return the inputs of the model, batch by batch."""
    size = encoder.batch_size
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return [encoder.card.input_of(np.stack([encoder.card.pixels(image) for image in part])) for part in parts]


def bare_onnx(session: Any, inputs: list[Any], output: str = "embedding") -> Callable[[], None]:
    """Return the bare forward passes."""
    name = session.get_inputs()[0].name

    def run() -> None:
        for batch in inputs:
            session.run([output], {name: batch})

    return run


def measure(
    what: str, asked: argparse.Namespace, bare: Callable[[], None], whole: Callable[[FeatureStore], object], n: int
) -> None:
    """Print both times, measured in turn after one round to warm up."""
    times: dict[str, list[float]] = {"bare": [], "whole": []}
    for _ in range(asked.repeats + 1):
        times["bare"].append(timed(bare))
        with tempfile.TemporaryDirectory() as folder:
            times["whole"].append(timed(lambda folder=folder: whole(FeatureStore(Path(folder)))))
    ratios = [whole / bare for bare, whole in list(zip(times["bare"], times["whole"], strict=True))[1:]]
    a, b = (1000 * median(times[kind][1:]) / n for kind in ("bare", "whole"))
    print(f"| {what} | {a:.2f} | {b:.2f} | {median(ratios):.3f} |", flush=True)


def measure_ocr(asked: argparse.Namespace, posters: Posters, ids: list[str], images: list[RGBImage]) -> None:
    """The same of the OCR engine, whose forward passes are those of its own pipeline."""
    engine = open_ocr_engine("rapidocr")
    engine.read(images[:1])
    measure(
        "rapidocr, words", asked, lambda: engine.read(images), lambda s: s.read_words(engine, posters, ids), len(ids)
    )


def measure_clip(asked: argparse.Namespace, posters: Posters, ids: list[str], images: list[RGBImage]) -> None:
    """The same of CLIP's ViT-B/32, whose cost does not depend on its weights: random ones are made on the spot."""
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    with tempfile.TemporaryDirectory() as folder:
        CLIPVisionModelWithProjection(CLIPVisionConfig()).save_pretrained(folder)
        CLIPImageProcessorPil().save_pretrained(folder)
        encoder = ClipEncoder(folder)
        processor, network = encoder._loaded
        parts = [images[start : start + encoder.batch_size] for start in range(0, len(images), encoder.batch_size)]
        inputs = [processor(part, return_tensors="pt")["pixel_values"].to(network.dtype) for part in parts]

        @torch.inference_mode()
        def bare() -> None:
            for batch in inputs:
                network(pixel_values=batch)

        measure("CLIP ViT-B/32, patches", asked, bare, lambda s: s.encode_patches(encoder, posters, ids, 7), len(ids))


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
