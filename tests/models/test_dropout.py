"""Dropout by bytes: its rate, its scale, its gradient, and that it is off in prediction."""

from __future__ import annotations

import pytest
import torch

from reeltag.models.dropout import Dropout


@pytest.mark.parametrize("chance", [0.1, 0.25, 0.5, 0.9])
def test_rate_and_scale(chance: float) -> None:
    torch.manual_seed(0)
    found = Dropout(chance)(torch.ones(1000, 301))
    assert float((found == 0).float().mean()) == pytest.approx(chance, abs=0.004)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    assert len(found.unique()) == 2
    for place in range(8):  # every byte of a word is drawn alike
        assert float((found.flatten()[place::8] == 0).float().mean()) == pytest.approx(chance, abs=0.01)


def test_it_is_off_in_prediction_and_at_0() -> None:
    x = torch.randn(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_gradient_is_that_of_the_kept_values_and_the_seed_repeats_it() -> None:
    x = torch.randn(6, 7, requires_grad=True)
    torch.manual_seed(3)
    first = Dropout(0.5)(x)
    first.sum().backward()
    torch.manual_seed(3)
    again = Dropout(0.5)(x)
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(x.grad, (first != 0) * 2.0)


def test_no_values() -> None:
    assert Dropout(0.5)(torch.ones(0, 4)).shape == (0, 4)


def test_bfloat16_stays() -> None:
    assert Dropout(0.5)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
