"""The mixture prior against explicit sums over labels and axes, its draws, and the contrast of decodings."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from reeltag.losses import Gaussians, decoding_contrast, mixture_draw, mixture_kl, mixture_log_density

TARGETS = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussians(n: int, seed: int = 0) -> Gaussians:
    return Gaussians(draw(n, 2, seed=seed), draw(n, 2, seed=seed + 100))


def density(point: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> float:
    out = 1.0
    for z, m, v in zip(point.tolist(), mean.tolist(), log_variance.tolist(), strict=True):
        out *= math.exp(-((z - m) ** 2) / (2 * math.exp(v))) / math.sqrt(2 * math.pi * math.exp(v))
    return out


def mixture_by_loop(point: torch.Tensor, labels: Gaussians, row: list[float]) -> float:
    own = [label for label, y in enumerate(row) if y] or list(range(len(row)))
    return sum(density(point, labels.mean[c], labels.log_variance[c]) for c in own) / len(own)


# ---------------------------------------------------------------- densities


def test_log_density_is_that_of_the_normal_distribution() -> None:
    own, points = gaussians(4), draw(4, 2, seed=7)
    expected = Normal(own.mean, torch.exp(0.5 * own.log_variance)).log_prob(points).sum(1)
    torch.testing.assert_close(own.log_density(points), expected)


def test_mixture_is_the_even_sum_over_own_labels() -> None:
    labels, points = gaussians(3, seed=1), draw(4, 2, seed=7)
    found = mixture_log_density(points, labels, TARGETS)
    for row in range(4):
        expected = math.log(mixture_by_loop(points[row], labels, TARGETS[row].tolist()))
        assert float(found[row]) == pytest.approx(expected, rel=1e-10)


def test_kl_is_the_difference_of_log_densities_over_labelled_titles() -> None:
    titles, labels, points = gaussians(4), gaussians(3, seed=1), draw(4, 2, seed=7)
    costs = [
        math.log(density(points[row], titles.mean[row], titles.log_variance[row]))
        - math.log(mixture_by_loop(points[row], labels, TARGETS[row].tolist()))
        for row in (0, 1, 3)
    ]
    assert float(mixture_kl(points, titles, labels, TARGETS)) == pytest.approx(sum(costs) / 3, rel=1e-10)


def test_kl_of_many_points_comes_near_the_closed_form() -> None:
    torch.manual_seed(0)
    title, label = Gaussians(torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.3]])), gaussians(1, seed=3)
    label = Gaussians(label.mean.float(), label.log_variance.float())
    many = Gaussians(title.mean.repeat(20_000, 1), title.log_variance.repeat(20_000, 1))
    found = mixture_kl(many.draw(), many, label, torch.ones(20_000, 1))
    normals = [Normal(g.mean, torch.exp(0.5 * g.log_variance)) for g in (title, label)]
    assert float(found) == pytest.approx(float(kl_divergence(*normals).sum()), rel=0.05)


def test_kl_of_a_title_that_is_its_label_is_nothing() -> None:
    labels = gaussians(3)
    assert float(mixture_kl(draw(3, 2), labels, labels, torch.eye(3, dtype=torch.float64))) == pytest.approx(0)


def test_gradients_are_those_of_finite_differences() -> None:
    inputs = [draw(4, 2, seed=seed).requires_grad_() for seed in range(3)]
    inputs += [draw(3, 2, seed=seed).requires_grad_() for seed in (3, 4)]

    def loss(
        z: torch.Tensor, m: torch.Tensor, v: torch.Tensor, means: torch.Tensor, logs: torch.Tensor
    ) -> torch.Tensor:
        return mixture_kl(z, Gaussians(m, v), Gaussians(means, logs), TARGETS)

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("n", [1, 3])
def test_titles_without_labels_have_no_prior_to_keep_to(n: int) -> None:
    titles, labels = gaussians(n), gaussians(3, seed=1)
    mean = titles.mean.clone().requires_grad_()
    points = draw(n, 2, seed=5)
    found = mixture_kl(points, Gaussians(mean, titles.log_variance), labels, torch.zeros(n, 3, dtype=torch.float64))
    found.backward()
    assert float(found.detach()) == 0
    assert mean.grad is not None
    assert not mean.grad.any()


def test_far_points_stay_finite() -> None:
    points, labels = torch.full((4, 2), 1e4, requires_grad=True), gaussians(3)
    mixture_log_density(points, Gaussians(labels.mean.float(), labels.log_variance.float()), TARGETS).sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


# ---------------------------------------------------------------- draws


def test_draws_come_from_own_labels_only() -> None:
    torch.manual_seed(0)
    labels = Gaussians(torch.tensor([[0.0], [10.0], [20.0]]), torch.full((3, 1), -9.0))
    nearest = {row: set() for row in range(4)}
    for _ in range(60):
        for row, value in enumerate(mixture_draw(labels, TARGETS)[:, 0].tolist()):
            nearest[row].add(round(value / 10))
    assert nearest == {0: {0, 1}, 1: {2}, 2: {0, 1, 2}, 3: {0, 1, 2}}


def test_draws_follow_the_global_seed_and_carry_gradients() -> None:
    mean, log_variance = torch.zeros(3, 2, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    torch.manual_seed(4)
    first = mixture_draw(Gaussians(mean, log_variance), TARGETS)
    torch.manual_seed(4)
    torch.testing.assert_close(mixture_draw(Gaussians(mean, log_variance), TARGETS), first)
    first.square().sum().backward()
    for parameter in (mean, log_variance):
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_spread_of_draws_is_the_variance() -> None:
    torch.manual_seed(0)
    drawn = Gaussians(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), math.log(4.0))).draw()
    assert float(drawn.mean()) == pytest.approx(3, abs=0.1)
    assert float(drawn.var()) == pytest.approx(4, rel=0.05)


# ---------------------------------------------------------------- contrast of decodings


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_decoding_contrast_is_the_loop(temperature: float) -> None:
    decodings, embeddings = draw(4, 3), draw(3, 3, seed=1)
    costs = []
    for row in (0, 1, 3):
        products = [float(decodings[row] @ embeddings[c]) / temperature for c in range(3)]
        everything = sum(math.exp(product) for product in products)
        own = [c for c in range(3) if TARGETS[row, c]]
        costs.append(sum(-math.log(math.exp(products[c]) / everything) for c in own) / len(own))
    found = decoding_contrast(decodings, embeddings, TARGETS, temperature=temperature)
    assert float(found) == pytest.approx(sum(costs) / 3, rel=1e-10)


def test_decoding_contrast_gradient() -> None:
    inputs = (draw(4, 3).requires_grad_(), draw(3, 3, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda d, e: decoding_contrast(d, e, TARGETS), inputs)


def test_decoding_contrast_on_edges() -> None:
    decodings, embeddings = draw(2, 3), draw(3, 3, seed=1)
    assert float(decoding_contrast(decodings, embeddings, torch.zeros(2, 3, dtype=torch.float64))) == 0
    one = torch.ones(2, 1, dtype=torch.float64)
    assert float(decoding_contrast(decodings, embeddings[:1], one)) == pytest.approx(0)
