"""The loop of fine-tuning: AdamW, a linear warm-up and fall, checkpoints from which a run goes on bit for bit.

Batches depend on the seed and the epoch, dropout and the draw of positives on the seed and the step, and nothing on
what was drawn before: a checkpoint needs weights, moments and the number of steps, but no state of a generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reeltag.encoders.pieces import like_lengths
from reeltag.encoders.tunable import TunableEncoder
from reeltag.errors import ArtefactError, ModelError
from reeltag.finetune.agreement import neighbour_agreement
from reeltag.finetune.batches import grouped_batches
from reeltag.finetune.config import FinetuneConfig
from reeltag.finetune.titles import Material
from reeltag.graph.checkpoint import Checkpoint
from reeltag.losses import bce, multilabel_triplet
from reeltag.progress import Progress

_HEAD_RATE = 0.01  # peak learning rate of the layer that is thrown away: it starts from nothing, on unit vectors
_MAX_NORM = 1.0  # of the gradient
_AT_ONCE = 16  # texts of a batch per pass, those of like lengths together: less padding, the same vectors
_SEEDS_APART = 1_000_003  # more than steps
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What an epoch came to.

    Attributes:
        epoch: Its number from 1; 0 is the encoder as it was.
        loss: Mean over the titles; None for epoch 0.
        agreement: See ``neighbour_agreement``, of validation titles; None when it is not measured.
    """

    epoch: int
    loss: float | None
    agreement: float | None


Report = Callable[[EpochReport], None]


@dataclass
class _Standing:
    """How far a run is: epochs reported, and the sum of losses over the titles of the epoch that is running."""

    steps: int = 0
    total: float = 0.0
    reports: list[EpochReport] = field(default_factory=list)


