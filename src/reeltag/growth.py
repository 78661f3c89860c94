"""A label space that grows: a label joins what a tagger has learned, or an added one leaves it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reeltag.added import (
    MIN_BACKGROUND,
    AddedLabel,
    Background,
    HeadInputs,
    Material,
    check_examples,
    check_known,
    films_of,
    fit_head,
    inputs_of,
    new_label,
    usual_share,
)
from reeltag.catalogue import Catalogue
from reeltag.config import check_range
from reeltag.errors import LabelError, ModelError
from reeltag.features import Features
from reeltag.fitted import Fitted

Read = Callable[[Catalogue], Features]


@dataclass(frozen=True, kw_only=True)
class LabelAim:
    """What is known of a new label beside its examples.

    Attributes:
        share: Share of titles that it should apply to; None takes the median of the learned labels, or the
            share of the examples among the training titles where that is more.
        threshold: From which probability it applies; None chooses the one with the best F1 to be expected.
    """

    share: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None:
            check_range("LabelAim", "share", self.share, 1e-5, 0.95)
        if self.threshold is not None:
            check_range("LabelAim", "threshold", self.threshold, 0, 1)


@dataclass(frozen=True, kw_only=True)
class LabelExamples:
    """The titles that a label is told by.

    Attributes:
        examples: Titles to which it applies.
        counter_examples: Titles to which it does not; None when there are none.
        home: The catalogue they come from.
    """

    examples: Catalogue
    counter_examples: Catalogue | None
    home: Catalogue

    @classmethod
    def of(
        cls,
        label: str,
        examples: Catalogue | Sequence[str],
        counter_examples: Catalogue | Sequence[str],
        catalogue: Catalogue | None,
    ) -> LabelExamples:
        """Find the titles, given as catalogues or by their ids in one.

        Raises:
            LabelError: There is no example, or a title is example and counter-example.
            CatalogueError: An id is not in the catalogue.
        """
        against = films_of(counter_examples, catalogue)
        chosen = check_examples(label, films_of(examples, catalogue), against)
        return cls(examples=chosen, counter_examples=against, home=catalogue or chosen)


def grown(fitted: Fitted, label: str, titles: LabelExamples, aim: LabelAim, read: Read) -> Fitted:
    """Return what was learned with one label more.

    Args:
        fitted: What was learned.
        label: The new label.
        titles: Its examples.
        aim: What is known of it besides.
        read: From titles to features.

    Raises:
        LabelError: The label is there already, or nothing is known of an example.
        ModelError: The tagger keeps no training titles, and the catalogue holds too few of them.
    """
    label = new_label(fitted.labels, label)
    examples = read(titles.examples)
    check_known(label, examples)
    against = None if titles.counter_examples is None else read(titles.counter_examples)
    background = _background(fitted, titles.home, read)
    beside = background.but([*examples.ids, *(against.ids if against is not None else ())])
    if beside.sum() < MIN_BACKGROUND:
        raise ModelError(
            f"label {label!r} must be told from at least {MIN_BACKGROUND} other titles that the tagger was trained on; "
            f"there are {beside.sum()} (an artefact of an earlier version keeps none: give the catalogue it was "
            "trained on)"
        )
    inputs = fitted.added.inputs or HeadInputs.learn(background.inputs)

    def rows(features: Features) -> npt.NDArray[np.float32]:
        return inputs.rows(inputs_of(features, fitted.model.predict_proba(features)))

    rows_of_all = inputs.rows(background.inputs)
    material = Material(
        examples=rows(examples),
        background=rows_of_all[beside],
        counter_examples=np.zeros((0, inputs.dim), np.float32) if against is None else rows(against),
        inside=np.isin(examples.ids, background.ids),
    )
    share = aim.share
    if share is None:
        usual = usual_share(fitted.learned.counts, fitted.data["labelled"]["train"])
        share = max(usual, float(material.inside.sum() / len(background)))
    fit = fit_head(material, share, aim.threshold)
    entry = AddedLabel(
        label=label,
        examples=tuple(examples.ids),
        titles=tuple(titles.examples.texts("title")),
        counter_examples=against.ids if against is not None else (),
        share=share,
        threshold=fit.threshold,
        recall=fit.recall,
        precision=fit.precision,
        tagged=fit.tagged,
    )
    return fitted.with_added(fitted.added.with_label(entry, inputs, fit, material.examples))


def shrunk(fitted: Fitted, label: str) -> Fitted:
    """Return what was learned without an added label.

    Raises:
        LabelError: There is no such label, or it was not added.
    """
    name = fitted.labels.labels[fitted.labels.column(label)]
    if name not in fitted.added.labels:
        there = ", ".join(fitted.added.labels) or "none"
        raise LabelError(f"label {name!r} was learned with the model and cannot be removed; added labels: {there}")
    return fitted.with_added(fitted.added.without(name))


def _background(fitted: Fitted, catalogue: Catalogue, read: Read) -> Background:
    """Return the training titles that are kept; where none are, those that a catalogue holds."""
    if fitted.background is not None and len(fitted.background):
        return fitted.background
    seen = set(fitted.fitted_on["model"])
    rows = [row for row, title_id in enumerate(catalogue.ids) if title_id in seen]
    return Background.of(fitted.model, read(catalogue.take(rows)), len(rows))
