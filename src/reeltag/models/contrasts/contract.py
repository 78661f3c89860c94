"""What every contrast is: a network of its own beside the classifier, that adds a loss in training."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch


class Contrast(Protocol):
    """A loss that shapes the fused representation, with the parameters it needs; an ``nn.Module``.

    The shapes of its parameters follow from the arguments of the constructor, so that a saved one can be read back
    without the graph its label vectors came from.
    """

    config_class: ClassVar[type]

    def __init__(self, dim: int, n_labels: int, config: Any = None, label_width: int = 0) -> None:
        """Build the parameters, at random.

        Args:
            dim: Width of the fused representation and of the tokens.
            n_labels: Number of labels.
            config: Settings, of ``config_class``; its defaults when None.
            label_width: Width of the label vectors of a graph; 0 for vectors at random, as wide as the settings say.
        """

    def start(self, label_vectors: torch.Tensor | None) -> None:
        """Start from the label vectors of a graph, (n_labels, label_width); None leaves those at random.

        Raises:
            ModelError: They have another shape.
        """

    def __call__(
        self, fused: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of a batch, in single precision also under autocast.

        Args:
            fused: The fused representation, (n, dim).
            tokens: One vector per modality, (n, n_modalities, dim); those of absent modalities do not matter.
            present: 1 where a title has a modality, (n, n_modalities).
            targets: 0 or 1, (n, n_labels).

        Returns:
            A scalar; titles without labels add nothing, save where a contrast says otherwise.
        """
