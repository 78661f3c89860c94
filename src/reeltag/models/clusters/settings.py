"""Settings of the model of clusters, and those of its paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reeltag.config import check_choice, check_range
from reeltag.models.estimator import NetworkConfig
from reeltag.training import TrainingConfig

EMBEDDERS = ("triplet", "none")
BALANCES = ("term", "sample", "none")

XMLC_PUBLISHED: dict[str, Any] = {
    "embedder": "triplet",
    "margin": 0.2,
    "allow_equal": True,
    "n_clusters": 20,
    "balanced": False,
    "nearest": 1,
    "blocks": 3,
    "hidden": 256,
    "dropout": 0.3,
    "balance": "term",
    "class_balance": 0.999,
    "loss": "class_balanced",
    "class_weights": 0.999,
    "modality_dropout": 0.0,
    "training": {
        "epochs": 20,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,  # AdamW without it is Adam
        "schedule": "constant",
        "warmup": 0.0,
    },
}
"""The full model of the paper; its row "BERT*" is ``n_clusters`` 0, its row "BERT" the same with ``embedder`` none.

Stated: the triplet loss with negatives that share no more labels than the positive, 20 clusters by k-means, the nearest
by Euclidean distance, three blocks, the class-balanced loss, Adam. Open in the paper and chosen: widths, dropout,
margin, epochs, batch and learning rate, beta (.999), the form of the class-balanced loss for many labels (per term),
and the loss of the model without clusters (the same).
"""


def clusters_training() -> TrainingConfig:
    """Return the settings that the model is trained with unless told otherwise."""
    return TrainingConfig(epochs=20, batch_size=256, learning_rate=1e-3, weight_decay=0.01)


@dataclass(frozen=True, kw_only=True)
class ClustersConfig(NetworkConfig):
    """Settings of the model of clusters, besides those of every network; ``loss`` is that of the global model.

    Attributes:
        embedder: ``triplet`` trains a projection by triplets of titles; ``none`` takes the blocks side by side.
        embedding_dim: Width of the projection.
        embedder_hidden: Width of its hidden layer.
        embedder_epochs: Passes over the training titles for it; batches and learning rate are those of ``training``.
        margin: Of the triplet loss; vectors have unit length.
        n_positives: Positives per anchor at most, drawn by the overlap of label sets.
        allow_equal: A negative may share as many labels with the anchor as the positive.
        n_clusters: Clusters of the training titles, at most one per title; 0 for the global model alone.
        try_clusters: Numbers of clusters to choose from by the mean average precision on the validation titles, one
            network trained for each; ``n_clusters`` is taken when empty, and without validation titles.
        balanced: No cluster has more than ``slack`` times the mean number of training titles.
        slack: See ``balanced``.
        nearest: Clusters whose local models speak of a title.
        temperature: Squared distances are divided by it before the softmax that weighs the nearest clusters.
        blocks: Dense layers with ReLU, batch normalisation and dropout of every local model, and of the global one.
        hidden: Their width.
        dropout: In the blocks and in the embedder.
        balance: The form of the class-balanced loss of local models: its weights go to every ``term`` of a label or to
            every title (``sample``); ``none`` for plain cross-entropy.
        class_balance: Beta of the effective number of samples, counted in each cluster.
    """

    embedder: str = "triplet"
    embedding_dim: int = 128
    embedder_hidden: int = 512
    embedder_epochs: int = 10
    margin: float = 0.2
    n_positives: int = 2
    allow_equal: bool = False
    n_clusters: int = 20
    try_clusters: tuple[int, ...] = ()
    balanced: bool = False
    slack: float = 1.5
    nearest: int = 1
    temperature: float = 0.1
    blocks: int = 3
    hidden: int = 256
    dropout: float = 0.3
    balance: str = "term"
    class_balance: float = 0.999
    training: TrainingConfig = field(default_factory=clusters_training)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ClustersConfig", "embedder", self.embedder, EMBEDDERS)
        check_choice("ClustersConfig", "balance", self.balance, BALANCES)
        for name, low, high in (
            ("embedding_dim", 1, 65_536),
            ("embedder_hidden", 1, 65_536),
            ("embedder_epochs", 1, 100_000),
            ("margin", 1e-6, 2),
            ("n_positives", 1, 1_000),
            ("n_clusters", 0, 100_000),
            ("slack", 1, 1e6),
            ("nearest", 1, 1_000),
            ("temperature", 1e-6, 1e6),
            ("blocks", 1, 100),
            ("hidden", 1, 65_536),
            ("dropout", 0, 0.95),
            ("class_balance", 0, 0.99999),
        ):
            check_range("ClustersConfig", name, getattr(self, name), low, high)
        for n_clusters in self.try_clusters:
            check_range("ClustersConfig", "try_clusters", n_clusters, 0, 100_000)
