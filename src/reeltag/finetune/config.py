"""Settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError, shown

OBJECTIVES = ("triplet", "bce")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How a text encoder is fine-tuned.

    Attributes:
        encoder: ``minilm``, ``sentence:MODEL`` or ``transformer:MODEL``.
        labels: List fields whose words are the labels, all of them side by side.
        min_count: Words on fewer of the titles are no labels.
        background: Learn from background titles too.
        titles: Learn from so many titles at most, drawn by the seed; 0 for all.
        objective: ``triplet`` is ``losses.multilabel_triplet``; ``bce`` is a linear layer over the vectors, thrown away
            in the end, with binary cross-entropy, to compare with.
        epochs: Passes over the titles.
        batch_size: Titles per step; triplets are sought within a batch.
        group_size: Titles that are put into a batch together for a label they share, see ``grouped_batches``.
        learning_rate: Peak.
        weight_decay: Decoupled, AdamW.
        warmup: Share of the steps in which the learning rate rises from 0 in a line; then it falls to 0 in a line.
        margin: Of the triplet loss.
        n_positives: Positives per anchor at most.
        nearest_instead: Where no negative is semi-hard take the nearest.
        max_pieces: Word pieces of a text at most; 0 reads as many as the encoder does. The saved encoder reads as many.
        layers: How many of the last layers are trained; 0 for all and the word embeddings.
        measured: Of so many validation titles, at most, the labels are compared with those of their neighbours among
            ten times as many of the titles learned from; both drawn by the seed. 0 leaves it out.
        checkpoint_every_s: Seconds between two checkpoints within an epoch; one is written after every epoch too.
    """

    encoder: str = "minilm"
    labels: tuple[str, ...] = ("genres",)
    min_count: int = 10
    background: bool = False
    titles: int = 0
    objective: str = "triplet"
    epochs: int = 3
    batch_size: int = 64
    group_size: int = 4
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    margin: float = 0.2
    n_positives: int = 1
    nearest_instead: bool = False
    max_pieces: int = 0
    layers: int = 0
    measured: int = 500
    checkpoint_every_s: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("min_count", 1, 1_000_000_000),
            ("titles", 0, 1_000_000_000),
            ("epochs", 1, 100_000),
            ("batch_size", 3, 1_000_000),
            ("group_size", 2, 1_000_000),
            ("learning_rate", 1e-9, 1),
            ("weight_decay", 0, 100),
            ("warmup", 0, 0.9),
            ("margin", 1e-6, 2),
            ("n_positives", 1, 1_000),
            ("layers", 0, 10_000),
            ("measured", 0, 1_000_000),
            ("checkpoint_every_s", 0, 1e9),
        ):
            check_range("FinetuneConfig", name, getattr(self, name), low, high)
        check_choice("FinetuneConfig", "objective", self.objective, OBJECTIVES)
        if self.max_pieces != 0:
            check_range("FinetuneConfig", "max_pieces", self.max_pieces, 3, 1_000_000)
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"FinetuneConfig.labels must name list fields, each once; got {shown(self.labels)}")
