"""Titles near each other: search for similar ones, the sub-genres within genres, and a map to look at."""

from __future__ import annotations

from reeltag.retrieval.changes import Changes
from reeltag.retrieval.clustering import ClusterConfig
from reeltag.retrieval.index import Found, IndexConfig, TitleIndex
from reeltag.retrieval.indexed import IndexedTitles, Update, check_index_folder, tagger_key
from reeltag.retrieval.layout import LayoutConfig, layout
from reeltag.retrieval.map_groups import Groups, subgenre_groups
from reeltag.retrieval.map_page import MapConfig, WrittenMap, check_target, read_positions, write_map
from reeltag.retrieval.map_posters import PosterSheets, poster_sheets
from reeltag.retrieval.naming import Naming
from reeltag.retrieval.similar import Query, Similar, Wanted, similar
from reeltag.retrieval.space import Space
from reeltag.retrieval.subgenre_results import Genre, Subgenre, SubgenreConfig, Subgenres, check_subgenre_folder
from reeltag.retrieval.subgenres import subgenres
from reeltag.retrieval.title_map import TitleMap, TitleMapConfig, make_map

__all__ = [
    "Changes",
    "ClusterConfig",
    "Found",
    "Genre",
    "Groups",
    "IndexConfig",
    "IndexedTitles",
    "LayoutConfig",
    "MapConfig",
    "Naming",
    "PosterSheets",
    "Query",
    "Similar",
    "Space",
    "Subgenre",
    "SubgenreConfig",
    "Subgenres",
    "TitleIndex",
    "TitleMap",
    "TitleMapConfig",
    "Update",
    "Wanted",
    "WrittenMap",
    "check_index_folder",
    "check_subgenre_folder",
    "check_target",
    "layout",
    "make_map",
    "poster_sheets",
    "read_positions",
    "similar",
    "subgenre_groups",
    "subgenres",
    "tagger_key",
    "write_map",
]
