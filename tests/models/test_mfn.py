"""MFN: its network, its attention over parts and its losses by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import MfnConfig
from reeltag.models.layout import Rows
from reeltag.models.mfn import MfnNetwork

from .batches import (
    LAYOUT,
    bce_by_hand,
    check_absent_blocks,
    check_gradients,
    linear,
    modalities_present,
    normalised,
    randomise,
    rows,
    targets,
)


def network(**settings: Any) -> MfnNetwork:
    torch.manual_seed(0)
    return randomise(MfnNetwork(LAYOUT, replace(MfnConfig(parts=3, dim=5, hidden=6), **settings)))


def parts_of(net: MfnNetwork, batch: Rows, row: int, place: int) -> list[torch.Tensor]:
    """Return the three parts of one modality of one title."""
    x = torch.zeros(15)
    for block in LAYOUT.blocks_of(LAYOUT.modalities[place]):
        if batch.present[row, block]:
            x = x + linear(net.align.maps[block], normalised(net.align.norms[block], batch.blocks[block][row]))
    return [torch.relu(x[5 * part : 5 * part + 5]) for part in range(3)]


@torch.no_grad()
@pytest.mark.parametrize("evidence", ["max", "mean"])
def test_forward_is_the_formula(evidence: str) -> None:
    net, batch = network(evidence=evidence), rows()
    found = net(batch)
    for row in range(6):
        attended = []
        for place in range(3):
            parts = parts_of(net, batch, row, place)
            activations = [linear(net.heads[place], part) for part in parts]
            scores = torch.stack([a.max() if evidence == "max" else a.mean() for a in activations])
            weights = torch.exp(scores) / torch.exp(scores).sum()
            attended.append(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
        fused = torch.relu(linear(net.body[0], torch.cat(attended)))
        torch.testing.assert_close(found.fused[row], fused)
        torch.testing.assert_close(found.logits[row], linear(net.head, fused))
    assert found.attention is None
    assert found.extra is None


@torch.no_grad()
def test_attention_over_parts_is_a_share_that_follows_the_class() -> None:
    net = network()
    parts, _ = net.parts(rows())
    weights = net.part_weights(parts)
    assert weights.shape == (6, 3, 3)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(6, 3))
    parts[:, :, 1] += 10 * net.heads[0].weight[2]  # a part in which the branch sees its third label
    assert (net.part_weights(parts)[:, 0].argmax(dim=1) == 1).all()


@torch.no_grad()
def test_losses_of_the_branches_are_of_pooled_parts() -> None:
    net, batch, truth = network(branch_weight=0.7), rows(), targets()
    expected = torch.zeros(())
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        for place in range(3):
            if here[place]:
                logits = linear(net.heads[place], sum(parts_of(net, batch, row, place)) / 3)
                expected += bce_by_hand(logits, truth[row]) / 6
    torch.testing.assert_close(net(batch, truth).extra, 0.7 * expected)
    assert network(branch_weight=0.0)(batch, truth).extra is None


@pytest.mark.parametrize("evidence", ["max", "mean"])
def test_absent_blocks_and_gradients(evidence: str) -> None:
    check_absent_blocks(network(evidence=evidence))
    check_gradients(network(evidence=evidence, dropout=0.0))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("parts", 0), ("dim", 0), ("hidden", 0), ("evidence", "min"), ("dropout", 1.0), ("branch_weight", -1)],
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"MfnConfig.{setting} must be"):
        MfnConfig(**{setting: value})
