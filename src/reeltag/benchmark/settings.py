"""Settings of a benchmark run, and how ``--set`` changes those of every entry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reeltag.benchmark.entries import Benchmark, Entry
from reeltag.benchmark.protocols import NEEDS, PROTOCOLS, TrainingTitles
from reeltag.config import check_choice, check_range, from_json, put_setting, to_json
from reeltag.errors import ConfigError
from reeltag.evaluation import BootstrapConfig
from reeltag.graph.embedding import EmbeddingConfig
from reeltag.graph.presets import film_preset, preset
from reeltag.labels import LabelConfig
from reeltag.models import MODELS
from reeltag.recipes import FeatureConfig
from reeltag.splits import SplitConfig

# genres that MM-IMDb leaves out: programmes, not kinds of film
NOT_IN_MMIMDB = ("News", "Talk-Show", "Game-Show", "Reality-TV", "Adult")
_NUMBERS, _COMPLEX = 200, ("rotate", "complex")  # numbers per entity; two make a complex one
_PARTS = ("labels", "features", "splits", "bootstrap", "graph")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """How a benchmark is run.

    Attributes:
        protocol: ``clean`` or ``published``.
        n_seeds: Trainings per entry. The titles and the graph are the same for all of them.
        only: Labels of the entries to run; all when empty.
        labels: How the labels are chosen.
        features: What there is to be read of a title; ``credit_features`` (but for ``votes``) and ``links`` do not
            count, since entries and protocol say how credits are read.
        splits: How a catalogue without splits is split; its seed also draws the published shuffles and the graph.
        bootstrap: How differences are tested.
        models: Settings put over those of every entry whose model has them, for example ``{"n_members": 1}``.
        graph: Settings put over those of the graph embedding, for example ``{"training": {"epochs": 5}}``.
        variants: Read the test titles again under the variants of the benchmark, if it has any.
        train_on_background: Models and label space learn from background titles with known labels too, under ``clean``
            alone; the credits graph stays as it is.
        needs: Texts that every training title must have, for example ``("plot",)``; validation and test titles may
            lack them.
    """

    protocol: str = "clean"
    n_seeds: int = 3
    only: tuple[str, ...] = ()
    labels: LabelConfig = field(default_factory=lambda: LabelConfig(exclude=NOT_IN_MMIMDB))
    features: FeatureConfig = field(default_factory=FeatureConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    models: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    variants: bool = True
    train_on_background: bool = False
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("BenchmarkConfig", "protocol", self.protocol, PROTOCOLS)
        check_range("BenchmarkConfig", "n_seeds", self.n_seeds, 1, 1000)
        check_range("BenchmarkConfig", "bootstrap.n_resamples", self.bootstrap.n_resamples, 1, 1_000_000)
        if "fields" in self.features.modalities and self.labels.field in self.features.fields:
            raise ConfigError(
                f"BenchmarkConfig.features.fields must not name the field that is learned; got '{self.labels.field}'"
            )
        for name in self.needs:
            check_choice("BenchmarkConfig", "needs", name, NEEDS)
        if self.train_on_background and self.protocol != "clean":
            raise ConfigError(
                "BenchmarkConfig.train_on_background is for protocol 'clean' alone, where splits say what background "
                f"is; got {self.protocol!r}"
            )

    @property
    def training(self) -> TrainingTitles:
        """Which titles are learned from."""
        return TrainingTitles(background=self.train_on_background, needs=self.needs)


def default_config(benchmark: Benchmark) -> BenchmarkConfig:
    """Return how a benchmark is run unless something else is said: with the features that it asks for."""
    whole = {"features": benchmark.features, **benchmark.run}
    return from_json(BenchmarkConfig, whole, f"{benchmark.name}: settings")


def changed(config: BenchmarkConfig, assignments: Sequence[str]) -> BenchmarkConfig:
    """Return the settings with ``PATH=VALUE`` put in.

    Paths that begin with ``labels.``, ``features.``, ``splits.``, ``bootstrap.`` or ``graph.`` change those parts; any
    other is a setting of the models.

    Raises:
        ConfigError: There is no ``=``, or no such setting.
    """
    data = to_json(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        part, _, rest = path.strip().partition(".")
        if part in _PARTS and part != "graph":
            put_setting(data, assignment)
            continue
        keys = rest.split(".") if part == "graph" else path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set takes PATH=VALUE; got {assignment!r}")
        _put(data["graph" if part == "graph" else "models"], keys, text)
    return from_json(BenchmarkConfig, data, "benchmark")


def model_settings(entries: Sequence[Entry], changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the whole settings of every entry that can be run, by label.

    Args:
        entries: The entries.
        changes: Settings put over those of every entry whose model has them.

    Raises:
        ConfigError: No model at all has one of them, or a value breaks its rule.
    """
    known = {name for model in MODELS.values() for name in to_json(model.config_class())}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(f"no model has a setting {', '.join(map(repr, unknown))}; known: {', '.join(sorted(known))}")
    settings = {}
    for entry in entries:
        if not entry.model:
            continue
        check_choice(f"entry '{entry.label}'", "model", entry.model, MODELS)
        kind = MODELS[entry.model].config_class
        whole = to_json(from_json(kind, entry.settings, f"{entry.label}: settings"))
        taken = {name: value for name, value in changes.items() if name in whole}
        settings[entry.label] = to_json(from_json(kind, merged(whole, taken), f"{entry.label}: settings"))
    return settings


def graph_config(scorer: str, changes: dict[str, Any]) -> EmbeddingConfig:
    """Return how a scorer is trained on the credits graph, with settings put over.

    The scorer of the film preset keeps its training. The others take its length, negatives and loss, with their own
    optimizer, penalty and, where it is smaller, learning rate. Entities have 200 numbers, as in the paper (TransD adds
    200 for projections).
    """
    film, own = film_preset(), preset(scorer)
    training = film.training
    if scorer != film.scorer:
        training = replace(
            film.training,
            optimizer=own.training.optimizer,
            learning_rate=min(film.training.learning_rate, own.training.learning_rate),
            penalty=own.training.penalty,
        )
    settings = film.scorer_settings if scorer == film.scorer else own.scorer_settings
    size = _NUMBERS // 2 if scorer in _COMPLEX else _NUMBERS
    config = EmbeddingConfig(scorer=scorer, scorer_settings={**settings, "dim": size}, training=training)
    return from_json(EmbeddingConfig, merged(to_json(config), changes), "graph settings")


def merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with others put over them."""
    out = dict(data)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = merged(out[name], value) if both else value
    return out


def _put(data: dict[str, Any], keys: Sequence[str], text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set: {'.'.join(keys)} lies below a setting that was given a value")
    data[keys[-1]] = value
