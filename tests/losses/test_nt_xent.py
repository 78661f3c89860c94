"""NT-Xent against loops, its masks, its gradients, and what it says of extreme cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from reeltag.losses import nt_xent


def by_loops(vectors: np.ndarray, titles: list[int], temperature: float) -> float:
    """Return the loss, pair by pair."""
    n, costs = len(titles), []
    for i in range(n):
        for j in range(n):
            if i == j or titles[i] != titles[j]:
                continue
            own = math.exp(float(vectors[i] @ vectors[j]) / temperature)
            others = sum(
                math.exp(float(vectors[i] @ vectors[k]) / temperature) for k in range(n) if titles[k] != titles[i]
            )
            costs.append(-math.log(own / (own + others)))
    return sum(costs) / len(costs) if costs else 0.0


def unit(n: int, dim: int = 5, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    "titles", [[0, 1, 2, 0, 1, 2], [0, 0, 1, 1], [3, 3, 3, 1, 1, 7], [0, 1, 0, 1, 0, 1, 2, 2], [5, 5]]
)
def test_equals_the_loops(titles: list[int], temperature: float) -> None:
    vectors = unit(len(titles))
    loss = nt_xent(vectors, torch.tensor(titles), temperature=temperature)
    assert float(loss) == pytest.approx(by_loops(vectors.numpy(), titles, temperature), rel=1e-9, abs=1e-12)


def test_with_two_views_is_the_cross_entropy_over_all_other_views() -> None:
    vectors, n = unit(12), 6
    scores = (vectors @ vectors.T / 0.2).fill_diagonal_(-torch.inf)
    expected = functional.cross_entropy(scores, torch.arange(2 * n).roll(n))
    loss = nt_xent(vectors, torch.arange(n).repeat(2), temperature=0.2)
    assert float(loss) == pytest.approx(float(expected), rel=1e-9)


def test_views_of_the_same_title_are_no_negatives() -> None:
    near = unit(1).repeat(3, 1)
    far = -near[:2]
    loss = nt_xent(torch.cat([near, far]), torch.tensor([0, 0, 0, 1, 1]), temperature=0.05)
    assert float(loss) < 1e-12  # a third equal view would cost log 2 if it were a negative


def test_a_title_with_one_view_has_no_pair_and_is_a_negative_still() -> None:
    pair = unit(2, seed=1)
    alone = nt_xent(pair, torch.tensor([0, 0]), temperature=0.5)
    beside = nt_xent(torch.cat([pair, pair[:1]]), torch.tensor([0, 0, 1]), temperature=0.5)
    assert float(alone) == pytest.approx(0, abs=1e-12)
    assert float(beside) > 0.1


@pytest.mark.parametrize("titles", [[0, 1, 2], [4]])
def test_is_zero_without_pairs_and_has_a_gradient(titles: list[int]) -> None:
    vectors = unit(len(titles)).requires_grad_()
    loss = nt_xent(vectors, torch.tensor(titles))
    loss.backward()
    assert float(loss.detach()) == 0
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))


def test_gradients_are_those_of_finite_differences() -> None:
    vectors = torch.randn(6, 3, dtype=torch.double, generator=torch.Generator().manual_seed(2), requires_grad=True)
    titles = torch.tensor([0, 1, 0, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda x: nt_xent(functional.normalize(x, dim=1), titles, temperature=0.3), vectors)


def test_is_finite_at_low_temperatures_in_single_precision() -> None:
    vectors = torch.cat([unit(4), -unit(4)]).float().requires_grad_()
    loss = nt_xent(vectors, torch.arange(4).repeat(2), temperature=0.005)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_the_order_of_views_is_nothing() -> None:
    vectors, titles = unit(8), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    one, other = nt_xent(vectors, titles), nt_xent(vectors[order], titles[order])
    assert float(one) == pytest.approx(float(other), rel=1e-12)
