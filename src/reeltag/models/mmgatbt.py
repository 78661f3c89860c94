"""MM-GATBT: a transformer whose image token has looked at the films made by the same people (Seo, Nam, Delgosha 2022).

As published (ACL Workshop, "MM-GATBT: Enriching Multimodal Representation Using Graph Attention Network"): films that
share a person are linked; each is a node whose features are those of its poster; a graph attention network (3 layers,
8 heads of 32, dropout .1, slope .1, residual) makes node vectors, and tanh of them takes the place of the image token
of MMBT.

What differs: the published graph holds all films, those of the test set too, so nothing new can be tagged. Here the
neighbours of any title are training films only, found by the people they share (block ``credits.people``), at most
``max_neighbours``, and never the title itself. One layer is the default: with more, the neighbours' own states are
made from training films, among whose neighbours a training title finds its own features again. The network is trained
in one go with the transformer, where the published one trains the graph first (and chose its checkpoint on the test
set).

Left open and chosen: ELU between layers; attention over the neighbours and the title itself, whoever lacks the
features left out; ``node`` may also join the tokens of its modality instead of replacing them. Without the block of
people every title stands alone. Modalities hidden at random in training (off) leave the neighbours as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn
from torch.nn import functional

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError
from reeltag.features import Features
from reeltag.models.contract import PEOPLE, Targets
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.film_neighbours import FilmNeighbours
from reeltag.models.layers import classify, or_prior, side_by_side
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.mmbt import BlockTokens, MmbtConfig, Trunk

NODES = ("replaces", "joins")
_CREDITS = "credits"


@dataclass(frozen=True, kw_only=True)
class MmgatbtConfig(MmbtConfig):
    """Settings of MM-GATBT, besides those of MMBT.

    Attributes:
        node_modality: Whose blocks are the features of a node; the first modality when there is no such. Never the
            credits: those of a neighbour count the title that looks at it, so a training title would read its labels.
        node: Whether the node ``replaces`` the tokens of its modality or ``joins`` them.
        max_neighbours: Training films that a title sees at most.
        graph_layers: Layers of graph attention; 3 as published.
        graph_heads: Heads of each.
        graph_dim: Width of a head.
        graph_dropout: Of the inputs of a layer.
        slope: Of the leaky ReLU of the attention.
    """

    node_modality: str = "poster"
    node: str = "replaces"
    max_neighbours: int = 32
    graph_layers: int = 1
    graph_heads: int = 8
    graph_dim: int = 32
    graph_dropout: float = 0.1
    slope: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("MmgatbtConfig", "node", self.node, NODES)
        if self.node_modality == _CREDITS:
            raise ConfigError("MmgatbtConfig.node_modality must not be 'credits', in which labels are counted")
        for name, low, high in (
            ("max_neighbours", 1, 10_000),
            ("graph_layers", 1, 10),
            ("graph_heads", 1, 256),
            ("graph_dim", 1, 65_536),
            ("graph_dropout", 0, 0.95),
            ("slope", 0, 1),
        ):
            check_range("MmgatbtConfig", name, getattr(self, name), low, high)

    def node_modality_of(self, layout: Layout) -> str:
        """Return the modality that nodes are made of."""
        others = [modality for modality in layout.modalities if modality != _CREDITS]
        return self.node_modality if self.node_modality in others else (others or [_CREDITS])[0]


class GraphAttention(nn.Module):
    """One layer of graph attention with a residual (Velickovic et al. 2018, arXiv 1710.10903).

    Args:
        width: Width of the states it reads; it makes ``graph_heads * graph_dim``.
        config: Settings.
    """

    def __init__(self, width: int, config: MmgatbtConfig) -> None:
        super().__init__()
        heads, dim = config.graph_heads, config.graph_dim
        self.shape, self.slope = (heads, dim), config.slope
        self.map = nn.Linear(width, heads * dim, bias=False)
        self.own = nn.Parameter(torch.randn(heads, dim) / dim**0.5)
        self.near = nn.Parameter(torch.randn(heads, dim) / dim**0.5)
        self.residual = nn.Identity() if width == heads * dim else nn.Linear(width, heads * dim, bias=False)
        self.dropout = nn.Dropout(config.graph_dropout)

    def forward(self, own: torch.Tensor, near: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return the next state (n, heads * dim); the residual alone where nobody is seen.

        Args:
            own: States of nodes, (n, width).
            near: States of their neighbours, (n, k, width).
            seen: 1 where the node (first) and its neighbours count, (n, 1 + k).
        """
        h = self.map(self.dropout(torch.cat([own[:, None], near], dim=1))).unflatten(2, self.shape).float()
        scores = (h[:, :1] * self.own).sum(dim=3) + (h * self.near).sum(dim=3)  # (n, 1 + k, heads)
        scores = functional.leaky_relu(scores, self.slope).masked_fill(seen[:, :, None] == 0, -1e9)
        weights = torch.softmax(scores, dim=1) * seen[:, :, None]
        mixed = (weights[:, :, :, None] * h).sum(dim=1).flatten(1)
        out: torch.Tensor = mixed + self.residual(own).float()
        return out


