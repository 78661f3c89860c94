"""The bi-modal poster network: patches and words look at each other (Nareti, Adak, Chattopadhyay, Wang 2024).

As published (arXiv 2410.19764): CLIP's features of a poster and of the text read off it are aligned, MCAM crosses
them in both directions, SMSAM refines what is fused, a feed-forward network gives the logits; asymmetric loss with
gamma+ 3 and gamma- 4, Adam with a learning rate of 1e-4, up to 100 epochs with early stopping. ``POSTER_PUBLISHED``
are these settings. The parts are in ``models.attention``.

Open in the paper and chosen: width, heads, depth, dropout, batch and patience; the margin of the loss (its authors'
0.05); the means of either side's real tokens side by side, so that many patches do not drown a few words.

What differs: the textual side holds whatever else is known of a title (plot, credits, ...), a block that is one vector
being one token; such a block is scaled already and aligned without normalisation. A poster without text, or a title
without a poster, has a learned vector as the only token of that side; of a title of which nothing is known the base
rates are said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError
from reeltag.features import Features
from reeltag.models.attention import Alignment, CrossAttention, FeedForwardHead, SelfAttention, first_positions, pooled
from reeltag.models.estimator import NetworkConfig, NetworkModel, start_at_base_rates
from reeltag.models.layers import classify, or_prior
from reeltag.models.layout import Layout, Outputs, Rows, Tokens
from reeltag.models.objective import PREDICT_TOKEN_ROWS, parts_of
from reeltag.training import TrainingConfig

FUSIONS = ("cross", "concat")
VISUAL = "poster"  # the modality of the visual side; all others are textual

POSTER_PUBLISHED: dict[str, Any] = {
    "dim": 512,
    "heads": 8,
    "self_layers": 3,
    "dropout": 0.1,
    "hidden": 512,
    "modality_dropout": 0.0,
    "loss": "asymmetric",
    "loss_settings": {"gamma_positive": 3.0, "gamma_negative": 4.0, "margin": 0.05},
    "training": {
        "epochs": 100,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,  # AdamW without it is Adam
        "patience": 8,
        "schedule": "constant",
        "warmup": 0.0,
    },
}


def poster_training() -> TrainingConfig:
    """Return the settings that the poster network is trained with unless told otherwise.

    Single precision: on a CPU sequences this short are slower in bfloat16.
    """
    return TrainingConfig(
        epochs=6, batch_size=64, learning_rate=3e-4, weight_decay=0.05, patience=3, precision="32-true"
    )  # fmt: skip


def poster_loss() -> dict[str, float]:
    """Return the settings of the asymmetric loss unless told otherwise."""
    return {"gamma_positive": 0.0, "gamma_negative": 2.0, "margin": 0.05}


@dataclass(frozen=True, kw_only=True)
class PosterConfig(NetworkConfig):
    """Settings of the poster network, besides those of every network.

    Attributes:
        dim: Width of the tokens.
        heads: Of every attention; they share the width.
        fusion: ``cross`` lets both sides look at each other (MCAM), ``concat`` puts them side by side.
        self_layers: Layers of self-attention over both sides (SMSAM); 0 for none.
        dropout: In all parts.
        token_dropout: Chance that a token of a training title is not seen.
        hidden: Width of the hidden layer of the head.
        max_positions: Tokens of a sequence with a learned position; later ones share the last. 0 for no positions.
    """

    modality_dropout: float = 0.1
    loss: str = "asymmetric"
    loss_settings: dict[str, float] = field(default_factory=poster_loss)
    dim: int = 128
    heads: int = 4
    fusion: str = "cross"
    self_layers: int = 1
    dropout: float = 0.3
    token_dropout: float = 0.0
    hidden: int = 256
    max_positions: int = 64
    training: TrainingConfig = field(default_factory=poster_training)

    def __post_init__(self) -> None:
        if self.loss != "asymmetric" and self.loss_settings == poster_loss():
            object.__setattr__(self, "loss_settings", {})  # the default settings are those of the default loss
        super().__post_init__()
        owner = type(self).__name__
        for name, low, high in (
            ("dim", 1, 65_536),
            ("heads", 1, 256),
            ("self_layers", 0, 100),
            ("dropout", 0, 0.95),
            ("token_dropout", 0, 0.95),
            ("hidden", 1, 65_536),
            ("max_positions", 0, 65_536),
        ):
            check_range(owner, name, getattr(self, name), low, high)
        check_choice(owner, "fusion", self.fusion, FUSIONS)
        if self.dim % self.heads:
            raise ConfigError(f"{owner}.dim must be a multiple of heads ({self.heads}); got {self.dim}")


class Side(NamedTuple):
    """The tokens of one side, those of its blocks one after another; the last stands for a side that has none.

    Attributes:
        values: Shape (n, n_tokens, dim).
        seen: 1 where a token is real, (n, n_tokens); at least one of every title is.
        lengths: Tokens of every block, and 1.
    """

    values: torch.Tensor
    seen: torch.Tensor
    lengths: tuple[int, ...]


class Looked(NamedTuple):
    """What tokens receive of the attention.

    Attributes:
        received: For every block of the layout (n, n_tokens), 1 token for a block that is one vector. The shares of
            a side sum to 1 where the title has anything of it, else to 0.
    """

    received: tuple[torch.Tensor, ...]


class SideTokens(nn.Module):
    """Makes the tokens of one side: its blocks aligned, with a learned vector per block and per position.

    Args:
        layout: Blocks.
        places: The blocks of this side.
        config: Settings.
    """

    def __init__(self, layout: Layout, places: Sequence[int], config: PosterConfig) -> None:
        super().__init__()
        self.places, self.n_vectors = tuple(places), layout.n_vectors
        self.token_dropout = config.token_dropout
        self.alignments, self.segments, self.positions = nn.ModuleDict(), nn.ParameterDict(), nn.ParameterDict()
        for place in self.places:
            is_sequence = place >= self.n_vectors
            align = Alignment(layout.widths[place], config.dim, config.dropout, norm=is_sequence)
            self.alignments[str(place)] = align
            self.segments[str(place)] = nn.Parameter(torch.randn(config.dim) * 0.02)
            if is_sequence and config.max_positions:
                self.positions[str(place)] = nn.Parameter(torch.randn(config.max_positions, config.dim) * 0.02)
        self.absent = nn.Parameter(torch.randn(config.dim) * 0.02)

    def forward(self, rows: Rows, tokens: Sequence[Tokens]) -> Side:
        """Return the side of some titles, given their token blocks."""
        n = len(rows.present)
        made = [self._block(place, rows, tokens) for place in self.places]
        seen = torch.cat([*[part.seen for part in made], rows.present.new_zeros(n, 1)], dim=1)
        seen[:, -1] = 1 - seen.amax(dim=1)
        values = torch.cat([*[part.values for part in made], self.absent.expand(n, 1, -1)], dim=1)
        return Side(values, seen, (*[part.seen.shape[1] for part in made], 1))

    def _block(self, place: int, rows: Rows, tokens: Sequence[Tokens]) -> Tokens:
        """Return the aligned tokens of one block."""
        if place < self.n_vectors:
            read = Tokens(rows.blocks[place][:, None], rows.present[:, place : place + 1])
        else:
            read = tokens[place - self.n_vectors]
            if self.training and self.token_dropout:
                read = Tokens(read.values, read.seen * (torch.rand_like(read.seen) >= self.token_dropout))
        values = self.alignments[str(place)](read.values) + self.segments[str(place)]
        if str(place) in self.positions:
            values = values + first_positions(self.positions[str(place)], values.shape[1])
        return Tokens(values, read.seen)


class PosterNetwork(nn.Module):
    """The network of one member.

    Args:
        layout: Blocks and labels.
        config: Settings.
    """

    prior: torch.Tensor

    def __init__(self, layout: Layout, config: PosterConfig) -> None:
        super().__init__()
        dim, heads, dropout = config.dim, config.heads, config.dropout
        visual = layout.blocks_of(VISUAL)
        textual = [place for place in range(len(layout.names)) if place not in visual]
        self.visual, self.textual = SideTokens(layout, visual, config), SideTokens(layout, textual, config)
        self.cross = CrossAttention(dim, heads, dropout) if config.fusion == "cross" else None
        self.refine = SelfAttention(dim, heads, dropout, config.self_layers)
        self.head = FeedForwardHead(2 * dim, config.hidden, layout.n_labels, dropout)
        self.register_buffer("prior", torch.zeros(layout.n_labels))  # what is said of a title of which nothing is known

    def start(self, shares: torch.Tensor, label_vectors: torch.Tensor | None) -> None:  # noqa: ARG002
        """Start from the base rates."""
        start_at_base_rates(self.head.out, shares)
        self.prior.copy_(torch.log(shares / (1 - shares)))

    def forward(self, rows: Rows, targets: torch.Tensor | None = None) -> Outputs:  # noqa: ARG002
        """Return logits (n, n_labels) and the means of both sides next to each other (n, 2 * dim)."""
        visual, textual = self._sides(rows)
        v, t = visual.values, textual.values
        if self.cross is not None:
            crossed = self.cross(v, t, visual.seen, textual.seen)
            v, t = crossed.visual.values, crossed.textual.values
        x = self.refine(torch.cat([v, t], dim=1), torch.cat([visual.seen, textual.seen], dim=1)).values
        v, t = torch.split(x, [v.shape[1], t.shape[1]], dim=1)
        fused = torch.cat([pooled(v, visual.seen), pooled(t, textual.seen)], dim=1)
        known = 1 - visual.seen[:, -1] * textual.seen[:, -1]
        return Outputs(or_prior(classify(self.head, fused), known, self.prior), fused.float())

    def look(self, rows: Rows) -> Looked | None:
        """Return what every token receives: a mean over heads and over the real tokens that look at it.

        Of MCAM: a token of one side is looked at by the other. Without MCAM, of the layers of SMSAM, as shares of what
        the side receives, a mean over layers. Without either None.
        """
        visual, textual = self._sides(rows)
        shares = self._shares(visual, textual)
        if shares is None:
            return None
        received: dict[int, torch.Tensor] = {}
        for made, side, given in zip((self.visual, self.textual), (visual, textual), shares, strict=True):
            received |= dict(zip(made.places, torch.split(given, list(side.lengths), dim=1)[:-1], strict=True))
        return Looked(tuple(received[place] for place in sorted(received)))

    def _shares(self, visual: Side, textual: Side) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return what the tokens of either side receive, (n, n_tokens) each, summing to 1."""
        if self.cross is not None:
            crossed = self.cross(visual.values, textual.values, visual.seen, textual.seen, weights=True)
            return pooled(crossed.textual.weights, textual.seen), pooled(crossed.visual.weights, visual.seen)
        if not len(self.refine.layers):
            return None
        seen = torch.cat([visual.seen, textual.seen], dim=1)
        refined = self.refine(torch.cat([visual.values, textual.values], dim=1), seen, weights=True)
        received = torch.stack([pooled(weights, seen) for weights in refined.weights]).mean(dim=0)
        v, t = torch.split(received, [visual.seen.shape[1], textual.seen.shape[1]], dim=1)
        return v / v.sum(dim=1, keepdim=True), t / t.sum(dim=1, keepdim=True)

    def _sides(self, rows: Rows) -> tuple[Side, Side]:
        tokens = rows.read_tokens()
        return self.visual(rows, tokens), self.textual(rows, tokens)


