"""NetworkModel, through FusionModel: dropout of modalities, weights, members, losses, early stopping, storage."""

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
from reeltag.errors import ConfigError, ModelError
from reeltag.features import Features
from reeltag.losses import LOSSES
from reeltag.models import MODELS, FusionConfig, FusionModel, Validation
from reeltag.models.contract import STANDING
from reeltag.models.estimator import NetworkConfig, NetworkModel, batch_loss, start_at_base_rates
from reeltag.models.fusion import FusionNetwork
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.objective import ValidationScore
from reeltag.training import TrainingConfig

from .samples import SMALL as SMALL_SETTINGS
from .samples import films

FAST = TrainingConfig(epochs=6, batch_size=32, learning_rate=0.01)
SMALL = FusionConfig(hidden=16, sparse_dim=6, n_members=1, training=FAST)
LAYOUT = Layout(names=("plot", "year"), widths=(3, 2), n_labels=4)


def network() -> FusionNetwork:
    torch.manual_seed(0)
    made = FusionNetwork(LAYOUT, SMALL).eval()
    torch.nn.init.normal_(made.absent)
    return made


def blocks(n: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 3, generator=generator), torch.randn(n, 2, generator=generator)]


# ---------------------------------------------------------------- one step of training


class Recorder(torch.nn.Module):
    """Stands in for the network and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, rows: Rows, targets: torch.Tensor) -> Outputs:
        self.seen.append(rows.present.clone())
        assert [bool(block.any()) for block in rows.blocks] == rows.present.any(dim=0).tolist()  # zero where hidden
        return Outputs(torch.zeros(len(targets), 2), torch.zeros(len(targets), 1))


def step(present: torch.Tensor, chance: float, names: tuple[str, ...]) -> torch.Tensor:
    """Return what a step shows of titles with the given blocks."""
    rows = Rows([present[:, [column]] for column in range(len(names))], present)
    layout = Layout(names=names, widths=(1,) * len(names), n_labels=2)
    made = batch_loss(rows, torch.zeros(len(present), 2), replace(SMALL, modality_dropout=chance), layout)
    recorder = Recorder()
    torch.manual_seed(0)
    made(recorder, torch.arange(len(present)))
    return recorder.seen[0]


NAMES = ("plot.tfidf", "plot.sense", "year")  # two blocks of one modality, one of another


def test_modalities_are_hidden_whole_and_at_the_given_rate() -> None:
    shown = step(torch.ones(20_000, 3), 0.3, NAMES)
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert shown.any(dim=1).all()
    # hidden alone, or spared because both were drawn
    for column in (0, 2):
        assert 1 - float(shown[:, column].mean()) == pytest.approx(0.3 * 0.7, abs=0.01)


def test_nothing_absent_is_ever_shown_and_the_last_modality_is_never_hidden() -> None:
    present = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]).repeat(500, 1)
    shown = step(present, 0.9, NAMES)
    assert (shown <= present).all()
    assert torch.equal(shown.any(dim=1), present.any(dim=1))
    assert (shown < present).any()


def test_no_dropout_shows_everything() -> None:
    present = torch.tensor([[0.0, 1, 1], [1, 1, 0]]).repeat(50, 1)
    assert torch.equal(step(present, 0.0, NAMES), present)


def test_single_modality_is_never_hidden() -> None:
    assert step(torch.ones(200, 2), 0.9, ("plot.tfidf", "plot.sense")).all()


@torch.no_grad()
def test_loss_of_a_step_is_the_loss_of_its_rows() -> None:
    values, net = blocks(6), network()
    targets = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    rows = torch.tensor([4, 0, 2])
    for name, loss in LOSSES.items():
        for class_weights in (0.0, 0.7):
            config = replace(SMALL, modality_dropout=0.0, loss=name, class_weights=class_weights)
            found = batch_loss(Rows(values, torch.ones(6, 2)), targets, config, LAYOUT)(net, rows)
            logits = net(Rows([block[rows] for block in values], torch.ones(3, 2))).logits
            weight = config.label_weights(targets.numpy())
            assert (weight is None) == (class_weights == 0)
            assert weight is None or len(weight.unique()) > 2
            torch.testing.assert_close(found, loss(logits, targets[rows], weight=weight))


class Sided(torch.nn.Module):
    """Says as its extra loss what it reads beside the blocks, times the targets it was shown."""

    def forward(self, rows: Rows, targets: torch.Tensor) -> Outputs:
        assert rows.side is not None
        return Outputs(torch.zeros(len(targets), 2), rows.blocks[0], None, (rows.side[:, 0] * targets[:, 0]).mean())


@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_the_extra_loss_is_added_and_the_side_belongs_to_the_rows(chance: float) -> None:
    side = torch.arange(6.0)[:, None]
    targets = torch.ones(6, 2)
    layout = Layout(names=("plot", "year"), widths=(3, 2), n_labels=2)
    made = batch_loss(Rows(blocks(6), torch.ones(6, 2), side), targets, replace(SMALL, modality_dropout=chance), layout)
    found = made(Sided(), torch.tensor([4, 0, 5]))
    assert float(found) == pytest.approx(np.log(2) + 3)


# ---------------------------------------------------------------- weights, score


def test_weights_by_loss() -> None:
    targets = np.zeros((100, 3), np.float32)
    targets[:50, 0], targets[:10, 1], targets[:1, 2] = 1, 1, 1
    assert SMALL.label_weights(targets) is None
    found = replace(SMALL, class_weights=0.5).label_weights(targets)
    np.testing.assert_allclose(found, [1, 3, np.sqrt(99)], rtol=1e-5)
    balanced = replace(SMALL, loss="class_balanced", class_weights=0.9).label_weights(targets)
    expected = np.array([0.1 / (1 - 0.9**n) for n in (50, 10, 1)])
    np.testing.assert_allclose(balanced, expected * 3 / expected.sum(), rtol=1e-5)
    extreme = replace(SMALL, loss="class_balanced", class_weights=1.0).label_weights(targets)
    assert extreme is not None
    assert torch.isfinite(extreme).all()


def test_score_is_the_mean_average_precision_of_the_labels_there_are() -> None:
    net, values = network(), blocks(30)
    targets = (np.random.default_rng(0).random((30, 4)) < 0.4).astype(np.float32)
    targets[:, 2] = 0
    with torch.no_grad():
        logits = net(Rows(values, torch.ones(30, 2))).logits.numpy()
    expected = np.mean([average_precision_score(targets[:, c], logits[:, c]) for c in (0, 1, 3)])
    assert ValidationScore(Rows(values, torch.ones(30, 2)), targets)(net) == pytest.approx(expected)


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
        monkeypatch.setattr("reeltag.models.objective.PREDICT_ROWS", rows)
        np.testing.assert_allclose(model.predict_proba(features), whole, atol=1e-6)
        np.testing.assert_allclose(model.embed(features), embedded, atol=1e-6)


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
    with pytest.raises(ModelError, match=r"model\.safetensors: not the parameters of this model"):
        FusionModel.from_pretrained(tmp_path)


NETWORKS = [name for name, model in MODELS.items() if issubclass(model, NetworkModel)]


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_in_either_precision(name: str, precision: str) -> None:
    features, targets = films(60)
    settings = {**SMALL_SETTINGS[name], "loss": "asymmetric", "class_weights": 0.5, "n_members": 1}
    config = from_json(MODELS[name].config_class, settings, name)
    config = replace(config, training=replace(config.training, precision=precision, epochs=3))
    model = MODELS[name](config).fit(features, targets)
    assert isinstance(model, NetworkModel)
    assert model.histories_[0].losses[-1] < model.histories_[0].losses[0]
    assert {parameter.dtype for parameter in model._members[0].parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_of_every_network_survive_json(name: str) -> None:
    kind = MODELS[name].config_class
    for config in (kind(), from_json(kind, SMALL_SETTINGS[name], name)):
        assert from_json(kind, json.loads(json.dumps(to_json(config))), name) == config


# ---------------------------------------------------------------- what a model may add


class Keeper(torch.nn.Module):
    """Counts the training titles in a buffer, and says the side of a title as its attention."""

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        self.head = torch.nn.Linear(layout.widths[0], layout.n_labels)
        self.label_width = layout.label_width
        self.register_buffer("kept", torch.zeros(0, 2))
        self.vectors: torch.Tensor | None = None

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:
        start_at_base_rates(self.head, shares)
        self.vectors = label_vectors

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        assert rows.side is not None
        return Outputs(self.head(rows.blocks[0]).float(), rows.blocks[0], rows.side)


class KeeperModel(NetworkModel):
    """Reads a side block besides the plot, and keeps the targets of the training titles."""

    config_class = NetworkConfig
    network_class = Keeper

    def _prepare(self, features: Features, targets: np.ndarray) -> None:
        self.n_titles = len(features)

    def _side(self, features: Features) -> torch.Tensor:
        return torch.from_numpy(features.blocks[STANDING].values[:, :1] / 4000)

    def _finish(self, network: torch.nn.Module, rows: Rows, targets: torch.Tensor) -> None:
        network.register_buffer("kept", targets[:, :2].clone())

    def _state(self) -> dict[str, int]:
        return {"n_titles": self.n_titles}

    def _restore(self, state: dict[str, int]) -> None:
        self.n_titles = state["n_titles"]


def test_a_model_keeps_what_it_adds(tmp_path: Path) -> None:
    whole, targets = films(30)
    blocks = {**whole.select(["plot"]).blocks, STANDING: whole.blocks["year"]}  # no input of the network
    features = Features(whole.ids, blocks)
    vectors = np.ones((3, 5), np.float32)
    model = KeeperModel(NetworkConfig(training=FAST, n_members=2)).fit(features, targets, label_vectors=vectors)
    years = features.blocks[STANDING].values[:, 0] / 4000
    assert model._fitted_layout().names == ("plot.tfidf", "plot.sense")
    np.testing.assert_allclose(model.attention(features)["plot"], years, rtol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = KeeperModel.from_pretrained(tmp_path)
    assert loaded.n_titles == 30
    for network in (*model._members, *loaded._members):
        assert network.label_width == 5
        np.testing.assert_array_equal(network.kept.numpy(), targets[:, :2])
    for network in model._members:
        np.testing.assert_array_equal(network.vectors.numpy(), vectors)
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))


def test_models_without_attention_tell_none() -> None:
    features, targets = films(20)
    assert FusionModel(SMALL).fit(features, targets).attention(features) == {}


def test_modalities_and_their_blocks() -> None:
    layout = Layout(names=("plot.a", "year", "plot.b"), widths=(1, 2, 3), n_labels=4)
    assert layout.modalities == ("plot", "year")
    assert layout.blocks_of("plot") == (0, 2)
    assert layout.membership().tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("sparse_dim", 0, "between 1 and"),
        ("n_members", 0, "between 1 and"),
        ("n_members", 101, "between 1 and"),
        ("modality_dropout", 0.96, "between 0 and 0.95"),
        ("class_weights", 1.5, "between 0 and 1"),
        ("loss", "hinge", "one of bce"),
    ],
)
def test_settings_out_of_range(setting: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"NetworkConfig.{setting} must be .*{rule}"):
        replace(NetworkConfig(), **{setting: value})
