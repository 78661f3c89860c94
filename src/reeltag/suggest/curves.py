"""Curves of a simulation: means over seeds, how many labels reach a share of the whole pool's F1, JSON and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reeltag.config import to_json
from reeltag.evaluation.svg import ACCENT, ACCENT_PALE, FAINT, INK, MUTED, bare, new_figure, style, to_svg
from reeltag.files import atomic_file, write_json

METRICS = ("micro_f1", "macro_f1", "mean_average_precision")
RANDOM = "random"
_COLOURS = {RANDOM: MUTED, "mixed": ACCENT}
_OTHERS = (INK, ACCENT_PALE, "#b35900", "#6f42c1")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model trained on some labelled titles.

    Attributes:
        n_labelled: How many.
        validation: Figures on validation titles, by name (``METRICS``).
        test: The same on test titles.
    """

    n_labelled: int
    validation: dict[str, float]
    test: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One strategy.

    Attributes:
        strategy: Its name.
        n_labelled: Labelled titles after every round.
        mean: Means over seeds by metric.
        std: Standard deviations over seeds by metric; zeros for a single seed.
        reached: Labelled titles at which the mean micro F1 first reaches what is asked for, between rounds by linear
            interpolation; None when it does not within the rounds.
        of_random: ``reached`` over that of ``random``; None when either is missing.
    """

    strategy: str
    n_labelled: tuple[int, ...]
    mean: dict[str, tuple[float, ...]]
    std: dict[str, tuple[float, ...]]
    reached: float | None
    of_random: float | None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What a simulation found.

    Attributes:
        curves: One per strategy, in the order they were asked for.
        whole: Figures of the model trained on the whole pool, by metric, means over seeds.
        share: Share of the whole pool's micro F1 that is asked for.
        measured_on: ``test`` or ``validation``.
        facts: What was simulated: titles, labels, learner, and so on.
    """

    curves: tuple[Curve, ...]
    whole: dict[str, float]
    share: float
    measured_on: str
    facts: dict[str, Any]

    @property
    def wanted(self) -> float:
        """The micro F1 that is asked for."""
        return self.share * self.whole["micro_f1"]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**to_json(self), "wanted": self.wanted}


def draw_up(
    runs: Mapping[str, Sequence[Sequence[Point]]],
    whole: Sequence[Point],
    *,
    measured_on: str,
    share: float,
    facts: dict[str, Any],
) -> Curves:
    """Return the curves of runs.

    Args:
        runs: By strategy, for every seed the points of its run; all of as many rounds.
        whole: Models trained on the whole pool, one per seed.
        measured_on: ``test`` or ``validation``.
        share: Share of the micro F1 of the whole pool that is asked for.
        facts: What was simulated.
    """
    best = {name: float(np.mean([getattr(point, measured_on)[name] for point in whole])) for name in METRICS}
    drawn: dict[str, Curve] = {}
    for strategy in sorted(runs, key=lambda name: name != RANDOM):  # the others are measured by it
        sizes = tuple(point.n_labelled for point in runs[strategy][0])
        figures = {
            name: np.array([[getattr(point, measured_on)[name] for point in run] for run in runs[strategy]])
            for name in METRICS
        }  # each (n_seeds, n_points)
        mean = {name: tuple(values.mean(axis=0).tolist()) for name, values in figures.items()}
        std = {name: _spread(values) for name, values in figures.items()}
        reached = labels_needed(sizes, mean["micro_f1"], share * best["micro_f1"])
        reference = reached if strategy == RANDOM else drawn[RANDOM].reached if RANDOM in drawn else None
        drawn[strategy] = Curve(
            strategy=strategy,
            n_labelled=sizes,
            mean=mean,
            std=std,
            reached=reached,
            of_random=reached / reference if reached is not None and reference is not None else None,
        )
    return Curves(
        curves=tuple(drawn[name] for name in runs), whole=best, share=share, measured_on=measured_on, facts=facts
    )


def labels_needed(sizes: Sequence[int], figures: Sequence[float], wanted: float) -> float | None:
    """Return where a curve first reaches a figure, by linear interpolation; None when it does not.

    Args:
        sizes: Labelled titles, rising.
        figures: The curve, one figure per size.
        wanted: The figure.
    """
    for place, figure in enumerate(figures):
        if figure < wanted:
            continue
        if place == 0:
            return float(sizes[0])
        before, step = figures[place - 1], sizes[place] - sizes[place - 1]
        return float(sizes[place - 1] + step * (wanted - before) / (figure - before))
    return None


def write_curves(folder: Path, curves: Curves) -> None:
    """Write ``curves.json`` and ``curves.svg``."""
    write_json(folder / "curves.json", curves.to_json())
    with atomic_file(folder / "curves.svg") as temporary:
        temporary.write_text(efficiency_chart(curves), encoding="utf-8")


def efficiency_chart(curves: Curves) -> str:
    """Draw micro and macro F1 over the number of labelled titles, with the spread over seeds.

    Returns:
        An SVG.
    """
    with style():
        figure = new_figure(3.6)
        for place, (metric, name) in enumerate((("micro_f1", "micro F1"), ("macro_f1", "macro F1"))):
            axes = figure.add_axes((0.08 + 0.5 * place, 0.14, 0.42, 0.72))
            others = iter(_OTHERS * len(curves.curves))
            for curve in curves.curves:
                colour = _COLOURS.get(curve.strategy) or next(others)
                mean, std = np.array(curve.mean[metric]), np.array(curve.std[metric])
                axes.plot(curve.n_labelled, mean, color=colour, linewidth=1.4, label=curve.strategy)
                axes.fill_between(curve.n_labelled, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
            axes.axhline(curves.whole[metric], color=MUTED, linewidth=0.8)
            axes.axhline(curves.share * curves.whole[metric], color=MUTED, linewidth=0.8, linestyle="--")
            axes.set_xlabel(f"labelled titles; lines: whole pool and {100 * curves.share:g} % of it")
            axes.set_title(f"{name} ({curves.measured_on})", fontsize=9, loc="right")
            axes.grid(color=FAINT, linewidth=0.6)
            axes.set_axisbelow(True)
            bare(axes)
            if place == 0:
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=4, frameon=False, fontsize=8)
        return to_svg(
            figure,
            name="curves",
            title="F1 by the number of labelled titles and how they are chosen",
            description="; ".join(map(_in_words, curves.curves)),
        )


def _in_words(curve: Curve) -> str:
    ends = f"micro F1 {curve.mean['micro_f1'][-1]:.3f} with {curve.n_labelled[-1]:,} labelled titles"
    return f"{curve.strategy}: {ends}" + (f", enough with {curve.reached:,.0f}" if curve.reached is not None else "")


def _spread(values: Any) -> tuple[float, ...]:
    if len(values) < 2:
        return (0.0,) * int(values.shape[1])
    return tuple(map(float, values.std(axis=0, ddof=1)))
