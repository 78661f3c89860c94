"""LateModel: its network and its losses by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import LateConfig
from reeltag.models.late import LateNetwork
from reeltag.models.layout import Rows

from .batches import (
    LAYOUT,
    bce_by_hand,
    check_absent_blocks,
    check_gradients,
    linear,
    modalities_present,
    randomise,
    rows,
    targets,
)


def network(**settings: Any) -> LateNetwork:
    torch.manual_seed(0)
    net = randomise(LateNetwork(LAYOUT, replace(LateConfig(hidden=6), **settings)))
    if net.scalars is not None:
        torch.nn.init.normal_(net.scalars)
    return net


def branches(net: LateNetwork, batch: Rows) -> torch.Tensor:
    """Return the logits of every MLP, (6, n_modalities, n_labels)."""
    out = torch.zeros(6, 3, 4)
    for row in range(6):
        for place, modality in enumerate(LAYOUT.modalities):
            x = torch.cat([batch.blocks[block][row] for block in LAYOUT.blocks_of(modality)])
            for layer in (0, 3):
                x = torch.relu(linear(net.bodies[place][layer], x))
            out[row, place] = linear(net.heads[place], x)
    return out


@torch.no_grad()
@pytest.mark.parametrize("learned", [False, True])
def test_forward_is_the_mean_of_the_present(learned: bool) -> None:
    net, batch = network(learned_weights=learned), rows()
    found, logits = net(batch), branches(net, batch)
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        counts = [float(torch.exp(net.scalars[m])) if learned else 1.0 for m in range(3)]
        total = sum(count for count, there in zip(counts, here, strict=True) if there)
        weights = [count / total if there else 0.0 for count, there in zip(counts, here, strict=True)]
        torch.testing.assert_close(found.attention[row], torch.tensor(weights))
        expected = sum(weight * logits[row, m] for m, weight in enumerate(weights))
        torch.testing.assert_close(found.logits[row], expected)
    assert found.extra is None


@torch.no_grad()
def test_loss_of_every_mlp() -> None:
    batch, truth = rows(), targets()
    net = network(branch_weight=0.3)
    logits, expected = branches(net, batch), torch.zeros(())
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        expected += sum(bce_by_hand(logits[row, m], truth[row]) for m in range(3) if here[m]) / 6
    torch.testing.assert_close(net(batch, truth).extra, 0.3 * expected)
    assert network(branch_weight=0.0)(batch, truth).extra is None


@torch.no_grad()
def test_a_title_with_nothing_gets_the_base_rates() -> None:
    net, batch = network(), rows()
    shares = torch.tensor([0.1, 0.2, 0.5, 0.9])
    net.start(shares, None)
    nothing = Rows([torch.zeros_like(block) for block in batch.blocks], torch.zeros_like(batch.present))
    torch.testing.assert_close(torch.sigmoid(net(nothing).logits), shares.expand(6, -1))
    assert not net(nothing).attention.any()


def test_absent_blocks_and_gradients() -> None:
    check_absent_blocks(network())
    check_gradients(network(dropout=0.0, learned_weights=True))


@pytest.mark.parametrize(
    ("setting", "value"), [("hidden", 0), ("hidden_layers", 0), ("dropout", 1.0), ("branch_weight", -0.1)]
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"LateConfig.{setting} must be between"):
        LateConfig(**{setting: value})
