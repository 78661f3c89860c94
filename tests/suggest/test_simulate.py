"""Simulations: curves that are what they say, strategies that pay by construction, runs that go on where they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.calibration import best_f1_threshold
from reeltag.catalogue import Catalogue
from reeltag.encoders.store import FeatureStore
from reeltag.errors import ConfigError, LabelError, SplitError
from reeltag.evaluation import macro_f1, mean_average_precision, micro_f1
from reeltag.features import Block, Features
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.models import Validation
from reeltag.recipes import FeatureConfig, Recipe
from reeltag.splits import SplitConfig
from reeltag.suggest import Curves, QuickConfig, QuickLearner, SimulationConfig, simulate
from reeltag.suggest.learner import compressed
from reeltag.suggest.material import Material, gather
from reeltag.suggest.simulate import Simulation
from samples import catalogue, changed, quick_recipe, rows, sample

SMALL = SimulationConfig(start=10, batch=10, rounds=2, seeds=2)
RECIPE = quick_recipe(modalities=("plot", "title", "year"))


def titles(n: int, random: np.random.Generator, dull: float, first: int) -> tuple[Features, np.ndarray]:
    """Return titles of which a share is dull: one feature says that none of the three labels applies."""
    boring = random.random(n) < dull
    values = random.normal(size=(n, 3)).astype(np.float32)
    targets = (values > 0).astype(np.float32)
    values[boring], targets[boring] = 0, 0
    inputs = np.column_stack([values, 3 * boring]).astype(np.float32)
    ids = [f"t{first + row}" for row in range(n)]
    return Features(ids, {"plot.x": Block(inputs, np.ones(n, np.bool_))}), targets


def material() -> Material:
    """Return a pool in which nine titles of ten are dull, and validation and test titles that are not."""
    random = np.random.default_rng(0)
    pool, targets = titles(800, random, 0.9, 0)
    held_out, known = titles(200, random, 0, 1000)
    tested, truth = titles(400, random, 0, 2000)
    return Material(
        labels=LabelSpace(["A", "B", "C"], LabelConfig()),
        pool=pool,
        targets=targets,
        validation=Validation(features=held_out, targets=known),
        test=Validation(features=tested, targets=truth),
        left_out=(),
        fingerprint="made up",
    )


class Counting:
    """Makes quick learners, and counts their trainings."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.sizes: list[int] = []
        self.stop_after = stop_after

    def __call__(self, seed: int) -> Any:
        outer = self

        class Learner(QuickLearner):
            def fit(self, features: Features, targets: np.ndarray, **given: Any) -> Any:
                if len(outer.sizes) == outer.stop_after:
                    raise KeyboardInterrupt
                outer.sizes.append(len(features))
                return super().fit(features, targets, **given)

        return Learner(QuickConfig(c=10))


def simulation(
    folder: Path, make: Callable[[int], Any], config: SimulationConfig = SMALL, of: Material | None = None, **told: Any
) -> Simulation:
    return Simulation(of or material(), make, folder, config, told)


# what a run does


def test_uncertainty_beats_random_where_most_titles_are_dull(tmp_path: Path) -> None:
    config = replace(SMALL, start=40, batch=20, rounds=4)
    runs = simulation(tmp_path, Counting(), config)
    whole = runs.whole(0).test["micro_f1"]
    found = {name: [runs.run(name, seed).points for seed in range(3)] for name in ("uncertainty", "random")}
    end = {name: np.mean([points[-1].test["micro_f1"] for points in of]) for name, of in found.items()}
    assert end["uncertainty"] > 0.95 * whole > end["random"]
    dull = np.asarray(material().pool.blocks["plot.x"].values)[:, 3] > 0
    chosen = {name: list(runs.run(name, 0).labelled[40:120]) for name in found}
    assert dull[chosen["uncertainty"]].mean() < 0.5 < dull[chosen["random"]].mean()


@pytest.mark.parametrize("strategy", ["mixed", "random"])
def test_every_round_adds_a_batch_of_new_titles(tmp_path: Path, strategy: str) -> None:
    run = simulation(tmp_path, Counting(), replace(SMALL, rounds=3)).run(strategy, 0)
    assert [point.n_labelled for point in run.points] == [10, 20, 30, 40]
    assert len(set(run.labelled)) == len(run.labelled)
    assert set(run.labelled) <= set(range(800))


