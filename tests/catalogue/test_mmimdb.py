"""The MM-IMDb folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reeltag.catalogue import Catalogue, ColumnMapping, ReadOptions
from reeltag.catalogue.mmimdb import is_mmimdb
from reeltag.errors import CatalogueError

from .samples import message, only_problem, problems, skipping

HEAT: dict[str, Any] = {
    "title": "Heat",
    "year": 1995,
    "plot": ["Short.", "A thief and a detective.", "Middle one."],
    "plot outline": "A thief.",
    "genres": ["Crime", "Drama"],
    "director": [{"name": "Michael Mann"}],
    "cast": [{"name": "Al Pacino"}, {"canonical name": "De Niro, Robert"}, {"long imdb name": "Kilmer, Val"}],
    "runtimes": ["170"],
}


def folder(tmp_path: Path, titles: dict[str, Any], split: Any = None, nested: bool = True) -> Path:
    """Write a folder; a title that is text is written as it stands."""
    root = tmp_path / "mmimdb"
    home = root / "dataset" if nested else root
    home.mkdir(parents=True)
    for name, title in titles.items():
        (home / f"{name}.json").write_text(title if isinstance(title, str) else json.dumps(title), encoding="utf-8")
    if split is not None:
        (root / "split.json").write_text(split if isinstance(split, str) else json.dumps(split))
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_a_whole_folder(tmp_path: Path, nested: bool) -> None:
    titles = {"0113277": HEAT, "0000002": {"cast": ["A", "B"], "director": "C", "plot": "P"}, "0000003": {}, "4": {}}
    split = {"train": ["0113277"], "dev": ["0000002"], "test": ["0000003"]}
    root = folder(tmp_path, titles, split, nested)
    (root / "dataset" if nested else root).joinpath("0113277.jpeg").write_bytes(b"JPEG")
    catalogue = Catalogue.read(root)
    assert catalogue.ids == ["0000002", "0000003", "0113277", "4"]
    assert catalogue.frame[2].to_dicts() == [
        {
            "id": "0113277",
            "title": "Heat",
            "year": 1995,
            "plot": "A thief and a detective.",
            "outline": "A thief.",
            "genres": ["Crime", "Drama"],
            "directors": ["Michael Mann"],
            "cast": ["Al Pacino", "De Niro, Robert", "Kilmer, Val"],
            "split": "train",
        }
    ]
    assert (catalogue.lists("cast")[0], catalogue.lists("directors")[0]) == (["A", "B"], ["C"])
    assert catalogue.texts("plot")[0] == "P"
    assert [catalogue.rows_of(name).tolist() for name in ("train", "validation", "test", "background")] == [
        [2],
        [0],
        [1],
        [],
    ]
    assert catalogue.posters.present(catalogue.ids).tolist() == [False, False, True, False]
    assert dict(catalogue.posters.read(catalogue.ids)) == {"0113277": b"JPEG"}
    assert catalogue.posters.problems() == []
    assert catalogue.source == str(root)


def test_no_split_json(tmp_path: Path) -> None:
    catalogue = Catalogue.read(folder(tmp_path, {"1": HEAT}))
    assert catalogue.frame["split"].to_list() == [None]
    assert catalogue.rows_of("train").tolist() == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    root = folder(tmp_path, {str(n): HEAT | {"year": 1990 + n} for n in range(5)} | {"7": "{"})
    whole = skipping(root)
    monkeypatch.setattr("reeltag.catalogue.chunks.CHUNK_ROWS", size)
    assert skipping(root).fingerprint() == whole.fingerprint()
    assert skipping(root).rejected == whole.rejected


@pytest.mark.parametrize("files", [[], ["films.csv"], ["a.jpg", "notes.txt"]])
def test_folder_that_is_no_mmimdb(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert not is_mmimdb(tmp_path)
    text = message(lambda: Catalogue.read(tmp_path))
    assert text == f"{tmp_path}: a folder must be an MM-IMDb folder (split.json, dataset/*.json)"


def test_title_that_split_json_names_and_that_has_no_file(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT}, {"train": ["1", "2"], "test": ["3"]})
    found = problems(root)
    assert [str(problem) for problem in found] == [
        f"{root / 'split.json'}, field 'id': a title must have its file; got 2",
        f"{root / 'split.json'}, field 'id': a title must have its file; got 3",
    ]
    read = skipping(root)
    assert (read.ids, read.rejected) == (["1"], found)


def test_split_json_alone(tmp_path: Path) -> None:
    root = folder(tmp_path, {}, {"train": []})
    catalogue = Catalogue.read(root)
    assert len(catalogue) == 0
    assert catalogue.frame.schema["cast"] == pl.List(pl.String)


@pytest.mark.parametrize(
    ("content", "rule"),
    [("{", "must be valid JSON ("), ("", "must be valid JSON ("), ("[" * 100_000, "must be valid JSON ("),
     ("[1]", "must be one JSON object"), ('"text"', "must be one JSON object")],
)  # fmt: skip
def test_broken_title(tmp_path: Path, content: str, rule: str) -> None:
    root = folder(tmp_path, {"1": content, "2": HEAT})
    problem = only_problem(root)
    assert (problem.file, problem.row) == (str(root / "dataset" / "1.json"), None)
    assert problem.rule.startswith(rule)
    assert len(str(problem)) < 400
    assert skipping(root).ids == ["2"]


def test_title_in_latin_1(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT})
    (root / "dataset" / "1.json").write_bytes('{"title": "Amélie"}'.encode("latin-1"))
    assert only_problem(root).value.startswith(r"b'{\"title\": \"Am\xe9lie".replace('\\"', '"'))


def test_title_with_byte_order_mark(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": "\ufeff" + json.dumps(HEAT)})
    assert Catalogue.read(root).texts("title") == ["Heat"]


def test_title_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path, {"1": HEAT})

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    problem = only_problem(root)
    assert (problem.rule, problem.value) == ("must be readable (Permission denied)", "nothing")


WRONG = [
    ("year", "abc", "year"),
    ("year", 3000, "year"),
    ("title", 3, "title"),
    ("plot", 3, "plot"),
    ("plot", ["a", 3], "plot"),
    ("plot outline", {"a": 1}, "outline"),
    ("genres", {"a": 1}, "genres"),
    ("genres", [1], "genres"),
    ("director", [3], "directors"),
    ("cast", 3, "cast"),
]


@pytest.mark.parametrize(("key", "value", "field"), WRONG)
def test_wrong_value_names_the_file_of_the_title(tmp_path: Path, key: str, value: object, field: str) -> None:
    root = folder(tmp_path, {"0": "{", "1": HEAT, "2": HEAT | {key: value}, "3": HEAT})
    broken, problem = problems(root)
    assert broken.file == str(root / "dataset" / "0.json")
    assert (problem.file, problem.row, problem.field) == (str(root / "dataset" / "2.json"), None, field)
    assert skipping(root).ids == ["1", "3"]


@pytest.mark.parametrize("plot", [[], None, "", [""]])
def test_no_plot(tmp_path: Path, plot: object) -> None:
    assert Catalogue.read(folder(tmp_path, {"1": HEAT | {"plot": plot}})).frame["plot"].to_list() == [None]


def test_people_without_names_are_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": {"director": [], "directors": [{"name": "A"}, {"x": 1}, {}, None, "B"]}})
    assert Catalogue.read(root).lists("directors") == [["A", "B"]]


@pytest.mark.parametrize("content", ["{", "[]", '{"train": "1"}', "[" * 100_000, '{"train": {"1": 2}}'])
def test_broken_split_json(tmp_path: Path, content: str) -> None:
    root = folder(tmp_path, {"1": HEAT}, content)
    for skip in (False, True):
        text = message(lambda skip=skip: Catalogue.read(root, ReadOptions(skip_bad=skip)))
        assert text.startswith(f"{root / 'split.json'}: must be ")


def test_title_in_two_splits(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT}, {"train": ["1"], "test": ["1"]})
    assert "title 1 must be in one split; got train and test" in message(lambda: Catalogue.read(root))


def test_title_twice_in_one_split(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT}, {"dev": ["1"], "validation": ["1", "1"]})
    assert Catalogue.read(root).rows_of("validation").tolist() == [0]


def test_unknown_split(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT}, {"holdout": ["1"]})
    problem = only_problem(root)
    assert (problem.field, problem.value) == ("split", "'holdout'")


def test_mapping_and_label_fields_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT})
    for mapping in (ColumnMapping(columns={"plot": "text"}), ColumnMapping(label_fields=("runtimes",))):
        with pytest.raises(CatalogueError, match="an MM-IMDb folder has fixed fields"):
            Catalogue.read(root, ReadOptions(mapping=mapping))


def test_posters_given_beside(tmp_path: Path) -> None:
    root = folder(tmp_path, {"1": HEAT})
    posters = tmp_path / "posters"
    posters.mkdir()
    (posters / "1.png").write_bytes(b"PNG")
    catalogue = Catalogue.read(root, ReadOptions(posters=(posters,)))
    assert dict(catalogue.posters.read(["1"])) == {"1": b"PNG"}
