"""The explanation of one title as a page for people: one HTML file that loads nothing, its poster inside it."""

from __future__ import annotations

from importlib import resources

from reeltag.assessment import shown_poster
from reeltag.catalogue import Catalogue
from reeltag.explain import Explanation
from reeltag.poster_picture import PICTURE_LEGEND, picture_style, poster_pictures

_TEMPLATE = "explain.html.j2"
_SHOWN_LABELS = 3


def explanation_to_html(explanation: Explanation, catalogue: Catalogue) -> str:
    """Return an explanation as one HTML page that refers to nothing outside itself.

    Args:
        explanation: What ``Tagger.explain`` returned.
        catalogue: Holds the title; its plot and poster are shown.

    Raises:
        CatalogueError: The catalogue has no such title.
    """
    from jinja2 import Environment, StrictUndefined

    film = catalogue.take([catalogue.find(explanation.id)])
    poster = shown_poster(dict(film.posters.read([explanation.id])).get(explanation.id))
    names = [entry.label for entry in explanation.labels]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(signed=lambda value: f"{value:+.2f}", share=lambda value: f"{100 * value:.1f}%")
    source = resources.files("reeltag").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=explanation,
        plot=film.texts("plot")[0] or film.texts("outline")[0],
        poster=poster,
        pictures=None if explanation.poster is None else poster_pictures(explanation.poster, poster, names),
        picture_style=picture_style(),
        picture_legend=PICTURE_LEGEND,
        people_labels=names[:_SHOWN_LABELS],
    )
