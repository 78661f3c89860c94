"""What the fine-grained stage starts from: projections that keep distances, weights of the experts, principal axes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

from reeltag.models.gating.experts import Experts
from reeltag.models.layout import Rows
from reeltag.models.objective import parts_of

_PAIRS = 400_000  # of titles that weights are fitted on
_SKETCH = 20_000  # titles that principal axes are taken from


@torch.no_grad()
def make_isometric(experts: Experts, rows: Rows) -> None:
    """Give experts projections with orthonormal rows or columns, and centre their blocks on the given titles.

    A projection no narrower than what it reads keeps all distances; a narrower one keeps those in a random subspace.

    Args:
        experts: Changed in place.
        rows: Training titles.
    """
    means = _block_means(rows)
    for own in experts.members:
        weights = torch.cat([experts.maps[place].weight for place in own], dim=1)  # (dim, width of all its blocks)
        nn.init.orthogonal_(weights)
        widths = [experts.maps[place].weight.shape[1] for place in own]
        for place, weight in zip(own, torch.split(weights, widths, dim=1), strict=True):
            experts.maps[place].weight.copy_(weight)
            experts.maps[place].bias.copy_(-weight @ means[place])


def _block_means(rows: Rows) -> list[torch.Tensor]:
    """Return the mean of every block over the titles that have it, of sequences over all their tokens, (width,)."""
    means = [block[rows.present[:, place] > 0].mean(dim=0) for place, block in enumerate(rows.blocks)]
    sums: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    for part in parts_of(len(rows.present), tokens=True) if rows.tokens else ():
        for place, tokens in enumerate(rows.take(slice(part.start, part.stop)).read_tokens()):
            if place == len(sums):
                sums.append(torch.zeros(tokens.values.shape[2]))
                counts.append(torch.zeros(()))
            sums[place] += (tokens.values.float() * tokens.seen[:, :, None]).sum(dim=(0, 1))
            counts[place] += tokens.seen.sum()
    means += [total / count for total, count in zip(sums, counts, strict=True)]
    return [torch.nan_to_num(mean) for mean in means]  # of no titles: 0


def expert_weights(
    experts: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], seed: int
) -> npt.NDArray[np.float32]:
    """Return what every expert counts in the likeness of titles, (n_experts,), the largest 1.

    The overlap of the label sets of random pairs of titles (Jaccard) is regressed on the experts' cosines by least
    squares with no negative coefficient; as the cosine of weighted experts has the squares of their weights, the
    weights are the roots of the coefficients. All count 1 where the labels tell nothing.

    Args:
        experts: Of the training titles, of unit length or 0 where absent, (n_titles, n_experts, dim).
        targets: 0 and 1, (n_titles, n_labels).
        seed: Draws the pairs.
    """
    n = len(experts)
    drawn = np.random.default_rng(seed)
    first, second = drawn.integers(0, n, _PAIRS), drawn.integers(0, n, _PAIRS)
    first, second = first[first != second], second[first != second]
    cosines = np.zeros((len(first), experts.shape[1]), np.float32)
    overlap = np.zeros(len(first), np.float32)
    for part in _parts(len(first)):
        one, other = first[part], second[part]
        cosines[part] = np.einsum("nmd,nmd->nm", experts[one], experts[other])
        shared = (targets[one] * targets[other]).sum(axis=1)
        overlap[part] = shared / np.maximum(targets[one].sum(axis=1) + targets[other].sum(axis=1) - shared, 1)
    if not len(first):
        return np.ones(experts.shape[1], np.float32)
    weights = np.sqrt(LinearRegression(positive=True).fit(cosines, overlap).coef_)
    if weights.max() == 0:
        return np.ones(experts.shape[1], np.float32)
    return np.asarray(weights / weights.max(), np.float32)


def principal_axes(vectors: npt.NDArray[np.float32], n_axes: int, seed: int) -> npt.NDArray[np.float32]:
    """Return the directions of the largest second moments of vectors, (n_axes, dim), the strongest first.

    Args:
        vectors: Shape (n, dim); a random part of them is read when they are many.
        n_axes: At most the width; there are as many as asked for even if the vectors span fewer.
        seed: Draws the part.
    """
    if len(vectors) > _SKETCH:
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), _SKETCH, replace=False))]
    _, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    return np.asarray(axes[:, ::-1][:, :n_axes].T, np.float32)


def _parts(n: int, size: int = 4_000) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, start + size)
