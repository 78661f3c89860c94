"""What the runs of a simulation share: pool, validation and test titles, with features that are computed once.

No feature may tell the labels of pool titles that nobody has labelled yet, so credits, whose features count the labels
of other films, are left out. The label space is learned from the whole pool: a house has its list of tags before it
labels titles. Vocabularies are learned from the texts of the whole pool, which are there without labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import Catalogue
from reeltag.config import to_json
from reeltag.encoders.store import FeatureStore
from reeltag.errors import ConfigError, SplitError
from reeltag.features import Features
from reeltag.labels import LabelSpace
from reeltag.models import Validation
from reeltag.pipeline import FeaturePipeline
from reeltag.progress import Progress, silent
from reeltag.recipes import Recipe
from reeltag.splits import split_by_labels

Matrix = npt.NDArray[np.float32]
Prepare = Callable[[Features, int], Features]
_READ_LABELS = ("credits",)  # modalities whose features are made of labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Titles of a simulation.

    Attributes:
        labels: Learned from the whole pool.
        pool: Features of the titles to choose from.
        targets: Their truth, (n_pool, n_labels), shown title by title.
        validation: Titles that thresholds are chosen on, and epochs where a model has them.
        test: Titles that are measured, as features and targets.
        left_out: Modalities of the recipe that were left out.
        fingerprint: Of everything here.
    """

    labels: LabelSpace
    pool: Features
    targets: Matrix
    validation: Validation
    test: Validation
    left_out: tuple[str, ...]
    fingerprint: str


def gather(
    catalogue: Catalogue,
    recipe: Recipe,
    store: FeatureStore,
    prepare: Prepare,
    *,
    background: bool,
    progress: Progress = silent,
) -> Material:
    """Return the titles of a simulation.

    Args:
        catalogue: Titles with labels; its ``split`` column is honoured, else titles are split as for training.
        recipe: Labels, features and splits.
        store: Where vectors of pre-trained encoders are kept.
        prepare: Makes what the learner reads of all features, those of the pool first, and of the size of the pool.
        background: Background titles with known labels are in the pool too.
        progress: Called as the work advances.

    Raises:
        SplitError: There are no pool, validation or test titles with known labels.
        LabelError: No label is frequent enough in the pool.
        ConfigError: The recipe reads nothing but credits.
    """
    modalities = tuple(name for name in recipe.features.modalities if name not in _READ_LABELS)
    if not modalities:
        raise ConfigError(
            "a simulation reads no credits, whose features are made of labels that nobody knows yet, and the recipe "
            "reads nothing else"
        )
    lists = catalogue.lists(recipe.labels.field)
    rows = _rows(catalogue, lists, recipe, background, progress)
    labels = LabelSpace.learn([lists[row] for row in rows["pool"]], recipe.labels)
    targets = {name: labels.encode([lists[row] for row in of])[0] for name, of in rows.items()}
    config = replace(recipe.features, modalities=modalities)
    pool = catalogue.take(rows["pool"])
    pipeline = FeaturePipeline(config).fit(pool, pool, targets["pool"], progress=progress)
    together = np.concatenate(list(rows.values()))
    read = pipeline.transform(catalogue.take(together), store, progress)
    n_pool, n_known = len(rows["pool"]), len(rows["pool"]) + len(rows["validation"])
    told = {"labels": to_json(recipe.labels), "features": to_json(config), "blocks": [*read.blocks, *read.tokens]}
    features = prepare(read, n_pool)
    return Material(
        labels=labels,
        pool=features.take(range(n_pool)),
        targets=targets["pool"],
        validation=Validation(features=features.take(range(n_pool, n_known)), targets=targets["validation"]),
        test=Validation(features=features.take(range(n_known, len(features))), targets=targets["test"]),
        left_out=tuple(name for name in recipe.features.modalities if name in (*_READ_LABELS, *pipeline.absent_)),
        fingerprint=_digest(catalogue.fingerprint(), told, rows),
    )


def _rows(
    catalogue: Catalogue, lists: list[list[str]], recipe: Recipe, background: bool, progress: Progress
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of the titles with known labels, by what they are there for."""
    known = np.fromiter(map(bool, lists), np.bool_, len(lists))
    splits = split_by_labels(catalogue, recipe.labels, recipe.splits, progress)
    parts = {name: splits.rows_of(name) for name in ("train", "validation", "test")}
    if background:
        parts["train"] = np.concatenate([parts["train"], splits.rows_of("background")])
    parts = {name: rows[known[rows]] for name, rows in parts.items()}
    for name, rows in parts.items():
        if len(rows) == 0:
            raise SplitError(
                f"{catalogue.source}: no title of split '{name}' has known labels in '{recipe.labels.field}', and a "
                "simulation needs such titles"
            )
    return {"pool": parts.pop("train"), **parts}


def _digest(content: str, told: dict[str, Any], rows: dict[str, npt.NDArray[np.int64]]) -> str:
    digest = hashlib.sha256(json.dumps([content, told], sort_keys=True).encode())
    for part in rows.values():
        digest.update(len(part).to_bytes(8, "big") + part.tobytes())
    return digest.hexdigest()[:16]
