"""The poster network: patches and words as tokens, a side that is absent, ablations, what single tokens do."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import average_precision_score

from reeltag.config import from_json
from reeltag.errors import ConfigError, FeatureError
from reeltag.features import Block, Features, HeldTokens, TokenBlock
from reeltag.losses import asymmetric
from reeltag.models import MODELS, FusionModel, PosterConfig, PosterModel
from reeltag.models.layout import Layout, Rows, Tokens
from reeltag.models.poster import POSTER_PUBLISHED, PosterNetwork, without_tokens
from reeltag.training import TrainingConfig

from .batches import check_gradients

LAYOUT = Layout(
    names=("poster.colours", "year", "poster.patches", "poster_text.pieces"),
    widths=(3, 1, 5, 4),
    n_labels=4,
    n_tokens=2,
)
PLACES = ((1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0))
LENGTHS = ((3, 2), (1, 2), (3, 0), (0, 1), (0, 0), (0, 0))  # patches and pieces of every title
SMALL = PosterConfig(
    dim=16,
    heads=2,
    self_layers=1,
    dropout=0.1,
    hidden=16,
    modality_dropout=0.0,
    training=TrainingConfig(epochs=25, batch_size=16, learning_rate=0.01, weight_decay=0.0, precision="32-true"),
)


def network(layout: Layout = LAYOUT, **settings: Any) -> PosterNetwork:
    torch.manual_seed(0)
    made = PosterNetwork(layout, replace(SMALL, **settings)).eval()
    torch.nn.init.normal_(made.prior)
    return made


def rows(padding: int = 0) -> Rows:
    """Return six titles, the last two without tokens; padding that is not 0."""
    generator = torch.Generator().manual_seed(1)
    present = torch.tensor(PLACES, dtype=torch.float32)
    blocks = [torch.randn(6, width, generator=generator) * present[:, [k]] for k, width in enumerate(LAYOUT.widths[:2])]
    tokens = []
    for kind, width in enumerate(LAYOUT.widths[2:]):
        lengths = torch.tensor([length[kind] for length in LENGTHS])
        longest = int(lengths.max())
        values = torch.randn(6, longest, width, generator=generator)
        values = torch.cat([values, torch.full((6, padding, width), 3.0)], dim=1)
        tokens.append(Tokens(values.half(), (torch.arange(longest + padding) < lengths[:, None]).float()))
    return Rows(blocks, present, None, tokens)


# ---------------------------------------------------------------- features with tokens


def sequences(values: npt.NDArray[np.floating[Any]], lengths: list[int]) -> TokenBlock:
    """Return a token block of values (n, n_tokens, dim) cut to lengths; a length of -1 is an absent title."""
    places = np.array([row if length >= 0 else -1 for row, length in enumerate(lengths)])
    held = [sequence[: max(length, 0)].astype(np.float16) for sequence, length in zip(values, lengths, strict=True)]
    return TokenBlock(HeldTokens(held, values.shape[2]), places, 99)


def posters(n: int = 160, seed: int = 0) -> tuple[Features, npt.NDArray[np.float32]]:
    """Return titles: one patch anywhere tells the first label, one word anywhere the second."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 2)) < 0.4).astype(np.float32)
    patches, pieces = rng.normal(size=(n, 5, 6)), rng.normal(size=(n, 4, 3))
    lengths = rng.integers(1, 5, n)
    signs = np.random.default_rng(9).normal(size=(2, 6)) * 2.5
    for row in range(n):
        if targets[row, 0]:
            patches[row, rng.integers(5)] = signs[0]
        if targets[row, 1]:
            pieces[row, rng.integers(lengths[row])] = signs[1][:3]
    tokens = {
        "poster.patches": sequences(patches, [5] * n),
        "poster_text.pieces": sequences(pieces, lengths.tolist()),
    }
    years = Block(rng.normal(size=(n, 1)).astype(np.float32), np.ones(n, np.bool_))
    return Features([f"{seed}-{row}" for row in range(n)], {"year": years}, tokens), targets


@cache
def fitted() -> PosterModel:
    """A model of two members without positions, so that a token that is left out moves no other."""
    config = replace(SMALL, max_positions=0, n_members=2)
    return PosterModel(config).fit(*posters())


