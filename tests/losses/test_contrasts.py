"""Contrastive losses against explicit loops over pairs, their gradients, and batches without pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from reeltag.losses import centre, genre_centroid, label_centroids, label_contrast, label_overlap, weighted_contrast

LABELS = torch.tensor([2, 0, 2, 1, 0, 2])
TARGETS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def unit(k: int = 6, dim: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(draw(k, dim, seed=seed), dim=1)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def direction(a: list[float]) -> list[float]:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a]


def assert_nothing_to_learn(loss: Callable[[torch.Tensor], torch.Tensor], vectors: torch.Tensor) -> None:
    vectors = vectors.clone().requires_grad_()
    found = loss(vectors)
    found.backward()
    assert float(found.detach()) == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


# ---------------------------------------------------------------- genre centroid


def centroid_by_loop(
    fused: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, t: float, normalise: bool, negatives: str
) -> float:
    in_batch = {label for row in targets.tolist() for label, y in enumerate(row) if y}
    pool = in_batch if negatives == "batch" else set(range(targets.shape[1]))
    keep = direction if normalise else list
    costs = []
    for x, row in zip(fused.tolist(), targets.tolist(), strict=True):
        own = [label for label, y in enumerate(row) if y]
        if not own:
            continue
        centroid = [sum(labels[label, d].item() for label in own) / len(own) for d in range(labels.shape[1])]
        positive = math.exp(dot(keep(x), keep(centroid)) / t)
        q = sum(math.exp(dot(keep(x), keep(labels[label].tolist())) / t) for label in pool - set(own))
        costs.append(-math.log(positive / (positive + q)))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("negatives", ["batch", "all"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_genre_centroid_is_equation_13(negatives: str, normalise: bool, temperature: float) -> None:
    fused, labels = draw(5, 3), draw(4, 3, seed=1)
    found = genre_centroid(fused, labels, TARGETS, temperature=temperature, normalise=normalise, negatives=negatives)
    expected = centroid_by_loop(fused, labels, TARGETS, temperature, normalise, negatives)
    assert float(found) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("negatives", ["batch", "all"])
@pytest.mark.parametrize("normalise", [False, True])
def test_genre_centroid_gradients_reach_titles_and_labels(negatives: str, normalise: bool) -> None:
    inputs = (draw(5, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_())

    def loss(fused: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return genre_centroid(fused, labels, TARGETS, normalise=normalise, negatives=negatives, temperature=0.7)

    assert torch.autograd.gradcheck(loss, inputs)


def test_map_of_a_centroid_is_the_centroid_of_the_maps() -> None:
    raw, affine = draw(4, 7), torch.nn.Linear(7, 3, dtype=torch.float64)
    labelled = TARGETS.any(1)
    torch.testing.assert_close(
        affine(label_centroids(raw, TARGETS))[labelled], label_centroids(affine(raw), TARGETS)[labelled]
    )


def test_centroid_of_no_labels_is_zero() -> None:
    assert label_centroids(draw(4, 3), TARGETS)[3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([[0.0, 0, 0]] * 3, id="no labels"),
        pytest.param([[0.0, 1, 1]] * 3, id="all the same labels"),
        pytest.param([[0.0, 1, 1]], id="one title"),
        pytest.param([[1.0], [1.0], [0.0]], id="one label"),
        pytest.param([[0.0, 1, 1], [0, 0, 0]], id="one labelled title"),
    ],
)
def test_genre_centroid_without_negatives_is_nothing(targets: list[list[float]]) -> None:
    y = torch.tensor(targets, dtype=torch.float64)
    labels = draw(y.shape[1], 3, seed=1)
    assert_nothing_to_learn(lambda x: genre_centroid(x, labels, y), draw(len(y), 3))


def test_all_labels_are_negatives_where_the_batch_has_none() -> None:
    fused, labels, y = draw(1, 3), draw(4, 3, seed=1), TARGETS[:1]
    assert float(genre_centroid(fused, labels, y, negatives="batch")) == 0
    assert float(genre_centroid(fused, labels, y, negatives="all")) > 0


def test_titles_without_labels_change_nothing() -> None:
    fused, labels = draw(5, 3), draw(4, 3, seed=1)
    with_them = genre_centroid(fused, labels, TARGETS)
    keep = TARGETS.any(1)
    torch.testing.assert_close(genre_centroid(fused[keep], labels, TARGETS[keep]), with_them)


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_genre_centroid_stays_finite_at_large_products(size: float) -> None:
    fused = (draw(5, 3) * size).float().requires_grad_()
    loss = genre_centroid(fused, draw(4, 3, seed=1).float(), TARGETS.float())
    loss.backward()
    assert torch.isfinite(loss)
    assert fused.grad is not None
    assert torch.isfinite(fused.grad).all()


# ---------------------------------------------------------------- weighted contrast


def weighted_by_loop(vectors: torch.Tensor, weights: torch.Tensor, t: float) -> float:
    rows, costs = vectors.tolist(), []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        total = sum(float(weights[i, j]) for j in others)
        if total == 0:
            continue
        everything = sum(math.exp(dot(rows[i], rows[j]) / t) for j in others)
        cost = sum(-float(weights[i, j]) * math.log(math.exp(dot(rows[i], rows[j]) / t) / everything) for j in others)
        costs.append(cost / total)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("overlap", ["jaccard", "shared"])
def test_weighted_contrast_is_the_loop(temperature: float, overlap: str) -> None:
    weights = label_overlap(TARGETS, overlap)
    found = weighted_contrast(unit(5), weights, temperature=temperature)
    assert float(found) == pytest.approx(weighted_by_loop(unit(5), weights, temperature), rel=1e-10)


def test_weighted_contrast_gradient() -> None:
    loss = partial(weighted_contrast, weights=label_overlap(TARGETS), temperature=0.5)
    assert torch.autograd.gradcheck(loss, (unit(5).requires_grad_(),))


def test_scale_of_weights_does_not_matter() -> None:
    weights = label_overlap(TARGETS)
    torch.testing.assert_close(weighted_contrast(unit(5), weights * 7), weighted_contrast(unit(5), weights))


@pytest.mark.parametrize("k", [1, 4])
def test_weighted_contrast_without_positives_is_nothing(k: int) -> None:
    assert_nothing_to_learn(partial(weighted_contrast, weights=torch.eye(k, dtype=torch.float64)), unit(k))


def test_jaccard_overlap_by_sets() -> None:
    sets = [{label for label, y in enumerate(row) if y} for row in TARGETS.tolist()]
    for i, a in enumerate(sets):
        for j, b in enumerate(sets):
            assert float(label_overlap(TARGETS)[i, j]) == pytest.approx(len(a & b) / max(len(a | b), 1))
            assert float(label_overlap(TARGETS, "shared")[i, j]) == len(a & b)


# ---------------------------------------------------------------- label contrast


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_label_contrast_is_the_loop(temperature: float) -> None:
    rows, labels, costs = unit().tolist(), LABELS.tolist(), []
    for i in range(6):
        positives = [j for j in range(6) if j != i and labels[j] == labels[i]]
        if not positives:
            continue
        everything = math.log(sum(math.exp(dot(rows[i], rows[j]) / temperature) for j in range(6) if j != i))
        costs.append(sum(everything - dot(rows[i], rows[j]) / temperature for j in positives) / len(positives))
    found = label_contrast(unit(), LABELS, temperature=temperature)
    assert len(costs) == 5  # one label has a single vector
    assert float(found) == pytest.approx(sum(costs) / len(costs), rel=1e-10)


def test_label_contrast_gradient() -> None:
    assert torch.autograd.gradcheck(partial(label_contrast, labels=LABELS), (unit().requires_grad_(),))


@pytest.mark.parametrize("labels", [[], [3], [0, 1, 2]])
def test_label_contrast_without_positives_is_nothing(labels: list[int]) -> None:
    assert_nothing_to_learn(
        partial(label_contrast, labels=torch.tensor(labels, dtype=torch.long)), unit(max(len(labels), 1))[: len(labels)]
    )


def test_label_contrast_of_one_label_only_is_finite() -> None:
    same = unit(1).repeat(3, 1)
    assert float(label_contrast(same, torch.zeros(3, dtype=torch.long))) == pytest.approx(math.log(2))


# ---------------------------------------------------------------- centre


def centre_by_loop(vectors: torch.Tensor, labels: list[int], margin: float, separation: float) -> float:
    rows, centres = vectors.tolist(), {}
    for label in set(labels):
        own = [row for row, y in zip(rows, labels, strict=True) if y == label]
        centres[label] = [sum(column) / len(own) for column in zip(*own, strict=True)]

    def squared(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    spread = sum(squared(row, centres[y]) for row, y in zip(rows, labels, strict=True)) / len(rows)
    pairs = [(a, b) for a in centres for b in centres if a < b]
    lack = sum(max(0.0, margin - squared(centres[a], centres[b])) for a, b in pairs)
    return spread + separation * lack / max(len(pairs), 1)


@pytest.mark.parametrize("margin", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("separation", [0.0, 0.5])
def test_centre_is_the_loop(margin: float, separation: float) -> None:
    found = centre(unit(), LABELS, margin=margin, separation=separation)
    assert float(found) == pytest.approx(centre_by_loop(unit(), LABELS.tolist(), margin, separation), rel=1e-10)


def test_centre_gradient() -> None:
    assert torch.autograd.gradcheck(partial(centre, labels=LABELS, margin=3.0), (unit().requires_grad_(),))


@pytest.mark.parametrize("labels", [[], [5], [1, 1, 1]])
def test_centre_has_nothing_to_separate_with_one_label(labels: list[int]) -> None:
    y, same = torch.tensor(labels, dtype=torch.long), unit(1).repeat(len(labels), 1)
    assert float(centre(same, y)) == pytest.approx(0, abs=1e-12)
    vectors = same.clone().requires_grad_()
    centre(vectors, y).backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_centres_in_one_place_cost_the_margin() -> None:
    same = unit(1).repeat(4, 1)
    assert float(centre(same, torch.tensor([0, 1, 0, 1]), margin=1.5)) == pytest.approx(1.5)
