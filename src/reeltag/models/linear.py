"""LinearModel: one logistic regression per label over all blocks side by side, by scikit-learn.

The floor that every other model has to beat, fast and exactly explainable: a label's log-odds are the sum of what
each modality adds.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from reeltag.config import check_range, from_json, to_json
from reeltag.errors import NotFittedError
from reeltag.features import Features, modality_of
from reeltag.files import write_json
from reeltag.models.contract import Targets, Validation, check_training, inputs_of
from reeltag.models.linear_input import scaled_block, scales_of
from reeltag.progress import Progress, silent

_MIN_SPREAD = 1e-6


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Settings of the linear model.

    Attributes:
        c: Inverse strength of the L2 penalty.
        balanced: Weigh the titles of each label so that positives and negatives count alike.
        n_threads: Labels fitted side by side.
    """

    c: float = 1.0
    balanced: bool = False
    n_threads: int = 2

    def __post_init__(self) -> None:
        check_range("LinearConfig", "c", self.c, 1e-6, 1e6)
        check_range("LinearConfig", "n_threads", self.n_threads, 1, 1024)


class LinearModel:
    """Estimator of the contract in ``models.contract``.

    Blocks are read as ``models.linear_input`` says; an absent block adds a constant of its own.

    Args:
        config: Settings.
        seed: Seed of the solver.
    """

    config_class: ClassVar[type] = LinearConfig

    def __init__(self, config: LinearConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or LinearConfig()
        self.seed = seed
        self._names: list[str] = []
        self._tensors: dict[str, npt.NDArray[np.float32]] = {}

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,  # noqa: ARG002
        progress: Progress = silent,
    ) -> Self:
        """Fit one regression per label; a label that all or none of the titles have gets its base rate.

        Nothing is stopped early: validation titles are not used.
        """
        check_training(features, targets, validation)
        features = inputs_of(features)
        self._names, self._tensors = list(features.blocks), scales_of(features)
        inputs = sp.hstack([scaled_block(n, b, self._tensors) for n, b in features.blocks.items()]).tocsr()
        weights = np.zeros((targets.shape[1], inputs.shape[1]), np.float32)
        bias = np.zeros(targets.shape[1], np.float32)

        def one(label: int) -> tuple[Any, float]:
            column = targets[:, label]
            if column.min() == column.max():
                share = (column.sum() + 0.5) / (len(column) + 1)
                return 0.0, float(np.log(share / (1 - share)))
            solver = LogisticRegression(
                C=self.config.c,
                solver="liblinear",
                class_weight="balanced" if self.config.balanced else None,
                random_state=self.seed,
            ).fit(inputs, column)
            return solver.coef_[0], float(solver.intercept_[0])

        with ThreadPoolExecutor(self.config.n_threads) as pool:
            for label, (row, intercept) in enumerate(pool.map(one, range(targets.shape[1]))):
                weights[label], bias[label] = row, intercept
                progress("training", label + 1, targets.shape[1])
        start = 0
        for name, block in features.blocks.items():
            width = block.dim + 1
            self._tensors[f"{name}.weight"] = np.ascontiguousarray(weights[:, start : start + width])
            start += width
        self._tensors["bias"] = bias
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the probabilities, shape (n_titles, n_labels)."""
        self._fitted()
        return np.asarray(expit(self._logits(features)), np.float32)

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return what each modality adds to the log-odds of each label, against its being absent."""
        self._fitted()
        out: dict[str, npt.NDArray[np.float32]] = {}
        for name, part in self._parts(features).items():
            if name not in features.blocks:
                continue
            change = (part - self._tensors[f"{name}.weight"][:, -1]).astype(np.float32)
            change[~features.blocks[name].present] = 0
            modality = modality_of(name)
            out[modality] = out[modality] + change if modality in out else change
        return out

    def attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:  # noqa: ARG002
        """Return nothing: a regression weighs no modality as a whole."""
        return {}

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the log-odds as unit vectors (n_titles, n_labels)."""
        self._fitted()
        logits = self._logits(features)
        return np.asarray(logits / np.linalg.norm(logits, axis=1, keepdims=True).clip(_MIN_SPREAD), np.float32)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.safetensors``."""
        self._fitted()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors, folder / "model.safetensors")
        write_json(folder / "model.json", {"config": to_json(self.config), "seed": self.seed, "blocks": self._names})

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote."""
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(from_json(LinearConfig, data["config"], "model.json: config"), seed=data["seed"])
        model._names, model._tensors = data["blocks"], load_file(folder / "model.safetensors")
        return model

    def _logits(self, features: Features) -> npt.NDArray[np.float32]:
        return np.asarray(sum(self._parts(features).values()) + self._tensors["bias"], np.float32)

    def _parts(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return each block's share of the log-odds, (n_titles, n_labels)."""
        parts = {}
        for name in self._names:
            weight = self._tensors[f"{name}.weight"]
            if name in features.blocks:
                parts[name] = np.asarray(scaled_block(name, features.blocks[name], self._tensors) @ weight.T)
            else:
                parts[name] = np.tile(weight[:, -1], (len(features), 1))
        return parts

    def _fitted(self) -> None:
        if "bias" not in self._tensors:
            raise NotFittedError("LinearModel is used before fit")
