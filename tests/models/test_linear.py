"""LinearModel against scikit-learn on the very inputs its docstring describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.features import Block, Features
from reeltag.models import LinearConfig, LinearModel

from .samples import films, hide


def columns_by_hand(features: Features, reference: Features) -> npt.NDArray[np.float64]:
    """Standardise dense blocks by the reference, clip at 5, scale to length 3; add a column of absence to each."""
    parts = []
    for name, block in features.blocks.items():
        known = reference.blocks[name]
        if block.is_sparse:
            values = block.values.toarray().astype(np.float64)
        else:
            rows = known.values[known.present].astype(np.float64)
            spread = np.where(rows.std(axis=0) > 1e-6, rows.std(axis=0), 1)
            values = np.clip((block.values - rows.mean(axis=0)) / spread, -5, 5) * 3 / np.sqrt(block.dim)
        absent = ~block.present
        values[absent] = 0
        parts += [values, absent[:, None].astype(np.float64)]
    return np.hstack(parts)


@pytest.mark.parametrize("balanced", [False, True])
def test_probabilities_are_those_of_scikit_learn(balanced: bool) -> None:
    features, targets = films(200, seed=1)
    features = hide(hide(features, "credits", range(0, 200, 5)), "plot", range(1, 200, 7))
    unseen = hide(films(50, seed=2)[0], "year", [0, 1])
    model = LinearModel(LinearConfig(c=0.5, balanced=balanced)).fit(features, targets)
    found = model.predict_proba(unseen)
    train, test = columns_by_hand(features, features), columns_by_hand(unseen, features)
    for label in range(targets.shape[1]):
        solver = LogisticRegression(
            C=0.5, solver="liblinear", class_weight="balanced" if balanced else None, random_state=0
        ).fit(train, targets[:, label])
        np.testing.assert_allclose(found[:, label], solver.predict_proba(test)[:, 1], atol=2e-4)


def test_labels_are_learned_apart() -> None:
    features, targets = films(80)
    together = LinearModel().fit(features, targets).predict_proba(features)
    for label in range(targets.shape[1]):
        alone = LinearModel().fit(features, targets[:, [label]]).predict_proba(features)
        np.testing.assert_array_equal(alone[:, 0], together[:, label])


def test_number_of_threads_changes_nothing() -> None:
    features, targets = films(80)
    found = [LinearModel(LinearConfig(n_threads=n)).fit(features, targets).predict_proba(features) for n in (1, 2, 4)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_explanations_add_up_to_the_log_odds() -> None:
    features, targets = films(80)
    features = hide(features, "credits", range(0, 80, 3))
    model = LinearModel(LinearConfig(c=0.05)).fit(features, targets)
    nothing = model.predict_proba(features.only([])).astype(np.float64)
    log_odds = np.log(nothing / (1 - nothing)) + sum(model.explain(features).values())
    np.testing.assert_allclose(expit(log_odds), model.predict_proba(features), atol=1e-5)


def test_explanation_of_a_modality_is_the_sum_of_its_blocks() -> None:
    features, targets = films(80)
    model = LinearModel().fit(features, targets)
    renamed = Features(features.ids, {name.replace("plot.", "plot_"): b for name, b in features.blocks.items()})
    apart = LinearModel().fit(renamed, targets).explain(renamed)
    together = model.explain(features)
    assert set(apart) == {"plot_tfidf", "plot_sense", "year", "credits"}
    np.testing.assert_allclose(apart["plot_tfidf"] + apart["plot_sense"], together["plot"], atol=1e-5)


def test_label_of_one_class_gets_exactly_its_base_rate() -> None:
    features, targets = films(9)
    targets[:, 0], targets[:, 1] = 0, 1
    found = LinearModel().fit(features, targets).predict_proba(features)
    np.testing.assert_allclose(found[:, 0], 0.5 / 10, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], 9.5 / 10, rtol=1e-6)


def test_embedding_is_the_direction_of_the_log_odds() -> None:
    features, targets = films(60)
    model = LinearModel(LinearConfig(c=0.01)).fit(features, targets)
    p = model.predict_proba(features).astype(np.float64)
    log_odds = np.log(p / (1 - p))
    expected = log_odds / np.linalg.norm(log_odds, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(features), expected, atol=1e-4)


def test_absence_is_a_clue_of_its_own() -> None:
    rng = np.random.default_rng(0)
    present = rng.random(200) < 0.5
    targets = (~present[:, None]).astype(np.float32)
    values = (rng.normal(size=(200, 3)) * present[:, None]).astype(np.float32)
    features = Features([str(row) for row in range(200)], {"plot": Block(values, present)})
    found = LinearModel().fit(features, targets).predict_proba(features)[:, 0]
    assert found[~present].min() > 0.9
    assert found[present].max() < 0.1


def test_extreme_values_are_clipped() -> None:
    features, targets = films(60)
    model = LinearModel().fit(features, targets)
    years = features.blocks["year"]
    far, farther = (
        model.predict_proba(
            Features(features.ids, {**features.blocks, "year": Block(years.values * np.float32(by), years.present)})
        )
        for by in (1e4, 1e8)
    )
    np.testing.assert_array_equal(far, farther)


def test_sparse_values_are_taken_as_they_are() -> None:
    features, targets = films(60)
    doubled = {**features.blocks}
    plot = doubled["plot.tfidf"]
    doubled["plot.tfidf"] = Block(sp.csr_matrix(plot.values * np.float32(2)), plot.present)
    model = LinearModel().fit(features, targets)
    assert not np.allclose(model.predict_proba(Features(features.ids, doubled)), model.predict_proba(features))


@pytest.mark.parametrize(("setting", "value"), [("c", 0.0), ("c", 1e7), ("n_threads", 0), ("n_threads", 2000)])
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"LinearConfig.{setting} must be between"):
        replace(LinearConfig(), **{setting: value})  # type: ignore[arg-type]


def test_settings_come_back_from_disk(tmp_path: Path) -> None:
    config = LinearConfig(c=0.25, balanced=True, n_threads=1)
    features, targets = films(20)
    LinearModel(config, seed=3).fit(features, targets).save_pretrained(tmp_path)
    loaded = LinearModel.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded.seed == 3
    assert from_json(LinearConfig, to_json(config)) == config
