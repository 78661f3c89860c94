"""KnnModel against explicit loops and scikit-learn's neighbours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, ModelError
from reeltag.features import Block, Features
from reeltag.models import KnnConfig, KnnModel, knn
from reeltag.models.knn import neighbour_votes
from reeltag.models.scaling import BlockScaler

from .samples import films, hide

SMALL = KnnConfig(k=9, sparse_dim=6)


def unit_rows_by_hand(features: Features, reference: Features, sparse_dim: int) -> npt.NDArray[np.float64]:
    """Scale every block as the reference has it, each row to length 1, the whole to length 1."""
    scaler = BlockScaler(sparse_dim, 0).fit(reference)
    rows = []
    for title in range(len(features)):
        parts = []
        for name in reference.blocks:
            part = scaler.transform(name, features.blocks[name])[title].astype(np.float64)
            parts.append(part / np.linalg.norm(part) if np.linalg.norm(part) > 1e-6 else part)
        row = np.concatenate(parts)
        rows.append(row / np.linalg.norm(row) if np.linalg.norm(row) > 0 else row)
    return np.array(rows)


def gappy_films(n: int, seed: int) -> tuple[Features, npt.NDArray[np.float32]]:
    features, targets = films(n, seed=seed)
    features = hide(hide(features, "credits", range(0, n, 5)), "plot", range(1, n, 7))
    return hide(features, "year", range(2, n, 6)), targets


@pytest.mark.parametrize(("k", "power", "strength"), [(9, 2.0, 1.0), (1, 1.0, 0.25), (25, 0.0, 3.0), (400, 3.0, 1.0)])
def test_probabilities_are_those_of_explicit_loops(k: int, power: float, strength: float) -> None:
    features, targets = gappy_films(90, seed=1)
    unseen, _ = gappy_films(25, seed=2)
    model = KnnModel(KnnConfig(k=k, power=power, prior_strength=strength, sparse_dim=6)).fit(features, targets)
    found = model.predict_proba(unseen)
    known, asked = (unit_rows_by_hand(part, features, 6) for part in (features, unseen))
    rates = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)
    for title in range(len(unseen)):
        cosines = [float(asked[title] @ row) for row in known]
        last = sorted(cosines, reverse=True)[:k][-1]
        nearer = sum(cosine > last + 1e-6 for cosine in cosines)
        tied = sum(abs(cosine - last) <= 1e-6 for cosine in cosines)  # they share the places that are left
        votes = {}
        for place, cosine in enumerate(cosines):
            if cosine > max(last - 1e-6, 0):
                counted = 1 if cosine > last + 1e-6 else (min(k, len(known)) - nearer) / tied
                votes[place] = counted * cosine**power
        for label in range(targets.shape[1]):
            having = sum(vote * targets[place, label] for place, vote in votes.items())
            expected = (having + strength * rates[label]) / (sum(votes.values()) + strength)
            assert found[title, label] == pytest.approx(expected, abs=2e-5)


def test_equal_votes_without_a_prior_are_those_of_scikit_learn() -> None:
    features, targets = films(120, seed=1)
    unseen, _ = films(40, seed=2)
    model = KnnModel(KnnConfig(k=7, power=0, prior_strength=1e-6, sparse_dim=6)).fit(features, targets)
    theirs = KNeighborsClassifier(7, metric="cosine", algorithm="brute").fit(
        unit_rows_by_hand(features, features, 6), targets
    )
    expected = theirs.predict_proba(unit_rows_by_hand(unseen, features, 6))
    found = model.predict_proba(unseen)
    for label, shares in enumerate(expected):
        np.testing.assert_allclose(found[:, label], shares[:, 1], atol=1e-5)


def test_votes_are_cosines_of_the_neighbours_that_scikit_learn_finds() -> None:
    rng = np.random.default_rng(0)
    known, asked = (rng.normal(size=(n, 8)) + 1 for n in (60, 11))
    distances, places = NearestNeighbors(n_neighbors=5, metric="cosine").fit(known).kneighbors(asked)
    known, asked = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (known, asked))
    votes = neighbour_votes((asked @ known.T).astype(np.float32), 5, 3.0).toarray()
    expected = np.zeros_like(votes)
    np.put_along_axis(expected, places, (1 - distances) ** 3, axis=1)
    np.testing.assert_allclose(votes, expected, atol=1e-5)


def test_titles_as_near_as_the_last_neighbour_share_its_place() -> None:
    similarities = np.array([[0.9, 0.5, 0.5, 0.5, 0.1], [0.8, 0.8, 0.8, 0.8, 0.8]], np.float32)
    votes = neighbour_votes(similarities, 2, 1.0).toarray()
    np.testing.assert_allclose(votes, [[0.9, 0.5 / 3, 0.5 / 3, 0.5 / 3, 0], [0.8 * 2 / 5] * 5], rtol=1e-6)


def test_what_is_not_similar_has_no_vote() -> None:
    similarities = np.array([[0.4, 0.0, -0.7], [-0.1, -0.2, -0.3], [0, 0, 0]], np.float32)
    for power in (0.0, 1.0, 2.0):
        votes = neighbour_votes(similarities, 2, power).toarray()
        np.testing.assert_allclose(votes, [[0.4**power, 0, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-6)


def test_order_of_training_titles_does_not_matter_even_among_twins() -> None:
    features, targets = films(40, seed=1)
    rows = np.concatenate([np.arange(40), np.repeat([3, 4], 10)])
    features, targets = features.take(rows), np.vstack([targets, films(20, seed=3)[1]])
    unseen, _ = films(15, seed=2)
    order = np.random.default_rng(0).permutation(len(rows))
    found = KnnModel(SMALL).fit(features, targets).predict_proba(unseen)
    turned = KnnModel(SMALL).fit(features.take(order), targets[order]).predict_proba(unseen)
    np.testing.assert_allclose(turned, found, atol=1e-4)


def test_a_title_with_nothing_gets_exactly_the_base_rates() -> None:
    features, targets = films(30)
    targets[:, 0], targets[:, 1] = 0, 1
    found = KnnModel(SMALL).fit(features, targets).predict_proba(features.only([]))
    expected = (targets.sum(axis=0) + 0.5) / 31
    np.testing.assert_allclose(found, np.tile(expected, (30, 1)), rtol=1e-6)


def test_a_training_title_is_its_own_nearest_neighbour() -> None:
    features, targets = films(50)
    model = KnnModel(KnnConfig(k=1, prior_strength=1e-6, sparse_dim=6)).fit(features, targets)
    np.testing.assert_allclose(model.predict_proba(features), targets, atol=1e-4)


def test_a_stronger_prior_draws_towards_the_base_rates() -> None:
    features, targets = films(80, seed=1)
    unseen, _ = films(30, seed=2)
    rates = (targets.sum(axis=0) + 0.5) / 81
    away = []
    for strength in (1e-3, 1.0, 100.0, 1e6):
        model = KnnModel(replace(SMALL, prior_strength=strength)).fit(features, targets)
        away.append(float(np.abs(model.predict_proba(unseen) - rates).mean()))
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-4


def test_blocks_weigh_alike_whatever_their_width_and_size() -> None:
    rng = np.random.default_rng(0)
    everyone = np.ones(40, np.bool_)
    wide, narrow = (rng.normal(size=(40, dim)).astype(np.float32) for dim in (200, 3))
    features = Features(
        [str(row) for row in range(40)], {"a": Block(wide * np.float32(1e3), everyone), "b": Block(narrow, everyone)}
    )
    vectors = KnnModel(SMALL).fit(features, np.eye(40, 2, dtype=np.float32)).embed(features)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :200], axis=1), np.sqrt(0.5), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 200:], axis=1), np.sqrt(0.5), atol=1e-5)


def test_embedding_is_what_neighbours_are_found_by_and_zero_for_nothing() -> None:
    features, targets = gappy_films(60, seed=1)
    model = KnnModel(SMALL).fit(features, targets)
    np.testing.assert_allclose(model.embed(features), unit_rows_by_hand(features, features, 6), atol=1e-5)
    assert not model.embed(features.only([])).any()


def test_titles_are_asked_about_in_parts_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = films(40)
    model = KnnModel(SMALL).fit(features, targets)
    whole = model.predict_proba(features)
    for cells in (1, 41, 120):
        monkeypatch.setattr(knn, "_CELLS", cells)
        np.testing.assert_allclose(model.predict_proba(features), whole, atol=1e-5)


def test_many_labels_are_kept_sparse() -> None:
    features, _ = films(60)
    targets = np.zeros((60, 5000), np.float32)
    targets[np.arange(60), np.arange(60) * 83] = 1
    model = KnnModel(SMALL).fit(features, targets)
    assert sp.issparse(model._targets)
    assert model._targets.nnz == 60
    found = model.predict_proba(features)
    assert found.shape == (60, 5000)
    assert (found.argmax(axis=1) == np.arange(60) * 83).all()
    np.testing.assert_allclose(found[:, 1], found[:, 2], rtol=1e-6)  # nobody has them


@pytest.mark.parametrize(
    ("setting", "value"),
    [("k", 0), ("power", -1), ("power", 200), ("prior_strength", 0), ("prior_strength", 1e7), ("sparse_dim", 0)],
)
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"KnnConfig.{setting} must be between"):
        replace(KnnConfig(), **{setting: value})  # type: ignore[arg-type]


def test_settings_come_back_from_disk(tmp_path: Path) -> None:
    config = KnnConfig(k=3, power=1.5, prior_strength=0.5, sparse_dim=4)
    features, targets = films(20)
    KnnModel(config, seed=3).fit(features, targets).save_pretrained(tmp_path)
    loaded = KnnModel.from_pretrained(tmp_path)
    assert loaded.config == config
    assert loaded.seed == 3
    assert from_json(KnnConfig, to_json(config)) == config


def saved(folder: Path) -> Path:
    features, targets = films(20)
    KnnModel(SMALL).fit(features, targets).save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vectors", r"must hold indices, indptr, vectors; got indices, indptr"),
        ("scaler.year.mean", "the scale of block 'year' is missing"),
        ("more", r"must hold indices, indptr, vectors; got indices, indptr, more, vectors"),
    ],
)
def test_a_tensor_missing_or_foreign_is_named(tmp_path: Path, name: str, message: str) -> None:
    path = saved(tmp_path)
    tensors = load_file(path)
    if tensors.pop(name, None) is None:
        tensors[name] = np.zeros(2, np.float32)
    save_file(tensors, path)
    with pytest.raises(ModelError, match=rf"model\.safetensors: {message}"):
        KnnModel.from_pretrained(tmp_path)


def test_tensors_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tensors = load_file(path)
    for name, wrong, message in [
        ("vectors", tensors["vectors"][:-1].copy(), r"vectors must be of shape \(20, \d+\); got \(19, \d+\)"),
        ("vectors", tensors["vectors"][:, :-1].copy(), r"vectors must be of shape"),
        ("indptr", tensors["indptr"][:-1].copy(), "indices and indptr are not those of titles with 3 labels"),
        ("indptr", tensors["indptr"][::-1].copy(), "indices and indptr are not those"),
        ("indices", tensors["indices"] + 1, "indices and indptr are not those"),
    ]:
        save_file({**tensors, name: wrong}, path)
        with pytest.raises(ModelError, match=message):
            KnnModel.from_pretrained(tmp_path)


def test_an_unknown_setting_on_disk_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    data["config"]["metric"] = "cosine"
    (tmp_path / "model.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.json: config: unknown setting 'metric'"):
        KnnModel.from_pretrained(tmp_path)
