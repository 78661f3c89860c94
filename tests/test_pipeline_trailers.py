"""The feature pipeline on trailers: mean vectors and sequences, presence, fingerprints, whole taggers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from encoders.trailers.scripted import RATE, Loudness, Reader, Shade, trailers
from reeltag.catalogue import Catalogue, TrailerFiles
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.trailers import SHOT_EXPERTS
from reeltag.encoders.trailers.contract import SHOT_MODALITIES, Shot
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import ConfigError, EncoderError, FeatureError
from reeltag.features import Features
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.pipeline import FeaturePipeline
from reeltag.recipes import READ_BY_DEFAULT, FeatureConfig, Recipe, recipe_from_json
from reeltag.tagger import Tagger
from samples import GENRES, catalogue, quick_recipe, rows, sample

N = 20
HAS_TRAILER = [number % 2 == 0 and number != 2 for number in range(N)]
HAS_SOUND = [has and number % 4 == 0 for number, has in enumerate(HAS_TRAILER)]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr("reeltag.encoders.trailers.trailer_pass.ShotReader", made)
    monkeypatch.setitem(SHOT_EXPERTS["motion"], "shade", lambda _: Shade())
    monkeypatch.setitem(SHOT_EXPERTS["image"], "shade", lambda _: Shade())
    monkeypatch.setitem(SHOT_EXPERTS["audio"], "loudness", lambda _: Loudness())
    return made


@pytest.fixture
def films(tmp_path: Path) -> Catalogue:
    """The first 20 titles of the sample: every second with a trailer, every fourth with sound; the second is broken."""
    scripts = {
        title_id: f"{number + 1}{'s' * (number % 4 == 0)} {number + 2}"
        for number, title_id in enumerate(sample().ids[:N])
    }
    scripts = {title_id: script for number, (title_id, script) in enumerate(scripts.items()) if number % 2 == 0}
    files = trailers(tmp_path / "films", scripts | {"t002": "broken"})
    return replace(sample().take(range(N)), trailers=files)


def pooled(**more: object) -> FeatureConfig:
    return FeatureConfig(
        modalities=("motion", "audio"), motion_encoders=("shade",), audio_encoders=("loudness",), **more
    )  # type: ignore[arg-type]


def fit(config: FeatureConfig, films: Catalogue) -> FeaturePipeline:
    targets, _ = LabelSpace.learn(films.lists("genres"), LabelConfig(min_count=1)).encode(films.lists("genres"))
    return FeaturePipeline(config).fit(films, films, targets)


def read(config: FeatureConfig, films: Catalogue, folder: Path) -> Features:
    return fit(config, films).transform(films, FeatureStore(folder / "cache"))


# ---------------------------------------------------------------- what is read


def test_trailers_are_read_as_the_mean_of_their_shots(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    features = read(pooled(), films, tmp_path)
    assert list(features.blocks) == ["motion.shade", "audio.loudness"]
    assert not features.tokens
    assert features.modalities == ("motion", "audio")
    assert features.present("motion").tolist() == HAS_TRAILER
    assert features.present("audio").tolist() == HAS_SOUND
    for row in np.flatnonzero(HAS_TRAILER):
        shots = [[row + 1, 0], [row + 2, 1]]  # brightness and start of both shots
        mean, length = np.mean(shots, axis=0), np.linalg.norm(shots, axis=1).mean()
        expected = mean / np.linalg.norm(mean) * length
        np.testing.assert_allclose(features.blocks["motion.shade"].values[row], expected, rtol=1e-3)
    loud = features.blocks["audio.loudness"].values
    np.testing.assert_allclose(loud[HAS_SOUND][:, 0], np.flatnonzero(HAS_SOUND) + 1, rtol=1e-3)


def test_trailers_are_read_shot_by_shot_when_asked(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    features = read(pooled(tokens=("motion", "audio")), films, tmp_path)
    assert not features.blocks
    assert list(features.tokens) == ["motion.shade", "audio.loudness"]
    (motion, seen), (sound, heard) = (block.read() for block in features.tokens.values())
    for row, (has, is_loud) in enumerate(zip(HAS_TRAILER, HAS_SOUND, strict=True)):
        assert seen[row].tolist() == [has, has]
        assert motion[row, :, 0].tolist() == ([row + 1, row + 2] if has else [0, 0])
        assert heard[row].tolist() == [is_loud, False]  # the second shot has no sound, and keeps its place
        assert sound[row, 1].tolist() == [0]


def test_one_modality_by_shots_and_the_other_as_a_mean(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    features = read(pooled(tokens=("motion",)), films, tmp_path)
    assert (list(features.tokens), list(features.blocks)) == (["motion.shade"], ["audio.loudness"])


def test_the_limit_spreads_shots_and_leaves_means_alone(reader: Reader, tmp_path: Path) -> None:
    scripts = dict.fromkeys(sample().ids[:N], " ".join(map(str, range(1, 10))))
    films = replace(sample().take(range(N)), trailers=trailers(tmp_path / "long", scripts))
    features = read(pooled(tokens=("motion",), shot_limit=3), films, tmp_path)
    values, seen = features.tokens["motion.shade"].read()
    assert seen.shape == (N, 3)
    assert values[0, :, 0].tolist() == [2, 5, 8]
    whole = read(pooled(shot_limit=1), films, tmp_path).blocks["motion.shade"].values[0]
    np.testing.assert_allclose(whole / np.linalg.norm(whole), np.array([5, 4]) / np.hypot(5, 4), rtol=1e-3)


def test_a_trailer_is_read_once_for_all_modalities(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    config = replace(pooled(), modalities=("image", "motion", "audio"), image_encoders=("shade",))
    features = read(config, films, tmp_path)
    assert list(features.blocks) == ["image.shade", "motion.shade", "audio.loudness"]
    assert len(reader.read) == len(set(reader.read)) == N // 2
    assert set(reader.rates) == {(RATE,)}
    np.testing.assert_array_equal(features.blocks["image.shade"].values, features.blocks["motion.shade"].values)
    read(config, films, tmp_path)
    assert len(reader.read) == N // 2


def test_what_could_not_be_read_is_told(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    pipeline = fit(pooled(), films)
    assert pipeline.unreadable_trailers == {}
    pipeline.transform(films, FeatureStore(tmp_path / "cache"))
    assert pipeline.unreadable_trailers == {"t002": "is cut off"}
    with_new_fit = pipeline.fit(films, films, np.zeros((N, 1), np.float32))
    assert with_new_fit.unreadable_trailers == {}


# ---------------------------------------------------------------- absence


def test_modalities_that_no_training_title_has_are_left_out(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    config = replace(pooled(), modalities=("year", "motion", "audio"))
    bare = replace(films, trailers=TrailerFiles())
    pipeline = fit(config, bare)
    assert pipeline.absent_ == ("motion", "audio")
    features = pipeline.transform(films, FeatureStore(tmp_path / "cache"))
    assert list(features.blocks) == ["year"]
    assert reader.read == []
    with pytest.raises(
        FeatureError, match=r"no training title has any of: motion, audio; trailers are given by --trailers$"
    ):
        fit(pooled(), bare)
    with pytest.raises(FeatureError, match="poster, motion; posters are given by --posters; trailers are given by"):
        fit(replace(pooled(), modalities=("poster", "motion")), bare)


def test_titles_without_trailers_are_absent_at_tagging(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    pipeline = fit(pooled(), films)
    features = pipeline.transform(replace(films, trailers=TrailerFiles()), FeatureStore(tmp_path / "cache"))
    assert features.modalities == ("motion", "audio")
    assert not features.present("motion").any()
    assert features.blocks["motion.shade"].values.shape == (N, 2)
    assert not features.blocks["motion.shade"].values.any()


def test_models_that_are_not_there_are_named_before_any_work(
    reader: Reader, films: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Shade):
        @property
        def dim(self) -> int:  # type: ignore[override]
            raise EncoderError("no such expert here")

    monkeypatch.setitem(SHOT_EXPERTS["motion"], "shade", lambda _: Missing())
    with pytest.raises(EncoderError, match="no such expert here"):
        fit(pooled(), films)
    assert reader.read == []


# ---------------------------------------------------------------- settings


def test_trailers_are_read_only_when_asked_for() -> None:
    assert not set(READ_BY_DEFAULT) & set(SHOT_MODALITIES)
    assert not set(FeatureConfig().modalities) & set(SHOT_MODALITIES)


def test_settings_of_older_artefacts_are_still_read() -> None:
    new = quick_recipe().to_json()
    newer = {*(f"{modality}_encoders" for modality in SHOT_MODALITIES), "shots", "shot_limit"}
    old = new | {"features": {name: value for name, value in new["features"].items() if name not in newer}}
    assert recipe_from_json(old).features == quick_recipe().features


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"shot_limit": 0}, ConfigError, "shot_limit must be between 1 and 4096; got 0"),
        ({"motion_encoders": ()}, ConfigError, "motion_encoders must name at least one encoder"),
        ({"motion_encoders": ("shade", "shade")}, ConfigError, "motion_encoders must differ in name"),
        ({"modalities": ("scene",)}, ConfigError, "scene_encoders must name at least one encoder"),
        ({"motion_encoders": ("eyes",)}, EncoderError, "motion expert 'eyes' is unknown; known: flow, video:MODEL"),
    ],
)
def test_wrong_settings_are_named(reader: Reader, change: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        replace(pooled(), **change)  # type: ignore[arg-type]


def test_tokens_of_shots_need_a_model_that_reads_them(reader: Reader) -> None:
    with pytest.raises(ConfigError, match="tokens must be empty for the model 'linear'"):
        Recipe(model="linear", features=pooled(tokens=("motion",)))


def test_how_trailers_are_cut_is_a_setting(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    data = quick_recipe().to_json()
    data["features"]["shots"]["max_shot_s"] = 5
    assert recipe_from_json(data).features.shots == ShotConfig(max_shot_s=5.0)
    data["features"]["shots"]["shortest"] = 5
    with pytest.raises(ConfigError, match=r"recipe\.features\.shots: unknown setting 'shortest'"):
        recipe_from_json(data)


# ---------------------------------------------------------------- artefacts


def test_a_loaded_pipeline_reads_the_same(reader: Reader, films: Catalogue, tmp_path: Path) -> None:
    pipeline, store = fit(pooled(), films), FeatureStore(tmp_path / "cache")
    told = json.loads(json.dumps(pipeline.save(tmp_path / "features")))
    assert set(told["encoders"]) == {"motion.shade", "audio.loudness"}
    again = FeaturePipeline.load(tmp_path / "features", pooled(), **told)
    before, after = pipeline.transform(films, store), again.transform(films, store)
    for name, block in before.blocks.items():
        np.testing.assert_array_equal(block.values, after.blocks[name].values)
        np.testing.assert_array_equal(block.present, after.blocks[name].present)


def test_other_experts_are_refused_at_tagging(
    reader: Reader, films: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = fit(pooled(), films).save(tmp_path / "features")
    store = FeatureStore(tmp_path / "cache")

    def loaded(config: FeatureConfig) -> FeaturePipeline:
        return FeaturePipeline.load(tmp_path / "features", config, **told)  # type: ignore[arg-type]

    with pytest.raises(EncoderError, match=r"block 'motion\.shade': the installed model differs .* expected f1-shots-"):
        loaded(pooled(shots=ShotConfig(side=72))).transform(films, store)
    monkeypatch.setitem(SHOT_EXPERTS["motion"], "shade", lambda _: Shade("f2"))
    with pytest.raises(EncoderError, match=r"block 'motion\.shade': the installed model differs"):
        loaded(pooled()).transform(films, store)
    monkeypatch.setitem(SHOT_EXPERTS["motion"], "shade", lambda _: Shade("f1-torch.float16"))
    assert loaded(pooled()).transform(films, store).present("motion").any()  # another precision of the same model


class Genre(Shade):
    """A stand-in that tells four greys apart."""

    name, dim = "genre", 4  # type: ignore[assignment]

    def encode_shots(self, shots: Sequence[Shot]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        chosen = [int(shot.grey[0, 0, 0]) % 4 for shot in shots]
        return np.eye(4, dtype=np.float32)[chosen], np.ones(len(shots), np.bool_)


def test_a_tagger_learns_from_trailers_and_tags_the_same_once_loaded(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHOT_EXPERTS["motion"], "genre", lambda _: Genre())
    scripts = {
        row["id"]: " ".join(str(4 * shot + GENRES.index(genre)) for shot in range(2) for genre in row["genres"])
        for row in rows()
        if int(row["id"][1:]) % 10  # some have none
    }
    films = replace(catalogue(), trailers=trailers(tmp_path / "films", scripts))
    plain = quick_recipe(modalities=("motion", "audio"))
    features = replace(plain.features, motion_encoders=("genre",), audio_encoders=("loudness",))
    tagger = Tagger(replace(plain, features=features), cache=tmp_path / "cache").fit(films)
    assert tagger.evaluate(films).report.evaluation.ranking.mean_average_precision > 0.9
    assert len(reader.read) == len({*scripts.values()})  # equal files, and both passes: each once
    before = tagger.tag(films)
    tagger.save_pretrained(tmp_path / "tagger")
    after = Tagger.from_pretrained(tmp_path / "tagger", cache=tmp_path / "other").tag(films)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    explanation = tagger.explain(films, "t001")
    assert (explanation.present, explanation.absent) == (("motion",), ("audio",))
    assert explanation.labels[0].modalities["motion"] > 0
    assert tagger.explain(films, "t010").present == ()
