"""Votes and given fields in the pipeline: what feeds them, what never does, how they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from reeltag import pipeline as pipeline_module
from reeltag.catalogue import Catalogue
from reeltag.encoders.fields import FieldEncoder
from reeltag.encoders.store import FeatureStore
from reeltag.errors import CatalogueError, ConfigError
from reeltag.features import Block, Features
from reeltag.graph.credits import CreditConfig
from reeltag.graph.votes import CreditVotes
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.models import MODELS
from reeltag.pipeline import FeaturePipeline
from reeltag.recipes import FeatureConfig, Recipe, recipe, recipe_from_json
from reeltag.tagger import Tagger
from samples import SETTINGS, Row, catalogue, changed, quick_recipe, rows, sample

VOTES = FeatureConfig(modalities=("year", "credits"), credit_features=("votes",), vote_fields=("genres",))
FIELDS = FeatureConfig(modalities=("year", "fields"), fields=("genres", "moods"))
SPLITS = sample().frame["split"].to_list()
TRAINING = sample().take([row for row, split in enumerate(SPLITS) if split == "train"])
BACKGROUND = sample().take([row for row, split in enumerate(SPLITS) if split == "background"])
WIDER = sample().take([row for row, split in enumerate(SPLITS) if split in ("train", "background")])


def targets_of(films: Catalogue, field: str = "moods") -> sp.csr_matrix:
    lists = films.lists(field)
    space = LabelSpace.learn(sample().lists(field), LabelConfig(field=field, min_count=1))
    return space.encode_sparse(lists)[0]


def fit(
    config: FeatureConfig, films: Catalogue = TRAINING, wider: Catalogue | None = None, field: str = "moods"
) -> FeaturePipeline:
    return FeaturePipeline(config).fit(films, films, targets_of(films, field), wider=wider)


def read(pipeline: FeaturePipeline, films: Catalogue, tmp_path: Path) -> Features:
    return pipeline.transform(films, FeatureStore(tmp_path / "cache"))


def dense(block: Block) -> np.ndarray:
    return np.asarray(block.values.toarray())


def same(a: Features, b: Features) -> bool:
    def array(block: Block) -> np.ndarray:
        return dense(block) if block.is_sparse else np.asarray(block.values)

    return list(a.blocks) == list(b.blocks) and all(
        np.array_equal(array(a.blocks[name]), array(b.blocks[name]))
        and np.array_equal(a.blocks[name].present, b.blocks[name].present)
        for name in a.blocks
    )


# ---------------------------------------------------------------- votes


def test_votes_are_a_block_and_those_of_every_other_field_one_more(tmp_path: Path) -> None:
    config = replace(VOTES, vote_fields=("genres", "keywords"))
    pipeline = fit(config)
    features = read(pipeline, sample(), tmp_path)
    assert list(features.blocks) == ["year", "credits.votes", "credits.votes_genres", "credits.votes_keywords"]
    assert features.modalities == ("year", "credits")
    assert all(block.is_sparse for name, block in features.blocks.items() if name != "year")
    for name, field in (("votes", "moods"), ("votes_genres", "genres"), ("votes_keywords", "keywords")):
        lists = TRAINING.lists(field)
        space = LabelSpace.learn(lists, LabelConfig(field=field, min_count=1))
        assert all(lists)
        expected = CreditVotes().fit(TRAINING, space.encode_sparse(lists)[0]).transform(sample())
        np.testing.assert_array_equal(dense(features.blocks[f"credits.{name}"]), dense(expected))
        np.testing.assert_array_equal(features.blocks[f"credits.{name}"].present, expected.present)
    assert pipeline.credits is None
    assert pipeline.credit_graph is None


def test_dense_targets_say_what_sparse_ones_say(tmp_path: Path) -> None:
    targets = targets_of(TRAINING)
    dense_ones = FeaturePipeline(VOTES).fit(TRAINING, TRAINING, targets.toarray())
    assert same(read(dense_ones, sample(), tmp_path), read(fit(VOTES), sample(), tmp_path))


def test_votes_stand_beside_other_credit_features(tmp_path: Path) -> None:
    config = replace(VOTES, credit_features=("profile", "votes", "standing"))
    pipeline = FeaturePipeline(config).fit(TRAINING, TRAINING, targets_of(TRAINING).toarray())
    blocks = read(pipeline, sample(), tmp_path).blocks
    assert set(blocks) == {
        "year", "credits.profile", "credits.standing", "credits.votes", "credits.votes_genres",
    }  # fmt: skip
    assert pipeline.credits is not None


def test_vote_fields_without_votes_are_not_read(tmp_path: Path) -> None:
    config = replace(VOTES, credit_features=("profile",))
    pipeline = FeaturePipeline(config).fit(TRAINING, TRAINING, targets_of(TRAINING).toarray(), wider=WIDER)
    assert list(read(pipeline, sample(), tmp_path).blocks) == ["year", "credits.profile"]
    assert pipeline.credit_votes == {}
    assert pipeline.fitted_on_["graph"] == TRAINING.ids


@pytest.mark.parametrize(
    "credits", [CreditConfig(roles=("cast",)), CreditConfig(prior_strength=9.0), CreditConfig(leave_one_out=False)]
)
def test_settings_of_credits_reach_every_vote(credits: CreditConfig, tmp_path: Path) -> None:
    pipeline = fit(replace(VOTES, credits=credits))
    assert [votes.config for votes in pipeline.credit_votes.values()] == [credits, credits]
    found = read(pipeline, sample(), tmp_path).blocks["credits.votes"]
    expected = CreditVotes(credits).fit(TRAINING, targets_of(TRAINING)).transform(sample())
    np.testing.assert_array_equal(dense(found), dense(expected))


# ---------------------------------------------------------------- who feeds the votes


def test_other_fields_are_voted_on_by_wider_films_too(tmp_path: Path) -> None:
    narrow, wide = fit(VOTES), fit(VOTES, wider=WIDER)
    assert wide.credit_votes["votes"].film_ids == TRAINING.ids
    assert wide.credit_votes["votes_genres"].film_ids == WIDER.ids
    assert narrow.credit_votes["votes_genres"].film_ids == TRAINING.ids
    one, two = read(narrow, sample(), tmp_path), read(wide, sample(), tmp_path)
    np.testing.assert_array_equal(dense(one.blocks["credits.votes"]), dense(two.blocks["credits.votes"]))
    changed_rows = np.abs(dense(one.blocks["credits.votes_genres"]) - dense(two.blocks["credits.votes_genres"]))
    assert (changed_rows.max(axis=1) > 0.01).sum() > 20


def test_the_graph_names_the_wider_titles_that_voted() -> None:
    assert fit(VOTES).fitted_on_ == {"graph": TRAINING.ids}
    assert fit(VOTES, wider=WIDER).fitted_on_ == {"graph": WIDER.ids}
    unknown = set(BACKGROUND.ids[:4])  # of these no genres are known, so that they have no vote
    frame = WIDER.frame.with_columns(
        genres=pl.when(pl.col("id").is_in(unknown)).then(pl.lit([], pl.List(pl.String))).otherwise(pl.col("genres"))
    )
    told = fit(VOTES, wider=Catalogue.from_frame(frame)).fitted_on_["graph"]
    assert told == [name for name in WIDER.ids if name not in unknown]
    assert fit(replace(VOTES, vote_fields=()), wider=WIDER).fitted_on_ == {"graph": TRAINING.ids}


def test_films_of_the_wider_graph_are_left_out_of_their_own_votes(tmp_path: Path) -> None:
    pipeline = fit(VOTES, wider=WIDER)
    before = dense(read(pipeline, WIDER, tmp_path).blocks["credits.votes_genres"])
    lists = WIDER.lists("genres")
    everything = sorted({genre for held in lists for genre in held})
    for row in (0, 5, len(WIDER) - 1):
        swapped = [everything if place == row else held for place, held in enumerate(lists)]
        frame = WIDER.frame.with_columns(genres=pl.Series(swapped))
        again = fit(VOTES, wider=Catalogue.from_frame(frame)).credit_votes["votes_genres"]
        found = dense(again.transform(WIDER.take([row])))[0]
        columns = {name: place for place, name in enumerate(words_of(frame["genres"].to_list()))}
        order = [columns[name] for name in words_of(lists)]
        order = [*order, *(len(columns) + place for place in order)]
        np.testing.assert_array_equal(found[order], before[row])


def words_of(lists: list[list[str]]) -> tuple[str, ...]:
    return LabelSpace.learn(lists, LabelConfig(field="genres", min_count=1)).labels


def vote_recipe(**settings: Any) -> Recipe:
    config = quick_recipe(modalities=("plot", "credits"), field="moods", credit_features=("votes",))
    return replace(config, features=replace(config.features, vote_fields=("genres",)), **settings)


def swapped(row: Row) -> Row:
    """Return a row with other moods, genres and people."""
    return row | {
        "moods": ["dark" if row["moods"] == ["light"] else "light", "odd"],
        "genres": ["Noir"],
        "directors": ["Horror director 0"],
        "cast": ["Comedy actor 1", "stranger"],
    }


@pytest.mark.parametrize("split", ["validation", "test"])
def test_no_validation_or_test_title_reaches_the_votes(split: str, tmp_path: Path) -> None:
    tagger = Tagger(vote_recipe()).fit(sample())
    whole = tagger.fitted
    for change in (swapped, leave_out_all_but_two_of(split)):
        other = Tagger(vote_recipe()).fit(changed(change, split)).fitted
        for name in ("votes", "votes_genres"):
            assert other.pipeline.credit_votes[name].film_ids == whole.pipeline.credit_votes[name].film_ids
        asked = sample().take(range(60))
        assert same(read(other.pipeline, asked, tmp_path), read(whole.pipeline, asked, tmp_path))
        assert other.pipeline.fitted_on_ == whole.pipeline.fitted_on_
    held_out = {row["id"] for row in rows() if row["split"] == split}
    for part in ("graph", "model", "vocabulary of plot"):
        assert not held_out & set(whole.fitted_on[part]), part
    check = tagger.evaluate(sample(), "test").report.metadata["leak check"]
    assert check == "no fitted part has seen any of these titles"


def leave_out_all_but_two_of(split: str) -> Callable[[Row], Row | None]:
    kept = [row["id"] for row in rows() if row["split"] == split][:8]
    return lambda row: row if row["id"] in kept else None


def test_a_tagger_counts_background_titles_and_unlabelled_training_titles_among_the_wider() -> None:
    bare = {row["id"] for row in rows() if row["split"] == "train"}
    bare = set(sorted(bare)[::5])
    films = changed(lambda row: row | {"moods": []} if row["id"] in bare or row["split"] == "background" else row)
    fitted = Tagger(vote_recipe()).fit(films).fitted
    labelled = [name for name in TRAINING.ids if name not in bare]
    assert fitted.pipeline.credit_votes["votes"].film_ids == labelled
    assert fitted.pipeline.credit_votes["votes_genres"].film_ids == WIDER.ids
    assert set(fitted.fitted_on["graph"]) == set(WIDER.ids)
    alone = vote_recipe()
    alone = replace(alone, features=replace(alone.features, credits=CreditConfig(background=False)))
    fitted = Tagger(alone).fit(films).fitted
    assert fitted.pipeline.credit_votes["votes_genres"].film_ids == TRAINING.ids


# ---------------------------------------------------------------- vote fields that say little


@pytest.mark.parametrize("how", ["empty lists", "no column", "nothing"])
def test_a_vote_field_that_is_empty_is_passed_over(how: str, tmp_path: Path) -> None:
    films = {
        "empty lists": lambda: changed(lambda row: row | {"genres": []}),
        "no column": lambda: catalogue(without=["genres"]),
        "nothing": lambda: changed(lambda row: row | {"genres": None}),
    }[how]()
    training = films.take([row for row, split in enumerate(SPLITS) if split == "train"])
    pipeline = fit(VOTES, training)
    assert list(pipeline.credit_votes) == ["votes"]
    assert pipeline.fitted_on_ == {"graph": TRAINING.ids}
    features = read(pipeline, films, tmp_path)
    assert list(features.blocks) == ["year", "credits.votes"]
    data = pipeline.save(tmp_path / "features")
    loaded = FeaturePipeline.load(tmp_path / "features", VOTES, **data)  # type: ignore[arg-type]
    assert same(read(loaded, films, tmp_path), features)


def test_in_large_catalogues_words_on_few_films_are_not_voted_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts = {word: sum(word in held for held in TRAINING.lists("keywords")) for word in all_keywords()}
    monkeypatch.setattr(pipeline_module, "SMALL", len(TRAINING) - 1)
    monkeypatch.setattr(pipeline_module, "MIN_VOTED", 5)
    config = replace(VOTES, vote_fields=("keywords",))
    block = read(fit(config), sample(), tmp_path).blocks["credits.votes_keywords"]
    assert block.dim == 2 * sum(n >= 5 for n in counts.values()) < 2 * len(counts)
    monkeypatch.setattr(pipeline_module, "SMALL", len(TRAINING))
    assert read(fit(config), sample(), tmp_path).blocks["credits.votes_keywords"].dim == 2 * len(counts)


def all_keywords() -> set[str]:
    return {word for held in TRAINING.lists("keywords") for word in held}


def test_where_no_word_is_on_enough_films_all_are_voted_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pipeline_module, "SMALL", 10)
    monkeypatch.setattr(pipeline_module, "MIN_VOTED", 1000)
    block = read(fit(replace(VOTES, vote_fields=("keywords",))), sample(), tmp_path).blocks["credits.votes_keywords"]
    assert block.dim == 2 * len(all_keywords())


def test_without_credits_there_are_no_votes(tmp_path: Path) -> None:
    films = catalogue(without=["directors", "cast"])
    pipeline = fit(VOTES, films)
    assert pipeline.absent_ == ("credits",)
    assert (pipeline.credit_votes, pipeline.fitted_on_) == ({}, {})
    data = pipeline.save(tmp_path / "features")
    assert "votes" not in data
    loaded = FeaturePipeline.load(tmp_path / "features", VOTES, **data)  # type: ignore[arg-type]
    assert list(read(loaded, sample(), tmp_path).blocks) == ["year"]


# ---------------------------------------------------------------- given fields


def test_fields_are_read_as_given(tmp_path: Path) -> None:
    features = read(fit(FIELDS, field="keywords"), sample(), tmp_path)
    assert list(features.blocks) == ["year", "fields.genres", "fields.moods"]
    assert features.modalities == ("year", "fields")
    for field in ("genres", "moods"):
        expected = FieldEncoder(field).fit(TRAINING.lists(field)).encode(sample().lists(field))
        np.testing.assert_array_equal(dense(features.blocks[f"fields.{field}"]), dense(expected))
        np.testing.assert_array_equal(features.blocks[f"fields.{field}"].present, expected.present)


def test_words_of_fields_are_learned_from_training_titles_and_said_to_be() -> None:
    pipeline = fit(FIELDS, TRAINING, wider=WIDER, field="keywords")
    assert pipeline.fitted_on_ == {"vocabulary of genres": TRAINING.ids, "vocabulary of moods": TRAINING.ids}


def test_a_title_without_the_field_lacks_the_block(tmp_path: Path) -> None:
    films = changed(lambda row: row | ({"genres": [], "moods": []} if row["id"] == "t000" else {"moods": ["new"]}))
    features = read(fit(FIELDS, field="keywords"), films, tmp_path)
    present = np.arange(len(films)) > 0
    np.testing.assert_array_equal(features.blocks["fields.genres"].present, present)
    assert not features.blocks["fields.moods"].present.any()  # a word nobody had in training says nothing
    np.testing.assert_array_equal(features.present("fields"), present)


def test_a_catalogue_without_the_column_lacks_the_block(tmp_path: Path) -> None:
    films = Catalogue.from_frame(TRAINING.frame.with_columns(house=pl.lit(["cult"])))
    pipeline = fit(replace(FIELDS, fields=("house", "genres")), films, field="keywords")
    for asked in (catalogue(without=["genres"]), sample().take([])):
        blocks = read(pipeline, asked, tmp_path).blocks
        assert not blocks["fields.house"].present.any()
        assert blocks["fields.house"].values.shape == (len(asked), 1)
        assert not blocks["fields.genres"].present.any()
    assert read(pipeline, films, tmp_path).blocks["fields.house"].present.all()


def test_a_field_that_the_training_catalogue_does_not_know_is_named() -> None:
    for config in (replace(FIELDS, fields=("vibes",)), replace(VOTES, vote_fields=("vibes",))):
        with pytest.raises(CatalogueError, match=r"no column 'vibes' of type List\(String\); columns: id, title"):
            fit(config, field="keywords")


def test_fields_that_no_training_title_has_are_left_out(tmp_path: Path) -> None:
    without_one = fit(FIELDS, training_without("moods"), field="keywords")
    assert list(read(without_one, sample(), tmp_path).blocks) == ["year", "fields.genres"]
    assert without_one.absent_ == ()
    without_both = fit(FIELDS, training_without("moods", "genres"), field="keywords")
    assert list(read(without_both, sample(), tmp_path).blocks) == ["year"]
    assert without_both.absent_ == ("fields",)


def training_without(*fields: str) -> Catalogue:
    empty = pl.lit([], pl.List(pl.String))
    return Catalogue.from_frame(TRAINING.frame.with_columns(**dict.fromkeys(fields, empty)))


# ---------------------------------------------------------------- refit and storage


def test_a_fit_forgets_votes_and_fields(tmp_path: Path) -> None:
    config = replace(VOTES, modalities=("year", "credits", "fields"), fields=("genres",))
    pipeline = fit(config, wider=WIDER)
    bare = catalogue(without=["directors", "cast", "genres"])
    pipeline.fit(bare, bare, targets_of(bare))
    assert pipeline.absent_ == ("credits", "fields")
    assert pipeline.credit_votes == {}
    assert pipeline.fitted_on_ == {}
    assert list(read(pipeline, sample(), tmp_path).blocks) == ["year"]


def test_votes_and_fields_are_saved_and_loaded(tmp_path: Path) -> None:
    config = replace(
        VOTES, modalities=("year", "credits", "fields"), fields=("moods", "genres"), vote_fields=("genres", "keywords")
    )
    pipeline = fit(config, training_without("moods"), wider=WIDER)
    data = json.loads(json.dumps(pipeline.save(tmp_path / "features")))
    assert data["votes"] == ["votes", "votes_genres", "votes_keywords"]
    assert {path.name for path in (tmp_path / "features").iterdir()} == {
        "credits.votes", "credits.votes_genres", "credits.votes_keywords", "fields.genres",
    }  # fmt: skip
    loaded = FeaturePipeline.load(tmp_path / "features", config, **data)
    films = [sample(), sample().take([3]), catalogue(without=["genres"])]
    for of in films:
        assert same(read(loaded, of, tmp_path), read(pipeline, of, tmp_path))


def test_a_tagger_with_votes_and_fields_says_the_same_when_loaded(tmp_path: Path) -> None:
    config = vote_recipe()
    features = replace(config.features, modalities=("plot", "credits", "fields"), fields=("genres",))
    tagger = Tagger(replace(config, features=features)).fit(sample())
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "tagger"))
    ours, theirs = tagger.tag(sample()), loaded.tag(sample())
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    assert ours.evidence == theirs.evidence
    assert loaded.fitted.fitted_on == tagger.fitted.fitted_on
    explained = loaded.explain(sample(), "t003")
    assert explained.people == ()  # votes name nobody
    assert set(explained.present) == {"plot", "credits", "fields"}


def test_the_recipe_xmlc_learns_from_votes_and_fields(tmp_path: Path) -> None:
    small = SETTINGS["fusion"] | {"experts": ("net", "near", "words"), "n_threads": 1, "neighbours": 5}
    small = small | {"training": small["training"] | {"epochs": 2}}
    named = recipe("xmlc")
    features = replace(named.features, plot_encoders=("tfidf",), title_encoders=("tfidf",))
    config = replace(named, model_settings=small, features=features, labels=LabelConfig(field="keywords", min_count=4))
    tagger = Tagger(config).fit(sample())
    assert set(tagger.fitted.pipeline.credit_votes) == {"votes", "votes_genres"}
    assert "background" in SPLITS
    assert set(tagger.fitted.fitted_on["model"]) == set(WIDER.ids)
    loaded = Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "xmlc"))
    np.testing.assert_array_equal(
        loaded.tag(sample(), evidence=False).probabilities, tagger.tag(sample(), evidence=False).probabilities
    )


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("modalities", ["plot", "fields"], r"FeatureConfig\.fields must name at least one list field for the modality"),
        (
            "modalities",
            ["smell"],
            "must be one of plot, title, year, credits, poster, poster_text, joint, fields, image, "
            "scene, motion, audio; got",
        ),
        ("credit_features", ["votes", "votes"], "must name one or more, each once; got votes, votes"),
        ("credit_features", ["vote"], "must be one of profile, links, sum, standing, people, votes; got 'vote'"),
        ("vote_fields", "genres", r"recipe\.features\.vote_fields: must be a list; got 'genres'"),
        ("fields", "genres", r"recipe\.features\.fields: must be a list; got 'genres'"),
    ],
)
def test_a_wrong_setting_is_named(place: str, value: Any, message: str) -> None:
    data: Any = recipe("linear").to_json()
    data["features"][place] = value
    with pytest.raises(ConfigError, match=message):
        recipe_from_json(data)


def test_the_learned_field_must_not_be_given() -> None:
    features = replace(FIELDS, fields=("moods", "genres"))
    message = r"FeatureConfig\.fields must not name the field that is learned; got 'genres', whose words would be read"
    with pytest.raises(ConfigError, match=message):
        Recipe(features=features)
    with pytest.raises(ConfigError, match=message):
        Tagger(Recipe(features=features, labels=LabelConfig(field="tags")), labels="genres")
    assert Recipe(features=features, labels=LabelConfig(field="tags")).labels.field == "tags"
    not_read = replace(features, modalities=("year",))
    assert Recipe(features=not_read).features.fields == ("moods", "genres")  # named, and not read


def test_the_learned_field_may_be_voted_on(tmp_path: Path) -> None:
    pipeline = fit(VOTES, field="genres")
    blocks = read(pipeline, sample(), tmp_path).blocks
    assert set(blocks) == {"year", "credits.votes", "credits.votes_genres"}


def test_recipes_with_votes_and_fields_survive_json() -> None:
    config = Recipe(
        model="xmlc",
        model_settings={"hidden": 0, "experts": ["net", "near"]},
        labels=LabelConfig(field="tags"),
        features=replace(VOTES, modalities=("credits", "fields"), fields=("genres",), vote_fields=("genres", "moods")),
        train_on_background=True,
    )
    back = recipe_from_json(json.loads(json.dumps(config.to_json())))
    assert back.to_json() == config.to_json()
    assert (back.features, back.train_on_background) == (config.features, True)


def test_named_recipes_for_many_tags() -> None:
    ours, published = recipe("xmlc"), recipe("xmlc-published")
    assert (ours.model, published.model) == ("xmlc", "clusters")
    for config in (ours, published):
        assert (config.labels.field, config.labels.min_count) == ("tags", 20)
        assert config.model in MODELS
    assert ours.features.credit_features == ("votes",)
    assert ours.features.vote_fields == ("genres",)
    assert ours.train_on_background
    assert published.features.modalities == ("plot",)
    assert not published.train_on_background
    assert not recipe("fusion").train_on_background
