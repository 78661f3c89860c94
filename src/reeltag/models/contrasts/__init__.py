"""Contrasts by name: IDKG's and its four rivals. A new one is one file and one line in ``CONTRASTS``."""

from __future__ import annotations

from typing import Any

from reeltag.config import check_choice, from_json
from reeltag.models.contrasts.cgmvae import CGMVAE, CGMVAEConfig
from reeltag.models.contrasts.contract import Contrast
from reeltag.models.contrasts.gcacl import GenreCentroid, GenreCentroidConfig
from reeltag.models.contrasts.mcl import MCL, MCLConfig
from reeltag.models.contrasts.mltc import MLTC, MLTCConfig, knn_probabilities
from reeltag.models.contrasts.mulcon import MulCon, MulConConfig

CONTRASTS: dict[str, type[Contrast]] = {
    "gcacl": GenreCentroid,
    "mulcon": MulCon,
    "mcl": MCL,
    "mltc": MLTC,
    "cgmvae": CGMVAE,
}


def contrast_config(name: str, settings: dict[str, Any]) -> Any:
    """Return the settings of a contrast from JSON, its defaults when empty.

    Raises:
        ConfigError: There is no such contrast or setting, or a value breaks its rule.
    """
    check_choice("contrast", "name", name, CONTRASTS)
    return from_json(CONTRASTS[name].config_class, settings, f"{name} settings")


__all__ = [
    "CGMVAE",
    "CONTRASTS",
    "MCL",
    "MLTC",
    "CGMVAEConfig",
    "Contrast",
    "GenreCentroid",
    "GenreCentroidConfig",
    "MCLConfig",
    "MLTCConfig",
    "MulCon",
    "MulConConfig",
    "contrast_config",
    "knn_probabilities",
]
