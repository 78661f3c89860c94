from __future__ import annotations

import dataclasses
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reeltag.evaluation
from reeltag.errors import ArtefactError, EvaluationError
from reeltag.evaluation.report import (
    HTML_NAME,
    JSON_NAME,
    RULE_DEFINITIONS,
    Baseline,
    Report,
    read_report,
    report_to_html,
    report_to_json,
    write_report,
)
from reeltag.evaluation.summary import ModalityScores
from reeltag.evaluation.tails import TrainingCounts

from .samples import evaluation, full_report, names

SECTIONS = {
    "headline", "rules", "ranking", "label-chart", "head-tail", "calibration", "modalities", "labels", "mistakes",
    "definitions",
}  # fmt: skip
VOID = {"meta", "img", "br", "link", "input"}
HARD = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects what the tests ask about, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@cache
def default_html() -> str:
    return report_to_html(full_report())


def small_report(n_labels: int = 3) -> Report:
    return Report(title="Small", metadata={}, evaluation=evaluation(30, n_labels))


def test_both_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    write_report(tmp_path / "deep" / "run", full_report())
    assert sorted(path.name for path in (tmp_path / "deep" / "run").iterdir()) == [HTML_NAME, JSON_NAME]


def test_writing_twice_replaces_the_report(tmp_path: Path) -> None:
    write_report(tmp_path, full_report("First"))
    write_report(tmp_path, full_report("Second"))
    assert read_report(tmp_path).title == "Second"
    assert "First" not in (tmp_path / HTML_NAME).read_text(encoding="utf-8")


@pytest.mark.parametrize("report", [full_report(), full_report("Ночь 千と千尋 é"), small_report(), small_report(1)])
def test_json_round_trip(tmp_path: Path, report: Report) -> None:
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report
    assert read_report(tmp_path / JSON_NAME) == report


def test_json_is_complete_and_versioned() -> None:
    data = json.loads(report_to_json(full_report()))
    assert data["schema"] == 1
    assert set(data) == {"schema", *(field.name for field in dataclasses.fields(Report))}
    assert data["evaluation"]["rules"][0]["rule"] == "at 0.5"
    assert data["evaluation"]["rules"][0]["intervals"]["micro_f1"].keys() == {"low", "high"}
    assert data["mistakes"][0]["wrong"]["film_id"].startswith("tt")


def test_json_keeps_non_ascii_letters_readable() -> None:
    assert "Сталкер" in report_to_json(full_report(film_title="Сталкер"))


def test_json_refuses_numbers_that_json_does_not_have() -> None:
    broken = dataclasses.replace(small_report(), baselines=(Baseline(name="x", micro_f1=float("nan")),))
    with pytest.raises(EvaluationError, match="must be finite or None"):
        report_to_json(broken)


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    write_report(tmp_path, small_report())
    broken = dataclasses.replace(small_report(), baselines=(Baseline(name="x", micro_f1=float("inf")),))
    with pytest.raises(EvaluationError):
        write_report(tmp_path, broken)
    assert read_report(tmp_path) == small_report()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "schema must be 1; got 'list'"),
        ("{}", "schema must be 1; got None"),
        ('{"schema": 2}', "schema must be 1; got 2"),
        ('{"schema": 1}', "setting 'title' is missing"),
        ('{"schema": 1, "titel": ""}', "unknown setting 'titel'"),
    ],
)
def test_foreign_reports_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / JSON_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=message):
        read_report(tmp_path)


def test_mistyped_reports_are_refused(tmp_path: Path) -> None:
    data = json.loads(report_to_json(full_report()))
    data["evaluation"]["n_titles"] = "many"
    (tmp_path / JSON_NAME).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"evaluation\.n_titles: must be of type int; got 'many'"):
        read_report(tmp_path)


def test_posters_that_are_links_are_refused_when_read(tmp_path: Path) -> None:
    data = json.loads(report_to_json(full_report()))
    data["mistakes"][0]["poster"] = "https://example.org/x.png"
    (tmp_path / JSON_NAME).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ArtefactError, match="must be a data URI"):
        read_report(tmp_path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="there is no report"):
        read_report(tmp_path)


def test_all_sections_are_there() -> None:
    page = Page(default_html())
    assert {*SECTIONS, "baselines", "comparison"} <= set(page.ids)
    assert page.tags.count("svg") == 5
    assert page.tags.count("article") == 3


def test_optional_sections_may_be_missing() -> None:
    page = Page(report_to_html(small_report()))
    assert set(page.ids) >= SECTIONS
    assert not {"baselines", "comparison"} & set(page.ids)
    assert "Figures by modality were not computed." in page.text
    assert page.tags.count("svg") == 3


def test_no_id_occurs_twice() -> None:
    ids = Page(default_html()).ids
    assert len(ids) == len(set(ids))


def test_header_and_headline() -> None:
    report = full_report("IDKG on the demo")
    page = Page(report_to_html(report))
    for word in ("IDKG on the demo", "recipe", "idkg", "split", "2025-01-31", "seed", "titles 80", "labels 6"):
        assert word in page.text
    scores, ranking = report.evaluation.scores, report.evaluation.ranking
    interval = scores.intervals["micro_f1"]
    assert f"micro F1 {scores.micro_f1:.3f} {interval.low:.3f} to {interval.high:.3f}" in page.text
    assert f"mAP {ranking.mean_average_precision:.3f}" in page.text
    assert f"hit at least one {100 * scores.hit_at_least_one:.1f} %" in page.text
    assert f"(ECE) {ranking.ece:.3f}" in page.text


