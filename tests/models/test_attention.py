"""Attention by hand: one title, one head, one query and one key at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from reeltag.models.attention import (
    Alignment,
    Attended,
    Attention,
    CrossAttention,
    FeedForwardHead,
    SelfAttention,
    first_positions,
    pooled,
)

DIM = 8
VISUAL = ((1, 1, 1, 1), (1, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 1))
TEXTUAL = ((1, 1, 1), (1, 0, 0), (0, 0, 0), (1, 1, 0), (0, 0, 1))


def randomised(module: nn.Module) -> nn.Module:
    """Return the module in evaluation and double precision, no parameter 0 or 1."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.1, 0.5)
    return module.double().eval()


def sides() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return five titles' visual (4) and textual (3) tokens, and which are real."""
    generator = torch.Generator().manual_seed(1)
    v, t = (torch.randn(5, n, DIM, generator=generator, dtype=torch.float64) for n in (4, 3))
    return v, t, torch.tensor(VISUAL).double(), torch.tensor(TEXTUAL).double()


def mapped(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def normalised(layer: nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    spread = math.sqrt(((x - x.mean()) ** 2).mean() + layer.eps)
    return (x - x.mean()) / spread * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def attended(
    layer: Attention, queries: np.ndarray, keys: np.ndarray, real: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the queries of one title find, and the weights, a mean over heads."""
    width = DIM // layer.heads
    found, weights = np.zeros_like(queries), np.zeros((len(queries), len(keys)))
    if not real.any():
        return found, weights
    for place, query in enumerate(queries):
        mixed = np.zeros(DIM)
        for head in range(layer.heads):
            part = slice(head * width, (head + 1) * width)
            shares = np.zeros(len(keys))
            for other in np.flatnonzero(real):
                key = mapped(layer.key_value, keys[other])[:DIM]
                shares[other] = math.exp(float(mapped(layer.query, query)[part] @ key[part]) / math.sqrt(width))
            shares /= shares.sum()
            for other in np.flatnonzero(real):
                mixed[part] += shares[other] * mapped(layer.key_value, keys[other])[DIM:][part]
            weights[place] += shares / layer.heads
        found[place] = mapped(layer.out, mixed)
    return found, weights


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])


def check(found: Attended, row: int, real: np.ndarray, values: np.ndarray, weights: np.ndarray) -> None:
    """Check the real queries of one title."""
    assert found.weights is not None
    np.testing.assert_allclose(found.values[row, real > 0].numpy(), values[real > 0], atol=1e-9)
    np.testing.assert_allclose(found.weights[row].numpy(), weights, atol=1e-9)


# ---------------------------------------------------------------- one attention


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("weights", [False, True])
def test_attention_is_the_formula(heads: int, weights: bool) -> None:
    layer = randomised(Attention(DIM, heads))
    v, t, _, seen = sides()
    found = layer(v, t, seen, weights=weights)
    assert (found.weights is not None) == weights
    for row in range(5):
        values, shares = attended(layer, v[row].numpy(), t[row].numpy(), seen[row].numpy())
        np.testing.assert_allclose(found.values[row].numpy(), values, atol=1e-9)
        if weights:
            np.testing.assert_allclose(found.weights[row].numpy(), shares, atol=1e-9)


@torch.no_grad()
def test_weights_are_shares_of_the_real_keys() -> None:
    v, t, _, seen = sides()
    weights = randomised(Attention(DIM, 2))(v, t, seen, weights=True).weights
    assert weights.shape == (5, 4, 3)
    torch.testing.assert_close(weights.sum(dim=2), seen.amax(dim=1, keepdim=True).expand(5, 4))
    assert (weights.transpose(1, 2)[seen == 0] == 0).all()


@torch.no_grad()
def test_order_of_the_keys_does_not_matter_and_that_of_the_queries_is_kept() -> None:
    layer, (v, t, _, seen) = randomised(Attention(DIM, 2)), sides()
    plain = layer(v, t, seen, weights=True)
    keys, queries = [2, 0, 1], [3, 1, 0, 2]
    turned = layer(v[:, queries], t[:, keys], seen[:, keys], weights=True)
    torch.testing.assert_close(turned.values, plain.values[:, queries])
    torch.testing.assert_close(turned.weights, plain.weights[:, queries][:, :, keys])


@torch.no_grad()
@pytest.mark.parametrize("n", [0, 1])
def test_attention_of_few_titles(n: int) -> None:
    layer, (v, t, _, seen) = randomised(Attention(DIM, 2)), sides()
    for weights in (False, True):
        found = layer(v[:n], t[:n], seen[:n], weights=weights)
        torch.testing.assert_close(found.values, layer(v, t, seen).values[:n])


def test_attention_in_half_precision_is_near_and_keeps_its_weights_exact() -> None:
    layer, (v, t, _, seen) = randomised(Attention(DIM, 2)).float(), [part.float() for part in sides()]
    exact = layer(v, t, seen, weights=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, told = layer(v, t, seen), layer(v, t, seen, weights=True)
    torch.testing.assert_close(found.values.float(), exact.values, atol=0.1, rtol=0.05)
    torch.testing.assert_close(told.values.float(), found.values.float(), atol=0.1, rtol=0.05)
    assert told.weights.dtype == torch.float32
    torch.testing.assert_close(told.weights, exact.weights, atol=0.02, rtol=0.05)


# ---------------------------------------------------------------- MCAM


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 2])
def test_cross_attention_is_the_formula_in_both_directions(heads: int) -> None:
    layer = randomised(CrossAttention(DIM, heads, 0.3))
    v, t, seen_v, seen_t = sides()
    found, quick = layer(v, t, seen_v, seen_t, weights=True), layer(v, t, seen_v, seen_t)
    assert quick.visual.weights is None
    assert quick.textual.weights is None
    torch.testing.assert_close(quick.visual.values, found.visual.values)
    torch.testing.assert_close(quick.textual.values, found.textual.values)
    for row in range(5):
        here, there = v[row].numpy(), t[row].numpy()
        to_text, text_weights = attended(layer.visual, here, there, seen_t[row].numpy())
        to_image, image_weights = attended(layer.textual, there, here, seen_v[row].numpy())
        new_v = np.stack([normalised(layer.visual_norm, x) for x in here + to_text])
        new_t = np.stack([normalised(layer.textual_norm, x) for x in there + to_image])  # of V as it was, not of V'
        check(found.visual, row, seen_v[row].numpy(), new_v, text_weights)
        check(found.textual, row, seen_t[row].numpy(), new_t, image_weights)


@torch.no_grad()
def test_a_side_without_tokens_leaves_the_other_as_it_is() -> None:
    layer = randomised(CrossAttention(DIM, 2, 0.0))
    v, t, seen_v, seen_t = sides()
    found = layer(v, t, seen_v, seen_t, weights=True)
    torch.testing.assert_close(found.visual.values[2], layer.visual_norm(v[2]))  # title 2 has no text
    torch.testing.assert_close(found.textual.values[3], layer.textual_norm(t[3]))  # title 3 has no poster
    assert (found.visual.weights[2] == 0).all()
    assert all(torch.isfinite(part).all() for side in found for part in side)


@torch.no_grad()
@pytest.mark.parametrize("weights", [False, True])
def test_what_stands_in_padding_and_how_much_there_is_does_not_matter(weights: bool) -> None:
    cross, own = randomised(CrossAttention(DIM, 2, 0.0)), randomised(SelfAttention(DIM, 2, 0.0, 2))
    v, t, seen_v, seen_t = sides()
    longer = [torch.cat([x + 30 * (1 - s[:, :, None]), 7 + x], dim=1) for x, s in ((v, seen_v), (t, seen_t))]
    masks = [torch.cat([s, torch.zeros_like(s)], dim=1) for s in (seen_v, seen_t)]
    plain, padded = cross(v, t, seen_v, seen_t, weights=weights), cross(*longer, *masks, weights=weights)
    for one, other, seen in zip(plain, padded, (seen_v, seen_t), strict=True):
        torch.testing.assert_close(other.values[:, : seen.shape[1]][seen > 0], one.values[seen > 0])
    one, other = own(v, seen_v, weights=weights), own(longer[0], masks[0], weights=weights)
    torch.testing.assert_close(other.values[:, :4][seen_v > 0], one.values[seen_v > 0])
    for given, wide in zip(one.weights, other.weights, strict=True):
        torch.testing.assert_close(wide[:, :4, :4][seen_v > 0], given[seen_v > 0])
        assert (wide[:, :, 4:] == 0).all()


# ---------------------------------------------------------------- SMSAM


@torch.no_grad()
@pytest.mark.parametrize(("heads", "layers"), [(1, 1), (2, 3)])
def test_self_attention_is_the_formula(heads: int, layers: int) -> None:
    own = randomised(SelfAttention(DIM, heads, 0.3, layers))
    x, _, seen, _ = sides()
    found, quick = own(x, seen, weights=True), own(x, seen)
    assert len(found.weights) == layers
    assert quick.weights == ()
    torch.testing.assert_close(quick.values, found.values)
    for row in range(5):
        state, real = x[row].numpy(), seen[row].numpy()
        for number, layer in enumerate(own.layers):
            added, weights = attended(layer.attention, state, state, real)
            np.testing.assert_allclose(found.weights[number][row].numpy(), weights, atol=1e-9)
            state = np.stack([normalised(layer.attention_norm, token) for token in state + added])
            wide = [gelu(mapped(layer.perceptron[0], token)) for token in state]
            made = np.stack([mapped(layer.perceptron[3], token) for token in wide])
            assert made.shape == state.shape
            assert len(wide[0]) == 4 * DIM
            state = np.stack([normalised(layer.perceptron_norm, token) for token in state + made])
        np.testing.assert_allclose(found.values[row].numpy(), state, atol=1e-8)


@torch.no_grad()
def test_no_layers_leave_the_sequence_as_it_is() -> None:
    own, (x, _, seen, _) = SelfAttention(DIM, 2, 0.5, 0), sides()
    found = own(x, seen, weights=True)
    assert found.values is x
    assert found.weights == ()
    assert not list(own.parameters())


@torch.no_grad()
def test_self_attention_keeps_the_order_of_its_tokens() -> None:
    own, (x, _, seen, _) = randomised(SelfAttention(DIM, 2, 0.0, 2)), sides()
    order = [2, 3, 0, 1]
    torch.testing.assert_close(own(x[:, order], seen[:, order]).values, own(x, seen).values[:, order])


# ---------------------------------------------------------------- alignment, head, pooling


@torch.no_grad()
@pytest.mark.parametrize("norm", [False, True])
def test_alignment_is_the_formula(norm: bool) -> None:
    align = randomised(Alignment(5, DIM, 0.4, norm=norm))
    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = align(x)
    for row in range(2):
        for token in range(3):
            vector = x[row, token].numpy()
            expected = mapped(align.map, normalised(align.norm, vector) if norm else vector)
            np.testing.assert_allclose(found[row, token].numpy(), expected, atol=1e-12)


def test_alignment_reads_half_precision() -> None:
    align = Alignment(600, DIM, 0.0).eval()
    x = torch.full((2, 3, 600), 300.0, dtype=torch.float16)  # squares and sums leave the range of half precision
    x[:, :, ::2] = -200
    torch.testing.assert_close(align(x), align(x.float()))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(align(x).float(), align(x.float()).float())


@torch.no_grad()
def test_head_is_the_formula() -> None:
    head = randomised(FeedForwardHead(DIM, 6, 3, 0.5))
    x = torch.randn(4, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = head(x)
    for row in range(4):
        expected = mapped(head.out, np.maximum(mapped(head.hidden, x[row].numpy()), 0))
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-12)


def test_pooled_is_the_mean_of_the_real_tokens() -> None:
    x, _, seen, _ = sides()
    found = pooled(x, seen)
    for row in range(5):
        real = [x[row, token] for token in range(4) if seen[row, token]]
        expected = sum(real) / len(real) if real else torch.zeros(DIM, dtype=torch.float64)
        torch.testing.assert_close(found[row], expected)


def test_positions_past_the_last_share_it() -> None:
    positions = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(first_positions(positions, 2), positions[:2])
    assert torch.equal(first_positions(positions, 5), positions[[0, 1, 2, 2, 2]])


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("weights", [False, True])
def test_gradients_are_those_of_finite_differences(weights: bool) -> None:
    cross, own = randomised(CrossAttention(DIM, 2, 0.0)), randomised(SelfAttention(DIM, 2, 0.0, 1))
    v, t, seen_v, seen_t = (part[1:4, :2] for part in sides())  # among them titles without either side

    def through(v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        crossed = cross(v, t, seen_v, seen_t, weights=weights)
        both, seen = torch.cat([side.values for side in crossed], dim=1), torch.cat([seen_v, seen_t], dim=1)
        return pooled(own(both, seen, weights=weights).values, seen)

    assert torch.autograd.gradcheck(through, (v.clone().requires_grad_(), t.clone().requires_grad_()), fast_mode=True)


def test_gradients_are_finite_without_any_token_and_dropout_is_random_in_training_only() -> None:
    cross, own = randomised(CrossAttention(DIM, 2, 0.5)), randomised(SelfAttention(DIM, 2, 0.5, 1))
    v, t, seen_v, seen_t = sides()
    crossed = cross.train()(v, t, 0 * seen_v, 0 * seen_t)
    own.train()(crossed.visual.values, 0 * seen_v).values.sum().backward()
    for parameter in own.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    first, second = (cross(v, t, seen_v, seen_t).visual.values for _ in range(2))
    assert not torch.equal(first, second)
    cross.eval()
    first, second = (cross(v, t, seen_v, seen_t).visual.values for _ in range(2))
    assert torch.equal(first, second)
