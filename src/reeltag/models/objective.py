"""What networks are trained for: the loss of a batch, and the score on the validation titles that picks the epoch."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from reeltag.losses import Loss
from reeltag.models.contract import Targets
from reeltag.models.layout import Layout, Outputs, Rows

PREDICT_ROWS = 1024  # small enough for hidden states to stay in the cache of a CPU
PREDICT_TOKEN_ROWS = 128  # the same for sequences of tokens


class BatchLoss:
    """The loss of one batch, with modalities hidden at random.

    Args:
        rows: The training titles.
        targets: 0 and 1, (n_titles, n_labels).
        layout: Which block belongs to which modality.
        loss: The loss.
        weight: Of the labels' positives, (n_labels,); None for 1.
        hide: Chance that a modality of a title is hidden; a title never loses all it has.
    """

    def __init__(
        self,
        rows: Rows,
        targets: torch.Tensor,
        layout: Layout,
        *,
        loss: Loss,
        weight: torch.Tensor | None = None,
        hide: float = 0.0,
    ) -> None:
        self.rows, self.targets, self.modalities = rows, targets, layout.membership()
        self.loss, self.weight = loss, weight
        self.hide = hide if len(self.modalities) > 1 else 0.0

    def __call__(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of the titles of some rows, a scalar."""
        device, rows = rows.device, rows.cpu()
        batch = self.rows.take(rows)
        if self.hide:
            hidden = (torch.rand(len(rows), len(self.modalities)) < self.hide).float() @ self.modalities
            left = batch.present * (1 - hidden)
            seen = torch.where(left.any(dim=1, keepdim=True), left, batch.present)  # never hide all of a title
            blocks = [block * seen[:, place : place + 1] for place, block in enumerate(batch.blocks)]
            batch = Rows(blocks, seen, batch.side, batch.tokens)
        targets = self.targets[rows].to(device)
        outputs: Outputs = network(batch.take(slice(None), device), targets)
        weight = None if self.weight is None else self.weight.to(device)
        loss = self.loss(outputs.logits, targets, weight=weight)
        return loss if outputs.extra is None else loss + outputs.extra


class ValidationScore:
    """Mean average precision over the labels that the validation titles have, higher is better.

    Args:
        rows: The validation titles.
        targets: 0 and 1, (n_titles, n_labels).
    """

    def __init__(self, rows: Rows, targets: Targets) -> None:
        self.rows = rows
        self.labels = np.flatnonzero(targets.any(axis=0))
        self.targets = targets[:, self.labels]

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        """Return the score of a network."""
        device = next(network.parameters()).device
        parts = parts_of(len(self.targets), tokens=len(self.rows.tokens) > 0)
        outputs: list[Outputs] = [network(self.rows.take(slice(part.start, part.stop), device)) for part in parts]
        logits = torch.cat([output.logits.float().cpu() for output in outputs])
        return float(average_precision_score(self.targets, logits.numpy()[:, self.labels]))


def parts_of(n_titles: int, *, tokens: bool) -> list[range]:
    """Return the rows of titles in parts that a network reads at once; one empty part when there are none."""
    size = PREDICT_TOKEN_ROWS if tokens else PREDICT_ROWS
    return [range(start, min(start + size, n_titles)) for start in range(0, max(n_titles, 1), size)]
