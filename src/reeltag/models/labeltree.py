"""LabelTreeModel: a probabilistic label tree, by napkinXC. What one would use for thousands of labels.

Labels are the leaves of a tree, grouped by the titles that have them; a logistic regression at every node says how
likely one of the labels below is, given that one below its parent is, so the probability of a label is the product
along its path (Jasinska et al. 2016, Extreme F-measure maximization using sparse probability estimates, ICML; napkinXC:
Jasinska-Kobus et al. 2020, Probabilistic label trees for extreme multi-label classification, arXiv 2009.11218). A node
is trained on the titles that have a label below its parent, so rare labels cost little.

What differs from napkinXC's defaults: the solver works on the primal problem. The dual one draws from the C library's
random numbers, whose state all fits of a process share; the primal one gives one result for one seed, whatever the
number of threads. Labels that no title or every title has are left out of the tree, which napkinXC cannot grow from
none.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.errors import MissingExtraError, ModelError, NotFittedError
from reeltag.features import Features
from reeltag.files import atomic_folder, write_json
from reeltag.models.contract import Targets, Validation, check_training, inputs_of, leave_modality_out, log_odds
from reeltag.models.linear_input import Tensors, absent_block, scaled_block, scales_of, titles_with_any
from reeltag.progress import Progress, silent

TREE_TYPES = ("hierarchicalKmeans", "huffman", "balancedRandom")
REQUIREMENT = "napkinxc>=0.7.2,<0.8"  # of the extra "xmlc": earlier ones end the process where these raise an error
_TOLERANCE = 0.01  # of the solver; napkinXC's 0.1 is meant for the dual problem
_CELLS = 2**18  # probabilities fetched at once, as Python objects
_MIN_LENGTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class LabelTreeConfig:
    """Settings of the label tree, mostly napkinXC's.

    Attributes:
        tree_type: How labels are grouped: ``hierarchicalKmeans`` (by the mean of their titles), ``huffman`` (frequent
            labels near the root), ``balancedRandom``.
        arity: Branches of a node.
        max_leaves: A group of at most as many labels is not split further.
        liblinear_c: Inverse strength of the L2 penalty.
        weights_threshold: Smaller weights are dropped.
        ensemble: Trees averaged; tree m is grown with seed + m.
        n_threads: Nodes trained, and titles tagged, side by side.
    """

    tree_type: str = "hierarchicalKmeans"
    arity: int = 2
    max_leaves: int = 100
    liblinear_c: float = 10.0
    weights_threshold: float = 0.01
    ensemble: int = 1
    n_threads: int = 2

    def __post_init__(self) -> None:
        check_choice("LabelTreeConfig", "tree_type", self.tree_type, TREE_TYPES)
        check_range("LabelTreeConfig", "arity", self.arity, 2, 1000)
        check_range("LabelTreeConfig", "max_leaves", self.max_leaves, 2, 1_000_000)
        check_range("LabelTreeConfig", "liblinear_c", self.liblinear_c, 1e-6, 1e6)
        check_range("LabelTreeConfig", "weights_threshold", self.weights_threshold, 0, 10)
        check_range("LabelTreeConfig", "ensemble", self.ensemble, 1, 100)
        check_range("LabelTreeConfig", "n_threads", self.n_threads, 1, 1024)


class LabelTreeModel:
    """Estimator of the contract in ``models.contract``.

    Blocks are read as ``models.linear_input`` says, and rows brought to unit length. Labels that no training title or
    every one has get their base rate, and a title with nothing the base rates of all labels: what is known of absent
    blocks was learned from titles that have others.

    Args:
        config: Settings.
        seed: Seed of the trees.
    """

    config_class: ClassVar[type] = LabelTreeConfig

    def __init__(self, config: LabelTreeConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or LabelTreeConfig()
        self.seed = seed
        self._names: list[str] = []
        self._tensors: Tensors = {}
        self._files: dict[str, bytes] = {}  # napkinXC's, by path; empty when no label is to be learned
        self._trees: list[Any] = []

    def fit(
        self,
        features: Features,
        targets: Targets,
        *,
        validation: Validation | None = None,
        label_vectors: npt.NDArray[np.float32] | None = None,  # noqa: ARG002
        progress: Progress = silent,
    ) -> Self:
        """Grow and train the tree; nothing is stopped early: validation titles are not used.

        Raises:
            MissingExtraError: napkinxc is not installed.
        """
        check_training(features, targets, validation)
        features = inputs_of(features)
        _plt_class()  # missed before any work
        self._names, self._tensors = list(features.blocks), scales_of(features)
        counts = targets.sum(axis=0, dtype=np.float64)
        self._tensors["rates"] = ((counts + 0.5) / (len(targets) + 1)).astype(np.float32)
        learned = (counts > 0) & (counts < len(targets))
        self._tensors["learned"] = learned.astype(np.float32)
        self._files, self._trees = {}, []
        if learned.any():
            rows, labels = self._rows(features), sp.csr_matrix(targets[:, learned])
            with tempfile.TemporaryDirectory(prefix="reeltag-labeltree-") as folder:
                for member in range(self.config.ensemble):
                    self._new_tree(Path(folder), member).fit(rows, labels)
                    progress("training", member + 1, self.config.ensemble + 1)
                self._open(Path(folder))
        progress("training", self.config.ensemble + 1, self.config.ensemble + 1)
        return self

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the probabilities, shape (n_titles, n_labels)."""
        self._fitted()
        out = np.tile(self._tensors["rates"], (len(features), 1))
        learned = np.flatnonzero(self._tensors["learned"])
        known = titles_with_any(features, self._names)
        step = max(1, _CELLS // max(len(learned), 1))
        for start in range(0, len(known) if len(learned) else 0, step):
            rows = known[start : start + step]
            inputs = self._rows(features.take(rows))
            out[np.ix_(rows, learned)] = np.mean([told_by(tree, inputs, len(learned)) for tree in self._trees], axis=0)
        return out

    def explain(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return how far each modality moves the log-odds of each label: all of them against all but it."""
        return leave_modality_out(self.predict_proba, features)

    def attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:  # noqa: ARG002
        """Return nothing: a tree weighs no modality as a whole."""
        return {}

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the log-odds as unit vectors (n_titles, n_labels)."""
        found = log_odds(self.predict_proba(features))
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True).clip(_MIN_LENGTH), np.float32)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``model.json``, ``model.safetensors`` and napkinXC's files in the folder ``tree``."""
        self._fitted()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors, folder / "model.safetensors")
        with atomic_folder(folder / "tree") as temporary:
            for name, content in self._files.items():
                (temporary / name).parent.mkdir(exist_ok=True)
                (temporary / name).write_bytes(content)
        data = {
            "config": to_json(self.config),
            "seed": self.seed,
            "blocks": self._names,
            "tree": {name: hashlib.sha256(content).hexdigest() for name, content in self._files.items()},
        }
        write_json(folder / "model.json", data)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote; the folder is not needed afterwards.

        Raises:
            MissingExtraError: napkinxc is not installed.
            ModelError: A file of the tree is missing or is not the one that was written: napkinXC, which checks
                nothing, would end the process or tell other probabilities.
        """
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(from_json(LabelTreeConfig, data["config"], "model.json: config"), seed=data["seed"])
        model._names, model._tensors = data["blocks"], load_file(folder / "model.safetensors")
        for name, digest in data["tree"].items():
            path = folder / "tree" / name
            if not path.is_file():
                raise ModelError(f"{path}: must be there for the label tree to be read; the file is missing")
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ModelError(f"{path}: must be as save_pretrained wrote it; the file has changed")
        if data["tree"]:
            model._open(folder / "tree")
        return model

    def _new_tree(self, folder: Path, member: int) -> Any:
        config = self.config
        return _plt_class()(
            str(_folder_of(folder, member)),
            tree_type=config.tree_type,
            arity=config.arity,
            max_leaves=config.max_leaves,
            liblinear_c=config.liblinear_c,
            liblinear_eps=_TOLERANCE,
            liblinear_solver="L2R_LR",
            weights_threshold=config.weights_threshold,
            threads=config.n_threads,
            seed=(self.seed + member) % 2**31,
            verbose=False,
        )

    def _open(self, folder: Path) -> None:
        """Read folders of napkinXC into memory: as trees, and as files to be saved again.

        napkinXC's own ensembles are not used: they are read from disk at every prediction.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self._trees = [self._new_tree(folder, member) for member in range(self.config.ensemble)]
        for tree in self._trees:
            tree.load()

    def _rows(self, features: Features) -> Any:
        """Return the blocks side by side, CSR (n_titles, dim)."""
        parts = [
            scaled_block(name, features.blocks[name], self._tensors)
            if name in features.blocks
            else absent_block(name, len(features), self._tensors)
            for name in self._names
        ]
        rows = sp.csr_matrix(sp.hstack(parts, format="csr"), dtype=np.float32)
        rows.sort_indices()
        return rows

    def _fitted(self) -> None:
        if "rates" not in self._tensors:
            raise NotFittedError("LabelTreeModel is used before fit")


