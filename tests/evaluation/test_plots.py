from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from reeltag.errors import EvaluationError
from reeltag.evaluation import plots
from reeltag.evaluation.metrics import decide
from reeltag.evaluation.reliability import reliability_curve
from reeltag.evaluation.significance import BootstrapConfig, Comparison, compare_runs
from reeltag.evaluation.summary import LabelScores, ModalityScores

from .samples import evaluation, names, signal

NAMESPACE = "{http://www.w3.org/2000/svg}"
HARD_NAMES = ("Drama & <Comedy>", "$x_1^$ {price}", "Сталкер", "コメディ", "a\nb\tc", "very " * 20 + "long")
TEMPLATE = evaluation(20, 1).labels[0]


def label(name: str = "Drama", support: int = 10, f1: float = 0.5) -> LabelScores:
    return dataclasses.replace(TEMPLATE, label=name, support=support, f1=f1)


def comparison(first: str = "old", second: str = "new") -> Comparison:
    targets, better = signal(60, 3)
    decisions, other = decide(better, 0.5), decide(signal(60, 3, noise=2.0)[1], 0.5)
    config = BootstrapConfig(n_resamples=20)
    return compare_runs(targets, other, decisions, labels=names(3), names=(first, second), config=config)


def parse(text: str) -> ElementTree.Element:
    """Parse a chart and check what every chart must be."""
    root = ElementTree.fromstring(text)
    assert root.tag == f"{NAMESPACE}svg"
    assert root.get("viewBox") is not None
    assert root.get("width") is None
    assert root.get("role") == "img"
    links = re.findall(r"https?://[^\"\s]*", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert links == []
    known = {element.get("id") for element in root.iter()}
    assert set((root.get("aria-labelledby") or "").split()) <= known
    for element in root.iter():
        target = element.get("{http://www.w3.org/1999/xlink}href")
        assert target is None or target[1:] in known
    return root


def words(root: ElementTree.Element, tag: str) -> str:
    return "".join(element.text or "" for element in root.iter(f"{NAMESPACE}{tag}"))


def test_label_bars_name_every_label_for_screen_readers() -> None:
    root = parse(plots.label_bars(evaluation().labels))
    assert all(f"label {column}:" in words(root, "desc") for column in range(6))
    assert "F1" in words(root, "title")


@pytest.mark.parametrize(("n_labels", "shown"), [(1, 1), (23, 23), (60, 60), (61, 50), (300, 50)])
def test_many_labels_show_head_and_tail_only(n_labels: int, shown: int) -> None:
    rows = [label(f"label {i}", support=1000 - i) for i in range(n_labels)]
    description = words(parse(plots.label_bars(rows)), "desc")
    assert description.count(":") == shown
    assert "label 0:" in description
    assert f"label {n_labels - 1}:" in description


def test_text_is_outlines_unless_the_font_lacks_a_character() -> None:
    assert not list(parse(plots.label_bars([label("Drama"), label("Сталкер")])).iter(f"{NAMESPACE}text"))
    assert "コメディ" in words(parse(plots.label_bars([label("コメディ")])), "text")


@pytest.mark.parametrize("name", HARD_NAMES)
def test_hard_names_are_drawn_by_every_chart(name: str) -> None:
    parse(plots.label_bars([label(name)]))
    parse(plots.head_and_tail([label(name), label("other", support=99)]))
    parse(plots.modality_grid([ModalityScores(modalities=(name,), micro_f1=0.5, macro_f1=0.4)]))
    parse(plots.forest_plot(comparison(first=name)))


def test_names_are_escaped() -> None:
    text = plots.head_and_tail([label("<script>alert(1)</script>")])
    assert "<script" not in text
    assert "<script>alert(1)</script> (10 titles): 0.500" in words(parse(text), "desc")


@pytest.mark.parametrize("n_labels", [1, 23, 300])
def test_head_and_tail(n_labels: int) -> None:
    rows = [label(f"label {i}", support=int(5000 / (i + 1)), f1=1 / (i + 1)) for i in range(n_labels)]
    parse(plots.head_and_tail(rows))


def test_head_and_tail_without_any_support() -> None:
    parse(plots.head_and_tail([label(support=0)]))


def test_reliability_prints_the_error_and_skips_empty_bins() -> None:
    targets, probabilities = signal(50, 4)
    curve = reliability_curve(targets, np.clip(probabilities, 0, 0.3), 10)
    root = parse(plots.reliability_plot(curve, 0.1234))
    assert "0.123" in words(root, "title")
    assert words(root, "desc").count("said") == sum(item.count > 0 for item in curve)


def test_reliability_of_a_single_filled_bin() -> None:
    curve = reliability_curve(np.ones((2, 2), bool), np.ones((2, 2), np.float32))
    parse(plots.reliability_plot(curve, 0.0))


def test_modality_grid_of_all_subsets() -> None:
    modalities = ("plot", "poster", "credits", "trailer", "poster_text")
    subsets = [tuple(m for i, m in enumerate(modalities) if bits >> i & 1) for bits in range(32)]
    rows = [ModalityScores(modalities=subset, micro_f1=len(subset) / 6, macro_f1=len(subset) / 8) for subset in subsets]
    description = words(parse(plots.modality_grid(rows)), "desc")
    assert description.startswith("plot + poster + credits + trailer + poster_text: 0.833")
    assert description.endswith("none: 0.000")


def test_modality_grid_with_missing_and_equal_figures() -> None:
    rows = [
        ModalityScores(modalities=("plot",), micro_f1=0.5, macro_f1=0.5, mean_average_precision=None),
        ModalityScores(modalities=("poster",), micro_f1=0.5, macro_f1=0.5, mean_average_precision=0.5),
    ]
    parse(plots.modality_grid(rows))


def test_forest_plot_describes_the_differences() -> None:
    result = comparison()
    description = words(parse(plots.forest_plot(result)), "desc")
    assert f"micro_f1: {result.differences[0].difference:.3f}" in description


def test_forest_plot_of_equal_runs() -> None:
    targets, _ = signal(30, 3)
    config = BootstrapConfig(n_resamples=10)
    parse(plots.forest_plot(compare_runs(targets, targets, targets, labels=names(3), config=config)))


@pytest.mark.parametrize(
    "draw_nothing",
    [
        lambda: plots.label_bars([]),
        lambda: plots.head_and_tail([]),
        lambda: plots.reliability_plot([], 0.0),
        lambda: plots.modality_grid([]),
    ],
)
def test_a_chart_of_nothing_is_refused(draw_nothing: object) -> None:
    with pytest.raises(EvaluationError, match="at least one entry"):
        draw_nothing()  # type: ignore[operator]


def test_charts_are_the_same_every_time_and_leave_no_state() -> None:
    before = dict(mpl.rcParams)
    assert plots.label_bars(evaluation().labels) == plots.label_bars(evaluation().labels)
    assert dict(mpl.rcParams) == before


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keep the figures instead of writing them."""
    figures: list[Figure] = []

    def keep(figure: Figure, **_: object) -> str:
        figures.append(figure)
        return ""

    monkeypatch.setattr(plots, "to_svg", keep)
    return figures


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bars_are_as_long_as_f1_and_marks_stand_at_precision_and_recall(drawn: list[Figure]) -> None:
    rows = evaluation().labels
    plots.label_bars(rows)
    axes = drawn[0].axes[0]
    ordered = sorted(rows, key=lambda row: -row.support)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([row.f1 for row in ordered])
    marks = [(line.get_marker(), line.get_xdata()[0]) for line in axes.lines]
    assert [x for marker, x in marks if marker == "|"] == pytest.approx([row.precision for row in ordered])
    assert [x for marker, x in marks if marker == "o"] == pytest.approx([row.recall for row in ordered])
    for row in ordered:
        assert {row.label, f"{row.support:,}"} <= set(texts(axes))


def test_the_gap_between_head_and_tail_is_named(drawn: list[Figure]) -> None:
    plots.label_bars([label(f"label {i}", support=2000 - i) for i in range(1300)])
    assert any("1,250 labels of middling frequency not shown" in text for text in texts(drawn[0].axes[0]))


def test_points_stand_at_support_and_f1(drawn: list[Figure]) -> None:
    rows = [label("a", support=10, f1=0.25), label("b", support=1000, f1=0.75), label("c", support=0, f1=0.0)]
    plots.head_and_tail(rows)
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.collections[0].get_offsets().tolist() == [[1000, 0.75], [10, 0.25]]
    assert {"a", "b", "1 labels without a true title are not shown"} == set(texts(axes))


def test_names_stay_inside_the_frame(drawn: list[Figure]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    plots.head_and_tail([label("a rather long name of a label", support=s, f1=f) for s, f in ((1, 0.0), (900, 1.0))])
    figure = drawn[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    frame = figure.axes[0].get_window_extent(renderer)
    for note in figure.axes[0].texts:
        box = note.get_window_extent(renderer)
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1


def test_reliability_shows_the_curve_and_the_counts(drawn: list[Figure]) -> None:
    targets, probabilities = signal(200, 4)
    curve = reliability_curve(targets, probabilities, 8)
    plots.reliability_plot(curve, 0.05)
    upper, lower = drawn[0].axes
    filled = [item for item in curve if item.count]
    diagonal, line = upper.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert list(line.get_xdata()) == pytest.approx([item.mean_probability for item in filled])
    assert list(line.get_ydata()) == pytest.approx([item.frequency for item in filled])
    assert [bar.get_height() for bar in lower.patches] == [item.count for item in curve]
    assert [bar.get_x() for bar in lower.patches] == pytest.approx([item.low for item in curve])
    assert "ECE 0.050" in texts(upper)


def test_modality_grid_prints_every_figure_and_shades_the_best_darkest(drawn: list[Figure]) -> None:
    rows = [
        ModalityScores(modalities=("plot",), micro_f1=0.5, macro_f1=0.4),
        ModalityScores(modalities=("plot", "poster"), micro_f1=0.625, macro_f1=0.45, mean_average_precision=0.7),
        ModalityScores(modalities=("poster",), micro_f1=0.25, macro_f1=0.125),
    ]
    plots.modality_grid(rows)
    axes = drawn[0].axes[0]
    figures = [text for text in texts(axes) if text.startswith("0.") or text == "n/a"]
    assert figures == ["0.625", "0.450", "0.700", "0.500", "0.400", "n/a", "0.250", "0.125", "n/a"]
    assert {"plot", "poster", "micro F1", "macro F1", "mAP"} <= set(texts(axes))
    brightness = [sum(cell.get_facecolor()[:3]) for cell in axes.patches if cell.get_x() < 3]
    assert brightness[0] < brightness[-1]


def test_figures_in_cells_can_be_read_on_their_shade(drawn: list[Figure]) -> None:
    rows = [ModalityScores(modalities=(f"m{i}",), micro_f1=i / 20, macro_f1=i / 20) for i in range(20)]
    plots.modality_grid(rows)
    axes = drawn[0].axes[0]
    cells = {(round(c.get_x() + 0.6, 3), round(c.get_y() + 0.44, 3)): c.get_facecolor() for c in axes.patches}
    for text in axes.texts:
        place = tuple(round(value, 3) for value in text.get_position())
        if place in cells:
            assert contrast(to_rgba(text.get_color()), cells[place]) > 3.5, text.get_text()


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Return the contrast ratio of WCAG 2.1; 3 is the least for large text and graphics."""
    lights = []
    for colour in (first, second):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_forest_plot_shows_intervals_and_which_side_is_better(drawn: list[Figure]) -> None:
    result = comparison()
    plots.forest_plot(result)
    axes = drawn[0].axes[0]
    zero, *lines = axes.lines
    assert list(zero.get_xdata()) == [0, 0]
    for row, bar, point in zip(result.differences, lines[::2], lines[1::2], strict=True):
        assert list(bar.get_xdata()) == [row.interval.low, row.interval.high]
        assert list(point.get_xdata()) == [row.difference]
        assert any(text.startswith(f"{row.difference:+.3f}") for text in texts(axes))
    low, high = axes.get_xlim()
    assert low == -high
    assert {"\N{LEFTWARDS ARROW} old better", "new better \N{RIGHTWARDS ARROW}"} <= set(texts(axes))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["micro F1", "macro F1", "weighted F1", "samples F1"]


def test_names_do_not_overlap(drawn: list[Figure]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rng = np.random.default_rng(0)
    plots.head_and_tail([label(f"label {i}", support=int(rng.integers(5, 60)), f1=rng.random()) for i in range(60)])
    renderer = FigureCanvasAgg(drawn[0]).get_renderer()
    boxes = [note.get_window_extent(renderer) for note in drawn[0].axes[0].texts]
    assert len(boxes) > 10
    for index, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[index + 1 :])
