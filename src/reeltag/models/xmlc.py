"""XmlcModel: our extreme multi-label tagger, three experts whose shares are chosen on validation titles.

    p(label) = w_net p_net + w_words p_words + w_near p_near        the shares w sum to 1

- ``net``: a network over all blocks whose logits are a linear map of the scaled blocks plus a perceptron. With few
  titles per label the linear map carries rare labels and the perceptron what labels have in common.
- ``words``: one pruned logistic regression per frequent label on TF-IDF (``models.sparse_linear``).
- ``near``: the labels of the nearest training titles (``models.near``), mixed in as by MLTC (Wang et al., ACL 2022).

Shares are those with the best micro average precision on the validation titles, tenth by tenth; without validation
titles they are equal. A label without a regression takes its share of ``words`` from the others. A title that lacks an
expert's blocks is told by the others. What differs from the published system (seed 003, ``models.clusters``): no
clusters, no triplets; both are measured side by side in ``reeltag benchmark xmlc-peers``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file, save_file
from sklearn.metrics import average_precision_score
from torch import nn

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError
from reeltag.features import Features
from reeltag.models.contract import Targets, Validation
from reeltag.models.dropout import Dropout
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify, perceptron, side_by_side
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.linear_input import in_place, titles_with_any
from reeltag.models.near import LabelNeighbours
from reeltag.models.sparse_linear import SparseLinear
from reeltag.progress import Progress, silent
from reeltag.training import TrainingConfig

EXPERTS = ("net", "words", "near")
_TENTHS = 10
_PAIRS = 500_000  # title-label pairs that shares are chosen on at most
_WORDS = ".tfidf"  # what the names of blocks of words end with

Shares = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class XmlcConfig(NetworkConfig):
    """Settings of the tagger, besides those of every network.

    Attributes:
        hidden: Width of the perceptron; 0 leaves it out.
        dropout: In the perceptron.
        input_dropout: Before the linear map.
        experts: Which of ``net``, ``words`` and ``near`` there are; ``net`` always is.
        word_c: Inverse strength of the penalty of the regressions.
        word_labels: Labels that get one at most, the most frequent ones.
        neighbours: Training titles that vote.
        power: A neighbour's vote is its cosine to this power.
        n_threads: Labels fitted side by side.
    """

    hidden: int = 512
    dropout: float = 0.7
    input_dropout: float = 0.5
    experts: tuple[str, ...] = EXPERTS
    word_c: float = 10.0
    word_labels: int = 2000
    neighbours: int = 50
    power: float = 8.0
    n_threads: int = 2
    sparse_dim: int = 256
    n_members: int = 2
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=12, batch_size=256, learning_rate=2e-3, weight_decay=0.1, precision="32-true"
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("XmlcConfig", "hidden", self.hidden, 0, 65_536)
        check_range("XmlcConfig", "dropout", self.dropout, 0, 0.95)
        check_range("XmlcConfig", "input_dropout", self.input_dropout, 0, 0.95)
        check_range("XmlcConfig", "word_c", self.word_c, 1e-6, 1e6)
        check_range("XmlcConfig", "word_labels", self.word_labels, 1, 10_000_000)
        check_range("XmlcConfig", "neighbours", self.neighbours, 1, 100_000)
        check_range("XmlcConfig", "power", self.power, 0, 100)
        check_range("XmlcConfig", "n_threads", self.n_threads, 1, 1024)
        for name in self.experts:
            check_choice("XmlcConfig", "experts", name, EXPERTS)
        if "net" not in self.experts or len(set(self.experts)) < len(self.experts):
            raise ConfigError(f"XmlcConfig.experts must name 'net', and each once; got {', '.join(self.experts)}")


class XmlcNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: XmlcConfig) -> None:
        super().__init__()
        width = sum(layout.widths)
        self.drop = Dropout(config.input_dropout)
        self.straight = nn.Linear(width, layout.n_labels)
        self.body = perceptron([width, config.hidden, config.hidden], config.dropout) if config.hidden else None
        self.head = nn.Linear(config.hidden, layout.n_labels, bias=False) if config.hidden else None

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates, the linear map at zero."""
        nn.init.zeros_(self.straight.weight)
        start_at_base_rates(self.straight, shares)

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and what labels are read from (n, width + hidden)."""
        x = side_by_side(rows, range(len(rows.blocks)))
        logits = classify(self.straight, self.drop(x))
        if self.body is None or self.head is None:
            return Outputs(logits, x.float())
        y = self.body(x)
        return Outputs(logits + classify(self.head, y), torch.cat([x, y], dim=1).float())


class XmlcModel(NetworkModel):
    """Estimator around XmlcNetwork and the other experts.

    Args:
        config: Settings.
        seed: As for every network; also of the regressions.
    """

    config_class: ClassVar[type[NetworkConfig]] = XmlcConfig
    network_class: ClassVar[type[Any]] = XmlcNetwork
    config: XmlcConfig

    def __init__(self, config: XmlcConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.shares_: Shares = {}
        self._words: SparseLinear | None = None
        self._word_blocks: dict[str, int] = {}  # name -> width
        self._near: LabelNeighbours | None = None

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,  # noqa: ARG002
        progress: Progress = silent,
    ) -> Self:
        """Train the networks, then the other experts, and choose the shares."""
        self.shares_, self._words, self._near = {}, None, None
        super().fit(features, targets, validation=validation, progress=progress)
        config = self.config
        self._word_blocks = {name: block.dim for name, block in features.blocks.items() if name.endswith(_WORDS)}
        if "words" in config.experts and self._word_blocks:
            self._words = self._new_words().fit(self._words_of(features), targets)
        told = ["net", *(["words"] if self._words else []), *(["near"] if self._near else [])]
        self.shares_ = {name: 1 / len(told) for name in told}
        if validation is not None and validation.targets.any() and len(told) > 1:
            said = self._say(validation.features)
            self.shares_ = best_shares(said, validation.targets)
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the experts' probabilities, mixed by their shares, (n_titles, n_labels)."""
        self._fitted()
        return mixed(self._say(features), self.shares_)

    def notes(self) -> tuple[str, ...]:
        """Return what training came to, in words: the experts' shares."""
        self._fitted()
        return ("shares of the experts: " + ", ".join(f"{name} {share:.1f}" for name, share in self.shares_.items()),)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.safetensors``, and ``experts.safetensors`` with what is no network."""
        super().save_pretrained(folder)
        tensors: dict[str, npt.NDArray[Any]] = {}
        for name, expert in (("words", self._words), ("near", self._near)):
            if expert is not None:
                tensors |= {f"{name}.{part}": np.ascontiguousarray(value) for part, value in expert.state().items()}
        save_file(tensors, folder / "experts.safetensors")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote."""
        model = super().from_pretrained(folder)
        tensors = load_file(folder / "experts.safetensors")
        parts = {
            name: {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
            for name in ("words", "near")
        }
        model._words = model._new_words().load(parts["words"]) if parts["words"] else None
        model._near = model._new_near().load(parts["near"]) if parts["near"] else None
        return model

    def _finish(self, network: nn.Module, rows: Rows, targets: torch.Tensor) -> None:  # noqa: ARG002
        if "near" in self.config.experts and self._near is None:  # the same for all members
            self._near = self._new_near().fit(side_by_side(rows, range(len(rows.blocks))).numpy(), targets.numpy())

    def _state(self) -> dict[str, Any]:
        return {"shares": self.shares_, "word_blocks": self._word_blocks}

    def _restore(self, state: dict[str, Any]) -> None:
        self.shares_, self._word_blocks = state["shares"], state["word_blocks"]

    def _new_words(self) -> SparseLinear:
        config = self.config
        return SparseLinear(c=config.word_c, most_labels=config.word_labels, n_threads=config.n_threads, seed=self.seed)

    def _new_near(self) -> LabelNeighbours:
        config = self.config
        return LabelNeighbours(config.neighbours, config.power)

    def _say(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return what every expert says, (n_titles, n_labels); NaN where it has nothing to say."""
        outputs = self._forward(features)
        said = {"net": torch.sigmoid(outputs.logits).numpy()}
        if self._words is not None:
            said["words"] = np.full_like(said["net"], np.nan)
            there = titles_with_any(features, self._word_blocks)
            if len(there):
                own = self._words.predict_proba(self._words_of(features.take(there)))
                said["words"][np.ix_(there, self._words.labels_)] = own
        if self._near is not None:
            width = sum(self._fitted_layout().widths)  # of the blocks; what the perceptron makes of them comes after
            vectors = outputs.fused[:, :width].numpy()
            said["near"] = self._near.predict_proba(vectors)
            said["near"][~vectors.any(axis=1)] = np.nan
        return said

    def _words_of(self, features: Features) -> sp.csr_matrix:
        """Return the blocks of words of titles side by side, empty rows where one is absent."""
        parts = []
        for name, width in self._word_blocks.items():
            block = features.blocks.get(name)
            if block is None:
                parts.append(sp.csr_matrix((len(features), width), dtype=np.float32))
                continue
            there = np.flatnonzero(block.present)
            parts.append(in_place(block.values[there], there, len(features)))
        return sp.hstack(parts, format="csr", dtype=np.float32)


def mixed(said: dict[str, npt.NDArray[np.float32]], shares: Shares) -> npt.NDArray[np.float32]:
    """Return the mean of what experts say, weighted by their shares among those that say something.

    Args:
        said: By expert (n_titles, n_labels); NaN where it has nothing to say. The first always says something.
        shares: By expert, summing to 1; where only experts without a share speak, they count alike.
    """
    total = np.zeros_like(next(iter(said.values())))
    weight = np.zeros_like(total)
    for name, own in said.items():
        there = np.isfinite(own)
        share = np.float32(max(shares[name], 1e-6))
        total += np.where(there, own, 0) * share
        weight += there * share
    return np.asarray((total / weight).clip(0, 1), np.float32)


def best_shares(said: dict[str, npt.NDArray[np.float32]], targets: Targets) -> Shares:
    """Return the shares, in tenths, of the best micro average precision; of equals those nearest to all for the first.

    Args:
        said: By expert (n_titles, n_labels), as for ``mixed``.
        targets: Truth of the titles, same shape.
    """
    names, n_titles = list(said), min(len(targets), max(1, _PAIRS // targets.shape[1]))
    some = np.linspace(0, len(targets) - 1, n_titles).astype(np.int64)
    said = {name: own[some] for name, own in said.items()}
    truth = targets[some].ravel()
    best, best_score = dict.fromkeys(names, 0.0), -1.0
    cuts = [c for c in itertools.product(range(_TENTHS + 1), repeat=len(names)) if sum(c) == _TENTHS]
    for tenths in sorted(cuts, reverse=True):
        shares = {name: n / _TENTHS for name, n in zip(names, tenths, strict=True)}
        score = float(average_precision_score(truth, mixed(said, shares).ravel()))
        if score > best_score:
            best, best_score = shares, score
    return best
