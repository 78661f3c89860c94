"""Attention teacher: how far credits may be trusted, learnt from the graph (Li et al., MM 2023, section 3.2)."""

from __future__ import annotations

import torch

_TINY = 1e-6


def attention_targets(
    n_people: torch.Tensor, degree: torch.Tensor, mean_people: float, mean_degree: float
) -> torch.Tensor:
    """Return how much attention the credits of titles deserve (equation 6).

    ``n / (n + mean_people) * d / (d + mean_degree)``, with n the known people of a title and d the sum of their
    degrees. A ``mean_degree`` of 0 leaves the degrees out: the authors' code has ``n / (n + 6)``, the paper both.

    Args:
        n_people: Known directors and cast of every title, shape (n,).
        degree: Sum of their degrees in the graph, shape (n,).
        mean_people: Mean of ``n_people`` over the training titles.
        mean_degree: Mean of ``degree`` over the training titles.

    Returns:
        Shape (n,), in [0, 1), more with more people and more links; 0 where nobody is known.
    """
    people = n_people / (n_people + mean_people).clamp(min=_TINY)
    links = degree / (degree + mean_degree).clamp(min=_TINY)
    return people * links


def attention_teacher(attention: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return ``-log(1 - |attention - target|)``, averaged over titles (equation 7).

    The paper sums over the batch; the mean is taken here, so that the learning rate does not depend on its size.

    Args:
        attention: What the credits count, in [0, 1], shape (n,), or (n, dim), of which the mean is taken.
        targets: What they should count, in [0, 1], shape (n,).

    Returns:
        A scalar, at most 13.8 per title: the gap is cut at 1 - 1e-6.
    """
    if attention.ndim == 2:
        attention = attention.mean(1)
    gap = (attention - targets).abs().clamp(max=1 - _TINY)
    return -torch.log1p(-gap).mean()
