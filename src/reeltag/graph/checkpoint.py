"""Checkpoints of a training: what a run needs to go on, and what makes it this run and no other.

A checkpoint is a folder: ``checkpoint.json`` (identity, epoch, history), ``state.safetensors`` (tables, network, the
state of every optimizer) and, once a best epoch is known, ``best.safetensors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from reeltag.config import to_json
from reeltag.errors import ArtefactError
from reeltag.files import atomic_folder, write_json
from reeltag.graph.link_model import network_tensors, scorer_settings
from reeltag.graph.scorers import Scorer
from reeltag.graph.steps import LinkState
from reeltag.graph.stored import read_object, read_tensors
from reeltag.graph.triples import KnowledgeGraph

_FILE, _STATE, _BEST = "checkpoint.json", "state.safetensors", "best.safetensors"
_MAY_CHANGE = ("threads", "device", "checkpoint_every_s", "patience")

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a run stands.

    Attributes:
        identity: What makes the run this run, see ``run_identity``.
        epoch: Epochs done.
        history: What happened, as JSON values.
        state: Everything the training changes, see ``state_tensors``.
        best: The best weights so far; empty without any.
    """

    identity: dict[str, Any]
    epoch: int
    history: dict[str, Any]
    state: Tensors
    best: Tensors

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all; one already there is replaced."""
        with atomic_folder(folder) as temporary:
            for name, tensors in ((_STATE, self.state), (_BEST, self.best)):
                if tensors:
                    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary / name)
            write_json(temporary / _FILE, self.identity | {"epoch": self.epoch, "history": self.history})

    @classmethod
    def load(cls, folder: Path, identity: dict[str, Any]) -> Checkpoint | None:
        """Read what ``save`` wrote; None when there is nothing yet.

        Args:
            folder: The checkpoint's folder.
            identity: What the run is that wants to go on.

        Raises:
            ArtefactError: The checkpoint is of another run or damaged, or the folder holds something else.
        """
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if not (folder / _FILE).is_file():
            raise ArtefactError(f"{folder}: exists and holds no checkpoint; choose another folder")
        data = read_object(folder / _FILE)
        for name, value in identity.items():
            if data.get(name) != value:
                raise ArtefactError(
                    f"{folder}: the checkpoint belongs to a run with another {name}; remove it or train elsewhere"
                )
        if not isinstance(data.get("epoch"), int) or not isinstance(data.get("history"), dict):
            raise ArtefactError(f"{folder / _FILE}: must hold 'epoch' and 'history'")
        best = read_tensors(folder / _BEST) if (folder / _BEST).is_file() else {}
        if data["history"].get("scores") and not best:
            raise ArtefactError(f"{folder / _BEST}: the best weights so far are missing; remove the checkpoint")
        return cls(identity, data["epoch"], data["history"], read_tensors(folder / _STATE), best)

    def restore(self, state: LinkState, folder: Path) -> None:
        """Copy the saved tensors into a run.

        Raises:
            ArtefactError: A tensor is missing, or one of the best weights is.
        """
        current = state_tensors(state)
        best = weight_tensors(state) if self.best else {}
        for file, saved, expected in ((_STATE, self.state, current), (_BEST, self.best, best)):
            for name, tensor in expected.items():
                if name not in saved or saved[name].shape != tensor.shape:
                    raise ArtefactError(
                        f"{folder / file}: {name!r} is missing or of another shape; remove the checkpoint"
                    )
        for name, tensor in current.items():
            tensor.copy_(self.state[name])


def run_identity(
    graph: KnowledgeGraph, scorer: Scorer, config: object, seed: int, evaluation: str | None
) -> dict[str, Any]:
    """Return what makes a run this run; the number of threads and the times of checkpoints may change.

    Args:
        graph: The graph; its held-out links count too, for what is stopped by them.
        scorer: The scorer.
        config: Settings of the training.
        seed: The seed.
        evaluation: What the run looks at to find its best epoch; None when it does not look.
    """
    training = {name: value for name, value in to_json(config).items() if name not in _MAY_CHANGE}
    return {
        "graph": graph.fingerprint(),
        "scorer": {"name": scorer.name, **scorer_settings(scorer)},
        "training": training,
        "seed": seed,
        "evaluation": evaluation,
    }


def weight_tensors(state: LinkState) -> Tensors:
    """Return the tables and the network's tensors by name: what is learned."""
    return {"entities": state.entities, "relations": state.relations} | network_tensors(state.scorer)


def state_tensors(state: LinkState) -> Tensors:
    """Return everything that training changes by name: weights and the state of the optimizers."""
    found = weight_tensors(state)
    for table, optimizer in (("entities", state.entity_rows), ("relations", state.relation_rows)):
        found |= {f"{table}.{name}": tensor for name, tensor in optimizer.state().items()}
    if state.network is None:
        return found
    for i, parameter in enumerate(state.parameters):
        moments = state.network.state[parameter]
        if not moments:  # Adam makes its state at its first step
            moments |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter)}
            moments["exp_avg_sq"] = torch.zeros_like(parameter)
        found |= {f"network_state.{i}.{name}": tensor for name, tensor in moments.items()}
    return found
