"""The fine-grained stage: views of one title are to find each other among those of all others.

Seed 004 goes on training the network of the coarse stage self-supervised, by NT-Xent, while it keeps something of the
genres. Left open there and chosen: the head, temperature and weight of the classification loss (``FineConfig``). What
differs, unless ``GATING_PUBLISHED`` is asked for: it starts from projections that keep what the experts have seen, as
those of the coarse network have lost much of it; the experts are weighed, because a poster is as good at being
recognised as a plot and tells far less; and the space is the output of a linear head that starts as principal axes.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from reeltag.losses import Loss, nt_xent
from reeltag.models.gating.network import GatingNetwork
from reeltag.models.gating.settings import FineConfig, GatingConfig
from reeltag.models.gating.start import expert_weights, make_isometric, principal_axes
from reeltag.models.gating.views import split_views
from reeltag.models.layout import Layout, Outputs, Rows
from reeltag.models.objective import parts_of
from reeltag.progress import Progress
from reeltag.training import TrainingConfig, TrainingHistory, fit_network


class FineNetwork(nn.Module):
    """A gating network, weights of its experts, and a projection head.

    Args:
        network: What fuses the experts.
        config: Settings.
    """

    def __init__(self, network: GatingNetwork, config: FineConfig) -> None:
        super().__init__()
        self.network = network
        self.weights = nn.Buffer(torch.ones(network.n_experts))
        out = min(config.out, network.width)
        self.head: nn.Module = nn.Identity()
        self.is_linear = bool(out and not config.hidden)
        self.is_weighed = config.weigh
        if self.is_linear:
            self.head = nn.Linear(network.width, out, bias=False)
        elif out:
            self.head = nn.Sequential(
                nn.Linear(network.width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, out)
            )  # fmt: skip

    def forward(self, rows: Rows) -> Outputs:
        """Return logits (n, n_labels), and as the fused representation the space: unit vectors (n, dim)."""
        outputs: Outputs = self.network(rows)
        fused = self.weighed(outputs.fused)
        return outputs._replace(fused=functional.normalize(self.head(fused) if self.is_linear else fused, dim=1))

    def weighed(self, fused: torch.Tensor) -> torch.Tensor:
        """Return fused experts (n, width), each times its weight."""
        experts = fused.view(len(fused), len(self.weights), fused.shape[1] // len(self.weights))
        return (experts * self.weights[:, None]).flatten(1)

    def contrasted(self, fused: torch.Tensor) -> torch.Tensor:
        """Return what the contrast compares: unit vectors (n, out) of fused experts (n, width)."""
        return functional.normalize(self.head(self.weighed(fused)), dim=1)


class FineLoss:
    """The loss of one batch: NT-Xent of two views of every title, and beside it the classification loss.

    Args:
        rows: The training titles.
        targets: 0 and 1, (n_titles, n_labels).
        layout: Names of their blocks.
        loss: The classification loss.
        config: Settings.
    """

    def __init__(self, rows: Rows, targets: torch.Tensor, layout: Layout, loss: Loss, config: FineConfig) -> None:
        self.rows, self.targets, self.layout, self.loss, self.config = rows, targets, layout, loss, config

    def __call__(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of the titles of some rows, a scalar."""
        device, rows = rows.device, rows.cpu()
        views = split_views(self.rows.take(rows), self.layout)
        truth, whole = self.targets[rows].to(device), views.whole.to(device)
        fine: FineNetwork = network  # type: ignore[assignment]
        outputs = [fine.network(view.take(slice(None), device)) for view in (views.first, views.second)]
        titles = torch.arange(len(rows), device=device)[whole].repeat(2)
        with torch.autocast(device.type, enabled=False):  # near titles differ by less than bfloat16 can say
            vectors = torch.cat([fine.contrasted(output.fused[whole].float()) for output in outputs])
            cost = nt_xent(vectors, titles, temperature=self.config.temperature)
        if self.config.supervised:
            for output in outputs:
                cost = cost + self.config.supervised / 2 * self.loss(output.logits, truth)
        return cost


def fit_fine(
    coarse: GatingNetwork,
    layout: Layout,
    config: GatingConfig,
    rows: Rows,
    targets: torch.Tensor,
    *,
    seed: int,
    progress: Progress,
) -> tuple[FineNetwork, TrainingHistory | None]:
    """Return the network of the fine-grained stage, and what happened; None when it was not trained.

    Args:
        coarse: The network of the coarse stage; it stays as it is.
        layout: Blocks and labels.
        config: Settings of both stages.
        rows: The training titles.
        targets: 0 and 1, (n_titles, n_labels).
        seed: Same seed, same network.
        progress: Called with the number of epochs done.
    """
    fine, n = config.fine, len(targets)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = FineNetwork(_start(coarse, layout, config, rows), fine)
    if fine.weigh or network.is_linear:
        _look(network, rows, targets, seed)
    if not fine.epochs:
        return network.eval(), None
    training = TrainingConfig(
        epochs=fine.epochs, batch_size=fine.batch_size, learning_rate=fine.learning_rate,
        weight_decay=config.training.weight_decay, device=config.training.device, precision=config.training.precision,
    )  # fmt: skip
    step = FineLoss(rows, targets, layout, config.loss_function(), fine)
    history = fit_network(network, step, n, training, seed=seed, progress=progress)
    return network, history


@torch.no_grad()
def _look(network: FineNetwork, rows: Rows, targets: torch.Tensor, seed: int) -> None:
    """Set the weights of the experts, when they are weighed, and a linear head by what the network makes of titles."""
    fused = _fused(network, rows)
    if network.is_weighed:
        unit = (fused / network.network.scale).reshape(len(fused), network.network.n_experts, -1)
        network.weights.copy_(torch.from_numpy(expert_weights(unit, targets.numpy(), seed)))
    if network.is_linear:
        axes: nn.Linear = network.head  # type: ignore[assignment]
        weighed = functional.normalize(network.weighed(torch.from_numpy(fused)), dim=1)
        axes.weight.copy_(torch.from_numpy(principal_axes(weighed.numpy(), axes.out_features, seed)))


def _start(coarse: GatingNetwork, layout: Layout, config: GatingConfig, rows: Rows) -> GatingNetwork:
    """Return the network that the stage starts from."""
    if config.fine.start == "coarse":
        return copy.deepcopy(coarse)
    network = GatingNetwork(layout, config, dim=config.fine.dim)
    make_isometric(network.experts, rows)
    if network.gate is not None:
        network.gate.make_neutral()
    return network.eval()


@torch.inference_mode()
def _fused(network: FineNetwork, rows: Rows) -> np.ndarray:
    """Return the fused experts of titles, (n_titles, width), not weighed."""
    parts = parts_of(len(rows.present), tokens=len(rows.tokens) > 0)
    fused = [network.network.eval()(rows.take(slice(part.start, part.stop))).fused for part in parts]
    return np.asarray(torch.cat(fused).numpy(), np.float32)
