"""The fine-grained stage: its loss against a direct computation, where it starts, and what it comes to."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from reeltag.config import from_json
from reeltag.errors import ConfigError
from reeltag.losses import bce
from reeltag.models.gating import GATING_PUBLISHED, FineConfig, GatingConfig
from reeltag.models.gating import fine as stage
from reeltag.models.gating.fine import FineLoss, FineNetwork, fit_fine
from reeltag.models.gating.network import GatingNetwork
from reeltag.models.gating.start import expert_weights
from reeltag.models.gating.views import split_views
from reeltag.models.layout import Layout, Rows, stored_tokens
from reeltag.progress import silent
from reeltag.training import TrainingConfig, TrainingHistory

from .batches import randomise
from .shot_samples import LAYOUT, N_TITLES, rows, trailers

FINE = FineConfig(dim=16, epochs=6, batch_size=32, learning_rate=2e-3, supervised=0.1, out=12)
CONFIG = GatingConfig(
    dim=8,
    dropout=0.0,
    input_dropout=0.0,
    training=TrainingConfig(epochs=2, batch_size=32, precision="32-true", device="cpu"),
    fine=FINE,
)
TARGETS = (torch.rand(N_TITLES, 4, generator=torch.Generator().manual_seed(8)) < 0.5).float()


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit weights of experts on fewer pairs of titles, for time."""
    monkeypatch.setattr("reeltag.models.gating.start._PAIRS", 20_000)


def with_fine(**settings: Any) -> GatingConfig:
    return replace(CONFIG, fine=replace(FINE, **settings))


def fine_network(layout: Layout = LAYOUT, **settings: Any) -> FineNetwork:
    torch.manual_seed(2)
    config = with_fine(**settings)
    made = FineNetwork(GatingNetwork(layout, config), config.fine)
    randomise(made)
    return made


@cache
def titles(seed: int = 0, n: int = 96) -> tuple[Rows, torch.Tensor, Layout]:
    features, targets = trailers(n, seed)
    names = (*features.blocks, *features.tokens)
    widths = tuple(block.dim for block in (*features.blocks.values(), *features.tokens.values()))
    layout = Layout(names=names, widths=widths, n_labels=3, n_tokens=3)
    masks = [block.present for block in (*features.blocks.values(), *features.tokens.values())]
    tokens = [stored_tokens(features, name, block.dim) for name, block in features.tokens.items()]
    present = torch.from_numpy(np.stack(masks, axis=1).astype(np.float32))
    blocks = [torch.from_numpy(block.values) for block in features.blocks.values()]
    return Rows(blocks, present, None, tokens), torch.from_numpy(targets), layout


def coarse_of(config: GatingConfig = CONFIG) -> GatingNetwork:
    torch.manual_seed(6)
    made = GatingNetwork(titles()[2], config)
    randomise(made)
    return made


def fitted(config: GatingConfig = CONFIG, seed: int = 0) -> tuple[FineNetwork, TrainingHistory | None]:
    batch, targets, layout = titles()
    return fit_fine(coarse_of(config), layout, config, batch, targets, seed=seed, progress=silent)


@torch.no_grad()
def space(network: FineNetwork, batch: Rows) -> torch.Tensor:
    return network.eval()(batch.take(slice(None))).fused


@torch.no_grad()
def found_again(network: FineNetwork) -> float:
    """Return how often one half of an unseen title is nearest to its other half (Recall@1)."""
    batch, _, layout = titles(7)
    torch.manual_seed(0)
    views = split_views(batch.take(slice(None)), layout)
    one, other = (space(network, view)[views.whole] for view in views[:2])
    return float(((one @ other.T).argmax(dim=1) == torch.arange(len(one))).float().mean())


# ---------------------------------------------------------------- the loss


@torch.no_grad()
def by_hand(network: FineNetwork, config: FineConfig, chosen: list[int], seed: int) -> float:
    """Return the loss of some titles, pair by pair."""
    torch.manual_seed(seed)
    views = split_views(rows().take(torch.tensor(chosen)), LAYOUT)
    outputs = [network.network(view) for view in views[:2]]
    whole = [
        k for k in range(len(chosen)) if bool((views.first.present[k] > 0).any() and views.second.present[k].any())
    ]
    vectors: list[tuple[int, torch.Tensor]] = []
    for output in outputs:
        for k in whole:
            experts = output.fused[k].view(len(network.weights), -1)
            weighed = torch.cat([weight * own for weight, own in zip(network.weights, experts, strict=True)])
            out = network.head(weighed)
            vectors.append((k, out / out.norm()))
    costs = []
    for i, (title, v) in enumerate(vectors):
        scores = [float(v @ w) / config.temperature for j, (_, w) in enumerate(vectors) if j != i]
        positive = next(float(v @ w) for j, (own, w) in enumerate(vectors) if j != i and own == title)
        costs.append(math.log(sum(map(math.exp, scores))) - positive / config.temperature)
    supervised = [float(bce(output.logits, TARGETS[chosen])) for output in outputs]
    return sum(costs) / max(len(costs), 1) + config.supervised * sum(supervised) / 2


