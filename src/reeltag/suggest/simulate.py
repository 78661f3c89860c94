"""Label-efficiency curves: how good a tagger gets with how many labelled titles, by how the titles are chosen.

Titles with known labels play the pool (``material``). A run starts with some titles at random, the same for every
strategy; every round a model is trained anew on the labelled ones, its threshold is chosen on the validation titles,
it is measured on validation and test titles, and the strategy chooses the next batch from what the model says. Runs
are kept round by round, so that an interrupted simulation goes on where it stopped, and one of more rounds goes on
from one of fewer. Strategies are to be compared, and chosen, on validation titles; test titles are for the report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.calibration import best_f1_threshold
from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.encoders.store import FeatureStore
from reeltag.errors import ConfigError
from reeltag.evaluation import decide, macro_f1, mean_average_precision, micro_f1
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.models import MODELS
from reeltag.progress import Progress, silent
from reeltag.recipes import Recipe
from reeltag.suggest.curves import Curves, Point, draw_up, write_curves
from reeltag.suggest.learner import Learner, QuickConfig, QuickLearner, compressed
from reeltag.suggest.material import Material, gather
from reeltag.suggest.strategies import STRATEGIES, Candidates

LEARNERS = ("quick", "recipe")
MEASURED_ON = ("test", "validation")
_SCHEMA = 1
_WHOLE = "whole pool"  # the name of its runs

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """How a simulation is run.

    Attributes:
        strategies: Names of strategies.
        start: Titles labelled at random before the first choice.
        batch: Titles added every round.
        rounds: Batches added; a run ends early when the pool is used up.
        seeds: Runs per strategy: seeds 0, 1, ….
        learner: ``quick``, a regression trained in a second or two, or ``recipe``, the recipe's own model.
        quick: Settings of the quick learner.
        background: Background titles with known labels are in the pool too.
        measured_on: Whose figures the curves show: ``test``, or ``validation`` to choose between strategies.
        share: Share of the micro F1 of the whole pool that is asked for.
    """

    strategies: tuple[str, ...] = ("random", "mixed")
    start: int = 200
    batch: int = 200
    rounds: int = 15
    seeds: int = 3
    learner: str = "quick"
    quick: QuickConfig = field(default_factory=QuickConfig)
    background: bool = False
    measured_on: str = "test"
    share: float = 0.95

    def __post_init__(self) -> None:
        if not self.strategies or len(set(self.strategies)) < len(self.strategies):
            got = ", ".join(self.strategies) or "none"
            raise ConfigError(f"SimulationConfig.strategies must name one or more, each once; got {got}")
        for name in self.strategies:
            check_choice("SimulationConfig", "strategies", name, STRATEGIES)
        check_range("SimulationConfig", "start", self.start, 1, 10_000_000)
        check_range("SimulationConfig", "batch", self.batch, 1, 10_000_000)
        check_range("SimulationConfig", "rounds", self.rounds, 1, 10_000)
        check_range("SimulationConfig", "seeds", self.seeds, 1, 1000)
        check_choice("SimulationConfig", "learner", self.learner, LEARNERS)
        check_choice("SimulationConfig", "measured_on", self.measured_on, MEASURED_ON)
        check_range("SimulationConfig", "share", self.share, 0.01, 1)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One strategy with one seed, as it is kept.

    Attributes:
        depends_on: Everything the figures depend on.
        labelled: Row numbers of pool titles in the order they were labelled.
        points: Figures after every round, the start first.
    """

    depends_on: dict[str, Any]
    labelled: tuple[int, ...]
    points: tuple[Point, ...]


