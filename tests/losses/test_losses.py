"""Losses against explicit loops over titles and labels, and their gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.losses import (
    LOSSES,
    Loss,
    asymmetric,
    bce,
    class_balanced,
    class_balanced_samples,
    effective_weights,
    positive_weights,
    sample_weights,
)

Term = Callable[[float, float, float], float]  # probability, target, weight of the label -> what one cell costs


def bce_term(p: float, y: float, w: float) -> float:
    return -w * math.log(p) if y == 1 else -math.log(1 - p)


def class_balanced_term(p: float, y: float, w: float) -> float:
    return -w * math.log(p) if y == 1 else -w * math.log(1 - p)


def asymmetric_term(
    p: float, y: float, w: float, gamma_positive: float = 1.0, gamma_negative: float = 4.0, margin: float = 0.05
) -> float:
    if y == 1:
        return -w * (1 - p) ** gamma_positive * math.log(p)
    shifted = max(p - margin, 0)
    return -(shifted**gamma_negative) * math.log(1 - shifted)


TERMS: dict[str, Term] = {
    "bce": bce_term,
    "asymmetric": asymmetric_term,
    "class_balanced": class_balanced_term,
    "class_balanced_samples": class_balanced_term,  # its weights are those of titles
}


def example(n: int = 7, n_labels: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits on both sides of the margin, targets and weights, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_labels, generator=generator, dtype=torch.float64) * 3
    targets = (torch.rand(n, n_labels, generator=generator) < 0.4).double()
    weight = torch.rand(n_labels, generator=generator, dtype=torch.float64) * 4 + 0.1
    return logits, targets, weight


def by_loop(term: Term, logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None) -> float:
    total = 0.0
    for row in range(logits.shape[0]):
        for label in range(logits.shape[1]):
            p = 1 / (1 + math.exp(-float(logits[row, label])))
            total += term(p, float(targets[row, label]), 1.0 if weight is None else float(weight[label]))
    return total / logits.numel()


def weights_of_titles(targets: torch.Tensor, weight: torch.Tensor) -> list[float]:
    """Return the mean weight of the positives of every title, 1 without any, over the mean of all titles."""
    means = []
    for row in targets.tolist():
        own = [float(weight[label]) for label, y in enumerate(row) if y]
        means.append(sum(own) / len(own) if own else 1.0)
    return [mean * len(means) / sum(means) for mean in means]


def reference(name: str, logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None) -> float:
    if name != "class_balanced_samples" or weight is None:
        return by_loop(TERMS[name], logits, targets, weight)
    titles = weights_of_titles(targets, weight)
    rows = [by_loop(TERMS[name], logits[[row]], targets[[row]], None) for row in range(len(logits))]
    return sum(w * cost for w, cost in zip(titles, rows, strict=True)) / len(rows)


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(logits), logits)
    return found


# ---------------------------------------------------------------- every loss


def test_every_loss_has_a_reference_here() -> None:
    assert set(TERMS) == set(LOSSES)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_value_is_the_mean_over_titles_and_labels(name: str, weighted: bool) -> None:
    logits, targets, weight = example()
    given_weight = weight if weighted else None
    found = LOSSES[name](logits, targets, weight=given_weight)
    assert found.shape == ()
    assert float(found) == pytest.approx(reference(name, logits, targets, given_weight), rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_that_of_finite_differences(name: str, weighted: bool) -> None:
    logits, targets, weight = example()
    loss: Loss = LOSSES[name]
    function = partial(_of_logits, loss, targets, weight if weighted else None)
    assert torch.autograd.gradcheck(function, (logits.requires_grad_(),))


def _of_logits(loss: Loss, targets: torch.Tensor, weight: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    return loss(logits, targets, weight=weight)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_one_are_no_weights(name: str) -> None:
    logits, targets, _ = example()
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(LOSSES[name](logits, targets, weight=ones), LOSSES[name](logits, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_mean_does_not_grow_with_titles_or_labels(name: str) -> None:
    logits, targets, _ = example()
    loss = LOSSES[name]
    torch.testing.assert_close(loss(logits.repeat(3, 2), targets.repeat(3, 2)), loss(logits, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_descent_moves_towards_the_targets(name: str) -> None:
    targets = torch.tensor([[1.0, 0.0]])
    slope = gradient(lambda logits: LOSSES[name](logits, targets), torch.zeros(1, 2))
    assert slope[0, 0] < 0 < slope[0, 1]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [20.0, 100.0, 1e4])
def test_extreme_logits_stay_finite(name: str, size: float) -> None:
    logits = torch.tensor([[size, -size, size, -size]])
    targets = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    assert torch.isfinite(LOSSES[name](logits, targets))
    assert torch.isfinite(gradient(lambda x: LOSSES[name](x, targets), logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_right_answers_cost_next_to_nothing_and_wrong_ones_much(name: str) -> None:
    targets = torch.tensor([[1.0, 0.0]])
    right = LOSSES[name](torch.tensor([[12.0, -12.0]]), targets)
    wrong = LOSSES[name](torch.tensor([[-12.0, 12.0]]), targets)
    assert float(right) < 1e-4
    assert float(wrong) > 1


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "class_balanced_samples"])
def test_weight_of_a_label_touches_that_label_only(name: str) -> None:
    logits, targets, _ = example()
    plain = gradient(lambda x: LOSSES[name](x, targets), logits)
    weight = torch.tensor([1.0, 5.0, 1.0, 1.0], dtype=torch.float64)
    weighted = gradient(lambda x: LOSSES[name](x, targets, weight=weight), logits)
    touched = (plain - weighted).abs() > 1e-12
    expected = torch.zeros_like(touched)
    expected[:, 1] = (targets[:, 1] == 1) | (name == "class_balanced")
    assert torch.equal(touched, expected)


# ---------------------------------------------------------------- weights of titles


def test_weights_of_titles_are_the_means_over_their_labels() -> None:
    targets = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]])
    weight = torch.tensor([0.5, 2.0, 6.0])
    assert sample_weights(targets, weight).tolist() == [1.25, 1.0, 6.0]
    per_title = torch.tensor([[1.0, 3, 9], [5, 5, 5], [1, 1, 4]])
    assert sample_weights(targets, per_title).tolist() == [2.0, 1.0, 4.0]


def test_per_sample_form_moves_whole_titles_in_proportion() -> None:
    logits, targets, weight = example()
    plain = gradient(lambda x: class_balanced_samples(x, targets), logits)
    weighted = gradient(lambda x: class_balanced_samples(x, targets, weight=weight), logits)
    expected = torch.tensor(weights_of_titles(targets, weight), dtype=torch.float64)
    torch.testing.assert_close(weighted / plain, expected[:, None].expand(-1, 4))
    assert float(expected.mean()) == pytest.approx(1)


def test_scale_of_the_weights_is_no_matter_where_all_titles_have_labels() -> None:
    logits, targets, weight = example()
    targets[:, 0] = 1
    torch.testing.assert_close(
        class_balanced_samples(logits, targets, weight=weight * 7),
        class_balanced_samples(logits, targets, weight=weight),
    )


# ---------------------------------------------------------------- asymmetric


@pytest.mark.parametrize("weighted", [False, True])
def test_asymmetric_without_focus_and_margin_is_bce(weighted: bool) -> None:
    logits, targets, weight = example()
    given_weight = weight if weighted else None
    plain = partial(asymmetric, gamma_positive=0.0, gamma_negative=0.0, margin=0.0, weight=given_weight)
    torch.testing.assert_close(plain(logits, targets), bce(logits, targets, weight=given_weight))
    torch.testing.assert_close(
        gradient(lambda x: plain(x, targets), logits), gradient(lambda x: bce(x, targets, weight=given_weight), logits)
    )


@pytest.mark.parametrize("gamma_positive", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("gamma_negative", [0.0, 0.5, 1.0, 3.5, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
def test_asymmetric_follows_its_formula(gamma_positive: float, gamma_negative: float, margin: float) -> None:
    logits, targets, weight = example()
    chosen = {"gamma_positive": gamma_positive, "gamma_negative": gamma_negative, "margin": margin}
    found = asymmetric(logits, targets, weight=weight, **chosen)
    expected = by_loop(partial(asymmetric_term, **chosen), logits, targets, weight)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    function = partial(_of_logits, partial(asymmetric, **chosen), targets, weight)
    assert torch.autograd.gradcheck(function, (logits.requires_grad_(),))


def test_asymmetric_negatives_below_the_margin_are_free() -> None:
    logits = torch.tensor([[-3.0, -2.9, -1.0]])  # probabilities .047, .052, .27
    slope = gradient(lambda x: asymmetric(x, torch.zeros(1, 3)), logits)[0]
    assert slope[0] == 0
    assert 0 < slope[1] < slope[2]


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_asymmetric_gradient_is_finite_for_small_powers_at_certainty(gamma: float) -> None:
    logits = torch.tensor([[-50.0, -3.0, 50.0, 50.0]])
    targets = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    slope = gradient(lambda x: asymmetric(x, targets, gamma_positive=gamma, gamma_negative=gamma), logits)
    assert torch.isfinite(slope).all()


def test_asymmetric_plays_down_easy_titles() -> None:
    targets = torch.tensor([[1.0, 0.0]])

    def share(logits: list[list[float]]) -> float:
        values = torch.tensor(logits)
        return float(asymmetric(values, targets) / bce(values, targets))

    assert share([[3.0, -2.0]]) < share([[0.0, 0.0]]) < share([[-3.0, 3.0]])


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_effective_weights_follow_the_paper(beta: float) -> None:
    counts = [1, 7, 100, 5000]
    numbers = [sum(beta**power for power in range(n)) for n in counts]  # the effective number, term by term
    inverse = [1 / number for number in numbers]
    expected = [value * len(counts) / sum(inverse) for value in inverse]
    found = effective_weights(counts, beta)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=12), st.floats(0, 0.99999))
def test_effective_weights_sum_to_the_labels_and_fall_with_the_count(counts: list[int], beta: float) -> None:
    found = effective_weights(counts, beta)
    assert found.sum() == pytest.approx(len(counts), rel=1e-4)
    assert (found > 0).all()
    ranked = found[np.argsort(counts, kind="stable")]
    assert (np.diff(ranked) <= 1e-5 * ranked[:-1]).all()


def test_effective_weights_at_the_ends_of_beta() -> None:
    np.testing.assert_allclose(effective_weights([3, 40, 500], 0.0), 1)
    near_one = effective_weights([10, 20, 40], 1 - 1e-9)
    np.testing.assert_allclose(near_one, np.array([4, 2, 1]) * 3 / 7, rtol=1e-4)


def test_a_label_without_titles_counts_as_one_title() -> None:
    np.testing.assert_array_equal(effective_weights([0, 9]), effective_weights([1, 9]))
    np.testing.assert_array_equal(positive_weights([0], 50), positive_weights([1], 50))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_positive_weights_follow_their_formula(power: float) -> None:
    found = positive_weights([10, 100, 500, 900, 1000], 1000, power)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [99**power, 9**power, 1, 1, 1], rtol=1e-6)


def test_class_balanced_with_effective_weights_shifts_attention_to_rare_labels() -> None:
    targets = torch.zeros(100, 2)
    targets[:50, 0], targets[:2, 1] = 1, 1
    weight = torch.from_numpy(effective_weights(targets.sum(dim=0).numpy()))
    plain = gradient(lambda x: class_balanced(x, targets), torch.zeros(100, 2)).abs().sum(dim=0)
    weighted = gradient(lambda x: class_balanced(x, targets, weight=weight), torch.zeros(100, 2)).abs().sum(dim=0)
    torch.testing.assert_close(plain[0], plain[1])
    torch.testing.assert_close(weighted[1] / weighted[0], weight[1] / weight[0])
    assert weight[1] > 10 * weight[0]
