"""Films whose labels can be read from words, from credits and a little from the year."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from reeltag.config import from_json
from reeltag.features import Block, Features
from reeltag.models import MODELS, Model, Targets

# single precision: rounding small layers to bfloat16 costs more time than it saves
_FAST: dict[str, Any] = {
    "sparse_dim": 8,
    "training": {"epochs": 10, "batch_size": 48, "learning_rate": 0.015, "precision": "32-true"},
}
_TRANSFORMER: dict[str, Any] = {
    "dim": 24,
    "layers": 1,
    "heads": 2,
    "tokens": 1,
    "modality_dropout": 0.2,
    "sparse_dim": 8,
    "training": {"epochs": 16, "batch_size": 48, "learning_rate": 0.008, "precision": "32-true"},
}
# small and fast settings; a model without an entry is tested with its defaults
SMALL: dict[str, dict[str, Any]] = {
    "knn": {"k": 15, "sparse_dim": 8},
    "labeltree": {"max_leaves": 2, "n_threads": 1},
    "fusion": {
        "hidden": 24,
        "sparse_dim": 8,
        "n_members": 2,
        "training": {"epochs": 12, "batch_size": 32, "learning_rate": 0.01},
    },
    "early": {"hidden": 24, "dropout": 0.2, **_FAST},
    "late": {"hidden": 24, "dropout": 0.2, **_FAST},
    "gmu": {"dim": 24, "dropout": 0.2, **_FAST},
    "centralnet": {"dim": 24, "dropout": 0.3, **_FAST},
    "mfn": {"parts": 3, "dim": 16, "hidden": 24, "dropout": 0.2, **_FAST},
    "refnet": {"hidden": 24, "dropout": 0.2, **_FAST},
    "mmbt": _TRANSFORMER,
    "mmgatbt": {"graph_heads": 2, "graph_dim": 8, **_TRANSFORMER},
    "idkg": {"dim": 24, "n_members": 2, **_FAST},
    "poster": {
        "dim": 24,
        "heads": 2,
        "self_layers": 1,
        "hidden": 24,
        "modality_dropout": 0.2,
        "sparse_dim": 8,
        "training": {"epochs": 16, "batch_size": 48, "learning_rate": 0.008, "precision": "32-true"},
    },
    "xmlc": {"hidden": 24, "dropout": 0.2, "n_members": 2, "n_threads": 1, "neighbours": 15, **_FAST},
    "clusters": {
        "embedding_dim": 12,
        "embedder_hidden": 24,
        "embedder_epochs": 6,
        "n_clusters": 3,
        "nearest": 2,
        "hidden": 24,
        "dropout": 0.1,
        "modality_dropout": 0.2,
        **_FAST,
    },
    "gating": {
        "dim": 24,
        "dropout": 0.1,
        "input_dropout": 0.1,
        "modality_dropout": 0.2,
        "fine": {"dim": 24, "out": 12, "epochs": 2, "batch_size": 32},
        **_FAST,
    },
}
needs_napkinxc = pytest.mark.skipif(importlib.util.find_spec("napkinxc") is None, reason="needs the extra 'xmlc'")
ENTRIES = [pytest.param(name, marks=needs_napkinxc) if name == "labeltree" else name for name in MODELS]
N_LABELS = 3
_WORDS_PER_LABEL = 4


def new(name: str, seed: int = 0) -> Model:
    """Return an unfitted model with small settings."""
    kind = MODELS[name]
    return kind(from_json(kind.config_class, SMALL.get(name, {}), f"{name} settings"), seed=seed)


def films(n: int, seed: int = 0, n_labels: int = N_LABELS) -> tuple[Features, Targets]:
    """Return films with all modalities, one of which has a sparse and a dense block, and their labels."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, n_labels)) < 0.35).astype(np.float32)
    words = sp.lil_matrix((n, n_labels * _WORDS_PER_LABEL + 6), dtype=np.float32)
    for row in range(n):
        for label in np.flatnonzero(targets[row] * (rng.random(n_labels) < 0.8)):
            words[row, label * _WORDS_PER_LABEL + rng.integers(_WORDS_PER_LABEL)] = 1
        words[row, words.shape[1] - 1 - rng.integers(6)] = 1  # a word that says nothing
    plot = words.tocsr()
    plot = sp.csr_matrix(sp.diags(1 / np.sqrt(np.asarray(plot.multiply(plot).sum(axis=1)).ravel())) @ plot, dtype="f4")
    directions = np.random.default_rng(9).normal(size=(n_labels, 10))
    sense = targets @ directions + rng.normal(size=(n, 10))
    credits = np.hstack([targets * 2 + rng.normal(size=targets.shape), rng.normal(size=(n, 2)) * 30])
    years = 1990 + 20 * targets[:, :1] + rng.normal(size=(n, 1)) * 20
    everyone = np.ones(n, np.bool_)
    blocks = {
        "plot.tfidf": Block(plot, everyone),
        "plot.sense": Block(_f4(sense / np.linalg.norm(sense, axis=1, keepdims=True)), everyone),
        "year": Block(_f4(np.hstack([years, np.ones((n, 1))])), everyone),  # with a column that never varies
        "credits.profile": Block(_f4(credits), everyone),
    }
    return Features([f"film{seed}-{row}" for row in range(n)], blocks), targets


def hide(features: Features, modality: str, rows: npt.ArrayLike, *, keep_values: bool = False) -> Features:
    """Return the features with a modality absent in some rows, their values zeroed unless ``keep_values``."""
    absent = np.zeros(len(features), np.bool_)
    absent[np.asarray(rows, np.int64)] = True
    blocks = dict(features.blocks)
    for name, block in features.blocks.items():
        if name.partition(".")[0] == modality:
            values = block.values if keep_values else _scaled_rows(block, ~absent)
            blocks[name] = Block(values, block.present & ~absent)
    return Features(features.ids, blocks)


def fill_absent(features: Features, value: float) -> Features:
    """Return the features with a value written all over the rows of absent titles."""
    blocks = {}
    for name, block in features.blocks.items():
        dense = (block.values.toarray() if block.is_sparse else block.values).copy()
        dense[~block.present] = value
        blocks[name] = Block(sp.csr_matrix(dense) if block.is_sparse else dense, block.present)
    return Features(features.ids, blocks)


def drop(features: Features, modality: str) -> Features:
    """Return the features without the blocks of a modality."""
    kept = {name: block for name, block in features.blocks.items() if name.partition(".")[0] != modality}
    return Features(features.ids, kept)


def _scaled_rows(block: Block, kept: npt.NDArray[np.bool_]) -> Any:
    if block.is_sparse:
        return sp.csr_matrix(sp.diags(kept.astype(np.float32)) @ block.values)
    return block.values * kept[:, None]


def _f4(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