def ap(targets: npt.NDArray[np.float32], found: npt.NDArray[np.float32], label: int) -> float:
    return float(average_precision_score(targets[:, label], found[:, label]))


# ---------------------------------------------------------------- learning


def test_it_learns_from_patches_and_from_words() -> None:
    features, targets = posters(seed=1)
    model = fitted()
    found = model.predict_proba(features)
    assert ap(targets, found, 0) > 0.9
    assert ap(targets, found, 1) > 0.75
    shares = targets.mean(axis=0)
    less = model.predict_proba(features.without("poster"))
    assert ap(targets, less, 0) < shares[0] + 0.2
    assert ap(targets, less, 1) > 0.75
    assert ap(targets, model.predict_proba(features.without("poster_text")), 1) < shares[1] + 0.2
    assert set(model.explain(features)) == {"year", "poster", "poster_text"}
    assert model.attention(features) == {}


def test_tokens_alone_are_enough() -> None:
    features, targets = posters()
    alone = Features(features.ids, {}, features.tokens)
    found = PosterModel(replace(SMALL, self_layers=0)).fit(alone, targets).predict_proba(alone)
    assert ap(targets, found, 0) > 0.9


def test_order_of_the_titles_does_not_matter() -> None:
    features, _ = posters(40, seed=2)
    order = np.random.default_rng(0).permutation(40)
    found = fitted().predict_proba(features)
    np.testing.assert_allclose(fitted().predict_proba(features.take(order)), found[order], atol=0.01)
    alone = np.vstack([fitted().predict_proba(features.take([row])) for row in range(5)])
    np.testing.assert_allclose(alone, found[:5], atol=0.01)  # in bfloat16


def test_saved_and_loaded_is_equal(tmp_path: Path) -> None:
    features, _ = posters(20, seed=3)
    fitted().save_pretrained(tmp_path)
    loaded = PosterModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(features), fitted().predict_proba(features))
    for name, effects in fitted().token_effects(features.take(range(2))).items():
        np.testing.assert_array_equal(loaded.token_effects(features.take(range(2)))[name], effects)


def test_tokens_of_another_width_are_refused() -> None:
    features, _ = posters(4)
    narrow = features.tokens | {"poster.patches": sequences(np.zeros((4, 2, 3)), [2] * 4)}
    with pytest.raises(FeatureError, match=r"tokens 'poster\.patches' have width 3, the model was trained with 6"):
        fitted().predict_proba(Features(features.ids, features.blocks, narrow))


def test_models_of_vectors_pass_tokens_over() -> None:
    features, targets = posters(30)
    plain = Features(features.ids, features.blocks)
    kind = MODELS["fusion"].config_class
    config = from_json(kind, {"hidden": 8, "n_members": 1, "training": {"epochs": 2}}, "settings")
    model = FusionModel(config).fit(features, targets)
    np.testing.assert_array_equal(model.predict_proba(features), model.predict_proba(plain))
    with pytest.raises(FeatureError, match="at least one block of features"):
        FusionModel(config).fit(Features(features.ids, {}, features.tokens), targets)


# ---------------------------------------------------------------- what is absent


