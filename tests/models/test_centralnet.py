"""CentralNet: its network and its losses by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import CentralNetConfig
from reeltag.models.centralnet import CentralNetNetwork
from reeltag.models.layout import Rows

from .batches import (
    LAYOUT,
    bce_by_hand,
    check_absent_blocks,
    check_gradients,
    linear,
    maxout,
    modalities_present,
    normalised,
    randomise,
    rows,
    targets,
)


def network(**settings: Any) -> CentralNetNetwork:
    torch.manual_seed(0)
    net = randomise(CentralNetNetwork(LAYOUT, replace(CentralNetConfig(dim=6), **settings)))
    torch.nn.init.uniform_(net.scalars, 0.5, 2)
    torch.nn.init.uniform_(net.central_scalars, 0.5, 2)
    return net


def branch_states(net: CentralNetNetwork, batch: Rows, row: int, place: int, layers: int) -> list[torch.Tensor]:
    """Return the states of one branch for one title, layer by layer."""
    x = torch.zeros(6)
    for block in LAYOUT.blocks_of(LAYOUT.modalities[place]):
        if batch.present[row, block]:
            x = x + linear(net.align.maps[block], normalised(net.align.norms[block], batch.blocks[block][row]))
    states = []
    for layer in range(layers):
        norm, unit, _ = net.branches[place][layer]
        x = maxout(unit, normalised(norm, x), 2)
        states.append(x)
    return states


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("chained", [True, False])
def test_forward_is_the_formula(layers: int, chained: bool) -> None:
    net, batch = network(layers=layers, chained=chained), rows()
    found = net(batch)
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        states = [branch_states(net, batch, row, place, layers) for place in range(3)]
        centres: list[torch.Tensor] = []
        for layer in range(layers):
            mixed = sum(net.scalars[layer, m] * states[m][layer] for m in range(3) if here[m])
            if chained and layer:
                mixed = mixed + net.central_scalars[layer - 1] * centres[-1]
            centres.append(torch.relu(linear(net.central[layer], mixed)))
        fused = centres[-1] if chained else sum(net.central_scalars[k] * centres[k] for k in range(layers))
        torch.testing.assert_close(found.fused[row], fused)
        torch.testing.assert_close(found.logits[row], linear(net.head, fused))
    assert found.attention is None
    assert found.extra is None


@torch.no_grad()
def test_losses_of_the_branches() -> None:
    net, batch, truth = network(branch_weight=0.7), rows(), targets()
    expected = torch.zeros(())
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        for place in range(3):
            if here[place]:
                logits = linear(net.heads[place], branch_states(net, batch, row, place, 2)[-1])
                expected += bce_by_hand(logits, truth[row]) / 6
    torch.testing.assert_close(net(batch, truth).extra, 0.7 * expected)
    assert network(branch_weight=0.0)(batch, truth).extra is None


@torch.no_grad()
def test_every_head_starts_from_the_base_rates() -> None:
    net, shares = network(), torch.tensor([0.1, 0.2, 0.5, 0.9])
    net.start(shares, None)
    for head in (net.head, *net.heads):
        torch.testing.assert_close(torch.sigmoid(head.bias), shares)


@pytest.mark.parametrize("chained", [True, False])
def test_absent_blocks_and_gradients(chained: bool) -> None:
    check_absent_blocks(network(chained=chained))
    check_gradients(network(chained=chained, dropout=0.0))


@pytest.mark.parametrize(
    ("setting", "value"), [("dim", 0), ("layers", 0), ("pieces", 0), ("dropout", 1.0), ("branch_weight", -1)]
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"CentralNetConfig.{setting} must be between"):
        CentralNetConfig(**{setting: value})
