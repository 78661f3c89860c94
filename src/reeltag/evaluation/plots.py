"""The charts of the report, each a function from figures to an inline SVG string.

They are drawn for a column of 700 pixels, in one accent colour on white. Names are never read as mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reeltag.errors import EvaluationError
from reeltag.evaluation.reliability import ReliabilityBin
from reeltag.evaluation.significance import Comparison
from reeltag.evaluation.summary import LabelScores, ModalityScores
from reeltag.evaluation.svg import (
    ACCENT,
    ACCENT_PALE,
    FAINT,
    INK,
    MUTED,
    PAPER,
    bare,
    new_figure,
    short_name,
    style,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_MOST_BARS = 60
_HEAD_BARS = 30
_TAIL_BARS = 20
_MOST_NAMES = 80
_ROW_IN = 0.23
_SPOTS = (
    ((5, 0), "left", "center"),
    ((-5, 0), "right", "center"),
    ((0, 5), "center", "bottom"),
    ((0, -5), "center", "top"),
)


def label_bars(labels: Sequence[LabelScores]) -> str:
    """Draw F1 as a bar, precision and recall as marks, and the support of each label, most frequent first.

    Args:
        labels: At least one label. Beyond 60 labels, the 30 most and the 20 least frequent are shown.

    Returns:
        An inline SVG.

    Raises:
        EvaluationError: There is no label.
    """
    _check_any(labels, "labels")
    ordered = sorted(labels, key=lambda item: (-item.support, item.label))
    rows: list[LabelScores | None] = list(ordered)
    hidden = 0
    if len(ordered) > _MOST_BARS:
        hidden = len(ordered) - _HEAD_BARS - _TAIL_BARS
        rows = [*ordered[:_HEAD_BARS], None, *ordered[-_TAIL_BARS:]]
    with style():
        height = _ROW_IN * len(rows) + 0.6
        figure = new_figure(height)
        axes = figure.add_axes((0.27, 0.25 / height, 0.64, 1 - 0.6 / height))
        for place, row in enumerate(rows):
            if row is None:
                text = f"… {hidden:,} labels of middling frequency not shown …"
                axes.text(0.5, place, text, ha="center", va="center", color=MUTED, fontsize=8)
            else:
                _draw_label_row(axes, place, row)
        _frame_unit_axis(axes, len(rows))
        axes.text(1.02, -0.9, "titles", color=MUTED, fontsize=8, va="center")
        _draw_bar_legend(axes)
        return to_svg(
            figure,
            name="label-bars",
            title="F1, precision and recall of each label, by falling number of titles",
            description=_in_words((row.label, row.f1) for row in rows if row is not None),
        )


def head_and_tail(labels: Sequence[LabelScores]) -> str:
    """Draw F1 against the number of titles (logarithmic) of each label, with the names that fit.

    Args:
        labels: At least one label; labels without any true title cannot be placed and are counted in a note.

    Returns:
        An inline SVG.

    Raises:
        EvaluationError: There is no label.
    """
    _check_any(labels, "labels")
    placed = sorted((item for item in labels if item.support > 0), key=lambda item: (-item.support, item.label))
    with style():
        figure = new_figure(3.6)
        axes = figure.add_axes((0.08, 0.13, 0.9, 0.83))
        supports = [item.support for item in placed] or [1]
        axes.set_xscale("log")
        axes.set_xlim(min(supports) / 1.6, max(supports) * 1.8)
        axes.set_ylim(-0.05, 1.05)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        bare(axes)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel("titles with the label (logarithmic)")
        axes.set_ylabel("F1")
        axes.scatter([i.support for i in placed], [i.f1 for i in placed], s=16, color=ACCENT, alpha=0.8, linewidths=0)
        if len(placed) < len(labels):
            text = f"{len(labels) - len(placed):,} labels without a true title are not shown"
            axes.text(0.99, 0.02, text, transform=axes.transAxes, ha="right", color=MUTED, fontsize=8)
        _name_points(figure, axes, placed)
        return to_svg(
            figure,
            name="head-and-tail",
            title="F1 of each label against the number of titles that have it",
            description=_in_words((f"{item.label} ({item.support:,} titles)", item.f1) for item in placed[:50]),
        )


def reliability_plot(curve: Sequence[ReliabilityBin], ece: float) -> str:
    """Draw the reliability curve above a histogram of the probabilities.

    Args:
        curve: The bins in rising order, at least one.
        ece: The expected calibration error to print.

    Returns:
        An inline SVG.

    Raises:
        EvaluationError: There is no bin.
    """
    _check_any(curve, "curve")
    filled = [(b.mean_probability, b.frequency) for b in curve if b.mean_probability is not None]
    with style():
        figure = new_figure(4.4, width_in=5.0)
        upper = figure.add_axes((0.13, 0.34, 0.84, 0.64))
        lower = figure.add_axes((0.13, 0.11, 0.84, 0.17), sharex=upper)
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        upper.plot(*zip(*filled, strict=True), color=ACCENT, linewidth=1.4, marker="o", markersize=4)
        upper.text(0.03, 0.95, f"ECE {ece:.3f}", transform=upper.transAxes, fontsize=11, va="top", weight="bold")
        upper.set_ylabel("share that is true")
        upper.set_ylim(-0.02, 1.02)
        upper.set_xlim(-0.01, 1.01)
        upper.tick_params(labelbottom=False)
        lower.bar([b.low for b in curve], [b.count for b in curve], [b.high - b.low for b in curve], align="edge",
                  color=ACCENT_PALE, edgecolor=PAPER, linewidth=0.8)  # fmt: skip
        lower.set_yscale("log")
        lower.set_ylim(0.7, max(2, max(b.count for b in curve) * 2))
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
        lower.set_ylabel("pairs (log)")
        lower.set_xlabel("probability given by the model")
        for axes in (upper, lower):
            axes.grid(color=FAINT, linewidth=0.6)
            axes.set_axisbelow(True)
            bare(axes)
        return to_svg(
            figure,
            name="reliability",
            title=f"Reliability curve and histogram of the probabilities; expected calibration error {ece:.3f}",
            description="; ".join(f"said {said:.2f}, true {true:.2f}" for said, true in filled),
        )


def modality_grid(rows: Sequence[ModalityScores]) -> str:
    """Draw the figures for every subset of modalities as a table shaded by value.

    Args:
        rows: At least one subset; drawn from the largest subset to the smallest, best first.

    Returns:
        An inline SVG.

    Raises:
        EvaluationError: There is no row.
    """
    _check_any(rows, "modality rows")
    names = list(dict.fromkeys(name for row in rows for name in row.modalities)) or ["(none)"]
    ordered = sorted(rows, key=lambda row: (-len(row.modalities), -row.micro_f1))
    columns = ("micro F1", "macro F1", "mAP")
    table = [(row.micro_f1, row.macro_f1, row.mean_average_precision) for row in ordered]
    with style():
        height = 0.28 * len(ordered) + 0.75
        figure = new_figure(height, width_in=0.55 * (len(names) + 3 * 1.3 + 0.7))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(-0.6, len(names) + 3 * 1.3 + 0.1)
        axes.set_ylim(len(ordered) - 0.4, -1.6)
        axes.set_axis_off()
        for x, name in enumerate(names):
            axes.text(x, -0.7, short_name(name), rotation=25, ha="left", va="bottom", fontsize=8, parse_math=False)
        for x, name in enumerate(columns):
            axes.text(len(names) + 0.6 + 1.3 * x, -0.7, name, ha="center", va="bottom", fontsize=8, weight="bold")
        for y, row in enumerate(ordered):
            _draw_subset(axes, y, [name in row.modalities for name in names])
            for x, value in enumerate(table[y]):
                _draw_cell(axes, (len(names) + 0.6 + 1.3 * x, y), value, [line[x] for line in table])
        return to_svg(
            figure,
            name="modality-grid",
            title="Micro F1, macro F1 and mAP for every subset of modalities",
            description=_in_words((" + ".join(row.modalities) or "none", row.micro_f1) for row in ordered),
        )


def forest_plot(comparison: Comparison) -> str:
    """Draw the differences of two runs with their intervals around zero.

    Args:
        comparison: The comparison; to the right of zero the second run is better.

    Returns:
        An inline SVG.
    """
    rows = comparison.differences
    reach = 1.15 * max([abs(end) for row in rows for end in (row.interval.low, row.interval.high)] + [0.005])
    with style():
        height = 0.34 * len(rows) + 0.85
        figure = new_figure(height)
        axes = figure.add_axes((0.14, 0.42 / height, 0.52, 1 - 0.75 / height))
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for y, row in enumerate(rows):
            sure = row.interval.low > 0 or row.interval.high < 0
            colour = ACCENT if sure else MUTED
            axes.plot([row.interval.low, row.interval.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([row.difference], [y], marker="o", color=colour, markersize=6)
            text = (
                f"{row.difference:+.3f}  [{row.interval.low:+.3f}, {row.interval.high:+.3f}]  p {_p_value(row.p_value)}"
            )
            axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
        axes.set_yticks(range(len(rows)), [row.metric.replace("_f1", " F1") for row in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.3f}" if value else "0")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        bare(axes)
        axes.text(0, 1.03, f"← {short_name(comparison.first)} better", transform=axes.transAxes, color=MUTED,
                  fontsize=8, parse_math=False)  # fmt: skip
        axes.text(1, 1.03, f"{short_name(comparison.second)} better →", transform=axes.transAxes, color=MUTED,
                  fontsize=8, ha="right", parse_math=False)  # fmt: skip
        return to_svg(
            figure,
            name="forest",
            title=f"Differences {comparison.second} minus {comparison.first} with intervals",
            description=_in_words((row.metric, row.difference) for row in rows),
        )


def _draw_label_row(axes: Axes, place: int, row: LabelScores) -> None:
    axes.barh(place, row.f1, height=0.62, color=ACCENT_PALE)
    axes.plot([row.precision], [place], marker="|", color=INK, markersize=9, markeredgewidth=1.6, clip_on=False)
    axes.plot([row.recall], [place], marker="o", color=ACCENT, markersize=4.5, clip_on=False, zorder=3)
    axes.text(-0.02, place, short_name(row.label), ha="right", va="center", fontsize=8.5, parse_math=False)
    axes.text(1.02, place, f"{row.support:,}", va="center", color=MUTED, fontsize=8)


def _frame_unit_axis(axes: Axes, n_rows: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(n_rows - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)


def _draw_bar_legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=ACCENT_PALE, label="F1"),
        Line2D([], [], linestyle="", marker="|", color=INK, markersize=9, markeredgewidth=1.6, label="precision"),
        Line2D([], [], linestyle="", marker="o", color=ACCENT, markersize=4.5, label="recall"),
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, fontsize=8,
        handletextpad=0.4, borderaxespad=0.1,
    )  # fmt: skip


def _name_points(figure: Figure, axes: Axes, placed: Sequence[LabelScores]) -> None:
    """Write the names beside their points, the extremes of support first, where no name or point is in the way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    points = [tuple(axes.transData.transform((item.support, item.f1))) for item in placed]
    taken: list[Bbox] = []
    from_both_ends = sorted(range(len(placed)), key=lambda i: min(i, len(placed) - 1 - i))
    for index in from_both_ends[:_MOST_NAMES]:
        others = points[:index] + points[index + 1 :]
        for offset, across, along in _SPOTS:
            note = _note(axes, placed[index], offset, (across, along))
            box = note.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not box.count_overlaps(taken) and not any(box.padded(2).contains(*p) for p in others):
                taken.append(box)
                break
            note.remove()


