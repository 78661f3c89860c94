"""What a catalogue can be asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue, PosterFiles, ReadOptions
from reeltag.errors import CatalogueError

from .samples import FORMATS, ROWS, csv_file, jsonl, message, problems, skipping, write


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.read(jsonl(tmp_path, *ROWS))


def test_length_ids_and_columns(catalogue: Catalogue) -> None:
    assert len(catalogue) == 3
    assert catalogue.ids == ["tt0113277", "tt0000001", "tt0062622"]
    assert catalogue.has("plot")
    assert not catalogue.has("outline")


def test_texts(catalogue: Catalogue) -> None:
    assert catalogue.texts("plot")[1:] == ["", "Apes."]
    assert catalogue.texts("outline") == ["", "", ""]


def test_lists(catalogue: Catalogue) -> None:
    assert catalogue.lists("genres") == [["Crime", "Drama"], [], ["Sci-Fi"]]
    assert catalogue.lists("keywords") == [[], [], []]


def test_lists_of_an_absent_field_are_not_shared(catalogue: Catalogue) -> None:
    lists = catalogue.lists("keywords")
    lists[0].append("x")
    assert lists == [["x"], [], []]
    assert catalogue.lists("keywords") == [[], [], []]


@pytest.mark.parametrize("name", ["plott", "year", "genres", "cast_ids"])
def test_what_is_no_text(catalogue: Catalogue, name: str) -> None:
    assert f"{name!r}" in message(lambda: catalogue.texts(name))


@pytest.mark.parametrize("name", ["genress", "year", "title", "outline"])
def test_what_is_no_list(catalogue: Catalogue, name: str) -> None:
    assert f"{name!r}" in message(lambda: catalogue.lists(name))


def test_years(catalogue: Catalogue) -> None:
    years = catalogue.years()
    assert years.dtype == np.float32
    np.testing.assert_array_equal(years, [1995, np.nan, 1968])
    years[:] = 0
    assert catalogue.years()[0] == 1995


def test_years_of_a_catalogue_without_any(tmp_path: Path) -> None:
    years = Catalogue.read(jsonl(tmp_path, {"id": "a"})).years()
    assert years.dtype == np.float32
    assert np.isnan(years).all()


# rows


def test_take_keeps_the_asked_order(catalogue: Catalogue) -> None:
    taken = catalogue.take([2, 0])
    assert taken.ids == ["tt0062622", "tt0113277"]
    assert taken.source == catalogue.source
    assert catalogue.take(np.array([1], np.uint8)).ids == ["tt0000001"]
    assert len(catalogue.take([])) == len(catalogue.take(np.zeros(0))) == 0


@pytest.mark.parametrize("rows", [[3], [-1], [0, 99]])
def test_take_of_a_row_that_does_not_exist(catalogue: Catalogue, rows: list[int]) -> None:
    assert f"row numbers must be below 3 and not negative; got {max(rows, key=abs)}" in message(
        lambda: catalogue.take(rows)
    )


def test_take_refuses_masks_fractions_and_repeats(catalogue: Catalogue) -> None:
    assert "take needs row numbers; got values of type bool" in message(lambda: catalogue.take(np.ones(3, bool)))  # type: ignore[arg-type]
    assert "take needs row numbers; got values of type float64" in message(lambda: catalogue.take([0.5]))  # type: ignore[list-item]
    assert "take needs every row once" in message(lambda: catalogue.take([1, 1]))


def test_take_keeps_posters_and_rejects(tmp_path: Path) -> None:
    read = skipping(jsonl(tmp_path, {"id": "a", "poster": "a.jpg"}, {"id": "b"}, "{"))
    taken = read.take([1])
    assert (taken.posters, taken.rejected) == (read.posters, read.rejected)


def test_find(catalogue: Catalogue) -> None:
    assert [catalogue.find(title_id) for title_id in catalogue.ids] == [0, 1, 2]
    assert message(lambda: catalogue.find("tt9")) == f"{catalogue.source}: no title has the id 'tt9'"


def test_rows_of(catalogue: Catalogue) -> None:
    rows = catalogue.rows_of("train")
    assert (rows.dtype, rows.tolist()) == (np.int64, [0])
    assert catalogue.rows_of("validation").tolist() == []


def test_rows_of_a_catalogue_without_splits(tmp_path: Path) -> None:
    rows = Catalogue.read(jsonl(tmp_path, {"id": "a"})).rows_of("train")
    assert (rows.dtype, rows.tolist()) == (np.int64, [])


def test_titles_without_a_split_are_in_none(tmp_path: Path) -> None:
    read = Catalogue.read(jsonl(tmp_path, {"id": "a", "split": "train"}, {"id": "b"}, {"id": "c", "split": ""}))
    assert [read.rows_of(split).tolist() for split in ("train", "validation", "test", "background")] == [
        [0],
        [],
        [],
        [],
    ]


def test_with_splits(catalogue: Catalogue) -> None:
    other = catalogue.with_splits(["test", "train", None])
    assert other.rows_of("test").tolist() == [0]
    assert other.frame["split"].to_list() == ["test", "train", None]
    assert catalogue.rows_of("test").tolist() == [2]


def test_with_splits_for_the_first_time(tmp_path: Path) -> None:
    read = Catalogue.read(jsonl(tmp_path, {"id": "a"}, {"id": "b"}))
    assert read.with_splits(("train", "test")).rows_of("test").tolist() == [1]
    assert read.with_splits([None, None]).rows_of("test").tolist() == []


def test_with_splits_that_do_not_fit(catalogue: Catalogue) -> None:
    assert "needs a split per title (3); got 1" in message(lambda: catalogue.with_splits(["train"]))
    text = message(lambda: catalogue.with_splits(["train", "dev", "test"]))
    assert "a split must be one of train, validation, test, background; got 'dev'" in text


# immutability


def test_attributes_cannot_be_set(catalogue: Catalogue) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalogue.source = "x"  # type: ignore[misc]


def test_frame_given_is_not_the_frame_kept() -> None:
    frame = pl.DataFrame({"id": ["a"]})
    catalogue = Catalogue.from_frame(frame)
    frame.insert_column(1, pl.Series("title", ["x"]))
    assert catalogue.frame.columns == ["id"]


def test_answers_are_copies(catalogue: Catalogue) -> None:
    catalogue.ids.clear()
    catalogue.texts("title").clear()
    catalogue.lists("genres")[0].clear()
    catalogue.take([0]).with_splits(["test"])
    assert catalogue.frame.to_dicts() == ROWS


# fingerprint


def test_fingerprint_is_stable() -> None:
    frame = pl.DataFrame({"id": ["a", "b"], "title": ["x", None], "genres": [["A", "B"], None]})
    assert Catalogue.from_frame(frame).fingerprint() == "454d8be6ff0b80b6"


def test_fingerprint_does_not_know_order_of_columns_source_and_posters() -> None:
    frame = pl.DataFrame({"id": ["a"], "title": ["x"]})
    one = Catalogue.from_frame(frame)
    other = Catalogue.from_frame(
        frame.select("title", "id"), source="else", posters=PosterFiles(paths={"a": Path("a")})
    )
    assert one.fingerprint() == other.fingerprint()


def test_fingerprint_knows_every_change_of_content() -> None:
    lists = pl.List(pl.String)
    frames = [
        pl.DataFrame({"id": ["a", "b"]}),
        pl.DataFrame({"id": ["b", "a"]}),
        pl.DataFrame({"id": ["ab"]}),
        pl.DataFrame({"id": ["a", "b"], "title": ["", None]}),
        pl.DataFrame({"id": ["a", "b"], "title": [None, ""]}),
        pl.DataFrame({"id": ["a", "b"], "title": ["null", None]}),
        pl.DataFrame({"id": ["a", "b"], "title": [None, None]}, schema_overrides={"title": pl.String}),
        pl.DataFrame({"id": ["a", "b"], "plot": ["", None]}),
        pl.DataFrame({"id": ["a", "b"], "year": [1990, None]}, schema_overrides={"year": pl.Int32}),
        *(
            pl.DataFrame({"id": ["a", "b"], "genres": genres}, schema_overrides={"genres": lists})
            for genres in (
                [["x", "y"], []],
                [["x"], ["y"]],
                [["x", "y"], None],
                [["xy"], []],
                [["x\x1fy"], []],
                [["y", "x"], []],
                [["x", "y", None], []],
            )
        ),
    ]
    prints = [Catalogue.from_frame(frame).fingerprint() for frame in frames]
    assert len(set(prints)) == len(prints)


def test_fingerprint_is_the_same_at_any_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"id": [str(n) for n in range(25)]})
    whole = Catalogue.from_frame(frame)
    parts = Catalogue.from_frame(pl.concat([frame[:7], frame[7:]], rechunk=False))
    assert whole.fingerprint() == parts.fingerprint()


def test_fingerprint_with_a_column_of_another_type() -> None:
    frame = pl.DataFrame({"id": ["a"], "seen": [1]}).with_columns(pl.date(2020, 1, 1).alias("day"))
    assert len(Catalogue.from_frame(frame).fingerprint()) == 16


# from_frame


def test_from_frame() -> None:
    frame = pl.DataFrame({"id": ["a"], "year": [1990], "mood": [["dark"]]}, schema_overrides={"year": pl.Int32})
    catalogue = Catalogue.from_frame(frame, source="mine")
    assert (catalogue.source, catalogue.lists("mood")) == ("mine", [["dark"]])


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"title": ["x"]}, "a catalogue needs a column 'id'; columns: title"),
        ({}, "a catalogue needs a column 'id'"),
        ({"id": [1]}, "column 'id' must have type String; got Int64"),
        ({"id": ["a"], "year": [1990]}, "column 'year' must have type Int32; got Int64"),
        ({"id": ["a"], "genres": ["x"]}, r"column 'genres' must have type List\(String\); got String"),
        ({"id": ["a"], "plot": [None]}, "column 'plot' must have type String; got Null"),
        ({"id": ["a", None]}, "ids must be present"),
        ({"id": ["a", ""]}, "ids must be present"),
        ({"id": ["a", " "]}, "ids must be present"),
        ({"id": ["a", "b", "b"]}, "ids must be unique; got 'b' more than once"),
    ],
)
def test_from_frame_that_breaks_a_rule(columns: dict[str, list[object]], text: str) -> None:
    with pytest.raises(CatalogueError, match=f"^memory: {text}"):
        Catalogue.from_frame(pl.DataFrame(columns))


# bad rows

BAD_ROWS = [
    {"id": "a", "year": "1990"},
    {"id": "b", "year": "abc"},
    {"id": None, "year": "1991"},
    {"id": "a", "year": "1992"},
    {"id": "e", "year": "1993"},
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_skipping_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, size: int) -> None:
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", size)
    path = write(tmp_path / f"films.{suffix}", BAD_ROWS)
    found = problems(path)
    assert [(problem.file, problem.row, problem.field) for problem in found] == [
        (str(path), 2, "year"),
        (str(path), 3, "id"),
        (str(path), 4, "id"),
    ]
    read = skipping(path)
    assert read.rejected == found
    assert (read.ids, read.years().tolist()) == (["a", "e"], [1990, 1993])
    assert read.frame.columns == ["id", "year"]


def test_all_rows_rejected(tmp_path: Path) -> None:
    read = skipping(csv_file(tmp_path, "id,year\na,x\nb,y\n"))
    assert (len(read), len(read.rejected)) == (0, 2)
    assert read.frame.schema == {"id": pl.String, "year": pl.Int32}


def test_error_shows_ten_problems_and_counts_the_rest(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"id": str(n), "year": "x"} for n in range(25)))
    shown = message(lambda: Catalogue.read(path)).splitlines()
    assert shown[0] == f"{path}, row 1, field 'year': must be a whole number; got 'x'"
    assert shown[9].startswith(f"{path}, row 10, ")
    assert shown[10:] == [
        "… and 15 more",
        "mend the rows above, or leave them out with --skip-bad FILE, which lists them",
    ]


def test_reading_stops_after_a_thousand_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", 100)
    path = jsonl(tmp_path, *({"id": str(n), "year": "x"} for n in range(5_000)))
    assert len(problems(path)) == 1_000
    text = message(lambda: Catalogue.read(path))
    assert "… and 990 more\nreading stopped here; mend" in text
    assert len(skipping(path).rejected) == 5_000


def test_options_have_defaults(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS)
    assert Catalogue.read(path).fingerprint() == Catalogue.read(path, ReadOptions()).fingerprint()
