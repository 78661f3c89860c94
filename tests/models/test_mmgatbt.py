"""MM-GATBT: its graph attention node by node, its place in the transformer, its neighbours, its storage."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import load_file

from reeltag.errors import ConfigError, FeatureError
from reeltag.features import Block, Features
from reeltag.models import MmgatbtConfig, MmgatbtModel, Targets
from reeltag.models.layout import Rows
from reeltag.models.mmgatbt import PEOPLE, GraphAttention, MmgatbtNetwork
from reeltag.training import TrainingConfig

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, randomise, rows
from .samples import films, hide
from .test_mmbt import pooled, tokens_of

SMALL = MmgatbtConfig(
    dim=8, layers=1, heads=2, tokens=2, graph_heads=2, graph_dim=3, max_neighbours=3, sparse_dim=6,
    training=TrainingConfig(epochs=3, batch_size=16, learning_rate=0.01),
)  # fmt: skip
N_FILMS = 7
LINKS = torch.tensor([[1, 2, 3], [0, -1, -1], [0, 5, -1], [0, -1, -1], [-1, -1, -1], [2, 6, -1], [5, -1, -1]])
SIDE = torch.tensor([[0.0, 4, -1], [-1, -1, -1], [6, 3, 2], [5, -1, -1], [-1, -1, -1], [2, 1, 0]])


def network(**settings: Any) -> MmgatbtNetwork:
    """Return a network that keeps seven films, one of which lacks the features of nodes."""
    torch.manual_seed(0)
    net = randomise(MmgatbtNetwork(LAYOUT, replace(SMALL, **settings)))
    width = net.graph[0].map.weight.shape[1]
    known = torch.ones(N_FILMS)
    known[3] = 0
    nodes = torch.randn(N_FILMS, width, generator=torch.Generator().manual_seed(7)) * known[:, None]
    net.keep({"nodes": nodes, "known": known, "links": LINKS})
    return net


def batch_of(side: torch.Tensor | None = SIDE) -> Rows:
    batch = rows()
    return Rows(batch.blocks, batch.present, side)


# ---------------------------------------------------------------- graph attention, node by node


def attended(layer: GraphAttention, own: torch.Tensor, others: list[torch.Tensor], counts: bool) -> torch.Tensor:
    """Return the next state of one node from the states of whoever counts."""
    heads, dim = layer.shape
    seen = [own, *others] if counts else others
    out = torch.zeros(heads * dim)
    for head in range(heads):
        columns = slice(head * dim, (head + 1) * dim)
        mine = (layer.map.weight @ own)[columns] @ layer.own[head]
        theirs = [(layer.map.weight @ state)[columns] for state in seen]
        raw = [mine + h @ layer.near[head] for h in theirs]
        scores = torch.tensor([float(s) if s > 0 else layer.slope * float(s) for s in raw])
        weights = torch.exp(scores) / torch.exp(scores).sum()
        for weight, h in zip(weights, theirs, strict=True):
            out[columns] += weight * h
    residual = own if isinstance(layer.residual, torch.nn.Identity) else layer.residual.weight @ own
    return out + residual


def state_of(
    net: MmgatbtNetwork, layer: int, own: torch.Tensor, has: bool, links: list[int]
) -> tuple[torch.Tensor, bool]:
    """Return the state that a layer reads of a node, by recursion, and whether there is any."""
    if layer == 0:
        return own, has
    below, here = state_of(net, layer - 1, own, has, links)
    found = [state_of(net, layer - 1, net.nodes[k], bool(net.known[k]), net.links[k].tolist()) for k in links if k >= 0]
    others = [state for state, there in found if there]
    state = attended(net.graph[layer - 1], below, others, here)
    return (torch.nn.functional.elu(state) if layer < len(net.graph) else state), here or bool(others)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("modality", ["poster", "plot"])
def test_nodes_are_a_loop_over_neighbours(layers: int, modality: str) -> None:
    net, batch = network(graph_layers=layers, node_modality=modality), batch_of()
    found, seen = net.node(batch)
    places = LAYOUT.blocks_of(modality)
    for row in range(6):
        own = torch.cat([batch.blocks[place][row] for place in places])
        has = any(bool(batch.present[row, place]) for place in places)
        expected, there = state_of(net, layers, own, has, [int(k) for k in SIDE[row]])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)
        assert bool(seen[row]) == there


@torch.no_grad()
@pytest.mark.parametrize("node", ["replaces", "joins"])
def test_the_node_takes_its_place_among_the_tokens(node: str) -> None:
    net, batch = network(node=node), batch_of()
    found = net(batch)
    states, seen = net.node(batch)
    for row in range(6):
        parts = [tokens_of(net.tokens, batch, row, m) if m != "poster" else [] for m in LAYOUT.modalities]
        if node == "joins":
            parts[2] = tokens_of(net.tokens, batch, row, "poster")
        if seen[row]:
            parts[2] = [linear(net.node_token, torch.tanh(states[row])), *parts[2]]
        fused = pooled(net.trunk, parts, 2)
        torch.testing.assert_close(found.fused[row], fused, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.logits[row], linear(net.head, fused), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_neighbours_count_and_their_order_does_not() -> None:
    net = network()
    found = net(batch_of()).logits
    torch.testing.assert_close(net(batch_of(SIDE.flip(1))).logits, found)
    alone = net(batch_of(None)).logits
    torch.testing.assert_close(net(batch_of(torch.full((6, 3), -1.0))).logits, alone)
    moved = (found - alone).abs().amax(dim=1) > 1e-6
    assert moved.tolist() == [True, False, True, True, False, True]


@torch.no_grad()
def test_a_neighbour_without_features_is_left_out() -> None:
    net = network()
    without = torch.where(SIDE == 3, -1.0, SIDE)
    torch.testing.assert_close(net(batch_of(without)).logits, net(batch_of()).logits)


@torch.no_grad()
def test_a_title_with_nothing_gets_the_base_rates_unless_it_has_neighbours() -> None:
    net, shares = network(), torch.tensor([0.1, 0.2, 0.5, 0.9])
    net.start(shares, None)
    batch = batch_of()
    nothing = Rows([torch.zeros_like(block) for block in batch.blocks], torch.zeros_like(batch.present), SIDE)
    found = torch.sigmoid(net(nothing).logits)
    torch.testing.assert_close(found[[1, 4]], shares.expand(2, -1))
    assert ((found[[0, 2, 3, 5]] - shares).abs().amax(dim=1) > 1e-4).all()


@pytest.mark.parametrize("node", ["replaces", "joins"])
@pytest.mark.parametrize("layers", [1, 2])
def test_absent_blocks_and_gradients(node: str, layers: int) -> None:
    check_absent_blocks(network(node=node, graph_layers=layers))
    net = network(node=node, graph_layers=layers, dropout=0.0, graph_dropout=0.0)
    check_gradients(net, batch=batch_of())


def test_the_first_modality_stands_in_for_one_that_is_not_there() -> None:
    assert MmgatbtConfig().node_modality_of(LAYOUT) == "poster"
    assert MmgatbtConfig(node_modality="trailer").node_modality_of(LAYOUT) == "plot"


# ---------------------------------------------------------------- the model


@cache
def with_people(n: int = 40, seed: int = 1) -> tuple[Features, Targets]:
    """Return films, every tenth of them without people."""
    features, targets = films(n, seed=seed)
    rng = np.random.default_rng(seed)
    present = np.arange(n) % 10 != 9
    people = sp.csr_matrix(((rng.random((n, 25)) < 0.1) & present[:, None]).astype(np.float32))
    return Features(features.ids, {**features.blocks, PEOPLE: Block(people, present)}), targets


@cache
def fitted(layers: int = 1) -> MmgatbtModel:
    config = replace(SMALL, node_modality="plot", graph_layers=layers, n_members=2)
    return MmgatbtModel(config).fit(*with_people())


def test_people_are_no_input_of_the_network() -> None:
    assert PEOPLE not in fitted()._fitted_layout().names
    assert len(fitted()._fitted_layout().names) == 4


def test_neighbours_are_training_films_and_never_the_film_itself() -> None:
    features, _ = with_people()
    unseen, _ = with_people(30, seed=2)
    model = fitted()
    for those in (features, unseen):
        found = model.neighbours(those)
        assert any(found)
        for film_id, near in zip(those.ids, found, strict=True):
            assert film_id not in near
            assert set(near) <= set(features.ids)
            assert len(near) <= 3


@pytest.mark.parametrize("layers", [1, 2])
def test_titles_tagged_together_do_not_see_each_other(layers: int) -> None:
    unseen, _ = with_people(30, seed=2)
    model = fitted(layers)
    together = model.predict_proba(unseen)
    alone = np.vstack([model.predict_proba(unseen.take([row])) for row in range(30)])
    np.testing.assert_allclose(alone, together, atol=2e-5)


def test_people_move_probabilities_and_are_part_of_the_credits() -> None:
    unseen, _ = with_people(30, seed=2)
    model = fitted()
    without = Features(unseen.ids, {name: block for name, block in unseen.blocks.items() if name != PEOPLE})
    moved = np.abs(model.predict_proba(unseen) - model.predict_proba(without)).max(axis=1) > 1e-6
    assert moved.tolist() == [bool(near) for near in model.neighbours(unseen)]
    left = hide(unseen, "credits", range(30))
    assert not any(model.neighbours(left))
    assert not any(model.neighbours(without))
    np.testing.assert_array_equal(model.predict_proba(unseen.without("credits")), model.predict_proba(left))


def test_without_people_in_training_every_title_stands_alone() -> None:
    features, targets = with_people()
    plain = Features(features.ids, {name: block for name, block in features.blocks.items() if name != PEOPLE})
    model = MmgatbtModel(SMALL).fit(plain, targets)
    np.testing.assert_array_equal(model.predict_proba(features), model.predict_proba(plain))
    assert model.neighbours(features) == [()] * 40
    assert len(model._members[0].nodes) == 0
    model.fit(features, targets)
    assert any(model.neighbours(features))
    assert not any(model.fit(plain, targets).neighbours(features))  # a refit forgets


@pytest.mark.parametrize("layers", [1, 2])
def test_saved_and_loaded_is_equal(layers: int, tmp_path: Path) -> None:
    unseen, _ = with_people(30, seed=2)
    model = fitted(layers)
    model.save_pretrained(tmp_path / "one")
    loaded = MmgatbtModel.from_pretrained(tmp_path / "one")
    np.testing.assert_array_equal(loaded.predict_proba(unseen), model.predict_proba(unseen))
    assert loaded.neighbours(unseen) == model.neighbours(unseen)
    loaded.save_pretrained(tmp_path / "two")
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    again = loaded.fit(*with_people())
    np.testing.assert_array_equal(again.predict_proba(unseen), model.predict_proba(unseen))


def test_disk_holds_the_training_films_and_no_labels(tmp_path: Path) -> None:
    features, _ = with_people()
    fitted().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["state"] == {"film_ids": list(features.ids)}
    tensors = load_file(tmp_path / "model.safetensors")
    for member in range(2):
        starts, people = (tensors[f"member{member}.{name}"].numpy() for name in ("people_starts", "people"))
        kept = sp.csr_matrix((np.ones(len(people)), people, starts), shape=(40, 25))
        assert (kept != features.blocks[PEOPLE].values).nnz == 0
        assert tensors[f"member{member}.nodes"].shape[0] == 40


def test_error_of_other_people() -> None:
    unseen, _ = with_people(30, seed=2)
    block = unseen.blocks[PEOPLE]
    narrow = Features(unseen.ids, {**unseen.blocks, PEOPLE: Block(block.values[:, :7], block.present)})
    with pytest.raises(FeatureError, match="people has width 7, the model was trained with 25"):
        fitted().predict_proba(narrow)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("node", "both"), ("max_neighbours", 0), ("graph_layers", 0), ("graph_heads", 0), ("graph_dim", 0),
     ("graph_dropout", 1.0), ("slope", -0.1), ("dim", 0)],
)  # fmt: skip
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"MmgatbtConfig.{setting} must be"):
        MmgatbtConfig(**{setting: value})


def test_labels_cannot_come_back_through_the_credits_of_neighbours() -> None:
    with pytest.raises(ConfigError, match="node_modality must not be 'credits'"):
        replace(fitted().config, node_modality="credits")
    features, targets = with_people()
    kept = {name: features.blocks[name] for name in ("credits.profile", PEOPLE)}
    model = MmgatbtModel(fitted().config).fit(Features(features.ids, kept), targets)
    assert model.neighbours(features) == [()] * len(features)
    year = {
        "credits.profile": features.blocks["credits.profile"],
        "year": features.blocks["year"],
        PEOPLE: kept[PEOPLE],
    }
    model.fit(Features(features.ids, year), targets)
    assert any(model.neighbours(features))  # nodes are made of the year
