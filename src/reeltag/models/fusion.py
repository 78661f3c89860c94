"""FusionModel: an MLP over any set of modalities, the default recipe.

Every block is brought to one width by a linear map and the maps are summed, an absent block adding a learned vector
in its place; two hidden layers follow, beside a linear path from the blocks straight to the logits. Modalities are
dropped at random in training, so any subset of them can be tagged. Several members with different seeds are averaged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score
from torch import nn

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.encoders.pretrained import has_fast_bfloat16
from reeltag.errors import NotFittedError
from reeltag.features import Features, modality_of
from reeltag.files import write_json
from reeltag.losses import LOSSES, Loss, effective_weights, positive_weights
from reeltag.models.contract import Targets, Validation, check_training, leave_modality_out
from reeltag.models.scaling import BlockScaler
from reeltag.progress import Progress, silent
from reeltag.training import TrainingConfig, TrainingHistory, fit_network

_PREDICT_ROWS = 1024  # small enough for hidden states to stay in the cache of a CPU


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Settings of the fusion model.

    Attributes:
        hidden: Width of the hidden layers.
        dropout: In the hidden layers.
        input_dropout: Of the scaled features.
        modality_dropout: Chance that a modality of a training title is hidden.
        sparse_dim: Width that sparse blocks (TF-IDF) are reduced to.
        n_members: Networks averaged.
        loss: Name of a loss.
        class_weights: 0 treats all labels alike; up to 1 makes the positives of rare labels count more: the power
            of negatives / positives, or for ``class_balanced`` the beta of the effective number of samples.
        training: Settings of the training loop.
    """

    hidden: int = 1024
    dropout: float = 0.5
    input_dropout: float = 0.4
    modality_dropout: float = 0.1
    sparse_dim: int = 512
    n_members: int = 3
    loss: str = "bce"
    class_weights: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_range("FusionConfig", "hidden", self.hidden, 1, 65_536)
        check_range("FusionConfig", "sparse_dim", self.sparse_dim, 1, 65_536)
        check_range("FusionConfig", "n_members", self.n_members, 1, 100)
        for name in ("dropout", "input_dropout", "modality_dropout"):
            check_range("FusionConfig", name, getattr(self, name), 0, 0.95)
        check_range("FusionConfig", "class_weights", self.class_weights, 0, 1)
        check_choice("FusionConfig", "loss", self.loss, LOSSES)


