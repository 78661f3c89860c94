"""The trained scorer: scores of many against scores of one, and the folder it is kept in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reeltag.errors import ArtefactError, ConfigError, GraphError
from reeltag.graph.link_model import LinkModel, check_fits, open_scorer, scorer_settings
from reeltag.graph.scorers import SCORERS, SIDES, Side

from .link_samples import VARIANTS, make, model_of, variant_name

HEAD, RELATION, TAIL = torch.tensor([0, 4, 2, 8, 2]), torch.tensor([2, 0, 2, 1, 1]), torch.tensor([3, 4, 8, 0, 1])
every_variant = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=variant_name)


# ---------------------------------------------------------------- scores


@every_variant
def test_scores_of_all_tails_hold_the_score_of_each_link(name: str, settings: dict[str, object]) -> None:
    model = model_of(make(name, **settings))
    every = model.scores(HEAD, RELATION, "tail")
    assert every.shape == (5, 9)
    torch.testing.assert_close(every[torch.arange(5), TAIL], model.score(HEAD, RELATION, TAIL), rtol=1e-4, atol=1e-4)


@every_variant
def test_scores_of_all_heads_are_those_of_the_links_or_of_their_reverses(
    name: str, settings: dict[str, object]
) -> None:
    model = model_of(make(name, **settings))
    every = model.scores(TAIL, RELATION, "head")[torch.arange(5), HEAD]
    reverse = model.score(TAIL, RELATION + 3, HEAD) if model.scorer.reciprocal else model.score(HEAD, RELATION, TAIL)
    torch.testing.assert_close(every, reverse, rtol=1e-4, atol=1e-4)
    if model.scorer.reciprocal:
        assert not torch.allclose(every, model.score(HEAD, RELATION, TAIL))


@pytest.mark.parametrize("side", SIDES)
@every_variant
def test_questions_asked_together_are_those_asked_alone(name: str, settings: dict[str, object], side: Side) -> None:
    model = model_of(make(name, **settings))
    alone = [model.scores(HEAD[i : i + 1], RELATION[i : i + 1], side) for i in range(5)]
    torch.testing.assert_close(model.scores(HEAD, RELATION, side), torch.cat(alone), rtol=1e-4, atol=1e-4)


@every_variant
def test_candidates_are_columns_of_all(name: str, settings: dict[str, object]) -> None:
    model = model_of(make(name, **settings))
    candidates = torch.tensor([7, 0, 3])
    found = model.scores(HEAD, RELATION, "tail", candidates)
    torch.testing.assert_close(found, model.scores(HEAD, RELATION, "tail")[:, candidates], rtol=1e-4, atol=1e-4)


def test_no_questions_have_no_scores() -> None:
    none = torch.empty(0, dtype=torch.int64)
    for name in ("transr", "rotate"):
        assert model_of(make(name)).scores(none, none, "tail").shape == (0, 9)
        assert model_of(make(name)).score(none, none, none).shape == (0,)


@every_variant
def test_a_model_counts_the_relations_of_its_graph(name: str, settings: dict[str, object]) -> None:
    model = model_of(make(name, **settings))
    assert (model.n_entities, model.n_relations) == (9, 3)
    check_fits(model, 9, 3, "films")


def test_a_model_of_another_graph_is_refused() -> None:
    with pytest.raises(GraphError) as error:
        check_fits(model_of(make("transe")), 1200, 3, "films")
    assert str(error.value) == (
        "the model knows 9 entities and 3 relations, but films has 1,200 and 3: it was trained on another graph"
    )


# ---------------------------------------------------------------- save and load


@every_variant
def test_what_is_saved_is_loaded(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    model = model_of(make(name, **settings))
    model.save(tmp_path / "kept")
    loaded = LinkModel.load(tmp_path / "kept")
    assert loaded.scorer == model.scorer
    assert torch.equal(loaded.entities, model.entities)
    assert torch.equal(loaded.relations, model.relations)
    assert torch.equal(loaded.scores(HEAD, RELATION, "head"), model.scores(HEAD, RELATION, "head"))


def test_a_loaded_network_is_set_to_evaluation(tmp_path: Path) -> None:
    model = model_of(make("conve"))
    assert model.scorer.network is not None
    model.scorer.network.train()
    model.save(tmp_path)
    loaded = LinkModel.load(tmp_path).scorer.network
    assert loaded is not None
    assert not loaded.training


def truncate(folder: Path) -> None:
    path = folder / "link_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def retensor(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "link_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "link_model.safetensors")

    return damage


def rejson(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "link_model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no head": (
        lambda f: (f / "link_model.json").unlink(),
        "{f}: holds no trained link model (link_model.json is missing)",
    ),
    "no JSON": (lambda f: (f / "link_model.json").write_text("{"), "{f}/link_model.json: must be valid JSON ("),
    "a list": (lambda f: (f / "link_model.json").write_text("[]"), "{f}/link_model.json: must hold a JSON object"),
    "later version": (rejson(schema=2), "{f}/link_model.json: schema must be 1; got 2"),
    "another scorer": (
        rejson(scorer="rescal"),
        "{f}/link_model.json: scorer.name must be one of transe, transh, transr, transd, distmult, complex, conve, "
        "rotate; got 'rescal'",
    ),
    "another setting": (
        rejson(settings={"dims": 3}),
        "{f}/link_model.json: settings of transe: unknown setting 'dims'; known: dim, reciprocal, norm",
    ),
    "another width": (
        rejson(settings={"dim": 6}),
        "{f}: tables of shapes (9, 5) and (3, 5) do not fit the scorer transe",
    ),
    "no tensors": (
        lambda f: (f / "link_model.safetensors").unlink(),
        "{f}/link_model.safetensors: tensors cannot be read (",
    ),
    "cut tensors": (truncate, "{f}/link_model.safetensors: tensors cannot be read ("),
    "a missing table": (
        retensor(lambda t: t.pop("relations")),
        "{f}: unknown or missing tensors for the scorer transe: relations",
    ),
    "a tensor too many": (
        retensor(lambda t: t.update(network=torch.ones(1))),
        "{f}: unknown or missing tensors for the scorer transe: network",
    ),
    "a flat table": (
        retensor(lambda t: t.update(entities=torch.ones(9))),
        "{f}: tables of shapes (9,) and (3, 5) do not fit the scorer transe",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_folder_is_refused(what: str, tmp_path: Path) -> None:
    model_of(make("transe")).save(tmp_path)
    damage, message = DAMAGES[what]
    damage(tmp_path)
    with pytest.raises(ArtefactError) as error:
        LinkModel.load(tmp_path)
    assert str(error.value).startswith(message.replace("{f}", str(tmp_path)))


def test_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    model_of(make("conve")).save(tmp_path)
    rejson(settings=scorer_settings(make("conve", filters=5)))(tmp_path)
    with pytest.raises(ArtefactError) as error:
        LinkModel.load(tmp_path)
    assert str(error.value) == f"{tmp_path}: the network does not fit the scorer conve and its settings"


# ---------------------------------------------------------------- scorers by name


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_open_by_name_and_settings(name: str) -> None:
    assert open_scorer(name) == SCORERS[name]()
    scorer = make(name)
    assert open_scorer(name, scorer_settings(scorer)) == scorer


def test_unknown_names_and_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scorer\.name must be one of transe, .*; got 'rescal'"):
        open_scorer("rescal")
    with pytest.raises(ConfigError, match="settings of rotate: unknown setting 'gamma'"):
        open_scorer("rotate", {"gamma": 3})
