"""Two runs on the same titles: aligned by title and label, then tested."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reeltag.catalogue import Catalogue
from reeltag.errors import EvaluationError
from reeltag.evaluation import Comparison, compare_runs
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.predictions import Predictions


def compare_predictions(
    targets: npt.NDArray[np.float32],
    first: Predictions,
    second: Predictions,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> Comparison:
    """Compare the decisions of two runs: paired bootstrap on F1, McNemar per label.

    Args:
        targets: Truth in the order of ``second``, (n_titles, n_labels).
        first: One run; must hold every title and label of the second.
        second: The other run; differences are second minus first.
        names: Names of the runs.

    Raises:
        EvaluationError: The first run lacks a title or a label of the second.
    """
    place = {title_id: row for row, title_id in enumerate(first.ids)}
    column = {label: number for number, label in enumerate(first.labels)}
    lacking = [title_id for title_id in second.ids if title_id not in place]
    if lacking:
        raise EvaluationError(
            f"{names[0]} lacks {len(lacking):,} of the {len(second):,} titles of {names[1]}, such as {lacking[0]!r}"
        )
    unknown = [label for label in second.labels if label not in column]
    if unknown:
        raise EvaluationError(f"{names[0]} lacks labels of {names[1]}: {', '.join(unknown[:5])}")
    rows = [place[title_id] for title_id in second.ids]
    columns = [column[label] for label in second.labels]
    aligned = first.decisions[np.ix_(rows, columns)]
    return compare_runs(targets, aligned, second.decisions, labels=second.labels, names=names)


def compare_on(
    catalogue: Catalogue, field: str, first: Predictions, second: Predictions, *, names: tuple[str, str]
) -> Comparison:
    """Compare two runs by the labels of a catalogue; titles whose labels are unknown are left out.

    Raises:
        EvaluationError: None of the second run's titles has known labels, or see ``compare_predictions``.
    """
    place = {title_id: row for row, title_id in enumerate(catalogue.ids)}
    space = LabelSpace(second.labels, LabelConfig(field=field))
    lists = catalogue.lists(field)
    kept = [row for row, title_id in enumerate(second.ids) if title_id in place and lists[place[title_id]]]
    if not kept:
        raise EvaluationError(f"{catalogue.source}: no title of {names[1]} has known labels in field '{field}'")
    targets, _ = space.encode([lists[place[second.ids[row]]] for row in kept])
    return compare_predictions(targets, first, second.take(kept), names=names)