def test_a_point_is_what_the_metrics_say_at_the_threshold_of_the_validation_titles(tmp_path: Path) -> None:
    of = material()
    run = simulation(tmp_path, Counting()).run("random", 0)
    for place, n in enumerate((10, 20, 30)):
        labelled = list(run.labelled[:n])
        learner = QuickLearner(QuickConfig(c=10)).fit(of.pool.take(labelled), of.targets[labelled])
        held_out = learner.predict_proba(of.validation.features)
        threshold = np.float32(best_f1_threshold(held_out.ravel(), of.validation.targets.ravel()))
        for part in ("validation", "test"):
            truth = getattr(of, part)
            p = learner.predict_proba(truth.features)
            figures = getattr(run.points[place], part)
            assert figures["micro_f1"] == pytest.approx(micro_f1(truth.targets, p >= threshold))
            assert figures["macro_f1"] == pytest.approx(macro_f1(truth.targets, p >= threshold))
            assert figures["mean_average_precision"] == pytest.approx(mean_average_precision(truth.targets, p))


def test_strategies_start_from_the_same_titles_and_seeds_from_others(tmp_path: Path) -> None:
    runs = simulation(tmp_path, Counting())
    starts = {(name, seed): runs.run(name, seed).labelled[:10] for name in ("random", "mixed") for seed in (0, 1)}
    assert starts["random", 0] == starts["mixed", 0]
    assert starts["random", 1] == starts["mixed", 1]
    assert starts["random", 0] != starts["random", 1]


@pytest.mark.parametrize("strategy", ["uncertainty", "rarity", "diversity", "mixed"])
def test_no_choice_looks_at_labels_that_nobody_has_told(tmp_path: Path, strategy: str) -> None:
    of = material()
    run = simulation(tmp_path / "a", Counting(), of=of).run(strategy, 0)
    other = of.targets.copy()
    hidden = np.setdiff1d(np.arange(800), run.labelled)
    other[hidden] = 1 - other[hidden]
    again = simulation(tmp_path / "b", Counting(), of=replace(of, targets=other)).run(strategy, 0)
    assert again == run


def test_a_run_ends_when_the_pool_is_used_up(tmp_path: Path) -> None:
    of = material()
    small = replace(of, pool=of.pool.take(range(35)), targets=of.targets[:35])
    run = simulation(tmp_path, Counting(), replace(SMALL, rounds=9), small).run("random", 0)
    assert [point.n_labelled for point in run.points] == [10, 20, 30, 35]
    assert sorted(run.labelled) == list(range(35))
    exact = replace(of, pool=of.pool.take(range(30)), targets=of.targets[:30])
    run = simulation(tmp_path / "b", Counting(), replace(SMALL, rounds=9), exact).run("mixed", 0)
    assert [point.n_labelled for point in run.points] == [10, 20, 30]


# what is kept


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    run = simulation(tmp_path, first).run("mixed", 0)
    whole = simulation(tmp_path, first).whole(0)
    assert first.sizes == [10, 20, 30, 800]
    assert simulation(tmp_path, second).run("mixed", 0) == run
    assert simulation(tmp_path, second).whole(0) == whole
    assert second.sizes == []


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_alike(tmp_path: Path) -> None:
    config = replace(SMALL, rounds=4)
    for strategy in ("mixed", "random"):
        expected = simulation(tmp_path / "whole", Counting(), config).run(strategy, 0)
        with pytest.raises(KeyboardInterrupt):
            simulation(tmp_path / "part", Counting(stop_after=3), config).run(strategy, 0)
        rest = Counting()
        assert simulation(tmp_path / "part", rest, config).run(strategy, 0) == expected
        assert rest.sizes == [40, 50]


def test_more_rounds_go_on_from_fewer_and_fewer_are_read_from_more(tmp_path: Path) -> None:
    simulation(tmp_path, Counting()).run("mixed", 0)
    more = Counting()
    longer = simulation(tmp_path, more, replace(SMALL, rounds=4)).run("mixed", 0)
    assert more.sizes == [40, 50]
    none = Counting()
    shorter = simulation(tmp_path, none).run("mixed", 0)
    assert none.sizes == []
    assert shorter.points == longer.points[:3]
    assert longer == simulation(tmp_path / "new", Counting(), replace(SMALL, rounds=4)).run("mixed", 0)


