"""KnnModel: a title is likely to have the labels of the training titles nearest to it.

Exact nearest neighbours by cosine over the blocks side by side (Cover and Hart 1967, IEEE Trans. Information Theory
13(1)), each neighbour voting with a power of its similarity, the votes smoothed towards the base rates. ML-kNN (Zhang
and Zhou 2007, Pattern Recognition 40(7)) is the Bayesian relative: it counts the neighbours that have a label, and
learns for every label how likely each count is among titles with and without it. Here nothing is learned: the base rate
enters as ``prior_strength`` pseudo-votes, near neighbours count more than far ones, and calibration comes afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from reeltag.config import check_range, from_json, to_json
from reeltag.errors import ModelError, NotFittedError
from reeltag.features import Features
from reeltag.files import write_json
from reeltag.models.contract import Targets, Validation, check_training, inputs_of, leave_modality_out
from reeltag.models.scaling import BlockScaler
from reeltag.progress import Progress, silent

_MIN_LENGTH = 1e-6
_TIE = 1e-6  # similarities that differ by less are equal: products of float32 in another order
_CELLS = 2**24  # similarities held at once
_OWN = ("indices", "indptr", "vectors")  # tensors besides those of the scaler


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Settings of the nearest neighbours.

    Attributes:
        k: Training titles that vote.
        power: A neighbour's vote is its cosine to this power; 0 lets all of them count alike.
        prior_strength: Votes, of a neighbour with cosine 1, that the base rates count for.
        sparse_dim: Width that sparse blocks (TF-IDF) are reduced to.
    """

    k: int = 50
    power: float = 2.0
    prior_strength: float = 1.0
    sparse_dim: int = 512

    def __post_init__(self) -> None:
        check_range("KnnConfig", "k", self.k, 1, 100_000)
        check_range("KnnConfig", "power", self.power, 0, 100)
        check_range("KnnConfig", "prior_strength", self.prior_strength, 1e-6, 1e6)
        check_range("KnnConfig", "sparse_dim", self.sparse_dim, 1, 65_536)


class KnnModel:
    """Estimator of the contract in ``models.contract``.

    Every block is scaled, sparse ones by way of latent semantic analysis, and brought to unit length, so that all
    blocks a title has weigh alike; an absent block is a row of zeros. Probabilities are a function of features alone: a
    training title that is asked about is its own nearest neighbour, with its labels, so the scores of training titles
    say nothing of how good the model is.

    Args:
        config: Settings.
        seed: Seed of the reduction of sparse blocks.
    """

    config_class: ClassVar[type] = KnnConfig

    def __init__(self, config: KnnConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or KnnConfig()
        self.seed = seed
        self._scaler = BlockScaler(self.config.sparse_dim, seed)
        self._vectors: npt.NDArray[np.float32] | None = None
        self._targets: Any = None

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,  # noqa: ARG002
        progress: Progress = silent,
    ) -> Self:
        """Keep the training titles, scaled, and their labels; validation titles are not used."""
        check_training(features, targets, validation)
        features = inputs_of(features)
        self._scaler = BlockScaler(self.config.sparse_dim, self.seed).fit(features)
        self._vectors = self._unit_rows(features)
        self._targets = sp.csr_matrix(targets, dtype=np.float32)
        progress("training", 1, 1)
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return ``(sum w y + a p) / (sum w + a)``, shape (n_titles, n_labels).

        ``w`` is the vote of a neighbour, ``y`` whether it has the label, ``p`` the base rate of the label and ``a``
        ``prior_strength``; a title with nothing has no neighbours and gets the base rates.
        """
        vectors, strength = self._fitted(), self.config.prior_strength
        rates = base_rates(self._targets)
        out = np.empty((len(features), self._targets.shape[1]), np.float32)
        step = max(1, _CELLS // len(vectors))
        for start in range(0, len(features), step):
            rows = np.arange(start, min(start + step, len(features)))
            near = cosines(self._unit_rows(features.take(rows)), vectors)
            votes = neighbour_votes(near, self.config.k, self.config.power)
            out[rows] = smoothed_shares(votes, self._targets, rates, strength)
        return out.clip(0, 1)

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return how far each modality moves the log-odds of each label: all of them against all but it."""
        return leave_modality_out(self.predict_proba, features)

    def attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:  # noqa: ARG002
        """Return nothing: neighbours are found by all modalities together."""
        return {}

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the unit vectors that neighbours are found by (n_titles, dim); zeros for a title with nothing."""
        self._fitted()
        return self._unit_rows(features)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.safetensors``."""
        vectors = self._fitted()
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {f"scaler.{name}": t for name, t in self._scaler.state().items()}
        tensors |= {"vectors": vectors, "indptr": self._targets.indptr, "indices": self._targets.indices}
        save_file(tensors, folder / "model.safetensors")
        data = {
            "config": to_json(self.config),
            "seed": self.seed,
            "blocks": self._scaler.names,
            "n_labels": self._targets.shape[1],
        }
        write_json(folder / "model.json", data)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote.

        Raises:
            ModelError: Its tensors do not fit its settings or each other.
        """
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(from_json(KnnConfig, data["config"], "model.json: config"), seed=data["seed"])
        tensors = load_file(folder / "model.safetensors")
        own = {name: t for name, t in tensors.items() if not name.startswith("scaler.")}
        if tuple(sorted(own)) != _OWN:
            raise ModelError(f"model.safetensors: must hold {', '.join(_OWN)}; got {', '.join(sorted(own)) or 'none'}")
        scaler = {n.removeprefix("scaler."): t for n, t in tensors.items() if n.startswith("scaler.")}
        missing = [name for name in data["blocks"] if not {f"{name}.mean", f"{name}.spread"} <= set(scaler)]
        if missing:
            raise ModelError(f"model.safetensors: the scale of block '{missing[0]}' is missing")
        model._scaler.load(data["blocks"], scaler)
        model._vectors = own["vectors"]
        model._targets = labels_of(own["indices"], own["indptr"], data["n_labels"])
        shape = (model._targets.shape[0], sum(model._scaler.widths.values()))
        if own["vectors"].shape != shape:
            raise ModelError(f"model.safetensors: vectors must be of shape {shape}; got {own['vectors'].shape}")
        return model

    def _unit_rows(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the blocks as unit vectors side by side, the whole of unit length again: (n_titles, dim)."""
        parts = []
        for name, width in self._scaler.widths.items():
            if name in features.blocks:
                parts.append(unit_rows(self._scaler.transform(name, features.blocks[name])))
            else:
                parts.append(np.zeros((len(features), width), np.float32))
        return unit_rows(np.hstack(parts))

    def _fitted(self) -> npt.NDArray[np.float32]:
        if self._vectors is None:
            raise NotFittedError("KnnModel is used before fit")
        return self._vectors


