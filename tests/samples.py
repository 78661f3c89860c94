"""A small synthetic catalogue whose plots and credits tell the genre, and recipes that learn it in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reeltag.calibration import CalibrationConfig
from reeltag.catalogue import Catalogue
from reeltag.graph.credits import CreditConfig
from reeltag.graph.embedding import EmbeddingConfig
from reeltag.graph.link_credits import LinkCreditConfig
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.trainer import LinkTrainingConfig
from reeltag.labels import LabelConfig
from reeltag.recipes import FeatureConfig, Recipe
from reeltag.tagger import Tagger

Row = dict[str, Any]

WORDS = {
    "Comedy": ["prank", "banana", "giggle", "clumsy", "wedding", "mishap", "punchline", "disguise", "butler", "farce"],
    "Horror": ["haunted", "blood", "scream", "cellar", "demon", "curse", "grave", "midnight", "knife", "shadow"],
    "Western": ["sheriff", "saddle", "outlaw", "ranch", "canyon", "duel", "cattle", "saloon", "bandit", "prairie"],
    "Romance": ["kiss", "letter", "heart", "summer", "promise", "dance", "longing", "paris", "rose", "farewell"],
}
GENRES = tuple(WORDS)
NOISE = ["town", "family", "morning", "secret", "stranger", "road", "winter", "brother", "money", "night", "river"]
SPLITS = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2
SCHEMA: dict[str, Any] = {
    "id": pl.String, "title": pl.String, "year": pl.Int32, "plot": pl.String, "directors": pl.List(pl.String),
    "cast": pl.List(pl.String), "genres": pl.List(pl.String), "moods": pl.List(pl.String),
    "keywords": pl.List(pl.String), "split": pl.String,
}  # fmt: skip


def rows(n: int = 120, *, background: int = 10, seed: int = 0) -> list[Row]:
    """Return titles in turn train, validation and test, then background titles with credits only."""
    random = np.random.default_rng(seed)
    return [_row(number, n, random) for number in range(n + background)]


def _row(number: int, n: int, random: np.random.Generator) -> Row:
    main = GENRES[number % len(GENRES)]
    second = str(random.choice([g for g in GENRES if g != main]))
    genres = [main, second] if random.random() < 0.3 else [main]
    pool = [word for genre in genres for word in WORDS[genre]]
    words = [*random.choice(pool, 8), *random.choice(NOISE, 5)]
    random.shuffle(words)
    is_background = number >= n
    return {
        "id": f"t{number:03}",
        "title": f"{random.choice(pool)} {random.choice(NOISE)} {number}".capitalize(),
        "year": int(1950 + 10 * GENRES.index(main) + random.integers(0, 10)),
        "plot": None if is_background else " ".join(words).capitalize() + ".",
        "directors": [f"{main} director {random.integers(0, 4)}"],
        "cast": [f"{genre} actor {person}" for genre in genres for person in random.choice(6, 2, replace=False)],
        "genres": genres,
        "moods": ["dark" if main in ("Horror", "Western") else "light"],
        "keywords": sorted({str(word) for word in random.choice(pool, 3)}),
        "split": "background" if is_background else SPLITS[number // len(GENRES) % len(SPLITS)],
    }


def catalogue(of: Iterable[Row] | None = None, *, without: Iterable[str] = ()) -> Catalogue:
    """Return rows as a catalogue, some columns left out."""
    schema = {name: kind for name, kind in SCHEMA.items() if name not in set(without)}
    chosen = [{name: row.get(name) for name in schema} for row in (rows() if of is None else of)]
    return Catalogue.from_frame(pl.DataFrame(chosen, schema=schema), source="films.jsonl")


def changed(change: Callable[[Row], Row | None], split: str | None = None) -> Catalogue:
    """Return the sample with changed rows of one split, or of all; None leaves a row out."""
    new = [change(dict(row)) if split in (None, row["split"]) else row for row in rows()]
    return catalogue(row for row in new if row is not None)


def write_jsonl(path: Path, of: Iterable[Row] | None = None) -> Path:
    """Write rows as JSONL."""
    lines = [json.dumps(row, ensure_ascii=False) for row in (rows() if of is None else of)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


TINY = {
    "hidden": 16, "dropout": 0.1, "input_dropout": 0.1, "sparse_dim": 16, "n_members": 1,
    "training": {"epochs": 6, "batch_size": 16, "learning_rate": 0.02, "patience": 3},
}  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {
    "fusion": TINY,
    "idkg": {name if name != "hidden" else "dim": value for name, value in TINY.items()},
    "linear": {"n_threads": 1, "c": 10.0},
}


TINY_LINKS = LinkCreditConfig(
    folds=2,
    embedding=EmbeddingConfig(
        scorer="rotate",
        scorer_settings={"dim": 4},
        training=LinkTrainingConfig(
            epochs=2, batch_size=64, threads=1, device="cpu", negatives=NegativeConfig(count=8, chunk_size=32)
        ),
    ),
)


def quick_recipe(
    model: str = "linear",
    *,
    modalities: tuple[str, ...] = ("plot", "title", "year", "credits"),
    field: str = "genres",
    credits: CreditConfig | None = None,
    credit_features: tuple[str, ...] = ("profile",),
    **settings: Any,
) -> Recipe:
    """Return a recipe without pre-trained encoders, small enough for a test."""
    return Recipe(
        name=f"quick-{model}",
        model=model,
        model_settings=SETTINGS[model] | settings,
        labels=LabelConfig(field=field, min_count=3),
        features=FeatureConfig(
            modalities=modalities,
            plot_encoders=("tfidf",),
            title_encoders=("tfidf",),
            credit_features=credit_features,
            credits=credits or CreditConfig(),
            links=TINY_LINKS,
        ),
        calibration=CalibrationConfig(min_examples=5),
    )


@cache
def sample() -> Catalogue:
    """Return the sample catalogue; shared, it cannot be changed."""
    return catalogue()


@cache
def fitted(model: str = "linear", credit_features: tuple[str, ...] = ("profile",)) -> Tagger:
    """Return a tagger fitted on the sample; shared by tests that only read from it."""
    return Tagger(quick_recipe(model, credit_features=credit_features)).fit(sample())


def files_of(folder: Path, *but: str) -> dict[str, bytes]:
    """Return the content of every file under a folder, some left out."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {name: path.read_bytes() for path in paths if (name := str(path.relative_to(folder))) not in but}
