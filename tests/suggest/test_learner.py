"""The quick learner is the logistic regression it claims to be, on features that are compressed as it says."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from reeltag.errors import ConfigError, FeatureError, ModelError, NotFittedError
from reeltag.features import Block, Features
from reeltag.suggest import QuickConfig, QuickLearner
from reeltag.suggest.learner import compressed


def features(values: np.ndarray, present: np.ndarray | None = None, name: str = "plot.x") -> Features:
    there = np.ones(len(values), np.bool_) if present is None else present
    return Features([str(row) for row in range(len(values))], {name: Block(values.astype(np.float32), there)})


def problem(n: int = 200, dim: int = 5, n_labels: int = 3, seed: int = 0) -> tuple[Features, np.ndarray]:
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, dim))
    logits = values @ random.normal(size=(dim, n_labels)) * 2 - 1
    return features(values), (random.random((n, n_labels)) < 1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_it_is_one_logistic_regression_per_label(c: float) -> None:
    x, y = problem()
    found = QuickLearner(QuickConfig(c=c, iterations=500)).fit(x, y).predict_proba(x)
    assert found.shape == y.shape
    assert found.dtype == np.float32
    for label in range(y.shape[1]):
        values = np.asarray(x.blocks["plot.x"].values)
        # the bias is penalised away from the base rate, which a column of ones and the base rate as start reproduce
        expected = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(values, y[:, label]).predict_proba(values)[:, 1]
        np.testing.assert_allclose(found[:, label], expected, atol=0.02)


def test_it_finds_the_minimum_of_its_loss() -> None:
    x, y = problem(n=60)
    values = np.asarray(x.blocks["plot.x"].values, np.float64)
    found = QuickLearner(QuickConfig(c=0.5, iterations=500)).fit(x, y)
    weights, bias = found._fitted  # type: ignore[misc]
    rates = (y.sum(axis=0) + 0.5) / (len(y) + 1)
    wrong = 1 / (1 + np.exp(-(values @ weights + bias))) - y
    np.testing.assert_allclose(values.T @ wrong + weights / 0.5, 0, atol=2e-3)
    np.testing.assert_allclose(wrong.sum(axis=0) + (bias - np.log(rates / (1 - rates))) / 0.5, 0, atol=2e-3)


def test_a_label_that_no_title_has_is_unlikely_and_one_that_all_have_likely() -> None:
    x, y = problem()
    y[:, 0], y[:, 1] = 0, 1
    found = QuickLearner().fit(x, y).predict_proba(x)
    assert found[:, 0].max() < 0.02
    assert found[:, 1].min() > 0.98


def test_blocks_are_read_side_by_side() -> None:
    x, y = problem(dim=6)
    values = np.asarray(x.blocks["plot.x"].values)
    parts = {
        "plot.x": Block(values[:, :2], np.ones(len(y), bool)),
        "title.x": Block(values[:, 2:], np.ones(len(y), bool)),
    }
    whole = QuickLearner().fit(x, y).predict_proba(x)
    halves = Features(x.ids, parts)
    np.testing.assert_allclose(QuickLearner().fit(halves, y).predict_proba(halves), whole, atol=1e-5)


def test_a_second_fit_forgets_the_first() -> None:
    (x, y), (other_x, other_y) = problem(), problem(seed=1)
    again = QuickLearner().fit(other_x, other_y).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), QuickLearner().fit(x, y).predict_proba(x))


def test_embeddings_are_unit_vectors_of_the_inputs() -> None:
    x, y = problem()
    vectors = QuickLearner().fit(x, y).embed(x)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    values = np.asarray(x.blocks["plot.x"].values)
    np.testing.assert_allclose(vectors * np.linalg.norm(values, axis=1, keepdims=True), values, rtol=1e-4, atol=1e-6)
    assert np.isfinite(QuickLearner().embed(features(np.zeros((2, 3))))).all()


def test_mistakes() -> None:
    x, y = problem()
    with pytest.raises(NotFittedError, match="QuickLearner is used before fit"):
        QuickLearner().predict_proba(x)
    with pytest.raises(FeatureError, match="200 titles of features, but 10 of targets"):
        QuickLearner().fit(x, y[:10])
    with pytest.raises(ModelError, match="targets must be 0 and 1"):
        QuickLearner().fit(x, y + 1)
    with pytest.raises(ConfigError, match=r"QuickConfig\.c must be between"):
        QuickConfig(c=0)
    with pytest.raises(ConfigError, match=r"QuickConfig\.svd_dim must be between"):
        QuickConfig(svd_dim=1)
    with pytest.raises(ConfigError, match=r"QuickConfig\.iterations must be between"):
        QuickConfig(iterations=0)


# compressed


def test_sparse_blocks_become_dense_and_keep_what_is_like_what() -> None:
    random = np.random.default_rng(0)
    topics = random.random((3, 40)) * (random.random((3, 40)) < 0.3)
    values = sp.csr_matrix((random.random((60, 3)) ** 4 @ topics).astype(np.float32))
    block = Features([str(row) for row in range(60)], {"plot.tfidf": Block(values, np.ones(60, np.bool_))})
    found = compressed(block, 40, dim=8, seed=0).blocks["plot.tfidf"]
    assert not found.is_sparse
    assert found.values.shape == (60, 8)
    inner = np.asarray(found.values) @ np.asarray(found.values).T
    expected = (values @ values.T).toarray()
    np.testing.assert_allclose(inner / inner[0, 0], expected / expected[0, 0], rtol=1e-2, atol=1e-3)  # rank 3 fits in 8


def test_dense_blocks_are_standardised_by_the_pool_alone() -> None:
    random = np.random.default_rng(0)
    values = random.normal(3, 2, (50, 4)).astype(np.float32)
    values[:, 3] = 7
    present = np.ones(50, np.bool_)
    present[:5] = False
    found = np.asarray(compressed(features(values, present), 30, dim=8, seed=0).blocks["plot.x"].values)
    pool = values[5:30]
    spread = np.where(pool.std(axis=0) > 1e-6, pool.std(axis=0), 1)
    expected = np.clip((values - pool.mean(axis=0)) / spread, -5, 5) * 3 / 2
    expected[:5] = 0
    np.testing.assert_allclose(found, expected, atol=1e-4)
    changed = values.copy()
    changed[30:] += 100
    again = np.asarray(compressed(features(changed, present), 30, dim=8, seed=0).blocks["plot.x"].values)
    np.testing.assert_array_equal(again[:30], found[:30])


def test_a_block_with_little_to_give_is_narrower() -> None:
    narrow = sp.csr_matrix(np.array([[0, 1], [1, 0], [1, 1]], np.float32))
    there = np.ones(3, np.bool_)
    x = Features(["a", "b", "c"], {"plot.tfidf": Block(narrow, there)})
    assert compressed(x, 3, dim=8, seed=0).blocks["plot.tfidf"].dim == 1
    single = Features(["a", "b", "c"], {"plot.tfidf": Block(narrow[:, :1].tocsr(), there)})
    assert compressed(single, 3, dim=8, seed=0).blocks["plot.tfidf"].dim == 1
    nobody = Features(["a", "b", "c"], {"plot.x": Block(np.ones((3, 2), np.float32), np.zeros(3, np.bool_))})
    np.testing.assert_array_equal(compressed(nobody, 3, dim=8, seed=0).blocks["plot.x"].values, np.zeros((3, 2)))
