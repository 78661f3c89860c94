"""Predictions: what a tagger says of each title, and reading and writing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.errors import EvaluationError, ReeltagError
from reeltag.files import atomic_file


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Probabilities and decisions for some titles.

    Attributes:
        ids: Ids of the titles.
        labels: Labels, in column order.
        probabilities: Calibrated, float32 of shape (n_titles, n_labels).
        thresholds: float32 of shape (n_labels,); a label applies when its probability reaches its threshold.
        titles: Titles for reading, or empty.
        evidence: One short text per title that says what spoke for its labels, or empty.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    thresholds: npt.NDArray[np.float32]
    titles: tuple[str, ...] = ()
    evidence: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        expected = (len(self.ids), len(self.labels))
        if self.probabilities.shape != expected or self.thresholds.shape != expected[1:]:
            raise EvaluationError(
                f"predictions need probabilities of shape {expected} and {expected[1]} thresholds; "
                f"got {self.probabilities.shape} and {self.thresholds.shape}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Predictions:
        """Return the predictions of the given titles, in that order."""
        return Predictions(
            ids=tuple(self.ids[row] for row in rows),
            labels=self.labels,
            probabilities=self.probabilities[list(rows)],
            thresholds=self.thresholds,
            titles=tuple(self.titles[row] for row in rows) if self.titles else (),
            evidence=tuple(self.evidence[row] for row in rows) if self.evidence else (),
        )

    @property
    def decisions(self) -> npt.NDArray[np.bool_]:
        """Which labels apply, shape (n_titles, n_labels)."""
        decided: npt.NDArray[np.bool_] = np.greater_equal(self.probabilities, self.thresholds)
        return decided

    @property
    def abstained(self) -> npt.NDArray[np.bool_]:
        """Titles for which no label reaches its threshold, shape (n_titles,)."""
        return np.logical_not(self.decisions.any(axis=1))

    def decided(self) -> list[list[tuple[str, float]]]:
        """Return the labels that apply to each title with their probabilities, surest first; [] is an abstention."""
        out = []
        for row, mask in zip(self.probabilities, self.decisions, strict=True):
            columns = np.flatnonzero(mask)
            columns = columns[np.argsort(-row[columns], kind="stable")]
            out.append([(self.labels[c], float(row[c])) for c in columns])
        return out

    def likeliest(self, n: int = 3) -> list[list[tuple[str, float]]]:
        """Return the ``n`` likeliest labels of each title, whether they reach their threshold or not."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :n]
        return [
            [(self.labels[c], float(row[c])) for c in top] for row, top in zip(self.probabilities, order, strict=True)
        ]

    def to_frame(self) -> pl.DataFrame:
        """Return one row per title: id, title, labels, their probabilities, abstained, all probabilities, evidence."""
        decided = self.decided()
        columns: dict[str, pl.Series] = {"id": pl.Series(self.ids, dtype=pl.String)}
        if self.titles:
            columns["title"] = pl.Series(self.titles, dtype=pl.String)
        columns["labels"] = pl.Series([[label for label, _ in row] for row in decided], dtype=pl.List(pl.String))
        columns["label_probabilities"] = pl.Series([[p for _, p in row] for row in decided], dtype=pl.List(pl.Float32))
        columns["abstained"] = pl.Series(self.abstained)
        columns["probabilities"] = pl.Series(
            self.probabilities, dtype=pl.Array(pl.Float32, len(self.labels))
        ).arr.to_struct(list(self.labels))
        if self.evidence:
            columns["evidence"] = pl.Series(self.evidence, dtype=pl.String)
        return pl.DataFrame(columns)

    def write(self, path: str | Path) -> Path:
        """Write the predictions as ``.parquet``, ``.csv`` or ``.jsonl``, atomically.

        Parquet keeps every probability and the thresholds, and can be read back; CSV joins the labels with ``|``.

        Raises:
            ReeltagError: The suffix is none of the three.
        """
        thresholds = {label: float(t) for label, t in zip(self.labels, self.thresholds, strict=True)}
        metadata = {_THRESHOLDS: json.dumps(thresholds)}
        return write_frame(self.to_frame(), Path(path), metadata=metadata, flat=_flat)

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Read predictions that were written as Parquet.

        Raises:
            EvaluationError: The file was not written by ``write``.
        """
        try:
            frame = pl.read_parquet(path)
            thresholds = json.loads(pl.read_parquet_metadata(path)[_THRESHOLDS])
            probabilities = frame.select(pl.col("probabilities").struct.unnest())
        except (pl.exceptions.PolarsError, OSError, KeyError, ValueError) as error:
            raise EvaluationError(f"{path}: not a Parquet file of predictions ({error})") from None
        labels = tuple(thresholds)
        return cls(
            ids=tuple(frame["id"]),
            labels=labels,
            probabilities=probabilities.to_numpy().astype(np.float32),
            thresholds=np.array([thresholds[label] for label in labels], np.float32),
            titles=tuple(frame["title"].fill_null("")) if "title" in frame.columns else (),
            evidence=tuple(frame["evidence"]) if "evidence" in frame.columns else (),
        )


_THRESHOLDS = "reeltag_thresholds"


def write_frame(
    frame: pl.DataFrame,
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    flat: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
) -> Path:
    """Write a table as ``.parquet``, ``.csv`` or ``.jsonl``, atomically.

    Args:
        frame: The table.
        path: The file.
        metadata: Of the Parquet file.
        flat: Makes a table without lists for CSV; as it is when None.

    Raises:
        ReeltagError: The suffix is none of the three.
    """
    check_suffix(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.write_parquet(temporary, metadata=metadata)
        elif path.suffix.lower() == ".jsonl":
            frame.write_ndjson(temporary)
        else:
            (frame if flat is None else flat(frame)).write_csv(temporary)
    return path


def check_suffix(path: Path, known: Sequence[str] = (".parquet", ".csv", ".jsonl")) -> None:
    """Raise ReeltagError unless predictions can be written to a file of that suffix."""
    if path.suffix.lower() not in known:
        raise ReeltagError(f"{path}: predictions are written as {', '.join(known)}; got {path.suffix!r}")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    rounded = pl.col("label_probabilities").list.eval(pl.element().round(4).cast(pl.String)).list.join("|")
    return frame.with_columns(pl.col("labels").list.join("|"), rounded).drop("probabilities")
