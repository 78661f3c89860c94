"""``reeltag train``: learn a label field of a catalogue and save the tagger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.cli.options import (
    AsJson,
    CachePath,
    CataloguePath,
    Maps,
    PosterPaths,
    Separator,
    SkipBad,
    TrailerPaths,
    read_catalogue,
)
from reeltag.cli.show import figure, progress_bar, say, say_json, say_unreadable

if TYPE_CHECKING:
    from reeltag.recipes import Recipe
    from reeltag.tagger import Tagger


def train(
    catalogue: CataloguePath,
    out: Annotated[Path, typer.Option(help="Folder for the trained tagger.")],
    recipe: Annotated[
        str, typer.Option(help="idkg, fusion, linear, gmu, …, or the path of a recipe as JSON.")
    ] = "fusion",
    labels: Annotated[
        str | None, typer.Option(help="List field that holds the labels (default: genres).", show_default=False)
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: plot, title, year, credits, poster, poster_text, joint, fields; of the trailer "
            "image, scene, motion, audio (default: the first five).",
            show_default=False,
        ),
    ] = None,
    plot_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="tfidf, minilm, sentence:MODEL or transformer:MODEL. Repeatable (default: tfidf and minilm).",
            show_default=False,
        ),
    ] = None,
    poster_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="descriptors, onnx:FOLDER or clip:MODEL. Repeatable (default: descriptors).", show_default=False
        ),
    ] = None,
    ocr_engine: Annotated[
        str | None,
        typer.Option(
            help="Read the words on posters too (modality poster_text): rapidocr, tesserocr or vision:MODEL.",
            show_default=False,
        ),
    ] = None,
    joint_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Poster and plot read together, for the modality joint: blip:MODEL or bridgetower:MODEL. Repeatable.",
            show_default=False,
        ),
    ] = None,
    image_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Read the pictures of trailers too (modality image): descriptors, onnx:FOLDER, clip:MODEL or "
            "transformer:MODEL. Repeatable.",
            show_default=False,
        ),
    ] = None,
    scene_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Read the scenes of trailers too (modality scene): as for --image-encoder. Repeatable.",
            show_default=False,
        ),
    ] = None,
    motion_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Read the motion of trailers too (modality motion): flow or video:MODEL. Repeatable.",
            show_default=False,
        ),
    ] = None,
    audio_encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Read the sound of trailers too (modality audio): spectral, onnx:FOLDER, ast:MODEL or clap:MODEL. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    unlabelled: Annotated[
        int | None,
        typer.Option(
            help="Learn also from this many training and background titles without labels, as far as the tagger is "
            "sure of them (default: none).",
            show_default=False,
        ),
    ] = None,
    train_on_background: Annotated[
        bool, typer.Option("--train-on-background", help="Learn from background titles with known labels too.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, for example labels.min_count=20 or model_settings.hidden=256."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and catalogue, same tagger.")] = 0,
    maps: Maps = None,
    posters: PosterPaths = None,
    trailers: TrailerPaths = None,
    separator: Separator = "|",
    skip_bad: SkipBad = None,
    cache: CachePath = None,
    as_json: AsJson = False,
) -> None:
    """Learn the labels of a catalogue; choose and calibrate on its validation titles; save the tagger."""
    from reeltag.artefact import check_destination
    from reeltag.card import model_card
    from reeltag.selftraining import SELF_TRAINING
    from reeltag.tagger import Tagger

    if unlabelled is not None:
        settings = [f"self_training.titles={unlabelled}", *(settings or [])]
    encoders = {"plot": plot_encoder, "poster": poster_encoder, "joint": joint_encoder}
    encoders |= {"image": image_encoder, "scene": scene_encoder, "motion": motion_encoder, "audio": audio_encoder}
    chosen = build_recipe(
        recipe,
        labels=labels,
        modalities=modalities,
        encoders=encoders,
        ocr_engine=ocr_engine,
        train_on_background=train_on_background,
        settings=settings,
    )
    films = read_catalogue(
        catalogue,
        maps=maps,
        posters=posters,
        trailers=trailers,
        separator=separator,
        skip_bad=skip_bad,
        label_field=chosen.labels.field,
    )
    check_destination(out)
    tagger = Tagger(chosen, seed=seed, cache=cache)
    with progress_bar() as progress:
        tagger.fit(films, progress=progress)
        report = tagger.evaluate(films, "validation").report
    tagger.save_pretrained(out, model_card(chosen.name, tagger.labels, tagger.fitted.data, report))
    scores = report.evaluation.scores
    ranking = report.evaluation.ranking
    summary: dict[str, Any] = {
        "tagger": str(out),
        "recipe": chosen.name,
        "labels": list(tagger.labels.labels),
        "absent_modalities": list(tagger.fitted.pipeline.absent_),
        "titles": tagger.fitted.data["labelled"],
        "validation": {
            "rule": scores.rule,
            "micro_f1": scores.micro_f1,
            "macro_f1": scores.macro_f1,
            "mean_average_precision": ranking.mean_average_precision,
            "ece": ranking.ece,
        },
    }
    rounds = tagger.fitted.history.get(SELF_TRAINING, [])
    notes = list(getattr(tagger.fitted.model, "notes", tuple)())
    unreadable = tagger.fitted.pipeline.unreadable_trailers
    more = (("self_training", rounds), ("notes", notes), ("unreadable_trailers", unreadable))
    summary |= {name: told for name, told in more if told}
    if as_json:
        say_json(summary)
        return
    _show_trained(tagger, summary)
    say(f"saved to {out}\nnext: reeltag evaluate {out} {catalogue}")


def _show_trained(tagger: Tagger, summary: Mapping[str, Any]) -> None:
    """Print what a tagger has learned, from what, and how well."""
    titles, chosen, pipeline, found = summary["titles"], tagger.recipe, tagger.fitted.pipeline, summary["validation"]
    say(f"learned {len(tagger.labels):,} labels of '{chosen.labels.field}' from {titles['train']:,} titles")
    if "graph" in tagger.fitted.fitted_on:
        say(f"credits graph: {titles['graph']:,} titles")
    rounds = summary.get("self_training", [])
    for line in [*map(_self_training, rounds), *summary.get("notes", [])]:
        say(line)
    if chosen.self_training.titles and not rounds:
        say("self-training: there is no training or background title without labels")
    if "poster" in set(chosen.features.tokens) - set(pipeline.absent_) and not pipeline.patch_encoders:
        say("posters are read whole, as one vector: for patches give --poster-encoder onnx:FOLDER or clip:MODEL")
    if summary["absent_modalities"]:
        say(f"left out, because no training title has them: {', '.join(summary['absent_modalities'])}")
    say_unreadable(pipeline.unreadable_trailers)
    say(
        f"validation ({titles['validation']:,} titles, {found['rule']} threshold): micro F1 "
        f"{figure(found['micro_f1'])}, macro F1 {figure(found['macro_f1'])}, mAP "
        f"{figure(found['mean_average_precision'])}, ECE {figure(found['ece'])}"
    )


def _self_training(told: Mapping[str, Any]) -> str:
    """Return what happened in one round of self-training."""
    said = f"self-training: {told['joined']:,} of {told['asked']:,} titles without labels joined"
    if told["joined"] == 0:
        return said
    kept = "kept" if told["kept"] else "not kept"
    return f"{said}; mAP on validation {figure(told['before'])}, with them {figure(told['after'])}: {kept}"


def build_recipe(
    name: str,
    *,
    labels: str | None = None,
    modalities: str | None = None,
    encoders: Mapping[str, list[str] | None] | None = None,
    ocr_engine: str | None = None,
    train_on_background: bool = False,
    settings: list[str] | None = None,
) -> Recipe:
    """Return a recipe by name or file with the settings of the command line put in; ``encoders`` by modality."""
    from reeltag.errors import ConfigError
    from reeltag.recipes import recipe, recipe_from_json

    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"recipe file {name!r} does not exist")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"recipe file {name!r}: not valid JSON ({error})") from None
        data = recipe_from_json(data, name).to_json()
    else:
        data = recipe(name).to_json()
    if labels is not None:
        data["labels"]["field"] = labels
    if modalities is not None:
        data["features"]["modalities"] = [modality.strip() for modality in modalities.split(",")]
    for modality, specs in (encoders or {}).items():
        if specs:
            _put_encoders(data["features"], modality, specs, asked=modalities is not None)
    if ocr_engine is not None:
        _add_modality(data["features"], "poster_text", "--ocr-engine", asked=modalities is not None)
        data["features"]["ocr_engine"] = ocr_engine
    data["train_on_background"] |= train_on_background  # a recipe that says so goes on doing it
    for setting in settings or []:
        _put(data, setting)
    return recipe_from_json(data)


def _put_encoders(features: dict[str, Any], modality: str, specs: list[str], *, asked: bool) -> None:
    """Put the encoders of a modality in; ``asked`` when the modalities were given on the command line."""
    from reeltag.encoders.trailers.contract import SHOT_MODALITIES
    from reeltag.recipes import READ_BY_DEFAULT

    if asked or modality not in READ_BY_DEFAULT:
        _add_modality(features, modality, f"--{modality}-encoder", asked=asked)
    features[f"{modality}_encoders"] = specs
    by_shots = set(features["tokens"]) & set(SHOT_MODALITIES)
    if by_shots and modality in SHOT_MODALITIES and modality not in by_shots:
        features["tokens"] = [*features["tokens"], modality]  # trailers are read shot by shot


def _add_modality(features: dict[str, Any], modality: str, option: str, *, asked: bool) -> None:
    """Add the modality that an option speaks of.

    Raises:
        ConfigError: The modalities were asked for, and this one is not among them.
    """
    from reeltag.errors import ConfigError

    if modality in features["modalities"]:
        return
    if asked:
        raise ConfigError(
            f"{option} is given and --modalities leaves out '{modality}': add it there, or give no {option}"
        )
    features["modalities"] = [*features["modalities"], modality]


def _put(data: dict[str, Any], setting: str) -> None:
    """Put ``path.to.key=value`` into the recipe; the value is JSON, or text when it is not."""
    from reeltag.config import put_setting
    from reeltag.recipes import recipe_from_json

    before, contrast = data["model"], data["model_settings"].get("contrast")
    path = put_setting(data, setting)
    if path == "model_settings.contrast" and data["model_settings"]["contrast"] != contrast:
        data["model_settings"]["contrast_settings"] = {}  # nor those of another contrast to this one
    if path == "model" and data["model"] != before:
        data["model_settings"] = {}  # the settings of another model mean nothing to this one
        data["model_settings"] = recipe_from_json(data).to_json()["model_settings"]
