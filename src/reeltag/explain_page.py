"""The explanation of one title as a page for people: one HTML file that loads nothing, its poster inside it."""

from __future__ import annotations

import io
from importlib import resources

from reeltag.assessment import data_uri
from reeltag.catalogue import Catalogue
from reeltag.encoders.images import decode
from reeltag.explain import Explanation

_TEMPLATE = "explain.html.j2"
_SHOWN_LABELS = 3
_LARGEST_POSTER = 500_000  # bytes; larger ones are made small
_POSTER_SIDE = 600


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
    poster = dict(film.posters.read([explanation.id])).get(explanation.id)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(signed=lambda value: f"{value:+.2f}", share=lambda value: f"{100 * value:.1f}%")
    source = resources.files("reeltag").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=explanation,
        plot=film.texts("plot")[0] or film.texts("outline")[0],
        poster=_shown_poster(poster),
        people_labels=[entry.label for entry in explanation.labels[:_SHOWN_LABELS]],
    )


def _shown_poster(content: bytes | None) -> str | None:
    """Return a poster as a data URI that browsers show; None when there is none, or it cannot be read."""
    image = decode(content) if content else None
    if content is None or image is None:
        return None
    shown = data_uri(content) if len(content) <= _LARGEST_POSTER else None
    if shown is not None:
        return shown
    image.thumbnail((_POSTER_SIDE, _POSTER_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue())
