"""MMBT: its transformer by hand, one title and one head at a time, over the tokens that are there."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional

from reeltag.errors import ConfigError
from reeltag.features import Features, HeldTokens, TokenBlock
from reeltag.models import MmbtConfig, MmbtModel, MmgatbtModel
from reeltag.models.layout import Layout, Rows, Tokens
from reeltag.models.mmbt import BlockTokens, MmbtNetwork, Trunk
from reeltag.training import TrainingConfig

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, randomise, rows, targets
from .samples import films

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
    tokens, seen = BlockTokens(LAYOUT, SMALL, left_out="plot")(rows())
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


# ---------------------------------------------------------------- token blocks

WITH_TOKENS = Layout(names=("plot", "year", "poster.patches"), widths=(3, 2, 5), n_labels=4, n_tokens=1)


def patches(padding: int = 0) -> Rows:
    """Return four titles with three, one, no and no patches; the third has a sequence without any."""
    present = torch.tensor([[1.0, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    generator = torch.Generator().manual_seed(4)
    blocks = [torch.randn(4, width, generator=generator) * present[:, [k]] for k, width in enumerate((3, 2))]
    values = torch.cat([torch.randn(4, 3, 5, generator=generator), torch.full((4, padding, 5), 9.0)], dim=1).half()
    seen = (torch.arange(3 + padding) < torch.tensor([3, 1, 0, 0])[:, None]).float()
    return Rows(blocks, present, None, [Tokens(values, seen)])


def with_tokens(**settings: Any) -> MmbtNetwork:
    torch.manual_seed(0)
    return randomise(MmbtNetwork(WITH_TOKENS, replace(SMALL, **settings)))


@torch.no_grad()
@pytest.mark.parametrize("max_positions", [2, 9])
def test_patches_are_tokens_one_by_one(max_positions: int) -> None:
    net, batch = with_tokens(max_positions=max_positions), patches()
    found = net(batch)
    align, positions = net.tokens.maps["2"], net.tokens.positions["2"]
    for row in range(4):
        parts: list[list[torch.Tensor]] = []
        for place in (0, 1):
            made = linear(net.tokens.maps[str(place)], batch.blocks[place][row]).reshape(-1, 8)
            parts.append(list(made) if batch.present[row, place] else [])
        read = [patch.float() for patch, real in zip(*(part[row] for part in batch.tokens[0]), strict=True) if real]
        parts.append(
            [linear(align.map, align.norm(x)) + positions[min(k, max_positions - 1)] for k, x in enumerate(read)]
        )
        fused = pooled(net.trunk, parts, SMALL.heads)
        torch.testing.assert_close(found.fused[row], fused, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_of_sequences_does_not_matter() -> None:
    net = with_tokens()
    torch.testing.assert_close(net(patches(padding=5)).logits, net(patches()).logits, atol=1e-5, rtol=1e-5)


def test_gradients_reach_what_reads_tokens() -> None:
    check_gradients(with_tokens(dropout=0.0, max_positions=3), WITH_TOKENS, batch=patches())


def test_parameters_of_vectors_keep_their_names() -> None:
    names = {name for name in network().state_dict() if name.startswith("tokens.")}
    assert names == {f"tokens.maps.{place}.{part}" for place in range(4) for part in ("weight", "bias")}


def test_it_is_fitted_on_tokens_and_stored(tmp_path: Path) -> None:
    features, truth = films(40)
    rng = np.random.default_rng(0)
    held = [(np.eye(3)[[int(row[0])]].repeat(2, axis=0) * 4).astype(np.float16) for row in truth]
    block = TokenBlock(HeldTokens(held, 3), np.where(rng.random(40) < 0.9, np.arange(40), -1), 9)
    both = Features(features.ids, {"year": features.blocks["year"]}, {"poster.patches": block})
    training = TrainingConfig(epochs=20, batch_size=16, learning_rate=0.01, precision="32-true")
    config = replace(SMALL, layers=1, training=training)
    model = MmbtModel(config).fit(both, truth)
    found = model.predict_proba(both)
    here = block.present
    assert average_precision_score(truth[here, 0], found[here, 0]) > 0.95
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(MmbtModel.from_pretrained(tmp_path).predict_proba(both), found)
    assert not MmgatbtModel.reads_tokens


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [("dim", 0), ("layers", 0), ("heads", 0), ("tokens", 0), ("max_positions", 0), ("dropout", 1.0)],
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"MmbtConfig.{setting} must be between"):
        MmbtConfig(**{setting: value})


def test_heads_share_the_width() -> None:
    with pytest.raises(ConfigError, match=r"MmbtConfig.dim must be a multiple of heads \(3\); got 256"):
        MmbtConfig(heads=3)
