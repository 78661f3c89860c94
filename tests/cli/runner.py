"""Runs commands in process through the real entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from reeltag.cli import main
from samples import Row, fitted, quick_recipe, rows, write_jsonl


class Result:
    """What a command left: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


class Commands:
    """A folder with a catalogue, and ``reeltag`` run in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)
        self.films = write_jsonl(folder / "films.jsonl")
        (folder / "quick.json").write_text(json.dumps(quick_recipe().to_json()), encoding="utf-8")

    def __call__(self, *words: object) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["reeltag", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = self._capsys.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    def tagger(
        self, name: str = "tagger", model: str = "linear", credit_features: tuple[str, ...] = ("profile",)
    ) -> Path:
        """Save a fitted tagger."""
        return fitted(model, credit_features).save_pretrained(self.folder / name).relative_to(self.folder)

    def catalogue(self, name: str, of: Iterable[Row]) -> Path:
        """Write another catalogue."""
        return write_jsonl(self.folder / name, of).relative_to(self.folder)

    def labelled(self, split: str) -> list[Row]:
        """Return the rows of a split."""
        return [row for row in rows() if row["split"] == split]

    def fails(self, *words: object, because: str) -> None:
        """Run a command that must end with one sentence, exit code 2, and nothing new in the folder."""
        before = self.entries()
        result = self(*words)
        assert result.err.endswith(f"reeltag: {because}\n") or result.err == f"reeltag: {because}\n"
        assert (result.code, result.out) == (2, "")
        assert "Traceback" not in result.err
        assert self.entries() == before

    def entries(self) -> dict[str, bytes | None]:
        """Return every file and folder with its content."""
        return {str(path): path.read_bytes() if path.is_file() else None for path in self.folder.rglob("*")}
