"""Experts of places against loops over titles and shots; the mean over shots; padding, masks and other titles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from reeltag.models.gating.experts import Experts
from reeltag.models.gating.network import GatingNetwork
from reeltag.models.gating.settings import GatingConfig
from reeltag.models.layout import Layout, Rows, Tokens

from . import batches
from .shot_samples import LAYOUT, N_TITLES, SEEN, SHOTS, VECTORS, rows, seen_of

DIM = 6
CONFIG = GatingConfig(dim=DIM, dropout=0.0, input_dropout=0.0, modality_dropout=0.0, fine_stage=False)
JOINS = ["pairwise", "star", "concat"]
MODALITIES = ("plot", "year", "image", "motion", "audio", "poster")


def experts_of(layout: Layout = LAYOUT, dropout: float = 0.0) -> Experts:
    torch.manual_seed(5)
    return Experts(layout, DIM, dropout)


def network(join: str = "pairwise", layout: Layout = LAYOUT) -> GatingNetwork:
    torch.manual_seed(5)
    made = GatingNetwork(layout, replace(CONFIG, join=join))
    batches.randomise(made)
    return made


def shots_of(title: int) -> list[int]:
    """Return the shots that any expert has seen; the first when there is none."""
    seen = [shot for shot in range(4) if any(SEEN[name][title][shot : shot + 1] == "1" for name in SHOTS)]
    return seen or [0]


def by_loops(experts: Experts, batch: Rows) -> tuple[list[tuple[int, int]], dict[tuple[int, int, str], np.ndarray]]:
    """Return title and shot of every place, and the expert of every modality that is there."""
    places = [(title, shot) for title in range(N_TITLES) for shot in shots_of(title)]
    found: dict[tuple[int, int, str], np.ndarray] = {}
    for title, shot in places:
        sums: dict[str, np.ndarray] = {}
        for place, name in enumerate(LAYOUT.names):
            if place < LAYOUT.n_vectors:
                x = batch.blocks[place][title] if VECTORS[title][place] else None
            elif name in SHOTS:
                marks = SEEN[name][title]
                seen = shot < len(marks) and marks[shot] == "1"
                x = batch.tokens[place - LAYOUT.n_vectors].values[title, shot] if seen else None
            else:
                values = batch.tokens[place - LAYOUT.n_vectors].values[title]
                real = [values[k].double() for k, mark in enumerate(SEEN[name][title]) if mark == "1"]
                x = sum(real) / len(real) if real else None
            if x is None:
                continue
            layer = experts.maps[place]
            y = layer.weight.detach().double().numpy() @ np.asarray(x.double()) + layer.bias.detach().double().numpy()
            modality = name.partition(".")[0]
            sums[modality] = sums.get(modality, 0) + y
        for modality, value in sums.items():
            found[title, shot, modality] = value / np.sqrt((value**2).sum())
    return places, found


# ---------------------------------------------------------------- experts of places


@torch.no_grad()
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("fill", [0.0, 50.0])
def test_experts_equal_the_loops(fill: float, padding: int) -> None:
    experts = experts_of()
    batch = rows(fill=fill, padding=padding)
    places, expected = by_loops(experts, batch)
    found = experts(batch)
    assert found.title.tolist() == [title for title, _ in places]
    assert found.experts.shape == (len(places), len(MODALITIES), DIM)
    assert LAYOUT.modalities == MODALITIES
    for row, (title, shot) in enumerate(places):
        for column, modality in enumerate(MODALITIES):
            value = expected.get((title, shot, modality))
            assert bool(found.present[row, column]) == (value is not None), (title, shot, modality)
            np.testing.assert_allclose(found.experts[row, column], 0 if value is None else value, atol=2e-6)


@torch.no_grad()
def test_places_are_the_shots_that_any_expert_has_seen_or_one() -> None:
    found = experts_of()(rows())
    assert torch.bincount(found.title).tolist() == [4, 2, 1, 1, 1, 2, 1]
    there = {title: found.present[found.title == title].int().tolist() for title in range(N_TITLES)}
    assert there[0] == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1]]
    assert there[1] == [[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0]]  # the second shot has no motion
    assert there[2] == [[1, 1, 0, 0, 0, 0]]  # without a trailer
    assert there[3] == [[1, 0, 0, 0, 0, 1]]  # patches are no shots
    assert there[5] == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]]  # of three shots the middle one is silent
    assert there[6] == [[0] * 6]


@torch.no_grad()
def test_what_is_one_thing_per_title_is_in_every_shot_and_shots_differ() -> None:
    found = experts_of()(rows())
    first = found.experts[found.title == 0]
    for column in (0, 1, 5):
        torch.testing.assert_close(first[:, column], first[:1, column].expand(4, DIM))
    assert not torch.allclose(first[0, 2], first[1, 2])


@torch.no_grad()
def test_a_sequence_that_is_marked_absent_is_not_seen() -> None:
    batch = rows()
    present = batch.present.clone()
    present[:, LAYOUT.names.index("audio.mel")] = 0
    found = experts_of()(batch._replace(present=present))
    assert not found.present[:, MODALITIES.index("audio")].any()
    assert torch.bincount(found.title).tolist() == [4, 2, 1, 1, 1, 1, 1]


@torch.no_grad()
def test_layouts_without_sequences_have_one_place_per_title() -> None:
    batch = batches.rows()
    found = experts_of(batches.LAYOUT)(batch)
    assert found.title.tolist() == list(range(6))
    expected = batches.modalities_present(batch, batches.LAYOUT)
    assert found.present.tolist() == expected
    torch.testing.assert_close(found.experts.norm(dim=2), torch.tensor(expected).float())


@torch.no_grad()
def test_no_titles_have_no_places() -> None:
    for layout, batch in ((LAYOUT, rows()), (batches.LAYOUT, batches.rows())):
        none = batch.take(slice(0, 0))
        assert experts_of(layout)(none).experts.shape == (0, len(layout.modalities), DIM)
        outputs = network(layout=layout)(none)
        assert outputs.logits.shape == (0, layout.n_labels)
        assert outputs.fused.shape == (0, DIM * len(layout.modalities))


def test_dropout_is_of_the_inputs_in_training_only() -> None:
    batch = batches.rows(full=True)
    plain, dropped = experts_of(batches.LAYOUT), experts_of(batches.LAYOUT, dropout=0.5)
    assert torch.equal(plain(batch).experts, dropped.eval()(batch).experts)
    assert not torch.equal(plain(batch).experts, dropped.train()(batch).experts)


# ---------------------------------------------------------------- the mean over shots


@torch.no_grad()
@pytest.mark.parametrize("join", JOINS)
def test_fused_experts_are_means_over_the_shots_that_have_them(join: str) -> None:
    net, batch = network(join), rows()
    places = net.experts(batch)
    gated, gates = (places.experts, None) if net.gate is None else net.gate(places.experts, places.present)
    outputs = net(batch)
    fused = outputs.fused.view(N_TITLES, len(MODALITIES), DIM)
    for title in range(N_TITLES):
        own = [row for row, of in enumerate(places.title.tolist()) if of == title]
        for column in range(len(MODALITIES)):
            seen = [row for row in own if places.present[row, column]]
            if not seen:
                assert not fused[title, column].any()
                assert gates is None or outputs.attention[title, column] == 0
                continue
            mean = sum(gated[row, column] for row in seen) / len(seen)
            expected = mean / mean.norm() * DIM**0.5
            torch.testing.assert_close(fused[title, column], expected, atol=1e-5, rtol=1e-5)
            if gates is not None:
                share = sum(float(gates[row, column].mean()) for row in seen) / len(seen)
                assert float(outputs.attention[title, column]) == pytest.approx(share, abs=1e-6)
    assert (outputs.attention is None) == (join == "concat")
    expected = functional.linear(outputs.fused, net.head.weight, net.head.bias)
    torch.testing.assert_close(outputs.logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs.logits[6], net.head.bias)  # nothing is known


@torch.no_grad()
@pytest.mark.parametrize("join", JOINS)
def test_padding_and_what_stands_in_absent_places_do_not_matter(join: str) -> None:
    net = network(join)
    plain = net(rows())
    for other in (rows(padding=5), rows(fill=50.0), rows(fill=-9.0, padding=2)):
        found = net(other)
        torch.testing.assert_close(found.logits, plain.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.fused, plain.fused, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("join", JOINS)
def test_a_title_does_not_depend_on_the_others_in_its_batch(join: str) -> None:
    net, batch = network(join), rows()
    whole = net(batch)
    for title in range(N_TITLES):
        alone = net(batch.take(slice(title, title + 1)))
        torch.testing.assert_close(alone.fused[0], whole.fused[title], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.logits[0], whole.logits[title], atol=1e-5, rtol=1e-5)
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    turned = net(batch.take(order))
    torch.testing.assert_close(turned.logits, whole.logits[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned.fused, whole.fused[order], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("join", JOINS)
def test_the_order_of_the_shots_is_nothing_as_long_as_it_is_one_for_all_experts(join: str) -> None:
    net, batch = network(join), rows()
    title, order = batch.take(slice(0, 1)), [2, 3, 0, 1]
    sizes = [tokens.seen.shape[1] for tokens in title.tokens]
    wide = [
        Tokens(functional.pad(tokens.values, (0, 0, 0, 4 - size)), functional.pad(tokens.seen, (0, 4 - size)))
        for tokens, size in zip(title.tokens, sizes, strict=True)
    ]
    turned = [Tokens(tokens.values[:, order], tokens.seen[:, order]) for tokens in wide[:3]]
    expected = net(title).logits
    torch.testing.assert_close(net(title._replace(tokens=[*turned, wide[3]])).logits, expected, atol=1e-5, rtol=1e-5)
    apart = net(title._replace(tokens=[turned[0], *wide[1:]])).logits
    assert torch.allclose(apart, expected, atol=1e-5) == (join == "concat")  # only a gate reads shots across experts


@torch.no_grad()
def test_a_sequence_of_one_shot_says_what_a_block_would() -> None:
    blocks = Layout(names=("image.a", "motion.b"), widths=(4, 3), n_labels=2)
    shots = replace(blocks, n_tokens=2)
    values = [torch.randn(3, width, generator=torch.Generator().manual_seed(2)).half().float() for width in (4, 3)]
    present = torch.tensor([[1.0, 1], [1, 0], [0, 1]])
    tokens = [Tokens(block[:, None].half(), torch.ones(3, 1)) for block in values]
    one = network(layout=blocks)(Rows(values, present))
    other = network(layout=shots)(Rows([], present, None, tokens))
    torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.fused, other.fused, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- the network as others have it


@torch.no_grad()
@pytest.mark.parametrize("join", JOINS)
def test_absent_blocks_change_nothing_and_present_ones_do(join: str) -> None:
    batches.check_absent_blocks(network(join, batches.LAYOUT), batches.LAYOUT)


def test_the_width_of_an_expert_can_be_another_than_that_of_the_settings() -> None:
    net = GatingNetwork(LAYOUT, CONFIG, dim=3).eval()
    assert net.width == 3 * len(MODALITIES)
    assert net(rows()).fused.shape == (N_TITLES, net.width)


@torch.no_grad()
def test_it_starts_from_the_base_rates() -> None:
    net, shares = network(), torch.tensor([0.1, 0.3, 0.5, 0.8])
    net.start(shares, None)
    torch.testing.assert_close(torch.sigmoid(net(rows()).logits[6]), shares)


def test_single_precision_comes_out_of_autocast() -> None:
    net = network()
    plain = net(rows())
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(rows())
    for one, other in zip(plain[:3], rough[:3], strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.2, rtol=0.05)


def test_seen_tokens_of_the_titles_by_hand_are_what_their_presence_says() -> None:
    batch = rows(padding=2)
    for place, name in enumerate(SEEN, LAYOUT.n_vectors):
        assert torch.equal(batch.present[:, place], seen_of(name).amax(dim=1))


def test_in_training_so_many_shots_are_drawn_and_each_now_and_then() -> None:
    torch.manual_seed(0)
    limited = Experts(LAYOUT, DIM, train_shots=2).train()
    counts, vectors = np.zeros(N_TITLES, int), set()
    for _ in range(40):
        places = limited(rows())
        counts = np.bincount(places.title, minlength=N_TITLES)
        assert counts.tolist() == [min(len(shots_of(title)), 2) for title in range(N_TITLES)]
        vectors |= {tuple(np.round(v, 4)) for v in places.experts[places.title == 0, 2].detach().numpy()}
    assert len(vectors) == 4  # every shot of the first title was drawn
    assert len(limited.eval()(rows()).title) == sum(len(shots_of(title)) for title in range(N_TITLES))
    assert len(Experts(LAYOUT, DIM).train()(rows()).title) == len(limited(rows()).title)
