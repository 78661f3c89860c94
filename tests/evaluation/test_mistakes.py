from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from reeltag.errors import EvaluationError
from reeltag.evaluation import mistakes
from reeltag.evaluation.metrics import decide
from reeltag.evaluation.mistakes import LabelProbability, Mistake, title_log_loss, worst_mistakes

from .samples import CASES, draw, names, signal

LABELS = ("Drama", "Comedy", "War")


def ids(n_titles: int) -> list[str]:
    return [f"tt{row:03d}" for row in range(n_titles)]


@pytest.mark.parametrize("case", CASES)
def test_log_loss_agrees_with_scikit_learn(case: str) -> None:
    targets, probabilities = draw(case)
    losses = title_log_loss(targets, probabilities)
    for row, loss in enumerate(losses):
        expected = log_loss(targets[row], np.clip(probabilities[row].astype(float), 1e-7, 1 - 1e-7), labels=[0, 1])
        assert loss == pytest.approx(expected, abs=1e-6)


def test_log_loss_of_certain_mistakes_is_finite() -> None:
    losses = title_log_loss(np.array([[1], [0], [1]], bool), np.array([[0], [1], [1]], np.float32))
    assert losses[:2] == pytest.approx([-math.log(1e-7)] * 2)
    assert losses[2] == pytest.approx(0, abs=1e-6)


def test_blocks_do_not_change_the_log_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = draw("plain")
    whole = title_log_loss(targets, probabilities)
    monkeypatch.setattr(mistakes, "_CELLS_PER_BLOCK", 15)
    np.testing.assert_allclose(title_log_loss(targets, probabilities), whole)


def test_missed_and_added_labels_by_hand() -> None:
    targets = np.array([[1, 0, 1], [1, 0, 0]], bool)
    probabilities = np.array([[0.125, 0.75, 0.875], [0.75, 0.25, 0.25]], np.float32)
    (wrong,) = worst_mistakes(["a", "b"], targets, probabilities, decide(probabilities, 0.5), LABELS)
    assert (wrong.row, wrong.film_id) == (0, "a")
    assert wrong.true_labels == ("Drama", "War")
    assert wrong.predicted == (
        LabelProbability(label="War", probability=0.875),
        LabelProbability(label="Comedy", probability=0.75),
    )
    assert wrong.missed == (LabelProbability(label="Drama", probability=0.125),)
    assert wrong.added == (LabelProbability(label="Comedy", probability=0.75),)
    assert wrong.log_loss == pytest.approx(-(math.log(0.125) + math.log(0.25) + math.log(0.875)) / 3)


def test_missed_labels_come_least_probable_first() -> None:
    probabilities = np.array([[0.3, 0.1, 0.2]], np.float32)
    (wrong,) = worst_mistakes(["a"], np.ones((1, 3), bool), probabilities, decide(probabilities, 0.5), LABELS)
    assert [item.label for item in wrong.missed] == ["Comedy", "War", "Drama"]
    assert wrong.predicted == wrong.added == ()


def test_worst_come_first_and_right_titles_never() -> None:
    targets, probabilities = signal(100, 3)
    decisions = decide(probabilities, 0.5)
    found = worst_mistakes(ids(100), targets, probabilities, decisions, LABELS, n=1000)
    wrong_rows = set(np.flatnonzero((targets != decisions).any(axis=1)).tolist())
    assert {item.row for item in found} == wrong_rows
    losses = [item.log_loss for item in found]
    assert losses == sorted(losses, reverse=True)
    for item in found:
        missed_or_added = {x.label for x in (*item.missed, *item.added)}
        assert missed_or_added == {LABELS[c] for c in np.flatnonzero(targets[item.row] != decisions[item.row])}


def test_a_confident_mistake_comes_before_close_calls() -> None:
    targets = np.zeros((2, 3), bool)
    probabilities = np.array([[0.55, 0.55, 0.55], [0.999, 0.01, 0.01]], np.float32)
    found = worst_mistakes(["close", "confident"], targets, probabilities, decide(probabilities, 0.5), LABELS)
    assert [item.film_id for item in found] == ["confident", "close"]


def test_ties_keep_the_order_of_rows() -> None:
    probabilities = np.full((4, 3), 0.75, np.float32)
    found = worst_mistakes(ids(4), np.zeros((4, 3), bool), probabilities, decide(probabilities, 0.5), LABELS, n=3)
    assert [item.row for item in found] == [0, 1, 2]


@pytest.mark.parametrize("n", [0, -1])
def test_none_are_returned_when_none_are_asked_for(n: int) -> None:
    targets, probabilities = signal(20, 3)
    assert worst_mistakes(ids(20), targets, probabilities, ~targets, LABELS, n) == []


def test_ids_and_labels_must_fit() -> None:
    targets, probabilities = signal(20, 3)
    with pytest.raises(EvaluationError, match=r"\(20, 3\); got 19 ids and 3 labels"):
        worst_mistakes(ids(19), targets, probabilities, targets, LABELS)
    with pytest.raises(EvaluationError, match="got 20 ids and 4 labels"):
        worst_mistakes(ids(20), targets, probabilities, targets, names(4))
    with pytest.raises(EvaluationError, match="decisions must have the shape"):
        worst_mistakes(ids(20), targets, probabilities, targets[:, :2], LABELS)


def test_a_poster_is_never_a_link() -> None:
    targets, probabilities = signal(20, 3)
    wrong = worst_mistakes(ids(20), targets, probabilities, ~targets, LABELS, 1)[0]
    assert Mistake(wrong=wrong, title="M", poster="data:image/png;base64,AAAA").year is None
    with pytest.raises(EvaluationError, match="must be a data URI"):
        Mistake(wrong=wrong, title="M", poster="https://example.org/poster.jpg")
