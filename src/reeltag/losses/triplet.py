"""Triplets of titles that have several labels, mined within a batch, and their loss (Minici et al., SEBD 2022).

The usual loss of an anchor, a positive and a negative (FaceNet, Schroff et al., CVPR 2015), with what the paper adds
for many labels: a negative that shares more labels with the anchor than the positive does is none. Mining is semi-hard:
a negative lies beyond the positive, by less than the margin.

Left open in the paper and chosen: any title that shares a label is a positive, but where frequent labels make nearly
all pairs positive the overlap of the label sets (Jaccard) decides which of them are used; the negative is the nearest
of the semi-hard ones; one that shares exactly as many labels as the positive is none either, unless ``allow_equal``,
which is the paper's wording.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reeltag.losses.weighted_contrast import label_overlap


class Triplets(NamedTuple):
    """Rows of a batch, ``(n_triplets,)`` each, in order of anchor and rank of the positive."""

    anchor: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor


def multilabel_triplet(
    vectors: torch.Tensor,
    targets: torch.Tensor,
    *,
    margin: float = 0.2,
    n_positives: int = 1,
    allow_equal: bool = False,
    nearest_instead: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return the mean of ``max(0, d(a, p) - d(a, n) + margin)`` over the triplets that ``mine_triplets`` finds.

    Args:
        vectors: Shape (n, dim); d is their Euclidean distance.
        targets: 0 or 1, shape (n, n_labels).
        margin: By how much negatives shall be farther than positives.
        n_positives: See ``mine_triplets``, as the rest.
        allow_equal: A negative may share as many labels with the anchor as the positive.
        nearest_instead: Take the nearest negative where none is semi-hard.
        generator: Draws the positives.

    Returns:
        A scalar; 0 when there are no triplets.
    """
    anchor, positive, negative = mine_triplets(
        vectors,
        targets,
        margin=margin,
        n_positives=n_positives,
        allow_equal=allow_equal,
        nearest_instead=nearest_instead,
        generator=generator,
    )
    if not len(anchor):
        return vectors.sum() * 0
    near = _distance(vectors[anchor], vectors[positive])
    far = _distance(vectors[anchor], vectors[negative])
    return (near - far + margin).clamp_min(0).mean()


@torch.no_grad()
def mine_triplets(
    vectors: torch.Tensor,
    targets: torch.Tensor,
    *,
    margin: float,
    n_positives: int = 1,
    allow_equal: bool = False,
    nearest_instead: bool = False,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return the semi-hard triplets of a batch, at most ``n * n_positives``.

    A positive shares a label with the anchor. A negative shares fewer labels with it than the positive does, and is
    the nearest with ``d(a, p) < d(a, n) < d(a, p) + margin``; the first in the batch among equals. A pair without such
    a negative has no triplet. Memory is ``n * n * n_positives``.

    Args:
        vectors: Shape (n, dim).
        targets: 0 or 1, shape (n, n_labels).
        margin: How far beyond the positive a negative may lie.
        n_positives: Positives per anchor at most.
        allow_equal: A negative may share as many labels with the anchor as the positive.
        nearest_instead: Where none is semi-hard take the negative nearest to the anchor, be it nearer than the positive
            or beyond the margin (no loss).
        generator: Draws the positives without replacement, each by its overlap. Without, they are those that overlap
            most, the first in the batch among equals.

    Returns:
        Their rows; none when no titles share a label, or all share all.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    truth = targets.to(vectors.dtype)
    shared = truth @ truth.T  # (n, n)
    overlap, positives = _positives(label_overlap(truth).masked_fill(itself, 0), n_positives, generator)
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")  # equal vectors at 0
    bar = shared.gather(1, positives)[:, :, None]  # (n, p, 1)
    near = distances.gather(1, positives)[:, :, None]
    fewer = shared[:, None] <= bar if allow_equal else shared[:, None] < bar  # (n, p, n)
    fewer = (fewer & ~itself[:, None]).scatter(2, positives[:, :, None], False)
    far = distances[:, None].expand_as(fewer)
    semi_hard = fewer & (far > near) & (far < near + margin)
    distance, negatives = _nearest(far, semi_hard)
    if nearest_instead:
        any_distance, any_negative = _nearest(far, fewer)
        negatives = torch.where(torch.isinf(distance), any_negative, negatives)
        distance = any_distance
    anchor, rank = ((overlap > 0) & torch.isfinite(distance)).nonzero(as_tuple=True)
    return Triplets(anchor, positives[anchor, rank], negatives[anchor, rank])


def _positives(
    overlap: torch.Tensor, n_positives: int, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the overlap and the rows of the positives of every anchor, (n, p) each; overlap 0 is no positive."""
    keys = overlap
    if generator is not None:  # the largest of w / Exp(1) is a draw by the weights w, the next a draw from the rest
        keys = overlap / torch.empty(overlap.shape).exponential_(generator=generator).to(overlap)
    positives = torch.sort(keys, dim=1, descending=True, stable=True).indices[:, :n_positives]
    return overlap.gather(1, positives), positives


def _nearest(distances: torch.Tensor, allowed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least allowed distance along the last dimension, infinite when none is, and its first place."""
    found = distances.masked_fill(~allowed, torch.inf)
    least = found.amin(dim=-1)
    return least, (found == least[..., None]).to(torch.uint8).argmax(dim=-1)


def _distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distance of rows, whose gradient is 0 where they are equal."""
    squared = (one - other).square().sum(1)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)
