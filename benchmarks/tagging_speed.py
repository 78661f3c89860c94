"""How fast titles are tagged once their texts are encoded, and how much memory that takes.

    python benchmarks/tagging_speed.py SHARED_FOLDER TAGGER [--titles 100000]

Reads the catalogue, encodes what the cache lacks (not timed), then times the whole ``tag`` call in a fresh process
with and without evidence: loading the tagger, reading the catalogue, features from the cache, network, writing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from reeltag import Catalogue, Tagger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("tagger", type=Path)
    parser.add_argument("--titles", type=int, default=100_000)
    options = parser.parse_args()
    films = pl.read_parquet(options.shared / "data" / "films.parquet")
    films = films.filter(pl.col("plot").is_not_null()).head(options.titles)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "films.parquet", Path(folder) / "tagged.parquet"
        films.write_parquet(source)
        tagger = Tagger.from_pretrained(options.tagger)
        start = time.perf_counter()
        features = tagger.features(Catalogue.read(source))
        print(f"{len(films):,} titles; encoding what the cache lacked: {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        features = tagger.features(Catalogue.read(source))
        ready = time.perf_counter()
        tagger.predict_proba(features)
        probabilities_s = time.perf_counter() - ready
        print(f"in process: features from the cache {ready - start:.1f} s, probabilities {probabilities_s:.1f} s")
        for flag in ("--no-evidence", "--evidence"):
            command = [
                sys.executable,
                "-m",
                "reeltag",
                "tag",
                str(options.tagger),
                str(source),
                "--out",
                str(out),
                flag,
            ]
            for _ in range(3):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                print(f"reeltag tag {flag}: {time.perf_counter() - start:.1f} s, whole process")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(f"peak memory of a run: {peak:.2f} GB")


if __name__ == "__main__":
    main()
