"""The catalogue: reading, validating and holding the titles of a collection."""

from reeltag.catalogue.core import Catalogue, ReadOptions
from reeltag.catalogue.fields import FIELDS, PEOPLE_FIELDS, SPLITS, ColumnMapping
from reeltag.catalogue.posters import PosterFiles, Posters, PosterTables
from reeltag.catalogue.trailers import TrailerFiles

__all__ = [
    "FIELDS",
    "PEOPLE_FIELDS",
    "SPLITS",
    "Catalogue",
    "ColumnMapping",
    "PosterFiles",
    "PosterTables",
    "Posters",
    "ReadOptions",
    "TrailerFiles",
]
