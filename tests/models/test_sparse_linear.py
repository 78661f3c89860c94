"""SparseLinear against scikit-learn, label by label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from reeltag.models.sparse_linear import SparseLinear

Array = npt.NDArray[np.float32]


def titles(n: int = 60, seed: int = 0, n_labels: int = 5) -> tuple[sp.csr_matrix, Array]:
    """Return rows of words, two of which go with each label, and the labels; label 0 is the most frequent."""
    rng = np.random.default_rng(seed)
    often = np.linspace(0.6, 0.15, n_labels)
    targets = (rng.random((n, n_labels)) < often).astype(np.float32)
    words = (rng.random((n, 2 * n_labels + 8)) < 0.2).astype(np.float32)
    words[:, : 2 * n_labels] *= np.repeat(targets, 2, axis=1) * 3 + 0.3
    return sp.csr_matrix(words * rng.random(words.shape), dtype=np.float32), targets


def theirs(values: sp.csr_matrix, targets: Array, label: int, c: float) -> LogisticRegression:
    return LogisticRegression(C=c, solver="liblinear", random_state=0).fit(values, targets[:, label])


@pytest.mark.parametrize("c", [10.0, 0.3])
def test_unpruned_it_is_scikit_learn_label_by_label(c: float) -> None:
    values, targets = titles()
    unseen, _ = titles(25, seed=1)
    model = SparseLinear(c=c, prune=0.0, n_threads=2).fit(values, targets)
    assert model.labels_.tolist() == [0, 1, 2, 3, 4]
    found = model.predict_proba(unseen)
    assert found.dtype == np.float32
    for label in range(5):
        expected = theirs(values, targets, label, c).predict_proba(unseen)[:, 1]
        np.testing.assert_allclose(found[:, label], expected, atol=1e-5)


@pytest.mark.parametrize("prune", [0.02, 0.4, 3.0])
def test_weights_near_zero_are_cut_off_and_the_others_are_kept(prune: float) -> None:
    values, targets = titles()
    unseen, _ = titles(25, seed=1)
    model = SparseLinear(prune=prune).fit(values, targets)
    found, kept = model.predict_proba(unseen), 0
    for label in range(5):
        solver = theirs(values, targets, label, 10.0)
        weights = [weight if abs(weight) >= prune else 0.0 for weight in solver.coef_[0]]
        kept += sum(weight != 0 for weight in weights)
        for row in range(unseen.shape[0]):
            logit = sum(x * w for x, w in zip(unseen[row].toarray()[0], weights, strict=True)) + solver.intercept_[0]
            assert found[row, label] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    assert len(model.state()["data"]) == kept < 5 * values.shape[1]
    assert (np.abs(model.state()["data"]) >= prune - 1e-6).all()


def test_only_the_most_frequent_labels_get_a_regression() -> None:
    values, targets = titles(80)
    counts = targets.sum(axis=0)
    whole = SparseLinear().fit(values, targets)
    for most in (1, 2, 4):
        model = SparseLinear(most_labels=most).fit(values, targets)
        expected = sorted(sorted(range(5), key=lambda label: (-counts[label], label))[:most])
        assert model.labels_.tolist() == expected
        np.testing.assert_array_equal(model.predict_proba(values), whole.predict_proba(values)[:, expected])


def test_equally_frequent_labels_are_taken_in_order() -> None:
    values, targets = titles(40)
    targets = np.repeat(targets[:, :1], 4, axis=1)
    assert SparseLinear(most_labels=2).fit(values, targets).labels_.tolist() == [0, 1]


def test_labels_that_all_or_no_titles_have_are_left_out() -> None:
    values, targets = titles(40)
    targets[:, 1] = 1
    targets[:, 3] = 0
    model = SparseLinear().fit(values, targets)
    assert model.labels_.tolist() == [0, 2, 4]
    assert model.labels_.dtype == np.int64
    assert model.predict_proba(values).shape == (40, 3)
    constant = SparseLinear().fit(values, np.ones((40, 2), np.float32))
    assert constant.labels_.tolist() == []
    assert constant.predict_proba(values).shape == (40, 0)


def test_places_of_a_label_that_is_left_out_count_among_the_most_frequent() -> None:
    values, targets = titles(40)
    targets[:, 0] = 1  # the most frequent, and nothing to learn
    assert SparseLinear(most_labels=2).fit(values, targets).labels_.tolist() == [1]


def test_threads_do_not_matter_and_order_is_kept() -> None:
    values, targets = titles(50, n_labels=9)
    told = []
    for threads in (1, 4):
        seen: list[tuple[str, int, int]] = []
        model = SparseLinear(n_threads=threads).fit(values, targets, lambda *report, to=seen: to.append(report))
        assert seen == [("regressions", done, 9) for done in range(1, 10)]
        told.append(model.state())
    assert set(told[0]) == set(told[1])
    for name, tensor in told[0].items():
        np.testing.assert_array_equal(told[1][name], tensor)


def test_titles_without_words_get_the_intercept() -> None:
    values, targets = titles()
    found = SparseLinear().fit(values, targets).predict_proba(sp.csr_matrix((2, values.shape[1]), dtype=np.float32))
    for label in range(5):
        intercept = theirs(values, targets, label, 10.0).intercept_[0]
        np.testing.assert_allclose(found[:, label], 1 / (1 + np.exp(-intercept)), atol=1e-6)


def test_a_fit_forgets_the_one_before() -> None:
    values, targets = titles()
    again = SparseLinear().fit(*titles(30, seed=5, n_labels=7)).fit(values, targets)
    fresh = SparseLinear().fit(values, targets)
    assert again.labels_.tolist() == fresh.labels_.tolist()
    np.testing.assert_array_equal(again.predict_proba(values), fresh.predict_proba(values))


@pytest.mark.parametrize("constant", [False, True])
def test_saved_and_loaded_is_equal(constant: bool, tmp_path: Path) -> None:
    values, targets = titles(40)
    model = SparseLinear(most_labels=3, prune=0.2).fit(values, np.zeros_like(targets) if constant else targets)
    save_file(model.state(), tmp_path / "words.safetensors")
    loaded = SparseLinear().load(load_file(tmp_path / "words.safetensors"))
    assert loaded.labels_.tolist() == model.labels_.tolist()
    np.testing.assert_array_equal(loaded.predict_proba(values), model.predict_proba(values))