class FusionNetwork(nn.Module):
    """The network of one member.

    Args:
        widths: Width of every block.
        n_labels: Number of logits.
        config: Settings.
    """

    def __init__(self, widths: Sequence[int], n_labels: int, config: FusionConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.align = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.absent = nn.Parameter(torch.zeros(len(widths), hidden))
        self.straight = nn.ModuleList(nn.Linear(width, n_labels, bias=False) for width in widths)
        self.body = nn.Sequential(
            nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(config.dropout),
        )  # fmt: skip
        self.head = nn.Linear(hidden, n_labels)

    def forward(self, blocks: Sequence[torch.Tensor], present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, n_labels) and the fused representation (n, hidden).

        Args:
            blocks: Scaled blocks, each (n, width).
            present: 1 where a title has a block, (n, n_blocks).
        """
        x = (1 - present) @ self.absent  # (n, hidden)
        for number, block in enumerate(blocks):
            x = x + present[:, number : number + 1] * self.align[number](self.input_dropout(block))
        x = self.body(x).float()
        with torch.autocast(x.device.type, enabled=False):  # logits need more digits than bfloat16 has
            z = self.head(x)
            for number, block in enumerate(blocks):
                z = z + present[:, number : number + 1] * self.straight[number](block.float())
        return z, x


class FusionModel:
    """Estimator around FusionNetwork; see the contract in ``models.contract``.

    Args:
        config: Settings.
        seed: Member m is trained with seed + m.
    """

    config_class: ClassVar[type] = FusionConfig

    def __init__(self, config: FusionConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or FusionConfig()
        self.seed = seed
        self.histories_: list[TrainingHistory] = []
        self._scaler = BlockScaler(self.config.sparse_dim, seed)
        self._members: list[FusionNetwork] = []
        self._best_epochs: list[int] = []

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Train the members; early stopping is on the mean average precision of the validation titles.

        Validation titles without any label cannot rank epochs: all epochs are run, as without validation.
        """
        check_training(features, targets, validation)
        self._scaler = BlockScaler(self.config.sparse_dim, self.seed).fit(features)
        self._members, self.histories_, self._best_epochs = [], [], []
        inputs, truth = self._inputs(features), torch.from_numpy(np.ascontiguousarray(targets, np.float32))
        evaluate = None
        if validation is not None and validation.targets.any():
            evaluate = _Score(self._inputs(validation.features), validation.targets)
        weight = _weights(self.config, targets)
        for member in range(self.config.n_members):
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(self.seed + member)
                network = FusionNetwork(list(self._scaler.widths.values()), targets.shape[1], self.config)
                _start_at_base_rates(network.head, targets)
            history = fit_network(
                network,
                _Step(inputs, truth, weight, self._modality_masks(), self.config),
                len(features),
                self.config.training,
                seed=self.seed + member,
                evaluate=evaluate,
                progress=_member_progress(progress, member, self.config.n_members),
            )
            self._members.append(network)
            self.histories_.append(history)
            self._best_epochs.append(history.best_epoch)
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the sigmoid of the members' mean logits, shape (n_titles, n_labels).

        Hidden layers run in bfloat16 where the CPU computes in it, which is several times faster.
        """
        logits, _ = self._forward(features)
        return torch.sigmoid(logits).numpy()

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return how far each modality moves the log-odds of each label: all of them against all but it."""
        return leave_modality_out(self.predict_proba, features)

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the first member's fused representation as unit vectors (n_titles, hidden)."""
        _, hidden = self._forward(features, members=1)
        return nn.functional.normalize(hidden, dim=1).numpy()

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.safetensors``."""
        members = self._fitted()
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"scaler.{name}": torch.from_numpy(value) for name, value in self._scaler.state().items()}
        for number, network in enumerate(members):
            tensors |= {f"member{number}.{name}": value.contiguous() for name, value in network.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        data = {
            "config": to_json(self.config),
            "seed": self.seed,
            "blocks": self._scaler.names,
            "n_labels": members[0].head.out_features,
            "best_epochs": self._best_epochs,
        }
        write_json(folder / "model.json", data)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote."""
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(from_json(FusionConfig, data["config"], "model.json: config"), seed=data["seed"])
        model._best_epochs = data["best_epochs"]
        tensors = load_file(folder / "model.safetensors")
        scaler = {n.removeprefix("scaler."): t.numpy() for n, t in tensors.items() if n.startswith("scaler.")}
        model._scaler.load(data["blocks"], scaler)
        for number in range(model.config.n_members):
            network = FusionNetwork(list(model._scaler.widths.values()), data["n_labels"], model.config)
            prefix = f"member{number}."
            network.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
            model._members.append(network.eval())
        return model

    def _inputs(self, features: Features) -> tuple[list[torch.Tensor], torch.Tensor]:
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
        return blocks, torch.from_numpy(np.stack(present, axis=1).astype(np.float32))

    @torch.inference_mode()
    def _forward(self, features: Features, members: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        networks = self._fitted()[:members]
        logits, hidden = [], []
        for start in range(0, max(len(features), 1), _PREDICT_ROWS):
            part = features.take(range(start, min(start + _PREDICT_ROWS, len(features))))
            inputs = self._inputs(part)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
                outputs = [network(*inputs) for network in networks]
            logits.append(torch.stack([output[0] for output in outputs]).mean(dim=0))
            hidden.append(outputs[0][1])
        return torch.cat(logits), torch.cat(hidden)

    def _modality_masks(self) -> torch.Tensor:
        """Return which block belongs to which modality, (n_modalities, n_blocks)."""
        names = self._scaler.names
        modalities = list(dict.fromkeys(map(modality_of, names)))
        return torch.tensor([[float(modality_of(n) == m) for n in names] for m in modalities])

    def _fitted(self) -> list[FusionNetwork]:
        if not self._members:
            raise NotFittedError("FusionModel is used before fit")
        return self._members


class _Step:
    """The loss of one batch, with modalities hidden at random."""

    def __init__(
        self,
        inputs: tuple[list[torch.Tensor], torch.Tensor],
        targets: torch.Tensor,
        weight: torch.Tensor | None,
        modalities: torch.Tensor,
        config: FusionConfig,
    ) -> None:
        self.blocks, self.present = inputs
        self.targets, self.weight, self.modalities = targets, weight, modalities
        self.hide = config.modality_dropout if len(modalities) > 1 else 0.0
        self.loss: Loss = LOSSES[config.loss]

    def __call__(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        device, rows = rows.device, rows.cpu()
        present = self.present[rows]
        if self.hide:
            hidden = (torch.rand(len(rows), len(self.modalities)) < self.hide).float() @ self.modalities
            left = present * (1 - hidden)
            present = torch.where(left.any(dim=1, keepdim=True), left, present)  # never hide all of a title
        logits, _ = network([block[rows].to(device) for block in self.blocks], present.to(device))
        weight = None if self.weight is None else self.weight.to(device)
        return self.loss(logits, self.targets[rows].to(device), weight=weight)


class _Score:
    """Mean average precision over the labels that the validation titles have, higher is better."""

    def __init__(self, inputs: tuple[list[torch.Tensor], torch.Tensor], targets: Targets) -> None:
        self.inputs = inputs
        self.labels = np.flatnonzero(targets.any(axis=0))
        self.targets = targets[:, self.labels]

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        device = next(network.parameters()).device
        blocks, present = self.inputs
        logits, _ = network([block.to(device) for block in blocks], present.to(device))
        return float(average_precision_score(self.targets, logits.float().cpu().numpy()[:, self.labels]))


def _weights(config: FusionConfig, targets: Targets) -> torch.Tensor | None:
    if config.class_weights == 0:
        return None
    counts = targets.sum(axis=0)
    if config.loss == "class_balanced":
        return torch.from_numpy(effective_weights(counts, min(config.class_weights, 0.99999)))
    return torch.from_numpy(positive_weights(counts, len(targets), config.class_weights))


def _start_at_base_rates(head: nn.Linear, targets: Targets) -> None:
    """Set the bias to the log-odds of each label's share, so that training starts from the base rates."""
    share = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)))


def _member_progress(progress: Progress, member: int, n_members: int) -> Progress:
    """Report the epochs of all members as one count."""

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, member * total + done, n_members * total)

    return report
