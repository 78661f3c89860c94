"""LabelNeighbours: the votes of the nearest titles by explicit loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from reeltag.models import near
from reeltag.models.near import LabelNeighbours

Array = npt.NDArray[np.float32]


def titles(n: int, seed: int, dim: int = 6, n_labels: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(n, dim)) + 0.4).astype(np.float32) * rng.uniform(0.1, 9, (n, 1)).astype(np.float32)
    return vectors, (rng.random((n, n_labels)) < 0.4).astype(np.float32)


def by_hand(
    asked: Array, vectors: Array, targets: Array, k: int, power: float, strength: float
) -> npt.NDArray[np.float64]:
    """Return the probabilities title by title and label by label, kept vectors in half precision."""
    kept = [(row / np.linalg.norm(row)).astype(np.float16).astype(np.float64) for row in vectors]
    rates = [(float(column.sum()) + 0.5) / (len(vectors) + 1) for column in targets.T]
    out = np.zeros((len(asked), targets.shape[1]))
    for title, row in enumerate(asked):
        length = float(np.linalg.norm(row))
        cosines = [float(row @ other) / length if length > 1e-6 else 0.0 for other in kept]
        nearest = sorted(range(len(kept)), key=lambda place: -cosines[place])[:k]
        votes = {place: cosines[place] ** power for place in nearest if cosines[place] > 0}
        total = sum(votes.values())
        prior = strength * total if total > 0 else strength
        for label, rate in enumerate(rates):
            having = sum(vote * float(targets[place, label]) for place, vote in votes.items())
            out[title, label] = (having + prior * rate) / (total + prior)
    return out


@pytest.mark.parametrize(
    ("k", "power", "strength"), [(5, 8.0, 0.02), (1, 1.0, 0.5), (12, 0.0, 0.1), (400, 3.0, 2.0), (50, 8.0, 1e-4)]
)
def test_probabilities_are_those_of_explicit_loops(k: int, power: float, strength: float) -> None:
    vectors, targets = titles(40, 1)
    asked, _ = titles(15, 2)
    found = LabelNeighbours(k, power, strength).fit(vectors, targets).predict_proba(asked)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(asked, vectors, targets, k, power, strength), atol=1e-4)


def test_defaults_are_those_of_the_docs() -> None:
    vectors, targets = titles(80, 3)
    asked, _ = titles(5, 4)
    found = LabelNeighbours().fit(vectors, targets).predict_proba(asked)
    np.testing.assert_allclose(found, by_hand(asked, vectors, targets, 50, 8.0, 0.02), atol=1e-4)


def test_only_directions_count() -> None:
    vectors, targets = titles(40, 1)
    asked, _ = titles(10, 2)
    found = LabelNeighbours(5).fit(vectors, targets).predict_proba(asked)
    longer = LabelNeighbours(5).fit(vectors * 4, targets).predict_proba(asked * 16)
    np.testing.assert_array_equal(longer, found)


def test_what_is_like_nothing_gets_the_base_rates() -> None:
    vectors, targets = np.abs(titles(30, 1)[0]), titles(30, 1)[1]
    asked = np.stack([np.zeros(6), -np.ones(6), np.full(6, 1e-9)]).astype(np.float32)
    found = LabelNeighbours(5).fit(vectors, targets).predict_proba(asked)
    rates = (targets.sum(axis=0) + 0.5) / 31
    for row in range(2):
        np.testing.assert_allclose(found[row], rates, rtol=1e-6)
    assert np.isfinite(found).all()


def test_training_titles_that_are_zeros_never_vote() -> None:
    vectors, targets = titles(20, 1)
    vectors[::2] = 0
    targets[::2] = 1
    targets[1::2] = 0
    found = LabelNeighbours(20, prior_strength=1e-6).fit(vectors, targets).predict_proba(vectors[1::2])
    assert found.max() < 1e-4


def test_a_title_is_told_by_its_twin() -> None:
    vectors, targets = titles(30, 1)
    found = LabelNeighbours(1, prior_strength=1e-6).fit(vectors, targets).predict_proba(vectors)
    np.testing.assert_allclose(found, targets, atol=1e-4)


def test_a_high_power_leaves_the_nearest_and_never_fails() -> None:
    vectors, targets = titles(30, 1)
    asked, _ = titles(10, 2)
    high = LabelNeighbours(10, 100.0).fit(vectors, targets).predict_proba(asked)
    assert np.isfinite(high).all()
    assert (high >= 0).all()
    assert (high <= 1).all()
    far = np.array([[0.05, 1, 0, 0, 0, 0]], np.float32)  # a cosine that vanishes when raised to a high power
    near_one = LabelNeighbours(1, 100.0).fit(np.eye(1, 6, dtype=np.float32), np.ones((1, 2), np.float32))
    np.testing.assert_allclose(near_one.predict_proba(far), 0.75, rtol=1e-6)  # the base rate


def test_rows_in_parts_are_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, targets = titles(40, 1)
    asked, _ = titles(23, 2)
    model = LabelNeighbours(6).fit(vectors, targets)
    whole = model.predict_proba(asked)
    for cells in (1, 40, 200):
        monkeypatch.setattr(near, "_CELLS", cells)
        np.testing.assert_allclose(model.predict_proba(asked), whole, atol=1e-5)


def test_no_title_asked_and_one_title_kept() -> None:
    vectors, targets = titles(1, 1)
    model = LabelNeighbours().fit(vectors, targets)
    assert model.predict_proba(vectors[:0]).shape == (0, 4)
    expected = by_hand(vectors, vectors, targets, 50, 8.0, 0.02)
    np.testing.assert_allclose(model.predict_proba(vectors), expected, atol=1e-5)


def test_a_fit_forgets_the_one_before() -> None:
    vectors, targets = titles(30, 1)
    again = LabelNeighbours(5).fit(*titles(50, 7, n_labels=9)).fit(vectors, targets)
    fresh = LabelNeighbours(5).fit(vectors, targets)
    np.testing.assert_array_equal(again.predict_proba(vectors), fresh.predict_proba(vectors))


@pytest.mark.parametrize("n_labelled", [30, 0])
def test_saved_and_loaded_is_equal(n_labelled: int, tmp_path: Path) -> None:
    vectors, targets = titles(30, 1)
    targets[n_labelled:] = 0
    asked, _ = titles(10, 2)
    model = LabelNeighbours(5, 2.0).fit(vectors, targets)
    state = model.state()
    assert state["vectors"].dtype == np.float16
    save_file(state, tmp_path / "near.safetensors")
    loaded = LabelNeighbours(5, 2.0).load(load_file(tmp_path / "near.safetensors"))
    np.testing.assert_array_equal(loaded.predict_proba(asked), model.predict_proba(asked))
    assert sp.issparse(loaded._targets)
    np.testing.assert_array_equal(loaded._targets.toarray(), targets)
