"""IDKG: its network against equations 5 to 15 in loops, its teacher, and what it keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reeltag.errors import ConfigError, ModelError
from reeltag.features import Block, Features
from reeltag.models.contract import STANDING
from reeltag.models.contrasts import CONTRASTS
from reeltag.models.estimator import batch_loss
from reeltag.models.idkg import FUSIONS, IdkgConfig, IdkgModel, IdkgNetwork
from reeltag.models.layout import Layout, Rows
from reeltag.training import TrainingConfig

from .samples import films, hide

LAYOUT = Layout(names=("plot.a", "plot.b", "poster", "credits.sum"), widths=(3, 2, 4, 5), n_labels=3)
FAST = TrainingConfig(epochs=4, batch_size=32, learning_rate=0.01)
PLAIN = IdkgConfig(
    dim=6, batch_norm=True, masked=False, hidden_layers=0, straight=False, dropout=0.0, input_dropout=0.0,
    modality_dropout=0.0, n_members=1, contrast="gcacl", contrast_weight=1.0, training=FAST,
    contrast_settings={"label_dim": 4, "normalise": False},
)  # fmt: skip
CLEAN = IdkgConfig(dim=8, n_members=1, training=FAST, contrast_settings={"label_dim": 4})


def network(config: IdkgConfig, layout: Layout = LAYOUT) -> IdkgNetwork:
    torch.manual_seed(0)
    made = IdkgNetwork(layout, config)
    if made.absent is not None:
        torch.nn.init.normal_(made.absent)
    for norm in made.align.norms:
        if isinstance(norm, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(norm.running_mean)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    return made.eval()


def batch(n: int = 5, *, side: bool = True) -> tuple[Rows, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    present = (torch.rand(n, 4, generator=generator) < 0.7).float()
    blocks = [torch.randn(n, w, generator=generator) * present[:, i : i + 1] for i, w in enumerate(LAYOUT.widths)]
    targets = (torch.rand(n, 3, generator=generator) < 0.5).float()
    targets[0] = torch.tensor([1.0, 0, 0])
    return Rows(blocks, present, torch.rand(n, 1, generator=generator) if side else None), targets


def aligned(net: IdkgNetwork, rows: Rows, title: int, place: int) -> torch.Tensor:
    norm, linear = net.align.norms[place], net.align.maps[place]
    x = rows.blocks[place][title]
    if isinstance(norm, torch.nn.BatchNorm1d):
        x = (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
    return linear.weight @ x + linear.bias


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


# ---------------------------------------------------------------- equation 5


@torch.no_grad()
@pytest.mark.parametrize("squash", [False, True])
def test_published_fusion_is_equation_5(squash: bool) -> None:
    net = network(replace(PLAIN, squash=squash))
    rows, _ = batch()
    found = net(rows)
    for title in range(5):
        h = {
            "plot": aligned(net, rows, title, 0) + aligned(net, rows, title, 1),  # side by side, then mapped
            "poster": aligned(net, rows, title, 2),
            "credits": aligned(net, rows, title, 3),
        }
        fused = torch.zeros(6)
        for place, vector in enumerate(h.values()):
            a = sigmoid(net.gate.weight @ vector + net.gate.bias)  # one attention module for all modalities
            fused += a * (torch.tanh(vector) if squash else vector)
            assert float(found.attention[title, place]) == pytest.approx(float(a.mean()), abs=1e-5)
        torch.testing.assert_close(found.fused[title], fused, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.logits[title], net.head.weight @ fused + net.head.bias, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_clean_fusion_masks_what_is_absent() -> None:
    net = network(CLEAN)
    rows, _ = batch()
    found = net(rows)
    for title in range(5):
        fused, straight = torch.zeros(8), torch.zeros(3)
        for place, blocks in enumerate(((0, 1), (2,), (3,))):
            seen = [b for b in blocks if rows.present[title, b]]
            if not seen:
                fused += net.absent[place]
                assert found.attention[title, place] == 0
                continue
            h = torch.stack([aligned(net, rows, title, b) for b in seen]).sum(dim=0)
            fused += sigmoid(net.gate.weight @ h + net.gate.bias) * h
            straight += sum(net.straight[b].weight @ rows.blocks[b][title] for b in seen)
        torch.testing.assert_close(found.fused[title], fused, atol=1e-5, rtol=1e-5)
        expected = net.head(net.body(fused[None]))[0] + straight
        torch.testing.assert_close(found.logits[title], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_gated_units_see_all_modalities_and_sum_weighs_none() -> None:
    net = network(replace(PLAIN, fusion="gmu"))
    rows, _ = batch()
    found = net(rows)
    for title in range(5):
        h = [aligned(net, rows, title, 0) + aligned(net, rows, title, 1)]
        h += [aligned(net, rows, title, place) for place in (2, 3)]
        gates = sigmoid(net.gate.weight @ torch.cat(h) + net.gate.bias).view(3, 6)
        torch.testing.assert_close(found.fused[title], (gates * torch.stack(h)).sum(dim=0), atol=1e-5, rtol=1e-4)
    plain = network(replace(PLAIN, fusion="sum"))
    assert plain.gate is None
    assert (plain(rows).attention == 1).all()


@torch.no_grad()
def test_linear_maps_of_the_published_code_are_one_linear_map() -> None:
    net = network(replace(PLAIN, linear_layers=3))
    rows, _ = batch()
    found = net(rows)
    one, two = net.deep
    weight = net.head.weight @ two.weight @ one.weight
    bias = net.head.weight @ (two.weight @ one.bias + two.bias) + net.head.bias
    torch.testing.assert_close(found.logits, found.fused @ weight.T + bias, atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------- equations 6 to 15


@torch.no_grad()
def test_joint_loss_is_equation_15_by_loops() -> None:
    net = network(PLAIN)
    rows, targets = batch()
    found = net(rows, targets)
    vectors = net.contrast.map(net.contrast.labels())  # type: ignore[union-attr]
    union = [label for label in range(3) if any(targets[t, label] for t in range(5))]
    classify = attend = contrast = 0.0
    labelled = 0
    for t in range(5):
        own = [label for label in range(3) if targets[t, label]]
        for label in range(3):  # equation 14
            p = 1 / (1 + math.exp(-float(found.logits[t, label])))
            classify -= math.log(p if targets[t, label] else 1 - p)
        attend -= math.log(1 - abs(float(found.attention[t, 2]) - float(rows.side[t, 0])))  # equation 7
        if not own:
            continue
        labelled += 1
        centroid = sum(vectors[label] for label in own) / len(own)  # equation 9
        positive = math.exp(float(found.fused[t] @ centroid) / 0.1)
        negative = sum(math.exp(float(found.fused[t] @ vectors[n]) / 0.1) for n in union if n not in own)
        contrast -= math.log(positive / (positive + negative))  # equation 13
    step = batch_loss(rows, targets, PLAIN, LAYOUT)
    loss = float(step(net, torch.arange(5)))
    assert loss == pytest.approx((classify / 5 + attend / 5 + contrast / labelled) / 3, rel=1e-4)


@torch.no_grad()
def test_weights_and_absences_of_the_losses() -> None:
    rows, targets = batch()
    whole = float(network(PLAIN)(rows, targets).extra)
    teacher = float(network(replace(PLAIN, contrast_weight=0.0))(rows, targets).extra)
    contrast = float(network(replace(PLAIN, teacher_weight=0.0))(rows, targets).extra)
    assert whole == pytest.approx(teacher + contrast, rel=1e-5)
    double = float(network(replace(PLAIN, teacher_weight=2.0, contrast_weight=3.0))(rows, targets).extra)
    assert double == pytest.approx(2 * teacher + 3 * contrast, rel=1e-5)
    assert network(replace(PLAIN, contrast="none", teacher_weight=0.0))(rows, targets).extra is None
    assert network(replace(PLAIN, contrast="none"))(rows._replace(side=None), targets).extra is None
    assert network(PLAIN)(rows).extra is None


@torch.no_grad()
def test_masked_teacher_passes_over_titles_without_credits() -> None:
    net = network(replace(CLEAN, contrast="none"))
    rows, targets = batch(8)
    found = net(rows, targets)
    cost = 0.0
    for t in range(8):
        if rows.present[t, 3]:
            cost -= math.log(1 - abs(float(found.attention[t, 2]) - float(rows.side[t, 0])))
    assert float(found.extra) == pytest.approx(cost / 8 / 3, rel=1e-4)
    nobody = rows._replace(present=rows.present * torch.tensor([1.0, 1, 1, 0]))
    assert net(nobody, targets).extra is None


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_gradients_reach_every_parameter(fusion: str, contrast: str) -> None:
    net = network(replace(CLEAN, fusion=fusion, contrast=contrast, contrast_settings={})).train()
    rows, targets = batch(12)
    batch_loss(rows, targets, net.config, LAYOUT)(net, torch.arange(12)).backward()
    still = {name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert not {name for name in still if not name.startswith("contrast.")}


def test_anchors_of_the_published_code_get_no_gradient() -> None:
    net = network(replace(PLAIN, contrast_settings={"label_dim": 4, "learn_labels": False})).train()
    rows, targets = batch(12)
    batch_loss(rows, targets, net.config, LAYOUT)(net, torch.arange(12)).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith("contrast."), name


# ---------------------------------------------------------------- the estimator


def taught_films(n: int = 80, seed: int = 1) -> tuple[Features, np.ndarray]:
    features, targets = films(n, seed=seed)
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 9, n).astype(np.float32)
    standing = np.stack([people, people * rng.integers(5, 50, n)], axis=1).astype(np.float32)
    features.blocks[STANDING] = Block(standing, people > 0)
    return features, targets


def test_teacher_is_equation_6_of_the_training_titles() -> None:
    features, targets = taught_films()
    model = IdkgModel(CLEAN).fit(features, targets)
    other, _ = taught_films(20, seed=5)
    mean_people, mean_links = features.blocks[STANDING].values.mean(axis=0)
    found = model.teacher(other)
    assert found is not None
    for row, (people, links) in enumerate(other.blocks[STANDING].values):
        expected = people * links / ((people + mean_people) * (links + mean_links))
        assert found[row] == pytest.approx(expected, rel=1e-5)
        assert 0 <= found[row] < 1


def test_standing_is_for_the_teacher_only() -> None:
    features, targets = taught_films()
    model = IdkgModel(CLEAN).fit(features, targets)
    without = Features(features.ids, {n: b for n, b in features.blocks.items() if n != STANDING})
    np.testing.assert_array_equal(model.predict_proba(features), model.predict_proba(without))
    assert (model.teacher(without) == 0).all()
    untaught = IdkgModel(CLEAN).fit(without, targets)
    assert untaught.teacher(features) is None
    assert np.abs(untaught.predict_proba(without) - model.predict_proba(without)).max() > 1e-4


def test_unmasked_credits_of_nobody_are_the_zero_vector() -> None:
    features, targets = films(60, seed=1)
    features = hide(features, "credits", range(0, 60, 4))
    model = IdkgModel(PLAIN).fit(features, targets)
    present = features.blocks["credits.profile"].present
    raw = features.blocks["credits.profile"].values[present].astype(np.float64)
    rows = model._rows(features)
    found = rows.blocks[-1].numpy()
    expected = np.clip(-raw.mean(axis=0) / raw.std(axis=0), -5, 5)  # equation 4: 0, before anything is scaled
    np.testing.assert_allclose(found[~present], np.tile(expected, (int((~present).sum()), 1)), atol=1e-4)
    masked = IdkgModel(CLEAN).fit(features, targets)._rows(features).blocks[-1].numpy()
    assert (masked[~present] == 0).all()


def test_the_teacher_draws_the_attention_to_its_targets() -> None:
    features, targets = taught_films(160)
    longer = replace(FAST, epochs=30)

    def gap(weight: float) -> float:
        config = replace(CLEAN, teacher_weight=weight, contrast="none", modality_dropout=0.0, training=longer)
        model = IdkgModel(config).fit(features, targets)
        return float(np.abs(model.attention(features)["credits"] - model.teacher(features)).mean())

    assert gap(30.0) < 0.8 * gap(0.0)


def test_attention_is_told_per_modality_and_is_0_where_absent() -> None:
    features, targets = taught_films()
    model = IdkgModel(replace(CLEAN, n_members=2)).fit(features, targets)
    unseen = hide(taught_films(30, seed=4)[0], "plot", range(0, 30, 3))
    found = model.attention(unseen)
    assert list(found) == ["plot", "year", "credits"]
    for modality, values in found.items():
        assert values.shape == (30,)
        assert ((values > 0) == unseen.present(modality)).all() or modality == "credits"
        assert values.max() < 1


def test_label_vectors_start_the_anchors_and_are_not_needed_to_load(tmp_path: Path) -> None:
    features, targets = taught_films()
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    still = replace(CLEAN, contrast_settings={"learn_labels": False})
    model = IdkgModel(still).fit(features, targets, label_vectors=vectors)
    held = model._members[0].contrast.labels().detach().numpy()
    np.testing.assert_allclose(held, vectors, atol=1e-6)
    model.save_pretrained(tmp_path)
    loaded = IdkgModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))
    np.testing.assert_array_equal(loaded.teacher(features), model.teacher(features))
    with pytest.raises(ModelError):
        IdkgModel(still).fit(features, targets, label_vectors=vectors[:2])


@pytest.mark.parametrize("contrast", ["gcacl", "mltc"])
def test_neighbours_are_mixed_into_the_probabilities(contrast: str, tmp_path: Path) -> None:
    features, targets = taught_films(60)
    plain = replace(CLEAN, contrast=contrast, contrast_settings={}, training=replace(FAST, precision="32-true"))
    alone = IdkgModel(plain).fit(features, targets)
    asked = IdkgModel(replace(plain, neighbour_share=0.4, neighbours=3)).fit(features, targets)
    unseen = taught_films(20, seed=4)[0]
    network, other = asked._members[0], alone._members[0]
    with torch.no_grad():
        near = [other._direction(other(alone._rows(titles)).fused) for titles in (features, unseen)]
        own = torch.sigmoid(other(alone._rows(unseen)).logits)
        found = torch.sigmoid(network(asked._rows(unseen)).logits)
    for title in range(20):
        likeness = [float(near[1][title] @ row) for row in near[0]]
        best = sorted(range(60), key=lambda t: -likeness[t])[:3]
        weights = [math.exp(likeness[t] / 0.1) for t in best]
        for label in range(3):
            said = sum(w * targets[t, label] for w, t in zip(weights, best, strict=True)) / sum(weights)
            expected = 0.6 * float(own[title, label]) + 0.4 * said
            assert float(found[title, label]) == pytest.approx(expected, abs=2e-4)
    asked.save_pretrained(tmp_path)
    loaded = IdkgModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(unseen), asked.predict_proba(unseen))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "product"}, "fusion must be one of"),
        ({"contrast": "simclr"}, "contrast must be one of"),
        ({"dim": 0}, "dim must be between"),
        ({"teacher_weight": -1.0}, "teacher_weight must be between"),
        ({"contrast_settings": {"temprature": 1}}, "unknown setting"),
    ],
)
def test_settings_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CLEAN, **changes)
