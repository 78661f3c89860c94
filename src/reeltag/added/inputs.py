"""What the heads of added labels read of a title: what is said of the labels known already, and encoders' vectors.

The log-odds of known labels carry much of a new one (a heist film is mostly crime and thriller), the vectors of
pre-trained encoders what no known label asked for. On the shared films both together are better than either; the fused
representation of the network, twice as wide, adds next to nothing to them (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file

from reeltag.features import Features, modality_of
from reeltag.models.contract import Model, log_odds

Vectors = npt.NDArray[np.float32]
Inputs = Mapping[str, Vectors]  # by part, (n_titles, dim); a row of NaN says that a title lacks the part

LOG_ODDS = "log_odds"
_MOST_LABELS = 512  # labels whose log-odds are read: the most frequent ones
_MOST_BACKGROUND = 10_000  # training titles kept
_BATCH = 1_000
_UNREAD = ("year", "credits")  # modalities whose blocks are read through the log-odds only
_MIN_SPREAD = 1e-3
_LARGEST = 60_000  # that half precision holds


def inputs_of(features: Features, scores: npt.NDArray[np.float32]) -> dict[str, Vectors]:
    """Return what heads read of titles.

    Args:
        features: The titles.
        scores: The model's own probabilities for the labels it has learned, (n_titles, n_labels).

    Returns:
        ``log_odds`` of the most frequent labels, and every dense block of an encoder.
    """
    parts = {LOG_ODDS: log_odds(scores[:, :_MOST_LABELS])}
    for name, block in features.blocks.items():
        if modality_of(name) not in _UNREAD and not block.is_sparse:
            values = np.array(block.values, np.float32)
            values[~block.present] = np.nan
            parts[name] = values
    return parts


def vectors_of_titles(model: Model, features: Features) -> dict[str, Vectors]:
    """Return ``inputs_of`` of many titles, which are scored a batch at a time."""
    starts = range(0, max(len(features), 1), _BATCH)
    batches = [features.take(range(start, min(start + _BATCH, len(features)))) for start in starts]
    parts = [inputs_of(batch, model.predict_proba(batch)) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, kw_only=True)
class HeadInputs:
    """How the parts become one row of numbers of about equal length each: standardised by the background.

    Attributes:
        means: By part, (dim,).
        spreads: The same.
    """

    means: dict[str, Vectors]
    spreads: dict[str, Vectors]

    @classmethod
    def learn(cls, background: Inputs) -> HeadInputs:
        """Learn means and spreads; a part that every title lacks is left out."""
        means, spreads = {}, {}
        for name, values in sorted(background.items()):
            there = values[~np.isnan(values[:, 0])].astype(np.float64)
            if len(there):
                means[name] = there.mean(axis=0).astype(np.float32)
                spreads[name] = there.std(axis=0).clip(_MIN_SPREAD).astype(np.float32)
        return cls(means=means, spreads=spreads)

    @property
    def dim(self) -> int:
        """Width of the rows."""
        return sum(map(len, self.means.values()))

    def rows(self, inputs: Inputs) -> Vectors:
        """Return the parts side by side, (n_titles, dim); what a title lacks is zero, the mean of the background."""
        n = len(inputs[LOG_ODDS])
        columns = []
        for name, mean in self.means.items():
            part = inputs.get(name)
            if part is None:
                columns.append(np.zeros((n, len(mean)), np.float32))
            else:
                columns.append(np.nan_to_num((part - mean) / (self.spreads[name] * np.sqrt(len(mean))), nan=0.0))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def slopes(self, weights: Vectors) -> Vectors:
        """Return how far the log-odds of each known label move each head, (n_heads, n_known).

        Args:
            weights: Of the heads, (n_heads, dim).
        """
        start = 0
        for name, mean in self.means.items():
            if name == LOG_ODDS:
                own = weights[:, start : start + len(mean)]
                return np.asarray(own / (self.spreads[name] * np.sqrt(len(mean))), np.float32)
            start += len(mean)
        return np.zeros((len(weights), 0), np.float32)

    def tensors(self) -> dict[str, Vectors]:
        """Return everything by name, for storage."""
        means = {f"mean.{name}": value for name, value in self.means.items()}
        return means | {f"spread.{name}": value for name, value in self.spreads.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Vectors], names: Sequence[str]) -> HeadInputs:
        """Read what ``tensors`` returned, the parts in the given order."""
        return cls(
            means={name: tensors[f"mean.{name}"] for name in names},
            spreads={name: tensors[f"spread.{name}"] for name in names},
        )


class Background:
    """What heads read of training titles, kept in the artefact: what a new label is told from.

    Args:
        ids: Ids of the titles.
        inputs: What is read of them; kept in half precision.
    """

    def __init__(self, ids: Sequence[str], inputs: Inputs) -> None:
        self.ids = tuple(ids)
        self._halves = {name: values.clip(-_LARGEST, _LARGEST).astype(np.float16) for name, values in inputs.items()}

    @classmethod
    def of(cls, model: Model, features: Features, limit: int) -> Background:
        """Read training titles, at most ``limit`` of them and at most 10,000, evenly drawn."""
        n = min(limit, _MOST_BACKGROUND, len(features))
        chosen = features.take(np.unique(np.linspace(0, len(features) - 1, n).astype(np.int64)))
        return cls(chosen.ids, vectors_of_titles(model, chosen))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def inputs(self) -> dict[str, Vectors]:
        """What is read of the titles, in single precision."""
        return {name: values.astype(np.float32) for name, values in self._halves.items()}

    def but(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which titles are none of the given ones, (n_titles,)."""
        left_out = set(ids)
        return np.array([title_id not in left_out for title_id in self.ids], np.bool_)

    def save(self, folder: Path) -> None:
        """Write ids and vectors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(v) for name, v in self._halves.items()}, folder / "inputs.safetensors")
        pl.DataFrame({"id": self.ids}, schema={"id": pl.String}).write_parquet(folder / "titles.parquet")

    @classmethod
    def load(cls, folder: Path) -> Background:
        """Read what ``save`` wrote."""
        return cls(pl.read_parquet(folder / "titles.parquet")["id"].to_list(), load_file(folder / "inputs.safetensors"))