class Simulation:
    """Runs strategies on the titles of a catalogue.

    Args:
        material: The titles.
        make: Makes an untrained learner from a seed.
        folder: Where runs are kept.
        config: How it is run.
        told: What the figures depend on besides titles and strategy: the learner and its settings.
    """

    def __init__(
        self,
        material: Material,
        make: Callable[[int], Learner],
        folder: Path,
        config: SimulationConfig,
        told: dict[str, Any],
    ) -> None:
        self.material, self.make, self.folder, self.config, self.told = material, make, folder, config, told
        if config.start >= len(material.pool):
            raise ConfigError(
                f"SimulationConfig.start must leave titles of the pool ({len(material.pool):,}) to choose from; got "
                f"{config.start:,}"
            )

    def whole(self, seed: int) -> Point:
        """Return the figures of a model trained on the whole pool, trained unless they are kept."""
        told = {**self._depends_on(), "strategy": _WHOLE, "seed": seed}
        run = self._kept(told)
        if run is None:
            rows = np.arange(len(self.material.pool))
            point, _ = self._measured(self._fit(rows, seed), len(rows))
            run = Run(depends_on=told, labelled=(), points=(point,))
            self._keep(run)
        return run.points[0]

    def run(self, strategy: str, seed: int, progress: Progress = silent) -> Run:
        """Return the run of a strategy with a seed; what is not kept of it is run.

        Args:
            strategy: Its name.
            seed: Of the start, of choices at random and of models.
            progress: Called after every round.
        """
        config, n_pool = self.config, len(self.material.pool)
        told = {**self._depends_on(), "strategy": strategy, "seed": seed, "start": config.start, "batch": config.batch}
        sizes = range(config.start, min(config.start + config.batch * config.rounds, n_pool + config.batch - 1) + 1,
                      config.batch)  # fmt: skip
        start = np.random.default_rng(seed).permutation(n_pool)[: config.start]
        run = self._kept(told) or Run(depends_on=told, labelled=tuple(start.tolist()), points=())
        while len(run.points) < len(sizes):
            labelled = np.array(run.labelled, np.int64)  # with the batch that was chosen last
            learner = self._fit(labelled, seed)
            point, threshold = self._measured(learner, len(labelled))
            chosen = self._choose(learner, labelled, threshold, strategy, seed)
            run = replace(run, points=(*run.points, point), labelled=(*run.labelled, *chosen.tolist()))
            self._keep(run)
            progress(f"{strategy}, seed {seed}", len(run.points), len(sizes))
        return replace(run, points=run.points[: len(sizes)])

    def _fit(self, labelled: Ints, seed: int) -> Learner:
        material = self.material
        features, targets = material.pool.take(labelled), material.targets[labelled]
        return self.make(seed).fit(features, targets, validation=material.validation)

    def _measured(self, learner: Learner, n_labelled: int) -> tuple[Point, float]:
        """Return the figures of a learner, and the threshold with the best micro F1 on the validation titles."""
        validation, test = self.material.validation, self.material.test
        known = learner.predict_proba(validation.features)
        threshold = best_f1_threshold(known.ravel(), validation.targets.ravel())
        point = Point(
            n_labelled=n_labelled,
            validation=_figures(validation.targets, known, threshold),
            test=_figures(test.targets, learner.predict_proba(test.features), threshold),
        )
        return point, threshold

    def _choose(self, learner: Learner, labelled: Ints, threshold: float, strategy: str, seed: int) -> Ints:
        """Return the pool titles that are labelled next."""
        material = self.material
        rest = np.setdiff1d(np.arange(len(material.pool)), labelled)
        if len(rest) == 0:
            return rest
        unknown = material.pool.take(rest)
        candidates = Candidates(
            probabilities=learner.predict_proba(unknown),
            thresholds=np.full(len(material.labels), threshold, np.float32),
            embeddings=learner.embed(unknown),
            counts=material.targets[labelled].sum(axis=0),
            labelled=learner.embed(material.pool.take(labelled)),
        )
        random = np.random.default_rng([seed, len(labelled)])
        return np.asarray(rest[STRATEGIES[strategy](candidates, self.config.batch, random).rows], np.int64)

    def _depends_on(self) -> dict[str, Any]:
        return {"schema": _SCHEMA, "material": self.material.fingerprint, "learner": self.told}

    def _path(self, told: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps({**told, "seed": None}, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{told['strategy'].replace(' ', '-')}-{digest}-seed{told['seed']}.json"

    def _keep(self, run: Run) -> None:
        write_json(self._path(run.depends_on), to_json(run))

    def _kept(self, told: dict[str, Any]) -> Run | None:
        """Return the run that is kept; None when there is none, or it is damaged."""
        path = self._path(told)
        if not path.is_file():
            return None
        try:
            run = from_json(Run, json.loads(path.read_text(encoding="utf-8")), path.name)
        except (ValueError, ConfigError):
            return None
        return run if run.points and run.depends_on == told else None


def simulate(
    catalogue: Catalogue,
    recipe: Recipe,
    out: Path,
    config: SimulationConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Curves:
    """Measure how far strategies get with how many labelled titles; write ``curves.json`` and ``curves.svg``.

    Args:
        catalogue: Titles with labels, with or without splits.
        recipe: Labels, features and splits; its model too when the learner is ``recipe``.
        out: Folder of the curves and, under ``runs``, of what is kept of every run.
        config: How it is run; defaults when None.
        cache: Folder for vectors of pre-trained encoders; the user's cache folder when None.
        progress: Called as the work advances.

    Raises:
        SplitError: There are no pool, validation or test titles with known labels.
        LabelError: No label is frequent enough in the pool.
        ConfigError: The pool is not larger than the start, or the recipe reads nothing but credits.
    """
    config = config or SimulationConfig()
    quick = config.learner == "quick"
    prepare: Callable[[Features, int], Features] = _as_it_is
    told: dict[str, Any] = {
        "learner": config.learner,
        "model": recipe.model,
        "settings": to_json(recipe.model_config()),
    }
    if quick:
        prepare = partial(compressed, dim=config.quick.svd_dim, seed=0)
        told = {"learner": config.learner, "settings": to_json(config.quick)}
    store = FeatureStore(cache)
    material = gather(catalogue, recipe, store, prepare, background=config.background, progress=progress)

    def make(seed: int) -> Learner:
        return QuickLearner(config.quick) if quick else MODELS[recipe.model](recipe.model_config(), seed=seed)

    simulation = Simulation(material, make, out / "runs", config, told)
    seeds = range(config.seeds)
    n_whole = 1 if quick else config.seeds  # the quick learner knows no chance
    whole = []
    for seed in range(n_whole):
        whole.append(simulation.whole(seed))
        progress("whole pool", seed + 1, n_whole)
    runs = {name: [simulation.run(name, seed, progress).points for seed in seeds] for name in config.strategies}
    curves = draw_up(
        runs,
        whole,
        measured_on=config.measured_on,
        share=config.share,
        facts={
            "source": Path(catalogue.source).name,
            "material": material.fingerprint,
            "titles": {
                "pool": len(material.pool),
                "validation": len(material.validation.features),
                "test": len(material.test.features),
            },
            "labels": len(material.labels),
            "blocks": [*material.pool.blocks, *material.pool.tokens],
            "left_out": list(material.left_out),
            **told,
            "seeds": config.seeds,
        },
    )
    write_curves(out, curves)
    return curves


def _as_it_is(features: Features, n_pool: int) -> Features:  # noqa: ARG001
    return features


def _figures(targets: Matrix, probabilities: Matrix, threshold: float) -> dict[str, float]:
    decisions = decide(probabilities, threshold)
    return {
        "micro_f1": micro_f1(targets, decisions),
        "macro_f1": macro_f1(targets, decisions),
        "mean_average_precision": mean_average_precision(targets, probabilities),
    }
