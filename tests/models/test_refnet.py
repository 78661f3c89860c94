"""ReFNet: its network, what it recovers and its contrast by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.models import RefNetConfig
from reeltag.models.layout import Rows
from reeltag.models.refnet import RefNetNetwork, label_pairs, multi_similarity

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, modalities_present, randomise, rows, targets


def network(**settings: Any) -> RefNetNetwork:
    torch.manual_seed(0)
    return randomise(RefNetNetwork(LAYOUT, replace(RefNetConfig(hidden=6), **settings)))


def fused_of(net: RefNetNetwork, batch: Rows, row: int) -> torch.Tensor:
    x = torch.cat([block[row] for block in batch.blocks])
    for layer in (0, 3):
        x = torch.relu(linear(net.body[layer], x))
    return x


@torch.no_grad()
def test_forward_is_the_formula() -> None:
    net, batch = network(), rows()
    found = net(batch)
    for row in range(6):
        fused = fused_of(net, batch, row)
        torch.testing.assert_close(found.fused[row], fused)
        torch.testing.assert_close(found.logits[row], linear(net.head, fused))
    assert found.attention is None
    assert found.extra is None


def recovery(net: RefNetNetwork, batch: Rows) -> float:
    """Return the sum over present modalities of 1 - cosine, a mean over titles."""
    total = 0.0
    for row, here in enumerate(modalities_present(batch, LAYOUT)):
        for place, modality in enumerate(LAYOUT.modalities):
            if not here[place]:
                continue
            first, _, last = net.defusers[place]
            recovered = linear(last, torch.relu(linear(first, fused_of(net, batch, row)))).tolist()
            mine, theirs = [], []
            for block in LAYOUT.blocks_of(modality):
                width = LAYOUT.widths[block]
                if batch.present[row, block]:
                    mine += recovered[:width]
                    theirs += batch.blocks[block][row].tolist()
                recovered = recovered[width:]
            product = sum(a * b for a, b in zip(mine, theirs, strict=True))
            total += 1 - product / math.hypot(*mine) / math.hypot(*theirs)
    return total / 6


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_loss_of_recovery(weight: float) -> None:
    net, batch = network(refiner_weight=weight), rows()
    assert float(net(batch, targets()).extra) == pytest.approx(weight * recovery(net, batch), rel=1e-5)


@torch.no_grad()
def test_the_contrast_is_added() -> None:
    settings = {"contrast_weight": 0.3, "alike": 0.3}
    net, batch = network(**settings), rows()
    contrast = multi_similarity(net(batch).fused, label_pairs(targets(), 0.3), net.config)
    expected = 0.1 * recovery(net, batch) + 0.3 * float(contrast)
    assert float(net(batch, targets()).extra) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alike", [0.25, 0.5, 1.0])
def test_pairs_are_alike_by_the_overlap_of_their_labels(alike: float) -> None:
    truth = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = label_pairs(truth, alike)
    for i in range(6):
        for j in range(6):
            mine, theirs = (set(torch.nonzero(truth[k]).flatten().tolist()) for k in (i, j))
            union = len(mine | theirs)
            expected = i != j and union > 0 and len(mine & theirs) / union >= alike
            assert bool(found[i, j]) == expected


@pytest.mark.parametrize(("alpha", "beta", "margin"), [(2.0, 50.0, 0.5), (1.0, 10.0, 0.0)])
def test_contrast_is_a_loop(alpha: float, beta: float, margin: float) -> None:
    config = RefNetConfig(alpha=alpha, beta=beta, margin=margin)
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    positives, total = label_pairs(targets(), 0.5), 0.0
    assert positives.any()
    for i in range(6):
        pull = push = 1.0
        for j in range(6):
            if i == j:
                continue
            cosine = float(torch.cosine_similarity(vectors[i], vectors[j], dim=0))
            if positives[i, j]:
                pull += math.exp(-alpha * (cosine - margin))
            else:
                push += math.exp(beta * (cosine - margin))
        total += math.log(pull) / alpha + math.log(push) / beta
    assert float(multi_similarity(vectors, positives, config)) == pytest.approx(total / 6, rel=1e-4)


def test_contrast_of_one_title_is_zero() -> None:
    assert float(multi_similarity(torch.randn(1, 4), torch.zeros(1, 1, dtype=torch.bool), RefNetConfig())) == 0


def test_absent_blocks_and_gradients() -> None:
    check_absent_blocks(network())
    check_gradients(network(dropout=0.0, contrast_weight=1.0))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("hidden", 0), ("hidden_layers", 0), ("dropout", 1.0), ("refiner_weight", -1), ("contrast_weight", -1),
     ("alike", 0), ("alpha", 0), ("beta", 0), ("margin", 2)],
)  # fmt: skip
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"RefNetConfig.{setting} must be between"):
        RefNetConfig(**{setting: value})
