from __future__ import annotations

import numpy as np
import pytest

from reeltag.benchmark.cases import choose_cases
from reeltag.benchmark.figures import head_and_tail
from reeltag.benchmark.markdown import p_value
from reeltag.benchmark.report import Summary
from reeltag.benchmark.runs import Outcome, Run


def outcome(teacher: list[float] | None, people: list[float] | None = None) -> Outcome:
    from pathlib import Path

    run = Run(
        entry="x", seed=0, depends_on={}, figures={}, threshold=0.4, mean_average_precision=None, ece=0.0, labels=[]
    )
    n = len(teacher or people or [0] * 4)
    return Outcome(
        run=run,
        file=Path("x.json"),
        probabilities=np.full((n, 2), 0.4, np.float32),
        attention={},
        teacher=None if teacher is None else np.array(teacher, np.float32),
        people=None if people is None else np.array(people, np.float32),
    )


def test_summary() -> None:
    assert str(Summary.of([0.5])) == "0.500"
    assert Summary.of([0.5]).std is None
    assert str(Summary.of([0.4, 0.6])) == "0.500 ± 0.141"


def test_p_values() -> None:
    assert (p_value(0.0004), p_value(0.001), p_value(1)) == ("< 0.001", "0.001", "1.000")


def test_a_probability_at_the_threshold_is_decided() -> None:
    assert outcome([0.1]).decisions.all()


def test_six_labels_from_either_end() -> None:
    labels = {f"l{number:02}": 100 - number for number in range(20)}
    assert head_and_tail(labels) == [f"l{n:02}" for n in (*range(6), *range(14, 20))]
    assert head_and_tail({"a": 1, "b": 3, "c": 3}) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("teacher", "complete", "places"),
    [
        ([0.0, 0.9, 0.2, 0.5, 0.7], [1, 1, 1, 1, 1], [1, 3, 2, 0]),
        ([0.0, 0.9, 0.2, 0.5, 0.7], [1, 0, 1, 1, 1], [4, 3, 2, 0]),
        ([0.3, 0.3], [0, 0], [0, 1]),
        ([0.3], [1], [0]),
        ([0.0, 0.0], [0, 1], [1]),
    ],
)
def test_cases_are_the_ends_and_the_middle(teacher: list[float], complete: list[int], places: list[int]) -> None:
    chosen = choose_cases(outcome(teacher), np.array(complete, np.bool_))
    assert [case.place for case in chosen] == places
    assert len({case.why for case in chosen}) == len(chosen)


def test_cases_without_a_teacher() -> None:
    everyone = np.ones(3, np.bool_)
    assert [case.place for case in choose_cases(outcome(None, [1, 5, 0]), everyone)] == [1, 0, 2]
    assert len(choose_cases(outcome(None), np.ones(4, np.bool_))) == 1
