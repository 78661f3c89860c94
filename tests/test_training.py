"""The training loop: seeds, the learning-rate cycle, early stopping, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from reeltag.errors import ConfigError, ModelError
from reeltag.progress import silent
from reeltag.training import TrainingConfig, TrainingHistory, _cycle, fit_network

N = 50
CONFIG = TrainingConfig(epochs=5, batch_size=16, learning_rate=0.01, device="cpu")


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(N, 4, generator=generator)
    return x, (x[:, :2] > 0).float()


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def step(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    x, y = data()
    return nn.functional.binary_cross_entropy_with_logits(network(x[rows]), y[rows])


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def train(
    config: TrainingConfig = CONFIG, seed: int = 0, evaluate: Callable[[nn.Module], float] | None = None
) -> tuple[nn.Module, TrainingHistory]:
    network = net()
    return network, fit_network(network, step, N, config, seed=seed, evaluate=evaluate)


class Scores:
    """Gives scores from a list, keeping the weights it was shown with each."""

    def __init__(self, scores: Sequence[float]) -> None:
        self.scores = list(scores)
        self.shown: list[torch.Tensor] = []

    def __call__(self, network: nn.Module) -> float:
        assert not any(module.training for module in network.modules() if isinstance(module, nn.Dropout))
        self.shown.append(weights(network).clone())
        return self.scores[len(self.shown) - 1]


# ---------------------------------------------------------------- learning


def test_loss_falls_and_the_network_ends_in_evaluation_mode() -> None:
    network, history = train(replace(CONFIG, epochs=30, learning_rate=0.05))
    assert len(history.losses) == 30
    assert history.losses[-1] < 0.6 * history.losses[0]
    assert not network.training
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    x, y = data()
    assert ((network(x) > 0).float() == y).float().mean() > 0.9


def orders(seed: int) -> torch.Tensor:
    """Return the order of titles in each of the epochs, (n_epochs, n_titles)."""
    seen: list[torch.Tensor] = []

    def recording(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.clone())
        return step(network, rows)

    fit_network(net(), recording, N, CONFIG, seed=seed)
    assert [len(rows) for rows in seen] == [16, 16, 16, 2] * 5
    return torch.cat(seen).reshape(5, N)


def test_every_title_is_seen_once_per_epoch_in_an_order_of_its_own() -> None:
    epochs = orders(seed=0)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(N).repeat(5, 1))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 5


def test_seed_decides_the_order() -> None:
    assert torch.equal(orders(seed=1), orders(seed=1))
    assert not torch.equal(orders(seed=1)[0], orders(seed=2)[0])


def test_mean_loss_weighs_batches_by_their_size() -> None:
    def constant(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return weights_of(network).sum() * 0 + len(rows)

    history = fit_network(net(), constant, 5, replace(CONFIG, epochs=1, batch_size=3), seed=0)
    assert history.losses == (pytest.approx((3 * 3 + 2 * 2) / 5),)


def weights_of(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_one_step_is_adamw_with_the_first_rate_of_the_cycle() -> None:
    network, twin = net().eval(), net().eval()
    config = replace(CONFIG, epochs=1, batch_size=N, warmup=0.5, weight_decay=0.3)
    fit_network(network, _without_dropout, N, config, seed=0)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01 * 0.04, weight_decay=0.3)
    _without_dropout(twin, torch.arange(N)).backward()
    optimizer.step()
    torch.testing.assert_close(weights(network), weights(twin))


def _without_dropout(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    x, y = data()
    return (network.eval()(x[rows]) - y[rows]).square().mean()


# ---------------------------------------------------------------- seeds


def test_same_seed_same_weights_and_history() -> None:
    (one, first), (two, second) = train(seed=4), train(seed=4)
    assert torch.equal(weights(one), weights(two))
    assert first == second


def test_another_seed_gives_other_weights() -> None:
    assert not torch.equal(weights(train(seed=4)[0]), weights(train(seed=5)[0]))


def test_global_random_state_is_neither_read_nor_moved() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(weights(train()[0]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)


def test_evaluation_does_not_disturb_training() -> None:
    plain, _ = train()
    scored, _ = train(evaluate=Scores([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert torch.equal(weights(plain), weights(scored))


# ---------------------------------------------------------------- early stopping


@pytest.mark.parametrize(
    ("scores", "patience", "epochs_run", "best"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5, 5),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 1, 2, 1),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 3, 4, 1),
        ([0.1, 0.4, 0.3, 0.5, 0.2], 1, 3, 2),
        ([0.1, 0.4, 0.3, 0.5, 0.2], 2, 5, 4),
        ([0.3, 0.3, 0.3, 0.3, 0.3], 2, 3, 1),  # equal is not better: the earliest is kept
        ([0.1, 0.2, 0.1, 0.1, 0.1], 9, 5, 2),
        ([-3.0, -2.0, -5.0, -1.0, -4.0], 2, 5, 4),
    ],
)
def test_best_epoch_is_kept(scores: list[float], patience: int, epochs_run: int, best: int) -> None:
    evaluate = Scores(scores)
    network, history = train(replace(CONFIG, patience=patience), evaluate=evaluate)
    assert history.scores == tuple(scores[:epochs_run])
    assert len(history.losses) == epochs_run
    assert history.best_epoch == best
    assert torch.equal(weights(network), evaluate.shown[best - 1])
    assert not network.training


def test_without_evaluation_the_last_epoch_is_kept() -> None:
    network, history = train(replace(CONFIG, patience=1))
    assert (history.best_epoch, history.scores, len(history.losses)) == (5, (), 5)
    shown = Scores([0.1, 0.2, 0.3, 0.4, 0.5])
    train(evaluate=shown)
    assert torch.equal(weights(network), shown.shown[-1])


def test_buffers_come_back_with_the_best_epoch() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    means: list[torch.Tensor] = []

    def evaluate(seen: nn.Module) -> float:
        means.append(network[0].running_mean.clone())  # type: ignore[union-attr, operator]
        return -float(len(means))

    fit_network(network, step, N, CONFIG, seed=0, evaluate=evaluate)
    assert torch.equal(network[0].running_mean, means[0])  # type: ignore[arg-type]
    assert not torch.equal(means[0], means[1])


# ---------------------------------------------------------------- progress


def progress_of(scores: Sequence[float] | None, patience: int) -> list[tuple[str, int, int]]:
    reports: list[tuple[str, int, int]] = []
    fit_network(
        net(), step, N, replace(CONFIG, patience=patience), seed=0,
        evaluate=None if scores is None else Scores(scores), progress=lambda *report: reports.append(report),
    )  # fmt: skip
    return reports


def test_progress_counts_epochs() -> None:
    assert progress_of(None, 1) == [("training", epoch, 5) for epoch in range(1, 6)]


def test_progress_reaches_its_end_when_stopped_early() -> None:
    assert progress_of([0.5, 0.4, 0.3, 0.2, 0.1], 1) == [("training", 1, 5), ("training", 2, 5), ("training", 5, 5)]


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent("training", 1, 2)
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- the cycle


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.9])
def test_cycle_rises_to_one_then_falls_to_zero(warmup: float) -> None:
    steps = np.linspace(0, 1, 201)
    factors = np.array([_cycle(done, warmup) for done in steps])
    rising, falling = factors[steps <= warmup], factors[steps >= warmup]
    assert (np.diff(rising) > 0).all()
    assert (np.diff(falling) < 0).all()
    assert factors[0] == pytest.approx(0.04 if warmup else 1)
    assert _cycle(warmup, warmup) == pytest.approx(1)
    assert factors[-1] == pytest.approx(0, abs=1e-12)
    half = warmup + (1 - warmup) / 2
    assert _cycle(half, warmup) == pytest.approx(0.5)
    if warmup:
        assert _cycle(warmup / 2, warmup) == pytest.approx(0.52)


def rates(config: TrainingConfig) -> list[float]:
    """Return the learning rate of every step."""
    found: list[float] = []
    original = torch.optim.AdamW.step

    class Watched(torch.optim.AdamW):
        def step(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
            found.append(self.param_groups[0]["lr"])
            original(self, *args, **kwargs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        train(config)
    return found


def test_learning_rate_follows_the_cycle() -> None:
    found = rates(replace(CONFIG, epochs=5, warmup=0.2))
    assert len(found) == 20
    np.testing.assert_allclose(found, [0.01 * _cycle(number / 20, 0.2) for number in range(20)], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_learning_rate_of_a_constant_schedule_never_changes(warmup: float) -> None:
    assert rates(replace(CONFIG, schedule="constant", warmup=warmup)) == [0.01] * 20


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(value: float) -> None:
    network = net()
    before = weights(network).clone()

    def broken(seen: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return step(seen, rows) + value

    with pytest.raises(ModelError, match=rf"the loss is {value}; lower the learning rate"):
        fit_network(network, broken, N, CONFIG, seed=0)
    assert torch.equal(weights(network), before)


@pytest.mark.parametrize(
    ("setting", "low", "high"),
    [
        ("epochs", 1, 100_000),
        ("batch_size", 1, 1_000_000),
        ("learning_rate", 1e-8, 10),
        ("weight_decay", 0, 100),
        ("patience", 1, 100_000),
        ("warmup", 0, 0.9),
    ],
)
def test_ranges_of_settings(setting: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(TrainingConfig(**{setting: value}), setting) == value  # type: ignore[arg-type]
    beyond = (low - 1, high + 1) if isinstance(low, int) and setting != "warmup" else (low - 1e-9, high * 1.01)
    for value in (*beyond, math.nan):
        with pytest.raises(ConfigError, match=f"TrainingConfig.{setting} must be between .* got"):
            TrainingConfig(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "value"), [("device", "tpu"), ("precision", "8"), ("device", ""), ("schedule", "step")]
)
def test_choices_of_settings(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"TrainingConfig.{setting} must be one of"):
        TrainingConfig(**{setting: value})  # type: ignore[arg-type]


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU is available; use 'auto' or 'cpu'"):
        TrainingConfig(device="cuda")


def test_half_precision_trains_too() -> None:
    network, history = train(replace(CONFIG, epochs=20, precision="bf16-mixed"))
    assert history.losses[-1] < history.losses[0]
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.isfinite(network(data()[0])).all()


@pytest.mark.gpu
def test_gpu_trains_and_hands_the_network_back() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    x, y = (tensor.cuda() for tensor in data())

    def on_gpu(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(x[rows]), y[rows])

    network = net()
    history = fit_network(network, on_gpu, N, replace(CONFIG, epochs=30, learning_rate=0.05, device="cuda"), seed=0)
    assert history.losses[-1] < 0.6 * history.losses[0]
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
