"""Tagger: learns the labels of a catalogue and says for each title which apply, how sure it is, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.artefact import opened, read_fitted_on, short_card, write_artefact, write_fitted_on
from reeltag.assessment import Subject, report_on, titles_of
from reeltag.calibration import RULES, Calibrator
from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range
from reeltag.encoders.store import FeatureStore
from reeltag.errors import NotFittedError, SplitError
from reeltag.evaluation import Report
from reeltag.explain import (
    Explanation,
    Neighbourhood,
    PersonEvidence,
    attention_evidence,
    evidence_in_words,
    label_evidence,
    people_evidence,
)
from reeltag.explain_tokens import poster_evidence
from reeltag.features import Features
from reeltag.labels import LabelSpace
from reeltag.leaks import check_fitted
from reeltag.models import MODELS, Model, Validation
from reeltag.pipeline import FeaturePipeline
from reeltag.predictions import Predictions
from reeltag.progress import Progress, silent
from reeltag.recipes import Recipe, recipe_from_json
from reeltag.recipes import recipe as recipe_named
from reeltag.splits import SplitAssignment, assign_splits


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """What ``fit`` makes."""

    labels: LabelSpace
    pipeline: FeaturePipeline
    model: Model
    calibrator: Calibrator
    neighbours: Neighbourhood
    fitted_on: dict[str, list[str]]
    data: dict[str, Any]
    history: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What ``Tagger.evaluate`` returns.

    Attributes:
        report: Every figure; write it with ``reeltag.evaluation.write_report``.
        predictions: Probabilities and decisions of the evaluated titles.
        targets: Their truth, (n_titles, n_labels).
    """

    report: Report
    predictions: Predictions
    targets: npt.NDArray[np.float32]


