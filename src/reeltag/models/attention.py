"""Attention between two sequences and within one: the parts of the bi-modal poster network (Nareti et al. 2024).

As published (arXiv 2410.19764): features are aligned by layer normalisation and a linear map; MCAM lets visual queries
look at textual keys and textual queries at visual keys, by scaled dot-product attention; SMSAM is several layers of
self-attention one after another; a feed-forward network classifies.

Left open and chosen: residuals that are normalised after the sum, as in the first transformer; perceptrons four times
as wide as the tokens, with GELU; dropout on what a residual adds, not on the attention weights, so that the fast
kernels stay in use. A query that has nothing to look at keeps its value.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from reeltag.models.dropout import Dropout


class Attended(NamedTuple):
    """What queries are after they looked at keys.

    Attributes:
        values: Shape (n, n_queries, dim).
        weights: What each query gives to each key, a mean over heads, (n, n_queries, n_keys): 0 for keys that are not
            real, the sum 1 where any is; None unless asked for.
    """

    values: torch.Tensor
    weights: torch.Tensor | None = None


class Crossed(NamedTuple):
    """Two sequences that have looked at each other: visual tokens at textual ones, and the other way round."""

    visual: Attended
    textual: Attended


class Refined(NamedTuple):
    """A sequence after layers of self-attention.

    Attributes:
        values: Shape (n, n_tokens, dim).
        weights: Of every layer, (n, n_tokens, n_tokens), as in ``Attended``; empty unless asked for.
    """

    values: torch.Tensor
    weights: tuple[torch.Tensor, ...] = ()


class Alignment(nn.Module):
    """Brings vectors of any width to the common one: layer normalisation, a linear map, dropout.

    Args:
        width: Width of the vectors, which may come in half precision.
        dim: Common width.
        dropout: Of the result.
        norm: Whether to normalise; not for vectors that are scaled already and may be one number wide.
    """

    def __init__(self, width: int, dim: int, dropout: float, *, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.map = nn.Linear(width, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., dim) of x (..., width)."""
        aligned: torch.Tensor = self.dropout(self.map(self.norm(x.to(self.map.weight.dtype))))
        return aligned


class Attention(nn.Module):
    """Scaled dot-product attention of several heads, of one sequence to another.

    Args:
        dim: Width of the tokens.
        heads: They share the width.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, seen: torch.Tensor, *, weights: bool = False
    ) -> Attended:
        """Return what each query finds; 0 where no key is real.

        Args:
            queries: Shape (n, n_queries, dim).
            keys: Shape (n, n_keys, dim).
            seen: 1 where a key is real, (n, n_keys).
            weights: Whether to return the attention weights too, which is slower.
        """
        q = self._split(self.query(queries))  # (n, heads, n_queries, dim / heads)
        k, v = (self._split(part) for part in self.key_value(keys).chunk(2, dim=2))
        real = seen > 0
        anything = real.any(dim=1, keepdim=True)  # (n, 1)
        mask = (real | ~anything)[:, None, None]  # a softmax over nothing is no number
        told = None
        if weights:
            with torch.autocast(q.device.type, enabled=False):
                scores = _wide(q) @ _wide(k).transpose(2, 3) / q.shape[3] ** 0.5
                given = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=3)
                found = (given @ _wide(v)).to(v.dtype)
                told = given.mean(dim=1) * anything[:, :, None]
        else:
            found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return Attended(self.out(found.transpose(1, 2).flatten(2)) * anything[:, :, None], told)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (n, n_tokens, dim) head by head."""
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class CrossAttention(nn.Module):
    """MCAM: two sequences look at each other, both as they were before.

    ``V' = LN(V + attention(V to T))`` and ``T' = LN(T + attention(T to V))``, with parameters of their own.

    Args:
        dim: Width of the tokens.
        heads: Of both attentions.
        dropout: Of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.visual, self.textual = Attention(dim, heads), Attention(dim, heads)
        self.visual_norm, self.textual_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        visual: torch.Tensor,
        textual: torch.Tensor,
        visual_seen: torch.Tensor,
        textual_seen: torch.Tensor,
        *,
        weights: bool = False,
    ) -> Crossed:
        """Return both sequences after the look; what stands in tokens that are not real means nothing.

        Args:
            visual: Shape (n, n_visual, dim).
            textual: Shape (n, n_textual, dim).
            visual_seen: 1 where a visual token is real, (n, n_visual).
            textual_seen: 1 where a textual token is real, (n, n_textual).
            weights: Whether to return the attention weights too.
        """
        to_text = self.visual(visual, textual, textual_seen, weights=weights)
        to_image = self.textual(textual, visual, visual_seen, weights=weights)
        return Crossed(
            Attended(self.visual_norm(visual + self.dropout(to_text.values)), to_text.weights),
            Attended(self.textual_norm(textual + self.dropout(to_image.values)), to_image.weights),
        )


class SelfAttentionLayer(nn.Module):
    """``X <- LN(X + attention(X to X))``, then ``X <- LN(X + perceptron(X))``.

    Args:
        dim: Width of the tokens.
        heads: Of the attention.
        dropout: Of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads)
        self.perceptron = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), Dropout(dropout), nn.Linear(4 * dim, dim))
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, seen: torch.Tensor, *, weights: bool = False) -> Attended:
        """Return the next state of x (n, n_tokens, dim), of which the tokens with 1 in seen (n, n_tokens) are real."""
        looked = self.attention(x, x, seen, weights=weights)
        x = self.attention_norm(x + self.dropout(looked.values))
        return Attended(self.perceptron_norm(x + self.dropout(self.perceptron(x))), looked.weights)


class SelfAttention(nn.Module):
    """SMSAM: layers of self-attention one after another; none leave the sequence as it is.

    Args:
        dim: Width of the tokens.
        heads: Of each attention.
        dropout: Of what is added.
        layers: How many.
    """

    def __init__(self, dim: int, heads: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttentionLayer(dim, heads, dropout) for _ in range(layers))

    def forward(self, x: torch.Tensor, seen: torch.Tensor, *, weights: bool = False) -> Refined:
        """Return the sequence x (n, n_tokens, dim) after all layers; seen is 1 where a token is real, (n, n_tokens)."""
        told = []
        for layer in self.layers:
            x, given = layer(x, seen, weights=weights)
            told += [] if given is None else [given]
        return Refined(x, tuple(told))


class FeedForwardHead(nn.Module):
    """A hidden layer with ReLU and dropout, then the logits.

    Args:
        dim: Width of the input.
        hidden: Width of the hidden layer.
        n_labels: Number of labels.
        dropout: Of the hidden layer.
    """

    def __init__(self, dim: int, hidden: int, n_labels: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(hidden, n_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, n_labels) of x (n, dim)."""
        logits: torch.Tensor = self.out(self.dropout(torch.relu(self.hidden(x))))
        return logits


def pooled(x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the mean of the real tokens, (n, dim); 0 where there are none.

    Args:
        x: Shape (n, n_tokens, dim).
        seen: 1 where a token is real, (n, n_tokens).
    """
    total = (x * seen[:, :, None]).sum(dim=1)
    return total / seen.sum(dim=1, keepdim=True).clamp(min=1)


def first_positions(positions: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Return the vectors of the first places of a sequence (n_tokens, dim); past the last of them, the last."""
    return positions[torch.arange(n_tokens, device=positions.device).clamp(max=len(positions) - 1)]


def _wide(x: torch.Tensor) -> torch.Tensor:
    """Return x in single precision at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
