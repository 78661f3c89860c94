"""``reeltag train``."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from reeltag.cli.train import build_recipe
from reeltag.errors import ConfigError, EncoderError
from reeltag.models import MODELS
from reeltag.recipes import RECIPES
from reeltag.tagger import Tagger
from samples import rows

from .runner import Commands

TRAIN = ("train", "films.jsonl", "--recipe", "quick.json", "--out", "runs/one")


def test_text(reeltag: Commands) -> None:
    result = reeltag(*TRAIN)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "learned 4 labels of 'genres' from 72 titles"
    assert lines[1] == "credits graph: 82 titles"
    assert lines[2].startswith("validation (24 titles, global threshold): micro F1 ")
    assert lines[3:] == ["saved to runs/one", "next: reeltag evaluate runs/one films.jsonl"]
    assert Tagger.from_pretrained(reeltag.folder / "runs" / "one").recipe.name == "quick-linear"


def test_json_is_the_whole_of_standard_output(reeltag: Commands) -> None:
    result = reeltag(*TRAIN, "--json", "--modalities", "plot,credits", "--seed", 3)
    assert result.json["labels"] == list(Tagger.from_pretrained("runs/one").labels.labels)
    assert result.json["titles"] == {"train": 72, "validation": 24, "graph": 82}
    assert 0.5 < result.json["validation"]["micro_f1"] <= 1
    assert "training" in result.err  # progress goes to standard error
    assert Tagger.from_pretrained("runs/one").seed == 3


def test_settings_are_put_in(reeltag: Commands) -> None:
    result = reeltag(
        *TRAIN, "--set", "labels.min_count=20", "--set", "model_settings.c=0.5", "--set", "calibration.rule=per_label",
        "--modalities", "plot, year", "--plot-encoder", "tfidf", "--labels", "moods",
    )  # fmt: skip
    assert result.code == 0
    recipe = Tagger.from_pretrained("runs/one").recipe
    assert (recipe.labels.field, recipe.labels.min_count) == ("moods", 20)
    assert recipe.model_config().c == 0.5
    assert recipe.calibration.rule == "per_label"
    assert recipe.features.modalities == ("plot", "year")
    assert "validation (24 titles, per_label threshold)" in result.out
    assert "credits graph" not in result.out


def test_absent_modalities_are_said(reeltag: Commands) -> None:
    names = ("id", "plot", "genres", "split")
    rows = [{name: row[name] for name in names} for s in ("train", "validation") for row in reeltag.labelled(s)]
    reeltag.catalogue("bare.jsonl", rows)
    result = reeltag("train", "bare.jsonl", "--recipe", "quick.json", "--out", "bare")
    assert "left out, because no training title has them: title, year, credits\n" in result.out


def test_titles_without_labels_are_learned_from(reeltag: Commands) -> None:
    films = [row | {"genres": []} if row["split"] == "background" else row for row in rows()]
    reeltag.catalogue("half.jsonl", films)
    train = ("train", "half.jsonl", "--recipe", "quick.json", "--out", "runs/one", "--unlabelled", 8)
    result = reeltag(*train, "--set", "self_training.confidence=0.5")
    told = [line for line in result.out.splitlines() if line.startswith("self-training: ")]
    assert len(told) == 1
    assert re.fullmatch(
        r"self-training: \d of 8 titles without labels joined; mAP on validation \d\.\d{3}, with them \d\.\d{3}: "
        "(not )?kept", told[0],
    )  # fmt: skip
    tagger = Tagger.from_pretrained("runs/one")
    assert (tagger.recipe.self_training.titles, tagger.recipe.self_training.confidence) == (8, 0.5)
    assert len(tagger.fitted.fitted_on["self-training"]) == 8
    rounds = reeltag(*train, "--json").json["self_training"]
    assert [list(one) for one in rounds] == [["asked", "joined", "positives", "before", "after", "kept"]]
    sure = reeltag(*train, "--set", "self_training.confidence=1")
    assert "self-training: 0 of 8 titles without labels joined\n" in sure.out
    everything = reeltag(*TRAIN, "--unlabelled", 8)
    assert "self-training: there is no training or background title without labels\n" in everything.out
    assert "self-training" not in reeltag(*TRAIN, "--unlabelled", 0).out
    reeltag.fails(*train[:-1], -1, because="SelfTrainingConfig.titles must be between 0 and 1e+08; got -1")


def test_an_older_tagger_is_replaced(reeltag: Commands) -> None:
    folder = reeltag.tagger("runs/one", "fusion")
    assert reeltag(*TRAIN).code == 0
    assert Tagger.from_pretrained(folder).recipe.model == "linear"


def test_a_foreign_folder_is_refused_before_any_work(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tagger, "fit", lambda *_, **__: pytest.fail("worked for nothing"))
    (reeltag.folder / "runs" / "one").mkdir(parents=True)
    (reeltag.folder / "runs" / "one" / "holiday.jpg").write_bytes(b"x")
    reeltag.fails(*TRAIN, because="runs/one: exists and is not a reeltag artefact; choose another folder")


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(
    reeltag: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tagger, "fit", lambda *_, **__: pytest.fail("worked for nothing"))
    films = reeltag.folder / "films.jsonl"
    reeltag.fails(
        "train", "films.jsonl", "--recipe", "quick.json", "--out", "films.jsonl/x",
        because=f"films.jsonl/x: cannot be made, because {films} is not a folder that may be written to",
    )  # fmt: skip


def test_mistakes(reeltag: Commands) -> None:
    bad = ("train", "films.jsonl", "--out", "x")
    columns = "id, title, year, plot, directors, cast, genres, moods, keywords, split"
    for words, because in (
        (("--recipe", "idgk"), f"recipe 'idgk' is unknown; known: {', '.join(RECIPES)}, or a file FILE.json"),
        (("--recipe", "idgk.json"), "recipe file 'idgk.json' does not exist"),
        (("--labels", "vibes"), f"films.jsonl: label column 'vibes' does not exist; columns: {columns}"),
        (("--set", "labels.min_count"), "--set takes PATH=VALUE; got 'labels.min_count'"),
        (("--set", "seed=1"), "--set: there is no setting 'seed'; at that place: name, model, model_settings, labels, "
         "features, splits, calibration, neighbours, train_on_background, self_training"),
        (("--set", "name.x=1"), "--set: there is no setting 'name.x'; at that place: none"),
        (("--set", "labels.min_count=many"), "recipe.labels.min_count: must be of type int; got 'many'"),
        (("--set", "model=svm"), f"Recipe.model must be one of {', '.join(MODELS)}; got 'svm'"),
        (("--modalities", "plot,smell"),
         "FeatureConfig.modalities must be one of plot, title, year, credits, poster, poster_text, joint, fields, "
         "image, scene, motion, audio; got 'smell'"),
        (("--plot-encoder", "bert"), "text encoder 'bert' is unknown; known: tfidf, minilm, sentence:MODEL, "
         "transformer:MODEL (MODEL: a local folder or a name on the hub)"),
        (("--poster-encoder", "onnx"), "poster encoder 'onnx' is unknown; known: descriptors, onnx:FOLDER, clip:MODEL "
         "(MODEL: a local folder or a name on the hub)"),
        (("--joint-encoder", "clip:x"), "joint encoder 'clip:x' is unknown; known: blip:MODEL, bridgetower:MODEL "
         "(MODEL: a local folder or a name on the hub)"),
        (("--modalities", "plot,joint"), "FeatureConfig.joint_encoders must name at least one encoder"),
        (("--seed", "-1"), "Tagger.seed must be between 0 and 2.14748e+09; got -1"),
        (("--recipe", "quick.json", "--set", "labels.min_count=900"), "no label of field 'genres' is on at least 900 "
         "training titles and not excluded (4 labels seen); lower min_count or choose another field"),
    ):  # fmt: skip
        reeltag.fails(*bad, *words, because=because)


def test_no_validation_titles(reeltag: Commands) -> None:
    reeltag.catalogue("train.jsonl", reeltag.labelled("train"))
    reeltag.fails(
        "train", "train.jsonl", "--recipe", "quick.json", "--out", "x",
        because="train.jsonl: no title of split 'validation' has known labels, and a tagger cannot be fitted without; "
        "mark such titles in the column 'split', or drop the column to have splits made",
    )  # fmt: skip


def test_a_recipe_file_must_be_json(reeltag: Commands) -> None:
    (reeltag.folder / "bad.json").write_text("{", encoding="utf-8")
    result = reeltag("train", "films.jsonl", "--recipe", "bad.json", "--out", "x")
    assert result.code == 2
    assert result.err.startswith("reeltag: recipe file 'bad.json': not valid JSON (")
    (reeltag.folder / "bad.json").write_text(json.dumps({"colour": 1}), encoding="utf-8")
    result = reeltag("train", "films.jsonl", "--recipe", "bad.json", "--out", "x")
    assert result.err.startswith("reeltag: bad.json: unknown setting 'colour'; known: name, model")


def test_another_model_brings_its_own_settings() -> None:
    recipe = build_recipe("fusion", settings=["model=linear", "model_settings.c=2"])
    assert recipe.model_config().c == 2
    with pytest.raises(ConfigError, match=r"there is no setting 'model_settings\.hidden'; at that place: c, balanced"):
        build_recipe("fusion", settings=["model=linear", "model_settings.hidden=2"])


def test_values_are_json_or_text() -> None:
    synonyms = '{"Science Fiction": "Sci-Fi"}'
    recipe = build_recipe(
        "linear", settings=[f"labels.synonyms={synonyms}", "labels.field=a=b", 'labels.include=["x"]']
    )
    assert recipe.labels.synonyms == {"Science Fiction": "Sci-Fi"}
    assert recipe.labels.field == "a=b"
    assert recipe.labels.include == ("x",)


@pytest.mark.parametrize("names", [["profile", "links"], ["sum"]])
def test_credits_are_read_as_asked(reeltag: Commands, names: list[str]) -> None:
    result = reeltag(*TRAIN, "--modalities", "year,credits", "--set", f"features.credit_features={json.dumps(names)}")
    assert result.code == 0
    assert "credits graph: 82 titles\n" in result.out
    tagger = Tagger.from_pretrained("runs/one")
    assert tagger.recipe.features.credit_features == tuple(names)
    assert set(tagger.fitted.pipeline.credit_links) == set(names) - {"profile"}
    assert reeltag("evaluate", "runs/one", "films.jsonl").code == 0
    explained = reeltag("explain", "runs/one", "t001", "--json").json
    assert bool(explained["people"]) == ("profile" in names)


def test_posters_are_read(reeltag: Commands) -> None:
    pytest.importorskip("skimage", reason="needs the extra 'posters'")
    (reeltag.folder / "posters").mkdir()
    for number, row in enumerate(reeltag.labelled("train")[:30]):
        Image.new("RGB", (20, 30), (8 * number, 99, 20)).save(reeltag.folder / "posters" / f"{row['id']}.png")
    options = ("--posters", "posters", "--poster-encoder", "descriptors", "--cache", "cache")
    assert reeltag(*TRAIN, *options, "--modalities", "plot,poster").code == 0
    tagger = Tagger.from_pretrained("runs/one")
    assert tagger.recipe.features.poster_encoders == ("descriptors",)
    assert tagger.fitted.pipeline.absent_ == ()
    assert reeltag("evaluate", "runs/one", "films.jsonl").code == 0  # without posters


def test_credits_read_in_no_known_way(reeltag: Commands) -> None:
    for value, because in (
        (
            '["walks"]',
            "FeatureConfig.credit_features must be one of profile, links, sum, standing, people, votes; got 'walks'",
        ),
        ("[]", "FeatureConfig.credit_features must name one or more, each once; got none"),
        ("links", "recipe.features.credit_features: must be a list; got 'links'"),
    ):
        reeltag.fails(*TRAIN, "--set", f"features.credit_features={value}", because=because)


def test_joint_encoders_bring_their_modality_and_must_not_contradict_it() -> None:
    joint = {"joint": ["blip:some/model"]}
    assert build_recipe("fusion", encoders=joint).features.modalities[-1] == "joint"
    with pytest.raises(ConfigError, match="--joint-encoder is given and --modalities leaves out 'joint'"):
        build_recipe("fusion", modalities="plot,poster", encoders=joint)
    with pytest.raises(ConfigError, match="--poster-encoder is given and --modalities leaves out 'poster'"):
        build_recipe("fusion", modalities="plot", encoders={"poster": ["descriptors"]})


def test_an_ocr_engine_brings_the_words_on_posters() -> None:
    chosen = build_recipe("fusion", ocr_engine="tesserocr").features
    assert (chosen.modalities[-1], chosen.ocr_engine) == ("poster_text", "tesserocr")
    both = build_recipe("fusion", modalities="poster,poster_text", ocr_engine="tesserocr").features
    assert both.modalities == ("poster", "poster_text")
    with pytest.raises(ConfigError, match="--ocr-engine is given and --modalities leaves out 'poster_text'"):
        build_recipe("fusion", modalities="plot", ocr_engine="rapidocr")
    with pytest.raises(EncoderError, match="OCR engine 'eyes' is unknown"):
        build_recipe("fusion", ocr_engine="eyes")


def test_another_contrast_forgets_the_settings_of_the_first() -> None:
    chosen = build_recipe("idkg-published", settings=["model_settings.contrast=mulcon"])
    assert chosen.model_config().contrast == "mulcon"
    assert chosen.model_config().contrast_settings == {}
