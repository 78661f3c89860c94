"""The report of one evaluation: ``report.json`` for programs, ``report.html`` for people.

The page is one file that loads nothing: style, script, charts and posters are inside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from reeltag.config import from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, EvaluationError
from reeltag.evaluation import plots
from reeltag.evaluation.looks import Look
from reeltag.evaluation.mistakes import Mistake
from reeltag.evaluation.significance import Comparison
from reeltag.evaluation.summary import AT_HALF, GLOBAL, PER_LABEL, Evaluation, ModalityScores
from reeltag.files import atomic_file
from reeltag.poster_picture import PICTURE_LEGEND, picture_style, poster_pictures

SCHEMA = 1
JSON_NAME = "report.json"
HTML_NAME = "report.html"
RULE_DEFINITIONS = {
    AT_HALF: "A label is given where its probability is at least 0.5.",
    GLOBAL: "One threshold for all labels, chosen on validation titles.",
    PER_LABEL: "One threshold for each label, chosen on validation titles.",
}
_TEMPLATE = "report.html.j2"
_PLOT_CHARACTERS = 320
_ABSENT = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One row of the table of other systems on the same titles.

    Attributes:
        name: What it is.
        micro_f1: In [0, 1]; None when unknown, as for the others.
        macro_f1: In [0, 1].
        samples_f1: In [0, 1].
        mean_average_precision: In [0, 1].
        note: Anything a reader should know, such as the source of the figures.
    """

    name: str
    micro_f1: float | None = None
    macro_f1: float | None = None
    samples_f1: float | None = None
    mean_average_precision: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report shows.

    Attributes:
        title: Heading of the page.
        metadata: What was evaluated, shown in this order: recipe, data, split, date, seed, and what else helps.
            The number of titles is added from the evaluation.
        evaluation: The figures.
        modalities: Figures for subsets of the modalities; empty when not computed.
        mistakes: The worst mistakes, worst first.
        looks: What the run looked at on posters, for taggers that read them patch by patch or word by word.
        baselines: Other systems on the same titles.
        comparison: Another run on the same titles, tested against this one.
    """

    title: str
    metadata: dict[str, str]
    evaluation: Evaluation
    modalities: tuple[ModalityScores, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    looks: tuple[Look, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    comparison: Comparison | None = field(default=None)


def write_report(folder: Path, report: Report) -> None:
    """Write ``report.json`` and ``report.html``; each appears whole or not at all.

    Args:
        folder: Folder to write to; made when missing.
        report: What to write.

    Raises:
        EvaluationError: A figure is NaN or infinite.
    """
    texts = {JSON_NAME: report_to_json(report), HTML_NAME: report_to_html(report)}
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def report_to_json(report: Report) -> str:
    """Return the report as readable JSON with the key ``schema``.

    Raises:
        EvaluationError: A figure is NaN or infinite.
    """
    data = {"schema": SCHEMA, **to_json(report)}
    try:
        return json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        raise EvaluationError(f"every figure of a report must be finite or None: {error}") from error


def read_report(path: Path) -> Report:
    """Read what ``write_report`` wrote, strictly.

    Args:
        path: The folder, or the JSON file itself.

    Returns:
        The report; equal to the one written.

    Raises:
        ArtefactError: The file is missing, is not JSON, has another schema, or a key is unknown or mistyped.
    """
    file = path / JSON_NAME if path.is_dir() else path
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{file}: there is no report; write one with 'reeltag evaluate'") from None
    except ValueError as error:
        raise ArtefactError(f"{file}: must be JSON in UTF-8; got {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ArtefactError(f"{file}: schema must be {SCHEMA}; got {found!r}")
    try:
        return from_json(Report, {key: value for key, value in data.items() if key != "schema"}, file.name)
    except (ConfigError, EvaluationError) as error:
        raise ArtefactError(f"{file}: {error}") from error


def report_to_html(report: Report) -> str:
    """Return the report as one HTML page that refers to nothing outside itself."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=_figure, percent=_percent, p_value=_p_value, beginning=_beginning)
    source = resources.files("reeltag.evaluation").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        report=report,
        evaluation=report.evaluation,
        scores=report.evaluation.scores,
        ranking=report.evaluation.ranking,
        rule_definitions=RULE_DEFINITIONS,
        charts=_charts(report),
        pictures=[
            poster_pictures(look.evidence, look.poster, look.shown, name=f"look-{number}")
            for number, look in enumerate(report.looks)
        ],
        picture_style=picture_style(),
        picture_legend=PICTURE_LEGEND,
    )


def _charts(report: Report) -> dict[str, str]:
    """Return the charts that the report has figures for, marked as safe to embed: our own SVG, its text escaped."""
    from markupsafe import Markup

    evaluation = report.evaluation
    drawers: dict[str, Callable[[], str]] = {
        "label_bars": lambda: plots.label_bars(evaluation.labels),
        "head_and_tail": lambda: plots.head_and_tail(evaluation.labels),
        "reliability": lambda: plots.reliability_plot(evaluation.reliability, evaluation.ranking.ece),
    }
    if report.modalities:
        drawers["modality_grid"] = lambda: plots.modality_grid(report.modalities)
    comparison = report.comparison
    if comparison is not None:
        drawers["forest"] = lambda: plots.forest_plot(comparison)
    return {name: Markup(draw()) for name, draw in drawers.items()}


def _figure(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return _ABSENT if value is None else f"{100 * value:.1f} %"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PLOT_CHARACTERS else line[:_PLOT_CHARACTERS].rsplit(" ", 1)[0] + " …"
