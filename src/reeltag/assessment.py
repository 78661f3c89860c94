"""What a tagger is worth on titles whose labels are known: every figure, by modality, with its worst mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import SPLITS, Catalogue
from reeltag.encoders.images import decode
from reeltag.errors import SplitError, shown
from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    Evaluation,
    EvaluationConfig,
    Look,
    Mistake,
    ModalityScores,
    Report,
    TrainingCounts,
    Truth,
    evaluate_predictions,
    macro_f1,
    mean_average_precision,
    micro_f1,
    worst_mistakes,
)
from reeltag.explain_tokens import PosterEvidence
from reeltag.features import Features
from reeltag.labels import LabelSpace
from reeltag.predictions import Predictions

RULE_NAMES = {"half": AT_HALF, "global": GLOBAL, "per_label": PER_LABEL}
_MAX_GRID_MODALITIES = 6
_PLOT_CHARACTERS = 240
_LARGEST_POSTER = 500_000  # bytes; larger ones are made small
_POSTER_SIDE = 600
_IMAGE_TYPES = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp", b"GI": "gif"}

Predict = Callable[[Features], npt.NDArray[np.float32]]
# from the features of a title, the title, all labels and the columns asked about to what its poster said
LookAt = Callable[[Features, Catalogue, Sequence[str], Sequence[int]], PosterEvidence | None]


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
        look: What says which patches and words of a poster spoke; None where nothing does.
        training: How frequent the labels were in training; None where that is unknown.
    """

    catalogue: Catalogue
    features: Features
    targets: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    predict: Predict
    thresholds: dict[str, npt.NDArray[np.float32]]
    rule: str
    look: LookAt | None = None
    training: TrainingCounts | None = None


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


def training_counts(labels: LabelSpace, n_titles: int) -> TrainingCounts | None:
    """Return how frequent labels were among training titles; None when the label space does not know.

    A label that was added later may have more examples than there were training titles: those then count as titles.
    """
    counts = labels.counts
    return TrainingCounts(labels=counts, n_titles=max(n_titles, *counts)) if counts else None


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
    """Return the whole report: every figure, the modality grid, the worst mistakes and looks at posters.

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
        looks=looks(subject, probabilities),
    )


def measure(subject: Subject, probabilities: npt.NDArray[np.float32]) -> Evaluation:
    """Return every figure, under every threshold rule, with bootstrap intervals."""
    return evaluate_predictions(
        Truth(targets=subject.targets, labels=subject.labels),
        probabilities,
        {name: subject.thresholds[rule] for rule, name in RULE_NAMES.items()},
        config=EvaluationConfig(headline=RULE_NAMES[subject.rule]),
        training=subject.training,
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


def looks(subject: Subject, probabilities: npt.NDArray[np.float32], n: int = 6) -> tuple[Look, ...]:
    """Return what the tagger looked at on the posters of its surest right and its surest wrong decisions.

    Args:
        subject: Titles and tagger.
        probabilities: What the tagger says of the titles, (n_titles, n_labels).
        n: Titles at most, half of them wrong; of different labels as far as there are.

    Returns:
        Right ones first, each surest first; none where the tagger reads no posters patch by patch or word by word.
    """
    catalogue, features = subject.catalogue, subject.features
    there = (features.present("poster") | features.present("poster_text"))[:, None]
    if subject.look is None or not there.any():
        return ()
    decided = there & (probabilities >= subject.thresholds[subject.rule])
    truth = subject.targets > 0
    right = _surest(decided & truth, probabilities, n - n // 2, but=())
    wrong = _surest(decided & ~truth, probabilities, n // 2, but=[row for row, _ in right])
    found = []
    for row, column in right + wrong:
        missed = truth[row] & ~decided[row]
        columns = [column]
        if not truth[row, column] and missed.any():
            columns.append(int(np.argmax(np.where(missed, probabilities[row], -1))))
        film = catalogue.take([row])
        evidence = subject.look(features.take([row]), film, subject.labels, columns)
        if evidence is None:
            return ()
        year = film.years()[0]
        found.append(
            Look(
                film_id=film.ids[0],
                title=film.texts("title")[0] or film.ids[0],
                year=int(year) if np.isfinite(year) else None,
                poster=shown_poster(dict(film.posters.read(film.ids)).get(film.ids[0])),
                true_labels=tuple(subject.labels[int(c)] for c in np.flatnonzero(truth[row])),
                label=subject.labels[column],
                probability=float(probabilities[row, column]),
                shown=tuple(subject.labels[c] for c in columns),
                evidence=evidence,
            )
        )
    return tuple(found)


def shortened(text: str) -> str:
    """Return a plot cut after a whole word to a length that fits beside a poster."""
    return text if len(text) <= _PLOT_CHARACTERS else text[: _PLOT_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"


def data_uri(image: bytes | None) -> str | None:
    """Return an image as a data URI; None when there is none, or its kind is not one that browsers show."""
    kind = _IMAGE_TYPES.get(image[:2]) if image else None
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}" if image and kind else None


def shown_poster(content: bytes | None) -> str | None:
    """Return a poster as a data URI that browsers show; None when there is none, or it cannot be read."""
    image = decode(content) if content else None
    if content is None or image is None:
        return None
    shown = data_uri(content) if len(content) <= _LARGEST_POSTER else None
    if shown is not None:
        return shown
    image.thumbnail((_POSTER_SIDE, _POSTER_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue())


def _surest(
    chosen: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.float32], n: int, *, but: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (row, column) of the surest of the chosen decisions: each title once, each label once before any twice."""
    rows, columns = np.nonzero(chosen)
    order = np.argsort(-probabilities[rows, columns], kind="stable")
    pairs = list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))
    found: list[tuple[int, int]] = []
    for once in (True, False):
        for row, column in pairs:
            taken = row in but or any(row == r or (once and column == c) for r, c in found)
            if not taken and len(found) < n:
                found.append((row, column))
    return sorted(found, key=lambda pair: (-float(probabilities[pair]), pair))


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None
