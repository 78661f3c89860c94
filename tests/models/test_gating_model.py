"""GatingModel: two spaces, what is saved, what it tells people, and titles with and without trailers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score

from reeltag.errors import ModelError, NotFittedError
from reeltag.features import Features, HeldTokens, TokenBlock
from reeltag.models import FineConfig, GatingConfig, GatingModel, Targets, Validation
from reeltag.training import TrainingConfig

from .shot_samples import trailers

CONFIG = GatingConfig(
    dim=12,
    dropout=0.1,
    input_dropout=0.0,
    training=TrainingConfig(epochs=12, batch_size=32, learning_rate=1e-2, weight_decay=0.0, precision="32-true"),
    fine=FineConfig(dim=16, epochs=4, batch_size=32, learning_rate=2e-3, supervised=0.1, out=10),
)
QUICK = replace(CONFIG, training=replace(CONFIG.training, epochs=1), fine=replace(CONFIG.fine, epochs=1))


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit weights of experts on fewer pairs of titles, for time."""
    monkeypatch.setattr("reeltag.models.gating.start._PAIRS", 20_000)


@cache
def films(seed: int = 0, n: int = 120) -> tuple[Features, Targets]:
    return trailers(n, seed)


@cache
def fitted() -> GatingModel:
    return GatingModel(CONFIG).fit(*films())


def unit(vectors: np.ndarray) -> None:
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


# ---------------------------------------------------------------- what it learns


def test_it_learns_from_shots_and_from_the_plot_and_of_silent_trailers() -> None:
    features, targets = films(1)
    found = fitted().predict_proba(features)
    assert average_precision_score(targets, found) > 0.87
    shots = features.only(["image", "motion"])
    has = features.present("image")
    assert average_precision_score(targets[has], fitted().predict_proba(shots)[has]) > 0.75
    assert average_precision_score(targets, fitted().predict_proba(features.only(["plot"]))) > 0.7
    silent = ~features.present("audio")
    assert silent.sum() > 20
    assert average_precision_score(targets[silent], found[silent]) > 0.8


@pytest.mark.parametrize("join", ["star", "concat"])
def test_other_joins_learn_too(join: str) -> None:
    model = GatingModel(replace(CONFIG, join=join, fine_stage=False)).fit(*films())
    features, targets = films(1)
    assert average_precision_score(targets, model.predict_proba(features)) > 0.8
    assert (model.attention(features) == {}) == (join == "concat")


def test_gates_are_told_for_the_modalities_that_a_title_has() -> None:
    features, _ = films(1)
    gates = fitted().attention(features)
    assert set(gates) == set(features.modalities)
    for modality, values in gates.items():
        assert values.min() >= 0
        assert values.max() <= 1
        np.testing.assert_array_equal(values > 0, features.present(modality))


def test_tokens_held_in_memory_are_read_and_their_padding_is_not() -> None:
    features, targets = films(0, 40)
    rng = np.random.default_rng(0)
    shots = [rng.normal(size=(length, 4)).astype(np.float16) for length in rng.integers(1, 6, 40)]
    places = np.where(np.arange(40) % 4 == 0, -1, np.arange(40))
    held = Features(features.ids, features.blocks, {"image.held": TokenBlock(HeldTokens(shots, 4), places, 99)})
    model = GatingModel(QUICK).fit(held, targets)
    found = model.embed(held)
    for row in (0, 1, 7):
        np.testing.assert_allclose(model.embed(held.take([row]))[0], found[row], atol=1e-5)
        np.testing.assert_allclose(model.embed_coarse(held.take([row]))[0], model.embed_coarse(held)[row], atol=0.02)


def test_shots_alone_are_enough() -> None:
    features, targets = films()
    alone = Features(features.ids, {}, features.tokens)
    model = GatingModel(QUICK).fit(alone, targets)
    missing = ~(features.present("image") | features.present("audio"))
    found = model.embed(alone)
    unit(found[~missing])
    assert missing.any()
    assert not found[missing].any()  # nothing is known of them


# ---------------------------------------------------------------- two spaces


def test_embed_is_the_fine_space_and_embed_coarse_the_other() -> None:
    features, _ = films(1)
    fine, coarse = fitted().embed(features), fitted().embed_coarse(features)
    assert fine.shape == (120, 10)
    assert coarse.shape == (120, 12 * 5)
    assert fine.dtype == coarse.dtype == np.float32
    unit(fine)
    unit(coarse)


def test_the_fine_stage_does_not_change_probabilities_nor_the_coarse_space() -> None:
    features, _ = films(1)
    without = GatingModel(replace(CONFIG, fine_stage=False)).fit(*films())
    np.testing.assert_array_equal(without.predict_proba(features), fitted().predict_proba(features))
    np.testing.assert_array_equal(without.embed(features), fitted().embed_coarse(features))
    np.testing.assert_array_equal(without.embed(features), without.embed_coarse(features))
    assert without.expert_weights() == {}
    assert list(without.notes()) == []


def test_rows_of_the_fine_space_do_not_depend_on_each_other() -> None:
    features, _ = films(1)
    found = fitted().embed(features)
    order = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(fitted().embed(features.take(order)), found[order], atol=1e-5)
    alone = np.vstack([fitted().embed(features.take([row])) for row in range(6)])
    np.testing.assert_allclose(alone, found[:6], atol=1e-5)
    assert fitted().embed(features.take([])).shape == (0, 10)


