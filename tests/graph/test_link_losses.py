"""Losses of link prediction against explicit loops over links and negatives, and by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.graph.losses import LINK_LOSSES, LinkLossConfig

LinkTerm = Callable[[float, list[float], LinkLossConfig], float]  # what one true link costs


def softplus(x: float) -> float:
    return math.log1p(math.exp(x)) if x < 30 else x


def margin(positive: float, negatives: list[float], config: LinkLossConfig) -> float:
    return sum(max(0.0, config.margin - positive + n) for n in negatives) / len(negatives)


def logistic(positive: float, negatives: list[float], config: LinkLossConfig) -> float:
    false = sum(softplus(config.margin + n) for n in negatives) / len(negatives)
    return softplus(-(config.margin + positive)) + false


def self_adversarial(positive: float, negatives: list[float], config: LinkLossConfig) -> float:
    total = sum(math.exp(config.temperature * n) for n in negatives)
    shares = [math.exp(config.temperature * n) / total for n in negatives]
    false = sum(p * -math.log(1 / (1 + math.exp(config.margin + n))) for p, n in zip(shares, negatives, strict=True))
    return 0.5 * (-math.log(1 / (1 + math.exp(-config.margin - positive))) + false)


def softmax(positive: float, negatives: list[float], config: LinkLossConfig) -> float:
    return -math.log(math.exp(positive) / (math.exp(positive) + sum(math.exp(n) for n in negatives)))


TERMS: dict[str, LinkTerm] = {
    "margin": margin,
    "logistic": logistic,
    "self-adversarial": self_adversarial,
    "softmax": softmax,
}
NEVER = -1e4
every_loss = pytest.mark.parametrize("name", TERMS)


def example(c: int = 2, p: int = 3, n: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    positive, negative = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((c, p), (c, p, n)))
    weight = torch.rand(c, p, generator=generator, dtype=torch.float64) + 0.5
    weight[0, -1] = 0
    return positive - 1, negative - 2, weight


def config(name: str) -> LinkLossConfig:
    return LinkLossConfig(name=name, margin=1.5, temperature=0.7)


def test_every_loss_has_a_reference_here() -> None:
    assert set(TERMS) == set(LINK_LOSSES)


@every_loss
def test_value_is_the_sum_over_links(name: str) -> None:
    positive, negative, weight = example()
    expected = sum(
        float(weight[c, p]) * TERMS[name](float(positive[c, p]), negative[c, p].tolist(), config(name))
        for c in range(2)
        for p in range(3)
    )
    found = config(name)(positive, negative, weight)
    assert found.shape == ()
    assert float(found) == pytest.approx(expected, rel=1e-10)


@every_loss
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    positive, negative, weight = example()
    settings = config(name)
    shares = torch.softmax(settings.temperature * negative, -1)

    def loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
        if name != "self-adversarial":
            return settings(positive, negative, weight)
        # the weights of negatives are constants to the gradient: give finite differences the same
        softplus = torch.nn.functional.softplus
        false = (shares * softplus(settings.margin + negative)).sum(-1)
        return 0.5 * (weight * (softplus(-settings.margin - positive) + false)).sum()

    inputs = positive.requires_grad_(), negative.requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs)
    expected = torch.autograd.grad(loss(*inputs), inputs)
    found = torch.autograd.grad(settings(positive, negative, weight), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@every_loss
def test_padding_has_no_effect(name: str) -> None:
    positive, negative, weight = example()
    weight[:, 0] = 0
    inputs = positive.requires_grad_(), negative.requires_grad_()
    found = config(name)(*inputs, weight)
    gradients = torch.autograd.grad(found, inputs)
    assert all((gradient[:, 0] == 0).all() for gradient in gradients)
    with torch.no_grad():
        positive[:, 0], negative[:, 0] = 17.0, -3.0
    assert torch.equal(config(name)(*inputs, weight), found)


@every_loss
def test_masked_negatives_get_no_gradient_and_cost_nothing(name: str) -> None:
    positive, negative, weight = example()
    with_mask = negative.clone()
    with_mask[..., 1] = NEVER
    with_mask.requires_grad_()
    found = config(name)(positive, with_mask, weight)
    (gradient,) = torch.autograd.grad(found, with_mask)
    assert (gradient[..., 1] == 0).all()
    without = torch.cat([negative[..., :1], negative[..., 2:]], -1)
    kept = config(name)(positive, without, weight)
    if name in ("margin", "logistic"):  # a mean over all negatives, the masked ones counted
        settings = config(name)
        true = softplus_sum(settings, positive, weight) if name == "logistic" else 0.0
        assert float(found.detach()) - true == pytest.approx((float(kept) - true) * 3 / 4)
    else:
        torch.testing.assert_close(found.detach(), kept)


def softplus_sum(settings: LinkLossConfig, positive: torch.Tensor, weight: torch.Tensor) -> float:
    return float((weight * torch.nn.functional.softplus(-settings.margin - positive)).sum())


@every_loss
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_extreme_scores_stay_finite(name: str, size: float) -> None:
    positive = torch.tensor([[size, -size]], requires_grad=True)
    negative = torch.tensor([[[size, -size], [NEVER, NEVER]]], requires_grad=True)
    loss = config(name)(positive, negative, torch.ones(1, 2))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (positive, negative)))


@every_loss
def test_descent_lifts_true_links_and_lowers_false_ones(name: str) -> None:
    positive, negative = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, 2, requires_grad=True)
    up, down = torch.autograd.grad(config(name)(positive, negative, torch.ones(1, 1)), (positive, negative))
    assert float(up) < 0
    assert (down > 0).all()


def test_temperature_zero_makes_self_adversarial_half_the_logistic_loss() -> None:
    flat = LinkLossConfig(name="self-adversarial", temperature=0.0)
    torch.testing.assert_close(flat(*example()), 0.5 * LinkLossConfig(name="logistic")(*example()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "hinge"},
            "LinkLossConfig.name must be one of margin, logistic, self-adversarial, softmax; got 'hinge'",
        ),
        ({"margin": -1.0}, "LinkLossConfig.margin must be between 0 and 1000; got -1.0"),
        ({"temperature": 101.0}, "LinkLossConfig.temperature must be between 0 and 100; got 101.0"),
        ({"smoothing": 0.6}, "LinkLossConfig.smoothing must be between 0 and 0.5; got 0.6"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        LinkLossConfig(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message
