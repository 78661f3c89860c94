from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.benchmark.protocols import Partition, TrainingTitles, partition
from reeltag.catalogue import Catalogue
from reeltag.errors import ConfigError, SplitError
from reeltag.labels import LabelConfig, LabelSpace
from reeltag.splits import SplitConfig, assign_splits
from samples import catalogue, changed, rows, sample

LABELS = LabelConfig(min_count=3)
MANY = catalogue(rows(1500))


def published(seed: int = 0) -> Partition:
    return partition(MANY, LABELS, SplitConfig(seed=seed), "published")


def ids(part: Partition, role: str, films: Any = None) -> set[str]:
    everyone = (films or sample()).ids
    return {everyone[row] for row in getattr(part, role)}


def test_clean_takes_the_splits_of_the_catalogue() -> None:
    part = partition(sample(), LABELS, SplitConfig())
    for role in ("train", "validation", "test"):
        assert ids(part, role) == {row["id"] for row in rows() if row["split"] == role}
    assert ids(part, "graph") == {row["id"] for row in rows() if row["split"] in ("train", "background")}
    assert part.overlaps == {"train": 0.0, "validation": 0.0, "graph": 0.0}
    assert part.counts == {"train": 72, "validation": 24, "test": 24, "graph": 82}
    assert len(part.rows) == 120


def test_background_titles_can_be_kept_out_of_the_graph() -> None:
    part = partition(sample(), LABELS, SplitConfig(), background=False)
    assert ids(part, "graph") == ids(part, "train")


def test_clean_splits_a_catalogue_that_has_no_splits() -> None:
    films = catalogue(without=["split"])
    part = partition(films, LABELS, SplitConfig(seed=3))
    assert part.overlaps == {"train": 0.0, "validation": 0.0, "graph": 0.0}
    assert sum(part.counts[role] for role in ("train", "validation", "test")) == len(films)
    assert part.digest() == partition(films, LABELS, SplitConfig(seed=3)).digest()
    assert part.digest() != partition(films, LABELS, SplitConfig(seed=4)).digest()


def test_published_shuffles_overlap_as_in_the_authors_code() -> None:
    part = published()
    assert part.counts == {"train": 900, "validation": 150, "test": 450, "graph": 900}
    assert part.overlaps["train"] == pytest.approx(0.6, abs=0.06)
    assert part.overlaps["graph"] == pytest.approx(0.6, abs=0.06)
    assert part.overlaps["validation"] == pytest.approx(0.1, abs=0.04)
    graph_in_train = np.isin(part.graph, part.train).mean()
    assert graph_in_train == pytest.approx(0.6, abs=0.06), "the shuffles are independent"


def test_published_leaves_background_titles_out_and_follows_the_seed() -> None:
    part = published()
    background = set(MANY.rows_of("background").tolist())
    for role in ("train", "validation", "test", "graph"):
        assert not background & set(getattr(part, role).tolist())
        assert len(set(getattr(part, role).tolist())) == len(getattr(part, role))
    assert part.digest() == published().digest()
    assert part.digest() != published(seed=1).digest()


def test_titles_without_any_of_the_labels_feed_the_graph_only() -> None:
    def other(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"genres": ["News"]} if row["id"] in ("t000", "t032") else row

    films = changed(other)
    part = partition(films, LabelConfig(min_count=3, exclude=("News",)), SplitConfig())
    assert "News" not in part.labels.labels
    assert not {"t000", "t032"} & (ids(part, "train") | ids(part, "test"))
    assert "t000" in ids(part, "graph")
    assert all(part.targets_of(getattr(part, role)).any(axis=1).all() for role in ("train", "validation", "test"))


def test_labels_come_from_the_training_titles() -> None:
    films = changed(lambda row: row | {"genres": [*row["genres"], "Sport"]}, split="test")
    assert "Sport" not in partition(films, LabelConfig(min_count=1), SplitConfig()).labels.labels


def test_kept_runs_keep_their_names() -> None:
    digest = partition(sample(), LABELS, SplitConfig()).digest()
    assert digest == "148521ef69b3851c", "every run that was kept would be trained anew"


