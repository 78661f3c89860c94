"""BlockScaler: standardising, unit rows, truncated SVD, absent rows, tiny and degenerate blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.errors import FeatureError
from reeltag.features import Block, Features
from reeltag.models.scaling import BlockScaler

Array = npt.NDArray[np.float32]


def features(values: Any, present: npt.ArrayLike | None = None, name: str = "plot") -> Features:
    n = values.shape[0]
    mask = np.ones(n, np.bool_) if present is None else np.asarray(present, np.bool_)
    values = values.astype(np.float32)
    return Features([str(row) for row in range(n)], {name: Block(values, mask)})


def scaled(found: Features, scaler: BlockScaler | None = None, name: str = "plot") -> Array:
    return (scaler or BlockScaler().fit(found)).transform(name, found.blocks[name])


def unit_rows(n: int, dim: int, seed: int = 0) -> npt.NDArray[np.float64]:
    values = np.random.default_rng(seed).normal(size=(n, dim))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_columns_are_standardised_over_the_titles_that_have_them() -> None:
    values = np.random.default_rng(0).normal(5, 3, size=(50, 4))
    present = np.arange(50) % 3 > 0
    values[~present] = 1e9
    known = values[present]
    expected = np.where(present[:, None], (values - known.mean(axis=0)) / known.std(axis=0), 0)
    np.testing.assert_allclose(scaled(features(values, present)), np.clip(expected, -5, 5), atol=1e-4)


def test_values_are_clipped_at_five_spreads() -> None:
    scaler = BlockScaler().fit(features(np.array([[-2.0], [2.0], [-2.0], [2.0]])))
    found = scaled(features(np.array([[8.0], [-12.0], [1e30]])), scaler)
    np.testing.assert_allclose(found[:, 0], [4, -5, 5])


def test_column_that_never_varies_becomes_zero() -> None:
    assert (scaled(features(np.full((6, 2), 7.0))) == 0).all()


def test_unit_rows_are_scaled_as_a_whole() -> None:
    values = unit_rows(20, 6)
    np.testing.assert_allclose(scaled(features(values)), 3 * values, atol=1e-5)


def test_unit_rows_of_half_precision_count_as_unit_rows() -> None:
    values = unit_rows(20, 384).astype(np.float16)
    np.testing.assert_allclose(scaled(features(values)), 3 * values.astype(np.float32), atol=1e-5)


def test_a_row_off_unit_length_means_no_embedding() -> None:
    values = unit_rows(20, 6)
    values[3] *= 1.1
    assert np.abs(scaled(features(values)).mean(axis=0)).max() < 1e-5


def test_absent_rows_do_not_decide_whether_rows_are_unit() -> None:
    values, present = unit_rows(20, 6), np.arange(20) != 4
    values[4] = 0
    np.testing.assert_allclose(scaled(features(values, present)), 3 * values, atol=1e-5)


def test_sparse_blocks_are_projected_onto_their_singular_vectors() -> None:
    values = sp.random(40, 12, density=0.4, random_state=0, format="csr")
    present = np.arange(40) % 5 > 0
    found = scaled(features(values, present), BlockScaler(sparse_dim=3).fit(features(values, present)))
    _, _, vectors = np.linalg.svd(values.toarray()[present].astype(np.float32), full_matrices=False)
    projected = values.toarray() @ vectors[:3].T
    expected = 3 * projected / np.linalg.norm(projected, axis=1, keepdims=True) * present[:, None]
    # a singular vector has no sign of its own: compare what does not depend on it
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


def test_a_title_outside_the_projection_does_not_change_the_others() -> None:
    values = np.zeros((30, 6))
    values[:, :3] = np.abs(np.random.default_rng(0).normal(size=(30, 3)))
    values[7] = [0, 0, 0, 0, 0, 1e-3]  # a rare phrase and nothing else: its projection is nil
    block = features(sp.csr_matrix(values))
    scaler = BlockScaler(sparse_dim=3).fit(block)
    lengths = np.linalg.norm(scaled(block, scaler), axis=1)
    assert lengths[7] < 1e-3
    np.testing.assert_allclose(np.delete(lengths, 7), 3, atol=1e-3)


@pytest.mark.parametrize(("n_titles", "n_columns", "width"), [(1, 5, 1), (2, 5, 1), (4, 5, 3), (9, 5, 4), (9, 1, 1)])
def test_width_of_a_projection_follows_titles_and_columns(n_titles: int, n_columns: int, width: int) -> None:
    block = features(sp.csr_matrix(np.eye(n_titles, n_columns)))
    scaler = BlockScaler(sparse_dim=100).fit(block)
    assert scaler.widths == {"plot": width}
    assert scaled(block, scaler).shape == (n_titles, width)


@pytest.mark.parametrize("sparse", [False, True])
def test_block_that_no_training_title_has(sparse: bool) -> None:
    values = np.ones((4, 3))
    block = features(sp.csr_matrix(values) if sparse else values, np.zeros(4))
    scaler = BlockScaler().fit(block)
    assert scaler.widths == {"plot": 1 if sparse else 3}
    assert (scaled(block, scaler) == 0).all()
    later = features(sp.csr_matrix(values) if sparse else values)
    assert scaled(later, scaler).shape == (4, scaler.widths["plot"])
    assert np.isfinite(scaled(later, scaler)).all()


def test_equal_sparse_rows_raise_no_warning() -> None:
    block = features(sp.csr_matrix(np.ones((5, 4))))
    np.testing.assert_allclose(np.linalg.norm(scaled(block), axis=1), 3, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("sparse", [False, True])
def test_absent_rows_become_zero_whatever_stands_there(value: float, sparse: bool) -> None:
    values = np.random.default_rng(0).normal(size=(10, 4))
    values[2] = value
    block = features(sp.csr_matrix(values) if sparse else values, np.arange(10) != 2)
    found = scaled(block)
    assert np.isfinite(found).all()
    assert (found[2] == 0).all()
    assert found.flags.c_contiguous
    assert found.dtype == np.float32


def test_input_is_not_written_to() -> None:
    values = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32) * 100
    block, copy = features(values, np.arange(10) > 2), values.copy()
    scaled(block)
    np.testing.assert_array_equal(block.blocks["plot"].values, copy)


@pytest.mark.parametrize("sparse", [False, True])
def test_wrong_width_is_named(sparse: bool) -> None:
    def wide(n_columns: int) -> Features:
        return features(sp.csr_matrix(np.eye(6, n_columns)) if sparse else np.eye(6, n_columns))

    with pytest.raises(FeatureError, match="block 'plot' has width 5, the model was trained with 4"):
        scaled(wide(5), BlockScaler(sparse_dim=2).fit(wide(4)))


def test_saved_state_scales_alike_and_fit_forgets() -> None:
    block = Features(
        list("abcdef"),
        {
            "year": Block(np.arange(6, dtype=np.float32)[:, None], np.ones(6, np.bool_)),
            "plot.words": Block(sp.csr_matrix(np.eye(6, 4, dtype=np.float32)), np.ones(6, np.bool_)),
        },
    )
    scaler = BlockScaler(sparse_dim=2).fit(features(np.eye(3), name="other")).fit(block)
    loaded = BlockScaler().load(scaler.names, scaler.state())
    assert scaler.names == loaded.names == ["year", "plot.words"]
    assert scaler.widths == loaded.widths == {"year": 1, "plot.words": 2}
    assert not any(name.startswith("other") for name in scaler.state())
    for name in scaler.names:
        np.testing.assert_array_equal(scaled(block, loaded, name), scaled(block, scaler, name))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**31), st.booleans(), st.sampled_from([1e-8, 1, 1e6]))
def test_any_block_gives_finite_bounded_values(n: int, dim: int, seed: int, sparse: bool, size: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(n, dim))) * size * (rng.random((n, dim)) < 0.5)
    block = features(sp.csr_matrix(values) if sparse else values, rng.random(n) < 0.7)
    found = scaled(block, BlockScaler(sparse_dim=3).fit(block))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 5
