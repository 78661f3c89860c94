"""One run: an entry trained with one seed, its figures on the test titles, and the files that keep them.

A run is kept as JSON (figures) and safetensors (probabilities, attention) under a name made of everything it depends
on, so that the same entry in two tables is trained once, and an interrupted benchmark goes on where it stopped. What it
says of changed test titles is kept with it; a run that lacks some of that is made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from reeltag.benchmark.entries import Entry, Variant
from reeltag.benchmark.inputs import Inputs, digest
from reeltag.benchmark.long_tail import KS, ranking_figures, tail_figures
from reeltag.benchmark.published import HIT
from reeltag.benchmark.weighted import area_figures, decided_figures
from reeltag.calibration import CalibrationConfig, choose_thresholds
from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError
from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    BootstrapConfig,
    EvaluationConfig,
    Scores,
    TrainingCounts,
    Truth,
    decide,
    evaluate_predictions,
    score_decisions,
)
from reeltag.features import Features
from reeltag.files import atomic_file, write_json
from reeltag.models import MODELS, IdkgModel, Model, Validation
from reeltag.models.contract import STANDING
from reeltag.models.estimator import NetworkModel
from reeltag.progress import Progress, silent

_SCHEMA = 1
SEED_STEP = 1000  # a member is trained with seed + its number: members of two seeds must not meet
_PROBABILITIES, _ATTENTION, _TEACHER, _KNOWN, _VARIANT = "probabilities", "attention.", "teacher", "people", "variant."
_LIMITS = "thresholds.per_label"
_NO_INTERVALS = BootstrapConfig(n_resamples=0)
_SHRINKAGE = CalibrationConfig().shrinkage  # of the thresholds per label

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One entry trained with one seed and read once on the test titles.

    Attributes:
        entry: Label it was first run under.
        seed: Number of the training, from 0.
        depends_on: Everything the figures depend on.
        figures: By threshold rule (``at 0.5``, ``global``, ``per_label``): micro, macro, weighted and samples F1,
            ``hit_at_least_one``, and precision and recall weighted by support. Runs of earlier versions lack these
            three, or the rule ``per_label``.
        threshold: The global threshold, chosen on the validation titles.
        mean_average_precision: None when no label has a positive.
        ece: Expected calibration error of the model's own probabilities.
        labels: Per label: name, titles in training and test, F1 by rule.
        attention: Mean attention per modality; empty for models without.
        blocks: Names of the feature blocks that were read.
        present: Share of the test titles that have each modality; empty in runs of earlier versions.
        variants: By name of a variant of the test titles: what it is, the same figures at the global threshold, and
            ``present``.
        best_epochs: Epoch that each member was taken from; empty for models without epochs.
        train_seconds: Wall-clock time of the training alone.
        ranking: P@k, nDCG@k and PSP@k, as ``RANKING_METRICS`` names them; empty in runs of earlier versions.
        tail: Under ``per_label``, macro F1 of ``head``, ``middle`` and ``tail`` and ``label_coverage``; empty likewise.
        areas: AUROC and average precision weighted by support; empty likewise.
    """

    entry: str
    seed: int
    depends_on: dict[str, Any]
    figures: dict[str, dict[str, float]]
    threshold: float
    mean_average_precision: float | None
    ece: float
    labels: list[dict[str, Any]]
    attention: dict[str, float] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)
    best_epochs: list[int] = field(default_factory=list)
    present: dict[str, float] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    train_seconds: float = 0.0
    ranking: dict[str, float | None] = field(default_factory=dict)
    tail: dict[str, float | None] = field(default_factory=dict)
    areas: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A run with what it says of every test title.

    Attributes:
        run: The figures.
        file: Its JSON file.
        probabilities: (n_test, n_labels).
        attention: Per modality, (n_test,).
        teacher: What the attention teacher asks of the credits, (n_test,); None without one.
        people: People of every test title that the graph knows, (n_test,); None where that is not read.
        variants: Probabilities under each variant of the test titles, (n_test, n_labels).
    """

    run: Run
    file: Path
    probabilities: Matrix
    attention: dict[str, Matrix]
    teacher: Matrix | None
    people: Matrix | None
    variants: dict[str, Matrix] = field(default_factory=dict)

    @property
    def decisions(self) -> npt.NDArray[np.bool_]:
        """Which labels are said at the global threshold, (n_test, n_labels)."""
        return self.probabilities >= np.float32(self.run.threshold)


class RunFolder:
    """Keeps runs.

    Args:
        folder: Where.
        inputs: What the entries read.
        settings: Whole settings of every entry's model, by label.
        variants: Changes of the test titles that entries are read again with, by label; none when None.
    """

    def __init__(
        self,
        folder: Path,
        inputs: Inputs,
        settings: dict[str, dict[str, Any]],
        variants: Mapping[str, Sequence[Variant]] | None = None,
    ) -> None:
        self.folder, self.inputs, self.settings = folder, inputs, settings
        self.variants = variants or {}

    def depends_on(self, entry: Entry, seed: int) -> dict[str, Any]:
        """Return everything that the figures of a run depend on."""
        return {
            "schema": _SCHEMA,
            "model": entry.model,
            "settings": _that_matter(entry, self.settings[entry.label]),
            "reads": self.inputs.describe(entry),
            "seed": seed,
        }

    def path(self, entry: Entry, seed: int) -> Path:
        """Return the JSON file of a run."""
        told = self.depends_on(entry, seed)
        name = f"{entry.model}-{digest({**told, 'seed': None})}-seed{seed}.json"
        return self.folder / self.inputs.part.protocol / name

    def find(self, entry: Entry, seed: int) -> Outcome | None:
        """Return a run that is there, whole and with its variants; None when it is not: a damaged one is none."""
        if not (self.path(entry, seed).is_file() and self._arrays(entry, seed).is_file()):
            return None
        try:
            found = self.open(entry, seed)
        except (ConfigError, SafetensorError, ValueError, KeyError):
            return None
        kept = {name: figures.get("variant") for name, figures in found.run.variants.items()}
        wanted = self.variants.get(entry.label, ())
        return found if all(kept.get(variant.name) == to_json(variant) for variant in wanted) else None

    def open(self, entry: Entry, seed: int) -> Outcome:
        """Read a run.

        Raises:
            ConfigError: The file is not one of these.
            ValueError: Its JSON is damaged.
            SafetensorError: Its arrays are damaged.
            KeyError: Some of its arrays are not there.
        """
        path = self.path(entry, seed)
        run = from_json(Run, json.loads(path.read_text(encoding="utf-8")), str(path))
        arrays = load_file(self._arrays(entry, seed))
        return Outcome(
            run=run,
            file=path,
            probabilities=arrays[_PROBABILITIES],
            attention={modality: arrays[f"{_ATTENTION}{modality}"] for modality in run.attention},
            teacher=arrays.get(_TEACHER),
            people=arrays.get(_KNOWN),
            variants={name: arrays[f"{_VARIANT}{name}"] for name in run.variants},
        )

    def make(self, entry: Entry, seed: int, progress: Progress = silent) -> Outcome:
        """Train, measure and keep a run; the JSON is written last."""
        part, inputs = self.inputs.part, self.inputs
        kind = MODELS[entry.model]
        settings = self.settings[entry.label]
        model = kind(from_json(kind.config_class, settings, f"{entry.label}: settings"), seed=SEED_STEP * seed)
        held_out = Validation(features=inputs.of(entry, part.validation), targets=part.targets_of(part.validation))
        learned, vectors = inputs.of(entry, part.train), inputs.label_vectors(entry)
        wanted = {variant: inputs.of_test(entry, variant) for variant in self.variants.get(entry.label, ())}
        start = time.perf_counter()
        model.fit(
            learned, part.targets_of(part.train), validation=held_out, label_vectors=vectors,
            progress=lambda stage, done, total: progress(f"{entry.label}, seed {seed}: {stage}", done, total),
        )  # fmt: skip
        seconds = time.perf_counter() - start
        chosen = choose_thresholds(model.predict_proba(held_out.features), held_out.targets, _SHRINKAGE)
        threshold = float(chosen["global"][0])
        features = inputs.of(entry, part.test)
        arrays = {
            _PROBABILITIES: model.predict_proba(features),
            **_looked_at(model, features),
            _LIMITS: chosen["per_label"],
        }
        run = self._measured(entry, seed, arrays, threshold)
        variants = {}
        for variant, changed in wanted.items():
            probabilities = arrays[f"{_VARIANT}{variant.name}"] = model.predict_proba(changed)
            scores = score_decisions(GLOBAL, part.truth, decide(probabilities, threshold), _NO_INTERVALS)
            told = {"variant": to_json(variant), "present": _shares(changed), "figures": _figures(scores)}
            variants[variant.name] = told
        data = {
            **vars(run),
            "blocks": [*features.blocks, *features.tokens],
            "best_epochs": [h.best_epoch for h in model.histories_] if isinstance(model, NetworkModel) else [],
            "train_seconds": round(seconds, 2),
            "present": _shares(features),
            "variants": variants,
        }
        with atomic_file(self._arrays(entry, seed)) as temporary:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        write_json(self.path(entry, seed), data)
        return self.open(entry, seed)

    def _measured(self, entry: Entry, seed: int, arrays: dict[str, Matrix], threshold: float) -> Run:
        part, n_labels = self.inputs.part, len(self.inputs.part.labels)
        limits = {
            AT_HALF: np.full(n_labels, 0.5, np.float32),
            GLOBAL: np.full(n_labels, threshold, np.float32),
            PER_LABEL: arrays[_LIMITS],
        }
        evaluation = evaluate_predictions(
            Truth(targets=part.truth, labels=part.labels.labels),
            arrays[_PROBABILITIES],
            limits,
            config=EvaluationConfig(ks=KS, bootstrap=_NO_INTERVALS),
            training=TrainingCounts(labels=part.training_counts, n_titles=len(part.train)),
        )
        weighted = decided_figures(part.truth, arrays[_PROBABILITIES], limits)
        return Run(
            entry=entry.label,
            seed=seed,
            depends_on=self.depends_on(entry, seed),
            figures={scores.rule: _figures(scores) | weighted[scores.rule] for scores in evaluation.rules},
            threshold=threshold,
            mean_average_precision=evaluation.ranking.mean_average_precision,
            ece=evaluation.ranking.ece,
            labels=[
                {"label": own.label, "train": n, "test": own.support, "f1": own.f1_by_rule}
                for own, n in zip(evaluation.labels, part.training_counts, strict=True)
            ],
            attention={
                name.removeprefix(_ATTENTION): float(array.mean())
                for name, array in arrays.items()
                if name.startswith(_ATTENTION)
            },
            ranking=ranking_figures(evaluation),
            tail=tail_figures(evaluation),
            areas=area_figures(evaluation),
        )

    def _arrays(self, entry: Entry, seed: int) -> Path:
        return self.path(entry, seed).with_suffix(".safetensors")


def _that_matter(entry: Entry, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model without those, newer than kept runs or not used, that change nothing."""
    without = set() if settings.get("loss_settings") else {"loss_settings"}
    without |= set() if entry.tokens else {"max_positions"}
    without |= set() if settings.get("try_clusters") else {"try_clusters"}
    without |= {"fine"} if settings.get("fine_stage") is False else set()
    return {name: value for name, value in settings.items() if name not in without}


def _figures(scores: Scores) -> dict[str, float]:
    return {
        "micro_f1": scores.micro_f1,
        "macro_f1": scores.macro_f1,
        "weighted_f1": scores.weighted_f1,
        "samples_f1": scores.samples_f1,
        HIT: scores.hit_at_least_one,
    }


def _shares(features: Features) -> dict[str, float]:
    """Return the share of titles that have each modality."""
    return {name: float(features.present(name).mean()) for name in features.modalities}


def _looked_at(model: Model, features: Features) -> dict[str, Matrix]:
    """Return what a model can tell of its attention, by name of the array that is kept."""
    told = {f"{_ATTENTION}{modality}": array for modality, array in model.attention(features).items()}
    if isinstance(model, IdkgModel):
        teacher = model.teacher(features)
        told |= {} if teacher is None else {_TEACHER: teacher}
    standing = features.blocks.get(STANDING)
    return told if standing is None else {**told, _KNOWN: standing.values[:, 0]}