def test_background_titles_are_learned_from_when_asked() -> None:
    plain, more = (
        partition(sample(), LABELS, SplitConfig(), training=TrainingTitles(background=told)) for told in (False, True)
    )
    assert ids(more, "train") == {row["id"] for row in rows() if row["split"] in ("train", "background")}
    assert more.train.tolist() == sorted(more.train.tolist())
    for role in ("validation", "test", "graph"):
        assert np.array_equal(getattr(more, role), getattr(plain, role))
    assert more.overlaps == {"train": 0.0, "validation": 0.0, "graph": 0.0}
    assert more.digest() != plain.digest()
    rare = changed(lambda row: row | {"genres": [*row["genres"], "Sport"]}, split="background")
    assert "Sport" not in partition(rare, LABELS, SplitConfig()).labels.labels
    assert "Sport" in partition(rare, LABELS, SplitConfig(), training=TrainingTitles(background=True)).labels.labels


def test_background_titles_without_known_labels_are_not_learned_from() -> None:
    films = changed(lambda row: row | {"genres": []} if row["id"] == "t123" else row)
    part = partition(films, LABELS, SplitConfig(), training=TrainingTitles(background=True))
    assert ids(part, "train", films) & {"t122", "t123"} == {"t122"}


def test_background_titles_are_those_without_a_split_too() -> None:
    films = changed(lambda row: row | {"split": None} if row["id"] in ("t000", "t125") else row)
    part = partition(films, LABELS, SplitConfig(), training=TrainingTitles(background=True))
    assert {"t000", "t125"} <= ids(part, "train", films)


def test_training_titles_alone_need_their_texts() -> None:
    def without(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"plot": " ", "genres": ["Sport"]} if row["id"] in ("t000", "t001", "t032", "t024") else row

    films, needs = changed(without), TrainingTitles(needs=("plot",))
    loose = LabelConfig(min_count=1)
    assert "Sport" in partition(films, loose, SplitConfig()).labels.labels
    part = partition(films, loose, SplitConfig(), training=needs)
    assert "Sport" not in part.labels.labels, "the label space learns from the same titles"
    assert not {"t000", "t001"} & ids(part, "train", films)
    assert {"t000", "t001"} <= ids(part, "graph", films), "the graph stays as it is"
    other = changed(lambda row: row | {"plot": None} if row["split"] != "train" else row)
    part = partition(other, LABELS, SplitConfig(), training=TrainingTitles(background=True, needs=("plot",)))
    assert part.counts == {"train": 72, "validation": 24, "test": 24, "graph": 82}, "no background title has a plot"


def test_an_outline_is_a_plot() -> None:
    frame = sample().frame.with_columns(
        plot=pl.when(pl.col("id") == "t000").then(None).otherwise(pl.col("plot")),
        outline=pl.when(pl.col("id") == "t000").then(pl.lit("A duel.")).otherwise(None),
    )
    films = Catalogue.from_frame(frame, source="films.jsonl")
    needs = TrainingTitles(needs=("plot", "title"))
    assert "t000" in ids(partition(films, LABELS, SplitConfig(), training=needs), "train", films)


def test_targets_are_held_sparse_and_read_by_row() -> None:
    part = partition(sample(), LABELS, SplitConfig())
    dense, _ = part.labels.encode(sample().lists("genres"))
    backwards = part.train[::-1]
    assert np.array_equal(part.targets_of(backwards), dense[backwards])
    assert part.targets_of(backwards).dtype == np.float32
    assert np.array_equal(part.truth, dense[part.test])
    assert part.training_counts == part.labels.counts == tuple(dense[part.train].sum(axis=0).astype(int))


def test_labels_too_many_to_steer_the_split_leave_it_as_it_is() -> None:
    films = catalogue(without=["split"])
    splits = SplitConfig(seed=3, max_labels=2)
    labels, known = LabelSpace.learn(films.lists("genres"), LabelConfig(min_count=1)).encode(films.lists("genres"))
    whole = assign_splits(films, labels, splits, known=known)
    part = partition(films, LABELS, splits)
    for role in ("train", "validation", "test"):
        assert np.array_equal(getattr(part, role), whole.rows_of(role))


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.protocol must be one of clean, published; got 'leaky'"):
        partition(sample(), LABELS, SplitConfig(), "leaky")
    with pytest.raises(SplitError, match="no title of split 'test' has any of the labels of 'genres'"):
        partition(changed(lambda row: None, split="test"), LABELS, SplitConfig())
