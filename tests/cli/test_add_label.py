"""``reeltag add-label``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reeltag.catalogue import Catalogue
from reeltag.tagger import Tagger
from samples import Row, rows

from .runner import Commands

EXAMPLES = [row["id"] for row in rows() if row["split"] == "train" and "Horror" in row["genres"]][:4]
ADD = ("add-label", "tagger", "Dark", "films.jsonl")
GIVEN = tuple(word for title_id in EXAMPLES for word in ("--example", title_id))


@pytest.fixture
def trained(reeltag: Commands) -> Commands:
    reeltag.tagger()
    return reeltag


def dark(row: Row) -> bool:
    return bool(row["moods"] == ["dark"])


def test_in_place(trained: Commands) -> None:
    before = Tagger.from_pretrained("tagger")
    result = trained(*ADD, *GIVEN, "--share", 0.2)
    assert result.code == 0
    after = Tagger.from_pretrained("tagger")
    assert after.labels.labels == (*before.labels.labels, "Dark")
    (entry,) = after.fitted.added.entries
    assert entry.examples == tuple(EXAMPLES)
    assert result.out.startswith("added 'Dark' from 4 examples; expected share of titles 20.0 %\n")
    assert f"threshold {entry.threshold:.3f}: tags {100 * entry.tagged:.1f} % of the training titles\n" in result.out
    assert entry.recall is not None
    assert f"examples found when left out (cross-validation): {100 * entry.recall:.1f} %; by the expected" in result.out
    assert "Strongest titles of the catalogue" in result.out
    assert result.out.endswith("saved to tagger\nnext: reeltag tag tagger films.jsonl\n")
    films = Catalogue.read("films.jsonl")
    ours, theirs = before.tag(films, evidence=False), after.tag(films, evidence=False)
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities[:, :-1])
    assert sorted(path.name for path in trained.folder.iterdir()) == ["films.jsonl", "quick.json", "tagger"]


def test_to_another_folder_from_a_file(trained: Commands) -> None:
    (trained.folder / "ids.txt").write_text("\n".join(["﻿" + EXAMPLES[0], "", f"  {EXAMPLES[1]} "]), encoding="utf-8")
    before = trained.entries()
    result = trained(*ADD, "--examples", "ids.txt", "--example", EXAMPLES[2], "--not", "t000", "--out", "deep/grown")
    assert result.code == 0
    assert "added 'Dark' from 3 examples and 1 it does not apply to" in result.out
    assert {name: content for name, content in trained.entries().items() if "deep" not in name} == before
    (entry,) = Tagger.from_pretrained("deep/grown").fitted.added.entries
    assert (entry.examples, entry.counter_examples) == (tuple(EXAMPLES[:3]), ("t000",))


def test_json(trained: Commands) -> None:
    data = trained(*ADD, *GIVEN, "--json", "--strongest", 3, "--threshold", 0.4).json
    assert (data["label"], data["threshold"], data["tagger"]) == ("Dark", 0.4, "tagger")
    assert data["examples"] == EXAMPLES
    assert len(data["strongest"]) == 3
    films = Catalogue.read("films.jsonl")
    predictions = Tagger.from_pretrained("tagger").tag(films, evidence=False)
    found = predictions.probabilities[:, -1]
    assert [title["probability"] for title in data["strongest"]] == sorted(found.tolist(), reverse=True)[:3]
    for title in data["strongest"]:
        assert title["example"] is (title["id"] in EXAMPLES)
    assert data == json.loads(json.dumps(data, allow_nan=False))


def test_one_example(trained: Commands) -> None:
    result = trained(*ADD, "--example", EXAMPLES[0], "--strongest", 0)
    assert "added 'Dark' from 1 example; " in result.out
    assert "one example: nothing to cross-validate on\n" in result.out
    assert "Strongest" not in result.out


def test_from_a_field(trained: Commands) -> None:
    data = trained(*ADD, "--from-field", "moods", "--json").json
    allowed = [row for row in rows() if row["split"] in ("train", "background")]
    assert data["examples"] == [row["id"] for row in allowed if dark(row)]
    assert data["share"] == pytest.approx(np.mean([dark(row) for row in allowed]))
    seen = Tagger.from_pretrained("tagger").fitted.fitted_on["added label Dark"]
    assert not {row["id"] for row in rows() if row["split"] in ("validation", "test")} & set(seen)


def test_from_a_field_with_a_limit_and_titles_left_out(trained: Commands) -> None:
    first = next(row["id"] for row in rows() if dark(row))
    data = trained(*ADD, "--from-field", "moods", "--limit", 6, "--not", first, "--share", 0.3, "--json").json
    assert len(data["examples"]) == 5
    assert data["counter_examples"] == [first]
    assert data["share"] == 0.3


def test_other_commands_know_the_label(trained: Commands) -> None:
    trained(*ADD, *GIVEN)
    evaluated = trained("evaluate", "tagger", "films.jsonl")
    assert evaluated.code == 0
    assert "Dark" in evaluated.out
    tagged = trained("tag", "tagger", "films.jsonl", "--json").json
    assert "Dark" in tagged["titles"][0]["probabilities"]
    explained = trained("explain", "tagger", EXAMPLES[0], "--html", "page.html")
    assert explained.code == 0
    assert "Dark was added from 4 examples; nearest: " in explained.out
    assert "Dark was added from 4 examples" in (trained.folder / "page.html").read_text("utf-8")


def test_card_keeps_its_words(trained: Commands) -> None:
    (trained.folder / "tagger" / "README.md").write_text("# House tagger\n\nOur words.\n", encoding="utf-8")
    trained(*ADD, *GIVEN)
    trained("add-label", "tagger", "Bright", "films.jsonl", "--example", "t000")
    card = (trained.folder / "tagger" / "README.md").read_text("utf-8")
    assert card.startswith("# House tagger\n\nOur words.\n\n## Labels added later\n")
    assert card.count("## Labels added later") == 1
    assert "| Dark | 4 | " in card
    assert "| Bright | 1 | " in card


def test_mistakes(trained: Commands) -> None:
    trained.fails(*ADD, because="label 'Dark' needs at least one example; got none")
    trained.fails(*ADD, "--example", "x", because="films.jsonl: no title has the id 'x'")
    trained.fails(*ADD, *GIVEN, "--share", 2, because="LabelAim.share must be between 1e-05 and 0.95; got 2.0")
    trained.fails(*ADD, "--examples", "absent.txt", because="absent.txt: No such file or directory")
    trained.fails(
        "add-label", "tagger", "horror", "films.jsonl", *GIVEN,
        because="label 'horror' is in the label space already as 'Horror'; it cannot be added again",
    )  # fmt: skip
    trained.fails(
        "add-label", "tagger", "Noir", "films.jsonl", "--from-field", "moods",
        because="films.jsonl: no title to learn from has 'Noir' in 'moods' (titles of the splits validation and test "
        "are left out)",
    )  # fmt: skip
    trained.fails(
        "add-label", "absent", "Dark", "films.jsonl", because="absent: not a reeltag artefact (config.json is missing)"
    )
    (trained.folder / "ids.txt").write_bytes(b"\xff\xfe\x00")
    result = trained(*ADD, "--examples", "ids.txt")
    assert result.code == 2
    assert result.err.startswith("reeltag: ids.txt: ids must be UTF-8 text, one on each line")
    trained.fails(*ADD, *GIVEN, "--out", ".", because=".: must end in the name of a folder; choose another")


def test_a_mistake_after_the_work_leaves_the_tagger_as_it_was(trained: Commands) -> None:
    before = trained.entries()
    assert trained(*ADD, *GIVEN, "--out", "films.jsonl").code == 2
    assert trained.entries() == before
