"""Scorers against slow formulas of their papers, written with loops and complex numbers, and by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from reeltag.errors import ConfigError
from reeltag.graph.link_model import asked
from reeltag.graph.scorers import SCORERS, SIDES, Scorer, Side
from reeltag.graph.scorers import rotate as rotate_module

from .link_samples import SMALL, VARIANTS, make, variant_name

Rows = list[float]
Formula = Callable[[Any, Rows, Rows, Rows], float]  # scorer, raw rows of head, relation and tail -> score

N_RELATIONS = 3
every_variant = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=variant_name)


# ---------------------------------------------------------------- the formulas of the papers


def dot(a: Rows, b: Rows) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def length(difference: Rows, norm: int = 2) -> float:
    return sum(abs(x) for x in difference) if norm == 1 else math.sqrt(sum(x * x for x in difference))


def translated(h: Rows, r: Rows, t: Rows) -> Rows:
    return [x + y - z for x, y, z in zip(h, r, t, strict=True)]


def transe(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    return -length(translated(h, r, t), scorer.norm)


def transh(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    translation, normal = r[: scorer.dim], r[scorer.dim :]
    normal = [x / length(normal) for x in normal]

    def project(rows: Rows) -> Rows:
        return [x - dot(normal, rows) * w for x, w in zip(rows, normal, strict=True)]

    return -length(translated(project(h), project(translation), project(t)))


def transr(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    matrix = [r[scorer.dim * (1 + i) : scorer.dim * (2 + i)] for i in range(scorer.dim)]
    return -length(translated([dot(row, h) for row in matrix], r[: scorer.dim], [dot(row, t) for row in matrix]))


def transd(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    translation, r_p = r[: scorer.dim], r[scorer.dim :]

    def project(rows: Rows) -> Rows:
        e, e_p = rows[: scorer.dim], rows[scorer.dim :]
        matrix = [[x * y + (i == j) for j, y in enumerate(e_p)] for i, x in enumerate(r_p)]  # r_p e_p^T + I
        return [dot(row, e) for row in matrix]

    return -length(translated(project(h), translation, project(t)))


def distmult(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    return sum(x * y * z for x, y, z in zip(h, r, t, strict=True))


def as_complex(rows: Rows) -> list[complex]:
    half = len(rows) // 2
    return [complex(a, b) for a, b in zip(rows[:half], rows[half:], strict=True)]


def complex_(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    parts = zip(as_complex(h), as_complex(r), as_complex(t), strict=True)
    return sum(x * y * z.conjugate() for x, y, z in parts).real


def rotate(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    turned = [x * complex(math.cos(angle), math.sin(angle)) for x, angle in zip(as_complex(h), r, strict=True)]
    moduli = [abs(x - z) for x, z in zip(turned, as_complex(t), strict=True)]
    return -sum(moduli) if scorer.norm == 1 else -length(moduli)


def conve(scorer: Any, h: Rows, r: Rows, t: Rows) -> float:
    weights = {name: tensor.double().numpy() for name, tensor in scorer.network.state_dict().items()}

    def normalised(values: np.ndarray, layer: str) -> np.ndarray:  # batch normalisation of one channel per first axis
        shape = (-1,) + (1,) * (values.ndim - 1)
        mean, variance, scale, shift = (
            weights[f"{layer}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (values - mean) / np.sqrt(variance + 1e-5) * scale + shift

    width = scorer.dim // scorer.height
    picture = np.array(h[: scorer.dim] + r).reshape(1, 2 * scorer.height, width)
    picture = normalised(picture, "bn_input")[0]
    maps = np.zeros((scorer.filters, 2 * scorer.height - 2, width - 2))
    for f, i, j in np.ndindex(*maps.shape):
        kernel = weights["convolution.weight"][f, 0]
        maps[f, i, j] = (picture[i : i + 3, j : j + 3] * kernel).sum() + weights["convolution.bias"][f]
    maps = np.maximum(normalised(maps, "bn_filters"), 0)
    hidden = weights["projection.weight"] @ maps.ravel() + weights["projection.bias"]
    found = np.maximum(normalised(hidden, "bn_hidden"), 0)
    return float(found @ np.array(t[: scorer.dim]) + t[scorer.dim])


FORMULAS: dict[str, Formula] = {
    "transe": transe,
    "transh": transh,
    "transr": transr,
    "transd": transd,
    "distmult": distmult,
    "complex": complex_,
    "conve": conve,
    "rotate": rotate,
}


# ---------------------------------------------------------------- what the tests score


class Example:
    """Two chunks of four links, five candidates each, in double precision."""

    def __init__(self, name: str, settings: dict[str, object], *, shared: bool | None = None) -> None:
        self.scorer = make(name, **settings)
        generator = torch.Generator().manual_seed(3)
        rows = N_RELATIONS * (2 if self.scorer.reciprocal else 1)
        entities, relations = self.scorer.initial(7, rows, generator)
        self.entities, self.relations = (
            (table + 0.3 * torch.randn(table.shape, generator=generator)).double() for table in (entities, relations)
        )
        if self.scorer.network is not None:
            _train_a_little(self.scorer, self.entities, self.relations)
        self.shared = self.scorer.one_relation if shared is None else shared
        self.known = torch.tensor([[0, 1, 2, 2], [6, 3, 0, 5]])
        self.target = torch.tensor([[3, 1, 4, 5], [2, 0, 6, 6]])
        self.candidates = torch.tensor([[0, 1, 2, 3, 6], [6, 6, 5, 4, 1]])
        self.relation = torch.tensor([[1], [2]]) if self.shared else torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])

    def asked(self, side: Side) -> tuple[Side, torch.Tensor]:
        return asked(self.scorer, self.relation, side, N_RELATIONS)

    def query(self, side: Side) -> tuple[torch.Tensor, torch.Tensor]:
        """Return query and prepared relations."""
        asked_side, relation = self.asked(side)
        prepared = self.scorer.prepare(self.relations)[relation]
        return self.scorer.query(self.entities[self.known], prepared, asked_side), prepared

    def paired(self, side: Side) -> torch.Tensor:
        return self.scorer.paired(*self.query(side), self.entities[self.target])

    def against(self, side: Side) -> torch.Tensor:
        return self.scorer.against(*self.query(side), self.entities[self.candidates])

    def slow(self, side: Side, chunk: int, link: int, other: int) -> float:
        """Return the paper's score of a link whose ``side`` is the entity ``other``."""
        asked_side, relation = self.asked(side)
        r = int(relation.expand(2, 4)[chunk, link])
        ends = [int(self.known[chunk, link]), other]
        h, t = ends if asked_side == "tail" else ends[::-1]
        formula = FORMULAS[self.scorer.name]
        return formula(self.scorer, self.entities[h].tolist(), self.relations[r].tolist(), self.entities[t].tolist())


