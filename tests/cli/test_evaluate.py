"""``reeltag evaluate`` and ``reeltag compare``."""

from __future__ import annotations

import json
import re

import pytest

from reeltag.evaluation import read_report
from reeltag.predictions import Predictions
from speaking import TEXT, png, speaking

from .runner import Commands


def test_text_and_files(reeltag: Commands) -> None:
    reeltag.tagger()
    result = reeltag("evaluate", "tagger", "films.jsonl")
    assert result.code == 0
    for words in ("24 titles of split 'test'", "at 0.5", "global", "per_label", "mAP", "Per label", "Comedy",
                  "With these modalities only", "plot + year",
                  "leak check: no fitted part has seen any of these titles"):  # fmt: skip
        assert words in result.out, words
    assert result.out.endswith("report: tagger-test/report.html\n")
    folder = reeltag.folder / "tagger-test"
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "predictions.parquet"}
    report = read_report(folder)
    assert report.evaluation.n_titles == len(Predictions.read(folder / "predictions.parquet")) == 24


def test_page_loads_nothing_from_elsewhere(reeltag: Commands) -> None:
    reeltag.tagger()
    reeltag("evaluate", "tagger", "films.jsonl", "--out", "report")
    page = (reeltag.folder / "report" / "report.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "@import" not in page


def test_json_is_the_report(reeltag: Commands) -> None:
    reeltag.tagger()
    result = reeltag("evaluate", "tagger", "films.jsonl", "--split", "validation", "--out", "there", "--json")
    assert result.json["evaluation"]["n_titles"] == 24
    assert result.json == json.loads((reeltag.folder / "there" / "report.json").read_text("utf-8"))
    assert not (reeltag.folder / "tagger-validation").exists()


def test_a_tagger_in_the_working_folder(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reeltag.folder / reeltag.tagger())
    assert reeltag("evaluate", ".", "../films.jsonl").code == 0
    assert (reeltag.folder / "tagger-test" / "report.html").is_file()


def test_against_another_run(reeltag: Commands) -> None:
    reeltag.tagger("first", "fusion")
    reeltag.tagger("second")
    reeltag("evaluate", "first", "films.jsonl")
    result = reeltag("evaluate", "second", "films.jsonl", "--against", "first-test/predictions.parquet")
    assert result.code == 0
    assert "second minus first-test/predictions.parquet" in result.out
    assert "micro_f1" in result.out
    assert "McNemar's test per label, 24 titles" in result.out
    comparison = read_report(reeltag.folder / "second-test").comparison
    assert comparison is not None
    micro = next(d for d in comparison.differences if d.metric == "micro_f1")
    first, second = (read_report(reeltag.folder / f"{n}-test").evaluation.scores.micro_f1 for n in ("first", "second"))
    assert (micro.first, micro.second) == (pytest.approx(first), pytest.approx(second))
    compared = reeltag(
        "compare", "first-test/predictions.parquet", "second-test/predictions.parquet", "films.jsonl", "--json"
    )
    assert compared.json["differences"][0]["difference"] == pytest.approx(comparison.differences[0].difference)


def test_compare_text(reeltag: Commands) -> None:
    reeltag.tagger("first", "fusion")
    reeltag.tagger("second")
    for name in ("first", "second"):
        reeltag("evaluate", name, "films.jsonl")
    result = reeltag("compare", "first-test/predictions.parquet", "second-test/predictions.parquet", "films.jsonl")
    assert result.code == 0
    for words in (
        "second-test/predictions.parquet minus first-test/predictions.parquet",
        "macro_f1",
        "only first right",
    ):
        assert words in result.out, words


def test_report_shows_what_a_tagger_looked_at(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [row["id"] for row in reeltag.labelled("test")]
    tagger = speaking(has_poster=ids)
    monkeypatch.setattr("reeltag.tagger.Tagger.from_pretrained", lambda *_, **__: tagger)
    (reeltag.folder / "posters").mkdir()
    for title_id in ids:
        (reeltag.folder / "posters" / f"{title_id}.png").write_bytes(png())
    result = reeltag("evaluate", "tagger", "films.jsonl", "--posters", "posters", "--out", "told")
    assert result.code == 0
    report = read_report(reeltag.folder / "told")
    assert 1 <= len(report.looks) <= 6
    assert [word.text for word in report.looks[0].evidence.words] == [word.text for word in TEXT.words]
    page = (reeltag.folder / "told" / "report.html").read_text(encoding="utf-8")
    assert "What it looked at" in page
    assert page.count("<figcaption>") == sum(len(look.shown) + 1 for look in report.looks)


def test_mistakes(reeltag: Commands) -> None:
    reeltag.tagger()
    reeltag("evaluate", "tagger", "films.jsonl", "--out", "test")
    reeltag("evaluate", "tagger", "films.jsonl", "--split", "validation", "--out", "validation")
    for words, because in (
        (("tagger", "films.jsonl", "--split", "tset"),
         "split must be one of train, validation, test, background, all; got 'tset'"),
        (("tagger", "absent.jsonl"), "absent.jsonl: no such file"),
        (("films.jsonl", "films.jsonl"), "films.jsonl: not a reeltag artefact (config.json is missing)"),
        (("tagger", "films.jsonl", "--against", "validation/predictions.parquet"),
         "validation/predictions.parquet lacks 24 of the 24 titles of tagger, such as 't032'"),
    ):  # fmt: skip
        reeltag.fails("evaluate", *words, because=because)
    result = reeltag("compare", "films.jsonl", "test/predictions.parquet", "films.jsonl")
    assert result.code == 2
    assert result.err.startswith("reeltag: films.jsonl: not a Parquet file of predictions (")
    reeltag.catalogue("unlabelled.jsonl", [row | {"genres": []} for row in reeltag.labelled("test")])
    reeltag.fails(
        "evaluate", "tagger", "unlabelled.jsonl",
        because="unlabelled.jsonl: no title of split 'test' has known labels in 'genres'",
    )  # fmt: skip
    reeltag.fails(
        "compare", "test/predictions.parquet", "test/predictions.parquet", "unlabelled.jsonl",
        because="unlabelled.jsonl: no title of test/predictions.parquet has known labels in field 'genres'",
    )  # fmt: skip


def test_too_few_titles_to_split(reeltag: Commands) -> None:
    reeltag.tagger()
    reeltag.catalogue("two.jsonl", [row | {"split": None} for row in reeltag.labelled("test")[:2]])
    result = reeltag("evaluate", "tagger", "two.jsonl")
    assert result.code == 2
    assert "reeltag: two.jsonl: 3 splits need at least as many labelled titles" in result.err
    assert result.err.endswith("; split 'all' takes every title\n")
    assert reeltag("evaluate", "tagger", "two.jsonl", "--split", "all").code == 0


def test_a_damaged_tagger(reeltag: Commands) -> None:
    (reeltag.folder / reeltag.tagger() / "labels.json").write_text("{}", encoding="utf-8")
    reeltag.fails(
        "evaluate", "tagger", "films.jsonl",
        because="tagger: file 'labels.json' differs from what was written; the artefact is damaged",
    )  # fmt: skip
