"""``reeltag check``."""

from __future__ import annotations

import json

from .runner import Commands


def leaky(reeltag: Commands) -> list[dict[str, object]]:
    copies = [row | {"id": f"copy-{row['id']}", "split": "test"} for row in reeltag.labelled("train")[:5]]
    return [*reeltag.labelled("train"), *reeltag.labelled("test"), *copies]


def test_text(reeltag: Commands) -> None:
    result = reeltag("check", "films.jsonl")
    assert result.code == 0
    assert result.out.startswith("films.jsonl: 130 titles, valid\n")
    for words in (
        "Present per field", "Labels in 'genres': 4 on 130 titles", "Leak audit", "train   validation   test",
        "No leak was found",
    ):  # fmt: skip
        assert words in result.out, words


def test_json_is_the_whole_of_standard_output(reeltag: Commands) -> None:
    data = reeltag("check", "films.jsonl", "--json").json
    assert data["n_titles"] == 130
    assert data["splits"] == {"train": 72, "validation": 24, "test": 24, "background": 10}
    assert data["present"]["plot"]["all"] == 120
    assert data["leaks"]["severity"] in ("ok", "note")


def test_out_writes_every_finding(reeltag: Commands) -> None:
    reeltag.catalogue("leaky.jsonl", leaky(reeltag))
    result = reeltag("check", "leaky.jsonl", "--out", "deep/found.json")
    data = json.loads((reeltag.folder / "deep" / "found.json").read_text("utf-8"))
    assert result.code == 0
    assert data == reeltag("check", "leaky.jsonl", "--json").json
    assert sum(finding["is_leak"] for finding in data["leaks"]["findings"]) >= 5


def test_strict_fails_on_a_planted_leak(reeltag: Commands) -> None:
    reeltag.catalogue("leaky.jsonl", leaky(reeltag))
    assert reeltag("check", "leaky.jsonl").code == 0
    result = reeltag("check", "leaky.jsonl", "--strict")
    assert result.code == 1
    assert "serious: The splits leak: figures on them cannot be trusted" in result.out
    assert "Pairs that cross the splits" in result.out
    assert reeltag("check", "films.jsonl", "--strict").code == 0
    assert reeltag("check", "leaky.jsonl", "--strict", "--no-audit").code == 0


def test_no_audit(reeltag: Commands) -> None:
    result = reeltag("check", "films.jsonl", "--no-audit", "--json")
    assert "leaks" not in result.json
    assert "Leak audit" not in reeltag("check", "films.jsonl", "--no-audit").out


def test_tagger_is_audited(reeltag: Commands) -> None:
    folder = reeltag.tagger()
    clean = reeltag("check", "films.jsonl", "--tagger", folder, "--strict", "--json")
    assert clean.code == 0
    assert {check["part"] for check in clean.json["leaks"]["fitted"]} >= {"graph", "model", "thresholds"}
    renamed = {"train": "test", "test": "train"}
    rows = [row | {"split": renamed.get(str(row["split"]), row["split"])} for row in map(dict, _all(reeltag))]
    reeltag.catalogue("other.jsonl", rows)
    leaking = reeltag("check", "other.jsonl", "--tagger", folder, "--strict")
    assert leaking.code == 1
    assert "'graph' was fitted on 82 titles, among them 72 test titles" in " ".join(leaking.out.split())


def _all(reeltag: Commands) -> list[dict[str, object]]:
    return [row for split in ("train", "validation", "test", "background") for row in reeltag.labelled(split)]


def test_other_label_fields(reeltag: Commands) -> None:
    assert (
        "Labels in 'moods': 2 on 130 titles" in reeltag("check", "films.jsonl", "--labels", "moods", "--no-audit").out
    )


def test_a_bad_row_is_named(reeltag: Commands) -> None:
    reeltag.catalogue("bad.jsonl", [{"id": "a", "year": 1999}, {"id": "b", "year": "soon"}, {"id": "a"}])
    result = reeltag("check", "bad.jsonl")
    assert result.code == 2
    lines = result.err.splitlines()
    assert lines[0].startswith("reeltag: bad.jsonl, row 2, field 'year': ")
    assert lines[0].endswith("; got 'soon'")
    assert lines[1] == "bad.jsonl, row 3, field 'id': ids must be unique; row 1 has it too; got 'a'"
    assert lines[2] == "mend the rows above, or leave them out with --skip-bad FILE, which lists them"


def test_skip_bad_lists_the_rejects(reeltag: Commands) -> None:
    reeltag.catalogue("bad.jsonl", [{"id": "a", "year": 1999}, {"id": "b", "year": "soon"}, {"id": "a"}])
    result = reeltag("check", "bad.jsonl", "--skip-bad", "rejects.jsonl", "--json")
    assert result.json["n_titles"] == 1
    assert "bad rows left out: 2; their problems (2) are in rejects.jsonl\n" in result.err
    rejects = [json.loads(line) for line in (reeltag.folder / "rejects.jsonl").read_text("utf-8").splitlines()]
    assert [(reject["row"], reject["field"]) for reject in rejects] == [(2, "year"), (3, "id")]
    assert set(rejects[0]) == {"file", "row", "field", "rule", "value"}


def test_skip_bad_without_bad_rows_leaves_an_empty_list(reeltag: Commands) -> None:
    (reeltag.folder / "rejects.jsonl").write_text("old\n", encoding="utf-8")
    assert "left out" not in reeltag("check", "films.jsonl", "--skip-bad", "rejects.jsonl", "--no-audit").err
    assert (reeltag.folder / "rejects.jsonl").read_text("utf-8") == ""


def test_mistakes(reeltag: Commands) -> None:
    columns = "id, title, year, plot, directors, cast, genres, moods, keywords, split"
    reeltag.fails("check", "absent.csv", because="absent.csv: no such file")
    reeltag.fails(
        "check", "films.jsonl", "--labels", "vibes",
        because=f"films.jsonl: label column 'vibes' does not exist; columns: {columns}",
    )  # fmt: skip
    reeltag.fails(
        "check", "films.jsonl", "--map", "plot=blurb",
        because=f"films.jsonl: column 'blurb', asked for as field 'plot', does not exist; columns: {columns}",
    )  # fmt: skip
    reeltag.fails(
        "check", "films.jsonl", "--map", "plot",
        because="column mapping: expected FIELD=COLUMN or the path of a JSON file; got 'plot'",
    )  # fmt: skip
    reeltag.fails(
        "check", "films.jsonl", "--list-separator", " ",
        because="the list separator must be visible characters; got ' '",
    )  # fmt: skip
    reeltag.fails(
        "check", "films.jsonl", "--tagger", "absent",
        because="absent: not a reeltag artefact (config.json is missing)",
    )  # fmt: skip


def test_columns_are_mapped(reeltag: Commands) -> None:
    (reeltag.folder / "odd.csv").write_text("key,blurb,kinds\n1,A plot.,Drama/War\n", encoding="utf-8")
    maps = ("--map", "id=key", "--map", "plot=blurb", "--map", "genres=kinds", "--list-separator", "/")
    data = reeltag("check", "odd.csv", *maps, "--json").json
    assert data["labels"]["counts"] == {"Drama": 1, "War": 1}
    assert data["present"]["plot"]["all"] == 1