def _note(axes: Axes, item: LabelScores, offset: tuple[int, int], align: tuple[str, str]) -> Annotation:
    return axes.annotate(
        short_name(item.label), (item.support, item.f1), xytext=offset, textcoords="offset points", fontsize=7.5,
        ha=align[0], va=align[1], parse_math=False,
    )  # fmt: skip


def _draw_subset(axes: Axes, y: int, present: Sequence[bool]) -> None:
    ends = [x for x, there in enumerate(present) if there]
    if ends:
        axes.plot([ends[0], ends[-1]], [y, y], color=ACCENT, linewidth=1.5)
    for x, there in enumerate(present):
        axes.plot([x], [y], marker="o", markersize=7, color=ACCENT if there else FAINT)


def _draw_cell(axes: Axes, centre: tuple[float, int], value: float | None, column: Sequence[float | None]) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    x, y = centre
    if value is None or not math.isfinite(value):
        axes.text(x, y, "n/a", ha="center", va="center", color=MUTED)
        return
    known = [other for other in column if other is not None]
    low, high = min(known), max(known)
    share = (value - low) / (high - low) if high > low else 1.0
    shade = LinearSegmentedColormap.from_list("accent", ["#f3f8fa", ACCENT])(0.1 + 0.9 * share)
    axes.add_patch(Rectangle((x - 0.6, y - 0.44), 1.2, 0.88, facecolor=shade, linewidth=0))
    axes.text(x, y, f"{value:.3f}", ha="center", va="center", color=PAPER if share > 0.74 else INK, fontsize=8.5)


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _in_words(pairs: Iterable[tuple[str, float]]) -> str:
    return "; ".join(f"{name}: {value:.3f}" for name, value in pairs)


def _check_any(items: Sequence[object], name: str) -> None:
    if not items:
        raise EvaluationError(f"a chart needs at least one entry in {name}; got none")
