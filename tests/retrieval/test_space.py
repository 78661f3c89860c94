"""Titles as points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.errors import ArtefactError, CatalogueError, FeatureError
from reeltag.retrieval import Space, space
from reeltag.retrieval.space import COLUMNS, named, unit_rows
from samples import catalogue, files_of, fitted, rows, sample

from .points import space_of


@pytest.mark.parametrize("model", ["linear", "fusion"])
def test_vectors_are_what_the_tagger_embeds_whatever_the_model(model: str) -> None:
    tagger = fitted(model)
    made = Space.of(tagger, sample())
    np.testing.assert_allclose(made.vectors, tagger.embed(tagger.features(sample())), atol=1e-6)
    assert made.ids == tuple(sample().ids)
    assert made.vectors.dtype == np.float32
    assert dict(made.titles.schema) == COLUMNS
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)


def test_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Space.of(fitted(), sample())
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(space, "_PART", 50)
    parts = Space.of(fitted(), sample(), progress=lambda *step: told.append(step))
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-6)
    assert parts.titles.equals(whole.titles)
    assert told == [("titles embedded", done, 130) for done in (50, 100, 130)]


def test_known_labels_are_kept_and_unknown_ones_predicted() -> None:
    told = [row | ({"genres": []} if number % 2 else {}) for number, row in enumerate(rows())]
    tagger, films = fitted(), catalogue(told)
    made = Space.of(tagger, films)
    decided = tagger.tag(films, evidence=False).decisions
    for number, (labels, known) in enumerate(made.titles.select("labels", "known").iter_rows()):
        assert known == (number % 2 == 0)
        right = set(told[number]["genres"]) if known else set(np.array(tagger.labels.labels)[decided[number]])
        assert set(labels) == right


def test_a_catalogue_without_labels_is_all_predicted() -> None:
    made = Space.of(fitted(), catalogue(without=["genres"]))
    assert not made.titles["known"].any()
    assert made.titles["labels"].list.len().sum() > 0


def test_words_are_those_of_all_list_fields_but_labels_and_people() -> None:
    made = Space.of(fitted(), sample())
    assert made.word_fields == ("moods", "keywords")
    for row, words in zip(rows(), made.titles["words"].to_list(), strict=True):
        assert words == list(dict.fromkeys([*row["moods"], *row["keywords"]]))
    assert Space.of(fitted(), catalogue(without=["moods", "keywords"])).titles["words"].list.len().sum() == 0


def test_what_the_tagger_read_is_told() -> None:
    assert Space.of(fitted(), sample()).read == ("plot", "title", "year", "credits")


def test_plots_and_years_may_be_absent() -> None:
    made = Space.of(fitted(), catalogue(without=["plot", "year"]))
    assert set(made.titles["plot"]) == {""}
    assert made.titles["year"].null_count() == len(made)


def test_training_titles_need_no_catalogue() -> None:
    tagger = fitted()
    made = Space.trained(tagger)
    kept = tagger.fitted.neighbours
    assert made.ids == tuple(kept.titles["id"])
    np.testing.assert_allclose(made.vectors, kept.vectors.astype(np.float32), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert made.source == "training titles of films.jsonl"
    assert made.titles["known"].all()
    assert made.titles["words"].list.len().sum() == 0
    by_id = {row["id"]: row for row in rows()}
    for title_id, labels, year in made.titles.select("id", "labels", "year").iter_rows():
        assert set(labels) == set(by_id[title_id]["genres"])
        assert year == by_id[title_id]["year"]


def test_no_titles_are_an_error() -> None:
    with pytest.raises(CatalogueError, match=r"films\.jsonl: there are no titles to embed"):
        Space.of(fitted(), catalogue([]))


def test_rows_are_found_by_id_and_names_are_offered() -> None:
    made = space_of(np.eye(3), ids=["a", "b", "c"], years=[1995, None, 1995])
    titles = made.titles.with_columns(title=pl.Series(["Heat", "HEAT", "Ronin"]))
    made = Space(ids=made.ids, vectors=made.vectors, titles=titles, label_field="genres", source="films")
    assert made.row("c") == 2
    with pytest.raises(CatalogueError) as told:
        made.row("heat")
    assert str(told.value) == "films: no title has the id 'heat'; did you mean a: Heat (1995) or b: HEAT?"
    with pytest.raises(CatalogueError, match=r"^films: no title has the id 'Alien'$"):
        made.row("Alien")
    with pytest.raises(CatalogueError, match=r"^films: no title has the id ''$"):
        made.row("")


def test_many_titles_of_one_name_are_not_all_listed() -> None:
    made = space_of(np.eye(8))
    same = made.titles.with_columns(title=pl.lit("Hamlet"))
    made = Space(ids=made.ids, vectors=made.vectors, titles=same, label_field="genres", source="films")
    with pytest.raises(CatalogueError, match=r"t0004: Hamlet, and 3 more\?$"):
        made.row("hamlet")


def test_take_and_joined_keep_rows_together() -> None:
    made = Space.of(fitted(), sample())
    some = made.take([5, 2])
    assert some.ids == (made.ids[5], made.ids[2])
    np.testing.assert_array_equal(some.vectors, made.vectors[[5, 2]])
    mask = np.zeros(len(made), np.bool_)
    mask[[2, 5]] = True
    assert made.take(mask).ids == (made.ids[2], made.ids[5])
    again = made.take([5, 2]).joined(made.take([7]))
    assert again.ids == tuple(made.ids[row] for row in (5, 2, 7))
    assert again.titles.equals(made.titles[[5, 2, 7]])
    with pytest.raises(FeatureError, match="ids of a space must be unique"):
        made.joined(made.take([1]))
    with pytest.raises(FeatureError, match="spaces of 3 and 4 dimensions cannot be joined"):
        space_of(np.eye(3)).joined(made)


def test_what_does_not_fit_is_refused() -> None:
    good = space_of(np.eye(3))
    base: dict[str, Any] = {"ids": good.ids, "titles": good.titles, "label_field": "genres", "source": "points"}
    with pytest.raises(FeatureError, match=r"needs float32 vectors \(3, dim\); got float32 of shape \(2, 3\)"):
        Space(vectors=good.vectors[:2], **base)
    with pytest.raises(FeatureError, match="got float64"):
        Space(vectors=good.vectors.astype(np.float64), **base)
    with pytest.raises(FeatureError, match="must have length 1, or 0 where nothing is known; that of 't0001' has 2"):
        Space(vectors=good.vectors * np.float32([[1], [2], [1]]), **base)
    with pytest.raises(FeatureError, match="must have length 1"):
        Space(vectors=good.vectors * np.float32(np.nan), **base)
    with pytest.raises(FeatureError, match=r"needs the columns id \(String\), title"):
        Space(vectors=good.vectors, **base | {"titles": good.titles.drop("plot")})
    with pytest.raises(FeatureError, match="one row of 'titles' per id, in the same order"):
        Space(vectors=good.vectors, **base | {"titles": good.titles.reverse()})
    assert not space_of(np.zeros((1, 3))).vectors.any()


def test_save_and_load_give_the_same_and_leave_nothing_beside(tmp_path: Path) -> None:
    made = Space.of(fitted(), sample())
    folder = made.save(tmp_path / "deep" / "space")
    made.save(folder)
    again = Space.load(folder)
    np.testing.assert_array_equal(again.vectors, made.vectors)
    assert again.titles.equals(made.titles)
    assert (again.ids, again.label_field, again.source) == (made.ids, made.label_field, made.source)
    assert (again.word_fields, again.read) == (made.word_fields, made.read)
    assert set(files_of(tmp_path)) == {
        f"deep/space/{name}" for name in ("config.json", "titles.parquet", "vectors.safetensors")
    }


def test_a_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtefactError, match="exists and is not a space of titles; choose another folder"):
        space_of(np.eye(2)).save(tmp_path)
    assert files_of(tmp_path) == {"notes.txt": b"mine"}


def test_damage_is_named(tmp_path: Path) -> None:
    folder = space_of(np.eye(3)).save(tmp_path / "space")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    with pytest.raises(ArtefactError, match=r"absent: holds no titles as points \(config.json is missing\)"):
        Space.load(tmp_path / "absent")
    for change, because in (
        ({"kind": "index of titles"}, "'kind' must be 'titles as points'; got 'index of titles'"),
        ({"schema": 9}, "schema 9 cannot be read; this version reads schema 1"),
        ({"extra": 1}, "unknown or missing entries: extra"),
        ({"n_titles": 4}, "must hold 4 titles in 3 dimensions; got 3 in 3"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
        with pytest.raises(ArtefactError, match=because):
            Space.load(folder)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match="not valid JSON"):
        Space.load(folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vectors.safetensors").write_bytes(b"junk")
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        Space.load(folder)
    (folder / "vectors.safetensors").unlink()
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        Space.load(folder)


def test_unit_rows_keep_zeros() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


def test_titles_are_written_as_people_write_them() -> None:
    assert [named("Heat", 1995), named("Heat", None), named("", 1995), named("", None)] == [
        "Heat (1995)", "Heat", "untitled (1995)", "untitled",
    ]  # fmt: skip
