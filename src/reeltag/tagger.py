"""Tagger: learns the labels of a catalogue and says for each title which apply, how sure it is, and why."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reeltag.added import Background
from reeltag.artefact import opened, short_card, write_artefact
from reeltag.assessment import Assessment, Subject, report_on, titles_of, training_counts
from reeltag.calibration import RULES, Calibrator
from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range
from reeltag.encoders.store import FeatureStore
from reeltag.errors import NotFittedError, SplitError
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
from reeltag.fit_rows import FitRows
from reeltag.fitted import Fitted, history_of
from reeltag.growth import LabelAim, LabelExamples, grown, shrunk
from reeltag.labels import LabelSpace
from reeltag.leaks import check_fitted
from reeltag.models import MODELS, Model, Targets, Validation
from reeltag.pipeline import FeaturePipeline
from reeltag.predictions import Predictions
from reeltag.progress import Progress, silent
from reeltag.recipes import Recipe, recipe_from_json
from reeltag.recipes import recipe as recipe_named
from reeltag.selftraining import SELF_TRAINING, self_train
from reeltag.splits import SplitAssignment, split_by_labels


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
        self._fitted: Fitted | None = None
        self._split: tuple[Catalogue, SplitAssignment] | None = None  # the catalogue split last

    def fit(self, catalogue: Catalogue, *, progress: Progress = silent) -> Tagger:
        """Learn from the training titles, choose and calibrate on the validation titles.

        Args:
            catalogue: Titles with labels. Its ``split`` column is honoured; without one, titles are split with
                near-duplicates kept together (``Tagger.splits``). Background titles feed the credits graph; they are
                learned from too when the recipe says ``train_on_background``.
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
        rows = FitRows.of(splits, lists, config, seed=self.seed, source=catalogue.source)
        labels = LabelSpace.learn([lists[row] for row in rows.training], config.labels)
        targets, _ = labels.encode_sparse(lists)  # thousands of labels of a large catalogue would not fit otherwise
        training, known = catalogue.take(rows.training), targets[rows.training].toarray()
        pipeline = FeaturePipeline(config.features).fit(
            training,
            catalogue.take(rows.graph),
            targets[rows.graph],
            wider=catalogue.take(rows.wider),
            seed=self.seed,
            progress=progress,
        )
        features = pipeline.transform(catalogue.take(rows.read), self.store, progress)
        learned, chosen_on, unlabelled = rows.parts(features)
        held_out = Validation(features=chosen_on, targets=targets[rows.validation].toarray())

        def fit_model(titles: Features, truth: Targets) -> Model:
            model = MODELS[config.model](config.model_config(), seed=self.seed)
            vectors = pipeline.label_vectors
            return model.fit(titles, truth, validation=held_out, label_vectors=vectors, progress=progress)

        model, rounds = self_train(
            fit_model, learned, known, held_out, unlabelled, config.self_training, config.calibration
        )
        calibrator = Calibrator(config.calibration).fit(model.predict_proba(chosen_on), held_out.targets)
        self._fitted = Fitted(
            learned=labels,
            pipeline=pipeline,
            model=model,
            calibrator=calibrator,
            neighbours=Neighbourhood.of(model, learned, training, labels.decode(known > 0), config.neighbours),
            fitted_on={
                **pipeline.fitted_on_,
                "model": training.ids,
                **{part: list(chosen_on.ids) for part in ("early stopping", "thresholds", "calibrator")},
                **({SELF_TRAINING: list(unlabelled.ids)} if rounds else {}),
            },
            data={
                "source": catalogue.source,
                "fingerprint": catalogue.fingerprint(),
                "splits": splits.origin,
                "titles": splits.counts,
                "labelled": rows.counts,
            },
            history=history_of(model, rounds),
            background=Background.of(model, learned, config.neighbours),
        )
        return self

    def splits(self, catalogue: Catalogue, progress: Progress = silent) -> SplitAssignment:
        """Return the split of every title, as ``fit`` and ``evaluate`` see it.

        A catalogue without splits is split anew each time, always alike for the same catalogue and recipe.
        """
        if self._split is not None and self._split[0] is catalogue:
            return self._split[1]  # looking for near-same titles again would take as long again
        assignment = split_by_labels(catalogue, self.recipe.labels, self.recipe.splits, progress)
        self._split = catalogue, assignment
        return assignment

    def features(self, catalogue: Catalogue, *, progress: Progress = silent) -> Features:
        """Return the features of titles, as the model reads them."""
        return self.fitted.pipeline.transform(catalogue, self.store, progress)

    def predict_proba(self, features: Features) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities (n_titles, n_labels) from features."""
        return self.fitted.predict_proba(features)

    def embed(self, features: Features) -> npt.NDArray[np.float32]:
        """Return unit vectors (n_titles, dim) in which like titles lie near each other, from features."""
        return self.fitted.model.embed(features)

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
        predictions = Predictions(
            ids=features.ids,
            labels=self.labels.labels,
            probabilities=self.predict_proba(features),
            thresholds=fitted.thresholds(rule),
            titles=tuple(catalogue.texts("title")),
        )
        if not evidence:
            return predictions
        return replace(predictions, evidence=evidence_in_words(fitted.explain(features), predictions))

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
        targets, known = self.labels.encode_sparse(lists)
        inside = titles_of(split, catalogue, lambda: self.splits(catalogue, progress).splits)
        rows = np.flatnonzero(inside & known)
        if len(rows) == 0:
            raise SplitError(
                f"{catalogue.source}: no title of split '{split}' has known labels in '{self.labels.config.field}'"
            )
        titles, truth = catalogue.take(rows), targets[rows].toarray()
        features = self.features(titles, progress=progress)
        subject = Subject(
            catalogue=titles,
            features=features,
            targets=truth,
            labels=self.labels.labels,
            predict=self.predict_proba,
            thresholds=self.fitted.thresholds_by_rule,
            rule=self.recipe.calibration.rule,
            look=partial(poster_evidence, self.fitted.speaker, self.fitted.pipeline, self.store),
            training=training_counts(self.labels, self.fitted.data["labelled"]["train"]),
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
            thresholds=self.fitted.thresholds(),
            titles=tuple(titles.texts("title")),
        )
        return Assessment(report=report, predictions=predictions, targets=truth)

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
        thresholds = fitted.thresholds()
        order = [int(c) for c in np.argsort(-probabilities, kind="stable")]
        shown = [c for place, c in enumerate(order) if place < n_labels or probabilities[c] >= thresholds[c]]
        names = fitted.labels.labels
        people: tuple[PersonEvidence, ...] = ()
        credits, readers = fitted.pipeline.credits, fitted.pipeline.credit_readers
        if credits is not None:
            people = people_evidence(
                fitted.scores, credits, features, film, labels=names, columns=shown, readers=readers
            )
        year = film.years()[0]
        present = tuple(m for m in features.modalities if features.present(m)[0])
        return Explanation(
            id=title_id,
            title=film.texts("title")[0],
            year=int(year) if np.isfinite(year) else None,
            present=present,
            absent=tuple(m for m in self.recipe.features.modalities if m not in present),
            labels=label_evidence(names, shown, probabilities, thresholds, fitted.explain(features)),
            people=people,
            attention=attention_evidence(fitted.model, features),
            poster=poster_evidence(fitted.speaker, fitted.pipeline, self.store, features, film, names, shown),
            neighbours=fitted.neighbours.nearest(self.embed(features)[0], title_id, n_neighbours),
            added=fitted.added_evidence(features, [names[c] for c in shown], n_neighbours),
        )

    def add_label(
        self,
        label: str,
        examples: Catalogue | Sequence[str],
        catalogue: Catalogue | None = None,
        *,
        counter_examples: Catalogue | Sequence[str] = (),
        share: float | None = None,
        threshold: float | None = None,
    ) -> Tagger:
        """Add a label from a handful of titles without learning anything else anew (``reeltag.growth``).

        Args:
            label: The new label.
            examples: Titles to which it applies, at least one: a catalogue of them, or their ids in ``catalogue``.
            catalogue: Holds the titles given by id.
            counter_examples: Titles to which it does not apply, given alike.
            share: Share of titles that it should apply to; the median of the learned labels when None.
            threshold: From which probability it applies; the one with the best F1 to be expected when None.

        Returns:
            Another tagger with the new label as its last, which says of all others bit for bit what this one says.
            This one stays as it is; fitting forgets added labels.

        Raises:
            LabelError: The label is there already, or there is no example of which anything is known.
            CatalogueError: The catalogue lacks an id.
            ModelError: There are no training titles to tell it from.
        """
        titles = LabelExamples.of(label, examples, counter_examples, catalogue)
        aim = LabelAim(share=share, threshold=threshold)
        return self._with(grown(self.fitted, label, titles, aim, self.features))

    def remove_label(self, label: str) -> Tagger:
        """Return another tagger without a label that was added.

        Raises:
            LabelError: There is no such label, or it was not added.
        """
        return self._with(shrunk(self.fitted, label))

    def save_pretrained(self, folder: str | Path, card: str = "") -> Path:
        """Write the artefact, replacing an older one when the new one is complete.

        Args:
            folder: Where.
            card: Text of the model card; a short one when empty.
        """
        folder, fitted = Path(folder), self.fitted
        pipeline_data: dict[str, object] = {}

        def write_parts(temporary: Path) -> None:
            pipeline_data.update(fitted.save(temporary))
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
            tagger._fitted = Fitted.load(folder, tagger.recipe, data)
        return tagger

    @property
    def fitted(self) -> Fitted:
        """The fitted parts.

        Raises:
            NotFittedError: The tagger has not been fitted or loaded.
        """
        if self._fitted is None:
            raise NotFittedError("Tagger is used before fit or from_pretrained")
        return self._fitted

    @property
    def labels(self) -> LabelSpace:
        """The label space: the learned labels, then the added ones."""
        return self.fitted.labels

    def _with(self, fitted: Fitted) -> Tagger:
        other = copy.copy(self)
        other._fitted = fitted
        return other
