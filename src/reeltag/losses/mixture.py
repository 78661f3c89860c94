"""Mixture-of-Gaussians prior over labels (Bai, Kong and Gomes, ICML 2022, arXiv 2112.00976, C-GMVAE)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Gaussians(NamedTuple):
    """Gaussians with diagonal covariance.

    Attributes:
        mean: Shape (n, latent).
        log_variance: Same shape.
    """

    mean: torch.Tensor
    log_variance: torch.Tensor

    def draw(self) -> torch.Tensor:
        """Return one point of each, (n, latent), by the global generator; gradients reach mean and variance."""
        return self.mean + torch.exp(0.5 * self.log_variance) * torch.randn_like(self.mean)

    def log_density(self, points: torch.Tensor) -> torch.Tensor:
        """Return the log-density of one point under each, points broadcast against ``mean``, without the last axis."""
        squares = (points - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(-1)


def mixture_log_density(points: torch.Tensor, labels: Gaussians, targets: torch.Tensor) -> torch.Tensor:
    """Return the log-density of points under the even mixture of their own labels' Gaussians.

    Args:
        points: Shape (n, latent).
        labels: One Gaussian per label, (n_labels, latent).
        targets: 0 or 1, shape (n, n_labels).

    Returns:
        Shape (n,); for a title without labels the mixture of all labels.
    """
    active = _active(targets)
    each = labels.log_density(points.unsqueeze(1)).masked_fill(~active, -torch.inf)  # (n, n_labels)
    return torch.logsumexp(each, 1) - torch.log(active.sum(1).to(each.dtype))


def mixture_draw(labels: Gaussians, targets: torch.Tensor) -> torch.Tensor:
    """Return one point per title of the mixture of its labels, (n, latent); of all labels where it has none."""
    chosen = torch.multinomial(_active(targets).float(), 1)[:, 0]
    return Gaussians(labels.mean[chosen], labels.log_variance[chosen]).draw()


def mixture_kl(points: torch.Tensor, titles: Gaussians, labels: Gaussians, targets: torch.Tensor) -> torch.Tensor:
    """Return the divergence of titles' Gaussians from the mixtures of their labels, estimated by one point each.

    It is ``log N(z | title) - log mixture(z | labels of the title)``; one point can make it negative.

    Args:
        points: One point of each title's Gaussian, shape (n, latent).
        titles: Shape (n, latent).
        labels: Shape (n_labels, latent).
        targets: 0 or 1, shape (n, n_labels).

    Returns:
        A scalar: the mean over titles that have labels; 0 when none has.
    """
    cost = titles.log_density(points) - mixture_log_density(points, labels, targets)
    return mean_of_labelled(cost, targets)


def decoding_contrast(
    decodings: torch.Tensor, label_embeddings: torch.Tensor, targets: torch.Tensor, *, temperature: float = 1.0
) -> torch.Tensor:
    """Return the supervised contrastive loss of decodings against the embeddings of labels.

    Of a title it is the mean over its labels c of ``-log(exp(d.e_c / t) / sum_b exp(d.e_b / t))``, b over all labels.

    Args:
        decodings: Shape (n, dim).
        label_embeddings: Shape (n_labels, dim).
        targets: 0 or 1, shape (n, n_labels).
        temperature: Divides the dot products.

    Returns:
        A scalar: the mean over titles that have labels; 0 when none has.
    """
    shares = torch.log_softmax(decodings @ label_embeddings.T / temperature, 1)
    cost = -(targets * shares).sum(1) / targets.sum(1).clamp(min=1)
    return mean_of_labelled(cost, targets)


def mean_of_labelled(cost: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of costs (n,) over the titles that have labels; 0 when none has."""
    labelled = (targets > 0).any(1).to(cost.dtype)
    return (cost * labelled).sum() / labelled.sum().clamp(min=1)


def _active(targets: torch.Tensor) -> torch.Tensor:
    active = targets > 0
    return active | ~active.any(1, keepdim=True)
