"""How many words of the titles each OCR engine finds on posters, and how long it takes.

    python benchmarks/ocr_words.py SHARED_FOLDER [--engines rapidocr,tesserocr] [--small 300]

Reads data/ocr_posters.parquet, and the small posters of some validation films (seed 0). A word is a run of letters and
digits, without accents and case; recall is the share of the words of all titles that are found on their posters.
Seconds are those of the engine alone, after one image to warm up; decoding is not in them.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import unicodedata
from pathlib import Path

import polars as pl
import torch

from reeltag.catalogue.posters import open_posters
from reeltag.encoders.images import RGBImage, decode_all
from reeltag.encoders.ocr import PosterText, open_ocr_engine

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--engines", default="rapidocr,tesserocr")
    parser.add_argument("--small", type=int, default=300, help="small posters read")
    options = parser.parse_args()
    data = options.shared / "data"
    large = pl.read_parquet(data / "ocr_posters.parquet", columns=["imdb_id", "title"])
    films = pl.read_parquet(data / "films.parquet", columns=["imdb_id", "title", "split"])
    small = films.filter(pl.col("split") == "validation").select("imdb_id", "title")
    sets = (
        (data / "ocr_posters.parquet", large, len(large)),
        (data / "posters", small, options.small),
    )
    print(f"{torch.get_num_threads()} threads")
    print("engine     posters                    n   recall  titles whole  with text  words a poster  s a poster")
    for place, titles, n_posters in sets:
        images, wanted = posters_of(place, dict(titles.iter_rows()), n_posters)
        for engine in options.engines.split(","):
            print_row(engine, place.stem, images, wanted)


def posters_of(place: Path, titles: dict[str, str], n_posters: int) -> tuple[list[RGBImage], list[str]]:
    """Return the images of some titles, and those titles."""
    posters = open_posters([place])
    ids = sorted(titles)
    there = [i for i, has in zip(ids, posters.present(ids), strict=True) if has]
    chosen = random.Random(SEED).sample(there, min(n_posters, len(there)))
    found = list(posters.read(chosen))
    images = decode_all([content for _, content in found])
    pairs = [(image, titles[i]) for image, (i, _) in zip(images, found, strict=True) if image is not None]
    return [image for image, _ in pairs], [title for _, title in pairs]


def print_row(spec: str, place: str, images: list[RGBImage], titles: list[str]) -> None:
    engine = open_ocr_engine(spec)
    engine.read(images[:1])
    start = time.perf_counter()
    read = [engine.read([image])[0] for image in images]
    seconds = (time.perf_counter() - start) / len(images)
    texts = [words if isinstance(words, PosterText) else PosterText() for words in read]  # refused: nothing found
    hits = [found_words(title, text) for title, text in zip(titles, texts, strict=True)]
    hits = [hit for hit in hits if hit]  # a title of signs alone has no words
    recall = sum(map(sum, hits)) / sum(map(len, hits))
    whole = sum(map(all, hits)) / len(hits)
    with_text = sum(bool(text.words) for text in texts) / len(texts)
    n_words = sum(len(text.words) for text in texts) / len(texts)
    width, height = images[0].size
    print(
        f"{spec:<10} {f'{place}, {width} x {height}':<24} {len(images):>3}   {recall:>6.3f}  {whole:>12.3f}  "
        f"{with_text:>9.3f}  {n_words:>14.1f}  {seconds:>10.2f}",
        flush=True,
    )


def found_words(title: str, text: PosterText) -> list[bool]:
    """Return for every word of a title whether it is on the poster."""
    there = set(plain_words(text.text))
    return [word in there for word in plain_words(title)]


def plain_words(text: str) -> list[str]:
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.findall(r"[^\W_]+", bare.casefold())


if __name__ == "__main__":
    main()
