"""Trailers: files that the catalogue names, folders of videos, media libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ColumnMapping, ReadOptions, TrailerFiles
from reeltag.catalogue.media import is_file, paths_by_name
from reeltag.catalogue.trailers import VIDEO_SUFFIXES, open_trailers
from reeltag.errors import CatalogueError
from reeltag.survey import survey

from .samples import FORMATS, TEXT_FORMATS, jsonl, message, only_problem, skipping, write


def library(folder: Path, *names: str) -> Path:
    """Make a folder of files that hold their own name."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def found(trailers: TrailerFiles) -> dict[str, str]:
    """Return the names of the files by title."""
    assert all(trailers.path(title_id) == path for title_id, path in trailers.paths.items())
    return {title_id: path.name for title_id, path in trailers.paths.items()}


# paths in the catalogue


@pytest.mark.parametrize("suffix", FORMATS)
def test_paths_are_relative_to_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    folder = library(tmp_path / "data")
    library(folder / "video", "a.mp4")
    library(tmp_path, "b.mkv")
    rows = [
        {"id": "a", "trailer": "video/a.mp4"},
        {"id": "b", "trailer": str(tmp_path / "b.mkv")},
        {"id": "c", "trailer": "video/c.mp4"},
        {"id": "d", "trailer": None},
        {"id": "e", "trailer": "../b.mkv"},
    ]
    path = write(folder / f"films.{suffix}", rows)
    monkeypatch.chdir(tmp_path)
    for place in (path, Path("data") / path.name):
        catalogue = Catalogue.read(place)
        present = catalogue.trailers.present(catalogue.ids)
        assert (present.dtype, present.tolist()) == (np.bool_, [True, True, False, False, True])
        assert catalogue.trailers.path("a") == place.parent / "video" / "a.mp4"
        (problem,) = catalogue.trailers.problems()
        missing = str(place.parent / "video" / "c.mp4")
        assert str(problem) == f"{place}, field 'trailer': the trailer file must exist (title c); got {missing!r}"


@pytest.mark.parametrize("column", ["trailer", "trailer_path", "trailer_file", "video_path"])
def test_usual_columns_of_paths(tmp_path: Path, column: str) -> None:
    assert found(Catalogue.read(jsonl(tmp_path, {"id": "a", column: "a.mp4"})).trailers) == {"a": "a.mp4"}


def test_any_column_can_be_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"id": "a", "file": "a.mp4", "trailer": "b.mp4"})
    options = ReadOptions(mapping=ColumnMapping.parse(["trailer=file"]))
    assert found(Catalogue.read(path, options).trailers) == {"a": "a.mp4"}


def test_the_column_video_of_tmdb_is_no_path(tmp_path: Path) -> None:
    assert found(Catalogue.read(jsonl(tmp_path, {"id": "a", "video": False})).trailers) == {}


@pytest.mark.parametrize("url", ["https://youtu.be/x", "HTTP://x/a.mp4", "s3://bucket/a.mp4", "file:///a.mp4"])
@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_urls_are_refused(tmp_path: Path, suffix: str, url: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": "a", "trailer": "a.mp4"}, {"id": "b", "trailer": url}])
    problem = only_problem(path)
    assert (problem.row, problem.field, problem.rule) == (2, "trailer", "must be a local path; URLs are not fetched")
    assert skipping(path).ids == ["a"]


@pytest.mark.parametrize("name", ["x" * 5000 + ".mp4", "folder", "nothing.mp4", "http:a.mp4"])
def test_paths_that_are_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    trailers = Catalogue.read(jsonl(tmp_path, {"id": "a", "trailer": name})).trailers
    assert trailers.present(["a"]).tolist() == [False]
    assert len(trailers.problems()) == 1


def test_videos_embedded_in_parquet_are_passed_over_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "trailer": pa.array([b"video"], pa.binary())}), path)
    catalogue = Catalogue.read(path)
    assert (catalogue.has("trailer"), found(catalogue.trailers)) == (False, {})
    options = ReadOptions(mapping=ColumnMapping.parse(["trailer=trailer"]))
    told = message(lambda: Catalogue.read(path, options))
    assert told == f"{path}: column 'trailer' must hold paths; embedded videos are not read"


def test_no_trailers(tmp_path: Path) -> None:
    trailers = Catalogue.read(jsonl(tmp_path, {"id": "a"})).trailers
    assert trailers.present(["a", "b"]).tolist() == [False, False]
    assert trailers.present([]).tolist() == []
    assert trailers.problems() == []
    assert message(lambda: trailers.path("a")).endswith("films.jsonl: no trailer is named for the title 'a'")


def test_rejected_titles_have_no_trailers(tmp_path: Path) -> None:
    rows = ({"id": "a", "year": "x", "trailer": "a.mp4"}, {"id": "b", "trailer": "b.mp4"})
    assert found(skipping(jsonl(tmp_path, *rows)).trailers) == {"b": "b.mp4"}


def test_trailers_stay_with_the_titles_that_are_taken(tmp_path: Path) -> None:
    library(tmp_path, "b.mp4")
    catalogue = Catalogue.read(jsonl(tmp_path, {"id": "a", "trailer": "a.mp4"}, {"id": "b", "trailer": "b.mp4"}))
    taken = catalogue.take([1])
    assert taken.trailers.present(taken.ids).tolist() == [True]


