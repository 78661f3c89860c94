"""``reeltag tag`` and ``reeltag explain``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from reeltag.encoders.ocr.words import PosterText, Word
from reeltag.predictions import Predictions
from reeltag.tagger import Tagger
from speaking import TEXT, png, speaking

from .runner import Commands

EXPLAIN = ("explain", "tagger", "t037")


@pytest.fixture
def new(reeltag: Commands) -> Path:
    """Titles to be tagged, their labels not known."""
    reeltag.tagger()
    rows = [{key: row[key] for key in ("id", "title", "plot", "cast")} for row in reeltag.labelled("test")]
    return reeltag.catalogue("new.jsonl", [*rows, {"id": "bare"}])


def test_text(reeltag: Commands, new: Path) -> None:
    result = reeltag("tag", "tagger", new)
    assert result.code == 0
    assert "Tagged titles (the first 20 of 25)" in result.out
    assert "labels and probabilities" in result.out
    assert "what spoke for the first" in result.out
    assert "25 titles tagged; no label above its threshold for " in result.out
    assert "what spoke" not in reeltag("tag", "tagger", new, "--no-evidence").out


def test_parquet(reeltag: Commands, new: Path) -> None:
    result = reeltag("tag", "tagger", new, "--out", "deep/tagged.parquet")
    assert result.out.endswith("written to deep/tagged.parquet\n")
    predictions = Predictions.read("deep/tagged.parquet")
    assert len(predictions) == 25
    assert len(predictions.evidence) == 25
    from reeltag.catalogue import Catalogue

    expected = Tagger.from_pretrained("tagger").tag(Catalogue.read(new))
    assert predictions.decided() == expected.decided()


def test_csv(reeltag: Commands, new: Path) -> None:
    reeltag("tag", "tagger", new, "--out", "tagged.csv", "--rule", "half", "--no-evidence")
    rows = list(csv.DictReader((reeltag.folder / "tagged.csv").read_text("utf-8").splitlines()))
    assert list(rows[0]) == ["id", "title", "labels", "label_probabilities", "abstained"]
    assert len(rows) == 25
    assert all(float(p) >= 0.5 for row in rows for p in row["label_probabilities"].split("|") if p)
    assert all((row["abstained"] == "true") == (row["labels"] == "") for row in rows)


def test_jsonl(reeltag: Commands, new: Path) -> None:
    reeltag("tag", "tagger", new, "--out", "tagged.jsonl")
    rows = [json.loads(line) for line in (reeltag.folder / "tagged.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows][-1] == "bare"
    assert set(rows[0]["probabilities"]) == {"Comedy", "Horror", "Western", "Romance"}


def test_json_is_the_whole_of_standard_output(reeltag: Commands, new: Path) -> None:
    data = reeltag("tag", "tagger", new, "--json").json
    assert (data["n_titles"], data["out"], len(data["titles"])) == (25, None, 25)
    assert sum(not title["labels"] for title in data["titles"]) == data["n_abstained"]
    data = reeltag("tag", "tagger", new, "--json", "--out", "t.csv").json
    assert set(data) == {"n_titles", "n_abstained", "out"}


def test_abstention_is_said_with_the_likeliest_label(reeltag: Commands, new: Path) -> None:
    tagger = Tagger.from_pretrained("tagger")
    for limits in tagger.fitted.calibrator.thresholds_.values():
        limits[:] = 2
    tagger.save_pretrained("strict")
    result = reeltag("tag", "strict", new)
    assert "no label above threshold (likeliest: " in result.out
    assert "25 titles tagged; no label above its threshold for 25" in result.out
    assert "no label above its threshold\n" in reeltag("explain", "strict", "t037").out


def test_every_table_format_is_read(reeltag: Commands, new: Path) -> None:
    frame = pl.read_ndjson(new).select("id", "title", "plot")
    frame.write_csv("new.csv")
    frame.write_parquet("new.parquet")
    outputs = [reeltag("tag", "tagger", f"new.{suffix}", "--json").json["titles"] for suffix in ("csv", "parquet")]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 25


def test_skip_bad(reeltag: Commands, new: Path) -> None:
    with new.open("a", encoding="utf-8") as file:
        file.write('{"id": "bad", "year": "soon"}\n')
    result = reeltag("tag", "tagger", new, "--skip-bad", "rejects.jsonl", "--out", "t.csv")
    assert result.code == 0
    assert "25 titles tagged" in result.out
    assert "bad rows left out: 1; their problems (1) are in rejects.jsonl" in result.err


def test_no_titles(reeltag: Commands, new: Path) -> None:
    (reeltag.folder / "empty.csv").write_text("id,title\n", encoding="utf-8")
    result = reeltag("tag", "tagger", "empty.csv", "--out", "t.parquet")
    assert result.code == 0
    assert "0 titles tagged" in result.out
    assert len(Predictions.read("t.parquet")) == 0


def test_mistakes(reeltag: Commands, new: Path) -> None:
    (reeltag.folder / "folder.csv").mkdir()
    for words, because in (
        (("tagger", new, "--out", "t.xlsx"), "t.xlsx: predictions are written as .parquet, .csv, .jsonl; got '.xlsx'"),
        (("tagger", new, "--rule", "best"), "Tagger.tag.rule must be one of half, global, per_label; got 'best'"),
        (("tagger", "absent.csv"), "absent.csv: no such file"),
        (("absent", new), "absent: not a reeltag artefact (config.json is missing)"),
        ((".", new), ".: not a reeltag artefact (config.json is missing)"),
    ):
        reeltag.fails("tag", *words, because=because)
    result = reeltag("tag", "tagger", new, "--out", "folder.csv")
    assert result.code == 2
    assert "folder.csv" in result.err
    assert "Is a directory" in result.err
    assert list((reeltag.folder / "folder.csv").iterdir()) == []


# explain


def test_explain_takes_the_catalogue_it_was_trained_on(reeltag: Commands) -> None:
    reeltag.tagger()
    result = reeltag(*EXPLAIN)
    assert result.code == 0
    for words in ("t037", "known: plot, title, year, credits", "Labels; what each modality adds to the log-odds",
                  "threshold",
                  "Credits; what each person adds", "director", "Nearest training titles", "similarity"):  # fmt: skip
        assert words in result.out, words


def test_explain_shows_attention_and_the_target_of_the_teacher(reeltag: Commands) -> None:
    reeltag.tagger(model="idkg", credit_features=("profile", "standing"))
    told = reeltag(*EXPLAIN, "--json").json["attention"]
    out = reeltag(*EXPLAIN).out
    for words in (
        "Attention; how much each modality counts, 0 to 1",
        f"{told['weights']['credits']:.3f}",
        f"credits, teacher's target ({told['n_people']} people known)",
        f"{told['teacher']:.3f}",
    ):
        assert words in out, words


def test_explain_asks_nothing_of_credits_that_are_not_there(reeltag: Commands) -> None:
    tagger = reeltag.tagger(model="idkg", credit_features=("profile", "standing"))
    film = {"id": "alone", "title": "Alone", "plot": "A laugh and a wedding.", "directors": [], "cast": []}
    result = reeltag("explain", tagger, "alone", "--catalogue", reeltag.catalogue("alone.jsonl", [film]))
    assert result.code == 0
    assert "Attention; how much each modality counts" in result.out
    assert "teacher" not in result.out


def test_explain_writes_a_page(reeltag: Commands) -> None:
    reeltag.tagger()
    (reeltag.folder / "posters").mkdir()
    Image.new("RGB", (20, 30), "navy").save(reeltag.folder / "posters" / "t037.png")
    result = reeltag(*EXPLAIN, "--posters", "posters", "--html", "pages/t037.html")
    assert result.out.splitlines()[-1] == "page: pages/t037.html"
    page = (reeltag.folder / "pages" / "t037.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "Nearest training titles" in page


def speaks(monkeypatch: pytest.MonkeyPatch, text: PosterText | None = TEXT) -> None:
    tagger = speaking(text, has_poster=["t037"])
    monkeypatch.setattr("reeltag.tagger.Tagger.from_pretrained", lambda *_, **__: tagger)


def test_explain_tells_the_words_on_the_poster(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(Word(text=f"word{n}", confidence=0.5 if n else None) for n in range(3))
    speaks(monkeypatch, PosterText(words=(*words, Word(text="unread"))))
    (reeltag.folder / "posters").mkdir()
    (reeltag.folder / "posters" / "t037.png").write_bytes(png())
    arguments = ("explain", "tagger", "t037", "--catalogue", "films.jsonl", "--posters", "posters")
    result = reeltag(*arguments, "--html", "page.html")
    assert result.code == 0
    assert "Words on the poster; what each adds to the log-odds" in result.out
    lines = {line.split()[0]: line.split() for line in result.out.splitlines() if line.startswith(" word")}
    told = reeltag(*arguments, "--json").json
    names = [entry["label"] for entry in told["labels"]][:3]
    for word in told["poster"]["words"][:3]:
        sure = "–" if word["confidence"] is None else f"{word['confidence']:.2f}"
        assert lines[word["text"]] == [word["text"], sure, *(f"{word['effects'][name]:+.3f}" for name in names)]
    assert len(told["poster"]["patches"]["grid"]) == 4
    assert "On the poster" in (reeltag.folder / "page.html").read_text(encoding="utf-8")


def test_explain_tells_the_strongest_words_only(reeltag: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(Word(text=f"word{n}") for n in range(20))
    tagger = speaking(PosterText(words=words), has_poster=["t037"])
    tagger.fitted.model.n_pieces = 30  # type: ignore[attr-defined]
    monkeypatch.setattr("reeltag.tagger.Tagger.from_pretrained", lambda *_, **__: tagger)
    (reeltag.folder / "posters").mkdir()
    (reeltag.folder / "posters" / "t037.png").write_bytes(png())
    out = reeltag("explain", "tagger", "t037", "--catalogue", "films.jsonl", "--posters", "posters").out
    told = [line.split()[0] for line in out.splitlines() if line.startswith(" word") and line[5].isdigit()]
    assert told == ["word0", "word1", "word2", "word12", "word13", "word14"]
    assert "words that move these labels less: 9\nwords beyond what the model reads: 5\n" in out


@pytest.mark.parametrize(("has", "reason"), [(True, "no text found"), (False, "no poster")])
def test_explain_says_why_there_are_no_words(
    reeltag: Commands, monkeypatch: pytest.MonkeyPatch, has: bool, reason: str
) -> None:
    speaks(monkeypatch, PosterText())
    (reeltag.folder / "posters").mkdir()
    (reeltag.folder / "posters" / ("t037.png" if has else "other.png")).write_bytes(png())
    out = reeltag("explain", "tagger", "t037", "--catalogue", "films.jsonl", "--posters", "posters").out
    assert f"words on the poster: {reason}\n" in out


def test_explain_json(reeltag: Commands) -> None:
    reeltag.tagger()
    data = reeltag(*EXPLAIN, "--json", "--neighbours", 2).json
    assert data["id"] == "t037"
    assert len(data["neighbours"]) == 2
    assert data == json.loads(json.dumps(data, allow_nan=False))


def test_explain_from_another_catalogue(reeltag: Commands, new: Path) -> None:
    result = reeltag("explain", "tagger", "bare", "--catalogue", new)
    assert result.code == 0
    assert "known: nothing; absent: plot, title, year, credits" in result.out


def test_explain_mistakes(reeltag: Commands) -> None:
    reeltag.tagger()
    reeltag.fails("explain", "tagger", "tt9", because="films.jsonl: no title has the id 'tt9'")
    reeltag.fails(*EXPLAIN, "--catalogue", "x.csv", because="x.csv: no such file")
    (reeltag.folder / "films.jsonl").unlink()
    reeltag.fails(
        *EXPLAIN, because="films.jsonl: the catalogue this tagger was trained on is not there; give --catalogue"
    )
    assert "--neighbours" in reeltag(*EXPLAIN, "--neighbours", -1).err