def told_by(tree: Any, rows: Any, n_labels: int) -> npt.NDArray[np.float32]:
    """Return the probabilities of a tree of napkinXC, which tells them title by title, likely labels first.

    Args:
        tree: A tree of ``n_labels`` labels.
        rows: CSR (n_titles, dim).
        n_labels: Labels of the tree.

    Returns:
        Probabilities (n_titles, n_labels) in the order of labels.
    """
    told = chain.from_iterable(tree.predict_proba(rows, top_k=n_labels))
    pairs = np.fromiter(told, np.dtype((np.float64, 2)), rows.shape[0] * n_labels)
    pairs = pairs.reshape(rows.shape[0], n_labels, 2)
    out = np.zeros(pairs.shape[:2], np.float32)
    np.put_along_axis(out, pairs[..., 0].astype(np.int64), pairs[..., 1].astype(np.float32), axis=1)
    return out.clip(0, 1)


def _folder_of(folder: Path, member: int) -> Path:
    return folder / f"member{member}"


def _plt_class() -> Any:
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, SyntaxWarning):  # Python's, of the escapes in its docstrings
                warnings.simplefilter("ignore", category)
            from napkinxc.models import PLT
    except ImportError:
        raise MissingExtraError("napkinxc", "xmlc", "the model 'labeltree'") from None
    return PLT
