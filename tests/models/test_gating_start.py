"""What the fine-grained stage starts from, against independent solutions: distances, least squares, principal axes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import lsq_linear
from sklearn.decomposition import TruncatedSVD

from reeltag.models.gating import start
from reeltag.models.gating.experts import Experts
from reeltag.models.gating.start import expert_weights, make_isometric, principal_axes
from reeltag.models.layout import Layout, Rows

from .shot_samples import LAYOUT, rows, seen_of

F4 = npt.NDArray[np.float32]


def made(dim: int, layout: Layout = LAYOUT, batch: Rows | None = None) -> Experts:
    torch.manual_seed(0)
    experts = Experts(layout, dim)
    make_isometric(experts, batch or rows())
    return experts


def side_by_side(experts: Experts, places: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([experts.maps[place].weight.detach() for place in places], dim=1)


# ---------------------------------------------------------------- projections


@pytest.mark.parametrize("dim", [7, 20])
def test_wide_projections_keep_all_distances_of_the_blocks_of_a_modality_together(dim: int) -> None:
    experts = made(dim)
    for own in experts.members:  # of the plot two blocks of widths 3 and 4
        x = torch.randn(9, sum(LAYOUT.widths[place] for place in own), generator=torch.Generator().manual_seed(1))
        y = x @ side_by_side(experts, own).T
        torch.testing.assert_close(torch.cdist(y, y), torch.cdist(x, x), atol=1e-5, rtol=1e-5)


def test_narrow_projections_keep_those_of_a_subspace() -> None:
    experts = made(3)
    for own in experts.members:
        weights = side_by_side(experts, own)
        width = weights.shape[1]
        small = weights @ weights.T if width >= 3 else weights.T @ weights
        torch.testing.assert_close(small, torch.eye(min(3, width)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_projections_are_centred_on_the_titles_that_have_the_block() -> None:
    batch = rows()
    experts = made(8)
    for place in range(LAYOUT.n_vectors):
        has = batch.present[:, place] > 0
        found = experts.maps[place](batch.blocks[place][has]).mean(dim=0)
        torch.testing.assert_close(found, torch.zeros(8), atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("padding", [0, 4])
def test_projections_of_sequences_are_centred_on_all_their_tokens(padding: int) -> None:
    batch = rows(fill=20.0, padding=padding)
    experts = made(8, batch=batch)
    for place, name in enumerate(LAYOUT.names[LAYOUT.n_vectors :]):
        seen = seen_of(name) > 0
        values = batch.tokens[place].values[:, : seen.shape[1]][seen].float()
        found = experts.maps[LAYOUT.n_vectors + place](values).mean(dim=0)
        torch.testing.assert_close(found, torch.zeros(8), atol=1e-5, rtol=0)


@torch.no_grad()
def test_means_do_not_depend_on_how_many_titles_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(8)
    monkeypatch.setattr("reeltag.models.objective.PREDICT_TOKEN_ROWS", 2)
    for one, other in zip(whole.maps, made(8).maps, strict=True):
        torch.testing.assert_close(one.bias, other.bias, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_blocks_that_no_title_has_are_not_centred() -> None:
    batch = rows()
    present = batch.present.clone()
    present[:, [0, 3]] = 0
    experts = made(8, batch=batch._replace(present=present))
    for place in (0, 3):
        assert not experts.maps[place].bias.any()
    assert all(bool(layer.weight.isfinite().all() and layer.bias.isfinite().all()) for layer in experts.maps)


@torch.no_grad()
def test_experts_are_the_centred_blocks_turned() -> None:
    layout = Layout(names=("plot.a", "plot.b"), widths=(3, 2), n_labels=1)
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(3)) + 4
    batch = Rows([x[:, :3], x[:, 3:]], torch.ones(30, 2))
    found = made(6, layout, batch)(batch).experts[:, 0]
    centred = torch.nn.functional.normalize(x - x.mean(dim=0), dim=1)
    torch.testing.assert_close(found @ found.T, centred @ centred.T, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- weights of experts


@pytest.fixture
def fewer_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_PAIRS", 60_000)


def unit(values: npt.NDArray[np.float64]) -> F4:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def titles(n: int = 300) -> tuple[F4, F4]:
    """Return three experts: one that tells of the labels, one that tells half as well, and noise."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 6)) < 0.4).astype(np.float32)
    noise = rng.normal(size=(3, n, 6))
    experts = [targets - 0.4 + 0.1 * noise[0], targets - 0.4 + 0.8 * noise[1], noise[2]]
    return np.stack([unit(own) for own in experts], axis=1), targets


