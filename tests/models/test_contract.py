"""The contract that every entry of ``MODELS`` keeps; a new model is covered by its line in that dict."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
import torch
from sklearn.metrics import average_precision_score

from reeltag.errors import FeatureError, ModelError, NotFittedError
from reeltag.features import Block, Features
from reeltag.models import MODELS, Model, Targets, Validation
from reeltag.models.contract import SIDE_BLOCKS

from .samples import ENTRIES, N_LABELS, SMALL, drop, fill_absent, films, hide, new

MODALITIES = ("plot", "year", "credits")
SUBSETS = [kept for size in (1, 2) for kept in itertools.combinations(MODALITIES, size)]
NEAR = 2e-5  # sums of float32 in another order

pytestmark = pytest.mark.parametrize("name", ENTRIES)


@cache
def training_films() -> tuple[Features, Targets]:
    """Half of the training films lack a modality now and then."""
    features, targets = films(240, seed=1)
    for number, modality in enumerate(MODALITIES):
        features = hide(features, modality, range(number, 240, 9))
    return features, targets


@cache
def unseen_films() -> tuple[Features, Targets]:
    return films(150, seed=2)


@cache
def fitted(name: str) -> Model:
    """A model shared by the tests that only read it."""
    return new(name).fit(*training_films())


def probabilities(model: Model, features: Features) -> npt.NDArray[np.float32]:
    """Predict and check what holds of all predictions."""
    found = model.predict_proba(features)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert len(found) == len(features)
    assert np.isfinite(found).all()
    assert found.min(initial=0) >= 0
    assert found.max(initial=1) <= 1
    return found


def mean_ap(targets: Targets, scores: npt.NDArray[np.float32]) -> float:
    return float(average_precision_score(targets, scores))


# ---------------------------------------------------------------- what comes out


def test_probabilities_have_shape_range_and_type(name: str) -> None:
    features, targets = unseen_films()
    assert probabilities(fitted(name), features).shape == targets.shape


def test_it_learns(name: str) -> None:
    features, targets = unseen_films()
    found = mean_ap(targets, probabilities(fitted(name), features))
    assert found > targets.mean() + 0.35
    assert found > 0.8


@pytest.mark.parametrize("modality", MODALITIES)
def test_it_learns_from_every_modality_alone(name: str, modality: str) -> None:
    features, targets = unseen_films()
    found = probabilities(fitted(name), features.only([modality]))
    labels = [0] if modality == "year" else list(range(N_LABELS))  # years speak of the first label only
    assert mean_ap(targets[:, labels], found[:, labels]) > targets[:, labels].mean() + 0.05


def test_prediction_is_repeatable_and_leaves_its_input_alone(name: str) -> None:
    features, _ = unseen_films()
    copies = {n: b.values.copy() for n, b in features.blocks.items()}
    first = probabilities(fitted(name), features)
    np.testing.assert_array_equal(first, probabilities(fitted(name), features))
    for block, values in copies.items():
        assert abs(features.blocks[block].values - values).max() == 0


def test_no_titles_give_no_rows(name: str) -> None:
    features = unseen_films()[0].take([])
    assert probabilities(fitted(name), features).shape == (0, N_LABELS)
    assert fitted(name).embed(features).shape[0] == 0
    assert all(part.shape == (0, N_LABELS) for part in fitted(name).explain(features).values())


def test_label_columns_keep_their_order(name: str) -> None:
    features, targets = training_films()
    unseen, _ = unseen_films()
    order = np.array([2, 0, 1])
    plain = probabilities(fitted(name), unseen)
    permuted = probabilities(new(name).fit(features, targets[:, order]), unseen)
    likeness = np.corrcoef(permuted.T, plain.T)[:N_LABELS, N_LABELS:]
    np.testing.assert_array_equal(likeness.argmax(axis=1), order)
    assert likeness[range(N_LABELS), order].min() > 0.9


def test_targets_may_be_a_view(name: str) -> None:
    features, targets = training_films()
    backwards = new(name).fit(features, targets[:, ::-1])
    same = new(name).fit(features, targets[:, ::-1].copy())
    np.testing.assert_array_equal(backwards.predict_proba(features), same.predict_proba(features))


# ---------------------------------------------------------------- rows do not see each other


def test_a_row_alone_is_the_row_in_a_batch(name: str) -> None:
    features = hide(unseen_films()[0].take(range(12)), "credits", [3, 4])
    together = probabilities(fitted(name), features)
    alone = np.vstack([probabilities(fitted(name), features.take([row])) for row in range(12)])
    np.testing.assert_allclose(alone, together, atol=NEAR)


def test_permuted_rows_permute_everything(name: str) -> None:
    features, _ = unseen_films()
    model, order = fitted(name), np.random.default_rng(0).permutation(len(features))
    shuffled = features.take(order)
    np.testing.assert_allclose(probabilities(model, shuffled), probabilities(model, features)[order], atol=NEAR)
    np.testing.assert_allclose(model.embed(shuffled), model.embed(features)[order], atol=1e-4)
    for modality, part in model.explain(features).items():
        np.testing.assert_allclose(model.explain(shuffled)[modality], part[order], atol=1e-3)


def test_order_of_blocks_does_not_matter(name: str) -> None:
    features, _ = unseen_films()
    turned = Features(features.ids, dict(reversed(features.blocks.items())))
    model = fitted(name)
    np.testing.assert_array_equal(probabilities(model, turned), probabilities(model, features))


# ---------------------------------------------------------------- fitting


def test_same_seed_same_result(name: str) -> None:
    unseen, _ = unseen_films()
    again = new(name).fit(*training_films())
    np.testing.assert_array_equal(again.predict_proba(unseen), fitted(name).predict_proba(unseen))


def test_refit_forgets(name: str) -> None:
    other, other_targets = films(60, seed=5, n_labels=2)
    unseen, _ = unseen_films()
    refitted = new(name).fit(other.select(["year", "plot"]), other_targets).fit(*training_films())
    np.testing.assert_array_equal(refitted.predict_proba(unseen), fitted(name).predict_proba(unseen))


def test_fit_returns_itself_and_leaves_input_and_global_seeds_alone(name: str) -> None:
    features, targets = films(30)
    before = {n: b.values.copy() for n, b in features.blocks.items()}, targets.copy()
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = new(name)
    assert model.fit(features, targets) is model
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(targets, before[1])
    for block, values in before[0].items():
        assert abs(features.blocks[block].values - values).max() == 0


def test_result_does_not_depend_on_the_global_seed(name: str) -> None:
    features, targets = films(40)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        found.append(new(name).fit(features, targets).predict_proba(features))
    np.testing.assert_array_equal(*found)


def test_validation_is_taken_and_progress_reaches_its_end(name: str) -> None:
    reports: list[tuple[str, int, int]] = []
    features, targets = training_films()
    unseen, truth = unseen_films()
    held_out = Validation(features=unseen, targets=truth)
    model = new(name).fit(features, targets, validation=held_out, progress=lambda *report: reports.append(report))
    assert mean_ap(truth, probabilities(model, unseen)) > 0.8
    assert reports
    assert reports[-1][1] == reports[-1][2]
    for stage in {name for name, _, _ in reports}:  # a model may be trained in stages
        told = [(done, total) for name, done, total in reports if name == stage]
        assert told == sorted(told)
        assert len({total for _, total in told}) == 1


@pytest.mark.parametrize("titles", [0, 5])
def test_validation_without_any_label_is_as_no_validation(name: str, titles: int) -> None:
    features, targets = training_films()
    unseen = unseen_films()[0].take(range(titles))
    held_out = Validation(features=unseen, targets=np.zeros((titles, N_LABELS), np.float32))
    model = new(name).fit(features, targets, validation=held_out)
    np.testing.assert_array_equal(model.predict_proba(features), fitted(name).predict_proba(features))


def test_validation_may_lack_a_label_and_a_modality(name: str) -> None:
    features, targets = training_films()
    unseen, truth = unseen_films()
    truth = truth.copy()
    truth[:, 1] = 0
    held_out = Validation(features=drop(unseen, "plot"), targets=truth)
    probabilities(new(name).fit(features, targets, validation=held_out), unseen)


# ---------------------------------------------------------------- absent modalities at tagging


@pytest.mark.parametrize("kept", SUBSETS, ids="+".join)
def test_any_subset_of_modalities_can_be_tagged(name: str, kept: tuple[str, ...]) -> None:
    features, _ = unseen_films()
    model = fitted(name)
    part = probabilities(model, features.only(kept))
    assert (np.abs(part - probabilities(model, features)).max(axis=1) > 1e-3).mean() > 0.9
    np.testing.assert_allclose(probabilities(model, features.select(kept)), part, atol=NEAR)


def test_titles_with_nothing_get_one_answer_near_the_base_rates(name: str) -> None:
    features, _ = unseen_films()
    found = probabilities(fitted(name), features.only([]))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), atol=NEAR)
    assert found.min() > 0.02
    assert found.max() < 0.85
    np.testing.assert_allclose(probabilities(fitted(name), Features(features.ids, {})), found, atol=NEAR)


@pytest.mark.parametrize("modality", MODALITIES)
def test_absence_in_one_row_changes_that_row_only(name: str, modality: str) -> None:
    features = unseen_films()[0].take(range(20))
    model = fitted(name)
    change = np.abs(probabilities(model, hide(features, modality, [7])) - probabilities(model, features)).max(axis=1)
    assert change[7] > 1e-3
    assert np.delete(change, 7).max() < NEAR


@pytest.mark.parametrize("value", [0.0, 1e6, np.nan, np.inf])
def test_what_stands_in_absent_rows_does_not_matter(name: str, value: float) -> None:
    features = unseen_films()[0].take(range(10))
    for number, modality in enumerate(MODALITIES):
        features = hide(features, modality, [number, number + 3])
    filled = fill_absent(features, value)
    model = fitted(name)
    np.testing.assert_allclose(probabilities(model, filled), probabilities(model, features), atol=NEAR)
    np.testing.assert_allclose(model.embed(filled), model.embed(features), atol=1e-4)
    for modality, part in model.explain(features).items():
        np.testing.assert_allclose(model.explain(filled)[modality], part, atol=1e-3)


def test_what_stands_in_absent_rows_does_not_matter_in_training(name: str) -> None:
    features, targets = training_films()
    model = new(name).fit(fill_absent(features, np.nan), targets)
    unseen, _ = unseen_films()
    np.testing.assert_allclose(probabilities(model, unseen), probabilities(fitted(name), unseen), atol=1e-4)


def test_a_block_may_be_stored_sparse_or_dense(name: str) -> None:
    features, _ = unseen_films()
    blocks = {
        block_name: Block(b.values.toarray() if b.is_sparse else sp.csr_matrix(b.values), b.present)
        for block_name, b in features.blocks.items()
    }
    turned = Features(features.ids, blocks)
    model = fitted(name)
    np.testing.assert_allclose(probabilities(model, turned), probabilities(model, features), atol=NEAR)


def test_a_block_unknown_at_training_is_passed_over(name: str) -> None:
    features, _ = unseen_films()
    extra = Features(features.ids, {**features.blocks, "sound": features.blocks["year"]})
    model = fitted(name)
    np.testing.assert_array_equal(probabilities(model, extra), probabilities(model, features))


# ---------------------------------------------------------------- absent modalities at training


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_wholly_absent_in_training(name: str, modality: str) -> None:
    features, targets = training_films()
    unseen, truth = unseen_films()
    model = new(name).fit(hide(features, modality, range(len(features))), targets)
    found = probabilities(model, unseen.without(modality))
    assert mean_ap(truth, found) > targets.mean() + 0.2
    probabilities(model, unseen)  # it may say little, and must stay a probability


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_that_one_training_film_has(name: str, modality: str) -> None:
    features, targets = training_films()
    unseen, truth = unseen_films()
    model = new(name).fit(hide(features, modality, range(1, len(features))), targets)
    assert mean_ap(truth, probabilities(model, unseen.without(modality))) > targets.mean() + 0.2
    probabilities(model, unseen)


@pytest.mark.parametrize("block", ["plot.tfidf", "plot.sense", "year", "credits.profile"])
def test_one_block_is_enough(name: str, block: str) -> None:
    features, targets = training_films()
    unseen, _ = unseen_films()
    model = new(name).fit(Features(features.ids, {block: features.blocks[block]}), targets)
    found = probabilities(model, Features(unseen.ids, {block: unseen.blocks[block]}))
    assert found.std(axis=0).min() > 0


# ---------------------------------------------------------------- explain and embed


def test_explanations_are_zero_where_absent_and_not_elsewhere(name: str) -> None:
    features = hide(unseen_films()[0], "credits", range(0, 150, 2))
    parts = fitted(name).explain(features)
    assert set(parts) == set(MODALITIES)
    for modality, part in parts.items():
        assert part.shape == (150, N_LABELS)
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
        here = features.present(modality)
        assert (part[~here] == 0).all()
        assert (np.abs(part[here]).max(axis=1) > 1e-4).mean() > 0.9


def test_explanations_point_at_the_labels(name: str) -> None:
    features, targets = unseen_films()
    for modality in ("plot", "credits"):
        part = fitted(name).explain(features)[modality]
        assert part[targets == 1].mean() > part[targets == 0].mean() + 0.2


def test_explanation_is_the_change_in_log_odds(name: str) -> None:
    features, _ = unseen_films()
    model = fitted(name)

    whole = model.predict_proba(features).astype(np.float64)
    for modality, part in model.explain(features).items():
        less = model.predict_proba(features.without(modality)).astype(np.float64)
        readable = (np.abs(whole - 0.5) < 0.499) & (np.abs(less - 0.5) < 0.499)  # float32 is coarse near 1
        assert readable.mean() > 0.7
        change = np.log(whole / (1 - whole)) - np.log(less / (1 - less))
        np.testing.assert_allclose(part[readable], change[readable], atol=1e-3)


def test_embeddings_are_unit_rows_that_gather_like_titles(name: str) -> None:
    features, targets = unseen_films()
    vectors = fitted(name).embed(features)
    assert vectors.dtype == np.float32
    assert vectors.ndim == 2
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    likeness = vectors @ vectors.T
    same = (targets[:, None] == targets[None]).all(axis=2) & ~np.eye(len(targets), dtype=bool)
    disjoint = (targets[:, None] != targets[None]).sum(axis=2) >= 2
    assert likeness[same].mean() > likeness[disjoint].mean() + 0.1


# ---------------------------------------------------------------- storage


def test_saved_and_loaded_is_equal(name: str, tmp_path: Path) -> None:
    features = hide(unseen_films()[0], "year", range(5))
    model = fitted(name)
    model.save_pretrained(tmp_path / "model")
    loaded = MODELS[name].from_pretrained(tmp_path / "model")
    assert type(loaded) is MODELS[name]
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))
    np.testing.assert_array_equal(loaded.embed(features), model.embed(features))
    explained = loaded.explain(features)
    for modality, part in model.explain(features).items():
        np.testing.assert_array_equal(explained[modality], part)
    assert not list(tmp_path.rglob("*.pkl"))


def test_saved_again_is_the_same_folder(name: str, tmp_path: Path) -> None:
    fitted(name).save_pretrained(tmp_path / "one")
    MODELS[name].from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    files = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert files == [p.relative_to(tmp_path / "two") for p in sorted((tmp_path / "two").rglob("*")) if p.is_file()]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_loaded_model_can_be_fitted_again(name: str, tmp_path: Path) -> None:
    other, other_targets = films(40, seed=5, n_labels=2)
    new(name).fit(other, other_targets).save_pretrained(tmp_path)
    unseen, _ = unseen_films()
    refitted = MODELS[name].from_pretrained(tmp_path).fit(*training_films())
    np.testing.assert_array_equal(refitted.predict_proba(unseen), fitted(name).predict_proba(unseen))


# ---------------------------------------------------------------- small and lopsided


def test_one_label(name: str) -> None:
    features, targets = training_films()
    unseen, truth = unseen_films()
    model = new(name).fit(features, targets[:, :1], validation=Validation(features=unseen, targets=truth[:, :1]))
    found = probabilities(model, unseen)
    assert found.shape == (len(unseen), 1)
    assert average_precision_score(truth[:, 0], found[:, 0]) > 0.7


@pytest.mark.parametrize("constant", [0, 1])
def test_label_of_one_class_gets_its_base_rate(name: str, constant: int) -> None:
    features, targets = training_films()
    unseen, truth = unseen_films()
    targets, truth = targets.copy(), truth.copy()
    targets[:, 1] = truth[:, 1] = constant
    model = new(name).fit(features, targets, validation=Validation(features=unseen, targets=truth))
    found = probabilities(model, unseen)
    assert np.abs(found[:, 1] - constant).max() < 0.2
    assert mean_ap(truth[:, [0, 2]], found[:, [0, 2]]) > 0.7


@pytest.mark.parametrize("constant", [0, 1])
def test_nothing_but_labels_of_one_class(name: str, constant: int) -> None:
    features, _ = films(10)
    targets = np.full((10, 2), constant, np.float32)
    held_out = Validation(features=features, targets=targets)
    assert probabilities(new(name).fit(features, targets, validation=held_out), features).shape == (10, 2)


@pytest.mark.parametrize("titles", [1, 2, 3])
def test_few_titles(name: str, titles: int) -> None:
    features, targets = films(titles)
    model = new(name).fit(features, targets)
    assert probabilities(model, unseen_films()[0]).shape == (150, N_LABELS)


def test_twin_titles(name: str) -> None:
    features, targets = films(6)
    twins = features.take([2] * 6)
    probabilities(new(name).fit(twins, targets), twins)


# ---------------------------------------------------------------- errors


def test_errors_before_fit(name: str, tmp_path: Path) -> None:
    features, _ = unseen_films()
    model = new(name)
    for use in (model.predict_proba, model.explain, model.embed):
        with pytest.raises(NotFittedError, match="before fit"):
            use(features)
    with pytest.raises(NotFittedError, match="before fit"):
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize("block", ["plot.tfidf", "year"])
def test_error_of_another_width(name: str, block: str) -> None:
    features, _ = unseen_films()
    narrow = Block(features.blocks[block].values[:, :1], features.blocks[block].present)
    with pytest.raises(FeatureError, match=rf"block '{block}' has width 1, the model was trained with \d+"):
        fitted(name).predict_proba(Features(features.ids, {**features.blocks, block: narrow}))


def test_errors_of_training(name: str) -> None:
    features, targets = films(8)
    with pytest.raises(FeatureError, match="8 titles of features, but 7 of targets"):
        new(name).fit(features, targets[:7])
    with pytest.raises(FeatureError, match="at least one block"):
        new(name).fit(Features(features.ids, {}), targets)
    with pytest.raises(ModelError, match=r"shape \(8, 0\)"):
        new(name).fit(features, targets[:, :0])
    with pytest.raises(ModelError, match=r"shape \(0, 3\)"):
        new(name).fit(features.take([]), targets[:0])
    for wrong in (0.5, 2, -1, np.nan):
        with pytest.raises(ModelError, match="targets must be 0 and 1"):
            new(name).fit(features, np.where(targets == 1, wrong, 0).astype(np.float32))


def test_errors_of_validation(name: str) -> None:
    features, targets = films(8)
    with pytest.raises(FeatureError, match="validation: 8 titles of features, but 7 of targets"):
        new(name).fit(features, targets, validation=Validation(features=features, targets=targets[:7]))
    with pytest.raises(ModelError, match="validation: targets must have the 3 labels"):
        new(name).fit(features, targets, validation=Validation(features=features, targets=targets[:, :2]))


def test_settings_are_kept_as_given(name: str) -> None:
    kind = MODELS[name]
    assert kind().config == kind.config_class()  # type: ignore[attr-defined]
    assert set(SMALL) <= set(MODELS)


def test_side_blocks_are_no_inputs(name: str) -> None:
    features, targets = films(30)
    side = {block: Block(np.ones((30, 2), np.float32), np.ones(30, np.bool_)) for block in SIDE_BLOCKS}
    with pytest.raises(FeatureError, match=r"at least one block of features besides credits\.standing"):
        new(name).fit(Features(features.ids, side), targets)
    if name in ("idkg", "mmgatbt"):  # they read one of them for other ends
        return
    beside = Features(features.ids, {**features.blocks, **side})
    model = new(name).fit(beside, targets)
    np.testing.assert_array_equal(model.predict_proba(beside), model.predict_proba(features))
    np.testing.assert_array_equal(
        model.predict_proba(features), new(name).fit(features, targets).predict_proba(features)
    )
