"""The model card holds the measured figures and survives odd labels."""

from __future__ import annotations

import numpy as np

from reeltag.card import model_card
from reeltag.evaluation import ModalityScores, Report, Truth, evaluate_predictions
from reeltag.labels import LabelConfig, LabelSpace

DATA = {
    "source": "films.csv",
    "fingerprint": "abc123",
    "labelled": {"train": 1200, "validation": 4, "graph": 3400},
}
METADATA = {"modalities": "plot, credits", "seed": "7", "date": "2026-01-02"}


def _card(labels: tuple[str, ...], targets: np.ndarray, probabilities: np.ndarray) -> str:
    space = LabelSpace(labels, LabelConfig(field="moods"), counts=[900 + n for n in range(len(labels))])
    evaluation = evaluate_predictions(
        Truth(targets=targets, labels=labels), probabilities, {"at 0.5": np.full(len(labels), 0.5, np.float32)}
    )
    grid = (ModalityScores(modalities=("plot",), micro_f1=0.25, macro_f1=0.125),)
    return model_card(
        "fusion", space, DATA, Report(title="t", metadata=METADATA, evaluation=evaluation, modalities=grid)
    )


def test_the_card_tells_data_and_figures() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.6], [0.4, 0.7], [0.2, 0.9]], np.float32)
    card = _card(("Calm", "Tense"), targets, probabilities)
    assert "2 labels of `moods`, recipe `fusion`" in card
    assert "1,200 titles of `films.csv` (content abc123); credits graph of 3,400 titles" in card
    assert "from 4 validation titles" in card
    assert "Seed 7, 2026-01-02" in card
    # right: Calm 2 of 3 found, none wrong; Tense 2 of 2 found, one wrong: tp 4, fp 1, fn 1
    assert "| at 0.5 | 0.800 | 0.800 |" in card
    assert "| Calm | 900 | 3 | 1.000 | 0.667 | 0.800 |" in card
    assert "| Tense | 901 | 2 | 0.667 | 1.000 | 0.800 |" in card
    assert "| plot | 0.250 | 0.125 |" in card


def test_undefined_figures_are_dashes_and_bars_are_escaped() -> None:
    targets = np.zeros((2, 1), np.float32)
    card = _card(("A|B",), targets, np.full((2, 1), 0.1, np.float32))
    assert "mAP –, AUROC –" in card
    assert "| A\\|B | 900 | 0 |" in card
