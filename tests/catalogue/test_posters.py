"""Posters: files beside the catalogue, folders, embedded images, side tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reeltag.catalogue import Catalogue, ColumnMapping, PosterFiles, PosterTables, ReadOptions
from reeltag.catalogue.posters import open_posters, poster_folder, poster_tables
from reeltag.errors import CatalogueError

from .samples import FORMATS, TEXT_FORMATS, jsonl, message, only_problem, skipping, write

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
KINDS = {
    "struct": IMAGE,
    "large struct": pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]),
    "bytes only": pa.struct([("bytes", pa.binary())]),
    "binary": pa.binary(),
    "large binary": pa.large_binary(),
    "binary view": pa.binary_view(),
}


def images(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    if pa.types.is_struct(kind):
        return pa.array([None if value is None else {"bytes": value, "path": "x.jpg"} for value in values], kind)
    return pa.array(values, kind)


def side_table(path: Path, posters: dict[Any, bytes | None], kind: pa.DataType = IMAGE, **options: Any) -> Path:
    pq.write_table(pa.table({"imdb_id": list(posters), "image": images(kind, list(posters.values()))}), path, **options)
    return path


def films(tmp_path: Path, *ids: Any) -> Path:
    return jsonl(tmp_path, *({"id": title_id} for title_id in ids))


def beside(tmp_path: Path, places: list[Path], *ids: Any) -> Catalogue:
    return Catalogue.read(films(tmp_path, *ids), ReadOptions(posters=tuple(places)))


def found(catalogue: Catalogue) -> tuple[list[bool], dict[str, bytes]]:
    present = catalogue.posters.present(catalogue.ids)
    assert present.dtype == bool
    content = dict(catalogue.posters.read(catalogue.ids))
    assert set(content) == {i for i, there in zip(catalogue.ids, present, strict=True) if there}
    return present.tolist(), content


# paths in the catalogue


@pytest.mark.parametrize("suffix", FORMATS)
def test_paths_are_relative_to_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    folder = tmp_path / "data"
    (folder / "img").mkdir(parents=True)
    (folder / "img" / "a.jpg").write_bytes(b"A")
    (tmp_path / "b.jpg").write_bytes(b"B")
    rows = [
        {"id": "a", "poster": "img/a.jpg"},
        {"id": "b", "poster": str(tmp_path / "b.jpg")},
        {"id": "c", "poster": "img/c.jpg"},
        {"id": "d", "poster": None},
        {"id": "e", "poster": "../b.jpg"},
    ]
    path = write(folder / f"films.{suffix}", rows)
    monkeypatch.chdir(tmp_path)
    for place in (path, Path("data") / path.name):
        catalogue = Catalogue.read(place)
        assert found(catalogue) == ([True, True, False, False, True], {"a": b"A", "b": b"B", "e": b"B"})
        (problem,) = catalogue.posters.problems()
        missing = str(place.parent / "img" / "c.jpg")
        assert str(problem) == f"{place}, field 'poster': the poster file must exist (title c); got {missing!r}"


@pytest.mark.parametrize("column", ["poster", "image", "poster_path"])
def test_usual_columns_of_paths(tmp_path: Path, column: str) -> None:
    (tmp_path / "a.png").write_bytes(b"A")
    assert found(Catalogue.read(jsonl(tmp_path, {"id": "a", column: "a.png"}))) == ([True], {"a": b"A"})


@pytest.mark.parametrize(
    "url",
    [
        "http://x/a.jpg",
        "HTTPS://x/a.jpg",
        " https://x/a.jpg",
        "s3://bucket/a.jpg",
        "file:///a.jpg",
        "data:image/png;base64,AA",
    ],
)
@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_urls_are_refused(tmp_path: Path, suffix: str, url: str) -> None:
    path = write(tmp_path / f"films.{suffix}", [{"id": "a", "poster": "a.jpg"}, {"id": "b", "poster": url}])
    problem = only_problem(path)
    assert (problem.row, problem.field, problem.rule) == (2, "poster", "must be a local path; URLs are not fetched")
    assert skipping(path).ids == ["a"]


@pytest.mark.parametrize("name", ["x" * 5000 + ".jpg", "folder", "nothing.jpg", "http:a.jpg"])
def test_paths_that_are_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    catalogue = Catalogue.read(jsonl(tmp_path, {"id": "a", "poster": name}))
    assert found(catalogue) == ([False], {})
    assert len(catalogue.posters.problems()) == 1


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"A")
    catalogue = Catalogue.read(jsonl(tmp_path, {"id": "a", "poster": "a.jpg"}))

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    text = message(lambda: list(catalogue.posters.read(["a"])))
    assert text == f"{tmp_path / 'a.jpg'}: the poster cannot be read (Permission denied)"


def test_empty_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert found(Catalogue.read(jsonl(tmp_path, {"id": "a", "poster": "a.jpg"}))) == ([True], {"a": b""})


def test_no_posters(tmp_path: Path) -> None:
    catalogue = Catalogue.read(films(tmp_path, "a"))
    assert found(catalogue) == ([False], {})
    assert catalogue.posters.problems() == []
    assert catalogue.posters.present([]).tolist() == []


def test_rejected_titles_have_no_posters(tmp_path: Path) -> None:
    catalogue = skipping(jsonl(tmp_path, {"id": "a", "year": "x", "poster": "a.jpg"}, {"id": "b", "poster": "b.jpg"}))
    assert [problem.rule for problem in catalogue.posters.problems()] == ["the poster file must exist (title b)"]


# images inside the catalogue


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_images_inside_the_catalogue(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "films.parquet"
    content = [b"A" * 9000, None, b"C"]
    pq.write_table(pa.table({"id": [" a", "b", "c"], "title": ["x", "y", "z"], "image": images(kind, content)}), path)
    catalogue = Catalogue.read(path)
    assert catalogue.frame.columns == ["id", "title"]
    assert found(catalogue) == ([True, False, True], {"a": b"A" * 9000, "c": b"C"})
    assert catalogue.posters.problems() == []
    assert found(catalogue.take([2])) == ([True], {"c": b"C"})


def test_images_inside_the_catalogue_by_mapping(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"key": pa.array([7], pa.int32()), "picture": images(IMAGE, [b"A"])}), path)
    options = ReadOptions(mapping=ColumnMapping(columns={"id": "key", "poster": "picture"}))
    assert found(Catalogue.read(path, options)) == ([True], {"7": b"A"})


def test_images_of_rejected_rows_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a", "a", "b"], "image": images(IMAGE, [b"1", b"2", b"3"])}), path)
    assert found(skipping(path)) == ([True, True], {"a": b"1", "b": b"3"})


@pytest.mark.parametrize("kind", [pa.struct([("path", pa.string())]), pa.struct([("bytes", pa.string())])])
def test_structs_without_bytes(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "image": pa.array([{kind[0].name: "x"}], kind)}), path)
    assert "column 'image' must hold bytes, or structs with bytes; got struct<" in message(lambda: Catalogue.read(path))


def test_structs_whose_bytes_are_all_unknown(tmp_path: Path) -> None:
    path = tmp_path / "films.parquet"
    kind = pa.struct([("bytes", pa.null()), ("path", pa.string())])
    pq.write_table(pa.table({"id": ["a"], "image": pa.array([{"path": "x"}], kind)}), path)
    assert found(Catalogue.read(path)) == ([False], {})


def test_posters_given_beside_go_before_the_catalogues_own(tmp_path: Path) -> None:
    table = side_table(tmp_path / "posters.parquet", {"a": b"side"})
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["a"], "image": images(IMAGE, [b"own"])}), path)
    assert found(Catalogue.read(path, ReadOptions(posters=(table,))))[1] == {"a": b"side"}


# side tables


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_side_tables(tmp_path: Path, kind: pa.DataType) -> None:
    one = side_table(tmp_path / "1.parquet", {"a": b"A", "other": b"O", "n": None}, kind)
    two = side_table(tmp_path / "2.parquet", {"b": b"B", "a": b"again", "n": b"N"}, kind)
    catalogue = beside(tmp_path, [one, two], "n", "b", "a", "none")
    assert found(catalogue) == ([True, True, True, False], {"a": b"A", "b": b"B", "n": b"N"})


def test_side_tables_are_read_in_storage_order(tmp_path: Path) -> None:
    table = side_table(tmp_path / "1.parquet", {"a": b"A", "b": b"B", "c": b"C"})
    assert [title_id for title_id, _ in open_posters([table]).read(["c", "a", "nobody"])] == ["a", "c"]


def test_side_tables_over_batches_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.catalogue.posters._READ_ROWS", 3)
    posters = {str(n): None if n % 7 == 3 else str(n).encode() for n in range(50)}
    table = side_table(tmp_path / "1.parquet", posters, row_group_size=8)
    catalogue = beside(tmp_path, [table], *range(60))
    assert found(catalogue)[1] == {name: content for name, content in posters.items() if content is not None}


@pytest.mark.parametrize("statistics", [True, False])
def test_null_images_with_and_without_statistics(tmp_path: Path, statistics: bool) -> None:
    posters = {"a": b"A" * 5000, "b": None, "c": b""}
    table = side_table(tmp_path / "1.parquet", posters, write_statistics=statistics)
    assert found(beside(tmp_path, [table], *"abc")) == ([True, False, True], {"a": b"A" * 5000, "c": b""})


def test_struct_whose_bytes_are_null_and_path_is_not(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    column = pa.array([{"bytes": None, "path": "x"}, {"bytes": b"B", "path": None}], IMAGE)
    pq.write_table(pa.table({"id": ["a", "b"], "image": column}), path)
    assert found(beside(tmp_path, [path], "a", "b")) == ([False, True], {"b": b"B"})


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1, 2], pa.int64()),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array([" 1", "2 "], pa.large_string()),
        pa.array(["1", "2"], pa.string_view()),
    ],
)
def test_ids_of_side_tables(tmp_path: Path, ids: pa.Array) -> None:
    path = tmp_path / "1.parquet"
    pq.write_table(pa.table({"tmdb_id": ids, "poster": images(IMAGE, [b"A", b"B"])}), path)
    assert found(beside(tmp_path, [path], "1", "2"))[1] == {"1": b"A", "2": b"B"}


def test_ids_that_are_null_or_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    pq.write_table(pa.table({"id": ["a", None, ""], "image": images(IMAGE, [b"A", b"B", b"C"])}), path)
    assert poster_tables([path]).rows == {"a": (0, 0)}
    pq.write_table(pa.table({"id": [["a"]], "image": images(IMAGE, [b"A"])}), path)
    assert "its ids are no texts" in message(lambda: poster_tables([path]))


def test_side_table_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "image": pa.array([], IMAGE)}), path)
    assert found(beside(tmp_path, [path], "a")) == ([False], {})


def test_columns_of_side_tables(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    pq.write_table(pa.table({"key": ["a"], "picture": images(IMAGE, [b"A"])}), path)
    assert "no column holds the id of a poster table; columns: key, picture" in message(lambda: poster_tables([path]))
    assert dict(poster_tables([path], "key", "picture").read(["a"])) == {"a": b"A"}
    assert "no column holds the poster" in message(lambda: poster_tables([path], "key"))
    pq.write_table(pa.table({"id": ["a"], "image": ["a.jpg"]}), path)
    assert "column 'image' must hold bytes, or structs with bytes; got string" in message(lambda: poster_tables([path]))


def test_damaged_side_tables(tmp_path: Path) -> None:
    path = side_table(tmp_path / "1.parquet", {str(n): bytes([n]) * 5000 for n in range(50)}, compression="zstd")
    content = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    path.write_bytes(content[:start] + bytes(100) + content[start + 100 :])
    assert f"{path}: damaged (" in message(lambda: open_posters([path]))
    path.write_bytes(content[:-100])
    assert f"{path}: not a whole Parquet file" in message(lambda: open_posters([path]))


def test_damage_after_the_posters_were_opened(tmp_path: Path) -> None:
    path = side_table(tmp_path / "1.parquet", {str(n): bytes([n]) * 5000 for n in range(50)})
    posters = open_posters([path])
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path}: not a whole Parquet file" in message(lambda: list(posters.read(["1"])))


def test_damaged_ids(tmp_path: Path) -> None:
    path = side_table(tmp_path / "1.parquet", {str(n): b"x" for n in range(500)}, compression="zstd")
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(200) + content[204:])
    assert f"{path}: damaged" in message(lambda: open_posters([path]))


# folders


def test_folder_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "posters"
    folder.mkdir()
    for name in ("a.jpg", "b.PNG", "b.webp", "c.txt", "e\u0301.jpeg", "other.gif"):
        (folder / name).write_bytes(name.encode())
    (folder / "d.jpg").mkdir()
    catalogue = beside(tmp_path, [folder], "a", "b", "c", "d", "é")
    assert found(catalogue) == (
        [True, True, False, False, True],
        {"a": b"a.jpg", "b": b"b.PNG", "é": "e\u0301.jpeg".encode()},
    )
    assert isinstance(catalogue.posters, PosterFiles)
    assert catalogue.posters.source == str(folder)


def test_folder_of_tables(tmp_path: Path) -> None:
    folder = tmp_path / "posters"
    folder.mkdir()
    side_table(folder / "2.parquet", {"b": b"B", "a": b"later"})
    side_table(folder / "1.PARQUET", {"a": b"A"})
    (folder / "README.md").touch()
    catalogue = beside(tmp_path, [folder], "a", "b")
    assert isinstance(catalogue.posters, PosterTables)
    assert found(catalogue)[1] == {"a": b"A", "b": b"B"}


@pytest.mark.parametrize(("files", "got"), [((), "neither"), (("x.txt",), "neither"), (("a.jpg", "t.parquet"), "both")])
def test_folder_that_is_neither(tmp_path: Path, files: tuple[str, ...], got: str) -> None:
    folder = tmp_path / "posters"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    text = message(lambda: open_posters([folder]))
    assert text == f"posters: {folder}: must hold image files or Parquet files; got {got}"


def test_mixtures_are_refused(tmp_path: Path) -> None:
    folder, table, image = tmp_path / "posters", side_table(tmp_path / "1.parquet", {"a": b"A"}), tmp_path / "a.jpg"
    folder.mkdir()
    (folder / "a.jpg").touch()
    image.touch()
    rule = "give one folder, or Parquet files with an id and an image column"
    for places, wrong in (([folder, table], folder), ([table, folder], folder), ([folder, folder], folder),
                          ([table, image], image), ([image], image)):  # fmt: skip
        assert message(lambda places=places: open_posters(places)) == f"posters: {wrong}: {rule}"


@pytest.mark.parametrize("name", ["nothing", "nothing.parquet", "nul\0.parquet"])
def test_place_that_does_not_exist(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    assert message(lambda: beside(tmp_path, [place], "a")) == f"posters: {place}: no such file or folder"


def test_posters_are_looked_for_before_the_titles_are_read(tmp_path: Path) -> None:
    options = ReadOptions(posters=(tmp_path / "nothing",))
    assert "no such file or folder" in message(lambda: Catalogue.read(jsonl(tmp_path, "{"), options))


def test_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert f"posters: {tmp_path}: cannot be read (Permission denied)" in message(lambda: open_posters([tmp_path]))


def test_folder_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"A")
    posters = poster_folder(tmp_path)
    (tmp_path / "a.jpg").unlink()
    assert posters.present(["a"]).tolist() == [False]
    assert len(posters.problems()) == 1


def test_errors_are_catalogue_errors() -> None:
    with pytest.raises(CatalogueError):
        open_posters([])  # nothing to open is a mistake, not an empty place
