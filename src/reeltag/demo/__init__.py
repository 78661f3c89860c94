"""The bundled catalogue: plain facts of some 3,500 films, the best known with a plot in our own words."""

from __future__ import annotations

from importlib.resources import as_file, files

from reeltag.catalogue import Catalogue


def demo_catalogue() -> Catalogue:
    """Return the bundled catalogue; its splits are fixed; films without a plot are training films."""
    with as_file(files("reeltag.demo") / "films.jsonl") as path:
        return Catalogue.read(path)
