"""Folders of indexed titles: what is embedded again, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue, PosterFiles, TrailerFiles
from reeltag.errors import ArtefactError, CatalogueError
from reeltag.features import Features
from reeltag.retrieval import IndexConfig, IndexedTitles, Space, Update, tagger_key
from reeltag.retrieval.indexed import title_hashes
from reeltag.tagger import Tagger
from samples import Row, catalogue, files_of, fitted, quick_recipe, rows, sample

KEY = "the tagger"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of titles as they are embedded."""
    seen: list[str] = []
    real: Callable[[Tagger, Features], Any] = Tagger.embed

    def embed(self: Tagger, features: Features) -> Any:
        seen.extend(features.ids)
        return real(self, features)

    monkeypatch.setattr(Tagger, "embed", embed)
    return seen


def index(folder: Path, films: Catalogue, key: str = KEY) -> tuple[IndexedTitles, Update]:
    return IndexedTitles.of(folder, fitted(), films, key, IndexConfig(exact_up_to=50, probes=1.0))


def check(made: IndexedTitles, films: Catalogue) -> None:
    """What was updated must be what would have been made anew."""
    anew = Space.of(fitted(), films)
    assert made.space.ids == anew.ids
    np.testing.assert_allclose(made.space.vectors, anew.vectors, atol=1e-6)
    assert made.space.titles.equals(anew.titles)
    assert (made.space.source, made.space.word_fields) == (anew.source, anew.word_fields)
    found = made.index.search(anew.vectors[:5], 4, own=np.arange(5))
    similarities = anew.vectors[:5] @ anew.vectors.T - 9 * np.eye(5, len(anew))
    np.testing.assert_allclose(found.similarities, -np.sort(-similarities, axis=1)[:, :4], atol=1e-5)


def test_a_first_index_embeds_all(tmp_path: Path, embedded: list[str]) -> None:
    made, told = index(tmp_path / "index", sample())
    assert told == Update(n_titles=130, n_new=130, n_changed=0, n_gone=0, n_embedded=130)
    assert embedded == sample().ids
    assert not made.index.is_exact
    check(made, sample())
    again = IndexedTitles.load(tmp_path / "index")
    check(again, sample())
    assert (again.hashes, again.tagger) == (made.hashes, KEY)


def test_the_same_catalogue_embeds_nothing(tmp_path: Path, embedded: list[str]) -> None:
    index(tmp_path / "index", sample())
    embedded.clear()
    made, told = index(tmp_path / "index", sample())
    assert told == Update(n_titles=130, n_new=0, n_changed=0, n_gone=0, n_embedded=0)
    assert embedded == []
    check(made, sample())


def test_only_what_is_new_or_changed_is_embedded(tmp_path: Path, embedded: list[str]) -> None:
    index(tmp_path / "index", catalogue(rows()[:100]))
    embedded.clear()
    changed = [row | {"plot": "A haunted cellar."} if row["id"] in ("t007", "t050") else row for row in rows()]
    films = catalogue([*changed[104:90:-1], *changed[5:90]])
    made, told = index(tmp_path / "index", films)
    assert sorted(embedded) == ["t007", "t050", "t100", "t101", "t102", "t103", "t104"]
    assert told == Update(n_titles=99, n_new=5, n_changed=2, n_gone=6, n_embedded=7)
    check(made, films)
    check(IndexedTitles.load(tmp_path / "index"), films)


def test_another_tagger_embeds_all_and_says_why(tmp_path: Path, embedded: list[str]) -> None:
    index(tmp_path / "index", sample())
    embedded.clear()
    made, told = index(tmp_path / "index", sample(), key="another")
    assert told == Update(
        n_titles=130, n_new=130, n_changed=0, n_gone=0, n_embedded=130, why_all="the index was made with another tagger"
    )
    assert len(embedded) == 130
    assert made.tagger == "another"


