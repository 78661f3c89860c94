"""The survey of a catalogue, against one made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reeltag.catalogue import Catalogue, ReadOptions
from reeltag.errors import CatalogueError
from reeltag.survey import Presence, survey

ROWS: list[dict[str, Any]] = [
    {"id": "a", "title": "One", "year": 1990, "plot": "x", "cast": ["P"], "genres": ["Drama", "War"], "split": "train"},
    {"id": "b", "title": None, "year": None, "plot": "y", "cast": [], "genres": ["Drama"], "split": "test"},
    {"id": "c", "title": "Three", "year": 2000, "plot": None, "cast": None, "genres": ["Comedy"], "split": None},
    {"id": "d", "title": "Four", "year": 2001, "plot": None, "cast": ["Q", "R"], "genres": None, "split": "train"},
]
SCHEMA = {
    "id": pl.String, "title": pl.String, "year": pl.Int32, "plot": pl.String, "cast": pl.List(pl.String),
    "genres": pl.List(pl.String), "split": pl.String,
}  # fmt: skip


def films(*without: str, **changes: list[Any]) -> Catalogue:
    schema = {name: kind for name, kind in SCHEMA.items() if name not in without}
    frame = pl.DataFrame([{name: row[name] for name in schema} for row in ROWS], schema=schema)
    frame = frame.with_columns(pl.Series(name, values, dtype=SCHEMA[name]) for name, values in changes.items())
    return Catalogue.from_frame(frame, source="films.csv")


def test_presence_in_all_and_per_split() -> None:
    found = survey(films())
    assert found.n_titles == 4
    assert found.splits == {"train": 2, "test": 1, "unassigned": 1}
    assert found.present["title"] == Presence(all=3, splits={"train": 2, "test": 0, "unassigned": 1})
    assert found.present["plot"] == Presence(all=2, splits={"train": 1, "test": 1, "unassigned": 0})
    assert found.present["cast"] == Presence(all=2, splits={"train": 2, "test": 0, "unassigned": 0})
    assert found.present["poster"] == Presence(all=0, splits={"train": 0, "test": 0, "unassigned": 0})
    assert set(found.present) == {"title", "year", "plot", "cast", "genres", "poster"}


def test_labels_are_counted_by_title_most_frequent_first() -> None:
    labels = survey(films(genres=[["War", "War"], ["Drama"], ["Drama"], ["Comedy"]])).labels
    assert (labels.field, labels.n_labelled) == ("genres", 4)
    assert list(labels.counts.items()) == [("Drama", 2), ("Comedy", 1), ("War", 1)]


def test_catalogue_without_splits() -> None:
    found = survey(films("split"))
    assert found.splits == {}
    assert found.present["plot"] == Presence(all=2, splits={})
    assert "no split column: training splits the titles itself, near-same titles kept together" in found.notes


def test_notes_say_what_deserves_a_look() -> None:
    assert set(survey(films()).notes) == {
        "titles without a split, which count as background: 1",
        "labels on one title only, which cannot be learned: 2",
    }


def test_joined_labels_are_noticed() -> None:
    notes = survey(films(genres=[["Drama, War"], ["Drama, Comedy"], ["War"], None])).notes
    assert "most labels of 'genres' contain ',': if they are lists, give --list-separator ','" in notes
    assert not any(
        "--list-separator" in note for note in survey(films(genres=[["Sci-Fi"], ["a, b"], ["c"], ["d"]])).notes
    )


def test_no_labels_are_noticed() -> None:
    found = survey(films(genres=[None, [], None, None]))
    assert found.labels.counts == {}
    assert "no title has a label in 'genres'; name another field with --labels" in found.notes


def test_unknown_label_field_is_an_error() -> None:
    with pytest.raises(CatalogueError, match="no column 'moods'"):
        survey(films(), "moods")


def test_missing_posters_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("id,poster\na,a.jpg\nb,b.jpg\n", encoding="utf-8")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    found = survey(Catalogue.read(tmp_path / "films.csv", ReadOptions()))
    assert found.present["poster"].all == 1
    assert any(note.startswith("poster files that are missing and count as absent: 1 (") for note in found.notes)


def test_json() -> None:
    data = json.loads(json.dumps(survey(films()).to_json()))
    assert data["present"]["plot"] == {"all": 2, "splits": {"train": 1, "test": 1, "unassigned": 0}}
    assert data["labels"]["counts"] == {"Drama": 2, "Comedy": 1, "War": 1}
    assert isinstance(data["notes"], list)


def test_an_empty_catalogue() -> None:
    found = survey(Catalogue.from_frame(pl.DataFrame(schema=SCHEMA)))
    assert found.n_titles == 0
    assert found.present["plot"].all == 0
