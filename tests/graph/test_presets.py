"""Presets: there is one per scorer, it is valid, survives JSON and trains."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.graph.embedding import EmbeddingConfig, train_embedding
from reeltag.graph.presets import film_preset, preset
from reeltag.graph.scorers import SCORERS

from .link_samples import SMALL, graph_of, random_triples


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_has_settings_that_survive_json(scorer: str) -> None:
    found = preset(scorer)
    assert found.scorer == scorer
    assert set(found.scorer_settings) == set(to_json(SCORERS[scorer]()))  # spelled out, so that --set finds them
    assert from_json(EmbeddingConfig, json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_preset_trains(scorer: str) -> None:
    found = preset(scorer)
    small = replace(
        found,
        scorer_settings=found.scorer_settings | SMALL[scorer],
        training=replace(found.training, epochs=2, threads=1, device="cpu"),
    )
    history = train_embedding(graph_of(random_triples(60), 9, 3), small).history
    assert all(map(math.isfinite, history.losses))
    assert history.losses[1] < history.losses[0]


def test_presets_are_not_shared() -> None:
    preset("rotate").scorer_settings["dim"] = 1
    assert preset("rotate").scorer_settings["dim"] != 1


def test_the_preset_for_film_features_is_valid() -> None:
    found = film_preset()
    assert found.scorer in SCORERS
    assert from_json(EmbeddingConfig, to_json(found)) == found
    assert found.training.threads == 1  # the same seed gives the same tagger


@pytest.mark.parametrize("name", ["word2vec", "", "RotatE"])
def test_an_unknown_scorer_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"preset\.scorer must be one of transe, .*; got '{name}'"):
        preset(name)
