"""The model of clusters: its batched pass cluster by cluster, what is said of unseen labels, k-means, storage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from reeltag.config import from_json
from reeltag.errors import ConfigError, ModelError
from reeltag.features import Features
from reeltag.losses import bce, class_balanced, class_balanced_samples, effective_weights, multilabel_triplet
from reeltag.models import XMLC_PUBLISHED, ClustersConfig, ClustersModel, Targets, Validation
from reeltag.models.clusters import Cluster, ClustersNetwork, cluster_report
from reeltag.models.clusters.clusterer import (
    Partition,
    balanced_clusters,
    fit_clusters,
    means_of,
    nearest_clusters,
)
from reeltag.models.clusters.embedder import TripletLoss, fit_embedder
from reeltag.models.clusters.grouped import GroupedBatchNorm, GroupedBlocks, GroupedLinear, Grouping
from reeltag.models.layout import Rows
from reeltag.training import TrainingConfig

from .batches import LAYOUT, check_absent_blocks, rows, targets
from .samples import films, hide

SMALL = ClustersConfig(
    embedding_dim=6, embedder_hidden=8, embedder_epochs=4, n_clusters=3, hidden=7, dropout=0.0, sparse_dim=6,
    training=TrainingConfig(epochs=3, batch_size=24, learning_rate=0.01),
)  # fmt: skip
CLUSTERS = torch.tensor([0, 0, 1, 1, 1, 0])  # of six titles with the labels below; the third cluster is empty
TRUTH = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def partition() -> Partition:
    return Partition.of(draw(3, 6, seed=5) / 2, CLUSTERS, TRUTH)


def network(**settings: Any) -> ClustersNetwork:
    """Return a network in evaluation mode, its normalisations and biases set to values that are not 0 and 1."""
    torch.manual_seed(0)
    net = ClustersNetwork(LAYOUT, replace(SMALL, **settings), None if settings.get("n_clusters") == 0 else partition())
    net.start(torch.tensor([0.1, 0.2, 0.5, 0.9]), None)
    for module in net.modules():
        if isinstance(module, GroupedBatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        elif isinstance(module, GroupedLinear):
            nn.init.normal_(module.bias)
    return net.eval()


def plain(blocks: GroupedBlocks, group: int) -> nn.Sequential:
    """Return the network of one group made of plain layers, in evaluation mode."""
    layers: list[nn.Module] = []
    for dense, norm in [*zip(blocks.dense, blocks.norms, strict=True), (blocks.head, None)]:
        linear = nn.Linear(*dense.weight.shape[1:])
        linear.weight.data, linear.bias.data = dense.weight.data[group].T.contiguous(), dense.bias.data[group]
        layers.append(linear)
        if norm is not None:
            one = nn.BatchNorm1d(norm.weight.shape[1])
            one.weight.data, one.bias.data = norm.weight.data[group], norm.bias.data[group]
            one.running_mean, one.running_var = norm.running_mean[group].clone(), norm.running_var[group].clone()
            layers += [nn.ReLU(), one]
    return nn.Sequential(*layers).eval()


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("groups", [[2, 0, 2, 2, 0], [1, 1, 1], [0], []])
def test_rows_lie_with_their_group_and_come_back_in_order(groups: list[int]) -> None:
    x = draw(len(groups), 4)
    grouping = Grouping(torch.tensor(groups, dtype=torch.int64), 3)
    spread = grouping.spread(x)
    assert spread.shape == (3, max((groups.count(g) for g in groups), default=0), 4)
    for group in range(3):
        own = [row for row, g in enumerate(groups) if g == group]
        assert torch.equal(spread[group, : len(own)], x[own])
        assert not spread[group, len(own) :].any()
        assert grouping.real[group].tolist() == [1] * len(own) + [0] * (spread.shape[1] - len(own))
    assert torch.equal(grouping.collect(spread), x)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_batched_pass_is_a_loop_over_clusters(blocks: int) -> None:
    local = network(blocks=blocks).local
    assert local is not None
    vectors, clusters = draw(11, 6, seed=1), torch.tensor([0, 2, 0, 0, 1, 2, 0, 0, 0, 0, 1])
    found = local(vectors, clusters)
    for row, cluster in enumerate(clusters.tolist()):
        expected = plain(local.blocks, cluster)(vectors[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)
    alone = local(vectors[4:5], clusters[4:5])
    torch.testing.assert_close(alone, found[4:5], atol=1e-6, rtol=1e-5)
    assert local(vectors[:0], clusters[:0]).shape == (0, 2)


def test_training_normalises_every_group_by_its_own_rows_and_filling_counts_for_nothing() -> None:
    groups = torch.tensor([0] * 9 + [1] * 12 + [3])[torch.randperm(22, generator=torch.Generator().manual_seed(1))]
    grouping, x = Grouping(groups, 4), draw(22, 5) * 3 + 1
    norm = GroupedBatchNorm(4, 5).train()
    nn.init.uniform_(norm.weight, 0.5, 2)
    found = grouping.collect(norm(grouping.spread(x) + 100 * (1 - grouping.real[:, :, None]), grouping.real))
    for group in (0, 1):
        mean, variance = torch.zeros(5), torch.ones(5)
        own = groups == group
        expected = functional.batch_norm(x[own], mean, variance, norm.weight[group], norm.bias[group], True, 0.1)
        torch.testing.assert_close(found[own], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(norm.running_mean[group], mean)
        torch.testing.assert_close(norm.running_var[group], variance)
    assert norm.running_mean[2].tolist() == [0] * 5  # no rows, nothing learned
    assert norm.running_var[2].tolist() == [1] * 5


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_rows_are_normalised_by_the_running_figures_and_move_them_less(n: int) -> None:
    x = draw(n, 3) * 2 + 5
    norm = GroupedBatchNorm(1, 3, momentum=0.4).train()
    found = norm(x[None], torch.ones(1, n))[0]
    rate = 0.4 * n / 8
    mean = rate * x.mean(0)
    about = x.var(0) if n > 1 else x[0].square()
    variance = 1 + rate * (about - 1)
    torch.testing.assert_close(norm.running_mean[0], mean)
    torch.testing.assert_close(norm.running_var[0], variance)
    torch.testing.assert_close(found, (x - mean) / torch.sqrt(variance + 1e-5))


def test_many_batches_bring_the_running_figures_to_those_of_the_rows() -> None:
    norm, generator = GroupedBatchNorm(2, 1).train(), torch.Generator().manual_seed(0)
    for step in range(300):
        rows_of = torch.randn(2, 8, 1, generator=generator) * torch.tensor([2.0, 0.5])[:, None, None] + 3
        real = torch.ones(2, 8)
        real[1, 1 + step % 5 :] = 0  # the second group never has enough
        norm(rows_of, real)
    torch.testing.assert_close(norm.running_mean[:, 0], torch.tensor([3.0, 3.0]), atol=0.5, rtol=0)
    torch.testing.assert_close(norm.running_var[:, 0].sqrt(), torch.tensor([2.0, 0.5]), atol=0.2, rtol=0.2)


# ---------------------------------------------------------------- what the network says


def local_probability(net: ClustersNetwork, cluster: int, vector: torch.Tensor, label: int) -> float:
    """Return what a cluster says of a label, the global model where the cluster lacks it."""
    labels = [int(column) for column in net.local.labels[cluster]]
    if label in labels:
        logit = plain(net.local.blocks, cluster)(vector[None])[0, labels.index(label)]
    else:
        logit = plain(net.everywhere, 0)(vector[None])[0, label]
    return 1 / (1 + math.exp(-float(logit)))


@torch.no_grad()
@pytest.mark.parametrize("embedder", ["triplet", "none"])
def test_vectors_are_the_projection_or_the_blocks_side_by_side(embedder: str) -> None:
    net = ClustersNetwork(LAYOUT, replace(SMALL, embedder=embedder)).eval()
    batch = rows()
    found = net(batch).fused
    for row in range(6):
        x = torch.cat([block[row] for block in batch.blocks])
        if embedder == "triplet":
            first, _, _, last = net.embedder.projection
            x = last.weight @ torch.relu(first.weight @ x + first.bias) + last.bias
            x = x / x.norm()
        torch.testing.assert_close(found[row], x)


@torch.no_grad()
@pytest.mark.parametrize("nearest", [1, 2, 5])
def test_probabilities_are_the_weighted_sum_over_the_nearest_clusters(nearest: int) -> None:
    net, batch = network(nearest=nearest, temperature=0.3), rows()
    found = net(batch)
    assert found.extra is None
    for row, vector in enumerate(found.fused):
        squared = [float((vector - centre).square().sum()) for centre in net.local.centres]
        order = sorted(range(3), key=squared.__getitem__)[:nearest]
        raw = [math.exp(-squared[cluster] / 0.3) for cluster in order]
        for label in range(4):
            p = sum(
                w / sum(raw) * local_probability(net, cluster, vector, label)
                for w, cluster in zip(raw, order, strict=True)
            )
            assert float(torch.sigmoid(found.logits[row, label])) == pytest.approx(p, abs=1e-5)


@torch.no_grad()
def test_labels_that_no_cluster_has_are_said_by_the_global_model() -> None:
    net, batch = network(nearest=2), rows()
    found = net(batch)
    for row, vector in enumerate(found.fused):
        expected = plain(net.everywhere, 0)(vector[None])[0, 2]  # no title has the third label
        torch.testing.assert_close(found.logits[row, 2], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_certain_clusters_have_finite_log_odds(size: float) -> None:
    net, batch = network(nearest=3), rows()
    plain_logits = net(batch).logits
    net.local.blocks.head.bias.fill_(size)
    net.everywhere.head.bias.fill_(size)
    sure = net(batch).logits
    net.local.blocks.head.bias.fill_(-size)
    net.everywhere.head.bias.fill_(-size)
    assert torch.isfinite(sure).all()
    assert (sure > 40).all()
    assert (net(batch).logits < -40).all()
    assert (plain_logits.abs() < 40).all()


@torch.no_grad()
def test_without_clusters_there_is_the_global_model_alone() -> None:
    net, batch = network(n_clusters=0), rows()
    found = net(batch, targets())
    assert net.local is None
    assert found.extra is None
    torch.testing.assert_close(found.logits, plain(net.everywhere, 0)(found.fused), atol=1e-5, rtol=1e-4)


def test_absent_blocks_change_nothing_and_a_title_with_nothing_gets_the_base_rates() -> None:
    for settings in ({"n_clusters": 0}, {"nearest": 3, "temperature": 5.0}, {"embedder": "none", "n_clusters": 0}):
        net = network(**settings)
        check_absent_blocks(net)
        batch = rows()
        nothing = Rows([torch.zeros_like(block) for block in batch.blocks], torch.zeros_like(batch.present))
        found = torch.sigmoid(net(nothing).logits)
        torch.testing.assert_close(found, torch.tensor([0.1, 0.2, 0.5, 0.9]).expand(6, -1))


# ---------------------------------------------------------------- the loss of the local models


@pytest.mark.parametrize("balance", ["term", "sample", "none"])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_local_loss_is_that_of_every_cluster_over_its_own_labels_and_counts(balance: str, beta: float) -> None:
    local = network(balance=balance, class_balance=beta).local
    assert local is not None
    batch_truth = TRUTH[[0, 2, 1, 4, 5]]
    clusters = torch.tensor([0, 1, 0, 1, 0])
    logits = draw(5, 2, seed=3) * 2
    expected = 0.0
    for cluster in (0, 1):
        own, members = clusters == cluster, TRUTH[[row for row in range(6) if int(CLUSTERS[row]) == cluster]]
        columns = [column for column in range(4) if members[:, column].any()]
        counts = [float(members[:, column].sum()) for column in columns]
        weight = torch.from_numpy(effective_weights(counts, beta))
        truth = batch_truth[own][:, columns]
        loss = {"term": class_balanced, "sample": class_balanced_samples, "none": bce}[balance]
        cost = loss(logits[own], truth, weight=None if balance == "none" else weight)
        expected += float(cost) * float(own.float().mean())
    assert float(local.loss(logits, batch_truth, clusters)) == pytest.approx(expected, rel=1e-5)


def test_labels_that_a_cluster_lacks_and_filling_cost_nothing() -> None:
    found = Partition.of(torch.zeros(2, 6), torch.tensor([0, 0, 1]), torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]]))
    net = ClustersNetwork(replace_labels(3), SMALL, found)
    net.start(torch.full((3,), 0.5), None)
    logits = torch.zeros(1, 2).requires_grad_()
    cluster = torch.tensor([1])
    loss = net.local.loss(logits, torch.tensor([[1.0, 1, 1]]), cluster)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert logits.grad.tolist() == [[-0.5, 0]]


def replace_labels(n_labels: int) -> Any:
    return replace(LAYOUT, n_labels=n_labels)


def test_in_training_the_logits_are_global_and_the_extra_is_local() -> None:
    net, batch, truth = network(dropout=0.5), rows(), targets()
    net.train()
    found = net(batch, truth)
    net.eval()
    vectors = net(batch).fused
    torch.testing.assert_close(found.fused, vectors)  # the embedder stays as it is
    found.extra.backward(retain_graph=True)
    assert all(p.grad is None for p in net.everywhere.parameters())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.local.parameters())
    found.logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.everywhere.parameters())
    assert not any(p.requires_grad for p in net.embedder.parameters())


@torch.no_grad()
def test_titles_train_the_cluster_they_were_put_in() -> None:
    net, batch, truth = network(), rows(), targets()
    nearest = nearest_clusters(net(batch).fused, net.local.centres)[0][:, 0]
    for side in (None, torch.full((6, 1), -1.0), nearest[:, None].float()):
        found = net(Rows(batch.blocks, batch.present, side), truth)
        expected = net.local.loss(net.local(found.fused, nearest), truth, nearest)
        torch.testing.assert_close(found.extra, expected)
    placed = torch.tensor([1, 0, 1, 0, 1, 0])
    side = placed[:, None].float()
    found = net(Rows(batch.blocks, batch.present, side), truth)
    torch.testing.assert_close(found.extra, net.local.loss(net.local(found.fused, placed), truth, placed))
    torch.testing.assert_close(net(Rows(batch.blocks, batch.present, side)).logits, net(batch).logits)


# ---------------------------------------------------------------- embedder and clusterer


def test_triplets_bring_titles_with_the_same_labels_nearer() -> None:
    features, truth = films(150, seed=1)
    model = ClustersModel(replace(SMALL, embedder_epochs=12, n_clusters=0)).fit(features, truth)
    unseen, labels = films(80, seed=2)
    batch, layout = model._rows(unseen), model._fitted_layout()
    same = (labels[:, None] == labels[None]).all(axis=2)
    raw = fit_embedder(batch, torch.from_numpy(labels), layout, replace(SMALL, embedder="none"), 0)(batch).fused

    def spread(vectors: Any) -> float:
        distances = torch.cdist(torch.as_tensor(vectors), torch.as_tensor(vectors)).numpy()
        return float(distances[same].mean() / distances[~same].mean())

    assert spread(model.embed(unseen)) < 0.8 * spread(functional.normalize(raw, dim=1))


def test_triplet_loss_stands_in_the_place_of_a_loss_of_logits_in_any_precision() -> None:
    vectors = functional.normalize(draw(60, 4), dim=1)
    truth = (draw(60, 900, seed=1) > -0.5).float()  # they share more labels than bfloat16 can count
    generator = torch.Generator().manual_seed(3)
    found = multilabel_triplet(vectors, truth, margin=SMALL.margin, n_positives=2, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        rough = TripletLoss(SMALL, 3)(vectors, truth, weight=torch.ones(900))
    assert torch.equal(found, rough)
    assert float(found) > 0


def test_centres_are_those_of_k_means() -> None:
    vectors = torch.cat([draw(20, 2) / 10 + torch.tensor(place) for place in ([0.0, 0], [5.0, 0], [0.0, 5])])
    centres = fit_clusters(vectors, 3, seed=0)
    clusters, weights = nearest_clusters(vectors, centres)
    assert weights.tolist() == [[1.0]] * 60
    for part in range(3):
        own = clusters[20 * part : 20 * part + 20, 0]
        assert len(set(own.tolist())) == 1
        torch.testing.assert_close(centres[own[0]], vectors[20 * part : 20 * part + 20].mean(0))
    assert torch.equal(fit_clusters(vectors, 3, seed=0), centres)


@pytest.mark.parametrize(("titles", "distinct"), [(1, 1), (2, 2), (5, 1), (5, 2)])
def test_fewer_titles_than_clusters_are_no_error(titles: int, distinct: int) -> None:
    vectors = draw(distinct, 3)[torch.arange(titles) % distinct]
    centres = fit_clusters(vectors, 4, seed=0)
    assert centres.shape == (min(titles, 4), 3)
    assert torch.isfinite(centres).all()


def test_many_titles_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.models.clusters.clusterer._MANY_TITLES", 50)
    vectors = torch.cat([draw(40, 2) / 10, draw(40, 2, seed=1) / 10 + 4])
    centres = fit_clusters(vectors, 2, seed=0)
    assert sorted(round(float(x)) for x in centres[:, 0]) == [0, 4]


@pytest.mark.parametrize("slack", [1.0, 1.3, 3.0])
@pytest.mark.parametrize(("n", "k"), [(31, 4), (20, 5), (3, 3), (7, 1)])
def test_balanced_clusters_keep_their_limit_and_go_by_distance(n: int, k: int, slack: float) -> None:
    vectors, centres = draw(n, 2) + 1, draw(k, 2, seed=9)
    found = balanced_clusters(vectors, centres, slack).tolist()
    limit = max(int(slack * n / k), -(-n // k))
    pairs = sorted((math.dist(vectors[t].tolist(), centres[c].tolist()), t, c) for t in range(n) for c in range(k))
    expected: dict[int, int] = {}
    for _, title, cluster in pairs:
        if title not in expected and list(expected.values()).count(cluster) < limit:
            expected[title] = cluster
    assert found == [expected[title] for title in range(n)]
    assert max(found.count(cluster) for cluster in range(k)) <= limit


def test_means_are_those_of_the_titles_and_old_where_there_are_none() -> None:
    vectors, centres = draw(5, 2), draw(3, 2, seed=1)
    found = means_of(vectors, torch.tensor([0, 2, 0, 2, 2]), centres)
    torch.testing.assert_close(found, torch.stack([vectors[[0, 2]].mean(0), centres[1], vectors[[1, 3, 4]].mean(0)]))


def test_a_partition_lists_the_labels_of_every_cluster() -> None:
    found = partition()
    assert found.labels.tolist() == [[0, 3], [1, 3], [-1, -1]]
    assert found.counts.tolist() == [[2, 2], [2, 1], [0, 0]]
    assert found.titles.tolist() == [3, 3, 0]
    report = cluster_report(CLUSTERS.numpy(), TRUTH.numpy(), 3)
    assert report == (
        Cluster(titles=3, labels=(0, 3)), Cluster(titles=3, labels=(1, 3)), Cluster(titles=0, labels=()),
    )  # fmt: skip
    assert Partition.of(torch.zeros(1, 2), torch.zeros(6).long(), TRUTH * 0).labels.tolist() == [[-1]]


# ---------------------------------------------------------------- the model


@cache
def training_films() -> tuple[Features, Targets]:
    features, truth = films(60, seed=1, n_labels=5)
    truth[:, 4] = 0
    truth[:3, 4] = 1
    return hide(features, "plot", range(0, 60, 7)), truth


@cache
def fitted(**settings: Any) -> ClustersModel:
    return ClustersModel(replace(SMALL, **settings), seed=3).fit(*training_films())


def test_report_counts_the_training_titles_and_labels_of_every_cluster() -> None:
    features, truth = training_films()
    model = fitted()
    assert model.report() == cluster_report(model.clusters(features), truth, 3)
    assert sum(cluster.titles for cluster in model.report()) == 60


@pytest.mark.parametrize("slack", [1.0, 1.2])
def test_balanced_titles_train_within_the_limit(slack: float) -> None:
    features, truth = training_films()
    model = fitted(balanced=True, slack=slack)
    assert max(cluster.titles for cluster in model.report()) <= slack * 60 / 3
    side = model._side(features)
    assert side is not None
    assert cluster_report(side[:, 0].long().numpy(), truth, 3) == model.report()
    vectors = model._forward(features, members=1).fused
    for cluster, centre in enumerate(model._members[0].local.centres):
        torch.testing.assert_close(vectors[side[:, 0] == cluster].mean(0), centre)
    assert model._side(films(4, seed=9)[0]).tolist() == [[-1.0]] * 4
    other_names = Features([f"x{name}" for name in features.ids], features.blocks)
    np.testing.assert_array_equal(model.predict_proba(features), model.predict_proba(other_names))


def test_members_share_embedder_and_clusters_and_differ_in_their_models() -> None:
    first, second = (dict(member.state_dict()) for member in fitted(n_members=2)._members)
    for name, value in first.items():
        if name.startswith("embedder.") or name in ("local.centres", "local.labels", "local.counts", "prior"):
            assert torch.equal(value, second[name]), name
    assert not torch.equal(first["local.blocks.head.weight"], second["local.blocks.head.weight"])


def test_training_leaves_the_embedder_as_the_triplets_made_it() -> None:
    few, more = fitted(), fitted(training=replace(SMALL.training, epochs=3, patience=9))
    kept = few._embedder.state_dict()
    for member in (*few._members, *more._members):
        for name, value in member.embedder.state_dict().items():
            assert torch.equal(value, kept[name])


@pytest.mark.parametrize(
    "settings",
    [{}, {"balanced": True}, {"n_clusters": 0}, {"embedder": "none", "n_clusters": 0}, {"embedder": "none"}],
    ids=str,
)
def test_saved_and_loaded_says_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    model, (unseen, _) = fitted(**settings), films(30, seed=2, n_labels=5)
    model.save_pretrained(tmp_path)
    loaded = ClustersModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(unseen), model.predict_proba(unseen))
    np.testing.assert_array_equal(loaded.embed(unseen), model.embed(unseen))
    np.testing.assert_array_equal(loaded.clusters(unseen), model.clusters(unseen))
    assert loaded.report() == model.report()
    assert loaded.config == model.config
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.json").read_bytes() == (tmp_path / "model.json").read_bytes()
    assert (
        load_file(tmp_path / "again" / "model.safetensors").keys() == load_file(tmp_path / "model.safetensors").keys()
    )
    refitted = loaded.fit(*training_films())
    np.testing.assert_array_equal(refitted.predict_proba(unseen), model.predict_proba(unseen))


def test_a_folder_of_other_sizes_is_an_error(tmp_path: Path) -> None:
    fitted().save_pretrained(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text())
    assert data["state"] == {"n_clusters": 3, "longest": data["state"]["longest"], "dim": 6}
    data["state"]["n_clusters"] = 2
    (tmp_path / "model.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match="not the parameters of this model"):
        ClustersModel.from_pretrained(tmp_path)


def test_without_clusters_there_is_nothing_to_report() -> None:
    model = fitted(n_clusters=0)
    assert model.report() == ()
    assert model.clusters(training_films()[0]).tolist() == [0] * 60


def test_no_label_at_all_leaves_the_global_model() -> None:
    features, truth = training_films()
    model = ClustersModel(SMALL).fit(features, np.zeros_like(truth))
    assert model.predict_proba(features).max() < 0.3
    assert [cluster.labels for cluster in model.report()] == [()] * 3


# ---------------------------------------------------------------- settings


def test_published_settings_are_settings() -> None:
    config = from_json(ClustersConfig, XMLC_PUBLISHED)
    assert (config.n_clusters, config.blocks, config.class_balance, config.balance) == (20, 3, 0.999, "term")
    assert config.training.weight_decay == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [("n_clusters", -1), ("nearest", 0), ("slack", 0.9), ("temperature", 0.0), ("margin", 0.0), ("blocks", 0),
     ("class_balance", 1.0), ("dropout", 1.0), ("embedding_dim", 0), ("embedder_epochs", 0), ("n_positives", 0)],
)  # fmt: skip
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"ClustersConfig.{setting} must be between"):
        ClustersConfig(**{setting: value})


@pytest.mark.parametrize(("setting", "choices"), [("embedder", "triplet, none"), ("balance", "term, sample, none")])
def test_settings_of_no_choice(setting: str, choices: str) -> None:
    with pytest.raises(ConfigError, match=f"ClustersConfig.{setting} must be one of {choices}; got 'x'"):
        ClustersConfig(**{setting: "x"})


def test_the_number_of_clusters_is_chosen_on_validation_titles() -> None:
    features, targets = films(120, seed=1)
    unseen, truth = films(60, seed=2)
    held_out = Validation(features=unseen, targets=truth)
    scores = {}
    for n_clusters in (0, 2, 5):
        config = replace(SMALL, n_clusters=n_clusters)
        one = ClustersModel(config).fit(features, targets, validation=held_out)
        scores[n_clusters] = max(one.histories_[0].scores)
    config = replace(SMALL, try_clusters=(0, 2, 5))
    chosen = ClustersModel(config).fit(features, targets, validation=held_out)
    assert chosen.n_clusters_ == max(scores, key=lambda n: scores[n])
    assert len(chosen.report()) == chosen.n_clusters_
    assert ClustersModel(config).fit(features, targets).n_clusters_ == config.n_clusters  # nothing to choose on


def test_numbers_of_clusters_to_try_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"ClustersConfig\.try_clusters .* got -1"):
        ClustersConfig(try_clusters=(5, -1))


def test_notes_say_how_large_clusters_are() -> None:
    features, targets = films(60, seed=3)
    model = ClustersModel(SMALL).fit(features, targets)
    sizes = [cluster.titles for cluster in model.report()]
    (note,) = model.notes()
    assert note.startswith(f"clusters: {len(sizes)}, of {min(sizes)} to {max(sizes)} titles; ")
    assert ClustersModel(replace(SMALL, n_clusters=0)).fit(features, targets).notes() == ()
