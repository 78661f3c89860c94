"""FusionModel: its network by hand, its settings, what hiding modalities in training is good for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.models import FusionConfig, FusionModel
from reeltag.models.fusion import FusionNetwork
from reeltag.models.layout import Layout, Rows
from reeltag.training import TrainingConfig

from .samples import films, hide

FAST = TrainingConfig(epochs=6, batch_size=32, learning_rate=0.01)
SMALL = FusionConfig(hidden=16, sparse_dim=6, n_members=1, training=FAST)


def network(config: FusionConfig = SMALL) -> FusionNetwork:
    torch.manual_seed(0)
    made = FusionNetwork(Layout(names=("plot", "year"), widths=(3, 2), n_labels=4), config).eval()
    torch.nn.init.normal_(made.absent)
    return made


def blocks(n: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 3, generator=generator), torch.randn(n, 2, generator=generator)]


# ---------------------------------------------------------------- the network


@torch.no_grad()
def test_forward_is_the_formula() -> None:
    net, values = network(), blocks()
    present = torch.tensor([[1.0, 1], [1, 0], [0, 1], [0, 0], [1, 1]])
    logits, fused, attention, extra = net(Rows(values, present), torch.ones(5, 4))
    for row in range(5):
        hidden, straight = torch.zeros(16), torch.zeros(4)
        for number, block in enumerate(values):
            if present[row, number]:
                hidden += net.align[number].weight @ block[row] + net.align[number].bias
                straight += net.straight[number].weight @ block[row]
            else:
                hidden += net.absent[number]
        expected = net.body(hidden[None])
        torch.testing.assert_close(fused[row], expected[0])
        torch.testing.assert_close(logits[row], net.head(expected)[0] + straight)
    assert attention is None
    assert extra is None


@torch.no_grad()
def test_values_of_hidden_blocks_do_not_matter() -> None:
    net, values = network(), blocks()
    present = torch.tensor([[1.0, 0]] * 5)
    changed = [values[0], values[1] * 100]
    torch.testing.assert_close(net(Rows(values, present)).logits, net(Rows(changed, present)).logits)
    assert not torch.allclose(net(Rows(values, 1 - present)).logits, net(Rows(changed, 1 - present)).logits)


def test_gradients_reach_every_parameter() -> None:
    net = network()
    present = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 1]])
    net(Rows(blocks(), present)).logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# ---------------------------------------------------------------- the model


def test_training_starts_from_the_base_rates() -> None:
    features, targets = films(60)
    barely = replace(SMALL, training=TrainingConfig(epochs=1, learning_rate=1e-8))
    model = FusionModel(barely).fit(features, targets)
    share = (targets.sum(axis=0) + 0.5) / 61
    bias = model._members[0].head.bias.detach().numpy()
    np.testing.assert_allclose(expit(bias), share, atol=1e-4)


def test_training_with_absent_modalities_helps_when_they_are_absent() -> None:
    features, targets = films(240)
    unseen, truth = films(150, seed=3)
    scores = []
    for chance in (0.0, 0.4):
        config = replace(SMALL, hidden=24, n_members=2, modality_dropout=chance, training=replace(FAST, epochs=15))
        model = FusionModel(config).fit(features, targets)
        found = model.predict_proba(hide(unseen, "plot", range(150))).clip(1e-6, 1 - 1e-6)
        loss = -(truth * np.log(found) + (1 - truth) * np.log(1 - found)).mean()
        scores.append(loss)
    assert scores[1] < scores[0]


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("hidden", 0, "between 1 and"),
        ("sparse_dim", 0, "between 1 and"),
        ("n_members", 0, "between 1 and"),
        ("n_members", 101, "between 1 and"),
        ("dropout", 1.0, "between 0 and 0.95"),
        ("input_dropout", -0.1, "between 0 and 0.95"),
        ("modality_dropout", 0.96, "between 0 and 0.95"),
        ("class_weights", 1.5, "between 0 and 1"),
        ("loss", "hinge", "one of bce"),
    ],
)
def test_settings_out_of_range(setting: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"FusionConfig.{setting} must be .*{rule}"):
        replace(FusionConfig(), **{setting: value})


def test_settings_survive_json_with_the_training_inside() -> None:
    config = replace(SMALL, loss="asymmetric")
    assert from_json(FusionConfig, json.loads(json.dumps(to_json(config)))) == config
    with pytest.raises(ConfigError, match="unknown setting 'epoch'"):
        from_json(FusionConfig, {"training": {"epoch": 3}})
