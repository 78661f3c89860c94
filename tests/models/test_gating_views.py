"""Views of titles: disjoint halves that cover all that is known, the same shots for all experts, and no more."""

from __future__ import annotations

import pytest
import torch

from reeltag.models.gating.views import Views, split_views
from reeltag.models.layout import Layout, Rows, Tokens

from . import batches
from .shot_samples import LAYOUT, N_TITLES, SEEN, SHOTS, rows

N_VECTORS = LAYOUT.n_vectors


def split(seed: int, batch: Rows | None = None, layout: Layout = LAYOUT) -> Views:
    torch.manual_seed(seed)
    return split_views(batch or rows(), layout)


def seen(view: Rows, place: int) -> torch.Tensor:
    """Return which tokens of a sequence a view has, boolean (n, n_tokens)."""
    return view.read_tokens()[place].seen > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("padding", [0, 2])
def test_views_are_disjoint_and_cover_all_that_is_known(seed: int, padding: int) -> None:
    batch = rows(padding=padding)
    views = split(seed, batch)
    vectors = [view.present[:, :N_VECTORS] for view in (views.first, views.second)]
    assert torch.equal(vectors[0] + vectors[1], batch.present[:, :N_VECTORS])
    for place, tokens in enumerate(batch.read_tokens()):
        one, other = seen(views.first, place), seen(views.second, place)
        assert not (one & other).any()
        assert torch.equal(one | other, tokens.seen > 0)


@pytest.mark.parametrize("seed", range(5))
def test_presence_says_what_a_view_has(seed: int) -> None:
    for view in split(seed)[:2]:
        for place in range(len(SEEN)):
            assert torch.equal(view.present[:, N_VECTORS + place] > 0, seen(view, place).any(dim=1))
        for place, block in enumerate(view.blocks):
            has = view.present[:, place] > 0
            assert torch.equal(block, rows().blocks[place] * has[:, None])


@pytest.mark.parametrize("seed", range(8))
def test_halves_are_balanced_to_one(seed: int) -> None:
    views = split(seed)
    kinds = [[view.present[:, :N_VECTORS] > 0 for view in views[:2]]]
    kinds.append([sum(seen_shots(view)) > 0 for view in views[:2]])
    kinds.append([seen(view, 3) for view in views[:2]])
    for one, other in kinds:
        assert int((one.sum(dim=1) - other.sum(dim=1)).abs().max()) <= 1


def seen_shots(view: Rows) -> list[torch.Tensor]:
    """Return which shots each shot expert has seen, all (n, 4)."""
    found = [seen(view, place) for place in range(len(SHOTS))]
    return [torch.nn.functional.pad(own, (0, 4 - own.shape[1])).int() for own in found]


@pytest.mark.parametrize("seed", range(8))
def test_all_experts_of_shots_see_the_same_half(seed: int) -> None:
    views = split(seed)
    either = [sum(seen_shots(view)) > 0 for view in views[:2]]
    assert not (either[0] & either[1]).any()  # no shot is in both, not for two experts either
    assert either[0][0].sum() == 2


def test_an_odd_one_falls_to_either_view() -> None:
    sides = {bool(split(seed).first.present[5].any()) for seed in range(3)}
    firsts = [int((split(seed).first.present[0, :N_VECTORS] > 0).sum()) for seed in range(30)]
    assert set(firsts) == {1, 2}
    assert sides == {True}  # two shots: one for each view


def test_every_half_is_drawn() -> None:
    shots = {tuple(seen(split(seed).first, 0)[0].tolist()) for seed in range(80)}
    assert len(shots) == 6  # of four shots two
    assert {tuple(seen(split(seed).first, 3)[0].tolist()) for seed in range(20)} == {(True, False), (False, True)}
    vectors = {tuple(split(seed).first.present[0, :N_VECTORS].tolist()) for seed in range(80)}
    assert len(vectors) == 6  # one or two of three


def test_titles_of_which_one_thing_is_known_have_one_empty_view_and_are_marked() -> None:
    for seed in range(20):
        views = split(seed)
        has = [view.present.any(dim=1) for view in views[:2]]
        assert torch.equal(views.whole, has[0] & has[1])
        assert views.whole.tolist()[:3] == [True] * 3
        assert not views.whole[4]  # one shot of one expert
        assert bool(has[0][4] ^ has[1][4])
        assert views.whole[3]  # a plot, and two patches that are parted
        assert views.whole[5]  # two shots
        assert not (has[0][6] or has[1][6])  # nothing


def test_a_shot_and_a_poster_are_each_dealt_out_by_themselves() -> None:
    layout = Layout(names=("year", "image.a"), widths=(2, 3), n_labels=1, n_tokens=1)
    batch = Rows([torch.ones(60, 2)], torch.ones(60, 2), None, [Tokens(torch.ones(60, 1, 3).half(), torch.ones(60, 1))])
    views = split(0, batch, layout)
    assert torch.equal(views.first.present + views.second.present, torch.ones(60, 2))
    assert 15 < int(views.whole.sum()) < 45  # both in one view half of the time


def test_same_seed_same_views() -> None:
    one, other, third = split(3), split(3), split(4)
    for first, second in zip(one[:2], other[:2], strict=True):
        assert torch.equal(first.present, second.present)
        for mine, its in zip(first.read_tokens(), second.read_tokens(), strict=True):
            assert torch.equal(mine.seen, its.seen)
    assert not all(torch.equal(seen(one.first, place), seen(third.first, place)) for place in range(len(SEEN)))


def test_no_token_is_read_that_was_not_seen() -> None:
    for seed in range(10):
        plain, filled = split(seed), split(seed, rows(fill=50.0, padding=3))
        for view in filled[:2]:
            for place, name in enumerate(SEEN):
                found = seen(view, place)
                assert not found[:, len(SEEN[name][0]) :].any()
                values = view.read_tokens()[place].values[found]
                assert not (values == 50).any()
        for one in plain[:2]:
            assert not (one.read_tokens()[0].seen > 0)[2].any()


def test_absent_sequences_are_in_no_view_whatever_their_mask_says() -> None:
    batch = rows()
    present = batch.present.clone()
    present[:, N_VECTORS] = 0  # the image is hidden
    views = split(0, batch._replace(present=present))
    for view in views[:2]:
        assert not seen(view, 0).any()
        assert not view.present[:, N_VECTORS].any()
    assert not views.whole[1]  # of its two shots only one has motion


def test_blocks_alone_are_parted() -> None:
    batch = batches.rows()
    views = split(1, batch, batches.LAYOUT)
    assert torch.equal(views.first.present + views.second.present, batch.present)
    assert views.whole.all()
    for place, block in enumerate(batch.blocks):
        assert torch.equal(views.first.blocks[place] + views.second.blocks[place], block)


def test_the_batch_itself_stays_as_it_is_and_its_side_goes_along() -> None:
    batch = rows()._replace(side=torch.arange(float(N_TITLES))[:, None])
    before = [tokens.seen.clone() for tokens in batch.tokens]
    views = split(0, batch)
    for tokens, kept in zip(batch.tokens, before, strict=True):
        assert torch.equal(tokens.seen, kept)
    assert views.first.side is batch.side
    assert views.second.side is batch.side
    assert split(0, batch.take(slice(0, 0))).whole.shape == (0,)