def test_rules_are_listed_with_their_definitions() -> None:
    text = Page(default_html()).text
    for name, definition in RULE_DEFINITIONS.items():
        assert f"{name} {definition}" in text


def test_every_label_has_its_row() -> None:
    report = full_report()
    text = Page(default_html()).text
    for row in report.evaluation.labels:
        assert f"{row.label} {row.support:,} {row.predicted:,} {row.threshold:.3f} {row.precision:.3f}" in text


def test_mistakes_show_labels_and_probabilities() -> None:
    report = full_report()
    text = Page(default_html()).text
    assert "Amélie tt" in text
    assert "Amélie (2001) tt" in text
    for mistake in report.mistakes:
        for item in (*mistake.wrong.predicted, *mistake.wrong.missed):
            assert f"{item.label} {item.probability:.2f}" in text
    assert "A shy waitress." in text


def test_the_long_tail_is_told_when_training_counts_are_known(tmp_path: Path) -> None:
    counts = TrainingCounts(labels=(1900, 40, 25, 9, 3, 3), n_titles=2000)
    report = Report(title="Tail", metadata={}, evaluation=evaluation(training=counts))
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report
    page = Page((tmp_path / HTML_NAME).read_text(encoding="utf-8"))
    assert {*SECTIONS, "long-tail"} <= set(page.ids)
    tail, ranking = report.evaluation.long_tail, report.evaluation.ranking
    assert tail is not None
    for group, spread in zip(tail.groups, ("40 to 1,900", "9 to 25", "3"), strict=True):
        row = f"{group.name} 2 {group.n_true_labels} {spread} {group.macro_f1:.3f} {group.macro_precision:.3f}"
        assert row in page.text
    assert f"Label coverage {100 * (tail.label_coverage or 0):.1f} %" in page.text
    for top, scored in zip(ranking.top_k, tail.top_k, strict=True):
        assert f"{top.k} {top.precision:.3f} {top.ndcg:.3f} {scored.precision:.3f} {scored.ndcg:.3f}" in page.text
    assert "Propensity-scored precision and nDCG (Jain et al. 2016, A = 0.55, B = 1.5)" in page.text
    assert "Labels by their number among 2,000 training titles" in page.text


def test_without_training_counts_there_is_no_long_tail() -> None:
    page = Page(report_to_html(small_report()))
    assert "long-tail" not in page.ids
    assert "PSP@k" not in page.text


def test_comparison_is_told_in_figures() -> None:
    text = Page(default_html()).text
    assert "new against old" in text
    assert "of 6 labels at 5 %, by McNemar" in text


def test_long_plots_are_cut_at_a_word() -> None:
    text = Page(report_to_html(full_report(plot="word " * 500))).text
    assert "word word …" in text
    assert "word " * 80 not in text


def test_nothing_outside_the_page_is_referred_to() -> None:
    html = default_html()
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http://" not in without_namespaces
    assert "https://" not in without_namespaces
    assert "@import" not in html
    for tag, name, value in Page(html).attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("#", "data:image/")), (tag, name, value)
    assert "default-src 'none'" in html


def test_words_of_the_user_are_escaped_everywhere() -> None:
    base = full_report(title=HARD, film_title=HARD, plot=HARD)
    comparison = base.comparison
    assert comparison is not None
    report = dataclasses.replace(
        base,
        metadata={HARD: HARD},
        evaluation=evaluation(labels=(HARD, *names(5))),
        modalities=(ModalityScores(modalities=(HARD,), micro_f1=0.5, macro_f1=0.5),),
        baselines=(Baseline(name=HARD, note=HARD),),
        comparison=dataclasses.replace(comparison, first=HARD, second=HARD),
    )
    html = report_to_html(report)
    assert HARD not in html
    page = Page(html)
    assert page.tags.count("script") == 1
    assert page.text.count(HARD) > 10


@pytest.mark.parametrize("title", ["千と千尋の神隠し", "Сталкер", "Amélie", "عمر", "🎬"])
def test_non_ascii_titles_are_kept(tmp_path: Path, title: str) -> None:
    write_report(tmp_path, full_report(title, film_title=title))
    html = (tmp_path / HTML_NAME).read_text(encoding="utf-8")
    assert Page(html).text.count(title) >= 4
    assert '<meta charset="utf-8">' in html


@pytest.mark.parametrize("n_labels", [1, 300])
def test_few_and_many_labels(n_labels: int) -> None:
    page = Page(report_to_html(small_report(n_labels)))
    assert set(page.ids) >= SECTIONS
    assert f"label {n_labels - 1}" in page.text


def test_undefined_figures_show_as_a_dash() -> None:
    report = small_report()
    ranking = dataclasses.replace(report.evaluation.ranking, mean_average_precision=None)
    text = Page(report_to_html(dataclasses.replace(
        report, evaluation=dataclasses.replace(report.evaluation, ranking=ranking)
    ))).text  # fmt: skip
    assert "mAP \N{EN DASH} no threshold" in text


def test_no_decision_and_no_truth_are_said_in_words() -> None:
    report = full_report()
    mistake = report.mistakes[0]
    empty = dataclasses.replace(mistake.wrong, true_labels=(), predicted=(), missed=())
    changed = dataclasses.replace(report, mistakes=(dataclasses.replace(mistake, wrong=empty),))
    text = Page(report_to_html(changed)).text
    assert "true none of the labels" in text
    assert "predicted no label" in text
    assert "missed" not in text


def test_public_names_are_sorted_and_exist() -> None:
    public = reeltag.evaluation.__all__
    assert len(public) == len(set(public))
    for name in public:
        assert getattr(reeltag.evaluation, name) is not None