def test_a_key_tells_taggers_apart(tmp_path: Path) -> None:
    one = fitted().save_pretrained(tmp_path / "one")
    assert tagger_key(one) == tagger_key(fitted().save_pretrained(tmp_path / "two", "another card"))
    other = Tagger(quick_recipe(c=0.5)).fit(sample()).save_pretrained(tmp_path / "other")
    assert tagger_key(other) != tagger_key(one)
    with pytest.raises(ArtefactError, match="not a reeltag artefact"):
        tagger_key(tmp_path)
    made, _ = index(tmp_path / "index", sample())
    made.check_tagger(KEY, tmp_path / "index")
    with pytest.raises(ArtefactError, match="the index was made with another tagger; make it anew with: reeltag index"):
        made.check_tagger("another", tmp_path / "index")


# what a title is


def hash_of(
    row: Row, films: Callable[[Catalogue], Catalogue] = lambda films: films, tagger: Tagger | None = None
) -> str:
    (found,) = title_hashes(films(catalogue([row])), tagger or fitted())
    return found


@pytest.mark.parametrize("field", ["title", "year", "plot", "directors", "cast", "genres", "moods", "keywords"])
def test_every_field_counts(field: str) -> None:
    row = rows()[3]
    other = {"year": 1900, "title": "Else", "plot": "Else."}.get(field, ["else"])
    assert hash_of(row | {field: other}) != hash_of(row)
    assert hash_of(dict(row)) == hash_of(row)


def test_splits_and_empty_columns_do_not_count() -> None:
    row = rows()[3] | {"plot": None, "keywords": None}
    assert hash_of(row | {"split": "test"}) == hash_of(row)
    assert hash_of(row | {"plot": "", "keywords": []}) == hash_of(row)
    bare, full = catalogue([row], without=["plot", "keywords"]), catalogue([row])
    assert title_hashes(bare, fitted()) == title_hashes(full, fitted())


def test_order_and_company_do_not_count() -> None:
    some = title_hashes(catalogue(rows()[:4]), fitted())
    assert title_hashes(catalogue(rows()[3::-1]), fitted()) == some[::-1]
    assert len(set(some)) == 4


def test_posters_count_where_they_are_read(tmp_path: Path) -> None:
    row, path = rows()[3], tmp_path / "poster.jpg"
    reader = Tagger(quick_recipe(modalities=("plot", "poster")))

    def hung(films: Catalogue) -> Catalogue:
        return replace(films, posters=PosterFiles(paths={row["id"]: path}, source="posters"))

    bare = hash_of(row, tagger=reader)
    path.write_bytes(b"one")
    one = hash_of(row, hung, reader)
    path.write_bytes(b"two")
    two = hash_of(row, hung, reader)
    assert len({bare, one, two}) == 3
    assert hash_of(row, hung) == hash_of(row)


def test_trailers_count_by_size_and_time(tmp_path: Path) -> None:
    row, path = rows()[3], tmp_path / "trailer.mp4"

    def shown(films: Catalogue) -> Catalogue:
        return replace(films, trailers=TrailerFiles(paths={row["id"]: path}, source="trailers"))

    absent = hash_of(row, shown)
    path.write_bytes(b"one")
    one = hash_of(row, shown)
    path.write_bytes(b"longer")
    assert len({absent, one, hash_of(row, shown)}) == 3
    assert absent == hash_of(row)


# mistakes


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtefactError, match="exists and is not a folder of indexed titles; choose another folder"):
        index(tmp_path / "taken", sample())
    with pytest.raises(CatalogueError, match=r"films\.jsonl: there are no titles to index"):
        index(tmp_path / "index", catalogue([]))
    assert set(files_of(tmp_path)) == {"taken/notes.txt"}


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index(folder, sample())
    assert set(files_of(folder)) == {
        "config.json", "rows.parquet", "space/config.json", "space/titles.parquet", "space/vectors.safetensors",
        "index/config.json", "index/lists.faiss", "index/slots.safetensors",
    }  # fmt: skip
    with pytest.raises(ArtefactError, match="holds no indexed titles"):
        IndexedTitles.load(tmp_path)
    pl.DataFrame({"id": ["a"], "row": ["b"]}).write_parquet(folder / "rows.parquet")
    with pytest.raises(ArtefactError, match=r"rows.parquet does not fit the titles"):
        IndexedTitles.load(folder)
    (folder / "rows.parquet").unlink()
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        IndexedTitles.load(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"schema": 2}), encoding="utf-8")
    with pytest.raises(ArtefactError, match="schema 2 cannot be read"):
        IndexedTitles.load(folder)
