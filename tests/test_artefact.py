"""The artefact: strict when read, whole or not there when written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reeltag
from reeltag.artefact import (
    SCHEMA,
    check_destination,
    read_config,
    read_fitted_on,
    write_artefact,
    write_fitted_on,
)
from reeltag.errors import ArtefactError, ConfigError
from reeltag.models import LinearModel
from reeltag.tagger import Tagger
from samples import files_of, fitted, sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fitted().save_pretrained(tmp_path / "tagger")


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(data)), encoding="utf-8")


def names(folder: Path) -> set[str]:
    return set(files_of(folder))


def test_everything_is_there(folder: Path) -> None:
    assert names(folder) >= {
        "config.json", "labels.json", "README.md", "fitted_on.parquet", "model/model.safetensors",
        "calibration/calibration.safetensors", "neighbours/vectors.safetensors", "features/plot.tfidf/tfidf.json",
        "features/credits/credits.safetensors",
    }  # fmt: skip


def test_no_pickle_anywhere(folder: Path) -> None:
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".md", ".safetensors", ".parquet"}
    assert not [name for name, content in files_of(folder).items() if content[:1] == b"\x80"]


def test_nothing_in_the_code_unpickles() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in Path(reeltag.__file__).parent.rglob("*.py"))
    for word in ("import pickle", "import joblib", "torch.load(", "allow_pickle", "import dill"):
        assert word not in sources


def test_config_says_what_it_is(folder: Path) -> None:
    config = read_config(folder)
    assert config["schema"] == SCHEMA
    assert config["reeltag"] == reeltag.__version__
    assert config["recipe"] == fitted().recipe.to_json()
    assert config["data"]["fingerprint"] == sample().fingerprint()
    assert config["data"]["labelled"] == {"train": 72, "validation": 24, "graph": 82}
    assert set(config["files"]) == names(folder) - {"config.json"}


def test_card_is_present_and_may_be_edited(folder: Path) -> None:
    card = (folder / "README.md").read_text("utf-8")
    assert "quick-linear" in card
    assert all(label in card for label in fitted().labels.labels)
    (folder / "README.md").write_text("Our own words.", encoding="utf-8")
    read_config(folder)


def test_given_card_is_written(tmp_path: Path) -> None:
    folder = fitted().save_pretrained(tmp_path / "tagger", card="# House tagger\n")
    assert (folder / "README.md").read_text("utf-8") == "# House tagger\n"


def test_same_tagger_same_files(folder: Path, tmp_path: Path) -> None:
    again = Tagger.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert files_of(again) == files_of(folder)


def test_history_of_a_network_is_kept(tmp_path: Path) -> None:
    folder = fitted("fusion").save_pretrained(tmp_path / "tagger")
    (member,) = read_config(folder)["history"]["members"]
    assert len(member["losses"]) == len(member["scores"]) >= member["best"] >= 1


def test_every_missing_file_is_named(folder: Path) -> None:
    for name, content in files_of(folder, "config.json").items():
        (folder / name).unlink()
        with pytest.raises(ArtefactError, match=f"file '{name}' is missing; the artefact is incomplete"):
            Tagger.from_pretrained(folder)
        (folder / name).write_bytes(content)
    Tagger.from_pretrained(folder)


def test_every_changed_byte_is_found(folder: Path) -> None:
    for name, content in files_of(folder, "config.json", "README.md").items():
        middle = len(content) // 2
        (folder / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(ArtefactError, match=f"file '{name}' differs from what was written; .* damaged"):
            Tagger.from_pretrained(folder)
        (folder / name).write_bytes(content)
    Tagger.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data | {"schema": 2}, "schema 2 cannot be read; this version reads schema 1"),
        (lambda data: [data], "schema None cannot be read"),
        (lambda data: data | {"colour": "red"}, "unknown or missing entries: colour"),
        (lambda data: {key: value for key, value in data.items() if key != "seed"}, "missing entries: seed"),
        (lambda data: data | {"files": []}, "the list of files is damaged"),
        (lambda data: data | {"files": {}}, "the list of files is damaged"),
        (lambda data: data | {"pipeline": {}}, "entries 'absent' and 'encoders'"),
        (
            lambda data: data | {"pipeline": {"absent": [], "encoders": {}, "more": 1}},
            "entries 'absent' and 'encoders'",
        ),
        (lambda data: data | {"files": _less(data, "model/model.safetensors")}, "model.safetensors"),
        (lambda data: data | {"files": _less(data, "features/credits/cast.parquet")}, "cast.parquet"),
    ],
)
def test_a_strange_config_is_refused(folder: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(folder, change)
    listed = json.loads((folder / "config.json").read_text("utf-8"))
    if isinstance(listed, dict) and isinstance(listed["files"], dict) and len(listed["files"]) > 3:
        for name in names(folder) - {*listed["files"], "config.json"}:
            (folder / name).unlink()
    with pytest.raises(ArtefactError, match=message):
        Tagger.from_pretrained(folder)


def _less(data: dict[str, Any], name: str) -> dict[str, str]:
    return {key: value for key, value in data["files"].items() if key != name}


def test_an_unknown_setting_in_the_recipe_is_refused(folder: Path) -> None:
    edit(folder, lambda data: data | {"recipe": data["recipe"] | {"colour": "red"}})
    with pytest.raises(ConfigError, match=rf"{folder}: recipe: unknown setting 'colour'"):
        Tagger.from_pretrained(folder)


def test_damaged_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"config\.json: not valid JSON"):
        Tagger.from_pretrained(folder)


def test_no_artefact_at_all(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ArtefactError, match=r"not a reeltag artefact \(config\.json is missing\)"):
            Tagger.from_pretrained(place)


# writing


@pytest.mark.parametrize(
    ("name", "content"), [("holiday.jpg", "x"), ("config.json", '{"architectures": ["BertModel"]}')]
)
def test_a_foreign_folder_is_not_overwritten(tmp_path: Path, name: str, content: str) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / name).write_text(content, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"foreign: exists and is not a reeltag artefact; choose another folder"):
        fitted().save_pretrained(foreign)
    assert files_of(tmp_path) == {f"foreign/{name}": content.encode()}


def test_a_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ArtefactError, match="exists and is not a reeltag artefact"):
        fitted().save_pretrained(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text("utf-8") == "x"


def test_an_empty_folder_and_an_older_artefact_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "tagger").mkdir()
    check_destination(tmp_path / "tagger")
    fitted().save_pretrained(tmp_path / "tagger")
    (tmp_path / "tagger" / "leftover.txt").write_text("x", encoding="utf-8")
    fitted("fusion").save_pretrained(tmp_path / "tagger")
    assert Tagger.from_pretrained(tmp_path / "tagger").recipe.model == "fusion"
    assert "leftover.txt" not in names(tmp_path / "tagger")
    assert [path.name for path in tmp_path.iterdir()] == ["tagger"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_while_writing_leaves_the_old_artefact_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before = files_of(folder)

    def crash(self: LinearModel, place: Path) -> None:
        (place).mkdir()
        (place / "half").write_text("written", encoding="utf-8")
        raise error("power cut")

    monkeypatch.setattr(LinearModel, "save_pretrained", crash)
    with pytest.raises(error):
        fitted().save_pretrained(folder)
    with pytest.raises(error):
        fitted().save_pretrained(folder.with_name("new"))
    assert files_of(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tagger"]  # nothing half-written beside it


def test_write_artefact_lists_what_was_written(tmp_path: Path) -> None:
    def parts(place: Path) -> None:
        (place / "deep" / "er").mkdir(parents=True)
        (place / "deep" / "er" / "file.txt").write_text("x", encoding="utf-8")

    write_artefact(tmp_path / "a", {"seed": 3}, parts)
    data = json.loads((tmp_path / "a" / "config.json").read_text("utf-8"))
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # sha256 of "x"
    assert data == {"schema": 1, "reeltag": reeltag.__version__, "seed": 3, "files": {"deep/er/file.txt": digest}}


def test_fitted_on_round_trip(tmp_path: Path) -> None:
    seen = {"graph": ["a", "b"], "model": ["b"], "thresholds": ["c"]}
    write_fitted_on(tmp_path, seen)
    assert read_fitted_on(tmp_path) == seen
    write_fitted_on(tmp_path, {})
    assert read_fitted_on(tmp_path) == {}
