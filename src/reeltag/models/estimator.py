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
from torch import nn

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.encoders.pretrained import has_fast_bfloat16
from reeltag.errors import ModelError, NotFittedError
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.losses import LOSSES, Loss, configured_loss, effective_weights, positive_weights
from reeltag.models.contract import Targets, Validation, check_training, inputs_of, leave_modality_out, vectors_of
from reeltag.models.layout import Layout, Outputs, Rows, stored_tokens
from reeltag.models.objective import BatchLoss, ValidationScore, parts_of
from reeltag.models.scaling import BlockScaler
from reeltag.progress import Progress, silent
from reeltag.training import TrainingConfig, TrainingHistory, fit_network


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Settings that every model made of a network has.

    Attributes:
        modality_dropout: Chance that a modality of a training title is hidden.
        sparse_dim: Width that sparse blocks (TF-IDF) are reduced to.
        n_members: Networks averaged.
        loss: Name of a loss.
        loss_settings: Settings of that loss, such as ``gamma_negative`` of ``asymmetric``; its defaults when empty.
        class_weights: 0 treats all labels alike; up to 1 makes the positives of rare labels count more: the power
            of negatives / positives, or for ``class_balanced`` and ``class_balanced_samples`` the beta of the
            effective number of samples.
        training: Settings of the training loop.
    """

    modality_dropout: float = 0.0
    sparse_dim: int = 512
    n_members: int = 1
    loss: str = "bce"
    loss_settings: dict[str, float] = field(default_factory=dict)
    class_weights: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_range(owner, "modality_dropout", self.modality_dropout, 0, 0.95)
        check_range(owner, "sparse_dim", self.sparse_dim, 1, 65_536)
        check_range(owner, "n_members", self.n_members, 1, 100)
        check_range(owner, "class_weights", self.class_weights, 0, 1)
        check_choice(owner, "loss", self.loss, LOSSES)
        self.loss_function()

    def loss_function(self) -> Loss:
        """Return the loss with its settings."""
        return configured_loss(self.loss, self.loss_settings)

    def label_weights(self, targets: Targets) -> torch.Tensor | None:
        """Return what the positives of each label count in the loss, (n_labels,); None when all count alike."""
        if self.class_weights == 0:
            return None
        counts = targets.sum(axis=0)
        if self.loss in ("class_balanced", "class_balanced_samples"):
            return torch.from_numpy(effective_weights(counts, min(self.class_weights, 0.99999)))
        return torch.from_numpy(positive_weights(counts, len(targets), self.class_weights))


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
    reads_tokens: ClassVar[bool] = False  # whether the network reads token blocks; others leave them out

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
        self._scaler = self._new_scaler().fit(self._vectors(features))
        tokens = {name: block.dim for name, block in features.tokens.items()} if self.reads_tokens else {}
        self._layout = self._laid_out(tokens, targets.shape[1], 0 if label_vectors is None else label_vectors.shape[1])
        self._members, self.histories_, self._best_epochs = [], [], []
        self._prepare(features, targets)
        rows, truth = self._rows(features), torch.from_numpy(np.ascontiguousarray(targets, np.float32))
        evaluate = None
        if validation is not None and validation.targets.any():
            evaluate = ValidationScore(self._rows(validation.features), validation.targets)
        config = self.config
        step = batch_loss(rows, truth, config, self._layout)
        shares = torch.from_numpy(((targets.sum(axis=0) + 0.5) / (len(targets) + 1)).astype(np.float32))
        vectors = None if label_vectors is None else torch.from_numpy(np.asarray(label_vectors, np.float32))
        for member in range(config.n_members):
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(self.seed + member)
                network = self._build()
                cast(FilmNetwork, network).start(shares, vectors)
            history = fit_network(
                network,
                step,
                len(features),
                config.training,
                seed=self.seed + member,
                evaluate=evaluate,
                progress=_member_progress(progress, member, config.n_members),
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
            "tokens": dict(zip(layout.names[layout.n_vectors :], layout.widths[layout.n_vectors :], strict=True)),
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
        model._layout = model._laid_out(data.get("tokens", {}), data["n_labels"], data.get("label_width", 0))
        model._restore(data.get("state", {}))
        for number in range(model.config.n_members):
            network = model._build()
            prefix = f"member{number}."
            load_parameters(network, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
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

    def _vectors(self, features: Features) -> Features:
        """Return the blocks that are scaled: none, for a network that reads tokens alone."""
        return vectors_of(features) if self.reads_tokens and features.tokens else inputs_of(features)

    def _laid_out(self, tokens: dict[str, int], n_labels: int, label_width: int) -> Layout:
        """Return the layout of the scaled blocks and of token blocks, given as name and width."""
        return Layout(
            names=(*self._scaler.names, *tokens),
            widths=(*self._scaler.widths.values(), *tokens.values()),
            n_labels=n_labels,
            n_tokens=len(tokens),
            label_width=label_width,
        )

    def _build(self) -> nn.Module:
        network: nn.Module = self.network_class(self._fitted_layout(), self.config)
        return network

    def _rows(self, features: Features) -> Rows:
        """Return the scaled blocks in training order and their presence (n_titles, n_blocks); tokens stay on disk.

        Raises:
            FeatureError: A block has another width than it had in ``fit``.
        """
        blocks, present = [], []
        for name, width in self._scaler.widths.items():
            block = features.blocks.get(name)
            if block is None:
                blocks.append(torch.zeros(len(features), width))
                present.append(np.zeros(len(features), np.bool_))
            else:
                blocks.append(torch.from_numpy(self._scaler.transform(name, block)))
                present.append(block.present)
        layout = self._fitted_layout()
        sequences = zip(layout.names[layout.n_vectors :], layout.widths[layout.n_vectors :], strict=True)
        tokens = [stored_tokens(features, name, width) for name, width in sequences]
        present += [stored.block.present for stored in tokens]
        mask = torch.from_numpy(np.stack(present, axis=1).astype(np.float32))
        return Rows(blocks, mask, self._side(features), tokens)

    @torch.inference_mode()
    def _forward(self, features: Features, members: int | None = None) -> Outputs:
        """Return mean logits and attention of the members and the first member's fused representation."""
        networks = self._fitted()[:members]
        logits, fused, attention = [], [], []
        for part in parts_of(len(features), tokens=self._fitted_layout().n_tokens > 0):
            rows = self._rows(features.take(part)).take(slice(None))
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


