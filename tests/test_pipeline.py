"""The feature pipeline: which blocks there are, what they are fitted on, and that loading checks the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reeltag.catalogue import Catalogue
from reeltag.catalogue.posters import PosterFiles
from reeltag.encoders import JOINT_ENCODERS, POSTER_ENCODERS, TEXT_ENCODERS
from reeltag.encoders.store import FeatureStore
from reeltag.errors import EncoderError, FeatureError
from reeltag.features import Features
from reeltag.graph.credits import CreditConfig
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.pipeline import FeaturePipeline, read_texts
from reeltag.recipes import FeatureConfig
from samples import TINY_LINKS, catalogue, rows, sample

TFIDF = FeatureConfig(plot_encoders=("tfidf",), title_encoders=("tfidf",))


class LetterEncoder:
    """A stand-in for a pre-trained model: counts letters, and how many texts it was asked for."""

    name = "letters"
    dim = 26

    def __init__(self, fingerprint: str = "letters-v1-torch.float32") -> None:
        self.fingerprint = fingerprint
        self.n_texts = 0

    def encode(self, batch: list[str]) -> tuple[np.ndarray, np.ndarray]:
        self.n_texts += len(batch)
        values = [[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in batch]
        return np.array(values, np.float32).reshape(-1, 26), np.array([bool(text.strip()) for text in batch])


class ShadeEncoder:
    """A stand-in for an image model: the mean colour."""

    name = "shade"
    dim = 3

    def __init__(self, fingerprint: str = "shade-v1-torch.float32") -> None:
        self.fingerprint = fingerprint
        self.n_images = 0

    def encode(self, batch: list[Image.Image]) -> np.ndarray:
        self.n_images += len(batch)
        return np.array([np.asarray(image).mean(axis=(0, 1)) for image in batch], np.float32)


class CaptionEncoder:
    """A stand-in for a joint model: the mean of the first channel and the length of the text."""

    name = "caption"
    dim = 2
    fingerprint = "caption-v1"

    def encode(self, images: list[Image.Image], texts: list[str]) -> np.ndarray:
        pairs = zip(images, texts, strict=True)
        return np.array([(np.asarray(image)[..., 0].mean(), len(text)) for image, text in pairs], np.float32)


@pytest.fixture
def shade(monkeypatch: pytest.MonkeyPatch) -> ShadeEncoder:
    encoder = ShadeEncoder()
    monkeypatch.setitem(POSTER_ENCODERS, "shade", lambda _: encoder)
    monkeypatch.setitem(JOINT_ENCODERS, "caption", lambda _: CaptionEncoder())
    return encoder


@pytest.fixture
def with_posters(tmp_path: Path) -> Catalogue:
    """The sample, every second title with a poster of its own shade, the first of them broken."""
    (tmp_path / "posters").mkdir()
    paths = {}
    for number, title_id in enumerate(sample().ids[::2]):
        paths[title_id] = tmp_path / "posters" / f"{title_id}.png"
        Image.new("RGB", (10, 15), (2 * number, 7, 9)).save(paths[title_id])
    paths["t000"].write_bytes(b"no image")
    return replace(sample(), posters=PosterFiles(paths=paths))


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> LetterEncoder:
    encoder = LetterEncoder()
    monkeypatch.setitem(TEXT_ENCODERS, "letters", lambda _: encoder)
    return encoder


def fit(config: FeatureConfig, films: Catalogue) -> FeaturePipeline:
    targets, _ = LabelSpace.learn(films.lists("genres"), LabelConfig(min_count=1)).encode(films.lists("genres"))
    return FeaturePipeline(config).fit(films, films, targets)


def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache")


def same(a: Features, b: Features) -> bool:
    def dense(values: object) -> np.ndarray:
        return values.toarray() if hasattr(values, "toarray") else np.asarray(values)  # type: ignore[no-any-return]

    return list(a.blocks) == list(b.blocks) and all(
        np.array_equal(dense(a.blocks[name].values), dense(b.blocks[name].values))
        and np.array_equal(a.blocks[name].present, b.blocks[name].present)
        for name in a.blocks
    )


def test_blocks_are_named_by_modality_and_encoder(tmp_path: Path, letters: LetterEncoder) -> None:
    config = FeatureConfig(plot_encoders=("tfidf", "letters"), title_encoders=("letters",))
    features = fit(config, sample()).transform(sample(), store(tmp_path))
    assert list(features.blocks) == ["plot.tfidf", "plot.letters", "title.letters", "year", "credits.profile"]
    assert features.ids == tuple(sample().ids)
    assert features.present("plot").sum() == 120  # background titles have none


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    pipeline = fit(FeatureConfig(modalities=("year",)), sample())
    assert list(pipeline.transform(sample(), store(tmp_path)).blocks) == ["year"]
    assert pipeline.credits is None
    assert pipeline.fitted_on_ == {}


def test_absent_modalities_are_noted_and_left_out(tmp_path: Path) -> None:
    films = catalogue(without=["title", "directors", "cast"])
    pipeline = fit(TFIDF, films)
    assert pipeline.absent_ == ("title", "credits", "poster")
    assert list(pipeline.transform(sample(), store(tmp_path)).blocks) == ["plot.tfidf", "year"]


def test_a_column_of_blanks_is_absent() -> None:
    films = catalogue(row | {"plot": None, "directors": [], "cast": None, "year": None} for row in rows())
    assert fit(TFIDF, films).absent_ == ("plot", "year", "credits", "poster")


def test_a_fit_forgets_the_one_before(tmp_path: Path) -> None:
    pipeline = fit(TFIDF, sample())
    pipeline.fit(catalogue(without=["plot", "directors", "cast"]), sample(), np.ones((len(sample()), 1), np.float32))
    assert pipeline.absent_ == ("plot", "credits", "poster")
    assert list(pipeline.transform(sample(), store(tmp_path)).blocks) == ["title.tfidf", "year"]
    assert set(pipeline.fitted_on_) == {"vocabulary of title"}


def test_nothing_to_learn_from_is_an_error() -> None:
    films = catalogue(without=["plot", "title", "year", "directors", "cast"])
    with pytest.raises(FeatureError, match="no training title has any of: plot, title, year, credits, poster"):
        fit(TFIDF, films)


def test_parts_tell_what_they_were_fitted_on() -> None:
    training, graph = sample().take(range(10)), sample().take(range(20))
    pipeline = FeaturePipeline(TFIDF).fit(training, graph, np.ones((20, 2), np.float32))
    assert pipeline.fitted_on_ == {
        "vocabulary of plot": training.ids,
        "vocabulary of title": training.ids,
        "graph": graph.ids,
    }


def test_plot_and_outline_are_read_together() -> None:
    frame = sample().frame.select("id", "plot").head(3)
    films = Catalogue.from_frame(
        frame.with_columns(outline=frame["plot"].str.slice(0, 6)).with_columns(plot=None).cast({"plot": str})
    )
    plots = [row["plot"] for row in rows()[:3]]
    assert read_texts(films, "plot") == [plot[:6].strip() for plot in plots]
    both = Catalogue.from_frame(frame.with_columns(outline=frame["plot"].str.slice(0, 6)))
    assert read_texts(both, "plot") == [f"{plot} {plot[:6]}".strip() for plot in plots]
    assert read_texts(sample(), "title") == sample().texts("title")


def test_save_and_load_give_the_same_features(tmp_path: Path, letters: LetterEncoder) -> None:
    config = FeatureConfig(plot_encoders=("tfidf", "letters"), title_encoders=("tfidf",))
    pipeline = fit(config, catalogue(without=["year"]))
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    assert loaded.absent_ == ("year", "poster")
    assert same(pipeline.transform(sample(), store(tmp_path)), loaded.transform(sample(), store(tmp_path)))


def test_texts_are_encoded_once(tmp_path: Path, letters: LetterEncoder) -> None:
    pipeline = fit(FeatureConfig(modalities=("plot",), plot_encoders=("letters",)), sample())
    pipeline.transform(sample(), store(tmp_path))
    n_texts = letters.n_texts
    assert n_texts == 120
    pipeline.transform(sample(), store(tmp_path))
    assert letters.n_texts == n_texts


def test_another_model_than_at_training_is_refused(tmp_path: Path, letters: LetterEncoder) -> None:
    config = FeatureConfig(modalities=("plot",), plot_encoders=("letters",))
    data = fit(config, sample()).save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    letters.fingerprint = "letters-v2-torch.float32"
    message = r"block 'plot\.letters': the installed model differs .* \(fingerprint letters-v2, expected letters-v1\)"
    with pytest.raises(EncoderError, match=message):
        loaded.transform(sample(), store(tmp_path))


def test_another_precision_is_the_same_model(tmp_path: Path, letters: LetterEncoder) -> None:
    config = FeatureConfig(modalities=("plot",), plot_encoders=("letters",))
    data = fit(config, sample()).save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    letters.fingerprint = "letters-v1-torch.bfloat16"
    assert len(loaded.transform(sample(), store(tmp_path))) == len(sample())


def test_titles_without_any_text_are_absent(tmp_path: Path, letters: LetterEncoder) -> None:
    pipeline = fit(FeatureConfig(modalities=("plot",), plot_encoders=("letters",)), sample())
    features = pipeline.transform(catalogue([{"id": "a"}, {"id": "b"}]), store(tmp_path))
    assert features.blocks["plot.letters"].values.shape == (2, 26)
    assert not features.present("plot").any()


# what is read of the credits


@pytest.mark.parametrize("names", [("profile", "links", "sum"), ("sum", "profile"), ("links",), ("sum",)], ids="+".join)
def test_credit_blocks_are_those_asked_for(names: tuple[str, ...], tmp_path: Path) -> None:
    config = FeatureConfig(modalities=("year", "credits"), credit_features=names, links=TINY_LINKS)
    pipeline = fit(config, sample())
    features = pipeline.transform(sample(), store(tmp_path))
    assert set(features.blocks) == {"year", *(f"credits.{name}" for name in names)}
    assert features.modalities == ("year", "credits")
    assert (pipeline.credits is not None) == ("profile" in names)
    assert set(pipeline.credit_links) == set(names) - {"profile"}
    assert pipeline.fitted_on_ == {"graph": sample().ids}
    for name, credits in pipeline.credit_links.items():
        assert features.blocks[f"credits.{name}"].dim == credits.dim
        assert credits.config == TINY_LINKS
        assert features.blocks[f"credits.{name}"].present.all()


def test_credits_of_every_kind_are_saved_and_loaded(tmp_path: Path) -> None:
    config = FeatureConfig(modalities=("credits",), credit_features=("profile", "links", "sum"), links=TINY_LINKS)
    pipeline = fit(config, sample())
    data = pipeline.save(tmp_path / "features")
    folders = {path.name for path in (tmp_path / "features").iterdir()}
    assert folders == {"credits", "credits.links", "credits.sum"}
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    assert same(pipeline.transform(sample(), store(tmp_path)), loaded.transform(sample(), store(tmp_path)))


def test_the_seed_and_the_progress_reach_the_embeddings(tmp_path: Path) -> None:
    config = FeatureConfig(modalities=("credits",), credit_features=("links",), links=TINY_LINKS)
    targets = np.array([[genre in row["genres"] for genre in ("Comedy", "Horror")] for row in rows()], np.float32)
    stages: list[str] = []
    one, again, other = (
        FeaturePipeline(config).fit(
            sample(), sample(), targets, seed=seed, progress=lambda stage, *_: stages.append(stage)
        )
        for seed in (0, 0, 1)
    )
    features = [pipeline.transform(sample(), store(tmp_path)) for pipeline in (one, again, other)]
    assert same(features[0], features[1])
    assert not same(features[0], features[2])
    assert set(stages) == {"training links, fold 1/2", "training links, fold 2/2"}


def test_a_fit_without_credits_forgets_the_embeddings(tmp_path: Path) -> None:
    config = FeatureConfig(modalities=("year", "credits"), credit_features=("sum",), links=TINY_LINKS)
    pipeline = fit(config, sample())
    pipeline.fit(catalogue(without=["directors", "cast"]), sample(), np.ones((len(sample()), 1), np.float32))
    assert pipeline.absent_ == ("credits",)
    assert pipeline.credit_links == {}
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    assert list(loaded.transform(sample(), store(tmp_path)).blocks) == ["year"]


@pytest.mark.parametrize("role", ["directors", "cast"])
def test_every_credit_feature_reads_only_the_roles_asked_for(role: str, tmp_path: Path) -> None:
    config = FeatureConfig(
        modalities=("credits",),
        credit_features=("profile", "links", "sum"),
        credits=CreditConfig(roles=(role,)),
        links=TINY_LINKS,
    )
    pipeline = fit(config, sample())
    other = {"directors": "cast", "cast": "directors"}[role]
    whole = pipeline.transform(sample(), store(tmp_path))
    assert same(pipeline.transform(catalogue(without=[other]), store(tmp_path)), whole)
    nobody = pipeline.transform(catalogue(without=[role]), store(tmp_path))
    assert not any(block.present.any() for block in nobody.blocks.values())
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    assert {credits.roles for credits in loaded.credit_links.values()} == {(role,)}
    assert same(loaded.transform(sample(), store(tmp_path)), whole)


# posters


def seen() -> FeatureConfig:
    return FeatureConfig(modalities=("plot", "poster"), plot_encoders=("tfidf",), poster_encoders=("shade",))


def both() -> FeatureConfig:
    return FeatureConfig(modalities=("joint", "year"), joint_encoders=("caption",))


def test_posters_are_a_block_and_missing_ones_are_absent(
    tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue
) -> None:
    features = fit(seen(), with_posters).transform(with_posters, store(tmp_path))
    assert list(features.blocks) == ["plot.tfidf", "poster.shade"]
    block = features.blocks["poster.shade"]
    expected = [number % 2 == 0 and number > 0 for number in range(len(sample()))]
    assert block.present.tolist() == expected
    np.testing.assert_array_equal(block.values[8], [8, 7, 9])
    assert not block.values[~block.present].any()


def test_posters_are_encoded_once_in_any_order(tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue) -> None:
    pipeline = fit(seen(), with_posters)
    whole = pipeline.transform(with_posters, store(tmp_path))
    n_images = shade.n_images
    assert n_images == 64
    turned = np.arange(len(sample()))[::-1]
    assert same(pipeline.transform(with_posters.take(turned), store(tmp_path)), whole.take(turned))
    assert shade.n_images == n_images


def test_a_tagger_that_reads_posters_takes_titles_without(
    tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue
) -> None:
    features = fit(seen(), with_posters).transform(sample(), store(tmp_path))
    assert features.blocks["poster.shade"].values.shape == (len(sample()), 3)
    assert not features.present("poster").any()


def test_poster_and_plot_together_need_both(tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue) -> None:
    features = fit(both(), with_posters).transform(with_posters, store(tmp_path))
    assert list(features.blocks) == ["year", "joint.caption"]
    block = features.blocks["joint.caption"]
    plots = read_texts(with_posters, "plot")
    expected = [number % 2 == 0 and number > 0 and bool(plots[number]) for number in range(len(sample()))]
    assert block.present.tolist() == expected
    assert not all(expected[number] for number in range(2, len(sample()), 2))  # background titles have no plot
    np.testing.assert_array_equal(block.values[8], [8, len(plots[8])])


@pytest.mark.parametrize("make", [seen, both])
def test_posters_that_no_training_title_has_are_left_out(
    make: Callable[[], FeatureConfig], tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue
) -> None:
    config = make()
    pipeline = fit(config, sample())
    asked = set(config.modalities) & {"poster", "joint"}
    assert set(pipeline.absent_) == asked
    assert not asked & set(pipeline.transform(with_posters, store(tmp_path)).modalities)


def test_joint_is_absent_when_no_title_has_both(shade: ShadeEncoder, with_posters: Catalogue) -> None:
    frame = with_posters.frame
    plots = [None if number % 2 == 0 else plot for number, plot in enumerate(frame["plot"])]
    films = replace(with_posters, frame=frame.with_columns(plot=pl.Series(plots, dtype=pl.String)))
    assert fit(both(), films).absent_ == ("joint",)


@pytest.mark.parametrize("make", [seen, both])
def test_what_reads_posters_is_saved_and_loaded(
    make: Callable[[], FeatureConfig], tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue
) -> None:
    config = make()
    pipeline = fit(config, with_posters)
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    first, second = (p.transform(with_posters, store(tmp_path)) for p in (pipeline, loaded))
    assert same(first, second)


def test_another_image_model_than_at_training_is_refused(
    tmp_path: Path, shade: ShadeEncoder, with_posters: Catalogue
) -> None:
    data = fit(seen(), with_posters).save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", seen(), **data)  # type: ignore[arg-type]
    shade.fingerprint = "shade-v1-torch.bfloat16"
    loaded.transform(with_posters, store(tmp_path))
    shade.fingerprint = "shade-v2-torch.float32"
    with pytest.raises(EncoderError, match=r"block 'poster\.shade': the installed model differs .*expected shade-v1"):
        loaded.transform(with_posters, store(tmp_path))


@pytest.mark.parametrize("spec", ["onnx:./nowhere", "clip:./nowhere"])
def test_an_image_model_that_is_not_there_is_named_before_any_work(
    spec: str, with_posters: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reeltag.graph.credits.CreditProfile.fit", lambda *_: pytest.fail("worked for nothing"))
    with pytest.raises(EncoderError, match=r"model folder '\./nowhere' does not exist"):
        fit(FeatureConfig(modalities=("credits", "poster"), poster_encoders=(spec,)), with_posters)


# what is read of the credits graph


@pytest.mark.parametrize("names", [("standing",), ("people",), ("people", "profile", "standing")], ids="+".join)
def test_standing_and_people_are_read_from_the_credits_graph(names: tuple[str, ...], tmp_path: Path) -> None:
    config = FeatureConfig(modalities=("credits",), credit_features=names)
    pipeline = fit(config, sample())
    features = pipeline.transform(sample(), store(tmp_path))
    assert set(features.blocks) == set(pipeline.credit_readers) == {f"credits.{name}" for name in names}
    assert (pipeline.credits is not None) == ("profile" in names)
    assert pipeline.credit_graph is not None
    if "standing" in names:
        np.testing.assert_array_equal(
            features.blocks["credits.standing"].values, pipeline.credit_graph.standing(sample()).values
        )
    if "people" in names:
        assert features.blocks["credits.people"].is_sparse
        assert features.blocks["credits.people"].present.all()
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)  # type: ignore[arg-type]
    assert (loaded.credits is None) == (pipeline.credits is None)
    assert same(features, loaded.transform(sample(), store(tmp_path)))
