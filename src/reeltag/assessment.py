"""What a tagger is worth on titles whose labels are known: every figure, by modality, with its worst mistakes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import SPLITS, Catalogue
from reeltag.errors import SplitError, shown
from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    Evaluation,
    EvaluationConfig,
    Mistake,
    ModalityScores,
    Report,
    Truth,
    evaluate_predictions,
    macro_f1,
    mean_average_precision,
    micro_f1,
    worst_mistakes,
)
from reeltag.features import Features

RULE_NAMES = {"half": AT_HALF, "global": GLOBAL, "per_label": PER_LABEL}
_MAX_GRID_MODALITIES = 6
_PLOT_CHARACTERS = 240
_IMAGE_TYPES = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp", b"GI": "gif"}

Predict = Callable[[Features], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Titles with known labels, and the tagger that is tried on them.

    Attributes:
        catalogue: The titles.
        features: Their features, in the same order.
        targets: 0 and 1, (n_titles, n_labels).
        labels: Names of the columns.
        predict: From features to calibrated probabilities.
        thresholds: By rule (``half``, ``global``, ``per_label``), each (n_labels,).
        rule: The rule that decides.
    """

    catalogue: Catalogue
    features: Features
    targets: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    predict: Predict
    thresholds: dict[str, npt.NDArray[np.float32]]
    rule: str


def titles_of(split: str, catalogue: Catalogue, assign: Callable[[], Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Return which titles are of a split, (n_titles,).

    Args:
        split: Name of a split, or ``all``.
        catalogue: Its splits are taken as they stand, training titles or not.
        assign: Called for the split of every title when the catalogue has none.

    Raises:
        SplitError: There is no such split, or the catalogue has no splits and cannot be split.
    """
    if split not in (*SPLITS, "all"):
        raise SplitError(f"split must be one of {', '.join(SPLITS)}, all; got {shown(split)}")
    if split == "all":
        return np.ones(len(catalogue), np.bool_)
    if catalogue.has("split") and catalogue.frame["split"].null_count() < len(catalogue):
        names: Sequence[str] = catalogue.frame["split"].fill_null("background").to_list()
    else:
        try:
            names = assign()
        except SplitError as error:
            raise SplitError(f"{catalogue.source}: {error}; split 'all' takes every title") from None
    return np.array([name == split for name in names], np.bool_)


def report_on(
    subject: Subject, probabilities: npt.NDArray[np.float32], *, title: str, metadata: dict[str, str]
) -> Report:
    """Return the whole report: every figure, the modality grid and the worst mistakes.

    Args:
        subject: Titles and tagger.
        probabilities: What the tagger says of the titles, (n_titles, n_labels).
        title: Heading of the report.
        metadata: What was measured, for the head of the report.
    """
    return Report(
        title=title,
        metadata=metadata,
        evaluation=measure(subject, probabilities),
        modalities=modality_grid(subject),
        mistakes=mistakes(subject, probabilities),
    )


def measure(subject: Subject, probabilities: npt.NDArray[np.float32]) -> Evaluation:
    """Return every figure, under every threshold rule, with bootstrap intervals."""
    return evaluate_predictions(
        Truth(targets=subject.targets, labels=subject.labels),
        probabilities,
        {name: subject.thresholds[rule] for rule, name in RULE_NAMES.items()},
        config=EvaluationConfig(headline=RULE_NAMES[subject.rule]),
    )


def modality_grid(subject: Subject) -> tuple[ModalityScores, ...]:
    """Return the figures for every subset of the modalities, the others hidden from the same model.

    With more than six modalities only single ones, all but one, and all are tried.
    """
    modalities = subject.features.modalities
    n = len(modalities)
    sizes = range(1, n + 1) if n <= _MAX_GRID_MODALITIES else sorted({1, n - 1, n})
    rows = []
    for size in sizes:
        for chosen in combinations(modalities, size):
            probabilities = subject.predict(subject.features.only(chosen))
            decisions = probabilities >= subject.thresholds[subject.rule]
            rows.append(
                ModalityScores(
                    modalities=chosen,
                    micro_f1=micro_f1(subject.targets, decisions),
                    macro_f1=macro_f1(subject.targets, decisions),
                    mean_average_precision=_defined(mean_average_precision(subject.targets, probabilities)),
                )
            )
    return tuple(rows)


def mistakes(subject: Subject, probabilities: npt.NDArray[np.float32], n: int = 20) -> tuple[Mistake, ...]:
    """Return the worst mistakes with their films, posters included where the catalogue has them."""
    catalogue = subject.catalogue
    decisions = probabilities >= subject.thresholds[subject.rule]
    wrong = worst_mistakes(catalogue.ids, subject.targets, probabilities, decisions, subject.labels, n)
    posters = dict(catalogue.posters.read([entry.film_id for entry in wrong]))
    titles, plots, years = catalogue.texts("title"), catalogue.texts("plot"), catalogue.years()
    return tuple(
        Mistake(
            wrong=entry,
            title=titles[entry.row] or entry.film_id,
            year=int(years[entry.row]) if np.isfinite(years[entry.row]) else None,
            plot=shortened(plots[entry.row]),
            poster=data_uri(posters.get(entry.film_id)),
        )
        for entry in wrong
    )


def shortened(text: str) -> str:
    """Return a plot cut after a whole word to a length that fits beside a poster."""
    return text if len(text) <= _PLOT_CHARACTERS else text[: _PLOT_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"


def data_uri(image: bytes | None) -> str | None:
    """Return an image as a data URI; None when there is none, or its kind is not one that browsers show."""
    kind = _IMAGE_TYPES.get(image[:2]) if image else None
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}" if image and kind else None


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None
