"""``reeltag index``."""

from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.retrieval import IndexedTitles
from samples import Row, rows

from .runner import Commands

INDEX = ("index", "tagger", "films.jsonl", "--out", "idx")


@pytest.fixture
def trained(reeltag: Commands) -> Commands:
    reeltag.tagger()
    return reeltag


def test_text(trained: Commands) -> None:
    result = trained(*INDEX)
    assert result.code == 0
    assert result.out == (
        "130 titles: 130 new, 0 changed, 0 gone; 130 embedded\n"
        "vectors of 4 dimensions; every title is compared\n"
        "written to idx\nnext: reeltag similar tagger ID --index idx\n"
    )
    assert len(IndexedTitles.load(Path("idx")).space) == 130


def test_again_only_what_is_new_is_embedded(trained: Commands) -> None:
    trained(*INDEX)
    told: list[Row] = [*rows()[10:], rows()[9] | {"plot": "A new plot."}, {"id": "new", "title": "New"}]
    trained.catalogue("films.jsonl", told)
    result = trained(*INDEX)
    assert result.out.startswith("122 titles: 1 new, 1 changed, 9 gone; 2 embedded\n")


def test_another_tagger_is_said(trained: Commands) -> None:
    trained(*INDEX)
    trained("add-label", "tagger", "Dark", "films.jsonl", "--example", "t001", "--strongest", 0)
    result = trained(*INDEX)
    assert result.out.startswith("the index was made with another tagger: all titles were embedded anew\n130 titles:")


def test_json_is_the_whole_of_standard_output(trained: Commands) -> None:
    data = trained(*INDEX, "--exact-up-to", 50, "--json").json
    assert data == {
        "out": "idx", "n_titles": 130, "n_new": 130, "n_changed": 0, "n_gone": 0, "n_embedded": 130, "why_all": "",
        "dim": 4, "exact": False,
    }  # fmt: skip
    again = trained(*INDEX).out
    assert "faiss searches an inverted file" in again  # an index keeps its settings


def test_mistakes(trained: Commands) -> None:
    trained.fails(
        *INDEX[:-1], "tagger", because="tagger: exists and is not a folder of indexed titles; choose another folder"
    )
    trained.fails("index", "absent", "films.jsonl", "--out", "i",
                  because="absent: not a reeltag artefact (config.json is missing)")  # fmt: skip
    trained.fails("index", "tagger", "absent.csv", "--out", "i", because="absent.csv: no such file")
    trained.catalogue("bad.jsonl", [{"id": "a", "year": "soon"}])
    result = trained("index", "tagger", "bad.jsonl", "--out", "i")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("reeltag: bad.jsonl, row 1, field 'year': ")
    assert not Path("i").exists()
