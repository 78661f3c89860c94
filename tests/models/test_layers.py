"""What networks are made of, against loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reeltag.losses import LOSSES, bce
from reeltag.models import MODELS
from reeltag.models.dropout import Dropout
from reeltag.models.layers import (
    Maxout,
    branch_losses,
    classify,
    or_prior,
    perceptron,
    present_modalities,
    rival_training,
    side_by_side,
)

from .batches import LAYOUT, bce_by_hand, linear, maxout, modalities_present, rows, targets


@torch.no_grad()
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_maxout_is_the_largest_piece(pieces: int) -> None:
    torch.manual_seed(0)
    layer, x = Maxout(4, 3, pieces), torch.randn(6, 4)
    found = layer(x)
    for row in range(6):
        torch.testing.assert_close(found[row], maxout(layer, x[row], pieces))
    assert layer(x[:0]).shape == (0, 3)


@torch.no_grad()
def test_perceptron_is_linear_maps_with_relu() -> None:
    made, x = perceptron([4, 5, 3], 0.5).eval(), torch.randn(6, 4)
    expected = torch.relu(linear(made[3], torch.relu(linear(made[0], x[2]))))
    torch.testing.assert_close(made(x)[2], expected)
    assert [layer.dropped for layer in made if isinstance(layer, Dropout)] == [128, 128]


def test_heads_are_computed_in_single_precision() -> None:
    head = nn.Linear(64, 3)
    x = torch.randn(5, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(x).dtype == torch.bfloat16
        found = classify(head, x)
    assert torch.equal(found, head(x))


def test_blocks_side_by_side_and_their_modalities() -> None:
    batch = rows()
    found = side_by_side(batch, (0, 2))
    for row in range(6):
        left, right = (batch.blocks[place][row] * batch.present[row, place] for place in (0, 2))
        assert torch.equal(found[row], torch.cat([left, right]))
    assert present_modalities(batch, LAYOUT).bool().tolist() == modalities_present(batch, LAYOUT)


def test_prior_where_nothing_is_known() -> None:
    logits, prior = torch.randn(3, 2), torch.tensor([7.0, 8])
    found = or_prior(logits, torch.tensor([1.0, 0, 1]), prior)
    assert torch.equal(found, torch.stack([logits[0], prior, logits[2]]))


def test_branch_losses_are_a_loop_over_titles_and_branches() -> None:
    logits, truth = torch.randn(6, 3, 4), targets()
    present = torch.tensor(modalities_present(rows(), LAYOUT)).float()
    expected = torch.zeros(())
    for row in range(6):
        for branch in range(3):
            if present[row, branch]:
                expected += bce_by_hand(logits[row, branch], truth[row]) / 6
    torch.testing.assert_close(branch_losses(logits, truth, present, bce), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_branch_losses_of_nobody_are_zero_with_a_gradient(loss: str) -> None:
    logits = torch.randn(6, 3, 4, requires_grad=True)
    found = branch_losses(logits, targets(), torch.zeros(6, 3), LOSSES[loss])
    assert found.item() == 0
    found.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", ["early", "late", "gmu", "centralnet", "mfn", "refnet", "mmbt", "mmgatbt"])
def test_rivals_are_single_networks_that_hide_nothing(name: str) -> None:
    config = MODELS[name].config_class()
    assert (config.n_members, config.modality_dropout, config.loss, config.class_weights) == (1, 0.0, "bce", 0.0)
    assert config.training.schedule == "cycle"
    rate, size = (5e-4, 128) if name.startswith("mm") else (1e-3, 64)
    assert (config.training.learning_rate, config.training.batch_size) == (rate, size)
    assert config.training.weight_decay == 0.01
    if not name.startswith("mm"):
        assert config.training == rival_training()
