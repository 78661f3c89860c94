"""The one training loop: AdamW, one learning-rate cycle, early stopping on validation, seeds, progress."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from reeltag.config import check_choice, check_range
from reeltag.encoders.pretrained import has_fast_bfloat16
from reeltag.errors import ConfigError, ModelError
from reeltag.progress import Progress, silent

DEVICES = ("auto", "cpu", "cuda", "mps")
SCHEDULES = ("cycle", "constant")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of the training loop.

    Attributes:
        epochs: Passes over the training titles at most.
        batch_size: Titles per step.
        learning_rate: Peak of the cycle.
        weight_decay: Decoupled, AdamW.
        patience: Stop after so many epochs without a better validation score; the best epoch is kept.
        warmup: Share of the steps in which the learning rate rises.
        schedule: ``cycle`` lets the learning rate rise and then fall to 0 along a cosine; ``constant`` keeps it.
        device: ``auto`` takes a GPU when there is one.
        precision: As Lightning Fabric names it; ``auto`` takes ``bf16-mixed`` where the device computes in bfloat16 and
            ``32-true`` elsewhere.
    """

    epochs: int = 25
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.2
    patience: int = 6
    warmup: float = 0.1
    schedule: str = "cycle"
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch_size", 1, 1_000_000),
            ("learning_rate", 1e-8, 10),
            ("weight_decay", 0, 100),
            ("patience", 1, 100_000),
            ("warmup", 0, 0.9),
        ):
            check_range("TrainingConfig", name, getattr(self, name), low, high)
        check_choice("TrainingConfig", "schedule", self.schedule, SCHEDULES)
        check_choice("TrainingConfig", "device", self.device, DEVICES)
        check_choice("TrainingConfig", "precision", self.precision, PRECISIONS)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("TrainingConfig.device is 'cuda', but no GPU is available; use 'auto' or 'cpu'")


@dataclass(frozen=True, kw_only=True)
class TrainingHistory:
    """What happened: mean loss per epoch, validation score per epoch (empty without validation), the epoch kept."""

    losses: tuple[float, ...]
    scores: tuple[float, ...]
    best_epoch: int


Step = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def fit_network(
    network: nn.Module,
    step: Step,
    n_titles: int,
    config: TrainingConfig,
    *,
    seed: int,
    evaluate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> TrainingHistory:
    """Train a network in place and leave it on the CPU, in evaluation mode, with the weights of its best epoch.

    Args:
        network: The network.
        step: Called with the network and the row numbers of a batch (on the network's device); returns the loss.
        n_titles: Number of training titles.
        config: Settings.
        seed: Same seed, same result on the same machine and number of threads.
        evaluate: Called after every epoch with the network in evaluation mode; returns a score, higher is better.
            Without it all epochs are run and the last one is kept.
        progress: Called with the number of epochs done.

    Returns:
        The losses and scores.

    Raises:
        ModelError: The loss is no longer finite.
    """
    loop = _Loop(network, config, n_titles)
    losses: list[float] = []
    scores: list[float] = []
    best, best_weights = 0, None
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        shuffle = torch.Generator().manual_seed(seed)
        for epoch in range(config.epochs):
            losses.append(loop.epoch(step, torch.randperm(n_titles, generator=shuffle)))
            progress("training", epoch + 1, config.epochs)
            if evaluate is None:
                best = epoch
                continue
            network.eval()
            with loop.fabric.autocast():
                scores.append(evaluate(loop.network))
            if scores[epoch] > scores[best] or epoch == 0:
                best, best_weights = epoch, copy.deepcopy(network.state_dict())
            elif epoch - best >= config.patience:
                progress("training", config.epochs, config.epochs)
                break
    if best_weights is not None:
        network.load_state_dict(best_weights)
    network.cpu().eval()
    return TrainingHistory(losses=tuple(losses), scores=tuple(scores), best_epoch=best + 1)


class _Loop:
    """Network, optimizer and schedule on one device, through Lightning Fabric."""

    def __init__(self, network: nn.Module, config: TrainingConfig, n_titles: int) -> None:
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision every time
        self.fabric = Fabric(accelerator=config.device, devices=1, precision=_precision(config))  # type: ignore[arg-type]
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        wrapped, self.optimizer = self.fabric.setup(network, optimizer)
        self.network: nn.Module = wrapped.module  # the wrapper would round the inputs to bfloat16, ids among them
        self.batch_size = config.batch_size
        n_steps = config.epochs * math.ceil(n_titles / config.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 1.0 if config.schedule == "constant" else _cycle(step / n_steps, config.warmup)
        )

    def epoch(self, step: Step, order: torch.Tensor) -> float:
        """Run one pass over the titles in the given order; return the mean loss."""
        self.network.train()
        total = 0.0
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            self.optimizer.zero_grad()
            with self.fabric.autocast():
                loss = step(self.network, rows.to(self.fabric.device))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ModelError(f"training: the loss is {value}; lower the learning rate or look for extreme features")
            self.fabric.backward(loss)
            self.optimizer.step()
            self.schedule.step()
            total += value * len(rows)
        return total / len(order)


def _precision(config: TrainingConfig) -> str:
    if config.precision != "auto":
        return config.precision
    on_gpu = torch.cuda.is_available() and config.device in ("auto", "cuda")
    fast = torch.cuda.is_bf16_supported() if on_gpu else has_fast_bfloat16()
    return "bf16-mixed" if fast else "32-true"


def _cycle(done: float, warmup: float) -> float:
    """Return the factor of the learning rate: a rise over the warm-up, then a cosine down to 0."""
    if done < warmup:
        return 0.04 + 0.96 * done / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))