class FinetuneRun:
    """One run.

    Args:
        encoder: Trained in place; which of its weights are, is settled already.
        material: What is read.
        config: Settings.
        seed: Same seed, same result on the same machine and number of threads.
    """

    def __init__(self, encoder: TunableEncoder, material: Material, config: FinetuneConfig, seed: int) -> None:
        self.encoder, self.material, self.config, self.seed = encoder, material, config, seed
        trained = [parameter for parameter in encoder.network.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": trained, "lr": config.learning_rate}]
        self._modules = nn.ModuleDict({"encoder": encoder.network})
        self._head: nn.Linear | None = None
        if config.objective == "bce":
            self._head = _head(encoder, material, seed)
            self._modules["head"] = self._head
            groups.append({"params": list(self._head.parameters()), "lr": _HEAD_RATE})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
        self._peaks = [group["lr"] for group in groups]
        self._per_epoch = math.ceil(len(material.learned) / config.batch_size)
        self.n_steps = config.epochs * self._per_epoch
        self._standing = _Standing()

    def run(self, place: Path, identity: dict[str, Any], progress: Progress, report: Report) -> tuple[EpochReport, ...]:
        """Train to the end, from where an interrupted run stopped.

        Args:
            place: Folder of the checkpoint.
            identity: What makes the run this run; a checkpoint of another is refused.
            progress: Called with the number of steps done.
            report: Called after every epoch, and once before the first.

        Returns:
            What the encoder was, and every epoch.

        Raises:
            ModelError: The loss is no longer finite.
            ArtefactError: The checkpoint is of another run or damaged.
        """
        self._restore(place, identity)
        reports = self._standing.reports
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            if not reports:
                self._finish_epoch(0, None, progress, report)
            for epoch in range(self._standing.steps // self._per_epoch, self.config.epochs):
                self._run_epoch(epoch, place, identity, progress)
                loss = self._standing.total / len(self.material.learned)
                self._standing.total = 0.0
                self._finish_epoch(epoch + 1, loss, progress, report)
                self._save(place, identity)
        self.encoder.network.eval()
        return tuple(reports)

    def _run_epoch(self, epoch: int, place: Path, identity: dict[str, Any], progress: Progress) -> None:
        """Take the steps of an epoch that are still to be taken."""
        config, standing = self.config, self._standing
        random = np.random.default_rng([self.seed, epoch])
        batches = grouped_batches(self.material.learned.targets, config.batch_size, config.group_size, random)
        self._modules.train()
        saved = time.monotonic()
        for rows in batches[standing.steps - epoch * self._per_epoch :]:
            standing.total += self._step(rows, standing.steps) * len(rows)
            standing.steps += 1
            progress("fine-tuning", standing.steps, self.n_steps)
            within = standing.steps % self._per_epoch
            if within and time.monotonic() - saved >= config.checkpoint_every_s:
                self._save(place, identity)
                saved = time.monotonic()

    def _step(self, rows: npt.NDArray[np.int64], step: int) -> float:
        """Take one step; return the loss."""
        number = self.seed * _SEEDS_APART + step
        torch.manual_seed(number)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rate_factor(step, self.n_steps, self.config.warmup)
        self._optimizer.zero_grad()
        loss = self._loss(rows, torch.Generator().manual_seed(number))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(f"fine-tuning: the loss is {value} at step {step + 1}; lower the learning rate")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.encoder.network.parameters(), _MAX_NORM)
        self._optimizer.step()
        return value

    def _loss(self, rows: npt.NDArray[np.int64], generator: torch.Generator) -> torch.Tensor:
        learned, config = self.material.learned, self.config
        vectors = self._vectors([learned.texts[row] for row in rows])
        targets = torch.from_numpy(learned.targets[rows].toarray()).to(vectors.device)
        if self._head is not None:
            return bce(self._head(vectors), targets)
        return multilabel_triplet(
            vectors,
            targets,
            margin=config.margin,
            n_positives=config.n_positives,
            nearest_instead=config.nearest_instead,
            generator=generator,
        )

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the vectors of a batch, (n, dim), with gradients."""
        passes = list(like_lengths(texts, _AT_ONCE))
        vectors = torch.cat([self.encoder.vectors([texts[row] for row in chosen]) for chosen in passes])
        return vectors[np.argsort(np.concatenate(passes))]

    def _finish_epoch(self, epoch: int, loss: float | None, progress: Progress, report: Report) -> None:
        told = EpochReport(epoch=epoch, loss=loss, agreement=self._agreement(progress))
        self._standing.reports.append(told)
        report(told)

    def _agreement(self, progress: Progress) -> float | None:
        """Return how far validation titles have the labels of their neighbours; None without any."""
        validation, neighbours = self.material.validation, self.material.neighbours
        if len(validation) == 0 or len(neighbours) == 0:
            return None
        vectors = self._encoded([*validation.texts, *neighbours.texts], progress)
        n = len(validation)
        return neighbour_agreement(vectors[:n], validation.targets, vectors[n:], neighbours.targets)

    @torch.no_grad()
    def _encoded(self, texts: Sequence[str], progress: Progress) -> npt.NDArray[np.float32]:
        """Return the vectors of texts, as the encoder would make them now, (n, dim)."""
        self._modules.eval()
        found: dict[int, npt.NDArray[np.float32]] = {}
        for chosen in like_lengths(texts, self.config.batch_size):
            vectors = self.encoder.vectors([texts[row] for row in chosen]).cpu().numpy()
            found.update(zip(chosen, vectors, strict=True))
            progress("looking at neighbours", len(found), len(texts))
        return np.stack([found[row] for row in range(len(texts))])

    def _save(self, place: Path, identity: dict[str, Any]) -> None:
        reports = [[told.loss, told.agreement] for told in self._standing.reports]
        history = {"total": self._standing.total, "reports": reports}
        Checkpoint(identity, self._standing.steps, history, self._tensors(), {}).save(place)

    def _restore(self, place: Path, identity: dict[str, Any]) -> None:
        """Go to where the checkpoint stands, if there is one."""
        found = Checkpoint.load(place, identity)
        if found is None:
            return
        try:
            self._standing = _Standing(
                steps=found.epoch,
                total=float(found.history["total"]),
                reports=[
                    EpochReport(epoch=epoch, loss=loss, agreement=agreement)
                    for epoch, (loss, agreement) in enumerate(found.history["reports"])
                ],
            )
            for name, parameter in self._parameters().items():
                parameter.data.copy_(found.state[f"weight.{name}"])
                moments = {part: found.state.get(f"{part}.{name}") for part in _MOMENTS}
                if moments["step"] is not None:  # else it has had no gradient yet
                    self._optimizer.state[parameter] = {
                        part: found.state[f"{part}.{name}"].to(parameter.device) for part in _MOMENTS
                    }
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise ArtefactError(f"{place}: the checkpoint is incomplete or damaged; remove it") from None

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self._modules.named_parameters() if parameter.requires_grad}

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return everything that training changes."""
        found = {}
        for name, parameter in self._parameters().items():
            found[f"weight.{name}"] = parameter.detach()
            for part, tensor in self._optimizer.state.get(parameter, {}).items():
                found[f"{part}.{name}"] = tensor
        return found


def rate_factor(step: int, n_steps: int, warmup: float) -> float:
    """Return the factor of the learning rate at a step, counted from 0: up in a line, then down in a line, never 0."""
    n_rising = warmup * n_steps
    return min((step + 1) / (n_rising + 1), (n_steps - step) / (n_steps - n_rising), 1.0)


def _head(encoder: TunableEncoder, material: Material, seed: int) -> nn.Linear:
    """Return a linear layer over the vectors that begins by telling how frequent each label is."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(seed)
        probe = encoder.vectors(["width"])
        head = nn.Linear(probe.shape[1], len(material.labels))
        share = torch.from_numpy(np.asarray(material.learned.targets.mean(axis=0), np.float32).ravel())
        head.bias.copy_(torch.logit(share, eps=1e-4))
        return head.to(probe.device)
