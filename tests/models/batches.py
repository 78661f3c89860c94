"""Batches for networks by hand: two blocks of one modality, one of another, one of a third; checks of any network."""

from __future__ import annotations

import torch
from torch import nn

from reeltag.models.layout import Layout, Outputs, Rows

LAYOUT = Layout(names=("plot.a", "plot.b", "year", "poster"), widths=(3, 4, 2, 5), n_labels=4)
PAIR = Layout(names=("plot", "poster"), widths=(3, 5), n_labels=4)
PRESENCE = ((1, 1, 1, 1), (1, 0, 1, 1), (0, 0, 1, 1), (1, 1, 0, 1), (0, 1, 1, 0), (1, 1, 0, 0))


def rows(layout: Layout = LAYOUT, *, full: bool = False, seed: int = 1) -> Rows:
    """Return six titles, some of which lack some blocks unless ``full``."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor(PRESENCE, dtype=torch.float32)[:, : len(layout.widths)]
    present = torch.ones_like(present) if full else present
    blocks = [
        torch.randn(6, width, generator=generator) * present[:, place : place + 1]
        for place, width in enumerate(layout.widths)
    ]
    return Rows(blocks, present)


def targets(layout: Layout = LAYOUT) -> torch.Tensor:
    """Return labels of the six titles; every label occurs."""
    found = (torch.rand(6, layout.n_labels, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    found[range(4), range(4)] = 1
    return found


def modalities_present(batch: Rows, layout: Layout) -> list[list[bool]]:
    """Return which modalities every title has."""
    return [
        [any(bool(batch.present[row, place]) for place in layout.blocks_of(m)) for m in layout.modalities]
        for row in range(len(batch.present))
    ]


def randomise(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode, its normalisations and biases set to values that are not 0 and 1."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network.eval()


def normalised(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return x after batch normalisation by the running figures, or x itself."""
    if not isinstance(norm, nn.BatchNorm1d):
        return x
    return (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias


def maxout(layer: nn.Module, x: torch.Tensor, pieces: int) -> torch.Tensor:
    """Return the largest of the pieces of every unit of one title."""
    linear = layer.maps
    out = linear.weight.shape[0] // pieces
    found = []
    for unit in range(out):
        pairs = [linear.weight[unit * pieces + p] @ x + linear.bias[unit * pieces + p] for p in range(pieces)]
        found.append(max(pairs))
    return torch.stack(found)


def linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Return the linear map of one title."""
    y = layer.weight @ x
    return y if layer.bias is None else y + layer.bias


def bce_by_hand(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of one title, a mean over labels."""
    p = torch.sigmoid(logits)
    return -(truth * torch.log(p) + (1 - truth) * torch.log(1 - p)).mean()


def check_absent_blocks(network: nn.Module, layout: Layout = LAYOUT) -> None:
    """Check that what stands in absent blocks changes nothing, and what stands in present ones does."""
    batch = rows(layout)
    found: Outputs = network(batch)
    filled = Rows([block + 50 * (1 - batch.present[:, [k]]) for k, block in enumerate(batch.blocks)], batch.present)
    again: Outputs = network(filled)
    for one, other in zip(found[:3], again[:3], strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    for place in range(len(layout.widths)):
        changed = [block + (k == place) * batch.present[:, [k]] for k, block in enumerate(batch.blocks)]
        moved = (network(Rows(changed, batch.present)).logits - found.logits).abs().amax(dim=1) > 1e-6
        assert torch.equal(moved, batch.present[:, place] > 0)


def check_gradients(network: nn.Module, layout: Layout = LAYOUT, *, batch: Rows | None = None) -> None:
    """Check that a step of training reaches every parameter."""
    network.train()
    torch.manual_seed(5)
    outputs: Outputs = network(batch or rows(layout), targets(layout))
    loss = outputs.logits.square().sum() + outputs.fused.sum()
    (loss if outputs.extra is None else loss + outputs.extra).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
