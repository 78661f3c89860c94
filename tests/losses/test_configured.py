"""Losses with settings: what is passed on, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.losses import LOSSES, asymmetric, configured_loss

POSTER = {"gamma_positive": 3.0, "gamma_negative": 4.0, "margin": 0.05}


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=generator, dtype=torch.float64) * 2
    return logits, (torch.rand(6, 3, generator=generator) < 0.4).double()


@pytest.mark.parametrize("name", LOSSES)
def test_without_settings_it_is_the_loss_itself(name: str) -> None:
    assert configured_loss(name, {}) is LOSSES[name]


@pytest.mark.parametrize(
    "settings", [POSTER, {"gamma_negative": 2.5}, {"margin": 0}, {"gamma_positive": 0, "margin": 0.2}]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_settings_are_those_of_the_loss_and_the_others_its_defaults(settings: dict[str, float], weighted: bool) -> None:
    logits, targets = example()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    chosen = {"gamma_positive": 1.0, "gamma_negative": 4.0, "margin": 0.05} | settings
    total = 0.0
    for row in range(6):
        for label in range(3):
            p = 1 / (1 + math.exp(-float(logits[row, label])))
            if targets[row, label]:
                w = 1.0 if weight is None else float(weight[label])
                total -= w * (1 - p) ** chosen["gamma_positive"] * math.log(p)
            else:
                shifted = max(p - chosen["margin"], 0)
                total -= shifted ** chosen["gamma_negative"] * math.log(1 - shifted)
    found = configured_loss("asymmetric", settings)(logits, targets, weight=weight)
    assert float(found) == pytest.approx(total / 18, rel=1e-9)


def test_settings_leave_the_loss_itself_alone() -> None:
    logits, targets = example()
    before = asymmetric(logits, targets)
    configured_loss("asymmetric", POSTER)(logits, targets)
    torch.testing.assert_close(asymmetric(logits, targets), before)
    torch.testing.assert_close(configured_loss("asymmetric", {})(logits, targets), before)


@pytest.mark.parametrize(
    ("name", "setting", "known"),
    [
        ("asymmetric", "gamma", "gamma_positive, gamma_negative, margin"),
        ("bce", "margin", "none"),
        ("class_balanced", "beta", "none"),
    ],
)
def test_unknown_settings_are_named(name: str, setting: str, known: str) -> None:
    with pytest.raises(ConfigError, match=f"the loss '{name}' has no setting '{setting}'; known: {known}$"):
        configured_loss(name, {setting: 1.0})


@pytest.mark.parametrize("setting", ["logits", "targets", "weight"])
def test_what_a_loss_is_given_is_no_setting(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"has no setting '{setting}'"):
        configured_loss("asymmetric", {setting: 1.0})


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, True, "0.05", None, [1.0]])
def test_values_must_be_numbers_from_zero(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"loss_settings\.margin must be a number from 0; got"):
        configured_loss("asymmetric", {"margin": value})
