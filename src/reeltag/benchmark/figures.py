"""The charts of a benchmark, each a function from figures to SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reeltag.benchmark.published import METRICS
from reeltag.benchmark.report import BenchmarkReport, Row
from reeltag.evaluation import GLOBAL
from reeltag.evaluation.svg import (
    ACCENT,
    ACCENT_PALE,
    FAINT,
    INK,
    MUTED,
    bare,
    new_figure,
    short_name,
    style,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENDS = 6  # frequent and rare labels shown, as in the published figure
_COLOURS = (MUTED, ACCENT_PALE, ACCENT, INK)


def head_and_tail(labels: dict[str, int]) -> list[str]:
    """Return the six most and the six least frequent labels, most frequent first; all of them when they are few."""
    names = sorted(labels, key=lambda name: (-labels[name], name))
    return names if len(names) <= 2 * _ENDS else [*names[:_ENDS], *names[-_ENDS:]]


def label_chart(report: BenchmarkReport) -> str:
    """Draw the F1 of frequent and rare labels, one bar per entry.

    Returns:
        An SVG.
    """
    rows = [row for row in report.rows if row.runs]
    names = head_and_tail(report.labels)
    height = 0.8 / max(len(rows), 1)
    with style():
        figure = new_figure(0.16 * (len(rows) + 1.5) * len(names) + 0.7)
        axes = figure.add_axes((0.2, 0.08, 0.66, 0.86))
        for number, row in enumerate(rows):
            found = row.label_f1(GLOBAL)
            places = [place + (number - (len(rows) - 1) / 2) * height for place in range(len(names))]
            axes.barh(places, [found[name] for name in names], height=0.9 * height,
                      color=_COLOURS[number % len(_COLOURS)], label=row.entry.label)  # fmt: skip
        axes.set_yticks(range(len(names)), [f"{short_name(name)} ({report.labels[name]:,})" for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        _unit_axis(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(rows), frameon=False, fontsize=8)
        return to_svg(
            figure,
            name="labels",
            title="F1 of the most and the least frequent labels, by falling number of training titles",
            description="; ".join(_in_words(row, names) for row in rows),
        )


def curve_chart(report: BenchmarkReport) -> str:
    """Draw the F1 figures over the axis of the entries, the spread over seeds as bars.

    Returns:
        An SVG.
    """
    rows = sorted((row for row in report.rows if row.runs and row.entry.x is not None), key=_x)
    with style():
        figure = new_figure(3.6)
        axes = figure.add_axes((0.09, 0.14, 0.88, 0.76))
        for number, metric in enumerate(METRICS):
            found = [row.f1(GLOBAL, metric) for row in rows]
            axes.errorbar([_x(row) for row in rows], [f.mean for f in found], [f.std or 0 for f in found],
                          color=_COLOURS[number], marker="o", markersize=4, linewidth=1.3, capsize=2,
                          label=metric.replace("_f1", " F1"))  # fmt: skip
        axes.set_xticks([_x(row) for row in rows], [f"{_x(row):g}" for row in rows])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(METRICS), frameon=False, fontsize=8)
        axes.set_xlabel("temperature τ")
        axes.set_ylabel("F1 at the global threshold")
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        bare(axes)
        return to_svg(
            figure,
            name="temperature",
            title="F1 by the temperature of the contrast",
            description="; ".join(f"{row.entry.label}: micro F1 {row.f1(GLOBAL, 'micro_f1')}" for row in rows),
        )


def _x(row: Row) -> float:
    return float(row.entry.x or 0.0)


def _unit_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1 at the global threshold")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)


def _in_words(row: Row, names: Sequence[str]) -> str:
    found = row.label_f1(GLOBAL)
    return f"{row.entry.label}: " + ", ".join(f"{name} {found[name]:.2f}" for name in names)
