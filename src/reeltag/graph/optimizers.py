"""Optimizers that touch only the rows of a batch.

The usual optimizers walk over all rows of a table in every step, 264,000 rows for the few thousand that have a
gradient; that is what makes the usual libraries slow on a CPU. Here the gradients of a row that occurs several times
are added up first (``add_up``), and each optimizer updates those rows alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional


def add_up(ids: torch.Tensor, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Add up the gradients of equal ids.

    Args:
        ids: (k,) row numbers, with repeats.
        gradients: (k, width).

    Returns:
        The distinct ids (m,), ascending, and the sum of the gradients of each, (m, width).
    """
    ordered, order = torch.sort(ids)
    distinct, counts = torch.unique_consecutive(ordered, return_counts=True)
    starts = counts.cumsum(0) - counts
    return distinct, functional.embedding_bag(order, gradients, starts, mode="sum")


class RowSGD:
    """Stochastic gradient descent.

    Args:
        table: Updated in place, (n, width).
    """

    name = "sgd"

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def update(self, ids: torch.Tensor, gradients: torch.Tensor, learning_rate: float) -> None:
        """Move the rows ``ids`` (m,), distinct, against ``gradients`` (m, width)."""
        self.table.index_add_(0, ids, gradients, alpha=-learning_rate)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint must keep."""
        return {}


class RowAdagrad:
    """Adagrad with one step size per row: the mean square of a row's gradients is summed over the steps.

    Duchi, Hazan, Singer (JMLR 2011) keep one sum per number; one per row needs ``width`` times less memory and reads.

    Args:
        table: Updated in place, (n, width).
    """

    name = "adagrad"

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.squares = table.new_zeros(len(table))

    def update(self, ids: torch.Tensor, gradients: torch.Tensor, learning_rate: float) -> None:
        """Move the rows ``ids`` (m,), distinct, against ``gradients`` (m, width)."""
        squares = torch.linalg.vector_norm(gradients, dim=1).square_()
        seen = self.squares.index_select(0, ids).add_(squares, alpha=1 / gradients.shape[1])
        self.squares.index_copy_(0, ids, seen)
        steps = gradients * (learning_rate / (seen.sqrt() + 1e-10)).unsqueeze(1)
        self.table.index_add_(0, ids, steps, alpha=-1)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint must keep."""
        return {"squares": self.squares}


class RowAdam:
    """Adam on the rows of a batch; a row's moments fade only when it is met, and its own steps are counted.

    Kingma and Ba (ICLR 2015); counting steps per row makes the bias correction right for rare rows, where PyTorch's
    SparseAdam counts all steps.

    Args:
        table: Updated in place, (n, width).
    """

    name = "adam"
    _BETAS, _EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.mean, self.squares = torch.zeros_like(table), torch.zeros_like(table)
        self.steps = table.new_zeros(len(table))

    def update(self, ids: torch.Tensor, gradients: torch.Tensor, learning_rate: float) -> None:
        """Move the rows ``ids`` (m,), distinct, against ``gradients`` (m, width)."""
        steps = self.steps.index_select(0, ids) + 1
        mean = self.mean.index_select(0, ids).lerp_(gradients, 1 - self._BETAS[0])
        squares = self.squares.index_select(0, ids).lerp_(gradients.square(), 1 - self._BETAS[1])
        for kept, new in ((self.steps, steps), (self.mean, mean), (self.squares, squares)):
            kept.index_copy_(0, ids, new)
        first, second = ((1 - beta**steps).unsqueeze(1) for beta in self._BETAS)
        moves = mean / first / ((squares / second).sqrt_() + self._EPSILON)
        self.table.index_add_(0, ids, moves, alpha=-learning_rate)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint must keep."""
        return {"mean": self.mean, "squares": self.squares, "steps": self.steps}


RowOptimizer = RowSGD | RowAdagrad | RowAdam
OPTIMIZERS: dict[str, Callable[[torch.Tensor], RowOptimizer]] = {
    "sgd": RowSGD,
    "adagrad": RowAdagrad,
    "adam": RowAdam,
}