def _train_a_little(scorer: Scorer, entities: torch.Tensor, relations: torch.Tensor) -> None:
    """Give a network running means and variances of its own, then set it to evaluation."""
    assert scorer.network is not None
    scorer.network.double().requires_grad_(False).train()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        scorer.query(entities[None, :6], relations[None, :6], "tail")
    scorer.network.eval()


# ---------------------------------------------------------------- every scorer


def test_every_scorer_has_a_formula_and_small_settings_here() -> None:
    assert set(FORMULAS) == set(SMALL) == set(SCORERS)
    assert all(SCORERS[name].name == name for name in SCORERS)


@every_variant
def test_scorers_keep_the_contract(name: str, settings: dict[str, object]) -> None:
    scorer = make(name, **settings)
    assert isinstance(scorer, Scorer)
    assert scorer.dim == SMALL[name]["dim"]
    assert scorer.reciprocal is bool(settings.get("reciprocal", name == "conve"))
    assert 0 < scorer.vector_width <= scorer.entity_width


@pytest.mark.parametrize("side", SIDES)
@every_variant
def test_paired_scores_are_those_of_the_paper(name: str, settings: dict[str, object], side: Side) -> None:
    example = Example(name, settings)
    found = example.paired(side)
    assert found.shape == (2, 4)
    for chunk, link in np.ndindex(2, 4):
        expected = example.slow(side, chunk, link, int(example.target[chunk, link]))
        assert float(found[chunk, link]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("side", SIDES)
@every_variant
def test_scores_against_candidates_are_those_of_the_paper(name: str, settings: dict[str, object], side: Side) -> None:
    example = Example(name, settings)
    found = example.against(side)
    assert found.shape == (2, 4, 5)
    for chunk, link, column in np.ndindex(2, 4, 5):
        expected = example.slow(side, chunk, link, int(example.candidates[chunk, column]))
        # an exact match has distance 0, which the matrix product keeps a little above
        assert float(found[chunk, link, column]) == pytest.approx(expected, rel=1e-7, abs=1e-4)


@pytest.mark.parametrize("side", SIDES)
@every_variant
def test_against_is_paired_candidate_by_candidate(name: str, settings: dict[str, object], side: Side) -> None:
    example = Example(name, settings)
    query, relation = example.query(side)
    found = example.against(side)
    for column in range(5):
        target = example.entities[example.candidates[:, column]].unsqueeze(1).expand(-1, 4, -1)
        torch.testing.assert_close(found[:, :, column], example.scorer.paired(query, relation, target))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("name", "settings"), [v for v in VARIANTS if not SCORERS[v[0]].one_relation], ids=variant_name
)
def test_a_shared_relation_is_the_same_as_one_per_link(name: str, settings: dict[str, object], side: Side) -> None:
    shared = Example(name, settings, shared=True)
    copied = Example(name, settings)
    copied.relation = shared.relation.expand(2, 4)
    torch.testing.assert_close(shared.paired(side), copied.paired(side))
    torch.testing.assert_close(shared.against(side), copied.against(side))


