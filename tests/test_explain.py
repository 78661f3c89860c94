"""Explanations: every number in them can be had by predicting with something left out."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reeltag.catalogue import Catalogue
from reeltag.catalogue.posters import poster_folder
from reeltag.encoders.ocr.words import PosterText
from reeltag.errors import CatalogueError
from reeltag.explain import Explanation, LabelEvidence, Neighbourhood
from reeltag.explain_page import explanation_to_html
from reeltag.features import Block, Features
from reeltag.recipes import FeatureConfig
from reeltag.tagger import Tagger
from samples import Row, catalogue, changed, fitted, quick_recipe, rows, sample
from speaking import TEXT, effects, png, speaking

MODELS = ("linear", "fusion")
TITLE = "t037"  # a test title
TRAINED = "t001"


def log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(p) - np.log1p(-p)


def own_scores(tagger: Tagger, features: Features) -> np.ndarray:
    return log_odds(tagger.fitted.model.predict_proba(features))


def row_of(title_id: str) -> Row:
    return next(row for row in rows() if row["id"] == title_id)


def explain_row(tagger: Tagger, row: Row) -> Explanation:
    return tagger.explain(catalogue([row]), row["id"], n_labels=4)


# labels and modalities


@pytest.mark.parametrize("model", MODELS)
def test_contribution_of_a_modality_is_what_leaving_it_out_changes(model: str) -> None:
    tagger = fitted(model)
    explanation = tagger.explain(sample(), TITLE, n_labels=4)
    features = tagger.features(catalogue([row_of(TITLE)]))
    assert explanation.present == ("plot", "title", "year", "credits")
    whole = own_scores(tagger, features)[0]
    for modality in explanation.present:
        blocks = dict(features.blocks)
        for name in [name for name in blocks if name.split(".")[0] == modality]:
            blocks[name] = Block(blocks[name].values * 0, np.array([False]))
        without = own_scores(tagger, Features(features.ids, blocks))[0]
        for entry in explanation.labels:
            column = tagger.labels.column(entry.label)
            assert entry.modalities[modality] == pytest.approx(whole[column] - without[column], abs=2e-3)
    assert any(abs(value) > 0.1 for entry in explanation.labels for value in entry.modalities.values())


@pytest.mark.parametrize("model", MODELS)
def test_labels_are_surest_first_with_the_taggers_own_probabilities(model: str) -> None:
    tagger = fitted(model)
    explanation = tagger.explain(sample(), TITLE, n_labels=1)
    predictions = tagger.tag(catalogue([row_of(TITLE)]))
    assert [(entry.label, entry.probability) for entry in explanation.labels if entry.applies] == predictions.decided()[
        0
    ]
    shown = [entry.probability for entry in explanation.labels]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == max(1, len(predictions.decided()[0]))
    assert {entry.threshold for entry in explanation.labels} == {float(predictions.thresholds[0])}


def test_a_label_applies_from_its_threshold_on() -> None:
    label = LabelEvidence(label="Comedy", probability=0.4, threshold=0.4, modalities={})
    assert label.applies
    assert not LabelEvidence(label="Comedy", probability=0.39, threshold=0.4, modalities={}).applies


@pytest.mark.parametrize("model", MODELS)
def test_title_without_credits(model: str) -> None:
    for credits in ({"directors": [], "cast": []}, {"directors": None, "cast": None}, {"cast": ["Nobody Known"]}):
        explanation = explain_row(fitted(model), row_of(TITLE) | {"directors": [], "cast": []} | credits)
        assert explanation.absent == ("credits",)
        assert all(entry.modalities["credits"] == 0 for entry in explanation.labels)
        assert [person.n_films for person in explanation.people] == [0] * len(credits.get("cast") or [])


@pytest.mark.parametrize("model", MODELS)
def test_title_without_plot(model: str) -> None:
    explanation = explain_row(fitted(model), row_of(TITLE) | {"plot": None})
    assert explanation.absent == ("plot",)
    assert all(entry.modalities["plot"] == 0 for entry in explanation.labels)
    assert explanation.people


def test_title_of_which_nothing_is_known() -> None:
    bare = catalogue([{"id": "bare"}], without=["plot", "directors", "cast", "year"])
    explanation = fitted().explain(bare, "bare")
    assert (explanation.title, explanation.year, explanation.present, explanation.people) == ("", None, (), ())
    assert explanation.absent == ("plot", "title", "year", "credits")


def test_tagger_without_credits_has_no_people() -> None:
    tagger = Tagger(quick_recipe(modalities=("plot",))).fit(sample())
    explanation = tagger.explain(sample(), TITLE)
    assert explanation.people == ()
    assert explanation.present == ("plot",)


def test_without_the_profile_credits_count_but_nobody_is_named() -> None:
    tagger = Tagger(quick_recipe(modalities=("plot", "credits"), credit_features=("links",))).fit(sample())
    explanation = tagger.explain(sample(), TITLE)
    assert explanation.people == ()
    assert explanation.present == ("plot", "credits")
    assert all("credits" in label.modalities for label in explanation.labels)
    assert "name people only" in str(FeatureConfig.__doc__)


def test_unknown_id() -> None:
    with pytest.raises(CatalogueError, match=r"films\.jsonl: no title has the id 'tt999'"):
        fitted().explain(sample(), "tt999")


# people


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("title_id", [TITLE, TRAINED])
def test_effect_of_a_person_is_what_the_catalogue_without_them_gives(model: str, title_id: str) -> None:
    tagger, row = fitted(model), row_of(title_id)
    explanation = tagger.explain(sample(), title_id, n_labels=4)
    assert {(p.role, p.person) for p in explanation.people} == {
        (role, name) for role in ("directors", "cast") for name in row[role]
    }
    whole = own_scores(tagger, tagger.features(catalogue([row])))[0]
    for person in explanation.people:
        edited = row | {person.role: [name for name in row[person.role] if name != person.person]}
        without = own_scores(tagger, tagger.features(catalogue([edited])))[0]
        for label, effect in person.effects.items():
            column = tagger.labels.column(label)
            assert effect == pytest.approx(whole[column] - without[column], abs=2e-3)
    strengths = [sum(map(abs, person.effects.values())) for person in explanation.people]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] > 0.05


def test_counts_of_a_person_are_those_of_their_other_films() -> None:
    for title_id in (TITLE, TRAINED):  # a training title is left out of its own people's counts
        explanation = fitted().explain(sample(), title_id)
        graph = [row for row in rows() if row["split"] in ("train", "background") and row["id"] != title_id]
        for person in explanation.people:
            films = [row for row in graph if person.person in row[person.role]]
            genres = [genre for row in films for genre in row["genres"]]
            assert person.n_films == len(films)
            assert person.counts == {label: genres.count(label) for label in person.counts}
            assert len(person.counts) == min(3, len(set(genres)))


def test_people_known_by_id_are_left_out_by_id() -> None:
    """Two people of one name: leaving out one leaves the other."""
    films = sample()
    ids = pl.Series("cast_ids", [[f"nm-{name}" for name in names] for names in films.lists("cast")])
    films = Catalogue.from_frame(films.frame.with_columns(ids))
    tagger = Tagger(quick_recipe()).fit(films)
    twins = {"cast": ["Horror actor 1", "Horror actor 1"], "cast_ids": ["nm-Horror actor 1", "nm-Comedy actor 1"]}
    film = films.frame[films.find(TITLE)].with_columns(pl.Series(name, [value]) for name, value in twins.items())
    explanation = tagger.explain(Catalogue.from_frame(film), TITLE, n_labels=4)
    found = {person.person: person for person in explanation.people if person.role == "cast"}
    assert set(found) == {"id:nm-Horror actor 1", "id:nm-Comedy actor 1"}
    assert found["id:nm-Horror actor 1"].effects["Horror"] > found["id:nm-Comedy actor 1"].effects["Horror"]


# neighbours


@pytest.mark.parametrize("model", MODELS)
def test_neighbours_are_the_nearest_training_titles_without_the_title_itself(model: str) -> None:
    tagger = fitted(model)
    training = catalogue(row for row in rows() if row["split"] == "train")
    vectors = tagger.fitted.model.embed(tagger.features(training))
    for title_id in (TITLE, TRAINED):
        vector = tagger.fitted.model.embed(tagger.features(catalogue([row_of(title_id)])))[0]
        near = {i: float(s) for i, s in zip(training.ids, vectors @ vector, strict=True) if i != title_id}
        found = tagger.explain(sample(), title_id, n_neighbours=7).neighbours
        assert len(found) == 7
        assert title_id not in {neighbour.id for neighbour in found}
        for place, neighbour in enumerate(found):
            assert neighbour.similarity == pytest.approx(near[neighbour.id], abs=2e-3)  # kept in half precision
            assert neighbour.similarity == pytest.approx(sorted(near.values(), reverse=True)[place], abs=2e-3)
            row = row_of(neighbour.id)
            assert (neighbour.title, neighbour.year) == (row["title"], row["year"])
            assert set(neighbour.labels) == set(row["genres"])


def test_neighbours_may_be_left_out() -> None:
    assert fitted().explain(sample(), TRAINED, n_neighbours=0).neighbours == ()
    titles = pl.DataFrame(schema={"id": pl.String, "title": pl.String, "year": pl.Int32, "labels": pl.List(pl.String)})
    assert Neighbourhood(np.zeros((0, 3), np.float32), titles).nearest(np.ones(3, np.float32), "a", 5) == ()


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 1), (10, 10), (1000, 72)])
def test_limit_of_neighbours_is_kept(limit: int, kept: int) -> None:
    from dataclasses import replace

    tagger = Tagger(replace(quick_recipe(), neighbours=limit)).fit(sample())
    assert len(tagger.fitted.neighbours.titles) == kept
    assert len(tagger.explain(sample(), TITLE).neighbours) == min(kept, 5)


# attention


def taught() -> Tagger:
    return fitted("idkg", credit_features=("profile", "standing"))


def test_attention_is_the_models_and_its_target_the_teachers() -> None:
    tagger = taught()
    features = tagger.features(catalogue([row_of(TITLE)]))
    told = tagger.explain(sample(), TITLE).attention
    assert told is not None
    model = tagger.fitted.model
    assert told.weights == {name: pytest.approx(float(v[0])) for name, v in model.attention(features).items()}
    assert list(told.weights) == ["plot", "title", "year", "credits"]
    assert told.teacher == pytest.approx(float(model.teacher(features)[0]))  # type: ignore[attr-defined]
    assert told.n_people == features.blocks["credits.standing"].values[0, 0] > 0


def test_attention_of_an_absent_modality_is_not_told() -> None:
    told = explain_row(taught(), {**row_of(TITLE), "plot": None, "directors": None, "cast": None}).attention
    assert told is not None
    assert list(told.weights) == ["title", "year"]
    assert (told.teacher, told.n_people) == (0, 0)


def test_models_without_attention_tell_none() -> None:
    assert fitted("fusion").explain(sample(), TITLE).attention is None
    untaught = fitted("idkg").explain(sample(), TITLE).attention
    assert untaught is not None
    assert untaught.teacher is None


def test_effects_of_people_count_every_block_of_the_credits() -> None:
    tagger = taught()
    explanation = tagger.explain(sample(), TITLE, n_labels=4)
    film = row_of(TITLE)
    whole = own_scores(tagger, tagger.features(catalogue([film])))[0]
    person = explanation.people[0]
    less = {**film, person.role: [name for name in film[person.role] if name != person.person]}
    without = own_scores(tagger, tagger.features(catalogue([less])))[0]
    for label, effect in person.effects.items():
        column = tagger.labels.column(label)
        assert effect == pytest.approx(whole[column] - without[column], abs=2e-3)


# the page


def test_page_shows_everything_and_loads_nothing() -> None:
    tagger = taught()
    explanation = tagger.explain(sample(), TITLE)
    page = explanation_to_html(explanation, sample())
    film = row_of(TITLE)
    assert explanation.attention is not None
    for text in (
        film["title"], film["plot"], str(film["year"]), *(entry.label for entry in explanation.labels),
        *(person.person for person in explanation.people), *(near.title for near in explanation.neighbours),
        f"{explanation.attention.teacher:.3f}", *(f"{w:.3f}" for w in explanation.attention.weights.values()),
    ):  # fmt: skip
        assert escape(str(text), quote=False) in page, text
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<img" not in page


def test_page_shows_the_poster_and_escapes_what_it_is_told(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (12, 18), "red").save(png, "PNG")
    (tmp_path / f"{TITLE}.png").write_bytes(png.getvalue())
    film = catalogue([{**row_of(TITLE), "title": "<script>alert(1)</script>"}])
    film = replace(film, posters=poster_folder(tmp_path))
    page = explanation_to_html(fitted("linear").explain(film, TITLE), film)
    assert base64.b64encode(png.getvalue()).decode() in page
    assert "<script" not in page
    assert 'id="attention"' not in page


@pytest.mark.parametrize(("kind", "shown"), [("BMP", "image/jpeg"), ("TIFF", "image/jpeg"), ("PNG", "image/png")])
def test_page_shows_posters_of_any_kind(kind: str, shown: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 60), "navy").save(tmp_path / f"{TITLE}.{kind.lower()}", kind)
    film = replace(catalogue([row_of(TITLE)]), posters=poster_folder(tmp_path))
    assert f"data:{shown};base64," in explanation_to_html(fitted("linear").explain(film, TITLE), film)


def test_large_posters_are_made_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 500, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"{TITLE}.png")
    film = replace(catalogue([row_of(TITLE)]), posters=poster_folder(tmp_path))
    page = explanation_to_html(fitted("linear").explain(film, TITLE), film)
    (content,) = re.findall('src="data:image/jpeg;base64,([^"]+)"', page)
    assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) == 600


def test_page_of_an_unreadable_poster_or_without_credits(tmp_path: Path) -> None:
    (tmp_path / f"{TITLE}.jpg").write_bytes(b"\xff\xd8 no image")
    row = {**row_of(TITLE), "directors": None, "cast": None}
    film = replace(catalogue([row]), posters=poster_folder(tmp_path))
    page = explanation_to_html(taught().explain(film, TITLE), film)
    assert "<img" not in page
    assert 'id="attention"' in page
    assert "teacher" not in page


# the poster


def with_poster(folder: Path, content: bytes | None = None) -> Catalogue:
    (folder / f"{TITLE}.png").write_bytes(content or png())
    return replace(catalogue([row_of(TITLE)]), posters=poster_folder(folder))


def test_a_tagger_that_reads_posters_says_what_patches_and_words_did(tmp_path: Path) -> None:
    explanation = speaking(has_poster=[TITLE]).explain(with_poster(tmp_path), TITLE, n_labels=4)
    evidence = explanation.poster
    assert evidence is not None
    names = [entry.label for entry in explanation.labels]
    assert [word.text for word in evidence.words] == [word.text for word in TEXT.words]
    for mark in (*evidence.patches["grid"], *evidence.words):
        assert list(mark.effects) == names
    for name in names:
        column = fitted("linear").labels.column(name)
        told = [patch.effects[name] for patch in evidence.patches["grid"]]
        assert told == pytest.approx(effects(4)[0, :, column].tolist())
    data = json.loads(json.dumps(explanation.to_json(), allow_nan=False))["poster"]
    assert data["words"][0]["effects"] == evidence.words[0].effects
    assert data["patches"]["grid"][3]["box"] == [0.5, 0.5, 1.0, 1.0]


def test_other_taggers_say_nothing_of_patches(tmp_path: Path) -> None:
    film = with_poster(tmp_path)
    explanation = fitted("linear").explain(film, TITLE)
    assert explanation.poster is None
    assert explanation.to_json()["poster"] is None
    page = explanation_to_html(explanation, film)
    assert "On the poster" not in page
    assert "poster-evidence" not in page


def test_page_draws_on_the_poster(tmp_path: Path) -> None:
    film = with_poster(tmp_path)
    page = explanation_to_html(speaking(has_poster=[TITLE]).explain(film, TITLE, n_labels=4), film)
    assert page.count("<figure>") == 5  # four labels and the attention
    assert page.count("<rect") == 5 * 4
    assert "On the poster" in page
    assert "&lt;b&gt; <b>" in page
    assert ".poster-evidence .for" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


@pytest.mark.parametrize(
    ("text", "content", "sentence"),
    [
        (PosterText(), None, "Words on the poster: no text found."),
        (None, b"\xff\xd8 no image", "Nothing to look at: the poster cannot be read."),
    ],
)
def test_page_says_what_there_was_not(
    tmp_path: Path, text: PosterText | None, content: bytes | None, sentence: str
) -> None:
    film = with_poster(tmp_path, content)
    page = explanation_to_html(speaking(text).explain(film, TITLE), film)
    assert sentence in page


def test_page_of_a_title_without_poster() -> None:
    film = catalogue([row_of(TITLE)])
    page = explanation_to_html(speaking(None).explain(film, TITLE), film)
    assert "Nothing to look at: no poster." in page
    assert "<img" not in page


# JSON


@pytest.mark.parametrize("model", MODELS)
def test_to_json_goes_through_json(model: str) -> None:
    explanation = fitted(model).explain(sample(), TITLE)
    data = explanation.to_json()
    back = json.loads(json.dumps(data, allow_nan=False))
    assert back == json.loads(json.dumps(data))
    assert set(back) == {
        "id", "title", "year", "present", "absent", "labels", "people", "neighbours", "abstained",
        "attention", "poster", "added",
    }  # fmt: skip
    assert [label["applies"] for label in back["labels"]] == [label.applies for label in explanation.labels]
    assert back["people"][0]["effects"] == explanation.people[0].effects
    assert back["neighbours"][0]["labels"] == list(explanation.neighbours[0].labels)
    assert back["abstained"] is explanation.abstained


def test_evidence_names_what_spoke_for_the_surest_label() -> None:
    tagger = fitted()
    predictions = tagger.tag(catalogue([row_of(TITLE)]))
    explanation = tagger.explain(sample(), TITLE, n_labels=1)
    surest = explanation.labels[0]
    assert predictions.evidence[0].startswith(surest.label)
    strongest = max(surest.modalities, key=lambda modality: abs(surest.modalities[modality]))
    assert f"{strongest} {surest.modalities[strongest]:+.1f}" in predictions.evidence[0]


def test_explaining_changes_nothing() -> None:
    films = changed(lambda row: row)
    before = fitted().tag(films).probabilities
    fitted().explain(films, TITLE)
    np.testing.assert_array_equal(fitted().tag(films).probabilities, before)
