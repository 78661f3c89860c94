"""Training on small graphs: learning, determinism, threads, early stopping, progress, refusals."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reeltag.errors import ConfigError, ModelError
from reeltag.graph.link_model import LinkModel
from reeltag.graph.losses import LinkLossConfig
from reeltag.graph.optimizers import OPTIMIZERS
from reeltag.graph.sampling import CORRUPTIONS, LinkBatch, NegativeConfig
from reeltag.graph.steps import LinkStep, Penalty
from reeltag.graph.trainer import SCHEDULES as LISTED_SCHEDULES
from reeltag.graph.trainer import LinkTrainingConfig, train_links
from reeltag.graph.triples import Triples

from .link_samples import SMALL, graph_of, lines, make
from .short_runs import (
    SHORT,
    SHORT_RUNS,
    SMALL_GRAPH,
    StopRun,
    assert_same,
    crash_in_epoch,
    mrr,
    rank_small,
    train,
    weights,
)

GRAPH = lines()
GUESSING = float((1 / np.arange(1, GRAPH.n_entities + 1)).mean())  # MRR of random scores

DISTANCES = LinkTrainingConfig(
    epochs=60,
    batch_size=64,
    negatives=NegativeConfig(count=32, chunk_size=16),
    loss=LinkLossConfig(margin=3.0),
    learning_rate=0.3,
    threads=1,
    device="cpu",
)
PRODUCTS = replace(DISTANCES, loss=LinkLossConfig(name="softmax"))
CONVOLUTION = replace(
    PRODUCTS,
    epochs=25,
    negatives=NegativeConfig(count=0, chunk_size=32),
    optimizer="adam",
    learning_rate=0.03,
    network_learning_rate=0.003,
)
TRAINING = {"distmult": PRODUCTS, "complex": PRODUCTS, "conve": CONVOLUTION}
LEARNER = {"conve": {"dim": 24, "height": 4, "filters": 8, "input_dropout": 0.0, "filter_dropout": 0.0}}

# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("name", SMALL)
def test_every_scorer_learns(name: str) -> None:
    scorer = make(name, **LEARNER.get(name, {"dim": 16}))
    model, history = train_links(GRAPH, scorer, TRAINING.get(name, DISTANCES))
    # ConvE needs more than these few links to carry over to others: it must know those it has seen
    links = GRAPH.train if name == "conve" else GRAPH.splits["validation"]
    assert mrr(model, links, GRAPH) > 5 * GUESSING
    assert history.losses[-1] < 0.7 * history.losses[0]
    assert all(not table.requires_grad and table.device.type == "cpu" for table in weights(model).values())


@pytest.mark.parametrize("loss", ["margin", "logistic", "self-adversarial", "softmax"])
def test_every_loss_learns(loss: str) -> None:
    config = replace(DISTANCES, loss=LinkLossConfig(name=loss, margin=3.0))
    model, _ = train_links(GRAPH, make("rotate", dim=16), config)
    assert mrr(model, GRAPH.splits["validation"], GRAPH) > 5 * GUESSING


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_every_kind_of_negatives_learns(corruption: str) -> None:
    config = replace(DISTANCES, negatives=NegativeConfig(count=32, chunk_size=16, corruption=corruption))
    model, _ = train_links(GRAPH, make("rotate", dim=16), config)
    assert mrr(model, GRAPH.splits["validation"], GRAPH) > 5 * GUESSING


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str) -> None:
    rate = {"sgd": 1.0, "adagrad": 0.3, "adam": 0.03}[optimizer]
    model, _ = train_links(GRAPH, make("rotate", dim=16), replace(DISTANCES, optimizer=optimizer, learning_rate=rate))
    assert mrr(model, GRAPH.splits["validation"], GRAPH) > 5 * GUESSING


def test_two_threads_learn_too() -> None:
    before = torch.get_num_threads(), threading.active_count()
    model, history = train_links(GRAPH, make("rotate", dim=16), replace(DISTANCES, threads=2))
    assert mrr(model, GRAPH.splits["validation"], GRAPH) > 5 * GUESSING
    assert (torch.get_num_threads(), threading.active_count()) == before
    assert len(history.losses) == DISTANCES.epochs


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_every_scorer_learns_on_a_gpu(name: str, tmp_path: Path) -> None:
    config = replace(TRAINING.get(name, DISTANCES), device="cuda", evaluate_every=10, checkpoint_every_s=0)
    scorer = make(name, **LEARNER.get(name, {"dim": 16}))
    links = GRAPH.train if name == "conve" else GRAPH.splits["validation"]
    model, history = train_links(
        GRAPH, scorer, config, evaluate=lambda m: mrr(m, links, GRAPH), checkpoint=tmp_path / "run"
    )
    assert all(table.device.type == "cpu" for table in weights(model).values())
    assert mrr(model, links, GRAPH) > 5 * GUESSING
    assert mrr(model, links, GRAPH) == pytest.approx(max(score for _, score in history.scores), abs=0.01)
    again, _ = train_links(GRAPH, scorer, config, evaluate=lambda m: mrr(m, links, GRAPH), checkpoint=tmp_path / "run")
    assert_same(again, model)


# ---------------------------------------------------------------- the same seed


@pytest.mark.parametrize("seed", [0, 7, 20_260_101, 2**31])
@pytest.mark.parametrize("name", SHORT_RUNS)
def test_the_same_seed_on_one_thread_gives_the_same_tables(name: str, seed: int) -> None:
    config = replace(SHORT_RUNS[name], epochs=2)
    first, history = train(name, config, seed=seed)
    torch.rand(3)  # what others draw does not matter
    second, again = train(name, config, seed=seed)
    assert_same(first, second)
    assert history.losses == again.losses


@pytest.mark.parametrize("name", SHORT_RUNS)
def test_another_seed_gives_other_tables(name: str) -> None:
    config = replace(SHORT_RUNS[name], epochs=1)
    first, second = (train(name, config, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first.entities, second.entities)


@pytest.mark.parametrize("name", SHORT_RUNS)
def test_training_leaves_the_random_numbers_of_others_alone(name: str) -> None:
    scorer = make(name)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_links(SMALL_GRAPH, scorer, replace(SHORT_RUNS[name], epochs=1))
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- looks at validation


@pytest.mark.parametrize("name", ["rotate", "conve"])
def test_early_stopping_keeps_the_best_epoch(name: str) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.25, 0.9])
    looked: list[dict[str, torch.Tensor]] = []

    def evaluate(model: LinkModel) -> float:
        assert model.scorer.network is None or not model.scorer.network.training
        looked.append({key: tensor.clone() for key, tensor in weights(model).items()})
        return next(scores)

    config = replace(SHORT_RUNS[name], epochs=20, patience=3)
    model, history = train(name, config, evaluate=evaluate)
    assert history.best_epoch == 2
    assert history.scores == ((1, 0.1), (2, 0.3), (3, 0.2), (4, 0.3), (5, 0.25))  # a tie is no improvement
    assert len(history.losses) == 5
    assert all(torch.equal(tensor, looked[1][key]) for key, tensor in weights(model).items())


def test_validation_is_looked_at_now_and_then_and_at_the_end() -> None:
    config = replace(SHORT, epochs=7, evaluate_every=3)
    _, history = train("rotate", config, evaluate=lambda _: 0.5)
    assert [epoch for epoch, _ in history.scores] == [3, 6, 7]
    assert history.best_epoch == 3


def test_without_validation_the_last_epoch_is_kept() -> None:
    _, history = train("rotate", SHORT)
    assert history.best_epoch == SHORT.epochs == len(history.losses)
    assert history.scores == ()
    assert history.links_per_second == pytest.approx(SHORT.epochs * len(SMALL_GRAPH.train) / history.seconds)


def test_looks_do_not_change_the_training() -> None:
    plain, _ = train("conve", SHORT_RUNS["conve"])
    looks = itertools.count()

    def evaluate(model: LinkModel) -> float:
        rank_small(model)
        return next(looks)  # the last look is the best

    looked, _ = train("conve", SHORT_RUNS["conve"], evaluate=evaluate)
    assert_same(looked, plain)


# ---------------------------------------------------------------- progress and schedules


@pytest.mark.parametrize(("name", "threads"), [("rotate", 1), ("rotate", 2), ("conve", 1)])
def test_progress_reaches_the_total(name: str, threads: int) -> None:
    said: list[tuple[str, int, int]] = []
    config = replace(SHORT_RUNS[name], threads=threads)
    train(name, config, progress=lambda *report: said.append(report))
    assert {stage for stage, _, _ in said} == {"training links"}
    assert [done for _, done, _ in said] == sorted(done for _, done, _ in said)
    assert said[-1][1] == said[-1][2]
    assert len({total for _, _, total in said}) == 1


def test_a_crash_in_one_thread_ends_all() -> None:
    with pytest.raises(StopRun):
        train("rotate", replace(SHORT, threads=2), progress=crash_in_epoch(0))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rates_follow_the_schedule(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[tuple[float, float]] = []

    def step(self: LinkStep, batch: LinkBatch, learning_rate: float, generator: torch.Generator) -> float:
        assert self.state.network is not None
        rates.append((learning_rate, self.state.network.param_groups[0]["lr"]))
        return 0.0

    assert set(SCHEDULES) == set(LISTED_SCHEDULES)
    monkeypatch.setattr(LinkStep, "__call__", step)
    train("conve", replace(SHORT_RUNS["conve"], schedule=schedule, learning_rate=0.5, network_learning_rate=0.01))
    per_epoch = len(rates) // SHORT.epochs
    assert per_epoch > 3
    factors = [SCHEDULES[schedule](i / len(rates)) for i in range(len(rates))]
    assert [rate for rate, _ in rates] == pytest.approx([0.5 * factor for factor in factors])
    assert [rate for _, rate in rates] == pytest.approx([0.01 * factor for factor in factors])


# ---------------------------------------------------------------- refusals


def test_a_graph_without_links_cannot_be_trained_on() -> None:
    with pytest.raises(ModelError) as error:
        train("rotate", SHORT, graph_of(Triples.empty(), 3, 1, source="empty"))
    assert str(error.value) == "empty: the graph has no training links"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loss_that_is_no_number_ends_the_training(threads: int, tmp_path: Path) -> None:
    config = replace(SHORT, optimizer="sgd", learning_rate=1000, schedule="constant", threads=threads)
    config = replace(config, loss=LinkLossConfig(name="logistic"), penalty=Penalty(weight=1000), epochs=30)
    with pytest.raises(ModelError) as error:
        train("distmult", config, checkpoint=tmp_path / "run")
    assert str(error.value) in {f"training: the loss is {value}; lower the learning rate" for value in ("nan", "inf")}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "LinkTrainingConfig.epochs must be between 1 and 1e+06; got 0"),
        ({"batch_size": 0}, "LinkTrainingConfig.batch_size must be between 1 and 1e+07; got 0"),
        ({"learning_rate": 0.0}, "LinkTrainingConfig.learning_rate must be between 1e-09 and 1000; got 0.0"),
        ({"patience": 0}, "LinkTrainingConfig.patience must be between 1 and 1e+06; got 0"),
        ({"threads": -1}, "LinkTrainingConfig.threads must be between 0 and 4096; got -1"),
        ({"optimizer": "lion"}, "LinkTrainingConfig.optimizer must be one of sgd, adagrad, adam; got 'lion'"),
        ({"schedule": "step"}, "LinkTrainingConfig.schedule must be one of constant, linear, cosine; got 'step'"),
        ({"device": "tpu"}, "LinkTrainingConfig.device must be one of auto, cpu, cuda, mps; got 'tpu'"),
        (
            {"negatives": NegativeConfig(count=0)},
            "LinkTrainingConfig.loss must be logistic or softmax when every entity is a negative "
            "(negatives.count is 0); got self-adversarial",
        ),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        LinkTrainingConfig(**settings)
    assert str(error.value) == message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        LinkTrainingConfig(device="cuda")
    assert str(error.value) == "LinkTrainingConfig.device is 'cuda', but no GPU is available; use 'auto' or 'cpu'"
