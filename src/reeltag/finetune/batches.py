"""Batches in which titles share labels, rare ones too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


def grouped_batches(
    targets: sp.csr_matrix, batch_size: int, group_size: int, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Put titles into batches, every title into one, so that most find another with a label of theirs.

    Of titles drawn at random few share a rare label. So a title is drawn, then one of its labels, each with a weight of
    one over the number of its titles, then more titles with that label as long as there are any that are in no batch,
    ``group_size`` in all; then the next title, until the batch is full. The first title of a group may have any label,
    so frequent ones come together by chance. The groups of the last batches lack titles of labels that are used up:
    batches come in random order.

    Args:
        targets: 0 and 1, shape (n_titles, n_labels).
        batch_size: Titles per batch; one batch holds what is left over.
        group_size: Titles of a group at most.
        random: Where the draws come from.

    Returns:
        The rows of each batch; ``ceil(n_titles / batch_size)`` batches.
    """
    order = random.permutation(targets.shape[0])
    shuffled = sp.csr_matrix(targets[order])
    by_label = sp.csc_matrix(shuffled)
    by_label.sort_indices()  # titles of a label in their random order
    counts = np.diff(by_label.indptr)
    upcoming = by_label.indptr[:-1].copy()  # of each label, the first title that may be in no batch yet
    taken = np.zeros(len(order), np.bool_)
    batches: list[list[int]] = []
    for title in range(len(order)):
        if taken[title]:
            continue
        if not batches or len(batches[-1]) == batch_size:
            batches.append([])
        taken[title] = True
        batches[-1].append(title)
        labels = shuffled.indices[shuffled.indptr[title] : shuffled.indptr[title + 1]]
        if len(labels) == 0:
            continue
        # the least of Exp(1) / weight is a draw by weight
        label = int(labels[np.argmin(random.exponential(size=len(labels)) * counts[labels])])
        room = min(group_size - 1, batch_size - len(batches[-1]))
        while room and upcoming[label] < by_label.indptr[label + 1]:
            other = int(by_label.indices[upcoming[label]])
            upcoming[label] += 1
            if not taken[other]:
                taken[other] = True
                batches[-1].append(other)
                room -= 1
    return [order[np.array(batches[number])] for number in random.permutation(len(batches))]
