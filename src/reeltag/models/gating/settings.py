"""Settings of collaborative gating and of its fine-grained stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reeltag.config import check_choice, check_range
from reeltag.models.estimator import NetworkConfig
from reeltag.training import TrainingConfig

JOINS = ("pairwise", "star", "concat")
STARTS = ("isometric", "coarse")


def gating_training() -> TrainingConfig:
    """Return the settings that the coarse network is trained with unless told otherwise."""
    return TrainingConfig(epochs=20, batch_size=64, learning_rate=3e-4, weight_decay=0.01)


@dataclass(frozen=True, kw_only=True)
class FineConfig:
    """Settings of the fine-grained stage, in which views of one title find each other among all others.

    Attributes:
        start: What its network starts from: ``isometric`` projections, which keep the distances of what the experts
            said, or those of the ``coarse`` network, which genres have bent (seed 004: "continue to train").
        dim: Width of an expert of an isometric start.
        epochs: Passes over the training titles; with 0 the network stays as it starts.
        batch_size: Titles per step; each is a negative of all others.
        learning_rate: Peak of the cycle.
        temperature: Of the contrast.
        supervised: What the classification loss counts beside it, so that genres are kept.
        weigh: Weigh the experts by how far their likeness tells of shared labels; without, all count alike.
        hidden: Width of the hidden layer of the projection head; 0 for a linear head, which starts as the principal
            axes of the training titles and whose outputs are the space. A head with a hidden layer serves training
            alone, and the space is what was fused.
        out: Width of what the head makes; 0 for no head.
    """

    start: str = "isometric"
    dim: int = 512
    epochs: int = 4
    batch_size: int = 256
    learning_rate: float = 3e-4
    temperature: float = 0.05
    supervised: float = 3.0
    weigh: bool = True
    hidden: int = 0
    out: int = 384

    def __post_init__(self) -> None:
        check_choice("FineConfig", "start", self.start, STARTS)
        for name, low, high in (
            ("dim", 1, 65_536),
            ("epochs", 0, 100_000),
            ("batch_size", 2, 1_000_000),
            ("learning_rate", 1e-8, 10),
            ("temperature", 1e-3, 100),
            ("supervised", 0, 1000),
            ("hidden", 0, 65_536),
            ("out", 0, 65_536),
        ):
            check_range("FineConfig", name, getattr(self, name), low, high)


@dataclass(frozen=True, kw_only=True)
class GatingConfig(NetworkConfig):
    """Settings of collaborative gating, besides those of every network.

    Attributes:
        dim: Width of an expert.
        join: ``pairwise`` lets every expert be told by each of those present, ``star`` by their mean, ``concat`` by
            none: the experts are put side by side as they are (naive concatenation).
        pair_layers: Linear maps of the network that reads a pair.
        dropout: Of what an expert is told, and of the fused experts.
        input_dropout: Of the scaled features.
        train_shots: Shots of a title, or of a view of it, that are drawn at a step of training at most, which bounds
            its memory; 0 for all. Titles are tagged by all of their shots.
        fine_stage: Whether there is a fine-grained stage; without, the space of titles is the coarse one.
        fine: Its settings.
    """

    dim: int = 512
    join: str = "pairwise"
    pair_layers: int = 3
    dropout: float = 0.3
    input_dropout: float = 0.3
    modality_dropout: float = 0.1
    training: TrainingConfig = field(default_factory=gating_training)
    train_shots: int = 16
    fine_stage: bool = True
    fine: FineConfig = field(default_factory=FineConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("GatingConfig", "join", self.join, JOINS)
        for name, low, high in (
            ("dim", 1, 65_536),
            ("pair_layers", 1, 100),
            ("train_shots", 0, 65_536),
            ("dropout", 0, 0.95),
            ("input_dropout", 0, 0.95),
        ):
            check_range("GatingConfig", name, getattr(self, name), low, high)


# As seed 004 has it, where it says so: the gate of its reference (768 wide), the coarse network trained on, a head of
# 512 and 128 that is thrown away, and no weights. What it leaves open is chosen as methods of the field have it.
GATING_PUBLISHED: dict[str, Any] = {
    "dim": 768,
    "join": "pairwise",
    "pair_layers": 3,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "modality_dropout": 0.0,
    "train_shots": 0,
    "training": {"epochs": 20, "batch_size": 64, "learning_rate": 1e-4, "weight_decay": 0.01},
    "fine": {
        "start": "coarse",
        "epochs": 10,
        "weigh": False,
        "hidden": 512,
        "out": 128,
        "temperature": 0.1,
        "supervised": 0.1,
        "learning_rate": 1e-4,
    },
}
