"""ConvE: head and relation as a picture, convolved, and projected back to an entity.

score = ReLU( vec( ReLU( [h ; r] * filters ) ) W ) . t + b_t.

Dettmers, Minervini, Stenetorp, Riedel: Convolutional 2D knowledge graph embeddings, AAAI 2018, equation 1, with batch
normalisation and the three dropouts of its section 4; every entity has a bias. Heads are asked for through reverse
relations, as in the authors' experiments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from reeltag.config import check_range
from reeltag.errors import ConfigError
from reeltag.graph.scorers.contract import Side


@dataclass(frozen=True, kw_only=True)
class ConvE:
    """Convolution over head and relation.

    Attributes:
        dim: Dimension of entities and relations.
        height: Rows of the picture that one embedding makes; ``dim`` must be a multiple of it.
        filters: Convolution filters of 3 x 3.
        input_dropout: On the stacked picture.
        filter_dropout: On whole feature maps.
        hidden_dropout: On the projected vector.
    """

    dim: int = 200
    height: int = 10
    filters: int = 32
    input_dropout: float = 0.2
    filter_dropout: float = 0.2
    hidden_dropout: float = 0.3
    network: nn.Module = field(init=False, repr=False, compare=False)

    name = "conve"
    one_relation = False
    reciprocal = True

    def __post_init__(self) -> None:
        check_range("ConvE", "dim", self.dim, 9, 100_000)
        check_range("ConvE", "filters", self.filters, 1, 10_000)
        for name in ("input_dropout", "filter_dropout", "hidden_dropout"):
            check_range("ConvE", name, getattr(self, name), 0, 0.9)
        if self.height < 2 or self.dim % self.height or self.dim // self.height < 3:
            raise ConfigError(
                f"ConvE.height must be at least 2, divide dim ({self.dim}) and leave 3 columns; got {self.height}"
            )
        object.__setattr__(self, "network", _ConvolutionNetwork(self))

    @property
    def entity_width(self) -> int:
        """Columns of an entity: vector and bias."""
        return self.dim + 1

    @property
    def vector_width(self) -> int:
        """Leading columns of an entity that are its vector."""
        return self.dim

    @property
    def relation_width(self) -> int:
        """Columns of a relation: the vector."""
        return self.dim

    def initial(
        self, n_entities: int, n_relations: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw vectors as Xavier does, biases 0; the network's weights are drawn too."""
        entities = torch.randn(n_entities, self.dim + 1, generator=generator).mul_(self.dim**-0.5)
        entities[:, self.dim] = 0
        self.network.reset(generator)  # type: ignore[operator]
        return entities, torch.randn(n_relations, self.dim, generator=generator).mul_(self.dim**-0.5)

    def prepare(self, relations: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return relations

    def query(self, known: torch.Tensor, relation: torch.Tensor, side: Side) -> torch.Tensor:
        """Return the projected vector, (c, p, dim); ``side`` is always ``tail``."""
        relation = relation.expand(*known.shape[:-1], -1)
        vectors = torch.stack([known[..., : self.dim], relation], -2)  # (c, p, 2, dim)
        picture = vectors.reshape(-1, 1, 2 * self.height, self.dim // self.height)
        found: torch.Tensor = self.network(picture)
        return found.view(*known.shape[:-1], self.dim)

    def paired(self, query: torch.Tensor, relation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return dot products plus bias, (c, p)."""
        return (query * target[..., : self.dim]).sum(-1) + target[..., self.dim]

    def against(self, query: torch.Tensor, relation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return dot products plus bias, (c, p, n)."""
        return query @ candidates[..., : self.dim].mT + candidates[..., self.dim].unsqueeze(-2)


class _ConvolutionNetwork(nn.Module):
    """Picture (n, 1, 2 height, width) -> vector (n, dim)."""

    def __init__(self, config: ConvE) -> None:
        super().__init__()
        self.bn_input, self.bn_filters = nn.BatchNorm2d(1), nn.BatchNorm2d(config.filters)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.convolution = nn.Conv2d(1, config.filters, 3)
        self.filter_dropout = nn.Dropout2d(config.filter_dropout)
        n_hidden = config.filters * (2 * config.height - 2) * (config.dim // config.height - 2)
        self.projection = nn.Linear(n_hidden, config.dim)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.bn_hidden = nn.BatchNorm1d(config.dim)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights again."""
        for module in (self.bn_input, self.bn_filters, self.bn_hidden):
            module.reset_parameters()
        for layer in (self.convolution, self.projection):
            bound = layer.weight[0].numel() ** -0.5
            for weights in layer.parameters():
                nn.init.uniform_(weights, -bound, bound, generator)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Convolve and project."""
        maps = self.convolution(self.input_dropout(self.bn_input(picture)))
        maps = self.filter_dropout(torch.relu(self.bn_filters(maps)))
        hidden = self.hidden_dropout(self.projection(maps.flatten(1)))
        out: torch.Tensor = torch.relu(self.bn_hidden(hidden))
        return out