def test_what_changes_the_figures_makes_another_run(tmp_path: Path) -> None:
    simulation(tmp_path, Counting()).run("mixed", 0)
    for config, of, told in (
        (replace(SMALL, start=11), None, {}),
        (replace(SMALL, batch=11), None, {}),
        (SMALL, replace(material(), fingerprint="other"), {}),
        (SMALL, None, {"learner": "other"}),
    ):
        again = Counting()
        simulation(tmp_path, again, config, of, **told).run("mixed", 0)
        assert len(again.sizes) == 3
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"points": []}'])
def test_a_damaged_run_is_run_again(tmp_path: Path, damage: str) -> None:
    run = simulation(tmp_path, Counting()).run("mixed", 0)
    (path,) = tmp_path.iterdir()
    path.write_text(damage, encoding="utf-8")
    assert simulation(tmp_path, Counting()).run("mixed", 0) == run


def test_a_foreign_run_under_the_name_is_not_believed(tmp_path: Path) -> None:
    run = simulation(tmp_path, Counting()).run("mixed", 0)
    (path,) = tmp_path.iterdir()
    data = json.loads(path.read_text("utf-8"))
    data["depends_on"]["seed"] = 7
    path.write_text(json.dumps(data), encoding="utf-8")
    assert simulation(tmp_path, Counting()).run("mixed", 0) == run


# titles and features of a catalogue


def gathered(films: Catalogue, recipe: Recipe = RECIPE, *, background: bool = False) -> Material:
    return gather(films, recipe, FeatureStore(None), lambda features, _: features, background=background)


def test_the_pool_is_the_training_titles_and_with_background_those_too() -> None:
    of = gathered(sample())
    by_split = {split: [r["id"] for r in rows() if r["split"] == split] for split in ("train", "validation", "test")}
    assert list(of.pool.ids) == by_split["train"]
    assert list(of.validation.features.ids) == by_split["validation"]
    assert list(of.test.features.ids) == by_split["test"]
    more = gathered(sample(), background=True)
    assert list(more.pool.ids) == by_split["train"] + [r["id"] for r in rows() if r["split"] == "background"]
    assert more.test.features.ids == of.test.features.ids
    assert of.fingerprint != more.fingerprint
    assert gathered(sample()).fingerprint == of.fingerprint


def test_truth_stands_beside_its_title() -> None:
    of = gathered(sample())
    known = {row["id"]: row["genres"] for row in rows()}
    for features, targets in ((of.pool, of.targets), (of.test.features, of.test.targets)):
        told = of.labels.decode(targets > 0)
        assert [set(labels) for labels in told] == [set(known[title_id]) for title_id in features.ids]


def test_titles_without_labels_take_no_part() -> None:
    films = changed(lambda row: row | {"genres": []} if row["id"] in ("t000", "t030", "t037") else row)
    of = gathered(films)
    everybody = {*of.pool.ids, *of.validation.features.ids, *of.test.features.ids}
    assert not everybody & {"t000", "t030", "t037"}


def test_labels_are_learned_from_the_whole_pool() -> None:
    recipe = replace(RECIPE, labels=LabelConfig(field="keywords", min_count=4))
    pool = [row["keywords"] for row in rows() if row["split"] == "train"]
    assert set(gathered(sample(), recipe).labels.labels) == {
        word for words in pool for word in words if sum(word in other for other in pool) >= 4
    }


def test_features_tell_no_label() -> None:
    of = gathered(sample(), quick_recipe())
    assert "credits" in quick_recipe().features.modalities
    assert of.left_out == ("credits",)
    assert of.pool.modalities == ("plot", "title", "year")
    swapped = gathered(
        changed(lambda row: row | {"genres": ["Comedy", "Horror", "Western", "Romance"]}), quick_recipe()
    )
    for name, block in of.pool.blocks.items():
        other, own = swapped.pool.blocks[name].values, block.values
        assert abs(other - own).max() == 0


def test_absent_modalities_are_told() -> None:
    of = gathered(catalogue(without=("title",)), quick_recipe())
    assert of.left_out == ("title", "credits")


def test_a_catalogue_without_splits_is_split() -> None:
    films = catalogue([row for row in rows() if row["split"] != "background"], without=("split",))
    recipe = replace(RECIPE, splits=SplitConfig(validation=0.2, test=0.2, group_duplicates=False))
    of = gathered(films, recipe)
    assert (len(of.pool), len(of.validation.features), len(of.test.features)) == (72, 24, 24)


