"""Models by name, behind one contract. A new model is one file and one line in ``MODELS``."""

from __future__ import annotations

from reeltag.models.contract import Model, Targets, Validation
from reeltag.models.fusion import FusionConfig, FusionModel
from reeltag.models.linear import LinearConfig, LinearModel

MODELS: dict[str, type[Model]] = {"linear": LinearModel, "fusion": FusionModel}

__all__ = [
    "MODELS",
    "FusionConfig",
    "FusionModel",
    "LinearConfig",
    "LinearModel",
    "Model",
    "Targets",
    "Validation",
]
