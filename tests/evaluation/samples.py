"""Random truths and probabilities with the awkward cases in them, shared by the tests of this folder."""

from __future__ import annotations

from functools import cache

import numpy as np

from reeltag.evaluation import (
    AT_HALF,
    GLOBAL,
    PER_LABEL,
    Baseline,
    BootstrapConfig,
    Evaluation,
    EvaluationConfig,
    Mistake,
    ModalityScores,
    Report,
    TrainingCounts,
    Truth,
    compare_runs,
    decide,
    evaluate_predictions,
    worst_mistakes,
)

CASES = ("plain", "tied", "no_positive", "all_positive", "no_decision", "all_decided", "one_title", "one_label")


def draw(case: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (bool) and probabilities (float32) of one named case."""
    rng = np.random.default_rng(seed)
    n_titles, n_labels = {"one_title": (1, 6), "one_label": (40, 1)}.get(case, (60, 7))
    probabilities = rng.random((n_titles, n_labels)).astype(np.float32)
    targets = rng.random((n_titles, n_labels)) < probabilities * 0.7
    if case == "tied":
        probabilities = np.round(probabilities * 4) / np.float32(4)
    if case == "no_positive":
        targets[:, [0, 3]] = False
        targets[:5] = False
    if case == "all_positive":
        targets[:, [1, 2]] = True
    if case == "no_decision":
        probabilities = probabilities * np.float32(0.49)
    if case == "all_decided":
        probabilities = np.float32(0.5) + probabilities * np.float32(0.5)
    if case == "one_title":
        targets[0, 2] = True
    return targets, probabilities


def signal(n_titles: int, n_labels: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities that know something about them, labels by falling frequency."""
    prevalence = 0.4 / np.arange(1, n_labels + 1) ** 0.7
    targets = np.random.default_rng(seed).random((n_titles, n_labels)) < prevalence
    logits = np.log(prevalence / (1 - prevalence)) + 3.0 * (targets - 0.3)
    logits = logits + noise * np.random.default_rng(seed + 1000).standard_normal(targets.shape)
    return targets, (1 / (1 + np.exp(-logits))).astype(np.float32)


def names(n_labels: int) -> tuple[str, ...]:
    return tuple(f"label {column}" for column in range(n_labels))


@cache
def evaluation(
    n_titles: int = 80, n_labels: int = 6, labels: tuple[str, ...] | None = None, training: TrainingCounts | None = None
) -> Evaluation:
    targets, probabilities = signal(n_titles, n_labels)
    thresholds = {
        AT_HALF: np.full(n_labels, 0.5),
        GLOBAL: np.full(n_labels, 0.4),
        PER_LABEL: np.linspace(0.5, 0.3, n_labels),
    }
    config = EvaluationConfig(bootstrap=BootstrapConfig(n_resamples=50))
    return evaluate_predictions(
        Truth(targets=targets, labels=labels or names(n_labels)),
        probabilities,
        thresholds,
        config=config,
        training=training,
    )


@cache
def full_report(title: str = "A run", film_title: str = "Amélie", plot: str = "A shy waitress.") -> Report:
    """Return a report in which every optional part is present."""
    targets, probabilities = signal(80, 6)
    decisions = decide(probabilities, 0.5)
    other = decide(signal(80, 6, noise=2.0)[1], 0.5)
    wrong = worst_mistakes([f"tt{i}" for i in range(80)], targets, probabilities, decisions, names(6), 3)
    posters = ("data:image/png;base64,iVBORw0KGgo=", None, None)
    return Report(
        title=title,
        metadata={"recipe": "idkg", "data": "demo", "split": "test", "date": "2025-01-31", "seed": "0"},
        evaluation=evaluation(),
        modalities=(
            ModalityScores(modalities=("plot", "poster"), micro_f1=0.6, macro_f1=0.5, mean_average_precision=0.55),
            ModalityScores(modalities=("plot",), micro_f1=0.5, macro_f1=0.4, n_titles=70),
            ModalityScores(modalities=(), micro_f1=0.3, macro_f1=0.1),
        ),
        mistakes=tuple(
            Mistake(wrong=item, title=film_title, year=2001 if row else None, plot=plot, poster=posters[row])
            for row, item in enumerate(wrong)
        ),
        baselines=(Baseline(name="most frequent", micro_f1=0.3, macro_f1=0.1, note="no learning"),),
        comparison=compare_runs(
            targets, other, decisions, labels=names(6), names=("old", "new"), config=BootstrapConfig(n_resamples=50)
        ),
    )
