"""From a model's own scores to probabilities that mean what they say, and thresholds that decide.

Everything here is fitted on validation titles only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from reeltag.config import check_choice, check_range, from_json, to_json
from reeltag.errors import ModelError, NotFittedError
from reeltag.files import write_json

Matrix = npt.NDArray[np.float32]
METHODS = ("platt", "isotonic", "none")
RULES = ("half", "global", "per_label")


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How scores become probabilities and decisions.

    Attributes:
        method: ``platt`` fits a logistic curve per label on its log-odds (Platt 1999) and draws it towards the curve
            of all labels pooled, ``isotonic`` a rising step function (Zadrozny and Elkan 2002), ``none`` keeps the
            model's own probabilities.
        min_examples: A label with fewer positive or negative validation titles takes the curve of all labels pooled.
        rule: Which threshold decides: ``half`` (0.5), ``global`` (one for all labels, best micro F1 on validation)
            or ``per_label`` (best F1 of each label, drawn towards the global one where examples are few).
        shrinkage: How many positive validation titles of a label weigh as much as what all labels say together: the
            pooled Platt curve, the global threshold.
    """

    method: str = "platt"
    min_examples: int = 10
    rule: str = "global"
    shrinkage: float = 100.0

    def __post_init__(self) -> None:
        check_choice("CalibrationConfig", "method", self.method, METHODS)
        check_choice("CalibrationConfig", "rule", self.rule, RULES)
        check_range("CalibrationConfig", "min_examples", self.min_examples, 1, 1_000_000)
        check_range("CalibrationConfig", "shrinkage", self.shrinkage, 0, 1e9)


