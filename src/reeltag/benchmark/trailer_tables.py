"""The trailer paper's table: every expert alone, pairs, all side by side, and all gated by each other.

Its experts look at a trailer and listen to it. Here an expert is any modality, so the rows are made from those that are
asked for: without trailers, plot, poster and credits do. The fine-grained stage says nothing of genres and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.published import TRAILER_PAPER
from reeltag.benchmark.weighted import AREAS, DECIDED
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.errors import ConfigError
from reeltag.models.gating import GATING_PUBLISHED

_TABLE = "trailer, ablations"
_ALONE = {"scene": "Scene", "audio": "Audio", "motion": "Motion", "image": "Image"}
_PAIRS = {
    ("image", "audio"): "Image + Audio",
    ("image", "motion"): "Image + Motion",
    ("image", "scene"): "Image + Scene",
}
_ALL_PAIRS = 3  # experts up to which every pair is a row
_CONCATENATED: dict[str, Any] = {"join": "concat"}
_STAR: dict[str, Any] = {"join": "star"}


def trailer_rows(modalities: Sequence[str]) -> tuple[Entry, ...]:
    """Return the rows for some experts.

    Three experts have all their pairs; of more, the first (``image`` where it is among them) with each other one, as in
    the paper.

    Raises:
        ConfigError: There is only one.
    """
    if len(modalities) < 2:
        raise ConfigError(f"trailer-table compares experts and needs two modalities; got {', '.join(modalities)}")
    reads = tuple(modalities)
    return (
        Entry(label="random", published=(_TABLE, "Random"), why_not="not run: scores of no model"),
        *(_gated(name, {}, (name,), _ALONE.get(name, "")) for name in reads),
        *(_gated(" + ".join(pair), {}, pair, _PAIRS.get(pair, "")) for pair in _pairs(reads)),
        _gated("naive concat", _CONCATENATED, reads, "Naive Concat"),
        _gated("full", {}, reads),
        _gated("full as star", _STAR, reads),
        _gated("as published", GATING_PUBLISHED, reads, "MMX-Trailer-20"),
        Entry(label="early fusion", model="early", reads=reads),
        Entry(label="GMU", model="gmu", reads=reads),
    )


def _pairs(reads: tuple[str, ...]) -> list[tuple[str, str]]:
    first = "image" if "image" in reads else reads[0]
    ordered = [first, *(name for name in reads if name != first)]
    if len(reads) == 2:
        return []
    return [pair for pair in combinations(ordered, 2) if len(reads) <= _ALL_PAIRS or pair[0] == first]


def _gated(label: str, settings: dict[str, Any], reads: tuple[str, ...], row: str = "") -> Entry:
    """Return an entry of collaborative gating on some experts, trailers read shot by shot."""
    return Entry(
        label=label,
        model="gating",
        settings={**settings, "fine_stage": False},
        reads=reads,
        tokens=not set(reads).isdisjoint(SHOT_MODALITIES),
        published=(_TABLE, row) if row else None,
    )


TRAILER_BENCHMARKS = (
    Benchmark(
        name="trailer-table",
        title="Experts alone, in pairs, side by side and gated by each other",
        paper=TRAILER_PAPER,
        source="the ablations",
        entries=trailer_rows(("image", "scene", "motion", "audio")),
        rows_of=trailer_rows,
        reference="full",
        # what can be read without a download; --scene-encoder adds the scene
        features={"modalities": ["image", "motion", "audio"], "tokens": list(SHOT_MODALITIES)},
        metrics=("micro_f1", "macro_f1", "weighted_f1", *AREAS, *DECIDED),
    ),
)