@pytest.mark.parametrize("settings", [{"supervised": 0.0}, {"supervised": 0.7}, {"hidden": 5, "out": 3}, {"out": 0}])
def test_the_loss_equals_the_direct_computation(settings: dict[str, Any]) -> None:
    config = with_fine(temperature=0.3, **settings).fine
    network = fine_network(temperature=0.3, **settings)
    network.weights.copy_(torch.tensor([1, 0.5, 0.2, 0.9, 0.3, 0.7]))
    step = FineLoss(rows(), TARGETS, LAYOUT, bce, config)
    for seed, chosen in enumerate([[0, 1, 2, 3, 4, 5, 6], [5, 0, 3], [4, 1, 2]]):
        torch.manual_seed(seed)
        found = step(network, torch.tensor(chosen))
        assert float(found.detach()) == pytest.approx(by_hand(network, config, chosen, seed), rel=1e-4, abs=1e-5)


def test_titles_with_an_empty_view_take_no_part_in_the_contrast() -> None:
    network = fine_network(supervised=0.0)
    step = FineLoss(rows(), TARGETS, LAYOUT, bce, with_fine(supervised=0.0).fine)
    for chosen in ([4], [6], [4, 6], [6, 6, 6]):
        loss = step(network.train(), torch.tensor(chosen))
        assert float(loss.detach()) == 0
        loss.backward()
        assert not any(p.grad is not None and p.grad.any() for p in network.parameters())
    one = step(network.eval(), torch.tensor([0]))
    assert float(one.detach()) == pytest.approx(0, abs=1e-5)  # no other title to be told from