def test_more_members_share_one_fine_space() -> None:
    model = GatingModel(replace(QUICK, n_members=2)).fit(*films())
    one = GatingModel(QUICK).fit(*films())
    features, _ = films(1)
    np.testing.assert_array_equal(model.embed(features), one.embed(features))
    assert not np.array_equal(model.predict_proba(features), one.predict_proba(features))


def test_a_hidden_head_leaves_the_space_as_wide_as_what_is_fused() -> None:
    fine = replace(QUICK.fine, hidden=8, start="coarse", weigh=False)
    model = GatingModel(replace(QUICK, fine=fine)).fit(*films())
    features, _ = films(1)
    assert model.embed(features).shape == (120, 12 * 5)
    unit(model.embed(features))
    assert not np.allclose(model.embed(features), model.embed_coarse(features), atol=1e-3)


# ---------------------------------------------------------------- weights and notes


def test_weights_of_experts_are_told_by_modality() -> None:
    weights = fitted().expert_weights()
    assert list(weights) == ["plot", "year", "image", "motion", "audio"]
    assert max(weights.values()) == 1
    assert max(weights["year"], weights["audio"]) < min(weights["plot"], weights["image"])
    (note,) = fitted().notes()
    assert note.startswith("fine-grained space: plot counts ")
    assert f"audio counts {weights['audio']:.2f}" in note


def test_a_model_that_was_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError, match="GatingModel is used before fit"):
        GatingModel(CONFIG).embed(films()[0])
    assert GatingModel(CONFIG).expert_weights() == {}
    assert list(GatingModel(CONFIG).notes()) == []


# ---------------------------------------------------------------- seeds, fitting again, progress


def test_same_seed_same_spaces() -> None:
    features, targets = films()
    one, other, third = (GatingModel(QUICK, seed=seed).fit(features, targets) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.embed(features), other.embed(features))
    np.testing.assert_array_equal(one.embed_coarse(features), other.embed_coarse(features))
    assert not np.array_equal(one.embed(features), third.embed(features))


def test_fitting_again_forgets_the_fine_space() -> None:
    features, targets = films()
    model = GatingModel(QUICK).fit(*films(3))
    again = model.fit(features, targets).embed(features)
    np.testing.assert_array_equal(again, GatingModel(QUICK).fit(features, targets).embed(features))
    model.config = replace(QUICK, fine_stage=False)
    model.fit(features, targets)
    np.testing.assert_array_equal(model.embed(features), model.embed_coarse(features))
    assert model.expert_weights() == {}


def test_a_fit_that_fails_leaves_no_fine_space_of_an_earlier_one() -> None:
    features, targets = films()
    model = GatingModel(QUICK).fit(features, targets)
    with pytest.raises(ModelError, match="targets must be 0 and 1"):
        model.fit(features, targets + 1)
    assert model.expert_weights() == {}


def test_both_stages_report_their_progress_and_validation_is_for_the_first() -> None:
    told: list[tuple[str, int, int]] = []
    validation = Validation(features=films(3)[0], targets=films(3)[1])
    model = GatingModel(replace(QUICK, fine=replace(QUICK.fine, epochs=2)))
    model.fit(*films(), validation=validation, progress=lambda *step: told.append(step))
    assert told == [("training", 1, 1), ("fine-grained training", 1, 2), ("fine-grained training", 2, 2)]
    assert len(model.histories_) == 1
    assert len(model.histories_[0].scores) == 1


# ---------------------------------------------------------------- save and load


@pytest.mark.parametrize(
    "settings", [{}, {"hidden": 6}, {"start": "coarse"}, {"out": 0, "weigh": False}, {"epochs": 0}]
)
def test_saved_and_loaded_is_equal_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = GatingModel(replace(QUICK, fine=replace(QUICK.fine, **settings)), seed=2).fit(*films())
    model.save_pretrained(tmp_path)
    loaded = GatingModel.from_pretrained(tmp_path)
    features, _ = films(1)
    np.testing.assert_array_equal(loaded.embed(features), model.embed(features))
    np.testing.assert_array_equal(loaded.embed_coarse(features), model.embed_coarse(features))
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))
    assert loaded.expert_weights() == model.expert_weights()
    assert loaded.notes() == model.notes()
    assert loaded.config == model.config
    assert loaded.seed == 2


def test_a_model_without_the_stage_writes_no_fine_space_and_reads_none(tmp_path: Path) -> None:
    features, targets = films()
    GatingModel(QUICK).fit(features, targets).save_pretrained(tmp_path)
    assert (tmp_path / "fine.safetensors").is_file()
    model = GatingModel(replace(QUICK, fine_stage=False)).fit(features, targets)
    model.save_pretrained(tmp_path)  # over one that had it
    loaded = GatingModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.embed(features), model.embed_coarse(features))
    assert loaded.expert_weights() == {}
    model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new" / "fine.safetensors").exists()


@pytest.mark.parametrize("change", ["drop", "add", "resize"])
def test_tensors_of_another_model_are_refused(tmp_path: Path, change: str) -> None:
    GatingModel(QUICK).fit(*films()).save_pretrained(tmp_path)
    path = tmp_path / "fine.safetensors"
    tensors = load_file(path)
    if change == "drop":
        del tensors["head.weight"]
    elif change == "add":
        tensors["network.more"] = torch.zeros(2)
    else:
        tensors["network.gate.own.weight"] = torch.zeros(3, 3)
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"^fine\.safetensors: not the parameters of this model"):
        GatingModel.from_pretrained(tmp_path)
