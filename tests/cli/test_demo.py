"""``reeltag demo``: with stand-ins for the pre-trained parts, and (slow) as it is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reeltag.predictions import Predictions
from reeltag.recipes import RECIPES
from reeltag.tagger import Tagger
from samples import quick_recipe

from .runner import Commands

FILMS = ("Monsters, Inc.", "Star Wars", "Ghostbusters", "Jurassic Park", "Notting Hill", "The Departed")


def check(reeltag: Commands) -> None:
    result = reeltag("demo", "--out", "runs/demo")
    assert result.code == 0
    assert "films, " in result.out.splitlines()[0]
    for title in FILMS:
        assert re.search(rf"^ {re.escape(title)} +\w", result.out, re.MULTILINE), title
    for words in ("in the catalogue", "Blade Runner (1982)", "Ridley Scott", "Nearest training titles",
                  "films it has not seen: micro F1 0.", "tagger: runs/demo\n",
                  "reeltag tag runs/demo new.csv"):  # fmt: skip
        assert words in result.out, words
    page = (reeltag.folder / "runs" / "demo-test" / "report.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    predictions = Predictions.read("runs/demo-test/predictions.parquet")
    seen = {title_id for ids in Tagger.from_pretrained("runs/demo").fitted.fitted_on.values() for title_id in ids}
    assert not seen & set(predictions.ids)


def test_demo_without_pretrained_parts(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = quick_recipe("linear")
    monkeypatch.setitem(RECIPES, "fusion", replace(quick, name="fusion", labels=RECIPES["fusion"].labels))
    check(reeltag)


def test_demo_does_not_overwrite_a_foreign_folder(reeltag: Commands) -> None:
    (reeltag.folder / "runs").mkdir()
    (reeltag.folder / "runs" / "notes.txt").write_text("x", encoding="utf-8")
    reeltag.fails("demo", "--out", "runs", because="runs: exists and is not a reeltag artefact; choose another folder")


@pytest.mark.slow
def test_demo_as_it_is(reeltag: Commands) -> None:
    check(reeltag)
    predictions = Predictions.read("runs/demo-test/predictions.parquet")
    found = {predictions.ids[row]: {label for label, _ in labels} for row, labels in enumerate(predictions.decided())}
    assert "Sci-Fi" in found["tt0076759"]  # Star Wars
    assert "Romance" in found["tt0125439"]  # Notting Hill
    assert "Animation" in found["tt0198781"]  # Monsters, Inc.
