"""The poster paper's table, with what it leaves open, and what posters add to a model that reads everything else."""

from __future__ import annotations

from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry, Variant
from reeltag.benchmark.published import HIT, METRICS, POSTER_PAPER
from reeltag.models.contract import STANDING
from reeltag.models.poster import POSTER_PUBLISHED
from reeltag.recipes import RECIPES

_IMAGE, _WORDS = "poster", "poster_text"
_BOTH = (_IMAGE, _WORDS)
_CONCATENATED: dict[str, Any] = {"fusion": "concat"}
_UNATTENDED: dict[str, Any] = {"self_layers": 0}
_WITHOUT = ("plot", "title", "year", "credits")


def _poster(label: str, settings: dict[str, Any] | None = None, reads: tuple[str, ...] = _BOTH) -> Entry:
    """Return an entry of the poster model: the paper's parts and loss at a width for CPUs, some settings changed."""
    return Entry(label=label, model="poster", settings=settings or {}, reads=reads, tokens=True)


def _gain(label: str, *more: str) -> Entry:
    """Return an entry of IDKG that reads something of posters besides."""
    settings = RECIPES["idkg"].model_settings
    return Entry(label=label, model="idkg", settings=settings, reads=(*_WITHOUT, *more), side=(STANDING,))


_TABLE = (
    _poster("full"),
    _poster("full - SMSAM", _UNATTENDED),
    _poster("full - MCAM", _CONCATENATED),
    _poster("full - MCAM - SMSAM", _CONCATENATED | _UNATTENDED),
    _poster("full with BCE", RECIPES["poster"].model_settings),
    _poster("image only", reads=(_IMAGE,)),
    _poster("text only", reads=(_WORDS,)),
    Entry(
        label="as published",
        model="poster",
        settings=POSTER_PUBLISHED,
        reads=_BOTH,
        tokens=True,
        published=("poster, main result", "full model"),
    ),
    Entry(label="early fusion", model="early", reads=_BOTH),
    Entry(label="GMU", model="gmu", reads=_BOTH),
    Entry(label="fusion (reeltag)", model="fusion", reads=_BOTH),
)
_GAIN = (
    _gain("idkg without posters"),
    _gain("idkg + poster", _IMAGE),
    _gain("idkg + words on posters", _WORDS),
    _gain("idkg + poster + words", _IMAGE, _WORDS),
)

POSTER_BENCHMARKS = (
    Benchmark(
        name="poster-table",
        title="Posters and the words on them, and what each part of the model is worth",
        paper=POSTER_PAPER,
        source="the main result and the ablations",
        entries=_TABLE,
        reference="full",
        features={"modalities": list(_BOTH), "tokens": list(_BOTH)},
        metrics=(*METRICS, HIT),
        examined=("full", "image only", "text only"),
        variants=(
            Variant(name="posters at 50 %", scale=0.5),
            Variant(name="posters at 75 %", scale=0.75),
            Variant(name="words by tesserocr", ocr="tesserocr"),
            Variant(name="no words", hidden=_WORDS),
            Variant(name="no image", hidden=_IMAGE),
        ),
    ),
    Benchmark(
        name="poster-gain",
        title="What posters and the words on them add to idkg",
        entries=_GAIN,
        reference="idkg without posters",
        features={"modalities": [*_WITHOUT, *_BOTH]},
        metrics=(*METRICS, HIT),
        examined=tuple(entry.label for entry in _GAIN),
    ),
)