class Tagger:
    """A recipe put to work.

    Args:
        recipe: Name of a recipe, or a Recipe.
        labels: Catalogue field that holds the labels; the recipe's own when None.
        seed: Same seed and catalogue, same tagger.
        cache: Folder for vectors of pre-trained encoders; the user's cache folder when None.
    """

    def __init__(
        self, recipe: str | Recipe = "fusion", labels: str | None = None, *, seed: int = 0, cache: Path | None = None
    ) -> None:
        check_range("Tagger", "seed", seed, 0, 2**31 - 1)
        chosen = recipe if isinstance(recipe, Recipe) else recipe_named(recipe)
        self.recipe = chosen if labels is None else replace(chosen, labels=replace(chosen.labels, field=labels))
        self.seed = seed
        self.store = FeatureStore(cache)
        self._fitted: _Fitted | None = None
        self._split: tuple[Catalogue, SplitAssignment] | None = None  # the catalogue split last

    def fit(self, catalogue: Catalogue, *, progress: Progress = silent) -> Tagger:
        """Learn from the training titles, choose and calibrate on the validation titles.

        Args:
            catalogue: Titles with labels. Its ``split`` column is honoured; without one, titles are split with
                near-duplicates kept together (``Tagger.splits``). Background titles feed the credits graph only.
            progress: Called as the work advances.

        Returns:
            The tagger itself.

        Raises:
            SplitError: There are no training or validation titles with known labels.
            LabelError: No label is frequent enough.
        """
        config = self.recipe
        lists = catalogue.lists(config.labels.field)
        splits = self.splits(catalogue, progress)
        training, validation = (_rows(splits, split, lists, catalogue.source) for split in ("train", "validation"))
        labels = LabelSpace.learn([lists[row] for row in training], config.labels)
        targets, known = labels.encode(lists)
        graph_rows = training
        if config.features.credits.background:
            background = splits.rows_of("background")
            graph_rows = np.concatenate([training, background[known[background]]])
        pipeline = FeaturePipeline(config.features).fit(
            catalogue.take(training), catalogue.take(graph_rows), targets[graph_rows], seed=self.seed, progress=progress
        )
        features = pipeline.transform(catalogue.take(np.concatenate([training, validation])), self.store, progress)
        n = len(training)
        learned = features.take(range(n))
        held_out = Validation(features=features.take(range(n, len(features))), targets=targets[validation])
        model = MODELS[config.model](config.model_config(), seed=self.seed)
        vectors = pipeline.label_vectors
        model.fit(learned, targets[training], validation=held_out, label_vectors=vectors, progress=progress)
        calibrator = Calibrator(config.calibration).fit(model.predict_proba(held_out.features), held_out.targets)
        ids = {"training": catalogue.take(training).ids, "validation": catalogue.take(validation).ids}
        self._fitted = _Fitted(
            labels=labels,
            pipeline=pipeline,
            model=model,
            calibrator=calibrator,
            neighbours=Neighbourhood.of(
                model, learned, catalogue.take(training), labels.decode(targets[training] > 0), config.neighbours
            ),
            fitted_on={
                **pipeline.fitted_on_,
                "model": ids["training"],
                "early stopping": ids["validation"],
                "thresholds": ids["validation"],
                "calibrator": ids["validation"],
            },
            data={
                "source": catalogue.source,
                "fingerprint": catalogue.fingerprint(),
                "splits": splits.origin,
                "titles": splits.counts,
                "labelled": {"train": n, "validation": len(validation), "graph": len(graph_rows)},
            },
            history=_history(model),
        )
        return self

    def splits(self, catalogue: Catalogue, progress: Progress = silent) -> SplitAssignment:
        """Return the split of every title, as ``fit`` and ``evaluate`` see it.

        A catalogue without splits is split anew each time, always alike for the same catalogue and recipe.
        """
        if self._split is not None and self._split[0] is catalogue:
            return self._split[1]  # looking for near-same titles again would take as long again
        words = catalogue.lists(self.recipe.labels.field)
        space = LabelSpace.learn(words, replace(self.recipe.labels, min_count=1, include=()))
        targets, known = space.encode(words)
        assignment = assign_splits(catalogue, targets, self.recipe.splits, known=known, progress=progress)
        self._split = catalogue, assignment
        return assignment

    def features(self, catalogue: Catalogue, *, progress: Progress = silent) -> Features:
        """Return the features of titles, as the model reads them."""
        return self.fitted.pipeline.transform(catalogue, self.store, progress)

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities (n_titles, n_labels) from features."""
        return self.fitted.calibrator.transform(self.fitted.model.predict_proba(features))

    def tag(
        self, catalogue: Catalogue, *, evidence: bool = True, rule: str | None = None, progress: Progress = silent
    ) -> Predictions:
        """Tag titles.

        Args:
            catalogue: The titles; any modality may be absent. A title that the tagger was trained on is left out of
                its own credits, but for the credit feature ``sum``.
            evidence: Say in a few words what spoke for the surest labels (one more pass per modality).
            rule: Threshold rule (``half``, ``global``, ``per_label``); the recipe's own when None.
            progress: Called as the work advances.
        """
        features = self.features(catalogue, progress=progress)
        fitted = self.fitted
        if rule is not None:
            check_choice("Tagger.tag", "rule", rule, RULES)
        thresholds = fitted.calibrator.thresholds if rule is None else fitted.calibrator.thresholds_[rule]
        predictions = Predictions(
            ids=features.ids,
            labels=self.labels.labels,
            probabilities=self.predict_proba(features),
            thresholds=thresholds,
            titles=tuple(catalogue.texts("title")),
        )
        if not evidence:
            return predictions
        return replace(predictions, evidence=evidence_in_words(fitted.model.explain(features), predictions))

    def evaluate(self, catalogue: Catalogue, split: str = "test", *, progress: Progress = silent) -> Assessment:
        """Measure the tagger on a split.

        Args:
            catalogue: Titles with labels. Its ``split`` column is taken as it stands; without one it is split as
                ``fit`` would.
            split: Which titles: ``test``, ``validation``, ``train``, ``background``, or ``all``.
            progress: Called as the work advances.

        Returns:
            The report, the predictions and the truth. Titles whose labels are unknown are left out.

        Raises:
            SplitError: There is no such split, or none of its titles has known labels.
        """
        lists = catalogue.lists(self.labels.config.field)
        targets, known = self.labels.encode(lists)
        inside = titles_of(split, catalogue, lambda: self.splits(catalogue, progress).splits)
        rows = np.flatnonzero(inside & known)
        if len(rows) == 0:
            raise SplitError(
                f"{catalogue.source}: no title of split '{split}' has known labels in '{self.labels.config.field}'"
            )
        titles = catalogue.take(rows)
        features = self.features(titles, progress=progress)
        subject = Subject(
            catalogue=titles,
            features=features,
            targets=targets[rows],
            labels=self.labels.labels,
            predict=self.predict_proba,
            thresholds=self.fitted.calibrator.thresholds_,
            rule=self.recipe.calibration.rule,
            look=partial(poster_evidence, self.fitted.model, self.fitted.pipeline, self.store),
        )
        probabilities = self.predict_proba(features)
        seen = check_fitted(self.fitted.fitted_on, titles.with_splits(["test"] * len(titles)))
        report = report_on(
            subject,
            probabilities,
            title=f"reeltag: {self.labels.config.field} of {Path(catalogue.source).name}",
            metadata={
                "recipe": self.recipe.name,
                "data": f"{Path(catalogue.source).name} ({catalogue.fingerprint()})",
                "split": split,
                "modalities": ", ".join(features.modalities),
                "date": datetime.now(UTC).date().isoformat(),
                "seed": str(self.seed),
                "leak check": " ".join(c.sentence for c in seen if c.severity != "ok")
                or "no fitted part has seen any of these titles",
            },
        )
        predictions = Predictions(
            ids=features.ids,
            labels=self.labels.labels,
            probabilities=probabilities,
            thresholds=self.fitted.calibrator.thresholds,
            titles=tuple(titles.texts("title")),
        )
        return Assessment(report=report, predictions=predictions, targets=targets[rows])

    def explain(self, catalogue: Catalogue, title_id: str, *, n_neighbours: int = 5, n_labels: int = 5) -> Explanation:
        """Say why a title gets its labels.

        Args:
            catalogue: Holds the title.
            title_id: Its id.
            n_neighbours: Nearest training titles shown.
            n_labels: Labels shown at least; all that apply are.

        Raises:
            CatalogueError: The catalogue has no such title.
        """
        film = catalogue.take([catalogue.find(title_id)])
        features = self.features(film)
        fitted = self.fitted
        probabilities = self.predict_proba(features)[0]
        thresholds = fitted.calibrator.thresholds
        order = [int(c) for c in np.argsort(-probabilities, kind="stable")]
        shown = [c for place, c in enumerate(order) if place < n_labels or probabilities[c] >= thresholds[c]]
        names = fitted.labels.labels
        people: tuple[PersonEvidence, ...] = ()
        credits, readers = fitted.pipeline.credits, fitted.pipeline.credit_readers
        if credits is not None:
            people = people_evidence(
                fitted.model, credits, features, film, labels=names, columns=shown, readers=readers
            )
        year = film.years()[0]
        present = tuple(m for m in features.modalities if features.present(m)[0])
        return Explanation(
            id=title_id,
            title=film.texts("title")[0],
            year=int(year) if np.isfinite(year) else None,
            present=present,
            absent=tuple(m for m in self.recipe.features.modalities if m not in present),
            labels=label_evidence(names, shown, probabilities, thresholds, fitted.model.explain(features)),
            people=people,
            attention=attention_evidence(fitted.model, features),
            poster=poster_evidence(fitted.model, fitted.pipeline, self.store, features, film, names, shown),
            neighbours=fitted.neighbours.nearest(fitted.model.embed(features)[0], title_id, n_neighbours),
        )

    def save_pretrained(self, folder: str | Path, card: str = "") -> Path:
        """Write the artefact, replacing an older one when the new one is complete.

        Args:
            folder: Where.
            card: Text of the model card; a short one when empty.
        """
        folder, fitted = Path(folder), self.fitted
        pipeline_data: dict[str, object] = {}

        def write_parts(temporary: Path) -> None:
            pipeline_data.update(fitted.pipeline.save(temporary / "features"))
            fitted.labels.save(temporary / "labels.json")
            fitted.model.save_pretrained(temporary / "model")
            fitted.calibrator.save(temporary / "calibration")
            fitted.neighbours.save(temporary / "neighbours")
            write_fitted_on(temporary, fitted.fitted_on)
            (temporary / "README.md").write_text(card or short_card(self.recipe.name, fitted.labels), encoding="utf-8")

        config = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "pipeline": pipeline_data,
            "data": fitted.data,
            "history": fitted.history,
        }
        write_artefact(folder, config, write_parts)
        return folder

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, cache: Path | None = None) -> Tagger:
        """Read an artefact.

        Raises:
            ArtefactError: The folder is no artefact, or is incomplete, damaged or of another schema.
        """
        folder = Path(folder)
        with opened(folder) as data:
            tagger = cls(recipe_from_json(data["recipe"], f"{folder}: recipe"), seed=data["seed"], cache=cache)
            tagger._fitted = _Fitted(
                labels=LabelSpace.load(folder / "labels.json"),
                pipeline=FeaturePipeline.load(folder / "features", tagger.recipe.features, **data["pipeline"]),
                model=MODELS[tagger.recipe.model].from_pretrained(folder / "model"),
                calibrator=Calibrator.load(folder / "calibration"),
                neighbours=Neighbourhood.load(folder / "neighbours"),
                fitted_on=read_fitted_on(folder),
                data=data["data"],
                history=data["history"],
            )
        return tagger

    @property
    def fitted(self) -> _Fitted:
        """The fitted parts.

        Raises:
            NotFittedError: The tagger has not been fitted or loaded.
        """
        if self._fitted is None:
            raise NotFittedError("Tagger is used before fit or from_pretrained")
        return self._fitted

    @property
    def labels(self) -> LabelSpace:
        """The label space."""
        return self.fitted.labels


def _rows(splits: SplitAssignment, split: str, lists: Sequence[Sequence[str]], source: str) -> npt.NDArray[np.int64]:
    rows = splits.rows_of(split)
    known = rows[[bool(lists[row]) for row in rows]]
    if len(known) == 0:
        raise SplitError(
            f"{source}: no title of split '{split}' has known labels, and a tagger cannot be fitted without; mark such "
            "titles in the column 'split', or drop the column to have splits made"
        )
    return known


def _history(model: Model) -> dict[str, Any]:
    histories = getattr(model, "histories_", [])
    return {"members": [{"losses": list(h.losses), "scores": list(h.scores), "best": h.best_epoch} for h in histories]}