class Calibrator:
    """Maps scores to probabilities label by label, keeping their order within a label.

    Args:
        config: Settings.
    """

    def __init__(self, config: CalibrationConfig | None = None) -> None:
        self.config = config or CalibrationConfig()
        self._curves: dict[str, Matrix] | None = None
        self.thresholds_: dict[str, Matrix] = {}

    def fit(self, scores: Matrix, targets: Matrix) -> Calibrator:
        """Fit the curves and the thresholds.

        Args:
            scores: The model's own probabilities on validation titles, (n_titles, n_labels).
            targets: 0 and 1, same shape.

        Raises:
            ModelError: There are no titles, or the shapes differ.
        """
        if scores.shape != targets.shape or len(scores) == 0:
            raise ModelError(f"calibration needs validation titles; got scores {scores.shape}, targets {targets.shape}")
        self._curves = _FITTERS[self.config.method](log_odds(scores), targets, self.config)
        self.thresholds_ = choose_thresholds(self.transform(scores), targets, self.config.shrinkage)
        return self

    def transform(self, scores: Matrix) -> Matrix:
        """Return calibrated probabilities, (n_titles, n_labels)."""
        if self._curves is None:
            raise NotFittedError("Calibrator is used before fit")
        if self.config.method == "none":
            return scores.astype(np.float32)
        x = log_odds(scores)
        if self.config.method == "platt":
            return np.asarray(expit(x * self._curves["slope"] + self._curves["offset"]), np.float32)
        out = np.empty_like(x, np.float32)
        for label in range(x.shape[1]):
            knots = np.isfinite(self._curves["x"][label])
            out[:, label] = np.interp(x[:, label], self._curves["x"][label, knots], self._curves["y"][label, knots])
        return out

    @property
    def thresholds(self) -> Matrix:
        """The thresholds of the configured rule, shape (n_labels,)."""
        if not self.thresholds_:
            raise NotFittedError("Calibrator is used before fit")
        return self.thresholds_[self.config.rule]

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` and ``calibration.safetensors``."""
        if self._curves is None:
            raise NotFittedError("Calibrator is used before fit")
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"curve.{name}": np.ascontiguousarray(value) for name, value in self._curves.items()}
        tensors |= {f"threshold.{rule}": value for rule, value in self.thresholds_.items()}
        save_file(tensors, folder / "calibration.safetensors")
        write_json(folder / "calibration.json", to_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> Calibrator:
        """Read what ``save`` wrote."""
        data = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        calibrator = cls(from_json(CalibrationConfig, data, "calibration.json"))
        tensors = load_file(folder / "calibration.safetensors")
        calibrator._curves = {n.removeprefix("curve."): t for n, t in tensors.items() if n.startswith("curve.")}
        calibrator.thresholds_ = {
            n.removeprefix("threshold."): t for n, t in tensors.items() if n.startswith("threshold.")
        }
        return calibrator


def choose_thresholds(probabilities: Matrix, targets: Matrix, shrinkage: float) -> dict[str, Matrix]:
    """Return the thresholds of every rule, each of shape (n_labels,).

    Args:
        probabilities: Calibrated, on validation titles, (n_titles, n_labels).
        targets: 0 and 1, same shape.
        shrinkage: See ``CalibrationConfig``; 0 takes the best threshold of each label as it is.
    """
    n_labels = targets.shape[1]
    together = best_f1_threshold(probabilities.ravel(), targets.ravel())
    own = np.array([best_f1_threshold(probabilities[:, c], targets[:, c]) for c in range(n_labels)])
    trust = _trust(targets, shrinkage)
    return {
        "half": np.full(n_labels, 0.5, np.float32),
        "global": np.full(n_labels, together, np.float32),
        "per_label": (trust * own + (1 - trust) * together).astype(np.float32),
    }


def best_f1_threshold(probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.floating]) -> float:
    """Return the threshold with the best F1, halfway between the two neighbouring probabilities.

    Args:
        probabilities: Shape (n,).
        targets: 0 and 1, shape (n,).

    Returns:
        A threshold in [0, 1], 0 only when titles of probability 0 are better tagged too; 0.5 when there is no
        positive.
    """
    n_positive = float(targets.sum())
    if n_positive == 0:
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(targets[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + n_positive)
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # equal probabilities are decided together
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    middle = (ranked[best] + below) / 2
    # between neighbours in single precision lies no third number: the threshold must not fall on the lower one
    return float(middle if np.float32(middle) > below else ranked[best])


def log_odds(scores: Matrix) -> npt.NDArray[np.float64]:
    """Return ``log(p / (1 - p))``, with p kept within 1e-6 of 0 and 1."""
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def _trust(targets: Matrix, shrinkage: float) -> npt.NDArray[np.float64]:
    """Return how far each label is believed over all labels together: n / (n + shrinkage), shape (n_labels,)."""
    positives = targets.sum(axis=0, dtype=np.float64)
    return np.asarray(positives / np.maximum(positives + shrinkage, 1e-9), np.float64)


def _fit_platt(x: npt.NDArray[np.float64], targets: Matrix, config: CalibrationConfig) -> dict[str, Matrix]:
    pooled_slope, pooled_offset = _logistic(x.ravel(), targets.ravel())
    slope, offset = np.full(x.shape[1], pooled_slope), np.full(x.shape[1], pooled_offset)
    trust = _trust(targets, config.shrinkage)
    for label in _with_examples(targets, config.min_examples):
        own_slope, own_offset = _logistic(x[:, label], targets[:, label])
        slope[label] += trust[label] * (own_slope - pooled_slope)
        offset[label] += trust[label] * (own_offset - pooled_offset)
    return {"slope": slope.astype(np.float32), "offset": offset.astype(np.float32)}


def _logistic(x: npt.NDArray[np.float64], targets: Matrix) -> tuple[float, float]:
    """Return slope and offset; a slope that is not positive (scores worse than chance) is replaced by identity."""
    if targets.min() == targets.max():
        return 1.0, 0.0
    fitted = LogisticRegression(C=100.0).fit(x[:, None], targets)
    slope = float(fitted.coef_[0, 0])
    return (slope, float(fitted.intercept_[0])) if slope > 0 else (1.0, 0.0)


def _fit_isotonic(x: npt.NDArray[np.float64], targets: Matrix, config: CalibrationConfig) -> dict[str, Matrix]:
    pooled = _steps(x.ravel(), targets.ravel())
    curves = [pooled] * x.shape[1]
    for label in _with_examples(targets, config.min_examples):
        curves[label] = _steps(x[:, label], targets[:, label])
    width = max(len(knots) for knots, _ in curves)
    padded = np.full((2, x.shape[1], width), np.nan, np.float32)
    for label, (knots, heights) in enumerate(curves):
        padded[0, label, : len(knots)], padded[1, label, : len(knots)] = knots, heights
    return {"x": padded[0], "y": padded[1]}


def _steps(x: npt.NDArray[np.float64], targets: Matrix) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    fitted = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip").fit(x, targets)
    return fitted.X_thresholds_, fitted.y_thresholds_


def _fit_none(x: npt.NDArray[np.float64], targets: Matrix, config: CalibrationConfig) -> dict[str, Matrix]:  # noqa: ARG001
    return {}


def _with_examples(targets: Matrix, min_examples: int) -> npt.NDArray[np.int64]:
    positives = targets.sum(axis=0)
    return np.flatnonzero((positives >= min_examples) & (len(targets) - positives >= min_examples))


_FITTERS = {"platt": _fit_platt, "isotonic": _fit_isotonic, "none": _fit_none}