@torch.no_grad()
@pytest.mark.parametrize("settings", [{}, {"fusion": "concat"}, {"self_layers": 0}, {"max_positions": 2}])
def test_padding_does_not_matter(settings: dict[str, Any]) -> None:
    net = network(**settings)
    plain, padded = net(rows()), net(rows(padding=4))
    torch.testing.assert_close(padded.logits, plain.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.fused, plain.fused, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_sequence_without_tokens_is_an_absent_one() -> None:
    net, batch = network(), rows()
    empty = batch.present.clone()
    empty[4:, 2:] = 1  # titles 4 and 5 have sequences without any token
    torch.testing.assert_close(net(batch._replace(present=empty)).logits, net(batch).logits)


@torch.no_grad()
def test_what_stands_in_absent_blocks_does_not_matter() -> None:
    net, batch = network(), rows()
    filled = [block + 50 * (1 - batch.present[:, [k]]) for k, block in enumerate(batch.blocks)]
    tokens = [Tokens(t.values + 50 * (1 - t.seen[:, :, None]).half(), t.seen) for t in batch.tokens]
    again = net(Rows(filled, batch.present, None, tokens))
    torch.testing.assert_close(again.logits, net(batch).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_missing_side_has_a_learned_vector_and_nothing_at_all_the_prior() -> None:
    net, batch = network(), rows()
    plain = net(batch).logits
    for side, alone in ((net.textual, [4]), (net.visual, [3, 5])):  # who lacks the words; who lacks the poster
        kept = side.absent.clone()
        side.absent.add_(1)
        moved = (net(batch).logits - plain).abs().amax(dim=1) > 1e-6
        assert moved.nonzero()[:, 0].tolist() == alone
        side.absent.copy_(kept)
    nothing = batch.present.clone()
    nothing[1] = 0
    found = net(batch._replace(present=nothing)).logits
    assert torch.equal(found[1], net.prior)
    torch.testing.assert_close(found[[0, 2, 3, 4, 5]], plain[[0, 2, 3, 4, 5]])


@torch.no_grad()
def test_start_is_near_the_base_rates() -> None:
    shares = torch.tensor([0.1, 0.2, 0.5, 0.9])
    net = network()
    net.start(shares, None)
    torch.testing.assert_close(torch.sigmoid(net.prior), shares)
    assert torch.sigmoid(net.head.out.bias).allclose(shares)


@pytest.mark.parametrize("settings", [{}, {"fusion": "concat"}, {"self_layers": 0}])
def test_gradients_reach_every_parameter(settings: dict[str, Any]) -> None:
    check_gradients(network(dropout=0.0, max_positions=2, **settings), LAYOUT, batch=rows())


# ---------------------------------------------------------------- the parts, and what switches them off


def size(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_ablations_switch_off_their_part_only() -> None:
    dim, whole = SMALL.dim, size(network())
    attention, norm = 4 * (dim * dim + dim), 2 * dim
    perceptron = 8 * dim * dim + 5 * dim
    assert whole - size(network(fusion="concat")) == 2 * (attention + norm)
    assert whole - size(network(self_layers=0)) == attention + perceptron + 2 * norm
    assert size(network(self_layers=3)) - whole == 2 * (attention + perceptron + 2 * norm)
    assert whole - size(network(max_positions=0)) == 2 * SMALL.max_positions * dim
    assert network(fusion="concat").cross is None


@torch.no_grad()
def test_positions_tell_tokens_apart_only_when_asked_for() -> None:
    batch = rows()
    turned = [Tokens(t.values[:1].flip(1), t.seen[:1].flip(1)) for t in batch.tokens]  # title 0 has all its tokens
    first = batch.take(slice(0, 1))
    for positions, equal in ((0, True), (8, False)):
        net = network(max_positions=positions)
        change = (net(first._replace(tokens=turned)).logits - net(first).logits).abs().max()
        assert (float(change) < 1e-5) == equal


@torch.no_grad()
def test_forward_is_its_parts_one_after_another() -> None:
    net, title = network(), rows().take(slice(0, 1))  # title 0 has everything, so there is no mask
    read = title.read_tokens()

    def side(part: Any, blocks: dict[int, torch.Tensor]) -> torch.Tensor:
        made = []
        for place, values in blocks.items():
            x = part.alignments[str(place)](values) + part.segments[str(place)]
            made.append(x + part.positions[str(place)][: x.shape[1]] if str(place) in part.positions else x)
        return torch.cat(made, dim=1)

    v = side(net.visual, {0: title.blocks[0][:, None], 2: read[0].values})
    t = side(net.textual, {1: title.blocks[1][:, None], 3: read[1].values})
    ones = torch.ones(1, 4), torch.ones(1, 3)
    crossed = net.cross(v, t, *ones)
    both = torch.cat([crossed.visual.values, crossed.textual.values], dim=1)
    x = net.refine(both, torch.ones(1, 7)).values
    fused = torch.cat([x[:, :4].mean(dim=1), x[:, 4:].mean(dim=1)], dim=1)
    found = net(title)
    torch.testing.assert_close(found.fused, fused)
    torch.testing.assert_close(found.logits, net.head(fused))
    assert found.attention is None
    assert found.extra is None


@torch.no_grad()
def test_a_vector_of_one_number_is_read() -> None:
    net, batch = network(), rows()
    more = [batch.blocks[0], batch.blocks[1] + batch.present[:, [1]]]
    moved = (net(batch._replace(blocks=more)).logits - net(batch).logits).abs().amax(dim=1) > 1e-6
    assert torch.equal(moved, batch.present[:, 1] > 0)


# ---------------------------------------------------------------- what single tokens do


def test_effects_of_tokens_are_those_of_a_loop() -> None:
    features, _ = posters(3, seed=4)
    features = Features(
        features.ids,
        features.blocks,
        features.tokens
        | {"poster_text.pieces": sequences(np.random.default_rng(5).normal(size=(3, 4, 3)), [3, 1, -1])},
    )
    found = fitted().token_effects(features)
    assert {name: effects.shape for name, effects in found.items()} == {
        "poster.patches": (3, 5, 2),
        "poster_text.pieces": (3, 3, 2),
    }
    for name, effects in found.items():
        assert effects.dtype == np.float32
        values, seen = features.tokens[name].read()
        for row in range(3):
            whole = logits(features.take([row]))
            for token in range(seen.shape[1]):
                if not seen[row, token]:
                    assert (effects[row, token] == 0).all()
                    continue
                left = np.delete(values[row][seen[row]], token, axis=0)
                tokens = features.take([row]).tokens | {
                    name: TokenBlock(HeldTokens([left], left.shape[1]), np.zeros(1, int), 99)
                }
                less = logits(Features([features.ids[row]], features.take([row]).blocks, tokens))
                np.testing.assert_allclose(effects[row, token], whole - less, atol=1e-4)
    assert np.abs(found["poster_text.pieces"][1, 0]).max() > 1e-3  # the only word of its title


@torch.no_grad()
def logits(features: Features) -> npt.NDArray[np.float32]:
    """Return the mean logits of the members for one title, in single precision."""
    model = fitted()
    title = model._rows(features).take(slice(None))
    return np.mean([member(title).logits[0].numpy() for member in model._members], axis=0)


def test_effects_point_at_the_token_that_tells() -> None:
    features, targets = posters(30, seed=6)
    rows_of_label = np.flatnonzero(targets[:, 0])
    effects = fitted().token_effects(features.take(rows_of_label))["poster.patches"][:, :, 0]
    told = np.random.default_rng(9).normal(size=(2, 6))[0] * 2.5
    values, _ = features.take(rows_of_label).tokens["poster.patches"].read()
    planted = np.abs(values - told).sum(axis=2).argmin(axis=1)
    assert (effects.argmax(axis=1) == planted).mean() > 0.8


def test_copies_lack_one_token_each() -> None:
    title = rows().take(slice(0, 1))._replace(side=torch.ones(1, 2))
    made = without_tokens(title, 0, torch.tensor([2, 0]))
    assert made.tokens[0].seen.tolist() == [[1, 1, 0], [0, 1, 1]]
    assert made.tokens[1].seen.tolist() == [[1, 1]] * 2
    assert made.present.shape == (2, 4)
    assert made.side.shape == (2, 2)
    assert title.tokens[0].seen.tolist() == [[1, 1, 1]]


def test_attention_of_tokens_sums_to_one_per_side() -> None:
    features, _ = posters(150, seed=7)
    found = fitted().token_attention(features)
    assert set(found) == {"poster.patches", "poster_text.pieces"}
    np.testing.assert_allclose(found["poster.patches"].sum(axis=1), 1, atol=1e-5)
    year = 1 - found["poster_text.pieces"].sum(axis=1)  # the other token of the textual side
    assert ((year > 0) & (year < 1)).all()
    assert found["poster_text.pieces"].shape == (150, 4)
    assert (found["poster_text.pieces"][~features.tokens["poster_text.pieces"].read()[1]] == 0).all()
    assert fitted().token_attention(features.without("poster"))["poster.patches"].sum() == 0
    assert set(fitted().token_attention(features.select(["year", "poster"]))) == {"poster.patches"}
    assert fitted().token_attention(features.take([]))["poster.patches"].shape == (0, 1)
    assert fitted().token_effects(features.take([]))["poster.patches"].shape == (0, 1, 2)


@torch.no_grad()
@pytest.mark.parametrize("settings", [{}, {"fusion": "concat", "self_layers": 2}])
def test_look_says_what_every_block_receives(settings: dict[str, Any]) -> None:
    net = network(**settings)
    for padding in (0, 3):
        found = net.look(rows(padding)).received
        assert [part.shape for part in found] == [(6, 1), (6, 1), (6, 3 + padding), (6, 2 + padding)]
        visual = found[0].sum(dim=1) + found[2].sum(dim=1)
        textual = found[1].sum(dim=1) + found[3].sum(dim=1)
        torch.testing.assert_close(visual, torch.tensor([1.0, 1, 1, 0, 1, 0]))
        torch.testing.assert_close(textual, torch.tensor([1.0, 1, 1, 1, 0, 1]))
        torch.testing.assert_close(found[2][:, :3], net.look(rows()).received[2])


@torch.no_grad()
def test_look_is_the_attention_of_the_other_side() -> None:
    net, batch = network(), rows()
    visual, textual = net._sides(batch)
    weights = net.cross(visual.values, textual.values, visual.seen, textual.seen, weights=True).textual.weights
    found = net.look(batch).received
    for row in range(6):
        real = [weights[row, query] for query in range(weights.shape[1]) if textual.seen[row, query]]
        mean = sum(real) / len(real)
        torch.testing.assert_close(torch.cat([found[0][row], found[2][row]]), mean[:-1])


def test_without_attention_there_is_nothing_to_look_at() -> None:
    assert network(fusion="concat", self_layers=0).look(rows()) is None
    features, targets = posters(20)
    config = replace(SMALL, fusion="concat", self_layers=0, training=replace(SMALL.training, epochs=1))
    model = PosterModel(config).fit(features, targets)
    assert model.token_attention(features) == {}
    assert set(model.token_effects(features.take([0]))) == set(features.tokens)


# ---------------------------------------------------------------- settings


def test_settings_reach_the_loss() -> None:
    config = replace(SMALL, loss_settings={"gamma_positive": 3.0, "gamma_negative": 4.0, "margin": 0.1})
    z, y = torch.linspace(-3, 3, 6).reshape(2, 3), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    expected = asymmetric(z, y, gamma_positive=3, gamma_negative=4, margin=0.1)
    torch.testing.assert_close(config.loss_function()(z, y), expected)
    assert float(SMALL.loss_function()(z, y)) != pytest.approx(float(expected))
    features, targets = posters(20)
    short = replace(SMALL.training, epochs=1)
    losses = [
        PosterModel(replace(SMALL, training=short, **settings)).fit(features, targets).histories_[0].losses
        for settings in ({}, {"loss_settings": config.loss_settings}, {"loss": "bce", "loss_settings": {}})
    ]
    assert len(set(losses)) == 3


def test_published_settings_are_settings() -> None:
    config = from_json(PosterConfig, POSTER_PUBLISHED, "settings")
    assert (config.dim, config.heads, config.self_layers, config.fusion) == (512, 8, 3, "cross")
    assert config.loss_settings == {"gamma_positive": 3, "gamma_negative": 4, "margin": 0.05}
    assert (config.training.epochs, config.training.learning_rate, config.training.weight_decay) == (100, 1e-4, 0)
    assert config.training.schedule == "constant"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("dim", 0), ("heads", 0), ("self_layers", -1), ("dropout", 1.0), ("hidden", 0), ("max_positions", -1)],
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"PosterConfig.{setting} must be between"):
        PosterConfig(**{setting: value})


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"PosterConfig.dim must be a multiple of heads \(3\); got 128"):
        PosterConfig(heads=3)
    with pytest.raises(ConfigError, match=r"PosterConfig.fusion must be one of cross, concat; got 'sum'"):
        PosterConfig(fusion="sum")
    assert PosterConfig(loss="bce").loss_settings == {}  # the defaults are those of the asymmetric loss
    with pytest.raises(ConfigError, match="the loss 'bce' has no setting 'margin'"):
        PosterConfig(loss="bce", loss_settings={"margin": 0.1})
