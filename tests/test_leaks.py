"""The audit: planted leaks are found and counted where they stand, clean catalogues stay clean."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import reeltag
from reeltag.catalogue import Catalogue, PosterFiles
from reeltag.config import from_json, to_json
from reeltag.duplicates import KINDS, DuplicateConfig
from reeltag.errors import CatalogueError, ConfigError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.leaks import (
    SEVERITIES,
    AuditConfig,
    Check,
    Finding,
    FittedCheck,
    LeakReport,
    Severity,
    Side,
    audit,
    audit_against,
    check_fitted,
)
from reeltag.splits import assign_splits

SCHEMA = {
    "id": pl.String,
    "title": pl.String,
    "year": pl.Int32,
    "plot": pl.String,
    "outline": pl.String,
    "directors": pl.List(pl.String),
    "genres": pl.List(pl.String),
    "split": pl.String,
}


def story(seed: int, n_words: int = 25) -> str:
    return " ".join(f"w{random.Random(seed * 1_000 + i).randrange(10**9)}" for i in range(n_words))


def edited(text: str, place: int = 10) -> str:
    words = text.split()
    return " ".join([*words[:place], "suddenly", *words[place + 1 :]])


def films(rows: Sequence[dict[str, object]], first_id: int = 0) -> Catalogue:
    """One title per dict; every field of the schema is there, its id, title and plot its own unless given."""
    table = []
    for number, row in enumerate(rows, first_id):
        blank: dict[str, object] = dict.fromkeys(SCHEMA)
        table.append(
            blank | {"id": f"tt{number}", "title": f"Film {number}", "year": 2000, "plot": story(number)} | row
        )
    return Catalogue.from_frame(pl.DataFrame(table, schema=SCHEMA, orient="row"))


def clean(n: int) -> list[dict[str, object]]:
    splits = ["train"] * 6 + ["validation", "test", "test", "background"]
    return [{"split": splits[row % 10], "genres": ["Drama"]} for row in range(n)]


# ---------------------------------------------------------------- clean, tiny, empty


def test_a_clean_catalogue_has_no_findings() -> None:
    report = audit(films(clean(100)))
    assert report.severity == "ok"
    assert report.findings == ()
    assert report.leaks == ()
    assert all(check.n_pairs == check.n_leaks == 0 for check in report.checks)
    assert [check.kind for check in report.checks] == list(KINDS)
    assert report.n_by_split == {"train": 60, "validation": 10, "test": 20, "background": 10}
    assert report.verdict.startswith("No leak was found")
    assert report.notes == ("no poster could be compared",)


@pytest.mark.parametrize("columns", [["id"], ["id", "split"], ["id", "title", "year"], ["id", "plot", "split"]])
@pytest.mark.parametrize("n", [0, 1, 20])
def test_catalogues_with_gaps_can_be_audited(columns: list[str], n: int) -> None:
    rows = films(clean(20)).take(np.arange(n))
    report = audit(Catalogue.from_frame(rows.frame.select(columns)))
    assert report.severity == "ok"
    assert report.findings == ()
    json.dumps(report.to_json())


def test_a_catalogue_without_splits_cannot_leak_yet() -> None:
    rows = [{"plot": story(1)}, {"plot": story(1)}, {}]
    report = audit(films(rows))
    assert report.n_by_split["background"] == 3
    assert report.check("same_plot").n_pairs == 1
    assert report.severity == "ok"
    assert report.verdict == (
        "The catalogue has no validation or test titles, so nothing can leak yet; "
        "1 near-same pair to keep together when it is split."
    )


def test_an_unknown_label_field_is_named() -> None:
    with pytest.raises(CatalogueError, match=r"no .*column 'moods'"):
        audit(films(clean(3)), labels_field="moods")


# ---------------------------------------------------------------- planted leaks


@pytest.fixture
def planted() -> Catalogue:
    rows = clean(40)
    rows[7] |= {"plot": story(0), "genres": ["drama"]}  # test, the plot of train 0, same labels
    rows[8] |= {"plot": edited(story(1)), "genres": ["Comedy"]}  # test, nearly that of train 1
    rows[17] |= {"plot": story(0), "genres": None}  # test, a third copy, labels unknown
    rows[6] |= {"plot": story(2)[: len(story(2)) // 2]}  # validation, quoted by train 2 (half of it)
    rows[18] |= {"plot": story(9)}  # test, the plot of background 9
    rows[16] |= {"plot": story(27)}  # validation, the plot of test 27
    rows[11] |= {"plot": story(10)}  # both train: no leak
    rows[28] |= {"title": "FILM 3", "directors": ["Mann"], "plot": None}
    rows[3] |= {"directors": ["Mann", "Other"]}
    rows[37] |= {"title": "Film, 4", "directors": ["X"]}
    return films(rows)


def test_planted_leaks_are_counted_where_they_stand(planted: Catalogue) -> None:
    report = audit(planted)
    plots = report.check("same_plot")
    assert (plots.n_pairs, plots.n_leaks, plots.n_background, plots.n_selection) == (7, 3, 1, 1)
    assert (plots.n_test, plots.n_test_touched, plots.n_test_background) == (8, 3, 1)
    assert (plots.n_validation, plots.n_validation_touched) == (4, 0)
    assert (plots.n_labelled_leaks, plots.n_agreeing_leaks) == (2, 1)
    quotes = report.check("quoted_plot")
    assert (quotes.n_pairs, quotes.n_leaks, quotes.n_validation_touched, quotes.n_test_touched) == (1, 1, 1, 0)
    assert report.check("same_film").n_leaks == 1
    assert report.check("same_title").n_leaks == 1
    assert report.check("same_poster").n_pairs == report.check("same_id").n_pairs == 0


def test_findings_list_leaks_first_and_name_both_titles(planted: Catalogue) -> None:
    report = audit(planted)
    assert len(report.findings) == 10
    assert [finding.is_leak for finding in report.findings] == [True] * 6 + [False] * 4
    assert report.leaks == report.findings[:6]
    first = report.findings[0]
    assert first == Finding(
        kind="same_film",
        a=Side(id="tt3", split="train", title="Film 3", year=2000),
        b=Side(id="tt28", split="test", title="FILM 3", year=2000),
        similarity=1.0,
        labels_agree=True,
    )
    by_kind = {(finding.a.id, finding.b.id): finding for finding in report.findings if finding.kind == "same_plot"}
    assert by_kind["tt0", "tt7"].labels_agree is True
    assert by_kind["tt0", "tt17"].labels_agree is None
    assert by_kind["tt1", "tt8"].labels_agree is False
    assert 0.5 < by_kind["tt1", "tt8"].similarity < 1
    assert {report.findings[6].a.split, report.findings[6].b.split} == {"background", "test"}
    assert {report.findings[7].a.split, report.findings[7].b.split} == {"validation", "test"}


def test_findings_can_be_cut_but_not_the_counts(planted: Catalogue) -> None:
    report = audit(planted, config=AuditConfig(max_findings=2))
    assert len(report.findings) == 2
    assert all(finding.is_leak for finding in report.findings)
    assert report.check("same_plot").n_pairs == 7


def test_severities_and_sentences(planted: Catalogue) -> None:
    report = audit(planted)
    assert report.severity == "serious"
    assert report.verdict.startswith("The splits leak")
    severities = [report.check(kind).severity for kind in KINDS]
    assert severities == ["ok", "serious", "note", "serious", "warning", "ok", "ok"]
    assert report.check("same_plot").sentence == (
        "7 pairs of titles have near-same plots; 3 link train with validation or test and touch 3 of 8 test titles "
        "and 0 of 4 validation titles (labels equal in 1 of 2); 1 link background with validation or test; "
        "1 link validation with test."
    )
    assert report.check("same_poster").sentence == "No two titles have near-same posters."
    assert report.check("same_trailer").sentence == "No two titles have the same trailer."


def test_few_leaks_are_a_warning(planted: Catalogue) -> None:
    report = audit(planted, config=AuditConfig(serious_share=0.9))
    assert report.check("same_plot").severity == "warning"
    assert report.severity == "warning"


def test_pairs_with_background_only_are_a_note() -> None:
    rows = clean(10)
    rows[7]["plot"] = story(9)
    report = audit(films(rows))
    assert report.severity == "note"
    assert report.check("same_plot").sentence == (
        "1 pair of titles have near-same plots; none links train with validation or test; "
        "1 link background with validation or test."
    )


def test_pairs_inside_train_are_in_order() -> None:
    rows = clean(10)
    rows[1]["plot"] = story(0)
    report = audit(films(rows))
    assert report.severity == "ok"
    assert report.check("same_plot").n_pairs == 1


def test_titles_without_a_split_are_background() -> None:
    rows = [{"split": "test", "plot": story(1)}, {"split": None, "plot": story(1)}, {"split": "train"}]
    report = audit(films(rows))
    assert report.n_by_split["background"] == 1
    assert report.check("same_plot").n_background == 1


def poster(seed: int) -> Image.Image:
    tones = np.random.default_rng(seed).integers(0, 255, (9, 6, 3), np.uint8)
    return Image.fromarray(tones).resize((96, 140), Image.Resampling.BICUBIC)


def test_a_recompressed_poster_leaks(tmp_path: Path) -> None:
    catalogue = films(clean(10))
    paths = {}
    for row in (0, 3, 7, 8):
        paths[f"tt{row}"] = tmp_path / f"{row}.img"
        poster(row % 8).save(paths[f"tt{row}"], "PNG")
    poster(0).resize((60, 88)).save(paths["tt8"], "JPEG", quality=60)
    (tmp_path / "broken.img").write_bytes(b"no image")
    paths["tt9"] = tmp_path / "broken.img"
    report = audit(Catalogue.from_frame(catalogue.frame, posters=PosterFiles(paths=paths)))
    check = report.check("same_poster")
    assert (check.n_pairs, check.n_leaks, check.n_test_touched) == (1, 1, 1)
    assert (report.leaks[0].a.id, report.leaks[0].b.id) == ("tt0", "tt8")
    assert check.severity == "warning"
    assert report.notes == ("posters that cannot be decoded: 1",)


def test_notes_name_what_was_not_compared() -> None:
    notice = " ".join(f"secret{i}" for i in range(12))
    rows = clean(30)
    for row in rows[:5]:
        row["plot"] = notice
    rows[5]["plot"] = "Too short."
    duplicates = DuplicateConfig(max_copies=4, posters=False)
    report = audit(films(rows), config=AuditConfig(duplicates=duplicates))
    assert report.notes[0].startswith("plot 'secret0 secret1")
    assert report.notes[0].endswith("stands on 5 titles: taken for a placeholder, not compared")
    assert report.notes[1:] == (
        "plots and outlines of under 10 words, not compared: 1",
        "posters were not compared",
    )


def test_many_placeholders_are_summed_up() -> None:
    rows = [{"split": "train", "plot": story(row // 3)} for row in range(39)]
    report = audit(films(rows), config=AuditConfig(duplicates=DuplicateConfig(max_copies=2)))
    assert len(report.notes) == 12
    assert report.notes[10] == "further placeholders: 3"


def test_progress_is_told() -> None:
    calls: list[tuple[str, int, int]] = []
    audit(films(clean(10)), progress=lambda *call: calls.append(call))
    assert ("comparing plots", 10, 10) in calls


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "validation", "test", "background", None]), st.integers(0, 4)),
        max_size=14,
    )
)
def test_counts_against_all_pairs(rows: list[tuple[str | None, int]]) -> None:
    expected = {"n_pairs": 0, "n_leaks": 0, "n_background": 0, "n_selection": 0}
    touched = set()
    for i, (split_i, plot_i) in enumerate(rows):
        for j, (split_j, plot_j) in list(enumerate(rows))[i + 1 :]:
            if plot_i != plot_j:
                continue
            splits = {split_i or "background", split_j or "background"}
            tried = bool(splits & {"validation", "test"})
            expected["n_pairs"] += 1
            expected["n_leaks"] += tried and "train" in splits
            expected["n_background"] += tried and "background" in splits
            expected["n_selection"] += splits == {"validation", "test"}
            if splits == {"train", "test"}:
                touched.add(i if split_i == "test" else j)
    report = audit(films([{"split": split, "plot": story(plot)} for split, plot in rows]))
    check = report.check("same_plot")
    assert {name: getattr(check, name) for name in expected} == expected
    assert check.n_test_touched == len(touched)


def test_splits_made_here_do_not_leak() -> None:
    rows = [{"plot": edited(story(row // 2), row % 20), "genres": [f"G{row % 3}"]} for row in range(80)]
    catalogue = films(rows)
    space = LabelSpace.learn(catalogue.lists("genres"), LabelConfig(min_count=1))
    targets, known = space.encode(catalogue.lists("genres"))
    assignment = assign_splits(catalogue, targets, known=known)
    report = audit(catalogue.with_splits(assignment.splits))
    assert report.check("same_plot").n_pairs == 40
    assert report.severity == "ok"
    shuffled = random.Random(0).sample(assignment.splits, len(rows))
    assert audit(catalogue.with_splits(shuffled)).severity == "serious"


# ---------------------------------------------------------------- two catalogues


def test_two_catalogues_are_compared_with_each_other_only() -> None:
    learned = films([{"plot": story(1)}, {"plot": story(1)}, {"title": "Heat", "directors": ["Mann"]}, {}])
    tried = films(
        [
            {"plot": edited(story(1))},
            {"title": "HEAT", "directors": ["mann"]},
            {"plot": story(99)},
            {"plot": story(99)},
        ],
        first_id=50,
    )
    report = audit_against(learned, tried)
    assert report.n_by_split == {"train": 4, "validation": 0, "test": 4, "background": 0}
    plots = report.check("same_plot")
    assert (plots.n_pairs, plots.n_leaks, plots.n_test_touched) == (2, 2, 1)
    assert report.check("same_film").n_leaks == 1
    assert report.severity == "serious"
    assert report.source == "memory against memory"
    assert {(finding.a.id, finding.b.id) for finding in report.findings} == {
        ("tt2", "tt51"),
        ("tt0", "tt50"),
        ("tt1", "tt50"),
    }


def test_the_same_ids_in_two_catalogues_are_found() -> None:
    report = audit_against(films([{}, {}]), films([{"plot": story(77)}, {}], first_id=1))
    check = report.check("same_id")
    assert (check.n_pairs, check.n_leaks) == (1, 1)
    assert check.severity == "serious"
    assert check.sentence.startswith("1 pair of titles have the same id")


def test_splits_of_two_catalogues_are_honoured() -> None:
    learned = films([{"split": "train"}, {"split": "test"}, {"split": "background"}])
    tried = films([{"split": "train"}, {"split": "train"}, {"split": "validation"}])
    check = audit_against(learned, tried).check("same_id")
    assert (check.n_pairs, check.n_leaks, check.n_background) == (3, 1, 1)


def test_catalogues_without_anything_in_common() -> None:
    report = audit_against(films(clean(10)), films(clean(10), first_id=20))
    assert report.severity == "ok"
    assert audit_against(films([]), films([])).findings == ()


# ---------------------------------------------------------------- fitted parts


def test_fitted_parts_that_saw_test_titles_are_named() -> None:
    catalogue = films(clean(10))
    checks = check_fitted(
        {
            "vocabulary": ["tt0", "tt1", "tt9", "elsewhere"],
            "graph": ["tt0", "tt7", "tt8", "tt7"],
            "scaler": ["tt0", "tt6"],
            "thresholds": ["tt6"],
            "calibrator": ["tt6", "tt8"],
            "clusters": [],
        },
        catalogue,
    )
    by_part = {check.part: check for check in checks}
    assert [check.severity for check in checks] == ["ok", "serious", "serious", "ok", "serious", "ok"]
    assert by_part["graph"].test_ids == ("tt7", "tt8")
    assert by_part["graph"].n_fitted == 3
    assert by_part["graph"].sentence == ("'graph' was fitted on 3 titles, among them 2 test titles (tt7, tt8).")
    assert by_part["scaler"].sentence == ("'scaler' was fitted on 2 titles, among them 1 validation title (tt6).")
    assert by_part["vocabulary"].n_elsewhere == 1
    assert by_part["thresholds"].validation_ids == ("tt6",)
    assert by_part["thresholds"].sentence == "'thresholds' was fitted on 1 title, none of which it must not see."
    assert by_part["calibrator"].sentence.endswith("among them 1 test title (tt8).")


def test_fitted_ids_may_be_hashes() -> None:
    def key(title_id: str) -> str:
        return hashlib.sha256(title_id.encode()).hexdigest()[:16]

    checks = check_fitted({"graph": {key("tt0"), key("tt7")}}, films(clean(10)), key=key)
    assert checks[0].test_ids == ("tt7",)
    assert checks[0].n_elsewhere == 0


def test_long_lists_of_seen_titles_are_cut() -> None:
    check = check_fitted({"graph": [f"tt{row}" for row in range(100)]}, films(clean(100)))[0]
    assert check.sentence == (
        "'graph' was fitted on 100 titles, among them 20 test titles and 10 validation titles (tt17, tt18, tt27, …)."
    )


def test_fitted_parts_enter_the_report() -> None:
    catalogue = films(clean(10))
    report = audit(catalogue, fitted={"graph": catalogue.ids})
    assert report.severity == "serious"
    assert report.fitted[0].severity == "serious"
    assert all(check.severity == "ok" for check in report.checks)
    assert audit(catalogue, fitted={"graph": ["tt0"]}).severity == "ok"


def test_validation_parts_can_be_named() -> None:
    catalogue = films(clean(10))
    config = AuditConfig(validation_parts=("stopping",))
    checks = check_fitted({"stopping": ["tt6"], "thresholds": ["tt6"]}, catalogue, config=config)
    assert [check.severity for check in checks] == ["ok", "serious"]


# ---------------------------------------------------------------- the report


def test_the_report_is_plain_json(planted: Catalogue) -> None:
    report = audit(planted, fitted={"graph": ["tt7"]})
    data = json.loads(json.dumps(report.to_json()))
    assert data["severity"] == "serious"
    assert data["verdict"] == report.verdict
    assert [check["kind"] for check in data["checks"]] == list(KINDS)
    assert data["checks"][3]["n_leaks"] == 3
    assert data["checks"][3]["sentence"] == report.check("same_plot").sentence
    assert data["findings"][0]["a"] == {"id": "tt3", "split": "train", "title": "Film 3", "year": 2000}
    assert data["findings"][0]["is_leak"] is True
    assert data["fitted"][0]["test_ids"] == ["tt7"]
    assert data["n_by_split"]["test"] == 8


def check_of(**counts: int) -> Check:
    values = dict.fromkeys(
        [
            "n_pairs",
            "n_leaks",
            "n_background",
            "n_selection",
            "n_test",
            "n_test_touched",
            "n_test_background",
            "n_validation",
            "n_validation_touched",
            "n_labelled_leaks",
            "n_agreeing_leaks",
        ],
        0,
    )
    return Check(kind="same_plot", serious_share=0.01, **(values | counts))


def test_the_greater_share_decides() -> None:
    check = check_of(n_pairs=2, n_leaks=2, n_test=1_000, n_test_touched=1, n_validation=50, n_validation_touched=1)
    assert check.share_touched == 0.02
    assert check.severity == "serious"
    assert check_of(n_pairs=1, n_leaks=1, n_test=1_000, n_test_touched=1).severity == "warning"
    assert check_of().share_touched == 0.0


def test_the_worst_severity_is_the_reports() -> None:
    note = check_of(n_pairs=1, n_selection=1)
    part = FittedCheck(
        part="x", n_fitted=1, n_elsewhere=0, may_see_validation=False, test_ids=("a",), validation_ids=()
    )
    splits = {"train": 1, "test": 1}
    assert LeakReport(source="s", n_by_split=splits, checks=(note,)).severity == "note"
    assert LeakReport(source="s", n_by_split=splits, checks=(note,)).verdict.startswith("No certain leak")
    assert LeakReport(source="s", n_by_split=splits, checks=(note,), fitted=(part,)).severity == "serious"
    assert LeakReport(source="s", n_by_split=splits, checks=()).severity == "ok"
    assert get_args(Severity) == SEVERITIES


def test_config_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match="serious_share"):
        AuditConfig(serious_share=1.1)
    with pytest.raises(ConfigError, match="max_findings must be at least 0; got -1"):
        AuditConfig(max_findings=-1)
    config = AuditConfig(validation_parts=("thresholds",), duplicates=DuplicateConfig(posters=False))
    assert from_json(AuditConfig, to_json(config)) == config


def test_the_audit_is_at_the_top() -> None:
    assert reeltag.audit is audit
