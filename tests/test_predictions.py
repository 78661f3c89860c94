"""Predictions: shapes, order, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reeltag.errors import EvaluationError, ReeltagError
from reeltag.predictions import Predictions, check_suffix

ODD = ('a"b', "Sci-Fi, hard", "film noir|neo", "id", "labels", "café ☕", " spaced ", "0")


def predictions(labels: tuple[str, ...] = ("Comedy", "Drama", "War"), n: int = 3, **settings: object) -> Predictions:
    random = np.random.default_rng(0)
    values: dict[str, object] = {
        "ids": tuple(f"t{row}" for row in range(n)),
        "labels": labels,
        "probabilities": random.random((n, len(labels)), np.float32),
        "thresholds": np.linspace(0.3, 0.7, len(labels), dtype=np.float32),
    }
    return Predictions(**values | settings)  # type: ignore[arg-type]


def known() -> Predictions:
    return predictions(
        probabilities=np.array([[0.2, 0.6, 0.9], [0.4, 0.49, 0.1], [0.3, 0.3, 0.3]], np.float32),
        thresholds=np.array([0.3, 0.5, 0.6], np.float32),
        titles=("Heat", "", "Up"),
        evidence=("War: plot +1.0", "", "x"),
    )


def equal(a: Predictions, b: Predictions) -> bool:
    return (
        (a.ids, a.labels, a.titles, a.evidence) == (b.ids, b.labels, b.titles, b.evidence)
        and np.array_equal(a.probabilities, b.probabilities)
        and np.array_equal(a.thresholds, b.thresholds)
        and a.probabilities.dtype == b.probabilities.dtype == np.float32
    )


def test_decisions_include_the_threshold() -> None:
    np.testing.assert_array_equal(known().decisions, [[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(known().abstained, [False, False, False])


def test_decided_is_surest_first_and_empty_for_an_abstention() -> None:
    strict = predictions(probabilities=known().probabilities, thresholds=np.array([0.9, 0.5, 0.6], np.float32))
    assert [[label for label, _ in row] for row in strict.decided()] == [["War", "Drama"], [], []]
    assert strict.decided()[0][0][1] == pytest.approx(0.9)
    np.testing.assert_array_equal(strict.abstained, [False, True, True])


def test_equal_probabilities_keep_the_order_of_the_labels() -> None:
    even = predictions(probabilities=np.full((1, 3), 0.8, np.float32), n=1)
    assert [label for label, _ in even.decided()[0]] == ["Comedy", "Drama", "War"]
    assert [label for label, _ in even.likeliest(2)[0]] == ["Comedy", "Drama"]


def test_likeliest_does_not_ask_for_the_threshold() -> None:
    assert [row[0][0] for row in known().likeliest(1)] == ["War", "Drama", "Comedy"]
    assert [len(row) for row in known().likeliest(9)] == [3, 3, 3]


def test_take_keeps_order_and_texts() -> None:
    taken = known().take([2, 0])
    assert (taken.ids, taken.titles, taken.evidence) == (("t2", "t0"), ("Up", "Heat"), ("x", "War: plot +1.0"))
    np.testing.assert_array_equal(taken.probabilities, known().probabilities[[2, 0]])
    assert len(predictions().take([])) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"probabilities": np.zeros((2, 3), np.float32)},
        {"probabilities": np.zeros((3, 2), np.float32)},
        {"thresholds": np.zeros(2, np.float32)},
    ],
)
def test_shapes_must_fit(wrong: dict[str, object]) -> None:
    with pytest.raises(EvaluationError, match=r"need probabilities of shape \(3, 3\) and 3 thresholds; got"):
        predictions(**wrong)


# files


@pytest.mark.parametrize("labels", [("Comedy", "Drama", "War"), ("Only",), ODD])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_parquet_round_trip(tmp_path: Path, labels: tuple[str, ...], n: int) -> None:
    before = predictions(labels, n, titles=('Ünïcode, "x"|y',) * n, evidence=("why",) * n)
    after = Predictions.read(before.write(tmp_path / "deep" / "p.parquet"))
    assert equal(before, after) if n else after.labels == labels and len(after) == 0
    bare = predictions(labels, n)
    assert Predictions.read(bare.write(tmp_path / "bare.parquet")).titles == ()


def test_parquet_columns(tmp_path: Path) -> None:
    frame = pl.read_parquet(known().write(tmp_path / "p.parquet"))
    assert frame.columns == ["id", "title", "labels", "label_probabilities", "abstained", "probabilities", "evidence"]
    assert frame["labels"].to_list() == [["War", "Drama"], ["Comedy"], ["Comedy"]]
    assert frame["probabilities"][0] == pytest.approx({"Comedy": 0.2, "Drama": 0.6, "War": 0.9})


@pytest.mark.parametrize("labels", [("Comedy", "Drama", "War"), ODD])
def test_jsonl(tmp_path: Path, labels: tuple[str, ...]) -> None:
    before = predictions(labels, titles=("a\nb", "", "ü"))
    lines = before.write(tmp_path / "p.jsonl").read_text("utf-8").splitlines()
    data = [json.loads(line) for line in lines]
    assert [row["id"] for row in data] == list(before.ids)
    assert [row["title"] for row in data] == list(before.titles)
    assert [row["labels"] for row in data] == [[label for label, _ in row] for row in before.decided()]
    assert list(data[0]["probabilities"]) == list(labels)
    assert list(data[0]["probabilities"].values()) == pytest.approx(before.probabilities[0].tolist())
    assert [row["abstained"] for row in data] == before.abstained.tolist()


def test_csv(tmp_path: Path) -> None:
    with known().write(tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        data = list(csv.DictReader(file))
    assert list(data[0]) == ["id", "title", "labels", "label_probabilities", "abstained", "evidence"]
    assert data[0]["labels"] == "War|Drama"
    assert data[0]["label_probabilities"] == "0.9|0.6"
    assert [row["abstained"] for row in data] == ["false"] * 3
    never = predictions(thresholds=np.full(3, 2, np.float32)).write(tmp_path / "q.csv")
    assert {row["labels"] for row in csv.DictReader(never.read_text("utf-8").splitlines())} == {""}


@pytest.mark.parametrize("name", ["p.xlsx", "p", "p.parquet.gz"])
def test_a_bad_suffix_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReeltagError, match=r"predictions are written as \.parquet, \.csv, \.jsonl; got '"):
        known().write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    check_suffix(Path("P.CSV"))
    assert equal(Predictions.read(known().write(tmp_path / "P.PARQUET")), known())
    assert known().write(tmp_path / "P.CSV").read_text("utf-8").startswith("id,title,labels")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = known().write(tmp_path / f"p{suffix}")
    before = path.read_bytes()

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("disk full")

    for name in ("write_parquet", "write_csv", "write_ndjson"):
        monkeypatch.setattr(pl.DataFrame, name, crash)
    with pytest.raises(RuntimeError):
        known().take([0]).write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["absent", "text", "foreign", "catalogue"])
def test_only_predictions_can_be_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p.parquet"
    if kind == "text":
        path.write_text("id,labels\n", encoding="utf-8")
    if kind == "foreign":
        pl.DataFrame({"id": ["a"]}).write_parquet(path)
    if kind == "catalogue":
        pl.DataFrame({"id": ["a"]}).write_parquet(path, metadata={"reeltag_thresholds": '{"Comedy": 0.5}'})
    with pytest.raises(EvaluationError, match=r"p\.parquet: not a Parquet file of predictions"):
        Predictions.read(path)
