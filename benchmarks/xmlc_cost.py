"""What the tagger ``xmlc`` costs by number of labels: training, tagging, memory; a table and a chart.

Every size is trained in a process of its own, on all training and background titles of the shared films that have a
plot and the field, from cached vectors:

    python benchmarks/xmlc_cost.py SHARED [--cache DIR] [--sizes tags:20,keywords:20,keywords:7,keywords:1]
        [--members 1] [--epochs 12] [--experts net,words,near] [--out SVG]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from reeltag.benchmark.protocols import TrainingTitles, partition
from reeltag.catalogue import Catalogue
from reeltag.config import from_json, to_json
from reeltag.encoders.store import FeatureStore
from reeltag.evaluation.svg import ACCENT, FAINT, MUTED, bare, new_figure, style, to_svg
from reeltag.labels import LabelConfig
from reeltag.models import Validation, XmlcConfig, XmlcModel
from reeltag.pipeline import FeaturePipeline
from reeltag.recipes import RECIPES
from reeltag.splits import SplitConfig

_SIZES = "tags:20,keywords:20,keywords:7,keywords:1"


def measure(shared: Path, field: str, min_count: int, cache: Path | None, settings: dict[str, Any]) -> dict[str, float]:
    """Train on one label set and return what it took; times in seconds, memory in GB."""
    films = Catalogue.read(shared / "data" / "films.parquet")
    part = partition(
        films, LabelConfig(field=field, min_count=min_count), SplitConfig(),
        training=TrainingTitles(background=True, needs=("plot",)),
    )  # fmt: skip
    wider = np.union1d(films.rows_of("train"), films.rows_of("background"))
    start = time.perf_counter()
    pipeline = FeaturePipeline(RECIPES["xmlc"].features).fit(
        films.take(part.train), films.take(part.graph), part.targets[part.graph], wider=films.take(wider)
    )
    store = FeatureStore(cache)
    train, validation = (pipeline.transform(films.take(rows), store) for rows in (part.train, part.validation))
    features_s = time.perf_counter() - start
    config = from_json(XmlcConfig, settings, "settings")
    start = time.perf_counter()
    held_out = Validation(features=validation, targets=part.targets_of(part.validation))
    model = XmlcModel(config).fit(train, part.targets_of(part.train), validation=held_out)
    train_s = time.perf_counter() - start
    start = time.perf_counter()
    model.predict_proba(validation)
    tag_s = time.perf_counter() - start
    return {
        "labels": len(part.labels),
        "titles": len(part.train),
        "features_s": features_s,
        "train_s": train_s,
        "ms_per_label": 1000 * train_s / len(part.labels),
        "tag_ms_per_title": 1000 * tag_s / len(part.validation),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def chart(rows: list[dict[str, float]]) -> str:
    """Draw seconds of training, and milliseconds per label, over the number of labels, all logarithmic."""
    labels = [row["labels"] for row in rows]
    with style():
        figure = new_figure(3.4)
        for place, (name, title, colour) in enumerate(
            (("train_s", "training (s)", ACCENT), ("ms_per_label", "training, ms per label", MUTED))
        ):
            axes = figure.add_axes((0.09 + 0.5 * place, 0.16, 0.39, 0.72))
            axes.loglog(labels, [row[name] for row in rows], color=colour, marker="o", markersize=4)
            axes.set_xlabel("labels")
            axes.set_title(title, fontsize=9)
            axes.grid(color=FAINT, linewidth=0.6)
            axes.set_axisbelow(True)
            bare(axes)
        told = "; ".join(f"{row['labels']:,} labels: {row['train_s']:.0f} s" for row in rows)
        return to_svg(figure, name="cost", title="Cost of training by number of labels", description=told)


def main() -> None:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--sizes", default=_SIZES, help="FIELD:MIN_COUNT, separated by commas")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--experts", default="net,words,near")
    parser.add_argument("--out", type=Path, default=Path("runs/xmlc-cost.svg"))
    parser.add_argument("--one", action="store_true", help="measure the only size here and print JSON")
    told = parser.parse_args()
    sizes = [size.split(":") for size in told.sizes.split(",")]
    if told.one:
        settings = to_json(XmlcConfig(n_members=told.members))
        settings["training"]["epochs"] = told.epochs
        settings["experts"] = told.experts.split(",")
        print(json.dumps(measure(told.shared, sizes[0][0], int(sizes[0][1]), told.cache, settings)))
        return
    rows = []
    for field, count in sizes:
        command = [sys.executable, __file__, str(told.shared), "--sizes", f"{field}:{count}", "--one"]
        command += [
            "--members",
            str(told.members),
            "--epochs",
            str(told.epochs),
            *(["--cache", str(told.cache)] if told.cache else []),
        ]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(
            f"{field} on {count} titles or more: " + ", ".join(f"{k} {v:,.2f}" for k, v in rows[-1].items()), flush=True
        )
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(chart(rows), encoding="utf-8")
    print(f"chart: {told.out}")


if __name__ == "__main__":
    main()
