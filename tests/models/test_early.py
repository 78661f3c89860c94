"""EarlyModel: its network by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import EarlyConfig
from reeltag.models.early import EarlyNetwork

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, randomise, rows, targets


def network(**settings: Any) -> EarlyNetwork:
    torch.manual_seed(0)
    return randomise(EarlyNetwork(LAYOUT, replace(EarlyConfig(hidden=6), **settings)))


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_is_the_formula(layers: int) -> None:
    net, batch = network(hidden_layers=layers), rows()
    found = net(batch, targets())
    for row in range(6):
        x = torch.cat([block[row] for block in batch.blocks])
        for layer in range(layers):
            x = torch.relu(linear(net.body[3 * layer], x))
        torch.testing.assert_close(found.fused[row], x)
        torch.testing.assert_close(found.logits[row], linear(net.head, x))
    assert found.attention is None
    assert found.extra is None


def test_absent_blocks_and_gradients() -> None:
    check_absent_blocks(network())
    check_gradients(network(dropout=0.0))


@pytest.mark.parametrize(("setting", "value"), [("hidden", 0), ("hidden_layers", 0), ("dropout", 1.0)])
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"EarlyConfig.{setting} must be between"):
        EarlyConfig(**{setting: value})
