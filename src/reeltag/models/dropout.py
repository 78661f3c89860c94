"""Dropout that draws one byte per value: on a CPU several times faster than a draw of full width for each."""

from __future__ import annotations

import torch
from torch import nn

_LOWEST = torch.iinfo(torch.int64).min


class Dropout(nn.Module):
    """Set values to 0 at random in training and scale the rest up, so that their expectation stays.

    Args:
        chance: Of every value to be dropped, in [0, 1); kept to the nearest 256th.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.dropped = round(256 * chance)  # of the 256 bytes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, some of it dropped; x itself when not in training."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(x.numel() // 8 + 1, dtype=torch.int64, device=x.device).random_(_LOWEST, None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept * (256 / (256 - self.dropped))
