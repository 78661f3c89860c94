"""Training a scorer on a graph: epochs of chunked batches, several threads on one pair of tables, checkpoints.

On a CPU every thread takes whole batches and all write to the same tables without locks (Recht, Re, Wright, Niu:
Hogwild, NIPS 2011): a batch touches few of the rows, so that lost updates are rare, and threads that share nothing else
are nearly as many times faster as they are. With one thread the same seed gives the same result. A scorer with a
network of its own (ConvE) takes one batch at a time on all threads.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.errors import ConfigError, ModelError
from reeltag.graph.checkpoint import Checkpoint, run_identity, state_tensors, weight_tensors
from reeltag.graph.link_model import LinkModel, load_network
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.optimizers import OPTIMIZERS
from reeltag.graph.sampling import LinkBatch, LinkSampler, NegativeConfig
from reeltag.graph.scorers import Scorer
from reeltag.graph.steps import LinkState, LinkStep, Penalty
from reeltag.graph.triples import KnowledgeGraph
from reeltag.progress import Progress, silent

SCHEDULES = ("constant", "linear", "cosine")
_SHOWN_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class LinkTrainingConfig:
    """Settings of the training of a scorer.

    Attributes:
        epochs: Passes over the training links at most.
        batch_size: Links per step.
        negatives: How negatives are made.
        loss: Loss of the scores.
        optimizer: ``sgd``, ``adagrad`` or ``adam``, each on the rows of the batch alone.
        learning_rate: Peak. Losses are summed over links: with SGD it counts per link, whatever the batch size;
            Adagrad and Adam do not mind the scale.
        network_learning_rate: For the weights of the scorer's network (ConvE), with Adam.
        schedule: ``constant``, or down to 0 over the epochs: ``linear``, ``cosine``.
        penalty: Weight decay of the rows of a batch.
        evaluate_every: Epochs between two looks at the validation links.
        patience: Stop after so many looks without a better one; the best weights are kept.
        threads: CPU threads; 0 takes one per core.
        device: ``auto`` takes a GPU when there is one.
        checkpoint_every_s: Seconds between two checkpoints, which are written after an epoch, one after the first.
    """

    epochs: int = 100
    batch_size: int = 4096
    negatives: NegativeConfig = field(default_factory=NegativeConfig)
    loss: LinkLossConfig = field(default_factory=LinkLossConfig)
    optimizer: str = "adagrad"
    learning_rate: float = 0.1
    network_learning_rate: float = 1e-3
    schedule: str = "linear"
    penalty: Penalty = field(default_factory=Penalty)
    evaluate_every: int = 5
    patience: int = 5
    threads: int = 0
    device: str = "auto"
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 1_000_000),
            ("batch_size", 1, 10_000_000),
            ("learning_rate", 1e-9, 1000),
            ("network_learning_rate", 1e-9, 10),
            ("evaluate_every", 1, 1_000_000),
            ("patience", 1, 1_000_000),
            ("threads", 0, 4096),
            ("checkpoint_every_s", 0, 1e9),
        ):
            check_range("LinkTrainingConfig", name, getattr(self, name), low, high)
        check_choice("LinkTrainingConfig", "optimizer", self.optimizer, OPTIMIZERS)
        check_choice("LinkTrainingConfig", "schedule", self.schedule, SCHEDULES)
        check_choice("LinkTrainingConfig", "device", self.device, ("auto", "cpu", "cuda", "mps"))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("LinkTrainingConfig.device is 'cuda', but no GPU is available; use 'auto' or 'cpu'")
        if self.negatives.count == 0 and self.loss.name not in ("logistic", "softmax"):
            raise ConfigError(
                "LinkTrainingConfig.loss must be logistic or softmax when every entity is a negative "
                f"(negatives.count is 0); got {self.loss.name}"
            )


@dataclass(frozen=True, kw_only=True)
class LinkHistory:
    """What happened.

    Attributes:
        losses: Mean loss per link of every epoch.
        scores: (epoch, validation score) of every look.
        best_epoch: The epoch whose weights were kept.
        seconds: Wall time of the training, looks at validation left out, resumed parts included.
        links_per_second: Training links per second of that time.
    """

    losses: tuple[float, ...] = ()
    scores: tuple[tuple[int, float], ...] = ()
    best_epoch: int = 0
    seconds: float = 0.0
    links_per_second: float = 0.0


Evaluate = Callable[[LinkModel], float]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An ``Evaluate`` that says what it looks at.

    Attributes:
        score: Returns the score of a model, higher is better.
        what: What it looks at, in words: a run that looks at something else does not go on from this one's checkpoint.
    """

    score: Evaluate
    what: str

    def __call__(self, model: LinkModel) -> float:
        """Return the score of a model."""
        return self.score(model)


