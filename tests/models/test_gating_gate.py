"""Collaborative gating against loops over places, experts and pairs, and what an absent expert does."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from reeltag.models.gating.gate import CollaborativeGate, PairNetwork

from .batches import randomise

DIM = 5
PRESENT = ((1, 1, 1, 1), (1, 0, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 1, 1, 1), (1, 1, 0, 0))
KINDS = list(itertools.product([False, True], [1, 2, 3]))
Vector = np.ndarray


def gate_of(*, star: bool = False, layers: int = 3, dropout: float = 0.0) -> CollaborativeGate:
    torch.manual_seed(4)
    made = CollaborativeGate(DIM, layers=layers, star=star, dropout=dropout)
    randomise(made)
    return made


def batch(fill: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    present = torch.tensor(PRESENT) > 0
    values = torch.randn(*present.shape, DIM, generator=torch.Generator().manual_seed(1))
    return torch.where(present[:, :, None], functional.normalize(values, dim=2), fill), present


# ---------------------------------------------------------------- the formulas, one by one, in double precision


def number(value: torch.Tensor) -> Vector:
    return value.detach().double().numpy()


def linear(layer: nn.Linear, x: Vector) -> Vector:
    return number(layer.weight) @ x + (0 if layer.bias is None else number(layer.bias))


def mish(x: Vector) -> Vector:
    return np.array([value * math.tanh(math.log1p(math.exp(value))) for value in x])


def normalised(norm: nn.BatchNorm1d, values: dict[tuple[int, ...], Vector], *, training: bool) -> dict:
    """Return values after batch normalisation over all of them, or by the running figures."""
    mean, variance = number(norm.running_mean), number(norm.running_var)
    if training and len(values) > 1:
        mean = sum(values.values()) / len(values)
        variance = sum((value - mean) ** 2 for value in values.values()) / len(values)
    scale = number(norm.weight) / np.sqrt(variance + norm.eps)
    return {key: (value - mean) * scale + number(norm.bias) for key, value in values.items()}


def by_loops(gate: CollaborativeGate, experts: torch.Tensor, present: torch.Tensor, *, training: bool) -> tuple:
    """Return gated experts and gates, 0 where absent."""
    p = number(experts)
    there = [(i, m) for i, row in enumerate(present.tolist()) for m, has in enumerate(row) if has]
    members = {i: [m for j, m in there if j == i] for i, _ in there}
    pairs: dict[tuple[int, ...], Vector] = {}
    for i, m in there:
        own = linear(gate.pair.own, p[i, m])
        if gate.star:
            pairs[i, m] = own + linear(gate.pair.other, sum(p[i, n] for n in members[i]) / len(members[i]))
            continue
        for n in members[i]:
            pairs[i, m, n] = own + linear(gate.pair.other, p[i, n])
    for layer in gate.pair.rest:
        if isinstance(layer, nn.BatchNorm1d):
            pairs = normalised(layer, pairs, training=training)
        else:
            pairs = {k: mish(x) if isinstance(layer, nn.Mish) else linear(layer, x) for k, x in pairs.items()}
    told: dict[tuple[int, ...], Vector] = {}
    for i, m in there:
        told[i, m] = pairs[i, m] if gate.star else sum(pairs[i, m, n] for n in members[i]) / len(members[i])
    told = normalised(gate.told_norm, told, training=training)
    own = normalised(gate.own_norm, {k: linear(gate.own, p[k]) for k in there}, training=training)
    out, gates = np.zeros(p.shape), np.zeros(p.shape)
    for k in there:
        gates[k] = 1 / (1 + np.exp(-(own[k] + told[k])))
        masked = p[k] * gates[k]
        out[k] = masked / math.sqrt(float(masked @ masked))
    return out, gates


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("star", "layers"), KINDS)
def test_it_equals_the_formulas_in_loops(star: bool, layers: int, training: bool) -> None:
    gate, (experts, present) = gate_of(star=star, layers=layers), batch()
    out, gates = by_loops(gate, experts, present, training=training)
    found, found_gates = gate.train(training)(experts, present)
    np.testing.assert_allclose(found.detach(), out, atol=3e-5)
    np.testing.assert_allclose(found_gates.detach(), gates, atol=3e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_g_of_a_pair_is_one_map_of_both_side_by_side_and_then_the_rest(layers: int) -> None:
    torch.manual_seed(0)
    pair, x = PairNetwork(DIM, layers), torch.randn(4, DIM)
    randomise(pair)
    whole = torch.cat([pair.own.weight, pair.other.weight], dim=1)
    first, second = torch.tensor([0, 0, 3]), torch.tensor([1, 0, 2])
    expected = functional.linear(torch.cat([x[first], x[second]], dim=1), whole, pair.own.bias)
    for layer in pair.rest:
        expected = layer(expected)
    torch.testing.assert_close(pair(x, first, second), expected, atol=1e-5, rtol=1e-5)
    kinds = [type(layer).__name__ for layer in pair.rest]
    assert kinds == ["BatchNorm", "Mish", "Linear"] * (layers - 1)


@pytest.mark.parametrize("star", [False, True])
def test_the_running_figures_are_those_of_present_experts(star: bool) -> None:
    gate, (experts, present) = gate_of(star=star, layers=1), batch()
    before = {k: number(norm.running_mean) for k, norm in (("own", gate.own_norm), ("told", gate.told_norm))}
    there = experts[present]
    gate.train()(experts, present)
    own = number(gate.own(there).mean(dim=0))
    np.testing.assert_allclose(gate.own_norm.running_mean, 0.9 * before["own"] + 0.1 * own, atol=1e-6)
    assert not np.allclose(gate.told_norm.running_mean, before["told"])


# ---------------------------------------------------------------- order, presence, lengths


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("star", "layers"), KINDS)
def test_the_order_of_the_experts_is_nothing(star: bool, layers: int, training: bool) -> None:
    order = [2, 0, 3, 1]
    experts, present = batch()
    whole = gate_of(star=star, layers=layers).train(training)(experts, present)
    turned = gate_of(star=star, layers=layers).train(training)(experts[:, order], present[:, order])
    for one, other in zip(whole, turned, strict=True):
        torch.testing.assert_close(one[:, order], other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fill", [math.nan, math.inf, 1e6])
@pytest.mark.parametrize("star", [False, True])
def test_what_stands_in_an_absent_expert_is_never_read(star: bool, fill: float, training: bool) -> None:
    plain = gate_of(star=star).train(training)(*batch())
    filled = gate_of(star=star).train(training)(*batch(fill))
    for one, other in zip(plain, filled, strict=True):
        assert torch.equal(one, other)
        assert not other[~batch()[1]].any()


@torch.no_grad()
@pytest.mark.parametrize("star", [False, True])
def test_an_absent_expert_is_as_one_that_is_not_there(star: bool) -> None:
    experts, present = batch()
    present[:, 1] = False
    gate, kept = gate_of(star=star), [0, 2, 3]
    for one, other in zip(gate(experts, present), gate(experts[:, kept], present[:, kept]), strict=True):
        torch.testing.assert_close(one[:, kept], other, atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("star", [False, True])
def test_an_expert_tells_those_of_its_place_and_no_other(star: bool) -> None:
    gate, (experts, present) = gate_of(star=star), batch()
    _, before = gate(experts, present)
    experts[4, 2] = -experts[4, 2]
    _, after = gate(experts, present)
    moved = (after - before).abs().amax(dim=2) > 1e-5
    assert moved.tolist() == [[row == 4 and bool(has) for has in PRESENT[4]] for row in range(len(PRESENT))]
    present[4, 2] = False
    _, without = gate(experts, present)
    assert ((without - after).abs().amax(dim=2) > 1e-5)[4].tolist() == [False, True, True, True]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("star", [False, True])
def test_gates_are_shares_and_gated_experts_have_unit_length(star: bool, training: bool) -> None:
    experts, present = batch()
    found, gates = (part.detach() for part in gate_of(star=star).train(training)(experts, present))
    assert found.shape == gates.shape == experts.shape
    assert float(gates.min()) >= 0
    assert float(gates.max()) <= 1
    assert bool((gates[present] > 0).all())
    torch.testing.assert_close(found.norm(dim=2), present.float(), atol=1e-6, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("star", [False, True])
def test_an_expert_alone_is_told_by_itself(star: bool) -> None:
    gate, (experts, _) = gate_of(star=star), batch()
    own = experts[:1, 0]
    told = gate.pair(own, torch.tensor([0]), torch.tensor([0]))
    mask = torch.sigmoid(gate.own_norm(gate.own(own)) + gate.told_norm(told))
    found, gates = gate(own[:, None], torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(gates[:, 0], mask, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found[:, 0], functional.normalize(own * mask, dim=1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n_places", [0, 3])
@pytest.mark.parametrize("star", [False, True])
def test_no_expert_at_all_gives_zeros(star: bool, n_places: int, training: bool) -> None:
    gate = gate_of(star=star).train(training)
    found, gates = gate(torch.zeros(n_places, 4, DIM), torch.zeros(n_places, 4, dtype=torch.bool))
    assert found.shape == gates.shape == (n_places, 4, DIM)
    assert not found.any()
    assert not gates.any()
    found.sum().backward()


@torch.no_grad()
@pytest.mark.parametrize("star", [False, True])
def test_a_place_does_not_depend_on_the_others(star: bool) -> None:
    gate, (experts, present) = gate_of(star=star), batch()
    found, gates = gate(experts, present)
    for row in range(len(PRESENT)):
        alone = gate(experts[row : row + 1], present[row : row + 1])
        torch.testing.assert_close(alone[0][0], found[row], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(alone[1][0], gates[row], atol=2e-6, rtol=1e-5)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(("star", "layers"), KINDS)
def test_a_step_reaches_every_parameter_and_leaves_absent_experts_alone(star: bool, layers: int) -> None:
    gate, (experts, present) = gate_of(star=star, layers=layers).train(), batch()
    experts.requires_grad_()
    found, _ = gate(experts, present)
    (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    centred = {"own.bias", "pair.own.bias"} | {f"pair.rest.{3 * k + 2}.bias" for k in range(layers - 1)}
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None, name
        if name not in centred:  # a normalisation over the batch takes a bias before it away
            assert float(parameter.grad.abs().sum()) > 1e-4, name
    assert experts.grad is not None
    assert not experts.grad[~present].any()
    assert bool(experts.grad[present].abs().sum(dim=1).all())


def test_dropout_is_of_what_an_expert_is_told_and_in_training_only() -> None:
    experts, present = batch()
    for one, other in zip(gate_of(dropout=0.9)(experts, present), gate_of()(experts, present), strict=True):
        assert torch.equal(one, other)
    gate = gate_of(dropout=0.9).train()
    gates = gate(experts, present)[1].detach()
    untold = torch.sigmoid(gate.own_norm(gate.own(experts[present]))).detach()
    share = (gates[present] - untold).abs() < 1e-6  # where nothing was told
    assert 0.75 < float(share.float().mean()) < 1


@torch.no_grad()
@pytest.mark.parametrize("star", [False, True])
def test_under_autocast_it_says_nearly_the_same_in_single_precision(star: bool) -> None:
    gate, (experts, present) = gate_of(star=star), batch()
    plain = gate(experts, present)
    with torch.autocast("cpu", torch.bfloat16):
        rough = gate(experts, present)
    for one, other in zip(plain, rough, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.03, rtol=0)
    torch.testing.assert_close(rough[0].norm(dim=2), present.float(), atol=1e-6, rtol=1e-6)