def test_mistakes_in_the_catalogue() -> None:
    without_test = changed(lambda row: row | {"genres": []}, "test")
    with pytest.raises(SplitError, match=r"films\.jsonl: no title of split 'test' has known labels in 'genres'"):
        gathered(without_test)
    with pytest.raises(LabelError, match="no label of field 'moods' is on at least 500 training titles"):
        gathered(sample(), replace(RECIPE, labels=LabelConfig(field="moods", min_count=500)))
    with pytest.raises(ConfigError, match="a simulation reads no credits"):
        gathered(sample(), replace(RECIPE, features=FeatureConfig(modalities=("credits",))))


# as a whole


def seen(curves: Curves) -> dict[str, Any]:
    return {**curves.to_json(), "facts": None}


def test_simulate_writes_curves_and_runs(tmp_path: Path) -> None:
    stages = []
    config = replace(SMALL, strategies=("random", "mixed", "uncertainty"))
    curves = simulate(sample(), RECIPE, tmp_path, config, progress=lambda *told: stages.append(told))
    assert [curve.strategy for curve in curves.curves] == ["random", "mixed", "uncertainty"]
    assert all(curve.n_labelled == (10, 20, 30) for curve in curves.curves)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.json", "curves.svg", "runs"}
    assert len(list((tmp_path / "runs").iterdir())) == 3 * 2 + 1
    assert json.loads((tmp_path / "curves.json").read_text("utf-8")) == json.loads(json.dumps(curves.to_json()))
    assert curves.facts["titles"] == {"pool": 72, "validation": 24, "test": 24}
    assert ("mixed, seed 1", 3, 3) in stages
    stages.clear()
    again = simulate(sample(), RECIPE, tmp_path, config, progress=lambda *told: stages.append(told))
    assert seen(again) == seen(curves)
    assert not [stage for stage, _, _ in stages if "seed" in stage]


def test_the_whole_pool_is_what_a_model_of_all_of_it_reaches(tmp_path: Path) -> None:
    curves = simulate(sample(), RECIPE, tmp_path, replace(SMALL, seeds=1, measured_on="validation"))
    of = gather(sample(), RECIPE, FeatureStore(None), lambda x, n: compressed(x, n, dim=256, seed=0), background=False)
    learner = QuickLearner().fit(of.pool, of.targets)
    p = learner.predict_proba(of.validation.features)
    threshold = np.float32(best_f1_threshold(p.ravel(), of.validation.targets.ravel()))
    assert curves.whole["micro_f1"] == pytest.approx(micro_f1(of.validation.targets, p >= threshold))
    assert curves.measured_on == "validation"


def test_the_model_of_the_recipe_may_be_trained(tmp_path: Path) -> None:
    config = replace(SMALL, strategies=("mixed",), learner="recipe", rounds=1)
    curves = simulate(sample(), RECIPE, tmp_path, config)
    assert (curves.facts["learner"], curves.facts["model"]) == ("recipe", "linear")
    assert len(list((tmp_path / "runs").iterdir())) == 2 + 2  # the whole pool once per seed
    assert curves.curves[0].mean["micro_f1"][-1] > 0.3
    simulate(sample(), quick_recipe(modalities=("plot",), c=1.0), tmp_path, config)
    assert len(list((tmp_path / "runs").iterdir())) == 2 * (2 + 2)


@pytest.mark.parametrize(
    ("settings", "because"),
    [
        ({"strategies": ()}, r"SimulationConfig\.strategies must name one or more, each once; got none"),
        ({"strategies": ("mixed", "mixed")}, "each once; got mixed, mixed"),
        ({"strategies": ("best",)}, r"SimulationConfig\.strategies must be one of mixed, .*; got 'best'"),
        ({"start": 0}, r"SimulationConfig\.start must be between"),
        ({"batch": 0}, r"SimulationConfig\.batch must be between"),
        ({"rounds": 0}, r"SimulationConfig\.rounds must be between"),
        ({"seeds": 0}, r"SimulationConfig\.seeds must be between"),
        ({"share": 1.5}, r"SimulationConfig\.share must be between"),
        ({"learner": "slow"}, r"SimulationConfig\.learner must be one of quick, recipe; got 'slow'"),
        ({"measured_on": "train"}, r"SimulationConfig\.measured_on must be one of test, validation"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigError, match=because):
        SimulationConfig(**settings)


def test_a_start_that_leaves_nothing_to_choose_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"start must leave titles of the pool \(72\) to choose from; got 72"):
        simulate(sample(), RECIPE, tmp_path, replace(SMALL, start=72))
    assert list(tmp_path.iterdir()) == []
