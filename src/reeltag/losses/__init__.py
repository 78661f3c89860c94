"""Losses: tensors in, scalar out, one file each. Those of logits against targets go by name in ``LOSSES``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import torch

from reeltag.errors import ConfigError, shown
from reeltag.losses.asymmetric import asymmetric
from reeltag.losses.attention_teacher import attention_targets, attention_teacher
from reeltag.losses.bce import bce
from reeltag.losses.centre import centre
from reeltag.losses.class_balanced import (
    class_balanced,
    class_balanced_samples,
    effective_weights,
    positive_weights,
    sample_weights,
)
from reeltag.losses.genre_centroid import genre_centroid, label_centroids
from reeltag.losses.label_contrast import label_contrast
from reeltag.losses.mixture import Gaussians, decoding_contrast, mixture_draw, mixture_kl, mixture_log_density
from reeltag.losses.nt_xent import nt_xent
from reeltag.losses.triplet import Triplets, mine_triplets, multilabel_triplet
from reeltag.losses.weighted_contrast import label_overlap, weighted_contrast


class Loss(Protocol):
    """A loss over labels: logits and targets of shape (n_titles, n_labels), weights of shape (n_labels,)."""

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a scalar."""


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "asymmetric": asymmetric,
    "class_balanced": class_balanced,
    "class_balanced_samples": class_balanced_samples,
}


def configured_loss(name: str, settings: Mapping[str, float]) -> Loss:
    """Return a loss of ``LOSSES`` with some of its settings changed.

    Raises:
        ConfigError: The loss has no such setting, or a value is negative or no number.
    """
    loss = LOSSES[name]
    known = [
        setting for setting in inspect.signature(loss).parameters if setting not in ("logits", "targets", "weight")
    ]
    for setting, value in settings.items():
        if setting not in known:
            raise ConfigError(
                f"loss_settings: the loss '{name}' has no setting {shown(setting)}; known: {', '.join(known) or 'none'}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"loss_settings.{setting} must be a number from 0; got {shown(value)}")
    configured: Loss = partial(loss, **settings) if settings else loss  # type: ignore[arg-type]
    return configured


__all__ = [
    "LOSSES",
    "Gaussians",
    "Loss",
    "Triplets",
    "asymmetric",
    "attention_targets",
    "attention_teacher",
    "bce",
    "centre",
    "class_balanced",
    "class_balanced_samples",
    "configured_loss",
    "decoding_contrast",
    "effective_weights",
    "genre_centroid",
    "label_centroids",
    "label_contrast",
    "label_overlap",
    "mine_triplets",
    "mixture_draw",
    "mixture_kl",
    "mixture_log_density",
    "multilabel_triplet",
    "nt_xent",
    "positive_weights",
    "sample_weights",
    "weighted_contrast",
]
