"""Triplets for titles with several labels: mining and loss against loops, what no triplet may be, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.losses import mine_triplets, multilabel_triplet

Rows = list[tuple[int, int, int]]


def example(n: int = 12, n_labels: int = 5, dim: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors in double precision and targets, some of which are empty."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    targets = (torch.rand(n, n_labels, generator=generator) < 0.4).double()
    return torch.nn.functional.normalize(vectors, dim=1), targets


def label_sets(targets: torch.Tensor) -> list[set[int]]:
    return [{label for label, y in enumerate(row) if y} for row in targets.tolist()]


def distance(vectors: torch.Tensor, a: int, b: int) -> float:
    return math.dist(vectors[a].tolist(), vectors[b].tolist())


def jaccard(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def by_loop(
    vectors: torch.Tensor, targets: torch.Tensor, margin: float, n_positives: int, allow_equal: bool, nearest: bool
) -> Rows:
    sets, found = label_sets(targets), []
    for a in range(len(sets)):
        others = [x for x in range(len(sets)) if x != a]
        positives = sorted((p for p in others if sets[a] & sets[p]), key=lambda p: (-jaccard(sets[a], sets[p]), p))
        for p in positives[:n_positives]:
            bar = len(sets[a] & sets[p])
            few = [
                n
                for n in others
                if n != p and (len(sets[a] & sets[n]) < bar or (allow_equal and len(sets[a] & sets[n]) == bar))
            ]
            near = distance(vectors, a, p)
            chosen = [n for n in few if near < distance(vectors, a, n) < near + margin]
            if not chosen and nearest:
                chosen = few
            if chosen:
                found.append((a, p, min(chosen, key=lambda n: (distance(vectors, a, n), n))))
    return found


def rows_of(triplets: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> Rows:
    return list(zip(*(part.tolist() for part in triplets), strict=True))


def loss_by_loop(vectors: torch.Tensor, triplets: Rows, margin: float) -> float:
    costs = [max(0.0, distance(vectors, a, p) - distance(vectors, a, n) + margin) for a, p, n in triplets]
    return sum(costs) / len(costs)


# ---------------------------------------------------------------- against loops


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("allow_equal", [False, True])
@pytest.mark.parametrize("n_positives", [1, 3, 50])
@pytest.mark.parametrize("margin", [0.1, 0.7])
def test_mining_is_a_loop_over_anchors_and_positives(
    margin: float, n_positives: int, allow_equal: bool, nearest: bool
) -> None:
    for seed in range(5):
        vectors, targets = example(seed=seed)
        found = mine_triplets(
            vectors,
            targets,
            margin=margin,
            n_positives=n_positives,
            allow_equal=allow_equal,
            nearest_instead=nearest,
        )
        expected = by_loop(vectors, targets, margin, n_positives, allow_equal, nearest)
        assert expected
        assert rows_of(found) == expected


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("allow_equal", [False, True])
@pytest.mark.parametrize("margin", [0.1, 0.7])
def test_loss_is_the_mean_over_the_triplets(margin: float, allow_equal: bool, nearest: bool) -> None:
    vectors, targets = example(seed=3)
    found = multilabel_triplet(
        vectors, targets, margin=margin, n_positives=2, allow_equal=allow_equal, nearest_instead=nearest
    )
    triplets = by_loop(vectors, targets, margin, 2, allow_equal, nearest)
    assert found.shape == ()
    assert float(found) == pytest.approx(loss_by_loop(vectors, triplets, margin), rel=1e-10)
    assert float(found) > 0


def test_a_case_by_hand() -> None:
    vectors = torch.tensor([[0.0], [1.0], [1.3], [1.1]])
    targets = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]])
    # 0 and 1 are each other's positive, 3 shares fewer labels; it lies beyond 1 as seen from 0, not beyond 0 from 1;
    # 3 itself overlaps alike with 0 and 1, the first of which is far
    assert rows_of(mine_triplets(vectors, targets, margin=0.5)) == [(0, 1, 3)]
    order = [1, 0, 2, 3]  # now the first of 3's positives is near, and 2 lies beyond it
    assert rows_of(mine_triplets(vectors[order], targets[order], margin=0.5)) == [(1, 0, 3), (3, 0, 2)]
    assert rows_of(mine_triplets(vectors[order], targets[order], margin=0.05)) == []
    assert float(multilabel_triplet(vectors, targets, margin=0.5)) == pytest.approx(1.0 - 1.1 + 0.5)


# ---------------------------------------------------------------- what a triplet may be


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=14),
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_no_negative_shares_more_labels_than_its_positive(
    labels: list[list[bool]], seed: int, n_positives: int, allow_equal: bool, nearest: bool, drawn: bool
) -> None:
    targets, generator = torch.tensor(labels).float(), torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(labels), 2, generator=generator)
    triplets = rows_of(
        mine_triplets(
            vectors,
            targets,
            margin=0.5,
            n_positives=n_positives,
            allow_equal=allow_equal,
            nearest_instead=nearest,
            generator=generator if drawn else None,
        )
    )
    sets = label_sets(targets)
    for a, p, n in triplets:
        assert len({a, p, n}) == 3
        with_positive, with_negative = len(sets[a] & sets[p]), len(sets[a] & sets[n])
        assert with_positive > 0
        assert with_negative <= with_positive if allow_equal else with_negative < with_positive
        if not nearest:
            gap = distance(vectors, a, n) - distance(vectors, a, p)
            assert -1e-6 < gap < 0.5 + 1e-6
    assert len(set(triplets)) == len(triplets)
    assert all(sum(a == row for a, _, _ in triplets) <= n_positives for row in range(len(labels)))


def test_positives_are_drawn_by_their_overlap() -> None:
    targets = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    vectors = torch.tensor([[0.0, 0], [0, 0.1], [0.1, 0], [0, 0.2]])
    drawn = []
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        found = rows_of(mine_triplets(vectors, targets, margin=0.5, generator=generator))
        drawn += [p for a, p, _ in found if a == 0]
    assert set(drawn) == {1, 2}
    assert drawn.count(1) / len(drawn) == pytest.approx(0.75, abs=0.06)  # overlaps of 3/4 and 1/4


def test_a_draw_is_repeatable_and_without_replacement() -> None:
    vectors, targets = example(20, seed=4)
    first, again = (
        rows_of(mine_triplets(vectors, targets, margin=9, n_positives=19, generator=torch.Generator().manual_seed(1)))
        for _ in range(2)
    )
    assert first == again
    assert sorted(first) == sorted(by_loop(vectors, targets, 9, 19, False, False))
    state = torch.get_rng_state()
    mine_triplets(vectors, targets, margin=9, generator=torch.Generator().manual_seed(2))
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- gradients and batches without triplets


@pytest.mark.parametrize("n_positives", [1, 4])
def test_gradient_is_that_of_finite_differences(n_positives: int) -> None:
    vectors, targets = example(seed=6)
    assert torch.autograd.gradcheck(
        lambda x: multilabel_triplet(x, targets, margin=0.8, n_positives=n_positives), (vectors.requires_grad_(),)
    )


@pytest.mark.parametrize("nearest", [False, True])
def test_equal_vectors_have_a_finite_gradient(nearest: bool) -> None:
    vectors = torch.ones(6, 3)
    vectors[4:] += 0.1
    vectors.requires_grad_()
    targets = torch.tensor([[1.0, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0]])
    loss = multilabel_triplet(vectors, targets, nearest_instead=nearest)
    loss.backward()
    assert float(loss.detach()) > 0
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    assert nearest or vectors.grad[4:].any()


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([[0.0, 0]] * 4, id="no labels"),
        pytest.param([[1.0, 1]] * 4, id="all the same labels"),
        pytest.param([[1.0, 1]], id="one title"),
        pytest.param([[1.0, 0], [0, 1]], id="nothing shared"),
        pytest.param([[1.0, 0], [1, 0]], id="two titles"),
    ],
)
def test_batches_without_triplets_cost_nothing(targets: list[list[float]]) -> None:
    truth = torch.tensor(targets)
    vectors = torch.randn(len(truth), 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert rows_of(mine_triplets(vectors, truth, margin=0.5, n_positives=3)) == []
    loss = multilabel_triplet(vectors, truth)
    loss.backward()
    assert float(loss.detach()) == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_descent_draws_titles_with_the_same_labels_together() -> None:
    _, targets = example(40, n_labels=3, seed=8)
    vectors = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    same = (targets[:, None] == targets[None]).all(dim=2)

    def spread() -> float:
        distances = torch.cdist(vectors.detach(), vectors.detach())
        return float(distances[same].mean() / distances[~same].mean())

    before, optimizer = spread(), torch.optim.SGD([vectors], lr=2.0)
    for _ in range(40):
        optimizer.zero_grad()
        multilabel_triplet(vectors, targets, margin=0.5, n_positives=3).backward()
        optimizer.step()
    assert spread() < 0.6 * before
