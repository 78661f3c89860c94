"""GMU: its network by hand, for two modalities and for more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import GmuConfig
from reeltag.models.gmu import GmuNetwork
from reeltag.models.layout import Layout, Rows

from .batches import (
    LAYOUT,
    PAIR,
    check_absent_blocks,
    check_gradients,
    linear,
    maxout,
    modalities_present,
    normalised,
    randomise,
    rows,
)

SMALL = GmuConfig(dim=6)


def network(layout: Layout, **settings: Any) -> GmuNetwork:
    torch.manual_seed(0)
    return randomise(GmuNetwork(layout, replace(SMALL, **settings)))


def mapped(net: GmuNetwork, batch: Rows, row: int, layout: Layout, masked: bool = True) -> list[torch.Tensor]:
    """Return the vector of every modality of one title."""
    found = []
    for modality in layout.modalities:
        x = torch.zeros(6)
        for place in layout.blocks_of(modality):
            if batch.present[row, place] or not masked:
                x = x + net.align.maps[place].weight @ normalised(net.align.norms[place], batch.blocks[place][row])
        found.append(x)
    return found


def classified(net: GmuNetwork, fused: torch.Tensor, pieces: int) -> torch.Tensor:
    """Return the logits of one fused feature: batch norm, maxout, batch norm, maxout, batch norm, linear."""
    x = fused
    for layer in (0, 3):
        x = maxout(net.body[layer + 1], normalised(net.body[layer], x), pieces)
    return linear(net.head, normalised(net.body[6], x))


@torch.no_grad()
@pytest.mark.parametrize("pieces", [2, 3])
def test_two_modalities_share_a_gate(pieces: int) -> None:
    net, batch = network(PAIR, pieces=pieces), rows(PAIR, full=True)
    assert all(layer.bias is None for layer in (*net.align.maps, net.gate))
    found = net(batch)
    for row in range(6):
        v, t = mapped(net, batch, row, PAIR)
        z = torch.sigmoid(net.gate.weight @ torch.cat([v, t]))
        fused = z * torch.tanh(v) + (1 - z) * torch.tanh(t)
        torch.testing.assert_close(found.fused[row], fused)
        torch.testing.assert_close(found.logits[row], classified(net, fused, pieces))
        torch.testing.assert_close(found.attention[row], torch.stack([z.mean(), (1 - z).mean()]))


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("layout", [LAYOUT, PAIR], ids=["three", "two"])
def test_a_gate_for_every_modality(layout: Layout, masked: bool) -> None:
    net, batch = network(layout, tied=False, masked=masked), rows(layout)
    found = net(batch)
    for row, here in enumerate(modalities_present(batch, layout)):
        x = mapped(net, batch, row, layout, masked)
        z = torch.sigmoid(net.gate.weight @ torch.cat(x)).reshape(-1, 6)
        kept = [there or not masked for there in here]
        fused = sum((z[m] * torch.tanh(x[m]) for m in range(len(x)) if kept[m]), torch.zeros(6))
        torch.testing.assert_close(found.fused[row], fused)
        torch.testing.assert_close(found.logits[row], classified(net, fused, 2))
        expected = torch.stack([z[m].mean() * kept[m] for m in range(len(x))])
        torch.testing.assert_close(found.attention[row], expected)


@torch.no_grad()
@pytest.mark.parametrize("layout", [LAYOUT, PAIR], ids=["three", "two"])
def test_attention_is_a_share_and_zero_where_absent(layout: Layout) -> None:
    batch = rows(layout)
    attention = network(layout)(batch).attention
    present = torch.tensor(modalities_present(batch, layout))
    assert ((attention > 0) == present).all()
    assert attention.max() < 1
    if layout is PAIR:
        both = present.all(dim=1)
        assert both.any()
        torch.testing.assert_close(attention[both].sum(dim=1), torch.ones(int(both.sum())))


@pytest.mark.parametrize("layout", [LAYOUT, PAIR], ids=["three", "two"])
def test_absent_blocks_and_gradients(layout: Layout) -> None:
    check_absent_blocks(network(layout), layout)
    check_gradients(network(layout, dropout=0.0), layout)


@pytest.mark.parametrize(("setting", "value"), [("dim", 0), ("pieces", 0), ("dropout", 1.0)])
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"GmuConfig.{setting} must be between"):
        GmuConfig(**{setting: value})
