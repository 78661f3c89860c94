"""Fitted: what ``Tagger.fit`` makes and an artefact holds; learned labels and labels added later are read as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.added import AddedEvidence, AddedLabels, Background, TokenSpeaker, inputs_of
from reeltag.artefact import ADDED, BACKGROUND, read_fitted_on, write_fitted_on
from reeltag.calibration import Calibrator
from reeltag.config import to_json
from reeltag.explain import Neighbourhood
from reeltag.explain_tokens import TokenModel
from reeltag.features import Features
from reeltag.labels import LabelSpace
from reeltag.models import MODELS, Model
from reeltag.models.contract import leave_modality_out
from reeltag.pipeline import FeaturePipeline
from reeltag.recipes import Recipe
from reeltag.selftraining import SELF_TRAINING, Round

Matrix = npt.NDArray[np.float32]
_HALF = "half"
_PART = "added label "  # of fitted_on, before the label


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Everything a tagger has learned.

    Attributes:
        learned: The labels of the model, in its order.
        pipeline: What makes features.
        model: The model.
        calibrator: Its curves and thresholds.
        neighbours: Training titles to be shown as the nearest ones.
        fitted_on: Which titles each part has seen.
        data: What it was trained on.
        history: Losses and scores of training.
        background: What labels are added against; None in artefacts of earlier versions.
        added: Labels added later, whose columns follow those of the learned ones.
    """

    learned: LabelSpace
    pipeline: FeaturePipeline
    model: Model
    calibrator: Calibrator
    neighbours: Neighbourhood
    fitted_on: dict[str, list[str]]
    data: dict[str, Any]
    history: dict[str, Any]
    background: Background | None = None
    added: AddedLabels = field(default_factory=AddedLabels)

    @cached_property
    def labels(self) -> LabelSpace:
        """The learned labels and the added ones; an added one counts its examples."""
        if not self.added:
            return self.learned
        counts = (*self.learned.counts, *(len(entry.examples) for entry in self.added.entries))
        names = (*self.learned.labels, *self.added.labels)
        return LabelSpace(names, self.learned.config, counts if self.learned.counts else ())

    def scores(self, features: Features) -> Matrix:
        """Return the model's own probabilities, beside those of the added labels: (n_titles, n_labels)."""
        own = self.model.predict_proba(features)
        return self._beside(own, features, own)

    def predict_proba(self, features: Features) -> Matrix:
        """Return calibrated probabilities (n_titles, n_labels)."""
        own = self.model.predict_proba(features)
        return self._beside(self.calibrator.transform(own), features, own)

    def thresholds(self, rule: str | None = None) -> Matrix:
        """Return the thresholds of a rule, or of the configured one, (n_labels,).

        An added label has one threshold, chosen when it was added or given, and 0.5 under the rule ``half``.
        """
        own = self.calibrator.thresholds if rule is None else self.calibrator.thresholds_[rule]
        half = (rule or self.calibrator.config.rule) == _HALF
        added = np.full(len(self.added), 0.5, np.float32) if half else self.added.thresholds
        return np.concatenate([own, added])

    @property
    def thresholds_by_rule(self) -> dict[str, Matrix]:
        """The thresholds of every rule, each (n_labels,)."""
        return {rule: self.thresholds(rule) for rule in self.calibrator.thresholds_}

    def explain(self, features: Features) -> dict[str, Matrix]:
        """Return per modality how far its presence moves the log-odds of each label, (n_titles, n_labels)."""
        moves = self.model.explain(features)
        if not self.added:
            return moves
        own = np.zeros((len(features), len(self.learned)), np.float32)
        beside = leave_modality_out(self._added_proba, features)
        modalities = [*moves, *(name for name in beside if name not in moves)]
        none = np.zeros((len(features), len(self.added)), np.float32)
        return {name: np.hstack([moves.get(name, own), beside.get(name, none)]) for name in modalities}

    @property
    def speaker(self) -> object:
        """The model, made to speak of added labels too where it speaks of tokens."""
        if self.added and isinstance(self.model, TokenModel):
            return TokenSpeaker(self.model, self.added.known_slopes())
        return self.model

    def added_evidence(self, features: Features, labels: Sequence[str], n: int) -> tuple[AddedEvidence, ...]:
        """Return what stands behind those of some labels of one title that were added, ``n`` examples of each."""
        if not self.added:
            return ()
        inputs = inputs_of(features, self.model.predict_proba(features))
        return self.added.evidence(inputs, features.ids[0], labels, n)

    def with_added(self, added: AddedLabels) -> Fitted:
        """Return the same with other added labels; which titles each was added from is kept for the leak check."""
        seen = {f"{_PART}{entry.label}": [*entry.examples, *entry.counter_examples] for entry in added.entries}
        parts = {part: ids for part, ids in self.fitted_on.items() if not part.startswith(_PART)}
        return replace(self, added=added, fitted_on=parts | seen)

    def save(self, folder: Path) -> dict[str, object]:
        """Write the parts of the artefact; return what ``FeaturePipeline.load`` needs besides."""
        pipeline = self.pipeline.save(folder / "features")
        self.learned.save(folder / "labels.json")
        self.model.save_pretrained(folder / "model")
        self.calibrator.save(folder / "calibration")
        self.neighbours.save(folder / "neighbours")
        if self.background is not None:
            self.background.save(folder / BACKGROUND)
        if self.added:
            self.added.save(folder / ADDED)
        write_fitted_on(folder, self.fitted_on)
        return pipeline

    @classmethod
    def load(cls, folder: Path, recipe: Recipe, config: Mapping[str, Any]) -> Fitted:
        """Read what ``save`` wrote.

        Args:
            folder: Of the artefact.
            recipe: Its recipe.
            config: Its checked ``config.json``.
        """
        parts = {name.partition("/")[0] for name in config["files"]}
        return cls(
            learned=LabelSpace.load(folder / "labels.json"),
            pipeline=FeaturePipeline.load(folder / "features", recipe.features, **config["pipeline"]),
            model=MODELS[recipe.model].from_pretrained(folder / "model"),
            calibrator=Calibrator.load(folder / "calibration"),
            neighbours=Neighbourhood.load(folder / "neighbours"),
            fitted_on=read_fitted_on(folder),
            data=config["data"],
            history=config["history"],
            background=Background.load(folder / BACKGROUND) if BACKGROUND in parts else None,
            added=AddedLabels.load(folder / ADDED) if ADDED in parts else AddedLabels(),
        )

    def _added_proba(self, features: Features) -> Matrix:
        return self.added.predict_proba(inputs_of(features, self.model.predict_proba(features)))

    def _beside(self, known: Matrix, features: Features, own: Matrix) -> Matrix:
        """Return the columns of the learned labels as they are, followed by those of the added ones."""
        if not self.added:
            return known
        return np.hstack([known, self.added.predict_proba(inputs_of(features, own))])


def history_of(model: Model, rounds: Sequence[Round] = ()) -> dict[str, Any]:
    """Return what happened in training, as JSON values.

    Args:
        model: The members of a network tell losses and scores epoch by epoch; other models have no members.
        rounds: Of self-training; left out when there were none.
    """
    histories = getattr(model, "histories_", [])
    members = [{"losses": list(h.losses), "scores": list(h.scores), "best": h.best_epoch} for h in histories]
    return {"members": members} | ({SELF_TRAINING: [to_json(told) for told in rounds]} if rounds else {})
