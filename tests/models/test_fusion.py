"""FusionModel: its network by hand, its dropout of modalities, members, losses, early stopping."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.losses import LOSSES
from reeltag.models import FusionConfig, FusionModel, Validation
from reeltag.models.fusion import FusionNetwork, _Score, _Step, _weights
from reeltag.training import TrainingConfig

from .samples import films, hide

FAST = TrainingConfig(epochs=6, batch_size=32, learning_rate=0.01)
SMALL = FusionConfig(hidden=16, sparse_dim=6, n_members=1, training=FAST)


def network(config: FusionConfig = SMALL, widths: tuple[int, ...] = (3, 2), n_labels: int = 4) -> FusionNetwork:
    torch.manual_seed(0)
    made = FusionNetwork(widths, n_labels, config).eval()
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
    logits, fused = net(values, present)
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


@torch.no_grad()
def test_values_of_hidden_blocks_do_not_matter() -> None:
    net, values = network(), blocks()
    present = torch.tensor([[1.0, 0]] * 5)
    changed = [values[0], values[1] * 100]
    torch.testing.assert_close(net(values, present)[0], net(changed, present)[0])
    assert not torch.allclose(net(values, 1 - present)[0], net(changed, 1 - present)[0])


def test_gradients_reach_every_parameter() -> None:
    net = network()
    present = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 1]])
    net(blocks(), present)[0].square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# ---------------------------------------------------------------- one step of training


class Recorder(torch.nn.Module):
    """Stands in for the network and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, values: list[torch.Tensor], present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append(present.clone())
        return torch.zeros(len(present), 2), torch.zeros(len(present), 1)


def step(present: torch.Tensor, chance: float, modalities: torch.Tensor) -> torch.Tensor:
    """Return what a step shows of titles with the given blocks."""
    made = _Step(
        ([torch.zeros(len(present), 1)] * present.shape[1], present), torch.zeros(len(present), 2), None, modalities,
        replace(SMALL, modality_dropout=chance),
    )  # fmt: skip
    recorder = Recorder()
    torch.manual_seed(0)
    made(recorder, torch.arange(len(present)))
    return recorder.seen[0]


MODALITIES = torch.tensor([[1.0, 1, 0], [0, 0, 1]])  # two blocks of one modality, one of another


def test_modalities_are_hidden_whole_and_at_the_given_rate() -> None:
    shown = step(torch.ones(20_000, 3), 0.3, MODALITIES)
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert shown.any(dim=1).all()
    # hidden alone, or spared because both were drawn
    for column in (0, 2):
        assert 1 - float(shown[:, column].mean()) == pytest.approx(0.3 * 0.7, abs=0.01)


def test_nothing_absent_is_ever_shown_and_the_last_modality_is_never_hidden() -> None:
    present = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]).repeat(500, 1)
    shown = step(present, 0.9, MODALITIES)
    assert (shown <= present).all()
    assert torch.equal(shown.any(dim=1), present.any(dim=1))
    assert (shown < present).any()


def test_no_dropout_shows_everything() -> None:
    present = torch.tensor([[0.0, 1, 1], [1, 1, 0]]).repeat(50, 1)
    assert torch.equal(step(present, 0.0, MODALITIES), present)


def test_single_modality_is_never_hidden() -> None:
    assert step(torch.ones(200, 2), 0.9, torch.ones(1, 2)).all()


@torch.no_grad()
def test_loss_of_a_step_is_the_loss_of_its_rows() -> None:
    values, net = blocks(6), network()
    targets = (torch.rand(6, 4, generator=torch.Generator().manual_seed(3)) < 0.5).float()
    weight = torch.tensor([1.0, 2, 3, 4])
    rows = torch.tensor([4, 0, 2])
    for name, loss in LOSSES.items():
        config = replace(SMALL, modality_dropout=0.0, loss=name)
        found = _Step((values, torch.ones(6, 2)), targets, weight, torch.eye(2), config)(net, rows)
        logits, _ = net([block[rows] for block in values], torch.ones(3, 2))
        torch.testing.assert_close(found, loss(logits, targets[rows], weight=weight))


# ---------------------------------------------------------------- weights, score


def test_weights_by_loss() -> None:
    targets = np.zeros((100, 3), np.float32)
    targets[:50, 0], targets[:10, 1], targets[:1, 2] = 1, 1, 1
    assert _weights(SMALL, targets) is None
    found = _weights(replace(SMALL, class_weights=0.5), targets)
    np.testing.assert_allclose(found, [1, 3, np.sqrt(99)], rtol=1e-5)
    balanced = _weights(replace(SMALL, loss="class_balanced", class_weights=0.9), targets)
    expected = np.array([0.1 / (1 - 0.9**n) for n in (50, 10, 1)])
    np.testing.assert_allclose(balanced, expected * 3 / expected.sum(), rtol=1e-5)
    extreme = _weights(replace(SMALL, loss="class_balanced", class_weights=1.0), targets)
    assert extreme is not None
    assert torch.isfinite(extreme).all()


