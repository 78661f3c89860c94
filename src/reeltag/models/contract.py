"""The contract of every model, and what they share in keeping it.

A model is an estimator that owns its parameters; it is not a network. The contract tests (``tests/models``) run
every entry of ``MODELS`` through it: shapes, ranges, label order, row independence, refit forgets, save and load give
the same probabilities, any modality may be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from reeltag import calibration
from reeltag.errors import FeatureError, ModelError
from reeltag.features import Features
from reeltag.progress import Progress, silent

Targets = npt.NDArray[np.float32]
STANDING = "credits.standing"  # people known and their links: what IDKG's attention teacher reads
PEOPLE = "credits.people"  # who worked on a title: what MM-GATBT's graph is made of
SIDE_BLOCKS = (STANDING, PEOPLE)  # no inputs of any model


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Titles held out for early stopping: their features and targets (n_titles, n_labels)."""

    features: Features
    targets: Targets


class Model(Protocol):
    """A multi-label classifier over features of which any modality may be absent."""

    config_class: ClassVar[type]

    def __init__(self, config: Any = None, *, seed: int = 0) -> None:
        """Store the settings."""

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn from titles whose labels are known, forgetting any earlier fit.

        Args:
            features: Features of the training titles.
            targets: 0 and 1, shape (n_titles, n_labels).
            validation: Held-out titles for early stopping.
            label_vectors: What a graph embedding says of every label, (n_labels, dim); most models have no use for it.
            progress: Called as the work advances.
        """

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the model's own probabilities (n_titles, n_labels), not yet calibrated."""

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return per modality how far its presence moves the log-odds of each label, (n_titles, n_labels)."""

    def attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return what every modality counts in the fusion, in [0, 1], (n_titles,); empty for models without."""

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return unit vectors (n_titles, dim) in which titles with like labels lie near each other."""

    def save_pretrained(self, folder: Path) -> None:
        """Write settings and parameters."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote."""


def check_training(features: Features, targets: Targets, validation: Validation | None = None) -> None:
    """Raise unless features and targets can be trained on.

    Raises:
        FeatureError: They differ in number, or there is no block.
        ModelError: There are no titles or no labels, targets are not 0 and 1, or the validation titles have other
            labels.
    """
    if not (features.blocks or features.tokens):
        raise FeatureError("a model needs at least one block of features")
    if len(features) != len(targets):
        raise FeatureError(f"{len(features)} titles of features, but {len(targets)} of targets")
    if targets.ndim != 2 or 0 in targets.shape:
        raise ModelError(f"a model needs titles and labels to learn from; got targets of shape {targets.shape}")
    if not np.isin(targets, (0, 1)).all():
        raise ModelError("targets must be 0 and 1")
    if validation is None:
        return
    if len(validation.features) != len(validation.targets):
        raise FeatureError(
            f"validation: {len(validation.features)} titles of features, but {len(validation.targets)} of targets"
        )
    if validation.targets.shape[1:] != targets.shape[1:]:
        raise ModelError(
            f"validation: targets must have the {targets.shape[1]} labels of the training titles; got shape "
            f"{validation.targets.shape}"
        )


def vectors_of(features: Features) -> Features:
    """Return the blocks of vectors without ``SIDE_BLOCKS``."""
    return Features(features.ids, {name: b for name, b in features.blocks.items() if name not in SIDE_BLOCKS})


def inputs_of(features: Features) -> Features:
    """Return what ``vectors_of`` returns.

    Raises:
        FeatureError: Nothing is left.
    """
    inputs = vectors_of(features)
    if not inputs.blocks:
        raise FeatureError(f"a model needs at least one block of features besides {', '.join(SIDE_BLOCKS)}")
    return inputs


def log_odds(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return the log-odds of ``calibration.log_odds`` in single precision."""
    return calibration.log_odds(np.asarray(probabilities)).astype(np.float32)


def leave_modality_out(
    predict_proba: Callable[[Features], npt.NDArray[np.float32]], features: Features
) -> dict[str, npt.NDArray[np.float32]]:
    """Return ``log-odds with all - log-odds without`` each modality; zero where the title does not have it."""
    whole = log_odds(predict_proba(features))
    out = {}
    for modality in features.modalities:
        change = whole - log_odds(predict_proba(features.without(modality)))
        out[modality] = np.where(features.present(modality)[:, None], change, 0).astype(np.float32)
    return out
