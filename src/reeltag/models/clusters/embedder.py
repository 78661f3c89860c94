"""The embedder: a projection of the blocks in which titles with like labels lie near each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from reeltag.losses import multilabel_triplet
from reeltag.models.clusters.settings import ClustersConfig
from reeltag.models.dropout import Dropout
from reeltag.models.layers import side_by_side
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.objective import BatchLoss, parts_of
from reeltag.training import fit_network


class Embedder(nn.Module):
    """Dense layer, ReLU, dropout and a linear map to unit length; or the blocks side by side, without parameters.

    It computes in single precision: clusters are told apart by small differences of distance.

    Args:
        layout: The blocks.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: ClustersConfig) -> None:
        super().__init__()
        self.places, width = range(layout.n_vectors), sum(layout.widths)
        self.projection: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.width = width  # of what it makes
        if config.embedder == "triplet":
            self.width = config.embedding_dim
            self.projection = nn.Sequential(
                nn.Linear(width, config.embedder_hidden),
                nn.ReLU(),
                Dropout(config.dropout),
                nn.Linear(config.embedder_hidden, config.embedding_dim),
            )

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return the vectors (n, width) as the fused representation, and in the place of logits."""
        with torch.autocast(rows.present.device.type, enabled=False):
            vectors = side_by_side(rows, self.places)
            if self.projection is not None:
                vectors = functional.normalize(self.projection(vectors), dim=1)
        return Outputs(vectors, vectors)


def fit_embedder(rows: Rows, targets: torch.Tensor, layout: Layout, config: ClustersConfig, seed: int) -> Embedder:
    """Return an embedder trained by triplets for ``embedder_epochs``; the last epoch is kept.

    Args:
        rows: The training titles.
        targets: 0 and 1, (n_titles, n_labels).
        layout: Blocks and labels.
        config: Settings.
        seed: Of first weights, batches and the draw of positives.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        embedder = Embedder(layout, config)
    if embedder.projection is not None:
        step = BatchLoss(rows, targets, layout, loss=TripletLoss(config, seed), hide=config.modality_dropout)
        training = replace(config.training, epochs=config.embedder_epochs)
        fit_network(embedder, step, len(targets), training, seed=seed)
    return embedder.eval().requires_grad_(False)


class TripletLoss:
    """The triplet loss in the place of a loss of logits.

    Args:
        config: Settings.
        seed: Of the draw of positives.
    """

    def __init__(self, config: ClustersConfig, seed: int) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        *,
        weight: torch.Tensor | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Return the loss of vectors, which stand in the place of logits, in single precision."""
        with torch.autocast(logits.device.type, enabled=False):
            return multilabel_triplet(
                logits,
                targets,
                margin=self.config.margin,
                n_positives=self.config.n_positives,
                allow_equal=self.config.allow_equal,
                generator=self.generator,
            )


@torch.inference_mode()
def embedded(embedder: Embedder, rows: Rows) -> torch.Tensor:
    """Return the vectors of titles (n, width), computed in parts."""
    parts = parts_of(len(rows.present), tokens=False)
    return torch.cat([embedder(rows.take(slice(part.start, part.stop))).fused for part in parts])
