"""Scorers: how plausible a link (head, relation, tail) is."""

from __future__ import annotations

from typing import Any

from reeltag.graph.scorers.complex import ComplEx
from reeltag.graph.scorers.contract import SIDES, Scorer, Side
from reeltag.graph.scorers.conve import ConvE
from reeltag.graph.scorers.distmult import DistMult
from reeltag.graph.scorers.rotate import RotatE
from reeltag.graph.scorers.transd import TransD
from reeltag.graph.scorers.transe import TransE
from reeltag.graph.scorers.transh import TransH
from reeltag.graph.scorers.transr import TransR

SCORERS: dict[str, type[Any]] = {
    "transe": TransE,
    "transh": TransH,
    "transr": TransR,
    "transd": TransD,
    "distmult": DistMult,
    "complex": ComplEx,
    "conve": ConvE,
    "rotate": RotatE,
}

__all__ = [
    "SCORERS",
    "SIDES",
    "ComplEx",
    "ConvE",
    "DistMult",
    "RotatE",
    "Scorer",
    "Side",
    "TransD",
    "TransE",
    "TransH",
    "TransR",
]
