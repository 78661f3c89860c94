"""Recipes: every setting survives JSON, and a wrong one is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reeltag.calibration import CalibrationConfig
from reeltag.errors import ConfigError, EncoderError
from reeltag.graph.credits import CreditConfig
from reeltag.labels import LabelConfig
from reeltag.models import MODELS
from reeltag.recipes import READ_BY_DEFAULT, RECIPES, FeatureConfig, Recipe, recipe, recipe_from_json
from reeltag.splits import SplitConfig
from samples import TINY_LINKS, quick_recipe

FAR_FROM_DEFAULT = Recipe(
    name="house",
    model="fusion",
    model_settings={"hidden": 7, "training": {"epochs": 2, "learning_rate": 0.5}},
    labels=LabelConfig(field="moods", min_count=2, include=("a",), exclude=("b",), synonyms={"A": "a"}),
    features=FeatureConfig(
        modalities=("credits", "plot", "joint", "poster"),
        plot_encoders=("tfidf", "transformer:bert-base-uncased"),
        title_encoders=(),
        poster_encoders=("onnx:./models/places", "descriptors", "clip:some/clip"),
        joint_encoders=("blip:some/blip", "bridgetower:some/bridge"),
        credit_features=("sum", "profile", "people", "links", "standing", "votes"),
        vote_fields=("genres", "keywords"),
        fields=("genres",),
        links=TINY_LINKS,
        credits=CreditConfig(roles=("cast",), background=False, prior_strength=2.5, leave_one_out=False),
    ),
    splits=SplitConfig(validation=0.3, test=0.1, seed=4, group_duplicates=False),
    calibration=CalibrationConfig(method="isotonic", rule="per_label", shrinkage=1.0),
    neighbours=3,
    train_on_background=True,
)


@pytest.mark.parametrize("config", [*RECIPES.values(), FAR_FROM_DEFAULT, quick_recipe("fusion")], ids=lambda r: r.name)
def test_every_recipe_survives_json(config: Recipe) -> None:
    data = json.loads(json.dumps(config.to_json()))
    back = recipe_from_json(data)
    assert back.to_json() == config.to_json() == data
    assert back.model_config() == config.model_config()
    assert replace(back, model_settings={}) == replace(config, model_settings={})


def test_defaults_are_spelled_out() -> None:
    data = recipe("fusion").to_json()
    assert data["model_settings"]["training"]["epochs"] == MODELS["fusion"].config_class().training.epochs
    assert data["calibration"]["rule"] == "global"
    assert set(data) == {
        "name", "model", "model_settings", "labels", "features", "splits", "calibration", "neighbours",
        "train_on_background", "self_training",
    }  # fmt: skip


def test_there_is_a_recipe_per_model() -> None:
    assert {config.model for config in RECIPES.values()} == set(MODELS)
    assert all(name == config.name == recipe(name).name for name, config in RECIPES.items())


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=rf"recipe 'idgk' is unknown; known: {', '.join(RECIPES)}, or a file FILE\.json"
    ):
        recipe("idgk")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("colour", 1, "recipe: unknown setting 'colour'; known: name, model"),
        ("features.colour", 1, r"recipe\.features: unknown setting 'colour'"),
        ("features.credits.colour", 1, r"recipe\.features\.credits: unknown setting 'colour'"),
        ("model_settings.colour", 1, "fusion settings: unknown setting 'colour'"),
        ("model_settings.training.colour", 1, r"fusion settings\.training: unknown setting 'colour'"),
        ("model", "transformer", rf"Recipe\.model must be one of {', '.join(MODELS)}; got 'transformer'"),
        ("neighbours", -1, r"Recipe\.neighbours must be between 0 and 1e\+08; got -1"),
        ("neighbours", "many", r"recipe\.neighbours: must be of type int; got 'many'"),
        ("labels.min_count", 0, "LabelConfig.min_count must be at least 1; got 0"),
        ("splits.test", 0.95, "validation and test must leave titles for train"),
        ("calibration.rule", "best", r"CalibrationConfig\.rule must be one of half, global, per_label; got 'best'"),
        ("features.modalities", [], r"FeatureConfig\.modalities must name at least one modality"),
        (
            "features.modalities",
            ["plot", "smell"],
            "modalities must be one of plot, title, year, credits, poster, poster_text, joint, fields, image, scene, "
            "motion, audio; got 'smell'",
        ),
        ("features.modalities", ["plot", "plot"], r"modalities must name each once; got plot, plot"),
        ("features.modalities", "plot", r"recipe\.features\.modalities: must be a list; got 'plot'"),
        ("features.plot_encoders", [], r"FeatureConfig\.plot_encoders must name at least one encoder"),
        ("features.title_encoders", [], r"FeatureConfig\.title_encoders must name at least one encoder"),
        ("features.plot_encoders", ["tfidf", "tfidf"], r"plot_encoders must differ in name .*; got tfidf, tfidf"),
        ("features.plot_encoders", ["sentence:a/x", "transformer:b/x"], r"plot_encoders must differ in name"),
        ("features.poster_encoders", [], r"FeatureConfig\.poster_encoders must name at least one encoder"),
        ("features.poster_encoders", ["onnx:a/x", "clip:b/x"], r"poster_encoders must differ in name .*; got onnx:a/x"),
        ("features.poster_encoders", "descriptors", r"recipe\.features\.poster_encoders: must be a list"),
        ("features.joint_encoders", ["blip:a/x", "blip:b/x"], r"joint_encoders must differ in name .*; got blip:a/x"),
        ("features.modalities", ["joint"], r"FeatureConfig\.joint_encoders must name at least one encoder"),
        (
            "features.credit_features",
            ["profile", "walks"],
            r"FeatureConfig\.credit_features must be one of profile, links, sum, standing, people, votes; got 'walks'",
        ),
        ("features.credit_features", [], r"credit_features must name one or more, each once; got none"),
        ("features.credit_features", ["sum", "sum"], r"credit_features must name one or more, each once; got sum, sum"),
        ("features.links.colour", 1, r"recipe\.features\.links: unknown setting 'colour'"),
        ("features.links.folds", 1, r"LinkCreditConfig\.folds must be between 2 and 100; got 1"),
        ("features.links.embedding.scorer", "word2vec", r"name must be one of transe, .*; got 'word2vec'"),
        ("features.links.embedding.training.epochs", 0, r"LinkTrainingConfig\.epochs must be between 1"),
        ("features.credits.roles", ["grip"], r"CreditConfig\.roles must be one of directors, cast; got 'grip'"),
        ("model_settings.hidden", 0, r"FusionConfig\.hidden must be between 1 and 65536; got 0"),
        ("model_settings.dropout", float("nan"), r"FusionConfig\.dropout must be between 0 and 0\.95; got nan"),
        ("model_settings.loss", "hinge", r"FusionConfig\.loss must be one of .*; got 'hinge'"),
        ("model_settings.training.epochs", True, r"training\.epochs: must be of type int; got True"),
    ],
)
def test_a_wrong_setting_is_named(place: str, value: Any, message: str) -> None:
    data: Any = recipe("fusion").to_json()
    *parents, last = place.split(".")
    inner = data
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    with pytest.raises(ConfigError, match=message):
        recipe_from_json(data)


@pytest.mark.parametrize("spec", ["word2vec", "tfidf:x", "sentence:", "transformer", "minilm:x"])
def test_an_unknown_encoder_is_named_before_any_work(spec: str) -> None:
    with pytest.raises(EncoderError, match=rf"text encoder '{spec}' is unknown; known: tfidf, minilm, sentence:MODEL"):
        FeatureConfig(plot_encoders=(spec,))


@pytest.mark.parametrize("spec", ["resnet", "descriptors:x", "onnx:", "clip", "blip:x", "tfidf"])
def test_an_unknown_poster_encoder_is_named_before_any_work(spec: str) -> None:
    with pytest.raises(EncoderError, match=rf"poster encoder '{spec}' is unknown; known: descriptors, onnx:FOLDER"):
        FeatureConfig(poster_encoders=(spec,))


@pytest.mark.parametrize("spec", ["blip", "bridgetower:", "clip:x", "descriptors"])
def test_an_unknown_joint_encoder_is_named_before_any_work(spec: str) -> None:
    with pytest.raises(EncoderError, match=rf"joint encoder '{spec}' is unknown; known: blip:MODEL, bridgetower:MODEL"):
        FeatureConfig(joint_encoders=(spec,))


def test_posters_are_read_unless_asked_otherwise_and_joint_only_when_asked() -> None:
    assert FeatureConfig().modalities == ("plot", "title", "year", "credits", "poster")
    config = FeatureConfig(modalities=("poster", "joint"), joint_encoders=("blip:hub/blip-base",))
    assert config.encoders_of("poster") == [("poster.descriptors", "descriptors")]
    assert config.encoders_of("joint") == [("joint.blip-base", "blip:hub/blip-base")]
    assert config.encoders_of("year") == []


def test_encoders_of_a_modality_that_is_not_read_may_be_absent() -> None:
    assert (
        FeatureConfig(modalities=("year",), plot_encoders=(), title_encoders=(), poster_encoders=()).plot_encoders == ()
    )


def test_a_recipe_must_be_an_object() -> None:
    with pytest.raises(ConfigError, match=r"house\.json: must be an object; got \[1\]"):
        recipe_from_json([1], "house.json")


def test_settings_of_the_recipe_are_not_shared() -> None:
    first = recipe("fusion").to_json()
    first["model_settings"]["hidden"] = 1
    first["features"]["modalities"].clear()
    assert recipe("fusion").to_json()["features"]["modalities"] == list(READ_BY_DEFAULT)
    assert recipe("fusion").model_config().hidden != 1
