"""NetworkModel: what all models made of a network share.

The estimator scales the blocks, trains one network per member with the one training loop, averages the members' logits
and keeps them in a folder. A model is a subclass that names its settings and its network, and adds what it reads
besides the blocks (``_side``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score
from torch import nn

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.encoders.pretrained import has_fast_bfloat16
from reeltag.errors import ModelError, NotFittedError
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.losses import LOSSES, Loss, effective_weights, positive_weights
from reeltag.models.contract import Targets, Validation, check_training, inputs_of, leave_modality_out
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.scaling import BlockScaler
from reeltag.progress import Progress, silent
from reeltag.training import TrainingConfig, TrainingHistory, fit_network

PREDICT_ROWS = 1024  # small enough for hidden states to stay in the cache of a CPU


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Settings that every model made of a network has.

    Attributes:
        modality_dropout: Chance that a modality of a training title is hidden.
        sparse_dim: Width that sparse blocks (TF-IDF) are reduced to.
        n_members: Networks averaged.
        loss: Name of a loss.
        class_weights: 0 treats all labels alike; up to 1 makes the positives of rare labels count more: the power
            of negatives / positives, or for ``class_balanced`` the beta of the effective number of samples.
        training: Settings of the training loop.
    """

    modality_dropout: float = 0.0
    sparse_dim: int = 512
    n_members: int = 1
    loss: str = "bce"
    class_weights: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_range(owner, "modality_dropout", self.modality_dropout, 0, 0.95)
        check_range(owner, "sparse_dim", self.sparse_dim, 1, 65_536)
        check_range(owner, "n_members", self.n_members, 1, 100)
        check_range(owner, "class_weights", self.class_weights, 0, 1)
        check_choice(owner, "loss", self.loss, LOSSES)


