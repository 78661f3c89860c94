"""Losses by name: tensors in, scalar out. A new loss is one file and one line here."""

from __future__ import annotations

from typing import Protocol

import torch

from reeltag.losses.asymmetric import asymmetric
from reeltag.losses.bce import bce
from reeltag.losses.class_balanced import class_balanced, effective_weights, positive_weights


class Loss(Protocol):
    """A loss over labels: logits and targets of shape (n_titles, n_labels), weights of shape (n_labels,)."""

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a scalar."""


LOSSES: dict[str, Loss] = {"bce": bce, "asymmetric": asymmetric, "class_balanced": class_balanced}

__all__ = ["LOSSES", "Loss", "asymmetric", "bce", "class_balanced", "effective_weights", "positive_weights"]
