"""From blocks of any widths to one vector per modality: batch normalisation and a linear map (seed 001, equation 5)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.dropout import Dropout
from reeltag.models.layers import present_modalities
from reeltag.models.layout import Layout, Rows


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that a batch of one title passes by its running figures."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (n, width) normalised over the batch in training, by the running figures otherwise."""
        if self.training and len(x) > 1:
            return super().forward(x.float())
        return functional.batch_norm(x.float(), self.running_mean, self.running_var, self.weight, self.bias)


class Alignment(nn.Module):
    """One vector per modality: ``h(x) = project(batchnorm(x))``.

    The blocks of one modality are put side by side, which is the sum of their linear maps. The vector of an absent
    modality is 0; in the figures of the batch its blocks count as they come from the scaler.

    Args:
        layout: Blocks.
        dim: Width of the vectors.
        batch_norm: Normalise every column over the batch.
        dropout: Of the inputs.
        masked: Leave absent blocks out. Without, they go through as zero vectors, as in the published IDKG, so that
            they become the map's bias.
    """

    def __init__(
        self, layout: Layout, dim: int, *, batch_norm: bool = True, dropout: float = 0.0, masked: bool = True
    ) -> None:
        super().__init__()
        self.masked = masked
        self.norms = nn.ModuleList(BatchNorm(width) if batch_norm else nn.Identity() for width in layout.widths)
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in layout.widths)
        self.dropout = Dropout(dropout)
        self._layout = layout

    def forward(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors (n, n_modalities, dim) and which modalities are present (n, n_modalities)."""
        mapped = []
        for place, block in enumerate(rows.blocks):
            x = self.maps[place](self.dropout(self.norms[place](block)))  # (n, dim)
            mapped.append(x * rows.present[:, place : place + 1] if self.masked else x)
        places = [self._layout.blocks_of(modality) for modality in self._layout.modalities]
        vectors = [torch.stack([mapped[place] for place in own]).sum(dim=0) for own in places]
        return torch.stack(vectors, dim=1), present_modalities(rows, self._layout)