class PosterModel(NetworkModel):
    """Estimator around PosterNetwork."""

    config_class: ClassVar[type[NetworkConfig]] = PosterConfig
    network_class: ClassVar[type[nn.Module]] = PosterNetwork
    reads_tokens: ClassVar[bool] = True

    @torch.inference_mode()
    def token_effects(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return how far each token moves the log-odds of each label: all tokens against all but this one.

        It costs one pass per token; meant for a few titles.

        Returns:
            By token block (n_titles, n_tokens, n_labels); 0 where there is no token.
        """
        layout = self._fitted_layout()
        rows = self._rows(features).take(slice(None))
        found = {}
        for block, name in enumerate(layout.names[layout.n_vectors :]):
            if name not in features.tokens:
                continue
            seen = rows.read_tokens()[block].seen
            effects = torch.zeros(*seen.shape, layout.n_labels)
            for row, here in enumerate(seen):
                title = rows.take(slice(row, row + 1))
                whole = self._logits(title)
                for tokens in here.nonzero()[:, 0].split(PREDICT_TOKEN_ROWS):
                    if len(tokens):
                        effects[row, tokens] = whole - self._logits(without_tokens(title, block, tokens))
            found[name] = effects.numpy()
        return found

    @torch.inference_mode()
    def token_attention(self, features: Features) -> dict[str, npt.NDArray[np.float32]]:
        """Return the share of attention that each token receives, a mean over members; see ``PosterNetwork.look``.

        Returns:
            By token block (n_titles, n_tokens); empty for a model without MCAM and SMSAM.
        """
        layout = self._fitted_layout()
        rows = self._rows(features).take(slice(None))
        found: dict[str, list[torch.Tensor]] = {}
        for part in parts_of(len(features), tokens=True):
            batch = rows.take(slice(part.start, part.stop))
            looked = [cast(PosterNetwork, network).look(batch) for network in self._fitted()]
            members = [one.received for one in looked if one is not None]
            for place, name in enumerate(layout.names):
                if members and name in features.tokens and place >= layout.n_vectors:
                    found.setdefault(name, []).append(torch.stack([one[place] for one in members]).mean(dim=0))
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}

    def _logits(self, rows: Rows) -> torch.Tensor:
        """Return the members' mean logits in single precision, in which small differences survive, (n, n_labels)."""
        return torch.stack([network(rows).logits for network in self._fitted()]).mean(dim=0)


def without_tokens(title: Rows, block: int, tokens: torch.Tensor) -> Rows:
    """Return copies of one title that each lack one token of a token block.

    Args:
        title: The title, its tokens read.
        block: Place among the token blocks.
        tokens: The token that each copy lacks, (n,).
    """
    n = len(tokens)
    read = [Tokens(_copies(values, n), _copies(seen, n).clone()) for values, seen in title.read_tokens()]
    read[block].seen[torch.arange(n), tokens] = 0
    side = None if title.side is None else _copies(title.side, n)
    return Rows([_copies(values, n) for values in title.blocks], _copies(title.present, n), side, read)


def _copies(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.expand(n, *x.shape[1:])
