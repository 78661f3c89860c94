"""Settings that work for each scorer, found on the validation links of public benchmarks and of films.

What was tried is in EXPERIMENTS.md. A large learning rate matters most; then small first vectors and many negatives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reeltag.config import check_choice, to_json
from reeltag.graph.embedding import EmbeddingConfig
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.sampling import NegativeConfig
from reeltag.graph.scorers import SCORERS
from reeltag.graph.steps import Penalty
from reeltag.graph.trainer import LinkTrainingConfig

_DISTANCES = LinkTrainingConfig(
    epochs=30,
    batch_size=2048,
    negatives=NegativeConfig(count=256),
    loss=LinkLossConfig(name="self-adversarial", margin=6.0),
    learning_rate=0.3,
)
_PRODUCTS = replace(
    _DISTANCES,
    negatives=NegativeConfig(count=512),
    loss=LinkLossConfig(name="softmax"),
    learning_rate=0.1,
    penalty=Penalty(weight=0.03),
)
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
    "transd": replace(_DISTANCES, learning_rate=0.1),
    "rotate": _DISTANCES,
    "distmult": _PRODUCTS,
    "complex": _PRODUCTS,
    "conve": _CONVOLUTION,
}
_SETTINGS: dict[str, dict[str, Any]] = {"rotate": {"bound": 0.02}}


def preset(scorer: str) -> EmbeddingConfig:
    """Return settings for a scorer.

    Raises:
        ConfigError: There is no such scorer.
    """
    check_choice("preset", "scorer", scorer, SCORERS)
    settings = to_json(SCORERS[scorer](**_SETTINGS.get(scorer, {})))
    return EmbeddingConfig(scorer=scorer, scorer_settings=settings, training=_TRAINING[scorer])


def film_preset() -> EmbeddingConfig:
    """Return the settings for features from film graphs: small, quick, and negatives of the right kind.

    Among negatives of any kind a genre only learns to differ from people; asked which genre, typed ones tell most.

    One thread, because a tagger promises that the same seed gives the same tagger, and threads that share the tables do
    not keep that. Raise ``features.links.embedding.training.threads`` where speed matters more; on a GPU
    (``training.device``) sums are not made in a fixed order either.
    """
    training = replace(
        _DISTANCES,
        epochs=15,
        threads=1,
        negatives=NegativeConfig(count=64, corruption="typed"),
        loss=LinkLossConfig(name="softmax"),
        learning_rate=0.15,
    )
    return EmbeddingConfig(scorer="rotate", scorer_settings={"dim": 64}, training=training)
