from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reeltag.benchmark.protocols import Partition, partition
from reeltag.errors import ConfigError, SplitError
from reeltag.labels import LabelConfig
from reeltag.splits import SplitConfig
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
    assert all(part.targets[getattr(part, role)].any(axis=1).all() for role in ("train", "validation", "test"))


def test_labels_come_from_the_training_titles() -> None:
    films = changed(lambda row: row | {"genres": [*row["genres"], "Sport"]}, split="test")
    assert "Sport" not in partition(films, LabelConfig(min_count=1), SplitConfig()).labels.labels


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.protocol must be one of clean, published; got 'leaky'"):
        partition(sample(), LABELS, SplitConfig(), "leaky")
    with pytest.raises(SplitError, match="no title of split 'test' has any of the labels of 'genres'"):
        partition(changed(lambda row: None, split="test"), LABELS, SplitConfig())
