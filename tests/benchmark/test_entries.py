from __future__ import annotations

import pytest

from reeltag.benchmark import BENCHMARKS, Entry, benchmark
from reeltag.benchmark.published import METRICS, PUBLISHED, TRAILER_PAPER, XMLC_PAPER
from reeltag.errors import ConfigError
from reeltag.graph.scorers import SCORERS
from reeltag.models import MODELS
from reeltag.models.contrasts import CONTRASTS

ENTRIES = [entry for chosen in BENCHMARKS.values() for entry in chosen.entries]


def entry(name: str, label: str) -> Entry:
    return next(found for found in BENCHMARKS[name].entries if found.label == label)


def test_a_published_row_is_of_the_paper_of_its_benchmark() -> None:
    for chosen in BENCHMARKS.values():
        for found in chosen.entries:
            assert found.published_row is None or found.published_row.paper is chosen.paper


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_are_named_once_and_the_reference_is_one_of_them(name: str) -> None:
    chosen = benchmark(name)
    labels = [found.label for found in chosen.entries]
    assert chosen.name == name
    assert len(set(labels)) == len(labels)
    assert chosen.reference in labels
    assert not any("," in label for label in labels), "--only is separated by commas"


def test_every_row_can_be_run_or_says_why_not() -> None:
    for found in ENTRIES:
        assert found.scorer in SCORERS
        assert (found.model in MODELS) != bool(found.why_not)


def test_every_published_row_has_an_entry_and_the_other_way_round() -> None:
    repeated = {chosen.paper.name for chosen in BENCHMARKS.values() if chosen.paper}
    shown = {found.published for found in ENTRIES if found.published}
    printed = {(table, row): found.paper.name for table, rows in PUBLISHED.items() for row, found in rows.items()}
    assert shown == {place for place, paper in printed.items() if paper in repeated}


def test_published_figures_are_those_of_their_paper() -> None:
    bounds = {XMLC_PAPER.name: (0.02, 0.88), TRAILER_PAPER.name: (0.13, 1.01)}
    for name, rows in PUBLISHED.items():
        for row in rows.values():
            data = row.to_json()
            assert list(data) == list(row.paper.datasets)
            for figures in data.values():
                assert list(figures) == list(row.paper.metrics)
                lowest, highest = bounds.get(row.paper.name, (0.5, 0.88))
                assert all(value is None or lowest < value < highest for value in figures.values())
            assert row.paper.metrics == METRICS or name.startswith(("poster", "xmlc", "trailer"))


def test_published_figures_agree_between_tables() -> None:
    full = PUBLISHED["table 2"]["IDKG"]
    assert full.figures[0] == (0.849, 0.832, 0.848, 0.839)
    assert full.figures[1] == (0.828, 0.811, 0.827, 0.807)
    for table, row in (("table 3", "IDKG"), ("table 4", "RotatE"), ("table 5", "G-CACL")):
        assert PUBLISHED[table][row] == full
    assert PUBLISHED["table 3"]["IDKG(GMU) - G-CACL - KG"] == PUBLISHED["table 2"]["GMU"]


def test_published_figures_of_the_xmlc_paper() -> None:
    rows = PUBLISHED["xmlc table 3"]
    assert {name: row.to_json()["MoTags"] for name, row in rows.items()} == {
        "BERT": {"micro_f1": 0.176, "macro_f1": 0.025},
        "BERT*": {"micro_f1": 0.498, "macro_f1": 0.163},
        "our_approach": {"micro_f1": 0.507, "macro_f1": 0.253},
    }
    assert all(row.paper is XMLC_PAPER for row in rows.values())
    for told in ("5,595 films", "85 tags", "70 % and 30 %", "thresholds that it does not state"):
        assert told in XMLC_PAPER.warning


def test_what_the_rows_of_table_2_read() -> None:
    assert entry("idkg-table2", "GMU").side == ()
    assert entry("idkg-table2", "MM-GATBT").side == ("credits.people",)
    assert entry("idkg-table2", "IDKG").side == ("credits.standing",)
    assert entry("idkg-table2", "BLIP").joint == "blip"
    assert [found.label for found in BENCHMARKS["idkg-table2"].entries if found.label_vectors] == [
        "IDKG(GMU)", "IDKG",
    ]  # fmt: skip


def test_ablations_take_one_more_part_away_in_every_row() -> None:
    rows = {found.label: found for found in BENCHMARKS["idkg-table3"].entries}
    assert list(rows) == [
        "IDKG", "IDKG - AT", "IDKG - AT - G-CACL", "IDKG - AT - G-CACL - KG",
        "IDKG(GMU)", "IDKG(GMU) - G-CACL", "IDKG(GMU) - G-CACL - KG",
        "idkg (reeltag)", "idkg (reeltag) - AT", "idkg (reeltag) - AT - G-CACL", "idkg (reeltag) - AT - G-CACL - KG",
    ]  # fmt: skip
    for label, found in rows.items():
        assert (found.settings.get("teacher_weight") == 0.0) == ("- AT" in label or "GMU" in label)
        assert (found.settings.get("contrast") == "none") == ("- G-CACL" in label)
        assert (found.credits == "none") == ("- KG" in label)
        assert (found.settings.get("fusion") == "gmu") == ("GMU" in label)


def test_tables_4_and_5_and_figure_4_vary_one_thing() -> None:
    table4 = BENCHMARKS["idkg-table4"].entries
    assert [found.scorer for found in table4] == ["transh", "transr", "transd", "complex", "conve", "rotate"]
    assert {found.credits for found in table4} == {"sum"}
    table5 = BENCHMARKS["idkg-table5"].entries
    assert {found.settings.get("contrast", "gcacl") for found in table5} == set(CONTRASTS)
    assert [found.label for found in table5 if not found.label_vectors] == ["G-CACL (random)"]
    figure4 = BENCHMARKS["idkg-figure4"].entries
    assert [found.x for found in figure4] == [0.05, 0.1, 0.3, 0.5, 0.7, 0.9]
    assert all(found.settings["contrast_settings"]["temperature"] == found.x for found in figure4)


def test_select_keeps_the_order_of_the_benchmark() -> None:
    chosen = BENCHMARKS["idkg-table2"]
    assert [found.label for found in chosen.select(["IDKG", "GMU"])] == ["GMU", "IDKG"]
    assert chosen.select([]) == chosen.entries


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="benchmark 'idkg-table9' is unknown; known: idkg-table2, idkg-table3"):
        benchmark("idkg-table9")
    with pytest.raises(ConfigError, match="idkg-table2 has no entry 'gmu'; known: GMU, CentralNet"):
        BENCHMARKS["idkg-table2"].select(["gmu"])
