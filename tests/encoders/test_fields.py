"""List fields taken as given: one column per word, rows of unit length, nothing where nothing is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from reeltag.encoders.fields import MIN_TITLES, FieldEncoder
from reeltag.errors import LabelError, NotFittedError

LISTS = [["Drama", "War"], ["Drama"], ["Comedy", "Drama"], ["Comedy"], ["Drama"], ["Drama"], ["Comedy"], ["Comedy"]]
LISTS += [["War"], ["Comedy"], []]


def test_rows_follow_the_formula() -> None:
    encoder = FieldEncoder("genres").fit(LISTS)
    words = ["Comedy", "Drama"]  # by falling count, then by name; War is on two titles only
    block = encoder.encode(LISTS)
    assert block.values.dtype == np.float32
    assert block.is_sparse
    for row, held in enumerate(LISTS):
        known = [word for word in held if word in words]
        expected = [1 / math.sqrt(len(known)) if word in known else 0 for word in words]
        np.testing.assert_allclose(block.values.toarray()[row], expected, rtol=1e-6)
        assert block.present[row] == bool(known)


def test_rows_that_are_present_have_length_one() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(12)]
    lists = [list(rng.choice(words, rng.integers(0, 7), replace=False)) for _ in range(60)]
    block = FieldEncoder("keywords").fit(lists).encode(lists)
    lengths = np.linalg.norm(block.values.toarray(), axis=1)
    np.testing.assert_allclose(lengths, block.present.astype(float), atol=1e-6)
    np.testing.assert_array_equal(block.present, [bool(held) for held in lists])
    assert block.dim == 12


def test_words_on_few_titles_are_passed_over_where_others_are_on_more() -> None:
    lists = [["often"]] * MIN_TITLES + [["rare"]] * (MIN_TITLES - 1)
    block = FieldEncoder("tags").fit(lists).encode([["often"], ["rare"], ["rare", "often"]])
    np.testing.assert_allclose(block.values.toarray(), [[1], [0], [1]])
    assert block.present.tolist() == [True, False, True]


def test_in_a_small_catalogue_every_word_counts() -> None:
    lists = [["rare"], ["often"], ["often"]]
    block = FieldEncoder("tags").fit(lists).encode([["often"], ["rare"]])
    np.testing.assert_allclose(block.values.toarray(), [[1, 0], [0, 1]])


def test_unknown_words_are_nothing_to_go_by() -> None:
    encoder = FieldEncoder("genres").fit(LISTS)
    block = encoder.encode([["Noir"], ["Noir", "Drama"], [], ["Drama", "Drama"]])
    np.testing.assert_allclose(block.values.toarray(), [[0, 0], [0, 1], [0, 0], [0, 1]])
    assert block.present.tolist() == [False, True, False, True]


def test_words_are_the_same_in_any_case_and_order() -> None:
    encoder = FieldEncoder("genres").fit(LISTS)
    found = encoder.encode([["DRAMA", "comedy"]]).values.toarray()
    np.testing.assert_array_equal(found, encoder.encode([["Comedy", "Drama"]]).values.toarray())
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_no_titles() -> None:
    block = FieldEncoder("genres").fit(LISTS).encode([])
    assert block.values.shape == (0, 2)
    assert block.present.shape == (0,)


def test_a_fit_forgets_the_one_before() -> None:
    encoder = FieldEncoder("genres").fit([["Noir"]] * 9)
    assert encoder.fit(LISTS) is encoder
    fresh = FieldEncoder("genres").fit(LISTS)
    np.testing.assert_array_equal(encoder.encode(LISTS).values.toarray(), fresh.encode(LISTS).values.toarray())


def test_saved_and_loaded_is_equal(tmp_path: Path) -> None:
    encoder = FieldEncoder("keywords").fit(LISTS)
    encoder.save(tmp_path / "deep" / "fields")
    loaded = FieldEncoder.load(tmp_path / "deep" / "fields")
    assert loaded.field == "keywords"
    asked = [*LISTS, ["Noir"], ["war", "drama"]]
    one, two = encoder.encode(asked), loaded.encode(asked)
    np.testing.assert_array_equal(one.values.toarray(), two.values.toarray())
    np.testing.assert_array_equal(one.present, two.present)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no label of field 'moods' is on at least 1 training titles"):
        FieldEncoder("moods").fit([[], []])
    with pytest.raises(NotFittedError, match="FieldEncoder is used before fit"):
        FieldEncoder("moods").encode([["dark"]])
    with pytest.raises(NotFittedError, match="FieldEncoder is used before fit"):
        FieldEncoder("moods").save(tmp_path / "moods")
    assert not (tmp_path / "moods").exists()