def test_the_loss_reaches_experts_gate_and_head() -> None:
    network = fine_network().train()
    FineLoss(rows(), TARGETS, LAYOUT, bce, FINE)(network, torch.arange(N_TITLES)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    for module in (*network.network.experts.maps, network.network.gate.own, network.head, network.network.head):
        assert bool(module.weight.grad.any())


def test_the_contrast_is_in_single_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[torch.Tensor] = []

    def watched(vectors: torch.Tensor, of: torch.Tensor, *, temperature: float) -> torch.Tensor:
        read.append(vectors @ vectors.T)
        return vectors.sum()

    monkeypatch.setattr(stage, "nt_xent", watched)
    with torch.autocast("cpu", torch.bfloat16):
        FineLoss(rows(), TARGETS, LAYOUT, bce, FINE)(fine_network(), torch.arange(N_TITLES))
    assert read[0].dtype == torch.float32


# ---------------------------------------------------------------- the head and the space


@torch.no_grad()
def test_the_space_of_a_linear_head_is_what_is_contrasted() -> None:
    network = fine_network()
    outputs = network(rows())
    fused = network.network(rows()).fused
    assert outputs.fused.shape == (N_TITLES, 12)
    torch.testing.assert_close(outputs.fused, network.contrasted(fused))
    torch.testing.assert_close(outputs.fused.norm(dim=1), torch.tensor([1.0] * 6 + [0]))  # nothing is known: zeros
    assert torch.equal(outputs.logits, network.network(rows()).logits)


@torch.no_grad()
@pytest.mark.parametrize("settings", [{"hidden": 7}, {"out": 0}])
def test_the_space_without_a_linear_head_is_what_was_fused(settings: dict[str, Any]) -> None:
    network = fine_network(**settings)
    network.weights.copy_(torch.tensor([1, 0.5, 0.2, 0.9, 0.3, 0.7]))
    found = network(rows()).fused
    experts = network.network(rows()).fused.view(N_TITLES, 6, 8) * network.weights[:, None]
    torch.testing.assert_close(found, functional.normalize(experts.reshape(N_TITLES, 48), dim=1))
    for parameter in network.head.parameters():
        parameter.fill_(9)  # a head for training alone
    torch.testing.assert_close(network(rows()).fused, found)
    assert isinstance(network.head, nn.Identity if "out" in settings else nn.Sequential)


def test_a_head_is_no_wider_than_what_it_reads() -> None:
    assert fine_network(out=1000).head.out_features == 48


# ---------------------------------------------------------------- the stage as a whole


def test_without_epochs_it_stays_at_its_start_which_keeps_what_experts_have_seen() -> None:
    network, history = fitted(with_fine(epochs=0, weigh=False, out=0))
    assert history is None
    assert not network.training
    for own in network.network.experts.members:
        weight = torch.cat([network.network.experts.maps[place].weight for place in own], dim=1).detach()
        torch.testing.assert_close(weight.T @ weight, torch.eye(weight.shape[1]), atol=1e-5, rtol=1e-5)
    assert network.weights.tolist() == [1] * 5
    again, _ = fitted(with_fine(epochs=0, weigh=False, out=0))
    assert torch.equal(space(again, titles()[0]), space(network, titles()[0]))


def test_the_coarse_start_is_the_coarse_network_and_leaves_it_alone() -> None:
    coarse = coarse_of()
    before = copy.deepcopy(coarse.state_dict())
    batch, targets, layout = titles()
    for epochs in (0, 2):
        config = with_fine(start="coarse", epochs=epochs, weigh=False)
        network, _ = fit_fine(coarse, layout, config, batch, targets, seed=0, progress=silent)
        for name, value in coarse.state_dict().items():
            assert torch.equal(value, before[name]), name
        changed = [name for name, value in network.network.state_dict().items() if not torch.equal(value, before[name])]
        assert bool(changed) == (epochs > 0)


def test_experts_are_weighed_by_what_the_start_makes_of_them() -> None:
    network, _ = fitted(with_fine(epochs=0))
    batch, targets, layout = titles()
    with torch.no_grad():
        fused = network.network(batch.take(slice(None))).fused
    unit = functional.normalize(fused.view(len(targets), 5, -1), dim=2)
    expected = expert_weights(unit.numpy(), targets.numpy(), seed=0)
    np.testing.assert_allclose(network.weights, expected, atol=1e-3)
    weights = dict(zip(layout.modalities, network.weights.tolist(), strict=True))
    assert max(weights["year"], weights["audio"]) < min(weights["plot"], weights["image"])


def test_the_head_starts_as_the_principal_axes_of_the_weighed_experts() -> None:
    network, _ = fitted(with_fine(epochs=0))
    with torch.no_grad():
        fused = network.network(titles()[0].take(slice(None))).fused
        weighed = functional.normalize(network.weighed(fused), dim=1).double()
        expected = torch.linalg.svd(weighed)[2][:12]
        found = network.head.weight.double()
    np.testing.assert_allclose(found.T @ found, expected.T @ expected, atol=1e-3)


def test_training_lets_halves_of_unseen_titles_find_each_other() -> None:
    start, _ = fitted(with_fine(epochs=0))
    network, history = fitted(with_fine(supervised=0.0, epochs=10, learning_rate=5e-3))
    assert history is not None
    assert len(history.losses) == 10
    assert history.losses[-1] < history.losses[0] - 0.3
    assert found_again(network) > found_again(start) + 0.15


def test_the_supervised_term_keeps_the_labels() -> None:
    batch, targets, _ = titles()
    costs = []
    for supervised in (0.0, 3.0):
        network, _ = fitted(with_fine(supervised=supervised))
        with torch.no_grad():
            costs.append(float(bce(network(batch.take(slice(None))).logits, targets)))
    assert costs[1] < costs[0] - 0.1


def test_same_seed_same_network_and_the_random_state_of_others_stays() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, _ = fitted(with_fine(epochs=1), seed=3)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    other, _ = fitted(with_fine(epochs=1), seed=3)
    third, _ = fitted(with_fine(epochs=1), seed=4)
    assert torch.equal(space(one, titles()[0]), space(other, titles()[0]))
    assert not torch.equal(space(one, titles()[0]), space(third, titles()[0]))


@pytest.mark.parametrize("settings", [{}, {"start": "coarse", "hidden": 7, "weigh": False}])
def test_titles_of_one_thing_alone_can_be_trained_on(settings: dict[str, Any]) -> None:
    layout = Layout(names=("year",), widths=(2,), n_labels=3)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    config = with_fine(epochs=1, **settings)
    torch.manual_seed(0)
    network, history = fit_fine(
        GatingNetwork(layout, config), layout, config, Rows([x], torch.ones(40, 1)), titles()[1][:40], seed=0,
        progress=silent,
    )  # fmt: skip
    assert history is not None
    assert bool(space(network, Rows([x], torch.ones(40, 1))).isfinite().all())


# ---------------------------------------------------------------- settings


def test_published_settings_are_those_of_the_seed() -> None:
    config = from_json(GatingConfig, GATING_PUBLISHED, "published")
    assert (config.dim, config.join, config.pair_layers, config.n_members) == (768, "pairwise", 3, 1)
    assert (config.fine.start, config.fine.hidden, config.fine.out, config.fine.weigh) == ("coarse", 512, 128, False)
    assert config.fine.supervised == 0.1
    assert config.fine_stage
    small = replace(config, dim=8, training=CONFIG.training, fine=replace(config.fine, epochs=1, batch_size=32))
    network, history = fitted(small)
    assert history is not None
    assert space(network, titles()[0]).shape == (96, 5 * 8)
    assert network.head[0].out_features == 512


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "random"}, r"FineConfig\.start must be one of isometric, coarse"),
        ({"temperature": 0}, r"FineConfig\.temperature must be"),
        ({"batch_size": 1}, r"FineConfig\.batch_size must be"),
        ({"epochs": -1}, r"FineConfig\.epochs must be"),
        ({"supervised": -0.1}, r"FineConfig\.supervised must be"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FineConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"join": "sum"}, r"GatingConfig\.join must be one of pairwise, star, concat"),
        ({"dim": 0}, r"GatingConfig\.dim must be"),
        ({"pair_layers": 0}, r"GatingConfig\.pair_layers must be"),
        ({"dropout": 1.0}, r"GatingConfig\.dropout must be"),
    ],
)
def test_bad_settings_of_the_gate_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GatingConfig(**settings)
