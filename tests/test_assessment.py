"""Assessment: the modality grid, the mistakes and the rules, against predictors whose answers are known."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reeltag.assessment import (
    RULE_NAMES,
    Subject,
    looks,
    measure,
    mistakes,
    modality_grid,
    report_on,
    titles_of,
    training_counts,
)
from reeltag.catalogue import Catalogue, PosterFiles
from reeltag.errors import SplitError
from reeltag.explain_tokens import PatchEvidence, PosterEvidence
from reeltag.features import Block, Features
from reeltag.labels import LabelConfig, LabelSpace
from speaking import png

TARGETS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
LONG = "word " * 100


def features(*modalities: str) -> Features:
    blocks = {name: Block(np.ones((4, 1), np.float32), np.ones(4, np.bool_)) for name in modalities}
    return Features(tuple("abcd"), blocks)


def from_plot_alone(given: Features) -> np.ndarray:
    """Right on every title that has a plot, the same for all others."""
    known = given.present("plot")[:, None]
    return np.where(known, 0.1 + 0.8 * TARGETS, 0.4).astype(np.float32)


def subject(*modalities: str, posters: PosterFiles | None = None) -> Subject:
    frame = pl.DataFrame(
        {
            "id": list("abcd"),
            "title": ["A", "B", None, "D"],
            "year": [1990, None, 2000, 2001],
            "plot": [LONG, "b", None, "d"],
        },
        schema={"id": pl.String, "title": pl.String, "year": pl.Int32, "plot": pl.String},
    )
    return Subject(
        catalogue=Catalogue.from_frame(frame, posters=posters),
        features=features(*modalities),
        targets=TARGETS,
        labels=("x", "y"),
        predict=from_plot_alone,
        thresholds={"global": np.full(2, 0.3), "half": np.full(2, 0.5), "per_label": np.array([0.2, 0.95])},
        rule="global",
    )


def test_grid_hides_the_other_modalities_from_the_same_model() -> None:
    grid = {row.modalities: row for row in modality_grid(subject("plot", "year"))}
    assert list(grid) == [("plot",), ("year",), ("plot", "year")]
    assert grid[("plot",)].micro_f1 == grid[("plot", "year")].micro_f1 == 1
    assert grid[("year",)].micro_f1 == pytest.approx(2 * 4 / (8 + 4))  # everything decided: half of it is wrong
    assert grid[("year",)].mean_average_precision == pytest.approx(0.5)


def test_grid_of_many_modalities_is_cut() -> None:
    names = ("plot", "b", "c", "d", "e", "f", "g")
    rows = [row.modalities for row in modality_grid(subject(*names))]
    assert rows == [(n,) for n in names] + list(combinations(names, 6)) + [names]


def test_rules_come_in_one_order_and_decide_by_their_thresholds() -> None:
    one = subject("plot")
    evaluation = measure(one, from_plot_alone(one.features))
    assert (
        [scores.rule for scores in evaluation.rules] == list(RULE_NAMES.values()) == ["at 0.5", "global", "per_label"]
    )
    assert evaluation.headline == "global"
    assert evaluation.rule("at 0.5").micro_f1 == 1
    assert evaluation.rule("per_label").micro_recall == 0.5  # the second label is never decided


def test_the_long_tail_is_measured_when_training_counts_are_known() -> None:
    one = subject("plot")
    probabilities = from_plot_alone(one.features)
    assert measure(one, probabilities).long_tail is None
    counts = training_counts(LabelSpace(("x", "y"), LabelConfig(), (2, 9)), 10)
    tail = measure(replace(one, training=counts), probabilities).long_tail
    assert tail is not None
    assert (tail.n_train, [group.most for group in tail.groups]) == (10, [9, 2])
    assert training_counts(LabelSpace(("x", "y"), LabelConfig()), 10) is None
    grown = training_counts(LabelSpace(("x", "y"), LabelConfig(), (2, 12)), 10)
    assert grown is not None and grown.n_titles == 12


def test_mistakes_are_told_with_their_films(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    (tmp_path / "a.png").write_bytes(image.getvalue())
    (tmp_path / "d.png").write_bytes(b"no image at all")
    posters = PosterFiles(paths={"a": tmp_path / "a.png", "d": tmp_path / "d.png"})
    probabilities = np.array([[0.0, 1.0], [0.9, 0.1], [0.6, 0.6], [0.1, 0.2]], np.float32)
    found = {mistake.wrong.film_id: mistake for mistake in mistakes(subject("plot", posters=posters), probabilities)}
    assert set(found) == {"a", "c", "d"}
    assert found["a"].poster is not None
    assert found["a"].poster.startswith("data:image/png;base64,")
    assert found["d"].poster is None
    assert (found["a"].title, found["a"].year) == ("A", 1990)
    assert found["c"].title == "c"  # the id stands for a title that is not known
    assert len(found["a"].plot) <= 240
    assert found["a"].plot.endswith("…")


def test_report_holds_all_of_it() -> None:
    one = subject("plot", "year")
    probabilities = from_plot_alone(one.features)
    report = report_on(one, probabilities, title="T", metadata={"split": "test"})
    assert (report.title, report.metadata) == ("T", {"split": "test"})
    assert report.evaluation == measure(one, probabilities)
    assert report.modalities == modality_grid(one)
    assert report.mistakes == ()


# looks at posters


def poster_subject(folder: Path, n: int, truth: np.ndarray, *, without: str = "", says: bool = True) -> Subject:
    ids = [f"t{number}" for number in range(n)]
    paths = {}
    for title_id in ids:
        paths[title_id] = folder / f"{title_id}.png"
        paths[title_id].write_bytes(png())
    frame = pl.DataFrame({"id": ids, "year": [None] + [2000] * (n - 1)}, schema={"id": pl.String, "year": pl.Int32})
    there = np.array([title_id not in without.split() for title_id in ids])
    labels = ("x", "y", "z")

    def look(given: Features, film: Catalogue, names: Sequence[str], columns: Sequence[int]) -> PosterEvidence | None:
        assert given.ids == tuple(film.ids)
        assert len(film) == 1
        assert tuple(names) == labels
        effects = {names[column]: float(column) for column in columns}
        patch = PatchEvidence(box=(0.0, 0.0, 1.0, 1.0), effects=effects)
        return PosterEvidence(patches={"g": (patch,)}, words_absent="no text found") if says else None

    return Subject(
        catalogue=Catalogue.from_frame(frame, posters=PosterFiles(paths=paths)),
        features=Features(ids, {"poster.g": Block(np.ones((n, 1), np.float32), there)}),
        targets=truth.astype(np.float32),
        labels=labels,
        predict=lambda given: np.zeros((len(given), 3), np.float32),
        thresholds={"half": np.full(3, 0.5)},
        rule="half",
        look=look,
    )


P = np.array(
    [[0.99, 0.1, 0.1], [0.98, 0.1, 0.4], [0.6, 0.95, 0.1], [0.97, 0.2, 0.1], [0.1, 0.2, 0.9], [0.55, 0.56, 0.1]],
    np.float32,
)
TRUTH = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_looks_are_the_surest_right_and_wrong_each_label_once_before_any_twice(tmp_path: Path) -> None:
    found = looks(poster_subject(tmp_path, 6, TRUTH), P)
    assert [(look.film_id, look.label, look.right) for look in found] == [
        ("t0", "x", True), ("t3", "x", True), ("t2", "y", True), ("t1", "x", False), ("t4", "z", False),
        ("t5", "y", False),
    ]  # fmt: skip
    assert [look.shown for look in found[:3]] == [("x",), ("x",), ("y",)]
    assert [look.shown for look in found[3:]] == [("x", "z"), ("z",), ("y", "z")]  # with the nearest missed label
    assert [list(look.evidence.patches["g"][0].effects) for look in found] == [list(look.shown) for look in found]
    assert (found[0].title, found[0].year, found[1].year) == ("t0", None, 2000)
    assert found[0].probability == pytest.approx(0.99)
    assert str(found[0].poster).startswith("data:image/png;base64,")
    assert found == looks(poster_subject(tmp_path, 6, TRUTH), P)


def test_looks_pass_over_titles_without_a_poster_and_are_cut(tmp_path: Path) -> None:
    found = looks(poster_subject(tmp_path, 6, TRUTH, without="t0 t1"), P, n=3)
    assert [look.film_id for look in found] == ["t3", "t2", "t4"]
    assert looks(poster_subject(tmp_path, 6, TRUTH, without="t0 t1 t2 t3 t4 t5"), P) == ()


def test_a_title_is_looked_at_once(tmp_path: Path) -> None:
    one = poster_subject(tmp_path, 1, np.array([[1, 0, 0]]))
    found = looks(one, np.array([[0.9, 0.8, 0.1]], np.float32))
    assert [(look.film_id, look.label) for look in found] == [("t0", "x")]


def test_without_anyone_who_looks(tmp_path: Path) -> None:
    assert looks(subject("plot"), from_plot_alone(features("plot"))) == ()
    assert looks(poster_subject(tmp_path, 6, TRUTH, says=False), P) == ()


def with_splits(*splits: str | None) -> Catalogue:
    frame = pl.DataFrame(
        {"id": [str(n) for n in range(len(splits))], "split": splits}, schema={"id": str, "split": str}
    )
    return Catalogue.from_frame(frame)


def test_titles_of_a_split() -> None:
    films = with_splits("test", None, "train", "background")
    never = pytest.fail
    assert titles_of("test", films, never).tolist() == [True, False, False, False]
    assert titles_of("background", films, never).tolist() == [False, True, False, True]
    assert titles_of("all", films, never).tolist() == [True] * 4
    assert titles_of("test", with_splits("test", "test"), never).all()  # no training title is asked for
    assert titles_of("test", with_splits(None, None), lambda: ["train", "test"]).tolist() == [False, True]


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(SplitError, match="split must be one of train, validation, test, background, all; got 'dev'"):
        titles_of("dev", with_splits("test"), pytest.fail)
