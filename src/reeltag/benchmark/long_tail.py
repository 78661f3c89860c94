"""What a run is worth where labels are many and rare: ranking figures, and macro F1 by how frequent labels are."""

from __future__ import annotations

from typing import TypeAlias

from reeltag.evaluation import Evaluation
from reeltag.evaluation.tails import GROUPS

KS = (1, 3, 5)
PRECISIONS = tuple(f"P@{k}" for k in KS)
PROPENSITY_SCORED = tuple(f"PSP@{k}" for k in KS)
RANKING_METRICS = (*PRECISIONS, "nDCG@3", "nDCG@5", *PROPENSITY_SCORED)  # nDCG@1 is P@1
COVERAGE = "label_coverage"

Figures: TypeAlias = dict[str, float | None]


def ranking_figures(evaluation: Evaluation) -> Figures:
    """Return the figures named in ``RANKING_METRICS``; None where undefined.

    Args:
        evaluation: With the cut-offs ``KS`` and training counts; PSP@k is None without those.
    """
    figures: Figures = {}
    for top in evaluation.ranking.top_k:
        figures |= {f"P@{top.k}": top.precision, f"nDCG@{top.k}": top.ndcg}
    for scored in evaluation.long_tail.top_k if evaluation.long_tail is not None else ():
        figures[f"PSP@{scored.k}"] = scored.precision
    return {name: figures.get(name) for name in RANKING_METRICS}


def tail_figures(evaluation: Evaluation) -> Figures:
    """Return the macro F1 of head, middle and tail, and the label coverage, under the headline rule.

    A group without labels has None; so has everything without training counts.
    """
    tail = evaluation.long_tail
    groups = {name: tail.group(name) if tail is not None else None for name in GROUPS}
    figures: Figures = {name: None if group is None else group.macro_f1 for name, group in groups.items()}
    return {**figures, COVERAGE: None if tail is None else tail.label_coverage}
