"""Losses of link prediction: scores of true links against scores of false ones, summed over the true links.

All take ``positive`` (c, p), ``negative`` (c, p, n), a weight per true link (c, p) (0 for padding) and return a scalar.
Higher scores mean more plausible; distances enter as negative scores, and the margin makes up for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from reeltag.config import check_choice, check_range


def margin_loss(
    positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor, config: LinkLossConfig
) -> torch.Tensor:
    """Mean over negatives of ``max(0, margin - positive + negative)`` (Bordes et al., NIPS 2013, equation 1)."""
    gaps = (config.margin + negative - positive.unsqueeze(-1)).clamp_min(0).mean(-1)
    return (weight * gaps).sum()


def logistic_loss(
    positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor, config: LinkLossConfig
) -> torch.Tensor:
    """``softplus(-(margin + positive))`` plus the mean of ``softplus(margin + negative)`` (Trouillon et al., 2016)."""
    true = functional.softplus(-(config.margin + positive))
    false = functional.softplus(config.margin + negative).mean(-1)
    return (weight * (true + false)).sum()


def self_adversarial_loss(
    positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor, config: LinkLossConfig
) -> torch.Tensor:
    """Logistic loss whose negatives weigh as a softmax of their own scores says (Sun et al., ICLR 2019, eq. 4-5).

    The weights get no gradient; both halves are averaged, as in the authors' code.
    """
    true = functional.softplus(-(config.margin + positive))
    shares = torch.softmax(config.temperature * negative.detach(), -1)
    false = (shares * functional.softplus(config.margin + negative)).sum(-1)
    return 0.5 * (weight * (true + false)).sum()


def softmax_loss(
    positive: torch.Tensor,
    negative: torch.Tensor,
    weight: torch.Tensor,
    config: LinkLossConfig,  # noqa: ARG001 - all losses are called alike
) -> torch.Tensor:
    """Cross-entropy of the true link among its negatives (Kadlec et al., 2017; Lacroix et al., ICML 2018)."""
    everything = torch.logaddexp(positive, torch.logsumexp(negative, -1))
    return (weight * (everything - positive)).sum()


LINK_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "margin": margin_loss,
    "logistic": logistic_loss,
    "self-adversarial": self_adversarial_loss,
    "softmax": softmax_loss,
}


@dataclass(frozen=True, kw_only=True)
class LinkLossConfig:
    """Which loss and its numbers.

    Attributes:
        name: ``margin``, ``logistic``, ``self-adversarial`` or ``softmax``.
        margin: Added to scores (logistic losses) or asked for between scores (margin); the softmax has no use for it.
        temperature: Sharpness of the weights of the self-adversarial negatives.
        smoothing: Label smoothing of 1-N training with the logistic loss.
    """

    name: str = "self-adversarial"
    margin: float = 6.0
    temperature: float = 1.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_choice("LinkLossConfig", "name", self.name, LINK_LOSSES)
        check_range("LinkLossConfig", "margin", self.margin, 0, 1000)
        check_range("LinkLossConfig", "temperature", self.temperature, 0, 100)
        check_range("LinkLossConfig", "smoothing", self.smoothing, 0, 0.5)

    def __call__(self, positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, summed over its true links."""
        return LINK_LOSSES[self.name](positive, negative, weight, self)
