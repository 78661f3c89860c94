"""Extreme multi-label tagging: the paper's table, and our tagger beside strong peers."""

from __future__ import annotations

from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.published import METRICS, XMLC_PAPER
from reeltag.models.clusters import XMLC_PUBLISHED
from reeltag.recipes import RECIPES

_TABLE = "xmlc table 3"
_WORDS, _SENSE = ("plot.tfidf",), ("plot.minilm",)
_PLOT = ("plot",)
_ALL = ("plot", "title", "year", "credits")
_GIVEN = (*_ALL, "fields")
# of which titles the figures are: all that have labels and a plot, whichever split they learn from
_RUN: dict[str, Any] = {
    "labels": {"field": "tags", "min_count": 20},
    "train_on_background": True,
    "needs": ["plot"],
}


def _clusters(
    label: str, settings: dict[str, Any], row: str = "", reads: tuple[str, ...] = _PLOT, blocks: tuple[str, ...] = ()
) -> Entry:
    """Return an entry of the published system with some settings changed; on plots alone unless told."""
    return Entry(
        label=label,
        model="clusters",
        settings={**XMLC_PUBLISHED, **settings},
        reads=reads,
        blocks=blocks,
        published=(_TABLE, row) if row else None,
    )


def _peer(
    label: str, model: str, reads: tuple[str, ...], blocks: tuple[str, ...] = (), settings: dict[str, Any] | None = None
) -> Entry:
    return Entry(label=label, model=model, settings=settings or {}, reads=reads, blocks=blocks)


_PLAIN: dict[str, Any] = {"embedder": "none", "n_clusters": 0}
_TUNED: dict[str, Any] = {"n_clusters": 0}
_OURS = RECIPES["xmlc"].model_settings

XMLC_BENCHMARKS = (
    Benchmark(
        name="xmlc-table3",
        title="Clusters and local models, and what each part of them is worth",
        paper=XMLC_PAPER,
        source="table 3",
        entries=(
            _clusters("BERT", _PLAIN, "BERT"),
            _clusters("BERT*", _TUNED, "BERT*"),
            _clusters("full", {}, "our_approach"),
            _clusters("full with the nearest 3 clusters", {"nearest": 3}),
            _clusters("full with weights by title", {"balance": "sample"}),
            _clusters("full without class balance", {"balance": "none"}),
            _clusters("full - triplets", {"embedder": "none"}),
            _peer("xmlc (reeltag) on the same input", "xmlc", _PLOT, (), _OURS),
        ),
        reference="full",
        features={"modalities": list(_PLOT), "plot_encoders": ["minilm"]},
        run=_RUN,
        metrics=METRICS,
        long_tail=True,
    ),
    Benchmark(
        name="xmlc-peers",
        title="Thousands of tags: our tagger beside strong peers",
        entries=(
            _peer("one-vs-rest on words", "linear", _PLOT, _WORDS, {"c": 10.0}),
            _peer("label tree on words", "labeltree", _PLOT, _WORDS),
            _peer("nearest titles by plot", "knn", _PLOT, _SENSE),
            _clusters("clusters as published", {}, blocks=_SENSE),
            _peer("xmlc on plots", "xmlc", _PLOT, (), _OURS),
            _peer("label tree", "labeltree", _ALL),
            _peer("nearest titles", "knn", _ALL),
            _peer("early fusion", "early", _ALL, (), {"training": {"batch_size": 256}}),
            _clusters("clusters", {}, reads=_ALL),
            _peer("xmlc", "xmlc", _ALL, (), _OURS),
            _peer("xmlc with genres given", "xmlc", _GIVEN, (), _OURS),
        ),
        reference="xmlc",
        features={
            "modalities": list(_GIVEN),
            "credit_features": ["votes"],
            "vote_fields": ["genres"],
            "fields": ["genres"],
        },
        run=_RUN,
        metrics=METRICS,
        long_tail=True,
    ),
)
