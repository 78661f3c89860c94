"""``reeltag shots``: what is printed and written; files that cannot be read; mistakes in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from encoders.trailers.videos import click, plain, scene, write_video
from reeltag.cli.shots import shots_in
from reeltag.errors import MediaError

from .runner import Commands

SIZE = "64 x 36"


@pytest.fixture
def trailers(reeltag: Commands) -> Path:
    """A folder with a trailer with sound, and a silent one."""
    folder = reeltag.folder / "trailers"
    folder.mkdir()
    write_video(folder / "one.mp4", scene(0, 30) + scene(1, 30), sound=click([], 2.5, frequency=300))
    write_video(folder / "two.mkv", plain(90, 12))
    return Path("trailers")


def test_text(reeltag: Commands, trailers: Path) -> None:
    result = reeltag("shots", trailers)
    assert result.code == 0
    assert result.out == (
        f"trailers/one.mp4: 2 shots, 2.5 s, {SIZE}, sound, complete\n"
        f"trailers/two.mkv: 1 shot, 0.5 s, {SIZE}, no sound, complete\n"
        "2 files: 3 shots\n"
    )
    result = reeltag("shots", "trailers/two.mkv", "trailers/two.mkv", "--workers", "4")
    assert result.out.endswith("1 file: 1 shot\n")


def test_files_that_cannot_be_read_are_named_at_the_end(reeltag: Commands, trailers: Path) -> None:
    (reeltag.folder / "trailers" / "bad.mp4").write_bytes(b"")
    result = reeltag("shots", "absent.mp4", trailers, "--out", "out.jsonl")
    assert result.code == 2
    assert result.out == (
        f"trailers/one.mp4: 2 shots, 2.5 s, {SIZE}, sound, complete\n"
        f"trailers/two.mkv: 1 shot, 0.5 s, {SIZE}, no sound, complete\n"
        "4 files: 3 shots; 2 cannot be read\n"
        "written to out.jsonl\n"
    )
    assert result.err.endswith(
        "reeltag: absent.mp4: no such file\ntrailers/bad.mp4: must be a video file; got an empty file\n"
    )
    lines = [json.loads(line) for line in (reeltag.folder / "out.jsonl").read_text("utf-8").splitlines()]
    assert [(line["file"], line["n_shots"]) for line in lines] == [
        ("absent.mp4", None),
        ("trailers/bad.mp4", None),
        ("trailers/one.mp4", 2),
        ("trailers/two.mkv", 1),
    ]
    assert lines[0]["problem"] == "absent.mp4: no such file"


def test_json_is_the_whole_of_standard_output(reeltag: Commands, trailers: Path) -> None:
    one, two = reeltag("shots", trailers, "--json").json
    assert one["shots"] == [{"start_s": 0.0, "end_s": 1.25}, {"start_s": 1.25, "end_s": 2.5}]
    assert (one["has_sound"], two["has_sound"]) == (True, False)
    assert (two["state"], two["problem"], two["n_shots"]) == ("complete", None, 1)
    assert (one["width"], one["height"], one["fps"], one["n_damaged"]) == (64, 36, 24.0, 0)
    result = reeltag("shots", "absent.mp4", "--json")
    assert result.code == 2
    assert result.json[0]["state"] == "cannot be read"


def test_tables(reeltag: Commands, trailers: Path) -> None:
    expected = reeltag("shots", trailers, "--json").json
    assert reeltag("shots", trailers, "--out", "deep/out.parquet").out.endswith("\nwritten to deep/out.parquet\n")
    assert pl.read_parquet("deep/out.parquet").to_dicts() == expected
    reeltag("shots", trailers, "--out", "out.csv")
    assert pl.read_csv("out.csv")["shots"].to_list() == ["0.000-1.250|1.250-2.500", "0.000-0.499"]


def test_a_limit_is_told(reeltag: Commands, trailers: Path) -> None:
    result = reeltag("shots", "trailers/one.mp4", "--max-s", "2")
    assert result.out.startswith(f"trailers/one.mp4: 2 shots, 2.0 s, {SIZE}, sound, stopped at the limit\n")


def test_mistakes(reeltag: Commands, trailers: Path) -> None:
    (reeltag.folder / "empty").mkdir()
    result = reeltag("shots", "empty")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("reeltag: empty: must hold video files (.mp4, ")
    known = ".parquet, .csv, .jsonl"
    reeltag.fails("shots", trailers, "--out", "o.txt", because=f"o.txt: predictions are written as {known}; got '.txt'")
    reeltag.fails("shots", trailers, "--max-s", "-1", because="ShotConfig.max_s must be between 0 and 86400; got -1.0")
    for words in (("--workers", "0"), ()):
        result = reeltag("shots", *words)
        assert (result.code, result.out) == (2, "")


def test_a_missing_package_is_one_sentence(reeltag: Commands, trailers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = reeltag("shots", trailers)
    assert result.code == 2
    assert result.err.endswith(
        "reeltag: reading trailers needs the package 'av', which is not installed: pip install 'reeltag[trailers]'\n"
    )


def test_ctrl_c_ends_it_and_writes_nothing(reeltag: Commands, trailers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reeltag.encoders.trailers.outline.as_completed", interrupt)
    before = reeltag.entries()
    result = reeltag("shots", trailers, "--out", "out.csv")
    assert (result.code, result.out) == (130, "")
    assert reeltag.entries() == before


def test_a_problem_is_an_error_that_a_caller_may_catch() -> None:
    assert issubclass(MediaError, Exception)
    assert [shots_in(n) for n in (0, 1, 2000)] == ["0 shots", "1 shot", "2,000 shots"]