def base_rates(targets: sp.csr_matrix) -> npt.NDArray[np.float32]:
    """Return the shares of titles with each label (n_labels,), as if one title more had half of every label."""
    counts = np.bincount(targets.indices, minlength=targets.shape[1])
    return np.asarray((counts + 0.5) / (targets.shape[0] + 1), np.float32)


def cosines(asked: npt.NDArray[np.float32], kept: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the products (n, n_kept) of unit rows (n, dim) and (n_kept, dim)."""
    with np.errstate(invalid="ignore"):  # BLAS may flag numbers beyond short rows
        return np.asarray(asked @ kept.T, np.float32)


def smoothed_shares(
    votes: Any, targets: sp.csr_matrix, rates: npt.NDArray[np.float32], prior: float | npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return ``(sum w y + a p) / (sum w + a)``, (n, n_labels).

    Args:
        votes: CSR (n, n_training), the w.
        targets: The y, CSR (n_training, n_labels).
        rates: The p, (n_labels,).
        prior: The a, for all or title by title, (n, 1).
    """
    total = np.asarray(votes.sum(axis=1), np.float32)
    return np.asarray(((votes @ targets).toarray() + prior * rates) / (total + prior), np.float32)


def neighbour_votes(similarities: npt.NDArray[np.float32], k: int, power: float) -> Any:
    """Return the votes of the k nearest: CSR (n, n_training).

    Titles as near as the k-th share the places that are left, so that votes do not depend on the order of the training
    titles. What is not similar at all (0 or less) has no vote, and takes no other's place.

    Args:
        similarities: Cosines (n, n_training).
        k: Neighbours; all training titles if there are fewer.
        power: A vote is the cosine to this power.
    """
    place = similarities.shape[1] - min(k, similarities.shape[1])
    kth = np.partition(similarities, place, axis=1)[:, place, None]
    nearer = similarities > kth + _TIE
    tied = (similarities >= kth - _TIE) & ~nearer
    left = similarities.shape[1] - place - nearer.sum(axis=1)
    share = (left / tied.sum(axis=1)).astype(np.float32)
    rows, columns = np.nonzero((nearer | tied) & (similarities > 0))
    votes = similarities[rows, columns] ** np.float32(power)
    votes = np.where(tied[rows, columns], votes * share[rows], votes).astype(np.float32)
    ends = np.searchsorted(rows, np.arange(len(similarities) + 1))
    return sp.csr_matrix((votes, columns, ends), shape=similarities.shape)


def labels_of(indices: npt.NDArray[Any], indptr: npt.NDArray[Any], n_labels: int) -> Any:
    """Return the labels of the training titles, CSR (n_titles, n_labels).

    Raises:
        ModelError: The indices do not make such a matrix.
    """
    ordered = len(indptr) > 1 and indptr[0] == 0 and indptr[-1] == len(indices) and (np.diff(indptr) >= 0).all()
    if not ordered or (len(indices) and not 0 <= indices.min() <= indices.max() < n_labels):
        raise ModelError(f"model.safetensors: indices and indptr are not those of titles with {n_labels} labels")
    ones = np.ones(len(indices), np.float32)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(indptr) - 1, n_labels))


def unit_rows(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows brought to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > _MIN_LENGTH, lengths, 1), np.float32)
