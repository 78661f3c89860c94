"""The attention teacher against equations 6 and 7 of its paper, title by title."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.losses import attention_targets, attention_teacher

COUNTS = st.integers(0, 500)


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- targets


def test_targets_are_equation_6() -> None:
    people, degree = [3, 0, 8, 1], [40, 0, 900, 2]
    found = attention_targets(doubles(*people), doubles(*degree), 5.5, 120.0)
    for row in range(4):
        n, d = people[row], degree[row]
        assert float(found[row]) == pytest.approx((n * d) / ((n + 5.5) * (d + 120.0)), rel=1e-12)


def test_average_title_deserves_a_quarter() -> None:
    assert float(attention_targets(doubles(6), doubles(80), 6.0, 80.0)) == pytest.approx(0.25)


def test_without_degrees_it_is_the_share_of_the_published_code() -> None:
    found = attention_targets(torch.tensor([0, 3, 6]), torch.tensor([0, 1, 50]), 6.0, 0.0)
    torch.testing.assert_close(found, torch.tensor([0, 3 / 9, 6 / 12]))


def test_nobody_known_is_zero_even_where_nobody_ever_is() -> None:
    nobody = torch.zeros(3)
    assert attention_targets(nobody, nobody, 0.0, 0.0).tolist() == [0, 0, 0]
    assert attention_targets(nobody, nobody, 4.0, 9.0).tolist() == [0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(people=COUNTS, degree=COUNTS, mean_people=st.floats(0.1, 100), mean_degree=st.floats(0.1, 1e4))
def test_targets_lie_below_one_and_grow(people: int, degree: int, mean_people: float, mean_degree: float) -> None:
    def target(n: int, d: int) -> float:
        return float(attention_targets(doubles(n), doubles(d), mean_people, mean_degree))

    assert 0 <= target(people, degree) < 1
    assert target(people + 1, degree) >= target(people, degree)
    assert target(people, degree + 1) >= target(people, degree)


# ---------------------------------------------------------------- loss


def test_loss_is_equation_7_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.rand(6, generator=generator, dtype=torch.float64)
    total = 0.0
    for row in range(6):
        mean = sum(float(attention[row, place]) for place in range(4)) / 4
        total += -math.log(1 - abs(mean - float(targets[row])))
    assert float(attention_teacher(attention, targets)) == pytest.approx(total / 6, rel=1e-12)
    torch.testing.assert_close(attention_teacher(attention.mean(1), targets), attention_teacher(attention, targets))


def test_loss_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    attention = torch.rand(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(5, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(attention_teacher, (attention, targets))


def test_loss_is_nothing_at_the_target_and_falls_towards_it() -> None:
    assert float(attention_teacher(doubles(0.3), doubles(0.3))) == 0
    attention = torch.tensor([0.1, 0.9], requires_grad=True)
    attention_teacher(attention, torch.tensor([0.5, 0.5])).backward()
    assert attention.grad is not None
    assert attention.grad[0] < 0 < attention.grad[1]


@pytest.mark.parametrize("attention", [0.0, 1.0])
def test_worst_miss_stays_finite(attention: float) -> None:
    value = torch.tensor([attention], requires_grad=True)
    loss = attention_teacher(value, torch.tensor([1 - attention]))
    loss.backward()
    assert value.grad is not None
    assert 13 < float(loss.detach()) < 14.5
    assert torch.isfinite(value.grad).all()
