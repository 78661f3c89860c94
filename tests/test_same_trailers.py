"""Titles of one trailer: copies, files of one size, files that are gone, several catalogues, what the audit says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from reeltag.catalogue import Catalogue
from reeltag.catalogue.trailers import TrailerFiles
from reeltag.duplicates import DuplicateConfig, find_duplicates, same_trailers, trailers
from reeltag.leaks import audit

CONFIG = DuplicateConfig()


def catalogue(paths: dict[str, Path], ids: list[str]) -> Catalogue:
    return replace(Catalogue.from_frame(pl.DataFrame({"id": ids})), trailers=TrailerFiles(paths=paths))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return a and its copy d, b of the same size, c of another; e names a file that is not there, f is empty."""
    content = {"a": b"film one", "b": b"film two", "c": b"another film", "d": b"film one", "f": b"", "g": b""}
    paths = {name: tmp_path / f"{name}.mp4" for name in "abcdefg"}
    for name, data in content.items():
        paths[name].write_bytes(data)
    return paths


def found(pairs: object) -> set[tuple[int, int]]:
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))  # type: ignore[attr-defined]


def test_copies_are_found_and_files_of_one_size_are_told_apart(files: dict[str, Path]) -> None:
    pairs, placeholders = same_trailers((catalogue(files, list("abcdefg")),), CONFIG)
    assert found(pairs) == {(0, 3)}
    assert pairs.similarity.tolist() == [1]
    assert placeholders == []


def test_titles_may_name_one_file(files: dict[str, Path]) -> None:
    shared = {"x": files["c"], "y": files["c"], "z": files["a"]}
    pairs, _ = same_trailers((catalogue(shared, ["x", "y", "z"]),), CONFIG)
    assert found(pairs) == {(0, 1)}


def test_only_files_of_a_size_that_comes_again_are_read(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = trailers._digest

    def told(path: Path) -> bytes | None:
        read.append(path.stem)
        return digest(path)

    monkeypatch.setattr(trailers, "_digest", told)
    same_trailers((catalogue(files, list("abcdefg")),), CONFIG)
    assert sorted(read) == ["a", "b", "d"]


def test_rows_of_several_catalogues_are_counted_through(files: dict[str, Path]) -> None:
    one, other = catalogue(files, ["b", "a"]), catalogue(files, ["c", "d"])
    assert found(same_trailers((one, other), CONFIG)[0]) == {(1, 3)}
    assert found(find_duplicates(one, other).pairs["same_trailer"]) == {(1, 3)}


def test_a_trailer_on_too_many_titles_is_a_placeholder(files: dict[str, Path]) -> None:
    ids = [f"t{n}" for n in range(4)]
    same = catalogue(dict.fromkeys(ids, files["a"]), ids)
    pairs, placeholders = same_trailers((same,), DuplicateConfig(max_copies=3))
    assert len(pairs) == 0
    assert [(p.field, p.example, p.n_titles) for p in placeholders] == [("trailer", "row 0", 4)]
    assert len(same_trailers((same,), DuplicateConfig(max_copies=4))[0]) == 6


def test_they_are_not_compared_unless_asked_for(files: dict[str, Path]) -> None:
    assert len(same_trailers((catalogue(files, list("ad")),), DuplicateConfig(trailers=False))[0]) == 0


def test_progress_counts_the_sizes_that_come_again(files: dict[str, Path]) -> None:
    told: list[tuple[str, int, int]] = []
    same_trailers((catalogue(files, list("abcd")),), CONFIG, lambda *report: told.append(report))
    assert told == [("comparing trailers", 1, 1)]


def test_one_trailer_in_two_splits_is_a_leak_and_its_titles_are_one_group(files: dict[str, Path]) -> None:
    frame = pl.DataFrame({"id": ["a", "b", "d"], "split": ["train", "train", "test"], "genres": [["Drama"]] * 3})
    films = replace(Catalogue.from_frame(frame), trailers=TrailerFiles(paths=files))
    check = audit(films).check("same_trailer")
    assert (check.n_leaks, check.n_test_touched, check.severity) == (1, 1, "serious")
    assert "the same trailer" in check.sentence
    groups = find_duplicates(films).groups()
    assert groups[0] == groups[2] != groups[1]
