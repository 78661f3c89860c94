"""Comparing two runs, against cases made by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue
from reeltag.comparison import compare_on, compare_predictions
from reeltag.errors import CatalogueError, EvaluationError
from reeltag.predictions import Predictions

IDS = tuple("abcdef")
TRUTH = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [0, 0]], np.float32)
BETTER = TRUTH.copy()
WORSE = np.array([[1, 0], [0, 0], [0, 1], [1, 0], [1, 1], [0, 0]], np.float32)  # wrong on b and d


def run(decisions: np.ndarray, ids: tuple[str, ...] = IDS, labels: tuple[str, ...] = ("x", "y")) -> Predictions:
    return Predictions(
        ids=ids,
        labels=labels,
        probabilities=decisions.astype(np.float32),
        thresholds=np.full(len(labels), 0.5, np.float32),
    )


def films(genres: list[list[str] | None]) -> Catalogue:
    frame = pl.DataFrame({"id": IDS, "genres": genres}, schema={"id": pl.String, "genres": pl.List(pl.String)})
    return Catalogue.from_frame(frame, source="films.csv")


def test_difference_is_second_minus_first() -> None:
    comparison = compare_predictions(TRUTH, run(WORSE), run(BETTER), names=("old", "new"))
    micro = next(d for d in comparison.differences if d.metric == "micro_f1")
    # worse: 4 true positives, 1 false positive (d: x), 2 false negatives (b: x, d: y)
    assert micro.first == pytest.approx(2 * 4 / (2 * 4 + 1 + 2))
    assert micro.second == 1
    assert micro.difference == pytest.approx(1 - 8 / 11)
    assert (comparison.first, comparison.second, comparison.n_titles) == ("old", "new", 6)
    assert [(t.label, t.only_first, t.only_second) for t in comparison.labels] == [("x", 0, 2), ("y", 0, 1)]
    back = compare_predictions(TRUTH, run(BETTER), run(WORSE))
    assert next(d for d in back.differences if d.metric == "micro_f1").difference == pytest.approx(8 / 11 - 1)


def test_equal_runs_do_not_differ() -> None:
    comparison = compare_predictions(TRUTH, run(WORSE), run(WORSE))
    assert {d.difference for d in comparison.differences} == {0}
    assert {d.p_value for d in comparison.differences} == {1}


def test_titles_and_labels_are_aligned() -> None:
    order, more = [3, 0, 5, 1, 4, 2], np.vstack([WORSE, 1 - WORSE])[:, [1, 0]]
    shuffled = run(more, ids=(*IDS, *"uvwxyz"), labels=("y", "x"))
    expected = compare_predictions(TRUTH, run(WORSE), run(BETTER))
    second = run(BETTER[order], ids=tuple(IDS[row] for row in order))
    assert compare_predictions(TRUTH[order], shuffled, second).labels == expected.labels


def test_a_title_that_the_first_run_lacks_is_named() -> None:
    with pytest.raises(EvaluationError, match="old lacks 2 of the 6 titles of new, such as 'e'"):
        compare_predictions(TRUTH, run(WORSE[:4], ids=IDS[:4]), run(BETTER), names=("old", "new"))


def test_a_label_that_the_first_run_lacks_is_named() -> None:
    with pytest.raises(EvaluationError, match="old lacks labels of new: y"):
        compare_predictions(TRUTH, run(WORSE, labels=("x", "z")), run(BETTER), names=("old", "new"))


def test_truth_comes_from_the_catalogue_and_unknown_labels_do_not_count() -> None:
    genres = [["x"], ["X"], ["y"], None, ["x", "y"], []]
    comparison = compare_on(films(genres), "genres", run(WORSE), run(BETTER), names=("old", "new"))
    rows = [0, 1, 2, 4]
    kept = tuple(IDS[row] for row in rows)
    expected = compare_predictions(
        TRUTH[rows], run(WORSE[rows], ids=kept), run(BETTER[rows], ids=kept), names=("old", "new")
    )
    assert comparison == expected
    assert comparison.n_titles == 4


def test_titles_outside_the_catalogue_do_not_count() -> None:
    strangers = tuple("abcdeX")
    found = compare_on(
        films([["x"]] * 6), "genres", run(WORSE, ids=strangers), run(BETTER, ids=strangers), names=("1", "2")
    )
    assert found.n_titles == 5


def test_no_known_label_is_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"films\.csv: no title of new has known labels in field 'genres'"):
        compare_on(films([None] * 6), "genres", run(WORSE), run(BETTER), names=("old", "new"))
    with pytest.raises(CatalogueError, match="no column 'moods'"):
        compare_on(films([None] * 6), "moods", run(WORSE), run(BETTER), names=("old", "new"))
