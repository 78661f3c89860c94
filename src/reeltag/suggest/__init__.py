"""Which titles are worth an editor's time: suggestions for a catalogue, and simulations of what they save."""

from __future__ import annotations

from reeltag.suggest.curves import Curve, Curves
from reeltag.suggest.learner import QuickConfig, QuickLearner
from reeltag.suggest.simulate import SimulationConfig, simulate
from reeltag.suggest.strategies import STRATEGIES, Candidates, Choice
from reeltag.suggest.suggest import Suggestions, read_ids, suggest

__all__ = [
    "STRATEGIES",
    "Candidates",
    "Choice",
    "Curve",
    "Curves",
    "QuickConfig",
    "QuickLearner",
    "SimulationConfig",
    "Suggestions",
    "read_ids",
    "simulate",
    "suggest",
]
