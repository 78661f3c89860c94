"""Collaborative gating of experts, with a fine-grained stage (seed 004)."""

from reeltag.models.gating.model import GatingModel
from reeltag.models.gating.settings import GATING_PUBLISHED, FineConfig, GatingConfig

__all__ = ["GATING_PUBLISHED", "FineConfig", "GatingConfig", "GatingModel"]
