"""The feature pipeline on posters' words and on tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reeltag.catalogue import Catalogue
from reeltag.catalogue.posters import PosterFiles
from reeltag.encoders import POSTER_ENCODERS, TEXT_ENCODERS
from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr import OCR_ENGINES, PosterText, Word
from reeltag.encoders.store import FeatureStore
from reeltag.errors import ConfigError, EncoderError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.pipeline import FeaturePipeline
from reeltag.recipes import FeatureConfig, Recipe
from samples import sample

DIM = 4


class LetterEncoder:
    """A stand-in for a pre-trained text model: the length of a text, and of each of its words."""

    name, dim, token_dim, fingerprint = "letters", 1, DIM, "letters-v1"

    def encode(self, batch: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        filled = np.array([bool(text.strip()) for text in batch], np.bool_)
        return np.array([[len(text)] for text in batch], np.float32).reshape(-1, 1), filled

    def encode_pieces(self, batch: Sequence[str]) -> list[np.ndarray]:
        return [np.array([[len(word)] * DIM for word in text.split()], np.float16).reshape(-1, DIM) for text in batch]

    def pieces(self, text: str) -> list[tuple[int, int]]:
        return [(0, 0) for _ in text.split()]


class ShadeEncoder:
    """A stand-in for an image model: the mean colour, and that of the upper and the lower half."""

    name, dim, token_dim, fingerprint = "shade", 3, 3, "shade-v1"

    def encode(self, batch: Sequence[RGBImage]) -> np.ndarray:
        return np.array([np.asarray(image).mean(axis=(0, 1)) for image in batch], np.float32)

    def encode_patches(self, batch: Sequence[RGBImage], grid: int) -> np.ndarray:
        return np.array([np.asarray(i.resize((1, min(grid, 2)))).reshape(-1, 3) for i in batch], np.float16)

    def patch_places(self, image: RGBImage, grid: int) -> list[tuple[float, float, float, float]]:
        return [(0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)][: min(grid, 2)]


class Engine:
    """A stand-in for OCR: reads the red of an image, nothing where it is 0."""

    def __init__(self, name: str, prefix: str = "red") -> None:
        self.name = self.fingerprint = name
        self.prefix, self.n_images = prefix, 0

    def read(self, images: Sequence[RGBImage]) -> list[PosterText]:
        self.n_images += len(images)
        reds = [image.getpixel((0, 0))[0] for image in images]  # type: ignore[index]
        return [PosterText(words=(Word(text=self.prefix), Word(text=str(red))) if red else ()) for red in reds]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine("reds")
    monkeypatch.setitem(TEXT_ENCODERS, "letters", lambda _: LetterEncoder())
    monkeypatch.setitem(POSTER_ENCODERS, "shade", lambda _: ShadeEncoder())
    monkeypatch.setitem(OCR_ENGINES, "reds", lambda _: made)
    monkeypatch.setitem(OCR_ENGINES, "other", lambda _: Engine("other", "quite red"))
    return made


@pytest.fixture
def films(tmp_path: Path) -> Catalogue:
    """The first 20 titles of the sample: every second with a poster of its own red; the second poster is broken."""
    (tmp_path / "posters").mkdir()
    paths = {}
    for number, title_id in enumerate(sample().ids[:20:2]):
        paths[title_id] = tmp_path / "posters" / f"{title_id}.png"
        Image.new("RGB", (10, 15), (9 * number, 7, 9)).save(paths[title_id])
    paths["t002"].write_bytes(b"no image")
    return replace(sample().take(range(20)), posters=PosterFiles(paths=paths))


def words() -> FeatureConfig:
    return FeatureConfig(
        modalities=("poster", "poster_text"),
        poster_encoders=("shade",),
        poster_text_encoders=("letters",),
        ocr_engine="reds",
    )


def tokens() -> FeatureConfig:
    return replace(words(), tokens=("poster", "poster_text"))


HAS_POSTER = [number % 2 == 0 and number != 2 for number in range(20)]
HAS_WORDS = [has and number != 0 for number, has in enumerate(HAS_POSTER)]


def fit(config: FeatureConfig, films: Catalogue) -> FeaturePipeline:
    targets, _ = LabelSpace.learn(films.lists("genres"), LabelConfig(min_count=1)).encode(films.lists("genres"))
    return FeaturePipeline(config).fit(films, films, targets)


def test_words_are_a_modality_of_their_own(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    features = fit(words(), films).transform(films, FeatureStore(tmp_path / "cache"))
    assert list(features.blocks) == ["poster_text.letters", "poster.shade"]
    assert not features.tokens
    assert features.present("poster").tolist() == HAS_POSTER
    assert features.present("poster_text").tolist() == HAS_WORDS  # no text is no vector, never that of ""
    assert features.blocks["poster_text.letters"].values[4, 0] == len("red 18")
    assert engine.n_images == 9


def test_two_encoders_read_the_words_once(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    class Second(LetterEncoder):
        name = "more"

    TEXT_ENCODERS["more"] = lambda _: Second()
    try:
        config = replace(words(), poster_text_encoders=("letters", "more"), tokens=())
        fit(config, films).transform(films, FeatureStore(tmp_path / "cache"))
    finally:
        del TEXT_ENCODERS["more"]
    assert engine.n_images == 9


def test_tokens_take_the_place_of_vectors(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache")
    pipeline = fit(tokens(), films)
    features = pipeline.transform(films, store)
    assert not features.blocks
    assert list(features.tokens) == ["poster_text.letters", "poster.shade"]
    assert features.modalities == ("poster_text", "poster")
    assert features.present("poster").tolist() == HAS_POSTER
    assert features.present("poster_text").tolist() == HAS_WORDS
    values, seen = features.tokens["poster_text.letters"].take([4, 0]).read()
    assert values[0].tolist() == [[3.0] * DIM, [2.0] * DIM]  # "red" and "18"
    assert seen.tolist() == [[True, True], [False, False]]
    assert features.tokens["poster.shade"].read()[0].shape == (20, 2, 3)
    assert list(pipeline.patch_encoders) == ["poster.shade"]
    assert list(pipeline.piece_encoders) == ["poster_text.letters"]
    assert fit(replace(tokens(), patch_grid=1, token_limit=1), films).transform(films, store).tokens[
        "poster_text.letters"
    ].read()[1].shape == (20, 1)


def test_encoders_without_tokens_give_vectors(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    config = replace(
        tokens(), modalities=("plot", "poster"), plot_encoders=("tfidf", "letters"), tokens=("plot", "poster")
    )
    features = fit(config, films).transform(films, FeatureStore(tmp_path / "cache"))
    assert list(features.blocks) == ["plot.tfidf"]
    assert list(features.tokens) == ["plot.letters", "poster.shade"]


def test_without_posters_both_are_absent(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    bare = replace(films, posters=PosterFiles())
    pipeline = fit(replace(tokens(), modalities=("year", "poster", "poster_text")), bare)
    assert pipeline.absent_ == ("poster", "poster_text")
    assert list(pipeline.transform(films, FeatureStore(tmp_path / "cache")).blocks) == ["year"]
    assert engine.n_images == 0


def test_another_engine_reads_other_words(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache")
    pipeline = fit(words(), films)
    found = pipeline.with_ocr("other").transform(films, store).blocks["poster_text.letters"].values
    assert found[4, 0] == len("quite red 18")
    assert pipeline.transform(films, store).blocks["poster_text.letters"].values[4, 0] == len("red 18")


def test_a_saved_pipeline_reads_alike(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache")
    pipeline = fit(tokens(), films)
    data = json.loads(json.dumps(pipeline.save(tmp_path / "features")))
    again = FeaturePipeline.load(tmp_path / "features", tokens(), **data)
    expected, found = pipeline.transform(films, store), again.transform(films, store)
    for name, block in expected.tokens.items():
        np.testing.assert_array_equal(block.read()[0], found.tokens[name].read()[0])


def test_an_engine_that_cannot_be_opened_is_named_before_any_work(
    engine: Engine, films: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Engine):
        @property
        def fingerprint(self) -> str:
            raise EncoderError("no such engine here")

        @fingerprint.setter
        def fingerprint(self, value: str) -> None:
            pass

    monkeypatch.setitem(OCR_ENGINES, "missing", lambda _: Missing("missing"))
    with pytest.raises(EncoderError, match="no such engine here"):
        fit(replace(words(), ocr_engine="missing"), films)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"tokens": ("year",)},
            "tokens must be one of plot, title, poster, poster_text, image, scene, motion, audio; got 'year'",
        ),
        ({"patch_grid": 0}, "patch_grid must be between 1 and 64"),
        ({"token_limit": 0}, "token_limit must be between 1 and 4096"),
        ({"poster_text_encoders": ("tfidf",)}, "must be pre-trained .* got tfidf"),
        ({"poster_text_encoders": ()}, "poster_text_encoders must name at least one encoder"),
    ],
)
def test_wrong_settings_are_named(engine: Engine, change: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(words(), **change)  # type: ignore[arg-type]


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(EncoderError, match="OCR engine 'eyes' is unknown; known: rapidocr"):
        FeatureConfig(modalities=("poster_text",), ocr_engine="eyes")
    assert FeatureConfig(modalities=("year",), ocr_engine="eyes").ocr_engine == "eyes"  # not read, so not opened


def test_a_tagger_knows_the_engine_it_was_trained_with(engine: Engine, films: Catalogue, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache")
    data = fit(words(), films).save(tmp_path / "features")
    again = FeaturePipeline.load(tmp_path / "features", words(), **data)  # type: ignore[arg-type]
    again.transform(films, store)
    engine.fingerprint = "another version"
    with pytest.raises(EncoderError, match=r"the OCR engine: the installed model differs .* expected reds"):
        again.transform(films, store)
    assert again.with_ocr("other").transform(films, store).present("poster_text").any()  # asked for by name


def test_patches_are_proved_before_any_work(engine: Engine, films: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMap(ShadeEncoder):
        @property
        def token_dim(self) -> int:
            raise EncoderError("no map of features")

    monkeypatch.setitem(POSTER_ENCODERS, "shade", lambda _: NoMap())
    with pytest.raises(EncoderError, match="no map of features"):
        fit(tokens(), films)
    fit(words(), films)


def test_models_that_read_no_tokens_refuse_them(engine: Engine) -> None:
    with pytest.raises(
        ConfigError, match=r"tokens must be empty for the model 'fusion', .* \(mmbt, poster, gating read tokens"
    ):
        Recipe(features=tokens())
    assert Recipe(model="poster", features=tokens()).model == "poster"
    assert Recipe(features=replace(tokens(), modalities=("year",))).model == "fusion"  # nothing is read as tokens