@pytest.mark.parametrize(
    ("name", "settings"), [v for v in VARIANTS if not make(v[0], **v[1]).reciprocal], ids=variant_name
)
def test_head_and_tail_questions_score_a_link_alike(name: str, settings: dict[str, object]) -> None:
    example = Example(name, settings)
    by_tail = example.paired("tail")
    example.known, example.target = example.target, example.known
    torch.testing.assert_close(example.paired("head"), by_tail)


@pytest.mark.parametrize("side", SIDES)
@every_variant
def test_gradients_are_those_of_finite_differences(name: str, settings: dict[str, object], side: Side) -> None:
    example = Example(name, settings)
    scorer = example.scorer
    asked_side, relation = example.asked(side)

    def scores(known: torch.Tensor, relations: torch.Tensor, target: torch.Tensor, candidates: torch.Tensor) -> Any:
        prepared = scorer.prepare(relations)[relation[:, :2]]
        query = scorer.query(known, prepared, asked_side)
        return scorer.paired(query, prepared, target), scorer.against(query, prepared, candidates)

    ids = (example.known[:, :2], example.target[:, :2], torch.tensor([[4, 6, 1], [1, 2, 4]]))  # no link meets itself
    known, target, candidates = (example.entities[one].requires_grad_() for one in ids)
    assert torch.autograd.gradcheck(scores, (known, example.relations.requires_grad_(), target, candidates))


# ---------------------------------------------------------------- first tables


@every_variant
def test_first_tables_have_the_right_widths_and_follow_the_seed(name: str, settings: dict[str, object]) -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        scorer = make(name, **settings)
        tables = scorer.initial(6, 4, torch.Generator().manual_seed(seed))
        network = [] if scorer.network is None else [p.detach().clone() for p in scorer.network.parameters()]
        assert [table.shape for table in tables] == [(6, scorer.entity_width), (4, scorer.relation_width)]
        assert all(table.is_contiguous() and table.dtype == torch.float32 for table in tables)
        return [*tables, *network]

    first, again, other = draw(0), draw(0), draw(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])
    assert all(torch.isfinite(table).all() for table in first)


@pytest.mark.parametrize("name", ["transe", "transh", "transr", "rotate"])
def test_first_entities_lie_within_the_bound_of_the_paper(name: str) -> None:
    entities, _ = make(name).initial(500, 2, torch.Generator().manual_seed(0))
    bound = 6 / math.sqrt(SMALL[name]["dim"])  # type: ignore[arg-type]
    assert float(entities.abs().max()) <= bound
    assert float(entities.abs().max()) > 0.95 * bound


def test_rotate_takes_a_bound_and_draws_angles_from_the_whole_circle() -> None:
    entities, angles = make("rotate", bound=0.02).initial(500, 500, torch.Generator().manual_seed(0))
    assert 0.019 < float(entities.abs().max()) <= 0.02
    assert 3.1 < float(angles.abs().max()) <= math.pi


@pytest.mark.parametrize("name", ["distmult", "complex"])
def test_products_start_with_the_wanted_spread(name: str) -> None:
    tables = make(name, scale=0.5).initial(2000, 2000, torch.Generator().manual_seed(0))
    assert [float(table.std()) for table in tables] == pytest.approx([0.5, 0.5], rel=0.05)