class MmgatbtNetwork(nn.Module):
    """The network of one member. Its buffers keep the training films: features, presence, links and people.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    prior: torch.Tensor
    nodes: torch.Tensor
    known: torch.Tensor
    links: torch.Tensor

    def __init__(self, layout: Layout, config: MmgatbtConfig) -> None:
        super().__init__()
        modality = config.node_modality_of(layout)
        self.place, self.places = layout.modalities.index(modality), layout.blocks_of(modality)
        width, made = sum(layout.widths[place] for place in self.places), config.graph_heads * config.graph_dim
        self.graph = nn.ModuleList(
            GraphAttention(width if layer == 0 else made, config) for layer in range(config.graph_layers)
        )
        left_out = modality if config.node == "replaces" else None
        self.tokens = BlockTokens(layout, config, left_out)
        self.joins = left_out is None
        self.node_token = nn.Linear(made, config.dim)
        self.trunk = Trunk(len(layout.modalities), config)
        self.head = nn.Linear(config.dim, layout.n_labels)
        self.register_buffer("prior", torch.zeros(layout.n_labels))  # what is said of a title of which nothing is known
        for name, value in no_films(width).items():
            self.register_buffer(name, value)

    def keep(self, films: dict[str, torch.Tensor]) -> None:
        """Keep the training films as buffers; see ``no_films`` for what they are."""
        for name, value in films.items():
            self.register_buffer(name, value.clone())

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head, shares)
        self.prior.copy_(torch.log(shares / (1 - shares)))

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and the pooled [CLS] (n, dim)."""
        node, seen = self.node(rows)
        token = self.node_token(torch.tanh(node))[:, None]  # (n, 1, dim)
        tokens, masks = self.tokens(rows)
        tokens[self.place] = torch.cat([token, tokens[self.place]], dim=1) if self.joins else token
        masks[self.place] = torch.cat([seen[:, None], masks[self.place]], dim=1) if self.joins else seen[:, None]
        fused = self.trunk(tokens, masks)
        known = torch.cat([rows.present, seen[:, None]], dim=1).amax(dim=1)
        return Outputs(or_prior(classify(self.head, fused), known, self.prior), fused.float())

    def node(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the node vectors (n, heads * dim) and 1 where a title has features or neighbours, (n,)."""
        state = side_by_side(rows, self.places)
        seen = rows.present[:, list(self.places)].amax(dim=1)
        links = rows.present.new_full((len(seen), 1), -1) if rows.side is None else rows.side
        for layer in range(len(self.graph)):
            state, seen = self._step(layer, state, seen, links.long())
        return state, seen

    def _step(
        self, layer: int, state: torch.Tensor, seen: torch.Tensor, links: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and presence one layer up, the neighbours' own states being made of training films."""
        if not (links >= 0).any():
            near, here = state.new_zeros(len(links), 1, state.shape[1]), torch.zeros_like(links[:, :1])
        else:
            films, places = torch.unique(links.clamp_min(0), return_inverse=True)
            below, known = self._films(layer, films)
            near, here = below[places], known[places] * (links >= 0)
        counted = torch.cat([seen[:, None], here], dim=1)
        up = self.graph[layer](state, near, counted)
        return (functional.elu(up) if layer + 1 < len(self.graph) else up), counted.amax(dim=1)

    def _films(self, layer: int, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states that a layer reads of training films, and which are present."""
        state, seen = self.nodes[films], self.known[films]
        for below in range(layer):
            state, seen = self._step(below, state, seen, self.links[films])
        return state, seen


class MmgatbtModel(NetworkModel):
    """Estimator around MmgatbtNetwork.

    The block ``credits.people`` (who worked on a title, one column per person) is read for neighbours only.
    """

    config_class: ClassVar[type[NetworkConfig]] = MmgatbtConfig
    network_class: ClassVar[type[nn.Module]] = MmgatbtNetwork
    config: MmgatbtConfig

    def __init__(self, config: MmgatbtConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self._neighbours: FilmNeighbours | None = None
        self._films: dict[str, torch.Tensor] | None = None
        self._film_ids: tuple[str, ...] = ()

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read what ``save_pretrained`` wrote.

        Raises:
            ModelError: Its tensors are not those of its settings.
        """
        model = super().from_pretrained(folder)
        if model._film_ids:
            kept = dict(model._members[0].named_buffers())
            shape = (len(model._film_ids), int(kept["n_people"]))
            columns, starts = kept["people"].numpy(), kept["people_starts"].numpy()
            people = sp.csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=shape)
            model._neighbours = FilmNeighbours(model._film_ids, people)
        return model

    def neighbours(self, features: Features) -> list[tuple[str, ...]]:
        """Return the ids of the training films that each title sees, those that share most people first."""
        side = self._side(features)
        if side is None or self._neighbours is None:
            return [()] * len(features)
        return [tuple(self._neighbours.ids[int(place)] for place in row if place >= 0) for row in side]

    def _prepare(self, features: Features, targets: Targets) -> None:  # noqa: ARG002
        self._neighbours = self._films = None
        block, layout = features.blocks.get(PEOPLE), self._fitted_layout()
        modality = self.config.node_modality_of(layout)
        if block is None or modality == _CREDITS:
            return
        rows, places = self._rows(features), layout.blocks_of(modality)
        self._neighbours = FilmNeighbours.of(features.ids, block)
        links = np.zeros((0, 1), np.int64)
        if self.config.graph_layers > 1:
            links = self._neighbours.find(features.ids, block, self.config.max_neighbours)
        people = self._neighbours.people
        self._films = {
            "nodes": side_by_side(rows, places),
            "known": rows.present[:, list(places)].amax(dim=1),
            "links": torch.from_numpy(links),
            "people": torch.from_numpy(people.indices.astype(np.int64)),
            "people_starts": torch.from_numpy(people.indptr.astype(np.int64)),
            "n_people": torch.tensor([people.shape[1]]),
        }

    def _side(self, features: Features) -> torch.Tensor | None:
        """Return the positions of the neighbours among the training films, (n_titles, max_neighbours), -1 for none."""
        if self._neighbours is None:
            return None
        block = features.blocks.get(PEOPLE)
        if block is None:
            return torch.full((len(features), self.config.max_neighbours), -1.0)
        return torch.from_numpy(self._neighbours.find(features.ids, block, self.config.max_neighbours)).float()

    def _build(self) -> nn.Module:
        network = super()._build()
        if self._films is not None:
            network.keep(self._films)  # type: ignore[operator]
        return network

    def _state(self) -> dict[str, Any]:
        return {"film_ids": list(self._neighbours.ids) if self._neighbours is not None else []}

    def _restore(self, state: dict[str, Any]) -> None:
        self._film_ids = tuple(state.get("film_ids", ()))


def no_films(width: int) -> dict[str, torch.Tensor]:
    """Return the buffers of a network without training films.

    They are ``nodes`` (n_films, width), the features of the films; ``known`` (n_films,), 1 where a film has them;
    ``links`` (n_films, max_neighbours), the neighbours of the films, only for several layers; and their people as CSR:
    ``people`` (columns), ``people_starts`` (n_films + 1,), ``n_people`` (1,).
    """
    return {
        "nodes": torch.zeros(0, width),
        "known": torch.zeros(0),
        "links": torch.zeros(0, 1, dtype=torch.int64),
        "people": torch.zeros(0, dtype=torch.int64),
        "people_starts": torch.zeros(1, dtype=torch.int64),
        "n_people": torch.zeros(1, dtype=torch.int64),
    }
