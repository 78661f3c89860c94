"""XmlcModel: the network by its formula, the shares by brute force, and what is said when an expert is silent."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score

from reeltag.config import from_json, to_json
from reeltag.errors import ConfigError, FeatureError, NotFittedError
from reeltag.features import Block, Features
from reeltag.models import Validation, XmlcConfig, XmlcModel, xmlc
from reeltag.models.near import LabelNeighbours
from reeltag.models.scaling import BlockScaler
from reeltag.models.sparse_linear import SparseLinear
from reeltag.models.xmlc import EXPERTS, XmlcNetwork, best_shares, mixed
from reeltag.training import TrainingConfig

from .batches import LAYOUT, check_absent_blocks, check_gradients, linear, randomise, rows
from .samples import drop, films, hide

Array = npt.NDArray[np.float32]
SMALL = XmlcConfig(
    hidden=12,
    dropout=0.2,
    n_members=1,
    n_threads=1,
    sparse_dim=6,
    neighbours=9,
    training=TrainingConfig(epochs=3, batch_size=32, learning_rate=0.02, precision="32-true"),
)


def network(**settings: Any) -> XmlcNetwork:
    made = randomise(XmlcNetwork(LAYOUT, replace(SMALL, **settings)))
    assert isinstance(made, XmlcNetwork)
    return made


@cache
def training_films() -> tuple[Features, Array]:
    features, targets = films(60, seed=1)
    return hide(features, "plot", range(0, 60, 9)), targets


@cache
def held_out() -> Validation:
    features, targets = films(40, seed=2)
    return Validation(features=features, targets=targets)


@cache
def fitted(experts: tuple[str, ...] = EXPERTS, n_members: int = 1) -> XmlcModel:
    """Return a model fitted on few films; shared by tests that only read from it."""
    config = replace(SMALL, experts=experts, n_members=n_members)
    return XmlcModel(config, seed=3).fit(*training_films(), validation=held_out())


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("hidden", [12, 0])
def test_logits_are_a_linear_map_plus_a_perceptron(hidden: int) -> None:
    net, batch = network(hidden=hidden), rows()
    outputs = net(batch)
    for title in range(6):
        x = torch.cat([block[title] * batch.present[title, place] for place, block in enumerate(batch.blocks)])
        expected = linear(net.straight, x)
        if net.body is not None and net.head is not None:
            layers = [layer for layer in net.body if isinstance(layer, torch.nn.Linear)]
            assert [layer.out_features for layer in layers] == [hidden, hidden]
            y = x
            for layer in layers:
                y = torch.relu(linear(layer, y))
            expected = expected + linear(net.head, y)
            x = torch.cat([x, y])
        assert len(x) == sum(LAYOUT.widths) + hidden
        torch.testing.assert_close(outputs.logits[title], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(outputs.fused[title], x, atol=1e-5, rtol=1e-5)
    assert outputs.attention is None
    assert outputs.extra is None


@pytest.mark.parametrize("hidden", [12, 0])
def test_absent_blocks_are_not_read_and_every_parameter_learns(hidden: int) -> None:
    check_absent_blocks(network(hidden=hidden))
    check_gradients(network(hidden=hidden, dropout=0.0, input_dropout=0.0))


def test_without_a_perceptron_there_is_none_of_its_parameters() -> None:
    names = {name for name, _ in network(hidden=0).named_parameters()}
    assert names == {"straight.weight", "straight.bias"}


def test_training_starts_from_the_base_rates() -> None:
    net = XmlcNetwork(LAYOUT, replace(SMALL, hidden=0)).eval()
    shares = torch.tensor([0.1, 0.5, 0.02, 0.9])
    net.start(shares, None)
    torch.testing.assert_close(torch.sigmoid(net(rows()).logits), shares.expand(6, 4))


def test_dropout_is_for_training_only_and_each_has_its_place() -> None:
    batch = rows()
    for settings in ({"dropout": 0.9, "input_dropout": 0.0}, {"dropout": 0.0, "input_dropout": 0.9}):
        net = network(**settings)
        torch.testing.assert_close(net(batch).logits, net(batch).logits)
        net.train()
        assert not torch.allclose(net(batch).logits, net(batch).logits)
    straight = network(hidden=0, dropout=0.9, input_dropout=0.0).train()
    torch.testing.assert_close(straight(batch).logits, straight(batch).logits)


# ---------------------------------------------------------------- mixing


def test_mixed_is_the_weighted_mean_of_those_that_speak() -> None:
    rng = np.random.default_rng(0)
    said = {name: rng.random((20, 7)).astype(np.float32) for name in EXPERTS}
    for name in ("words", "near"):
        said[name][rng.random((20, 7)) < 0.4] = np.nan
    for shares in ((0.5, 0.3, 0.2), (1.0, 0.0, 0.0), (0.2, 0.8, 0.0)):
        weights = dict(zip(EXPERTS, shares, strict=True))
        found = mixed(said, weights)
        assert found.dtype == np.float32
        for title, label in itertools.product(range(20), range(7)):
            there = [name for name in EXPERTS if not np.isnan(said[name][title, label])]
            total = sum(weights[name] for name in there)
            expected = sum(weights[name] * said[name][title, label] for name in there) / total
            assert found[title, label] == pytest.approx(expected, abs=1e-5)


def test_where_only_experts_without_a_share_speak_they_count_alike() -> None:
    nan = np.nan
    said = {
        "net": np.array([[0.2, 0.4]], np.float32),
        "words": np.array([[nan, nan]], np.float32),
        "near": np.array([[0.6, nan]], np.float32),
    }
    found = mixed(said, {"net": 0.0, "words": 1.0, "near": 0.0})
    np.testing.assert_allclose(found, [[0.4, 0.4]], rtol=1e-5)


def test_mixed_stays_between_0_and_1() -> None:
    said = {name: np.ones((3, 2), np.float32) for name in EXPERTS}
    found = mixed(said, {"net": 0.1, "words": 0.3, "near": 0.6})
    assert found.max() <= 1
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_shares_are_those_of_the_best_average_precision_of_all() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = (rng.random((30, 5)) < 0.3).astype(np.float32)
        said = {
            name: np.clip(truth * skill + rng.random(truth.shape) * (1 - skill), 0, 1).astype(np.float32)
            for name, skill in zip(EXPERTS, (0.2, 0.3, 0.25), strict=True)
        }
        said["words"][:, seed] = np.nan
        found = best_shares(said, truth)
        scores = {}
        for net, words in itertools.product(range(11), range(11)):
            if net + words <= 10:
                shares = {"net": net / 10, "words": words / 10, "near": (10 - net - words) / 10}
                scores[net, words] = average_precision_score(truth.ravel(), mixed(said, shares).ravel())
        assert len(scores) == 66
        assert scores[round(found["net"] * 10), round(found["words"] * 10)] == max(scores.values())
        assert sum(found.values()) == pytest.approx(1)
        assert 0 < found["net"] < 1  # each of them adds something


def test_of_equal_shares_those_nearest_to_the_network_alone_are_taken() -> None:
    truth = np.array([[1, 0], [0, 1]], np.float32)
    said = dict.fromkeys(EXPERTS, truth * 0.5 + 0.2)
    assert best_shares(said, truth) == {"net": 1.0, "words": 0.0, "near": 0.0}
    useless = {"net": 1 - truth, "words": truth}
    assert best_shares(useless, truth)["words"] > 0.5


def test_shares_are_chosen_on_titles_from_first_to_last_where_there_is_no_room_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = (np.random.default_rng(0).random((30, 4)) < 0.4).astype(np.float32)
    truth[[0, 29], 1] = 1
    near = truth.copy()
    near[1:29] = 1 - truth[1:29]  # right about the first title and the last, wrong about all others
    said = {"net": 1 - near, "near": near}
    assert best_shares(said, truth)["net"] > 0.5
    for pairs in (8, 1):  # two titles; one at least
        monkeypatch.setattr(xmlc, "_PAIRS", pairs)
        assert best_shares(said, truth)["near"] > 0.5


# ---------------------------------------------------------------- the experts


def test_each_expert_says_what_it_says_alone() -> None:
    model, (features, targets) = fitted(), training_films()
    unseen = hide(held_out().features, "plot", [0, 7])
    said = model._say(unseen)
    assert list(said) == list(EXPERTS)
    alone = fitted(("net",))
    np.testing.assert_array_equal(said["net"], alone.predict_proba(unseen))

    words = features.blocks["plot.tfidf"]
    values = words.values.tolil()
    values[~words.present] = 0
    regressions = SparseLinear(n_threads=1, seed=3).fit(values.tocsr(), targets)
    there = unseen.blocks["plot.tfidf"].present
    expected = regressions.predict_proba(unseen.blocks["plot.tfidf"].values[there])
    np.testing.assert_allclose(said["words"][np.ix_(there, regressions.labels_)], expected, atol=1e-6)
    assert np.isnan(said["words"][~there]).all()

    scaler = BlockScaler(SMALL.sparse_dim, 3).fit(features)
    kept, asked = (
        np.hstack([scaler.transform(name, part.blocks[name]) for name in features.blocks])
        for part in (features, unseen)
    )
    neighbours = LabelNeighbours(9, 8.0).fit(kept, targets)
    np.testing.assert_allclose(said["near"], neighbours.predict_proba(asked), atol=1e-4)


def test_probabilities_are_the_experts_by_their_shares() -> None:
    model = fitted()
    unseen = hide(held_out().features, "plot", [0, 7])
    np.testing.assert_array_equal(model.predict_proba(unseen), mixed(model._say(unseen), model.shares_))
    assert set(model.shares_) == set(EXPERTS)
    assert sum(model.shares_.values()) == pytest.approx(1)
    expected = best_shares(model._say(held_out().features), held_out().targets)
    assert model.shares_ == expected


@pytest.mark.parametrize("validation", [None, "empty"])
def test_without_validation_titles_shares_are_equal(validation: str | None) -> None:
    none = np.zeros_like(held_out().targets)
    held = None if validation is None else Validation(features=held_out().features, targets=none)
    model = XmlcModel(SMALL).fit(*training_films(), validation=held)
    assert model.shares_ == pytest.approx({"net": 1 / 3, "words": 1 / 3, "near": 1 / 3})
    pair = XmlcModel(replace(SMALL, experts=("near", "net"))).fit(*training_films(), validation=held)
    assert pair.shares_ == {"net": 0.5, "near": 0.5}


def test_the_network_alone_has_all_the_share() -> None:
    model = fitted(("net",))
    assert model.shares_ == {"net": 1.0}
    unseen = held_out().features
    np.testing.assert_allclose(model.predict_proba(unseen), model._say(unseen)["net"], rtol=1e-6)


def test_a_title_without_plot_is_told_by_the_others() -> None:
    model = fitted()
    rest = drop(held_out().features, "plot")
    for unseen in (rest, held_out().features.without("plot"), hide(held_out().features, "plot", range(40))):
        said = model._say(unseen)
        assert np.isnan(said["words"]).all()
        found = model.predict_proba(unseen)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, mixed(said, model.shares_))
        np.testing.assert_array_equal(found, model.predict_proba(rest))


def test_a_title_with_nothing_is_told_by_the_network() -> None:
    model, nothing = fitted(), held_out().features.only([])
    said = model._say(nothing)
    assert np.isnan(said["near"]).all()
    assert np.isnan(said["words"]).all()
    np.testing.assert_allclose(model.predict_proba(nothing), said["net"], rtol=1e-6)


def test_a_label_without_a_regression_takes_its_share_from_the_others() -> None:
    features, targets = training_films()
    targets = targets.copy()
    targets[:, 1] = 0
    model = XmlcModel(replace(SMALL, word_labels=2)).fit(features, targets)
    said = model._say(held_out().features)
    assert np.isnan(said["words"][:, 1]).all()
    found = model.predict_proba(held_out().features)[:, 1]
    np.testing.assert_allclose(found, (said["net"][:, 1] + said["near"][:, 1]) / 2, atol=1e-6)
    few = XmlcModel(replace(SMALL, word_labels=1)).fit(*training_films())
    told = np.isfinite(few._say(held_out().features)["words"]).all(axis=0)
    assert told.tolist() == [label == int(training_films()[1].sum(axis=0).argmax()) for label in range(3)]


def test_without_words_there_is_no_expert_on_them() -> None:
    features, targets = training_films()
    blocks = {name: block for name, block in features.blocks.items() if name != "plot.tfidf"}
    model = XmlcModel(SMALL).fit(Features(features.ids, blocks), targets, validation=held_out())
    assert set(model.shares_) == {"net", "near"}
    assert list(model._say(held_out().features)) == ["net", "near"]  # words are not read, though they are there


def test_all_blocks_of_words_are_read_side_by_side(tmp_path: Path) -> None:
    (features, targets), held = with_titles(*training_films()), held_out()
    unseen, _ = with_titles(held.features, held.targets)
    config = replace(SMALL, experts=("net", "words"))
    model = XmlcModel(config, seed=3).fit(features, targets)

    def words_of(part: Features) -> sp.csr_matrix:
        rows = [part.blocks[name] for name in ("plot.tfidf", "title.tfidf")]
        return sp.hstack([sp.diags(one.present.astype(np.float32)) @ one.values for one in rows], format="csr")

    regressions = SparseLinear(n_threads=1, seed=3).fit(words_of(features), targets)
    for asked in (unseen, hide(unseen, "plot", range(0, 40, 3)), unseen.without("plot"), unseen.without("title")):
        said = model._say(asked)["words"]
        np.testing.assert_allclose(said, regressions.predict_proba(words_of(asked)), atol=1e-6)
    neither = hide(hide(unseen, "plot", [4]), "title", [4, 5])
    silent = np.isnan(model._say(neither)["words"]).all(axis=1)
    assert np.flatnonzero(silent).tolist() == [4]
    np.testing.assert_array_equal(
        model.predict_proba(drop(unseen, "title")), model.predict_proba(unseen.without("title"))
    )
    model.save_pretrained(tmp_path)
    loaded = XmlcModel.from_pretrained(tmp_path)
    for asked in (neither, drop(unseen, "plot"), drop(unseen, "title")):
        np.testing.assert_array_equal(loaded.predict_proba(asked), model.predict_proba(asked))


def with_titles(features: Features, targets: Array) -> tuple[Features, Array]:
    """Return films with a second block of words, whose first words tell the labels."""
    rng = np.random.default_rng(len(targets))
    words = np.hstack([targets * (rng.random(targets.shape) < 0.9), rng.random((len(targets), 2))])
    title = Block(sp.csr_matrix(words, dtype=np.float32), np.ones(len(targets), np.bool_))
    return Features(features.ids, {**features.blocks, "title.tfidf": title}), targets


@pytest.mark.parametrize("experts", [("net",), ("net", "near"), ("words", "net"), EXPERTS])
def test_experts_are_those_asked_for(experts: tuple[str, ...]) -> None:
    assert set(fitted(experts).shares_) == set(experts)


def test_settings_reach_the_experts() -> None:
    features, targets = training_films()
    config = replace(SMALL, word_c=0.5, word_labels=2, neighbours=3, power=1.5, n_threads=2)
    model = XmlcModel(config, seed=5).fit(features, targets)
    words, near = model._words, model._near
    assert words is not None
    assert near is not None
    assert (words.c, words.most_labels, words.n_threads, words.seed) == (0.5, 2, 2, 5)
    assert (near.k, near.power) == (3, 1.5)


# ---------------------------------------------------------------- few titles, refit, storage


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("hidden", [12, 0])
def test_few_titles_are_enough_to_fit(n: int, hidden: int) -> None:
    features, targets = films(n, seed=4)
    config = replace(SMALL, hidden=hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = XmlcModel(config).fit(features, targets, validation=held_out())
    found = model.predict_proba(held_out().features)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_labels_that_no_title_has_are_possible() -> None:
    features, targets = training_films()
    model = XmlcModel(SMALL).fit(features, np.zeros_like(targets))
    found = model.predict_proba(held_out().features)
    assert np.isfinite(found).all()
    assert found.max() < 0.2


def test_a_fit_forgets_the_experts_before() -> None:
    features, targets = training_films()
    model = XmlcModel(SMALL, seed=3).fit(*films(30, seed=9))
    model.fit(drop(features, "plot"), targets)
    assert set(model.shares_) == {"net", "near"}
    model.fit(features, targets, validation=held_out())
    unseen = held_out().features
    np.testing.assert_array_equal(model.predict_proba(unseen), fitted().predict_proba(unseen))


@pytest.mark.parametrize("experts", [("net",), ("net", "near"), ("net", "words"), EXPERTS])
def test_saved_and_loaded_is_equal_with_every_expert(experts: tuple[str, ...], tmp_path: Path) -> None:
    model = fitted(experts)
    model.save_pretrained(tmp_path / "model")
    loaded = XmlcModel.from_pretrained(tmp_path / "model")
    assert (loaded.config, loaded.seed, loaded.shares_) == (model.config, 3, model.shares_)
    for unseen in (held_out().features, drop(held_out().features, "plot")):
        np.testing.assert_array_equal(loaded.predict_proba(unseen), model.predict_proba(unseen))
        np.testing.assert_array_equal(loaded.embed(unseen), model.embed(unseen))
    tensors = load_file(tmp_path / "model" / "experts.safetensors")
    assert {name.partition(".")[0] for name in tensors} == set(experts) - {"net"}
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "model.json", "model.safetensors", "experts.safetensors",
    }  # fmt: skip
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    for path in (tmp_path / "model").iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_members_are_averaged() -> None:
    unseen = held_out().features
    both = fitted(("net",), n_members=2)
    single = [
        XmlcModel(replace(SMALL, experts=("net",)), seed=seed).fit(*training_films(), validation=held_out())
        for seed in (3, 4)
    ]
    logits = np.mean([np.log(p / (1 - p)) for p in (one.predict_proba(unseen) for one in single)], axis=0)
    # the blocks of both members are reduced alike, by the seed of the model: near enough to the means of two models
    assert (
        np.corrcoef(logits.ravel(), np.log(both.predict_proba(unseen) / (1 - both.predict_proba(unseen))).ravel())[0, 1]
        > 0.99
    )


# ---------------------------------------------------------------- settings and refusals


def test_defaults_survive_json() -> None:
    for config in (XmlcConfig(), SMALL, replace(SMALL, experts=("near", "net"))):
        assert from_json(XmlcConfig, to_json(config)) == config
    assert XmlcConfig().experts == EXPERTS == ("net", "words", "near")
    assert XmlcConfig().n_members == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": ("words", "near")}, r"XmlcConfig\.experts must name 'net', and each once; got words, near"),
        ({"experts": ("net", "near", "near")}, "must name 'net', and each once; got net, near, near"),
        ({"experts": ()}, "XmlcConfig.experts must name 'net', and each once; got "),
        ({"experts": ("net", "oracle")}, "XmlcConfig.experts must be one of net, words, near; got 'oracle'"),
        ({"hidden": -1}, "XmlcConfig.hidden must be between 0 and 65536; got -1"),
        ({"dropout": 1.0}, r"XmlcConfig\.dropout must be between 0 and 0\.95; got 1"),
        ({"input_dropout": -0.1}, r"XmlcConfig\.input_dropout must be between 0 and 0\.95"),
        ({"word_c": 0.0}, r"XmlcConfig\.word_c must be between"),
        ({"word_labels": 0}, r"XmlcConfig\.word_labels must be between 1"),
        ({"neighbours": 0}, r"XmlcConfig\.neighbours must be between 1"),
        ({"power": -1.0}, r"XmlcConfig\.power must be between 0 and 100"),
        ({"n_threads": 0}, r"XmlcConfig\.n_threads must be between 1"),
        ({"loss": "hinge"}, r"XmlcConfig\.loss must be one of"),
        ({"n_members": 0}, r"XmlcConfig\.n_members must be between 1"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_use_before_fit_and_wrong_widths_are_named(tmp_path: Path) -> None:
    features, _ = training_films()
    with pytest.raises(NotFittedError, match="XmlcModel is used before fit"):
        XmlcModel(SMALL).predict_proba(features)
    with pytest.raises(NotFittedError, match="XmlcModel is used before fit"):
        XmlcModel(SMALL).save_pretrained(tmp_path)
    wider, _ = films(5, n_labels=4)
    with pytest.raises(FeatureError, match=r"block 'plot\.tfidf' has width 22, the model was trained with 18"):
        fitted().predict_proba(wider)