def test_trailers_do_not_change_the_content_of_a_catalogue(tmp_path: Path) -> None:
    bare = Catalogue.read(jsonl(tmp_path, {"id": "a", "title": "A"})).fingerprint()
    library(tmp_path / "videos", "a.mp4")
    options = ReadOptions(trailers=(tmp_path / "videos",))
    assert Catalogue.read(jsonl(tmp_path, {"id": "a", "title": "A"}), options).fingerprint() == bare
    assert Catalogue.read(jsonl(tmp_path, {"id": "a", "title": "A", "trailer": "x.mp4"})).fingerprint() == bare
    assert Catalogue.read(jsonl(tmp_path, {"id": "a", "title": "B", "trailer": "x.mp4"})).fingerprint() != bare


# folders and files


def test_a_folder_of_videos_named_by_id(tmp_path: Path) -> None:
    folder = library(tmp_path / "videos", "tt1.mp4", "tt2.MKV", "tt3.txt", "tt4.jpg", " tt5 .webm", "readme")
    (folder / "tt6.mp4").mkdir()
    trailers = open_trailers([folder])
    assert found(trailers) == {"tt1": "tt1.mp4", "tt2": "tt2.MKV", "tt5": " tt5 .webm", "tt6": "tt6.mp4"}
    assert trailers.present(["tt1", "tt5", "tt6"]).tolist() == [True, True, False]


@pytest.mark.parametrize("mark", ["-trailer", "-Trailer", ".trailer", "_trailer", " trailer"])
def test_media_libraries_name_trailers_beside_films(tmp_path: Path, mark: str) -> None:
    folder = library(tmp_path / "videos", "tt1.mp4", f"tt1{mark}.mkv", f"tt2{mark}.mp4", "tt3.mp4")
    expected = {"tt1": f"tt1{mark}.mkv", "tt2": f"tt2{mark}.mp4", "tt3": "tt3.mp4"}
    assert found(open_trailers([folder])) == expected  # tt1.mp4 is the film
    assert found(open_trailers(sorted(folder.iterdir(), reverse=True))) == expected


def test_the_first_of_several_by_name_is_taken(tmp_path: Path) -> None:
    folder = library(tmp_path / "videos", "a.webm", "a.avi", "b-trailer.mp4", "b.trailer.mkv")
    assert found(open_trailers([folder])) == {"a": "a.avi", "b": "b-trailer.mp4"}


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_every_suffix_is_known(tmp_path: Path, suffix: str) -> None:
    assert list(open_trailers([library(tmp_path / "videos", f"a{suffix}")]).paths) == ["a"]


def test_trailers_beside_a_catalogue_take_the_place_of_its_column(tmp_path: Path) -> None:
    folder = library(tmp_path / "videos", "a-trailer.mp4")
    path = jsonl(tmp_path, {"id": "a", "trailer": "x.mp4"}, {"id": "b", "trailer": "y.mp4"})
    trailers = Catalogue.read(path, ReadOptions(trailers=(folder,))).trailers
    assert found(trailers) == {"a": "a-trailer.mp4"}
    assert trailers.problems() == []


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = library(tmp_path / "videos", "a.mp4", "a.txt")
    other = library(tmp_path / "pictures", "a.jpg")
    suffixes = ", ".join(VIDEO_SUFFIXES)
    rule = "give one folder, or video files, named by title id"
    for places, told in (
        ([], f"trailers: {rule}; got nothing"),
        ([tmp_path / "none"], f"trailers: {tmp_path / 'none'}: no such file or folder"),
        ([other], f"trailers: {other}: must hold video files ({suffixes})"),
        ([folder, other], f"trailers: {folder}: {rule} ({suffixes})"),
        ([folder / "a.mp4", folder / "a.txt"], f"trailers: {folder / 'a.txt'}: {rule} ({suffixes})"),
    ):
        assert message(lambda places=places: open_trailers(places)) == told  # type: ignore[misc]

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CatalogueError, match=r"videos: cannot be read \(Permission denied\)$"):
        open_trailers([folder])


# what trailers and posters share


def test_files_are_found_by_the_id_in_their_name() -> None:
    files = [Path("b.JPG"), Path("a.png"), Path("a.jpg"), Path("c.txt")]
    assert paths_by_name(files, (".jpg", ".png"), str.upper) == {"A": Path("a.jpg"), "B": Path("b.JPG")}


def test_a_path_that_cannot_be_looked_up_is_no_file(tmp_path: Path) -> None:
    assert not is_file(tmp_path / ("x" * 5000))
    assert not is_file(tmp_path)
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")


# what is said of them


def test_a_survey_counts_trailers_and_names_missing_ones(tmp_path: Path) -> None:
    library(tmp_path, "a.mp4")
    rows = [{"id": name, "genres": ["Drama"], "trailer": f"{name}.mp4", "split": "train"} for name in "ab"]
    rows += [{"id": "c", "genres": ["Drama"], "trailer": None, "split": "test"}]
    found = survey(Catalogue.read(jsonl(tmp_path, *rows)))
    assert (found.present["trailer"].all, found.present["trailer"].splits) == (1, {"train": 1, "test": 0})
    missing = f"the trailer file must exist (title b): '{tmp_path / 'b.mp4'}'"
    assert f"trailer files that are missing and count as absent: 1 ({missing})" in found.notes


def test_a_survey_is_silent_about_trailers_where_none_are_named(tmp_path: Path) -> None:
    found = survey(Catalogue.read(jsonl(tmp_path, {"id": "a", "genres": ["Drama"]})))
    assert "trailer" not in found.present
    assert not any("trailer" in note for note in found.notes)
