"""The program itself: version, help, start-up time, interruption, broken pipes, mistakes that are not ours."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import reeltag as package

from .runner import Commands

COMMANDS = (
    "demo",
    "check",
    "train",
    "evaluate",
    "compare",
    "tag",
    "explain",
    "add-label",
    "finetune",
    "ocr",
    "shots",
    "similar",
    "subgenres",
    "index",
    "suggest",
    "simulate",
    "graph",
    "benchmark",
    "map",
)


def python(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=60)


def test_version(reeltag: Commands) -> None:
    result = reeltag("--version")
    assert (result.code, result.out, result.err) == (0, f"{package.__version__}\n", "")


def test_help_names_every_command(reeltag: Commands) -> None:
    result = reeltag("--help")
    assert result.code == 0
    assert all(f"\n  {name} " in result.out for name in COMMANDS)


def test_no_command_shows_the_help(reeltag: Commands) -> None:
    result = reeltag()
    assert "Commands:" in result.out + result.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(reeltag: Commands, name: str) -> None:
    result = reeltag(name, "--help")
    assert result.code == 0
    assert f"Usage: reeltag {name}" in result.out
    assert "--help" in result.out


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        found = python("-m", "reeltag", "--help")
        seconds.append(time.perf_counter() - start)
        assert found.returncode == 0
        if seconds[-1] < 0.4:
            break
    assert min(seconds) < 0.4
    code = "import sys, reeltag.cli; print(sorted({'torch', 'polars', 'numpy', 'sklearn', 'rich'} & set(sys.modules)))"
    assert python("-c", code).stdout.strip() == "[]"


def test_python_m_reeltag_tells_mistakes_without_a_traceback(tmp_path: Path) -> None:
    assert python("-m", "reeltag", "--version").stdout == f"{package.__version__}\n"
    found = python("-m", "reeltag", "check", "absent.csv", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr == "reeltag: absent.csv: no such file\n"


def test_an_unknown_command_or_option(reeltag: Commands) -> None:
    for words, message in ((("tga",), "No such command 'tga'"), (("check", "x.csv", "--lables", "a"), "--lables")):
        result = reeltag(*words)
        assert result.code == 2
        assert message in result.err
        assert "Traceback" not in result.err


def test_a_missing_argument(reeltag: Commands) -> None:
    result = reeltag("train", "films.jsonl")
    assert result.code == 2
    assert "--out" in result.err


def _raise(error: BaseException) -> Any:
    def stop(*_: object, **__: object) -> None:
        raise error

    return stop


def test_ctrl_c_says_what_is_kept(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from reeltag.tagger import Tagger

    monkeypatch.setattr(Tagger, "fit", _raise(KeyboardInterrupt()))
    before = reeltag.entries()
    result = reeltag("train", "films.jsonl", "--recipe", "quick.json", "--out", "tagger")
    assert result.code == 130
    assert result.out == ""
    assert result.err.endswith("\nreeltag: interrupted; finished parts are kept, run the same command again to go on\n")
    assert reeltag.entries() == before


def test_a_full_disk_is_told_in_one_sentence(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(28, "No space left on device", "films.tag")
    monkeypatch.setattr("reeltag.survey.survey", _raise(error))
    reeltag.fails("check", "films.jsonl", because="films.tag: No space left on device")


def test_a_bug_is_not_hidden(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.survey.survey", _raise(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        reeltag("check", "films.jsonl")


def test_a_reader_that_goes_away_is_no_error(reeltag: Commands) -> None:
    command = f"{sys.executable} -m reeltag check films.jsonl --no-audit --json | head -c 10"
    found = subprocess.run(["bash", "-c", command], cwd=reeltag.folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in found.stderr
    assert found.stdout.startswith("{")
