from __future__ import annotations

import pytest

from reeltag.benchmark import BENCHMARKS, NOT_IN_MMIMDB, BenchmarkConfig, changed
from reeltag.benchmark.protocols import TrainingTitles
from reeltag.benchmark.settings import graph_config, merged, model_settings
from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.graph.presets import film_preset
from reeltag.graph.scorers import SCORERS
from reeltag.recipes import RECIPES

TABLE2 = BENCHMARKS["idkg-table2"].entries


def test_defaults() -> None:
    config = BenchmarkConfig()
    assert (config.protocol, config.n_seeds, config.only) == ("clean", 3, ())
    assert config.labels.exclude == NOT_IN_MMIMDB
    assert from_json(BenchmarkConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "leaky"}, "BenchmarkConfig.protocol must be one of clean, published; got 'leaky'"),
        ({"n_seeds": 0}, "BenchmarkConfig.n_seeds must be between 1 and 1000; got 0"),
        ({"bootstrap": {"n_resamples": 0}}, "bootstrap.n_resamples must be between 1 and"),
        ({"needs": ["plot", "cast"]}, "BenchmarkConfig.needs must be one of plot, title; got 'cast'"),
        (
            {"train_on_background": True, "protocol": "published"},
            "BenchmarkConfig.train_on_background is for protocol 'clean' alone.*; got 'published'",
        ),
    ],
)
def test_ranges(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(BenchmarkConfig, settings)


def test_which_titles_are_learned_from() -> None:
    assert BenchmarkConfig().training == TrainingTitles(background=False, needs=())
    config = from_json(BenchmarkConfig, {"train_on_background": True, "needs": ["plot"]})
    assert config.training == TrainingTitles(background=True, needs=("plot",))
    assert from_json(BenchmarkConfig, to_json(config)) == config


def test_assignments_reach_every_part() -> None:
    config = changed(
        BenchmarkConfig(),
        ["training.epochs=1", "dim=8", "labels.min_count=3", "graph.training.epochs=2", "graph.scorer_settings.dim=24",
         "splits.seed=4", 'features.plot_encoders=["tfidf"]', "bootstrap.n_resamples=10"],
    )  # fmt: skip
    assert config.models == {"training": {"epochs": 1}, "dim": 8}
    assert config.graph == {"training": {"epochs": 2}, "scorer_settings": {"dim": 24}}
    assert (config.labels.min_count, config.splits.seed, config.bootstrap.n_resamples) == (3, 4, 10)
    assert config.features.plot_encoders == ("tfidf",)
    assert changed(config, []) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set takes PATH=VALUE; got 'training.epochs'"),
        ("=3", "--set takes PATH=VALUE; got '=3'"),
        ("graph=3", "--set takes PATH=VALUE; got 'graph=3'"),
        ("labels.minimum=3", "there is no setting 'labels.minimum'"),
        ("splits.seed=-1", "SplitConfig.seed must be between 0"),
    ],
)
def test_bad_assignments(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(BenchmarkConfig(), [assignment])


def test_an_assignment_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"dim\.x lies below a setting that was given a value"):
        changed(BenchmarkConfig(), ["dim=8", "dim.x=1"])


def test_a_setting_reaches_the_models_that_have_it() -> None:
    settings = model_settings(TABLE2, {"hidden": 7, "training": {"epochs": 2}})
    assert set(settings) == {entry.label for entry in TABLE2 if entry.model}
    assert all(whole["training"]["epochs"] == 2 for whole in settings.values())
    assert settings["early fusion"]["hidden"] == 7
    assert "hidden" not in settings["IDKG"]
    assert settings["IDKG"]["training"]["batch_size"] == 64, "the entry's own settings stay"
    assert settings["IDKG"]["dim"] == 512


def test_bad_settings_of_models() -> None:
    with pytest.raises(ConfigError, match=r"no model has a setting 'hiden'; known: .*hidden"):
        model_settings(TABLE2, {"hiden": 7})
    with pytest.raises(ConfigError, match=r"GmuConfig.dim must be between 1 and 65536; got 0"):
        model_settings(TABLE2, {"dim": 0})


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_has_settings_for_the_credits_graph(scorer: str) -> None:
    config, film = graph_config(scorer, {"training": {"epochs": 2}}), film_preset()
    assert config.scorer == scorer
    assert config.training.epochs == 2
    assert config.training.negatives == film.training.negatives
    assert config.training.learning_rate <= film.training.learning_rate
    assert config.scorer_settings["dim"] == (100 if scorer in ("rotate", "complex") else 200)


def test_the_scorer_of_the_film_preset_keeps_its_training() -> None:
    assert graph_config("rotate", {}) == RECIPES["idkg-published"].features.links.embedding
    with pytest.raises(ConfigError, match="unknown setting 'speed'"):
        graph_config("rotate", {"speed": 1})


def test_merged_leaves_both_as_they_were() -> None:
    data = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(data, {"a": {"b": 9}, "d": {"e": 4}}) == {"a": {"b": 9, "c": 2}, "d": {"e": 4}}
    assert data == {"a": {"b": 1, "c": 2}, "d": 3}
