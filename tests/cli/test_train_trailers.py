"""Trailers from the command line: train, tag, evaluate, explain, check, add-label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encoders.trailers.scripted import Loudness, Reader, Shade, trailers
from reeltag.cli.train import build_recipe
from reeltag.encoders.trailers import SHOT_EXPERTS
from reeltag.errors import ConfigError
from reeltag.recipes import READ_BY_DEFAULT
from reeltag.tagger import Tagger
from samples import GENRES, rows

from .runner import Commands

TRAIN = ("train", "films.jsonl", "--recipe", "quick.json", "--out", "runs/one", "--cache", "cache")
SHADE = ("--motion-encoder", "shade")


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.ShotReader", made)
    monkeypatch.setitem(SHOT_EXPERTS["motion"], "shade", lambda _: Shade())
    monkeypatch.setitem(SHOT_EXPERTS["audio"], "loudness", lambda _: Loudness())
    return made


@pytest.fixture
def videos(reeltag: Commands) -> Path:
    """A folder of trailers whose brightness tells the genre; two cannot be read."""
    scripts = {row["id"]: f"{60 * GENRES.index(row['genres'][0])} 1" for row in rows()}
    trailers(reeltag.folder / "videos", {f"{i}-trailer": script for i, script in scripts.items()})
    for title_id in ("t003", "t115"):
        (reeltag.folder / "videos" / f"{title_id}-trailer.mp4").write_text(f"broken {title_id}", encoding="utf-8")
    return Path("videos")


def test_trailers_are_learned_from(reeltag: Commands, reader: Reader, videos: Path) -> None:
    result = reeltag(*TRAIN, "--trailers", videos, *SHADE)
    assert result.code == 0
    assert "1 trailer could not be read: t003 (is cut off)\n" in result.out
    assert "left out" not in result.out
    assert "reading trailers" in result.err
    features = Tagger.from_pretrained("runs/one").recipe.features
    assert features.modalities == ("plot", "title", "year", "credits", "motion")
    assert features.motion_encoders == ("shade",)


def test_json_tells_what_could_not_be_read(reeltag: Commands, reader: Reader, videos: Path) -> None:
    told = reeltag(*TRAIN, "--trailers", videos, *SHADE, "--json").json
    assert told["unreadable_trailers"] == {"t003": "is cut off"}
    tagged = reeltag("tag", "runs/one", "films.jsonl", "--trailers", videos, "--cache", "cache", "--json").json
    assert tagged["unreadable_trailers"] == {"t003": "is cut off", "t115": "is cut off"}
    plain = reeltag("tag", "runs/one", "films.jsonl", "--cache", "cache", "--json").json
    assert "unreadable_trailers" not in plain


def test_a_trained_tagger_reads_trailers(reeltag: Commands, reader: Reader, videos: Path) -> None:
    reeltag(*TRAIN, "--trailers", videos, *SHADE, "--modalities", "motion")
    given = ("--trailers", videos, "--cache", "cache")
    tagged = reeltag("tag", "runs/one", "films.jsonl", *given)
    assert "2 trailers could not be read: t003 (is cut off); t115 (is cut off)\n" in tagged.out
    assert reeltag("evaluate", "runs/one", "films.jsonl", *given, "--json").json["evaluation"]["n_titles"] == 24
    known = reeltag("explain", "runs/one", "t001", "--catalogue", "films.jsonl", *given)
    assert "known: motion\n" in known.out
    absent = reeltag("explain", "runs/one", "t001", "--catalogue", "films.jsonl", "--cache", "cache")
    assert "known: nothing; absent: motion\n" in absent.out
    added = reeltag(
        "add-label", "runs/one", "Bright", "films.jsonl", "--example", "t005", "--example", "t001",
        "--strongest", 0, *given,
    )  # fmt: skip
    assert "added 'Bright' from 2 examples" in added.out
    n_read = len(reader.read)
    reeltag("tag", "runs/one", "films.jsonl", *given)
    assert len(reader.read) == n_read


def test_a_catalogue_without_trailers_leaves_them_out_and_says_so(reeltag: Commands, reader: Reader) -> None:
    result = reeltag(*TRAIN, *SHADE, "--audio-encoder", "loudness")
    assert "left out, because no training title has them: motion, audio\n" in result.out
    reeltag.fails(
        "train", "films.jsonl", "--recipe", "quick.json", "--out", "two", "--modalities", "motion",
        because="no training title has any of: motion; trailers are given by --trailers",
    )  # fmt: skip


def test_an_encoder_of_trailers_adds_its_modality(reader: Reader) -> None:
    for modality, spec in (
        ("image", "descriptors"),
        ("scene", "descriptors"),
        ("motion", "flow"),
        ("audio", "spectral"),
    ):
        features = build_recipe("fusion", encoders={modality: [spec]}).features
        assert features.modalities == (*READ_BY_DEFAULT, modality)
        assert getattr(features, f"{modality}_encoders") == (spec,)
        asked = build_recipe("fusion", modalities=f"plot,{modality}", encoders={modality: [spec]}).features
        assert asked.modalities == ("plot", modality)
        with pytest.raises(ConfigError, match=f"--{modality}-encoder is given and --modalities leaves out"):
            build_recipe("fusion", modalities="plot", encoders={modality: [spec]})
    both = build_recipe("fusion", modalities="motion", encoders={"motion": ["flow", "shade"]}).features
    assert both.motion_encoders == ("flow", "shade")
    assert build_recipe("fusion", encoders={"poster": ["descriptors"]}).features.modalities == READ_BY_DEFAULT


def test_check_counts_trailers_and_names_missing_ones(reeltag: Commands, reader: Reader, videos: Path) -> None:
    data = reeltag("check", "films.jsonl", "--trailers", videos, "--no-audit", "--json").json
    assert data["present"]["trailer"]["all"] == 130
    named = [row | {"trailer": f"videos/{row['id']}-trailer.mp4"} for row in rows()]
    named[7]["trailer"] = "videos/none.mp4"
    path = reeltag.catalogue("named.jsonl", named)
    result = reeltag("check", path, "--no-audit")
    assert (
        "trailer files that are missing and count as absent: 1 (the trailer file must exist (title t007): "
        in result.out
    )
    assert reeltag("check", path, "--no-audit", "--json").json["present"]["trailer"]["all"] == 129
    assert reader.read == []


def test_mistakes(reeltag: Commands, reader: Reader, videos: Path) -> None:
    for words, because in (
        (("--trailers", "none"), "trailers: none: no such file or folder"),
        (("--trailers", "films.jsonl"), "trailers: films.jsonl: give one folder, or video files, named by title id ("),
        (("--motion-encoder", "eyes"), "motion expert 'eyes' is unknown; known: flow, video:MODEL"),
        (("--set", "features.shots.max_shot_s=0"), "ShotConfig.max_shot_s must be between 0.5 and 120; got 0"),
    ):
        result = reeltag("train", "films.jsonl", "--recipe", "quick.json", "--out", "two", *words)
        assert (result.code, result.out) == (2, "")
        assert f"reeltag: {because}" in result.err
    assert not (reeltag.folder / "two").exists()


def test_recipe_files_know_the_settings(reeltag: Commands, reader: Reader, videos: Path) -> None:
    path = reeltag.folder / "quick.json"
    data = json.loads(path.read_text("utf-8"))
    data["features"] |= {"modalities": ["motion"], "motion_encoders": ["shade"]}
    data["features"]["shots"]["side"] = 64
    path.write_text(json.dumps(data), encoding="utf-8")
    assert reeltag(*TRAIN, "--trailers", videos).code == 0
    assert Tagger.from_pretrained("runs/one").recipe.features.shots.side == 64