def all_pairs(experts: F4, targets: F4) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return cosines and overlaps of all pairs of titles, one by one."""
    cosines, overlaps = [], []
    for i in range(len(experts)):
        for j in range(i):
            cosines.append([float(experts[i, m] @ experts[j, m]) for m in range(experts.shape[1])])
            either = np.maximum(targets[i], targets[j]).sum()
            overlaps.append(np.minimum(targets[i], targets[j]).sum() / either if either else 0.0)
    return np.array(cosines), np.array(overlaps)


def test_weights_are_the_roots_of_the_coefficients_of_least_squares() -> None:
    experts, targets = titles(120)
    cosines, overlaps = all_pairs(experts, targets)
    design = np.column_stack([cosines, np.ones(len(cosines))])
    least = np.append(np.zeros(cosines.shape[1]), -np.inf)  # the intercept alone may be negative
    expected = np.sqrt(lsq_linear(design, overlaps, (least, np.inf)).x[:-1])
    found = expert_weights(experts, targets, seed=1)
    np.testing.assert_allclose(found, expected / expected.max(), atol=0.03)  # the noise has about none
    np.testing.assert_allclose(found[:2], expected[:2] / expected.max(), atol=0.01)
    assert found.dtype == np.float32


@pytest.mark.usefixtures("fewer_pairs")
def test_an_expert_that_tells_of_labels_counts_more_than_noise() -> None:
    found = expert_weights(*titles(), seed=0)
    assert found[0] == 1
    assert 0.15 < found[1] < 0.9
    assert found[2] < 0.1


@pytest.mark.usefixtures("fewer_pairs")
def test_weights_follow_their_experts() -> None:
    experts, targets = titles()
    order = [2, 0, 1]
    found = expert_weights(experts, targets, seed=0)
    np.testing.assert_allclose(expert_weights(experts[:, order], targets, seed=0), found[order], atol=1e-3)


@pytest.mark.usefixtures("fewer_pairs")
def test_an_expert_that_says_the_contrary_counts_nothing() -> None:
    experts, targets = titles()
    first, second = (targets.sum(axis=1) > 2).astype(float), np.ones(len(targets))
    contrary = unit(np.stack([second, np.where(first > 0, 9.0, -9.0) * (np.arange(len(targets)) % 2 - 0.5)], axis=1))
    padded = np.zeros((len(targets), 6), np.float32)
    padded[:, :2] = contrary
    found = expert_weights(np.stack([experts[:, 0], padded], axis=1), targets, seed=0)
    assert found[0] == 1
    assert 0 <= found[1] < 0.2


@pytest.mark.usefixtures("fewer_pairs")
def test_an_absent_expert_counts_nothing_and_does_not_disturb() -> None:
    experts, targets = titles()
    found = expert_weights(np.concatenate([experts, np.zeros_like(experts[:, :1])], axis=1), targets, seed=0)
    np.testing.assert_allclose(found[:3], expert_weights(experts, targets, seed=0), atol=1e-3)
    assert found[3] == 0


@pytest.mark.usefixtures("fewer_pairs")
@pytest.mark.parametrize("targets", [np.ones((40, 3)), np.zeros((40, 3))])
def test_labels_that_tell_nothing_make_all_experts_count_alike(targets: npt.NDArray[np.float64]) -> None:
    experts = np.zeros((40, 2, 3), np.float32)
    experts[:, :, 0] = 1  # all titles are alike, and their labels too
    found = expert_weights(experts, targets.astype(np.float32), seed=0)
    if targets.any():  # the overlap is 1 for all: what is least long of all solutions shares it out
        assert found[0] == pytest.approx(found[1], abs=1e-4)
    else:
        assert found.tolist() == [1, 1]


@pytest.mark.usefixtures("fewer_pairs")
def test_one_title_has_no_pairs() -> None:
    experts, targets = titles(1)
    assert expert_weights(experts, targets, seed=0).tolist() == [1, 1, 1]


def test_pairs_are_drawn_by_the_seed_and_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_PAIRS", 9_001)
    experts, targets = titles(60)
    first, second = (expert_weights(experts, targets, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(first, expert_weights(experts, targets, seed=3))
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(first, second, atol=0.15)


# ---------------------------------------------------------------- principal axes


def vectors(n: int = 200, dim: int = 8) -> F4:
    rng = np.random.default_rng(5)
    return (rng.normal(size=(n, dim)) * np.linspace(3, 0.5, dim) + 0.3).astype(np.float32)


def test_axes_are_the_right_singular_vectors() -> None:
    x = vectors()
    axes = principal_axes(x, 5, seed=0)
    expected = np.linalg.svd(x.astype(np.float64))[2][:5]
    assert axes.shape == (5, 8)
    assert axes.dtype == np.float32
    np.testing.assert_allclose(np.abs(np.sum(axes * expected, axis=1)), 1, atol=1e-5)  # but for their sign
    np.testing.assert_allclose(axes @ axes.T, np.eye(5), atol=1e-6)


def test_they_are_those_of_scikit_learn() -> None:
    x = vectors()
    expected = TruncatedSVD(4, algorithm="arpack", random_state=0).fit(x).components_
    axes = principal_axes(x, 4, seed=0)
    np.testing.assert_allclose(axes.T @ axes, expected.T @ expected, atol=1e-5)


def test_all_axes_keep_all_cosines() -> None:
    x = vectors(20)
    y = x @ principal_axes(x, 8, seed=0).T
    np.testing.assert_allclose(y @ y.T, x @ x.T, rtol=1e-4, atol=1e-4)
    strengths = (y**2).sum(axis=0)
    assert (np.diff(strengths) <= 1e-3).all()


def test_there_are_as_many_as_asked_for_of_few_titles_too() -> None:
    axes = principal_axes(vectors(3), 6, seed=0)
    np.testing.assert_allclose(axes @ axes.T, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(vectors(3) @ axes.T @ axes, vectors(3), atol=1e-4)


def test_of_many_vectors_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    x = vectors(3000)
    whole = principal_axes(x, 3, seed=0)
    monkeypatch.setattr(start, "_SKETCH", 1500)
    part = principal_axes(x, 3, seed=0)
    np.testing.assert_array_equal(part, principal_axes(x, 3, seed=0))
    assert not np.array_equal(part, whole)
    assert (np.abs(np.sum(whole * part, axis=1)) > 0.9).all()


def test_an_expert_that_repeats_another_takes_nothing_from_a_third() -> None:
    """Where plain least squares has a negative coefficient, the others are fitted anew without that expert."""
    experts, targets = titles(120)
    mixed = experts[:, :1] + 0.8 * experts[:, 1:2] + 0.3 * experts[:, 2:3]
    more = np.concatenate([experts, mixed / np.linalg.norm(mixed, axis=2, keepdims=True)], axis=1).astype(np.float32)
    cosines, overlaps = all_pairs(more, targets)
    design = np.column_stack([cosines, np.ones(len(cosines))])
    expected = lsq_linear(design, overlaps, (np.append(np.zeros(4), -np.inf), np.inf)).x[:-1]
    found = expert_weights(more, targets, seed=2)
    np.testing.assert_allclose(found, np.sqrt(expected / expected.max()), atol=0.04)
