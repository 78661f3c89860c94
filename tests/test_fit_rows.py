"""FitRows: which titles are learned from, chosen on, put into the graph and asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reeltag.errors import SplitError
from reeltag.features import Block, Features
from reeltag.fit_rows import FitRows, unlabelled_rows
from reeltag.graph.credits import CreditConfig
from reeltag.recipes import Recipe
from reeltag.selftraining import SelfTrainingConfig
from reeltag.splits import SplitAssignment
from samples import quick_recipe

NAMES = (
    "train",
    "test",
    "background",
    "train",
    "validation",
    "background",
    "train",
    "validation",
    "test",
    "background",
)
LISTS = [["a"], ["a"], ["b"], [], ["a"], [], ["b"], [], [], ["a"]]


def splits(groups: list[int] | None = None) -> SplitAssignment:
    return SplitAssignment(
        splits=NAMES,
        origin="catalogue" if groups is None else "assigned",
        groups=None if groups is None else np.array(groups),
        n_unassigned=0,
        n_unlabelled=4,
    )


def rows_of(recipe: Recipe | None = None, *, titles: int = 0, seed: int = 0) -> FitRows:
    chosen = replace(recipe or quick_recipe(), self_training=SelfTrainingConfig(titles=titles))
    return FitRows.of(splits(), LISTS, chosen, seed=seed, source="films.csv")


def test_titles_by_what_they_are_for() -> None:
    rows = rows_of()
    assert rows.training.tolist() == [0, 6]
    assert rows.validation.tolist() == [4]
    assert rows.graph.tolist() == [0, 2, 6, 9]
    assert rows.wider.tolist() == [0, 2, 3, 5, 6, 9]
    assert rows.unlabelled.tolist() == []
    assert rows.counts == {"train": 2, "validation": 1, "graph": 4}


def test_background_is_learned_from_by_choice() -> None:
    rows = rows_of(replace(quick_recipe(), train_on_background=True))
    assert rows.training.tolist() == rows.graph.tolist() == [0, 2, 6, 9]


def test_background_is_kept_out_of_the_graph_by_choice() -> None:
    without = quick_recipe(credits=CreditConfig(background=False))
    rows = rows_of(without)
    assert rows.graph.tolist() == [0, 6]
    assert rows.wider.tolist() == [0, 3, 6]
    both = rows_of(replace(without, train_on_background=True))
    assert both.graph.tolist() == both.training.tolist() == [0, 2, 6, 9]


def test_unlabelled_titles_are_those_of_train_and_background() -> None:
    assert rows_of(titles=100).unlabelled.tolist() == [3, 5]
    assert {tuple(rows_of(titles=1, seed=seed).unlabelled.tolist()) for seed in range(10)} == {(3,), (5,)}


def test_near_same_titles_of_held_out_ones_are_not_asked_about() -> None:
    known = np.array([bool(words) for words in LISTS])
    assert unlabelled_rows(splits(list(range(10))), known).tolist() == [3, 5]
    assert unlabelled_rows(splits([0, 1, 2, 1, 4, 5, 6, 7, 8, 9]), known).tolist() == [5]  # 3 is a copy of a test title
    assert unlabelled_rows(splits([0, 1, 2, 3, 4, 7, 6, 7, 8, 9]), known).tolist() == [3]  # 5 of a validation title
    assert unlabelled_rows(splits([0, 1, 2, 0, 4, 5, 5, 7, 8, 9]), known).tolist() == [3, 5]  # copies of training ones


def test_features_are_taken_apart_as_they_were_read() -> None:
    rows = rows_of(titles=2)
    assert rows.read.tolist() == [0, 6, 4, 3, 5]
    values = rows.read[:, None].astype(np.float32)
    features = Features([str(row) for row in rows.read], {"plot": Block(values, np.ones(5, np.bool_))})
    training, validation, unlabelled = rows.parts(features)
    assert training.ids == ("0", "6")
    assert validation.ids == ("4",)
    assert unlabelled.ids == ("3", "5")
    assert unlabelled.blocks["plot"].values.tolist() == [[3], [5]]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_titles_with_known_labels_are_needed(split: str) -> None:
    lists = [[] if name == split else words for name, words in zip(NAMES, LISTS, strict=True)]
    with pytest.raises(SplitError, match=f"films.csv: no title of split '{split}' has known labels"):
        FitRows.of(splits(), lists, quick_recipe(), seed=0, source="films.csv")
