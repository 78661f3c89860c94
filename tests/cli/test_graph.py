"""``reeltag graph``: build, train, evaluate, neighbours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from reeltag.graph.embedding import GraphEmbedding
from reeltag.graph.film_graph import FilmGraphConfig, build_film_graph
from reeltag.graph.triple_files import read_graph
from reeltag.tagger import Tagger
from samples import catalogue, rows, sample

from .runner import Commands

BUILD = ("graph", "build", "films.jsonl", "--out", "g")
QUICK = ("--dim", 4, "--epochs", 2, "--negatives", 8, "--threads", 1, "--set", "training.device=cpu")
TRAIN = ("graph", "train", "g", "--out", "t", *QUICK)
SOMEBODY = "Horror actor 0"


@pytest.fixture
def built(reeltag: Commands) -> Commands:
    """Leave the graph of the sample in the folder ``g``."""
    build_film_graph(sample()).save(reeltag.folder / "g")
    return reeltag


@pytest.fixture
def trained(built: Commands) -> Commands:
    """Leave a trained graph in the folder ``t``."""
    assert built(*TRAIN).code == 0
    return built


# ---------------------------------------------------------------- build


def test_build_text(reeltag: Commands) -> None:
    result = reeltag(*BUILD)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == (
        "films.jsonl, films of train: 116 entities (4 of kind genre, 72 of kind title, 40 of kind person), 591 links"
    )
    assert re.search(r"^ ?c-g +80 +3\.3 +20\.0 *$", result.out, re.MULTILINE)
    assert re.search(r"^ ?Romance +genre +56 *$", result.out, re.MULTILINE)
    assert "links per entity: median 7, mean 10.2, most 56" in lines
    assert "held out: 26 new links between known entities from validation films" in lines
    assert "held out: 34 new links between known entities from test films" in lines
    assert lines[-2:] == ["saved to g", "next: reeltag graph train g --out g-rotate"]
    assert read_graph("g").fingerprint() == build_film_graph(sample()).fingerprint()


def test_build_json(reeltag: Commands) -> None:
    data = reeltag(*BUILD, "--json").json
    assert data == {"graph": "g", **json.loads(json.dumps(read_graph("g").statistics().to_json()))}


def test_build_takes_every_choice(reeltag: Commands) -> None:
    result = reeltag(
        *BUILD, "--labels", "genres", "--labels", "keywords", "--background", "--by-role", "--no-titles",
        "--min-label-films", 3,
    )  # fmt: skip
    assert result.code == 0
    config = FilmGraphConfig(
        label_fields=("genres", "keywords"), one_person=False, background=True, titles=False, min_label_films=3
    )
    expected = build_film_graph(sample(), config)
    assert read_graph("g").fingerprint() == expected.fingerprint()
    assert read_graph("g").kinds == ["genre", "keyword", "director", "cast"]
    assert "films.jsonl, films of train and background: " in result.out


@pytest.mark.parametrize(
    ("form", "out"),
    [("folder", "g"), ("parquet", "g.parquet"), ("tsv", "g.tsv"), ("tsv", "g"), ("openke", "g")],
)
def test_build_every_format(reeltag: Commands, form: str, out: str) -> None:
    assert reeltag("graph", "build", "films.jsonl", "--out", out, "--format", form).code == 0
    found, expected = read_graph(out), build_film_graph(sample())
    assert {split: len(links) for split, links in found.splits.items()} == {"train": 591, "validation": 26, "test": 34}
    assert found.n_entities == expected.n_entities
    again = reeltag("graph", "build", "films.jsonl", "--out", out, "--format", form)  # replaced
    assert again.code == 0


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_build_splits_a_catalogue_without_splits_as_train_would(reeltag: Commands, flags: tuple[str, ...]) -> None:
    films = [row for row in rows() if row["split"] != "background"]
    reeltag.catalogue("bare.jsonl", ({k: v for k, v in row.items() if k != "split"} for row in films))
    result = reeltag("graph", "build", "bare.jsonl", "--out", "g", *flags)
    assert result.code == 0
    note = "the catalogue has no splits: split as 'reeltag train' would\n"
    assert note in result.err
    assert note not in result.out
    if flags:
        assert result.json["graph"] == "g"
    bare = catalogue(films, without=["split"])
    split = bare.with_splits(Tagger().splits(bare).splits)
    assert read_graph("g").fingerprint() == build_film_graph(split).fingerprint()
    assert reeltag("graph", "build", "bare.jsonl", "--out", "again", *flags).code == 0
    assert read_graph("again").fingerprint() == read_graph("g").fingerprint()


def test_build_mistakes(reeltag: Commands) -> None:
    (reeltag.folder / "photos").mkdir()
    (reeltag.folder / "photos" / "beach.jpg").write_bytes(b"x")
    build_film_graph(sample()).save(reeltag.folder / "mixed")
    (reeltag.folder / "mixed" / "notes.md").write_text("mine")
    (reeltag.folder / "films.tsv").write_text("id\ttitle\n1\tHeat\n")
    sample().frame.select("id", "title").write_parquet(reeltag.folder / "films.parquet")
    reeltag.catalogue("late.jsonl", reeltag.labelled("test"))
    columns = "id, title, year, plot, directors, cast, genres, moods, keywords, split"
    for words, because in (
        (("films.jsonl", "--out", "g", "--format", "rdf"),
         "the format of a knowledge graph must be one of folder, parquet, tsv, openke; got 'rdf'"),
        (("films.jsonl", "--out", "g.txt", "--format", "parquet"),
         "g.txt: a graph of the format parquet needs a path that ends in .parquet"),
        (("films.jsonl", "--out", "photos"), "photos: exists and is not a knowledge graph; choose another folder"),
        (("films.jsonl", "--out", "photos", "--format", "openke"),
         "photos: exists and is not a knowledge graph; choose another folder"),
        (("films.jsonl", "--out", "mixed"),
         "mixed: holds 'notes.md' beside a knowledge graph; choose another folder"),
        (("films.jsonl", "--out", "films.tsv", "--format", "tsv"),
         "films.tsv: exists and is not a knowledge graph; choose another file"),
        (("films.jsonl", "--out", "films.parquet", "--format", "parquet"),
         "films.parquet: exists and is not a knowledge graph; choose another file"),
        (("films.jsonl", "--out", "."), ".: must end in the name of a folder; choose another"),
        (("films.jsonl", "--out", "films.jsonl/g"),
         f"films.jsonl/g: cannot be made, because {reeltag.folder / 'films.jsonl'} is not a folder that may be "
         "written to"),
        (("films.jsonl", "--out", "films.jsonl"), "films.jsonl: is a file, where a folder should be written"),
        (("films.jsonl", "--out", "g", "--labels", "vibes"),
         f"films.jsonl: label column 'vibes' does not exist; columns: {columns}"),
        (("films.jsonl", "--out", "g", "--labels", "cast"),
         "FilmGraphConfig.label_fields must not name 'cast': the graph uses that name"),
        (("late.jsonl", "--out", "g"),
         "late.jsonl: a knowledge graph needs films of the split 'train'; got none: assign splits first"),
        (("absent.csv", "--out", "g"), "absent.csv: no such file"),
    ):  # fmt: skip
        reeltag.fails("graph", "build", *words, because=because)


# ---------------------------------------------------------------- train


def test_train_text(built: Commands) -> None:
    result = built(*TRAIN)
    assert result.code == 0
    lines = result.out.splitlines()
    assert re.fullmatch(r"rotate: 591 links of 116 entities, 2 epochs in \d+ s", lines[0])
    assert re.fullmatch(r"[\d,]+ links a second; weights of epoch 2 kept", lines[1])
    assert re.fullmatch(r"validation MRR 0\.\d{3} \(filtered, realistic, on at most 3,000 links\)", lines[2])
    assert lines[3:] == ["saved to t", "next: reeltag graph evaluate t --split validation"]
    assert "training links" in result.err
    assert GraphEmbedding.load(Path("t")).config.scorer_settings["dim"] == 4
    assert not Path("t.checkpoint").exists()


def test_train_json_with_settings(built: Commands) -> None:
    result = built(
        *TRAIN, "--scorer", "transe", "--loss", "margin", "--learning-rate", 0.05, "--seed", 3, "--json",
        "--set", "training.loss.margin=9", "--set", "scorer_settings.norm=2", "--set", "validation_links=5",
    )  # fmt: skip
    assert set(result.json) == {"trained", "scorer", "history"}
    assert (result.json["trained"], result.json["scorer"]) == ("t", "transe")
    found = GraphEmbedding.load(Path("t"))
    assert result.json["history"]["losses"] == list(found.history.losses)
    assert found.seed == 3
    assert found.config.scorer_settings["norm"] == 2
    assert found.config.validation_links == 5
    training = found.config.training
    assert (training.epochs, training.negatives.count, training.threads) == (2, 8, 1)
    assert (training.loss.name, training.loss.margin, training.learning_rate) == ("margin", 9.0, 0.05)


@pytest.mark.parametrize("suffix", ["parquet", "tsv"])
def test_train_from_a_file_of_triples(reeltag: Commands, suffix: str) -> None:
    links = pl.DataFrame({"head": ["a", "b", "c", "a"], "relation": ["r", "r", "s", "s"], "tail": ["b", "c", "a", "c"]})
    if suffix == "parquet":
        links.write_parquet("links.parquet")
    else:
        links.write_csv("links.tsv", separator="\t")
    result = reeltag("graph", "train", f"links.{suffix}", "--out", "runs/t", *QUICK)
    assert result.code == 0
    assert result.out.endswith("saved to runs/t\nnext: reeltag graph neighbours runs/t NAME\n")
    assert "validation" not in result.out
    assert GraphEmbedding.load(Path("runs/t")).graph.n_entities == 3
    reeltag.fails("graph", "evaluate", "runs/t", because=f"links.{suffix}: no split 'test'; splits: train")


def test_train_again_replaces(trained: Commands) -> None:
    assert trained(*TRAIN, "--scorer", "distmult").code == 0
    assert GraphEmbedding.load(Path("t")).config.scorer == "distmult"


def test_scorers_may_be_written_as_in_their_papers(built: Commands) -> None:
    result = built(*TRAIN, "--scorer", "TransE", "--json")
    assert result.json["scorer"] == "transe"
    assert GraphEmbedding.load(Path("t")).config.scorer == "transe"


def test_train_mistakes(built: Commands) -> None:
    folder = built.folder
    built.tagger("tagger")
    for words, because in (
        (("g", "--out", "t", "--scorer", "word2vec"), "--scorer must be one of transe, transh, transr, transd, "
         "distmult, complex, conve, rotate; got 'word2vec'"),
        (("g", "--out", "t", "--set", "scorer=transe"),
         "--set cannot change the scorer, which brings settings of its own; use --scorer"),
        (("g", "--out", "t", "--set", "training.colour=1"), None),
        (("g", "--out", "t", "--set", "colour"), "--set takes PATH=VALUE; got 'colour'"),
        (("g", "--out", "t", "--set", "training.epochs=many"),
         "settings.training.epochs: must be of type int; got 'many'"),
        (("g", "--out", "t", "--epochs", "0"), "LinkTrainingConfig.epochs must be between 1 and 1e+06; got 0"),
        (("g", "--out", "t", "--loss", "hinge"), None),
        (("g", "--out", "films.jsonl"), "films.jsonl: exists and is not a trained graph; choose another folder"),
        (("g", "--out", "films.jsonl/t"),
         f"films.jsonl/t: cannot be made, because {folder / 'films.jsonl'} is not a folder that may be written to"),
        (("g", "--out", "tagger"), "tagger: exists and is not a trained graph; choose another folder"),
        (("g", "--out", "g"), "g: exists and is not a trained graph; choose another folder"),
        (("g", "--out", "."), ".: must end in the name of a folder; choose another"),
        (("g", "--out", "g/.."), "g/..: must end in the name of a folder; choose another"),
        (("nowhere", "--out", "t"), "nowhere: cannot be read (no such file or folder)"),
        (("tagger", "--out", "t"), None),
    ):  # fmt: skip
        if because is not None:
            built.fails("graph", "train", *words, because=because)
            continue
        result = built("graph", "train", *words)
        assert (result.code, result.out) == (2, "")
        assert result.err.count("\n") == 1
        assert not Path("t").exists()


def test_an_interrupted_run_goes_on(built: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from reeltag.graph.trainer import _Run

    run_epoch = _Run._run_epoch
    seen: list[int] = []

    def stopped(self: _Run, *args: object) -> float:
        if self.epoch == 3:
            raise KeyboardInterrupt
        return run_epoch(self, *args)  # type: ignore[arg-type]

    def counted(self: _Run, *args: object) -> float:
        seen.append(self.epoch)
        return run_epoch(self, *args)  # type: ignore[arg-type]

    words = (*TRAIN, "--epochs", 5, "--set", "training.checkpoint_every_s=0")
    monkeypatch.setattr(_Run, "_run_epoch", stopped)
    result = built(*words)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith("\nreeltag: interrupted; finished parts are kept, run the same command again to go on\n")
    assert Path("t.checkpoint").is_dir()
    assert not Path("t").exists()
    monkeypatch.setattr(_Run, "_run_epoch", counted)
    built.fails(
        *words, "--seed", 1,
        because="t.checkpoint: the checkpoint belongs to a run with another seed; remove it or train elsewhere",
    )  # fmt: skip
    assert built(*words).code == 0
    assert seen == [3, 4]
    assert not Path("t.checkpoint").exists()
    found = GraphEmbedding.load(Path("t"))
    assert len(found.history.losses) == 5
    assert built(*words[:3], "--out", "whole", *words[5:]).code == 0
    whole = GraphEmbedding.load(Path("whole"))
    assert whole.history.losses == found.history.losses
    assert whole.vectors().equal(found.vectors())


# ---------------------------------------------------------------- evaluate


def test_evaluate_text(trained: Commands) -> None:
    result = trained("graph", "evaluate", "t")
    assert result.code == 0
    report = GraphEmbedding.load(Path("t")).evaluate("test")
    lines = result.out.splitlines()
    assert lines[0] == "rotate, test links of films.jsonl, films of train, filtered, among 116 entities"
    figures = " +".join([f"{f:.3f}" for f in (report.figures.mrr, *report.figures.hits.values())])
    assert re.search(rf"^ ?all, realistic ties +68 +{figures} +{report.figures.mean_rank:,.0f} *$", result.out, re.M)
    for words in ("all, optimistic ties", "all, pessimistic ties", "missing tails", "missing heads", "relation c-g"):
        assert words in result.out
    assert lines[-1] == f"guessing would give a mean rank of {report.figures.expected_mean_rank:,.0f}"


def test_evaluate_json_and_file(trained: Commands) -> None:
    result = trained("graph", "evaluate", "t", "--split", "validation", "--out", "figures/v.json", "--json")
    report = GraphEmbedding.load(Path("t")).evaluate("validation").to_json()
    assert result.json == {"trained": "t", "scorer": "rotate", **report}
    assert json.loads(Path("figures/v.json").read_text("utf-8")) == result.json
    for _ in range(2):  # replaced
        assert trained("graph", "evaluate", "t", "--split", "Valid", "--out", "v.json", "--json").json == result.json
    raw = trained("graph", "evaluate", "t", "--split", "validation", "--raw", "--json").json
    assert (raw["filtered"], result.json["filtered"]) == (False, True)
    better = result.json["by_ties"]["realistic"]["mean_rank"]
    assert raw["by_ties"]["realistic"]["mean_rank"] > better
    assert ", raw, among 116 entities" in trained("graph", "evaluate", "t", "--raw").out


def test_evaluate_mistakes(trained: Commands) -> None:
    for words, because in (
        (("t", "--split", "tset", "--out", "x.json"),
         "--split must be validation or test; got 'tset'"),
        (("t", "--split", "train"),
         "--split must be validation or test; got 'train': its links were trained on, ranks of them say nothing of new "
         "ones"),
        (("nowhere", "--out", "figures.csv"), "--out must be a file that ends in .json; got figures.csv"),
        (("nowhere", "--out", "figures"), "--out must be a file that ends in .json; got figures"),
        (("nowhere", "--out", "films.jsonl/x.json"),
         f"films.jsonl/x.json: cannot be made, because {trained.folder / 'films.jsonl'} is not a folder that may be "
         "written to"),
        (("g",), "g: holds no trained graph (embedding.json is missing); train one with 'graph train'"),
        (("nowhere",), "nowhere: holds no trained graph (embedding.json is missing); train one with 'graph train'"),
    ):  # fmt: skip
        trained.fails("graph", "evaluate", *words, because=because)


# ---------------------------------------------------------------- neighbours


def test_neighbours_text(trained: Commands) -> None:
    result = trained("graph", "neighbours", "t", SOMEBODY, "--min-links", 15, "--top", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"{SOMEBODY} (person, 23 links)"
    assert "Nearest of kind 'person'" in lines
    assert "Likeliest tails by 'c-g'" in lines
    assert re.search(r"^ ?Horror +-?\d+\.\d\d +0\.\d{3} +yes *$", result.out, re.MULTILINE)
    assert "note:" not in result.out
    few = trained("graph", "neighbours", "t", "t000", "--min-links", 100)
    assert re.fullmatch(r"\w+ \w+ 0 \(title, key t000, \d links\)", few.out.splitlines()[0])
    assert re.search(r"^note: with \d links the graph knows little of this title$", few.out, re.MULTILINE)
    assert "Likeliest heads by 'g-t'" in few.out


def test_no_nearest_is_told_in_words(trained: Commands) -> None:
    out = trained("graph", "neighbours", "t", SOMEBODY, "--min-links", 1_000).out
    assert "no other person has 1,000 links; try --min-links 0" in out.splitlines()
    assert "Nearest of kind" not in out
    assert "Likeliest tails by 'c-g'" in out


def test_nobody_else_of_a_kind_is_told_in_words(reeltag: Commands) -> None:
    horror = (row | {"genres": ["Horror"], "split": "train"} for row in rows())
    reeltag.catalogue("horror.jsonl", horror)
    assert reeltag("graph", "build", "horror.jsonl", "--out", "g").code == 0
    assert reeltag(*TRAIN).code == 0
    out = reeltag("graph", "neighbours", "t", "Horror", "--min-links", 0).out
    assert "no other genre is in the graph" in out.splitlines()


def test_neighbours_json(trained: Commands) -> None:
    data = trained("graph", "neighbours", "t", SOMEBODY.lower(), "--json", "--min-links", 0, "--top", 4).json
    assert (data["name"], data["kind"], data["n_links"]) == (SOMEBODY, "person", 23)
    assert [n["kind"] for n in data["nearest"]] == ["person"] * 4
    assert {answer["relation"] for answer in data["answers"]} == {"c-g"}
    assert len(data["answers"]) == 4


def test_neighbours_mistakes(reeltag: Commands) -> None:
    named = [row | {"title": "Horror"} if row["id"] == "t001" else row for row in rows()]
    build_film_graph(catalogue(named)).save(reeltag.folder / "g")
    assert reeltag(*TRAIN).code == 0
    source = "films.jsonl, films of train"
    result = reeltag("graph", "neighbours", "t", "Horor actor 0")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(
        f"reeltag: {source}: no entity has the name or key 'Horor actor 0'; close names: Horror actor 0"
    )
    reeltag.fails(
        "graph", "neighbours", "t", "Horror",
        because=f"{source}: 2 entities have the name 'Horror': genre 'Horror', title 't001'; name kind and key",
    )  # fmt: skip
    reeltag.fails(
        "graph", "neighbours", "t", "Horror", "--kind", "mood",
        because=f"{source}: no entity is of kind 'mood'; kinds: genre, title, person",
    )  # fmt: skip
    assert reeltag("graph", "neighbours", "t", "Horror", "--kind", "title", "--json").json["key"] == "t001"


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("name", ["build", "train", "evaluate", "neighbours"])
def test_every_command_has_help(reeltag: Commands, name: str) -> None:
    result = reeltag("graph", name, "--help")
    assert result.code == 0
    assert f" graph {name} " in next(line for line in result.out.splitlines() if "Usage" in line)
