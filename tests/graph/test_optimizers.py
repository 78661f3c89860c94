"""Row-sparse optimizers against loops, explicit formulas and the dense optimizers of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from reeltag.graph.optimizers import OPTIMIZERS, RowAdagrad, RowAdam, RowSGD, add_up

N, WIDTH, RATE = 8, 3, 0.05
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def table(seed: int = 0) -> torch.Tensor:
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def steps(n: int, rows: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return distinct ids and gradients of some steps: ``rows`` of the table each, or all of it."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randperm(N, generator=generator)[: rows or N],
            torch.randn(rows or N, WIDTH, generator=generator, dtype=torch.float64),
        )
        for _ in range(n)
    ]


def dense(ids: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    return torch.zeros(N, WIDTH, dtype=torch.float64).index_copy(0, ids, gradients)


@pytest.mark.parametrize("ids", [[4, 1, 4, 4, 0], [3], [2, 2, 2], [0, 1, 2, 3]])
def test_add_up_is_a_loop(ids: list[int]) -> None:
    gradients = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums: dict[int, np.ndarray] = {}
    for row, gradient in zip(ids, gradients.numpy(), strict=True):
        sums[row] = sums.get(row, 0) + gradient
    distinct, added = add_up(torch.tensor(ids), gradients)
    assert distinct.tolist() == sorted(sums)
    np.testing.assert_allclose(added.numpy(), [sums[row] for row in sorted(sums)])


def test_add_up_of_many_repeats() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (5000,), generator=generator)
    gradients = torch.randn(5000, 4, generator=generator, dtype=torch.float64)
    expected = torch.zeros(50, 4, dtype=torch.float64).index_add(0, ids, gradients)
    distinct, added = add_up(ids, gradients)
    assert torch.equal(distinct, torch.arange(50))
    torch.testing.assert_close(added, expected)


@every_optimizer
def test_rows_that_are_not_met_stay_as_they_are(name: str) -> None:
    found, before = table(), table()
    optimizer = OPTIMIZERS[name](found)
    states = {key: tensor.clone() for key, tensor in optimizer.state().items()}
    optimizer.update(torch.tensor([5, 2]), torch.ones(2, WIDTH, dtype=torch.float64), RATE)
    others = [0, 1, 3, 4, 6, 7]
    assert torch.equal(found[others], before[others])
    assert (found[[5, 2]] < before[[5, 2]]).all()
    assert all(torch.equal(optimizer.state()[key][others], states[key][others]) for key in states)


@every_optimizer
def test_state_is_all_that_a_run_needs_to_go_on(name: str) -> None:
    whole, first = table(), table()
    optimizer, interrupted = OPTIMIZERS[name](whole), OPTIMIZERS[name](first)
    for ids, gradients in steps(6, 4):
        optimizer.update(ids, gradients, RATE)
    for ids, gradients in steps(6, 4)[:3]:
        interrupted.update(ids, gradients, RATE)
    second = first.clone()
    resumed = OPTIMIZERS[name](second)
    for key, tensor in resumed.state().items():
        tensor.copy_(interrupted.state()[key])
    for ids, gradients in steps(6, 4)[3:]:
        resumed.update(ids, gradients, RATE)
    assert torch.equal(second, whole)


@every_optimizer
def test_names_are_those_they_are_listed_under(name: str) -> None:
    assert OPTIMIZERS[name](table()).name == name


def test_sgd_is_that_of_pytorch() -> None:
    found, parameter = table(), torch.nn.Parameter(table())
    optimizer, reference = RowSGD(found), torch.optim.SGD([parameter], lr=RATE)
    for ids, gradients in steps(5, 3):
        optimizer.update(ids, gradients, RATE)
        parameter.grad = dense(ids, gradients)
        reference.step()
    torch.testing.assert_close(found, parameter.detach())


def test_adagrad_divides_by_the_summed_mean_squares_of_a_row() -> None:
    found = table()
    optimizer = RowAdagrad(found)
    expected, squares = table().tolist(), [0.0] * N
    for number, (ids, gradients) in enumerate(steps(6, 4)):
        rate = RATE / (1 + number)  # schedules change it
        optimizer.update(ids, gradients, rate)
        for row, gradient in zip(ids.tolist(), gradients.tolist(), strict=True):
            squares[row] += sum(g * g for g in gradient) / WIDTH
            expected[row] = [
                x - rate * g / (math.sqrt(squares[row]) + 1e-10) for x, g in zip(expected[row], gradient, strict=True)
            ]
    np.testing.assert_allclose(found.numpy(), expected)
    np.testing.assert_allclose(optimizer.squares.numpy(), squares)


def test_adagrad_of_one_column_is_that_of_pytorch() -> None:
    found, parameter = table()[:, :1].clone(), torch.nn.Parameter(table()[:, :1].clone())
    optimizer, reference = RowAdagrad(found), torch.optim.Adagrad([parameter], lr=RATE)
    for ids, gradients in steps(5, 3):
        optimizer.update(ids, gradients[:, :1], RATE)
        parameter.grad = dense(ids, gradients)[:, :1]
        reference.step()
    torch.testing.assert_close(found, parameter.detach())


def sparse(ids: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    return torch.sparse_coo_tensor(ids.unsqueeze(0), gradients, (N, WIDTH), check_invariants=True)


@pytest.mark.parametrize(
    ("reference", "gradient"), [(torch.optim.Adam, dense), (torch.optim.SparseAdam, sparse)], ids=["dense", "sparse"]
)
def test_adam_is_that_of_pytorch_when_every_step_meets_every_row(
    reference: type[torch.optim.Optimizer], gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    found, parameter = table(), torch.nn.Parameter(table())
    optimizer, theirs = RowAdam(found), reference([parameter], lr=RATE)  # type: ignore[call-arg]
    for ids, gradients in steps(6):
        optimizer.update(ids, gradients, RATE)
        parameter.grad = gradient(ids, gradients)
        theirs.step()
    # SparseAdam adds its epsilon before the bias correction
    torch.testing.assert_close(found, parameter.detach(), rtol=1e-5, atol=1e-6)


def test_adam_counts_the_steps_of_every_row() -> None:
    found = table()
    optimizer = RowAdam(found)
    alone: dict[int, list[torch.Tensor]] = {row: [] for row in range(N)}
    for ids, gradients in steps(9, 3):
        optimizer.update(ids, gradients, RATE)
        for row, gradient in zip(ids.tolist(), gradients, strict=True):
            alone[row].append(gradient)
    assert len({len(met) for met in alone.values()}) > 2
    for row, met in alone.items():  # a row fares as if the steps that met it were all there are
        parameter = torch.nn.Parameter(table()[row])
        reference = torch.optim.Adam([parameter], lr=RATE)
        for gradient in met:
            parameter.grad = gradient
            reference.step()
        torch.testing.assert_close(found[row], parameter.detach())
    assert optimizer.steps.tolist() == [len(met) for met in alone.values()]