def train_links(
    graph: KnowledgeGraph,
    scorer: Scorer,
    config: LinkTrainingConfig,
    *,
    seed: int = 0,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[LinkModel, LinkHistory]:
    """Train a scorer on the training links of a graph.

    Args:
        graph: The graph; only its ``train`` links are read.
        scorer: The scorer; a network of its own is trained in place.
        config: Settings.
        seed: Same seed, same result on one thread.
        evaluate: Returns a score of a model, higher is better; without it all epochs are run and the last is kept. An
            ``Evaluation`` where there is a checkpoint.
        checkpoint: Folder in which a run leaves its state and from which it goes on.
        progress: Called with the links done.

    Returns:
        The model and what happened.

    Raises:
        ConfigError: The seed is out of range, or batches of one link meet a network that normalises over them.
        ModelError: The graph has no training links, or the loss is no longer finite.
        ArtefactError: The checkpoint belongs to another run.
    """
    check_range("train_links", "seed", seed, 0, 2**63 - 1)
    if scorer.network is not None and min(config.batch_size, config.negatives.chunk_size) < 2:
        raise ConfigError(f"{scorer.name} normalises over its batches: batch_size and chunk_size must be at least 2")
    if not len(graph.train):
        raise ModelError(f"{graph.source}: the graph has no training links")
    run = _Run(graph, scorer, config, seed, evaluate)
    if checkpoint is not None:
        run.resume(checkpoint)
    with _own_threads(run.workers, run.inner_threads), run.own_generator():
        run.train(checkpoint, progress)
    return run.result(), run.history


class _Run:
    """One training run: tables, optimizers, best weights, history."""

    def __init__(
        self, graph: KnowledgeGraph, scorer: Scorer, config: LinkTrainingConfig, seed: int, evaluate: Evaluate | None
    ) -> None:
        self.graph, self.scorer, self.config, self.seed, self.evaluate = graph, scorer, config, seed, evaluate
        self.device = _device(config.device)
        threads = config.threads or n_cores()
        alone = scorer.network is not None or config.negatives.count == 0 or self.device.type != "cpu"
        self.workers, self.inner_threads = (1, threads) if alone else (threads, 1)
        generator = torch.Generator().manual_seed(seed)
        n_rows = graph.n_relations * (2 if scorer.reciprocal else 1)
        entities, relations = (t.to(self.device) for t in scorer.initial(graph.n_entities, n_rows, generator))
        make, network = OPTIMIZERS[config.optimizer], None
        if scorer.network is not None:
            scorer.network.to(self.device)
            network = torch.optim.Adam(scorer.network.parameters(), lr=config.network_learning_rate)
        self.state = LinkState(scorer, entities, relations, make(entities), make(relations), network)
        self.sampler = LinkSampler(
            graph.train,
            graph.n_entities,
            graph.n_relations,
            config.negatives,
            one_relation=scorer.one_relation,
            once_per_question=config.negatives.count == 0 and config.loss.name != "softmax",
        )
        self.step = LinkStep(self.state, self.sampler, config.loss, config.penalty)
        self.history = LinkHistory()
        self.epoch = 0
        self.best: dict[str, torch.Tensor] = {}

    def train(self, checkpoint: Path | None, progress: Progress) -> None:
        """Run the epochs that are left."""
        config, history, evaluate = self.config, self.history, self.evaluate
        written, saved = -math.inf, self.epoch
        while self.epoch < config.epochs and not self._is_done():
            start = time.perf_counter()
            loss = self._run_epoch(progress)
            self.epoch += 1
            seconds = history.seconds + time.perf_counter() - start
            rate = self.epoch * self.sampler.n_links / seconds
            losses = (*history.losses, loss)
            history = replace(history, losses=losses, seconds=seconds, links_per_second=rate)
            self.history = history if evaluate else replace(history, best_epoch=self.epoch)
            if evaluate and (self.epoch % config.evaluate_every == 0 or self.epoch == config.epochs):
                self._look(evaluate)
            history = self.history
            if checkpoint is not None and time.monotonic() - written >= config.checkpoint_every_s:
                self.save(checkpoint)
                written, saved = time.monotonic(), self.epoch
        if checkpoint is not None and saved != self.epoch:
            self.save(checkpoint)

    def own_generator(self) -> AbstractContextManager[None]:
        """Return a context that leaves the caller's random numbers as they were; only dropout draws from them."""
        devices = [self.device] if self.device.type == "cuda" else []
        return torch.random.fork_rng(devices, enabled=self.scorer.network is not None)

    def result(self) -> LinkModel:
        """Return the best weights on the CPU."""
        tensors = self.best or weight_tensors(self.state)
        load_network(self.scorer, tensors)
        if self.scorer.network is not None:
            self.scorer.network.cpu()
        return LinkModel(self.scorer, tensors["entities"].cpu(), tensors["relations"].cpu())

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        state = state_tensors(self.state)
        Checkpoint(self._identity(), self.epoch, to_json(self.history), state, self.best).save(folder)

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        found = Checkpoint.load(folder, self._identity())
        if found is not None:
            found.restore(self.state, folder)
            self.best, self.epoch = found.best, found.epoch
            self.history = from_json(LinkHistory, found.history, f"{folder}, history")

    def _run_epoch(self, progress: Progress) -> float:
        batches = self.sampler.epoch(self.config.batch_size, (self.seed, self.epoch))
        queue = _Queue(batches)
        if self.scorer.network is not None:
            self.scorer.network.train()
        shown = _Shown(progress, self.epoch, self.config.epochs, self.sampler.n_links)
        if self.workers == 1:
            total = self._work(queue, len(batches), shown)
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                try:
                    futures = [pool.submit(self._work, queue, len(batches), shown) for _ in range(self.workers)]
                    total = sum(future.result() for future in futures)
                finally:
                    queue.stop()  # when one thread fails, or Ctrl-C comes, the others take nothing more
        loss = total / self.sampler.n_links
        if not math.isfinite(loss):
            raise ModelError(f"training: the loss is {loss}; lower the learning rate")
        return loss

    def _work(self, queue: _Queue, n_batches: int, shown: _Shown) -> float:
        """Take batches until none is left; return the sum of their losses."""
        if threading.current_thread() is not threading.main_thread():
            torch.set_num_threads(self.inner_threads)  # counts for this thread
        generator = torch.Generator()
        total = 0.0
        for number, batch in queue:
            seed = ((self.seed * 1_000_003 + self.epoch) * 1_000_003 + number) % 2**63
            generator.manual_seed(seed)
            if self.scorer.network is not None:
                torch.manual_seed(seed)  # dropout draws from the generator that all share
            total += self.step(batch, self._learning_rate(self.epoch + number / n_batches), generator)
            shown.add(int(batch.weight.sum()))
        return total

    def _learning_rate(self, epoch: float) -> float:
        done = epoch / self.config.epochs
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        if self.state.network is not None:
            for group in self.state.network.param_groups:
                group["lr"] = self.config.network_learning_rate * factor[self.config.schedule]
        return self.config.learning_rate * factor[self.config.schedule]

    def _look(self, evaluate: Evaluate) -> None:
        if self.scorer.network is not None:
            self.scorer.network.eval()
        score = evaluate(LinkModel(self.scorer, self.state.entities, self.state.relations))
        if not self.history.scores or score > max(value for _, value in self.history.scores):
            self.history = replace(self.history, best_epoch=self.epoch)
            self.best = {name: tensor.detach().clone() for name, tensor in weight_tensors(self.state).items()}
        self.history = replace(self.history, scores=(*self.history.scores, (self.epoch, score)))

    def _is_done(self) -> bool:
        """Whether the last ``patience`` looks brought nothing."""
        scores = [score for _, score in self.history.scores]
        return len(scores) > self.config.patience and max(scores[-self.config.patience :]) <= max(
            scores[: -self.config.patience]
        )

    def _identity(self) -> dict[str, Any]:
        what = self.evaluate.what if isinstance(self.evaluate, Evaluation) else "" if self.evaluate else None
        return run_identity(self.graph, self.scorer, self.config, self.seed, what)


class _Queue:
    """Numbered batches that several threads take from."""

    def __init__(self, batches: list[LinkBatch]) -> None:
        self._numbered: Iterator[tuple[int, LinkBatch]] = enumerate(batches)
        self._lock = threading.Lock()

    def __iter__(self) -> _Queue:
        return self

    def __next__(self) -> tuple[int, LinkBatch]:
        with self._lock:
            return next(self._numbered)

    def stop(self) -> None:
        """Leave the other threads nothing to take."""
        with self._lock:
            self._numbered = iter(())


class _Shown:
    """Tells the progress of an epoch now and then."""

    def __init__(self, progress: Progress, epoch: int, epochs: int, n_links: int) -> None:
        self._progress, self._done, self._total = progress, epoch * n_links, epochs * n_links
        self._last = 0.0
        self._lock = threading.Lock()

    def add(self, n_links: int) -> None:
        """Count links that are done."""
        with self._lock:
            self._done += n_links
            now = time.monotonic()
            if now - self._last >= _SHOWN_EVERY_S or self._done == self._total:
                self._last = now
                self._progress("training links", self._done, self._total)


class _own_threads:  # noqa: N801 - reads as a function
    """Sets the threads of torch for the time of a training."""

    def __init__(self, workers: int, inner: int) -> None:
        self._wanted, self._before = (inner if workers == 1 else 1), torch.get_num_threads()

    def __enter__(self) -> None:
        torch.set_num_threads(self._wanted)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def n_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
