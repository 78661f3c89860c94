"""MMBT: its transformer by hand, one title and one head at a time, over the tokens that are there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from reeltag.errors import ConfigError
from reeltag.models import MmbtConfig
from reeltag.models.layout import Rows
from reeltag.models.mmbt import BlockTokens, MmbtNetwork, Trunk

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, randomise, rows, targets

SMALL = MmbtConfig(dim=8, layers=2, heads=2, tokens=3)


def network(**settings: Any) -> MmbtNetwork:
    torch.manual_seed(0)
    return randomise(MmbtNetwork(LAYOUT, replace(SMALL, **settings)))


def encoded(layer: nn.TransformerEncoderLayer, x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return one layer of the transformer over the tokens x (n_tokens, dim) of one title."""
    dim = x.shape[1]
    attention, width = layer.self_attn, dim // heads
    q, k, v = ((x @ attention.in_proj_weight.T + attention.in_proj_bias)[:, at : at + dim] for at in (0, dim, 2 * dim))
    mixed = torch.zeros_like(x)
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        for token in range(len(x)):
            scores = torch.stack([q[token, columns] @ k[other, columns] for other in range(len(x))]) / math.sqrt(width)
            weights = torch.exp(scores) / torch.exp(scores).sum()
            mixed[token, columns] = sum(w * v[other, columns] for other, w in enumerate(weights))
    x = layer.norm1(x + mixed @ attention.out_proj.weight.T + attention.out_proj.bias)
    return layer.norm2(x + layer.linear2(functional.gelu(layer.linear1(x))))


def pooled(trunk: Trunk, parts: list[list[torch.Tensor]], heads: int) -> torch.Tensor:
    """Return the pooled [CLS] of one title from the tokens of every modality; an empty list is an absent one."""
    sequence = [trunk.cls]
    for place, tokens in enumerate(parts):
        closed = [*tokens, trunk.separator] if tokens else []
        sequence += [token + trunk.segments[place] for token in closed]
    x = trunk.norm(torch.stack(sequence))
    for layer in trunk.encoder.layers:
        x = encoded(layer, x, heads)
    return torch.tanh(linear(trunk.pool, x[0]))


def tokens_of(made: BlockTokens, batch: Rows, row: int, modality: str, dim: int = 8) -> list[torch.Tensor]:
    """Return the tokens of a modality's present blocks for one title."""
    found: list[torch.Tensor] = []
    for block in LAYOUT.blocks_of(modality):
        if batch.present[row, block]:
            found += list(linear(made.maps[str(block)], batch.blocks[block][row]).reshape(-1, dim))
    return found


@torch.no_grad()
@pytest.mark.parametrize(("heads", "layers", "tokens"), [(1, 1, 1), (2, 2, 3), (4, 1, 2)])
def test_forward_is_the_formula_over_the_tokens_that_are_there(heads: int, layers: int, tokens: int) -> None:
    net, batch = network(heads=heads, layers=layers, tokens=tokens), rows()
    found = net(batch, targets())
    for row in range(6):
        parts = [tokens_of(net.tokens, batch, row, modality) for modality in LAYOUT.modalities]
        assert sum(map(len, parts)) == tokens * int(batch.present[row].sum())
        fused = pooled(net.trunk, parts, heads)
        torch.testing.assert_close(found.fused[row], fused, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.logits[row], linear(net.head, fused), atol=1e-5, rtol=1e-4)
    assert found.attention is None
    assert found.extra is None


@torch.no_grad()
def test_training_and_tagging_read_the_same_tokens() -> None:
    net = network(dropout=0.0)
    quick = net(rows()).logits  # without gradients torch takes another way through the encoder
    with torch.enable_grad():
        slow = net.train()(rows()).logits
    torch.testing.assert_close(quick, slow, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_modality_may_be_left_without_tokens() -> None:
    tokens, seen = BlockTokens(LAYOUT, 8, 3, left_out="plot")(rows())
    assert [part.shape for part in tokens] == [(6, 0, 8), (6, 3, 8), (6, 3, 8)]
    assert [part.shape for part in seen] == [(6, 0), (6, 3), (6, 3)]


@torch.no_grad()
def test_a_title_with_nothing_gets_the_base_rates() -> None:
    net, batch, shares = network(), rows(), torch.tensor([0.1, 0.2, 0.5, 0.9])
    net.start(shares, None)
    present = batch.present.clone()
    present[2] = 0
    found = torch.sigmoid(net(Rows(batch.blocks, present)).logits)
    torch.testing.assert_close(found[2], shares)
    assert (found[[0, 1, 3]] - shares).abs().max() > 0.01


def test_absent_blocks_and_gradients() -> None:
    check_absent_blocks(network())
    check_gradients(network(dropout=0.0))


@pytest.mark.parametrize(
    ("setting", "value"), [("dim", 0), ("layers", 0), ("heads", 0), ("tokens", 0), ("dropout", 1.0)]
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"MmbtConfig.{setting} must be between"):
        MmbtConfig(**{setting: value})


def test_heads_share_the_width() -> None:
    with pytest.raises(ConfigError, match=r"MmbtConfig.dim must be a multiple of heads \(3\); got 256"):
        MmbtConfig(heads=3)
