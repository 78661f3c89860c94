from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reeltag.files import atomic_file, atomic_folder, write_json


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    with atomic_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        assert not path.exists()
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.json"]


def test_file_is_replaced_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_old_file_survives(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_no_file_appears_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a.txt"):
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.usefixtures("umask")
def test_usual_permissions(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.touch()
    with atomic_folder(tmp_path / "b"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_folder_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    with atomic_folder(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a.txt").write_text("new")
        assert not path.exists()
    assert (path / "sub" / "a.txt").read_text() == "new"
    assert names(path.parent) == ["model"]


def test_folder_is_swapped_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert names(path) == ["old.txt"]
    assert names(path) == ["new.txt"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_old_folder_survives(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("half")
        raise error
    assert (path / "old.txt").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_old_folder_comes_back_when_the_swap_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == path and not self.name.endswith(".old"):
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"), atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert names(path) == ["old.txt"]
    assert names(tmp_path) == ["model"]


def test_no_folder_appears_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_file_is_not_swapped_for_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("old")
    with pytest.raises(NotADirectoryError, match="is a file, where a folder should be written"), atomic_folder(path):
        pass
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_folder_is_not_swapped_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    with pytest.raises(OSError), atomic_file(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["model"]


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é 🎬": [1, None], "b": {}})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "é 🎬": [\n    1,\n    null\n  ],\n  "b": {}\n}\n'
    assert json.loads(text) == {"é 🎬": [1, None], "b": {}}


@pytest.mark.parametrize("data", [{"a": object()}, {"a": "\ud800"}, {("a",): 1}])
def test_old_json_survives_what_cannot_be_written(tmp_path: Path, data: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises((TypeError, UnicodeEncodeError)):
        write_json(path, data)
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["a.json"]