class FilmNetwork(Protocol):
    """What the estimator asks of a network; it is an ``nn.Module`` built from ``(layout, config)``."""

    def __call__(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:
        """Return logits and the fused representation; with targets also ``extra``, if the model has any."""

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:
        """Set first values from the labels' shares of the training titles (n_labels,) and their graph vectors."""


class NetworkModel:
    """Estimator around a network; see the contract in ``models.contract``.

    Args:
        config: Settings.
        seed: Member m is trained with seed + m.
    """

    config_class: ClassVar[type[NetworkConfig]]
    network_class: ClassVar[type[Any]]  # a FilmNetwork

    def __init__(self, config: Any = None, *, seed: int = 0) -> None:
        self.config = config or self.config_class()
        self.seed = seed
        self.histories_: list[TrainingHistory] = []
        self._scaler = self._new_scaler()
        self._layout: Layout | None = None
        self._members: list[nn.Module] = []
        self._best_epochs: list[int] = []

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Train the members; early stopping is on the mean average precision of the validation titles.

        Validation titles without any label cannot rank epochs: all epochs are run, as without validation.

        Args:
            features: Features of the training titles.
            targets: 0 and 1, (n_titles, n_labels).
            validation: Held-out titles for early stopping.
            label_vectors: One vector per label from a graph, (n_labels, dim), for the models that use them.
            progress: Called as the work advances.
        """
        check_training(features, targets, validation)
        self._scaler = self._new_scaler().fit(inputs_of(features))
        self._layout = Layout(
            names=tuple(self._scaler.names),
            widths=tuple(self._scaler.widths.values()),
            n_labels=targets.shape[1],
            label_width=0 if label_vectors is None else int(label_vectors.shape[1]),
        )
        self._members, self.histories_, self._best_epochs = [], [], []
        self._prepare(features, targets)
        rows, truth = self._rows(features), torch.from_numpy(np.ascontiguousarray(targets, np.float32))
        evaluate = None
        if validation is not None and validation.targets.any():
            evaluate = _Score(self._rows(validation.features), validation.targets)
        step = _Step(rows, truth, self.config, self._layout)
        shares = torch.from_numpy(((targets.sum(axis=0) + 0.5) / (len(targets) + 1)).astype(np.float32))
        vectors = None if label_vectors is None else torch.from_numpy(np.asarray(label_vectors, np.float32))
        for member in range(self.config.n_members):
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(self.seed + member)
                network = self._build()
                cast(FilmNetwork, network).start(shares, vectors)
            history = fit_network(
                network,
                step,
                len(features),
                self.config.training,
                seed=self.seed + member,
                evaluate=evaluate,
                progress=_member_progress(progress, member, self.config.n_members),
            )
            self._finish(network, rows, truth)
            self._members.append(network)
            self.histories_.append(history)
            self._best_epochs.append(history.best_epoch)
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the sigmoid of the members' mean logits, shape (n_titles, n_labels).

        Hidden layers run in bfloat16 where the CPU computes in it, which is several times faster.
        """
        return torch.sigmoid(self._forward(features).logits).numpy()

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return how far each modality moves the log-odds of each label: all of them against all but it."""
        return leave_modality_out(self.predict_proba, features)

    def attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return what every modality counts in the fusion, in [0, 1], (n_titles,) each; empty for models without."""
        found = self._forward(features).attention
        if found is None:
            return {}
        return {modality: found[:, place].numpy() for place, modality in enumerate(self._fitted_layout().modalities)}

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the first member's fused representation as unit vectors (n_titles, dim)."""
        return nn.functional.normalize(self._forward(features, members=1).fused, dim=1).numpy()

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.safetensors``."""
        members, layout = self._fitted(), self._fitted_layout()
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"scaler.{name}": torch.from_numpy(value) for name, value in self._scaler.state().items()}
        for number, network in enumerate(members):
            tensors |= {f"member{number}.{name}": value.contiguous() for name, value in network.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        data = {
            "config": to_json(self.config),
            "seed": self.seed,
            "blocks": self._scaler.names,
            "n_labels": layout.n_labels,
            "label_width": layout.label_width,
            "best_epochs": self._best_epochs,
            "state": self._state(),
        }
        write_json(folder / "model.json", data)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote.

        Raises:
            ModelError: Its tensors are not those of its settings.
        """
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(from_json(cls.config_class, data["config"], "model.json: config"), seed=data["seed"])
        model._best_epochs = data["best_epochs"]
        tensors = load_file(folder / "model.safetensors")
        scaler = {n.removeprefix("scaler."): t.numpy() for n, t in tensors.items() if n.startswith("scaler.")}
        model._scaler.load(data["blocks"], scaler)
        model._layout = Layout(
            names=tuple(model._scaler.names),
            widths=tuple(model._scaler.widths.values()),
            n_labels=data["n_labels"],
            label_width=data.get("label_width", 0),
        )
        model._restore(data.get("state", {}))
        for number in range(model.config.n_members):
            network = model._build()
            prefix = f"member{number}."
            _load(network, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
            model._members.append(network.eval())
        return model

    # ------------------------------------------------------------ what a model may add

    def _absent_as_zero(self) -> bool:
        """Return whether the network reads absent blocks, as vectors of zeros; most leave them out."""
        return False

    def _prepare(self, features: Features, targets: Targets) -> None:
        """Learn what the model needs of the training titles besides its scaler."""

    def _side(self, features: Features) -> torch.Tensor | None:  # noqa: ARG002
        """Return what the network reads of titles besides their blocks, (n_titles, k)."""
        return None

    def _finish(self, network: nn.Module, rows: Rows, targets: torch.Tensor) -> None:
        """Give a trained network what it keeps of the training titles."""

    def _state(self) -> dict[str, Any]:
        """Return what ``_prepare`` learned as JSON values."""
        return {}

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what ``_state`` returned."""

    # ------------------------------------------------------------ inner works

    def _new_scaler(self) -> BlockScaler:
        return BlockScaler(self.config.sparse_dim, self.seed, absent_as_zero=self._absent_as_zero())

    def _build(self) -> nn.Module:
        network: nn.Module = self.network_class(self._fitted_layout(), self.config)
        return network

    def _rows(self, features: Features) -> Rows:
        """Return the scaled blocks in training order and their presence (n_titles, n_blocks)."""
        blocks, present = [], []
        for name, width in self._scaler.widths.items():
            block = features.blocks.get(name)
            if block is None:
                blocks.append(torch.zeros(len(features), width))
                present.append(np.zeros(len(features), np.bool_))
            else:
                blocks.append(torch.from_numpy(self._scaler.transform(name, block)))
                present.append(block.present)
        mask = torch.from_numpy(np.stack(present, axis=1).astype(np.float32))
        return Rows(blocks, mask, self._side(features))

    @torch.inference_mode()
    def _forward(self, features: Features, members: int | None = None) -> Outputs:
        """Return mean logits and attention of the members and the first member's fused representation."""
        networks = self._fitted()[:members]
        logits, fused, attention = [], [], []
        for start in range(0, max(len(features), 1), PREDICT_ROWS):
            rows = self._rows(features.take(range(start, min(start + PREDICT_ROWS, len(features)))))
            with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
                outputs = [cast(FilmNetwork, network)(rows) for network in networks]
            logits.append(torch.stack([output.logits for output in outputs]).mean(dim=0))
            fused.append(outputs[0].fused.float())
            told = [output.attention.float() for output in outputs if output.attention is not None]
            attention += [torch.stack(told).mean(dim=0)] if told else []
        return Outputs(torch.cat(logits), torch.cat(fused), torch.cat(attention) if attention else None)

    def _fitted(self) -> Sequence[nn.Module]:
        if not self._members:
            raise NotFittedError(f"{type(self).__name__} is used before fit")
        return self._members

    def _fitted_layout(self) -> Layout:
        if self._layout is None:
            raise NotFittedError(f"{type(self).__name__} is used before fit")
        return self._layout


class _Step:
    """The loss of one batch, with modalities hidden at random."""

    def __init__(self, rows: Rows, targets: torch.Tensor, config: NetworkConfig, layout: Layout) -> None:
        self.rows, self.targets, self.modalities = rows, targets, layout.membership()
        self.weight = _weights(config, targets)
        self.hide = config.modality_dropout if len(self.modalities) > 1 else 0.0
        self.loss: Loss = LOSSES[config.loss]

    def __call__(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        device, rows = rows.device, rows.cpu()
        batch = self.rows.take(rows)
        if self.hide:
            hidden = (torch.rand(len(rows), len(self.modalities)) < self.hide).float() @ self.modalities
            left = batch.present * (1 - hidden)
            seen = torch.where(left.any(dim=1, keepdim=True), left, batch.present)  # never hide all of a title
            blocks = [block * seen[:, place : place + 1] for place, block in enumerate(batch.blocks)]
            batch = Rows(blocks, seen, batch.side)
        targets = self.targets[rows].to(device)
        outputs: Outputs = network(batch.take(slice(None), device), targets)
        weight = None if self.weight is None else self.weight.to(device)
        loss = self.loss(outputs.logits, targets, weight=weight)
        return loss if outputs.extra is None else loss + outputs.extra


class _Score:
    """Mean average precision over the labels that the validation titles have, higher is better."""

    def __init__(self, rows: Rows, targets: Targets) -> None:
        self.rows = rows
        self.labels = np.flatnonzero(targets.any(axis=0))
        self.targets = targets[:, self.labels]

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        device = next(network.parameters()).device
        outputs: Outputs = network(self.rows.take(slice(None), device))
        return float(average_precision_score(self.targets, outputs.logits.float().cpu().numpy()[:, self.labels]))


def _weights(config: NetworkConfig, targets: torch.Tensor) -> torch.Tensor | None:
    if config.class_weights == 0:
        return None
    counts = targets.sum(dim=0).numpy()
    if config.loss == "class_balanced":
        return torch.from_numpy(effective_weights(counts, min(config.class_weights, 0.99999)))
    return torch.from_numpy(positive_weights(counts, len(targets), config.class_weights))


def start_at_base_rates(head: nn.Linear, shares: torch.Tensor) -> None:
    """Set the bias to the log-odds of each label's share, so that training starts from the base rates."""
    with torch.no_grad():
        head.bias.copy_(torch.log(shares / (1 - shares)))


def _load(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load strictly; buffers that a network made while it was trained are made again in their size."""
    buffers = dict(network.named_buffers())
    for name, tensor in tensors.items():
        if name in buffers and buffers[name].shape != tensor.shape:
            owner, _, last = name.rpartition(".")
            network.get_submodule(owner).register_buffer(last, torch.zeros_like(tensor))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            f"model.safetensors: not the parameters of this model ({str(error).splitlines()[0]})"
        ) from None


def _member_progress(progress: Progress, member: int, n_members: int) -> Progress:
    """Report the epochs of all members as one count."""

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, member * total + done, n_members * total)

    return report
