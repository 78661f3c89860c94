"""Checkpoints: an interrupted run ends as an uninterrupted one; another run's or a damaged one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reeltag.errors import ArtefactError
from reeltag.graph.checkpoint import Checkpoint
from reeltag.graph.link_model import LinkModel
from reeltag.graph.trainer import Evaluate, Evaluation, train_links

from .link_samples import graph_of, make, random_triples
from .short_runs import SHORT, SHORT_RUNS, SMALL_GRAPH, StopRun, assert_same, crash_in_epoch, rank_small, train

# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("evaluate", [None, rank_small], ids=["all epochs", "best epoch"])
@pytest.mark.parametrize("name", SHORT_RUNS)
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    name: str, evaluate: Callable[[LinkModel], float] | None, tmp_path: Path
) -> None:
    config = replace(SHORT_RUNS[name], checkpoint_every_s=0)
    whole, history = train(name, config, evaluate=evaluate)
    folder = tmp_path / "run"
    for epoch in (2, 4):
        with pytest.raises(StopRun):
            train(name, config, evaluate=evaluate, checkpoint=folder, progress=crash_in_epoch(epoch))
        assert json.loads((folder / "checkpoint.json").read_text())["epoch"] == epoch
    resumed, again = train(name, config, evaluate=evaluate, checkpoint=folder)
    assert_same(resumed, whole)
    assert (again.losses, again.scores, again.best_epoch) == (history.losses, history.scores, history.best_epoch)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, history = train("rotate", SHORT, evaluate=rank_small, checkpoint=tmp_path / "run")
    said: list[object] = []
    again, same = train(
        "rotate", SHORT, evaluate=rank_small, checkpoint=tmp_path / "run", progress=lambda *report: said.append(report)
    )
    assert_same(again, first)
    assert same == history
    assert said == []


def test_best_weights_and_lost_patience_outlive_a_crash(tmp_path: Path) -> None:
    scores = iter([0.1, 0.5, 0.2, 0.3, 0.4])
    config = replace(SHORT, patience=3, checkpoint_every_s=0)
    tables: list[torch.Tensor] = []

    def evaluate(model: LinkModel) -> float:
        tables.append(model.entities.clone())
        return next(scores)

    with pytest.raises(StopRun):
        train("rotate", config, evaluate=evaluate, checkpoint=tmp_path / "run", progress=crash_in_epoch(3))
    model, history = train("rotate", config, evaluate=evaluate, checkpoint=tmp_path / "run")
    assert history.scores == ((1, 0.1), (2, 0.5), (3, 0.2), (4, 0.3), (5, 0.4))
    assert history.best_epoch == 2
    assert torch.equal(model.entities, tables[1])


# ---------------------------------------------------------------- refusals

OTHERS: dict[str, dict[str, Any]] = {
    "graph": {"graph": graph_of(random_triples(120, 20, 3, seed=9), 20, 3)},
    "scorer": {"scorer": make("rotate", norm=1)},
    "training": {"config": replace(SHORT, learning_rate=0.2)},
    "seed": {"seed": 1},
    "evaluation": {"evaluate": Evaluation(rank_small, "other links")},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_run_is_refused(what: str, tmp_path: Path) -> None:
    run: dict[str, Any] = {"graph": SMALL_GRAPH, "scorer": make("rotate"), "config": SHORT, "seed": 0}
    run["evaluate"] = Evaluation(rank_small, "validation links")
    train_links(**run, checkpoint=tmp_path / "run")
    with pytest.raises(ArtefactError) as error:
        train_links(**run | OTHERS[what], checkpoint=tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path}/run: the checkpoint belongs to a run with another {what}; remove it or train elsewhere"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [(None, rank_small), (rank_small, None), (rank_small, Evaluation(rank_small, "all links"))],
    ids=["none, some", "some, none", "unnamed, named"],
)
def test_a_run_that_looks_elsewhere_is_another_run(first: Evaluate | None, second: Evaluate, tmp_path: Path) -> None:
    train("rotate", SHORT, evaluate=first, checkpoint=tmp_path / "run")
    with pytest.raises(ArtefactError, match="run with another evaluation; remove it or train elsewhere"):
        train("rotate", SHORT, evaluate=second, checkpoint=tmp_path / "run")


def test_other_validation_links_are_another_run(tmp_path: Path) -> None:
    others = {**SMALL_GRAPH.splits, "validation": random_triples(10, 20, 3, seed=2)}
    train("rotate", SHORT, evaluate=rank_small, checkpoint=tmp_path / "run")
    with pytest.raises(ArtefactError, match="run with another graph; "):
        train("rotate", SHORT, replace(SMALL_GRAPH, splits=others), evaluate=rank_small, checkpoint=tmp_path / "run")


def test_threads_and_patience_may_change_between_two_parts_of_a_run(tmp_path: Path) -> None:
    train("rotate", SHORT, checkpoint=tmp_path / "run")
    config = replace(SHORT, threads=2, patience=1, checkpoint_every_s=3.0, device="auto")
    assert train("rotate", config, checkpoint=tmp_path / "run")[1].best_epoch == SHORT.epochs


@pytest.mark.parametrize("every_s", [1e9, 0])
def test_the_first_checkpoint_is_written_after_the_first_epoch(every_s: float, tmp_path: Path) -> None:
    config = replace(SHORT, checkpoint_every_s=every_s)
    for done in (1, 4):
        with pytest.raises(StopRun):
            train("rotate", config, checkpoint=tmp_path / "run", progress=crash_in_epoch(done))
        kept = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["epoch"]
        assert kept == (done if every_s == 0 else {1: 1, 4: 2}[done])  # one after the first epoch of every part


def test_the_last_checkpoint_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, _: epochs.append(self.epoch))
    for every_s in (0.0, 1e9):
        train("rotate", replace(SHORT, epochs=3, checkpoint_every_s=every_s), checkpoint=tmp_path / "run")
    assert epochs == [1, 2, 3, 1, 3]


def test_missing_best_weights_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("rotate", SHORT, evaluate=rank_small, checkpoint=folder)
    best = (folder / "best.safetensors").read_bytes()
    (folder / "best.safetensors").unlink()
    with pytest.raises(ArtefactError) as error:
        train("rotate", SHORT, evaluate=rank_small, checkpoint=folder)
    assert str(error.value) == (
        f"{folder}/best.safetensors: the best weights so far are missing; remove the checkpoint"
    )
    save_file({"entities": torch.zeros(2, 2)}, folder / "best.safetensors")
    with pytest.raises(ArtefactError, match=r"best\.safetensors: 'entities' is missing or of another shape; remove"):
        train("rotate", SHORT, evaluate=rank_small, checkpoint=folder)
    (folder / "best.safetensors").write_bytes(best)
    train("rotate", SHORT, evaluate=rank_small, checkpoint=folder)


def cut_state(folder: Path) -> None:
    (folder / "state.safetensors").write_bytes(b"damaged")


def drop_epoch(folder: Path) -> None:
    data = json.loads((folder / "checkpoint.json").read_text())
    del data["epoch"]
    (folder / "checkpoint.json").write_text(json.dumps(data))


def other_state(folder: Path) -> None:
    train("rotate", replace(SHORT, optimizer="sgd"), checkpoint=folder.parent / "sgd")
    (folder.parent / "sgd" / "state.safetensors").replace(folder / "state.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_state, "{f}/state.safetensors: tensors cannot be read ("),
        (lambda f: (f / "state.safetensors").unlink(), "{f}/state.safetensors: tensors cannot be read ("),
        (lambda f: (f / "checkpoint.json").write_text("{"), "{f}/checkpoint.json: must be valid JSON ("),
        (lambda f: (f / "checkpoint.json").unlink(), "{f}: exists and holds no checkpoint; choose another folder"),
        (drop_epoch, "{f}/checkpoint.json: must hold 'epoch' and 'history'"),
        (
            other_state,
            "{f}/state.safetensors: 'entities.squares' is missing or of another shape; remove the checkpoint",
        ),
    ],
    ids=["cut", "no state", "no JSON", "no head", "no epoch", "other state"],
)
def test_a_damaged_checkpoint_is_refused(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("rotate", SHORT, checkpoint=folder)
    damage(folder)
    with pytest.raises(ArtefactError) as error:
        train("rotate", SHORT, checkpoint=folder)
    assert str(error.value).startswith(message.replace("{f}", str(folder)))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ArtefactError, match="exists and holds no checkpoint"):
        train("rotate", SHORT, checkpoint=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "ten years of work"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    train("rotate", replace(SHORT, epochs=1), checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "state.safetensors"]
