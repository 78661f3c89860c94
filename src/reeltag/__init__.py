"""reeltag: learns the genres and tags of a film catalogue and says for each title which apply, how sure, and why.

Names are loaded when first used, so that ``import reeltag`` and ``reeltag --help`` cost next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reeltag.catalogue import Catalogue
    from reeltag.errors import ReeltagError
    from reeltag.features import Features
    from reeltag.labels import LabelConfig, LabelSpace
    from reeltag.leaks import audit
    from reeltag.predictions import Predictions
    from reeltag.recipes import recipe
    from reeltag.tagger import Tagger

__version__ = "0.1.0"

_HOME = {
    "Catalogue": "reeltag.catalogue",
    "Features": "reeltag.features",
    "LabelConfig": "reeltag.labels",
    "LabelSpace": "reeltag.labels",
    "Predictions": "reeltag.predictions",
    "ReeltagError": "reeltag.errors",
    "Tagger": "reeltag.tagger",
    "audit": "reeltag.leaks",
    "recipe": "reeltag.recipes",
}
__all__ = [
    "Catalogue",
    "Features",
    "LabelConfig",
    "LabelSpace",
    "Predictions",
    "ReeltagError",
    "Tagger",
    "audit",
    "recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reeltag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