def batch_loss(rows: Rows, targets: torch.Tensor, config: NetworkConfig, layout: Layout) -> BatchLoss:
    """Return the loss that settings ask for, on training titles with targets (n_titles, n_labels)."""
    weight = config.label_weights(targets.numpy())
    return BatchLoss(
        rows, targets, layout, loss=config.loss_function(), weight=weight, hide=config.modality_dropout
    )  # fmt: skip


def start_at_base_rates(head: nn.Linear, shares: torch.Tensor) -> None:
    """Set the bias to the log-odds of each label's share, so that training starts from the base rates."""
    with torch.no_grad():
        head.bias.copy_(torch.log(shares / (1 - shares)))


def load_parameters(network: nn.Module, tensors: dict[str, torch.Tensor], file: str = "model.safetensors") -> None:
    """Load strictly; buffers that a network made while it was trained are made again in their size.

    Raises:
        ModelError: They are not the parameters of this network; ``file`` is said.
    """
    buffers = dict(network.named_buffers())
    for name, tensor in tensors.items():
        if name in buffers and buffers[name].shape != tensor.shape:
            owner, _, last = name.rpartition(".")
            network.get_submodule(owner).register_buffer(last, torch.zeros_like(tensor))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{file}: not the parameters of this model ({str(error).splitlines()[0]})") from None


def _member_progress(progress: Progress, member: int, n_members: int) -> Progress:
    """Report the epochs of all members as one count."""

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, member * total + done, n_members * total)

    return report
