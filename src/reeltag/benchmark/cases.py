"""Single test films: what each model attends to, beside what its teacher asks for. Counterpart of figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from reeltag.assessment import data_uri, shortened
from reeltag.benchmark.published import IDKG_PAPER, PUBLISHED_CASES
from reeltag.benchmark.runs import Outcome
from reeltag.catalogue import Catalogue

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#24292f}"
    "article{display:flex;gap:1.2em;border-top:1px solid #d8dee4;padding:1.2em 0}article>div{flex:1}"
    "img,.none{width:130px;flex:none}.none{background:#f3f5f7;color:#6e7781;height:190px;text-align:center;"
    "line-height:190px}table{border-collapse:collapse;margin:.5em 0}td,th{padding:.15em .9em .15em 0;"
    "text-align:left;font-weight:normal}th{color:#6e7781}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".high{color:#b42318;font-weight:600}"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test film.

    Attributes:
        place: Its place among the test titles.
        why: Why it is shown.
    """

    place: int
    why: str


def choose_cases(first: Outcome, complete: npt.NDArray[np.bool_]) -> list[Case]:
    """Choose films by how far the teacher trusts their credits: most, middling, least, and none known.

    Args:
        first: A run that was looked at; without a teacher the number of known people takes its place.
        complete: Test titles that have every other modality, (n_test,); the films are chosen among them, if any.

    Returns:
        Up to four films, each once.
    """
    trust = first.teacher if first.teacher is not None else first.people
    n_test = len(first.probabilities)
    if trust is None:
        trust = np.zeros(n_test, np.float32)
    pool = np.flatnonzero(complete if complete.any() else np.ones(n_test, np.bool_))
    order = pool[np.argsort(-trust[pool], kind="stable")]
    known, unknown = order[trust[order] > 0], order[trust[order] <= 0]
    chosen = []
    if len(known):
        chosen += [Case(place=int(known[0]), why="people best known to the credits graph")]
        chosen += [Case(place=int(known[len(known) // 2]), why="people as well known as in the middle film")]
        chosen += [Case(place=int(known[-1]), why="people least known")]
    if len(unknown):
        chosen += [Case(place=int(unknown[0]), why="nobody known")]
    return list({case.place: case for case in reversed(chosen)}.values())[::-1]


def cases_page(
    title: str,
    films: Catalogue,
    cases: Sequence[Case],
    outcomes: Mapping[str, Outcome],
    truth: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> str:
    """Return an HTML page that refers to nothing outside itself.

    Args:
        title: Heading.
        films: The chosen films, in the order of ``cases``.
        cases: Where they stand among the test titles, and why they were chosen.
        outcomes: One run of each model, by its label.
        truth: The films' true labels.
        labels: Names of the columns.
    """
    posters = dict(films.posters.read(films.ids))
    titles, plots, years = films.texts("title"), films.texts("plot"), films.years()
    parts = []
    for row, case in enumerate(cases):
        image = data_uri(posters.get(films.ids[row]))
        year = f" ({int(years[row])})" if np.isfinite(years[row]) else ""
        picture = f'<img alt="Poster" src="{image}">' if image else '<div class="none">no poster</div>'
        found = "".join(_model(name, outcome, case.place, labels) for name, outcome in outcomes.items())
        parts.append(
            f"<article>{picture}<div><h2>{escape(titles[row] or films.ids[row])}{year}</h2><p>{escape(case.why)}</p>"
            f"<p>{escape(shortened(plots[row])) or 'no plot'}</p><p>True: {escape(', '.join(truth[row]))}</p>{found}"
            "</div></article>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>Attention of each modality, in [0, 1], and what the attention teacher asks of the "
        f"credits. The highest attention of a film is red.</p>{''.join(parts)}{_published()}</html>\n"
    )


def _model(name: str, outcome: Outcome, place: int, labels: Sequence[str]) -> str:
    said = [label for label, yes in zip(labels, outcome.decisions[place], strict=True) if yes]
    values = {modality: float(array[place]) for modality, array in outcome.attention.items()}
    highest = max(values.values(), default=0.0)
    cells = [(f"attention: {n}", f"{v:.4f}", "n high" if v == highest else "n") for n, v in values.items()]
    if outcome.teacher is not None:
        cells.append(("teacher asks of the credits", f"{outcome.teacher[place]:.4f}", "n"))
    if outcome.people is not None:
        cells.append(("people known", f"{outcome.people[place]:.0f}", "n"))
    rows = "".join(f'<tr><th>{escape(head)}</th><td class="{kind}">{cell}</td></tr>' for head, cell, kind in cells)
    return f"<h3>{escape(name)}: {escape(', '.join(said) or 'no label')}</h3><table>{rows}</table>"


def _published() -> str:
    heads = "".join(f"<th>{head}</th>" for head in ("plot", "people", "poster", "plot", "credits"))
    rows = "".join(
        f"<tr><td>{escape(str(c['plot']))}</td>"
        + "".join(f'<td class="n">{c[name]}</td>' for name in ("people", "poster", "text", "credits"))
        + "</tr>"
        for c in PUBLISHED_CASES
    )
    return f"<h2>The published three</h2><p>{escape(IDKG_PAPER.warning)}</p><table><tr>{heads}</tr>{rows}</table>"