def test_score_is_the_mean_average_precision_of_the_labels_there_are() -> None:
    net, values = network(), blocks(30)
    targets = (np.random.default_rng(0).random((30, 4)) < 0.4).astype(np.float32)
    targets[:, 2] = 0
    with torch.no_grad():
        logits = net(values, torch.ones(30, 2))[0].numpy()
    expected = np.mean([average_precision_score(targets[:, c], logits[:, c]) for c in (0, 1, 3)])
    assert _Score((values, torch.ones(30, 2)), targets)(net) == pytest.approx(expected)


# ---------------------------------------------------------------- the model


def test_members_are_averaged_as_logits() -> None:
    features, targets = films(60)
    alone = [FusionModel(SMALL, seed=seed).fit(features, targets).predict_proba(features) for seed in (4, 5)]
    pair = FusionModel(replace(SMALL, n_members=2), seed=4).fit(features, targets)
    found = pair.predict_proba(features)
    # a member of its own scaler differs only by the random start of the SVD, which is exact here
    np.testing.assert_allclose(found, expit((logit(alone[0]) + logit(alone[1])) / 2), atol=0.02)
    assert np.abs(found - alone[0]).max() > 0.01


def test_seeds_differ() -> None:
    features, targets = films(60)
    found = [FusionModel(SMALL, seed=seed).fit(features, targets).predict_proba(features) for seed in (0, 1)]
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_training_starts_from_the_base_rates() -> None:
    features, targets = films(60)
    barely = replace(SMALL, training=TrainingConfig(epochs=1, learning_rate=1e-8))
    model = FusionModel(barely).fit(features, targets)
    share = (targets.sum(axis=0) + 0.5) / 61
    bias = model._members[0].head.bias.detach().numpy()
    np.testing.assert_allclose(expit(bias), share, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("class_weights", [0.0, 0.5, 1.0])
def test_every_loss_learns(loss: str, class_weights: float) -> None:
    features, targets = films(150)
    unseen, truth = films(80, seed=3)
    config = replace(SMALL, loss=loss, class_weights=class_weights, training=replace(FAST, epochs=10))
    found = FusionModel(config).fit(features, targets).predict_proba(unseen)
    assert average_precision_score(truth, found) > truth.mean() + 0.25


def test_early_stopping_keeps_the_best_epoch() -> None:
    features, targets = films(60)
    unseen, truth = films(40, seed=3)
    config = replace(SMALL, training=replace(FAST, epochs=40, patience=2, learning_rate=0.05))
    model = FusionModel(config).fit(features, targets, validation=Validation(features=unseen, targets=truth))
    (history,) = model.histories_
    assert history.best_epoch == int(np.argmax(history.scores)) + 1
    assert len(history.scores) == min(history.best_epoch + 2, 40)
    found = average_precision_score(truth, logit(np.clip(model.predict_proba(unseen), 1e-7, 1 - 1e-7)))
    assert found == pytest.approx(max(history.scores), abs=1e-3)


def test_without_validation_every_epoch_is_run() -> None:
    features, targets = films(40)
    model = FusionModel(replace(SMALL, n_members=2)).fit(features, targets)
    assert [(len(h.losses), h.scores, h.best_epoch) for h in model.histories_] == [(6, (), 6)] * 2


def test_parts_of_many_titles_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = films(50)
    model = FusionModel(SMALL).fit(features, targets)
    whole, embedded = model.predict_proba(features), model.embed(features)
    for rows in (7, 25, 50):
        monkeypatch.setattr("reeltag.models.fusion._PREDICT_ROWS", rows)
        np.testing.assert_allclose(model.predict_proba(features), whole, atol=1e-6)
        np.testing.assert_allclose(model.embed(features), embedded, atol=1e-6)


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


def test_disk_holds_settings_and_best_epochs(tmp_path: Path) -> None:
    features, targets = films(30)
    held_out = Validation(features=features, targets=targets)
    model = FusionModel(replace(SMALL, n_members=2), seed=7).fit(features, targets, validation=held_out)
    model.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text())
    assert data["best_epochs"] == [history.best_epoch for history in model.histories_]
    assert data["blocks"] == list(features.blocks)
    loaded = FusionModel.from_pretrained(tmp_path)
    assert (loaded.config, loaded.seed) == (model.config, 7)


def test_damaged_weights_are_not_loaded_in_part(tmp_path: Path) -> None:
    features, targets = films(30)
    FusionModel(SMALL).fit(features, targets).save_pretrained(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**data, "n_labels": 5}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        FusionModel.from_pretrained(tmp_path)


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
