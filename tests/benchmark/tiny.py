"""Settings with which every entry is trained in a moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reeltag.benchmark import BenchmarkConfig
from reeltag.evaluation import BootstrapConfig
from reeltag.labels import LabelConfig
from reeltag.recipes import FeatureConfig

MODELS: dict[str, Any] = {
    "dim": 8, "hidden": 8, "sparse_dim": 8, "n_members": 1, "layers": 1, "heads": 2, "tokens": 1, "graph_heads": 2,
    "graph_dim": 4, "parts": 2, "hidden_layers": 1,
    "training": {"epochs": 1, "batch_size": 64, "device": "cpu", "patience": 1},
}  # fmt: skip
GRAPH: dict[str, Any] = {
    "scorer_settings": {"dim": 30},
    "training": {"epochs": 1, "batch_size": 256, "device": "cpu", "negatives": {"count": 8, "chunk_size": 64}},
}
FEATURES = FeatureConfig(
    modalities=("plot", "title", "year", "credits"), plot_encoders=("tfidf",), title_encoders=("tfidf",)
)


def config(**changes: Any) -> BenchmarkConfig:
    """Return tiny settings with some of them changed."""
    base = BenchmarkConfig(
        n_seeds=1,
        labels=LabelConfig(min_count=3),
        features=FEATURES,
        bootstrap=BootstrapConfig(n_resamples=20),
        models=MODELS,
        graph=GRAPH,
    )
    return replace(base, **changes)
