"""Settings that work for each scorer: starting points, found on the validation links of public benchmarks and of films.

See EXPERIMENTS.md for what was tried.
"""

from __future__ import annotations

from dataclasses import replace

from reeltag.config import check_choice, to_json
from reeltag.graph.embedding import EmbeddingConfig
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.scorers import SCORERS
from reeltag.graph.steps import Penalty
from reeltag.graph.trainer import LinkTrainingConfig

_DISTANCES = LinkTrainingConfig(
    epochs=40,
    batch_size=2048,
    negatives=NegativeConfig(count=256),
    loss=LinkLossConfig(name="self-adversarial", margin=6.0),
    learning_rate=0.15,
)
_PRODUCTS = replace(_DISTANCES, loss=LinkLossConfig(name="softmax"), penalty=Penalty(weight=1e-3))
_CONVOLUTION = replace(
    _PRODUCTS,
    batch_size=512,
    negatives=NegativeConfig(count=0),
    loss=LinkLossConfig(name="logistic", margin=0.0),
    optimizer="adam",
    learning_rate=1e-3,
    penalty=Penalty(),
)
_TRAINING = {
    "transe": _DISTANCES,
    "transh": _DISTANCES,
    "transr": _DISTANCES,
    "transd": _DISTANCES,
    "rotate": replace(_DISTANCES, loss=LinkLossConfig(name="softmax")),
    "distmult": _PRODUCTS,
    "complex": _PRODUCTS,
    "conve": _CONVOLUTION,
}


def preset(scorer: str) -> EmbeddingConfig:
    """Return settings for a scorer.

    Raises:
        ConfigError: There is no such scorer.
    """
    check_choice("preset", "scorer", scorer, SCORERS)

    settings = to_json(SCORERS[scorer]())
    return EmbeddingConfig(scorer=scorer, scorer_settings=settings, training=_TRAINING[scorer])


def film_preset() -> EmbeddingConfig:
    """Return the settings for features from film graphs: small and quick."""
    return replace(
        preset("rotate"),
        scorer_settings={"dim": 64},
        training=replace(_TRAINING["rotate"], epochs=20, negatives=NegativeConfig(count=64)),
    )
