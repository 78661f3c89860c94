"""``reeltag suggest`` and ``reeltag simulate``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from reeltag.suggest import read_ids

from .runner import Commands

SIMULATE = ("simulate", "films.jsonl", "--recipe", "quick.json", "--out", "curves", "--start", 10, "--batch", 10,
            "--rounds", 2, "--seeds", 1)  # fmt: skip


@pytest.fixture
def new(reeltag: Commands) -> Path:
    """A catalogue of titles whose labels are not known, and some whose are."""
    reeltag.tagger()
    unknown = [row | {"genres": []} for row in reeltag.labelled("test")]
    return reeltag.catalogue("new.jsonl", [*unknown, *reeltag.labelled("validation")])


def test_text(reeltag: Commands, new: Path) -> None:
    result = reeltag("suggest", "tagger", new, "--n", 22)
    assert result.code == 0
    assert "Titles worth labelling (the first 20 of 22)" in result.out
    assert result.out.endswith("22 of 24 titles without labels, by strategy 'mixed'\n")
    assert "why" in result.out
    assert "likely " in result.out or "unsure about " in result.out
    assert "(the first" not in reeltag("suggest", "tagger", new, "--n", 5).out


def test_files(reeltag: Commands, new: Path) -> None:
    result = reeltag("suggest", "tagger", new, "--n", 5, "--out", "deep/s.csv")
    assert result.out.endswith("written to deep/s.csv\n")
    told = list(csv.DictReader(Path("deep/s.csv").read_text("utf-8").splitlines()))
    assert list(told[0]) == ["id", "title", "score", "why"]
    assert len(told) == 5
    for name in ("s.jsonl", "s.parquet"):
        reeltag("suggest", "tagger", new, "--n", 5, "--out", name)
        assert read_ids(Path(name)) == [row["id"] for row in told]


def test_json_is_the_whole_of_standard_output(reeltag: Commands, new: Path) -> None:
    data = reeltag("suggest", "tagger", new, "--n", 3, "--strategy", "uncertainty", "--json").json
    assert (data["strategy"], data["n_candidates"], data["n_suggested"], data["out"]) == ("uncertainty", 24, 3, None)
    assert set(data["titles"][0]) == {"id", "title", "score", "why"}
    data = reeltag("suggest", "tagger", new, "--json", "--out", "s.csv").json
    assert data == {"strategy": "mixed", "n_candidates": 24, "n_suggested": 24, "out": "s.csv"}


def test_titles_that_are_done_are_not_suggested_again(reeltag: Commands, new: Path) -> None:
    reeltag("suggest", "tagger", new, "--n", 10, "--out", "first.csv")
    Path("more.txt").write_text("t006\nt007\n", encoding="utf-8")
    words = ("suggest", "tagger", new, "--done", "first.csv", "--done", "more.txt", "--out", "second.csv", "--n", 99)
    reeltag(*words)
    done = {*read_ids(Path("first.csv")), "t006", "t007"}
    every = {row["id"] for row in reeltag.labelled("test")}
    assert set(read_ids(Path("second.csv"))) == every - done


def test_strategies_differ_and_the_seed_is_that_of_random(reeltag: Commands, new: Path) -> None:
    def ids(*words: object) -> list[str]:
        told = reeltag("suggest", "tagger", new, "--n", 6, "--json", *words).json["titles"]
        return [row["id"] for row in told]

    assert ids("--strategy", "random") == ids("--strategy", "random", "--seed", 0)
    assert ids("--strategy", "random") != ids("--strategy", "random", "--seed", 1)
    assert ids("--strategy", "diversity") != ids("--strategy", "uncertainty")


def test_mistakes(reeltag: Commands, new: Path) -> None:
    for words, because in (
        (("tagger", "films.jsonl"), "films.jsonl: all 130 titles have labels in 'genres'"),
        (("tagger", new, "--strategy", "best"),
         "suggest.strategy must be one of mixed, uncertainty, rarity, diversity, random; got 'best'"),
        (("tagger", new, "--out", "s.xlsx"), "s.xlsx: predictions are written as .parquet, .csv, .jsonl; got '.xlsx'"),
        (("tagger", new, "--done", "absent.txt"), "absent.txt: no such file"),
        (("absent", new), "absent: not a reeltag artefact (config.json is missing)"),
        (("tagger", "absent.csv"), "absent.csv: no such file"),
    ):  # fmt: skip
        reeltag.fails("suggest", *words, because=because)
    result = reeltag("suggest", "tagger", new, "--n", 0)
    assert (result.code, result.out) == (2, "")
    assert "--n" in result.err


# simulate


def test_simulate_text_and_files(reeltag: Commands) -> None:
    result = reeltag(*SIMULATE, "--strategies", "random, mixed")
    assert result.code == 0
    for words in (
        "titles: pool 72, validation 24, test 24; 4 labels, learned from the whole pool",
        "left out: credits",
        "trained on the whole pool: micro F1 ",
        "Labelled titles, means over 1 seeds",
        "of random's",
        "curves: curves/curves.svg",
    ):
        assert words in result.out, words
    assert sorted(path.name for path in Path("curves").iterdir()) == ["curves.json", "curves.svg", "runs"]
    before = reeltag.entries()
    assert reeltag(*SIMULATE, "--strategies", "random, mixed").out == result.out
    after = reeltag.entries()
    assert {name: content for name, content in after.items() if "runs" in name} == {
        name: content for name, content in before.items() if "runs" in name
    }


def test_simulate_json(reeltag: Commands) -> None:
    result = reeltag(*SIMULATE, "--strategies", "uncertainty", "--json", "--on", "validation", "--train-on-background",
                     "--share", 0.5, "--labels", "moods", "--set", "labels.min_count=5")  # fmt: skip
    data = result.json
    assert data == json.loads(Path("curves/curves.json").read_text("utf-8"))
    assert (data["measured_on"], data["share"]) == ("validation", 0.5)
    assert data["facts"]["titles"]["pool"] == 82
    assert data["facts"]["labels"] == 2
    assert [curve["strategy"] for curve in data["curves"]] == ["uncertainty"]
    assert data["curves"][0]["n_labelled"] == [10, 20, 30]
    assert data["curves"][0]["of_random"] is None


def test_simulate_with_the_model_of_the_recipe(reeltag: Commands) -> None:
    data = reeltag(*SIMULATE, "--learner", "recipe", "--strategies", "mixed", "--rounds", 1, "--json").json
    assert data["facts"]["model"] == "linear"


def test_simulate_mistakes(reeltag: Commands) -> None:
    for words, because in (
        (("--strategies", "best"),
         "SimulationConfig.strategies must be one of mixed, uncertainty, rarity, diversity, random; got 'best'"),
        (("--strategies", " , "), "SimulationConfig.strategies must name one or more, each once; got none"),
        (("--start", 100), "SimulationConfig.start must leave titles of the pool (72) to choose from; got 100"),
        (("--batch", 0), "SimulationConfig.batch must be between 1 and 1e+07; got 0"),
        (("--learner", "slow"), "SimulationConfig.learner must be one of quick, recipe; got 'slow'"),
        (("--on", "train"), "SimulationConfig.measured_on must be one of test, validation; got 'train'"),
        (("--modalities", "credits"),
         "a simulation reads no credits, whose features are made of labels that nobody knows yet, and the recipe reads "
         "nothing else"),
        (("--labels", "tags"), "no label of field 'tags' is on at least 1 training titles and not excluded (0 labels "
         "seen); lower min_count or choose another field"),
        (("--recipe", "absent.json"), "recipe file 'absent.json' does not exist"),
        (("--set", "labels.size=3"), "--set: there is no setting 'labels.size'; at that place: field, min_count, "
         "include, exclude, synonyms, ignore_case"),
    ):  # fmt: skip
        reeltag.fails(*SIMULATE, *words, because=because)
    reeltag.fails("simulate", "absent.csv", "--out", "curves", because="absent.csv: no such file")