def test_transr_starts_with_identities_and_transd_near_them() -> None:
    _, relations = make("transr").initial(2, 3, torch.Generator().manual_seed(0))
    assert torch.equal(relations[:, 4:].reshape(3, 4, 4), torch.eye(4).expand(3, 4, 4))
    entities, _ = make("transd").initial(500, 3, torch.Generator().manual_seed(0))
    assert float(entities[:, 5:].abs().max()) == pytest.approx(0.1 * float(entities[:, :5].abs().max()), rel=0.05)


def test_conve_starts_without_biases() -> None:
    entities, _ = make("conve").initial(5, 2, torch.Generator().manual_seed(0))
    assert entities[:, 12].tolist() == [0.0] * 5


# ---------------------------------------------------------------- what single scorers promise


def test_transh_puts_translations_into_hyperplanes() -> None:
    prepared = make("transh").prepare(torch.randn(20, 10, generator=torch.Generator().manual_seed(0)))
    translation, normal = prepared.chunk(2, -1)
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(20))
    torch.testing.assert_close((translation * normal).sum(-1), torch.zeros(20), atol=1e-6, rtol=0)


def test_rotate_sums_moduli_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def scores_and_gradients() -> list[torch.Tensor]:
        example = Example("rotate", {"norm": 1})
        example.entities.requires_grad_()
        scores = example.against("tail")
        weights = torch.arange(scores.numel(), dtype=torch.float64).view_as(scores)
        return [scores.detach(), *torch.autograd.grad((scores * weights).sum(), example.entities)]

    whole = scores_and_gradients()
    monkeypatch.setattr(rotate_module, "_CELLS_AT_ONCE", 1)
    for a, b in zip(whole, scores_and_gradients(), strict=True):
        torch.testing.assert_close(a, b)


def test_rotate_has_a_gradient_where_query_and_candidate_meet() -> None:
    scorer = make("rotate", norm=1)
    same = torch.ones(1, 1, 6, requires_grad=True)
    scorer.against(same, same, same).sum().backward()
    assert torch.equal(same.grad, torch.zeros(1, 1, 6))


@pytest.mark.parametrize("norm", [1, 2])
def test_distances_are_never_nan_where_query_and_candidate_meet(norm: int) -> None:
    same = (1000 * torch.ones(1, 1, 5)).requires_grad_()
    score = make("transe", norm=norm).against(same, same, same)
    assert float(score.detach()) == pytest.approx(0, abs=1e-3)
    (gradient,) = torch.autograd.grad(score.sum(), same)
    assert torch.isfinite(gradient).all()


# ---------------------------------------------------------------- bad settings

BAD = [
    *[(name, {"dim": 0}, f"{SCORERS[name].__name__}.dim must be between 1 and 100000; got 0") for name in SMALL],
    ("transe", {"norm": 3}, "TransE.norm must be one of 1, 2; got 3"),
    ("rotate", {"norm": 0}, "RotatE.norm must be one of 1, 2; got 0"),
    ("rotate", {"bound": 0.0}, "RotatE.bound must be between 1e-06 and 1000; got 0.0"),
    ("distmult", {"scale": 0.0}, "DistMult.scale must be between 1e-06 and 100; got 0.0"),
    ("complex", {"scale": 101.0}, "ComplEx.scale must be between 1e-06 and 100; got 101.0"),
    ("conve", {"filters": 0}, "ConvE.filters must be between 1 and 10000; got 0"),
    ("conve", {"hidden_dropout": 1.0}, "ConvE.hidden_dropout must be between 0 and 0.9; got 1.0"),
    ("conve", {"input_dropout": -0.1}, "ConvE.input_dropout must be between 0 and 0.9; got -0.1"),
    ("conve", {"height": 5}, "ConvE.height must be at least 2, divide dim (12) and leave 3 columns; got 5"),
    ("conve", {"height": 1}, "ConvE.height must be at least 2, divide dim (12) and leave 3 columns; got 1"),
    ("conve", {"height": 6}, "ConvE.height must be at least 2, divide dim (12) and leave 3 columns; got 6"),
]
OWN_LIMITS = {
    "transr": "TransR.dim must be between 1 and 10000; got 0",
    "conve": "ConvE.dim must be between 9 and 100000; got 0",
}


@pytest.mark.parametrize(("name", "settings", "message"), BAD, ids=variant_name)
def test_bad_settings_are_refused(name: str, settings: dict[str, object], message: str) -> None:
    if "dim" in settings:
        message = OWN_LIMITS.get(name, message)
    with pytest.raises(ConfigError) as error:
        make(name, **settings)
    assert str(error.value) == message
