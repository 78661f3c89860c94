"""Curves are means over seeds, and say how many labels are enough."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from reeltag.suggest.curves import METRICS, Curves, Point, draw_up, efficiency_chart, labels_needed, write_curves


def point(n: int, micro: float) -> Point:
    """Return a point whose test figures are these, and whose validation figures are half as large."""
    test = {"micro_f1": micro, "macro_f1": micro / 2, "mean_average_precision": micro / 4}
    return Point(n_labelled=n, validation={name: value / 2 for name, value in test.items()}, test=test)


def run(*figures: float) -> list[Point]:
    return [point(100 * (place + 1), figure) for place, figure in enumerate(figures)]


def drawn(measured_on: str = "test", share: float = 0.9, **runs: list[list[Point]]) -> Curves:
    given = runs or {
        "mixed": [run(0.2, 0.45, 0.5), run(0.3, 0.55, 0.6)],
        "random": [run(0.1, 0.3, 0.4), run(0.3, 0.3, 0.6)],
    }
    return draw_up(given, [point(900, 0.4), point(900, 0.6)], measured_on=measured_on, share=share, facts={"seeds": 2})


def test_labels_needed_lie_between_rounds() -> None:
    sizes, figures = (100, 200, 300), (0.2, 0.4, 0.5)
    for wanted, expected in ((0.1, 100), (0.2, 100), (0.3, 150), (0.4, 200), (0.45, 250), (0.5, 300)):
        assert labels_needed(sizes, figures, wanted) == pytest.approx(expected)
    assert labels_needed(sizes, figures, 0.51) is None
    assert labels_needed((), (), 0.5) is None


def test_labels_needed_are_those_of_the_first_time() -> None:
    assert labels_needed((100, 200, 300, 400), (0.2, 0.5, 0.3, 0.6), 0.5) == 200


def test_curves_are_means_and_deviations_over_seeds() -> None:
    mixed = drawn().curves[0]
    assert (mixed.strategy, mixed.n_labelled) == ("mixed", (100, 200, 300))
    np.testing.assert_allclose(mixed.mean["micro_f1"], [0.25, 0.5, 0.55])
    np.testing.assert_allclose(mixed.mean["macro_f1"], [0.125, 0.25, 0.275])
    np.testing.assert_allclose(mixed.std["micro_f1"], [np.std([0, 0.1], ddof=1)] * 3)
    assert set(mixed.mean) == set(mixed.std) == set(METRICS)


def test_labels_are_counted_against_those_of_random_whatever_the_order() -> None:
    curves = drawn()
    assert curves.whole["micro_f1"] == pytest.approx(0.5)
    assert curves.wanted == pytest.approx(0.45)
    mixed, random = curves.curves
    assert (random.strategy, random.of_random) == ("random", 1)
    assert mixed.reached == pytest.approx(100 + 100 * 0.2 / 0.25)
    assert random.reached == pytest.approx(200 + 100 * 0.15 / 0.2)
    assert mixed.of_random == pytest.approx(180 / 275)


def test_without_random_or_without_enough_there_is_no_ratio() -> None:
    (alone,) = drawn(mixed=[run(0.5, 0.6)]).curves
    assert (alone.reached, alone.of_random) == (100, None)
    slow, quick = drawn(random=[run(0.1, 0.2)], mixed=[run(0.5, 0.6)]).curves
    assert (slow.reached, slow.of_random) == (None, None)
    assert (quick.reached, quick.of_random) == (100, None)
    quick, slow = drawn(random=[run(0.5, 0.6)], mixed=[run(0.1, 0.2)]).curves
    assert (quick.of_random, slow.reached, slow.of_random) == (1, None, None)


def test_one_seed_has_no_spread() -> None:
    assert drawn(random=[run(0.1, 0.2)]).curves[0].std["micro_f1"] == (0, 0)


def test_they_may_be_read_on_validation_titles() -> None:
    test, validation = drawn(), drawn("validation")
    assert validation.measured_on == "validation"
    assert validation.wanted == pytest.approx(test.wanted / 2)
    np.testing.assert_allclose(np.array(validation.curves[0].mean["micro_f1"]) * 2, test.curves[0].mean["micro_f1"])
    assert validation.curves[0].reached == pytest.approx(test.curves[0].reached)


def test_they_are_written_as_json_and_as_a_chart(tmp_path: Path) -> None:
    curves = drawn()
    write_curves(tmp_path / "deep", curves)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["curves.json", "curves.svg"]
    data = json.loads((tmp_path / "deep" / "curves.json").read_text("utf-8"))
    assert data == json.loads(json.dumps(curves.to_json(), allow_nan=False))
    assert data["curves"][0]["strategy"] == "mixed"
    assert data["wanted"] == pytest.approx(0.45)
    chart = (tmp_path / "deep" / "curves.svg").read_text("utf-8")
    assert chart == efficiency_chart(curves)
    assert ElementTree.fromstring(chart).tag.endswith("svg")


def test_the_chart_tells_its_figures_in_words() -> None:
    chart = efficiency_chart(drawn(share=0.95, mixed=[run(0.4, 0.55)], uncertainty=[run(0.1, 0.2)]))
    assert "mixed: micro F1 0.550 with 200 labelled titles, enough with 150" in chart
    assert "uncertainty: micro F1 0.200 with 200 labelled titles</desc>" in chart
    assert chart.count("<title") == 1
